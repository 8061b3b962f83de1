"""A value → the same without the nulls that a schema with all properties required made necessary. Pure.

Rule: a null goes only where the original schema lets the property be left out, and takes no null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["without_nulls"]


def without_nulls(value: Any, schema: Any) -> Any:
    """The value without the nulls that stand for properties left out: optional ones of the schema that take no null."""
    return _Nulls(schema).cleaned(value, schema)


class _Nulls:
    """Takes out of a value the nulls that a schema with all properties required made necessary."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def cleaned(self, value: Any, schema: Any, depth: int = 0) -> Any:
        schema = self._resolved(schema)
        if depth > 200:
            return value
        options = [self._resolved(each) for key in ("anyOf", "oneOf", "allOf") for each in schema.get(key, ())]
        if isinstance(value, list):
            items: Any = next(
                (each["items"] for each in (schema, *options) if isinstance(each.get("items"), Mapping)), {}
            )
            return [self.cleaned(item, items, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        homes = [each for each in (schema, *options) if isinstance(each.get("properties"), Mapping)]
        home = next((each for each in homes if value.keys() <= each["properties"].keys()), homes[0] if homes else {})
        properties, required = home.get("properties", {}), home.get("required", ())
        cleaned: dict[str, Any] = {}
        for name, each in value.items():
            below = properties.get(name, {})
            if each is None and name in properties and name not in required and not self._takes_null(below):
                continue
            cleaned[name] = self.cleaned(each, below, depth + 1)
        return cleaned

    def _resolved(self, schema: Any, tries: int = 0) -> Mapping[str, Any]:
        if not isinstance(schema, Mapping):
            return {}
        ref = schema.get("$ref")
        if not isinstance(ref, str) or tries > 20:
            return schema
        found: Any = self._root
        for step in [step for step in ref.lstrip("#").split("/") if step]:
            found = found.get(step) if isinstance(found, Mapping) else None
        return self._resolved(found, tries + 1)

    def _takes_null(self, schema: Any) -> bool:
        schema = self._resolved(schema)
        kind = schema.get("type")
        if kind is not None:
            return kind == "null" or (isinstance(kind, list) and "null" in kind)
        if "enum" in schema or "const" in schema:
            return None in schema.get("enum", [schema.get("const", ...)])
        options = [each for key in ("anyOf", "oneOf") for each in schema.get(key, ())]
        return any(map(self._takes_null, options)) if options else True
