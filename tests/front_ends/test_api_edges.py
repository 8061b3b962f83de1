"""The edges of the API routes: counts, methods, encodings, sizes, and errors in the form of the API that was asked."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import httpx2
import pytest
from starlette.applications import Starlette

import promptport as pp
from promptport.front_ends import BodyLimits, BodyReader, RequestRefused
from promptport.front_ends.api_routes import APITurn, api_routes
from promptport.testing import ScriptedExecutor, WireResponse, WireServer
from promptport_anthropic._client import AnthropicClient

USER: Any = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {"model": "m", "messages": USER},
    "responses": {"model": "m", "input": "Hi"},
    "messages": {"model": "m", "max_tokens": 9, "messages": USER},
}
every_api = pytest.mark.parametrize("path", BODIES)


def serving(executor: Any = None, model: str = "scripted/m", **options: Any) -> httpx.AsyncClient:
    turn = APITurn(executor or ScriptedExecutor(["Hello"], repeat=True), model, tuple(options.pop("tools", ())))
    app = Starlette(routes=api_routes(lambda request, asked: turn, **options))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def refusal(response: httpx.Response, path: str) -> dict[str, Any]:
    """The error, which must have the form of its API."""
    told = response.json()
    assert response.headers["content-type"] == "application/json"
    if path.startswith("messages"):
        assert told["type"] == "error"
        assert set(told["error"]) == {"type", "message"}
    else:
        assert set(told["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = told["error"]
    assert error["message"].endswith(".")
    return error


# --------------------------------------------------------------------------------------------------- counts


async def test_tokens_are_counted_by_the_providers_own_counter_with_the_servers_tools() -> None:
    @pp.tool
    def look(place: str) -> str:
        """Looks."""
        return place

    counted = WireResponse(b'{"input_tokens": 4711}', content_type="application/json")
    async with WireServer(counted, counted) as server:
        client = AnthropicClient(api_key="sk-key", base_url=server.url)
        async with pp.MultiProviderExecutor([client]) as executor:
            async with serving(executor, "anthropic/claude-sonnet-5", tools=[look]) as http:
                asked = {
                    "model": "m",
                    "system": "Be brief.",
                    "messages": USER,
                }  # as Anthropic's SDK asks: no max_tokens
                response = await http.post("/v1/messages/count_tokens", json=asked)
                assert (response.status_code, response.json()) == (200, {"input_tokens": 4711})
                response = await http.post("/v1/responses/input_tokens", json=BODIES["responses"])
                assert response.json() == {"object": "response.input_tokens", "input_tokens": 4711}
        sent = [json.loads(request.body) for request in server.requests]
    assert [request.path.partition("?")[0] for request in server.requests] == ["/v1/messages/count_tokens"] * 2
    assert [tool["name"] for tool in sent[0]["tools"]] == ["look"]
    assert "max_tokens" not in sent[0]
    assert sent[0]["system"]


@pytest.mark.parametrize("path", ["messages/count_tokens", "responses/input_tokens"])
async def test_where_nobody_counts_nothing_is_guessed(path: str) -> None:
    async with serving() as http:
        response = await http.post(f"/v1/{path}", json=BODIES[path.split("/", maxsplit=1)[0]])
    assert response.status_code == 400
    assert "does not guess" in refusal(response, path)["message"]


@pytest.mark.parametrize("path", ["messages/count_tokens", "responses/input_tokens"])
async def test_a_count_that_the_provider_refuses_is_the_providers_error_without_its_text(path: str) -> None:
    error = b'{"type": "error", "error": {"type": "rate_limit_error", "message": "sk-secret asks too often"}}'
    async with WireServer(WireResponse(error, status=429, content_type="application/json")) as server:
        async with pp.SingleClientExecutor(AnthropicClient(api_key="sk-key", base_url=server.url)) as executor:
            async with serving(executor, "anthropic/claude-sonnet-5") as http:
                response = await http.post(f"/v1/{path}", json=BODIES[path.split("/", maxsplit=1)[0]])
    assert response.status_code == 429
    assert "secret" not in refusal(response, path)["message"]


async def test_anthropics_sdk_counts() -> None:
    async with WireServer(WireResponse(b'{"input_tokens": 12}', content_type="application/json")) as server:
        async with pp.SingleClientExecutor(AnthropicClient(api_key="sk-key", base_url=server.url)) as executor:
            turn = APITurn(executor, "anthropic/claude-sonnet-5")
            transport = httpx2.ASGITransport(Starlette(routes=api_routes(lambda request, asked: turn)))
            async with httpx2.AsyncClient(transport=transport) as http:
                sdk = anthropic.AsyncAnthropic(api_key="k", base_url="http://test", http_client=http, max_retries=0)
                counted = await sdk.messages.count_tokens(model="m", messages=USER)
    assert counted.input_tokens == 12


# -------------------------------------------------------------------------------------- methods, unknown routes


@pytest.mark.parametrize("path", [*BODIES, "messages/count_tokens", "responses/input_tokens"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_another_method_is_405_with_what_is_allowed(path: str, method: str) -> None:
    async with serving() as http:
        response = await http.request(method, f"/v1/{path}")
    assert (response.status_code, response.headers["allow"]) == (405, "POST, OPTIONS")
    assert "takes POST" in refusal(response, path)["message"]


@pytest.mark.parametrize("path", [*BODIES, "models", "models/a/b"])
async def test_options_tell_what_is_allowed_and_head_tells_what_is_there(path: str) -> None:
    async with serving(models={"a/b": pp.LLModel("scripted", "m")}) as http:
        response = await http.options(f"/v1/{path}")
        assert (response.status_code, response.content) == (204, b"")
        assert "OPTIONS" in response.headers["allow"]
        assert (await http.head(f"/v1/{path}")).status_code == (200 if path.startswith("models") else 405)


@pytest.mark.parametrize("path", ["embeddings", "files", "batches", "chat", "responses/resp_1", "models/none"])
@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2023-06-01"}])
async def test_what_is_not_there_is_404_in_the_form_of_who_asks(path: str, headers: dict[str, str]) -> None:
    async with serving() as http:
        for method in ("GET", "POST", "DELETE") if path != "models/none" else ("GET",):
            response = await http.request(method, f"/v1/{path}", headers=headers)
            assert response.status_code == 404
            refusal(response, "messages" if headers else path)


# ------------------------------------------------------------------------------------------- encodings, sizes

PACKED: dict[str, Any] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
    "GZIP": gzip.compress,
}


@every_api
@pytest.mark.parametrize("encoding", PACKED)
async def test_a_body_may_be_packed(path: str, encoding: str) -> None:
    body = PACKED[encoding](json.dumps(BODIES[path]).encode())
    async with serving() as http:
        response = await http.post(f"/v1/{path}", content=body, headers={"content-encoding": encoding})
    assert response.status_code == 200, response.text
    assert "Hello" in response.text


async def chunks(body: bytes, size: int = 7) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@every_api
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_a_body_may_come_in_chunks(path: str, encoding: str) -> None:
    body = chunks(PACKED[encoding](json.dumps(BODIES[path]).encode()))
    async with serving() as http:
        response = await http.post(f"/v1/{path}", content=body, headers={"content-encoding": encoding})
    assert response.status_code == 200, response.text


def bodies_that_are_refused() -> Any:
    good = gzip.compress(json.dumps(BODIES["messages"]).encode())
    yield "cut", "gzip", good[:-3], 400
    yield "none", "gzip", b"", 400
    yield "not packed", "gzip", b'{"model": "m"}', 400
    yield "more behind it", "gzip", good + b"x", 400
    yield "two", "gzip", good + good, 400
    yield "another encoding", "br", good, 415
    yield "two encodings", "gzip, gzip", good, 415
    yield "a bomb", "gzip", gzip.compress(b" " * (64 << 20)), 413
    yield "large", "identity", b" " * 5000, 413
    yield "empty", "identity", b"", 400
    yield "not JSON", "identity", b"model=m", 400
    yield "deep", "identity", b"[" * 4000, 400


@every_api
@pytest.mark.parametrize("sent", list(bodies_that_are_refused()), ids=lambda one: one[0])
@pytest.mark.parametrize("whole", [True, False])
async def test_a_body_that_cannot_be_read_is_refused_in_form(
    path: str, sent: tuple[str, str, bytes, int], whole: bool
) -> None:
    _, encoding, body, status = sent
    content = body if whole else chunks(body, 1000)
    async with serving(limits=BodyLimits(max_bytes=4096)) as http:
        response = await http.post(f"/v1/{path}", content=content, headers={"content-encoding": encoding})
    assert response.status_code == status, response.text
    error = refusal(response, path)
    assert error["message"].startswith("body: ")
    if path == "messages" and status == 413:
        assert error["type"] == "request_too_large"


def test_a_bomb_is_never_unpacked_beyond_the_limit() -> None:
    bomb = gzip.compress(b" " * (8 << 20))
    reader = BodyReader(1000, encoding="gzip")
    with pytest.raises(RequestRefused, match="too large"):
        reader.feed(bomb)
    assert len(reader._body) <= 1000


async def test_a_length_that_is_too_large_is_refused_before_the_body_is_read() -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b" "

    async with serving(limits=BodyLimits(max_bytes=100)) as http:
        response = await http.post("/v1/messages", content=body(), headers={"content-length": "101"})
    assert response.status_code == 413
    for length in ("-5", "x", "", "9" * 50, "٣"):
        BodyReader(100, length=length).feed(b"{}")
