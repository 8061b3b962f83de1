"""The matrix: no server refuses what another's conversation became, and the checkers refuse what servers do."""

from __future__ import annotations

import io
from typing import Any

import aiohttp
import pytest

from promptport.testing import (
    MatrixCell,
    WireResponse,
    WireServer,
    matrix_table,
    protocol_of,
    refusals,
    run_matrix,
)


def test_no_provider_refuses_the_conversation_of_another() -> None:
    cells = run_matrix()
    names = {cell.asked for cell in cells}
    packages = {"openai", "openai-chat", "anthropic", "ollama", "google", "google-vertex", "bedrock", "cohere", "local"}
    assert packages | {"mistral", "deepseek", "openrouter"} <= names
    began = {cell.began for cell in cells}
    assert began == names | {"all in turn"}
    assert len(cells) == len(names) * len(began), "each with each, and all of them in turn"
    assert [f"{cell.began} -> {cell.asked}: {why}" for cell in cells for why in cell.refused] == []
    assert min(cell.requests for cell in cells) >= 5


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "r"}
USER = {"role": "user", "content": "Hi"}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def chat(*messages: Any, **more: Any) -> list[str]:
    return refusals("openai-chat", {"messages": [USER, *messages], **more})


def called(function: dict[str, str]) -> dict[str, Any]:
    return {**ASKED, "tool_calls": [{**CALL, "function": function}]}


def test_what_servers_take_is_not_refused() -> None:
    assert chat(ASKED, RESULT) == []
    use = {"type": "tool_use", "id": "a_1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "a_1", "content": "r"}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result, {"type": "text", "text": "b"}]},
    ]
    assert refusals("anthropic", {"messages": messages}) == []
    assert refusals("a protocol of somebody's", {"messages": 5}) == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (chat({**ASKED, "tool_calls": [{**CALL, "id": "x" * 41}]}, {**RESULT, "tool_call_id": "x" * 41}), "id 'x"),
        (
            chat({**ASKED, "tool_calls": [{**CALL, "function": {"name": "a.b", "arguments": "{}"}}]}, RESULT),
            "name 'a.b'",
        ),
        (chat(called({"name": "f", "arguments": "{"}), RESULT), "no object"),
        (chat(ASKED, USER, RESULT), "no result right behind"),
        (chat(RESULT), "no call right before"),
        (chat(ASKED, RESULT, ASKED, RESULT), "two calls"),
        (chat({"role": "assistant", "content": None}), "without content"),
        (chat({"role": "assistant", "content": "a", "reasoning_content": "b"}), "reasoning_content"),
        (chat(tools=[{"function": {"name": "f", "parameters": {"anyOf": [], "type": "object"}}}]), "schema of 'f'"),
        (
            chat(
                tools=[{"function": {"name": "f", "strict": True, "parameters": {"type": "object", "properties": {}}}}]
            ),
            "not closed",
        ),
        (
            chat(ASKED, {**RESULT, "content": [{"type": "image_url", "image_url": {"url": "u"}}]}),
            "image in a result",
        ),
        (refusals("anthropic", {"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]}), "blank"),
        (refusals("anthropic", {"messages": [USER, USER]}), "in a row"),
        (
            refusals(
                "openai-responses",
                {"input": [{"type": "function_call", "call_id": "a b", "name": "f", "arguments": "{}"}]},
            ),
            "id 'a b'",
        ),
    ],
)
def test_what_servers_refuse_is_found(found: list[str], says: str) -> None:
    assert any(says in why for why in found), found


USE = {"toolUse": {"toolUseId": "t.1", "name": "f", "input": {}}}
DONE = {"toolResult": {"toolUseId": "t.1", "content": [{"text": "r"}]}}
ASK = {"functionCall": {"name": "f", "args": {}}}
GOT = {"functionResponse": {"name": "f", "response": {"output": "r"}}}


def bedrock(*contents: Any, **more: Any) -> list[str]:
    roles = ("user", "assistant") * len(contents)
    turns = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    tools = {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}
    return refusals("bedrock", {"messages": turns, "toolConfig": tools, **more}, "/model/x/converse")


def gemini(*contents: Any, protocol: str = "google", model: str = "gemini-2.5-pro", **more: Any) -> list[str]:
    roles = ("user", "model") * len(contents)
    turns = [{"role": role, "parts": parts} for role, parts in zip(roles, contents, strict=False)]
    return refusals(protocol, {"contents": turns, **more}, f"/v1beta/models/{model}:generateContent")


def cohere(*messages: Any, **more: Any) -> list[str]:
    return refusals("cohere", {"messages": [USER, *messages], **more})


def anthropic(**more: Any) -> list[str]:
    return refusals("anthropic", {"messages": [USER], **more})


def mistral(*messages: Any, **more: Any) -> list[str]:
    nine = {**CALL, "id": "abcdefghi"}
    asked = {"role": "assistant", "content": "", "tool_calls": [nine]}
    result = {**RESULT, "tool_call_id": "abcdefghi"}
    return refusals("mistral", {"model": "m", "messages": [USER, asked, result, *messages], **more})


def test_what_the_newer_servers_take_is_not_refused() -> None:
    hi = [{"text": "Hi"}]
    assert bedrock(hi, [USE], [DONE]) == []
    assert gemini(hi, [ASK, ASK], [GOT, GOT]) == []
    assert gemini(hi, [{**ASK, "thoughtSignature": "s"}], [GOT], model="gemini-3-pro-preview") == []
    assert cohere({"role": "assistant", "tool_plan": "I look.", "tool_calls": [CALL]}, RESULT) == []
    assert mistral(tool_choice="any") == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (bedrock([{"text": " "}]), "blank text"),
        (bedrock([{"text": "a"}], [USE], [DONE], toolConfig=None), "without a toolConfig"),
        (bedrock([{"text": "a"}], [USE], [{"text": "b"}]), "no result right behind"),
        (bedrock([{"text": "a"}], [{"toolUse": {**USE["toolUse"], "name": "a.b"}}], [DONE]), "name 'a.b'"),
        (bedrock([{"text": "a"}], [{"toolUse": {**USE["toolUse"], "input": "{}"}}], [DONE]), "no object"),
        (bedrock([{"document": {"name": "a.b", "source": {}}}, {"text": "b"}]), "name 'a.b' of a document"),
        (bedrock([{"document": {"name": "a", "source": {}}}]), "without a text beside it"),
        (gemini([{"text": "a"}], [ASK], [{"text": "b"}]), "no result right behind"),
        (gemini([{"text": "a"}], [ASK], [{"functionResponse": {"name": "g", "response": {}}}]), "no call right before"),
        (gemini([{"text": "a"}], [ASK], [GOT], model="gemini-3-pro-preview"), "without a signature"),
        (gemini([{"text": "a"}], [{"text": "b", "thought": True}], [{"text": "c"}]), "thought without"),
        (gemini([{"text": "a"}], [{**ASK["functionCall"], **ASK, "text": "b"}], [GOT]), "a part with"),
        (
            gemini(
                [{"text": "a"}],
                [{"functionCall": {**ASK["functionCall"], "id": "i"}}],
                [{"functionResponse": {**GOT["functionResponse"], "id": "i"}}],
                protocol="google-vertex",
            ),
            "an id in a functionCall",
        ),
        (
            gemini(
                [{"text": "a"}],
                tools=[{"functionDeclarations": [{"name": "f", "parameters": {"type": "object", "const": 1}}]}],
            ),
            "const",
        ),
        (cohere({"role": "assistant", "content": "a", "tool_calls": [CALL]}, RESULT), "text in a message with calls"),
        (
            cohere({"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{"}}]}),
            "no object",
        ),
        (cohere({"role": "assistant", "tool_calls": [CALL]}, {**RESULT, "content": ""}), "without content"),
        (cohere(tool_choice="auto"), "tool_choice 'auto'"),
        (cohere(response_format={"type": "json_object", "json_schema": {"type": "object"}}), "no required"),
        (mistral({**ASKED, "tool_calls": [CALL]}, RESULT), "id 'call_1'"),
        (mistral({"role": "assistant", "content": "a", "reasoning_content": "b"}), "reasoning_content"),
        (mistral({**USER, "name": "n"}), "field 'name'"),
        (mistral(seed=1), "field 'seed'"),
        (mistral({"role": "assistant", "content": "a"}), "at the end"),
        (
            refusals(
                "anthropic", {"messages": [USER], "thinking": {"type": "adaptive"}, "tool_choice": {"type": "any"}}
            ),
            "forced",
        ),
        (refusals("anthropic", {"messages": [{"role": "assistant", "content": "a"}]}), "not the user's"),
    ],
)
def test_what_the_newer_servers_refuse_is_found(found: list[str], says: str) -> None:
    assert any(says in why for why in found), found


@pytest.mark.parametrize(
    ("path", "body", "protocol"),
    [
        ("/v1/messages", {"messages": []}, "anthropic"),
        ("/openai/v1/chat/completions", {"messages": []}, "chat-completions"),
        ("/v1/responses", {"input": []}, "openai-responses"),
        ("/v1/responses", {"input": "Hi"}, None),
        ("/api/chat", {"messages": []}, "ollama-chat"),
        ("/v2/chat", {"messages": []}, "cohere"),
        ("/v1beta/models/gemini-3:streamGenerateContent", {"contents": []}, "google"),
        ("/v1/projects/p/locations/l/publishers/google/models/g:generateContent", {"contents": []}, "google-vertex"),
        ("/model/a:0/converse-stream", {"messages": []}, "bedrock"),
        ("/elsewhere", {"messages": []}, None),
        ("/v1/messages", [], None),
    ],
)
def test_a_protocol_is_known_by_path_and_shape(path: str, body: Any, protocol: str | None) -> None:
    assert protocol_of(path, body) == protocol


async def test_requests_of_all_tests_are_held_to_the_rules(refused_requests: list[str]) -> None:
    answers = [WireResponse.json({}), WireResponse.json({})]
    async with WireServer(*answers) as server, aiohttp.ClientSession() as session:
        for body in ({"messages": [{"role": "user", "content": " "}]}, {"messages": [{"role": "user"}]}):
            async with session.post(f"{server.url}/v1/messages", json=body) as response:
                await response.read()
    assert "blank text" in refused_requests[0]
    assert "cannot be read" in refused_requests[1]
    refused_requests.clear()


@pytest.mark.parametrize("width", [40, 80, 120, 160])
def test_the_table_shows_every_cell_in_any_width(width: int) -> None:
    rich = pytest.importorskip("rich.console")
    names = ["openai-chat", "google-vertex", "a-provider-of-thirty-characters", *[f"provider-{i}" for i in range(20)]]
    console = rich.Console(width=width, record=True, file=io.StringIO())
    cells = [MatrixCell(a, b, 3, ("why",) if a == "provider-3" else ()) for a in [*names, "all in turn"] for b in names]
    for part in matrix_table(cells):
        console.print(part)
    shown = console.export_text()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    assert shown.count("3 ok") == len([cell for cell in cells if not cell.refused])
    assert shown.count("1 refused") == len(names)
    if width >= 80:
        assert all(f" {name} " in shown for name in names)
    assert "provider-3 → openai-chat: why" in shown


def test_a_refusal_is_shown_with_its_reason() -> None:
    rich = pytest.importorskip("rich.console")
    console = rich.Console(width=120, record=True, file=io.StringIO())
    cells = [MatrixCell("a", "a", 3), MatrixCell("a", "b", 3, ("the id 'x' of a call",))]
    for part in matrix_table(cells):
        console.print(part)
    shown = console.export_text()
    assert "3 ok" in shown
    assert "1 refused" in shown
    assert "a → b: the id 'x' of a call" in shown
