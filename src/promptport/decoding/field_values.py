"""What a field holds, where a server may have put anything into it. Pure.

Rule: a value of another type is as if it were not there. For a field that must be there, declare its type instead.
"""

from __future__ import annotations

from typing import Any

__all__ = ["count_in", "dict_in", "dicts_in", "number_in", "text_in"]

_DIGITS = 20  # of a number that is written as a text


def text_in(value: object) -> str | None:
    """The text; an empty one too."""
    return value if isinstance(value, str) else None


def number_in(value: object) -> int | None:
    """The whole number, also one that is written as a text."""
    if isinstance(value, str) and len(value) < _DIGITS and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def count_in(value: object) -> int | None:
    """How many: a whole number from 0 on, which some servers write as a fraction."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None


def dict_in(value: object) -> dict[str, Any]:
    """The object; else an empty one."""
    return value if isinstance(value, dict) else {}


def dicts_in(value: object) -> list[dict[str, Any]]:
    """The objects in a list."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
