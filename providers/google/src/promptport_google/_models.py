"""What the models of the Gemini API can do, by family. Pure.

Rule: the longest prefix of the model's id wins; an id that none fits is unknown, and everything that the API has is
allowed for it.

Sources, read on 2026-11-25: the pages on thinking, Gemini 3 and function calling under https://ai.google.dev/gemini-api/docs
and https://docs.cloud.google.com/gemini-enterprise-agent-platform/models (3.5 Flash's guide for its levels and those of
3.1), https://models.dev for 3.7 and 3.8 Flash and the sizes, a recorded answer of 3.7 Flash that refuses MINIMAL, and
the types of google-genai 3.6. Of Gemini 4 no page with its levels was found: all that the API has are let through.
"""

from __future__ import annotations

import msgspec

from promptport.provider import Capability, ModelCapabilities, StreamedTools

__all__ = ["CHECKED", "Described", "Family", "capabilities_of", "family_of"]

CHECKED = "2026-11-25"
"""When this table was compared with its sources."""

_WITHOUT_TOOLS = frozenset(
    {
        Capability.IMAGES,
        Capability.DOCUMENTS,
        Capability.AUDIO,
        Capability.TEMPERATURE,
        Capability.STOP,
        Capability.SEED,
        Capability.SYSTEM,
    }
)
_TEXT = _WITHOUT_TOOLS | {
    Capability.TOOLS,
    Capability.TOOL_CHOICE,
    Capability.TOOL_RESULT_IMAGES,
    Capability.JSON_SCHEMA,
}


class Family(msgspec.Struct, frozen=True):
    """Models that can do the same.

    Attributes:
        levels: the values of ``thinkingLevel`` that they accept, in lower case.
        budget: the smallest and the largest ``thinkingBudget`` besides 0; empty where there is none.
        off: a budget of 0 turns thinking off.
        third: of the third generation or later: calls must come back with their signature, results may hold media,
            and tools go together with a schema for the answer.
        capabilities: the rest.
        context_length: in tokens.
        max_output_tokens: in tokens.
    """

    levels: tuple[str, ...] = ()
    budget: tuple[int, ...] = ()
    off: bool = False
    third: bool = False
    capabilities: frozenset[Capability] = _TEXT
    context_length: int = 1_048_576
    max_output_tokens: int = 65_536


_LOW = ("low", "medium", "high")
_MINIMAL = ("minimal", *_LOW)
_MINIMAL_3 = Family(_MINIMAL, third=True)
_LOW_3 = Family(_LOW, third=True)
_IMAGE = Family(capabilities=_WITHOUT_TOOLS, context_length=65_536, max_output_tokens=32_768)
_GEMMA = frozenset(_TEXT - {Capability.AUDIO, Capability.DOCUMENTS})

_FAMILIES: dict[str, Family] = {
    "gemini-2.0": Family(max_output_tokens=8_192),
    "gemini-2.5-pro": Family(budget=(128, 32_768)),
    "gemini-2.5-flash": Family(budget=(1, 24_576), off=True),
    "gemini-2.5-flash-lite": Family(budget=(512, 24_576), off=True),
    "gemini-2.5-flash-image": _IMAGE,
    "gemini-3-pro": Family(("low", "high"), third=True),
    "gemini-3-flash": _MINIMAL_3,
    "gemini-3-pro-image": msgspec.structs.replace(_IMAGE, third=True),
    "gemini-3.1-pro": _LOW_3,
    "gemini-3.1-flash-lite": _MINIMAL_3,
    "gemini-3.1-flash-image": msgspec.structs.replace(_IMAGE, third=True),
    "gemini-3.5-flash": _MINIMAL_3,
    "gemini-3.5-flash-lite": _MINIMAL_3,
    "gemini-3.6-flash": _MINIMAL_3,
    "gemini-3.7-flash": _LOW_3,
    "gemini-3.8-flash": _LOW_3,
    "gemini-4": Family((*_MINIMAL, "xhigh"), third=True),
    "gemma-": Family(capabilities=_GEMMA, context_length=262_144, max_output_tokens=32_768),
}


class Described:
    """What a client tells people who look the table up."""

    described_models = tuple(_FAMILIES)
    described_on = CHECKED


def family_of(model_id: str) -> Family | None:
    """The family of a model, whose id may be a path; ``None`` for one that nobody described."""
    name = model_id.rpartition("/")[2]
    fitting = [prefix for prefix in _FAMILIES if name.startswith(prefix)]
    return _FAMILIES[max(fitting, key=len)] if fitting else None


def capabilities_of(model_id: str, *, streamed_tools: StreamedTools = StreamedTools.WHOLE) -> ModelCapabilities:
    """What a model can do; ``streamed_tools`` is what the client asks the server for."""
    family = family_of(model_id)
    if family is None:
        effort = {Capability.REASONING, Capability.REASONING_EFFORT, Capability.REASONING_BUDGET}
        return ModelCapabilities(streamed_tools, _TEXT | effort, known=False, schema_dialect="gemini")
    limits = (family.context_length, family.max_output_tokens)
    found = ModelCapabilities(streamed_tools, family.capabilities, *limits, schema_dialect="gemini")
    if family.levels or family.budget:
        found = found.with_(Capability.REASONING, Capability.REASONING_EFFORT)
    return found.with_(Capability.REASONING_BUDGET) if family.budget else found
