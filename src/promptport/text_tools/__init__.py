"""Calls inside text, for models and servers that have no native tools. Pure."""

from promptport.text_tools.detect import detect
from promptport.text_tools.formats import FORMATS, TextFormat, format_of
from promptport.text_tools.machine import ReasoningTags, TextToolsParser
from promptport.text_tools.writing import Writing

__all__ = ["FORMATS", "ReasoningTags", "TextFormat", "TextToolsParser", "Writing", "detect", "format_of"]
