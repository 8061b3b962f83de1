"""Whether a schema refers to itself. Pure, and in time that is linear in the schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["is_recursive"]


def is_recursive(root: Mapping[str, Any]) -> bool:
    """Whether some reference leads to a schema that it stands in."""
    places = [(home, name) for home in ("$defs", "definitions") for name in root.get(home, {})]
    homes = {f"#/{home}/{name}": root[home][name] for home, name in places}
    if "#" in _refs(root):
        return True
    leads = {name: {ref for ref in _refs(value) if ref in homes} for name, value in homes.items()}
    led: dict[str, list[str]] = {name: [] for name in homes}
    for name, targets in leads.items():
        for target in targets:
            led[target].append(name)
    left = {name: len(targets) for name, targets in leads.items()}
    free = [name for name, count in left.items() if not count]
    freed = 0
    while free:
        freed += 1
        for name in led[free.pop()]:
            left[name] -= 1
            if not left[name]:
                free.append(name)
    return freed < len(homes)


def _refs(schema: Any) -> set[str]:
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            if isinstance(one.get("$ref"), str):
                found.add(one["$ref"])
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return found
