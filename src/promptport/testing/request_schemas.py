"""What servers refuse in a schema, as data: a row for each of them, and one walk over the schema.

Rule: the rows stand by themselves, apart from the table that fits schemas, so that a mistake there is seen here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["SchemaRules", "schema_refusals"]

_UNIONS = frozenset({"anyOf", "oneOf", "allOf", "enum", "not"})
_INSIDE = ("anyOf", "oneOf", "allOf", "prefixItems")


@dataclass(frozen=True)
class SchemaRules:
    """What a server takes in a schema.

    Attributes:
        object_top: an object must stand at the top, without unions.
        closed: every object says ``additionalProperties: false``.
        all_required: every object requires all its properties.
        one_required: the object at the top requires at least one of its properties.
        typed: every schema says a type, a union or a reference.
        bare_ref: nothing stands beside a ``$ref``.
        refused: keywords that are refused.
        allowed: all keywords that are taken; ``None`` for all but ``refused``.
        min_items: the highest ``minItems``.
        names: a regular expression for the names of properties; an empty one takes all.
        recursion: a schema may refer to itself.
    """

    object_top: bool = True
    closed: bool = False
    all_required: bool = False
    one_required: bool = False
    typed: bool = False
    bare_ref: bool = False
    refused: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None
    min_items: int | None = None
    names: str = ""
    recursion: bool = True


def schema_refusals(schema: Any, rules: SchemaRules) -> Iterator[str]:
    """Why a server of these rules would refuse the schema."""
    if not isinstance(schema, Mapping):
        yield "no schema"
        return
    if rules.object_top and (schema.get("type") != "object" or schema.keys() & _UNIONS):
        yield "not an object's at the top"
    if rules.one_required and not schema.get("required"):
        yield "no required property"
    if not rules.recursion and _refers_to_itself(schema, schema, ()):
        yield "refers to itself"
    yield from _in_schema(schema, rules, "")


def _in_schema(schema: Any, rules: SchemaRules, path: str) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    where = path or "the top"
    homes = [name for name in ("$defs", "definitions") if name in schema]
    keys = schema.keys() - set(homes)
    if rules.bare_ref and "$ref" in keys and len(keys) > 1:
        yield f"{where}: something beside a $ref"
    for key in sorted(keys):
        if key in rules.refused or (rules.allowed is not None and key not in rules.allowed):
            yield f"{where}: {key}"
    if rules.min_items is not None and isinstance(schema.get("minItems"), int) and schema["minItems"] > rules.min_items:
        yield f"{where}: minItems {schema['minItems']}"
    if rules.typed and keys and not keys & {"type", "anyOf", "allOf", "oneOf", "enum", "const", "$ref"}:
        yield f"{where}: no type"
    if schema.get("type") == "array" and "items" not in schema and "prefixItems" not in schema and rules.typed:
        yield f"{where}: an array without items"
    if schema.get("type") == "object" or "properties" in schema:
        yield from _in_object(schema, rules, path)
    for home in homes:
        for name, value in schema[home].items():
            yield from _in_schema(value, rules, f"{home}.{name}")
    for key in _INSIDE:
        for number, value in enumerate(schema.get(key) or ()):
            yield from _in_schema(value, rules, f"{path}[{number}]")
    yield from _in_schema(schema.get("items"), rules, f"{path}[]")


def _in_object(schema: Mapping[str, Any], rules: SchemaRules, path: str) -> Iterator[str]:
    where, properties = path or "the top", schema.get("properties", {})
    if rules.closed and schema.get("additionalProperties") is not False:
        yield f"{where}: not closed"
    if rules.all_required and set(schema.get("required", ())) != set(properties):
        yield f"{where}: a property that is not required"
    if not set(schema.get("required", ())) <= set(properties) and rules.closed:
        yield f"{where}: a required property that is not there"
    for name, value in properties.items():
        if rules.names and not re.fullmatch(rules.names, name):
            yield f"{where}: the name {name!r} of a property"
        yield from _in_schema(value, rules, f"{path}.{name}".strip("."))
    yield from _in_schema(schema.get("additionalProperties"), rules, f"{path}.*".strip("."))


def _refers_to_itself(schema: Any, root: Mapping[str, Any], above: tuple[str, ...]) -> bool:
    if isinstance(schema, list):
        return any(_refers_to_itself(each, root, above) for each in schema)
    if not isinstance(schema, Mapping):
        return False
    ref = schema.get("$ref")
    if isinstance(ref, str):
        if ref in above or ref == "#":
            return True
        found: Any = root
        for step in [step for step in ref.lstrip("#").split("/") if step]:
            found = found.get(step) if isinstance(found, Mapping) else None
        return _refers_to_itself(found, root, (*above, ref))
    return any(_refers_to_itself(each, root, above) for key, each in schema.items() if key not in ("$defs",))
