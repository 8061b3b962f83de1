"""`progress`: what a tool shows on its way, from wherever it runs.

Rules: a value is JSON, and is checked where it is shown; a thread waits while too much is unread, the event loop never
does; after the call's outcome nothing is shown.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar
from typing import Any, Protocol

import msgspec

from promptport.dispatch.entries import Entry
from promptport.dispatch.inbox import Inbox
from promptport.dispatch.tool_frames import ToolProgress
from promptport.dispatch.tool_output import progress_of
from promptport.errors import InvalidInputError

__all__ = ["SHOWS", "Shows", "ToolView", "progress"]

_MAX_BYTES = 1 << 20
_MAX_UNREAD = 1000
_PATIENCE = 5.0


class Shows(Protocol):
    """Takes what a tool shows."""

    def show(self, data: bytes) -> None:
        """Takes a value as JSON; may wait until it is read."""
        ...


SHOWS: ContextVar[Shows] = ContextVar("promptport_shows")


def progress(data: Any) -> None:
    """Show progress of the tool call that runs here, as a `ToolProgress` frame.

    It works in plain and async functions, in threads, in process pools, and on Ray and Dask clusters. In a thread or a
    process it waits while 32 frames are unread. On the event loop and on Dask it does not wait, and drops the value
    if 1,000 frames are unread.

    Args:
        data: JSON types, dataclasses, or pydantic models; at most 1 MiB of JSON.

    Raises:
        InvalidInputError: No dispatcher runs this function, or the value is too large.
        TypeError: The value is not JSON.

    Examples:
        ```python
        import promptport as pp

        @pp.tool
        def render(frames: int) -> str:
            for number in range(frames):
                pp.progress({"frame": number})
            return "rendered"
        ```
    """
    shows = SHOWS.get(None)
    if shows is None:
        raise InvalidInputError(
            "progress(): no tool call runs here. Call it inside a function that ToolDispatcher runs as a tool."
        )
    encoded = msgspec.json.encode(progress_of(data))
    if len(encoded) > _MAX_BYTES:
        raise InvalidInputError(
            f"progress(): the value has {len(encoded):,} bytes of JSON; at most {_MAX_BYTES:,} are shown. Show less."
        )
    shows.show(encoded)


class ToolView:
    """One running tool as the loop sees it: when it began, and what it shows.

    Attributes:
        received: how many values arrived, also those that were dropped.
        begun: when its function began, by `time.monotonic`; ``None`` while it waits for a place.
    """

    __slots__ = ("_entry", "_inbox", "_loop", "_thread", "_tickets", "_waiter", "begun", "received")

    def __init__(self, entry: Entry, inbox: Inbox[Any]) -> None:
        self.begun: float | None = None
        self.received = 0
        self._entry = entry
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._tickets: list[threading.Event] = []
        self._waiter: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """The function begins; from any thread."""
        if self.begun is None:
            self.begun = time.monotonic()

    def left(self, seconds: float) -> float:
        """How much of its time is left."""
        return seconds if self.begun is None else self.begun + seconds - time.monotonic()

    def show(self, data: bytes) -> None:
        """Shows a value; a thread other than the loop's waits while too many are unread."""
        if threading.get_ident() == self._thread:
            self._push(data, None)
            return
        ticket = threading.Event()
        if self._call(data, ticket):
            while not ticket.wait(1.0):
                if self._loop.is_closed():
                    return

    def offer(self, data: bytes) -> None:
        """Shows a value from any thread, without waiting."""
        self._call(data, None)

    def _call(self, data: bytes, ticket: threading.Event | None) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._push, data, ticket)
        except RuntimeError:  # the loop is closed, and nobody reads
            return False
        return True

    def _push(self, data: bytes, ticket: threading.Event | None) -> None:
        self.received += 1
        unread = len(self._inbox.items)
        over = self._entry.outcome is not None or self._entry.timed_out
        if not over and (ticket is not None or unread < _MAX_UNREAD):
            self._inbox.push(ToolProgress(self._entry.call.id, msgspec.json.decode(data)))
        if ticket is None:
            return
        if over or self._inbox.has_room():
            ticket.set()
            return
        self._tickets.append(ticket)
        if self._waiter is None:
            self._waiter = self._loop.create_task(self._until_room(), name="promptport-progress")

    async def _until_room(self) -> None:
        await self._inbox.room()
        self._waiter = None
        self._release()

    def _release(self) -> None:
        for ticket in self._tickets:
            ticket.set()
        self._tickets.clear()

    async def arrived(self, count: int) -> None:
        """Waits for values that are on their way from afar, but not for long: they might be lost."""
        until = time.monotonic() + _PATIENCE
        while self.received < count and time.monotonic() < until:  # noqa: ASYNC110 - it has arrived, but for races
            await asyncio.sleep(0.005)

    def end(self) -> None:
        """The call has its outcome: whoever waits goes on."""
        if self._waiter is not None:
            self._waiter.cancel()
            self._waiter = None
        self._release()
