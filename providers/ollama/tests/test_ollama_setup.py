"""Setting a client up: the environment, keys, proxies, TLS, and imports."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import pytest

from promptport.errors import ConfigurationError
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


async def test_the_host_comes_from_the_environment_and_the_key_does_not_go_there(
    environment: pytest.MonkeyPatch,
) -> None:
    async with WireServer(stream_of(), WireResponse.json({"models": []})) as server:
        environment.setenv("OLLAMA_HOST", server.url.removeprefix("http://"))
        environment.setenv("OLLAMA_API_KEY", "key-of-the-environment")
        async with OllamaClient() as client:
            await frames_of(client)
            await client.models()
    assert not any("authorization" in request.headers for request in server.requests)
    environment.setenv("OLLAMA_HOST", "https://ollama.com")
    assert "key-of-the-environment" in OllamaClient()._known_secrets()


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


def test_importing_the_provider_imports_nothing_heavy() -> None:
    program = (
        "import sys, promptport_ollama as p; p.client(base_url='gpu')\n"
        "assert not {'aiohttp', 'httpx', 'ollama', 'pydantic', 'urllib.request'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
