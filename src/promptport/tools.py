"""Tools: `ToolDescriptor` is enough to ask a model; a `Tool` can also run; ``@tool`` makes one of a function."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["ToolDescriptor"]


class ToolDescriptor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool as a model is told of it.

    Attributes:
        name: 1 to 64 letters, digits, ``_`` or ``-``: what all providers take.
        description: what it does, for the model.
        parameters: the JSON schema of its arguments, an object's; an empty schema means no arguments.
        strict: ask the provider to hold the arguments to the schema, where it can; ``None`` leaves it to the provider.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    strict: bool | None = None
