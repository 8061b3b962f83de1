"""What observers are told: one value for each thing that happens.

Rule: an event holds the prompt, the message or the arguments for those who want contents; its ``repr`` shows none.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from promptport.frames import FinishReason, Usage
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel
from promptport.telemetry.prices import price
from promptport.tools import ToolDescriptor

__all__ = [
    "FirstFrame",
    "RequestFinished",
    "RequestStarted",
    "RunFinished",
    "RunStarted",
    "ToolCallFinished",
    "ToolCallStarted",
]

RequestOutcome = Literal["complete", "failed", "cancelled"]


class _Event(msgspec.Struct, frozen=True):
    def __repr__(self) -> str:
        shown = [
            f"{name}={getattr(self, name)!r}"
            for name in self.__struct_fields__
            if name not in ("prompt", "definitions", "message", "arguments", "output")
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


class RequestStarted(_Event, frozen=True):
    """A request is about to be sent.

    Attributes:
        id: The request's number in this process.
        model: The model that is really asked.
        streaming: Whether the response is streamed.
        attempt: 1, or more if a policy repeats the request.
        run: The number of the tool loop that asks, or `None`.
        messages: How many messages the prompt has.
        tools: How many tools the model is told of.
        address: Host and port of the server, or `None` for a model in this process.
        prompt: The prompt itself, for observers that a person allowed to see contents.
        definitions: The tools that the model is told of, for the same.
    """

    id: int
    model: LLModel
    streaming: bool
    attempt: int
    run: int | None
    messages: int
    tools: int
    address: tuple[str, int] | None
    prompt: Prompt
    definitions: tuple[ToolDescriptor, ...] = ()


class FirstFrame(_Event, frozen=True):
    """The first frame of a response arrived.

    Attributes:
        id: The request's number.
        seconds: Since the request was sent.
    """

    id: int
    seconds: float


class RequestFinished(_Event, frozen=True):
    """A request is over.

    Attributes:
        id: The request's number.
        outcome: `complete`; `failed`, with `error`; or `cancelled` by whoever read the stream.
        seconds: Since the request was sent.
        first_frame: Seconds until the first frame, or `None` if none arrived.
        usage: The tokens that the provider counted, as far as it told; also before the end of a response that was cut.
        finish_reason: Why the model stopped, or `None`.
        answered: The model that answered, in the provider's words, or `None`.
        response_id: The provider's id of the response, or `None`.
        dropped: Parameters that were left out because the model cannot honor them.
        error: What went wrong, or `None`.
        message: The message as far as it arrived, for observers that a person allowed to see contents.
        model: The model that was asked.
        chunk_seconds: Seconds from one read of the stream to the next: of all, if there are up to 16; else of every
            second, fourth … one, so that it never holds more.
    """

    id: int
    outcome: RequestOutcome
    seconds: float
    first_frame: float | None
    usage: Usage
    finish_reason: FinishReason | None
    answered: str | None
    response_id: str | None
    dropped: tuple[str, ...]
    error: BaseException | None
    message: AssistantMessage
    model: LLModel | None = None
    chunk_seconds: tuple[float, ...] = ()

    @property
    def cost(self) -> float | None:
        """What the response cost, in US dollars, as `price` says; `None` if the model or the usage is not known.

        Raises:
            ConfigurationError: The package `genai-prices` is not installed.
        """
        return None if self.model is None else price(self.model, self.usage)


class RunStarted(_Event, frozen=True):
    """A tool loop begins.

    Attributes:
        id: The loop's number in this process.
        model: The model that it asks.
        prompt: The conversation, for observers that a person allowed to see contents.
    """

    id: int
    model: LLModel
    prompt: Prompt


class RunFinished(_Event, frozen=True):
    """A tool loop is over.

    Attributes:
        id: The loop's number.
        outcome: `complete`, `failed`, `cancelled`, or `paused` for a decision or a result.
        seconds: Since it began.
        requests: How many requests it sent.
        tool_calls: How many tool calls it saw.
        usage: The tokens of all its responses.
        error: What went wrong, or `None`.
    """

    id: int
    outcome: Literal["complete", "failed", "cancelled", "paused"]
    seconds: float
    requests: int
    tool_calls: int
    usage: Usage
    error: BaseException | None


class ToolCallStarted(_Event, frozen=True):
    """A tool is about to run.

    Attributes:
        id: The call's id.
        name: The tool's name.
        run: The number of the tool loop.
        arguments: The JSON text of the arguments, for observers that a person allowed to see contents.
    """

    id: str
    name: str
    run: int | None
    arguments: str


class ToolCallFinished(_Event, frozen=True):
    """A tool has its outcome.

    Attributes:
        id: The call's id.
        name: The tool's name.
        run: The number of the tool loop.
        outcome: `finished`, `failed`, `cancelled`, or `refused` for a call that never ran.
        seconds: How long it ran.
        error: What went wrong, or `None`.
        output: What the model is told, for observers that a person allowed to see contents.
    """

    id: str
    name: str
    run: int | None
    outcome: str
    seconds: float
    error: BaseException | None
    output: Any
