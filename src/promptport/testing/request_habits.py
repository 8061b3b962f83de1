"""What single servers refuse in a request besides what the rows of `request_rules` say.

Rule: each function reads a body, and the request's path where that names the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from promptport.testing.request_turns import bedrock_turns, gemini_turns

__all__ = [
    "anthropic_habits",
    "bedrock_documents",
    "bedrock_habits",
    "cohere_habits",
    "gemini_habits",
    "mistral_habits",
    "vertex_habits",
]


def gemini_habits(body: Mapping[str, Any], path: str) -> Iterator[str]:
    """Gemini 3 wants the first call of each step signed; a part is one thing; config and tools agree."""
    found = re.search(r"gemini-(\d+)", path)
    if found and int(found[1]) >= 3:
        for turn in gemini_turns(body):
            calls = [block for block in turn.blocks if block.kind == "call"]
            if calls and not calls[0].signed:
                yield f"the call {calls[0].name!r} without a signature"
    for content in body.get("contents", ()):
        for part in content.get("parts") or ():
            kinds = part.keys() & {"text", "inlineData", "fileData", "functionCall", "functionResponse"}
            if len(kinds) > 1:
                yield f"a part with {' and '.join(sorted(kinds))}"
            answer = part.get("functionResponse", {}).get("response", {})
            if not isinstance(answer, Mapping):
                yield "a functionResponse whose response is no object"
    thinking = (body.get("generationConfig") or {}).get("thinkingConfig") or {}
    if {"thinkingBudget", "thinkingLevel"} <= thinking.keys():
        yield "thinkingBudget and thinkingLevel together"


def vertex_habits(body: Mapping[str, Any], path: str) -> Iterator[str]:
    """Vertex knows no ids of calls."""
    for content in body.get("contents", ()):
        for part in content.get("parts") or ():
            for kind in ("functionCall", "functionResponse"):
                if "id" in part.get(kind, {}):
                    yield f"an id in a {kind}"
            for kind in ("inlineData", "fileData"):
                if kind in part and not part[kind].get("mimeType"):
                    yield f"a {kind} without a mimeType"


_DOCUMENT_NAME = r"(?! )[A-Za-z0-9\-()\[\]]+( [A-Za-z0-9\-()\[\]]+)*"


def bedrock_habits(body: Mapping[str, Any], path: str) -> Iterator[str]:
    """A history with tool blocks wants tools; Mistral's models want their own ids."""
    config = body.get("toolConfig") or {}
    blocks = [part for message in body.get("messages", ()) for part in message["content"]]
    if any("toolUse" in part or "toolResult" in part for part in blocks) and not config:
        yield "tool blocks without a toolConfig"
    for tool in config.get("tools") or ():
        if tool.get("toolSpec", {}).get("description") == "":
            yield "a blank description"
    thinking = (body.get("additionalModelRequestFields") or {}).get("thinking") or {}
    if thinking.get("type") in ("enabled", "adaptive") and config.get("toolChoice", {}).keys() & {"any", "tool"}:
        yield "a forced tool beside thinking"
    most, budget = (body.get("inferenceConfig") or {}).get("maxTokens"), thinking.get("budget_tokens")
    if most is not None and budget is not None and most <= budget:
        yield "maxTokens below the thinking budget"
    for turn in bedrock_turns(body) if re.search(r"/model/[^/]*mistral", path) else ():
        for block in turn.blocks:
            if block.kind in ("call", "result") and not re.fullmatch(r"[A-Za-z0-9]{9}", block.id):
                yield f"the id {block.id!r} of a {block.kind}"


def bedrock_documents(body: Mapping[str, Any], path: str) -> Iterator[str]:
    """A document wants a text beside it, and a plain name."""
    for message in body.get("messages", ()):
        documents = [part["document"] for part in message["content"] if "document" in part]
        if documents and not any("text" in part for part in message["content"]):
            yield "a document without a text beside it"
        for document in documents:
            if not re.fullmatch(_DOCUMENT_NAME, document["name"]) or len(document["name"]) > 200:
                yield f"the name {document['name']!r} of a document"


def anthropic_habits(body: Mapping[str, Any], path: str) -> Iterator[str]:
    """Thinking goes with no forced tool, and leaves room for the answer; results stand in front; four marks at most."""
    thinking, choice = body.get("thinking") or {}, body.get("tool_choice") or {}
    if thinking.get("type") in ("enabled", "adaptive") and choice.get("type") in ("any", "tool"):
        yield "a forced tool beside thinking"
    budget = thinking.get("budget_tokens")
    if budget is not None and body.get("max_tokens", 0) <= budget:
        yield "max_tokens below the thinking budget"
    for message in body.get("messages", ()):
        kinds = [part.get("type") for part in message["content"] if isinstance(part, Mapping)]
        if kinds != sorted(kinds, key=lambda kind: kind != "tool_result") and "tool_result" in kinds:
            yield "a result behind something else"
    if json.dumps(body).count('"cache_control"') > 4:
        yield "more than four marks for the cache"


def cohere_habits(body: Mapping[str, Any], path: str) -> Iterator[str]:
    """What Cohere's reference and its errors say of a request."""
    if body.get("tool_choice") not in (None, "REQUIRED", "NONE"):
        yield f"the tool_choice {body['tool_choice']!r}"
    if len(body.get("stop_sequences") or ()) > 5:
        yield "more than five stop_sequences"
    if "response_format" in body and (body.get("tools") or body.get("documents")):
        yield "a response_format beside tools or documents"
    if body.get("strict_tools") and not body.get("tools"):
        yield "strict_tools without tools"
    for message in body.get("messages", ()):
        if message["role"] == "tool" and not message.get("content"):
            yield "a result without content"
        if message["role"] == "assistant" and "tool_plan" in message and not message.get("tool_calls"):
            yield "a tool_plan without calls"


_MISTRAL_BODY = frozenset(
    (
        *("model", "messages", "stream", "temperature", "top_p", "max_tokens", "stop", "random_seed", "metadata"),
        *("response_format", "tools", "tool_choice", "presence_penalty", "frequency_penalty", "n", "prediction"),
        *("parallel_tool_calls", "prompt_mode", "reasoning_effort", "guardrails", "safe_prompt", "stream_options"),
    )
)


def mistral_habits(body: Mapping[str, Any], path: str) -> Iterator[str]:
    """Mistral refuses every field that it does not know, and an assistant's turn at the end."""
    for name in sorted(body.keys() - _MISTRAL_BODY):
        yield f"the field {name!r}"
    if body.get("tool_choice") not in (None, "auto", "none", "any", "required") and not isinstance(
        body.get("tool_choice"), Mapping
    ):
        yield f"the tool_choice {body['tool_choice']!r}"
    last = (body.get("messages") or [{}])[-1]
    if last.get("role") not in ("user", "tool") and not last.get("prefix"):
        yield f"a message of {last.get('role')} at the end"
