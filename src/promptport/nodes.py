"""Steps for agent graphs: engine-neutral async callables over an `LLMSession`.

A node knows no engine. pydantic-graph and LangGraph both run async callables; what a graph passes on is made of the
frame stream by ``transform``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar, overload

from promptport.checking import checked
from promptport.dispatch import ToolResult
from promptport.frames import InvalidToolCall, ToolCall
from promptport.messages import AssistantMessage
from promptport.session import LLMSession
from promptport.stream import FrameStream
from promptport.structured import StructuredDataDefinition

__all__ = [
    "SendingNode",
    "StreamingNode",
    "ToolNode",
    "ToolsNode",
    "node_execute_multiple_tools",
    "node_execute_tool",
    "node_llm_request_streaming_with_tools",
    "node_llm_send_multiple_tool_results",
    "node_llm_send_tool_result",
]

_Output = TypeVar("_Output")


class StreamingNode(Generic[_Output]):
    """One request of a session, as a step of a graph: ``await node(session)``.

    Attributes:
        name: the step's name in the graph.
    """

    def __init__(
        self,
        name: str,
        definition: StructuredDataDefinition[Any] | None,
        transform: Callable[[FrameStream], Awaitable[_Output]],
    ) -> None:
        self.name = name
        self.__name__ = name  # engines that name their steps by the function find it here
        self._definition = definition
        self._transform = transform

    async def __call__(self, session: LLMSession) -> _Output:
        """Asks the session's model, and gives what ``transform`` makes of the stream, which is closed after that.

        Raises:
            StreamError, ProviderError: see `FrameStream`; and what ``transform`` raises.
        """
        async with session.request_llm_streaming_with_tools(self._definition) as stream:
            return await self._transform(stream)


async def _message(stream: FrameStream) -> AssistantMessage:
    return await stream.message()


@overload
def node_llm_request_streaming_with_tools(
    name: str, definition: StructuredDataDefinition[Any] | None = None
) -> StreamingNode[AssistantMessage]: ...
@overload
def node_llm_request_streaming_with_tools(
    name: str,
    definition: StructuredDataDefinition[Any] | None = None,
    *,
    transform: Callable[[FrameStream], Awaitable[_Output]],
) -> StreamingNode[_Output]: ...
@checked
def node_llm_request_streaming_with_tools(
    name: str,
    definition: StructuredDataDefinition[Any] | None = None,
    *,
    transform: Callable[[FrameStream], Awaitable[Any]] = _message,
) -> StreamingNode[Any]:
    """A step that asks a session's model, with its tools, and streams.

    Args:
        name: the step's name in the graph.
        definition: adds its instructions to the request.
        transform: makes of the frame stream what the graph passes on; without it the whole message.
    """
    return StreamingNode(name, definition, transform)


class ToolsNode:
    """Runs tool calls with a session's tools, as a step of a graph: ``await node(session, calls)``.

    Attributes:
        name: the step's name in the graph.
    """

    def __init__(self, name: str) -> None:
        """Args: ``name``: the step's name."""
        self.name = name
        self.__name__ = name

    async def __call__(
        self, session: LLMSession, calls: AssistantMessage | Sequence[ToolCall | InvalidToolCall]
    ) -> list[ToolResult]:
        """Runs the calls of one response; one result for each, in their order.

        Raises:
            InvalidInputError: a call needs approval, and the session has no ``approve``.
        """
        return await session.execute_tools(calls)


class ToolNode:
    """Runs one tool call with a session's tools, as a step of a graph: ``await node(session, call)``.

    Attributes:
        name: the step's name in the graph.
    """

    def __init__(self, name: str) -> None:
        """Args: ``name``: the step's name."""
        self.name = name
        self.__name__ = name

    async def __call__(self, session: LLMSession, call: ToolCall | InvalidToolCall) -> ToolResult:
        """Runs the call; its result. Raises as `ToolsNode` does."""
        return (await session.execute_tools([call]))[0]


class SendingNode(Generic[_Output]):
    """Gives results to a session's model and asks it on, as a step of a graph: ``await node(session, results)``.

    Attributes:
        name: the step's name in the graph.
    """

    def __init__(self, name: str, ask: StreamingNode[_Output]) -> None:
        """Args: ``name``: the step's name; ``ask``: makes the request."""
        self.name = name
        self.__name__ = name
        self._ask = ask

    async def __call__(self, session: LLMSession, results: ToolResult | Sequence[ToolResult]) -> _Output:
        """Adds the results to the conversation, and streams the next response.

        Raises:
            InvalidInputError: a result answers no call of the conversation.
            StreamError, ProviderError: see `FrameStream`; and what ``transform`` raises.
        """
        session.add_tool_results([results] if isinstance(results, ToolResult) else results)
        return await self._ask(session)


@checked
def node_execute_tool(name: str) -> ToolNode:
    """A step that runs one tool call. Koog's `nodeExecuteTool`.

    Args:
        name: the step's name in the graph.
    """
    return ToolNode(name)


@checked
def node_execute_multiple_tools(name: str) -> ToolsNode:
    """A step that runs all calls of a response, side by side. Koog's `nodeExecuteMultipleTools`.

    Args:
        name: the step's name in the graph.
    """
    return ToolsNode(name)


@checked
def node_llm_send_tool_result(
    name: str, *, transform: Callable[[FrameStream], Awaitable[Any]] = _message
) -> SendingNode[Any]:
    """A step that gives one tool's result to the model, and streams what it says. Koog's `nodeLLMSendToolResult`.

    Args:
        name: the step's name in the graph.
        transform: makes of the frame stream what the graph passes on. Default: the whole message.
    """
    return SendingNode(name, StreamingNode(name, None, transform))


@checked
def node_llm_send_multiple_tool_results(
    name: str, *, transform: Callable[[FrameStream], Awaitable[Any]] = _message
) -> SendingNode[Any]:
    """A step that gives the results of all calls to the model. Koog's `nodeLLMSendMultipleToolResults`.

    Args:
        name: the step's name in the graph.
        transform: makes of the frame stream what the graph passes on. Default: the whole message.
    """
    return SendingNode(name, StreamingNode(name, None, transform))
