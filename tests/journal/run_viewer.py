"""A viewer who reads the log of a run throughout, while its processes die; with a Redis of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.run_log.redis_server import RedisServer

import promptport as pp
from promptport.run_log import LoggedFrame
from promptport.run_log.redis import RedisRunLog

__all__ = ["RunViewer"]


class RunViewer:
    """Reads the run ``run`` in a thread of its own.

    Attributes:
        url: Its Redis.
        seen: What it was shown.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._urls: queue.Queue[str] = queue.Queue()
        self._over = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()), daemon=True)
        self.url = ""
        self.seen: list[LoggedFrame] = []

    async def _watch(self) -> None:
        async with RedisServer(self._place) as server, RedisRunLog(server.url, lease=1.0, takeover_seconds=100) as log:
            self._urls.put(server.url)
            while not self._over.is_set() and not self._ended.is_set():
                try:
                    async for logged in log.read("run"):
                        self.seen.append(logged)
                    self._ended.set()
                except pp.IncompleteStreamError as error:
                    if self.seen or error.code != "unknown_run":  # else it has not begun
                        break
            await asyncio.to_thread(self._over.wait)

    def __enter__(self) -> Self:
        self._thread.start()
        self.url = self._urls.get(timeout=30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(30)

    def steps(self) -> list[list[pp.DispatchFrame]]:
        """What it has in the end: the frames of each step, without those of a step that began anew."""
        assert self._ended.wait(60), f"the viewer was shown no end, and {len(self.seen)} frames"
        assert [logged.position for logged in self.seen] == list(range(1, len(self.seen) + 1)), "ids without gap"
        steps: list[list[pp.DispatchFrame]] = [[]]
        for logged in self.seen:
            if isinstance(logged.frame, pp.StepReset):
                assert logged.frame.index == len(steps) - 1
                steps[-1] = []
                continue
            steps[-1].append(logged.frame)
            if isinstance(logged.frame, pp.StepEnd):
                steps.append([])
        return steps
