"""Calls that are written as JSON objects, in tags, fences, arrays or bare. Pure.

Rule: an object in tags of a format is a call whatever it holds. An object without them *may* be one: it waits, whole,
until its keys decide. A known tool's name beside arguments makes it a call, whatever stands around it; an unknown name
does so only where nothing else is said, alone in a fence or as the whole answer. Else it is text, and given back.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from promptport.text_tools.grammar import PROSE, Grammar, Kind, Marker, Sink, State, Step
from promptport.text_tools.patterns import HERE, SPACE, Maybe, Part, Run, Word
from promptport.text_tools.values import ARGUMENT_KEYS, NAME_KEYS, WRAPPING_KEYS

__all__ = ["ARGUMENT_KEYS", "SEAL", "Names", "hermes", "json", "llama3", "mistral", "object_states", "required"]

Names: TypeAlias = tuple[str, ...]

NAME = Run(r"[\w.-]", 1, 128, "name")
QUOTED_NAME = Run(r'[^"\\\x00-\x1f]', 1, 128, "name")

_KEYS = (*NAME_KEYS, *ARGUMENT_KEYS, *WRAPPING_KEYS, "id")
_QUOTE = Run("[\"']", 1, 1)

_BEGIN = "begin"

SEAL = Step(PROSE, "seal")
_TEXT_FOLLOWS = Step(PROSE, "followed")


def _key(*words: str) -> tuple[Part, ...]:
    return ('"', Word(words), '"', SPACE, ":")


def object_states(
    prefix: str,
    names: Names = (),
    *,
    closers: tuple[Marker, ...] = (),
    at_end: Step | None = SEAL,
    done: tuple[str, str] | None = None,
) -> dict[str, State]:
    """The states inside ``{"name": …, "arguments": …}``, keys in any order; then comes ``<prefix>.done``.

    So of ``{"f": {…}}``, the arguments under the name of a known tool, and of a dict that is written as Python does.

    Args:
        prefix: what the states' names begin with.
        names: of the tools that were offered.
        closers: the markers that end a call whose JSON is broken or lacks its last brace.
        at_end: what the end of the text does to a call whose JSON is broken.
        done: the state and action after the object, if it is not ``<prefix>.done``: then it stands in another one.
    """
    key, more = f"{prefix}.key", f"{prefix}.more"
    loose = Step(f"{prefix}.loose", "loose")
    tools = tuple([name for name in names if name not in {*_KEYS, "description"}])
    known = "|".join((*NAME_KEYS, *ARGUMENT_KEYS, *WRAPPING_KEYS, "description", *map(re.escape, tools)))
    other = Run(r'[^"\\\x00-\x1f]', 0, 128, "key", unless=f'(?:{known})"')
    end = Marker(("}",), *(done or (f"{prefix}.done", "ended")))
    markers = [
        Marker((*_key(*NAME_KEYS, "function"), SPACE, '"', QUOTED_NAME, '"'), more, "name"),
        Marker(_key(*ARGUMENT_KEYS), f"{prefix}.arguments", "arguments"),
        Marker(_key("description"), f"{prefix}.other", "echo"),
        Marker(('"', Word(tools, "key"), '"', SPACE, ":"), f"{prefix}.keyed", "key"),
        Marker(('"', other, '"', SPACE, ":"), f"{prefix}.other", "other"),
        end,
    ]
    states: dict[str, State] = {}
    first = key
    if done is None:
        inner, first, literal = f"{prefix}.in", f"{prefix}.first", f"{prefix}.literal"
        states = object_states(inner, names, closers=closers, at_end=at_end, done=(more, ""))
        markers.insert(1, Marker((*_key(*WRAPPING_KEYS), SPACE, "{"), f"{inner}.key"))
        begun = Marker((HERE, "'"), literal)
        states[first] = State(Kind.EXPECT, begun, *markers, otherwise=loose, spaces=True)
        states[literal] = State(Kind.PYTHON, sink=Sink.VALUE, then=Step(f"{prefix}.done", "literal"), otherwise=loose)
    keyed = Marker((HERE, "{"), f"{prefix}.arguments", "keyed")
    return {
        **states,
        prefix: State(Kind.EXPECT, Marker(("{",), first), otherwise=loose),
        f"{prefix}.keyed": State(Kind.EXPECT, keyed, otherwise=Step(f"{prefix}.other", "unkeyed"), spaces=True),
        key: State(Kind.EXPECT, *markers, otherwise=loose, spaces=True),
        f"{prefix}.arguments": State(Kind.JSON, sink=Sink.ARGUMENTS, then=Step(more), otherwise=loose),
        f"{prefix}.other": State(Kind.JSON, then=Step(more), otherwise=loose),
        more: State(Kind.EXPECT, Marker((",",), key), end, *closers, otherwise=loose, spaces=True),
        loose.state: State(Kind.SEARCH, *closers, sink=Sink.ARGUMENTS, at_end=at_end),
    }


# ----------------------------------------------------------------------------------------- bare, fenced, in arrays

# What an object begins with that may be a call.
_TYPE = (
    '"type"',
    SPACE,
    ":",
    SPACE,
    '"',
    Word(("function", "function_call", "tool_call", "tool_use")),
    '"',
    SPACE,
    ",",
    SPACE,
)


def _begun(names: Names) -> tuple[Part, ...]:
    return (HERE, "{", SPACE, Maybe(_TYPE), _QUOTE, Word((*_KEYS, *names)), _QUOTE, SPACE, ":")


def _sealed_by_what_follows(*markers: Marker) -> State:
    """After a call of a format that closes none: one of these, or other text, or the end."""
    return State(Kind.EXPECT, *markers, otherwise=_TEXT_FOLLOWS, at_end=SEAL)


def _following(state: str, names: Names) -> Marker:
    return Marker((SPACE, Run("[,;]", 0, 1), SPACE, *_begun(names)), state, "next_perhaps")


def json(names: Names) -> Grammar:
    """Objects, alone or in a list, bare or in a fence, in a tag such as ``<json>``, or under ``tool_calls``."""
    fence = Maybe((Run("`", 3, 3, "fence"), Run("[A-Za-z_]", 0, 16), SPACE))
    tag = Maybe(("<", Run("[A-Za-z_]", 1, 16, "tag", unless="(?:tool_call|think)>"), ">", SPACE))
    wrapped = Maybe(("{", SPACE, '"tool_calls"', SPACE, ":", SPACE, Run(r"\[", 1, 1, "listed"), SPACE))
    array = Maybe((Run(r"\[", 1, 1, "array"), SPACE))
    opener = Marker((fence, tag, wrapped, array, *_begun(names)), "bare", "open_group")
    fence_end: tuple[Part, ...] = ("```",)
    tag_end: tuple[Part, ...] = ("</", Run("[A-Za-z_]", 1, 16), ">")
    states: dict[str, State] = {}
    for group, end in (("fence", fence_end), ("tag", tag_end)):
        states |= object_states(group, names, closers=(Marker((SPACE, *end), PROSE, "seal"),))
        states[f"{group}.done"] = _sealed_by_what_follows(
            _following(group, names),
            Marker((SPACE, "}"), f"{group}.done"),  # small models close once too often
            Marker((SPACE, Maybe(("]", SPACE, Maybe(("}", SPACE)))), *end), PROSE, "seal"),
        )
    for group, last in (("array", ("]",)), ("listed", ("]", SPACE, "}"))):
        states |= object_states(group, names)
        states[f"{group}.done"] = _sealed_by_what_follows(
            _following(group, names), Marker((SPACE, *last), PROSE, "seal")
        )
    # Nothing but calls in a fence, as Python writes them.
    module = Maybe((Word(("default_api", "functions", "tools")), "."))
    code: tuple[Part, ...] = (Maybe(("print", SPACE, "(", SPACE)), module, Word(names, "name"), SPACE, "(")
    opener_python = Marker(("```", Run("[A-Za-z_]", 0, 16), SPACE, *code), "code", "open_code")
    states["code"] = State(Kind.PYTHON, sink=Sink.VALUE, then=Step("code.done", "code_ended"))
    states["code.done"] = State(
        Kind.EXPECT,
        Marker((SPACE, Run("[;,]", 0, 1), SPACE, *code), "code", "next_code"),
        Marker((SPACE, ")"), "code.done"),
        Marker((SPACE, *fence_end), PROSE, "code_sealed"),
        otherwise=Step(PROSE, "followed"),
        at_end=Step(PROSE, "code_sealed"),
    )
    states |= object_states("bare", names)
    states["bare.done"] = _sealed_by_what_follows(_following("bare", names))
    if not names:
        return Grammar((opener, opener_python), states)
    # The same without a fence, where an answer ends in nothing but such lines.
    states["line"] = State(Kind.PYTHON, sink=Sink.VALUE, then=Step("line.done", "code_ended"))
    states["line.done"] = State(
        Kind.EXPECT,
        Marker((SPACE, Run("[;,]", 0, 1), SPACE, *code), "line", "next_code"),
        Marker((SPACE, ")"), "line.done"),
        Marker((Run(r"[ \t\r\n]", 1, 32),), "line.done"),
        otherwise=Step(PROSE, "followed"),
        at_end=Step(PROSE, "code_sealed"),
    )
    begin = Marker((SPACE, *code), "line", "open_code")
    states[_BEGIN] = State(Kind.EXPECT, begin, otherwise=Step(PROSE), at_end=Step(PROSE))
    line = Marker(("\n", SPACE, *code), "line", "open_code")
    return Grammar((opener, opener_python, line), states, _BEGIN)


def required(names: Names) -> Grammar:
    """An answer that begins with a brace is a call from there on, for the server holds it to a schema of calls.

    So is one that begins with a bracket and a brace: a list of them.
    """
    grammar = json(names)
    text = Step(PROSE)
    markers = (
        Marker((SPACE, HERE, "{"), "bare", "open"),
        Marker((SPACE, "[", SPACE, HERE, "{"), "array", "open"),
    )
    whole = State(Kind.EXPECT, *markers, otherwise=text, at_end=text)
    return Grammar(grammar.openers, {**grammar.states, "required": whole}, "required")


# ------------------------------------------------------------------------------------------------ in tags


def hermes(names: Names) -> Grammar:
    """Hermes, Qwen: in ``<tool_call>`` tags; and as `json`, for small models forget the tags."""
    opener = Marker(("<tool_call>", SPACE, HERE, "{"), "hermes", "open")
    closer = Marker(("</tool_call>",), PROSE, "seal")
    done = State(
        Kind.EXPECT,
        closer,
        Marker(("}",), "hermes.done"),  # small models close once too often …
        opener._replace(action="next"),  # … or forget to close
        otherwise=Step("hermes.loose", "loose"),
        spaces=True,
    )
    bare = json(names)
    states = {**bare.states, **object_states("hermes", names, closers=(closer,), at_end=None), "hermes.done": done}
    return Grammar((opener, *bare.openers), states, bare.start)


def llama3(names: Names) -> Grammar:
    """Llama 3: behind its tag, which nothing closes; and as `json`."""
    bare = json(names)
    tag = Marker(("<|python_tag|>", SPACE, HERE, "{"), "llama3", "open")
    following = Marker((SPACE, ";", SPACE, HERE, "{"), "llama3", "next")
    states = {**bare.states, **object_states("llama3", names), "llama3.done": _sealed_by_what_follows(following)}
    return Grammar((tag, *bare.openers), states, bare.start)


def mistral(names: Names) -> Grammar:
    """Mistral, old and new."""
    tag = "[TOOL_CALLS]"
    array = Marker((tag, SPACE, "[", SPACE, HERE, "{"), "mistral", "open")
    call_id = Maybe(("[CALL_ID]", Run(r"[\w-]", 1, 64, "id")))
    named = Marker((tag, SPACE, NAME, call_id, Maybe(("[ARGS]",)), SPACE, HERE, "{"), "mistral.call", "call")
    another = Marker((HERE, tag), PROSE, "seal")
    states = {
        **object_states("mistral", names, closers=(another,)),
        "mistral.done": State(
            Kind.EXPECT,
            Marker((SPACE, ",", SPACE, HERE, "{"), "mistral", "next"),
            Marker((SPACE, "]"), PROSE, "seal"),
            otherwise=SEAL,
        ),
        "mistral.call": State(
            Kind.JSON, sink=Sink.ARGUMENTS, then=Step("mistral.called"), otherwise=Step("mistral.call.loose")
        ),
        "mistral.called": _sealed_by_what_follows(),
        "mistral.call.loose": State(Kind.SEARCH, another, sink=Sink.ARGUMENTS, at_end=SEAL),
    }
    return Grammar((array, named), states)
