"""What goes into a model: `Prompt`, its messages and their parts.

Rule: all of these are values. Changing a prompt makes another; everything goes to JSON and back without loss.
What a message can hold is checked when it is made, so that a bad one never reaches a provider.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeAlias, cast

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
from promptport.json_values import read_value

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
        defaults = dict(zip(reversed(self.__struct_fields__), reversed(self.__struct_defaults__), strict=False))
        shown = [
            f"{name}={_size(value)}"
            for name in self.__struct_fields__
            if (value := getattr(self, name)) != defaults.get(name) and value not in ("", (), {})
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _size(value: object) -> str:
    if isinstance(value, str):
        return f"<{len(value)} characters>"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict):
        return f"<{len(value)} keys>"
    if isinstance(value, tuple):
        return f"({', '.join(map(_size, value))})"
    quiet = isinstance(value, _Quiet) or not isinstance(value, msgspec.Struct)
    return repr(value) if quiet else f"{type(value).__name__}(…)"


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
        if not isinstance(self.data, bytes | None):
            raise InvalidInputError(f"{name}: data takes bytes, not {type(self.data).__name__}")
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
        _parts_to_tuple(self)
        if not self.parts:
            raise InvalidInputError("a user message needs at least one part")
        _check_user_parts(self.parts, "a user message holds text, image, document and audio parts")

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

    def __post_init__(self) -> None:
        _parts_to_tuple(self)

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
                if part.text:
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

    def __post_init__(self) -> None:
        output = self.output
        if isinstance(output, str):
            return
        if not isinstance(output, tuple):
            output = tuple(output) if isinstance(output, Iterable) and not isinstance(output, Mapping) else (output,)
            force_setattr(self, "output", output)
        _check_user_parts(output, "a tool's output is text or parts; give other values as text, such as json.dumps(…)")

    @property
    def text(self) -> str:
        """What the model reads: the error if there is one, else the text of the output."""
        if self.error is not None:
            return self.error
        if isinstance(self.output, str):
            return self.output
        return "".join([part.text for part in self.output if isinstance(part, TextPart)])


def _parts_to_tuple(message: UserMessage | AssistantMessage) -> None:
    parts: object = message.parts
    if type(parts) is not tuple:
        if not isinstance(parts, Iterable) or isinstance(parts, str | Mapping):
            name = type(message).__name__
            raise InvalidInputError(f"{name} takes a tuple of parts; {name}.of(…) takes text and parts as they are")
        force_setattr(message, "parts", tuple(parts))


def _check_user_parts(parts: tuple[object, ...], rule: str) -> None:
    for part in parts:
        if not isinstance(part, TextPart | ImagePart | DocumentPart | AudioPart):
            raise InvalidInputError(f"{rule}, not {type(part).__name__}")


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
        self._take_words()
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


def _word(kind: type[enum.Enum], value: object, name: str, more: str = "") -> enum.Enum:
    try:
        return kind(value)
    except ValueError:
        words = ", ".join([repr(member.value) for member in kind])
        raise InvalidInputError(f"{name} takes {words}{more}") from None


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
        try:
            text = arguments if isinstance(arguments, str) else msgspec.json.encode(dict(arguments)).decode()
            call = ToolCall(id, name, text)
            call.parsed()
        except (ValueError, TypeError) as error:
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
                        # The message makes a tuple of it, or refuses it.
                        return self.add(ToolResultMessage(call_id, part.name, cast("str", output), error))
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
        return read_value(_prompt_decoder.decode, data, "a prompt")


_encoder = msgspec.json.Encoder()
_prompt_decoder: msgspec.json.Decoder[Prompt] = msgspec.json.Decoder(Prompt)


def _user_parts(parts: Iterable[UserPart | str]) -> tuple[UserPart, ...]:
    return tuple([TextPart(part) if isinstance(part, str) else part for part in parts])
