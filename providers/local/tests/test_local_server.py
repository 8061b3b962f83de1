"""The embedded server: one start, one end, a key, and silence."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from providers.local.tests.gguf_files import write_gguf

from promptport import AuthenticationError, ConfigurationError, OverloadedError, Timeouts
from promptport.http import HTTPTransport
from promptport.testing import WireResponse, WireServer
from promptport_local import LocalServer, _server
from promptport_local._server import headers_for

WIRES = Path(__file__).parent / "wires"


def way(server: LocalServer, key: str | None) -> HTTPTransport:
    root = server.base_url.removesuffix("/v1")
    return HTTPTransport(root, provider="p", headers=headers_for(key), timeouts=Timeouts())


def listens(server_url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(server_url).port or 0)) == 0


def run(code: str) -> bytes:
    """What another Python prints, which must say nothing on standard error, and end."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=120, check=True, env={"PYTHONPATH": path}
    )
    assert done.stderr == b""
    return done.stdout


async def test_from_start_to_end(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    server = LocalServer(context_length=512, parallel=1, threads=1, on_load=said.append)
    with pytest.raises(ConfigurationError, match="not been started"):
        _ = server.base_url
    async with server:
        url = server.base_url
        assert urlsplit(url).hostname == "127.0.0.1"
        assert listens(url)
        transport = await server.ready()
        listed = msgspec.json.decode(await transport.get("/v1/models"))
        assert [model["id"] for model in listed["data"]] == ["smollm2-135m"]
        assert listed["data"][0]["meta"]["n_ctx"] == 512
        for key in (None, "wrong"):
            stranger = way(server, key)
            with pytest.raises(AuthenticationError):
                await stranger.get("/v1/models")
            await stranger.aclose()
    assert not listens(url)
    await server.stop()
    assert [text.partition(" ")[0] for text in said] == ["loading", "smollm2-135m"]
    assert capfd.readouterr() == ("", "")


async def test_many_wait_for_one_start_and_one_gives_up() -> None:
    said: list[str] = []
    server = LocalServer(context_length=256, parallel=1, threads=1, api_key="mine", on_load=said.append)
    waiting = [asyncio.create_task(server.ready()) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    ways = await asyncio.gather(*waiting[1:])
    assert waiting[0].cancelled()
    assert all(transport is ways[0] for transport in ways)
    assert len(said) == 2
    keyed = way(server, "mine")
    assert await keyed.get("/v1/models")
    await keyed.aclose()
    await server.stop()


async def test_stopped_while_it_starts_and_started_again() -> None:
    server = LocalServer(context_length=256, parallel=1, threads=1)
    waiting = asyncio.create_task(server.ready())
    await asyncio.sleep(0)
    await server.stop()
    url = (await waiting).base_url
    assert not listens(url)
    await server.ready()
    assert listens(server.base_url)
    await server.stop()
    await LocalServer().stop()  # one that never started


async def test_a_model_that_cannot_be_loaded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    said: list[str] = []
    server = LocalServer(path, on_load=said.append)
    for _ in range(2):  # every call tries again
        with pytest.raises(ConfigurationError, match=r"cannot load .*m\.gguf.*verbose=True") as raised:
            await server.ready()
        assert isinstance(raised.value.__cause__, RuntimeError)
    assert len(said) == 2
    await server.stop()
    assert capfd.readouterr() == ("", "")
    path.unlink()
    with pytest.raises(ConfigurationError):
        LocalServer(path)


async def test_a_file_that_goes_away(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    server = LocalServer(path)
    path.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        await server.ready()


async def test_without_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigurationError, match="pip install xllamacpp"):
        await LocalServer().ready()


async def test_llama_cpp_speaks_when_asked(capfd: pytest.CaptureFixture[str]) -> None:
    async with LocalServer(context_length=256, parallel=1, threads=1, verbose=True):
        pass
    assert "load_model" in capfd.readouterr().err


@pytest.mark.parametrize("options", [{"threads": 0}, {"parallel": 0}, {"context_length": -1}, {"context_length": 9000}])
def test_unusable_numbers(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        LocalServer(**options)  # type: ignore[arg-type]


def test_a_process_that_leaves_without_a_word_ends() -> None:
    code = (
        "import asyncio; from promptport_local import LocalServer\n"
        "server = LocalServer(context_length=256, parallel=1, threads=1)\n"
        "asyncio.run(server.ready()); print(server.base_url)"
    )
    url = run(code)
    assert url.startswith(b"http://127.0.0.1:")
    assert not listens(url.decode().strip())


async def test_503_while_it_loads_is_waited_for() -> None:
    loading = WireResponse((WIRES / "http-503-loading.json").read_bytes(), status=503, content_type="application/json")
    async with WireServer(loading, loading, WireResponse.json({"status": "ok"})) as wire:
        transport = HTTPTransport(wire.url, provider="p", headers={}, timeouts=Timeouts())
        await _server._healthy(transport)
        assert [request.path for request in wire.requests] == ["/health"] * 3
        await transport.aclose()


async def test_loading_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "_READY_SECONDS", 0.0)
    loading = WireResponse((WIRES / "http-503-loading.json").read_bytes(), status=503, content_type="application/json")
    async with WireServer(loading, loading) as wire:
        transport = HTTPTransport(wire.url, provider="p", headers={}, timeouts=Timeouts())
        with pytest.raises(OverloadedError, match="Loading model"):
            await _server._healthy(transport)
        await transport.aclose()


async def test_a_server_that_never_gets_ready_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unhealthy(transport: HTTPTransport) -> None:
        addresses.append(transport.base_url)
        raise OverloadedError("no", provider="p")

    addresses: list[str] = []
    monkeypatch.setattr(_server, "_healthy", unhealthy)
    server = LocalServer(context_length=256, parallel=1, threads=1)
    with pytest.raises(OverloadedError):
        await server.ready()
    assert not listens(addresses[0])
    await server.stop()


def test_started_and_ended_many_times() -> None:
    """Ending one that has hardly begun once made llama.cpp wait for ever, and Python with it: so in another process."""
    code = (
        "import asyncio; from promptport_local import LocalServer\n"
        "async def main():\n"
        "    for _ in range(6):\n"
        "        server = LocalServer(context_length=256, parallel=1, threads=1)\n"
        "        server._load(); server._drop()\n"
        "asyncio.run(main())"
    )
    assert run(code) == b""
