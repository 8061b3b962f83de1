"""Whether a schema refers to itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["is_recursive"]


def is_recursive(root: Mapping[str, Any]) -> bool:
    """Whether some reference leads to a schema that it stands in."""
    places = [(home, name) for home in ("$defs", "definitions") for name in root.get(home, {})]
    homes = {f"#/{home}/{name}": root[home][name] for home, name in places}
    leads = {name: {ref for ref in _refs(value) if ref in homes} for name, value in homes.items()}
    if "#" in _refs(root):
        return True
    while leads:
        free = [name for name, targets in leads.items() if not targets & leads.keys()]
        if not free:
            return True
        for name in free:
            del leads[name]
    return False


def _refs(schema: Any) -> set[str]:
    if isinstance(schema, Mapping):
        own = {schema["$ref"]} if isinstance(schema.get("$ref"), str) else set()
        return own.union(*[_refs(value) for value in schema.values()])
    return set().union(*[_refs(value) for value in schema]) if isinstance(schema, list) else set()
