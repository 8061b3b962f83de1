"""`RedisReader`: a run of another process, read out of Redis; see `promptport.run_log.redis`.

Rule: a reader waits for the lease of a producer that says nothing, and then tells that it died. Where Redis was away,
the producer gets a moment to come back before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.dispatch import decode_dispatch_frame
from promptport.errors import IncompleteStreamError
from promptport.run_log.log import LOST_ENDING, UNKNOWN, Ending, LoggedFrame, raise_for

if TYPE_CHECKING:
    from promptport.run_log.redis import RedisRunLog

__all__ = ["RedisReader", "text_of"]

_APPEARS_SECONDS = 2.0
"""How long a run may be missing that somebody reads: it begins just now, or Redis forgot it and is told it again."""
_BLOCK_SECONDS = 1.0
_LOOK_SECONDS = 0.1


class RedisReader:
    """Reads a run of another process."""

    def __init__(self, log: RedisRunLog, run: str, after: int) -> None:
        """See `RunLog.read`."""
        self.stopped = False
        self._log = log
        self._run = run
        self._after = after
        self._ready: list[tuple[int, str, bytes]] = []
        self._over = False
        self._began = False

    def __aiter__(self) -> AsyncIterator[LoggedFrame]:
        return self

    async def __anext__(self) -> LoggedFrame:
        if self._over:
            raise StopAsyncIteration
        if not self._ready:
            self._ready = await self._wait()
            self._ready.reverse()
        position, kind, value = self._ready.pop()
        self._after, self._began = position, True
        if kind == "z":
            self._end(value)
        return LoggedFrame(position, decode_dispatch_frame(value))

    async def aclose(self) -> None:
        """See `RunReader`."""
        self._over = True

    def _end(self, value: bytes) -> None:
        self._over = True
        ending = msgspec.json.decode(value, type=Ending)
        self.stopped = ending.outcome == "stopped"
        raise_for(ending)
        raise StopAsyncIteration

    async def _wait(self) -> list[tuple[int, str, bytes]]:
        """The next entries. Raises where the run is not known, its producer died, or Redis is away for too long."""
        block = min(_BLOCK_SECONDS, self._log.lease / 2)
        away: float | None = None
        missing: float | None = None
        until = monotonic() + self._log.takeover_seconds  # nobody is said to be dead before
        while True:
            try:
                found = await self._log.entries(self._run, self._after, block)
                if found:
                    return found
                left = await self._log.lease_left(self._run)
                last = None if left > 0 else await self._log.last_entry(self._run)
                now = monotonic()
                if away is not None:
                    away, until = None, max(until, now + _APPEARS_SECONDS)
                if left > 0:
                    # It is looked again when the lease is over, and not a whole second later.
                    block, missing, until = (
                        min(_BLOCK_SECONDS, left + 0.02),
                        None,
                        now + left + self._log.takeover_seconds,
                    )
                    continue
                block = _LOOK_SECONDS
                if last is None:
                    missing = missing if missing is not None else now
                    if now - missing > _APPEARS_SECONDS:
                        self._over = True
                        raise self._unknown()
                elif last[1] == "z":
                    if last[0] <= self._after:
                        self._end(last[2])
                elif now >= until:
                    await self._log.seal(self._run)
            except self._log.away_errors:
                away = away if away is not None else monotonic()
                if monotonic() - away > self._log.lease:
                    self._over = True
                    raise_for(LOST_ENDING)
                await asyncio.sleep(_LOOK_SECONDS)

    def _unknown(self) -> IncompleteStreamError:
        if self._began:
            return IncompleteStreamError(LOST_ENDING.message, code=LOST_ENDING.code)
        return IncompleteStreamError("there is no such run, or it is kept no more", code=UNKNOWN)


def text_of(value: Any) -> str:
    """What Redis gave, as text."""
    return value.decode() if isinstance(value, bytes) else str(value)
