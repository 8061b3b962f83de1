"""What Cohere's models can do, by family. Pure.

Rule: the longest prefix of the model's id wins; an id that none fits is unknown, and everything that the API has is
allowed for it.

Sources, read on 2026-11-25: the reference of the chat API and the pages on reasoning, structured outputs and tool use
under https://docs.cohere.com, the types of the official SDK 7.3, and https://models.dev for the sizes.
"""

from __future__ import annotations

import msgspec

from promptport.provider import Capability, ModelCapabilities, StreamedTools

__all__ = ["CHECKED", "DESCRIBED", "capabilities_of"]

CHECKED = "2026-11-25"
"""When this table was compared with its sources."""

_PLAIN = frozenset({Capability.DOCUMENTS, Capability.TEMPERATURE, Capability.STOP, Capability.SEED, Capability.SYSTEM})
_OLD = _PLAIN | {Capability.TOOLS, Capability.JSON_SCHEMA}
_TOOLS = _OLD | {Capability.TOOL_CHOICE}
_THINKING = _TOOLS | {Capability.REASONING, Capability.REASONING_BUDGET}
_ALL = _THINKING | {Capability.IMAGES, Capability.TOOL_RESULT_IMAGES}


class _Family(msgspec.Struct, frozen=True):
    capabilities: frozenset[Capability]
    context_length: int
    max_output_tokens: int


_FAMILIES: dict[str, _Family] = {
    "command-a-03-2025": _Family(_TOOLS, 256_000, 8_000),
    "command-a-reasoning": _Family(_THINKING, 256_000, 32_000),
    "command-a-plus": _Family(_ALL, 128_000, 64_000),
    "command-a-vision": _Family(_PLAIN | {Capability.IMAGES, Capability.JSON_SCHEMA}, 128_000, 8_000),
    "command-a-translate": _Family(_PLAIN, 8_000, 8_000),
    "command-r-08-2024": _Family(_OLD, 128_000, 4_000),
    "command-r-plus-08-2024": _Family(_OLD, 128_000, 4_000),
    "command-r7b": _Family(_TOOLS, 128_000, 4_000),
}

DESCRIBED = tuple(_FAMILIES)
"""The models of the table, for people who look it up."""


def capabilities_of(model_id: str) -> ModelCapabilities:
    """What a model can do."""
    fitting = [prefix for prefix in _FAMILIES if model_id.startswith(prefix)]
    if not fitting:
        return ModelCapabilities(StreamedTools.DELTAS, _ALL, known=False, schema_dialect="cohere")
    family = _FAMILIES[max(fitting, key=len)]
    tools = StreamedTools.DELTAS if Capability.TOOLS in family.capabilities else StreamedTools.NONE
    limits = (family.context_length, family.max_output_tokens)
    return ModelCapabilities(tools, family.capabilities, *limits, schema_dialect="cohere")
