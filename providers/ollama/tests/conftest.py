"""Clients over each library that can carry them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import aiohttp
import httpx
import pytest

from promptport.testing import WireServer
from promptport_ollama import OllamaClient

Make: TypeAlias = Callable[..., OllamaClient]
_VARIABLES = ("OLLAMA_API_KEY", "OLLAMA_HOST", "http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without what the machine's own environment says; to be set anew."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture(params=["aiohttp", "httpx", "aiohttp session"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes clients over each library; closes them."""
    async with AsyncExitStack() as stack:

        def made(server: WireServer, **options: Any) -> OllamaClient:
            if request.param == "httpx":
                options["http_client"] = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=None))
                stack.push_async_callback(options["http_client"].aclose)
            elif request.param == "aiohttp session":
                options["http_client"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
                stack.push_async_callback(options["http_client"].close)
            client = OllamaClient(base_url=server.url, **options)
            stack.push_async_callback(client.aclose)
            return client

        yield made
