"""The same verbs without an event loop: for scripts, notebooks and synchronous web code.

Rule: no second implementation. One thread runs an event loop (anyio's portal), and every verb is asked for there;
frames cross over by the read, not one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from promptport import executor as asynchronous
from promptport.dispatch import DispatchFrame, ToolDispatcher
from promptport.errors import InvalidInputError
from promptport.executor import PromptExecutor, ToolsPolicy
from promptport.frames import Append, StreamFrame
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel, ModelCapabilities
from promptport.stream import FrameStream
from promptport.tools import ToolDescriptor

__all__ = ["BlockingExecutor", "BlockingFrameStream", "BlockingStream", "connect"]

_Item = TypeVar("_Item")


class BlockingStream(Generic[_Item]):
    """A stream to iterate with ``for``, and a context manager: leaving it closes the request."""

    def __init__(self, call: Callable[..., Any], stream: Any, read: Callable[[Any], Any]) -> None:
        self._call = call
        self._stream = stream
        self._read = read
        self._batch: Iterator[_Item] = iter(())
        self._ended = False

    def __iter__(self) -> Iterator[_Item]:
        return self

    def __next__(self) -> _Item:
        while not self._ended:
            for item in self._batch:
                return item
            batch = self._call(self._read, self._stream)
            if batch is None:
                self._ended = True
            else:
                self._batch = iter(batch)
        raise StopIteration

    def close(self) -> None:
        """Closes the HTTP response now; closing twice does nothing."""
        self._ended = True
        self._call(self._stream.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class BlockingFrameStream(BlockingStream[StreamFrame]):
    """A `FrameStream` to iterate with ``for``."""

    def message(self) -> AssistantMessage:
        """Reads to the end; the whole message."""
        self._ended = True
        message: AssistantMessage = self._call(self._stream.message)
        return message

    @property
    def partial(self) -> AssistantMessage:
        """The message so far; frames of one read count together."""
        message: AssistantMessage = self._stream.partial
        return message


class BlockingExecutor:
    """A `PromptExecutor` without ``await``. Use it with ``with``, or close it: it owns a thread."""

    def __init__(self, make: Callable[[], PromptExecutor]) -> None:
        """``make``: gives the executor that does the work; called in the thread with the event loop."""
        from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 - only where it is asked for

        self._stack = ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._closed = False
        try:
            self._executor: PromptExecutor = self._portal.call(make)
        except BaseException:
            self._stack.close()
            raise

    def execute_streaming_with_tools(
        self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor] = ()
    ) -> BlockingFrameStream:
        """See `PromptExecutor`."""
        stream = self._call(self._executor.execute_streaming_with_tools, prompt, model, tools)
        return BlockingFrameStream(self._call, stream, _frames)

    def execute_streaming(self, prompt: Prompt, model: LLModel) -> BlockingStream[str]:
        """See `PromptExecutor`."""
        stream = self._call(self._executor.execute_streaming_with_tools, prompt, model)
        return BlockingStream(self._call, stream, _texts)

    def execute(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor] = ()) -> AssistantMessage:
        """See `PromptExecutor`."""
        message: AssistantMessage = self._call(self._executor.execute, prompt, model, tools)
        return message

    def dispatch(
        self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], **options: Any
    ) -> BlockingStream[DispatchFrame]:
        """The tool loop: ``ToolDispatcher(executor, tools, **options).stream(prompt, model)``."""

        def start() -> Any:
            return ToolDispatcher(self._executor, tools, **options).stream(prompt, model)

        return BlockingStream(self._call, self._call(start), _one)

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """See `PromptExecutor`."""
        return self._executor.capabilities(model)

    def close(self) -> None:
        """Closes the clients and ends the thread; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            try:
                self._portal.call(self._executor.aclose)
            finally:
                self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._closed:
            raise InvalidInputError("the executor is closed")
        return self._portal.call(function, *arguments)


def connect(
    *providers: str,
    when_tools_cannot_stream: ToolsPolicy = "raise",
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> BlockingExecutor:
    """As `promptport.connect`, without an event loop."""

    def make() -> PromptExecutor:
        return asynchronous.connect(*providers, when_tools_cannot_stream=when_tools_cannot_stream, options=options)

    return BlockingExecutor(make)


async def _frames(stream: FrameStream) -> list[StreamFrame] | None:
    return await stream.next_batch() or None


async def _texts(stream: FrameStream) -> list[str] | None:
    batch = await stream.next_batch()
    return [frame.text for frame in batch if type(frame) is Append] if batch else None


async def _one(stream: Any) -> list[DispatchFrame] | None:
    async for frame in stream:
        return [frame]
    return None
