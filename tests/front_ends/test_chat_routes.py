"""The routes of a chat without a client of npm: what is refused, with which words, and what a disconnect does."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from tests.front_ends.chat_server import ChatServer
from tests.front_ends.chunks import chunks_of

import promptport as pp
from promptport.front_ends import UI_MESSAGE_HEADERS, BodyLimits, approval_id
from promptport.front_ends.starlette import ChatTurn, chat_routes
from promptport.run_log import MemoryRunLog
from promptport.testing import ScriptedExecutor

USER = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}


def client_of(routes: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=routes)), base_url="http://test")


async def choose(request: Request, chat: Any) -> ChatTurn:
    return ChatTurn(pp.ToolDispatcher(ScriptedExecutor(["Hello"])), "scripted/m")


async def test_a_response_has_the_headers_that_keep_it_flowing() -> None:
    log = MemoryRunLog()
    async with client_of(chat_routes(choose, log=log)) as client:
        response = await client.post("/chat", json={"id": "c", "messages": [USER]})
        assert response.status_code == 200
        assert {name: response.headers[name] for name in UI_MESSAGE_HEADERS} == UI_MESSAGE_HEADERS
        assert chunks_of(response.content)[-1] == "[DONE]"
        assert (await client.get("/chat/c/stream")).status_code == 204
        assert (await client.post("/chat/c/stop")).json() == {"stopped": False}
    await log.aclose()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "JSON"),
        (b'{"id": "c", "messages": []}', 400, "body: has no message"),
        (b'{"id": "c", "messages": "' + b"x" * 2000 + b'"}', 400, "body: is too large"),
        (json.dumps({"id": "x" * 201, "messages": [USER]}).encode(), 400, "body.id"),
    ],
)
async def test_a_bad_request_is_refused_with_a_sentence(body: bytes, status: int, words: str) -> None:
    log = MemoryRunLog()
    async with client_of(chat_routes(choose, log=log, limits=BodyLimits(max_bytes=1000))) as client:
        response = await client.post("/chat", content=body)
        assert (response.status_code, words in response.text) == (status, True), response.text
    await log.aclose()


async def test_whoever_is_not_allowed_gets_nothing() -> None:
    def authorize(request: Request, thread: str) -> None:
        if request.headers.get("authorization") != f"for {thread}":
            raise HTTPException(403, "no")

    log = MemoryRunLog()
    async with client_of(chat_routes(choose, log=log, authorize=authorize)) as client:
        assert (await client.post("/chat", json={"id": "c", "messages": [USER]})).status_code == 403
        assert (await client.get("/chat/c/stream")).status_code == 403
        assert (await client.post("/chat/c/stop")).status_code == 403
        allowed = {"authorization": "for c"}
        assert (await client.post("/chat", json={"id": "c", "messages": [USER]}, headers=allowed)).status_code == 200
    await log.aclose()


def answer(asked: dict[str, Any], approval: str, **more: Any) -> dict[str, Any]:
    part = {
        "type": "tool-book",
        "toolCallId": "c1",
        "state": "approval-responded",
        "input": {"seats": 999},
        "approval": {"id": approval, "approved": True},
    }
    return {**asked, "messages": [USER, {"id": "a", "role": "assistant", "parts": [part]}], **more}


async def test_an_approval_of_another_run_decides_nothing() -> None:
    server = ChatServer()
    async with client_of(chat_routes(server.choose, log=server.log)) as client:
        asked = {"id": "approve-1", "scenario": "approve", "messages": [USER]}
        chunks = chunks_of((await client.post("/chat", json=asked)).content)
        request = next(chunk for chunk in chunks if chunk["type"] == "tool-approval-request")
        assert (await client.post("/chat", json=answer(asked, approval_id("run-of-mine", "c1")))).status_code == 400
        assert not server.booked
        told = chunks_of((await client.post("/chat", json=answer(asked, request["approvalId"]))).content)
        assert told[0]["messageId"] == chunks[0]["messageId"]
        assert server.booked["approve-1"] == [2]
    await server.log.aclose()


async def test_a_client_that_leaves_ends_nothing_and_reads_again() -> None:
    server = ChatServer()
    async with server.running(), httpx.AsyncClient(base_url=server.url) as client:
        body = {"id": "resume-1", "scenario": "resume", "messages": [USER]}
        async with client.stream("POST", "/chat", json=body) as response:
            async for data in response.aiter_bytes():
                if b"half" in data:
                    break
        async with client.stream("GET", "/chat/resume-1/stream") as again:
            server.gates["resume-1"].set()
            chunks = chunks_of(await again.aread())
    assert "".join([one["delta"] for one in chunks[:-1] if one["type"] == "text-delta"]) == "first half, second half"
    assert [chunk["type"] for chunk in chunks[:-1]][-1] == "finish"


async def test_one_decision_posted_twice_at_once_books_once() -> None:
    server = ChatServer()
    async with client_of(chat_routes(server.choose, log=server.log)) as client:
        asked = {"id": "approve-2", "scenario": "approve", "messages": [USER]}
        chunks = chunks_of((await client.post("/chat", json=asked)).content)
        request = next(chunk for chunk in chunks if chunk["type"] == "tool-approval-request")
        body = answer(asked, request["approvalId"])
        both = await asyncio.gather(client.post("/chat", json=body), client.post("/chat", json=body))
        assert 200 in [one.status_code for one in both]
        assert server.booked["approve-2"] == [2]
    await server.log.aclose()


@pytest.mark.parametrize("scenario", ["text", "approve", "provider_error"])
async def test_the_last_run_can_be_read_after_its_end_by_who_asks_for_that(scenario: str) -> None:
    server = ChatServer()
    async with client_of(chat_routes(server.choose, log=server.log)) as client:
        asked = {"id": "c", "scenario": scenario, "messages": [USER]}
        whole = (await client.post("/chat", json=asked)).content
        assert (await client.get("/chat/c/stream")).status_code == 204
        assert (await client.get("/chat/c/stream?last=true")).content == whole
        assert (await client.get("/chat/another/stream?last=true")).status_code == 204
        assert (await client.get("/agui/c/stream?last=true")).text.startswith('data: {"type":"RUN_STARTED"')
        await server.log.aclose()  # which forgets its runs
        assert (await client.get("/chat/c/stream?last=true")).status_code == 204


async def test_a_run_that_was_stopped_before_its_first_frame_is_read_as_stopped() -> None:
    server = ChatServer()
    asked = asyncio.Event()

    def never(request: Any) -> list[Any]:
        asked.set()
        return [asyncio.Event(), "never"]

    async def wait(request: Request, chat: Any) -> ChatTurn:
        return ChatTurn(pp.ToolDispatcher(ScriptedExecutor(never)), "scripted/m")

    async with client_of(chat_routes(wait, log=server.log)) as client:
        posting = asyncio.create_task(client.post("/chat", json={"id": "c", "messages": [USER]}))
        await asked.wait()
        assert (await client.post("/chat/c/stop")).json() == {"stopped": True}
        whole = (await posting).content
        assert chunks_of(whole)[-2]["type"] == "abort"
        assert (await client.get("/chat/c/stream?last=true")).content == whole
    await server.log.aclose()


async def test_a_decision_that_two_requests_read_at_once_is_taken_once_even_by_two_dispatchers() -> None:
    server = ChatServer()
    both = asyncio.Barrier(2)

    async def slow(request: Request, chat: Any) -> ChatTurn:
        turn = await server.choose(request, chat)  # with a dispatcher of its own, which knows of no other
        if chat.decisions:
            await both.wait()
        return turn

    async with client_of(chat_routes(slow, log=server.log)) as client:
        asked = {"id": "approve-3", "scenario": "approve", "messages": [USER]}
        chunks = chunks_of((await client.post("/chat", json=asked)).content)
        request = next(chunk for chunk in chunks if chunk["type"] == "tool-approval-request")
        body = answer(asked, request["approvalId"])
        told = await asyncio.gather(client.post("/chat", json=body), client.post("/chat", json=body))
        assert {one.status_code for one in told} <= {200, 409}
        assert server.booked["approve-3"] == [2]
        later = await client.post("/chat", json=body)
        assert later.status_code == 200
        assert b"Done" in later.content
        assert server.booked["approve-3"] == [2]
    await server.log.aclose()


class Unreachable(MemoryRunLog):
    """A log that knows the runs of its own process, and cannot say which run a thread has."""

    def __init__(self) -> None:
        super().__init__()
        self._inner = MemoryRunLog()
        self.start = self._inner.start  # type: ignore[method-assign]
        self.read = self._inner.read  # type: ignore[method-assign]
        self.stop = self._inner.stop  # type: ignore[method-assign]

    async def active(self, thread: str) -> str | None:
        raise pp.ConfigurationError("Redis cannot be reached")

    async def aclose(self) -> None:
        await self._inner.aclose()


class Away:
    """A store that cannot be reached."""

    async def get(self, thread: str) -> bytes | None:
        raise pp.ConfigurationError("Redis cannot be reached")

    async def put(self, thread: str, kept: bytes) -> None:
        raise pp.ConfigurationError("Redis cannot be reached")


async def test_where_log_and_store_are_away_a_message_is_answered_and_a_decision_is_not_taken() -> None:
    server = ChatServer()
    log, away = Unreachable(), Away()
    async with client_of(chat_routes(server.choose, log=log, threads=away)) as client:
        response = await client.post("/chat", json={"id": "c", "messages": [USER]})
        assert chunks_of(response.content)[-1] == "[DONE]"
        assert b"Hello" in response.content
        asked = {"id": "approve-4", "scenario": "approve", "messages": [USER]}
        request = next(
            chunk
            for chunk in chunks_of((await client.post("/chat", json=asked)).content)
            if chunk["type"] == "tool-approval-request"
        )
        refused = await client.post("/chat", json=answer(asked, request["approvalId"]))
        assert (refused.status_code, "Try again later" in refused.text) == (503, True)
        assert not server.booked
        for told in (await client.get("/chat/c/stream"), await client.post("/chat/c/stop")):
            assert (told.status_code, "Try again later" in told.text) == (503, True)
    await log.aclose()


@pytest.mark.parametrize(
    "thread", ["a b", "chats/7", "user@example.com?x=1#y", "gespräch", "x" * 200, "a:b.c-d_e", "thread-1"]
)
async def test_a_conversation_has_any_id(thread: str) -> None:
    server = ChatServer()
    async with server.running(), httpx.AsyncClient(base_url=server.url) as client:
        place = f"/chat/{quote(thread, safe='')}"
        body = {"id": thread, "scenario": "stop", "messages": [USER]}
        async with client.stream("POST", "/chat", json=body) as response:
            assert response.status_code == 200
            async for data in response.aiter_bytes():
                if b"half" in data:
                    break
            assert (await client.post("/chat", json=body)).status_code == 409
            async with client.stream("GET", f"{place}/stream") as again:
                assert again.status_code == 200
                assert (await client.post(f"{place}/stop")).json() == {"stopped": True}
                assert chunks_of(await again.aread())[-2]["type"] == "abort"


async def test_no_id_leads_to_another_conversation() -> None:
    server = ChatServer()
    made = f"thread-{hashlib.sha256(b'a b').hexdigest()}"
    async with server.running(), httpx.AsyncClient(base_url=server.url) as client:
        body = {"id": "a b", "scenario": "stop", "messages": [USER]}
        async with client.stream("POST", "/chat", json=body) as response:
            await anext(response.aiter_bytes())
            assert (await client.get(f"/chat/{made}/stream")).status_code == 204
            assert (await client.post(f"/chat/{made}/stop")).json() == {"stopped": False}
            assert (await client.post("/chat/a%20b/stop")).json() == {"stopped": True}
