"""Calls inside text, for models and servers that have no native tools.

What enters knows how a model writes a call as text. Pure, but for `TextToolsClient`, which wraps a client. Imports:
`promptport.decoding`, `promptport.llm_client`, `promptport.tools`.
"""

from promptport.text_tools.detection import detect
from promptport.text_tools.formats import FORMATS, TextFormat, format_of
from promptport.text_tools.machine import ReasoningTags, TextToolsParser
from promptport.text_tools.prompting import call_schema, text_prompt
from promptport.text_tools.text_tools_client import TextToolsClient
from promptport.text_tools.writing import Writing

__all__ = [
    "FORMATS",
    "ReasoningTags",
    "TextFormat",
    "TextToolsClient",
    "TextToolsParser",
    "Writing",
    "call_schema",
    "detect",
    "format_of",
    "text_prompt",
]
