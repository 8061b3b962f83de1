"""Values that are not written as JSON: tagged text, and Python literals. Pure.

Rule: a tool's schema says what a value is; where it does not say, text stays text. What cannot be read as the schema
wants is passed on as it is, for whoever checks the arguments to name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from promptport.tools import ToolDescriptor

__all__ = [
    "ARGUMENT_KEYS",
    "NAME_KEYS",
    "NEUTRAL_KEYS",
    "WRAPPING_KEYS",
    "code_arguments",
    "fits_declared",
    "flat_arguments",
    "flat_call",
    "is_signature",
    "literal_call",
    "object_text",
    "python_arguments",
    "python_literal",
    "tagged_arguments",
    "tagged_value",
]

NAME_KEYS = ("name", "tool", "tool_name", "function_name", "action")
"""Under these the name of a tool stands, in the calls that models write."""
ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "params", "action_input", "tool_input")
WRAPPING_KEYS = ("function", "function_call", "tool_call")
NEUTRAL_KEYS = frozenset(["type", "id", "call_id", "tool_call_id", "index"])
"""Keys that a call has beside its name and arguments; any other is an argument, or makes a tentative one text."""

_JSON_TYPES = ("string", "integer", "number", "boolean", "array", "null", "object")
_DEPTH = 16  # how far references and unions are followed


def object_text(value: str) -> str:
    """The arguments in a JSON value that is no object: the object that a string holds, or the value as it is."""
    inner = _decoded(value)
    return inner if isinstance(inner, str) and inner.lstrip()[:1] == "{" else value


def is_signature(arguments: str, tool: ToolDescriptor | None) -> bool:
    """Whether these arguments are no values, but the schema of some: the tool's own, said once more."""
    if '"type"' not in arguments:
        return False
    value = _decoded(arguments)
    if not isinstance(value, dict) or not value:
        return False
    declared = tool.parameters.get("properties") if tool is not None else None
    declared = declared if isinstance(declared, dict) else {}
    if value.get("type") == "object" and isinstance(value.get("properties"), dict):
        return not {"type", "properties"} <= declared.keys()
    return all(
        isinstance(item, dict)
        and item.get("type") in _JSON_TYPES
        and "object" not in (_types(declared.get(name), tool.parameters, _DEPTH) or ["object"] if tool else ["object"])
        for name, item in value.items()
    )


def literal_call(text: str, tools: Mapping[str, ToolDescriptor]) -> tuple[str, str] | None:
    """Name and arguments, as JSON, of a call that is written as a dict of Python's; ``None`` where it is none."""
    written = python_literal(text)
    return None if written is None else _call_in(_decoded(written), tools)


def flat_call(text: str, tools: Mapping[str, ToolDescriptor]) -> tuple[str, str] | None:
    """The same for a JSON object whose arguments stand beside the name of a known tool."""
    for _ in range(3):  # a fence, a bracket or a wrapping object may stand in front
        text = text[text.find("{") :] if "{" in text else ""
        value = _decoded(text)
        if value is not _NOTHING:
            return _call_in(value, tools)
        text = text[1:]
    return None


def flat_arguments(text: str, tool: ToolDescriptor | None) -> str:
    """What of this object the tool declares; nothing for what is no object."""
    value, declared = _decoded(text), tool.parameters.get("properties") if tool is not None else None
    if not isinstance(value, dict) or not isinstance(declared, dict):
        return ""
    return json.dumps({key: each for key, each in value.items() if key in declared}, ensure_ascii=False)


def _call_in(value: Any, tools: Mapping[str, ToolDescriptor]) -> tuple[str, str] | None:
    for _ in range(2):
        if not isinstance(value, dict):
            return None
        inner = next((value[key] for key in WRAPPING_KEYS if key in value), None)
        if not isinstance(inner, dict):
            break
        value = inner
    if not isinstance(value, dict):
        return None
    named = next((key for key in (*NAME_KEYS, "function") if isinstance(value.get(key), str)), None)
    if named is None:
        return None
    name = value[named]
    given = next((value[key] for key in ARGUMENT_KEYS if key in value), None)
    if given is None and name in tools:
        rest = {key: each for key, each in value.items() if key not in (named, *NEUTRAL_KEYS)}
        given = rest if rest and fits_declared(json.dumps(rest), tools[name]) else None
    if isinstance(given, str):
        given = _decoded(given)
    return (name, json.dumps(given, ensure_ascii=False)) if name and isinstance(given, dict) else None


def fits_declared(arguments: str, tool: ToolDescriptor) -> bool:
    """Whether these are arguments of the tool's: an object with no key that the tool does not declare."""
    value = _decoded(arguments)
    declared = tool.parameters.get("properties")
    return isinstance(value, dict) and value.keys() <= (declared.keys() if isinstance(declared, dict) else set())


def code_arguments(text: str, tool: ToolDescriptor | None) -> str | None:
    """The JSON object of the arguments of a call in Python code; ``None`` where they are no literals.

    Arguments without a name get those of the tool's parameters, in their order.
    """
    declared = tool.parameters.get("properties") if tool is not None else None
    names = list(declared) if isinstance(declared, dict) else []
    tokens = _tokens(text)
    if tokens is None:
        return None
    pieces: list[str] = []
    position = 0
    while position < len(tokens):
        start, position = position, _end_of_value(tokens, position)
        part = tokens[start:position]
        position += 1
        if [kind for kind, _ in part[:2]] == ["word", "="]:
            pieces.append(" ".join([token for _, token in part]))
        elif len(pieces) < len(names) and names[len(pieces)].isidentifier():
            pieces.append(f"{names[len(pieces)]}=" + " ".join([token for _, token in part]))
        else:
            return None
    arguments = python_arguments(", ".join(pieces), tool)
    return arguments if isinstance(_decoded(arguments), dict) else None


def tagged_arguments(parameters: dict[str, str]) -> str:
    """The JSON object of these values, which are JSON already."""
    return "{" + ", ".join([f"{_quoted(key)}: {value}" for key, value in parameters.items()]) + "}"


def tagged_value(text: str, name: str, tool: ToolDescriptor | None) -> str:
    """The JSON of the value that stood in a tag, as the tool's schema wants it."""
    return _coerced(text, _types_of(name, tool))


# ----------------------------------------------------------------------------------------------- schemas


def _types_of(name: str, tool: ToolDescriptor | None) -> frozenset[str] | None:
    if tool is None:
        return None
    properties = tool.parameters.get("properties")
    schema = properties.get(name) if isinstance(properties, dict) else None
    return _types(schema, tool.parameters, _DEPTH)


def _types(schema: Any, root: dict[str, Any], depth: int) -> frozenset[str] | None:
    """The JSON types that the schema allows; ``None`` where it does not say."""
    if not isinstance(schema, dict) or not depth:
        return None
    kind = schema.get("type")
    if isinstance(kind, str):
        return frozenset([kind])
    if isinstance(kind, list):
        return frozenset(map(str, kind))
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list):
        return frozenset([_type_of(value) for value in values])
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _types(_referred(reference, root), root, depth - 1)
    for union in ("anyOf", "oneOf"):
        if isinstance(schema.get(union), list):
            return _united([_types(part, root, depth - 1) for part in schema[union]])
    parts = schema.get("allOf")
    if isinstance(parts, list):
        return next(filter(None, [_types(part, root, depth - 1) for part in parts]), None)
    return None


def _united(parts: list[frozenset[str] | None]) -> frozenset[str] | None:
    known = [part for part in parts if part is not None]
    return frozenset().union(*known) if known and len(known) == len(parts) else None


def _referred(reference: str, root: dict[str, Any]) -> Any:
    target: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
    return target


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    if value is None:
        return "null"
    return "array" if isinstance(value, list) else "object"


def _coerced(text: str, types: frozenset[str] | None) -> str:
    stripped = text.strip()
    if types is None or ("string" in types and not ("null" in types and stripped == "null")):
        return _quoted(text)
    for candidate in (stripped, python_literal(stripped)):
        if candidate is not None and _fits(candidate, types):
            return candidate
    lower = stripped.lower()
    return lower if lower in ("true", "false", "null") and _fits(lower, types) else _quoted(text)


def _fits(text: str, types: frozenset[str]) -> bool:
    value = _decoded(text)
    if value is _NOTHING:
        return False
    kind = _type_of(value)
    return (
        kind in types
        or (kind == "integer" and "number" in types)
        or (isinstance(value, float) and value.is_integer() and "integer" in types)
    )


_NOTHING = object()


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):  # ValueError: lone surrogates, numbers without end
        return _NOTHING


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------ Python

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?)(?![\w.]))
    |(?P<word>[^\W\d][\w-]*)
    |(?P<mark>[][{}(),:=])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(\n)|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0"}


_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_OPENING, _CLOSING = frozenset("[{("), frozenset("]})")


def python_literal(text: str) -> str | None:
    """The JSON of a Python literal; ``None`` where it is none that JSON has."""
    tokens = _tokens(text)
    return _json(tokens, 0, len(tokens)) if tokens else None


def python_arguments(text: str, tool: ToolDescriptor | None) -> str:
    """The JSON object of a call's keyword arguments; ``text`` itself where they are something else."""
    tokens = _tokens(text)
    if tokens is None:
        return text
    parameters: dict[str, str] = {}
    position = 0
    while position < len(tokens):
        if [kind for kind, _ in tokens[position : position + 2]] != ["word", "="]:
            return text
        name = tokens[position][1]
        start, position = position + 2, _end_of_value(tokens, position + 2)
        value = _json(tokens, start, position)
        if value is None:
            return text
        if position - start == 1 and tokens[start][0] == "string":
            types = _types_of(name, tool)
            if types is not None and "string" not in types:
                value = _coerced(json.loads(value), types)
        parameters[name] = value
        position += 1
    return tagged_arguments(parameters)


def _end_of_value(tokens: list[tuple[str, str]], position: int) -> int:
    """Where the comma stands that ends the value, or the end."""
    depth = 0
    while position < len(tokens):
        kind = tokens[position][0]
        if kind == "," and not depth:
            break
        depth += (kind in _OPENING) - (kind in _CLOSING)
        position += 1
    return position


def _tokens(text: str) -> list[tuple[str, str]] | None:
    """Kind and JSON text of each token; a mark is its own kind. ``None`` where something is no token of a literal."""
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        position, kind, token = match.end(), match.lastgroup or "", match.group()
        if kind == "string":
            value = _quoted(_unescaped(token[1:-1]))
            if tokens and tokens[-1][0] == "string":
                value = tokens.pop()[1][:-1] + value[1:]  # strings side by side are one
            tokens.append((kind, value))
        elif kind == "number":
            tokens.append((kind, _number(token)))
        elif kind != "space":
            tokens.append((kind if kind == "word" else token, token))
    return tokens


def _json(tokens: list[tuple[str, str]], start: int, end: int) -> str | None:
    pieces: list[str] = []
    tuples: list[int] = []  # where each bracket that is open stands, -1 for one that is no parenthesis
    listed: set[int] = set()  # the parentheses with a comma in them
    for kind, text in tokens[start:end]:
        token = text
        if kind == "=" or (kind == "word" and token not in _WORDS):
            return None
        if kind in _OPENING:
            if kind == "(" and pieces and pieces[-1][-1:] not in "[{(, :":
                return None  # a call of something
            tuples.append(len(pieces) if kind == "(" else -1)
        elif kind == "," and tuples:
            listed.add(tuples[-1])
        elif kind in _CLOSING:
            if pieces and pieces[-1] == ", ":
                pieces.pop()
            opened = tuples.pop() if tuples else -1
            if (kind == ")") != (opened >= 0):
                return None
            if kind == ")":
                # A tuple is a list; parentheses around one value are nothing.
                is_list = opened in listed or opened == len(pieces) - 1
                pieces[opened], token = ("[", "]") if is_list else (" ", "")
        pieces.append(_WORDS[token] if kind == "word" else f"{token} " if kind in (",", ":") else token)
    return None if any(place >= 0 for place in tuples) else "".join(pieces).strip() or None


def _number(token: str) -> str:
    text = token.replace("_", "").removeprefix("+")
    if _JSON_NUMBER.fullmatch(text):
        return text
    digits = text.lower().removeprefix("-")
    if digits.startswith("0x") and len(digits) < 64:
        return str(int(text, 16))
    if digits.isdigit() or "x" in digits:
        return text  # no number that JSON has, and whoever checks the arguments will say so
    return repr(float(text))


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_escape, text) if "\\" in text else text


def _escape(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code:
        return chr(int(code, 16)) if int(code, 16) < 0x110000 else match[0]
    if match[4]:
        return ""  # a line that goes on
    character = match[5]
    if character in "\\'\"":
        return str(character)
    return _ESCAPES.get(character, match[0])
