"""A JSON schema → what one server takes of it. Pure: one function, and a table of dialects.

Rules:

- A fitted schema accepts what the original accepts, as far as the dialect can say it. What it cannot say is handed back
  in `FittedSchema.lost`, and told to the model in a description; validation of the answer stays with us.
- What no fitting saves (keys that are not known beforehand, in a dialect of closed objects) raises, and says why.
- A name of a property that the server refuses is exchanged for one that it takes; `FittedSchema.renamed` leads back.

How a request builder uses it::

    tools = fit_tools(tools, DIALECTS["anthropic"], DIALECTS["anthropic-strict"])     # refuses one by its name
    fitted = fit_schema(params.response_schema, DIALECTS["anthropic-strict"])         # for a structured answer
    body["format"] = fitted.schema

A server that is not in `DIALECTS` gets a row of its own: a `SchemaDialect`, with the fields in which it differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from promptport.errors import InvalidInputError
from promptport.tools.descriptors import ToolDescriptor
from promptport.tools.references import is_recursive
from promptport.tools.schema_shape import misshapen

__all__ = ["DIALECTS", "FittedSchema", "SchemaDialect", "fit_schema", "fit_tools"]


class SchemaDialect(msgspec.Struct, frozen=True, kw_only=True):
    """What a server takes of JSON Schema.

    Attributes:
        keywords: all that it takes; ``None`` takes all but ``drops``.
        drops: keywords that it refuses.
        closed: every object must say ``additionalProperties: false``.
        all_required: every property must be required; one that may be left out becomes one that may be null.
        one_of: it takes ``oneOf``; else that becomes ``anyOf``.
        all_of: it takes ``allOf``; else its parts become one schema.
        bare_ref: nothing may stand beside a ``$ref``.
        tuples: it takes ``prefixItems``.
        recursion: it takes a schema that refers to itself.
        any_value: it takes a schema that says nothing of the value.
        top_object: the schema itself must be an object's, without unions: that of tools everywhere.
        const: it takes ``const``; else that becomes an ``enum`` of one.
        formats: the values of ``format`` that it takes; ``None`` takes all.
        lookaround: it takes a ``pattern`` with look-around or back-references.
        property_names: a regular expression for the names of properties; an empty one takes all.
        min_items: the highest ``minItems`` that it takes; ``None`` takes all.
    """

    keywords: frozenset[str] | None = None
    drops: frozenset[str] = frozenset()
    closed: bool = False
    all_required: bool = False
    one_of: bool = True
    all_of: bool = True
    bare_ref: bool = False
    tuples: bool = True
    recursion: bool = True
    any_value: bool = True
    top_object: bool = True
    const: bool = True
    formats: frozenset[str] | None = None
    lookaround: bool = True
    property_names: str = ""
    min_items: int | None = None


class FittedSchema(msgspec.Struct, frozen=True):
    """A schema in a server's dialect.

    Attributes:
        schema: what is sent.
        lost: what it does not say, as ``path: keyword``; the answer must still be checked for it.
        renamed: the names of properties that were changed: the name that is sent, and the original.
    """

    schema: dict[str, Any]
    lost: tuple[str, ...] = ()
    renamed: dict[str, str] = {}


_KEY = r"[a-zA-Z0-9_.-]{1,64}"
_SILENT = frozenset({"$schema", "$id", "$comment", "$anchor", "examples", "deprecated", "readOnly", "writeOnly"})
_CONDITIONS = frozenset({"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"})
_CONDITIONS |= {"propertyNames", "unevaluatedProperties", "unevaluatedItems", "contains", "minContains", "maxContains"}
_CONDITIONS |= {"minProperties", "maxProperties", "uniqueItems", "contentEncoding", "contentMediaType"}
_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_LENGTHS = frozenset({"minLength", "maxLength"})
_FORMATS = frozenset(["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"])
_GEMINI = frozenset(
    (
        *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems"),
        *("minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties"),
        *("required", "propertyOrdering"),
    )
)

DIALECTS: Mapping[str, SchemaDialect] = {
    "plain": SchemaDialect(),
    "openai": SchemaDialect(one_of=False, bare_ref=True, tuples=False),
    "openai-strict": SchemaDialect(
        drops=_CONDITIONS | _LENGTHS | {"default", "discriminator"},
        closed=True,
        all_required=True,
        one_of=False,
        all_of=False,
        bare_ref=True,
        tuples=False,
        any_value=False,
        formats=_FORMATS,
        lookaround=False,
    ),
    "anthropic": SchemaDialect(property_names=_KEY),
    "anthropic-strict": SchemaDialect(
        drops=_CONDITIONS | _LENGTHS | _NUMBERS | {"maxItems", "discriminator"},
        closed=True,
        one_of=False,
        all_of=False,
        bare_ref=True,
        tuples=False,
        recursion=False,
        any_value=False,
        formats=_FORMATS | {"uri"},
        lookaround=False,
        property_names=_KEY,
        min_items=1,
    ),
    "gemini": SchemaDialect(keywords=_GEMINI, one_of=False, bare_ref=True, all_of=False, const=False),
    "bedrock": SchemaDialect(property_names=_KEY),
    "bedrock-strict": SchemaDialect(
        drops=_CONDITIONS | _LENGTHS | _NUMBERS | {"maxItems", "discriminator"},
        closed=True,
        one_of=False,
        all_of=False,
        bare_ref=True,
        tuples=False,
        recursion=False,
        any_value=False,
        formats=_FORMATS | {"uri"},
        lookaround=False,
        property_names=_KEY,
        min_items=1,
    ),
    "mistral": SchemaDialect(one_of=False, bare_ref=True, tuples=False),
    "mistral-strict": SchemaDialect(
        drops=_CONDITIONS | {"default", "discriminator"},
        closed=True,
        all_required=True,
        one_of=False,
        all_of=False,
        bare_ref=True,
        tuples=False,
        any_value=False,
    ),
    "cohere": SchemaDialect(
        drops=_CONDITIONS | _LENGTHS | _NUMBERS | {"minItems", "maxItems", "discriminator"},
        one_of=False,
        all_of=False,
        tuples=False,
        lookaround=False,
    ),
    "ollama": SchemaDialect(drops=_CONDITIONS - {"uniqueItems"}, lookaround=False),
    "llamacpp": SchemaDialect(drops=_CONDITIONS - {"uniqueItems"}, lookaround=False),
}
"""The dialects by name; ``…-strict`` is what a server can hold an answer to.

Sources: OpenAI's guide to structured outputs, Anthropic's page on structured outputs, the error texts of both in public
issue threads, the comments of google-genai's ``GenerationConfig``, pydantic-ai's profiles for Bedrock, Cohere's page on
structured outputs, and llama.cpp's ``json-schema-to-grammar``; read in November 2026.
"""


def fit_schema(schema: Mapping[str, Any], dialect: SchemaDialect) -> FittedSchema:
    """The schema as the server takes it.

    Args:
        schema: a JSON schema, such as pydantic or an MCP server gives.
        dialect: the server's.

    Raises:
        InvalidInputError: it is not a schema, or nothing that the dialect can say is near enough; the message says
            where and why.
    """
    problem = misshapen(schema)
    if problem is not None:
        raise InvalidInputError(f"the schema is not a JSON schema: {problem}. Correct it.")
    fit = _Fit(schema, dialect)
    fitted = fit.top()
    return FittedSchema(fitted, tuple(dict.fromkeys(fit.lost)), fit.renamed)


def fit_tools(
    tools: Iterable[ToolDescriptor], dialect: SchemaDialect, strict: SchemaDialect | None = None
) -> list[ToolDescriptor]:
    """The tools with their schemas fitted: to ``strict`` for those with ``strict=True``, to ``dialect`` for the others.

    Raises:
        InvalidInputError: a tool that no fitting saves, by its name, and why.
    """
    fitted = []
    for tool in tools:
        use = strict if tool.strict and strict is not None else dialect
        try:
            schema = fit_schema(tool.parameters, use).schema
        except InvalidInputError as error:
            raise InvalidInputError(f"tool {tool.name!r}: {error}") from None
        plain = ToolDescriptor(tool.name, tool.description, schema, tool.strict)
        fitted.append(tool if schema == tool.parameters else plain)
    return fitted


def _name(name: str, pattern: str) -> str:
    if not pattern or re.fullmatch(pattern, name):
        return name
    kept = re.sub(r"[^a-zA-Z0-9_.-]", "_", name)[:52]
    return f"{kept}_{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


class _Fit:
    """One schema on its way to one dialect."""

    def __init__(self, schema: Mapping[str, Any], dialect: SchemaDialect) -> None:
        self._root = schema
        self._dialect = dialect
        self.lost: list[str] = []
        self.renamed: dict[str, str] = {}

    def top(self) -> dict[str, Any]:
        dialect = self._dialect
        schema = dict(self._root)
        if dialect.top_object:
            schema = self._object_at_top(schema)
        if not dialect.recursion and is_recursive(self._root):
            raise self._unfit("", "the server takes no schema that refers to itself")
        made = self._made(schema, "")
        if dialect.top_object and made.get("type") != "object":
            raise self._unfit("", f"the server takes an object at the top, not {made.get('type')!r}")
        return made

    def _unfit(self, path: str, why: str) -> InvalidInputError:
        return InvalidInputError(f"the schema cannot be sent: {path or 'at the top'}: {why}")

    # ------------------------------------------------------------------------------------------ the top

    def _object_at_top(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The object that a reference or a union at the top stands for."""
        homes: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        for _ in range(_LONGEST_WAY):
            if "$ref" in schema:
                schema = self._resolved(schema)
            key = next((key for key in ("allOf", "anyOf", "oneOf") if isinstance(schema.get(key), list)), None)
            if key is None:
                break
            rest = {name: value for name, value in schema.items() if name != key}
            united = self._united([self._resolved(option) for option in schema[key]], all_of=key == "allOf")
            schema = self._merged([rest, united])
            if key != "allOf":
                self.lost.append(f"at the top: {key}")
        else:
            raise self._unfit("", "it consists of nothing but references to itself")
        for key in ("enum", "not", "const"):
            if schema.pop(key, None) is not None:
                self.lost.append(f"at the top: {key}")
        if "type" not in schema and ("properties" in schema or not schema.keys() - {"$defs", "definitions"} - _SILENT):
            schema["type"] = "object"
        return schema | homes

    def _united(self, options: Sequence[dict[str, Any]], *, all_of: bool) -> dict[str, Any]:
        """One object for several: each property as any of them has it, required if all of them require it."""
        if any(option.get("type", "object") != "object" for option in options):
            raise self._unfit("", "the server takes an object at the top, and this is a union with other things")
        if all_of:
            return self._merged(options)
        variants: dict[str, list[Any]] = {}
        for option in options:
            for name, value in option.get("properties", {}).items():
                variants.setdefault(name, []).append(value)
        properties = {name: _distinct(values) for name, values in variants.items()}
        wanted = [set(option.get("required", ())) for option in options]
        required = [name for name in properties if all(name in names for names in wanted)]
        united = {name: values[0] if len(values) == 1 else {"anyOf": values} for name, values in properties.items()}
        return {"type": "object", "properties": united, **({"required": required} if required else {})}

    def _merged(self, options: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """All of them in one."""
        merged: dict[str, Any] = {}
        for option in options:
            whole = self._resolved(option)
            for key, value in whole.items():
                if key == "properties":
                    merged["properties"] = {**merged.get("properties", {}), **value}
                elif key == "required":
                    merged["required"] = list(dict.fromkeys([*merged.get("required", ()), *value]))
                else:
                    merged.setdefault(key, value)
        return merged

    def _resolved(self, schema: Any) -> dict[str, Any]:
        found = dict(schema) if isinstance(schema, Mapping) else {}
        for _ in range(_LONGEST_WAY):
            if "$ref" not in found:
                return found
            found = {**self._target(found["$ref"]), **{k: v for k, v in found.items() if k != "$ref"}}
        raise self._unfit("", f"the reference {found['$ref']!r} leads to itself")

    def _target(self, ref: Any) -> Mapping[str, Any]:
        found: Any = self._root
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise self._unfit("", f"the reference {ref!r} leads out of the schema")
        for step in [step.replace("~1", "/").replace("~0", "~") for step in ref[1:].split("/") if step]:
            found = found.get(step) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise self._unfit("", f"the reference {ref!r} leads to nothing")
        return found

    # --------------------------------------------------------------------------------------- one schema

    def _made(self, schema: Any, path: str) -> dict[str, Any]:
        if isinstance(schema, bool) or not isinstance(schema, Mapping):
            schema = {} if schema is not False else {"not": {}}
        dialect = self._dialect
        schema = dict(schema)
        if path.count(".") + path.count("[") > _DEEPEST:
            raise self._unfit(path, "its allOf leads to itself")
        if not dialect.all_of and len(schema.get("allOf") or ()) == 1 and not schema.keys() & _TOLD_AS_TYPE:
            (only,) = schema.pop("allOf")
            schema = {**(only if isinstance(only, Mapping) else {}), **schema}
        for _ in range(_LONGEST_WAY):
            if dialect.all_of or not isinstance(schema.get("allOf"), list):
                break
            schema = self._merged([{k: v for k, v in schema.items() if k != "allOf"}, *schema["allOf"]])
        else:
            raise self._unfit(path, "its allOf leads to itself")
        if not dialect.one_of and "oneOf" in schema:
            schema["anyOf"] = [*schema.get("anyOf", ()), *schema.pop("oneOf")]
            schema.pop("discriminator", None)
        if not dialect.const and "const" in schema:
            schema["enum"] = [schema.pop("const")]
        if dialect.bare_ref and "$ref" in schema:
            homes: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
            beside = schema.keys() - homes.keys() - {"$ref", "title", "description", "default"}
            self.lost += [f"{path or 'at the top'}: {key} beside $ref" for key in sorted(beside)]
            schema = {"$ref": schema["$ref"]} | homes
        kept, notes = self._kept(schema, path)
        self._children(kept, path)
        if notes:
            kept = _described(kept, f"({'; '.join([f'{key}: {_json(value)}' for key, value in notes.items()])})")
        if not dialect.any_value and not kept.keys() & {"type", "anyOf", "allOf", "oneOf", "enum", "const", "$ref"}:
            raise self._unfit(path, "the server wants to know the type of every value")
        return kept

    def _kept(self, schema: dict[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The keywords that can be sent; and what the model is told of the others."""
        dialect = self._dialect
        kept: dict[str, Any] = {}
        notes: dict[str, Any] = {}
        for key, value in schema.items():
            if self._takes(key, value):
                kept[key] = value
                continue
            if key in _SILENT or key == "title":
                continue
            self.lost.append(f"{path or 'at the top'}: {key}")
            if key not in ("discriminator", "prefixItems", "if", "then", "else", "not") and key not in _STRUCTURES:
                notes[key] = value
        if "prefixItems" in schema and not dialect.tuples:
            kept["items"] = self._any_item(schema)
            for key in ("minItems", "maxItems"):
                kept.pop(key, None)
            notes = {key: value for key, value in notes.items() if key not in ("minItems", "maxItems")}
            notes["items in this order"] = len(schema["prefixItems"])
            if kept["items"] == {}:
                notes["prefixItems"] = schema["prefixItems"]
        return kept, notes

    def _any_item(self, schema: dict[str, Any]) -> Any:
        """What each item of a tuple may be, wherever it stands."""
        first = [each for each in schema["prefixItems"] if isinstance(each, Mapping | bool)]
        rest = schema.get("items", True)
        if isinstance(schema.get("maxItems"), int) and schema["maxItems"] <= len(first):
            rest = False
        if rest is True and self._dialect.any_value:
            return {}
        found = _distinct([*first, *([rest] if isinstance(rest, Mapping) else [])])
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _takes(self, key: str, value: Any) -> bool:
        dialect = self._dialect
        if key == "prefixItems":
            return dialect.tuples
        if key in ("$defs", "definitions", "description"):
            return True
        if key == "format" and dialect.formats is not None:
            return value in dialect.formats
        if key == "pattern" and not dialect.lookaround:
            return isinstance(value, str) and re.search(r"\(\?[=!<P]|\\[1-9bB]", value) is None
        if key == "minItems" and dialect.min_items is not None:
            return isinstance(value, int) and value <= dialect.min_items
        if key in dialect.drops or (dialect.keywords is not None and key not in dialect.keywords):
            return False
        return key not in _SILENT

    def _children(self, kept: dict[str, Any], path: str) -> None:
        for home in ("$defs", "definitions"):
            if home in kept:
                kept[home] = {name: self._made(value, f"{home}.{name}") for name, value in kept[home].items()}
        for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            if isinstance(kept.get(key), list):
                kept[key] = [self._made(option, f"{path}[{i}]".strip(".")) for i, option in enumerate(kept[key])]
        kinds = kept.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if isinstance(kept.get("items"), Mapping | bool) or "array" in kinds:
            items = kept.get("items", {})
            if not (items is False and self._dialect.tuples):
                kept["items"] = self._made(items, f"{path}[]")
        if "object" in kinds or "properties" in kept or isinstance(kept.get("additionalProperties"), Mapping):
            kept.setdefault("type", "object")
            self._object(kept, path)

    def _object(self, kept: dict[str, Any], path: str) -> None:
        dialect = self._dialect
        required = list(kept.get("required", ()))
        properties: dict[str, Any] = {}
        sent: dict[str, str] = {}
        for name, value in kept.get("properties", {}).items():
            below = self._made(value, f"{path}.{name}".strip("."))
            wire = sent[name] = _name(name, dialect.property_names)
            if wire != name:
                self.renamed[wire] = name
                below = below if "$ref" in below else _described(below, f"({name})")
            if dialect.all_required and name not in required:
                below = _nullable(below)
            properties[wire] = below
        kept["properties"] = properties
        if dialect.all_required:
            kept["required"] = list(properties)
        elif required:
            kept["required"] = [sent.get(name, name) for name in required if name in sent or not dialect.closed]
        free = kept.get("additionalProperties")
        if dialect.closed:
            if isinstance(free, Mapping) or (free is True and not properties):
                raise self._unfit(path, "its keys are not known beforehand, and the server takes closed objects only")
            if free is True:
                self.lost.append(f"{path or 'at the top'}: additionalProperties")
            kept["additionalProperties"] = False
        elif isinstance(free, Mapping):
            kept["additionalProperties"] = self._made(free, f"{path}.*".strip("."))


_TOLD_AS_TYPE = frozenset({"type", "properties", "items", "anyOf", "oneOf", "$ref", "enum", "const"})

_DEEPEST = 100
"""So deep schemas stand in each other, with what stands for an ``allOf`` put in its place."""

_LONGEST_WAY = 20
"""So many references are followed for one schema."""

_STRUCTURES = frozenset({"patternProperties", "dependentSchemas", "contains", "unevaluatedProperties"})


def _described(schema: dict[str, Any], more: str) -> dict[str, Any]:
    return {**schema, "description": f"{schema['description']} {more}" if schema.get("description") else more}


def _distinct(values: list[Any]) -> list[Any]:
    return list({msgspec.json.encode(value, order="deterministic"): value for value in reversed(values)}.values())[::-1]


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The same, or null."""
    kind = schema.get("type")
    if kind == "null" or (isinstance(kind, list) and "null" in kind) or {"type": "null"} in schema.get("anyOf", ()):
        return schema
    if isinstance(schema.get("anyOf"), list):
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    told = {key: schema[key] for key in ("description",) if key in schema}
    inner = {key: value for key, value in schema.items() if key not in told}
    return {"anyOf": [inner, {"type": "null"}], **told}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
