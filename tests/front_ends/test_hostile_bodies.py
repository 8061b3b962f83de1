"""Every value of a valid body, replaced by every wrong one: each decoder refuses it with its place, or takes it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import promptport as pp
from promptport.front_ends import (
    decode_agui_input,
    decode_chat_request,
    decode_messages_request,
    decode_responses_request,
    decode_ui_request,
)

PIXEL = base64.b64encode(b"\x89PNG pixel").decode()
PARAMETERS: dict[str, Any] = {"type": "object", "properties": {"place": {"type": "string"}}}
CALL: Any = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"place": "Paris"}'}}
CHAT: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "max_completion_tokens": 9,
    "max_tokens": 8,
    "stop": ["x"],
    "seed": 3,
    "n": 1,
    "user": "u",
    "safety_identifier": "s",
    "logprobs": False,
    "modalities": ["text"],
    "reasoning_effort": "low",
    "parallel_tool_calls": True,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": PARAMETERS}},
    "tools": [
        {
            "type": "function",
            "function": {"name": "look", "description": "Looks.", "parameters": PARAMETERS, "strict": True},
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Where?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
                {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"}},
            ],
        },
        {
            "role": "assistant",
            "content": "Looking.",
            "reasoning_content": "Hm",
            "reasoning_details": [{"type": "reasoning.encrypted", "data": "pp1.x"}],
            "tool_calls": [{**CALL, "extra_content": {"promptport": "pp1.x"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "user", "content": "And?"},
    ],
}
RESPONSES: dict[str, Any] = {
    "model": "m",
    "instructions": "Be brief.",
    "stream": False,
    "temperature": 0,
    "max_output_tokens": 9,
    "parallel_tool_calls": False,
    "text": {"format": {"type": "json_schema", "name": "n", "schema": PARAMETERS}},
    "reasoning": {"effort": "high"},
    "user": "u",
    "tools": [{"type": "function", "name": "look", "description": "Looks.", "parameters": PARAMETERS, "strict": False}],
    "tool_choice": {"type": "function", "name": "look"},
    "input": [
        {"role": "system", "content": "Be kind."},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Where?"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
                {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "mp3"}},
                {"type": "input_file", "file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"},
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
            ],
        },
        {
            "type": "reasoning",
            "id": "r",
            "summary": [{"type": "summary_text", "text": "Hm"}],
            "content": [],
            "encrypted_content": "pp1.x",
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Looking."}]},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}", "promptport": "pp1.x"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "sunny"}]},
        {"role": "user", "content": "And?"},
    ],
}
MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 2000,
    "stream": True,
    "temperature": 0.1,
    "stop_sequences": ["x"],
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "metadata": {"user_id": "u"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": PARAMETERS}},
    "tools": [{"type": "custom", "name": "look", "description": "Looks.", "input_schema": PARAMETERS}],
    "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Where?", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                {"type": "document", "source": {"type": "text", "data": "Long."}, "title": "A"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "pp1.x"},
                {"type": "redacted_thinking", "data": "pp1.x"},
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"place": "Paris"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "is_error": False,
                    "content": [{"type": "text", "text": "sunny"}],
                },
                {"type": "text", "text": "And?"},
            ],
        },
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "And?"},
    ],
}
UI: dict[str, Any] = {
    "id": "chat-1",
    "trigger": "submit-message",
    "messageId": "a2",
    "decisions": {"c1": True, "c2": "no"},
    "messages": [
        {"id": "s", "role": "system", "parts": [{"type": "text", "text": "Be brief."}]},
        {
            "id": "u",
            "role": "user",
            "metadata": {"x": 1},
            "parts": [
                {"type": "text", "text": "Where?"},
                {
                    "type": "file",
                    "mediaType": "image/png",
                    "url": f"data:image/png;base64,{PIXEL}",
                    "filename": "a.png",
                },
            ],
        },
        {
            "id": "a",
            "role": "assistant",
            "parts": [
                {"type": "step-start"},
                {
                    "type": "reasoning",
                    "text": "Hm",
                    "state": "done",
                    "providerMetadata": {
                        "promptport": {
                            "data": {"signature": "s"},
                            "origin": {"provider": "anthropic", "host": "api.anthropic.com"},
                        }
                    },
                },
                {"type": "text", "text": "Looking.", "state": "done"},
                {"type": "source-url", "sourceId": "1", "url": "https://example.com", "title": "A"},
                {
                    "type": "data-provider_item",
                    "id": "i",
                    "data": {"type": "web_search_call", "data": {"type": "web_search_call"}},
                },
                {
                    "type": "tool-look",
                    "toolCallId": "c0",
                    "state": "output-available",
                    "input": {"place": "Paris"},
                    "output": {"at": 1},
                    "callProviderMetadata": {"promptport": {"data": {"signature": "s"}}},
                },
                {
                    "type": "dynamic-tool",
                    "toolName": "find",
                    "toolCallId": "c9",
                    "state": "output-error",
                    "rawInput": "{",
                    "errorText": "no",
                },
                {"type": "step-start"},
                {
                    "type": "tool-book",
                    "toolCallId": "c1",
                    "state": "approval-responded",
                    "input": {"seats": 2},
                    "approval": {"id": "approval-1", "approved": True, "reason": "fine"},
                },
                {
                    "type": "tool-book",
                    "toolCallId": "c2",
                    "state": "output-denied",
                    "input": {},
                    "approval": {"id": "approval-2", "approved": False, "reason": "no"},
                },
            ],
        },
    ],
}
AGUI: dict[str, Any] = {
    "threadId": "t",
    "runId": "r",
    "protocolVersion": "1.0",
    "parentRunId": "p",
    "state": {"a": [1]},
    "context": [{"description": "d", "value": "v"}],
    "forwardedProps": {"model": "m"},
    "resume": [
        {"interruptId": "i1", "status": "resolved", "payload": {"approved": False, "reason": "no"}},
        {"interruptId": "i2", "status": "cancelled"},
    ],
    "tools": [{"name": "look", "description": "Looks.", "parameters": PARAMETERS}],
    "messages": [
        {"id": "1", "role": "system", "content": "Be brief."},
        {
            "id": "2",
            "role": "user",
            "content": [
                {"type": "text", "text": "Where?"},
                {"type": "image", "source": {"type": "data", "value": PIXEL, "mimeType": "image/png"}},
                {"type": "document", "source": {"type": "url", "value": "https://example.com/a.pdf"}},
            ],
        },
        {"id": "3", "role": "reasoning", "content": "Hm", "encryptedValue": '{"data": {"signature": "s"}}'},
        {
            "id": "4",
            "role": "assistant",
            "content": "Looking.",
            "toolCalls": [{**CALL, "encryptedValue": '{"data": {"signature": "s"}}'}],
        },
        {"id": "5", "role": "tool", "toolCallId": "c1", "content": [{"type": "text", "text": "sunny"}], "error": None},
        {"id": "6", "role": "activity", "content": {}},
    ],
}
BODIES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "chat": (decode_chat_request, CHAT),
    "responses": (decode_responses_request, RESPONSES),
    "messages": (decode_messages_request, MESSAGES),
    "ui": (decode_ui_request, UI),
    "ag_ui": (decode_agui_input, AGUI),
}
WRONG: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    1e308,
    10**30,
    "",
    "x",
    "\ud83d",
    "\x00\u2028",
    "9" * 5000,
    [],
    [None],
    [[]],
    [{}],
    {},
    {"": None},
    {"type": "text"},
    {"type": ["text"]},
]
DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def changed(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(body))
    place: Any = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return made


def without(body: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(body))
    place: Any = made
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return made


def depends(told: str) -> bool:
    """Whether it is about another place that names the one that was changed: a call, or a tool."""
    return any(word in told for word in ("result", "is not a call of", "names a tool"))


def is_near(place: str, changed: str) -> bool:
    """Whether it is the place that was changed, one around it or within it, or its neighbor in one object."""
    return (
        changed.startswith(place) or place.startswith(changed) or place.rpartition(".")[0] == changed.rpartition(".")[0]
    )


@pytest.mark.parametrize("name", BODIES)
def test_the_bodies_are_valid(name: str) -> None:
    decode, body = BODIES[name]
    decode(body)
    decode(json.dumps(body).encode())


@pytest.mark.parametrize("name", BODIES)
def test_every_wrong_value_at_every_place_is_refused_with_its_place_or_taken(name: str) -> None:
    decode, body = BODIES[name]
    problems = []
    for path in places(body):
        dotted = "".join([f"[{key}]" if isinstance(key, int) else f".{key}" for key in path])
        bodies: list[tuple[Any, Any]] = [(wrong, changed(body, path, wrong)) for wrong in (*WRONG, DEEP)]
        bodies.append(("nothing", without(body, path)))
        for wrong, made in bodies:
            try:
                decoded = decode(made)
                decoded.prompt.to_json()  # what is taken can be kept, and sent
            except pp.InvalidInputError as error:
                place, colon, _ = str(error).partition(": ")
                if not colon or not place.startswith("body"):
                    problems.append(f"{dotted} = {wrong!r:.40}: no place: {error}")
                elif place != "body" and not is_near(place, f"body{dotted}") and not depends(str(error)):
                    problems.append(f"{dotted} = {wrong!r:.40}: another place: {error}")
                if "\ud83d" in str(error) or len(str(error)) > 500:
                    problems.append(f"{dotted} = {wrong!r:.40}: it quotes the value")
            except Exception as error:
                problems.append(f"{dotted} = {wrong!r:.40}: {type(error).__name__}: {error}")
    assert not problems, f"{len(problems)}\n" + "\n".join(problems[:60])


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'"x"',
        b"\xff",
        b'{"a": "\\ud83d"}',
        b"[" * 10**6,
        b'{"a":' * 10**5,
        b"1e999",
        "{",
        "\ud83d",
    ],
    ids=lambda body: repr(body)[:20],
)
def test_what_is_no_json_object_is_refused_as_the_body(name: str, body: bytes | str) -> None:
    with pytest.raises(pp.InvalidInputError, match=r"^body: ") as caught:
        BODIES[name][0](body)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("value", [object(), float, {("a",): 1}, "\ud83d"], ids=lambda value: type(value).__name__)
def test_a_body_that_was_decoded_before_is_held_to_json_too(name: str, value: Any) -> None:
    decode, body = BODIES[name]
    with pytest.raises(pp.InvalidInputError, match=r"^body"):
        decode({**body, "metadata": {"user_id": value}})
