"""Answers with a structure, read while they stream.

What enters knows how to read a structure out of a text that is not complete. Imports: messages, models, errors.
"""

from promptport.structured.definition import StructuredDataDefinition
from promptport.structured.json import JsonDefinition, Partial
from promptport.structured.markdown import (
    MarkdownBullet,
    MarkdownCode,
    MarkdownDefinition,
    MarkdownElement,
    MarkdownHeader,
    MarkdownText,
)

__all__ = [
    "JsonDefinition",
    "MarkdownBullet",
    "MarkdownCode",
    "MarkdownDefinition",
    "MarkdownElement",
    "MarkdownHeader",
    "MarkdownText",
    "Partial",
    "StructuredDataDefinition",
]
