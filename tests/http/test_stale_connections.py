"""A request that a server may have read is sent once, by any of the clients; a kept connection that the server closed
meanwhile costs nothing."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

import promptport_anthropic
import promptport_ollama
import promptport_openai
from promptport.errors import TransportError
from promptport.llm_client import LLMClient
from promptport.messages import Prompt
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools

WIRES = Path(__file__).parents[1] / "wires"
Make = Callable[..., LLMClient]
CLIENTS: dict[str, tuple[Make, str, str]] = {
    "openai-chat": (lambda url, **o: promptport_openai.chat_client(base_url=url, **o), "openai-chat", "sse"),
    "openai": (lambda url, **o: promptport_openai.responses_client(base_url=url, **o), "openai-responses", "sse"),
    "anthropic": (lambda url, **o: promptport_anthropic.client(base_url=url, **o), "anthropic", "sse"),
    "ollama": (lambda url, **o: promptport_ollama.client(base_url=url, **o), "ollama-chat", "ndjson"),
}


class Server:
    """Answers so many requests of each connection; then it closes or resets: idle, or when the next one was read."""

    def __init__(self, body: bytes, answers: int, then: Literal["idle", "read", "reset"]) -> None:
        self.url = ""
        self.connections = 0
        self.requests = 0
        self.closed = asyncio.Event()
        self._body = body
        self._answers = answers
        self._then = then

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            for _ in range(self._answers):
                await self._request(reader)
                head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
                writer.write(head % len(self._body) + self._body)
            if self._then != "idle":
                await self._request(reader)
        except asyncio.IncompleteReadError:
            pass
        if self._then == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        self.closed.set()

    async def _request(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0))
        self.requests += 1


@asynccontextmanager
async def serving(name: str, answers: int, then: Any) -> AsyncIterator[Server]:
    _, protocol, kind = CLIENTS[name]
    server = Server((WIRES / protocol / f"text.{kind}").read_bytes(), answers, then)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener:
        yield server


def asked(client: LLMClient, name: str, *, stream: bool) -> Any:
    model = LLModel(name, "m", ModelCapabilities.of(StreamedTools.DELTAS, Capability))
    prompt = Prompt.of("Hi")
    return client.execute_streaming_with_tools(prompt, model).message() if stream else client.execute(prompt, model)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("http_client", [None, httpx.AsyncClient], ids=["ours", "httpx"])
@pytest.mark.parametrize("then", ["read", "reset"])
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_request_that_was_read_is_never_sent_again(
    name: str, then: str, http_client: Any, stream: bool
) -> None:
    for answers in (0, 1):  # a fresh connection, a reused one
        async with serving(name, answers, then) as server:
            given = http_client() if http_client else None
            client = CLIENTS[name][0](server.url, http_client=given)
            if answers:
                await asked(client, name, stream=True)
            with pytest.raises(TransportError):
                await asked(client, name, stream=stream)
            await client.aclose()
            if given is not None:
                await given.aclose()
        assert (server.requests, server.connections) == (answers + 1, 1)


@pytest.mark.parametrize("name", CLIENTS)
async def test_models_are_not_asked_for_again(name: str) -> None:
    async with serving(name, 0, "read") as server:
        client = CLIENTS[name][0](server.url)
        with pytest.raises(TransportError):
            await client.models()
        await client.aclose()
    assert server.connections == 1


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_kept_connection_that_the_server_closed_gives_way_to_another(name: str) -> None:
    async with serving(name, 1, "idle") as server:
        client = CLIENTS[name][0](server.url)
        texts = []
        for _ in range(3):
            server.closed.clear()
            texts.append((await asked(client, name, stream=True)).text)
            await server.closed.wait()
        await client.aclose()
    assert len(set(texts)) == 1
    assert texts[0]
    assert (server.connections, server.requests) == (3, 3), "each was asked for once"
