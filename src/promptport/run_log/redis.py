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

from promptport.dispatch import DispatchFrame, decode_dispatch_frame, encode_dispatch_frame
from promptport.errors import ConfigurationError, InvalidInputError
from promptport.front_ends import TokenBuffer
from promptport.run_log.log import (
    FULL,
    Ending,
    RunReader,
    check_name,
    produce,
)
from promptport.run_log.memory import LocalRun, _Reader
from promptport.run_log.redis_reader import LOST_ENDING, RedisReader, text_of
from promptport.run_log.rejoining import Shown, rejoined

if TYPE_CHECKING:
    import redis.asyncio as redis

__all__ = ["RedisRunLog"]

_log = logging.getLogger("promptport")

_APPEND = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return redis.error_reply('FENCED') end
if ARGV[5] == '1' then redis.call('DEL', KEYS[2]) else redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
local n = tonumber(ARGV[3])
for i = 6, #ARGV do
  redis.call('XADD', KEYS[1], n .. '-0', string.sub(ARGV[i], 1, 1), string.sub(ARGV[i], 2))
  n = n + 1
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return redis.call('GET', KEYS[3])
"""
"""KEYS: frames, lease, stop. ARGV: token, lease in ms, first position, how long frames are kept in ms, whether it is
the last batch, entries."""

_OPEN = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local position = 0
if #last > 0 then
  if last[1][2][1] == 'z' then return redis.error_reply('ENDED') end
  position = tonumber(string.match(last[1][1], '^%d+'))
end
if ARGV[3] == '0' and (position > 0 or redis.call('EXISTS', KEYS[2]) == 1) then return redis.error_reply('THERE') end
if ARGV[3] == '1' and redis.call('EXISTS', KEYS[2]) == 1 and ARGV[4] == '0' then return redis.error_reply('ALIVE') end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return position
"""
"""KEYS: frames, lease. ARGV: token, lease in ms, takeover, by force. Gives the last position."""

_LEAVE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

_SEAL = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last == 0 or last[1][2][1] == 'z' then return 0 end
local n = tonumber(string.match(last[1][1], '^%d+')) + 1
redis.call('XADD', KEYS[1], n .. '-0', 'z', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return n
"""
"""A producer that died seals nothing: the first reader that notices does, once."""

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
        try:
            import redis.asyncio  # noqa: PLC0415 - imported by those who use it
            from redis.exceptions import RedisError  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                'RedisRunLog: the package redis is not installed. Run: pip install "promptport[redis]".'
            ) from error
        self._errors: tuple[type[BaseException], ...] = (RedisError, OSError, TimeoutError)
        self._own = isinstance(address, str)
        if isinstance(address, str):
            try:
                self._redis: Any = redis.asyncio.Redis.from_url(
                    address, socket_timeout=timeout + 5, socket_connect_timeout=timeout
                )
            except ValueError as error:
                raise ConfigurationError(
                    "RedisRunLog: the address is none. Write it like 'redis://localhost:6379'."
                ) from error
        else:
            self._redis = address
        self._append = self._redis.register_script(_APPEND)
        self._opening = self._redis.register_script(_OPEN)
        self._leave = self._redis.register_script(_LEAVE)
        self._seal = self._redis.register_script(_SEAL)
        self._lease = lease
        self._keep = keep
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._buffer_seconds = buffer_seconds
        self._timeout = timeout
        self.takeover_seconds = takeover_seconds
        self._prefix = check_name(prefix, what="prefix")
        self._local: dict[str, LocalRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------------- verbs

    async def start(
        self,
        run: str,
        frames: AsyncIterable[DispatchFrame],
        *,
        thread: str | None = None,
        takeover: bool = False,
        replayed: bool = False,
    ) -> None:
        """See `RunLog`. If Redis is away, the run goes on, and only this process can read it.

        With ``replayed`` the frames begin at the run's start, as those of a run that its journal takes up: viewers are
        shown what they do not have, after a `StepReset` where they have a part of a step. It waits until the lease of
        the producer that died is over; a run that is not in the log begins there.
        """
        check_name(run, what="run")
        if thread is not None:
            check_name(thread, what="thread")
        if run in self._local:
            raise InvalidInputError(f"run log: there is a run {run!r} already. Give each run a name of its own.")
        token = secrets.token_hex(16)
        position: int | None
        try:
            async with asyncio.timeout(self._timeout):
                if thread is not None and not await self._take_thread(thread, run):
                    raise InvalidInputError(
                        f"run log: the thread {thread!r} has an active run. Stop it, or wait for its end."
                    )
                position = None if replayed else await self._open(run, token, takeover=takeover)
            if replayed:
                position = await self._open_patiently(run, token)
                frames = rejoined(frames, await self._shown(run))
        except self._errors as error:
            _log.warning("the run log is away (%s); the run %s goes on without it", type(error).__name__, run)
            position = None
        local = self._local[run] = LocalRun(self._max_bytes)
        writer = _Writer(self, run, token, local, position)
        buffer = TokenBuffer(seconds=self._buffer_seconds) if self._buffer_seconds is not None else None
        task = asyncio.create_task(self._work(run, thread, frames, writer, buffer), name=f"promptport-run-{run}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def read(self, run: str, *, after: int = 0) -> RunReader:
        """See `RunLog`; a run of this process is read out of its memory."""
        check_name(run, what="run")
        local = self._local.get(run)
        return _Reader(local, after) if local is not None else RedisReader(self, run, after)

    async def active(self, thread: str) -> str | None:
        """See `RunLog`. Raises `ConfigurationError` where Redis is away."""
        check_name(thread, what="thread")
        try:
            found = await self._redis.get(self._thread_key(thread))
            if found is None:
                return None
            run = text_of(found)
            return run if run in self._local or await self._redis.exists(self.key(run, "l")) else None
        except self._errors as error:
            raise self._away(error) from error

    async def stop(self, run: str) -> bool:
        """See `RunLog`. Raises `ConfigurationError` where Redis is away."""
        check_name(run, what="run")
        local = self._local.get(run)
        if local is not None and local.ending is None:
            local.stopping.set()
            return True
        try:
            if not await self._redis.exists(self.key(run, "l")):
                return False
            await self._redis.set(self.key(run, "s"), b"1", px=int(self._max_age * 1000))
        except self._errors as error:
            raise self._away(error) from error
        return True

    async def aclose(self) -> None:
        """See `RunLog`."""
        for local in self._local.values():
            local.stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._local.clear()
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

    def _away(self, error: BaseException) -> ConfigurationError:
        return ConfigurationError(f"run log: Redis cannot be reached ({type(error).__name__}). Is it running?")

    async def _take_thread(self, thread: str, run: str) -> bool:
        """Makes this the active run of its thread, unless another one is."""
        name = self._thread_key(thread)
        if await self._redis.set(name, run, nx=True, px=int(self._max_age * 1000)):
            return True
        there = await self._redis.get(name)
        if there is not None and text_of(there) != run and await self._redis.exists(self.key(text_of(there), "l")):
            return False
        await self._redis.set(name, run, px=int(self._max_age * 1000))
        return True

    async def _open(self, run: str, token: str, *, takeover: bool) -> int:
        from redis.exceptions import ResponseError  # noqa: PLC0415 - see `__init__`

        lease = int(self._lease * 1000)
        try:
            keys = [self.key(run, "f"), self.key(run, "l")]
            return int(await self._opening(keys=keys, args=[token, lease, int(takeover), 0]))
        except ResponseError as error:
            told = {
                "THERE": "there is a run of this name already. Give each run a name of its own",
                "ALIVE": "its producer is alive. Stop it first",
                "ENDED": "the run is over. Start a new one",
            }
            word = next((word for word in told if word in str(error)), None)
            if word is None:
                raise
            raise InvalidInputError(f"run log: the run {run!r} cannot be started: {told[word]}.") from None

    async def _open_patiently(self, run: str, token: str) -> int:
        until = monotonic() + self._lease + 1.0
        while True:
            try:
                return await self._open(run, token, takeover=True)
            except InvalidInputError:
                if monotonic() > until or not await self.is_led(run):
                    raise
            await asyncio.sleep(self._lease / 20)

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
        writer: _Writer,
        buffer: TokenBuffer | None,
    ) -> None:
        try:
            await produce(frames, writer, buffer=buffer)
        finally:
            if thread is not None:
                try:
                    async with asyncio.timeout(self._timeout):
                        await self._leave(keys=[self._thread_key(thread)], args=[run])
                except self._errors:
                    pass  # it expires
            asyncio.get_running_loop().call_later(self._keep, self._local.pop, run, None)

    async def write(self, run: str, token: str, position: int, entries: Sequence[bytes], *, last: bool) -> bool:
        """Appends a batch, and renews the lease; whether somebody wants a stop. Raises what Redis raises."""
        keep = self._keep if last else self._max_age
        keys = [self.key(run, kind) for kind in "fls"]
        args = [token, int(self._lease * 1000), position, int(keep * 1000), int(last), *entries]
        async with asyncio.timeout(self._timeout):
            return await self._append(keys=keys, args=args) is not None

    async def entries(self, run: str, after: int, wait: float) -> list[tuple[int, str, bytes]]:
        """The entries behind a position: place, kind and value; waits for some, not for ever."""
        found = await self._redis.xread({self.key(run, "f"): f"{after}-0"}, count=_BATCH, block=int(wait * 1000))
        out = []
        batches = found.values() if isinstance(found, dict) else [entries for _, entries in found or ()]
        for batch in batches:
            # With RESP3 the entries stand in a list of their own.
            for identity, fields in batch[0] if batch and isinstance(batch[0], list) else batch:
                ((kind, value),) = fields.items()
                out.append((int(text_of(identity).partition("-")[0]), text_of(kind), value))
        return out

    async def is_led(self, run: str) -> bool:
        """Whether somebody holds the run's lease."""
        return bool(await self._redis.exists(self.key(run, "l")))

    async def is_kept(self, run: str) -> bool:
        """Whether frames of the run are there."""
        return bool(await self._redis.exists(self.key(run, "f")))

    async def is_open(self, run: str) -> bool:
        """Whether frames of the run are there, and not its end."""
        last = await self._redis.xrevrange(self.key(run, "f"), count=1)
        return bool(last) and not {b"z", "z"} & set(last[0][1])

    async def seal(self, run: str) -> bool:
        """Says that the producer of this run died, unless it did not."""
        keys = [self.key(run, "f"), self.key(run, "l")]
        lost = msgspec.json.encode(LOST_ENDING)
        return bool(await self._seal(keys=keys, args=[lost, int(self._keep * 1000)]))

    @property
    def lease(self) -> float:
        """Seconds after which a silent producer is held for dead."""
        return self._lease

    @property
    def away_errors(self) -> tuple[type[BaseException], ...]:
        """What is raised where Redis is away."""
        return self._errors


class _Writer:
    """Writes to memory at once, and to Redis in batches, by a task of its own."""

    def __init__(self, log: RedisRunLog, run: str, token: str, local: LocalRun, position: int | None) -> None:
        self._log = log
        self._run = run
        self._token = token
        self._local = local
        self._position = position
        self._waiting: list[bytes] = []
        self._news = asyncio.Event()
        self._ending: Ending | None = None
        self._task = asyncio.create_task(self._write(), name=f"promptport-log-{run}") if position is not None else None

    @property
    def stopping(self) -> asyncio.Event:
        return self._local.stopping

    async def append(self, frames: Sequence[DispatchFrame]) -> None:
        await self._local.append(frames)
        if self._task is not None and not self._local.full:
            self._waiting += [b"f" + encode_dispatch_frame(frame) for frame in frames]
            self._news.set()

    async def close(self, ending: Ending) -> None:
        if self._local.full:
            ending = Ending("failed", FULL, "The run was too long to be kept.")
        await self._local.close(ending)
        if self._task is not None:
            self._ending = ending
            self._news.set()
            await self._task

    async def _write(self) -> None:
        """Batches and heartbeats until the end; gives up where Redis is away, or another producer holds the lease."""
        beat = self._log.lease / 3
        position = (self._position or 0) + 1
        while True:
            try:
                async with asyncio.timeout(beat):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            last = self._ending is not None and not self._waiting
            if last:
                batch.append(b"z" + msgspec.json.encode(self._ending))
            try:
                wish = await self._log.write(self._run, self._token, position, batch, last=last)
            except self._log.away_errors as error:
                _log.warning(
                    "the run log is away or taken over (%s); the run %s goes on without it",
                    type(error).__name__,
                    self._run,
                )
                return
            position += len(batch)
            if wish:
                self._local.stopping.set()
            if last:
                return
            if self._waiting:
                self._news.set()
