"""The client over real sockets: aiohttp and httpx, against a server that says what it is told to say."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from promptport.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ContextLengthError,
    FirstFrameTimeout,
    IdleTimeout,
    IncompleteStreamError,
    InvalidInputError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    PromptportError,
    ProtocolError,
    ProviderError,
    ProviderStreamError,
    RateLimitError,
    ServerError,
    TotalTimeout,
    TransportError,
    UnsupportedCapabilityError,
)
from promptport.frames import Append, End, FinishReason, StreamFrame
from promptport.messages import ImagePart, NamedTool, Prompt, ToolChoice
from promptport.models import LLModel
from promptport.stream import FrameStream, Timeouts
from promptport.testing import RecordedRequest, WireResponse, WireServer
from promptport.tools import ToolDescriptor
from promptport_ollama import OllamaClient

MODEL = LLModel("ollama", "qwen3:4b")
PROMPT = Prompt.of("Hi")
WEATHER = ToolDescriptor("get_weather", "The weather of a city.", {"type": "object", "properties": {}})

TEXT = (
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":"Hel"},"done":false}\n'
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":"lo"},"done":false}\n'
)
DONE = (
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",'
    b'"prompt_eval_count":3,"eval_count":2}\n'
)
CALL = (
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":"","tool_calls":'
    b'[{"id":"call_1","function":{"index":0,"name":"get_weather","arguments":{"city":"Paris"}}}]},"done":false}\n'
)
WHOLE = (
    b'{"model":"qwen3:4b","message":{"role":"assistant","content":"Hello"},"done":true,"done_reason":"stop",'
    b'"prompt_eval_count":3,"eval_count":2}'
)

Make = Callable[..., OllamaClient]


@pytest.fixture(params=["aiohttp", "httpx", "aiohttp session"])
async def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Makes clients over each library; closes them."""
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
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


def stream_of(body: bytes = TEXT + DONE, **options: Any) -> WireResponse:
    return WireResponse(body, content_type="application/x-ndjson", **options)


def url_of(listener: Any) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def frames_of(client: OllamaClient, prompt: Prompt = PROMPT, *tools: ToolDescriptor) -> list[StreamFrame]:
    async with client.execute_streaming_with_tools(prompt, MODEL, tools) as stream:
        return [frame async for frame in stream]


# ---------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("cut", ["whole", "bytes", "events", ("random", 1)])
async def test_text(make: Make, cut: Any) -> None:
    async with WireServer(stream_of(cut=cut)) as server:
        frames = await frames_of(make(server))
    assert frames[:-1] == [Append("Hel"), Append("lo")]
    assert isinstance(frames[-1], End)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/api/chat")
    assert request.headers["content-type"] == "application/json"
    assert "application/x-ndjson" in request.headers["accept"]
    assert "authorization" not in request.headers
    assert request.json() == {
        "model": "qwen3:4b",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }


async def test_a_call_and_its_result(make: Make) -> None:
    async with WireServer(stream_of(CALL + DONE), stream_of()) as server:
        client = make(server)
        async with client.execute_streaming_with_tools(PROMPT, MODEL, [WEATHER]) as stream:
            message = await stream.message()
        assert message.finish_reason is FinishReason.TOOL_CALLS
        prompt = PROMPT.add(message).tool_result("call_1", "sunny")
        await frames_of(client, prompt, WEATHER)
    assert [tool["function"]["name"] for tool in server.requests[0].json()["tools"]] == ["get_weather"]
    assistant, result = server.requests[1].json()["messages"][1:]
    assert assistant["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": {"city": "Paris"}}
    assert result == {"role": "tool", "content": "sunny", "tool_name": "get_weather", "tool_call_id": "call_1"}


async def test_execute_equals_the_stream(make: Make) -> None:
    async with WireServer(
        stream_of(), WireResponse(WHOLE, content_type="application/json", framing="length")
    ) as server:
        client = make(server)
        async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
            streamed = await stream.message()
        assert await client.execute(PROMPT, MODEL) == streamed
    assert [request.json()["stream"] for request in server.requests] == [True, False]


async def test_execute_streaming_gives_the_text(make: Make) -> None:
    async with WireServer(stream_of()) as server, make(server).execute_streaming(PROMPT, MODEL) as stream:
        assert [text async for text in stream] == ["Hel", "lo"]


async def test_gzip(make: Make) -> None:
    async with WireServer(stream_of(cut="events", gzip=True), stream_of(WHOLE, gzip=True)) as server:
        client = make(server)
        assert len(await frames_of(client)) == 3
        assert (await client.execute(PROMPT, MODEL)).text == "Hello"


async def test_a_body_that_ends_with_its_connection(make: Make) -> None:
    async with WireServer(stream_of(framing="close")) as server:
        assert len(await frames_of(make(server))) == 3


async def test_the_connection_is_used_again(make: Make) -> None:
    async with WireServer(*[stream_of(cut="events") for _ in range(5)], stream_of(WHOLE)) as server:
        client = make(server)
        for _ in range(5):
            await frames_of(client)
        await client.execute(PROMPT, MODEL)
        assert server.connections == 1


async def test_a_large_request(make: Make) -> None:
    image = ImagePart(bytes(3 << 20), media_type="image/png")
    async with WireServer(stream_of()) as server:
        await frames_of(make(server), Prompt().user("What is this?", image))
    assert len(server.requests[0].json()["messages"][0]["images"][0]) == 4 << 20


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


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (400, "invalid options: num_ctx", BadRequestError),
        (400, "the input length exceeds the context length", ContextLengthError),
        (401, "unauthorized", AuthenticationError),
        (402, "payment required", RateLimitError),
        (403, "this model needs a subscription", PermissionDeniedError),
        (404, "model 'qwen3:4b' not found", ModelNotFoundError),
        (413, "request too large", BadRequestError),
        (429, "too many requests", RateLimitError),
        (500, "llama runner process has terminated", ServerError),
        (502, "the cloud model cannot be reached", ServerError),
        (503, "server busy, please try again", OverloadedError),
    ],
)
async def test_http_errors(make: Make, status: int, words: str, kind: type[ProviderError]) -> None:
    refusal = WireResponse.json({"error": words}, status, {"Retry-After": "2", "X-Request-Id": "r1"})
    async with WireServer(refusal, refusal) as server:
        client = make(server)
        for ask in (frames_of(client), client.execute(PROMPT, MODEL)):
            with pytest.raises(ProviderError) as raised:
                await ask
            error = raised.value
            assert type(error) is kind
            assert words in str(error)
            assert (error.provider, error.model, error.status) == ("ollama", "qwen3:4b", status)
            assert (error.retry_after, error.request_id) == (2.0, "r1")


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("registry.ollama.ai/library/gemma3:4b does not support tools", "tools"),
        ('"llama3.1:8b" does not support thinking', "reasoning_effort"),
        ('think value "low" is not supported for this model', "this reasoning_effort"),
        ('"nomic-embed-text" does not support chat', "chat"),
    ],
)
async def test_what_the_model_lacks(make: Make, words: str, missing: str) -> None:
    refusal = WireResponse.json({"error": words}, 400)
    async with WireServer(refusal, refusal) as server:
        client = make(server)
        for ask in (frames_of(client), client.execute(PROMPT, MODEL)):
            with pytest.raises(UnsupportedCapabilityError) as raised:
                await ask
            assert raised.value.missing == (missing,)
            assert raised.value.instead
            assert isinstance(raised.value.__cause__, BadRequestError)


async def test_other_statuses_that_are_no_success(make: Make) -> None:
    async with WireServer(WireResponse(b"", status=300)) as server:
        with pytest.raises(ProviderError) as raised:
            await frames_of(make(server))
    assert raised.value.status == 300


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (stream_of(TEXT + b'{"error":"the model crashed"}\n'), ProviderStreamError),
        (WireResponse.json({"error": "no"}), ProviderStreamError),
        (WireResponse(b"<!DOCTYPE html><title>Hello</title>", content_type="text/html"), ProtocolError),
        (stream_of(TEXT + b"nonsense\n" + DONE), ProtocolError),
        (stream_of(TEXT), IncompleteStreamError),
        (stream_of(TEXT, framing="close"), IncompleteStreamError),
        (stream_of(b""), IncompleteStreamError),
        (stream_of(end_after=len(TEXT) + 20), IncompleteStreamError),
        (stream_of(drop_after=len(TEXT)), IncompleteStreamError),
        (stream_of(drop_after=len(TEXT), framing="length"), IncompleteStreamError),
        (stream_of(cut="events", pace=0, reset_after=len(TEXT)), IncompleteStreamError),
        (stream_of(cut="events", gzip=True, drop_after=len(TEXT)), IncompleteStreamError),
        (stream_of(TEXT, headers={"Content-Encoding": "gzip"}), ProtocolError),
    ],
)
async def test_streams_that_go_wrong(make: Make, response: WireResponse, kind: type[PromptportError]) -> None:
    frames: list[StreamFrame] = []

    async def read(client: OllamaClient) -> None:
        async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
            async for frame in stream:
                frames.append(frame)

    async with WireServer(response) as server:
        with pytest.raises(PromptportError) as raised:
            await read(make(server))
    assert type(raised.value) is kind
    partial = getattr(raised.value, "partial", None)
    assert partial is not None
    assert partial.text == "".join([frame.text for frame in frames if isinstance(frame, Append)])


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


async def test_keys_are_sent_and_shown_to_nobody(make: Make) -> None:
    def quote(request: RecordedRequest) -> WireResponse:
        return WireResponse.json({"error": f"not allowed: {request.headers['authorization']}"}, 401)

    async with WireServer() as server:
        server.answer(quote)
        client = make(server, api_key="very-secret-key", headers={"X-Team": "a"})
        with pytest.raises(AuthenticationError) as raised:
            await frames_of(client)
    assert server.requests[0].headers["authorization"] == "Bearer very-secret-key"
    assert server.requests[0].headers["x-team"] == "a"
    assert "very-secret-key" not in f"{raised.value!r} {raised.value} {client!r}"


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


# --------------------------------------------------------------------------------------- before the request


async def test_what_ollama_does_not_have_is_said_at_once(make: Make) -> None:
    async with WireServer() as server:
        client = make(server)
        for params in (
            {"tool_choice": ToolChoice.REQUIRED},
            {"tool_choice": NamedTool("get_weather")},
            {"parallel_tool_calls": False},
            {"reasoning_budget": 100},
            {"user": "ann"},
        ):
            with pytest.raises(UnsupportedCapabilityError):
                client.execute_streaming_with_tools(PROMPT.with_params(**params), MODEL, [WEATHER])
    assert not server.requests


async def test_calls_can_be_forbidden(make: Make) -> None:
    async with WireServer(stream_of()) as server:
        await frames_of(make(server), Prompt.of("Hi", tool_choice=ToolChoice.NONE), WEATHER)
    assert "tools" not in server.requests[0].json()


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt.of("a lone surrogate: \ud83d"),
        Prompt.of("Hi", extra={"keep_alive": object()}),
        Prompt.of("Hi", response_schema={"default": {1, 2j}}),
    ],
)
async def test_what_json_cannot_hold_is_said_at_once(make: Make, prompt: Prompt) -> None:
    async with WireServer() as server:
        with pytest.raises(InvalidInputError, match="JSON") as raised:
            make(server).execute_streaming_with_tools(prompt, MODEL)
    assert raised.value.__suppress_context__


# ------------------------------------------------------------------------------------------------- set-up


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("OLLAMA_API_KEY", "OLLAMA_HOST", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


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
