"""Setting a client up: the environment, keys, proxies, TLS, and imports."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from promptport.errors import (
    ConfigurationError,
    TransportError,
)
from promptport.frames import StreamFrame
from promptport.messages import Prompt
from promptport.models import LLModel
from promptport.testing import WireResponse, WireServer
from promptport_ollama import OllamaClient

MODEL = LLModel("ollama", "qwen3:4b")
PROMPT = Prompt.of("Hi")

TEXT = (
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":"Hel"},"done":false}\n'
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":"lo"},"done":false}\n'
)
DONE = (
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",'
    b'"prompt_eval_count":3,"eval_count":2}\n'
)


def stream_of(body: bytes = TEXT + DONE, **options: Any) -> WireResponse:
    return WireResponse(body, content_type="application/x-ndjson", **options)


async def frames_of(client: OllamaClient) -> list[StreamFrame]:
    async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
        return [frame async for frame in stream]


async def test_host_and_key_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    async with WireServer(stream_of(), WireResponse.json({"models": []})) as server:
        environment.setenv("OLLAMA_HOST", server.url.removeprefix("http://"))
        environment.setenv("OLLAMA_API_KEY", "key-of-the-environment")
        async with OllamaClient() as client:
            await frames_of(client)
            await client.models()
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer key-of-the-environment"}


async def test_user_and_password_in_the_address(environment: pytest.MonkeyPatch) -> None:
    async with WireServer(stream_of()) as server:
        address = server.url.replace("http://", "http://ann:word@")
        async with OllamaClient(base_url=address) as client:
            await frames_of(client)
    assert server.requests[0].headers["authorization"] == "Basic YW5uOndvcmQ="


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "ftp://gpu"},
        {"api_key": "two words"},
        {"api_key": "key", "base_url": "http://ann:word@gpu"},
        {"http_client": object()},
        {"http_client": httpx.AsyncClient, "max_connections": 3},
    ],
)
def test_set_ups_that_cannot_work(options: dict[str, Any], environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError):
        OllamaClient(**options)


async def test_a_proxy_of_the_environment(environment: pytest.MonkeyPatch) -> None:
    async with WireServer(stream_of(), WireResponse.json({"models": []})) as proxy:
        environment.setenv("http_proxy", proxy.url)
        async with OllamaClient(base_url="gpu.invalid") as client:
            await frames_of(client)
            await client.models()
    assert [request.path for request in proxy.requests] == [
        "http://gpu.invalid:11434/api/chat",
        "http://gpu.invalid:11434/api/tags",
    ]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
async def test_an_ssl_context_of_the_callers(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(TEXT + DONE))
        writer.write(TEXT + DONE)
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with await asyncio.start_server(answer, "localhost", 0, ssl=context, family=socket.AF_INET) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        async with OllamaClient(base_url=url) as client:
            with pytest.raises(TransportError, match="certificate"):
                await frames_of(client)
        trusting = ssl.create_default_context(cafile=certificate)
        async with OllamaClient(base_url=url, ssl_context=trusting) as client:
            assert len(await frames_of(client)) == 3


def test_importing_the_provider_imports_nothing_heavy() -> None:
    program = (
        "import sys, promptport_ollama as p; p.client(base_url='gpu')\n"
        "assert not {'aiohttp', 'httpx', 'ollama', 'pydantic', 'urllib.request'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
