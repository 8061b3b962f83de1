"""Tools: what a model is told of one, and what runs it.

What enters knows a tool's schema or its function, and not that a loop runs it. Imports: `promptport.errors`,
`promptport.frames`; pydantic and docstring-parser only when the first ``@tool`` is made.
"""

from promptport.tools.descriptors import Tool, ToolDescriptor, ToolKind, ToolStart, tool
from promptport.tools.dialects import DIALECTS, FittedSchema, SchemaDialect, fit_schema, fit_tools
from promptport.tools.nulls import without_nulls

__all__ = [
    "DIALECTS",
    "FittedSchema",
    "SchemaDialect",
    "Tool",
    "ToolDescriptor",
    "ToolKind",
    "ToolStart",
    "fit_schema",
    "fit_tools",
    "tool",
    "without_nulls",
]
