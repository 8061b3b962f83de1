"""`MemoryRunLog`: the frames of this process's runs, in its memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence

from promptport.dispatch import DispatchFrame, encode_dispatch_frame
from promptport.errors import IncompleteStreamError, InvalidInputError
from promptport.front_ends import TokenBuffer
from promptport.run_log.log import (
    FULL_ENDING,
    UNKNOWN,
    Ending,
    LoggedFrame,
    check_name,
    check_position,
    produce,
    raise_for,
)

__all__ = ["LocalReader", "LocalRun", "MemoryRunLog"]


class LocalRun:
    """One run's frames in memory: written by one task, read by any number.

    Attributes:
        stopping: set when somebody stops the run.
        ending: how it ended; ``None`` while it goes on.
        frames: all frames so far.
    """

    def __init__(self, max_bytes: int) -> None:
        self.stopping = asyncio.Event()
        self.ending: Ending | None = None
        self.frames: list[DispatchFrame] = []
        self.full = False
        self._left = max_bytes
        self._news = asyncio.Event()

    async def append(self, frames: Sequence[DispatchFrame]) -> None:
        """See `RunWriter`."""
        self.add(frames)

    def add(self, frames: Sequence[DispatchFrame]) -> list[bytes]:
        """Keep these frames, and give the JSON of those that are kept.

        Past the limit in bytes nothing is kept any more, and readers are told at the end.
        """
        kept = []
        for frame in frames:
            if self.full:
                break
            data = encode_dispatch_frame(frame)
            self._left -= len(data)
            if self._left < 0:
                self.full = True
            else:
                self.frames.append(frame)
                kept.append(data)
        self._tell()
        return kept

    async def close(self, ending: Ending) -> None:
        """See `RunWriter`."""
        if self.ending is None:
            self.ending = FULL_ENDING if self.full else ending
            self._tell()

    async def read(self, after: int) -> AsyncIterator[LoggedFrame]:
        """The frames behind this position; ends with the run."""
        position = after
        while True:
            while position < len(self.frames):
                frame = self.frames[position]
                position += 1
                yield LoggedFrame(position, frame)
            if self.ending is not None:
                return
            news = self._news
            await news.wait()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class LocalReader:
    """Reads a run of this process, or none."""

    def __init__(self, run: LocalRun | None, after: int) -> None:
        self._run = run
        self._frames = run.read(after) if run is not None else None

    @property
    def stopped(self) -> bool:
        """See `RunReader`."""
        return self._run is not None and self._run.ending is not None and self._run.ending.outcome == "stopped"

    def __aiter__(self) -> AsyncIterator[LoggedFrame]:
        return self

    async def __anext__(self) -> LoggedFrame:
        if self._run is None or self._frames is None:
            raise IncompleteStreamError("there is no such run, or it is kept no more", code=UNKNOWN)
        try:
            return await anext(self._frames)
        except StopAsyncIteration:
            assert self._run.ending is not None
            raise_for(self._run.ending)
            raise

    async def aclose(self) -> None:
        """See `RunReader`."""
        if self._frames is not None:
            await self._frames.aclose()  # type: ignore[attr-defined]


class MemoryRunLog:
    """A run log in this process's memory: for one process, and for tests.

    Examples:
        ```python
        import promptport as pp
        from promptport.run_log import MemoryRunLog
        from promptport.testing import ScriptedExecutor

        log = MemoryRunLog()
        executor, model = ScriptedExecutor(["Hello"]), pp.LLModel("scripted", "m")
        frames = executor.execute_streaming_with_tools(pp.Prompt.of("Hi"), model)
        await log.start("run-1", frames)
        async for logged in log.read("run-1"):
            print(logged.position, logged.frame)
        ```
    """

    def __init__(self, *, keep: float = 300.0, max_bytes: int = 16 << 20, buffer: TokenBuffer | None = None) -> None:
        """Make an empty log.

        Args:
            keep: Seconds that a run can be read after its end. Default: 300.0.
            max_bytes: How much of one run is kept; a longer run goes on, and its readers are told. Default: 16 MiB.
            buffer: Joins neighboring text before it is kept. Default: none.

        Raises:
            InvalidInputError: A number is out of its range.
        """
        if not keep >= 0 or max_bytes < 1:
            raise InvalidInputError(f"MemoryRunLog: keep={keep!r} or max_bytes={max_bytes!r} is out of range.")
        self._keep = keep
        self._max_bytes = max_bytes
        self._buffer = buffer
        self._runs: dict[str, LocalRun] = {}
        self._threads: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(
        self, run: str, frames: AsyncIterable[DispatchFrame], *, thread: str | None = None, takeover: bool = False
    ) -> None:
        """See `RunLog`; nobody can take over what died with this process."""
        check_name(run, what="run")
        if thread is not None:
            check_name(thread, what="thread")
            if await self.active(thread) is not None:
                raise InvalidInputError(
                    f"run log: the thread {thread!r} has an active run. Stop it, or wait for its end."
                )
        if run in self._runs:
            raise InvalidInputError(f"run log: there is a run {run!r} already. Give each run a name of its own.")
        local = self._runs[run] = LocalRun(self._max_bytes)
        if thread is not None:
            self._threads[thread] = run
        task = asyncio.create_task(produce(frames, local, buffer=self._buffer), name=f"promptport-run-{run}")
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._over(done, run, thread))

    def read(self, run: str, *, after: int = 0) -> LocalReader:
        """See `RunLog`."""
        return LocalReader(self._runs.get(run), check_position(after))

    async def active(self, thread: str) -> str | None:
        """See `RunLog`."""
        run = self._threads.get(thread)
        return run if run is not None and self._runs[run].ending is None else None

    async def stop(self, run: str) -> bool:
        """See `RunLog`."""
        local = self._runs.get(run)
        if local is None or local.ending is not None:
            return False
        local.stopping.set()
        return True

    async def aclose(self) -> None:
        """See `RunLog`."""
        for local in self._runs.values():
            local.stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._runs.clear()
        self._threads.clear()

    def _over(self, task: asyncio.Task[None], run: str, thread: str | None) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()
        if thread is not None and self._threads.get(thread) == run:
            del self._threads[thread]
        task.get_loop().call_later(self._keep, self._runs.pop, run, None)
