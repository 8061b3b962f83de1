"""Histories that a provider wrote and reads back make the same bytes as ever: its prompt cache lives on that.

Rule: `golden_requests.json` changes only where a request must. Whoever changes it says so in the changelog.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import promptport
from promptport.frames import InvalidToolCall, Reasoning, ToolCall
from promptport.llm_client import LLMClient
from promptport.messages import AssistantMessage, Prompt, ToolResultMessage
from promptport.models import LLModel
from promptport.tools import ToolDescriptor

GOLDEN = Path(__file__).with_name("golden_requests.json")
TOOL = ToolDescriptor(
    "look", "Looks.", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)
# What each server gives with its reasoning, what with its calls, and an id as it makes them.
OWN: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None, str]] = {
    "anthropic": ("claude-opus-4-6", {"type": "thinking", "signature": "sig"}, None, "toolu_01A"),
    "bedrock": (
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        {"type": "reasoningContent", "signature": "sig"},
        None,
        "tooluse_a-B",
    ),
    "cohere": ("command-a-03-2025", {"type": "tool_plan"}, None, "look_1a2b"),
    "google": (
        "gemini-3-pro-preview",
        {"thoughtSignature": "c2ln"},
        {"id": "fc-1", "thoughtSignature": "c2ln"},
        "fc-1",
    ),
    "ollama": ("qwen3", {"field": "thinking"}, None, "call_1"),
    "openai": (
        "gpt-5",
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "enc", "summary": []},
        {"id": "fc_1", "status": "completed"},
        "call_1",
    ),
    "openai-chat": ("gpt-4.1", {"field": "reasoning"}, None, "call_1"),
    "mistral": ("magistral-medium", {"content": "thinking"}, None, "a1B2c3D4e"),
    "deepseek": ("deepseek-chat", {"field": "reasoning_content"}, None, "call_00_x"),
    "openrouter": (
        "anthropic/claude-opus-4.6",
        {"reasoning_details": [{"type": "reasoning.text", "text": "I look.", "signature": "sig"}]},
        None,
        "toolu_01A",
    ),
}


def body_of(name: str) -> dict[str, Any]:
    model, thought, kept, call_id = OWN[name]
    options = {"region": "us-east-1"} if name == "bedrock" else {}
    client: LLMClient = promptport.client(name, api_key="key", **options)
    origin = getattr(client, "origin", None)
    calls = (
        ToolCall(call_id, "look", '{"city": "Paris", "n": 1.0}', kept),
        InvalidToolCall(call_id[:-1] + "z", "look", '{"city', "not JSON"),
    )
    prompt = Prompt.of("Weather?", system="Be brief.").add(
        AssistantMessage((Reasoning("I look.", thought), *calls), model=model, origin=origin),
        ToolResultMessage(calls[0].id, "look", "sunny"),
        ToolResultMessage(calls[1].id, "look", error="not JSON"),
        AssistantMessage.of("It is sunny."),
    )
    asked: Any = client
    made: dict[str, Any] = asked._body(prompt.user("And now?"), LLModel(name, model), [TOOL], stream=True)
    return made


def written(body: dict[str, Any]) -> str:
    return msgspec.json.encode(body).decode()


@pytest.mark.parametrize("name", OWN)
def test_a_providers_own_history_makes_the_same_bytes_as_ever(name: str) -> None:
    assert written(body_of(name)) == json.loads(GOLDEN.read_text())[name]
