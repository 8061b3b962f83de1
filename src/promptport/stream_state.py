"""What a stream's generator shares with its handles: what came, who waits, and the clocks (`Timeouts`).

Rule: closing and the clocks reach a read that waits, from whichever task; what `End` completed nobody takes back.
Clocks need one timer for the whole stream, re-armed only when it fires.
"""

from __future__ import annotations

import asyncio
import operator
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

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
from promptport.frames import End, StreamFrame, Usage
from promptport.message_building import MessageBuilder
from promptport.messages import AssistantMessage, Origin

if TYPE_CHECKING:
    from promptport.telemetry import Observation

__all__ = ["FrameBatches", "StreamState", "Timeouts"]

FrameBatches: TypeAlias = AsyncGenerator[Sequence[StreamFrame], None]
"""A source of frames: for each read what it brought, also when that is nothing; ends after `End`, or raises."""


class Timeouts(msgspec.Struct, frozen=True):
    """The clocks of a stream, in seconds; ``None`` stops a clock.

    Attributes:
        first_frame: from the request until the first frame.
        idle: without any byte, while the caller waits for one; before the first byte only where ``first_frame`` is off.
        total: from the request until `End`.
        connect: until a connection to the server stands.
        next_frame: from one frame to the next, while the caller waits; only frames stop it, and heartbeats do not.
    """

    first_frame: float | None = 600.0
    idle: float | None = 300.0
    total: float | None = None
    connect: float | None = 10.0
    next_frame: float | None = 600.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and value is not True and value > 0):
                raise InvalidInputError(f"timeouts: {name} must be over 0 seconds, not {value}; None stops the clock")


OriginOf: TypeAlias = Origin | Callable[[], Origin | None] | None
"""Who makes a message, or who says it when it is known, as in a stream over others."""


class StreamState:
    """What a stream's generator shares with its handles; it keeps neither, so that a dropped handle is noticed."""

    __slots__ = (
        "begun",
        "builder",
        "cancelling",
        "clock",
        "closed",
        "ended",
        "failure",
        "finished",
        "frameless",
        "handles",
        "log",
        "loop",
        "named",
        "observation",
        "on_done",
        "origin",
        "reason",
        "rest",
        "seen",
        "source",
        "started",
        "task",
        "text_only",
        "timeouts",
        "used",
        "waiter",
        "waiting_since",
    )

    def __init__(
        self,
        source: FrameBatches,
        timeouts: Timeouts | None,
        named: tuple[str, str],
        observation: Observation | None = None,
    ) -> None:
        self.observation = observation
        self.failure: PromptportError | None = None
        self.origin: OriginOf = None
        self.used: Callable[[], Usage] | None = None  # what was told before `End`
        self.source = source
        self.named = named
        self.timeouts = timeouts
        self.handles: list[weakref.ref[Any]] = []
        self.log: list[StreamFrame] = []
        self.rest: Iterator[StreamFrame] = iter(())
        self.builder = MessageBuilder()
        self.text_only = False
        self.started = 0.0
        self.ended = False  # End came
        self.closed = False  # closing has begun …
        self.finished = False  # … and is done
        self.begun = False  # a read came
        self.seen = False  # a frame came
        self.frameless = 0.0  # since when the caller waits, where reads came since that brought no frame
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
        """The message of the frames that were delivered."""
        builder = self.builder.copy()
        builder.add(self.log[: len(self.log) - self.undelivered])
        message, origin = builder.message(), self.made_by()
        if builder.end is None and self.used is not None:
            message = msgspec.structs.replace(message, usage=self.used())
        return message if origin is None else msgspec.structs.replace(message, origin=origin)

    def usage(self) -> Usage:
        """The tokens of this answer, as far as the provider told."""
        end = self.log[-1] if self.log and type(self.log[-1]) is End else self.builder.end
        if end is not None:
            return end.usage
        return self.used() if self.used is not None else Usage()

    def made_by(self) -> Origin | None:
        """The server that makes the message."""
        return self.origin() if callable(self.origin) else self.origin

    def fail(self, error: PromptportError) -> PromptportError:
        """The error, with the message so far as its ``partial``."""
        self.failure = error
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

    @property
    def named_kind(self) -> str:
        """The class of the handle that is iterated."""
        return "TextStream" if self.text_only else "FrameStream"

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
        """Starts the clocks, or sets their timer anew."""
        due = self._due()
        if due is not None:
            self.clock = asyncio.get_running_loop().call_later(max(0.0, due[0] - monotonic()), self._tick)

    def disarm(self) -> None:
        """Stops the clocks."""
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
        if timeouts.next_frame is not None:
            waits = self.seen and self.task is not None
            waiting = self.frameless if waits and self.frameless else self.waiting_since if waits else monotonic()
            text = f"no frame came for {timeouts.next_frame:g} s, though bytes may have (timeouts.next_frame)"
            due.append((waiting + timeouts.next_frame, IdleTimeout, text))
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
