"""What Claude models can do, by family. Pure.

Rule: the longest prefix of the model's id wins; an id that none fits is unknown, and everything that the API has is
allowed for it.

Source: the model pages and migration guides under https://platform.claude.com/docs/en/models, the ``effort`` and
``thinking`` pages beside them, and the types of the official SDK 2.12; read on 2026-11-21. Of Fable 5.2 and
Mythos 5.2 the SDK tells only the names: they are taken to be like 5.1.
"""

from __future__ import annotations

import msgspec

from promptport.provider import Capability, ModelCapabilities, StreamedTools

__all__ = ["CHECKED", "DESCRIBED", "Family", "capabilities_of", "family_of"]

CHECKED = "2026-11-21"
"""When this table was compared with its sources."""

_LOW = ("low", "medium", "high")
_MAX = (*_LOW, "max")
_ALL = (*_LOW, "xhigh", "max")

_COMMON = frozenset(
    {
        Capability.TOOLS,
        Capability.TOOL_CHOICE,
        Capability.PARALLEL_TOOL_CALLS,
        Capability.TOOL_RESULT_IMAGES,
        Capability.IMAGES,
        Capability.DOCUMENTS,
        Capability.JSON_SCHEMA,
        Capability.REASONING,
        Capability.CACHE_CONTROL,
        Capability.STOP,
        Capability.USER,
        Capability.SYSTEM,
    }
)


class Family(msgspec.Struct, frozen=True):
    """Models that can do the same.

    Attributes:
        thinking: the values of ``thinking.type`` that they accept.
        efforts: the values of ``output_config.effort`` that they accept.
        forced_tools: they can be made to call a tool.
        temperature: they take one, from an API version that has it.
        context_length: in tokens.
        max_output_tokens: in tokens.
    """

    thinking: tuple[str, ...]
    efforts: tuple[str, ...] = _ALL
    forced_tools: bool = True
    temperature: bool = False
    context_length: int = 1_000_000
    max_output_tokens: int = 128_000


_ALWAYS_THINKING = Family(("adaptive",), forced_tools=False)
_BUDGETED = Family(("enabled", "disabled"), (), True, True, 200_000, 64_000)

_FAMILIES: dict[str, Family] = {
    "claude-fable-5": Family(("adaptive",)),
    "claude-fable-5-1": _ALWAYS_THINKING,
    "claude-fable-5-2": _ALWAYS_THINKING,
    "claude-mythos-5": Family(("adaptive",)),
    "claude-mythos-5-1": _ALWAYS_THINKING,
    "claude-mythos-5-2": _ALWAYS_THINKING,
    "claude-opus-5-5": _ALWAYS_THINKING,
    "claude-opus-5": Family(("adaptive", "disabled")),
    "claude-opus-4-8": Family(("adaptive", "disabled")),
    "claude-opus-4-7": Family(("adaptive", "disabled")),
    "claude-opus-4-6": Family(("adaptive", "enabled", "disabled"), _MAX, temperature=True),
    "claude-opus-4-5": msgspec.structs.replace(_BUDGETED, efforts=_LOW),
    "claude-sonnet-5-5": Family(("adaptive", "between_tools"), forced_tools=False),
    "claude-sonnet-5": Family(("adaptive", "disabled")),
    "claude-sonnet-4-6": Family(("adaptive", "enabled", "disabled"), _MAX, temperature=True),
    "claude-sonnet-4-5": _BUDGETED,
    "claude-haiku-5-5": Family(("adaptive", "disabled")),
    "claude-haiku-4-5": _BUDGETED,
}

DESCRIBED = tuple(_FAMILIES)
"""The models of the table, for people who look it up."""


def family_of(model_id: str) -> Family | None:
    """The family of a model; ``None`` for one that nobody described."""
    fitting = [
        prefix for prefix in _FAMILIES if model_id == prefix or model_id.startswith((f"{prefix}-", f"{prefix}@"))
    ]
    return _FAMILIES[max(fitting, key=len)] if fitting else None


def capabilities_of(model_id: str, *, sampling: bool) -> ModelCapabilities:
    """What a model can do.

    Args:
        model_id: in Anthropic's words.
        sampling: the server takes ``temperature``; Anthropic's own does so only before version 2026-10-21 of its API.
    """
    family = family_of(model_id)
    if family is None:
        everything = _COMMON | {Capability.REASONING_EFFORT, Capability.REASONING_BUDGET}
        found = ModelCapabilities(StreamedTools.DELTAS, everything, known=False)
    else:
        found = ModelCapabilities(StreamedTools.DELTAS, _COMMON, family.context_length, family.max_output_tokens)
        if family.efforts:
            found = found.with_(Capability.REASONING_EFFORT)
        if "enabled" in family.thinking:
            found = found.with_(Capability.REASONING_BUDGET)
        if not family.forced_tools:
            found = found.without(Capability.TOOL_CHOICE)
    if sampling and (family is None or family.temperature):
        found = found.with_(Capability.TEMPERATURE)
    return msgspec.structs.replace(found, schema_dialect="anthropic-strict")
