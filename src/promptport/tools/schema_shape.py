"""The outer form of a JSON schema that somebody else wrote: what it declares, and whether it has the form at all. Pure.

Rule: whoever follows a schema's words may trust that a map is a map and a list a list, because `misshapen` was asked
when the schema came in; and no walk goes round in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["Declared", "declared", "misshapen"]

_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "enum")
_ONE = (
    *("items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "additionalItems", "propertyNames"),
    *("contains", "not", "if", "then", "else"),
)
_IN_PLACE = ("allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas")


class Declared(NamedTuple):
    """What a schema says of the keys of an object.

    Attributes:
        names: The keys that it names.
        patterns: What other keys may look like.
        is_open: It says in words that there may be others.
    """

    names: frozenset[str]
    patterns: tuple[str, ...]
    is_open: bool


def declared(schema: Mapping[str, Any], target: Callable[[str], Any]) -> Declared:
    """The keys that a schema declares for the object itself, with unions, conditions and references followed.

    Args:
        schema: The schema.
        target: Gives what a reference stands for, or `None`.
    """
    names: dict[str, None] = {}
    patterns: dict[str, None] = {}
    is_open = False
    waiting: list[Any] = [schema]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if not isinstance(one, Mapping) or id(one) in seen:
            continue
        seen.add(id(one))
        names.update(dict.fromkeys(_map(one, "properties")))
        patterns.update(dict.fromkeys(_map(one, "patternProperties")))
        is_open = is_open or any(one.get(word, False) is not False for word in _OTHERS)
        for word in _IN_PLACE:
            below = one.get(word)
            waiting += below if isinstance(below, list) else _map(one, word).values() if word in _MAPS else [below]
        if isinstance(one.get("$ref"), str):
            waiting.append(target(one["$ref"]))
    return Declared(frozenset(names), tuple(patterns), is_open)


_OTHERS = ("additionalProperties", "unevaluatedProperties")


def _map(schema: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    found = schema.get(word)
    return found if isinstance(found, Mapping) else {}


def misshapen(schema: Any) -> str | None:
    """What is not as every reader of schemas takes it: a word with a value of another kind. ``None`` if all is well."""
    waiting: list[Any] = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, bool):
            continue
        if not isinstance(one, Mapping):
            return f"a schema is {_kind(one)} instead of an object"
        problem = _misshapen_word(one)
        if problem is not None:
            return problem
        for word in _MAPS:
            waiting += one.get(word, {}).values()
        for word in _LISTS[:-1]:
            waiting += one.get(word, ())
        for word in _ONE:
            if word in one:
                below = one[word]
                waiting += below if word == "items" and isinstance(below, list) else [below]
    return None


def _misshapen_word(schema: Mapping[str, Any]) -> str | None:
    for word in _MAPS:
        if word in schema and not isinstance(schema[word], Mapping):
            return f"{word!r} is {_kind(schema[word])} instead of an object"
    for word in _LISTS:
        if word in schema and not isinstance(schema[word], list | tuple):
            return f"{word!r} is {_kind(schema[word])} instead of an array"
    required = schema.get("required", ())
    if not isinstance(required, list | tuple) or not _are_texts(required):
        return f"'required' is {_kind(required)} instead of an array of names"
    kinds = schema.get("type", "")
    if not isinstance(kinds, str) and not (isinstance(kinds, list | tuple) and _are_texts(kinds)):
        return f"'type' is {_kind(kinds)} instead of a name, or an array of names"
    for word in ("$ref", "pattern", "format", "description"):
        if not isinstance(schema.get(word, ""), str):
            return f"{word!r} is {_kind(schema[word])} instead of a string"
    return None


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kinds = ((str, "a string"), (int | float, "a number"), (Mapping, "an object"), (list | tuple, "an array"))
    return next((words for kind, words in kinds if isinstance(value, kind)), type(value).__name__)
