"""Calls inside text, for models and servers that have no native tools.

What enters knows how a model writes a call as text. Pure, but for the two clients that wrap another one:
`TextToolsClient` puts the tools into the prompt, `TextCallsClient` reads calls beside native ones. Imports:
`promptport.decoding`, `promptport.llm_client`, `promptport.tools`.
"""

from promptport.text_tools.beside_native import (
    TextCalls,
    TextCallsClient,
    read_beside,
    read_message,
    with_text_calls,
)
from promptport.text_tools.detection import detect
from promptport.text_tools.formats import FORMATS, TextFormat, format_of
from promptport.text_tools.machine import ReasoningTags, TextToolsParser
from promptport.text_tools.prompting import call_schema, calls_schema, text_prompt
from promptport.text_tools.special_tokens import defused, defused_prompt, defused_tool
from promptport.text_tools.text_tools_client import TextToolsClient
from promptport.text_tools.writing import Writing

__all__ = [
    "FORMATS",
    "ReasoningTags",
    "TextCalls",
    "TextCallsClient",
    "TextFormat",
    "TextToolsClient",
    "TextToolsParser",
    "Writing",
    "call_schema",
    "calls_schema",
    "defused",
    "defused_prompt",
    "defused_tool",
    "detect",
    "format_of",
    "read_beside",
    "read_message",
    "text_prompt",
    "with_text_calls",
]
