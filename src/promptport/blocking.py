"""The same verbs without an event loop: for scripts, notebooks and synchronous web code.

Rules: no second implementation. One thread runs an event loop (anyio's portal), and every verb is asked for there;
frames cross over by the read, not one by one. A script that closes nothing ends all the same: the thread is a daemon,
and what is open is closed before the interpreter ends, for a few seconds at most.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from promptport.arguments import as_model, check_asker
from promptport.checking import checked
from promptport.connecting import connect as asynchronous_connect
from promptport.dispatch import DispatchFrame, ToolDispatcher
from promptport.errors import InvalidInputError
from promptport.executor import ParametersPolicy, PromptExecutor, ToolsPolicy
from promptport.frames import Append, StreamFrame
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel, ModelCapabilities
from promptport.stream import FrameStream
from promptport.tools import ToolDescriptor

if TYPE_CHECKING:
    from promptport.policies import RetryConfig

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

__all__ = ["BlockingExecutor", "BlockingFrameStream", "BlockingStream", "connect"]

_Item = TypeVar("_Item")

_EXIT_SECONDS = 5.0
"""So long may closing take where nobody asked for it: at the interpreter's end, or when an executor was dropped."""


class BlockingStream(Generic[_Item]):
    """A stream to iterate with ``for``, for one use, and a context manager: leaving it closes the request."""

    def __init__(self, call: Callable[..., Any], stream: Any, read: Callable[[Any], Any]) -> None:
        self._call = call
        self._stream = stream
        self._read = read
        self._batch: Iterator[_Item] = iter(())
        self._ended = False
        self._closed = False
        self._reading = threading.Lock()

    def __iter__(self) -> Iterator[_Item]:
        if self._ended:
            raise InvalidInputError(
                f"{type(self).__name__}: it was iterated to its end before, and is for one use. Ask again for another"
                " stream, or keep what it gives in a list."
            )
        return self

    def __next__(self) -> _Item:
        if not self._reading.acquire(blocking=False):
            raise InvalidInputError(
                f"{type(self).__name__}: another thread is reading it. Iterate a stream in one thread, and hand on what"
                " it gives."
            )
        try:
            while not (self._ended or self._closed):
                for item in self._batch:
                    return item
                batch = self._call(self._read, self._stream)
                if batch is None:
                    self._ended = True
                else:
                    self._batch = iter(batch)
        finally:
            self._reading.release()
        raise StopIteration

    def close(self) -> None:
        """Closes the HTTP response now; closing twice does nothing. A closed stream gives nothing more."""
        self._closed = True
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
        message: AssistantMessage = self._call(self._stream.message)
        self._ended = True
        return message

    @property
    def partial(self) -> AssistantMessage:
        """The message so far; frames of one read count together."""
        message: AssistantMessage = self._stream.partial
        return message


class _LoopThread:
    """An event loop in a daemon thread, and what is called there."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._ready: Future[BlockingPortal] = Future()
        self._thread = threading.Thread(target=self._run, name="promptport-blocking", daemon=True)
        self._thread.start()
        self._portal = self._ready.result()

    def _run(self) -> None:
        import anyio  # noqa: PLC0415 - only where it is asked for
        from anyio.from_thread import BlockingPortal  # noqa: PLC0415

        async def serve() -> None:
            async with BlockingPortal() as portal:
                self._ready.set_result(portal)
                await portal.sleep_until_stopped()

        try:
            anyio.run(serve)
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function gives there; a coroutine function is awaited."""
        if self.is_copy():
            raise InvalidInputError(
                "this BlockingExecutor was made before os.fork(), and its thread stayed in the other process. "
                "Make one in this process"
            )
        return self._portal.call(function, *arguments)

    def is_copy(self) -> bool:
        """Whether this is the copy that ``os.fork`` made in a child: threads are not copied."""
        return os.getpid() != self._process

    def stop(self) -> None:
        """Ends the loop when what runs there has ended."""
        if self.is_copy():
            return
        with contextlib.suppress(RuntimeError):  # it runs no more
            self._portal.call(self._portal.stop)
        self._thread.join()

    def abandon(self, close: Callable[[], Any]) -> None:
        """Closes and ends the loop, whatever runs there; waits for a few seconds at most."""
        if self.is_copy():
            return
        with contextlib.suppress(Exception):
            closing = self._portal.start_task_soon(close)
            if threading.current_thread() is self._thread:
                closing.add_done_callback(lambda _: self._portal.start_task_soon(self._portal.stop, True))
                return
            with contextlib.suppress(Exception):
                closing.result(_EXIT_SECONDS)
            self._portal.start_task_soon(self._portal.stop, True)
            self._thread.join(_EXIT_SECONDS)


class BlockingExecutor:
    """A `PromptExecutor` without ``await``. Use it with ``with``, or close it: it owns a thread.

    A script that ends without closing it, also by an exception or ``sys.exit``, ends: what is open is closed then.
    """

    @checked
    def __init__(self, make: Callable[[], PromptExecutor]) -> None:
        """``make``: gives the executor that does the work; called in the thread with the event loop."""
        self._loop = _LoopThread()
        try:
            self._executor: PromptExecutor = self._loop.call(make)
        except BaseException:
            self._loop.stop()
            raise
        try:
            check_asker(self._executor, where="BlockingExecutor: what make gives")
        except InvalidInputError:
            self._loop.stop()
            raise
        self._closed = False
        # Called at the interpreter's end too, before the thread is frozen with it.
        self._last = weakref.finalize(self, self._loop.abandon, self._executor.aclose)

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> BlockingFrameStream:
        """See `PromptExecutor`."""
        stream = self._call(self._executor.execute_streaming_with_tools, prompt, model, tools)
        return BlockingFrameStream(self._call, stream, _frames)

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> BlockingStream[str]:
        """See `PromptExecutor`."""
        stream = self._call(self._executor.execute_streaming_with_tools, prompt, model)
        return BlockingStream(self._call, stream, _texts)

    def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """See `PromptExecutor`."""
        message: AssistantMessage = self._call(self._executor.execute, prompt, model, tools)
        return message

    def dispatch(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor], **options: Any
    ) -> BlockingStream[DispatchFrame]:
        """The tool loop: ``ToolDispatcher(executor, tools, **options).stream(prompt, model)``."""

        async def start() -> Any:  # what a plain function gives would be awaited, and a `DispatchStream` can be
            return ToolDispatcher(self._executor, tools, **options).stream(prompt, model)

        return BlockingStream(self._call, self._call(start), _one)

    def capabilities(self, model: LLModel | str) -> ModelCapabilities:
        """See `PromptExecutor`."""
        return self._executor.capabilities(as_model(model))

    def close(self) -> None:
        """Closes the clients and ends the thread; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self._last.detach()
            if self._loop.is_copy():
                return  # the process that made it closes it
            try:
                self._loop.call(self._executor.aclose)
            finally:
                self._loop.stop()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(
                "a BlockingExecutor was dropped unclosed. Use it in 'with', or call its close().",
                ResourceWarning,
                stacklevel=2,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._closed:
            raise InvalidInputError("the executor is closed")
        return self._loop.call(function, *arguments)


@checked
def connect(
    *providers: str,
    when_tools_cannot_stream: ToolsPolicy = "raise",
    when_unsupported: ParametersPolicy = "raise",
    tools_in_text: bool = False,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    retry: RetryConfig | None = None,
    fallback: Sequence[LLModel | str] | None = None,
) -> BlockingExecutor:
    """As `promptport.connect`, without an event loop."""

    def make() -> PromptExecutor:
        ask: Any = asynchronous_connect  # two overloads, of which this is both
        executor: PromptExecutor = ask(
            *providers,
            when_tools_cannot_stream=when_tools_cannot_stream,
            when_unsupported=when_unsupported,
            tools_in_text=tools_in_text,
            options=options,
            retry=retry,
            fallback=fallback,
        )
        return executor

    return BlockingExecutor(make)


async def _frames(stream: FrameStream) -> list[StreamFrame] | None:
    return await stream.next_batch() or None


async def _texts(stream: FrameStream) -> list[str] | None:
    batch = await stream.next_batch()
    return [frame.text for frame in batch if type(frame) is Append] if batch else None


async def _one(stream: Any) -> list[DispatchFrame] | None:
    try:
        return [await anext(stream)]
    except StopAsyncIteration:
        return None
