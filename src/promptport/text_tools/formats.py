"""The formats: how each writes calls, as tables for the machine. Pure.

Rule: one format, one small declaration: the markers that open a call, and the states inside it. Its other direction
(tools, past calls and results, as the model is shown them) is in ``writing.py``. Sources: the models' chat templates.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from promptport.errors import InvalidInputError
from promptport.models import StreamedTools
from promptport.text_tools.grammar import PROSE, Grammar, Kind, Marker, Sink, State, Step
from promptport.text_tools.patterns import HERE, SPACE, Maybe, Part, Run, Word
from promptport.text_tools.writing import WRITINGS, Writing

__all__ = ["FORMATS", "TextFormat", "format_of", "grammar_of"]

_Names: TypeAlias = tuple[str, ...]

_NAME = Run(r"[\w.-]", 1, 128, "name")
_QUOTED_NAME = Run(r'[^"\\\x00-\x1f]', 1, 128, "name")
_REASONING = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))


class TextFormat(NamedTuple):
    """One way to write calls into text.

    Attributes:
        name: its name.
        streamed_tools: whether a call's arguments come in increments.
        grammar: its tables, for the names of the tools that were offered.
        writing: how it is written, for the model to read.
    """

    name: str
    streamed_tools: StreamedTools
    grammar: Callable[[_Names], Grammar]
    writing: Writing


# -------------------------------------------------------------------------------------- JSON with a name in it

_ARGUMENTS = Word(("arguments", "parameters"))


_SEAL = Step(PROSE, "seal")
_REASONED = Step(PROSE, "reasoned")


def _object(prefix: str, *, closers: tuple[Marker, ...] = (), at_end: Step | None = _SEAL) -> dict[str, State]:
    """The states inside ``{"name": …, "arguments": …}``, keys in any order; then comes ``<prefix>.done``.

    Args:
        prefix: what the states' names begin with.
        closers: the markers that end a call whose JSON is broken or lacks its last brace.
        at_end: what the end of the text does to a call whose JSON is broken.
    """
    key, more = f"{prefix}.key", f"{prefix}.more"
    loose = Step(f"{prefix}.loose", "loose")
    other = Run(r'[^"\\\x00-\x1f]', 0, 128, unless='(?:name|arguments|parameters)"')
    end = Marker(("}",), f"{prefix}.done")
    return {
        prefix: State(Kind.EXPECT, Marker(("{",), key), otherwise=loose),
        key: State(
            Kind.EXPECT,
            Marker(('"name"', SPACE, ":", SPACE, '"', _QUOTED_NAME, '"'), more, "name"),
            Marker(('"', _ARGUMENTS, '"', SPACE, ":"), f"{prefix}.arguments"),
            Marker(('"', other, '"', SPACE, ":"), f"{prefix}.other"),
            end,
            otherwise=loose,
            spaces=True,
        ),
        f"{prefix}.arguments": State(Kind.JSON, sink=Sink.ARGUMENTS, then=Step(more), otherwise=loose),
        f"{prefix}.other": State(Kind.JSON, then=Step(more), otherwise=loose),
        more: State(Kind.EXPECT, Marker((",",), key), end, *closers, otherwise=loose, spaces=True),
        loose.state: State(Kind.SEARCH, *closers, sink=Sink.ARGUMENTS, at_end=at_end),
    }


def _bare(names: _Names) -> tuple[Part, ...]:
    """A JSON object that is known for a call by a tool's name."""
    return (
        HERE, "{", SPACE, Maybe(('"type"', SPACE, ":", SPACE, '"function"', SPACE, ",", SPACE)),
        '"name"', SPACE, ":", SPACE, '"', Word(names), '"', SPACE, ",", SPACE, '"', _ARGUMENTS, '"',
    )  # fmt: skip


def _hermes(names: _Names) -> Grammar:
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
    return Grammar((opener,), {**_object("hermes", closers=(closer,), at_end=None), "hermes.done": done})


def _sealed_by_what_follows(*markers: Marker) -> State:
    """After a call of a format that closes none: one of these, or other text, or the end."""
    return State(Kind.EXPECT, *markers, otherwise=_SEAL, at_end=_SEAL)


def _bare_objects(names: _Names) -> Grammar:
    following = Marker((SPACE, ";", SPACE, *_bare(names)), "bare", "next")
    return Grammar(
        (Marker(_bare(names), "bare", "open"),),
        {**_object("bare"), "bare.done": _sealed_by_what_follows(following)},
    )


def _llama3(names: _Names) -> Grammar:
    bare = _bare_objects(names)
    tag = Marker(("<|python_tag|>", SPACE, HERE, "{"), "llama3", "open")
    following = Marker((SPACE, ";", SPACE, HERE, "{"), "llama3", "next")
    states = {**_object("llama3"), "llama3.done": _sealed_by_what_follows(following)}
    return Grammar((tag, *bare.openers), {**bare.states, **states})


def _json(names: _Names) -> Grammar:
    bare = _bare_objects(names)
    fence = Maybe((Run("`", 3, 3, "fence"), Run("[A-Za-z_]", 0, 16), SPACE))
    array = Maybe((Run(r"\[", 1, 1, "array"), SPACE))
    opener = Marker((fence, array, *_bare(names)), "bare", "open_group")
    fence_end = Marker((SPACE, Maybe(("]", SPACE)), "```"), PROSE, "seal")
    array_end = Marker((SPACE, "]"), PROSE, "seal")
    following = (SPACE, Run("[,;]", 0, 1), SPACE, *_bare(names))
    states = {**bare.states, **_object("fence"), **_object("array")}
    states["fence.done"] = _sealed_by_what_follows(Marker(following, "fence", "next"), fence_end)
    states["array.done"] = _sealed_by_what_follows(Marker(following, "array", "next"), array_end)
    return Grammar((opener,), states)


def _required(names: _Names) -> Grammar:
    """An answer that begins with a brace is a call from there on, for the server holds it to a call's schema."""
    json = _json(names)
    whole = State(Kind.EXPECT, Marker((SPACE, HERE, "{"), "bare", "open"), otherwise=Step(PROSE), at_end=Step(PROSE))
    return Grammar(json.openers, {**json.states, "required": whole}, "required")


# ----------------------------------------------------------------------------------------------- others


def _mistral(names: _Names) -> Grammar:
    tag = "[TOOL_CALLS]"
    array = Marker((tag, SPACE, "[", SPACE, HERE, "{"), "mistral", "open")
    call_id = Maybe(("[CALL_ID]", Run(r"[\w-]", 1, 64, "id")))
    named = Marker((tag, SPACE, _NAME, call_id, Maybe(("[ARGS]",)), SPACE, HERE, "{"), "mistral.call", "call")
    another = Marker((HERE, tag), PROSE, "seal")
    states = {
        **_object("mistral", closers=(another,)),
        "mistral.done": State(
            Kind.EXPECT,
            Marker((SPACE, ",", SPACE, HERE, "{"), "mistral", "next"),
            Marker((SPACE, "]"), PROSE, "seal"),
            otherwise=_SEAL,
        ),
        "mistral.call": State(
            Kind.JSON, sink=Sink.ARGUMENTS, then=Step("mistral.called"), otherwise=Step("mistral.call.loose")
        ),
        "mistral.called": _sealed_by_what_follows(),
        "mistral.call.loose": State(Kind.SEARCH, another, sink=Sink.ARGUMENTS, at_end=_SEAL),
    }
    return Grammar((array, named), states)


def _qwen_coder(names: _Names) -> Grammar:
    function = ("<function=", _NAME, ">")
    end = "</function>"
    states = {
        "qwen_coder": State(
            Kind.EXPECT,
            Marker(("<parameter=", Run(r"[^<>\s]", 1, 128, "key"), ">"), "qwen_coder.value", "key"),
            Marker((end,), "qwen_coder.after", "seal_tagged"),
            otherwise=Step("qwen_coder.loose"),
            spaces=True,
        ),
        "qwen_coder.value": State(Kind.SEARCH, Marker(("</parameter>",), "qwen_coder", "value"), sink=Sink.VALUE),
        "qwen_coder.loose": State(Kind.SEARCH, Marker((end,), "qwen_coder.after", "seal_raw")),
        "qwen_coder.after": State(
            Kind.EXPECT,
            Marker((SPACE, "</tool_call>"), PROSE),
            Marker((SPACE, *function), "qwen_coder", "tagged"),
            otherwise=Step(PROSE),
            at_end=Step(PROSE),
        ),
    }
    wrapped = Marker(("<tool_call>", SPACE, *function), "qwen_coder", "tagged")
    return Grammar((wrapped, Marker(function, "qwen_coder", "tagged")), states)


def _pythonic(names: _Names) -> Grammar:
    tags = (("<|python_start|>", "<|python_end|>"), ("<|tool_call_start|>", "<|tool_call_end|>"))
    starts = [Maybe((start, SPACE)) for start, _ in tags]
    opener = Marker((*starts, "[", SPACE, Word(names, "name"), SPACE, "("), "pythonic", "tagged")
    states = {
        "pythonic": State(Kind.PYTHON, sink=Sink.VALUE, then=Step("pythonic.after", "seal_python")),
        "pythonic.after": State(
            Kind.EXPECT,
            Marker((SPACE, ",", SPACE, _NAME, SPACE, "("), "pythonic", "tagged"),
            Marker((SPACE, "]"), "pythonic.end"),
            otherwise=Step(PROSE),
            at_end=Step(PROSE),
        ),
        "pythonic.end": State(
            Kind.EXPECT, *[Marker((end,), PROSE) for _, end in tags], otherwise=Step(PROSE), at_end=Step(PROSE)
        ),
    }
    return Grammar((opener,), states)


def _harmony(names: _Names) -> Grammar:
    word = r"[\w.-]"
    recipient = ("to=", Run(word, 1, 128, "recipient"))
    header = (
        "<|channel|>", Run("[a-z]", 1, 32, "channel"), Maybe((" to=", Run(word, 1, 128, "to"))),
        Run(" ", 0, 2), Maybe(("<|constrain|>",)), Run(r"[\w./-]", 0, 32), Run(" ", 0, 2), "<|message|>",
    )  # fmt: skip
    # The server's template has written "<|start|>assistant" already, and the model goes on from there.
    start = State(
        Kind.EXPECT,
        Marker((Run(" ", 0, 1), *recipient, *header), "", "channel"),
        otherwise=Step(PROSE),
        at_end=Step(PROSE),
    )
    started = ("<|start|>assistant", Maybe((" ", *recipient)), *header)
    openers = (Marker(header, "", "channel"), Marker(started, "", "channel"))
    # A message without its end is ended by the next one.
    ends: tuple[tuple[Part, ...], ...] = (
        ("<|end|>",), ("<|call|>",), ("<|return|>",), (HERE, *started), (HERE, *header),
    )  # fmt: skip
    seals = [Marker(end, PROSE, "seal") for end in ends]
    loose = Step("harmony.loose")
    states = {
        "harmony": start,
        "harmony.text": State(Kind.SEARCH, *[Marker(end, PROSE) for end in ends], sink=Sink.TEXT),
        "harmony.analysis": State(
            Kind.SEARCH, *[Marker(end, *_REASONED) for end in ends], sink=Sink.REASONING, at_end=_REASONED
        ),
        "harmony.call": State(Kind.JSON, sink=Sink.ARGUMENTS, then=Step("harmony.called"), otherwise=loose),
        # The tokens that end a message end the model's turn too, so that servers do not print them.
        "harmony.called": State(Kind.EXPECT, *seals, otherwise=loose, at_end=_SEAL, spaces=True),
        "harmony.loose": State(Kind.SEARCH, *seals, sink=Sink.ARGUMENTS),
    }
    return Grammar(openers, states, "harmony")


# ----------------------------------------------------------------------------------------- all of them

_ALONE = tuple(
    [
        TextFormat(name, streamed_tools, grammar, WRITINGS[name])
        for name, streamed_tools, grammar in (
            ("hermes", StreamedTools.DELTAS, _hermes),
            ("qwen_coder", StreamedTools.WHOLE, _qwen_coder),
            ("llama3", StreamedTools.DELTAS, _llama3),
            ("pythonic", StreamedTools.WHOLE, _pythonic),
            ("mistral", StreamedTools.DELTAS, _mistral),
            ("harmony", StreamedTools.DELTAS, _harmony),
            ("json", StreamedTools.DELTAS, _json),
        )
    ]
)


def _auto(names: _Names) -> Grammar:
    """All formats at once: whichever marker comes says what it is."""
    grammars = [alone.grammar(names) for alone in _ALONE]
    # The bare objects of llama3 are the last choice of json's one marker.
    bare = _bare_objects(names).openers
    openers = [opener for grammar in grammars for opener in grammar.openers if opener not in bare]
    states = {name: state for grammar in grammars for name, state in grammar.states.items()}
    return Grammar(tuple(openers), states, "harmony")


FORMATS = {
    each.name: each
    for each in (
        *_ALONE,
        TextFormat("auto", StreamedTools.DELTAS, _auto, WRITINGS["json"]),
        TextFormat("required", StreamedTools.DELTAS, _required, WRITINGS["json"]),
        TextFormat("none", StreamedTools.NONE, lambda _: Grammar((), {}), WRITINGS["json"]),
    )
}
"""All formats by name; ``auto`` recognises the marker that it meets, ``required`` is for an answer that must be a call,
``none`` knows reasoning tags only."""


def format_of(format: str | TextFormat) -> TextFormat:
    """The format of this name.

    Raises:
        InvalidInputError: there is none.
    """
    if isinstance(format, TextFormat):
        return format
    if format not in FORMATS:
        raise InvalidInputError(f"no text format is named {format!r}; there are {', '.join(FORMATS)}")
    return FORMATS[format]


@lru_cache(maxsize=64)
def grammar_of(format: TextFormat, names: _Names, reasoning: str) -> tuple[dict[str, State], str]:
    """The format's states, `PROSE` and those of the reasoning tags among them, and where to start.

    Args:
        format: the format.
        names: the names of the tools that were offered.
        reasoning: as in `TextToolsParser`.
    """
    openers, states, start = format.grammar(names)
    states = dict(states)
    if reasoning != "off":
        for index, (opening, closing) in enumerate(_REASONING):
            openers = (*openers, Marker((opening,), f"reasoning.{index}"))
            closer = Marker((closing,), *_REASONED)
            states[f"reasoning.{index}"] = State(Kind.SEARCH, closer, sink=Sink.REASONING, at_end=_REASONED)
    if reasoning == "open":
        inside = Step("reasoning.0")
        again = Marker((SPACE, _REASONING[0][0]), inside.state)
        start = "reasoning"
        states[start] = State(Kind.EXPECT, again, otherwise=inside, at_end=inside)
    states[PROSE] = State(Kind.SEARCH, *openers, sink=Sink.TEXT)
    return states, start
