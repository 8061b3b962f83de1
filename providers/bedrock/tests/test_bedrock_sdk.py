"""boto3 as the oracle of what is sent: the same request line and the same body for every kind of question.

Differences: none. boto3 refuses what its service model does not know, so that what it sends is a body of Converse.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from promptport import LLModel, Prompt
from promptport.messages import (
    AssistantMessage,
    DocumentPart,
    ImagePart,
    NamedTool,
    TextPart,
    ToolChoice,
    ToolResultMessage,
    UserMessage,
)
from promptport.provider import FinishReason, Reasoning, ToolCall, ToolDescriptor
from promptport.testing import WireResponse, WireServer
from promptport_bedrock._client import BedrockClient
from promptport_bedrock.conformance import frame

KEYS: dict[str, Any] = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
STREAM = frame(b'{"stopReason":"end_turn"}', event_type="messageStop", message_type="event")
WHOLE = b'{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn"}'
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-2-lite-v1:0"
PNG, PDF = b"\x89PNG", b"%PDF-1.7"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = ToolDescriptor("look", "Looks.", SCHEMA)
SPEC = {"toolSpec": {"name": "look", "description": "Looks.", "inputSchema": {"json": SCHEMA}}}
HI = {"role": "user", "content": [{"text": "Hi"}]}
POINT = {"cachePoint": {"type": "default"}}
PLAIN = Prompt.of("Hi")


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def thinking(**fields: Any) -> dict[str, Any]:
    return {"messages": [HI], "additionalModelRequestFields": fields}


THOUGHT = Reasoning("hm", {"type": "reasoningContent", "signature": "c2ln"})
HIDDEN = Reasoning("", {"type": "reasoningContent", "redactedContent": "YWI="})
CALLS = (ToolCall("t1", "look", '{"city":"Rome"}'), ToolCall("t2", "look", '{"city":"Oslo"}'))
HISTORY = Prompt(
    (
        UserMessage.of("Hi"),
        AssistantMessage((THOUGHT, HIDDEN, TextPart("I look."), *CALLS), finish_reason=FinishReason.TOOL_CALLS),
        ToolResultMessage("t1", "look", (TextPart("sunny"), ImagePart(data=PNG, media_type="image/png"))),
        ToolResultMessage("t2", "look", "", "no such city"),
        UserMessage.of("Go on."),
    )
)
TOLD = [
    HI,
    {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
            {"reasoningContent": {"redactedContent": b"ab"}},
            {"text": "I look."},
            {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"city": "Rome"}}},
            {"toolUse": {"toolUseId": "t2", "name": "look", "input": {"city": "Oslo"}}},
        ],
    },
    user(
        {
            "toolResult": {
                "toolUseId": "t1",
                "content": [{"text": "sunny"}, {"image": {"format": "png", "source": {"bytes": PNG}}}],
                "status": "success",
            }
        },
        {"toolResult": {"toolUseId": "t2", "content": [{"text": "no such city"}], "status": "error"}},
        {"text": "Go on."},
    ),
]

QUESTIONS: dict[str, tuple[str, Prompt, list[ToolDescriptor], dict[str, Any]]] = {
    "plain": (CLAUDE, PLAIN, [], {"messages": [HI]}),
    "parameters": (
        CLAUDE,
        Prompt.of("Hi", system="Be brief.", max_tokens=9, temperature=0.5, stop=("END",)),
        [],
        {
            "messages": [HI],
            "system": [{"text": "Be brief."}],
            "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "stopSequences": ["END"]},
        },
    ),
    "tools": (CLAUDE, PLAIN, [TOOL], {"messages": [HI], "toolConfig": {"tools": [SPEC]}}),
    **{
        f"tool choice {name}": (
            CLAUDE,
            PLAIN.with_params(tool_choice=choice),
            [TOOL],
            {"messages": [HI], "toolConfig": {"tools": [SPEC], "toolChoice": told}},
        )
        for name, choice, told in (
            ("auto", ToolChoice.AUTO, {"auto": {}}),
            ("required", ToolChoice.REQUIRED, {"any": {}}),
            ("named", NamedTool("look"), {"tool": {"name": "look"}}),
        )
    },
    "no tools": (CLAUDE, PLAIN.with_params(tool_choice="none"), [TOOL], {"messages": [HI]}),
    "an image": (
        NOVA,
        Prompt().user("this", ImagePart(data=PNG, media_type="image/png")),
        [],
        {"messages": [user({"text": "this"}, {"image": {"format": "png", "source": {"bytes": PNG}}})]},
    ),
    "an image by address": (
        NOVA,
        Prompt().user("this", ImagePart(url="s3://bucket/a.webp")),
        [],
        {
            "messages": [
                user(
                    {"text": "this"},
                    {"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://bucket/a.webp"}}}},
                )
            ]
        },
    ),
    "a document": (
        CLAUDE,
        Prompt().user("read", DocumentPart(data=PDF, media_type="application/pdf", name="the report.pdf")),
        [],
        {
            "messages": [
                user(
                    {"text": "read"},
                    {"document": {"format": "pdf", "name": "the report pdf", "source": {"bytes": PDF}}},
                )
            ]
        },
    ),
    "a schema": (
        CLAUDE,
        PLAIN.with_params(response_schema={**SCHEMA, "title": "Place"}),
        [],
        {
            "messages": [HI],
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {"jsonSchema": {"schema": "SCHEMA", "name": "Place"}},
                }
            },
        },
    ),
    "a budget": (
        CLAUDE,
        PLAIN.with_params(reasoning_budget=2048),
        [],
        thinking(thinking={"type": "enabled", "budget_tokens": 2048}),
    ),
    "an effort": (
        "anthropic.claude-opus-4-6-v1",
        PLAIN.with_params(reasoning_effort="high"),
        [],
        thinking(thinking={"type": "adaptive"}, output_config={"effort": "high"}),
    ),
    "an effort of Nova": (
        NOVA,
        PLAIN.with_params(reasoning_effort="low"),
        [],
        thinking(reasoningConfig={"type": "enabled", "maxReasoningEffort": "low"}),
    ),
    "history": (CLAUDE, HISTORY, [TOOL], {"messages": TOLD, "toolConfig": {"tools": [SPEC]}}),
    "cache marks": (
        CLAUDE,
        Prompt.of("Hi", system="Be brief.", cache="auto"),
        [TOOL],
        {
            "messages": [user({"text": "Hi"}, POINT)],
            "system": [{"text": "Be brief."}, POINT],
            "toolConfig": {"tools": [SPEC, POINT]},
        },
    ),
    "a guardrail": (
        CLAUDE,
        PLAIN.with_params(extra={"guardrailConfig": {"guardrailIdentifier": "gr12345", "guardrailVersion": "1"}}),
        [],
        {"messages": [HI], "guardrailConfig": {"guardrailIdentifier": "gr12345", "guardrailVersion": "1"}},
    ),
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def asked_by_boto3(url: str, stream: bool, request: dict[str, Any]) -> None:
    import boto3
    import botocore.config

    made = boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-west-2",
        aws_access_key_id=KEYS["access_key"],
        aws_secret_access_key=KEYS["secret_key"],
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )
    if stream:
        list(made.converse_stream(**request)["stream"])
    else:
        made.converse(**request)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("question", QUESTIONS)
async def test_boto3_writes_the_same_request(question: str, stream: bool) -> None:
    name, prompt, tools, request = QUESTIONS[question]
    response = WireResponse(STREAM, content_type="application/vnd.amazon.eventstream")
    if not stream:
        response = WireResponse(WHOLE, content_type="application/json")
    async with WireServer(response, response) as server:
        async with BedrockClient(base_url=server.url, region="us-west-2", **KEYS) as bedrock:
            model = LLModel("bedrock", name)
            own = [  # as this server's own answer: thoughts go back to it alone
                replace(message, origin=bedrock.origin) if isinstance(message, AssistantMessage) else message
                for message in prompt.messages
            ]
            told = replace(prompt, messages=tuple(own))
            if stream:
                await bedrock.execute_streaming_with_tools(told, model, tools).message()
            else:
                await bedrock.execute(told, model, tools)
        ours = server.requests[0]
        sent = json.loads(ours.body)
        asked = {"modelId": name, **json.loads(json.dumps(request, default=_bytes_as_marks))}
        if "outputConfig" in sent:  # a schema is a text of its own
            place = sent["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
            assert json.loads(place["schema"]) == {**SCHEMA, "title": "Place"}
            asked["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"] = place["schema"]
        await asyncio.to_thread(asked_by_boto3, server.url, stream, _marks_as_bytes(asked))
        theirs = server.requests[1]
    assert sent == json.loads(theirs.body)
    assert ours.path == theirs.path
    assert ours.headers["content-type"] == theirs.headers["content-type"]


def _bytes_as_marks(value: bytes) -> dict[str, str]:
    return {"bytes in hex": value.hex()}


def _marks_as_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        if "bytes in hex" in value:
            return bytes.fromhex(value["bytes in hex"])
        return {name: _marks_as_bytes(inner) for name, inner in value.items()}
    return [_marks_as_bytes(inner) for inner in value] if isinstance(value, list) else value
