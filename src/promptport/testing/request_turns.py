"""The turns in a request body, of each protocol in one form: what `request_rules` judges.

Rule: it only finds. Nothing is judged here but what a body of the protocol cannot be read without.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Block",
    "Schema",
    "Turn",
    "bedrock_schemas",
    "bedrock_turns",
    "chat_schemas",
    "chat_turns",
    "gemini_schemas",
    "gemini_turns",
    "messages_schemas",
    "messages_turns",
    "responses_schemas",
    "responses_turns",
]


@dataclass(frozen=True)
class Block:
    """One thing in a turn.

    Attributes:
        kind: ``text``, ``call``, ``result``, ``result-text``, ``result-image``, ``image``, ``thought`` or ``other``.
        text: of a text.
        id: of a call or a result; one is made for protocols without ids, so that pairs can be told.
        name: of a tool, where the block names one.
        arguments: of a call, as they stand there.
        signed: a thought or call carries a signature.
    """

    kind: str
    text: str = ""
    id: str = ""
    name: str | None = None
    arguments: Any = None
    signed: bool = False


@dataclass(frozen=True)
class Turn:
    """One message of a request; ``role`` is ``system``, ``user``, ``assistant`` or ``tool``."""

    role: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Schema:
    """A schema in a request: of a tool by its ``name``, or of the answer (``None``)."""

    name: str | None
    schema: Any
    strict: bool = False


# --------------------------------------------------------------------------------------------------- parts


def _parts(content: Any) -> tuple[Block, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Block("text", content),)
    return tuple(map(_part, content))


def _part(part: Mapping[str, Any]) -> Block:
    kind = str(part.get("type"))
    if kind.endswith("text"):
        return Block("text", str(part.get("text", "")))
    if "thinking" in kind:
        return Block("thought", signed=bool(part.get("signature") or part.get("data")))
    return Block("image") if "image" in kind else Block("other")


def _result(call_id: str, name: str | None, content: Any) -> list[Block]:
    parts = content if isinstance(content, list) else ()
    images = [Block("result-image") for part in parts if "image" in str(part.get("type"))]
    blank = [Block("result-text", str(part.get("text"))) for part in parts if str(part.get("type")).endswith("text")]
    return [Block("result", id=call_id, name=name), *images, *[each for each in blank if not each.text.strip()]]


# --------------------------------------------------------------------------- Chat Completions, Cohere, Ollama


def chat_turns(body: Mapping[str, Any]) -> Iterator[Turn]:
    """Of Chat Completions, and of Cohere's and Ollama's chat, which are shaped like it."""
    waiting: list[tuple[str, str]] = []  # calls without an id of their own: the one made for each, and its name
    number = 0
    for message in body.get("messages", ()):
        role = {"developer": "system"}.get(message["role"], message["role"])
        if role == "tool":
            name = message.get("name") or message.get("tool_name")
            call_id = message.get("tool_call_id") or next((made for made, its in waiting if its == name), "?")
            waiting = [each for each in waiting if each[0] != call_id]
            yield Turn("tool", tuple(_result(call_id, name, message["content"])))
            continue
        calls: list[Block] = []
        for call in message.get("tool_calls") or ():
            function, number = call["function"], number + 1
            call_id = call.get("id") or f"made {number}"
            if not call.get("id"):
                waiting.append((call_id, function["name"]))
            calls.append(Block("call", id=call_id, name=function["name"], arguments=function["arguments"]))
        other = [Block("other")] if message.get("refusal") or message.get("thinking") else []
        images = [Block("image") for _ in message.get("images", ())]
        content = message.get("content")
        # An empty text beside calls is how some servers want to be told of none.
        texts = () if content == "" and calls else _parts(content)
        yield Turn(role, (*texts, *images, *calls, *other))


def chat_schemas(body: Mapping[str, Any]) -> Iterator[Schema]:
    """Of tools and of the answer, in the same bodies."""
    for tool in body.get("tools") or ():
        function = tool.get("function", tool)
        if "parameters" in function:
            strict = bool(function.get("strict") or body.get("strict_tools"))
            yield Schema(str(function.get("name")), function["parameters"], strict)
    if isinstance(body.get("format"), Mapping):
        yield Schema(None, body["format"])
    answer = body.get("response_format") or {}
    if isinstance(answer.get("json_schema"), Mapping):
        found = answer["json_schema"]
        if answer.get("type") == "json_schema":
            yield Schema(None, found.get("schema"), bool(found.get("strict")))
        else:
            yield Schema(None, found)


# ------------------------------------------------------------------------------------------------ Responses


def responses_turns(body: Mapping[str, Any]) -> Iterator[Turn]:
    """Of OpenAI's Responses, where each item is one."""
    for item in body.get("input", ()) if isinstance(body.get("input"), list) else ():
        kind = item.get("type", "message")
        if kind == "message":
            role = {"developer": "system"}.get(item["role"], item["role"])
            yield Turn(role, _parts(item["content"]))
        elif kind in ("function_call", "custom_tool_call"):
            arguments = item.get("arguments", "{}")
            yield Turn("assistant", (Block("call", id=item["call_id"], name=item["name"], arguments=arguments),))
        elif kind.endswith("_output") and "call_id" in item:
            yield Turn("tool", tuple(_result(item["call_id"], None, item.get("output"))))


def responses_schemas(body: Mapping[str, Any]) -> Iterator[Schema]:
    """Of tools and of the answer."""
    for tool in body.get("tools") or ():
        if "parameters" in tool:
            yield Schema(str(tool.get("name")), tool["parameters"], bool(tool.get("strict")))
    answer = (body.get("text") or {}).get("format") or {}
    if "schema" in answer:
        yield Schema(None, answer["schema"], bool(answer.get("strict")))


# ------------------------------------------------------------------------------------------------- Messages


def messages_turns(body: Mapping[str, Any]) -> Iterator[Turn]:
    """Of Anthropic's Messages."""
    system = body.get("system")
    if system:
        yield Turn("system", _parts(system))
    for message in body.get("messages", ()):
        blocks: list[Block] = []
        content = message["content"]
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            if part["type"] == "tool_use":
                blocks.append(Block("call", id=part["id"], name=part["name"], arguments=part["input"]))
            elif part["type"] == "tool_result":
                blocks += _result(part["tool_use_id"], None, part.get("content"))
            else:
                blocks += _parts([part])
        yield Turn(message["role"], tuple(blocks))


def messages_schemas(body: Mapping[str, Any]) -> Iterator[Schema]:
    """Of tools and of the answer."""
    for tool in body.get("tools") or ():
        if "input_schema" in tool:
            yield Schema(str(tool.get("name")), tool["input_schema"], bool(tool.get("strict")))
    answer = (body.get("output_config") or {}).get("format") or {}
    if "schema" in answer:
        yield Schema(None, answer["schema"], strict=True)


# --------------------------------------------------------------------------------------------------- Gemini


def gemini_turns(body: Mapping[str, Any]) -> Iterator[Turn]:
    """Of Gemini's ``generateContent``."""
    system = body.get("systemInstruction")
    if system:
        yield Turn("system", tuple(_gemini_blocks(system.get("parts") or (), [], 0)))
    waiting: list[tuple[str, str]] = []
    for number, content in enumerate(body.get("contents", ())):
        role = {"model": "assistant"}.get(content.get("role"), str(content.get("role")))
        yield Turn(role, tuple(_gemini_blocks(content.get("parts") or (), waiting, number)))


def _gemini_blocks(parts: Iterable[Mapping[str, Any]], waiting: list[tuple[str, str]], turn: int) -> Iterator[Block]:
    for place, part in enumerate(parts):
        signed = bool(part.get("thoughtSignature"))
        if "functionCall" in part:
            call = part["functionCall"]
            call_id = call.get("id") or f"made {turn}.{place}"
            waiting.append((call_id, call.get("name")))
            yield Block("call", id=call_id, name=call.get("name"), arguments=call.get("args", {}), signed=signed)
        elif "functionResponse" in part:
            found = part["functionResponse"]
            call_id = found.get("id") or next((made for made, name in waiting if name == found.get("name")), "?")
            # The pair is told by both: a result of another name is a result of no call.
            if (call_id, found.get("name")) not in waiting:
                call_id = f"{call_id} of {found.get('name')}"
            waiting[:] = [each for each in waiting if each[0] != call_id]
            yield Block("result", id=call_id, name=found.get("name"))
            yield from [Block("result-image") for _ in found.get("parts") or ()]
        elif part.get("thought"):
            yield Block("thought", str(part.get("text", "")), signed=signed)
        elif "text" in part:
            yield Block("other" if signed else "text", str(part["text"]), signed=signed)
        else:
            media = part.get("inlineData") or part.get("fileData") or {}
            yield Block("image" if str(media.get("mimeType", "")).startswith("image/") else "other")


def gemini_schemas(body: Mapping[str, Any]) -> Iterator[Schema]:
    """Of tools and of the answer."""
    for tool in body.get("tools") or ():
        for function in tool.get("functionDeclarations") or ():
            # The one takes JSON Schema, and does not hold to what it does not know; the other refuses that.
            name = str(function.get("name"))
            if "parametersJsonSchema" in function:
                yield Schema(name, function["parametersJsonSchema"])
            elif "parameters" in function:
                yield Schema(name, function["parameters"], strict=True)
    answer = body.get("generationConfig") or {}
    if "responseJsonSchema" in answer:
        yield Schema(None, answer["responseJsonSchema"], strict=True)


# -------------------------------------------------------------------------------------------------- Bedrock


def bedrock_turns(body: Mapping[str, Any]) -> Iterator[Turn]:
    """Of Bedrock's Converse."""
    if body.get("system"):
        yield Turn("system", tuple([block for part in body["system"] for block in _bedrock_blocks(part)]))
    for message in body.get("messages", ()):
        blocks = [block for part in message["content"] for block in _bedrock_blocks(part)]
        yield Turn(message["role"], tuple(blocks))


def _bedrock_blocks(part: Mapping[str, Any]) -> Iterator[Block]:
    if "toolUse" in part:
        use = part["toolUse"]
        if use.get("type") == "server_tool_use":
            yield Block("other")
        else:
            yield Block("call", id=use["toolUseId"], name=use["name"], arguments=use["input"])
    elif "toolResult" in part:
        result = part["toolResult"]
        yield Block("result", id=result["toolUseId"])
        for inner in result["content"]:
            if "text" in inner:
                yield Block("result-text", inner["text"])
            elif "image" in inner:
                yield Block("result-image")
    elif "reasoningContent" in part:
        inner = part["reasoningContent"]
        yield Block("thought", signed="redactedContent" in inner or "signature" in inner.get("reasoningText", {}))
    elif "text" in part:
        yield Block("text", part["text"])
    elif "cachePoint" not in part:
        yield Block("image" if "image" in part else "other")


def bedrock_schemas(body: Mapping[str, Any]) -> Iterator[Schema]:
    """Of tools and of the answer, which is text there."""
    for tool in (body.get("toolConfig") or {}).get("tools") or ():
        if "toolSpec" in tool:
            spec = tool["toolSpec"]
            yield Schema(str(spec.get("name")), spec["inputSchema"]["json"], bool(spec.get("strict")))
    structure = ((body.get("outputConfig") or {}).get("textFormat") or {}).get("structure") or {}
    if "jsonSchema" in structure:
        yield Schema(None, json.loads(structure["jsonSchema"]["schema"]), strict=True)
