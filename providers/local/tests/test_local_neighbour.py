"""The embedded model as a neighbour: memory, other streams, cancelling, closing, loading. Minutes long."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import promptport as pp
from promptport_local import DEFAULT_MODEL, LocalClient, LocalServer

pytestmark = pytest.mark.slow
LONG = pp.Prompt.of("Count the words. " + "one two three four five six seven eight nine ten " * 380, max_tokens=4)


def child(client: LocalClient) -> psutil.Process:
    (server,) = client._plain._servers.values()
    assert server._process is not None
    return psutil.Process(server._process.pid)


def load(process: psutil.Process) -> float:
    """In percent of one processor; nothing, where the process has ended."""
    try:
        return float(process.cpu_percent(0.1))
    except psutil.NoSuchProcess:
        return 0.0


async def until(process: psutil.Process, reached: Callable[[float], bool]) -> None:
    while not reached(await asyncio.to_thread(load, process)):
        pass


async def text(client: LocalClient, prompt: pp.Prompt) -> str:
    return (await client.execute_streaming_with_tools(prompt, DEFAULT_MODEL).message()).text


async def test_memory_over_200_requests() -> None:
    async with LocalClient() as client:
        sizes = []
        for number in range(200):
            await text(client, pp.Prompt.of(f"Tell me of the number {number}. " + f"word{number} " * 20, max_tokens=2))
            if number >= 19:
                sizes.append(child(client).memory_info().rss)
        print(f"{sizes[0] / 1e6:.0f} MB after 20 requests, {max(sizes) / 1e6:.0f} MB at most in 200")  # noqa: T201
        assert max(sizes) <= 1.1 * sizes[0]


async def test_a_long_prompt_beside_a_short_stream() -> None:
    async with LocalClient() as client:
        await text(client, pp.Prompt.of("Hi", max_tokens=2))
        gaps, last = [], time.monotonic()
        prompt = pp.Prompt.of("Tell a long story of a fox.", max_tokens=200, temperature=1.0)
        long: asyncio.Task[str] | None = None
        async with client.execute_streaming_with_tools(prompt, DEFAULT_MODEL) as stream:
            async for _ in stream:
                gaps.append(time.monotonic() - last)
                last = time.monotonic()
                if long is None and len(gaps) == 5:
                    long = asyncio.create_task(text(client, LONG))
        assert long is not None
        await long
        print(f"longest gap {max(gaps):.2f} s")  # noqa: T201
        assert max(gaps) < 4


@pytest.mark.parametrize("streaming", [True, False])
async def test_cancelling_a_long_prompt_frees_the_processor_and_closing_is_quick(streaming: bool) -> None:
    client = LocalClient()
    await text(client, pp.Prompt.of("Hi", max_tokens=2))
    process = child(client)

    async def read() -> None:
        await (text(client, LONG) if streaming else client.execute(LONG, DEFAULT_MODEL))

    reading = asyncio.create_task(read())
    await until(process, lambda load: load > 30)
    began = time.monotonic()
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    await until(process, lambda load: load < 10)
    idle = time.monotonic() - began
    again = await text(client, pp.Prompt.of("Hi", max_tokens=2))
    process = child(client)
    reading = asyncio.create_task(read())
    await until(process, lambda load: load > 30)
    began = time.monotonic()
    await client.aclose()
    closed = time.monotonic() - began
    with contextlib.suppress(pp.PromptportError, asyncio.CancelledError):
        await reading
    print(f"idle {idle:.2f} s after a cancel, closed in {closed:.2f} s")  # noqa: T201
    assert again
    assert idle < 1
    assert closed < 3
    assert not process.is_running()


async def test_a_cancelled_answer_leaves_the_server_and_other_streams_alone() -> None:
    async with LocalClient() as client:
        await text(client, pp.Prompt.of("Hi", max_tokens=2))
        process = child(client)
        story = pp.Prompt.of("Tell a long story of a fox.", max_tokens=60, temperature=1.0)
        async with client.execute_streaming_with_tools(story, DEFAULT_MODEL) as other:
            await anext(other)
            reading = asyncio.create_task(text(client, LONG))
            await asyncio.sleep(0.5)
            reading.cancel()
            async for frame in other:
                last = frame
        assert isinstance(last, pp.End)
        assert child(client).pid == process.pid


async def test_two_models_loading_do_not_hold_the_loop(tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(LocalServer().weights.path.read_bytes())
    gaps = [0.0]

    async def watch() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - began)

    watching = asyncio.create_task(watch())
    async with LocalServer() as one, LocalServer(copy) as two:
        assert one.base_url != two.base_url
    watching.cancel()
    print(f"the loop waited {max(gaps) * 1000:.0f} ms at most")  # noqa: T201
    assert max(gaps) < 0.1
