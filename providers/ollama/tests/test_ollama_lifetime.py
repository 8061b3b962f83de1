"""Connections of the client: used again, broken, timed, closed."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import aiohttp
import httpx
import pytest

from promptport.errors import (
    ConfigurationError,
    FirstFrameTimeout,
    IdleTimeout,
    IncompleteStreamError,
    InvalidInputError,
    TotalTimeout,
    TransportError,
)
from promptport.frames import Append, StreamFrame
from promptport.messages import Prompt
from promptport.models import LLModel
from promptport.stream import FrameStream, Timeouts
from promptport.testing import RecordedRequest, WireResponse, WireServer
from promptport_ollama import OllamaClient

MODEL = LLModel("ollama", "qwen3:4b")
PROMPT = Prompt.of("Hi")
Make: TypeAlias = Callable[..., OllamaClient]

TEXT = (
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":"Hel"},"done":false}\n'
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":"lo"},"done":false}\n'
)
DONE = (
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",'
    b'"prompt_eval_count":3,"eval_count":2}\n'
)
WHOLE = (
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":"Hello"},"done":true,"done_reason":"stop",'
    b'"prompt_eval_count":3,"eval_count":2}'
)


def stream_of(body: bytes = TEXT + DONE, **options: Any) -> WireResponse:
    return WireResponse(body, content_type="application/x-ndjson", **options)


def url_of(listener: Any) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def frames_of(client: OllamaClient, prompt: Prompt = PROMPT) -> list[StreamFrame]:
    async with client.execute_streaming_with_tools(prompt, MODEL) as stream:
        return [frame async for frame in stream]


async def test_the_connection_is_used_again(make: Make) -> None:
    async with WireServer(*[stream_of(cut="events") for _ in range(5)], stream_of(WHOLE)) as server:
        client = make(server)
        for _ in range(5):
            await frames_of(client)
        await client.execute(PROMPT, MODEL)
        assert server.connections == 1


async def test_200_streams_at_once_do_not_queue(make: Make) -> None:
    everybody = asyncio.Event()

    async def answer(request: RecordedRequest) -> WireResponse:
        if len(server.requests) == 200:
            everybody.set()
        await everybody.wait()
        word = request.json()["messages"][0]["content"]
        return stream_of(json.dumps({"message": {"content": word}}).encode() + b"\n" + DONE, cut="events", pace=0)

    async with WireServer() as server:
        server.answer(answer)
        client = make(server)
        answers = await asyncio.gather(*[frames_of(client, Prompt.of(f"word {number}")) for number in range(200)])
    assert [frames[0] for frames in answers] == [Append(f"word {number}") for number in range(200)]


async def test_a_limit_on_connections_makes_requests_wait() -> None:
    async with WireServer() as server, OllamaClient(base_url=server.url, max_connections=2) as client:
        server.answer(lambda _: stream_of(cut="events", pace=0))
        await asyncio.gather(*[frames_of(client) for _ in range(8)])
        assert server.connections == 2


@pytest.mark.parametrize("reset", [True, False])
async def test_a_connection_that_breaks_before_the_answer(make: Make, reset: bool) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reset:
            writer.transport.abort()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listener:
        server = WireServer()
        server.url = url_of(listener.sockets[0])
        client = make(server)
        for ask in (frames_of(client), client.execute(PROMPT, MODEL)):
            with pytest.raises(TransportError) as raised:
                await ask
            assert raised.value.__cause__ is not None


async def test_chunks_that_are_malformed(make: Make) -> None:
    read = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(TEXT), TEXT))
        await read.wait()
        writer.write(b"no number\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        server = WireServer()
        server.url = url_of(listener.sockets[0])
        async with make(server).execute_streaming_with_tools(PROMPT, MODEL) as stream:
            assert await anext(stream) == Append("Hel")
            read.set()
            async with asyncio.timeout(5):
                with pytest.raises(IncompleteStreamError) as raised:
                    await stream.message()
    assert raised.value.partial is not None
    assert raised.value.partial.text == "Hello"


async def test_a_connection_that_breaks_in_the_pool_is_not_reported(make: Make) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    begun, idle, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(TEXT + DONE) + TEXT)
        await begun.wait()
        writer.write(DONE)
        if not idle.is_set():
            await idle.wait()
            linger = struct.pack("ii", 1, 0)  # on, for 0 s: the kernel closes with RST
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        closed.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        server = WireServer()
        server.url = url_of(listener.sockets[0])
        client = make(server)
        async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
            await anext(stream)
            begun.set()
            await stream.message()
        idle.set()
        await closed.wait()
        for _ in range(10):  # turns of the event loop, for the client to see it
            await asyncio.sleep(0)
        async with client.execute_streaming_with_tools(PROMPT, MODEL) as another:
            await anext(another)
            await another.message()
    gc.collect()
    assert not reports


async def test_nobody_listens(make: Make) -> None:
    server = WireServer()
    server.url = "http://127.0.0.1:9"
    client = make(server)
    for ask in (frames_of(client), client.execute(PROMPT, MODEL), client.models(), client.discover(MODEL)):
        with pytest.raises(TransportError, match="is the server running"):
            await ask


# ------------------------------------------------------------------------------------------ time and closing


async def test_the_first_frame_clock(make: Make) -> None:
    async with WireServer(stream_of(stall_after=0)) as server:
        with pytest.raises(FirstFrameTimeout):
            await frames_of(make(server, timeouts=Timeouts(first_frame=0.05)))
        await server.client_closed()


async def test_the_idle_clock(make: Make) -> None:
    async with WireServer(stream_of(stall_after=len(TEXT))) as server:
        with pytest.raises(IdleTimeout) as raised:
            await frames_of(make(server, timeouts=Timeouts(idle=0.05)))
        assert raised.value.partial is not None
        assert raised.value.partial.text == "Hello"
        await server.client_closed()


async def test_the_total_clock(make: Make) -> None:
    async with WireServer(stream_of(TEXT * 500 + DONE, cut="events", pace=0.005)) as server:
        with pytest.raises(TotalTimeout):
            await frames_of(make(server, timeouts=Timeouts(total=0.1)))
        await server.client_closed()


async def test_the_clocks_of_an_answer_that_does_not_stream(make: Make) -> None:
    async with WireServer(stream_of(WHOLE, stall_after=5)) as server:
        with pytest.raises(TotalTimeout):
            await make(server, timeouts=Timeouts(first_frame=0.05)).execute(PROMPT, MODEL)
        await server.client_closed()


@pytest.mark.skipif(sys.platform != "linux", reason="a full backlog drops connections on Linux only")
async def test_the_connect_clock(make: Make) -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):  # the backlog is full: the next handshake is not answered
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        server = WireServer()
        server.url = url_of(listener)
        with pytest.raises(TransportError, match="connect"):
            await frames_of(make(server, timeouts=Timeouts(connect=0.05, first_frame=5)))


async def fail_at_the_first_frame(stream: FrameStream) -> None:
    async with stream:
        async for _ in stream:
            raise LookupError


@pytest.mark.parametrize("way", ["break", "aclose", "exception", "cancel", "client"])
async def test_the_server_sees_the_close(make: Make, way: str) -> None:
    async with WireServer(stream_of(stall_after=len(TEXT))) as server:
        client = make(server)
        stream = client.execute_streaming_with_tools(PROMPT, MODEL)
        if way == "break":
            async with stream:
                async for _ in stream:
                    break
        elif way == "aclose":
            await anext(stream)
            await stream.aclose()
        elif way == "exception":
            with pytest.raises(LookupError):
                await fail_at_the_first_frame(stream)
        elif way == "client":
            await anext(stream)
            await client.aclose()
        else:
            task = asyncio.create_task(stream.message())
            await server.requested()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await server.client_closed(timeout=1)


async def test_cancelling_a_request_that_waits_closes_it(make: Make) -> None:
    async def never(_: RecordedRequest) -> WireResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with WireServer() as server:
        server.answer(never)
        client = make(server)
        for number, ask in enumerate((frames_of(client), client.execute(PROMPT, MODEL), client.models())):
            task = asyncio.create_task(ask)
            await server.requested(number + 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.client_closed(number + 1, timeout=1)


async def test_nothing_is_asked_of_a_closed_client(make: Make) -> None:
    async with WireServer() as server:
        client = make(server)
        await client.aclose()
        await client.aclose()
        with pytest.raises(InvalidInputError, match="closed"):
            client.execute_streaming_with_tools(PROMPT, MODEL)
        with pytest.raises(InvalidInputError, match="closed"):
            await client.models()


async def test_a_http_client_of_the_callers_stays_open_and_its_closing_is_told() -> None:
    async with WireServer(stream_of(), stream_of()) as server:
        async with aiohttp.ClientSession() as session:
            async with OllamaClient(base_url=server.url, http_client=session) as client:
                await frames_of(client)
            assert not session.closed
        async with OllamaClient(base_url=server.url, http_client=session) as client:
            with pytest.raises(ConfigurationError, match="closed"):
                await frames_of(client)
        async with httpx.AsyncClient(trust_env=False) as http_client:
            async with OllamaClient(base_url=server.url, http_client=http_client) as client:
                await frames_of(client)
            assert not http_client.is_closed


def test_a_client_belongs_to_one_event_loop() -> None:
    client = OllamaClient(base_url="http://127.0.0.1:9")
    with pytest.raises(TransportError):
        asyncio.run(client.execute(PROMPT, MODEL))
    with pytest.raises(InvalidInputError, match="event loop"):
        asyncio.run(client.execute(PROMPT, MODEL))
    asyncio.run(client.aclose())
