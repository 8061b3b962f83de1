"""Run logs: the same promises of memory and of a real Redis; and what only several processes can show."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.run_log.redis_server import RedisServer
from tests.sources import turns

import promptport as pp
from promptport.front_ends import error_code
from promptport.run_log import LoggedFrame, MemoryRunLog
from promptport.run_log.redis import RedisRunLog
from promptport.testing import ScriptedExecutor

MODEL = pp.LLModel("scripted", "m")
ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def a_log(kind: str, folder: Path, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """A log that writes, and one that reads: the same in memory, another client of it on Redis."""
    if kind == "memory":
        memory = MemoryRunLog(**options)
        yield memory, memory
        await memory.aclose()
    else:
        async with RedisServer(folder) as server:
            options = {"lease": 1.0, "buffer_seconds": None, **options}
            async with RedisRunLog(server.url, **options) as log, RedisRunLog(server.url, **options) as other:
                yield log, other


KINDS = pytest.mark.parametrize("kind", ["memory", "redis"])


def stream(*steps: Any) -> pp.FrameStream:
    return ScriptedExecutor(list(steps)).execute_streaming_with_tools(pp.Prompt.of("Hi"), MODEL)


async def read(log: Any, run: str, after: int = 0) -> list[LoggedFrame]:
    return [logged async for logged in log.read(run, after=after)]


# ------------------------------------------------------------------------------------------------- promises


@KINDS
async def test_positions_have_no_gaps_and_any_reader_sees_the_same_from_any_position(kind: str, tmp_path: Path) -> None:
    async with a_log(kind, tmp_path) as (log, other):
        gate = asyncio.Event()
        await log.start("run-1", stream("a", "b", gate, "c"))
        early = [asyncio.create_task(read(each, "run-1")) for each in (log, other, other)]
        await asyncio.sleep(0.05)
        gate.set()
        seen = await asyncio.gather(*early, read(log, "run-1"), read(other, "run-1"))
        assert all(one == seen[0] for one in seen)
        assert [logged.position for logged in seen[0]] == [1, 2, 3, 4]
        assert isinstance(seen[0][-1].frame, pp.End)
        for after in range(5):
            assert await read(other, "run-1", after) == seen[0][after:]


@KINDS
async def test_a_reader_that_leaves_ends_nothing(kind: str, tmp_path: Path) -> None:
    async with a_log(kind, tmp_path) as (log, other):
        gate = asyncio.Event()
        await log.start("run-1", stream("a", gate, "b"))
        reader = other.read("run-1")
        assert (await anext(reader)).frame == pp.Append("a")
        await reader.aclose()
        gate.set()
        assert [logged.frame for logged in await read(other, "run-1")][:2] == [pp.Append("a"), pp.Append("b")]


@KINDS
async def test_a_run_is_stopped_from_anywhere_and_its_stream_is_closed(kind: str, tmp_path: Path) -> None:
    async with a_log(kind, tmp_path) as (log, other):
        executor = ScriptedExecutor(["a", asyncio.Event()])
        await log.start("run-1", executor.execute_streaming_with_tools(pp.Prompt.of("Hi"), MODEL))
        reader = other.read("run-1")
        await anext(reader)
        assert await other.stop("run-1")
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
        assert reader.stopped
        assert executor.client.closed == 1
        assert not await other.stop("run-1")
        assert not await other.stop("nobody")


@KINDS
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (pp.RateLimitError("the key sk-1 asked too often", provider="p", status=429), "rate_limit"),
        (pp.IncompleteStreamError("cut"), "interrupted"),
        (ZeroDivisionError("secret"), "internal"),
    ],
)
async def test_a_failure_is_told_by_its_code_and_nothing_of_its_text(
    kind: str, error: Exception, code: str, tmp_path: Path
) -> None:
    async with a_log(kind, tmp_path) as (log, other):
        await log.start("run-1", stream("a", error))
        with pytest.raises(pp.StreamError) as caught:
            await read(other, "run-1")
    assert caught.value.code == code
    assert error_code(caught.value)[0] == code
    assert "sk-1" not in str(caught.value)
    assert "secret" not in str(caught.value)


@KINDS
async def test_a_thread_has_one_active_run(kind: str, tmp_path: Path) -> None:
    async with a_log(kind, tmp_path) as (log, other):
        gate = asyncio.Event()
        assert await other.active("thread-1") is None
        await log.start("run-1", stream("a", gate), thread="thread-1")
        assert await other.active("thread-1") == "run-1"
        with pytest.raises(pp.InvalidInputError, match="has an active run"):
            await other.start("run-2", stream("b"), thread="thread-1")
        gate.set()
        await read(other, "run-1")
        async with asyncio.timeout(5):
            while await other.active("thread-1") is not None:  # noqa: ASYNC110 - Redis tells nobody
                await asyncio.sleep(0.01)
        await other.start("run-2", stream("b"), thread="thread-1")
        await read(log, "run-2")


@KINDS
async def test_a_name_is_used_once_and_is_safe(kind: str, tmp_path: Path) -> None:
    async with a_log(kind, tmp_path) as (log, other):
        await log.start("run-1", stream("a"))
        for each in (log, other):
            with pytest.raises(pp.InvalidInputError, match=r"already|cannot be started"):
                await each.start("run-1", stream("b"))
        await read(other, "run-1")
        with pytest.raises(pp.InvalidInputError):
            await other.start("run-1", stream("b"))
        for name in ("", "a b", "a\n", "x" * 101, "{a}", "é", 7):
            with pytest.raises(pp.InvalidInputError, match="not usable"):
                await log.start(name, stream("a"))


@KINDS
async def test_an_unknown_run_says_so(kind: str, tmp_path: Path) -> None:
    async with a_log(kind, tmp_path) as (_, other):
        with pytest.raises(pp.IncompleteStreamError) as caught:
            await read(other, "nobody")
    assert caught.value.code == "unknown_run"


@KINDS
async def test_a_run_that_is_too_long_goes_on_and_its_readers_are_told(kind: str, tmp_path: Path) -> None:
    async with a_log(kind, tmp_path, max_bytes=200) as (log, other):
        done: list[bool] = []
        frames = stream(*["x" * 50] * 10)
        frames.on_done(lambda message, complete: done.append(complete))
        await log.start("run-1", frames)
        with pytest.raises(pp.ProviderStreamError) as caught:
            await read(other, "run-1")
    assert caught.value.code == "log_full"
    assert done == [True]


@KINDS
async def test_a_slow_reader_stops_nobody(kind: str, tmp_path: Path) -> None:
    async with a_log(kind, tmp_path) as (log, other):
        await log.start("run-1", stream(*[f"{number} " for number in range(500)]))
        slow = other.read("run-1")
        first = await anext(slow)
        assert len(await read(other, "run-1")) == 501
        rest = [first, *[logged async for logged in slow]]
        assert [logged.position for logged in rest] == list(range(1, 502))


@KINDS
async def test_closing_the_log_stops_its_runs(kind: str, tmp_path: Path) -> None:
    executor = ScriptedExecutor(["a", asyncio.Event()])
    async with a_log(kind, tmp_path) as (log, _):
        await log.start("run-1", executor.execute_streaming_with_tools(pp.Prompt.of("Hi"), MODEL))
        await anext(log.read("run-1"))
        await log.aclose()
        assert executor.client.closed == 1


async def test_tool_frames_pass_and_text_is_joined_where_wanted(tmp_path: Path) -> None:
    @pp.tool
    async def act() -> str:
        """Acts."""
        return "done"

    async with RedisServer(tmp_path) as server, RedisRunLog(server.url, buffer_seconds=0.05) as log:
        script = ScriptedExecutor([*"a long text in small pieces", pp.ToolCall("1", "act", "{}")], ["over"])
        async with pp.ToolDispatcher(script, [act]) as dispatcher:
            await log.start("run-1", dispatcher.stream(pp.Prompt.of("Hi"), MODEL))
            async with RedisRunLog(server.url) as other:
                seen = [logged.frame for logged in await read(other, "run-1")]
    text = "".join(frame.text for frame in seen if isinstance(frame, pp.Append))
    assert text == "a long text in small piecesover"
    assert sum(isinstance(frame, pp.Append) for frame in seen) < 10
    assert {pp.ToolCall, pp.ToolStarted, pp.ToolResult, pp.StepEnd, pp.End} <= {type(frame) for frame in seen}


@pytest.mark.parametrize("options", [{"lease": 0}, {"keep": -1}, {"timeout": 0}, {"prefix": "a b"}])
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(pp.InvalidInputError):
        RedisRunLog("redis://127.0.0.1:1", **options)
    with pytest.raises(pp.ConfigurationError):
        RedisRunLog("nonsense")
    with pytest.raises(pp.InvalidInputError):
        MemoryRunLog(max_bytes=0)


# -------------------------------------------------------------------------------------- processes, and Redis away


async def started(server: RedisServer, count: int, lease: float) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "tests.run_log.producer", server.url, "run-1", str(count), str(lease)],
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await process.stdout.readline() == b"waiting\n"
    return process


async def test_a_producer_that_dies_is_told_within_its_lease_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, RedisRunLog(server.url, lease=1.0) as log:
        process = await started(server, 30, 1.0)
        seen: list[LoggedFrame] = []

        async def follow() -> None:
            async for logged in log.read("run-1"):
                seen.append(logged)

        reader = asyncio.create_task(follow())
        async with asyncio.timeout(10):
            while len(seen) < 30:  # noqa: ASYNC110 - a list tells nobody
                await asyncio.sleep(0.01)
        assert await log.active("thread-1") == "run-1"
        process.kill()
        await process.wait()
        died = asyncio.get_running_loop().time()
        with pytest.raises(pp.IncompleteStreamError) as caught:
            await reader
        late = asyncio.get_running_loop().time() - died
        assert caught.value.code == "producer_lost"
        assert late < 1.0 + 4.0, "the lease, and two looks; a busy machine needs longer"
        assert [logged.position for logged in seen] == list(range(1, 31))
        with pytest.raises(pp.IncompleteStreamError):
            await read(log, "run-1", 30)  # sealed once, for all who come later
        assert await log.active("thread-1") is None


async def test_a_stop_from_another_process(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, RedisRunLog(server.url) as log:
        process = await started(server, 3, 0.6)
        assert await log.stop("run-1")
        assert process.stdout is not None
        async with asyncio.timeout(10):
            assert await process.stdout.readline() == b"closed\n"
            assert await process.stdout.readline() == b"stopped\n"
            await process.wait()
        reader = log.read("run-1")
        assert len([logged async for logged in reader]) == 3
        assert reader.stopped


async def test_another_producer_takes_over_and_the_old_one_is_fenced(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, RedisRunLog(server.url, lease=0.5, buffer_seconds=None) as log:
        process = await started(server, 3, 0.5)
        with pytest.raises(pp.InvalidInputError, match="alive"):
            await log.start("run-1", stream("x"), takeover=True)
        process.kill()
        await process.wait()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(pp.InvalidInputError):
                    await log.start("run-1", stream("and on"), takeover=True)
                    break
                await asyncio.sleep(0.05)
        async with RedisRunLog(server.url) as other:
            seen = await read(other, "run-1")
        assert [logged.position for logged in seen] == [1, 2, 3, 4, 5]
        assert seen[3].frame == pp.Append("and on")


async def test_where_redis_is_away_the_run_goes_on_for_its_first_reader(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server:
        async with RedisRunLog(server.url, lease=0.5, timeout=0.5, buffer_seconds=None) as log:
            gate = asyncio.Event()
            await log.start("run-1", stream("a", gate, "b"))
            reader = log.read("run-1")
            assert (await anext(reader)).frame == pp.Append("a")
            async with RedisRunLog(server.url, lease=0.5, timeout=0.5) as other:
                viewer = other.read("run-1")
                assert (await anext(viewer)).frame == pp.Append("a")
                await server.kill()
                gate.set()
                assert [logged.position async for logged in reader] == [2, 3]
                with pytest.raises(pp.IncompleteStreamError) as caught:
                    await anext(viewer)
                assert caught.value.code == "producer_lost"
                with pytest.raises(pp.ConfigurationError, match="Redis cannot be reached"):
                    await other.active("thread-1")
            await log.start("run-2", stream("c"))  # begun while it is away
            assert [logged.position async for logged in log.read("run-2")] == [1, 2]
            await server.start()  # empty: it knows nothing of the runs
            await log.start("run-3", stream("d"))
            async with RedisRunLog(server.url) as other:
                assert len(await read(other, "run-3")) == 2


async def test_what_is_over_expires(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server, RedisRunLog(server.url, keep=0.2, buffer_seconds=None) as log:
        await log.start("run-1", stream("a"), thread="t")
        await read(log, "run-1")
        await turns(50)
        async with RedisRunLog(server.url) as other:
            async with asyncio.timeout(10):
                while await other.is_kept("run-1"):  # noqa: ASYNC110 - Redis tells nobody
                    await asyncio.sleep(0.05)
            with pytest.raises(pp.IncompleteStreamError):
                await read(other, "run-1")
        assert sorted(await log._redis.keys("pp:*")) == []
