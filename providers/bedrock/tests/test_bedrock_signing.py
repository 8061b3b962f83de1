"""A signed request as the server sees it, verified by botocore's own signer over what arrived; and boto3 as oracle."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from promptport import LLModel, Prompt
from promptport.provider import (
    AuthenticationError,
    ConfigurationError,
    ModelCapabilities,
    StreamedTools,
    Timeouts,
    message_of,
)
from promptport.testing import WireResponse, WireServer
from promptport_bedrock._client import BedrockClient
from promptport_bedrock.conformance import frame

CORPUS = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).resolve().parents[4] / "shared" / "wire"))
RECORDED = sorted((CORPUS / "bedrock" / "converse-stream").glob("*.eventstream"))
KEYS: dict[str, Any] = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
ANSWER = b"".join(
    [
        frame(b'{"role":"assistant"}', event_type="messageStart", message_type="event"),
        frame(b'{"contentBlockIndex":0,"delta":{"text":"Hi"}}', event_type="contentBlockDelta", message_type="event"),
        frame(b'{"stopReason":"end_turn"}', event_type="messageStop", message_type="event"),
        frame(b'{"usage":{"inputTokens":1,"outputTokens":1}}', event_type="metadata", message_type="event"),
    ]
)
MODELS = [
    "amazon.nova-lite-v1:0",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3d4e5f6",
]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def answer() -> WireResponse:
    return WireResponse(ANSWER, content_type="application/vnd.amazon.eventstream")


def signature_by_botocore(request: Any, url: str, token: str | None = None) -> str:
    """What botocore signs for the request line, the signed headers and the body that arrived."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    named = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    rebuilt = botocore.awsrequest.AWSRequest(
        "POST",
        url + request.path,
        data=request.body,
        headers={name: headers[name] for name in named if not name.startswith("x-amz-")},
    )
    signer = botocore.auth.SigV4Auth(
        botocore.credentials.Credentials(KEYS["access_key"], KEYS["secret_key"], token), "bedrock", "us-west-2"
    )
    rebuilt.context["timestamp"] = headers["x-amz-date"]
    if token:
        rebuilt.headers["x-amz-security-token"] = token
    rebuilt.headers["x-amz-date"] = headers["x-amz-date"]
    string_to_sign = signer.string_to_sign(rebuilt, signer.canonical_request(rebuilt))
    return str(signer.signature(string_to_sign, rebuilt))


@pytest.mark.parametrize("token", [None, "a-session-token"])
@pytest.mark.parametrize("model", MODELS)
async def test_botocore_signs_what_arrived_the_same_way(model: str, token: str | None) -> None:
    async with WireServer(answer()) as server:
        async with BedrockClient(base_url=server.url, region="us-west-2", session_token=token, **KEYS) as bedrock:
            stream = bedrock.execute_streaming_with_tools(Prompt.of("Hello, wörld"), LLModel("bedrock", model))
            assert (await stream.message()).text == "Hi"
        [request] = server.requests
        authorization = request.headers["authorization"]
        assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert "/us-west-2/bedrock/aws4_request" in authorization
        assert authorization.rpartition("Signature=")[2] == signature_by_botocore(request, server.url, token)
        assert request.headers.get("x-amz-security-token") == token
        # The colon and the slash of the name are sent as the signature has them.
        assert request.path == f"/model/{model.replace(':', '%3A').replace('/', '%2F')}/converse-stream"


async def test_a_bearer_key_is_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WireServer(answer()) as server:
        async with BedrockClient(base_url=server.url, api_key="bedrock-key") as bedrock:
            await bedrock.execute_streaming_with_tools(Prompt.of("Hi"), LLModel("bedrock", "m")).message()
        [request] = server.requests
        assert request.headers["authorization"] == "Bearer bedrock-key"
        assert "x-amz-date" not in request.headers


async def test_credentials_of_a_profile(tmp_path: Path) -> None:
    lines = ["[work]", "aws_access_key_id = AKIDEXAMPLE", f"aws_secret_access_key = {KEYS['secret_key']}"]
    (tmp_path / "credentials").write_text("\n".join(lines))
    (tmp_path / "config").write_text("[profile work]\nregion = us-west-2\n")
    async with WireServer(answer()) as server:
        async with BedrockClient(base_url=server.url, profile="work") as bedrock:
            await bedrock.execute_streaming_with_tools(Prompt.of("Hi"), LLModel("bedrock", "m")).message()
        [request] = server.requests
        assert request.headers["authorization"].endswith(signature_by_botocore(request, server.url))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_url": "http://127.0.0.1:1", "region": "us-east-1"}, "addresses of AWS only"),
        ({"access_key": "a", "region": "us-east-1"}, "access_key and secret_key together"),
        ({**KEYS, "api_key": "b", "region": "us-east-1"}, "exclude each other"),
        ({**KEYS, "profile": "b", "region": "us-east-1"}, "exclude each other"),
        (KEYS, "no AWS region"),
        ({**KEYS, "region": "us east"}, "is not a region"),
        ({"profile": "missing"}, "no AWS profile 'missing'"),
        ({"api_key": "k", "base_url": "http://example.com"}, "https only"),
        ({**KEYS, "region": "us-east-1", "base_url": "nonsense"}, "base_url"),
    ],
)
def test_settings_that_cannot_be_used(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        BedrockClient(**options)


async def test_credentials_and_keys_of_the_environment_go_to_aws_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["secret_key"])
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    async with WireServer(answer()) as server:
        with pytest.raises(ConfigurationError, match="addresses of AWS only"):
            BedrockClient(base_url=server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(ConfigurationError, match="addresses of AWS only"):
            BedrockClient()
        async with BedrockClient(**KEYS) as bedrock:  # passed: they may go there, and the key in the variable does not
            await bedrock.execute_streaming_with_tools(Prompt.of("Hi"), LLModel("bedrock", "m")).message()
        [request] = server.requests
        assert "bedrock-key" not in str(request.headers)


async def test_without_credentials_nothing_is_sent() -> None:
    async with BedrockClient(region="us-east-1", timeouts=Timeouts(connect=1)) as bedrock:
        with pytest.raises(ConfigurationError, match="no AWS credentials"):
            await bedrock.execute(Prompt.of("Hi"), LLModel("bedrock", "m"))


async def test_no_error_quotes_a_credential() -> None:
    said = json.dumps({"message": f"bad {KEYS['secret_key']} and tok-1234"}).encode()
    refused = WireResponse(said, status=403, headers={"x-amzn-ErrorType": "UnrecognizedClientException"})
    async with WireServer(refused) as server:
        async with BedrockClient(base_url=server.url, region="us-west-2", session_token="tok-1234", **KEYS) as bedrock:
            with pytest.raises(AuthenticationError) as raised:
                await bedrock.execute(Prompt.of("Hi"), LLModel("bedrock", "m"))
    assert KEYS["secret_key"] not in str(raised.value)
    assert "tok-1234" not in str(raised.value)
    assert raised.value.code == "UnrecognizedClientException"


# ------------------------------------------------------------------------------------------------ boto3 as oracle


def boto3_client(url: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "bedrock-runtime",
        region_name="us-west-2",
        endpoint_url=url,
        aws_access_key_id=KEYS["access_key"],
        aws_secret_access_key=KEYS["secret_key"],
        config=Config(retries={"max_attempts": 0}),
    )


def asked_by_boto3(url: str, **request: Any) -> tuple[str, list[dict[str, Any]]]:
    response = boto3_client(url).converse_stream(**request)
    text, calls = "", []
    for event in response["stream"]:
        start = event.get("contentBlockStart", {}).get("start", {}).get("toolUse")
        delta = event.get("contentBlockDelta", {}).get("delta", {})
        text += delta.get("text", "")
        if start:
            calls.append({"id": start["toolUseId"], "name": start["name"], "arguments": ""})
        if "toolUse" in delta:
            calls[-1]["arguments"] += delta["toolUse"]["input"]
    return text, calls


@pytest.mark.skipif(not RECORDED, reason="the corpus of recorded wires (../shared/wire) is not here")
async def test_boto3_reads_the_same_text_and_calls_out_of_each_recording() -> None:
    everything = ModelCapabilities.of(StreamedTools.DELTAS, [])
    seen = 0
    for path in RECORDED:
        if path.name.startswith("derived-"):
            continue
        reply = WireResponse(path.read_bytes(), content_type="application/vnd.amazon.eventstream")
        async with WireServer(reply, reply) as server:
            messages = [{"role": "user", "content": [{"text": "Hi"}]}]
            text, calls = await asyncio.to_thread(asked_by_boto3, server.url, modelId="m", messages=messages)
            async with BedrockClient(base_url=server.url, region="us-west-2", **KEYS) as bedrock:
                model = LLModel("bedrock", "m", everything)
                async with bedrock.execute_streaming_with_tools(Prompt.of("Hi"), model) as stream:
                    ours = message_of([each async for each in stream])
        assert ours.text == text, path.name
        assert [(call.id, call.name, call.parsed()) for call in ours.tool_calls] == [
            (call["id"], call["name"], json.loads(call["arguments"] or "{}")) for call in calls
        ], path.name
        seen += 1
    assert seen >= 11
