"""What a field holds, where a server may have put anything into it. Pure."""

from __future__ import annotations

from typing import Any

__all__ = ["dict_in", "dicts_in", "number_in", "text_in"]


def text_in(value: object) -> str | None:
    return value if isinstance(value, str) else None


def number_in(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def dict_in(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def dicts_in(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
