"""`RedisReader`: a run of another process, read out of Redis; see `promptport.run_log.redis`.

Rule: a reader waits for the lease of a producer that says nothing, looks twice, and then tells that it died.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.dispatch import decode_dispatch_frame
from promptport.errors import IncompleteStreamError
from promptport.run_log.log import LOST, UNKNOWN, Ending, LoggedFrame, raise_for

if TYPE_CHECKING:
    from promptport.run_log.redis import RedisRunLog

__all__ = ["LOST_ENDING", "RedisReader", "text_of"]

_APPEARS_SECONDS = 2.0
LOST_ENDING = Ending("failed", LOST, "The server that ran this stopped working.")


class RedisReader:
    """Reads a run of another process."""

    def __init__(self, log: RedisRunLog, run: str, after: int) -> None:
        self.stopped = False
        self._log = log
        self._run = run
        self._after = after
        self._ready: list[tuple[int, str, bytes]] = []
        self._over = False

    def __aiter__(self) -> AsyncIterator[LoggedFrame]:
        return self

    async def __anext__(self) -> LoggedFrame:
        if self._over:
            raise StopAsyncIteration
        if not self._ready:
            self._ready = await self._wait()
            self._ready.reverse()
        position, kind, value = self._ready.pop()
        self._after = position
        if kind == "z":
            self._over = True
            ending = msgspec.json.decode(value, type=Ending)
            self.stopped = ending.outcome == "stopped"
            raise_for(ending)
            raise StopAsyncIteration
        return LoggedFrame(position, decode_dispatch_frame(value))

    async def aclose(self) -> None:
        """See `RunReader`."""
        self._over = True

    async def _wait(self) -> list[tuple[int, str, bytes]]:
        """The next entries. Raises where the run is not known, its producer died, or Redis is away for too long."""
        began = monotonic()
        away_since: float | None = None
        unled, unled_since = 0, began
        while True:
            try:
                found = await self._log.entries(self._run, self._after, min(1.0, self._log.lease / 2))
                if found:
                    return found
                away_since = None
                if await self._log.is_led(self._run):
                    unled, unled_since = 0, monotonic()
                    continue
                if monotonic() - unled_since < self._log.takeover_seconds and await self._log.is_open(self._run):
                    continue
                unled += 1  # it may have ended, or begin, just now: look twice
                if unled < 2 or await self._log.seal(self._run):
                    continue
                if await self._log.is_kept(self._run):  # its end was read before
                    self._over = True
                    raise StopAsyncIteration
                if monotonic() - began > _APPEARS_SECONDS:
                    self._over = True
                    raise IncompleteStreamError("there is no such run, or it is kept no more", code=UNKNOWN)
            except self._log.away_errors:
                away_since = away_since if away_since is not None else monotonic()
                if monotonic() - away_since > self._log.lease:
                    self._over = True
                    raise_for(LOST_ENDING)
                await asyncio.sleep(0.1)


def text_of(value: Any) -> str:
    """What Redis gave, as text."""
    return value.decode() if isinstance(value, bytes) else str(value)
