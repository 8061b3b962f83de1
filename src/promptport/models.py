"""Models and what they can do: `LLModel`, `Capability`, `StreamedTools`, `ModelCapabilities`.

Rule: capabilities are declared, never guessed from an answer, and are known without network.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from promptport.checking import check_fields, checked
from promptport.errors import ConfigurationError, InvalidInputError

__all__ = ["Capability", "LLModel", "ModelCapabilities", "StreamedTools"]


class StreamedTools(enum.StrEnum):
    """How tool calls come in a stream."""

    NONE = "none"
    """No tool calls while streaming."""
    WHOLE = "whole"
    """A call arrives in one piece."""
    DELTAS = "deltas"
    """A call's arguments arrive in increments."""


class Capability(enum.StrEnum):
    """What a model, through its provider's API, can do besides text; one flat list."""

    TOOLS = "tools"
    TOOL_CHOICE = "tool_choice"
    """The caller may require a call, or a call of one tool (forbidding calls is always possible)."""
    PARALLEL_TOOL_CALLS = "parallel_tool_calls"
    """The caller may say whether one answer holds several calls."""
    TOOL_RESULT_IMAGES = "tool_result_images"
    """A tool's result may hold images."""
    IMAGES = "images"
    DOCUMENTS = "documents"
    AUDIO = "audio"
    JSON_SCHEMA = "json_schema"
    """The answer can be held to a JSON schema."""
    REASONING = "reasoning"
    """The model thinks before it answers, and the API shows it."""
    REASONING_EFFORT = "reasoning_effort"
    REASONING_BUDGET = "reasoning_budget"
    CACHE_CONTROL = "cache_control"
    """The caller may mark what is to be cached."""
    TEMPERATURE = "temperature"
    STOP = "stop"
    SEED = "seed"
    USER = "user"
    SYSTEM = "system"


class ModelCapabilities(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one model can do.

    Attributes:
        streamed_tools: how tool calls come in a stream.
        capabilities: the rest.
        context_length: the model's context in tokens, or ``None`` where it is not known.
        max_output_tokens: the longest answer in tokens, or ``None`` where it is not known.
        known: ``False`` marks a model that nobody described: its client's defaults apply.
        schema_dialect: the name in `promptport.provider.DIALECTS` of what structured answers can be held to, where the
            server refuses other schemas.
        efforts: the values of `ReasoningEffort` that the model takes; empty where nobody listed them, and all that its
            API has may be asked for.
    """

    streamed_tools: StreamedTools = StreamedTools.NONE
    capabilities: frozenset[Capability] = frozenset()
    context_length: int | None = None
    max_output_tokens: int | None = None
    known: bool = True
    schema_dialect: str = ""
    efforts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if not isinstance(self.efforts, tuple):
            kind = type(self.efforts).__name__
            raise InvalidInputError(
                f"ModelCapabilities: efforts takes a tuple, not {kind}. Write efforts=('low', 'high')."
            )

    def __contains__(self, capability: Capability) -> bool:
        return capability in self.capabilities

    def with_(self, *capabilities: Capability) -> ModelCapabilities:
        """The same, and these."""
        return replace(self, capabilities=self.capabilities | frozenset(capabilities))

    def without(self, *capabilities: Capability) -> ModelCapabilities:
        """The same, but for these."""
        return replace(self, capabilities=self.capabilities - frozenset(capabilities))

    @classmethod
    @checked
    def of(
        cls,
        streamed_tools: StreamedTools,
        capabilities: Iterable[Capability],
        **fields: int | bool | str | tuple[str, ...] | None,
    ) -> ModelCapabilities:
        """As the constructor, from any iterable of capabilities."""
        return replace(cls(streamed_tools, frozenset(capabilities)), **fields)


class LLModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model by name.

    Attributes:
        provider: the provider's name, such as ``openai``.
        id: the model's id in the provider's words.
        capabilities: what the caller knows better than the provider's table; ``None`` uses the table.
    """

    provider: str
    id: str
    capabilities: ModelCapabilities | None = None

    def __post_init__(self) -> None:
        for name, value in (("provider", self.provider), ("id", self.id)):
            if not isinstance(value, str):
                raise InvalidInputError(
                    f"LLModel: {name} must be a string, not {type(value).__name__}. Write LLModel('openai', 'gpt-5')."
                )
        check_fields(self)
        if not self.provider or not self.id:
            raise ConfigurationError(f"a model needs a provider and an id, such as 'openai/gpt-5', not {str(self)!r}")

    def __str__(self) -> str:
        return f"{self.provider}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> LLModel:
        """The model that ``provider/id`` names; the id may hold further slashes.

        Raises:
            InvalidInputError: The value is not a string.
            ConfigurationError: The string has no provider, or no id.
        """
        if not isinstance(text, str):
            raise InvalidInputError(
                f"LLModel.parse(): text must be a string, not {type(text).__name__}. "
                "Write LLModel.parse('openai/gpt-5')."
            )
        provider, slash, model_id = text.strip().partition("/")
        if not slash or not provider or not model_id:
            raise ConfigurationError(f"write the model as 'provider/id', such as 'openai/gpt-5', not {text!r}")
        return cls(provider, model_id)
