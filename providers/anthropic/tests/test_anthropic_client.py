"""The client, against a scripted server on the loopback interface."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

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
from promptport.frames import Append, End, FinishReason, ToolCall
from promptport.messages import Prompt, ToolChoice
from promptport.models import Capability, LLModel
from promptport.registry import client as named_client
from promptport.stream import Timeouts
from promptport.testing import RecordedRequest, WireResponse, WireServer
from promptport.tools import ToolDescriptor
from promptport_anthropic import client as make
from promptport_anthropic._client import AnthropicClient

KEY = "sk-ant-secret-0123"
MODEL = LLModel("anthropic", "claude-haiku-4-5")
PROMPT = Prompt.of("hi", max_tokens=9)
WEATHER = ToolDescriptor("weather", "Current weather.")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as server:
        yield server


@pytest.fixture
async def client(server: WireServer) -> AsyncIterator[AnthropicClient]:
    async with AnthropicClient(api_key=KEY, base_url=server.url) as client:
        yield client


def stream_of(wire: Any, *texts: str) -> bytes:
    body: bytes = wire.start() + wire.text(0, *texts) + wire.end()
    return body


# --------------------------------------------------------------------------------------------- requests


async def test_text(client: AnthropicClient, server: WireServer, wire: Any) -> None:
    server.queue(WireResponse(stream_of(wire, "Hel", "lo"), cut="events", pace=0))
    async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
        frames = [frame async for frame in stream]
    assert [frame.text for frame in frames if isinstance(frame, Append)] == ["Hel", "lo"]
    assert isinstance(frames[-1], End)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert request.json() == {
        "model": "claude-haiku-4-5",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": True,
    }
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert "anthropic-beta" not in request.headers
    assert [text async for text in _text_of(client, server, wire)] == ["a", "b"]


def _text_of(client: AnthropicClient, server: WireServer, wire: Any) -> AsyncIterator[str]:
    server.queue(WireResponse(stream_of(wire, "a", "b")))
    return client.execute_streaming(PROMPT, MODEL)


async def test_two_requests_share_a_connection(client: AnthropicClient, server: WireServer, wire: Any) -> None:
    for _ in range(2):
        server.queue(WireResponse(stream_of(wire, "a"), cut=("random", 1)))
        assert (await client.execute_streaming_with_tools(PROMPT, MODEL).message()).text == "a"
    assert server.connections == 1


async def test_calls_and_their_results(client: AnthropicClient, server: WireServer, wire: Any) -> None:
    first = (
        wire.start()
        + wire.thinking(0, "hm")
        + wire.tool(1, "toolu_1", "weather", '{"city"', ': "Paris"}')
        + wire.tool(2, "toolu_2", "weather", "")
        + wire.end("tool_use")
    )
    server.queue(WireResponse(first, cut="bytes"), WireResponse(stream_of(wire, "sunny")))
    message = await client.execute_streaming_with_tools(PROMPT, MODEL, [WEATHER]).message()
    assert message.tool_calls == (
        ToolCall("toolu_1", "weather", '{"city": "Paris"}'),
        ToolCall("toolu_2", "weather", "{}"),
    )
    prompt = PROMPT.add(message).tool_result("toolu_1", "20 °C").tool_result("toolu_2", error="where?")
    answer = await client.execute_streaming_with_tools(prompt, MODEL, [WEATHER]).message()
    assert (answer.text, answer.finish_reason) == ("sunny", FinishReason.STOP)
    sent = server.requests[1].json()["messages"]
    assert sent[1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "sig"}
    assert [block["type"] for block in sent[1]["content"]] == ["thinking", "tool_use", "tool_use"]
    assert sent[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "20 °C"},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "where?", "is_error": True},
    ]


async def test_execute(client: AnthropicClient, server: WireServer) -> None:
    content = [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "weather", "input": {"n": 1}}]
    usage = {"input_tokens": 1, "output_tokens": 2}
    body = {"id": "msg_1", "model": "m", "content": content, "stop_reason": "tool_use", "usage": usage}
    server.queue(WireResponse.json(body))
    message = await client.execute(PROMPT, MODEL, [WEATHER])
    assert message.text == "a"
    assert message.tool_calls == (ToolCall("t", "weather", '{"n": 1}'),)
    assert "stream" not in server.requests[0].json()


async def test_options_of_the_request(server: WireServer, wire: Any) -> None:
    server.queue(WireResponse(stream_of(wire, "a")))
    options: dict[str, Any] = {"betas": ["one", "two"], "api_version": "2023-06-01", "eager_input_streaming": True}
    headers = {"x-mine": "yes"}
    async with AnthropicClient(auth_token="tok", base_url=server.url, default_headers=headers, **options) as client:
        prompt = PROMPT.with_params(temperature=0.5, extra={"betas": ["two", "three"], "service_tier": "auto"})
        await client.execute_streaming_with_tools(prompt, MODEL, [WEATHER]).message()
    (request,) = server.requests
    assert request.headers["anthropic-beta"] == "one,two,three"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.headers["authorization"] == "Bearer tok"
    assert request.headers["x-mine"] == "yes"
    body = request.json()
    assert "betas" not in body
    assert (body["service_tier"], body["temperature"]) == ("auto", 0.5)
    assert body["tools"][0]["eager_input_streaming"] is True


async def test_a_request_that_is_no_json(client: AnthropicClient) -> None:
    prompt = PROMPT.with_params(extra={"container": object()})
    with pytest.raises(InvalidInputError):
        await client.execute_streaming_with_tools(prompt, MODEL).message()


async def test_models(client: AnthropicClient, server: WireServer) -> None:
    def page(request: RecordedRequest) -> WireResponse:
        later = "after_id=a" in request.query
        data = [
            {"type": "model", "id": "b" if later else "a", "display_name": "x", "created_at": "2026-01-01T00:00:00Z"}
        ]
        return WireResponse.json({"data": data, "has_more": not later, "first_id": "a", "last_id": data[0]["id"]})

    server.answer(page, "/v1/models")
    assert await client.models() == [LLModel("anthropic", "a"), LLModel("anthropic", "b")]
    server.queue(
        WireResponse.json({"type": "error", "error": {"type": "permission_error"}}, status=403), path="/v1/models"
    )
    with pytest.raises(PermissionDeniedError):
        await client.models()


async def test_a_http_client_of_the_callers(server: WireServer, wire: Any) -> None:
    import httpx2

    server.queue(WireResponse(stream_of(wire, "a"), cut="events"))
    async with httpx2.AsyncClient(headers={"x-mine": "yes"}) as http_client:
        async with AnthropicClient(api_key=KEY, base_url=server.url, http_client=http_client) as client:
            assert (await client.execute_streaming_with_tools(PROMPT, MODEL).message()).text == "a"
        assert not http_client.is_closed
    assert server.requests[0].headers["x-mine"] == "yes"


# ---------------------------------------------------------------------------------------------- errors


STATUSES: list[tuple[int, str, type[ProviderError]]] = [
    (400, "invalid_request_error", BadRequestError),
    (401, "authentication_error", AuthenticationError),
    (402, "billing_error", RateLimitError),
    (403, "permission_error", PermissionDeniedError),
    (404, "not_found_error", ModelNotFoundError),
    (409, "conflict_error", BadRequestError),
    (413, "request_too_large", ContextLengthError),
    (422, "invalid_request_error", BadRequestError),
    (429, "rate_limit_error", RateLimitError),
    (500, "api_error", ServerError),
    (502, "api_error", ServerError),
    (503, "api_error", OverloadedError),
    (504, "timeout_error", ServerError),
    (529, "overloaded_error", OverloadedError),
]


@pytest.mark.parametrize("expected", STATUSES, ids=str)
@pytest.mark.parametrize("streaming", [True, False])
async def test_statuses(
    client: AnthropicClient, server: WireServer, expected: tuple[int, str, type[ProviderError]], streaming: bool
) -> None:
    status, error, kind = expected
    body = {"type": "error", "error": {"type": error, "message": f"no: {KEY}"}, "request_id": "req_body"}
    server.queue(WireResponse.json(body, status, {"retry-after": "7", "request-id": "req_1"}))
    stream = client.execute_streaming_with_tools(PROMPT, MODEL)
    with pytest.raises(kind) as caught:
        await (stream.message() if streaming else client.execute(PROMPT, MODEL))
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code) == (status, error)
    assert (caught.value.retry_after, caught.value.request_id) == (7.0, "req_1")
    assert (caught.value.provider, caught.value.model) == ("anthropic", "claude-haiku-4-5")
    assert KEY not in str(caught.value)
    assert len(server.requests) == 1, "nothing is retried here"


async def test_prompt_too_long(client: AnthropicClient, server: WireServer) -> None:
    words = "prompt is too long: 210000 tokens > 200000 maximum"
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    server.queue(WireResponse.json(body, 400))
    with pytest.raises(ContextLengthError):
        await client.execute_streaming_with_tools(PROMPT, MODEL).message()


async def test_success_that_is_none(client: AnthropicClient, server: WireServer) -> None:
    server.queue(WireResponse.json({"type": "error", "error": {"type": "api_error", "message": "Internal"}}))
    with pytest.raises(ProviderStreamError, match="Internal"):
        await client.execute_streaming_with_tools(PROMPT, MODEL).message()
    server.queue(WireResponse(b"<!doctype html><p>Sign in</p>", content_type="text/html"))
    with pytest.raises(ProtocolError, match="web page"):
        await client.execute_streaming_with_tools(PROMPT, MODEL).message()
    server.queue(WireResponse(b"<!doctype html><p>Sign in</p>", content_type="text/html"))
    with pytest.raises(ProtocolError, match="web page"):
        await client.execute(PROMPT, MODEL)


async def test_error_inside_the_stream(client: AnthropicClient, server: WireServer, wire: Any) -> None:
    error = wire.event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    server.queue(WireResponse(wire.start() + wire.text(0, "a") + error))
    with pytest.raises(ProviderStreamError) as caught:
        await client.execute_streaming_with_tools(PROMPT, MODEL).message()
    assert caught.value.code == "overloaded_error"
    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"


@pytest.mark.parametrize("fault", ["reset_after", "drop_after", "end_after"])
async def test_broken_streams(client: AnthropicClient, server: WireServer, wire: Any, fault: str) -> None:
    body = wire.start() + wire.text(0, "a") + wire.tool(1, "t", "f", '{"a": 1}') + wire.end("tool_use")
    where = body.index(b'"content_block_stop", "index": 1')
    cut: dict[str, Any] = {fault: where}
    server.queue(WireResponse(body, cut="events", pace=0.001, **cut))
    with pytest.raises(IncompleteStreamError) as caught:
        await client.execute_streaming_with_tools(PROMPT, MODEL, [WEATHER]).message()
    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"
    assert caught.value.partial.tool_calls == ()
    assert caught.value.partial.unfinished[0].arguments == '{"a": 1}'


async def test_gzip(client: AnthropicClient, server: WireServer, wire: Any) -> None:
    server.queue(WireResponse(stream_of(wire, "a", "ä"), cut="events", gzip=True))
    assert (await client.execute_streaming_with_tools(PROMPT, MODEL).message()).text == "aä"
    server.queue(WireResponse(b"no gzip", headers={"content-encoding": "gzip"}))
    with pytest.raises(ProtocolError):
        await client.execute_streaming_with_tools(PROMPT, MODEL).message()


async def test_no_server(server: WireServer) -> None:
    async with AnthropicClient(api_key=KEY, base_url="http://127.0.0.1:9") as client:
        for attempt in (client.execute_streaming_with_tools(PROMPT, MODEL).message(), client.execute(PROMPT, MODEL)):
            with pytest.raises(TransportError) as caught:
                await attempt
            assert isinstance(caught.value.__cause__, OSError)
    async with AnthropicClient(api_key=KEY, base_url=server.url) as client:
        server.queue(WireResponse(b"{}", drop_after=1, framing="length"))
        with pytest.raises(TransportError):
            await client.execute(PROMPT, MODEL)


def _classes(root: type[BaseException]) -> Iterator[type[BaseException]]:
    yield root
    for child in root.__subclasses__():
        yield from _classes(child)


def test_every_exception_of_the_sdk_is_mapped() -> None:
    """Fails when the SDK grows one that `_failure` would only know by its root."""
    import anthropic
    import httpx2
    from anthropic.lib.credentials import WorkloadIdentityError

    client = AnthropicClient(sdk_client=anthropic.AsyncAnthropic(api_key=KEY))
    expected: dict[type[Exception], type[PromptportError]] = {
        anthropic.APIStatusError: ServerError,
        anthropic.APIConnectionError: TransportError,
        anthropic.APIResponseValidationError: ProtocolError,
        anthropic.RetryableError: TransportError,
        anthropic.CredentialsError: ConfigurationError,
        WorkloadIdentityError: ConfigurationError,
    }
    roots = {anthropic.AnthropicError, anthropic.APIError}
    # Of helpers that are not used here: webhooks, tool runners, other clouds, the SDK's own responses.
    elsewhere = {"APIWebhookValidationError", "MissingDependencyError", "MutuallyExclusiveAuthError"}
    elsewhere |= {"StreamAlreadyConsumed", "ToolsetUsageError"}
    seen = 0
    for kind in _classes(anthropic.AnthropicError):
        error: Any = Exception.__new__(kind)
        error.response = httpx2.Response(500, request=httpx2.Request("POST", "https://api.anthropic.com"))
        mapped = client._failure(error, MODEL)
        known = [ours for theirs, ours in expected.items() if issubclass(kind, theirs)]
        if known:
            seen += 1
            assert type(mapped) is known[0], kind
        elif kind not in roots:
            assert any(base.__name__ in elsewhere for base in kind.__mro__), f"{kind.__name__} is new: map it"
        assert isinstance(mapped, PromptportError), kind
    assert seen > 100


def test_every_exception_of_the_http_library_is_mapped() -> None:
    import anthropic
    import httpx2

    client = AnthropicClient(sdk_client=anthropic.AsyncAnthropic(api_key=KEY))
    for kind in (*_classes(httpx2.HTTPError), httpx2.InvalidURL, *_classes(httpx2.StreamError)):
        error: Any = Exception.__new__(kind)
        assert isinstance(client._failure(error, MODEL), PromptportError), kind
    assert client._failure(KeyError("ours"), MODEL) is None


# --------------------------------------------------------------------------------------------- closing


async def test_leaving_closes_the_connection(client: AnthropicClient, server: WireServer, wire: Any) -> None:
    body = stream_of(wire, "a", "b")
    stalled = WireResponse(body, cut="events", stall_after=body.index(b'"b"'))
    server.queue(*[stalled] * 5)
    async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
        async for _ in stream:
            break
    await server.client_closed(1)

    stream = client.execute_streaming_with_tools(PROMPT, MODEL)
    assert await anext(stream) == Append("a")
    await stream.aclose()
    await server.client_closed(2)

    async def read() -> None:
        async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
            async for _ in stream:
                started.set()

    started = asyncio.Event()
    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.client_closed(3)

    async def fail() -> None:
        async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
            async for _ in stream:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await server.client_closed(4)

    stream = client.execute_streaming_with_tools(PROMPT, MODEL)
    assert await anext(stream) == Append("a")
    await client.aclose()
    await server.client_closed(5)
    with pytest.raises(InvalidInputError, match="closed"):
        client.execute_streaming_with_tools(PROMPT, MODEL)


async def test_cancelling_before_the_answer_begins(client: AnthropicClient, server: WireServer) -> None:
    async def never(request: RecordedRequest) -> WireResponse:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    server.answer(never)
    task = asyncio.create_task(client.execute_streaming_with_tools(PROMPT, MODEL).message())
    await server.requested()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.client_closed()


@pytest.mark.parametrize(
    ("timeouts", "kind", "text"),
    [
        (Timeouts(first_frame=0.1), FirstFrameTimeout, ""),
        (Timeouts(idle=0.1), IdleTimeout, "a"),
        (Timeouts(total=0.2), TotalTimeout, "a"),
    ],
)
async def test_the_three_clocks(
    server: WireServer, wire: Any, timeouts: Timeouts, kind: type[TransportError], text: str
) -> None:
    body = stream_of(wire, "a", "b")
    after = body.index(b'"b"') if text else body.index(b"event: content_block_delta")
    async with AnthropicClient(api_key=KEY, base_url=server.url, timeouts=timeouts) as client:
        server.queue(WireResponse.json({"data": []}))
        await client.models()  # the import of the HTTP library is no part of what is timed here
        server.queue(WireResponse(body, cut="events", stall_after=after))
        with pytest.raises(kind) as caught:
            await client.execute_streaming_with_tools(PROMPT, MODEL).message()
        assert caught.value.partial is not None
        assert caught.value.partial.text == text
        await server.client_closed()


async def test_many_streams_at_once(client: AnthropicClient, server: WireServer, wire: Any) -> None:
    open_at_once = 200
    everyone = asyncio.Event()

    async def echo(request: RecordedRequest) -> WireResponse:
        if len(server.requests) == open_at_once:
            everyone.set()
        await everyone.wait()  # so that no stream can end before all are open
        said = json.loads(request.body)["messages"][0]["content"][0]["text"]
        return WireResponse(stream_of(wire, said, "!"), cut="events", pace=0)

    server.answer(echo)
    prompts = [Prompt.of(f"number {number}", max_tokens=9) for number in range(open_at_once)]
    answers = await asyncio.gather(
        *[client.execute_streaming_with_tools(prompt, MODEL).message() for prompt in prompts]
    )
    assert [answer.text for answer in answers] == [f"number {number}!" for number in range(open_at_once)]


# ----------------------------------------------------------------------------------------------- set-up


def test_nothing_heavy_is_imported_before_a_request() -> None:
    code = (
        "import sys, promptport_anthropic\n"
        "client = promptport_anthropic.client(api_key='k')\n"
        "client.capabilities\n"
        "loaded = {'anthropic', 'httpx2', 'aiohttp', 'pydantic', 'httpx'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_by_name() -> None:
    assert isinstance(named_client("anthropic", api_key=KEY), AnthropicClient)


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
        make()
    with pytest.raises(ConfigurationError, match="blank"):
        make(api_key="sk ant")
    with pytest.raises(ConfigurationError, match="not both"):
        make(api_key="a", auth_token="b")
    assert make(base_url="http://localhost:8080").provider == "anthropic"
    assert make(profile="mine").provider == "anthropic"
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "from-environment")
    assert _sent_key(make()) == "Bearer from-environment"
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-from-environment")
    assert _sent_key(make()) == "Bearer key-from-environment"
    assert "key-from-environment" not in repr(make())
    with pytest.raises(ConfigurationError, match="base_url"):
        make(base_url="localhost:8080")


def _sent_key(client: Any) -> str:
    key: str = client._transport._headers["authorization"]
    return key


def test_options_that_nobody_knows() -> None:
    with pytest.raises(ConfigurationError, match="colour"):
        AnthropicClient(api_key=KEY, colour="blue")


def test_capabilities() -> None:
    opus = LLModel("anthropic", "claude-opus-5-5")
    client = AnthropicClient(api_key=KEY)
    assert Capability.TEMPERATURE not in client.capabilities(MODEL)
    assert Capability.TEMPERATURE in AnthropicClient(api_key=KEY, api_version="2023-06-01").capabilities(MODEL)
    assert Capability.TEMPERATURE in AnthropicClient(base_url="http://localhost:1").capabilities(MODEL)
    with pytest.raises(UnsupportedCapabilityError, match="temperature"):
        client.execute_streaming_with_tools(PROMPT.with_params(temperature=0.0), MODEL)
    with pytest.raises(UnsupportedCapabilityError, match="tool_choice"):
        client.execute_streaming_with_tools(PROMPT.with_params(tool_choice=ToolChoice.REQUIRED), opus, [WEATHER])
    with pytest.raises(UnsupportedCapabilityError, match="seed"):
        client.execute_streaming_with_tools(PROMPT.with_params(seed=1), MODEL)
    own = LLModel("anthropic", "claude-opus-5-5", client.capabilities(opus).with_(Capability.SEED))
    assert client.capabilities(own) is own.capabilities
