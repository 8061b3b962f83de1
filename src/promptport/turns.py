"""The messages of a conversation, and who made each of the model's: `Origin`.

Rule: all of these are values, which go to JSON and back without loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec
from msgspec.structs import force_setattr

from promptport.checking import check_fields
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
from promptport.parts import AudioPart, DocumentPart, ImagePart, Quiet, TextPart, UserPart

__all__ = [
    "AssistantMessage",
    "AssistantPart",
    "Message",
    "Origin",
    "SystemMessage",
    "ToolResultMessage",
    "UserMessage",
    "user_parts",
]

_PARTS = frozenset((TextPart, Reasoning, ToolCall, InvalidToolCall, Citation, ProviderItem))

AssistantPart: TypeAlias = TextPart | Reasoning | ToolCall | InvalidToolCall | Citation | ProviderItem
"""What a model's message is made of: text, and the frames that are whole things."""


class Origin(msgspec.Struct, frozen=True):
    """Who made a message: the server whose signatures, ids and items it holds.

    Two servers are the same only if both fields are equal. A client takes ``origin="name"`` to say that servers at
    several addresses are one: then the name stands for the address.

    Attributes:
        provider: the client's provider name, which also tells the API.
        address: host, port and path of the server, without scheme, user, query and a slash at the end; or the name.

    Examples:
        ```python
        from promptport import Origin

        print(Origin.at("openai-chat", "https://user:password@LLM.example.com/v1/"))
        # Origin(provider='openai-chat', address='llm.example.com/v1')
        ```
    """

    provider: str
    address: str = ""

    @classmethod
    def at(cls, provider: str, url: str) -> Origin:
        """The origin of a server at this URL."""
        place = url.partition("://")[2] or url
        place = place.partition("?")[0].partition("#")[0]
        host, slash, path = place.partition("/")
        return cls(provider, f"{host.rpartition('@')[2].lower()}{slash}{path}".rstrip("/"))


class SystemMessage(Quiet, frozen=True, tag_field="role", tag="system", omit_defaults=True):
    """Instructions to the model.

    Attributes:
        text: the instructions.
        cache: as in `TextPart`.
    """

    text: str
    cache: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


class UserMessage(Quiet, frozen=True, tag_field="role", tag="user"):
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
        return cls(user_parts(parts))

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join([part.text for part in self.parts if isinstance(part, TextPart)])


class AssistantMessage(msgspec.Struct, frozen=True, tag_field="role", tag="assistant", omit_defaults=True):
    """What a model answered, in the order in which it came. Its ``repr`` shows the beginning of the text, and counts.

    Attributes:
        parts: text, reasoning, calls, citations and provider items.
        finish_reason: why the model stopped; ``None`` where the answer did not end (or was written by hand).
        raw_finish_reason: the provider's own word for it.
        usage: the tokens, as far as the provider told.
        model: the model that answered, in the provider's words.
        response_id: the provider's id of the answer.
        unfinished: calls that were cut short; they are not sent back.
        origin: the server that made it, set by the client; ``None`` for a message made by hand. What is opaque in it
            (signatures, encrypted reasoning, items that the provider ran) goes back to this server only. Messages that
            say the same are equal, whoever made them.
    """

    parts: tuple[AssistantPart, ...] = ()
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    usage: Usage = Usage()
    model: str | None = None
    response_id: str | None = None
    unfinished: tuple[UnfinishedCall, ...] = ()
    origin: Origin | None = None

    def __eq__(self, other: object) -> bool:
        if type(other) is not AssistantMessage:
            return NotImplemented
        return self._said() == other._said()

    def __hash__(self) -> int:
        return hash(self._said())

    def _said(self) -> tuple[object, ...]:
        return msgspec.structs.astuple(self)[:-1]

    def __post_init__(self) -> None:
        _parts_to_tuple(self)
        check_fields(self)
        if not _PARTS.issuperset(map(type, self.parts)):
            strange = next(type(part).__name__ for part in self.parts if type(part) not in _PARTS)
            raise InvalidInputError(
                f"AssistantMessage: parts takes text, reasoning, calls, citations and provider items, not {strange}. "
                "Write AssistantMessage.of('Hello')."
            )

    def __repr__(self) -> str:
        shown = [repr(_short(self.text))] if self.text else []
        counts = (("tool call", len(self.tool_calls)), ("invalid tool call", len(self.invalid_tool_calls)))
        shown += [f"{count} {words}{'s' * (count > 1)}" for words, count in counts if count]
        if self.reasoning:
            shown.append(f"{len(self.reasoning)} characters of reasoning")
        if self.finish_reason is not None:
            shown.append(str(self.finish_reason))
        used = (self.usage.input_tokens, self.usage.output_tokens)
        if used != (None, None):
            shown.append("{}+{} tokens".format(*["?" if count is None else count for count in used]))
        return f"AssistantMessage({', '.join(shown)})"

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
        """The complete calls; their arguments are JSON objects, and not yet validated against the schema."""
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


class ToolResultMessage(Quiet, frozen=True, tag_field="role", tag="tool_result", omit_defaults=True):
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
        check_fields(self)
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


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_SHOWN = 60

Message: TypeAlias = SystemMessage | UserMessage | AssistantMessage | ToolResultMessage


def user_parts(parts: Iterable[UserPart | str]) -> tuple[UserPart, ...]:
    """The parts, where a string is a `TextPart`."""
    return tuple([TextPart(part) if isinstance(part, str) else part for part in parts])
