"""`RedisWriter`: writes a run to the memory of its process at once, and to Redis in batches, by a task of its own.

Rules: Redis delays nobody. While it is away, or has no room, frames gather; when it is back they are all written, also
those that it forgot. A producer that another one replaced, or that was silent for longer than its lease and was told
to be dead, ends its run; one that could not reach Redis goes on for its own readers.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from promptport.dispatch import DispatchFrame, encode_dispatch_frame
from promptport.run_log.log import FULL_ENDING, LOST_ENDING, Ending
from promptport.run_log.redis_scripts import AGAIN, CLOSED, FENCED, FORGOT, OPENING, RENEW

if TYPE_CHECKING:
    from promptport.run_log.memory import LocalRun
    from promptport.run_log.redis import RedisRunLog

__all__ = ["RedisWriter"]

_log = logging.getLogger("promptport")

_BATCH = 256
_BEAT_SECONDS = 0.5
"""How often a run that says nothing renews its lease, and looks whether somebody wants a stop, which must be seen
within a second."""


class RedisWriter:
    """The `RunWriter` of a run in Redis."""

    def __init__(
        self, log: RedisRunLog, run: str, token: str, local: LocalRun, *, position: int | None, thread: str | None
    ) -> None:
        """Args:
        log: whose Redis it is.
        run: the run.
        token: what the run's lease holds.
        local: the run in the memory of this process.
        position: the last position that Redis has; ``None`` where Redis was away when the run began.
        thread: the conversation, which is taken again where Redis forgot it.
        """
        self._log = log
        self._run = run
        self._token = token
        self._local = local
        self._thread = thread
        self._base = self._sent = position or 0
        self._how = OPENING if position is None else RENEW
        self._failures = int(position is None)  # in a row
        self._waiting: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._ending: Ending | None = None
        self._ended = 0.0
        self._replaced = False
        self._task = asyncio.create_task(self._write(), name=f"promptport-log-{run}")

    @property
    def stopping(self) -> asyncio.Event:
        """See `RunWriter`."""
        return self._local.stopping

    async def append(self, frames: Sequence[DispatchFrame]) -> None:
        """See `RunWriter`."""
        kept = self._local.add(frames)
        if kept and not self._task.done():
            self._waiting.extend([b"f" + data for data in kept])
            self._news.set()

    async def close(self, ending: Ending) -> None:
        """See `RunWriter`."""
        if self._replaced:
            ending = LOST_ENDING
        if self._local.full:
            ending = FULL_ENDING
        await self._local.close(ending)
        self._ending, self._ended = ending, monotonic()
        self._news.set()
        await self._task

    async def _write(self) -> None:
        """Batches and heartbeats until the end, or until there is nothing to write to."""
        beat = min(self._log.lease / 3, _BEAT_SECONDS)
        while True:
            await self._news_or(beat)
            entries = list(islice(self._waiting, _BATCH))
            last = self._ending is not None and len(entries) == len(self._waiting)
            if last:
                entries.append(b"z" + msgspec.json.encode(self._ending))
            try:
                state, there, wish = await self._log.write(
                    self._run, self._token, self._sent + 1, entries, last=last, how=self._how
                )
            except self._log.away_errors as error:
                if self._gives_up(error):
                    return
                await asyncio.sleep(beat / 2)
                self._news.set()
                continue
            if state:
                if self._is_over(state, there, last=last, count=len(entries)):
                    return
                continue
            await self._written(there)
            if wish:
                self._local.stopping.set()
            if last:
                return

    async def _news_or(self, seconds: float) -> None:
        """Until there is something to write, or it is time to renew the lease."""
        if not self._news.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                pass
        self._news.clear()

    def _gives_up(self, error: BaseException) -> bool:
        """Whether this failure is the last one: a run that is over waits for Redis no longer than its lease."""
        self._failures += 1
        if self._failures == 1:
            _log.warning(
                "the run log cannot be written (%s); the run %s goes on, and is written when Redis is back",
                type(error).__name__,
                self._run,
            )
        if self._how == RENEW:
            self._how = AGAIN
        return self._ending is not None and (self._log.closing or monotonic() - self._ended > self._log.lease)

    def _is_over(self, state: int, there: int, *, last: bool, count: int) -> bool:
        """Whether the run is no more this writer's."""
        if state == FORGOT:
            return not self._recalls(there)
        if state == CLOSED and last and there == self._sent + count:
            return True  # the answer to the last batch was lost, and not the batch
        # One failure is a batch that was on its way when this process was stopped, and not a Redis that was away.
        if self._how != OPENING and (state == FENCED or self._failures < 2):
            _log.warning("another producer, or the end of its lease, replaced this one; the run %s is ended", self._run)
            self._replaced = True
            self._local.stopping.set()
        else:
            _log.warning("the run %s goes on without the run log, which says that it is over", self._run)
        return True

    def _recalls(self, there: int) -> bool:
        """What Redis forgot waits again; false if this process never had it."""
        if there < self._base:
            _log.warning("the run %s goes on without the run log, which lost its beginning", self._run)
            return False
        frames = self._local.frames[there - self._base : self._sent - self._base]
        self._waiting.extendleft(reversed([b"f" + encode_dispatch_frame(frame) for frame in frames]))
        self._sent = there
        self._failures += 1
        self._news.set()
        return True

    async def _written(self, there: int) -> None:
        for _ in range(min(there - self._sent, len(self._waiting))):
            self._waiting.popleft()
        self._sent = there
        self._how = RENEW
        if self._waiting:
            self._news.set()
        if self._failures:
            self._failures = 0
            await self._log.hold_thread(self._thread, self._run)
