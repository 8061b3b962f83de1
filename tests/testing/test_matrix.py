"""The matrix: no server refuses what another's conversation became, and the checkers refuse what servers do."""

from __future__ import annotations

import io
from typing import Any

import pytest

from promptport.testing import MatrixCell, matrix_table, refusals, run_matrix


def test_no_provider_refuses_the_conversation_of_another() -> None:
    cells = run_matrix()
    names = {cell.asked for cell in cells}
    assert {"openai", "openai-chat", "anthropic", "ollama"} <= names
    assert len(cells) == len(names) * (len(names) + 1), "each with each, and all of them in turn"
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
