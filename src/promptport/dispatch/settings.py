"""What a dispatcher is made with, and what its hooks see: values, which know of no running loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

from promptport.dispatch.entries import Approve
from promptport.dispatch.journaling import Ledger
from promptport.dispatch.tool_frames import PauseStore, ToolResult
from promptport.errors import InvalidInputError
from promptport.frames import FinishReason, Reasoning, Usage
from promptport.messages import AssistantMessage, NamedTool, Prompt, TextPart, ToolChoice
from promptport.models import LLModel
from promptport.stream import FrameStream
from promptport.telemetry import Observer
from promptport.tools import Tool, ToolDescriptor, ToolStart

__all__ = [
    "RESUMED_BEFORE",
    "SUCCESS",
    "OnStep",
    "Settings",
    "StepChange",
    "StepChoice",
    "StepState",
    "StreamingExecutor",
    "by_name",
    "is_empty",
]


class StreamingExecutor(Protocol):
    """Who asks the model: a `PromptExecutor`, an `LLMClient`, or anything with this one method."""

    def execute_streaming_with_tools(
        self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """The answer as frames; see `LLMClient.execute_streaming_with_tools`."""
        ...


class StepState(msgspec.Struct, frozen=True):
    """Where a loop stands between two requests.

    Attributes:
        step: the index of the request that is over, from 0.
        prompt: what is asked next: the conversation with the answer and the results.
        tools: what is offered next.
        message: the answer.
        results: what the tools gave for its calls, in their order.
        usage: the tokens of all requests so far.
    """

    step: int
    prompt: Prompt
    tools: tuple[ToolDescriptor, ...]
    message: AssistantMessage
    results: tuple[ToolResult, ...]
    usage: Usage


class StepChange(msgspec.Struct, frozen=True):
    """What is different from the next request on; ``None`` leaves it.

    Attributes:
        prompt: asked as it is, in place of ``StepState.prompt``.
        tools: offered, and run, in place of those before.
    """

    prompt: Prompt | None = None
    tools: Sequence[ToolDescriptor] | None = None


OnStep: TypeAlias = Callable[[StepState], Awaitable[StepChange | None] | StepChange | None]
Choice: TypeAlias = ToolChoice | NamedTool
StepChoice: TypeAlias = Mapping[int, Choice] | Callable[[int], Choice | None]


class Settings(msgspec.Struct, frozen=True):
    """What a dispatcher was made with; see `ToolDispatcher`."""

    executor: StreamingExecutor
    approve: Approve | None
    start: ToolStart
    max_concurrency: int
    timeout: float | None
    grace: float
    max_steps: int
    max_calls: int | None
    max_failures: int | None
    max_output_chars: int | None
    tool_choice: StepChoice | None
    on_step: OnStep | None
    store: PauseStore
    observers: tuple[Observer, ...] = ()
    ledger: Ledger | None = None


def by_name(tools: Iterable[ToolDescriptor]) -> dict[str, ToolDescriptor]:
    """The tools by their names.

    Raises:
        InvalidInputError: two of one name, or one that is no tool.
    """
    named: dict[str, ToolDescriptor] = {}
    if isinstance(tools, str | bytes | Mapping | ToolDescriptor) or not isinstance(tools, Iterable):
        raise InvalidInputError(
            f"ToolDispatcher: tools takes a sequence of tools, not {type(tools).__name__}. Write [get_weather]."
        )
    for tool in tools:
        if not isinstance(tool, ToolDescriptor):
            name = getattr(tool, "__name__", None) or type(tool).__name__
            raise InvalidInputError(
                f"ToolDispatcher: {name!r} is not a tool. Decorate the function with @tool, or pass a ToolDescriptor "
                "for a tool that the front end runs."
            )
        if isinstance(tool, Tool) and tool.unbound:
            raise InvalidInputError(f"tool {tool.name!r} is a method; take it from an instance: instance.{tool.name}")
        if tool.name in named:
            raise InvalidInputError(f"two tools are named {tool.name!r}; names must differ")
        named[tool.name] = tool
    return named


RESUMED_BEFORE = (
    "resume(): this paused run was resumed before, and its calls run once. Read the stream of the first resume()."
)

SUCCESS = (FinishReason.STOP, FinishReason.TOOL_CALLS, FinishReason.OTHER)


def is_empty(message: AssistantMessage) -> bool:
    """Whether nobody could read anything in it."""
    return all(
        isinstance(part, Reasoning) or (isinstance(part, TextPart) and not part.text.strip()) for part in message.parts
    )
