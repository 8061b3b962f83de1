"""The client of both OpenAI APIs, against a scripted server on the loopback interface."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from promptport.errors import (
    AuthenticationError,
    ConfigurationError,
    ContextLengthError,
    InvalidInputError,
    PromptportError,
    RateLimitError,
    TransportError,
)
from promptport.frames import Append, End
from promptport.messages import Prompt
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.registry import client as named_client
from promptport.testing import WireResponse, WireServer
from promptport_openai import chat_client, responses_client
from promptport_openai._apis import chat_completions
from promptport_openai._client import OpenAIClient

KEY = "sk-secret-0123"
EVERYTHING = ModelCapabilities.of(StreamedTools.DELTAS, Capability)
CHAT = LLModel("openai-chat", "m", EVERYTHING)
RESPONSES = LLModel("openai", "m", EVERYTHING)
PROMPT = Prompt.of("Hi")
TEXT = (
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as server:
        yield server


async def test_key_url_and_headers_are_the_sdks(server: WireServer) -> None:
    server.queue(WireResponse(TEXT))
    client = chat_client(api_key=KEY, base_url=f"{server.url}/v1", organization="org", default_headers={"x-mine": "1"})
    stream = client.execute_streaming_with_tools(PROMPT, CHAT)
    assert [type(frame) for frame in [frame async for frame in stream]] == [Append, End]
    await client.aclose()
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert (request.headers["openai-organization"], request.headers["x-mine"]) == ("org", "1")
    assert request.headers["content-type"] == "application/json"
    assert request.json()["stream"] is True


async def test_what_we_do_not_name_is_passed_through(server: WireServer) -> None:
    server.queue(WireResponse(TEXT))
    client = chat_client(api_key=KEY, base_url=server.url)
    prompt = PROMPT.with_params(extra={"logit_bias": {"5": 1}, "top_k": 3})
    await client.execute_streaming_with_tools(prompt, CHAT).message()
    await client.aclose()
    body = server.requests[0].json()
    assert (body["logit_bias"], body["top_k"]) == ({"5": 1}, 3)


async def test_what_is_no_json_is_the_callers_mistake(server: WireServer) -> None:
    client = chat_client(api_key=KEY, base_url=server.url)
    prompt = PROMPT.with_params(extra={"x": object()})
    with pytest.raises(InvalidInputError, match="JSON"):
        await client.execute_streaming_with_tools(prompt, CHAT).message()
    with pytest.raises(InvalidInputError, match="JSON"):
        await client.execute(prompt, CHAT)
    await client.aclose()
    assert server.requests == []


async def test_a_server_of_ones_own_needs_no_key(server: WireServer) -> None:
    server.queue(WireResponse(TEXT))
    client = chat_client(base_url=server.url)
    assert (await client.execute_streaming_with_tools(PROMPT, CHAT).message()).text == "Hello"
    await client.aclose()


@pytest.mark.parametrize("make", [chat_client, responses_client])
@pytest.mark.parametrize("key", [None, "", "sk-1\n", "sk 1", "sk-\u00e9"])
def test_keys_that_cannot_be_one(make: Any, key: str | None) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        make(api_key=key)


@pytest.mark.parametrize("url", ["example.com/v1", "ftp://example.com", "http://", "http://a b/v1"])
def test_urls_that_cannot_be_one(url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        chat_client(api_key=KEY, base_url=url)


def test_options_that_nobody_knows() -> None:
    with pytest.raises(ConfigurationError, match="no_such_option"):
        chat_client(api_key=KEY, base_url="http://127.0.0.1:9", no_such_option=1)


async def test_models(server: WireServer) -> None:
    server.queue(WireResponse.json({"object": "list", "data": [{"id": "a", "object": "model"}, {"id": "b"}]}))
    client = responses_client(api_key=KEY, base_url=server.url)
    assert await client.models() == [LLModel("openai", "a"), LLModel("openai", "b")]
    server.queue(WireResponse.json({"error": {"message": "no"}}, status=401))
    with pytest.raises(AuthenticationError):
        await client.models()
    await client.aclose()


async def test_errors_tell_what_the_provider_said_and_never_the_key(server: WireServer) -> None:
    words = f"Incorrect API key provided: {KEY}."
    error = {"error": {"message": words, "type": "invalid_request_error", "code": "invalid_api_key"}}
    server.queue(WireResponse.json(error, status=401, headers={"x-request-id": "req_1"}))
    client = chat_client(api_key=KEY, base_url=server.url)
    with pytest.raises(AuthenticationError) as caught:
        await client.execute_streaming_with_tools(PROMPT, CHAT).message()
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id == "req_1"
    assert KEY not in str(caught.value) + repr(caught.value) + repr(client)
    await client.aclose()


async def test_context_length_and_quota_have_their_classes(server: WireServer) -> None:
    client = chat_client(api_key=KEY, base_url=server.url)
    for status, code, kind in (
        (400, "context_length_exceeded", ContextLengthError),
        (429, "insufficient_quota", RateLimitError),
    ):
        server.queue(WireResponse.json({"error": {"message": "no", "code": code}}, status=status))
        with pytest.raises(kind):
            await client.execute(PROMPT, CHAT)
    await client.aclose()


async def test_a_http_client_of_the_callers_stays_open(server: WireServer) -> None:
    import httpx2

    server.queue(WireResponse(TEXT), WireResponse(TEXT))
    async with httpx2.AsyncClient(headers={"x-caller": "yes"}) as http_client:
        for _ in range(2):
            client = chat_client(api_key=KEY, base_url=server.url, http_client=http_client)
            assert (await client.execute_streaming_with_tools(PROMPT, CHAT).message()).text == "Hello"
            await client.aclose()
        assert not http_client.is_closed
    assert [request.headers["x-caller"] for request in server.requests] == ["yes", "yes"]


def test_both_names_are_found() -> None:
    assert named_client("openai", api_key=KEY).provider == "openai"
    assert named_client("openai-chat", api_key=KEY).provider == "openai-chat"


def test_clones_get_the_field_names_that_they_know() -> None:
    prompt = PROMPT.with_params(max_tokens=5)
    own = OpenAIClient(chat_completions, api_key=KEY)
    clone = OpenAIClient(chat_completions, api_key=KEY, base_url="http://127.0.0.1:9/v1")
    assert own._body(prompt, CHAT, (), stream=True)["max_completion_tokens"] == 5
    assert clone._body(prompt, CHAT, (), stream=True)["max_tokens"] == 5


def test_nothing_heavy_is_imported_before_a_request() -> None:
    code = (
        "import sys, promptport_openai as p\n"
        "p.chat_client(api_key='k'); p.responses_client(api_key='k')\n"
        "print([m for m in ('openai', 'httpx', 'httpx2', 'aiohttp', 'pydantic') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# -------------------------------------------------------------------------------------------- exceptions

KNOWN = {
    "APIConnectionError", "APIError", "APIResponseValidationError", "APIStatusError", "APITimeoutError",
    "AuthenticationError", "BadRequestError", "ConflictError", "ContentFilterFinishReasonError", "InternalServerError",
    "LengthFinishReasonError", "NotFoundError", "OAuthError", "OpenAIError", "PermissionDeniedError", "RateLimitError",
    "SubjectTokenProviderError", "UnprocessableEntityError", "WebSocketConnectionClosedError",
    "WebSocketQueueFullError", "_AmbiguousModuleClientUsageError", "APIRemovedInV1", "MutuallyExclusiveAuthError",
    "StreamAlreadyConsumed",
}  # fmt: skip
"""The SDK's exceptions as of openai 3.54. A new one is looked at, mapped in ``_failure``, and added here."""


def exceptions(root: type[BaseException]) -> Iterator[type[BaseException]]:
    for kind in root.__subclasses__():
        yield kind
        yield from exceptions(kind)


def test_every_exception_of_the_sdk_is_mapped() -> None:
    import httpx2
    import openai

    found: set[type[BaseException]] = {openai.OpenAIError}
    found.update(kind for kind in exceptions(openai.OpenAIError) if "openai" in kind.__module__)
    assert {kind.__name__ for kind in found} - KNOWN == set(), "the SDK has a new exception"
    client = OpenAIClient(chat_completions, sdk_client=openai.AsyncOpenAI(api_key=KEY))
    request = httpx2.Request("POST", "http://127.0.0.1/")
    for kind in found:
        error: Any = kind.__new__(kind)
        error.response = httpx2.Response(418, request=request, content=b"{}")
        error.request = request
        assert isinstance(client._failure(error, CHAT), PromptportError), kind


def test_a_bug_is_not_taken_for_a_failure_of_the_provider() -> None:
    client = OpenAIClient(chat_completions, api_key=KEY)
    assert client._failure(KeyError("bug"), CHAT) is None
    assert isinstance(client._failure(ConnectionResetError(), CHAT), TransportError)


def test_no_file_of_the_provider_builds_the_sdks_events() -> None:
    source = "".join(path.read_text() for path in Path(__file__).parents[1].glob("src/**/*.py"))
    assert "chat.completions.create" not in source
    assert "responses.create" not in source
