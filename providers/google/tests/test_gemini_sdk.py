"""google-genai as a second opinion, over loopback: it reads the same out of each recorded stream, and asks the same.

Where the two differ, the reason stands here.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import promptport_google
from promptport.frames import Append, ToolCall
from promptport.messages import (
    AssistantMessage,
    DocumentPart,
    ImagePart,
    NamedTool,
    Prompt,
    TextPart,
    ToolChoice,
    ToolResultMessage,
)
from promptport.models import LLModel
from promptport.testing import WireResponse, WireServer
from promptport.tools import ToolDescriptor
from promptport_google._decode import ContentDecoder

client: Any = promptport_google.client
vertex_client: Any = promptport_google.vertex_client
pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),  # the SDK's own
]
genai: Any = pytest.importorskip("google.genai")
types: Any = pytest.importorskip("google.genai.types")

FOLDER = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).resolve().parents[4] / "shared" / "wire"))

READ_OTHERWISE = {
    "google/stream-generate-content/derived-error-mid-stream.sse": "the SDK raises its own error, and we ours",
    "vertex/stream-generate-content/vercel-streamed-tool-call-arguments.sse": (
        "the SDK hands streamed arguments on as calls without a name, one for each increment"
    ),
}


def recordings() -> list[Any]:
    if not FOLDER.is_dir():
        reason = "the corpus of recorded wires (../shared/wire) is not here"
        return [pytest.param("", marks=pytest.mark.skip(reason=reason), id="no-corpus")]
    entries = json.loads((FOLDER / "manifest.json").read_text())
    paths = [entry["path"] for entry in entries if entry["protocol"] == "gemini-sse"]
    return [pytest.param(path, id=path) for path in paths if path not in READ_OTHERWISE]


def sdk(server: WireServer, **options: Any) -> Any:
    version = options.pop("api_version", "v1beta")
    http = types.HttpOptions(base_url=server.url, api_version=version)
    return genai.Client(api_key="test-key", http_options=http, **options)


def test_every_difference_names_a_recording() -> None:
    if not FOLDER.is_dir():
        pytest.skip("the corpus of recorded wires (../shared/wire) is not here")
    assert [path for path in READ_OTHERWISE if not (FOLDER / path).is_file()] == []
    assert len(recordings()) >= 19


@pytest.mark.parametrize("path", recordings())
async def test_the_sdk_reads_the_same(path: str) -> None:
    body = (FOLDER / path).read_bytes()
    decoder = ContentDecoder()
    frames = [*decoder.feed(body), *decoder.close()]
    ours: list[Any] = []
    for frame in frames:
        if isinstance(frame, Append):
            ours.append(frame.text)
        elif isinstance(frame, ToolCall):
            ours.append((frame.name, frame.parsed()))
    theirs: list[Any] = []
    async with WireServer(WireResponse(body)) as server:
        theirs_client = sdk(server)
        async for response in await theirs_client.aio.models.generate_content_stream(model="m", contents="Hi"):
            for candidate in response.candidates or ():
                for part in (candidate.content.parts if candidate.content else None) or ():
                    if part.function_call is not None:
                        theirs.append((part.function_call.name, part.function_call.args))
                    elif part.text and not part.thought:
                        theirs.append(part.text)
        await theirs_client.aio.aclose()
    assert ours == theirs


# -------------------------------------------------------------------------------------------------- requests

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = ToolDescriptor("get_weather", "Current weather.", SCHEMA)
PNG = b"\x89PNG"
SAFETY = {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}


def camel(value: Any) -> Any:
    """The SDK mixes both spellings of names, and so may the server."""
    if isinstance(value, dict):
        return {
            re.sub(r"_([a-z])", lambda found: found[1].upper(), name): camel(inner) for name, inner in value.items()
        }
    return [camel(inner) for inner in value] if isinstance(value, list) else value


QUESTIONS: dict[str, tuple[Prompt, list[ToolDescriptor], Any, dict[str, Any]]] = {
    "plain": (Prompt.of("Hi"), [], "Hi", {}),
    "parameters": (
        Prompt.of("Hi", system="Be brief.", temperature=0.5, max_tokens=10, stop=("END",), seed=7),
        [],
        "Hi",
        {
            "system_instruction": "Be brief.",
            "temperature": 0.5,
            "max_output_tokens": 10,
            "stop_sequences": ["END"],
            "seed": 7,
        },
    ),
    "tools": (
        Prompt.of("Hi", tool_choice=NamedTool("get_weather"), reasoning_effort="low"),
        [TOOL],
        "Hi",
        {
            "tools": [{"function_declarations": [{"name": TOOL.name, "description": TOOL.description}]}],
            "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["get_weather"]}},
            "thinking_config": {"thinking_level": "LOW", "include_thoughts": True},
        },
    ),
    "schema": (
        Prompt.of("Hi", response_schema=SCHEMA),
        [],
        "Hi",
        {"response_mime_type": "application/json", "response_json_schema": SCHEMA},
    ),
    "a picture": (
        Prompt().user("What is this?", ImagePart(data=PNG, media_type="image/png")),
        [],
        [
            {
                "role": "user",
                "parts": [{"text": "What is this?"}, {"inline_data": {"mime_type": "image/png", "data": PNG}}],
            }
        ],
        {},
    ),
    **{
        f"tool choice {word.value}": (
            Prompt.of("Hi", tool_choice=word),
            [TOOL],
            "Hi",
            {
                "tools": [{"function_declarations": [{"name": TOOL.name, "description": TOOL.description}]}],
                "tool_config": {"function_calling_config": {"mode": mode}},
            },
        )
        for word, mode in ((ToolChoice.AUTO, "AUTO"), (ToolChoice.REQUIRED, "ANY"), (ToolChoice.NONE, "NONE"))
    },
    "a document": (
        Prompt().user("read", DocumentPart(data=b"%PDF-1.7", media_type="application/pdf")),
        [],
        [
            {
                "role": "user",
                "parts": [{"text": "read"}, {"inline_data": {"mime_type": "application/pdf", "data": b"%PDF-1.7"}}],
            }
        ],
        {},
    ),
    "a file by address": (
        Prompt().user("see", ImagePart(url="gs://bucket/a.png", media_type="image/png")),
        [],
        [
            {
                "role": "user",
                "parts": [{"text": "see"}, {"file_data": {"mime_type": "image/png", "file_uri": "gs://bucket/a.png"}}],
            }
        ],
        {},
    ),
    "an effort": (
        Prompt.of("Hi", reasoning_effort="minimal"),
        [],
        "Hi",
        {"thinking_config": {"thinking_level": "MINIMAL", "include_thoughts": True}},
    ),
    "extra": (
        Prompt.of("Hi", extra={"generationConfig": {"topK": 3}, "safetySettings": [SAFETY]}),
        [],
        "Hi",
        {"top_k": 3, "safety_settings": [SAFETY]},
    ),
}
OLDER: dict[str, tuple[Prompt, list[ToolDescriptor], Any, dict[str, Any]]] = {
    "a budget": (
        Prompt.of("Hi", reasoning_budget=2048),
        [],
        "Hi",
        {"thinking_config": {"thinking_budget": 2048, "include_thoughts": True}},
    ),
    "no thoughts": (
        Prompt.of("Hi", reasoning_effort="none"),
        [],
        "Hi",
        {"thinking_config": {"thinking_budget": 0}},
    ),
}
"""For a model that takes a budget."""


@pytest.mark.parametrize("question", [*QUESTIONS, *OLDER])
@pytest.mark.parametrize("vertex", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_sdk_asks_the_same(question: str, vertex: bool, stream: bool) -> None:
    prompt, tools, contents, config = {**QUESTIONS, **OLDER}[question]
    name = "gemini-2.5-flash" if question in OLDER else "gemini-3-flash-preview"
    config = json.loads(json.dumps(config))
    for tool in config.get("tools", ()):
        tool["function_declarations"][0]["parameters_json_schema"] = SCHEMA
    response = WireResponse(b'{"candidates":[{"finishReason":"STOP"}]}', content_type="application/json")
    if stream:
        response = WireResponse(b'data: {"candidates":[{"finishReason":"STOP"}]}\r\n\r\n')
    async with WireServer(response, response) as server:
        theirs = sdk(server, vertexai=True, api_version="v1beta1") if vertex else sdk(server)
        if stream:
            async for _ in await theirs.aio.models.generate_content_stream(
                model=name, contents=contents, config=config
            ):
                pass
        else:
            await theirs.aio.models.generate_content(model=name, contents=contents, config=config)
        await theirs.aio.aclose()
        async with (vertex_client if vertex else client)(base_url=server.url, api_key="test-key") as ours:
            model = LLModel(ours.provider, name)
            if stream:
                await ours.execute_streaming_with_tools(prompt, model, tools).message()
            else:
                await ours.execute(prompt, model, tools)
        first, second = server.requests
    expected = camel(first.json())
    # The SDK gives the instructions a role, which they do not need.
    expected.get("systemInstruction", {}).pop("role", None)
    if not expected.get("generationConfig", True):  # and beside tools, it sends an empty configuration
        del expected["generationConfig"]
    assert camel(second.json()) == expected
    assert (second.path, second.query) == (first.path, first.query)
    assert second.headers["x-goog-api-key"] == first.headers["x-goog-api-key"]


async def test_a_tool_loop_goes_back_as_the_sdk_sends_it() -> None:
    part = {"functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "Rome"}}, "thoughtSignature": "c2ln"}
    body = {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]}
    whole = WireResponse(json.dumps(body).encode(), content_type="application/json")
    async with WireServer(whole, whole, whole, whole) as server:
        theirs = sdk(server)
        asked = {"role": "user", "parts": [{"text": "Hi"}]}
        answer = await theirs.aio.models.generate_content(model="gemini-3-flash-preview", contents=[asked])
        result = types.Part(
            function_response=types.FunctionResponse(id="c1", name="get_weather", response={"output": "sunny"})
        )
        history = [asked, answer.candidates[0].content, types.Content(role="user", parts=[result])]
        await theirs.aio.models.generate_content(model="gemini-3-flash-preview", contents=history)
        await theirs.aio.aclose()
        async with client(base_url=server.url, api_key="test-key") as ours:
            model = LLModel("google", "gemini-3-flash-preview")
            message = await ours.execute(Prompt.of("Hi"), model, [TOOL])
            prompt = Prompt.of("Hi").add(message, ToolResultMessage("c1", "get_weather", "sunny"))
            await ours.execute(prompt, model)
        expected, sent = server.requests[1].json(), server.requests[3].json()
    assert isinstance(message, AssistantMessage)
    assert not any(isinstance(part, TextPart) for part in message.parts)
    assert camel(sent) == camel(expected)


SIGNED = [
    {"text": "hm", "thought": True, "thoughtSignature": "dGg="},
    {"text": "I look.", "thoughtSignature": "dHg="},
    {"functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "Rome"}}, "thoughtSignature": "c2ln"},
    {"functionCall": {"id": "c2", "name": "get_weather", "args": {"city": "Oslo"}}},
]


async def test_thoughts_parallel_calls_and_media_in_results_go_back_as_the_sdk_sends_them() -> None:
    answer = {"candidates": [{"content": {"role": "model", "parts": SIGNED}, "finishReason": "STOP"}]}
    whole = WireResponse(json.dumps(answer).encode(), content_type="application/json")
    async with WireServer(whole, whole, whole) as server:
        async with client(base_url=server.url, api_key="test-key") as ours:
            model = LLModel("google", "gemini-3-flash-preview")
            message = await ours.execute(Prompt.of("Hi"), model, [TOOL])
            picture = (TextPart("sunny"), ImagePart(data=PNG, media_type="image/png"))
            prompt = Prompt.of("Hi").add(
                message,
                ToolResultMessage("c2", "get_weather", "", "no such city"),
                ToolResultMessage("c1", "get_weather", picture),
            )
            await ours.execute(prompt, model)
        theirs = sdk(server)
        blob = types.FunctionResponseBlob(mime_type="image/png", data=PNG)
        results = [
            types.FunctionResponse(
                id="c1",
                name="get_weather",
                response={"output": "sunny"},
                parts=[types.FunctionResponsePart(inline_data=blob)],
            ),
            types.FunctionResponse(id="c2", name="get_weather", response={"error": "no such city"}),
        ]
        history = [
            {"role": "user", "parts": [{"text": "Hi"}]},
            types.Content.model_validate({"role": "model", "parts": SIGNED}),
            types.Content(role="user", parts=[types.Part(function_response=result) for result in results]),
        ]
        await theirs.aio.models.generate_content(model="gemini-3-flash-preview", contents=history)
        await theirs.aio.aclose()
        sent, expected = server.requests[1].json(), server.requests[2].json()
    assert camel(sent) == camel(expected)
