"""What a caller iterates: `FrameStream` and `TextStream`.

Rules kept here, for every source of frames:

- The last frame is `End`, exactly one, or the iteration raises; whatever it raises of ours carries ``partial``.
- Nothing is read before it is asked for, and nothing is read after the end or after closing.
- Closing closes the source at once, also from another task while a read waits; a dropped stream warns.

Cost: a source hands over the frames of one read as a list, so that there is one await for each read, and none for
the frames in between. Clocks need one timer for the whole stream (`promptport.stream_state`).
"""

from __future__ import annotations

import asyncio
import warnings
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from promptport.checking import checked
from promptport.errors import IncompleteStreamError, InvalidInputError, PromptportError
from promptport.frames import Append, End, StreamFrame, Usage
from promptport.message_building import message_of
from promptport.messages import AssistantMessage, Origin
from promptport.stream_state import FrameBatches, OriginOf, StreamState, Timeouts

if TYPE_CHECKING:
    from promptport.telemetry import Observation

__all__ = ["FrameBatches", "FrameStream", "TextStream", "Timeouts", "message_of"]

_COMPACT = 512  # frames kept as they are before they are folded, so that a long stream stays small


async def _run(state: StreamState) -> AsyncGenerator[Any, None]:  # noqa: PLR0912, PLR0915 - see its docstring
    """The one generator behind a stream: frames, or their text. One body, because each layer costs every frame."""
    source, log = state.source, state.log
    state.started = monotonic()
    observation = state.observation
    if observation is not None:
        observation.sent()
    try:
        state.loop = asyncio.get_running_loop()
        state.read()
        if state.timeouts is not None:
            state.arm()
        async for batch in source:
            state.task = None
            state.begun = True
            if batch:
                if observation is not None:
                    observation.read(batch)
                if state.ended or type(batch[-1]) is End:
                    state.end(batch)
                if len(log) > _COMPACT:
                    state.builder.add(log)
                    log.clear()
                log.extend(batch)
                state.seen = True
                state.frameless = 0.0
                state.rest = rest = iter(batch)
                if state.text_only:
                    for frame in rest:
                        if type(frame) is Append:
                            yield frame.text
                else:
                    for frame in rest:
                        yield frame
            elif state.ended:
                return
            elif not state.frameless:
                state.frameless = state.waiting_since
            if state.reason is not None and not state.ended:
                raise state.reason
            state.read()
        if not state.ended:
            raise IncompleteStreamError("the stream ended without the provider's terminal")
    except asyncio.CancelledError:
        reason = state.woken()
        if reason is None:
            raise
        if not state.ended:
            raise state.fail(reason) from None
    except PromptportError as error:
        # Between End and the end of the bytes the source only makes the connection fit for its next use.
        if not state.ended:
            state.fail(error)
            raise
    finally:
        state.task = None
        state.disarm()
        state.shut()
        try:
            await source.aclose()
        finally:
            state.finish()
            if observation is not None:
                observation.finished(state.message(), state.failure)
            for callback in state.on_done:
                callback(state.message(), state.complete)


_Item = TypeVar("_Item")


class _Stream(Generic[_Item]):
    """A handle on a running generator; see `FrameStream`."""

    __slots__ = ("__anext__", "__weakref__", "_generator", "_state")

    # A slot that holds the generator's own, because a method would cost a third of what handing over a frame does;
    # `StreamState.shut` exchanges it.
    __anext__: Callable[[], Awaitable[_Item]]

    def __init__(self, state: StreamState) -> None:
        self._state = state
        self._generator: AsyncGenerator[_Item, None] = _run(state)
        self.__anext__ = self._generator.__anext__
        state.handles.append(weakref.ref(self))

    def __aiter__(self) -> AsyncIterator[_Item]:
        state = self._state
        if state.finished and state.complete:
            raise InvalidInputError(
                f"{state.named_kind}: it was iterated to its end before, and is for one use. Ask again for another"
                " stream, or keep the frames in a list; 'await stream.message()' still gives the whole message."
            )
        if state.task is not None and state.task is not asyncio.current_task():
            raise InvalidInputError(
                f"{state.named_kind}: another task is reading it. Iterate a stream in one task, and hand its frames on."
            )
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the HTTP response now; a read that waits in another task raises `IncompleteStreamError`.

        Closing twice, or after the end, does nothing.
        """
        state = self._state
        task = state.task
        if task is not None and task is not asyncio.current_task():
            state.wake(IncompleteStreamError("the stream was closed while it was read"))
        elif not state.closed:
            state.shut()
            try:
                await self._generator.aclose()
                await state.source.aclose()  # a generator that never ran has no finally
            finally:
                state.finish()
        if not state.finished:  # another task closes it
            if state.waiter is None:
                state.waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(state.waiter)


class TextStream(_Stream[str]):
    """The text of an answer as it comes: an async iterator of ``str``, for one use; raises as `FrameStream` does."""

    __slots__ = ("_frames",)

    _frames: FrameStream
    """The stream that this is a view of: it lives as long, so that its client can close it, and warns for both."""


class FrameStream(_Stream[StreamFrame]):
    """The frames of one answer: an async iterator and async context manager, for one use.

    ::

        async with executor.execute_streaming_with_tools(prompt, model, tools) as stream:
            async for frame in stream: ...

    Iterating raises `StreamError` or `ProviderError`; both carry ``partial``. After `End` it stops.
    """

    __slots__ = ("_dropped", "_skipped")

    def __init__(
        self,
        source: FrameBatches,
        *,
        timeouts: Timeouts | None = None,
        skipped: Mapping[str, int] | None = None,
        named: tuple[str, str] = ("", ""),
        observation: Observation | None = None,
        origin: OriginOf = None,
        dropped: Callable[[], tuple[str, ...]] | None = None,
        used: Callable[[], Usage] | None = None,
    ) -> None:
        """Args:
        source: see `FrameBatches`; the stream owns and closes it.
        timeouts: the clocks; ``None`` for none.
        skipped: where the source counts the unknown events that it passes over.
        named: provider and model, for the clocks' errors.
        observation: what observers are told of this request; ``None`` where nobody wants to know.
        origin: the server that makes the message, see `AssistantMessage`; or who says it, in a stream over others.
        dropped: who says what was left out of the request, in a stream over others.
        used: who says which tokens the provider told of before the answer's end.
        """
        super().__init__(StreamState(source, timeouts, named, observation))
        self._state.origin = origin
        self._state.used = used
        self._dropped: Callable[[], tuple[str, ...]] = dropped if dropped is not None else tuple
        self._skipped: Mapping[str, int] = skipped if skipped is not None else {}

    @classmethod
    @checked
    def of(cls, frames: Iterable[StreamFrame]) -> FrameStream:
        """A stream of frames that are there already."""

        async def source() -> FrameBatches:
            for frame in frames:
                yield (frame,)

        return cls(source())

    def text(self) -> TextStream:
        """The same stream, as the text of its `Append` frames; from now on iterate that one, and not this.

        Raises:
            InvalidInputError: the iteration has begun.
        """
        if self._state.started:
            raise InvalidInputError("text() must be called before the stream is iterated")
        self._state.text_only = True
        stream = TextStream.__new__(TextStream)
        stream._state = self._state
        stream._generator = cast("Any", self._generator)
        stream.__anext__ = cast("Any", self.__anext__)
        stream._frames = self
        self._state.handles.append(weakref.ref(stream))
        return stream

    async def next_batch(self) -> list[StreamFrame]:
        """The frames of the next read: those that can be had without waiting again, and at least one; none at the end.

        For those who hand frames on to a slower place (a thread, a socket), and want to hop once a read.
        """
        try:
            first = await self.__anext__()
        except StopAsyncIteration:
            return []
        return [first, *self._state.rest]

    async def message(self) -> AssistantMessage:
        """Reads to the end; the whole message, whatever was iterated before."""
        while await self.next_batch():
            pass
        return self._state.message()

    @checked
    def on_done(self, callback: Callable[[AssistantMessage, bool], None]) -> None:
        """Calls ``callback(message, complete)`` once, when the stream has ended, failed or been closed.

        A stream that was never iterated asked nothing, and calls nothing. ``complete`` is whether `End` was iterated.
        """
        self._state.on_done.append(callback)

    @property
    def partial(self) -> AssistantMessage:
        """The message so far: what was iterated."""
        return self._state.message()

    @property
    def usage(self) -> Usage:
        """The tokens that the provider counted so far, as far as it told; those of `End` once it came."""
        return self._state.usage()

    @property
    def origin(self) -> Origin | None:
        """The server that makes this message; ``None`` if no client said so."""
        return self._state.made_by()

    @property
    def dropped(self) -> tuple[str, ...]:
        """The parameters that were left out because the model does not take them (``when_unsupported="drop"``)."""
        return self._dropped()

    def with_dropped(self, names: tuple[str, ...]) -> Self:
        """The same stream, whose request was made without these parameters."""
        before = self._dropped
        self._dropped = lambda: (*names, *before())
        return self

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many unknown events the decoder passed over so far, by their names."""
        return self._skipped

    def __del__(self) -> None:
        state = getattr(self, "_state", None)
        if state is not None and state.started and not state.closed and not state.complete:
            warnings.warn(
                f"a {(TextStream if state.text_only else FrameStream).__name__} was dropped unclosed:"
                " use 'async with', or iterate to the end",
                ResourceWarning,
                stacklevel=2,  # without source=self: whoever records the warning would keep the connection open
            )
