"""A kept connection that the server has just closed costs no answer, for any of the clients.

llama.cpp's server does this after every stream, and any proxy may.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import promptport_anthropic
import promptport_ollama
import promptport_openai
from promptport.errors import TransportError
from promptport.llm_client import LLMClient
from promptport.messages import Prompt
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools

WIRES = Path(__file__).parents[1] / "wires"
CLIENTS: dict[str, tuple[Callable[[str], LLMClient], str, str]] = {
    "openai-chat": (lambda url: promptport_openai.chat_client(base_url=url, api_key="k"), "openai-chat", "sse"),
    "openai": (lambda url: promptport_openai.responses_client(base_url=url, api_key="k"), "openai-responses", "sse"),
    "anthropic": (lambda url: promptport_anthropic.client(base_url=url, api_key="k"), "anthropic", "sse"),
    "ollama": (lambda url: promptport_ollama.client(base_url=url), "ollama-chat", "ndjson"),
}


class Server:
    """Answers the first request of each connection, and closes the connection when a second one comes."""

    def __init__(self, body: bytes, answers: int) -> None:
        self.url = ""
        self.connections = 0
        self.requests = 0
        self._body = body
        self._answers = answers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._request(reader)
            if self.connections <= self._answers:
                head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
                writer.write(head % len(self._body) + self._body)
                await self._request(reader)
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        self.requests += 1
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener:
        yield server


@pytest.mark.parametrize("name", CLIENTS)
async def test_the_request_is_sent_again_on_another_connection(name: str) -> None:
    make, protocol, kind = CLIENTS[name]
    model = LLModel(name, "m", ModelCapabilities.of(StreamedTools.DELTAS, Capability))
    async with serving(Server((WIRES / protocol / f"text.{kind}").read_bytes(), answers=3)) as server:
        client = make(server.url)
        texts = [(await client.execute_streaming_with_tools(Prompt.of("Hi"), model).message()).text for _ in range(3)]
        await client.aclose()
    assert len(set(texts)) == 1
    assert texts[0]
    assert (server.connections, server.requests) == (3, 5), "each of the later two was asked for twice"


@pytest.mark.parametrize("name", CLIENTS)
async def test_it_is_sent_again_once_and_never_on_a_first_connection(name: str) -> None:
    make, protocol, kind = CLIENTS[name]
    model = LLModel(name, "m", ModelCapabilities.of(StreamedTools.DELTAS, Capability))
    for answers, connections in ((0, 1), (1, 2)):
        async with serving(Server((WIRES / protocol / f"text.{kind}").read_bytes(), answers=answers)) as server:
            client = make(server.url)
            for _ in range(answers):
                await client.execute_streaming_with_tools(Prompt.of("Hi"), model).message()
            with pytest.raises(TransportError):
                await client.execute_streaming_with_tools(Prompt.of("Hi"), model).message()
            await client.aclose()
        assert server.connections == connections
