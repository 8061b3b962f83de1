"""What the models on Bedrock can do through Converse, by family. Pure.

Rules: a model is looked up by the last part of its ARN, without the prefix of a cross-region profile (``us.``,
``global.`` …); the first pattern that fits wins. A model that none fits is unknown, and so is an ARN that says nothing
of its model (an application inference profile, a provisioned or imported model): all that Converse has is allowed.

Source: the page "Supported models and model features" of the Bedrock user guide, its page on prompt caching, the
service model in botocore 1.44, and the limits in models.dev; see `CHECKED_ON`.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from promptport.provider import Capability, ModelCapabilities, StreamedTools

__all__ = ["CHECKED_ON", "DESCRIBED", "TABLE", "THINKING", "Family", "base_id", "capabilities_of", "family_of"]

CHECKED_ON = "2026-11-25"

_PROFILES = re.compile(r"(us|us-gov|eu|apac|jp|au|ca|sa|global)\.")
_OPAQUE = ("application-inference-profile/", "provisioned-model/", "imported-model/", "custom-model-deployment/")


class Family(msgspec.Struct, frozen=True):
    """Models that can do the same.

    Attributes:
        tools: they call tools, streamed as deltas.
        choice: they can be made to call one.
        strict: tools and answers can be held to a schema.
        images: they take images.
        documents: they take documents.
        audio: they take audio.
        system: they take instructions.
        cache: the caller may mark what is to be cached: "" (nothing), "prompt", or "tools" (these as well).
        results: what a tool's result may hold besides text.
        alone: nothing else may stand in the turn with the results.
        status: they take a result's status.
        thinks: how thinking is asked for: "" (not at all), "always", "adaptive" or "budget" (Claude), "effort"
            (gpt-oss), "nova".
        returns_thoughts: reasoning goes back to them.
        nine: ids of calls must be nine letters and digits.
        context_length: in tokens.
        max_output_tokens: in tokens.
    """

    tools: bool = True
    choice: bool = False
    strict: bool = False
    images: bool = False
    documents: bool = True
    audio: bool = False
    system: bool = True
    cache: str = ""
    results: frozenset[str] = frozenset()
    alone: bool = False
    status: bool = True
    thinks: str = ""
    returns_thoughts: bool = False
    nine: bool = False
    context_length: int | None = None
    max_output_tokens: int | None = None


_MEDIA = frozenset({"image", "document"})


def _claude(thinks: str, context: int, output: int, *, strict: bool = True, choice: bool = True) -> Family:
    return Family(
        choice=choice,
        strict=strict,
        images=True,
        cache="tools",
        results=_MEDIA,
        thinks=thinks,
        returns_thoughts=bool(thinks),
        context_length=context,
        max_output_tokens=output,
    )


def _nova(images: bool, thinks: str, context: int, output: int) -> Family:
    return Family(
        choice=True,
        images=images,
        documents=images,
        cache="prompt",
        results=frozenset({"image"}) if images else frozenset(),
        thinks=thinks,
        context_length=context,
        max_output_tokens=output,
    )


def _plain(context: int, output: int, *, images: bool = False, tools: bool = True) -> Family:
    return Family(tools=tools, images=images, context_length=context, max_output_tokens=output)


def _mistral(context: int, *, images: bool = False, tools: bool = True, audio: bool = False) -> Family:
    return Family(
        tools=tools,
        choice=tools,
        strict=tools and context > 200_000,
        images=images,
        audio=audio,
        alone=True,
        nine=True,
        context_length=context,
        max_output_tokens=8192,
    )


TABLE: dict[str, Family] = {
    "anthropic.claude-fable-5*": _claude("always", 1_000_000, 128_000, choice=False),
    "anthropic.claude-mythos-5*": _claude("always", 1_000_000, 128_000, choice=False),
    "anthropic.claude-opus-5-5*": _claude("always", 1_000_000, 128_000, choice=False),
    "anthropic.claude-sonnet-5-5*": _claude("adaptive", 1_000_000, 128_000, choice=False),
    "anthropic.claude-opus-5*": _claude("adaptive", 1_000_000, 128_000),
    "anthropic.claude-sonnet-5*": _claude("adaptive", 1_000_000, 128_000),
    "anthropic.claude-haiku-5*": _claude("adaptive", 1_000_000, 128_000),
    "anthropic.claude-opus-4-[678]*": _claude("adaptive", 1_000_000, 128_000),
    "anthropic.claude-sonnet-4-6*": _claude("adaptive", 1_000_000, 128_000),
    "anthropic.claude-*-4-5*": _claude("budget", 200_000, 64_000),
    "anthropic.claude-opus-4-*": _claude("budget", 200_000, 32_000, strict=False),
    "anthropic.claude-sonnet-4-*": _claude("budget", 200_000, 64_000, strict=False),
    "anthropic.claude-3-7-sonnet*": _claude("budget", 200_000, 64_000, strict=False),
    "anthropic.claude-3-5-*": _claude("", 200_000, 8192, strict=False),
    "anthropic.claude-3-*": _claude("", 200_000, 4096, strict=False),
    "anthropic.claude-v2*": _plain(200_000, 4096, tools=False),
    "anthropic.claude-instant*": _plain(100_000, 4096, tools=False),
    "amazon.nova-micro*": _nova(False, "", 128_000, 10_000),
    "amazon.nova-lite*": _nova(True, "", 300_000, 10_000),
    "amazon.nova-pro*": _nova(True, "", 300_000, 10_000),
    "amazon.nova-premier*": _nova(True, "", 1_000_000, 32_000),
    "amazon.nova-2-*": _nova(True, "nova", 1_000_000, 64_000),
    "amazon.titan-text-premier*": Family(tools=False, documents=False, system=False, context_length=32_000),
    "amazon.titan-*": Family(tools=False, system=False, context_length=8192, max_output_tokens=8192),
    "ai21.jamba-1-5*": _plain(256_000, 4096),
    "ai21.*": Family(tools=False, documents=False, context_length=256_000, max_output_tokens=4096),
    "cohere.command-r*": _plain(128_000, 4096),
    "cohere.command*": Family(tools=False, system=False, context_length=4096),
    "deepseek.r1*": Family(tools=False, thinks="always", returns_thoughts=True, context_length=128_000),
    "deepseek.v3*": _plain(163_840, 81_920),
    "google.gemma-3*": _plain(128_000, 8192, images=True, tools=False),
    "meta.llama3-1-*": _plain(128_000, 8192),
    "meta.llama3-2-1b*": _plain(131_000, 4096, tools=False),
    "meta.llama3-2-3b*": _plain(131_000, 4096, tools=False),
    "meta.llama3-2-*": _plain(128_000, 4096, images=True),
    "meta.llama3-3-*": _plain(128_000, 8192),
    "meta.llama4-*": _plain(1_000_000, 16_384, images=True),
    "meta.llama3-*": _plain(8192, 2048, tools=False),
    "mistral.mistral-7b*": _mistral(32_000, tools=False),
    "mistral.mixtral*": _mistral(32_000, tools=False),
    "mistral.voxtral*": _mistral(32_000, tools=False, audio=True),
    "mistral.mistral-small-2402*": _mistral(32_000),
    "mistral.mistral-large-240*": _mistral(128_000),
    "mistral.mistral-large-3*": _mistral(256_000, images=True),
    "mistral.pixtral*": _mistral(128_000, images=True),
    "mistral.ministral-3*": _mistral(256_000, images=True),
    "mistral.*": _mistral(128_000),
    "openai.gpt-oss*": Family(thinks="effort", context_length=128_000, max_output_tokens=16_384),
    "qwen.qwen3*": Family(choice=True, strict=True, context_length=262_144, max_output_tokens=65_536),
    "zai.glm*": Family(choice=True, strict=True, context_length=200_000, max_output_tokens=131_072),
    "moonshot*.kimi*": Family(choice=True, strict=True, context_length=262_144, max_output_tokens=16_384),
    "minimax.*": _plain(200_000, 8192),
    "writer.palmyra*": Family(status=False, alone=True, context_length=122_880, max_output_tokens=8192),
}

DESCRIBED = tuple([pattern.replace("*", "") for pattern in TABLE])
"""The models of the table, for people who look it up."""
"""Patterns of a model's base id; the first that fits is its family."""

_CLAUDE_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_ADAPTIVE: dict[str, dict[str, Any]] = {
    word: {"thinking": {"type": "adaptive"}, "output_config": {"effort": word}} for word in _CLAUDE_EFFORTS
}
_OFF: dict[str, dict[str, Any]] = {"off": {"thinking": {"type": "disabled"}}}
_THREE = ("low", "medium", "high")

THINKING: dict[str, dict[str, dict[str, Any]]] = {
    "always": _ADAPTIVE,
    "adaptive": _ADAPTIVE | _OFF,
    "budget": _OFF,
    "effort": {word: {"reasoning_effort": word} for word in _THREE},
    "nova": {word: {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": word}} for word in _THREE}
    | {"off": {"reasoningConfig": {"type": "disabled"}}},
}
"""The model's own fields for an effort, or for thinking that is turned off, by `Family.thinks`."""

_EVERYTHING = Family(
    choice=True, strict=True, images=True, audio=True, cache="prompt", results=_MEDIA, returns_thoughts=True
)
"""What a model that nobody described is allowed."""


def base_id(model_id: str) -> str:
    """The model's id without ARN and cross-region prefix; an empty string for an ARN that does not tell the model."""
    if model_id.startswith("arn:"):
        if any(kind in model_id for kind in _OPAQUE):
            return ""
        model_id = model_id.rpartition("/")[2]
    found = _PROFILES.match(model_id)
    return model_id[found.end() :] if found else model_id


def family_of(model_id: str) -> tuple[Family, bool]:
    """A model's family, and whether anybody described it."""
    base = base_id(model_id)
    for pattern, family in TABLE.items():
        if fnmatchcase(base, pattern):
            return family, True
    return _EVERYTHING, False


def capabilities_of(model_id: str) -> ModelCapabilities:
    """What a model can do."""
    family, known = family_of(model_id)
    having = {
        Capability.TOOLS: family.tools,
        Capability.TOOL_CHOICE: family.choice,
        Capability.TOOL_RESULT_IMAGES: "image" in family.results,
        Capability.IMAGES: family.images,
        Capability.DOCUMENTS: family.documents,
        Capability.AUDIO: family.audio,
        Capability.JSON_SCHEMA: family.strict,
        Capability.REASONING: bool(family.thinks) or not known,
        Capability.REASONING_EFFORT: family.thinks in ("always", "adaptive", "effort", "nova") and family.tools,
        Capability.REASONING_BUDGET: family.thinks == "budget",
        Capability.CACHE_CONTROL: bool(family.cache),
        Capability.TEMPERATURE: family.thinks not in ("always", "adaptive"),
        Capability.STOP: True,
        Capability.SYSTEM: family.system,
    }
    return ModelCapabilities(
        StreamedTools.DELTAS if family.tools else StreamedTools.NONE,
        frozenset([capability for capability, has in having.items() if has]),
        family.context_length,
        family.max_output_tokens,
        known,
        schema_dialect="bedrock-strict",
    )
