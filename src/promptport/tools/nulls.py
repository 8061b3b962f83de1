"""A value → the same without the nulls that a schema with all properties required made necessary. Pure.

Rule: a null goes only where the original schema lets the property be left out, and takes no null. Of a union the
option counts that takes the value without its nulls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["without_nulls"]

_DEEPEST = 200
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": (int, float),
    "boolean": bool,
    "null": type(None),
}


def without_nulls(value: Any, schema: Any) -> Any:
    """The value without the nulls that stand for properties left out: optional ones of the schema that take no null."""
    return _Nulls(schema).cleaned(value, schema)


class _Nulls:
    """Takes out of a value the nulls that a schema with all properties required made necessary."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def cleaned(self, value: Any, schema: Any, depth: int = 0) -> Any:
        schema = self._resolved(schema)
        if depth > _DEEPEST or not isinstance(value, dict | list):
            return value
        for part in schema.get("allOf", ()):
            value = self.cleaned(value, part, depth + 1)
        options = [self._resolved(each) for key in ("anyOf", "oneOf") for each in schema.get(key, ())]
        if isinstance(value, dict):  # where keys that no option names are free, the option that names them goes first
            options.sort(key=lambda option: not value.keys() <= option.get("properties", {}).keys())
        for option in options:
            if _is_kind(value, option):
                made = self.cleaned(value, option, depth + 1)
                if self._takes(made, option, depth + 1):
                    value = made
                    break
        if isinstance(value, list):
            items = _items(schema, len(value))
            return [self.cleaned(item, below, depth + 1) for item, below in zip(value, items, strict=True)]
        properties, required = schema.get("properties"), schema.get("required", ())
        if not isinstance(properties, Mapping):
            return value
        cleaned: dict[str, Any] = {}
        for name, each in value.items():
            below = properties.get(name, {})
            if each is None and name in properties and name not in required and not self._takes_null(below):
                continue
            cleaned[name] = self.cleaned(each, below, depth + 1)
        return cleaned

    def _takes(self, value: Any, schema: Any, depth: int) -> bool:
        """Whether an option of a union means this value: by types, constants and the shape of what is inside."""
        schema = self._resolved(schema)
        if depth > _DEEPEST:
            return True
        if not _is_kind(value, schema) or ("const" in schema and value != schema["const"]):
            return False
        if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
            return False
        options = [each for key in ("anyOf", "oneOf") for each in schema.get(key, ())]
        if options and not any(self._takes(value, option, depth + 1) for option in options):
            return False
        if isinstance(value, list):
            items = _items(schema, len(value))
            return len(value) >= schema.get("minItems", 0) and all(
                self._takes(item, below, depth + 1) for item, below in zip(value, items, strict=True)
            )
        if isinstance(value, dict):
            below = schema.get("properties", {})
            return set(schema.get("required", ())) <= value.keys() and all(
                self._takes(each, below[name], depth + 1) for name, each in value.items() if name in below
            )
        return True

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


def _is_kind(value: Any, schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    if kinds is None:
        return True
    names = kinds if isinstance(kinds, list) else [kinds]
    return any(
        isinstance(value, _KINDS.get(name, object)) and (name == "boolean" or not isinstance(value, bool))
        for name in names
    )


def _items(schema: Mapping[str, Any], length: int) -> list[Any]:
    """The schema of each item."""
    first = schema.get("prefixItems")
    first = first[:length] if isinstance(first, list) else []
    return [*first, *[schema.get("items", {})] * (length - len(first))]
