"""Prompts, responses and tools as the conventions for generative AI write them: JSON of messages and their parts. Pure.

Rule: nothing opaque goes in: no signature, no encrypted reasoning, no item that only its provider can read.

The shapes are those of ``gen-ai-input-messages.json`` and its neighbors in semantic-conventions-genai, November 2026,
which readers share with those of v1.41.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from promptport.frames import FinishReason, InvalidToolCall, ProviderItem, Reasoning, ToolCall
from promptport.messages import (
    AssistantMessage,
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    Prompt,
    SystemMessage,
    TextPart,
    ToolResultMessage,
    UserMessage,
    UserPart,
)
from promptport.tools import ToolDescriptor

__all__ = ["input_messages", "json_text", "output_messages", "system_instructions", "tool_definitions"]

_Part = dict[str, Any]

_MODALITY = {ImagePart: "image", DocumentPart: "document", AudioPart: "audio"}
_FINISH = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_call",
    FinishReason.CONTENT_FILTER: "content_filter",
}


def system_instructions(prompt: Prompt) -> str | None:
    """The instructions at the beginning of a prompt; ``None`` if there are none."""
    instructions = _leading(prompt)
    return json_text([_text(message.text) for message in instructions]) if instructions else None


def input_messages(prompt: Prompt) -> str:
    """The messages of a prompt behind its instructions."""
    return json_text([_message(message) for message in prompt.messages[len(_leading(prompt)) :]])


def output_messages(message: AssistantMessage, outcome: str) -> str:
    """What the model said.

    Args:
        message: As far as it arrived.
        outcome: How the request ended, which stands for the reason of a response without its own.
    """
    reason = message.finish_reason
    said = _FINISH.get(reason, reason.value) if reason is not None else "error" if outcome == "failed" else outcome
    parts = _spoken(message) + [_called(call.id, call.name, call.arguments) for call in message.unfinished]
    return json_text([{"role": "assistant", "parts": parts, "finish_reason": said}])


def tool_definitions(tools: Sequence[ToolDescriptor]) -> str:
    """The tools that the model is told of."""
    return json_text(
        [
            {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters}
            for tool in tools
        ]
    )


def json_text(value: object) -> str:
    """JSON, also of what has none: by its text then. Half a surrogate pair is escaped."""
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except UnicodeEncodeError:
        return json.dumps(value, default=str)


def _leading(prompt: Prompt) -> list[SystemMessage]:
    found: list[SystemMessage] = []
    for message in prompt.messages:
        if not isinstance(message, SystemMessage):
            break
        found.append(message)
    return found


def _message(message: Message) -> _Part:
    if isinstance(message, SystemMessage):
        return {"role": "system", "parts": [_text(message.text)]}
    if isinstance(message, UserMessage):
        return {"role": "user", "parts": _given(message.parts)}
    if isinstance(message, ToolResultMessage):
        output: object = message.output if isinstance(message.output, str) else _given(message.output)
        response = {"error": message.error} if message.error is not None else output
        return {"role": "tool", "parts": [{"type": "tool_call_response", "id": message.call_id, "response": response}]}
    return {"role": "assistant", "parts": _spoken(message)}


def _given(parts: Iterable[UserPart]) -> list[_Part]:
    return [_text(part.text) if isinstance(part, TextPart) else _media(part) for part in parts]


def _media(part: ImagePart | DocumentPart | AudioPart) -> _Part:
    made: _Part = {"type": "uri" if part.data is None else "blob", "modality": _MODALITY[type(part)]}
    if part.media_type is not None:
        made["mime_type"] = part.media_type
    return made | ({"uri": part.url} if part.data is None else {"content": base64.b64encode(part.data).decode()})


def _spoken(message: AssistantMessage) -> list[_Part]:
    parts: list[_Part] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            parts.append(_text(part.text))
        elif isinstance(part, Reasoning):
            if part.text:
                parts.append({"type": "reasoning", "content": part.text})
        elif isinstance(part, ToolCall | InvalidToolCall):
            parts.append(_called(part.id, part.name, part.arguments))
        elif isinstance(part, ProviderItem):
            parts.append({"type": "server_tool_call", "name": part.type, "server_tool_call": {"type": part.type}})
    return parts


def _text(text: str) -> _Part:
    return {"type": "text", "content": text}


def _called(id: str, name: str, arguments: str) -> _Part:
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):  # cut, or never valid
        value = arguments
    return {"type": "tool_call", "id": id, "name": name, "arguments": value}
