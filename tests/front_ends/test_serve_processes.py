"""Two processes of ``promptport serve`` on one Redis: one dies, freezes, is stopped by the other, or loses Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.run_log.redis_server import RedisServer

SCRIPT = '''
import asyncio
import os
from pathlib import Path

import promptport as pp

FOLDER = Path(__file__).parent


class Counting:
    """Counts until a file says that it is enough; asks for a booking where it is told so."""

    def execute_streaming_with_tools(self, prompt, model, tools=()):
        return pp.FrameStream(self._frames(prompt.messages[-1]))

    async def _frames(self, last):
        if isinstance(last, pp.ToolResultMessage):
            yield [pp.Append(f"It says: {last.text}"), pp.End(pp.FinishReason.STOP)]
            return
        if last.text == "book":
            yield [pp.ToolCall("c1", "book", '{"seats": 2}'), pp.End(pp.FinishReason.TOOL_CALLS)]
            return
        number = 0
        try:
            while not (FOLDER / f"enough-{last.text}").exists():
                yield [pp.Append(f"{number} ")]
                number += 1
                await asyncio.sleep(0.02)
            yield [pp.Append("over"), pp.End(pp.FinishReason.STOP)]
        finally:
            (FOLDER / f"closed-{last.text}-{os.getpid()}").touch()

    def capabilities(self, model):
        return pp.ModelCapabilities(pp.StreamedTools.DELTAS, frozenset(pp.Capability), known=False)

    async def aclose(self):
        pass


@pp.tool(needs_approval=True)
def book(seats: int) -> str:
    """Books."""
    with (FOLDER / "booked").open("a") as file:
        file.write(f"{seats} by {os.getpid()}\\n")
    return "booked"
'''
LEASE = 1.0


class Serving:
    """One of the processes."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.client = httpx.AsyncClient(base_url=url, timeout=30)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextlib.asynccontextmanager
async def two(folder: Path, redis: RedisServer) -> AsyncIterator[tuple[Serving, Serving]]:
    script = folder / "counting.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "promptport", "serve", "--port", "0", "--model", "counting/m"]
    command += ["--executor", f"{script}:Counting", "--tool", f"{script}:book", "--redis", redis.url]
    processes = [
        await asyncio.create_subprocess_exec(
            *command, "--lease", str(LEASE), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    served = []
    try:
        for process in processes:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                line = (await process.stdout.readline()).decode()
            assert "http://" in line, line
            served.append(Serving(process, line[line.index("http://") :].split()[0]))
        yield served[0], served[1]
    finally:
        for one in served:
            await one.client.aclose()
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


def chat(thread: str, text: str, **more: Any) -> dict[str, Any]:
    return {"id": thread, "messages": [{"id": "u", "role": "user", "parts": [{"type": "text", "text": text}]}], **more}


class Viewer:
    """Reads a response to its end, chunk by chunk."""

    def __init__(self, response: httpx.Response) -> None:
        self.chunks: list[Any] = []
        self.text = ""
        self.first = asyncio.Event()
        self._response = response
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for line in self._response.aiter_lines():
            if line.startswith("data: "):
                chunk = line[6:] if line == "data: [DONE]" else json.loads(line[6:])
                self.chunks.append(chunk)
                if isinstance(chunk, dict) and chunk["type"] == "text-delta":
                    self.text += chunk["delta"]
                    self.first.set()

    @property
    def kinds(self) -> list[str]:
        return [chunk if isinstance(chunk, str) else chunk["type"] for chunk in self.chunks]

    def numbers(self) -> list[int]:
        return [int(word) for word in self.text.removesuffix("over").split()]


@contextlib.asynccontextmanager
async def viewing(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> AsyncIterator[Viewer]:
    async with client.stream(method, path, **options) as response:
        assert response.status_code == 200, await response.aread()
        viewer = Viewer(response)
        try:
            await asyncio.wait_for(viewer.first.wait(), 30)
            yield viewer
        finally:
            viewer.reading.cancel()
            await asyncio.gather(viewer.reading, return_exceptions=True)


async def becomes(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a file, and a growing text, tell nobody
            await asyncio.sleep(0.02)


def closed(folder: Path, name: str) -> list[Path]:
    return list(folder.glob(f"closed-{name}-*"))


async def test_a_producer_that_is_killed_is_told_to_readers_at_the_other_and_the_chat_goes_on(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as redis, two(tmp_path, redis) as (one, other):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(viewing(one.client, "POST", "/chat", json=chat("t1", "a")))
            readers = [
                await stack.enter_async_context(viewing(other.client, "GET", "/chat/t1/stream")) for _ in range(3)
            ]
            await becomes(lambda: all(len(reader.numbers()) > 10 for reader in readers))
            one.send(signal.SIGKILL)
            await one.process.wait()
            async with asyncio.timeout(LEASE + 10):  # the lease and two seconds, on a machine that does little else
                for reader in readers:
                    await reader.reading
            for reader in readers:
                assert reader.numbers() == list(range(len(reader.numbers())))
                assert reader.numbers() == readers[0].numbers()
                assert reader.kinds[-2:] == ["error", "[DONE]"]
                assert reader.chunks[-2]["errorText"] == "The server that ran this stopped working."
        assert (await other.client.get("/chat/t1/stream")).status_code == 204
        (tmp_path / "enough-b").touch()
        assert '"over"' in (await other.client.post("/chat", json=chat("t1", "b"))).text


async def test_a_run_is_stopped_at_the_other_and_its_provider_is_left(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as redis, two(tmp_path, redis) as (one, other):
        async with (
            viewing(one.client, "POST", "/chat", json=chat("t1", "a")) as first,
            viewing(other.client, "GET", "/chat/t1/stream") as second,
        ):
            assert (await other.client.post("/chat/t1/stop")).json() == {"stopped": True}
            async with asyncio.timeout(20):
                await asyncio.gather(first.reading, second.reading)
            for viewer in (first, second):
                assert viewer.kinds[-2:] == ["abort", "[DONE]"]
                assert viewer.numbers() == list(range(len(viewer.numbers())))
        assert len(closed(tmp_path, "a")) == 1
        assert (await other.client.post("/chat/t1/stop")).json() == {"stopped": False}


async def test_redis_is_stopped_and_started_in_mid_run_and_no_reader_misses_a_word(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as redis, two(tmp_path, redis) as (one, other):
        async with viewing(one.client, "POST", "/chat", json=chat("t1", "a")) as first:
            await redis.kill()
            seen = len(first.numbers())
            await becomes(lambda: len(first.numbers()) > seen + 10)
            assert (await other.client.get("/chat/t1/stream")).status_code == 503
            async with viewing(other.client, "POST", "/chat", json=chat("t2", "b")) as without:
                (tmp_path / "enough-b").touch()  # a chat that begins while it is away is answered too
                await without.reading
                assert without.kinds[-2:] == ["finish", "[DONE]"]
            await redis.start()
            async with viewing(one.client, "GET", "/chat/t1/stream") as again:
                (tmp_path / "enough-a").touch()
                async with asyncio.timeout(30):
                    await asyncio.gather(first.reading, again.reading)
                for viewer in (first, again):
                    assert viewer.kinds[-2:] == ["finish", "[DONE]"]
                    assert viewer.numbers() == list(range(len(viewer.numbers())))
                assert first.numbers() == again.numbers()


async def test_a_process_that_was_frozen_for_longer_than_its_lease_ends_its_run(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as redis, two(tmp_path, redis) as (one, other):
        async with (
            viewing(one.client, "POST", "/chat", json=chat("t1", "a")) as first,
            viewing(other.client, "GET", "/chat/t1/stream") as second,
        ):
            one.send(signal.SIGSTOP)
            async with asyncio.timeout(30):
                await second.reading
            assert second.kinds[-2:] == ["error", "[DONE]"]
            one.send(signal.SIGCONT)
            async with asyncio.timeout(30):
                await first.reading
            assert first.kinds[-2:] == ["error", "[DONE]"]
            assert len(closed(tmp_path, "a")) == 1
            told = len(second.numbers())
            assert first.numbers()[:told] == second.numbers() == list(range(told))


async def test_of_two_posts_for_one_thread_at_two_processes_at_once_one_is_answered(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as redis, two(tmp_path, redis) as (one, other):
        for number in range(6):
            async with asyncio.TaskGroup() as group:
                posts = [group.create_task(begun(each.client, f"t{number}")) for each in (one, other, one, other)]
            statuses = sorted(post.result() for post in posts)
            assert statuses == [200, 409, 409, 409]
            assert (await one.client.post(f"/chat/t{number}/stop")).json() == {"stopped": True}


async def begun(client: httpx.AsyncClient, thread: str) -> int:
    async with client.stream("POST", "/chat", json=chat(thread, "never")) as response:
        return response.status_code


async def test_a_decision_that_is_posted_to_both_books_once(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as redis, two(tmp_path, redis) as (one, other):
        for number in range(3):
            (tmp_path / "booked").unlink(missing_ok=True)
            asked = (await one.client.post("/chat", json=chat(f"t{number}", "book"))).text
            request = next(json.loads(line[6:]) for line in asked.splitlines() if "tool-approval-request" in line)
            part = {
                "type": "tool-book",
                "toolCallId": request["toolCallId"],
                "state": "approval-responded",
                "input": {"seats": 999},
                "approval": {"id": request["approvalId"], "approved": True},
            }
            body = chat(f"t{number}", "book")
            body["messages"].append({"id": "a", "role": "assistant", "parts": [part]})
            both = await asyncio.gather(*[each.client.post("/chat", json=body) for each in (one, other, one, other)])
            assert {response.status_code for response in both} <= {200, 409}
            assert [response.text for response in both if "It says: booked" in response.text]
            later = await other.client.post("/chat", json=body)
            assert (later.status_code, "It says: booked" in later.text) == (200, True)
            assert (tmp_path / "booked").read_text().split()[0] == "2"
            assert (tmp_path / "booked").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nonsense", "not one of Redis"),
        ("http://127.0.0.1:6379", "not one of Redis"),
        ("redis://:s3cret@127.0.0.1:1", "cannot be reached"),
    ],
)
def test_a_redis_that_cannot_be_used_is_one_line_and_exit_code_2(address: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "promptport", "serve", "--port", "0", "--model", "counting/m"]
    command += ["--executor", f"{tmp_path}/counting.py:Counting", "--redis", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, ""), done.stderr
    assert done.stderr.startswith("promptport: --redis: ")
    assert words in done.stderr
    assert "s3cret" not in done.stderr
