"""Waiting for the next item of an async iterator, but not for ever, and without losing it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

__all__ = ["Pull"]

_Item = TypeVar("_Item")

_AHEAD = 64
"""Items read before they are asked for: more than one read off the wire has, and little enough to wait for a reader."""


class Pull(Generic[_Item]):
    """Reads an iterator for somebody who may tire of waiting; a wait that times out goes on with the next `get`.

    The iterator runs in one task of its own, because cancelling a read would end it, and a task for each item costs
    more than most items. `aclose` ends that task.
    """

    def __init__(self, source: AsyncIterator[_Item]) -> None:
        self._source = source
        self._items: deque[_Item] = deque()
        self._task: asyncio.Task[None] | None = None
        self._wanted: asyncio.Future[None] | None = None  # somebody waits for an item …
        self._room: asyncio.Future[None] | None = None  # … or the task for somebody to take one

    async def get(self, seconds: float | None) -> _Item | None:
        """The next item, or ``None`` when ``seconds`` have passed.

        Raises:
            StopAsyncIteration: at the end; and what the iterator raises.
        """
        if not self._items:
            if self._task is None:
                self._task = asyncio.create_task(self._read())
            if not self._task.done():
                await self._wait(seconds)
            if not self._items:
                if not self._task.done():
                    return None
                self._task.result()
                raise StopAsyncIteration
        item = self._items.popleft()
        if self._room is not None:
            _wake(self._room)
        return item

    async def aclose(self) -> None:
        """Ends a read that is still waiting, and closes the iterator where it can be closed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()  # seen, so that asyncio does not report it as forgotten
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()

    async def _read(self) -> None:
        try:
            async for item in self._source:
                self._items.append(item)
                if self._wanted is not None:
                    _wake(self._wanted)
                if len(self._items) >= _AHEAD:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
                    self._room = None
        finally:
            if self._wanted is not None:
                _wake(self._wanted)

    async def _wait(self, seconds: float | None) -> None:
        """Until an item comes, the iterator ends, or the seconds are over."""
        loop = asyncio.get_running_loop()
        self._wanted = wanted = loop.create_future()
        clock = None if seconds is None else loop.call_later(seconds, _wake, wanted)
        try:
            await wanted
        finally:
            self._wanted = None
            if clock is not None:
                clock.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
