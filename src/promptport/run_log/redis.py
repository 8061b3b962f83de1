"""`RedisRunLog`: runs that any machine can read and stop. The extra ``redis`` installs its client.

How it stands in Redis: for each run a stream ``PREFIX:{run}:f`` whose entry ids are ``N-0`` with our own N, the lease
of its producer ``PREFIX:{run}:l`` and the wish to stop it ``PREFIX:{run}:s``, all in one slot of a cluster; for each
thread its active run. One script writes a batch: it looks at the lease, renews it, appends, and tells of a wish.

Rules: while a batch is on its way, frames gather, and the next takes them all; a log that is away delays nobody and
ends nothing: the run goes on, readers in its own process go on, and others are told after the lease.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.dispatch import DispatchFrame, decode_dispatch_frame
from promptport.errors import InvalidInputError
from promptport.front_ends import TokenBuffer
from promptport.run_log.log import LOST_ENDING, RunReader, check_name, check_position, produce
from promptport.run_log.memory import LocalReader, LocalRun
from promptport.run_log.redis_connection import away_errors, connected, unusable
from promptport.run_log.redis_reader import RedisReader, text_of
from promptport.run_log.redis_scripts import APPEND, LEAVE, OPEN, SEAL, SWAP
from promptport.run_log.redis_threads import RedisPauseStore, RedisThreadStore, shared_secret
from promptport.run_log.redis_writer import RedisWriter
from promptport.run_log.rejoining import Shown, rejoined

if TYPE_CHECKING:
    import redis.asyncio as redis

__all__ = ["RedisPauseStore", "RedisRunLog", "RedisThreadStore", "shared_secret"]

_log = logging.getLogger("promptport")
_BATCH = 256


class RedisRunLog:
    """A run log on Redis or Valkey, for several processes and machines.

    Examples:
        ```py
        from promptport.run_log.redis import RedisRunLog

        async with RedisRunLog("redis://localhost:6379") as log:
            await log.start("run-1", stream, thread="chat-1")
        ```
    """

    def __init__(
        self,
        address: str | redis.Redis,
        *,
        lease: float = 10.0,
        keep: float = 300.0,
        max_age: float = 86_400.0,
        max_bytes: int = 16 << 20,
        buffer_seconds: float | None = 0.05,
        timeout: float = 1.0,
        prefix: str = "pp",
        takeover_seconds: float = 0.0,
    ) -> None:
        """Make a log.

        Args:
            address: Where Redis is, such as `"redis://localhost:6379"`, or a client of yours, which stays open.
            lease: Seconds after which a producer that says nothing is held for dead. Default: 10.0.
            keep: Seconds that a run can be read after its end. Default: 300.0.
            max_age: Seconds that the frames of a run that goes on are kept. Default: one day.
            max_bytes: How much of one run is kept. Default: 16 MiB.
            buffer_seconds: Text is joined for so long before it is written; `None` joins nothing. Default: 0.05.
            timeout: Seconds to wait for Redis. Default: 1.0.
            prefix: What the keys begin with. Default: `"pp"`.
            takeover_seconds: How long readers wait for another producer after the lease of one that died, before they
                are told `producer_lost`. Default: 0.0.

        Raises:
            ConfigurationError: The package `redis` is not installed, or the address is none.
            InvalidInputError: A number is out of its range.
        """
        for name, value in (("lease", lease), ("keep", keep), ("max_age", max_age), ("timeout", timeout)):
            if not value > 0:
                raise InvalidInputError(f"RedisRunLog: {name} must be over 0 s, not {value!r}.")
        if max_bytes < 1 or not takeover_seconds >= 0:
            raise InvalidInputError(
                f"RedisRunLog: max_bytes={max_bytes!r} or takeover_seconds={takeover_seconds!r} is out of range."
            )
        self._prefix = check_name(prefix, what="prefix")
        self._redis, self._own = connected(address, timeout=timeout, where="RedisRunLog")
        self._append = self._redis.register_script(APPEND)
        self._opening = self._redis.register_script(OPEN)
        self._leave = self._redis.register_script(LEAVE)
        self._seal = self._redis.register_script(SEAL)
        self._swap = self._redis.register_script(SWAP)
        self.away_errors = away_errors()
        self.lease = lease
        self.takeover_seconds = takeover_seconds
        self.closing = False
        self._keep = keep
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._buffer_seconds = buffer_seconds
        self._timeout = timeout
        self._local: dict[str, LocalRun] = {}
        self._threads: dict[str, str] = {}  # of the runs of this process
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------------- verbs

    async def check(self) -> None:
        """Ask Redis whether it can be used, by a key that is written for a second.

        Raises:
            ConfigurationError: It cannot be reached, refuses the password, takes no writes, or has no room.
        """
        try:
            async with asyncio.timeout(self._timeout + 1.0):
                await self._redis.set(f"{self._prefix}:check", b"1", px=1000)
        except self.away_errors as error:
            raise unusable(error, where="run log") from error

    async def start(
        self,
        run: str,
        frames: AsyncIterable[DispatchFrame],
        *,
        thread: str | None = None,
        takeover: bool = False,
        replayed: bool = False,
    ) -> None:
        """See `RunLog`. If Redis is away, the run goes on, and only this process can read it until Redis is back.

        With ``replayed`` the frames begin at the run's start, as those of a run that its journal takes up: viewers are
        shown what they do not have, after a `StepReset` where they have a part of a step. It waits until the lease of
        the producer that died is over; a run that is not in the log begins there.
        """
        check_name(run, what="run")
        if thread is not None:
            check_name(thread, what="thread")
            if self._active_here(thread) is not None:
                raise self._busy(thread)
        if run in self._local:
            raise InvalidInputError(f"run log: there is a run {run!r} already. Give each run a name of its own.")
        local = self._local[run] = LocalRun(self._max_bytes)
        if thread is not None:
            self._threads[thread] = run
        token = secrets.token_hex(16)
        position: int | None
        try:
            if replayed:
                position = await self._open(run, token, takeover=True, patient=True)
                frames = rejoined(frames, await self._shown(run))
            else:
                async with asyncio.timeout(self._timeout):
                    position = await self._open(run, token, takeover=takeover)
            if thread is not None:
                async with asyncio.timeout(self._timeout):
                    if not await self._take_thread(thread, run):
                        await self._leave(keys=[self.key(run, "l")], args=[token])
                        raise self._busy(thread)
        except self.away_errors as error:
            _log.warning("the run log is away (%s); the run %s goes on without it", type(error).__name__, run)
            position = None
        except BaseException:
            self._forget(run, thread)
            raise
        writer = RedisWriter(self, run, token, local, position=position, thread=thread)
        buffer = TokenBuffer(seconds=self._buffer_seconds) if self._buffer_seconds is not None else None
        task = asyncio.create_task(self._work(run, thread, frames, writer, buffer), name=f"promptport-run-{run}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def read(self, run: str, *, after: int = 0) -> RunReader:
        """See `RunLog`; a run of this process is read out of its memory."""
        check_name(run, what="run")
        check_position(after)
        local = self._local.get(run)
        return LocalReader(local, after) if local is not None else RedisReader(self, run, after)

    async def active(self, thread: str) -> str | None:
        """See `RunLog`. Raises `ConfigurationError` where Redis is away."""
        check_name(thread, what="thread")
        run = self._active_here(thread)
        if run is not None:
            return run
        try:
            found = await self._redis.get(self._thread_key(thread))
            if found is None:
                return None
            run = text_of(found)
            return run if run not in self._local and await self.lease_left(run) > 0 else None
        except self.away_errors as error:
            raise unusable(error, where="run log") from error

    async def stop(self, run: str) -> bool:
        """See `RunLog`. Raises `ConfigurationError` where Redis is away."""
        check_name(run, what="run")
        local = self._local.get(run)
        if local is not None:
            if local.ending is not None:
                return False
            local.stopping.set()
            return True
        try:
            if not await self.lease_left(run) > 0:
                return False
            await self._redis.set(self.key(run, "s"), b"1", px=int(self._max_age * 1000))
        except self.away_errors as error:
            raise unusable(error, where="run log") from error
        return True

    async def aclose(self) -> None:
        """See `RunLog`."""
        self.closing = True
        for local in self._local.values():
            local.stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._local.clear()
        self._threads.clear()
        if self._own:
            await self._redis.aclose()

    async def __aenter__(self) -> RedisRunLog:  # noqa: PYI034 - it is no base class
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ---------------------------------------------------------------------------------------- inside

    def key(self, run: str, kind: str) -> str:
        """The name of a run's key; the braces keep all of them in one slot of a cluster."""
        return f"{self._prefix}:{{{run}}}:{kind}"

    def _thread_key(self, thread: str) -> str:
        return f"{self._prefix}:thread:{thread}"

    def _busy(self, thread: str) -> InvalidInputError:
        return InvalidInputError(f"run log: the thread {thread!r} has an active run. Stop it, or wait for its end.")

    def _active_here(self, thread: str) -> str | None:
        """The run of this process that the thread has and that is not over."""
        run = self._threads.get(thread)
        local = self._local.get(run) if run is not None else None
        return run if local is not None and local.ending is None else None

    def _forget(self, run: str, thread: str | None) -> None:
        self._local.pop(run, None)
        if thread is not None and self._threads.get(thread) == run:
            del self._threads[thread]

    async def _take_thread(self, thread: str, run: str) -> bool:
        """Makes this, whose lease is held, the active run of its thread, unless another one is."""
        name, lasts = self._thread_key(thread), int(self._max_age * 1000)
        while not await self._redis.set(name, run, nx=True, px=lasts):
            found = await self._redis.get(name)
            there = text_of(found) if found is not None else run
            if there != run and await self.lease_left(there) > 0:
                return False
            if found is not None and await self._swap(keys=[name], args=[there, run, lasts]):
                break
        return True

    async def hold_thread(self, thread: str | None, run: str) -> None:
        """Takes the thread of a run again where Redis forgot it."""
        if thread is not None:
            try:
                async with asyncio.timeout(self._timeout):
                    await self._take_thread(thread, run)
            except self.away_errors:
                pass  # the next batch says so

    async def _open(self, run: str, token: str, *, takeover: bool, patient: bool = False) -> int:
        """Opens the run; with patience after the lease of a producer that died."""
        from redis.exceptions import ResponseError  # noqa: PLC0415 - see `connected`

        keys = [self.key(run, "f"), self.key(run, "l")]
        until = monotonic() + (self.lease + 1.0 if patient else 0.0)
        while True:
            try:
                return int(await self._opening(keys=keys, args=[token, int(self.lease * 1000), int(takeover)]))
            except ResponseError as error:
                told = {
                    "THERE": "there is a run of this name already. Give each run a name of its own",
                    "ALIVE": "its producer is alive. Stop it first",
                    "ENDED": "the run is over. Start a new one",
                }
                word = next((word for word in told if word in str(error)), None)
                if word is None:
                    raise
                if word != "ALIVE" or monotonic() >= until:
                    message = f"run log: the run {run!r} cannot be started: {told[word]}."
                    raise InvalidInputError(message) from None
            await asyncio.sleep(self.lease / 20)

    async def _shown(self, run: str) -> Shown:
        shown, after = Shown(), 0
        while found := await self.entries(run, after, 0.001):
            for after, kind, value in found:  # noqa: B007 - it is where the next batch begins
                if kind == "f":
                    shown.add(decode_dispatch_frame(value))
        return shown

    async def _work(
        self,
        run: str,
        thread: str | None,
        frames: AsyncIterable[DispatchFrame],
        writer: RedisWriter,
        buffer: TokenBuffer | None,
    ) -> None:
        try:
            await produce(frames, writer, buffer=buffer)
        finally:
            if thread is not None:
                try:
                    async with asyncio.timeout(self._timeout):
                        await self._leave(keys=[self._thread_key(thread)], args=[run])
                except self.away_errors:
                    pass  # it expires
            asyncio.get_running_loop().call_later(self._keep, self._forget, run, thread)

    async def write(
        self, run: str, token: str, position: int, entries: Sequence[bytes], *, last: bool, how: str
    ) -> tuple[int, int, bool]:
        """Writes a batch, and renews the lease; see `redis_scripts.APPEND`. Raises what Redis raises."""
        keep = self._keep if last else self._max_age
        keys = [self.key(run, kind) for kind in "fls"]
        args = [token, int(self.lease * 1000), position, int(keep * 1000), int(last), how, *entries]
        async with asyncio.timeout(self._timeout):
            state, there, wish = await self._append(keys=keys, args=args)
        return int(state), int(there), bool(wish)

    async def entries(self, run: str, after: int, wait: float) -> list[tuple[int, str, bytes]]:
        """The entries behind a position: place, kind and value; waits for some, not for ever."""
        found = await self._redis.xread(
            {self.key(run, "f"): f"{after}-0"}, count=_BATCH, block=max(1, int(wait * 1000))
        )
        batches = found.values() if isinstance(found, dict) else [entries for _, entries in found or ()]
        # With RESP3 the entries stand in a list of their own.
        return [
            _entry(one) for batch in batches for one in (batch[0] if batch and isinstance(batch[0], list) else batch)
        ]

    async def last_entry(self, run: str) -> tuple[int, str, bytes] | None:
        """The last entry of the run, if anything of it is there."""
        found = await self._redis.xrevrange(self.key(run, "f"), count=1)
        return _entry(found[0]) if found else None

    async def lease_left(self, run: str) -> float:
        """Seconds until the run's lease is over; 0 or less where nobody holds it."""
        return float(await self._redis.pttl(self.key(run, "l"))) / 1000

    async def is_led(self, run: str) -> bool:
        """Whether somebody holds the run's lease."""
        return await self.lease_left(run) > 0

    async def is_kept(self, run: str) -> bool:
        """Whether frames of the run are there."""
        return await self.last_entry(run) is not None

    async def seal(self, run: str) -> bool:
        """Says that the producer of this run died, unless it did not."""
        keys = [self.key(run, "f"), self.key(run, "l")]
        return bool(await self._seal(keys=keys, args=[msgspec.json.encode(LOST_ENDING), int(self._keep * 1000)]))


def _entry(found: Any) -> tuple[int, str, bytes]:
    identity, fields = found
    ((kind, value),) = fields.items()
    return int(text_of(identity).partition("-")[0]), text_of(kind), value
