"""The formats: how each writes calls, as tables for the machine. Pure.

Rule: one format, one small declaration: the markers that open a call, and the states inside it. Its other direction
(tools, past calls and results, as the model is shown them) is in ``writing.py``. Sources: the models' chat templates.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from promptport.errors import InvalidInputError
from promptport.models import StreamedTools
from promptport.text_tools import json_grammar, tag_grammar, token_grammar
from promptport.text_tools.grammar import PROSE, REASONED, Grammar, Kind, Marker, Sink, State, Step
from promptport.text_tools.json_grammar import NAME, Names
from promptport.text_tools.patterns import SPACE, Maybe, Word
from promptport.text_tools.writing import WRITINGS, Writing

__all__ = ["FORMATS", "TextFormat", "format_of", "grammar_of"]

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
    grammar: Callable[[Names], Grammar]
    writing: Writing


# ----------------------------------------------------------------------------------------------- others


def _pythonic(names: Names) -> Grammar:
    tags = (("<|python_start|>", "<|python_end|>"), ("<|tool_call_start|>", "<|tool_call_end|>"))
    starts = [Maybe((start, SPACE)) for start, _ in tags]
    opener = Marker((*starts, "[", SPACE, Word(names, "name"), SPACE, "("), "pythonic", "tagged")
    states = {
        "pythonic": State(Kind.PYTHON, sink=Sink.VALUE, then=Step("pythonic.after", "seal_python")),
        "pythonic.after": State(
            Kind.EXPECT,
            Marker((SPACE, ",", SPACE, NAME, SPACE, "("), "pythonic", "tagged"),
            Marker((SPACE, "]"), "pythonic.end"),
            otherwise=Step(PROSE),
            at_end=Step(PROSE),
        ),
        "pythonic.end": State(
            Kind.EXPECT, *[Marker((end,), PROSE) for _, end in tags], otherwise=Step(PROSE), at_end=Step(PROSE)
        ),
    }
    return Grammar((opener,), states)


# ----------------------------------------------------------------------------------------- all of them

_ALONE = tuple(
    [
        TextFormat(name, streamed_tools, grammar, WRITINGS[name])
        for name, streamed_tools, grammar in (
            ("hermes", StreamedTools.DELTAS, json_grammar.hermes),
            ("qwen_coder", StreamedTools.WHOLE, tag_grammar.qwen_coder),
            ("llama3", StreamedTools.DELTAS, json_grammar.llama3),
            ("pythonic", StreamedTools.WHOLE, _pythonic),
            ("mistral", StreamedTools.DELTAS, json_grammar.mistral),
            ("harmony", StreamedTools.DELTAS, token_grammar.harmony),
            ("kimi", StreamedTools.DELTAS, token_grammar.kimi),
            ("glm", StreamedTools.WHOLE, tag_grammar.glm),
            ("deepseek", StreamedTools.DELTAS, token_grammar.deepseek),
            ("minimax", StreamedTools.WHOLE, tag_grammar.minimax),
            ("json", StreamedTools.DELTAS, json_grammar.json),
        )
    ]
)


def _auto(names: Names) -> Grammar:
    """All formats at once: whichever marker comes says what it is."""
    grammars = [alone.grammar(names) for alone in _ALONE]
    openers = dict.fromkeys([opener for grammar in grammars for opener in grammar.openers])
    states = {name: state for grammar in grammars for name, state in grammar.states.items()}
    if "begin" not in states:
        return Grammar(tuple(openers), states, "harmony")
    first, line = states["harmony"], states["begin"]
    states["start"] = State(
        Kind.EXPECT, *first.markers, *line.markers, otherwise=first.otherwise, at_end=first.at_end, spaces=first.spaces
    )
    return Grammar(tuple(openers), states, "start")


FORMATS = {
    each.name: each
    for each in (
        *_ALONE,
        TextFormat("auto", StreamedTools.DELTAS, _auto, WRITINGS["json"]),
        TextFormat("required", StreamedTools.DELTAS, json_grammar.required, WRITINGS["json"]),
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
    if not isinstance(format, str) or format not in FORMATS:
        raise InvalidInputError(f"no text format is named {format!r}; there are {', '.join(FORMATS)}")
    return FORMATS[format]


@lru_cache(maxsize=64)
def grammar_of(format: TextFormat, names: Names, reasoning: str) -> tuple[dict[str, State], str]:
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
            closer = Marker((closing,), *REASONED)
            states[f"reasoning.{index}"] = State(Kind.SEARCH, closer, sink=Sink.REASONING, at_end=REASONED)
    if reasoning == "open":
        inside = Step("reasoning.0")
        again = Marker((SPACE, _REASONING[0][0]), inside.state)
        start = "reasoning"
        states[start] = State(Kind.EXPECT, again, otherwise=inside, at_end=inside)
    states[PROSE] = State(Kind.SEARCH, *openers, sink=Sink.TEXT)
    return states, start
