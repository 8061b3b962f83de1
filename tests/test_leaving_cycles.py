"""Leaving a stream again and again, in every way and with every provider: nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import threading
import tracemalloc
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.kits import LONG, kit, response

import promptport as pp
from promptport.errors import StreamError, TransportError
from promptport.testing import Finish, Say, WireServer

PROVIDERS = ["anthropic", "bedrock", "cohere", "google", "google-vertex", "local", "ollama", "openai", "openai-chat"]
STEPS = (Say("Hello"), Say(" world"), Say("!"), Finish(pp.FinishReason.STOP))
PROMPT = pp.Prompt.of("Hi")
Open = Callable[[], pp.FrameStream]


async def _reading(stream: pp.FrameStream, waits: asyncio.Event) -> None:
    async with stream:
        async for _ in stream:
            waits.set()


async def _at_a_read(stream: pp.FrameStream) -> asyncio.Task[None]:
    """A task that has read something, and waits for more."""
    waits = asyncio.Event()
    task = asyncio.create_task(_reading(stream, waits))
    await waits.wait()
    return task


async def by_timeout(open_stream: Open) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None) as clock, open_stream() as stream:
            async for _ in stream:
                clock.reschedule(asyncio.get_running_loop().time() + 0.001)


async def by_break(open_stream: Open) -> None:
    async with open_stream() as stream:
        async for _ in stream:
            break


async def by_cancelling_twice(open_stream: Open) -> None:
    task = await _at_a_read(open_stream())
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def by_garbage(open_stream: Open) -> None:
    stream = open_stream()
    await anext(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del stream
        gc.collect()


async def by_a_task_group(open_stream: Open) -> None:
    class Stop(Exception):
        """Ends the group."""

    waits = asyncio.Event()
    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(_reading(open_stream(), waits))
            await waits.wait()
            raise Stop


async def by_closing_from_another_task(open_stream: Open) -> None:
    stream = open_stream()
    task = await _at_a_read(stream)
    await asyncio.create_task(stream.aclose())
    with contextlib.suppress(StreamError):
        await task


async def by_a_reset(open_stream: Open) -> None:
    with contextlib.suppress(StreamError, TransportError):
        await _reading(open_stream(), asyncio.Event())


WAYS: list[Callable[[Open], Awaitable[None]]] = [
    *(by_timeout, by_break, by_cancelling_twice, by_garbage, by_a_task_group, by_closing_from_another_task, by_a_reset)
]


def _sockets() -> int:
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    return found


async def _settled(server: WireServer) -> None:
    async with asyncio.timeout(10):
        while server.open_connections:  # noqa: ASYNC110 - the server tells no event
            await asyncio.sleep(0.001)
    for _ in range(10):
        await asyncio.sleep(0)


async def _cycles(provider: str, count: int) -> None:
    """So many cycles of each way."""
    contract = kit(provider)
    body = contract.encode(STEPS)
    assert body is not None
    told = sum(map(len, body[:-1])) if len(body) > 1 else len(body[0]) // 2
    async with WireServer() as server:
        client: Any = contract.make_client(server.url, LONG)

        async def round_of(way: Callable[[Open], Awaitable[None]]) -> None:
            options: dict[str, int] = {"reset_after": told} if way is by_a_reset else {"stall_after": told}
            server.queue(response(contract, body, **options))
            await way(lambda: client.execute_streaming_with_tools(PROMPT, contract.model))

        for way in WAYS:  # what is made once is made now
            await round_of(way)
        await _settled(server)
        before = (_sockets(), len(asyncio.all_tasks()), threading.active_count())
        for way in WAYS:
            closed = server.closed_by_client
            for _ in range(count):
                await round_of(way)
            await _settled(server)
            gc.collect()
            left = (_sockets(), len(asyncio.all_tasks()), threading.active_count())
            assert left == before, f"{way.__name__} leaves something: {left} instead of {before}"
            assert way is by_a_reset or server.closed_by_client >= closed + count, way.__name__
        await client.aclose()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts the sockets where Linux tells them")
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_few_cycles_of_leaving_leave_nothing(provider: str) -> None:
    await _cycles(provider, 3)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts the sockets where Linux tells them")
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_500_cycles_of_each_way_of_leaving_leave_nothing(provider: str) -> None:
    gc.collect()
    gc.freeze()  # what was there before is not looked through 500 times
    try:
        await _cycles(provider, 500)
    finally:
        gc.unfreeze()


class Grown(NamedTuple):
    """How many bytes more there are: of Python objects, and of the process."""

    traced: int
    resident: int


def _resident() -> int:
    """What the process holds, when the allocator has given back what it can."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _short_streams(provider: str, count: int) -> Grown:
    """How memory grows while so many short streams are read."""
    contract = kit(provider)
    body = contract.encode(STEPS)
    assert body is not None

    async with WireServer() as server:
        client: Any = contract.make_client(server.url, LONG)

        async def read(times: int) -> None:
            for _ in range(times):
                server.queue(response(contract, body))
                async with client.execute_streaming_with_tools(PROMPT, contract.model) as stream:
                    assert (await stream.message()).text == "Hello world!"
                server.requests.clear()

        tracemalloc.start()
        try:
            await read(max(300, count // 10))
            resident, traced = _resident(), tracemalloc.get_traced_memory()[0]
            await read(count)
            return Grown(-traced + tracemalloc.get_traced_memory()[0], _resident() - resident)
        finally:
            tracemalloc.stop()
            await client.aclose()


async def test_1000_short_streams_leave_memory_flat() -> None:
    assert (await _short_streams("openai-chat", 1000)).traced < 200_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="reads its memory where Linux tells it")
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_20000_short_streams_leave_memory_flat(provider: str) -> None:
    grown = await _short_streams(provider, 20_000)
    print(f"{provider}: {grown}")  # noqa: T201 - shown with -s
    assert grown.traced < 2_000_000
    assert grown.resident < 2_000_000
