"""An MCP server with two tools, for mcp_example.py: one that only reads, and says so, and one that writes."""

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("notes", instructions="Read the notes before you answer.")
notes = ["The bicycle is red."]


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def read_notes() -> str:
    """All notes, one a line."""
    return "\n".join(notes)


@server.tool()
def add_note(text: str) -> str:
    """Adds a note."""
    notes.append(text)
    return f"There are {len(notes)} notes."


if __name__ == "__main__":
    server.run()
