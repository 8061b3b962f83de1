"""Cohere's SDK as a second opinion, over loopback: it reads the same out of each recorded stream, and asks the same.

Where the two differ, the reason stands here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import promptport_cohere
from promptport.messages import (
    AssistantMessage,
    DocumentPart,
    ImagePart,
    NamedTool,
    Prompt,
    ToolChoice,
    ToolResultMessage,
)
from promptport.models import LLModel
from promptport.stream import message_of
from promptport.testing import WireResponse, WireServer
from promptport.tools import ToolDescriptor
from promptport_cohere._decode import ChatDecoder

client: Any = promptport_cohere.client
cohere: Any = pytest.importorskip("cohere")

FOLDER = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).resolve().parents[4] / "shared" / "wire"))


def recordings() -> list[Any]:
    if not FOLDER.is_dir():
        reason = "the corpus of recorded wires (../shared/wire) is not here"
        return [pytest.param("", marks=pytest.mark.skip(reason=reason), id="no-corpus")]
    entries = json.loads((FOLDER / "manifest.json").read_text())
    return [pytest.param(entry["path"], id=entry["path"]) for entry in entries if entry["protocol"] == "cohere-v2"]


def sdk(server: WireServer) -> Any:
    return cohere.AsyncClientV2(api_key="test-key", base_url=server.url)


@pytest.mark.parametrize("path", recordings())
async def test_the_sdk_reads_the_same(path: str) -> None:
    body = (FOLDER / path).read_bytes()
    decoder = ChatDecoder()
    frames = [*decoder.feed(body), *decoder.close()]
    message = message_of(frames)
    text = thoughts = plan = ""
    calls: dict[int, list[str]] = {}
    usage: Any = None
    async with WireServer(WireResponse(body)) as server, sdk(server) as theirs:
        async for event in theirs.chat_stream(model="m", messages=[{"role": "user", "content": "Hi"}]):
            if event.type == "content-delta":
                text += event.delta.message.content.text or ""
                thoughts += event.delta.message.content.thinking or ""
            elif event.type == "tool-plan-delta":
                plan += event.delta.message.tool_plan
            elif event.type == "tool-call-start":
                call = event.delta.message.tool_calls
                calls[event.index] = [call.id, call.function.name, ""]
            elif event.type == "tool-call-delta":
                calls[event.index][2] += event.delta.message.tool_calls.function.arguments
            elif event.type == "message-end":
                usage = event.delta.usage.tokens
    assert message.text == text
    assert message.reasoning == plan + thoughts
    assert [[call.id, call.name, call.arguments] for call in message.tool_calls] == list(calls.values())
    assert (message.usage.input_tokens, message.usage.output_tokens) == (usage.input_tokens, usage.output_tokens)


# -------------------------------------------------------------------------------------------------- requests

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = ToolDescriptor("get_weather", "Current weather.", SCHEMA)
FUNCTION = {"type": "function", "function": {"name": TOOL.name, "description": TOOL.description, "parameters": SCHEMA}}
HI: dict[str, Any] = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'}}

QUESTIONS: dict[str, tuple[Prompt, list[ToolDescriptor], list[dict[str, Any]], dict[str, Any]]] = {
    "plain": (Prompt.of("Hi"), [], [HI], {}),
    "parameters": (
        Prompt.of("Hi", system="Be brief.", temperature=0.5, max_tokens=10, stop=("END",), seed=7, reasoning_budget=50),
        [],
        [{"role": "system", "content": "Be brief."}, HI],
        {
            "temperature": 0.5,
            "max_tokens": 10,
            "stop_sequences": ["END"],
            "seed": 7,
            "thinking": {"type": "enabled", "token_budget": 50},
        },
    ),
    "tools": (
        Prompt.of("Hi", tool_choice=ToolChoice.REQUIRED),
        [TOOL],
        [HI],
        {"tools": [FUNCTION], "tool_choice": "REQUIRED"},
    ),
    "no tools": (
        Prompt.of("Hi", tool_choice=ToolChoice.NONE),
        [TOOL],
        [HI],
        {"tools": [FUNCTION], "tool_choice": "NONE"},
    ),
    "a named tool": (
        Prompt.of("Hi", tool_choice=NamedTool("get_weather")),
        [ToolDescriptor("other", "Another.", SCHEMA), TOOL],
        [HI],
        {"tools": [FUNCTION], "tool_choice": "REQUIRED"},
    ),
    "a strict tool": (
        Prompt.of("Hi"),
        [ToolDescriptor("get_weather", "Current weather.", SCHEMA, strict=True)],
        [HI],
        {"tools": [FUNCTION], "strict_tools": True},
    ),
    "no thoughts": (Prompt.of("Hi", reasoning_budget=0), [], [HI], {"thinking": {"type": "disabled"}}),
    "a document": (
        Prompt().user("read", DocumentPart(data=b"Cats purr.", media_type="text/plain", name="cats")),
        [],
        [{"role": "user", "content": "read"}],
        {"documents": [{"data": {"title": "cats", "text": "Cats purr."}}]},
    ),
    "a picture with its data": (
        Prompt().user("this", ImagePart(data=b"png", media_type="image/png")),
        [],
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "this"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}},
                ],
            }
        ],
        {},
    ),
    "a result that is an error": (
        Prompt.of("Hi")
        .tool_call("c1", "get_weather", '{"city":"Rome"}')
        .add(ToolResultMessage("c1", "get_weather", "", "no such city")),
        [TOOL],
        [
            HI,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "error: no such city"},
        ],
        {"tools": [FUNCTION]},
    ),
    "schema": (
        Prompt.of("Hi", response_schema=SCHEMA),
        [],
        [HI],
        {"response_format": {"type": "json_object", "json_schema": SCHEMA}},
    ),
    "documents": (
        Prompt.of("Hi", extra={"documents": [{"id": "d1", "data": {"text": "Cats purr."}}]}),
        [],
        [HI],
        {"documents": [{"id": "d1", "data": {"text": "Cats purr."}}]},
    ),
    "a picture": (
        Prompt().user("What is this?", ImagePart(url="https://example.com/a.png")),
        [],
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ],
            }
        ],
        {},
    ),
    "results": (
        Prompt.of("Hi")
        .add(AssistantMessage.of("I will look."))
        .tool_call("c1", "get_weather", '{"city":"Rome"}')
        .add(ToolResultMessage("c1", "get_weather", "sunny")),
        [TOOL],
        [
            HI,
            {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        ],
        {"tools": [FUNCTION]},
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("stream", [True, False])
async def test_the_sdk_asks_the_same(question: str, stream: bool) -> None:
    prompt, tools, messages, options = QUESTIONS[question]
    whole = {"id": "1", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": []}}
    body = json.dumps(whole).encode()
    response = WireResponse(body, content_type="application/json")
    if stream:
        end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}
        response = WireResponse(b"data: %b\n\n" % json.dumps(end).encode())
    async with WireServer(response, response) as server, sdk(server) as theirs:
        if stream:
            async for _ in theirs.chat_stream(model="command-a-plus-05-2026", messages=messages, **options):
                pass
        else:
            await theirs.chat(model="command-a-plus-05-2026", messages=messages, **options)
        async with client(base_url=server.url, api_key="test-key") as ours:
            model = LLModel("cohere", "command-a-plus-05-2026")
            if stream:
                await ours.execute_streaming_with_tools(prompt, model, tools).message()
            else:
                await ours.execute(prompt, model, tools)
        first, second = server.requests
    assert second.json() == first.json()
    assert second.path == first.path
    assert second.headers["authorization"] == first.headers["authorization"]


@pytest.mark.parametrize("kind", ["thinking", "tool_plan"])
async def test_its_own_thoughts_and_plans_go_back_as_the_sdk_sends_them(kind: str) -> None:
    calls = {"tool_calls": [CALL]}
    content = [{"type": "thinking", "thinking": "hm"}]
    answer = {"role": "assistant", **calls, **({"content": content} if kind == "thinking" else {"tool_plan": "hm"})}
    whole = json.dumps({"id": "1", "finish_reason": "TOOL_CALL", "message": answer}).encode()
    response = WireResponse(whole, content_type="application/json")
    async with WireServer(response, response, response) as server, sdk(server) as theirs:
        async with client(base_url=server.url, api_key="test-key") as ours:
            model = LLModel("cohere", "command-a-reasoning-08-2025")
            message = await ours.execute(Prompt.of("Hi"), model, [TOOL])
            prompt = Prompt.of("Hi").add(message, ToolResultMessage("c1", "get_weather", "sunny"))
            await ours.execute(prompt, model, [TOOL])
        history = [HI, answer, {"role": "tool", "tool_call_id": "c1", "content": "sunny"}]
        await theirs.chat(model="command-a-reasoning-08-2025", messages=history, tools=[FUNCTION])
        _, sent, expected = server.requests
    assert sent.json() == expected.json()
