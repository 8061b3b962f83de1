"""Steps for agent graphs: engine-neutral async callables over an `LLMSession`.

A node knows no engine. pydantic-graph and LangGraph both run async callables; what a graph passes on is made of the
frame stream by ``transform``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, overload

from promptport.messages import AssistantMessage
from promptport.session import LLMSession
from promptport.stream import FrameStream
from promptport.structured import StructuredDataDefinition

__all__ = ["StreamingNode", "node_llm_request_streaming_with_tools"]

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
