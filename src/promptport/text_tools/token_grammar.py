"""Calls between special tokens: harmony, Kimi, DeepSeek. Pure.

Rule: the tokens are text here, for servers print them; a token inside a JSON string is part of the string.
"""

from __future__ import annotations

from promptport.text_tools.grammar import PROSE, REASONED, Grammar, Kind, Marker, Sink, State, Step
from promptport.text_tools.json_grammar import NAME, SEAL, Names
from promptport.text_tools.patterns import HERE, SPACE, Maybe, Part, Run

__all__ = ["deepseek", "harmony", "kimi"]


def harmony(names: Names) -> Grammar:
    """gpt-oss: messages in channels; those with a recipient are calls."""
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
            Kind.SEARCH, *[Marker(end, *REASONED) for end in ends], sink=Sink.REASONING, at_end=REASONED
        ),
        "harmony.call": State(Kind.JSON, sink=Sink.ARGUMENTS, then=Step("harmony.called"), otherwise=loose),
        # The tokens that end a message end the model's turn too, so that servers do not print them.
        "harmony.called": State(Kind.EXPECT, *seals, otherwise=loose, at_end=SEAL, spaces=True),
        "harmony.loose": State(Kind.SEARCH, *seals, sink=Sink.ARGUMENTS),
    }
    return Grammar(openers, states, "harmony")


def _arguments(prefix: str, *end: Part) -> dict[str, State]:
    """JSON up to the token that ends the call; then comes ``<prefix>.next``."""
    seal = Marker((SPACE, *end), f"{prefix}.next", "seal")
    loose = Step(f"{prefix}.loose")
    return {
        f"{prefix}.arguments": State(Kind.JSON, sink=Sink.ARGUMENTS, then=Step(f"{prefix}.called"), otherwise=loose),
        f"{prefix}.called": State(Kind.EXPECT, seal, otherwise=loose),
        loose.state: State(Kind.SEARCH, seal, sink=Sink.ARGUMENTS),
    }


def kimi(names: Names) -> Grammar:
    """Kimi K2: each call with its id, ``functions.<name>:<number>``, in a section that may be missing."""
    section: tuple[Part, ...] = ("<|tool_call", Maybe(("s",)))
    call: tuple[Part, ...] = (
        "<|tool_call_begin|>", SPACE, Run(r"[\w.:-]", 1, 160, "kimi"), SPACE, "<|tool_call_argument_begin|>",
    )  # fmt: skip
    states = {
        **_arguments("kimi", "<|tool_call_end|>"),
        "kimi.next": State(
            Kind.EXPECT,
            Marker((SPACE, *call), "kimi.arguments", "call_kimi"),
            Marker((SPACE, *section, "_section_end|>"), PROSE),
            otherwise=Step(PROSE),
            at_end=Step(PROSE),
        ),
    }
    opener = Marker((*section, "_section_begin|>", SPACE, *call), "kimi.arguments", "call_kimi")
    return Grammar((opener, Marker(call, "kimi.arguments", "call_kimi")), states)


def deepseek(names: Names) -> Grammar:
    """DeepSeek V3.1; and V3 and R1, which write a kind before the name, and the arguments in a fence."""
    begin, separator, end = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
    call: tuple[Part, ...] = (begin, NAME, separator, SPACE, HERE, "{")
    fenced: tuple[Part, ...] = (
        begin, "function", separator, NAME, SPACE, "```", Run("[a-z]", 0, 16), SPACE, HERE, "{",
    )  # fmt: skip
    calls = ((call, "deepseek.arguments"), (fenced, "deepseek.fenced.arguments"))
    section: tuple[Part, ...] = ("<｜tool▁calls▁begin｜>", SPACE)
    following = State(
        Kind.EXPECT,
        *[Marker((SPACE, *parts), state, "call") for parts, state in calls],
        Marker((SPACE, "<｜tool▁calls▁end｜>"), PROSE),
        otherwise=Step(PROSE),
        at_end=Step(PROSE),
    )
    states = {
        **_arguments("deepseek", end),
        **_arguments("deepseek.fenced", "```", SPACE, end),
        "deepseek.next": following,
        "deepseek.fenced.next": following,
    }
    openers = [Marker((*before, *parts), state, "call") for parts, state in calls for before in (section, ())]
    return Grammar(tuple(openers), states)
