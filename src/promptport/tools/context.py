"""`ToolContext`: what a program hands to its tools, and no model sees.

Rule: a parameter of this type is no argument of the tool: it is in no schema, and no model can fill it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, get_args, get_origin

import msgspec

from promptport.errors import InvalidInputError

__all__ = ["ToolContext", "context_of_parameters"]

_Value = TypeVar("_Value")


class ToolContext(msgspec.Struct, Generic[_Value], frozen=True):
    """What the program hands to its tools, as a parameter that no model sees. Its ``repr`` shows no contents.

    Attributes:
        value: What was passed as ``context`` to `ToolDispatcher`, its ``stream`` or `LLMSession`.

    Examples:
        ```python
        from dataclasses import dataclass
        import promptport as pp

        @dataclass
        class Shop:
            orders: list[str]

        @pp.tool
        def place_order(item: str, context: pp.ToolContext[Shop]) -> str:
            context.value.orders.append(item)
            return f"ordered {item}"
        ```
    """

    value: _Value

    def __repr__(self) -> str:
        return f"ToolContext({type(self.value).__name__})"


def context_of_parameters(parameters: Mapping[str, inspect.Parameter], tool: str) -> tuple[str | None, type | None]:
    """The parameter that takes the context, and the type that its value must have, where one can be asked for.

    Raises:
        InvalidInputError: two parameters take it.
    """
    found = [
        (name, parameter.annotation)
        for name, parameter in parameters.items()
        if parameter.annotation is ToolContext or get_origin(parameter.annotation) is ToolContext
    ]
    if not found:
        return None, None
    if len(found) > 1:
        raise InvalidInputError(f"tool {tool!r}: two parameters are a ToolContext. Keep one of them.")
    name, annotation = found[0]
    wanted: Any = next(iter(get_args(annotation)), None)
    wanted = get_origin(wanted) or wanted
    return name, wanted if isinstance(wanted, type) and wanted is not object else None
