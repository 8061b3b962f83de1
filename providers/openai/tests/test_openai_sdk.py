"""The official SDK as the oracle: what promptport sends for the same parameters, and what it reads of the same stream.

And the SDK's own clients as ``sdk_client``, where it rewrites the path.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from promptport.errors import AuthenticationError, ConfigurationError, ProviderError
from promptport.messages import ImagePart, NamedTool, Prompt, ReasoningEffort, ToolChoice
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.testing import RecordedRequest, WireResponse, WireServer
from promptport.tools import ToolDescriptor
from promptport_openai import chat_client, responses_client

KEY = "sk-oracle-0123"
EVERYTHING = ModelCapabilities.of(StreamedTools.DELTAS, Capability)
MODEL = "gpt-oracle"
WIRES = Path(__file__).parents[3] / "tests" / "wires"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolDescriptor("weather", "Current weather.", SCHEMA)
PROMPT = Prompt.of("Hi", system="Be brief.")
MADE = {"chat": chat_client, "responses": responses_client}
VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "AZURE_OPENAI_API_KEY")

KINDS: dict[str, tuple[Prompt, list[ToolDescriptor]]] = {
    "text": (PROMPT, []),
    "parameters": (PROMPT.with_params(temperature=0.5, max_tokens=9, user="u", extra={"service_tier": "flex"}), []),
    "effort": (PROMPT.with_params(reasoning_effort=ReasoningEffort.LOW), []),
    "schema": (PROMPT.with_params(response_schema={**SCHEMA, "title": "City"}), []),
    "tools": (PROMPT.with_params(tool_choice=ToolChoice.REQUIRED, parallel_tool_calls=False), [WEATHER]),
    "a named tool": (PROMPT.with_params(tool_choice=NamedTool("weather")), [WEATHER]),
    "an image": (PROMPT.user("this", ImagePart(data=b"png", media_type="image/png")), []),
    "unicode": (PROMPT.user("é\u2028\U0001f600"), []),
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse.json({"error": {"message": "seen"}}, 400))
        yield server


def asked(request: RecordedRequest) -> Any:
    """What must be equal: where it goes, who asks, in which version, and what is asked."""
    names = ("authorization", "api-key", "content-type", "openai-organization", "openai-project", "x-mine")
    headers = {name: request.headers.get(name) for name in names}
    return request.method, request.path, request.query, headers, request.json() if request.body else None


async def both(server: WireServer, api: str, prompt: Prompt, tools: list[ToolDescriptor], **options: Any) -> None:
    client = MADE[api](api_key=KEY, base_url=f"{server.url}/v1", **options)
    model = LLModel(client.provider, MODEL, EVERYTHING)
    with pytest.raises(ProviderError):
        await client.execute_streaming_with_tools(prompt, model, tools).message()
    await client.aclose()
    body = server.requests[-1].json()
    sdk = openai.AsyncOpenAI(api_key=KEY, base_url=f"{server.url}/v1", max_retries=0, **options)
    create: Any = sdk.chat.completions.create if api == "chat" else sdk.responses.create
    with pytest.raises(openai.BadRequestError):
        await create(**body)
    await sdk.close()
    ours, theirs = server.requests[-2:]
    assert asked(ours) == asked(theirs)


@pytest.mark.parametrize("api", MADE)
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_sent_is_what_the_sdk_sends(server: WireServer, api: str, kind: str) -> None:
    await both(server, api, *KINDS[kind])


@pytest.mark.parametrize("api", MADE)
async def test_with_the_options_that_both_have(server: WireServer, api: str) -> None:
    options = {"organization": "org", "project": "proj", "default_headers": {"x-mine": "1"}}
    await both(server, api, PROMPT, [], **options, default_query={"api-version": "2026-01"})


async def test_models_are_asked_for_as_the_sdk_does(server: WireServer) -> None:
    client = chat_client(api_key=KEY, base_url=f"{server.url}/v1")
    with pytest.raises(ProviderError):
        await client.models()
    await client.aclose()
    sdk = openai.AsyncOpenAI(api_key=KEY, base_url=f"{server.url}/v1", max_retries=0)
    with pytest.raises(openai.BadRequestError):
        await sdk.models.list()
    await sdk.close()
    ours, theirs = [(*asked(request)[:3], request.headers["authorization"]) for request in server.requests]
    assert ours == theirs


@pytest.mark.parametrize("path", sorted(WIRES.glob("openai-chat/*.sse")), ids=lambda path: path.stem)
async def test_what_is_read_of_a_chat_stream_is_what_the_sdk_reads(path: Path) -> None:
    data = path.read_bytes()  # noqa: ASYNC240 - before anything runs
    async with WireServer(WireResponse(data, cut=("random", 1)), WireResponse(data)) as server:
        client = chat_client(api_key=KEY, base_url=server.url)
        ours = await client.execute_streaming_with_tools(PROMPT, LLModel("openai-chat", MODEL, EVERYTHING)).message()
        await client.aclose()
        sdk = openai.AsyncOpenAI(api_key=KEY, base_url=server.url)
        stream: Any = await sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        text, arguments = "", dict[int, str]()
        async for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for call in choice.delta.tool_calls or ():
                    arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
        await sdk.close()
    assert ours.text == text
    assert [json.loads(call.arguments) for call in ours.tool_calls] == [
        json.loads(whole or "{}") for whole in arguments.values()
    ]


@pytest.mark.parametrize("path", sorted(WIRES.glob("openai-responses/*.sse")), ids=lambda path: path.stem)
async def test_what_is_read_of_a_response_is_what_the_sdk_reads(path: Path) -> None:
    data = path.read_bytes()  # noqa: ASYNC240 - before anything runs
    async with WireServer(WireResponse(data, cut=("random", 1)), WireResponse(data)) as server:
        client = responses_client(api_key=KEY, base_url=server.url)
        ours = await client.execute_streaming_with_tools(PROMPT, LLModel("openai", MODEL, EVERYTHING)).message()
        await client.aclose()
        sdk = openai.AsyncOpenAI(api_key=KEY, base_url=server.url)
        stream: Any = await sdk.responses.create(model=MODEL, input="Hi", stream=True)
        text, calls = "", []
        async for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.output_item.done" and event.item.type == "function_call":
                calls.append((event.item.name, json.loads(event.item.arguments or "{}")))
        await sdk.close()
    assert ours.text == text
    assert [(call.name, json.loads(call.arguments)) for call in ours.tool_calls] == calls


# ------------------------------------------------------------------------------------------ sdk_client


@pytest.mark.parametrize("api", MADE)
async def test_an_azure_client_of_the_sdk(server: WireServer, api: str) -> None:
    sdk = openai.AsyncAzureOpenAI(api_key=KEY, azure_endpoint=server.url, api_version="2026-01-01")
    client = MADE[api](sdk_client=sdk)
    model = LLModel(client.provider, "my-deployment", EVERYTHING)
    with pytest.raises(ProviderError, match="seen"):
        await client.execute_streaming_with_tools(PROMPT, model).message()
    create: Any = sdk.chat.completions.create if api == "chat" else sdk.responses.create
    body = server.requests[-1].json()
    with pytest.raises(openai.BadRequestError):
        await create(**body)
    ours, theirs = server.requests
    assert asked(ours) == asked(theirs)
    assert ours.headers["api-key"] == KEY
    assert (api == "chat") == ("/deployments/my-deployment/" in ours.path)
    await client.aclose()
    assert not sdk.is_closed()
    await sdk.close()


async def test_its_stream_its_errors_and_its_key() -> None:
    text = (WIRES / "openai-chat" / "text.sse").read_bytes()
    refusal = WireResponse.json({"error": {"message": f"bad {KEY}"}}, 401)
    async with WireServer(WireResponse(text), refusal, WireResponse.json({"data": [{"id": "a"}]})) as server:
        sdk = openai.AsyncOpenAI(api_key=KEY, base_url=f"{server.url}/v1")
        client = chat_client(sdk_client=sdk)
        model = LLModel("openai-chat", MODEL, EVERYTHING)
        assert (await client.execute_streaming_with_tools(PROMPT, model).message()).text
        with pytest.raises(AuthenticationError) as raised:
            await client.execute_streaming_with_tools(PROMPT, model).message()
        assert KEY not in f"{raised.value} {raised.value.__cause__!r} {raised.value.__cause__}"
        assert await client.models() == [LLModel("openai-chat", "a")]
        await client.aclose()
        await sdk.close()
    assert len(server.requests) == 3, "the SDK's own retries are off"


async def test_options_that_only_the_sdk_understands_make_one(server: WireServer) -> None:
    client = chat_client(api_key=KEY, base_url=f"{server.url}/v1", webhook_secret="w")
    with pytest.raises(ProviderError, match="seen"):
        await client.execute(PROMPT, LLModel("openai-chat", MODEL, EVERYTHING))
    await client.aclose()
    assert "x-stainless-lang" in server.requests[0].headers


@pytest.mark.parametrize("options", [{"api_key": "k"}, {"base_url": "http://x"}, {"headers": {"a": "b"}}])
def test_what_an_sdk_client_brings_itself(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="sdk_client brings its own"):
        chat_client(sdk_client=openai.AsyncOpenAI(api_key=KEY), **options)


@pytest.mark.parametrize("given", [openai.OpenAI(api_key=KEY), object()])
def test_what_is_no_sdk_client(given: object) -> None:
    with pytest.raises(ConfigurationError, match="sdk_client must be an asynchronous client"):
        chat_client(sdk_client=given)
