"""A run log on a Redis that fails, forgets, fills up or refuses; and producers that freeze, or that are two."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.real_parts import free_port
from tests.run_log.redis_server import RedisServer

import promptport as pp
from promptport.dispatch import DispatchFrame
from promptport.run_log import LoggedFrame, MemoryRunLog
from promptport.run_log.redis import RedisPauseStore, RedisRunLog, RedisThreadStore, shared_secret

ROOT = Path(__file__).parents[2]
STOP = pp.End(pp.FinishReason.STOP, "stop")


def log_of(server: RedisServer, **options: Any) -> RedisRunLog:
    return RedisRunLog(server.url, **{"lease": 0.6, "timeout": 0.5, "buffer_seconds": None, **options})


async def given(*frames: Any) -> AsyncIterator[DispatchFrame]:
    """The frames; an event is waited for."""
    for frame in frames:
        if isinstance(frame, asyncio.Event):
            await frame.wait()
        else:
            yield pp.Append(frame) if isinstance(frame, str) else frame


async def read(log: Any, run: str, after: int = 0) -> list[LoggedFrame]:
    return [logged async for logged in log.read(run, after=after)]


def positions(frames: list[LoggedFrame]) -> list[int]:
    return [logged.position for logged in frames]


def text(frames: list[LoggedFrame]) -> str:
    return "".join([logged.frame.text for logged in frames if isinstance(logged.frame, pp.Append)])


async def until(condition: Any) -> None:
    """Until an awaited condition holds; Redis tells nobody."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# ------------------------------------------------------------------------------------------------- positions


@pytest.mark.parametrize("after", [-1, -(10**30), 1.0, 1.5, "2", b"2", None, True, float("nan"), [1], 1 << 64])
async def test_a_position_that_is_none_is_refused_at_once(after: Any, tmp_path: Path) -> None:
    for log in (MemoryRunLog(), RedisRunLog("redis://127.0.0.1:1")):
        with pytest.raises(pp.InvalidInputError, match=r"read\(\): after="):
            log.read("run-1", after=after)
        await log.aclose()


@pytest.mark.parametrize("fails", [False, True])
async def test_behind_the_end_a_reader_is_told_how_the_run_ended(fails: bool, tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, log_of(server) as writing, log_of(server) as other:
        memory = MemoryRunLog()
        for log in (memory, writing):
            await log.start("run-1", broken() if fails else given("a", "b", STOP))
        count = 2 if fails else 3
        for reader in (memory, writing, other):
            for after in (0, 1, count, count + 1, count + 2, 10**9):
                seen: list[LoggedFrame] = []
                with pytest.raises(pp.StreamError) if fails else contextlib.nullcontext():
                    async for logged in reader.read("run-1", after=after):
                        seen.append(logged)
                assert positions(seen) == list(range(after + 1, count + 1))
        await memory.aclose()


async def broken() -> AsyncIterator[DispatchFrame]:
    yield pp.Append("a")
    yield pp.Append("b")
    raise pp.RateLimitError("no", provider="p")


async def test_a_reader_that_asks_for_more_than_there_is_yet_gets_what_comes_behind_it(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, log_of(server) as log, log_of(server) as other:
        gate = asyncio.Event()
        await log.start("run-1", given("a", gate, "b", "c", "d", STOP))
        readers = [asyncio.create_task(read(one, "run-1", 3)) for one in (log, other)]
        await until(lambda: other.is_kept("run-1"))
        gate.set()
        for reader in readers:
            assert positions(await reader) == [4, 5]


# --------------------------------------------------------------------------------------- Redis away, or without room


async def test_a_redis_that_comes_back_empty_is_told_all_and_the_run_can_be_stopped_again(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, log_of(server, lease=5.0) as log, log_of(server, lease=5.0) as other:
        first, second = asyncio.Event(), asyncio.Event()
        executor_left: list[bool] = []

        async def frames() -> AsyncIterator[DispatchFrame]:
            try:
                async for frame in given("a", "b", first, "c", second, "d", asyncio.Event()):
                    yield frame
            finally:
                executor_left.append(True)

        await log.start("run-1", frames(), thread="thread-1")
        local, viewer = log.read("run-1"), other.read("run-1")
        assert [(await anext(reader)).frame for reader in (local, viewer)] == [pp.Append("a")] * 2
        await server.kill()
        first.set()
        assert positions([await anext(local), await anext(local)]) == [2, 3]
        await server.start()
        second.set()
        assert (await anext(local)).position == 4
        # A viewer that held on, and one that comes now, have all of it, and nothing twice.
        assert positions([await anext(viewer) for _ in range(3)]) == [2, 3, 4]
        late = other.read("run-1")
        assert text([await anext(late) for _ in range(4)]) == "abcd"
        await until(lambda: is_active(other, "thread-1"))
        with pytest.raises(pp.InvalidInputError, match="has an active run"):
            await other.start("run-2", given("x"), thread="thread-1")
        assert await other.stop("run-1")
        with pytest.raises(StopAsyncIteration):
            await anext(viewer)
        assert viewer.stopped
        assert executor_left == [True]


async def is_active(log: Any, thread: str) -> bool:
    return await log.active(thread) is not None


async def test_a_run_that_began_while_redis_was_away_is_in_it_later(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with log_of(server) as log:
        gate = asyncio.Event()
        await log.start("run-1", given("a", gate, "b", STOP), thread="thread-1")
        assert await log.active("thread-1") == "run-1"
        with pytest.raises(pp.InvalidInputError, match="has an active run"):
            await log.start("run-2", given("x"), thread="thread-1")
        async with server, log_of(server) as other:
            await until(lambda: is_active(other, "thread-1"))
            gate.set()
            assert positions(await read(other, "run-1")) == [1, 2, 3]
            await until(lambda: is_idle(other, "thread-1"))


async def is_idle(log: Any, thread: str) -> bool:
    return await log.active(thread) is None


async def test_an_end_that_redis_missed_is_told_when_it_is_back(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, log_of(server, lease=5.0) as log, log_of(server, lease=5.0) as other:
        gate = asyncio.Event()
        await log.start("run-1", given("a", gate, "b", STOP))
        viewer = other.read("run-1")
        await anext(viewer)
        await server.kill()
        gate.set()
        assert positions(await read(log, "run-1")) == [1, 2, 3]  # over, for those who are here
        await server.start()
        assert positions([logged async for logged in viewer]) == [2, 3]


async def test_a_redis_without_room_keeps_the_run_alive_and_gets_the_rest_later(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, log_of(server) as log, log_of(server) as other:
        full, more = asyncio.Event(), asyncio.Event()
        await log.start("run-1", given("a", full, "b", "c", more, "d", STOP))
        viewer = other.read("run-1")
        assert (await anext(viewer)).frame == pp.Append("a")
        await log._redis.config_set("maxmemory", "1")
        with pytest.raises(pp.ConfigurationError, match="no memory left"):
            await other.check()
        full.set()
        local = log.read("run-1")
        assert text([await anext(local) for _ in range(3)]) == "abc"
        for _ in range(4):  # for longer than its lease
            await asyncio.sleep(0.3)
            assert await other.is_led("run-1")
        await log._redis.config_set("maxmemory", "0")
        more.set()
        rest = [logged async for logged in viewer]
        assert positions(rest) == [2, 3, 4, 5]
        assert text(rest) == "bcd"


async def test_a_replica_and_a_password_are_told_in_words(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, log_of(server) as log:
        await log.check()
        await log._redis.replicaof("127.0.0.1", "1")
        with pytest.raises(pp.ConfigurationError, match="is a replica"):
            await log.check()
        await log.start("run-1", given("a", STOP))
        assert len(await read(log, "run-1")) == 2
        await log._redis.replicaof("NO", "ONE")
        await log._redis.config_set("requirepass", "s3cret")
        for url in (server.url, server.url.replace("//", "//:wr0ng@")):
            async with RedisRunLog(url, lease=0.6, timeout=0.5) as stranger:
                for ask in (stranger.check(), stranger.active("t"), stranger.stop("run-1")):
                    with pytest.raises(pp.ConfigurationError, match="refused the password") as caught:
                        await ask
                    assert not {"s3cret", "wr0ng"} & set(str(caught.value).split("'"))
                await stranger.start("run-2", given("a", STOP), thread="t")
                assert len(await read(stranger, "run-2")) == 2
        async with RedisRunLog(server.url.replace("//", "//:s3cret@")) as friend:
            await friend.check()


async def test_a_redis_that_forgets_its_scripts_is_given_them_again(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, log_of(server) as log, log_of(server) as other:
        gates = [asyncio.Event() for _ in range(5)]
        await log.start("run-1", given("0", *[one for pair in zip(gates, "12345", strict=True) for one in pair], STOP))
        viewer = other.read("run-1")
        for gate in gates:
            await anext(viewer)
            await log._redis.script_flush()
            gate.set()
        assert positions([logged async for logged in viewer]) == [6, 7]


async def test_all_keys_of_a_script_are_in_one_slot_of_a_cluster(tmp_path: Path) -> None:
    # Its second port would be its first + 10,000, which need not be free, nor be a port at all.
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    async with RedisServer(tmp_path, *options) as server:
        async with log_of(server) as log, log_of(server) as other:
            await log._redis.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)

            async def is_up() -> bool:
                return bool((await log._redis.execute_command("CLUSTER INFO"))["cluster_state"] == "ok")

            await until(is_up)
            for number in range(5):
                never = asyncio.Event()
                await log.start(f"run:{number}.x", given("a", never), thread=f"chat-{number}")
                viewer = other.read(f"run:{number}.x")
                assert (await anext(viewer)).frame == pp.Append("a")
                assert await other.stop(f"run:{number}.x")
                with pytest.raises(StopAsyncIteration):
                    await anext(viewer)


@pytest.mark.parametrize("seed", range(8))
async def test_answers_that_are_lost_lose_and_double_nothing(seed: int, tmp_path: Path) -> None:
    """A batch is written and its answer lost, or never arrives: both, at any time, also for the last one."""
    chance = random.Random(seed)
    async with RedisServer(tmp_path) as server, log_of(server, lease=5.0) as log, log_of(server, lease=5.0) as other:
        write = log.write

        async def lossy(*args: Any, **options: Any) -> Any:
            fate = chance.choice(["fine", "fine", "answer lost", "batch lost"])
            if fate == "batch lost":
                raise TimeoutError
            answer = await write(*args, **options)
            if fate == "answer lost":
                raise TimeoutError
            return answer

        log.write = lossy  # type: ignore[method-assign]

        async def frames() -> AsyncIterator[DispatchFrame]:
            for number in range(60):
                yield pp.Append(f"{number} ")
                if chance.random() < 0.5:
                    await asyncio.sleep(0.002)
            yield STOP

        await log.start("run-1", frames())
        seen = await read(other, "run-1")
        assert positions(seen) == list(range(1, 62))
        assert text(seen) == "".join([f"{number} " for number in range(60)])


# --------------------------------------------------------------------------------------------- two at once


async def test_of_many_that_start_in_one_thread_at_once_one_does(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, contextlib.AsyncExitStack() as stack:
        logs = [await stack.enter_async_context(log_of(server)) for _ in range(4)]
        for number in range(15):
            thread, gate = f"thread-{number}", asyncio.Event()
            if number % 3 == 1:  # an earlier run died, and left its name there
                await logs[0]._redis.set(f"pp:thread:{thread}", "dead")
            starts = [
                logs[place % 4].start(f"run-{number}-{place}", given("a", gate, STOP), thread=thread)
                for place in range(8)
            ]
            outcomes = await asyncio.gather(*starts, return_exceptions=True)
            assert outcomes.count(None) == 1
            assert all("has an active run" in str(one) for one in outcomes if one is not None)
            winner = f"run-{number}-{outcomes.index(None)}"
            assert {await log.active(thread) for log in logs} == {winner}
            gate.set()
            assert positions(await read(logs[1], winner)) == [1, 2]
            for place in range(8):  # whoever lost left nothing behind
                if f"run-{number}-{place}" != winner:
                    assert not await logs[0]._redis.keys(f"pp:{{run-{number}-{place}}}:*")


async def test_a_silent_run_is_stopped_from_elsewhere_long_before_its_lease(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, log_of(server, lease=300.0) as log, log_of(server) as other:
        await log.start("run-1", given("a", asyncio.Event()))
        viewer = other.read("run-1")
        await anext(viewer)
        assert await other.stop("run-1")
        async with asyncio.timeout(20):
            with pytest.raises(StopAsyncIteration):
                await anext(viewer)
        assert viewer.stopped


async def frozen_producer(server: RedisServer, lease: float) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "tests.run_log.producer", server.url, "run-1", "3", str(lease), "0.02"],
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await process.stdout.readline() == b"waiting\n"
    process.send_signal(signal.SIGSTOP)
    return process


@pytest.mark.parametrize("taken_over", [False, True])
async def test_a_producer_that_wakes_after_its_lease_is_refused_and_closes_its_provider(
    taken_over: bool, tmp_path: Path
) -> None:
    async with RedisServer(tmp_path) as server, log_of(server) as log, log_of(server) as other:
        process = await frozen_producer(server, 0.6)
        try:
            seen: list[LoggedFrame] = []
            gate = asyncio.Event()
            if taken_over:
                await until(lambda: is_dead(log))
                await log.start("run-1", given("on", gate, STOP), takeover=True)
            else:
                with pytest.raises(pp.IncompleteStreamError):
                    async for logged in other.read("run-1"):
                        seen.append(logged)
            process.send_signal(signal.SIGCONT)
            assert process.stdout is not None
            async with asyncio.timeout(20):
                assert await process.stdout.readline() == b"closed\n"
                assert await process.stdout.readline() == b"producer_lost\n"
                await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if taken_over:
            gate.set()
            seen = await read(other, "run-1")
            assert [logged.frame for logged in seen[-2:]] == [pp.Append("on"), STOP]
        else:
            again: list[LoggedFrame] = []
            with pytest.raises(pp.IncompleteStreamError) as caught:
                async for logged in other.read("run-1"):
                    again.append(logged)
            assert (caught.value.code, again) == ("producer_lost", seen)
        assert positions(seen) == list(range(1, len(seen) + 1))


async def is_dead(log: RedisRunLog) -> bool:
    return not await log.is_led("run-1")


async def test_a_producer_that_wakes_before_anybody_noticed_goes_on(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, log_of(server) as log:
        process = await frozen_producer(server, 0.6)
        try:
            await until(lambda: is_dead(log))
            process.send_signal(signal.SIGCONT)
            viewer = log.read("run-1")
            async with asyncio.timeout(20):
                seen = [await anext(viewer) for _ in range(40)]
                assert positions(seen) == list(range(1, 41))
                assert await log.stop("run-1")
                assert process.stdout is not None
                assert await process.stdout.readline() == b"closed\n"
                await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


# ---------------------------------------------------------------------------------------------- the stores


async def test_processes_share_what_waits_who_took_it_and_their_secret(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server:
        one, two = RedisThreadStore(server.url), RedisThreadStore(server.url)
        for thread in ("a", "a b\n", "\ud800", "x" * 5000, "", "{b}"):
            assert await two.get(thread) is None
            await one.put(thread, f"kept of {len(thread)}".encode())
            assert await two.get(thread) == f"kept of {len(thread)}".encode()
        pauses = [RedisPauseStore(server.url) for _ in range(3)]
        taken = await asyncio.gather(*[store.take("pause-1") for store in pauses * 5])
        assert taken.count(True) == 1
        secrets = await asyncio.gather(*[shared_secret(server.url) for _ in range(5)])
        assert len(set(secrets)) == 1
        assert len(secrets[0]) >= 16
        await server.kill()
        for ask in (one.get("a"), one.put("a", b""), pauses[0].take("pause-2"), shared_secret(server.url)):
            with pytest.raises(pp.ConfigurationError, match="cannot be reached"):
                await ask
        for store in (one, two, *pauses):
            await store.aclose()


@pytest.mark.parametrize("address", ["", "nonsense", "http://127.0.0.1:6379", "redis://h:port", "127.0.0.1:6379"])
def test_an_address_that_is_none_is_told_without_what_stands_in_it(address: str) -> None:
    for kind in (RedisRunLog, RedisThreadStore, RedisPauseStore):
        with pytest.raises(pp.ConfigurationError, match="redis://localhost:6379") as caught:
            kind(address)
        assert not address or address not in str(caught.value)


@pytest.mark.parametrize("address", [None, 6379, b"redis://localhost", object(), ["redis://localhost"]])
def test_what_is_neither_an_address_nor_a_client_is_refused(address: Any) -> None:
    for kind in (RedisRunLog, RedisThreadStore, RedisPauseStore):
        with pytest.raises(pp.InvalidInputError, match="client of"):
            kind(address)
