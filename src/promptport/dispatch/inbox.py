"""`Inbox`: what tasks hand to the one generator that yields, with back-pressure."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Inbox"]


_Item = TypeVar("_Item")


_ROOM = 32


class Inbox(Generic[_Item]):
    """What tasks hand to the one generator that yields.

    `push` always takes; `put` waits while more than `_ROOM` items are unread, so that a consumer that stops reading
    stops the model's stream, and a tool that shows progress without end.
    """

    __slots__ = ("_closed", "_room", "_waiter", "items")

    def __init__(self) -> None:
        self.items: deque[_Item] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._closed: BaseException | None = None

    def push(self, item: _Item) -> None:
        """Takes an item, however many are unread."""
        self.items.append(item)
        self.wake()

    async def put(self, item: _Item) -> None:
        """Takes an item; waits while too many are unread."""
        self.push(item)
        await self.room()

    def has_room(self) -> bool:
        """Whether not too many items are unread."""
        return len(self.items) <= _ROOM

    async def room(self) -> None:
        """Waits while too many items are unread."""
        if not self.has_room():
            self._room.clear()
            await self._room.wait()

    def pop(self) -> _Item:
        """The oldest item; there must be one."""
        item = self.items.popleft()
        if len(self.items) < _ROOM and not self._room.is_set():
            self._room.set()
        return item

    def wake(self) -> None:
        """Ends the generator's wait, so that it looks again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self, error: BaseException) -> None:
        """The generator's wait, this one or the next, raises ``error``."""
        self._closed = error
        self.wake()

    async def wait(self) -> None:
        """Until `push` or `wake`."""
        if self._closed is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._closed is not None:
            raise self._closed
