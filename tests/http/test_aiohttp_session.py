"""The way to the server that all of our providers share, unless they are given another: aiohttp, and around it httpx2
where an SDK builds the requests."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.kits import LONG, kit, response

import promptport as pp
from promptport.http.addresses import environment_proxy
from promptport.testing import Finish, ProviderContract, Say, Step, WireResponse, WireServer

PROVIDERS = ["openai", "openai-chat", "anthropic", "ollama"]
PROMPT = pp.Prompt.of("Hi.")
HELLO: list[Step] = [Say("Hello."), Finish(pp.FinishReason.STOP)]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without the machine's own proxies; to be set anew."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> ProviderContract:
    return kit(request.param)


def hello(provider: ProviderContract) -> list[bytes]:
    body = provider.encode(HELLO)
    assert body is not None
    return body


def client_of(provider: ProviderContract, url: str, **options: Any) -> aclosing[pp.LLMClient]:
    return aclosing(pp.client(provider.model.provider, base_url=url, api_key="test-key", **options))


async def text_of(client: pp.LLMClient, provider: ProviderContract) -> str:
    return "".join([text async for text in client.execute_streaming(PROMPT, provider.model)])


# -------------------------------------------------------------------------------------------- proxies


def proxy_of(url: str) -> str | None:
    return environment_proxy(url, provider="p")


def test_no_proxy_where_the_environment_has_none() -> None:
    assert proxy_of("http://gpu:11434") is None


def test_the_proxy_of_the_scheme_or_of_all(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "http://all:1")
    environment.setenv("https_proxy", "http://user:word@secure:2")
    assert proxy_of("http://gpu:11434") == "http://all:1"
    assert proxy_of("https://gpu:443") == "http://user:word@secure:2"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "http://inside.lan:1"])
def test_this_machine_and_exceptions_are_asked_directly(url: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("http_proxy", "http://proxy:1")
    environment.setenv("no_proxy", "inside.lan")
    assert proxy_of(url) is None


async def test_a_proxy_that_is_not_spoken(provider: ProviderContract, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "socks5://user:word@proxy:1")
    async with client_of(provider, "http://gpu.invalid:1") as client:
        with pytest.raises(pp.ConfigurationError, match="socks5") as raised:
            await text_of(client, provider)
    assert "word" not in str(raised.value)


async def test_a_proxy_of_the_environment(provider: ProviderContract, environment: pytest.MonkeyPatch) -> None:
    async with WireServer(response(provider, hello(provider))) as proxy:
        environment.setenv("http_proxy", proxy.url)
        async with client_of(provider, "http://gpu.invalid:1/v1") as client:
            assert await text_of(client, provider) == "Hello."
    assert proxy.requests[0].path.startswith("http://gpu.invalid:1/v1/")


# ---------------------------------------------------------------------------------------- certificates


@asynccontextmanager
async def serving_tls(provider: ProviderContract, folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """A server with a certificate of its own; its URL and the certificate."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    body = b"".join(hello(provider))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with await asyncio.start_server(answer, "localhost", 0, ssl=context, family=socket.AF_INET) as server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}", certificate


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
async def test_an_ssl_context_of_the_callers(provider: ProviderContract, tmp_path: Path) -> None:
    async with serving_tls(provider, tmp_path) as (url, certificate):
        async with client_of(provider, url) as client:
            with pytest.raises(pp.TransportError, match="certificate"):
                await text_of(client, provider)
        trusting = ssl.create_default_context(cafile=certificate)
        async with client_of(provider, url, ssl_context=trusting) as client:
            assert await text_of(client, provider) == "Hello."


def test_an_ssl_context_beside_an_http_client_is_refused_not_ignored(provider: ProviderContract) -> None:
    with pytest.raises(pp.ConfigurationError, match="an http_client brings its own ssl_context"):
        client_of(provider, "https://gpu.invalid", ssl_context=ssl.create_default_context(), http_client=object())


# --------------------------------------------------------------------------------------------- the wire


async def test_a_chunk_that_is_malformed_is_noticed_at_once(provider: ProviderContract) -> None:
    """aiohttp leaves the reader of such a body waiting; here it hears of it before any clock runs out."""
    body = b"".join(hello(provider)[:-1])
    read = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%b\r\n" % (len(body), body))
        await read.wait()
        writer.write(b"no size at all\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client_of(provider, url, timeouts=LONG) as client, asyncio.timeout(5):
            stream = client.execute_streaming_with_tools(PROMPT, provider.model)
            assert await anext(stream) == pp.Append("Hello.")
            read.set()
            with pytest.raises(pp.IncompleteStreamError):
                await stream.message()


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_came_compressed(provider: ProviderContract, stream: bool) -> None:
    whole = provider.encode_complete(HELLO)
    assert whole is not None
    answer = response(provider, hello(provider), gzip=True)
    if not stream:
        answer = WireResponse(whole, content_type="application/json", gzip=True)
    async with WireServer(answer) as server, client_of(provider, server.url) as client:
        if stream:
            assert await text_of(client, provider) == "Hello."
        else:
            assert (await client.execute(PROMPT, provider.model)).text == "Hello."


async def test_a_gateways_own_key_is_in_no_error(provider: ProviderContract) -> None:
    option = "headers" if provider.model.provider == "ollama" else "default_headers"
    refusal = WireResponse.json({"error": {"message": "no access for gateway-secret-1"}}, 403)
    async with WireServer(refusal) as server:
        async with client_of(provider, server.url, **{option: {"X-Gateway-Key": "gateway-secret-1"}}) as client:
            with pytest.raises(pp.PermissionDeniedError, match=r"no access for \[redacted\]"):
                await text_of(client, provider)
    assert server.requests[0].headers["x-gateway-key"] == "gateway-secret-1"


def test_a_client_belongs_to_one_event_loop(provider: ProviderContract) -> None:
    stack = AsyncExitStack()

    async def first() -> pp.LLMClient:
        async with WireServer(response(provider, hello(provider))) as server:
            client = await stack.enter_async_context(client_of(provider, server.url))
            assert await text_of(client, provider) == "Hello."
            return client

    async def second(client: pp.LLMClient) -> None:
        async with stack:
            with pytest.raises(pp.InvalidInputError, match="another event loop"):
                await text_of(client, provider)

    client = asyncio.run(first())
    asyncio.run(second(client))
