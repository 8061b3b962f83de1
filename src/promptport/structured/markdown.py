"""Markdown while it streams: headers, bullets, code blocks and text, each as soon as it is complete. No I/O of its own.

A line is complete at its end; a code block at its closing fence, or at the end of the text. Nothing is lost: each line
that is not blank is in exactly one element.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator
from typing import TypeAlias

import msgspec

from promptport.checking import checked
from promptport.messages import Prompt
from promptport.models import ModelCapabilities
from promptport.structured.definition import prepended

__all__ = [
    "MarkdownBullet",
    "MarkdownCode",
    "MarkdownDefinition",
    "MarkdownElement",
    "MarkdownHeader",
    "MarkdownParser",
    "MarkdownText",
]


class MarkdownHeader(msgspec.Struct, frozen=True, tag="header"):
    """``## text``.

    Attributes:
        level: 1 to 6.
        text: without the marks.
    """

    level: int
    text: str


class MarkdownBullet(msgspec.Struct, frozen=True, tag="bullet"):
    """``- text`` or ``1. text``.

    Attributes:
        text: without the mark.
        indent: how many columns it stands in.
        number: of a numbered bullet, else ``None``.
    """

    text: str
    indent: int = 0
    number: int | None = None


class MarkdownCode(msgspec.Struct, frozen=True, tag="code"):
    """A fenced code block.

    Attributes:
        text: the lines between the fences.
        language: what stands behind the opening fence; may be empty.
        closed: ``False`` where the text ended inside the block.
    """

    text: str
    language: str = ""
    closed: bool = True


class MarkdownText(msgspec.Struct, frozen=True, tag="text"):
    """Any other line."""

    text: str


MarkdownElement: TypeAlias = MarkdownHeader | MarkdownBullet | MarkdownCode | MarkdownText

_HEADER = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_BULLET = re.compile(r"([ \t]*)(?:[-*+]|(\d{1,9})[.)])[ \t]+(.*)$")
_RULE = re.compile(r" {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$")


class MarkdownParser:
    """Text in, elements out; pure. The same text gives the same elements, however it is cut."""

    def __init__(self) -> None:
        self._line: list[str] = []  # the line under way, joined once its end is there
        self._fence = ""
        self._language = ""
        self._code: list[str] = []

    def feed(self, text: str) -> list[MarkdownElement]:
        """The elements that this text completes."""
        *ended, rest = text.split("\n")
        if not ended:
            self._line.append(rest)
            return []
        ended[0] = "".join([*self._line, ended[0]])
        self._line = [rest]
        return [element for line in ended for element in self._element(line.removesuffix("\r"))]

    def close(self) -> list[MarkdownElement]:
        """The elements that the end of the text completes."""
        out = [element for line in ["".join(self._line)] if line for element in self._element(line)]
        self._line = []
        if self._fence:
            out.append(MarkdownCode("\n".join(self._code), self._language, closed=False))
            self._fence = ""
        return out

    def _element(self, line: str) -> list[MarkdownElement]:
        fence = _FENCE.match(line)
        if self._fence:
            if fence and fence[1].startswith(self._fence) and not fence[2].strip():
                code = MarkdownCode("\n".join(self._code), self._language)
                self._fence, self._code = "", []
                return [code]
            self._code.append(line)
            return []
        if fence:
            self._fence, self._language, self._code = fence[1], fence[2].strip(), []
            return []
        if not line.strip():
            return []
        if header := _HEADER.match(line):
            return [MarkdownHeader(len(header[1]), (header[2] or "").strip())]
        bullet = None if _RULE.match(line) else _BULLET.match(line)
        if bullet:
            number = int(bullet[2]) if bullet[2] else None
            return [MarkdownBullet(bullet[3].strip(), len(bullet[1].expandtabs(4)), number)]
        return [MarkdownText(line)]


class MarkdownDefinition:
    """An answer in Markdown; `parse` gives its elements."""

    @checked
    def __init__(self, instructions: str = "Answer in Markdown.") -> None:
        """``instructions``: what the model is told of the structure, such as which headers to use."""
        self._instructions = instructions

    def prepare(self, prompt: Prompt, capabilities: ModelCapabilities) -> Prompt:
        """The prompt with the instructions as a system message before its others."""
        del capabilities  # Markdown asks for none
        return prepended(prompt, self._instructions)

    async def parse(self, text: AsyncIterable[str]) -> AsyncIterator[MarkdownElement]:
        """The elements, each when it is complete."""
        parser = MarkdownParser()
        async for piece in text:
            for element in parser.feed(piece):
                yield element
        for element in parser.close():
            yield element
