"""What a caller iterates: `FrameStream` and `TextStream`.

Rules kept here, for every source of frames:

- The last frame is `End`, exactly one, or the iteration raises; whatever it raises of ours carries ``partial``.
- Nothing is read before it is asked for, and nothing is read after the end or after closing.
- Closing closes the source at once, also from another task while a read waits; a dropped stream warns.

Cost: a source hands over the frames of one read as a list, so that there is one await for each read, and none for
the frames in between. Clocks need one timer for the whole stream, re-armed only when it fires.
"""

from __future__ import annotations

import asyncio
import operator
import warnings
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar, cast

import msgspec

from promptport.errors import (
    FirstFrameTimeout,
    IdleTimeout,
    IncompleteStreamError,
    InvalidInputError,
    PromptportError,
    ProtocolError,
    TotalTimeout,
    TransportError,
)
from promptport.frames import (
    Append,
    Citation,
    End,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    Restarted,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
)
from promptport.messages import AssistantMessage, AssistantPart, TextPart

__all__ = ["FrameBatches", "FrameStream", "TextStream", "Timeouts", "message_of"]

FrameBatches: TypeAlias = AsyncGenerator[Sequence[StreamFrame], None]
"""A source of frames: for each read what it brought, also when that is nothing; ends after `End`, or raises."""


class Timeouts(msgspec.Struct, frozen=True):
    """The three clocks of a stream, in seconds; ``None`` stops a clock.

    Attributes:
        first_frame: from the request until the first frame.
        idle: without any byte, while the caller waits for one; before the first byte only where ``first_frame`` is off.
        total: from the request until `End`.
        connect: until a connection to the server stands.
    """

    first_frame: float | None = 600.0
    idle: float | None = 300.0
    total: float | None = None
    connect: float | None = 10.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and value > 0):
                raise InvalidInputError(f"timeouts: {name} must be over 0 seconds, not {value}; None stops the clock")


# -------------------------------------------------------------------------------------- frames → message


class _MessageBuilder:
    """Folds frames into the message that they make."""

    __slots__ = ("calls", "end", "parts", "reasoning", "text")

    def __init__(self) -> None:
        self.parts: list[AssistantPart] = []
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: dict[str, tuple[str, list[str]]] = {}
        self.end: End | None = None

    def copy(self) -> _MessageBuilder:
        other = _MessageBuilder()
        other.parts, other.text, other.reasoning = self.parts.copy(), self.text.copy(), self.reasoning.copy()
        other.calls = {key: (name, fragments.copy()) for key, (name, fragments) in self.calls.items()}
        other.end = self.end
        return other

    def add(self, frames: Iterable[StreamFrame]) -> None:
        add_text = self.text.append
        for frame in frames:
            if type(frame) is Append:
                add_text(frame.text)
            elif type(frame) is ToolCallDelta:
                call = self.calls.get(frame.id)
                if call is None:
                    call = self.calls[frame.id] = (frame.name, [])
                call[1].append(frame.arguments)
            elif type(frame) is ReasoningAppend:
                self.reasoning.append(frame.text)
            elif type(frame) is End:
                self.end = frame
            elif type(frame) is Restarted:
                self.parts.clear()
                self.text.clear()
                self.reasoning.clear()
                self.calls.clear()
            else:
                self._part(cast("Reasoning | ToolCall | InvalidToolCall | Citation | ProviderItem", frame))

    def _part(self, part: Reasoning | ToolCall | InvalidToolCall | Citation | ProviderItem) -> None:
        self._flush_text()
        if isinstance(part, Reasoning):
            self.reasoning.clear()
        elif isinstance(part, ToolCall | InvalidToolCall):
            self.calls.pop(part.id, None)
        self.parts.append(part)

    def _flush_text(self) -> None:
        if self.text:
            self.parts.append(TextPart("".join(self.text)))
            self.text.clear()

    def message(self) -> AssistantMessage:
        if self.reasoning:  # cut short: shown, and without what the provider would want back
            self._part(Reasoning("".join(self.reasoning)))
        self._flush_text()
        parts, end = tuple(self.parts), self.end
        if end is None:
            unfinished = [UnfinishedCall(key, name, "".join(texts)) for key, (name, texts) in self.calls.items()]
            return AssistantMessage(parts, unfinished=tuple(unfinished))
        return AssistantMessage(
            parts,
            end.finish_reason,
            end.raw_finish_reason,
            end.usage,
            end.model,
            end.response_id,
            end.unfinished,
        )


def message_of(frames: Iterable[StreamFrame]) -> AssistantMessage:
    """The message that these frames make, complete or not."""
    builder = _MessageBuilder()
    builder.add(frames)
    return builder.message()


# ----------------------------------------------------------------------------------------------- streams

_COMPACT = 512  # frames kept as they are before they are folded, so that a long stream stays small


class _State:
    """What a stream's generator shares with its handles; it keeps neither, so that a dropped handle is noticed."""

    __slots__ = (
        "begun",
        "builder",
        "cancelling",
        "clock",
        "closed",
        "ended",
        "finished",
        "handles",
        "log",
        "loop",
        "named",
        "on_done",
        "reason",
        "rest",
        "seen",
        "source",
        "started",
        "task",
        "text_only",
        "timeouts",
        "waiter",
        "waiting_since",
    )

    def __init__(self, source: FrameBatches, timeouts: Timeouts | None, named: tuple[str, str]) -> None:
        self.source = source
        self.named = named
        self.timeouts = timeouts
        self.handles: list[weakref.ref[_Stream[Any]]] = []
        self.log: list[StreamFrame] = []
        self.rest: Iterator[StreamFrame] = iter(())
        self.builder = _MessageBuilder()
        self.text_only = False
        self.started = 0.0
        self.ended = False  # End came
        self.closed = False  # closing has begun …
        self.finished = False  # … and is done
        self.begun = False  # a read came
        self.seen = False  # a frame came
        # The read that waits now, if one does.
        self.loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[Any] | None = None
        self.waiting_since = 0.0
        self.reason: PromptportError | None = None
        self.cancelling = 0
        self.clock: asyncio.TimerHandle | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.on_done: list[Callable[[AssistantMessage, bool], None]] = []

    @property
    def complete(self) -> bool:
        """Whether `End` was delivered."""
        return self.ended and not self.undelivered

    @property
    def undelivered(self) -> int:
        """How many frames of the last read were not asked for yet."""
        return operator.length_hint(self.rest)

    # ------------------------------------------------------------------------------------------ messages

    def message(self) -> AssistantMessage:
        builder = self.builder.copy()
        builder.add(self.log[: len(self.log) - self.undelivered])
        return builder.message()

    def fail(self, error: PromptportError) -> PromptportError:
        if getattr(error, "partial", self) is None:
            error.partial = self.message()  # type: ignore[attr-defined]
        return error

    def end(self, batch: Sequence[StreamFrame]) -> None:
        """`End` came: what the clocks or the wire do from now on cannot take the answer back.

        Raises:
            ProtocolError: it is not the only one, or other frames follow it: the source is broken.
        """
        if self.ended or self.builder.end is not None or End in map(type, [*self.log, *batch[:-1]]):
            self.ended = False
            raise ProtocolError("the source of this stream gave frames after its End")
        self.ended = True
        self.disarm()

    def shut(self) -> None:
        """The stream closes: iterating on raises, unless `End` was delivered; then it just stops."""
        self.closed = True
        if not self.complete:
            for handle in self.handles:
                stream = handle()
                if stream is not None:
                    stream.__anext__ = self._raise_closed

    def _raise_closed(self) -> Awaitable[Any]:
        raise self.fail(IncompleteStreamError("the stream was closed before its end"))

    # -------------------------------------------------------------------------------------------- waking

    def read(self) -> None:
        """A read begins."""
        self.waiting_since = monotonic()
        self.task = task = asyncio.current_task(self.loop)  # told the loop, Python 3.11 need not ask the system for it
        # A cancellation that comes from now on is a new one, also where ours comes after it.
        self.cancelling = task.cancelling() if task is not None else 0

    def wake(self, reason: PromptportError) -> None:
        """Ends the read that waits now with ``reason``; without one, the next."""
        if self.reason is None:
            self.reason = reason
            if self.task is not None:
                self.task.cancel()

    def woken(self) -> PromptportError | None:
        """Inside ``except CancelledError``: our reason for it, or ``None`` where somebody else cancelled."""
        task = self.task
        if self.reason is None or task is None or task.uncancel() > self.cancelling:
            return None
        return self.reason

    def finish(self) -> None:
        """The source is closed; whoever waits for that goes on."""
        self.finished = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    # -------------------------------------------------------------------------------------------- clocks

    def arm(self) -> None:
        due = self._due()
        if due is not None:
            self.clock = asyncio.get_running_loop().call_later(max(0.0, due[0] - monotonic()), self._tick)

    def disarm(self) -> None:
        if self.clock is not None:
            self.clock.cancel()
            self.clock = None

    def _due(self) -> tuple[float, type[TransportError], str] | None:
        """When the next clock runs out, which one it is, and what to say."""
        timeouts = self.timeouts
        if timeouts is None:
            return None
        due: list[tuple[float, type[TransportError], str]] = []
        if timeouts.total is not None:
            text = f"the answer was not complete within {timeouts.total:g} s (timeouts.total)"
            due.append((self.started + timeouts.total, TotalTimeout, text))
        if timeouts.first_frame is not None and not self.seen:
            text = f"no frame came within {timeouts.first_frame:g} s (timeouts.first_frame)"
            due.append((self.started + timeouts.first_frame, FirstFrameTimeout, text))
        if timeouts.idle is not None:
            # While the caller holds the stream, or the first clock still runs for the first byte, the provider is not
            # idle: look again one whole period later.
            idling = self.task is not None and (self.begun or timeouts.first_frame is None)
            since = self.waiting_since if idling else monotonic()
            due.append((since + timeouts.idle, IdleTimeout, f"no byte came for {timeouts.idle:g} s (timeouts.idle)"))
        return min(due, key=lambda entry: entry[0]) if due else None

    def _tick(self) -> None:
        self.clock = None
        due = self._due()
        if due is None:
            return
        when, kind, text = due
        if when <= monotonic():
            provider, model = self.named
            self.wake(kind(text, provider=provider, model=model))
        else:
            self.arm()


async def _run(state: _State) -> AsyncGenerator[Any, None]:  # noqa: PLR0912, PLR0915 - see its docstring
    """The one generator behind a stream: frames, or their text. One body, because each layer costs every frame."""
    source, log = state.source, state.log
    state.started = monotonic()
    try:
        state.loop = asyncio.get_running_loop()
        state.read()
        if state.timeouts is not None:
            state.arm()
        async for batch in source:
            state.task = None
            state.begun = True
            if batch:
                if state.ended or type(batch[-1]) is End:
                    state.end(batch)
                if len(log) > _COMPACT:
                    state.builder.add(log)
                    log.clear()
                log.extend(batch)
                state.seen = True
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
            for callback in state.on_done:
                callback(state.message(), state.complete)


_Item = TypeVar("_Item")


class _Stream(Generic[_Item]):
    """A handle on a running generator; see `FrameStream`."""

    __slots__ = ("__anext__", "__weakref__", "_generator", "_state")

    # A slot that holds the generator's own, because a method would cost a third of what handing over a frame does;
    # `_State.shut` exchanges it.
    __anext__: Callable[[], Awaitable[_Item]]

    def __init__(self, state: _State) -> None:
        self._state = state
        self._generator: AsyncGenerator[_Item, None] = _run(state)
        self.__anext__ = self._generator.__anext__
        state.handles.append(weakref.ref(self))

    def __aiter__(self) -> AsyncIterator[_Item]:
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

    __slots__ = ("_skipped", "_texts")

    def __init__(
        self,
        source: FrameBatches,
        *,
        timeouts: Timeouts | None = None,
        skipped: Mapping[str, int] | None = None,
        named: tuple[str, str] = ("", ""),
    ) -> None:
        """Args:
        source: see `FrameBatches`; the stream owns and closes it.
        timeouts: the clocks; ``None`` for none.
        skipped: where the source counts the unknown events that it passes over.
        named: provider and model, for the clocks' errors.
        """
        super().__init__(_State(source, timeouts, named))
        self._skipped: Mapping[str, int] = skipped if skipped is not None else {}

    @classmethod
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
        stream._state, stream._generator, stream.__anext__ = (
            self._state,
            cast("Any", self._generator),
            cast("Any", self.__anext__),
        )
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
        async for _ in self:
            pass
        return self._state.message()

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
