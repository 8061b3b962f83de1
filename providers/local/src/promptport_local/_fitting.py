"""Schemas as llama.cpp's grammars can hold them. Pure.

Rule: a grammar writes a repetition out, and llama.cpp refuses one of thousands with a 400. Such a bound is left out of
what is sent; whoever checks the answer still has it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["fitted"]

_MOST = 1000
_BOUNDS = ("minLength", "maxLength", "minItems", "maxItems")


def fitted(schema: Any) -> Any:
    """The schema without the bounds that no grammar can hold."""
    if isinstance(schema, dict):
        return {
            key: fitted(value)
            for key, value in schema.items()
            if not (key in _BOUNDS and isinstance(value, int) and value > _MOST)
        }
    return [fitted(item) for item in schema] if isinstance(schema, list) else schema
