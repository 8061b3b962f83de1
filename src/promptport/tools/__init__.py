"""Tools: what a model is told of one, and what runs it.

What enters knows a tool's schema or its function, and not that a loop runs it. Imports: `promptport.errors`,
`promptport.frames`; pydantic and docstring-parser only when the first ``@tool`` is made,
jsonschema-rs when the first schema is checked.
"""

from promptport.tools.context import ToolContext
from promptport.tools.descriptors import Tool, ToolDescriptor, ToolKind, ToolStart, tool
from promptport.tools.dialects import DIALECTS, FittedSchema, SchemaDialect, fit_schema, fit_tools
from promptport.tools.nulls import without_nulls
from promptport.tools.renaming import KeyRenamer, renamed_properties
from promptport.tools.schema_check import SchemaCheck

__all__ = [
    "DIALECTS",
    "FittedSchema",
    "KeyRenamer",
    "SchemaCheck",
    "SchemaDialect",
    "Tool",
    "ToolContext",
    "ToolDescriptor",
    "ToolKind",
    "ToolStart",
    "fit_schema",
    "fit_tools",
    "renamed_properties",
    "tool",
    "without_nulls",
]
