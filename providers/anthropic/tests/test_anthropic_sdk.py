"""The official SDK as the oracle: what promptport sends for the same parameters, and what it reads of the same stream.

And the SDK's own clients as ``sdk_client``, where it rewrites the path.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from promptport.errors import ProviderError
from promptport.messages import ImagePart, Prompt, ToolChoice
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.testing import RecordedRequest, WireResponse, WireServer
from promptport.tools import ToolDescriptor
from promptport_anthropic import client as make

KEY = "sk-ant-oracle-0123"
MODEL = LLModel("anthropic", "claude-oracle", ModelCapabilities.of(StreamedTools.DELTAS, Capability))
WIRES = Path(__file__).parents[3] / "tests" / "wires"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolDescriptor("weather", "Current weather.", SCHEMA)
PROMPT = Prompt.of("Hi", system="Be brief.", max_tokens=9)

KINDS: dict[str, tuple[Prompt, list[ToolDescriptor]]] = {
    "text": (PROMPT, []),
    "parameters": (PROMPT.with_params(stop=("x",), extra={"service_tier": "auto"}), []),
    "tools": (PROMPT.with_params(tool_choice=ToolChoice.REQUIRED), [WEATHER]),
    "an image": (PROMPT.user("this", ImagePart(data=b"png", media_type="image/png")), []),
    "unicode": (PROMPT.user("é\u2028\U0001f600"), []),
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse.json({"error": {"type": "invalid_request_error", "message": "seen"}}, 400))
        yield server


def asked(request: RecordedRequest) -> Any:
    """What must be equal: where it goes, who asks, in which version, and what is asked."""
    names = ("authorization", "x-api-key", "anthropic-version", "anthropic-beta", "content-type", "x-mine")
    headers = {name: request.headers.get(name) for name in names}
    return request.method, request.path, request.query, headers, request.json() if request.body else None


@pytest.mark.parametrize("credential", ["api_key", "auth_token"])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_sent_is_what_the_sdk_sends(server: WireServer, kind: str, credential: str) -> None:
    prompt, tools = KINDS[kind]
    options: dict[str, Any] = {credential: KEY, "base_url": server.url, "default_headers": {"x-mine": "1"}}
    client = make(**options)
    with pytest.raises(ProviderError, match="seen"):
        await client.execute_streaming_with_tools(prompt, MODEL, tools).message()
    await client.aclose()
    body = server.requests[-1].json()
    sdk = anthropic.AsyncAnthropic(max_retries=0, **options)
    with pytest.raises(anthropic.BadRequestError):
        await sdk.messages.create(**body)
    await sdk.close()
    ours, theirs = server.requests
    assert asked(ours) == asked(theirs)


async def test_models_are_asked_for_as_the_sdk_does(server: WireServer) -> None:
    client = make(api_key=KEY, base_url=server.url)
    with pytest.raises(ProviderError):
        await client.models()
    await client.aclose()
    sdk = anthropic.AsyncAnthropic(api_key=KEY, base_url=server.url, max_retries=0)
    with pytest.raises(anthropic.BadRequestError):
        await sdk.models.list(limit=1000)
    await sdk.close()
    ours, theirs = [(*asked(request)[:3], request.headers["authorization"]) for request in server.requests]
    assert ours == theirs


@pytest.mark.parametrize("path", sorted(WIRES.glob("anthropic/*.sse")), ids=lambda path: path.stem)
async def test_what_is_read_of_a_stream_is_what_the_sdk_reads(path: Path) -> None:
    data = path.read_bytes()  # noqa: ASYNC240 - before anything runs
    async with WireServer(WireResponse(data, cut=("random", 1)), WireResponse(data)) as server:
        client = make(api_key=KEY, base_url=server.url)
        ours = await client.execute_streaming_with_tools(PROMPT, MODEL).message()
        await client.aclose()
        sdk = anthropic.AsyncAnthropic(api_key=KEY, base_url=server.url)
        stream: Any = await sdk.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        text, calls = "", {}
        async for event in stream:
            if event.type == "content_block_start" and event.content_block.type == "tool_use":
                calls[event.index] = ""
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                text += event.delta.text
            elif (
                event.type == "content_block_delta" and event.delta.type == "input_json_delta" and event.index in calls
            ):
                calls[event.index] += event.delta.partial_json
        await sdk.close()
    assert ours.text == text
    assert [json.loads(call.arguments) for call in ours.tool_calls] == [
        json.loads(whole or "{}") for whole in calls.values()
    ]


# ------------------------------------------------------------------------------------------ sdk_client


async def test_a_vertex_client_of_the_sdk(server: WireServer) -> None:
    sdk = anthropic.AsyncAnthropicVertex(
        region="europe-west1", project_id="proj", access_token="token-0123", base_url=server.url
    )
    client = make(sdk_client=sdk)
    with pytest.raises(ProviderError, match="seen"):
        await client.execute_streaming_with_tools(PROMPT, MODEL).message()
    with pytest.raises(anthropic.BadRequestError):
        await sdk.with_options(max_retries=0).messages.create(
            model=MODEL.id,
            max_tokens=9,
            system=[{"type": "text", "text": "Be brief."}],
            messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            stream=True,
        )
    ours, theirs = server.requests
    assert ours.path == theirs.path
    assert ours.path.endswith("/models/claude-oracle:streamRawPredict")
    assert ours.headers["authorization"] == theirs.headers["authorization"] == "Bearer token-0123"
    assert ours.json()["anthropic_version"] == theirs.json()["anthropic_version"]
    assert "model" not in ours.json()
    await client.aclose()
    assert not sdk.is_closed()
    await sdk.close()


@pytest.mark.parametrize("name", ["anthropic.claude-oracle-v1:0", "arn:aws:bedrock:us-east-1:1:inference-profile/c"])
@pytest.mark.parametrize("credentials", ["signed", "bearer"])
async def test_a_bedrock_client_of_the_sdk(server: WireServer, credentials: str, name: str) -> None:
    given: dict[str, Any] = (
        {"api_key": "bedrock-key-0123"}
        if credentials == "bearer"
        else {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "secret-0123"}
    )
    sdk = anthropic.AsyncAnthropicBedrock(aws_region="us-east-1", base_url=server.url, **given)
    client = make(sdk_client=sdk)
    model = LLModel("anthropic", name, MODEL.capabilities)
    for stream in (True, False):
        with pytest.raises(ProviderError, match="seen"):
            if stream:
                await client.execute_streaming_with_tools(PROMPT, model).message()
            else:
                await client.execute(PROMPT, model)
        body = server.requests[-1].json()
        with pytest.raises(anthropic.BadRequestError):
            await sdk.with_options(max_retries=0).messages.create(
                model=name,
                stream=stream,
                **{key: body[key] for key in ("system", "messages", "max_tokens")},
            )
        ours, theirs = server.requests[-2:]
        assert ours.path == theirs.path
        assert ours.path.endswith("/invoke-with-response-stream" if stream else "/invoke")
        assert ours.json() == theirs.json()
        scheme = ours.headers["authorization"].split("/")[0]
        assert scheme == theirs.headers["authorization"].split("/")[0]
        assert scheme.startswith(
            "Bearer bedrock-key" if credentials == "bearer" else "AWS4-HMAC-SHA256 Credential=AKID"
        )
    await client.aclose()
    assert not sdk.is_closed()
    await sdk.close()


async def test_a_foundry_client_of_the_sdk(server: WireServer) -> None:
    sdk = anthropic.AsyncAnthropicFoundry(api_key=KEY, base_url=f"{server.url}/anthropic")
    client = make(sdk_client=sdk)
    with pytest.raises(ProviderError, match="seen"):
        await client.execute_streaming_with_tools(PROMPT, MODEL).message()
    with pytest.raises(anthropic.BadRequestError):
        await sdk.with_options(max_retries=0).messages.create(**server.requests[0].json())
    ours, theirs = server.requests
    assert (ours.path, ours.json()) == (theirs.path, theirs.json())
    assert ours.headers.get("api-key") == theirs.headers.get("api-key")
    await client.aclose()
    await sdk.close()
