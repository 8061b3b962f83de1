"""The client over real sockets: aiohttp and httpx, against a server that says what it is told to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from promptport.errors import (
    AuthenticationError,
    BadRequestError,
    ContextLengthError,
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
    UnsupportedCapabilityError,
)
from promptport.frames import Append, End, FinishReason, StreamFrame
from promptport.messages import ImagePart, NamedTool, Prompt, ToolChoice
from promptport.models import LLModel
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

Make: TypeAlias = Callable[..., OllamaClient]


def stream_of(body: bytes = TEXT + DONE, **options: Any) -> WireResponse:
    return WireResponse(body, content_type="application/x-ndjson", **options)


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


async def test_a_large_request(make: Make) -> None:
    image = ImagePart(bytes(3 << 20), media_type="image/png")
    async with WireServer(stream_of()) as server:
        await frames_of(make(server), Prompt().user("What is this?", image))
    assert len(server.requests[0].json()["messages"][0]["images"][0]) == 4 << 20


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
