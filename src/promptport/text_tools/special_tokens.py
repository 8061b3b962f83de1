"""Special tokens in what users and tools say. Pure.

Rule: in a chat template's text, a token that ends a turn is one wherever it stands, and so is a tag that ends a tool's
result. So a blank goes into those that stand in contents: people and models still read them, and nothing obeys them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from promptport.messages import Message, Prompt, TextPart, ToolResultMessage, UserMessage, UserPart
from promptport.tools import ToolDescriptor

__all__ = ["defused", "defused_prompt", "defused_tool"]

_TAGS = (
    *("tool_call", "tool_response", "tool_calls", "tools", "think", "function_call", "function_calls", "response"),
    *("minimax:tool_call", "start_of_turn", "end_of_turn", "bos", "eos", "pad", "unk", "s", "sop", "eop"),
)
_WORDS = (
    *("INST", "SYSTEM_PROMPT", "TOOL_CALLS", "TOOL_RESULTS", "TOOL_CONTENT", "AVAILABLE_TOOLS", "CALL_ID", "ARGS"),
    *("THINK", "IMG", "gMASK"),
)
_TOKEN = re.compile(
    r"<(?=\|[^<>|\s]{1,64}\|?>)"  # <|im_start|> and its kind
    r"|<(?=[|｜][^<>]{0,64}[|｜]>)"
    rf"|<(?=/?(?:{'|'.join(_TAGS)})>)"
    r"|<(?=/?(?:function|parameter)=)"
    rf"|\[(?=/?(?:{'|'.join(_WORDS)})\])"
    r"|<(?=<SYS>>|</SYS>>)"
    r"|\](?=~!?b[\[\]])|\[(?=e~\[)"  # MiniMax's
)


def defused(text: str) -> str:
    """The text, with a blank behind the first character of each token."""
    return _TOKEN.sub(r"\g<0> ", text)


def _defused_parts(parts: Sequence[UserPart]) -> tuple[UserPart, ...]:
    """The parts, with their texts so."""
    return tuple([replace(part, text=defused(part.text)) if isinstance(part, TextPart) else part for part in parts])


def defused_prompt(prompt: Prompt) -> Prompt:
    """The prompt, with all that users and tools say in it so."""
    return replace(prompt, messages=tuple(map(_defused_message, prompt.messages)))


def _defused_message(message: Message) -> Message:
    if isinstance(message, UserMessage):
        return UserMessage(_defused_parts(message.parts))
    if isinstance(message, ToolResultMessage):
        output, error = message.output, message.error
        told = defused(output) if isinstance(output, str) else _defused_parts(output)
        return replace(message, output=told, error=None if error is None else defused(error))
    return message


def defused_tool(tool: ToolDescriptor) -> ToolDescriptor:
    """The tool, with its descriptions so; names and values that arguments may have stay."""
    return ToolDescriptor(tool.name, defused(tool.description), _described(tool.parameters))


def _described(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: defused(item) if key == "description" and isinstance(item, str) else _described(item)
            for key, item in value.items()
        }
    return [_described(item) for item in value] if isinstance(value, list) else value
