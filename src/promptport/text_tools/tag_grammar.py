"""Calls whose parameters stand in tags of their own: Qwen-coder, GLM, MiniMax. Pure.

Rule: a value ends at its closing tag. Where that is missing, it ends where the next parameter begins, or at the end of
its call: a closing tag of the call that another tag or nothing follows. What else looks like one is part of the value.
"""

from __future__ import annotations

from promptport.text_tools.grammar import PROSE, Grammar, Kind, Marker, Sink, State, Step
from promptport.text_tools.json_grammar import NAME, QUOTED_NAME, Names
from promptport.text_tools.patterns import HERE, SPACE, Part, Run, Word

__all__ = ["glm", "minimax", "qwen_coder"]

_TEXT = Step(PROSE)


def _last_value(end: str, after: str, *following: str) -> list[Marker]:
    """A value without its closing tag, ended by the call's end, which is one because of what follows it."""
    return [Marker((end, SPACE, HERE, tag), after, "value_seal") for tag in following]


def qwen_coder(names: Names) -> Grammar:
    """Qwen3-Coder and later: ``<function=f><parameter=k>v</parameter></function>``, in a tag that may be missing."""
    function: tuple[Part, ...] = ("<function=", NAME, ">")
    parameter: tuple[Part, ...] = ("<parameter=", Run(r"[^<>\s]", 1, 128, "key"), ">")
    end = "</function>"
    states = {
        "qwen_coder": State(
            Kind.EXPECT,
            Marker(parameter, "qwen_coder.value", "key"),
            Marker((end,), "qwen_coder.after", "seal_tagged"),
            otherwise=Step("qwen_coder.loose"),
            spaces=True,
        ),
        "qwen_coder.value": State(
            Kind.SEARCH,
            Marker(("</parameter>",), "qwen_coder", "value"),
            Marker((HERE, *parameter), "qwen_coder", "value"),
            *_last_value(end, "qwen_coder.after", "</tool_call>", "<tool_call>", "<function="),
            sink=Sink.VALUE,
            at_end=Step(PROSE, "value_before_function"),
        ),
        "qwen_coder.loose": State(Kind.SEARCH, Marker((end,), "qwen_coder.after", "seal_raw")),
        "qwen_coder.after": State(
            Kind.EXPECT,
            Marker((SPACE, "</tool_call>"), PROSE),
            Marker((SPACE, *function), "qwen_coder", "tagged"),
            otherwise=_TEXT,
            at_end=_TEXT,
        ),
    }
    wrapped = Marker(("<tool_call>", SPACE, *function), "qwen_coder", "tagged")
    return Grammar((wrapped, Marker(function, "qwen_coder", "tagged")), states)


def glm(names: Names) -> Grammar:
    """GLM 4.5 and later: the name, then keys and values by turns; a name alone is a call if a tool has it."""
    end = "</tool_call>"
    openers = (
        Marker(("<tool_call>", SPACE, NAME, SPACE, HERE, "<arg_key>"), "glm", "tagged"),
        Marker(("<tool_call>", SPACE, Word(names, "name"), SPACE, HERE, end), "glm", "tagged"),
    )
    states = {
        "glm": State(
            Kind.EXPECT,
            Marker(("<arg_key>", Run("[^<>]", 1, 128, "key"), "</arg_key>"), "glm.between", "key"),
            Marker(("<arg_key>", Run("[^<>]", 1, 128, "key"), HERE, "<arg_value>"), "glm.between", "key"),
            Marker((end,), PROSE, "seal_tagged"),
            otherwise=Step("glm.loose"),
            spaces=True,
        ),
        "glm.between": State(
            Kind.EXPECT, Marker(("<arg_value>",), "glm.value"), otherwise=Step("glm.loose"), spaces=True
        ),
        "glm.value": State(
            Kind.SEARCH,
            Marker(("</arg_value>",), "glm", "value_exact"),
            Marker((SPACE, HERE, "<arg_key>"), "glm", "value_exact"),
            *_last_value(end, PROSE, "<tool_call>"),
            sink=Sink.VALUE,
            at_end=Step(PROSE, "value_before_tool_call"),
        ),
        "glm.loose": State(Kind.SEARCH, Marker((end,), PROSE, "seal_raw")),
    }
    return Grammar(openers, states)


def minimax(names: Names) -> Grammar:
    """MiniMax M2: ``<invoke name="f"><parameter name="k">v</parameter></invoke>``, one or several in one tag."""
    invoke: tuple[Part, ...] = ('<invoke name="', QUOTED_NAME, '">')
    parameter: tuple[Part, ...] = ('<parameter name="', Run('[^"<>]', 1, 128, "key"), '">')
    end, last = "</invoke>", "</minimax:tool_call>"
    states = {
        "minimax": State(
            Kind.EXPECT,
            Marker(parameter, "minimax.value", "key"),
            Marker((end,), "minimax.after", "seal_tagged"),
            otherwise=Step("minimax.loose"),
            spaces=True,
        ),
        "minimax.value": State(
            Kind.SEARCH,
            Marker(("</parameter>",), "minimax", "value_exact"),
            Marker((SPACE, HERE, *parameter), "minimax", "value_exact"),
            *_last_value(end, "minimax.after", last, "<invoke "),
            sink=Sink.VALUE,
            at_end=Step(PROSE, "value_before_invoke"),
        ),
        "minimax.loose": State(Kind.SEARCH, Marker((end,), "minimax.after", "seal_raw")),
        "minimax.after": State(
            Kind.EXPECT,
            Marker((SPACE, *invoke), "minimax", "tagged"),
            Marker((SPACE, last), PROSE),
            otherwise=_TEXT,
            at_end=_TEXT,
        ),
    }
    return Grammar((Marker(("<minimax:tool_call>", SPACE, *invoke), "minimax", "tagged"),), states)
