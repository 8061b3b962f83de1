"""What goes into a model: `Prompt`, and all that it is made of.

Rule: all of these are values. Changing a prompt makes another; everything goes to JSON and back without loss.
What a message can hold is checked when it is made, so that a bad one never reaches a provider.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

import msgspec
from msgspec.structs import force_setattr, replace

from promptport.errors import InvalidInputError
from promptport.frames import InvalidToolCall, ToolCall
from promptport.json_values import read_value
from promptport.params import LLMParams, NamedTool, ReasoningEffort, ToolChoice
from promptport.parts import AudioPart, DocumentPart, ImagePart, Quiet, TextPart, UserPart
from promptport.turns import (
    AssistantMessage,
    AssistantPart,
    Message,
    Origin,
    SystemMessage,
    ToolResultMessage,
    UserMessage,
)

if TYPE_CHECKING:
    from promptport.param_options import ParamOptions

__all__ = [
    "AssistantMessage",
    "AssistantPart",
    "AudioPart",
    "DocumentPart",
    "ImagePart",
    "LLMParams",
    "Message",
    "NamedTool",
    "Origin",
    "Prompt",
    "ReasoningEffort",
    "SystemMessage",
    "TextPart",
    "ToolChoice",
    "ToolResultMessage",
    "UserMessage",
    "UserPart",
]


class Prompt(Quiet, frozen=True, omit_defaults=True):
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
        messages: object = self.messages
        if type(messages) is not tuple:
            if isinstance(messages, str):
                raise InvalidInputError(
                    "Prompt: messages takes a sequence of messages, not a string. Write Prompt.of(text), "
                    "or pass the text itself where a prompt is expected."
                )
            if not isinstance(messages, Iterable) or isinstance(messages, Mapping):
                raise InvalidInputError(
                    f"Prompt: messages takes a sequence of messages, not {type(messages).__name__}. "
                    "Write Prompt((UserMessage.of(text),)), or Prompt.of(text)."
                )
            messages = tuple(messages)
            force_setattr(self, "messages", messages)
        if not _MESSAGES.issuperset(map(type, messages)):
            _check_messages(messages)
        if not isinstance(self.params, LLMParams):
            raise InvalidInputError(
                f"Prompt: params takes LLMParams, not {type(self.params).__name__}. Write LLMParams(temperature=0)."
            )

    @classmethod
    def of(cls, text: str, /, *, system: str | None = None, id: str = "", **params: Unpack[ParamOptions]) -> Prompt:
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

    def with_params(self, **params: Unpack[ParamOptions]) -> Self:
        """The same conversation, asked with these parameters changed.

        Raises:
            InvalidInputError: a name that `LLMParams` does not have, or a value that it does not take.
        """
        for name in params:
            if name not in LLMParams.__struct_fields__:
                near = difflib.get_close_matches(name, LLMParams.__struct_fields__, 1)
                hint = f"Did you mean {near[0]!r}?" if near else "Put a provider's own option into extra={…}."
                raise InvalidInputError(
                    f"LLMParams: there is no parameter {name!r}. {hint} Parameters: "
                    f"{', '.join(LLMParams.__struct_fields__)}."
                )
        return replace(self, params=replace(self.params, **params))

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


_MESSAGES = frozenset((SystemMessage, UserMessage, AssistantMessage, ToolResultMessage))


def _check_messages(messages: tuple[object, ...]) -> None:
    for index, message in enumerate(messages):
        if not isinstance(message, SystemMessage | UserMessage | AssistantMessage | ToolResultMessage):
            raise InvalidInputError(
                f"Prompt: messages[{index}] is not a message, but {type(message).__name__}. "
                "Write Prompt().system(text).user(text), or UserMessage.of(text) for one message."
            )


_encoder = msgspec.json.Encoder()
_prompt_decoder: msgspec.json.Decoder[Prompt] = msgspec.json.Decoder(Prompt)
