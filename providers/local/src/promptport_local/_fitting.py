"""Schemas as llama.cpp's grammars can hold them. Pure.

Rule: what a grammar cannot hold is left out of what is sent, instead of a 400 or a server that hangs; whoever checks
the answer still has it. A grammar writes a repetition out, so thousands are too many; it knows ASCII patterns that
close what they open, types by their names, and references into the schema. Seen with llama.cpp of xllamacpp 2026.10.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["fit_request", "fitted"]

_MOST = 1000
_BOUNDS = ("minLength", "maxLength", "minItems", "maxItems")
_PAIRS = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minimum", "maximum"))
_TYPES = frozenset(["string", "number", "integer", "boolean", "null", "array", "object"])
_MAPS = frozenset(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"])
_LISTS = frozenset(["anyOf", "oneOf", "allOf", "prefixItems"])
_VALUES = frozenset(["enum", "const", "default", "examples", "required"])
_REPEATED = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def fit_request(body: dict[str, Any]) -> None:
    """Fits the schemas of a Chat Completions request, in place."""
    for tool in body.get("tools", ()):
        function = tool["function"]
        if "parameters" in function:
            function["parameters"] = fitted(function["parameters"])
    held = body.get("response_format", {}).get("json_schema")
    if held is not None and "schema" in held:
        held["schema"] = fitted(held["schema"])


def fitted(schema: Any) -> Any:
    """The schema without what no grammar can hold."""
    return _fitted(schema, schema)


def _fitted(schema: Any, root: Any) -> Any:
    if not isinstance(schema, dict):
        return {}  # true: any value
    kept = {key: value for key, value in schema.items() if _holds(key, value, root)}
    for least, most in _PAIRS:
        low, high = kept.get(least), kept.get(most)
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            del kept[least], kept[most]
    return {key: _inside(key, value, root) for key, value in kept.items()}


def _inside(key: str, value: Any, root: Any) -> Any:
    if key in _MAPS and isinstance(value, dict):
        return {name: _fitted(part, root) for name, part in value.items() if part is not False}
    if (key in _LISTS or key == "items") and isinstance(value, list):
        return [_fitted(part, root) for part in value]
    if key in _VALUES or (key == "additionalProperties" and isinstance(value, bool)):
        return value
    return _fitted(value, root) if isinstance(value, dict) or key == "items" else value


def _holds(key: str, value: Any, root: Any) -> bool:
    """Whether a grammar can hold this word of a schema."""
    if key in _BOUNDS:
        return not isinstance(value, int) or value <= _MOST
    if key == "type":
        return bool(value) and set(value if isinstance(value, list) else [value]) <= _TYPES
    if key in ("enum", "anyOf", "oneOf"):
        return bool(value)
    if key == "format":
        return isinstance(value, str)
    if key == "pattern":
        return isinstance(value, str) and _is_plain(value)
    return key != "$ref" or _leads_somewhere(value, root)


def _is_plain(pattern: str) -> bool:
    if not pattern.isascii():
        return False
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    written_out = 1
    for least, most in _REPEATED.findall(pattern):
        written_out *= max(int(least), int(most or 0), 1)
    return written_out <= _MOST


def _leads_somewhere(reference: Any, root: Any) -> bool:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return False
    found = root
    for step in reference[1:].split("/"):
        if step:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return isinstance(found, dict)
