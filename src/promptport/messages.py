"""What goes into a model: `Prompt`, its messages and their parts.

Rule: all of these are values. Changing a prompt makes another; everything goes to JSON and back without loss.
What a message can hold is checked when it is made, so that a bad one never reaches a provider.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeAlias

import msgspec
from msgspec.structs import force_setattr, replace

from promptport.errors import InvalidInputError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
    Usage,
)

__all__ = [
    "AssistantMessage",
    "AssistantPart",
    "AudioPart",
    "DocumentPart",
    "ImagePart",
    "LLMParams",
    "Message",
    "NamedTool",
    "Prompt",
    "ReasoningEffort",
    "SystemMessage",
    "TextPart",
    "ToolChoice",
    "ToolResultMessage",
    "UserMessage",
    "UserPart",
]


class _Quiet(msgspec.Struct, frozen=True):
    """Prompts stand in no log line: the ``repr`` of what goes in tells sizes, not contents."""

    def __repr__(self) -> str:
        fields = ", ".join(
            [
                f"{name}={_size(value)}"
                for name in self.__struct_fields__
                if (value := getattr(self, name)) not in (None, False, "", (), {})
            ]
        )
        return f"{type(self).__name__}({fields})"


def _size(value: object) -> str:
    if isinstance(value, str):
        return f"<{len(value)} characters>"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return f"<{len(value)} keys>" if isinstance(value, dict) else repr(value)


# ------------------------------------------------------------------------------------------------- parts


class TextPart(_Quiet, frozen=True, tag="text", omit_defaults=True):
    """Text.

    Attributes:
        text: the text.
        cache: ask the provider to cache the prompt up to and including this part (``Capability.CACHE_CONTROL``).
    """

    text: str
    cache: bool = False


class _Media(_Quiet, frozen=True, omit_defaults=True):
    """Bytes or an address; exactly one of them.

    Attributes:
        data: the content's bytes.
        url: where the provider finds the content.
        media_type: such as ``image/png``; needed with ``data``.
    """

    data: bytes | None = None
    url: str | None = None
    media_type: str | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if (self.data is None) == (self.url is None):
            raise InvalidInputError(f"{name} takes either data or url")
        if self.data is not None and not self.media_type:
            raise InvalidInputError(f"{name} with data needs its media_type, such as 'image/png'")
        if self.data == b"":
            raise InvalidInputError(f"{name} has no data")


class ImagePart(_Media, frozen=True, tag="image", omit_defaults=True):
    """An image (``Capability.IMAGES``).

    Attributes:
        detail: ``low``, ``high`` or what else the provider knows; ``None`` leaves it to the provider.
        cache: as in `TextPart`.
    """

    detail: str | None = None
    cache: bool = False


class DocumentPart(_Media, frozen=True, tag="document", omit_defaults=True):
    """A document, such as a PDF (``Capability.DOCUMENTS``).

    Attributes:
        name: the file's name, which some providers show to the model.
        cache: as in `TextPart`.
    """

    name: str | None = None
    cache: bool = False


class AudioPart(_Media, frozen=True, tag="audio", omit_defaults=True):
    """Recorded speech or sound (``Capability.AUDIO``)."""


UserPart: TypeAlias = TextPart | ImagePart | DocumentPart | AudioPart
"""What a user's message, or a tool's result, is made of."""

AssistantPart: TypeAlias = TextPart | Reasoning | ToolCall | InvalidToolCall | Citation | ProviderItem
"""What a model's message is made of: text, and the frames that are whole things."""

# ---------------------------------------------------------------------------------------------- messages


class SystemMessage(_Quiet, frozen=True, tag_field="role", tag="system", omit_defaults=True):
    """Instructions to the model.

    Attributes:
        text: the instructions.
        cache: as in `TextPart`.
    """

    text: str
    cache: bool = False


class UserMessage(_Quiet, frozen=True, tag_field="role", tag="user"):
    """What the user says; see `UserMessage.of` for plain text."""

    parts: tuple[UserPart, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InvalidInputError("a user message needs at least one part")

    @classmethod
    def of(cls, *parts: UserPart | str) -> UserMessage:
        """A message of these parts, where a string is a `TextPart`."""
        return cls(_user_parts(parts))

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join([part.text for part in self.parts if isinstance(part, TextPart)])


class AssistantMessage(msgspec.Struct, frozen=True, tag_field="role", tag="assistant", omit_defaults=True):
    """What a model answered, in the order in which it came.

    Attributes:
        parts: text, reasoning, calls, citations and provider items.
        finish_reason: why the model stopped; ``None`` where the answer did not end (or was written by hand).
        raw_finish_reason: the provider's own word for it.
        usage: the tokens, as far as the provider told.
        model: the model that answered, in the provider's words.
        response_id: the provider's id of the answer.
        unfinished: calls that were cut short; they are not sent back.
    """

    parts: tuple[AssistantPart, ...] = ()
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    usage: Usage = Usage()
    model: str | None = None
    response_id: str | None = None
    unfinished: tuple[UnfinishedCall, ...] = ()

    @classmethod
    def of(cls, *parts: AssistantPart | str) -> AssistantMessage:
        """A message of these parts, where a string is a `TextPart`."""
        return cls(tuple([TextPart(part) if isinstance(part, str) else part for part in parts]))

    @property
    def text(self) -> str:
        """The answer's text: the text parts, joined."""
        return "".join([part.text for part in self.parts if isinstance(part, TextPart)])

    @property
    def reasoning(self) -> str:
        """The visible reasoning, joined."""
        return "".join([part.text for part in self.parts if isinstance(part, Reasoning)])

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls that are safe to run."""
        return tuple([part for part in self.parts if isinstance(part, ToolCall)])

    @property
    def invalid_tool_calls(self) -> tuple[InvalidToolCall, ...]:
        """The calls that can only be answered with an error."""
        return tuple([part for part in self.parts if isinstance(part, InvalidToolCall)])

    def frames(self) -> list[StreamFrame]:
        """The frames of a stream that gives this message.

        Raises:
            InvalidInputError: the message has no ``finish_reason``, so it is no complete answer.
        """
        if self.finish_reason is None:
            raise InvalidInputError("a message without finish_reason is not a complete answer")
        frames: list[StreamFrame] = []
        for part in self.parts:
            if isinstance(part, TextPart):
                frames.append(Append(part.text))
                continue
            if isinstance(part, ToolCall | InvalidToolCall):
                frames.append(ToolCallDelta(part.id, part.name, part.arguments))
            elif isinstance(part, Reasoning) and part.text:
                frames.append(ReasoningAppend(part.text))
            frames.append(part)
        end = End(self.finish_reason, self.raw_finish_reason, self.usage, self.model, self.response_id, self.unfinished)
        return [*frames, end]


class ToolResultMessage(_Quiet, frozen=True, tag_field="role", tag="tool_result", omit_defaults=True):
    """What a tool answered to one call.

    Attributes:
        call_id: the id of the `ToolCall` that this answers.
        name: the tool's name (some providers key results by it).
        output: text, or parts where the provider takes them.
        error: what went wrong, or ``None``.
    """

    call_id: str
    name: str
    output: str | tuple[UserPart, ...] = ""
    error: str | None = None

    @property
    def text(self) -> str:
        """What the model reads: the error if there is one, else the text of the output."""
        if self.error is not None:
            return self.error
        if isinstance(self.output, str):
            return self.output
        return "".join([part.text for part in self.output if isinstance(part, TextPart)])


Message: TypeAlias = SystemMessage | UserMessage | AssistantMessage | ToolResultMessage

# ---------------------------------------------------------------------------------------------- parameters


class ToolChoice(enum.Enum):
    """Whether the model calls tools: as it likes, never, or at least one."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


class NamedTool(msgspec.Struct, frozen=True):
    """The tool choice "call this one"."""

    name: str


class ReasoningEffort(enum.Enum):
    """How hard the model thinks, where the provider takes a word for it."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class LLMParams(_Quiet, frozen=True, omit_defaults=True):
    """How to ask. ``None`` leaves a parameter to the provider; one that it cannot honour raises.

    Attributes:
        temperature: 0 and up.
        max_tokens: the answer's limit in tokens, at least 1.
        stop: texts that end the answer.
        seed: for repeatable sampling.
        tool_choice: `ToolChoice`, or `NamedTool`.
        parallel_tool_calls: whether one answer may hold several calls.
        response_schema: the JSON schema that the answer's text follows.
        reasoning_effort: how hard to think, as a word.
        reasoning_budget: how much to think, in tokens.
        user: a stable id of the end user, for the provider's abuse detection.
        extra: the provider's own options, put into the request body as they are.
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
    extra: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            force_setattr(self, "stop", (self.stop,))
        elif type(self.stop) is not tuple:
            force_setattr(self, "stop", tuple(self.stop))
        if self.temperature is not None and not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise InvalidInputError(f"temperature must be a number from 0 up, not {self.temperature}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidInputError(f"max_tokens must be at least 1, not {self.max_tokens}; leave it out for no limit")
        if self.reasoning_budget is not None and self.reasoning_budget < 0:
            raise InvalidInputError(f"reasoning_budget must be 0 or more tokens, not {self.reasoning_budget}")
        if any(not text for text in self.stop):
            raise InvalidInputError("a stop text must not be empty")


# ------------------------------------------------------------------------------------------------- prompt


class Prompt(_Quiet, frozen=True, omit_defaults=True):
    """The conversation so far, and how to ask for its next message.

    Every method that adds returns another prompt::

        prompt = Prompt().system("Be brief.").user("What is in this picture?", ImagePart(url=...))

    Attributes:
        messages: in order.
        id: a name of the caller's, for logs and traces.
        params: see `LLMParams`.
    """

    messages: tuple[Message, ...] = ()
    id: str = ""
    params: LLMParams = LLMParams()

    def __post_init__(self) -> None:
        if type(self.messages) is not tuple:
            force_setattr(self, "messages", tuple(self.messages))

    @classmethod
    def of(cls, text: str, /, *, system: str | None = None, id: str = "", **params: Any) -> Prompt:
        """A prompt of one user message, and a system message if given; ``params`` as in `LLMParams`."""
        prompt = cls(id=id).with_params(**params)
        return (prompt.system(system) if system is not None else prompt).user(text)

    def system(self, text: str, *, cache: bool = False) -> Prompt:
        """Adds instructions."""
        return self.add(SystemMessage(text, cache))

    def user(self, *parts: UserPart | str) -> Prompt:
        """Adds what the user says, where a string is a `TextPart`."""
        return self.add(UserMessage.of(*parts))

    def assistant(self, *parts: AssistantPart | str) -> Prompt:
        """Adds what the model said, where a string is a `TextPart`."""
        return self.add(AssistantMessage.of(*parts))

    def tool_call(self, id: str, name: str, arguments: str | Mapping[str, Any] = "{}") -> Prompt:
        """Adds a call to the model's last message, or a message that holds it.

        Raises:
            InvalidInputError: the arguments are not one JSON object.
        """
        text = arguments if isinstance(arguments, str) else msgspec.json.encode(dict(arguments)).decode()
        call = ToolCall(id, name, text)
        try:
            call.parsed()
        except ValueError as error:
            raise InvalidInputError(f"tool call {name!r}: {error}") from None
        last = self.messages[-1] if self.messages else None
        if isinstance(last, AssistantMessage):
            return replace(self, messages=(*self.messages[:-1], replace(last, parts=(*last.parts, call))))
        return self.add(AssistantMessage((call,)))

    def tool_result(self, call_id: str, output: str | Iterable[UserPart] = "", *, error: str | None = None) -> Prompt:
        """Adds what a tool answered; its name is that of the call.

        Raises:
            InvalidInputError: no message before has a call of this id.
        """
        for message in reversed(self.messages):
            if isinstance(message, AssistantMessage):
                for part in message.parts:
                    if isinstance(part, ToolCall | InvalidToolCall) and part.id == call_id:
                        parts = output if isinstance(output, str) else tuple(output)
                        return self.add(ToolResultMessage(call_id, part.name, parts, error))
        raise InvalidInputError(f"no call before has the id {call_id!r}")

    def add(self, *messages: Message) -> Self:
        """Adds whole messages."""
        return replace(self, messages=(*self.messages, *messages))

    def with_params(self, **params: Any) -> Self:
        """The same conversation, asked with these parameters changed.

        Raises:
            InvalidInputError: a name that `LLMParams` does not have, or a value that it does not take.
        """
        try:
            return replace(self, params=replace(self.params, **params))
        except TypeError as error:
            raise InvalidInputError(f"LLMParams: {error}") from None

    def call_ids(self) -> frozenset[str]:
        """The ids of all tool calls in the conversation."""
        return frozenset(
            part.id
            for message in self.messages
            if isinstance(message, AssistantMessage)
            for part in message.parts
            if isinstance(part, ToolCall | InvalidToolCall)
        )

    def to_json(self) -> bytes:
        """The prompt as JSON (UTF-8)."""
        return _encoder.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> Prompt:
        """The prompt that `to_json` wrote.

        Raises:
            InvalidInputError: not JSON, or not a prompt.
        """
        try:
            return _prompt_decoder.decode(data)
        except msgspec.DecodeError as error:
            raise InvalidInputError(f"not a prompt: {error}") from error


_encoder = msgspec.json.Encoder()
_prompt_decoder: msgspec.json.Decoder[Prompt] = msgspec.json.Decoder(Prompt)


def _user_parts(parts: Iterable[UserPart | str]) -> tuple[UserPart, ...]:
    return tuple([TextPart(part) if isinstance(part, str) else part for part in parts])
