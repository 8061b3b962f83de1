"""What goes to OpenAI's own address is held to its rules: schemas of tools and answers, ids and names."""

from __future__ import annotations

from typing import Any

import pytest

from promptport import AssistantMessage, LLModel, Origin, Prompt, Reasoning, ToolCall, ToolDescriptor
from promptport.provider import InvalidToolCall, ToolResultMessage
from promptport.testing import refusals
from promptport_openai._apis import chat_completions, responses

ODD: dict[str, Any] = {
    "$defs": {"Place": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
    "type": "object",
    "properties": {
        "at": {"oneOf": [{"type": "integer"}, {"type": "string", "maxLength": 5}]},
        "near": {"$ref": "#/$defs/Place", "description": "Where.", "default": None},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    },
    "required": ["at"],
}
EITHER = {"type": "object", "anyOf": [ODD["$defs"]["Place"], {"type": "object", "properties": {}}]}
TOOLS = [
    ToolDescriptor("plain", "", ODD),
    ToolDescriptor("held", "", ODD, strict=True),
    ToolDescriptor("either", "", EITHER),
]
FOREIGN = AssistantMessage(
    (
        Reasoning("I think.", {"field": "reasoning_content"}),
        ToolCall("x" * 70, "browser.tabs.open", "{}", {"signature": "s"}),
        InvalidToolCall("a b", "$lookup", "{", "cut"),
    ),
    origin=Origin("deepseek", "elsewhere"),
)
PROMPT = Prompt.of("Hi").add(
    FOREIGN,
    ToolResultMessage("x" * 70, "browser.tabs.open", " "),
    ToolResultMessage("a b", "$lookup", error="not JSON"),
)


@pytest.mark.parametrize("schema", [None, ODD])
def test_openais_own_address_refuses_nothing(schema: dict[str, Any] | None) -> None:
    prompt = PROMPT.with_params(response_schema=schema)
    tools = TOOLS if schema is None else []
    model = LLModel("openai-chat", "gpt-5")
    sent = chat_completions(own=True).body(prompt, model, tools, True, None)
    assert refusals("openai-chat-own", sent) == []
    sent = responses(own=True).body(prompt, LLModel("openai", "gpt-5"), tools, True, None)
    assert refusals("openai-responses", sent) == []
