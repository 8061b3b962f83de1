"""Mistral's SDK as a second opinion, over loopback: it reads the same out of each recorded stream, and asks the same.

Where the two differ, the reason stands here:

- the SDK writes defaults of its own (`SDK_SAYS` and `plain`);
- promptport closes the objects of a structured answer's schema, which Mistral's strict mode wants;
- it ends quietly on a stream that was cut, where promptport raises; those are not compared.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import promptport as pp
from promptport.frames import Reasoning, ToolCall
from promptport.messages import AssistantMessage, ImagePart, NamedTool, TextPart, ToolResultMessage, UserMessage
from promptport.models import LLModel
from promptport.registry import client
from promptport.testing import WireResponse, WireServer
from promptport.tools import ToolDescriptor

mistral: Any = pytest.importorskip("mistralai.client")

FOLDER = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "wire"))
SDK_SAYS = {"n", "stream"}
"""What the SDK says of itself where it is not asked."""


def recordings() -> list[Any]:
    if not FOLDER.is_dir():
        reason = "the corpus of recorded wires (../shared/wire) is not here"
        return [pytest.param("", marks=pytest.mark.skip(reason=reason), id="no-corpus")]
    return [
        pytest.param(entry["path"], id=entry["path"])
        for entry in json.loads((FOLDER / "manifest.json").read_text())
        if entry["provider"] == "mistral" and entry["protocol"] == "openai-chat"
    ]


def texts(content: Any) -> tuple[str, str]:
    """The text and the thoughts of what the SDK calls content."""
    if not isinstance(content, list):
        return (content if isinstance(content, str) else "", "")
    text = "".join([part.text for part in content if part.type == "text"])
    thoughts = "".join([each.text for part in content if part.type == "thinking" for each in part.thinking])
    return text, thoughts


async def asked_by_sdk(server: WireServer, **question: Any) -> Any:
    async with mistral.Mistral(api_key="test-key", server_url=server.url) as theirs:
        return [event.data async for event in await theirs.chat.stream_async(model="m", **question)]


@pytest.mark.parametrize("path", recordings())
async def test_the_sdk_reads_the_same(path: str) -> None:
    body = (FOLDER / path).read_bytes()
    async with WireServer(WireResponse(body), WireResponse(body)) as server:
        made: Any = client("mistral", base_url=f"{server.url}/v1", api_key="k")
        message = await made.execute_streaming_with_tools("Hi", LLModel("mistral", "m")).message()
        await made.aclose()
        chunks = await asked_by_sdk(server, messages=[{"role": "user", "content": "Hi"}])
    text = thoughts = reason = ""
    calls: list[tuple[str, Any]] = []
    usage: Any = None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices[:1]:
            if choice.index:  # other answers than the first
                continue
            more, thought = texts(choice.delta.content)
            text, thoughts, reason = text + more, thoughts + thought, choice.finish_reason or reason
            for call in choice.delta.tool_calls or ():
                arguments = call.function.arguments
                calls.append((call.function.name, json.loads(arguments) if isinstance(arguments, str) else arguments))
    assert (message.text, message.reasoning) == (text, thoughts)
    assert [(call.name, call.parsed()) for call in message.tool_calls] == calls
    assert message.raw_finish_reason == reason
    assert (message.usage.input_tokens, message.usage.output_tokens) == (usage.prompt_tokens, usage.completion_tokens)


# -------------------------------------------------------------------------------------------------- requests

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = ToolDescriptor("get_weather", "Current weather.", SCHEMA)
FUNCTION = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Current weather.", "parameters": SCHEMA},
}
HI: dict[str, Any] = {"role": "user", "content": "Hi"}
ID = "D681PevKs"
CALL = {"id": ID, "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'}}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "I look."}], "closed": True}
CLOSED = {**SCHEMA, "title": "City", "additionalProperties": False}
ANSWER = {"type": "json_schema", "json_schema": {"name": "City", "schema": CLOSED, "strict": True}}
PNG = ImagePart(data=b"\x89PNG", media_type="image/png")


def history(*before: Any) -> pp.Prompt:
    call = ToolCall(ID, "get_weather", '{"city":"Rome"}')
    return pp.Prompt.of("Hi").add(
        AssistantMessage((*before, call), model="m"),
        ToolResultMessage(ID, "get_weather", "sunny"),
    )


RESULT = {"role": "tool", "tool_call_id": ID, "content": "sunny"}
QUESTIONS: dict[str, tuple[pp.Prompt, list[ToolDescriptor], dict[str, Any]]] = {
    "plain": (pp.Prompt.of("Hi"), [], {"messages": [HI]}),
    "parameters": (
        pp.Prompt.of("Hi", system="Be brief.", temperature=0.5, max_tokens=9, stop=("END",), seed=7),
        [],
        {
            "messages": [{"role": "system", "content": "Be brief."}, HI],
            "temperature": 0.5,
            "max_tokens": 9,
            "stop": ["END"],
            "random_seed": 7,
        },
    ),
    "a call is required": (
        pp.Prompt.of("Hi", tool_choice="required"),
        [TOOL],
        {"messages": [HI], "tools": [FUNCTION], "tool_choice": "any"},
    ),
    "one tool": (
        pp.Prompt.of("Hi", tool_choice=NamedTool("get_weather")),
        [TOOL],
        {
            "messages": [HI],
            "tools": [FUNCTION],
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        },
    ),
    "one call at a time": (
        pp.Prompt.of("Hi", parallel_tool_calls=False),
        [TOOL],
        {"messages": [HI], "tools": [FUNCTION], "parallel_tool_calls": False},
    ),
    "effort": (pp.Prompt.of("Hi", reasoning_effort="high"), [], {"messages": [HI], "reasoning_effort": "high"}),
    "schema": (
        pp.Prompt.of("Hi", response_schema={**SCHEMA, "title": "City"}),
        [],
        {"messages": [HI], "response_format": ANSWER},
    ),
    "image": (
        pp.Prompt((UserMessage((TextPart("What?"), PNG)),)),
        [],
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                    ],
                }
            ]
        },
    ),
    "history": (
        history(TextPart("I look.")),
        [TOOL],
        {
            "messages": [HI, {"role": "assistant", "content": "I look.", "tool_calls": [CALL]}, RESULT],
            "tools": [FUNCTION],
        },
    ),
    "history with thoughts": (
        history(Reasoning("I look.", {"content": "thinking"})),
        [TOOL],
        {
            "messages": [HI, {"role": "assistant", "content": [THOUGHT], "tool_calls": [CALL]}, RESULT],
            "tools": [FUNCTION],
        },
    ),
}
DONE = WireResponse(
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


def plain(body: Any) -> Any:
    """The body without what only says the default: the SDK writes some of those, and we others."""
    if isinstance(body, list):
        return [plain(each) for each in body]
    if not isinstance(body, dict):
        return body
    kept = {key: plain(value) for key, value in body.items() if value is not None}
    if kept.get("role") == "assistant" and kept.get("prefix") is False:
        del kept["prefix"]
    if "parameters" in kept and kept.get("strict") is False:
        del kept["strict"]
    if "arguments" in body and "name" in body and isinstance(kept["arguments"], str):
        kept["arguments"] = json.loads(kept["arguments"])
    if "tool_calls" in kept:  # the SDK numbers the calls, each with 0
        kept["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in kept["tool_calls"]]
    return kept


@pytest.mark.parametrize("question", QUESTIONS)
async def test_the_sdk_asks_the_same(question: str) -> None:
    prompt, tools, theirs = QUESTIONS[question]
    async with WireServer(DONE, DONE) as server:
        made: Any = client("mistral", base_url=f"{server.url}/v1", api_key="k")
        own = [replace(m, origin=made.origin) if isinstance(m, AssistantMessage) else m for m in prompt.messages]
        prompt = replace(prompt, messages=tuple(own))
        await made.execute_streaming_with_tools(prompt, LLModel("mistral", "m"), tools).message()
        await made.aclose()
        await asked_by_sdk(server, **theirs)
        ours, other = [request.json() for request in server.requests]
        paths = [request.path for request in server.requests]
    assert paths == ["/v1/chat/completions"] * 2
    ours, other = plain(ours), plain(other)
    for name in SDK_SAYS - ours.keys():
        other.pop(name, None)
    assert ours == other
