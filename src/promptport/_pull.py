"""Waiting for the next item of an async iterator, but not for ever, and without losing it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

__all__ = ["Pull"]

_Item = TypeVar("_Item")


class Pull(Generic[_Item]):
    """Reads an iterator one item at a time; a wait that times out goes on with the next `get`.

    The read runs in a task of its own, because cancelling it would end the iterator. `aclose` ends that task.
    """

    def __init__(self, source: AsyncIterator[_Item]) -> None:
        self._source = source
        self._task: asyncio.Task[_Item] | None = None

    async def get(self, seconds: float | None) -> _Item | None:
        """The next item, or ``None`` when ``seconds`` have passed.

        Raises:
            StopAsyncIteration: at the end; and what the iterator raises.
        """
        if self._task is None:
            self._task = asyncio.ensure_future(_next(self._source))
        done, _ = await asyncio.wait([self._task], timeout=seconds)
        if not done:
            return None
        task, self._task = self._task, None
        try:
            return task.result()
        except _EndError:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Ends a read that is still waiting, and closes the iterator where it can be closed."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # seen, so that asyncio does not report it as forgotten
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


class _EndError(Exception):
    """StopAsyncIteration, which a task cannot carry."""


async def _next(source: AsyncIterator[Any]) -> Any:
    try:
        return await source.__anext__()
    except StopAsyncIteration:
        raise _EndError from None
