"""Names of properties that a server refuses lead back: the keys in a call's arguments get their own names again. Pure.

Rule: the text is changed in its keys only, as it comes: a key is held back until it is whole, and nothing else is. What
the deltas make, joined, is what the whole text makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from promptport.tools.descriptors import ToolDescriptor
from promptport.tools.dialects import SchemaDialect, fit_schema

__all__ = ["KeyRenamer", "renamed_properties"]


def renamed_properties(tools: Iterable[ToolDescriptor], dialect: SchemaDialect) -> dict[str, dict[str, str]]:
    """By tool: the names that are sent for properties whose own the server refuses, and those own names."""
    if not dialect.property_names:
        return {}
    found = {tool.name: fit_schema(tool.parameters, dialect).renamed for tool in tools}
    return {name: renamed for name, renamed in found.items() if renamed}


class KeyRenamer:
    """Gives keys in JSON text other names; one object for each text."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """Args: ``names``: the keys that come, and what they become."""
        self._names = names
        self._objects: list[bool] = []  # of each open object or list, whether it is an object
        self._key_next = False
        self._in_text = False
        self._escaped = False
        self._key: list[str] | None = None

    def feed(self, text: str) -> str:
        """The next piece of the text, as far as it is known."""
        out: list[str] = []
        for char in text:
            if self._in_text:
                self._inside(char, out)
                continue
            if char == '"':
                self._in_text = True
                if self._key_next:
                    self._key, self._key_next = [char], False
                    continue
            elif char in "{[":
                self._objects.append(char == "{")
                self._key_next = char == "{"
            elif char in "}]":
                if self._objects:
                    self._objects.pop()
                self._key_next = False
            elif char == ",":
                self._key_next = bool(self._objects) and self._objects[-1]
            out.append(char)
        return "".join(out)

    def finish(self) -> str:
        """What was held back when the text ended inside a key."""
        held, self._key = "".join(self._key or ()), None
        return held

    def _inside(self, char: str, out: list[str]) -> None:
        place = out if self._key is None else self._key
        place.append(char)
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._in_text = False
            if self._key is not None:
                raw, self._key = "".join(self._key), None
                name = self._names.get(raw[1:-1])
                out.append(raw if name is None else msgspec.json.encode(name).decode())
