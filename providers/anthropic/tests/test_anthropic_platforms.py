"""Claude on Bedrock, Vertex AI and Foundry by one option each: what is sent is what the SDK's client there sends."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any
from zlib import crc32

import anthropic
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import google.oauth2.credentials
import pytest

from promptport.errors import ConfigurationError, ProviderError, UnsupportedCapabilityError
from promptport.frames import FinishReason
from promptport.messages import ImagePart, Prompt, ToolChoice
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.testing import RecordedRequest, WireResponse, WireServer
from promptport.tools import ToolDescriptor
from promptport_anthropic import client as make

IDS = ["anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5@20250929", "eu.anthropic.claude-4:1"]
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-4-v1:0"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolDescriptor("weather", "Current weather.", SCHEMA)
PROMPT = Prompt.of("Hi", system="Be brief.", max_tokens=9)
KINDS: dict[str, tuple[Prompt, list[ToolDescriptor]]] = {
    "text": (PROMPT, []),
    "tools": (PROMPT.with_params(tool_choice=ToolChoice.REQUIRED), [WEATHER]),
    "an image": (PROMPT.user("this", ImagePart(data=b"png", media_type="image/png")), []),
    "betas": (PROMPT.with_params(extra={"betas": ["context-1m-2025-08-07", "other-2025-01-01"]}), []),
}
AWS = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
GOOGLE: Any = google.oauth2.credentials.Credentials
VARIABLES = (
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS"),
    *("ANTHROPIC_BEDROCK_BASE_URL", "ANTHROPIC_VERTEX_BASE_URL", "ANTHROPIC_VERTEX_PROJECT_ID", "CLOUD_ML_REGION"),
    *("ANTHROPIC_FOUNDRY_API_KEY", "ANTHROPIC_FOUNDRY_BASE_URL", "ANTHROPIC_FOUNDRY_RESOURCE"),
    *("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"),
    *("AWS_BEARER_TOKEN_BEDROCK", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-the-environment")  # goes to no platform


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse.json({"error": {"type": "invalid_request_error", "message": "seen"}}, 400))
        yield server


def model(name: str) -> LLModel:
    return LLModel("anthropic", name, ModelCapabilities.of(StreamedTools.DELTAS, Capability))


def asked(request: RecordedRequest, *headers: str) -> Any:
    names = ("anthropic-beta", "content-type", "x-mine", *headers)
    told = {name: request.headers.get(name) for name in names}
    return request.method, request.path, request.query, told, request.json()


async def both(
    server: WireServer, ours: Any, sdk: Any, kind: str, name: str, *, stream: bool = True
) -> tuple[RecordedRequest, RecordedRequest]:
    """The request of our client, and the SDK's for the same parameters."""
    prompt, tools = KINDS[kind]
    with pytest.raises(ProviderError, match="seen"):
        if stream:
            await ours.execute_streaming_with_tools(prompt, model(name), tools).message()
        else:
            await ours.execute(prompt, model(name), tools)
    await ours.aclose()
    plain = make(api_key="k", base_url=server.url)
    body = plain._body(prompt, model(name), tools, stream=stream)  # type: ignore[attr-defined]
    await plain.aclose()
    betas = body.pop("betas", None)
    headers = {"anthropic-beta": ",".join(betas)} if betas else None
    with pytest.raises(anthropic.BadRequestError):
        await sdk.messages.create(**body, extra_headers=headers)
    await sdk.close()
    mine, theirs = server.requests
    assert "of-the-environment" not in str(mine.headers)
    return mine, theirs


# ---------------------------------------------------------------------------------------------------- Bedrock


def signature(request: RecordedRequest, url: str, region: str, token: str | None) -> str:
    """What botocore signs of what arrived."""
    named = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    headers = {name: request.headers[name] for name in named}
    again: Any = botocore.awsrequest.AWSRequest("POST", url + request.path, data=request.body, headers=headers)
    again.context["timestamp"] = request.headers["x-amz-date"]
    credentials = botocore.credentials.Credentials(AWS["access_key"], AWS["secret_key"], token)
    auth: Any = botocore.auth.SigV4Auth(credentials, "bedrock", region)
    return str(auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
async def test_bedrock_signed(server: WireServer, kind: str, stream: bool) -> None:
    ours = make(platform="bedrock", region="eu-west-1", base_url=server.url, headers={"x-mine": "1"}, **AWS)
    sdk = anthropic.AsyncAnthropicBedrock(
        aws_region="eu-west-1",
        aws_access_key=AWS["access_key"],
        aws_secret_key=AWS["secret_key"],
        base_url=server.url,
        default_headers={"x-mine": "1"},
        max_retries=0,
    )
    mine, theirs = await both(server, ours, sdk, kind, IDS[0], stream=stream)
    assert asked(mine) == asked(theirs)
    assert mine.path == f"/model/{IDS[0]}/invoke{'-with-response-stream' if stream else ''}"
    scopes = [each.headers["authorization"].partition("Credential=")[2].partition(",")[0] for each in (mine, theirs)]
    assert scopes[0].partition("/")[0] == scopes[1].partition("/")[0] == AWS["access_key"]
    assert [scope.split("/")[2:] for scope in scopes] == [["eu-west-1", "bedrock", "aws4_request"]] * 2


@pytest.mark.parametrize("name", [IDS[0], IDS[2], ARN])
@pytest.mark.parametrize("token", [None, "session/token+1=="])
async def test_botocore_verifies_the_signature_of_what_arrived(
    server: WireServer, name: str, token: str | None
) -> None:
    ours = make(platform="bedrock", region="us-east-1", base_url=server.url, session_token=token, **AWS)
    with pytest.raises(ProviderError, match="seen"):
        await ours.execute_streaming_with_tools(PROMPT, model(name)).message()
    await ours.aclose()
    [request] = server.requests
    assert request.headers["authorization"].endswith(signature(request, server.url, "us-east-1", token))
    assert request.headers.get("x-amz-security-token") == token


async def test_bedrock_by_a_bearer_key(server: WireServer) -> None:
    ours = make(platform="bedrock", region="us-east-1", base_url=server.url, api_key="bedrock-key")
    sdk = anthropic.AsyncAnthropicBedrock(
        aws_region="us-east-1", api_key="bedrock-key", base_url=server.url, max_retries=0
    )
    mine, theirs = await both(server, ours, sdk, "tools", IDS[0])
    assert asked(mine, "authorization") == asked(theirs, "authorization")
    assert mine.headers["authorization"] == "Bearer bedrock-key"


def framed(event: dict[str, Any]) -> bytes:
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode()
    headers = b"".join(
        bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value
        for name, value in ((b":message-type", b"event"), (b":event-type", b"chunk"))
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return body + struct.pack(">I", crc32(body))


EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "m", "model": "c", "content": [], "usage": {"input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]


async def test_what_bedrock_streams_is_read() -> None:
    body = b"".join(map(framed, EVENTS))
    kind = "application/vnd.amazon.eventstream"
    async with WireServer(WireResponse(body, content_type=kind, cut=("random", 1))) as server:
        ours = make(platform="bedrock", region="us-east-1", base_url=server.url, **AWS)
        message = await ours.execute_streaming_with_tools(PROMPT, model(IDS[0])).message()
        await ours.aclose()
    assert (message.text, message.finish_reason) == ("Hi", FinishReason.STOP)


# ----------------------------------------------------------------------------------------------------- Vertex


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
async def test_vertex_by_credentials(server: WireServer, kind: str, stream: bool) -> None:
    ours = make(
        platform="vertex",
        project="my-proj",
        location="europe-west1",
        credentials=GOOGLE(token="token-0123"),
        base_url=server.url,
    )
    sdk = anthropic.AsyncAnthropicVertex(
        region="europe-west1",
        project_id="my-proj",
        credentials=GOOGLE(token="token-0123"),
        base_url=server.url,
        max_retries=0,
    )
    mine, theirs = await both(server, ours, sdk, kind, IDS[1], stream=stream)
    assert asked(mine, "authorization") == asked(theirs, "authorization")
    assert mine.path.endswith(f"/models/{IDS[1]}:{'streamRawPredict' if stream else 'rawPredict'}")


async def test_vertex_by_a_token_counts_tokens_as_the_sdk_does(server: WireServer) -> None:
    for api_key in ("token-0123", lambda: "token-0123"):
        ours = make(platform="vertex", project="p", location="global", api_key=api_key, base_url=server.url)
        with pytest.raises(ProviderError, match="seen"):
            await ours.count_tokens(PROMPT, model(IDS[1]))  # type: ignore[attr-defined]
        await ours.aclose()
    sdk = anthropic.AsyncAnthropicVertex(
        region="global", project_id="p", access_token="token-0123", base_url=server.url, max_retries=0
    )
    body = server.requests[0].json()
    body.pop("anthropic_version")
    with pytest.raises(anthropic.BadRequestError):
        await sdk.messages.count_tokens(**body)
    await sdk.close()
    first, second, theirs = server.requests
    assert asked(first, "authorization") == asked(second, "authorization") == asked(theirs, "authorization")


# ---------------------------------------------------------------------------------------------------- Foundry


@pytest.mark.parametrize("kind", KINDS)
async def test_foundry_by_a_key(server: WireServer, kind: str) -> None:
    ours = make(platform="foundry", base_url=server.url, api_key="foundry-key")
    sdk = anthropic.AsyncAnthropicFoundry(base_url=server.url, api_key="foundry-key", max_retries=0)
    mine, theirs = await both(server, ours, sdk, kind, "claude-oracle")
    names = ("authorization", "x-api-key", "api-key", "anthropic-version")
    assert asked(mine, *names) == asked(theirs, *names)
    assert mine.headers["x-api-key"] == "foundry-key"


async def test_foundry_by_a_token_of_entra_id(server: WireServer) -> None:
    ours = make(platform="foundry", base_url=server.url, api_key=lambda: "entra-token")
    sdk = anthropic.AsyncAnthropicFoundry(
        base_url=server.url, azure_ad_token_provider=lambda: "entra-token", max_retries=0
    )
    mine, theirs = await both(server, ours, sdk, "tools", "claude-oracle")
    names = ("authorization", "x-api-key", "api-key", "anthropic-version")
    assert asked(mine, *names) == asked(theirs, *names)


# --------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("options", "sdk", "arguments"),
    [
        ({"platform": "bedrock", "region": "eu-west-1"}, "AsyncAnthropicBedrock", {"aws_region": "eu-west-1"}),
        ({"platform": "vertex", "project": "p"}, "AsyncAnthropicVertex", {"region": "global", "project_id": "p"}),
        *[
            ({"platform": "vertex", "project": "p", "location": place}, "AsyncAnthropicVertex", {"region": place})
            for place in ("us", "eu", "europe-west4")
        ],
        ({"platform": "foundry", "resource": "my-res"}, "AsyncAnthropicFoundry", {"resource": "my-res"}),
    ],
)
def test_addresses_are_the_sdks(options: dict[str, Any], sdk: str, arguments: dict[str, Any]) -> None:
    made: Any = make(api_key="k", **options)
    key = {} if sdk == "AsyncAnthropicVertex" else {"api_key": "k"}
    theirs = getattr(anthropic, sdk)(**arguments, **key)
    assert made.base_url == str(theirs.base_url).rstrip("/")
    assert "'k'" not in repr(made)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"platform": "azure"}, "platform: 'azure' is not known. Pass one of bedrock, vertex, foundry"),
        ({"region": "us-east-1"}, "region is an option of a platform. Pass platform='bedrock'"),
        ({"location": "us"}, "Pass platform='vertex'"),
        ({"platform": "bedrock", "project": "p"}, "there is no option 'project'"),
        ({"platform": "bedrock"}, "no AWS region"),
        ({"platform": "bedrock", "region": "us-east-1", "api_key": "k", **AWS}, "exclude each other"),
        ({"platform": "bedrock", "region": "us-east-1", "base_url": "http://127.0.0.1:1"}, "addresses of AWS only"),
        ({"platform": "vertex"}, "no project"),
        ({"platform": "vertex", "project": "p", "location": "us east"}, "is not a region"),
        ({"platform": "foundry", "resource": "r"}, "no API key"),
        ({"platform": "foundry", "api_key": "k"}, "no resource"),
        ({"platform": "foundry", "resource": "evil.example/x", "api_key": "k"}, "is not the name of a resource"),
        ({"platform": "foundry", "resource": "r", "auth_token": "t"}, "pass it as api_key"),
    ],
)
def test_options_that_cannot_be_used(
    options: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    if options.get("platform") == "vertex" and "project" not in options:
        options = {**options, "api_key": "token"}
    with pytest.raises(ConfigurationError, match=words):
        make(**options)


async def test_keys_of_the_environment(server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_FOUNDRY_API_KEY", "foundry-of-the-environment")
    assert make(platform="foundry", resource="my-res") is not None
    with pytest.raises(ConfigurationError, match="pass it as api_key"):
        make(platform="foundry", base_url=server.url)
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-of-the-environment")
    with pytest.raises(ConfigurationError, match="addresses of AWS only"):
        make(platform="bedrock", region="us-east-1", base_url=server.url)


async def test_what_a_platform_has_not_is_refused_before_sending(server: WireServer) -> None:
    bedrock: Any = make(platform="bedrock", region="us-east-1", base_url=server.url, api_key="k")
    with pytest.raises(UnsupportedCapabilityError, match="list of models"):
        await bedrock.models()
    with pytest.raises(UnsupportedCapabilityError, match="count of tokens"):
        await bedrock.count_tokens(PROMPT, model(IDS[0]))
    await bedrock.aclose()
    assert server.requests == []
