"""Markers of calls that stand in what is given as text. Pure.

Rule: text that a model meant as a call, in a format that nobody here reads, is told: it is counted by its marker.
"""

from __future__ import annotations

import re

__all__ = ["ForeignMarkers"]

_MARKERS = (
    # of formats that are read, around something that is no call
    "<tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "<|tool_call_start|>", "<|python_start|>", "<minimax:tool_call>",
    "<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>",
    # of others: DeepSeek V3.2 and V4, Claude's, Phi-4, Granite, InternLM, Nemotron, Seed, LongCat, FunctionGemma,
    # Step, Apertus, Command R, Gemma, Hunyuan, xLAM
    "<｜DSML｜function_calls>", "<｜DSML｜tool_calls>", "<function_calls>", "<|tool_call|>", "functools[",
    "<|action_start|>", "<TOOLCALL>", "<seed:tool_call>", "<longcat_tool_call>", "<start_function_call>",
    "<|tools_prefix|>", "<|START_ACTION|>", "```tool_code", "<tool_calls>", "<function_call>", "<|tool_call>",
    "<steptml:toolcall", "<xai:function_call", "<tools>",
)  # fmt: skip
_PATTERN = re.compile("|".join(map(re.escape, sorted(_MARKERS, key=len, reverse=True))))
_LONGEST = max(map(len, _MARKERS))


class ForeignMarkers:
    """Counts them in a text that comes in pieces."""

    __slots__ = ("_tail", "seen")

    def __init__(self, seen: dict[str, int]) -> None:
        """``seen``: where they are counted."""
        self.seen = seen
        self._tail = ""

    def feed(self, text: str) -> None:
        """The next piece."""
        known, joined = len(self._tail), self._tail + text
        for match in _PATTERN.finditer(joined):
            if match.end() > known:
                name = f"text {match.group()}"
                self.seen[name] = self.seen.get(name, 0) + 1
        self._tail = joined[1 - _LONGEST :]
