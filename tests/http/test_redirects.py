"""Where a redirect leads: never to another origin, and never from a POST to a GET."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.kits import kit, response

import promptport as pp
from promptport.http import AiohttpTransport, HTTPTransport, Transport
from promptport.testing import Finish, ProviderContract, Say, WireResponse, WireServer

KEYS = {"authorization": "Bearer sk-secret-1", "x-api-key": "sk-secret-2", "x-made-up": "sk-secret-3"}
KINDS: list[type[Transport]] = [AiohttpTransport, HTTPTransport]
STATUSES = [301, 302, 303, 307, 308]


def moved(status: int, location: str) -> WireResponse:
    return WireResponse(status=status, headers={"location": location}, framing="length")


@asynccontextmanager
async def transporting(kind: type[Transport], url: str) -> AsyncIterator[Transport]:
    transport = kind(url, provider="p", headers=KEYS)
    try:
        yield transport
    finally:
        await transport.aclose()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("elsewhere", ["host", "port", "scheme", "user"])
async def test_another_origin_gets_nothing(kind: type[Transport], status: int, elsewhere: str) -> None:
    async with WireServer() as there, WireServer() as here:
        target = {
            "host": there.url.replace("127.0.0.1", "localhost"),
            "port": there.url,
            "scheme": here.url.replace("http:", "https:"),
            "user": there.url.replace("http://", "http://127.0.0.1:1@"),
        }[elsewhere]
        here.answer(lambda _: moved(status, f"{target}/v1/chat?token=sk-secret-1"))
        async with transporting(kind, here.url) as transport:
            for call in (transport.open("/chat", {}, "m"), transport.post("/chat", {}, "m"), transport.get("/models")):
                with pytest.raises(pp.ProviderError, match="another origin") as raised:
                    await call
                assert target.replace("127.0.0.1:1@", "") in str(raised.value)
                assert "sk-secret" not in str(raised.value)
                assert raised.value.status == status
        assert there.requests == []
        assert len(here.requests) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", STATUSES)
async def test_within_the_origin_a_post_stays_one(kind: type[Transport], status: int) -> None:
    async with WireServer() as server, transporting(kind, f"{server.url}/v1") as transport:
        server.answer(lambda _: moved(status, "/v2/chat%3Ax?a=%2F#part"), "/v1/chat")
        server.answer(lambda _: WireResponse.json({}), "/v2/chat%3Ax")
        if status in (307, 308):
            assert await transport.post("/chat", {"a": 1}, "m") == b"{}"
            assert (server.requests[1].method, server.requests[1].json()) == ("POST", {"a": 1})
            assert server.requests[1].query == "a=%2F"
            assert server.requests[1].headers["x-made-up"] == "sk-secret-3"
        else:
            with pytest.raises(pp.ProviderError, match="turns a POST into a GET"):
                await transport.post("/chat", {"a": 1}, "m")
            assert len(server.requests) == 1
        assert await transport.get("/chat") == b"{}"


@pytest.mark.parametrize("kind", KINDS)
async def test_what_cannot_be_followed(kind: type[Transport]) -> None:
    async with WireServer() as server, transporting(kind, server.url) as transport:
        for location in ("ftp://x/", "http://[::1", "data:,x"):
            server.queue(moved(307, location))
            with pytest.raises(pp.PromptportError, match=r"cannot be asked|another origin|broke|base_url"):
                await transport.post("/chat", {}, "m")
        server.queue(WireResponse(status=307, framing="length"))
        with pytest.raises(pp.ProviderError, match="HTTP 307"):
            await transport.post("/chat", {}, "m")


@pytest.mark.parametrize("given", [None, httpx.AsyncClient], ids=["ours", "httpx"])
@pytest.mark.parametrize("name", ["openai", "openai-chat", "anthropic", "ollama"])
async def test_of_every_provider(name: str, given: Any) -> None:
    provider: ProviderContract = kit(name)
    body = provider.encode([Say("Hello."), Finish(pp.FinishReason.STOP)])
    assert body is not None
    async with WireServer(response(provider, body)) as there, WireServer() as here:
        here.answer(lambda _: moved(308, f"{there.url}/new"))
        http_client = given(follow_redirects=True) if given else None
        client = pp.client(name, base_url=here.url, api_key="sk-secret", http_client=http_client)
        with pytest.raises(pp.ProviderError, match="another origin"):
            await client.execute_streaming_with_tools(pp.Prompt.of("Hi."), provider.model).message()
        await client.aclose()
        if http_client is not None:
            await http_client.aclose()
    assert there.requests == []


@pytest.mark.parametrize("kind", KINDS)
async def test_redirects_without_end(kind: type[Transport]) -> None:
    async with WireServer() as server, transporting(kind, server.url) as transport:
        server.answer(lambda _: moved(307, "/chat"))
        with pytest.raises(pp.TransportError, match="redirects more than 5 times"):
            await transport.post("/chat", {}, "m")
        assert len(server.requests) == 6
