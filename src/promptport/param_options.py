"""`ParamOptions`: the fields of `LLMParams` as keywords, so that a type checker finds a misspelled one.

Rule: names and types only, the same as those of `LLMParams`, which checks the values. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypedDict

from promptport.messages import NamedTool, ReasoningEffort, ToolChoice

__all__ = ["ParamOptions"]


class ParamOptions(TypedDict, total=False):
    """The fields of `LLMParams` as keywords, for type checkers."""

    temperature: float | None
    max_tokens: int | None
    stop: str | Iterable[str]
    seed: int | None
    tool_choice: ToolChoice | NamedTool | Literal["auto", "none", "required"] | None
    parallel_tool_calls: bool | None
    response_schema: dict[str, Any] | None
    reasoning_effort: ReasoningEffort | Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None
    reasoning_budget: int | None
    user: str | None
    extra: dict[str, Any]
    foreign_reasoning: Literal["omit", "text"]
    cache: Literal["auto"] | None
    cache_lifetime: Literal["5m", "1h"] | None
