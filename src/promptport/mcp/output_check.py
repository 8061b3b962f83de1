"""What a server's tool gave as structured content, against the schema that the server promised.

Rule: the SDK would check it in the event loop, with patterns that can take for ever; so it is asked not to, and it is
checked here: with a linear engine, and not at all where it would take long, since what is checked only goes to a model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.errors import InvalidInputError
from promptport.tools import SchemaCheck

if TYPE_CHECKING:
    from mcp import Client, types

__all__ = ["OutputChecks"]


class OutputChecks:
    """The promises of one server's tools."""

    def __init__(self) -> None:
        self._schemas: dict[str, dict[str, Any]] = {}
        self._checks: dict[str, SchemaCheck | None] = {}

    def take_over(self, client: Client) -> None:
        """From now on, results are checked here and not by the SDK."""
        setattr(client.session, "validate_tool_result", self.check)  # noqa: B010 - a method, for type checkers

    def know(self, tools: Iterable[types.Tool]) -> None:
        """These are the server's tools now."""
        self._checks = {}
        self._schemas = {tool.name: tool.output_schema for tool in tools if tool.output_schema is not None}

    async def check(self, name: str, result: types.CallToolResult) -> None:
        """Checks a result.

        Raises:
            RuntimeError: It is not what was promised.
        """
        schema = self._schemas.get(name)
        if schema is None:
            return
        content: Any = result.structured_content
        if content is None:
            raise RuntimeError(f"Tool {name} has an output schema but did not return structured content")
        if name not in self._checks:
            self._checks[name] = _check_for(name, schema)
        check = self._checks[name]
        if check is None or check.is_heavy(msgspec.json.encode(content).decode()):
            return
        problems = check.problems(content)
        if problems:
            raise RuntimeError(f"Invalid structured content returned by tool {name}: {'; '.join(problems)}")


def _check_for(name: str, schema: dict[str, Any]) -> SchemaCheck | None:
    try:
        return SchemaCheck(name, schema, lenient=True)
    except InvalidInputError:  # too much to be checked
        return None
