"""What goes into a model: `Prompt`, and all that it is made of.

Rule: all of these are values. Changing a prompt makes another; everything goes to JSON and back without loss.
What a message can hold is checked when it is made, so that a bad one never reaches a provider.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

import msgspec
from msgspec.structs import force_setattr, replace

from promptport.checking import checked
from promptport.errors import InvalidInputError
from promptport.frames import InvalidToolCall, ToolCall
from promptport.history import answered_messages, trimmed_messages
from promptport.json_values import read_value
from promptport.openai_messages import openai_message, read_openai_messages
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
    "TrimmedPrompt",
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
        if not isinstance(self.id, str):
            raise InvalidInputError(f"Prompt: id takes a string, not {type(self.id).__name__}. Pass id='chat-1'.")
        if not isinstance(self.params, LLMParams):
            raise InvalidInputError(
                f"Prompt: params takes LLMParams, not {type(self.params).__name__}. Write LLMParams(temperature=0)."
            )

    @classmethod
    @checked
    def of(cls, text: str, /, *, system: str | None = None, id: str = "", **params: Unpack[ParamOptions]) -> Prompt:
        """A prompt of one user message, and a system message if given; ``params`` as in `LLMParams`."""
        prompt = cls(id=id).with_params(**params)
        return (prompt.system(system) if system is not None else prompt).user(text)

    @checked
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
        _check_texts("tool_call()", id=id, name=name)
        try:
            text = arguments if isinstance(arguments, str) else msgspec.json.encode(dict(arguments)).decode()
            call = ToolCall(id, name, text)
            call.parsed()
        except TypeError:
            kind = type(arguments).__name__
            raise InvalidInputError(f"tool call {name!r}: arguments takes JSON or a mapping, not {kind}.") from None
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
        _check_texts("tool_result()", call_id=call_id)
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

    @checked
    def answered(self, error: str) -> Self:
        """Close the calls that have no result: each gets this error, in words for the model, behind its message.

        Args:
            error: What the model reads as the result of each open call.

        Returns:
            The same prompt if no call is open.

        Examples:
            ```python
            from promptport import Prompt

            prompt = Prompt.of("Hi").tool_call("1", "search").answered("The user stopped the search.")
            print(prompt.messages[-1].error)  # The user stopped the search.
            ```
        """
        messages = answered_messages(self.messages, error)
        return self if len(messages) == len(self.messages) else replace(self, messages=messages)

    @checked
    def trimmed(
        self,
        *,
        max_tokens: int | None = None,
        max_messages: int | None = None,
        keep: int | Callable[[Message], bool] = 0,
        tokens: int | None = None,
    ) -> TrimmedPrompt:
        """Cut the oldest messages until the rest fits; a call and its results go or stay together.

        System messages, all up to the last mark for a cache, the last user message and what follows the last message
        with calls stay, even if that is more than the limit.

        Args:
            max_tokens: The limit in tokens.
            max_messages: The limit in messages.
            keep: How many of the first messages after the instructions stay; or a function that says which ones do.
            tokens: What the whole prompt comes to, from ``client.count_tokens``. Default: the last usage in it.

        Returns:
            The shorter prompt; its ``cut`` holds the messages that were cut.

        Raises:
            InvalidInputError: Both limits or none, or ``max_tokens`` without anything to count by.
        """
        stay, cut = trimmed_messages(
            self.messages, max_tokens=max_tokens, max_messages=max_messages, keep=keep, tokens=tokens
        )
        return TrimmedPrompt(stay, self.id, self.params, cut)

    @classmethod
    @checked
    def from_openai(cls, messages: Iterable[Mapping[str, Any]], *, id: str = "", **params: Any) -> Prompt:
        """Make a prompt of the message dicts of OpenAI's Chat Completions.

        Args:
            messages: Dicts with ``role`` and ``content``, and with ``tool_calls`` or ``tool_call_id``.
            id: See `Prompt`.
            params: As in `LLMParams`.

        Raises:
            InvalidInputError: A role or a part that Chat Completions does not have.

        Examples:
            ```python
            from promptport import Prompt

            prompt = Prompt.from_openai([{"role": "user", "content": "Hi"}])
            print(prompt.to_openai())  # [{'role': 'user', 'content': 'Hi'}]
            ```
        """
        return cls(read_openai_messages(messages), id).with_params(**params)

    def to_openai(self) -> list[dict[str, Any]]:
        """Write the messages as the dicts of OpenAI's Chat Completions.

        Raises:
            InvalidInputError: A part that Chat Completions has no form for.
        """
        return [openai_message(message) for message in self.messages]

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


def _check_texts(where: str, **given: object) -> None:
    for name, value in given.items():
        if not isinstance(value, str):
            raise InvalidInputError(f"Prompt.{where}: {name} takes a string, not {type(value).__name__}.")


class TrimmedPrompt(Prompt, frozen=True, omit_defaults=True):
    """A prompt that was made shorter.

    Attributes:
        cut: the messages that were cut, in their order.
    """

    cut: tuple[Message, ...] = ()


_encoder = msgspec.json.Encoder()
_prompt_decoder: msgspec.json.Decoder[Prompt] = msgspec.json.Decoder(Prompt)
