"""Limits that machines share by Redis, and stores that fail: nothing is lost, and nothing foreign is raised."""

import asyncio
import logging
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import promptport as pp
from promptport.policies import CachedExecutor, FolderCache, LimitedClient, Limits, RetryConfig, RetryingClient
from promptport.testing import ScriptedExecutor

MODEL = "scripted/m"

_PROCESS = """
import asyncio, sys
import promptport as pp
from promptport.policies import LimitedClient, Limits
from promptport.testing import ScriptedExecutor

async def main():
    limits = Limits(requests_per_minute=6, max_wait=0.2, storage=sys.argv[1])
    client = LimitedClient(ScriptedExecutor(["ok"], repeat=True), limits)
    sent = 0
    for _ in range(5):
        try:
            await client.execute("Hi", "scripted/m")
            sent += 1
        except pp.RateLimitError as error:
            assert error.code == "local_limit"
    print(sent)

asyncio.run(main())
"""


@pytest.fixture
def redis_port() -> Iterator[int]:
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("needs redis-server")
    pytest.importorskip("redis")
    pytest.importorskip("limits")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [server, "--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ready to accept" in line:
                break
        yield port
        process.kill()


def test_two_processes_share_a_window_and_a_dead_one_holds_nothing(redis_port: int) -> None:
    import redis

    address = f"async+redis://127.0.0.1:{redis_port}"
    both = [
        subprocess.Popen([sys.executable, "-c", _PROCESS, address], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    sent = [int(process.communicate(timeout=60)[0]) for process in both]
    assert sum(sent) == 6
    with redis.Redis(port=redis_port) as store:
        keys = list(store.scan_iter("*"))
        assert keys
        assert all(0 < store.ttl(key) <= 120 for key in keys), "what a dead process counted expires"


async def test_waiting_for_a_shared_window_can_be_cancelled(redis_port: int) -> None:
    limits = Limits(requests_per_minute=1, max_wait=None, storage=f"async+redis://127.0.0.1:{redis_port}")
    client = LimitedClient(ScriptedExecutor(["ok"], repeat=True), limits)
    await client.execute("Hi", MODEL)
    waiting = [asyncio.create_task(client.execute("Hi", MODEL)) for _ in range(3)]
    done, _ = await asyncio.wait(waiting, timeout=0.3)
    assert not done
    for task in waiting:
        task.cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    await limits.aclose()


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_lost_storage_is_a_clear_error_and_nothing_is_sent(streaming: bool) -> None:
    pytest.importorskip("redis")
    pytest.importorskip("limits")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asked: list[object] = []

    def answer(request: object) -> list[str]:
        asked.append(request)
        return ["ok"]

    executor = ScriptedExecutor(answer, repeat=True)
    limits = Limits(requests_per_minute=5, concurrency=1, storage=f"async+redis://127.0.0.1:{port}")
    client = LimitedClient(executor, limits)
    for _ in range(2):  # the place is given back
        with pytest.raises(pp.TransportError, match=r"storage of the limits cannot be asked.*No request was sent"):
            if streaming:
                await client.execute_streaming_with_tools("Hi", MODEL).message()
            else:
                await client.execute("Hi", MODEL)
    assert asked == []
    await limits.aclose()


async def test_a_storage_that_is_lost_after_the_response_takes_nothing_back(
    redis_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    import redis

    def answer(_: object) -> list[str]:
        with redis.Redis(port=redis_port) as store:
            store.shutdown(nosave=True)
        return ["whole"]

    limits = Limits(tokens_per_minute=100, storage=f"async+redis://127.0.0.1:{redis_port}")
    client = LimitedClient(ScriptedExecutor(answer), limits)
    with caplog.at_level(logging.WARNING, "promptport"):
        assert (await client.execute_streaming_with_tools("Hi", MODEL).message()).text == "whole"
    assert "could not be counted" in caplog.text
    await limits.aclose()


async def test_those_who_wait_are_served_in_their_order_though_a_place_is_free_at_once() -> None:
    limits = Limits(concurrency=1)
    model = pp.LLModel.parse(MODEL)
    served: list[int] = []

    async def one(number: int) -> None:
        async with limits.place(model):
            served.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*[one(number) for number in range(20)])
    assert served == list(range(20))


# --------------------------------------------------------------------------------------------- caches


def found(folder: Path, ending: str) -> list[Path]:
    return list(folder.glob(f"*.{ending}"))


async def ask(executor: CachedExecutor, streaming: bool) -> str:
    if streaming:
        return (await executor.execute_streaming_with_tools("Hi", MODEL).message()).text
    return (await executor.execute("Hi", MODEL)).text


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    "damage", [b"", b"{", b"null", b"[1]", b'{"role":"assistant"}', b'{"role":"user","parts":[]}', b"\xff\xfe", None]
)
async def test_a_damaged_file_is_asked_anew(tmp_path: Path, damage: bytes | None, streaming: bool) -> None:
    executor = CachedExecutor(ScriptedExecutor(["one"], ["two"]), FolderCache(tmp_path))
    assert await ask(executor, streaming) == "one"
    (file,) = found(tmp_path, "json")
    file.unlink()
    if damage is None:
        file.mkdir()
    else:
        file.write_bytes(damage)
    assert await ask(executor, streaming) == "two"
    assert (executor.hits, executor.misses) == (0, 2)
    assert not found(tmp_path, "tmp")


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_store_that_cannot_keep_takes_no_response_back(
    tmp_path: Path, streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    executor = CachedExecutor(ScriptedExecutor(["one"], ["two"]), FolderCache(tmp_path / "file" / "below"))
    with caplog.at_level(logging.WARNING, "promptport"):
        assert [await ask(executor, streaming), await ask(executor, streaming)] == ["one", "two"]
    assert "could not be kept" in caplog.text


@pytest.mark.parametrize("asked", [float("nan"), -5.0, 0.0, float("inf"), 1e18])
def test_a_strange_retry_after_makes_no_strange_wait(asked: float) -> None:
    error = pp.RateLimitError("busy", provider="scripted", retry_after=asked)
    wait = RetryConfig.PRODUCTION.delay(1, error, 0.5)
    assert wait is None if asked > 60 else wait is not None and 0.5 < wait < 2


async def test_closing_ends_a_backoff_at_once() -> None:
    busy = pp.OverloadedError("busy", provider="scripted", status=529)
    client = RetryingClient(ScriptedExecutor([busy], ["never"]), RetryConfig(initial_delay=600, max_delay=600))
    stream = client.execute_streaming_with_tools("Hi", MODEL)
    reading = asyncio.create_task(stream.message())
    for _ in range(20):  # it has asked, and waits
        await asyncio.sleep(0)
    assert not reading.done()
    await client.aclose()
    with pytest.raises(pp.IncompleteStreamError):
        await reading


@pytest.mark.parametrize("package", ["openai", "anthropic"])
def test_the_sdks_of_openai_and_anthropic_send_no_idempotency_key(package: str) -> None:
    """Both SDKs can send one, and are configured without the header: there is none for us to send."""
    sdk = pytest.importorskip(package)
    client = (sdk.AsyncOpenAI if package == "openai" else sdk.AsyncAnthropic)(api_key="test-key")
    assert client._idempotency_header is None
