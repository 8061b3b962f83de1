"""Markers, and what may still become one. Pure.

Rule: a marker is a sequence of parts, and compiles to two regular expressions: one for the whole marker, one for text
that ends inside it. So the text that has to wait for more is exactly what may still become a marker, and no decision
depends on where the text was cut. Runs are bounded, so that what waits is bounded too.

No marker of one state may begin with another whole marker of the same state: the shorter would win or lose by chance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

__all__ = [
    "HERE",
    "SPACE",
    "Maybe",
    "Part",
    "Run",
    "Word",
    "begun",
    "capturing",
    "first_characters",
    "longest",
    "whole",
]


class Run(NamedTuple):
    """Between ``least`` and ``most`` characters of a class, as many as there are.

    Attributes:
        characters: the class, as in a regular expression.
        least: the smallest number.
        most: the largest number.
        group: the name under which an action finds the text; empty for none.
        unless: a regular expression that must not follow; it has to end in a character that is not of the class.
    """

    characters: str
    least: int
    most: int
    group: str = ""
    unless: str = ""


class Word(NamedTuple):
    """One of some words."""

    words: tuple[str, ...]
    group: str = ""


class Maybe(NamedTuple):
    """These parts, or nothing."""

    parts: tuple[Part, ...]


class _Here(NamedTuple):
    """What is read from here on belongs to the next state, which reads it again."""

    group: str = "here"


HERE = _Here()
SPACE = Run(r"[ \t\r\n]", 0, 32)

Part: TypeAlias = "str | Run | Word | Maybe | _Here"

_NEVER = "(?!)"


def capturing(parts: tuple[Part, ...]) -> str:
    """The whole marker as a regular expression with its named groups."""
    return "".join([_whole(part, groups=True) for part in parts])


def whole(parts: tuple[Part, ...]) -> str:
    """The whole marker as a regular expression without groups."""
    return "".join([_whole(part, groups=False) for part in parts])


def begun(parts: tuple[Part, ...]) -> str:
    r"""A regular expression for text that ends inside the marker, at its very beginning included; it ends in ``\Z``."""
    pattern = _NEVER
    for index in range(len(parts) - 1, -1, -1):
        part = parts[index]
        if isinstance(part, str):
            for character in reversed(part):
                pattern = rf"(?:\Z|{re.escape(character)}{pattern})"
        elif isinstance(part, Run):
            unless = f"(?!{part.unless})" if part.unless else ""
            inside = f"{unless}{part.characters}{{0,{part.most}}}+" + r"\Z"
            pattern = f"(?:{inside}|{_whole(part, groups=False)}{pattern})"
        elif isinstance(part, Word):
            inside = _begun_word(part.words)
            pattern = f"(?:{inside}|{_whole(part, groups=False)}{pattern})"
        elif isinstance(part, Maybe):
            pattern = f"(?:{begun(part.parts)}|{_whole(part, groups=False)}{pattern})"
    return pattern


def _begun_word(words: tuple[str, ...]) -> str:
    """Text that ends inside one of the words; a beginning that they share is written once."""
    after: dict[str, list[str]] = {}
    for word in words:
        if word:
            after.setdefault(word[0], []).append(word[1:])
    if not after:
        return _NEVER
    inside = [re.escape(character) + _begun_word(tuple(rest)) for character, rest in after.items()]
    return rf"(?:\Z|{'|'.join(inside)})"


def first_characters(markers: Iterable[tuple[Part, ...]]) -> str:
    """A regular expression for the one character that each of these markers begins with."""
    found: dict[str, None] = {}
    for parts in markers:
        if _firsts(parts, found):
            return r"(?s:.)"  # a marker that may be empty begins anywhere
    return "|".join(found) or _NEVER


def _firsts(parts: tuple[Part, ...], found: dict[str, None]) -> bool:
    """Adds what these parts may begin with; says whether they may be empty."""
    for part in parts:
        if isinstance(part, str):
            found[re.escape(part[0])] = None
        elif isinstance(part, Run):
            found[part.characters] = None
        elif isinstance(part, Word):
            found.update(dict.fromkeys([re.escape(word[0]) for word in part.words if word]))
        elif isinstance(part, Maybe):
            _firsts(part.parts, found)
        if not isinstance(part, Maybe | _Here) and not (isinstance(part, Run) and part.least == 0):
            return False
    return True


def longest(parts: tuple[Part, ...]) -> int:
    """How many characters the marker has at most."""
    total = 0
    for part in parts:
        if isinstance(part, str):
            total += len(part)
        elif isinstance(part, Run):
            total += part.most
        elif isinstance(part, Word):
            total += max(map(len, part.words), default=0)
        elif isinstance(part, Maybe):
            total += longest(part.parts)
    return total


def _whole(part: Part, *, groups: bool) -> str:
    if isinstance(part, str):
        return re.escape(part)
    if isinstance(part, Maybe):
        inner = "".join([_whole(inside, groups=groups) for inside in part.parts])
        return f"(?:{inner})?"
    if isinstance(part, Run):
        unless = f"(?!{part.unless})" if part.unless else ""
        pattern = f"{unless}{part.characters}{{{part.least},{part.most}}}+"
    elif isinstance(part, Word):
        pattern = f"(?:{'|'.join(map(re.escape, part.words))})" if part.words else _NEVER
    else:
        pattern = ""
    return f"(?P<{part.group}>{pattern})" if groups and part.group else f"(?:{pattern})"
