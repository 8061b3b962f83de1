"""How to ask: `LLMParams`, and the words that it takes.

Rule: a parameter out of range is refused when the value is made, so that a bad one never reaches a provider.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec.structs import force_setattr

from promptport.checking import check_fields
from promptport.errors import InvalidInputError
from promptport.parts import Quiet

__all__ = ["LLMParams", "NamedTool", "OwnSchema", "ReasoningEffort", "ToolChoice"]


class OwnSchema(dict[str, Any]):
    """A response schema of somebody who checks the answer himself, so that the client does not."""


class ToolChoice(enum.StrEnum):
    """Whether the model calls tools: as it likes, never, or at least one."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


class NamedTool(msgspec.Struct, frozen=True):
    """The tool choice "call this one"."""

    name: str

    def __post_init__(self) -> None:
        check_fields(self)


class ReasoningEffort(enum.StrEnum):
    """How hard the model thinks, where the provider takes a word for it."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class LLMParams(Quiet, frozen=True, omit_defaults=True):
    """How to ask. ``None`` leaves a parameter to the provider; one that it cannot honour raises.

    Attributes:
        temperature: 0 and up.
        max_tokens: the answer's limit in tokens, at least 1.
        stop: texts that end the answer.
        seed: for repeatable sampling.
        tool_choice: `ToolChoice`, or `NamedTool`.
        parallel_tool_calls: whether one answer may hold several calls.
        response_schema: the JSON schema that the answer's text follows. What the provider cannot be told of it, the
            client checks: an answer in JSON that does not fit ends in `ProtocolError`. Where the provider wants every
            property required, ``null`` can stand for one that the schema lets the model leave out.
        reasoning_effort: how hard to think, as a word.
        reasoning_budget: how much to think, in tokens.
        user: a stable id of the end user, for the provider's abuse detection.
        extra: the provider's own options, put into the request body as they are.
        foreign_reasoning: what becomes of visible reasoning that another server's model wrote: ``omit`` leaves it out,
            ``text`` sends it as text of the model's message.
        cache: ``auto`` marks the tools, the instructions and the last stable message for the provider's prompt cache,
            if the provider takes marks. If it caches by itself, nothing is sent.
        cache_lifetime: how long what ``cache`` marks is kept, if the provider lets one choose.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tool_choice: ToolChoice | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_schema: dict[str, Any] | None = None
    reasoning_effort: ReasoningEffort | None = None
    reasoning_budget: int | None = None
    user: str | None = None
    extra: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it
    foreign_reasoning: Literal["omit", "text"] = "omit"
    cache: Literal["auto"] | None = None
    cache_lifetime: Literal["5m", "1h"] | None = None

    def __post_init__(self) -> None:
        self._take_words()
        check_fields(self)
        _check_number("temperature", self.temperature, int | float)
        _check_number("max_tokens", self.max_tokens, int)
        _check_number("seed", self.seed, int)
        _check_number("reasoning_budget", self.reasoning_budget, int)
        if self.temperature is not None and not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise InvalidInputError(f"temperature must be a number from 0 up, not {self.temperature}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidInputError(f"max_tokens must be at least 1, not {self.max_tokens}; leave it out for no limit")
        if self.reasoning_budget is not None and self.reasoning_budget < 0:
            raise InvalidInputError(f"reasoning_budget must be 0 or more tokens, not {self.reasoning_budget}")
        if not isinstance(self.response_schema, dict | None):
            raise InvalidInputError("response_schema takes a JSON schema as a dict")
        _check_choice("foreign_reasoning", self.foreign_reasoning, "omit", "text")
        _check_choice("cache", self.cache, None, "auto")
        _check_choice("cache_lifetime", self.cache_lifetime, None, "5m", "1h")
        if self.cache_lifetime is not None and self.cache is None:
            raise InvalidInputError("cache_lifetime needs cache='auto'; without it nothing is marked for the cache")
        if not isinstance(self.extra, dict):
            raise InvalidInputError("extra takes a dict of the provider's own options")

    def _take_words(self) -> None:
        """One stop text for several, a list of them for a tuple, and a choice by its word, as everybody writes them."""
        stop: object = self.stop
        if type(stop) is not tuple:
            stop = tuple(stop) if isinstance(stop, Iterable) and not isinstance(stop, str) else (stop,)
            force_setattr(self, "stop", stop)
        if not all(isinstance(text, str) and text for text in self.stop):
            raise InvalidInputError("stop takes texts, which must not be empty")
        if not isinstance(self.tool_choice, ToolChoice | NamedTool | None):
            force_setattr(
                self, "tool_choice", _word(ToolChoice, self.tool_choice, "tool_choice", " or NamedTool(name)")
            )
        if not isinstance(self.reasoning_effort, ReasoningEffort | None):
            force_setattr(self, "reasoning_effort", _word(ReasoningEffort, self.reasoning_effort, "reasoning_effort"))


def _check_number(name: str, value: object, kind: Any) -> None:
    if value is not None and not isinstance(value, kind):
        raise InvalidInputError(f"{name} must be a {'whole ' if kind is int else ''}number, not {type(value).__name__}")


def _check_choice(name: str, value: object, *choices: str | None) -> None:
    if value not in choices:
        words = " or ".join([repr(choice) for choice in choices])
        raise InvalidInputError(f"{name} takes {words}, not {value!r}")


def _word(kind: type[enum.Enum], value: object, name: str, more: str = "") -> enum.Enum:
    try:
        return kind(value)
    except ValueError:
        words = ", ".join([repr(member.value) for member in kind])
        raise InvalidInputError(f"{name} takes {words}{more}") from None
