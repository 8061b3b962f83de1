"""An MCP server for the tests, run as a script: over stdio, or over HTTP on the socket that its argument names."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Annotated

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from mcp import types

logging.disable(logging.CRITICAL)  # it would all be shown among the tests' own output

PNG = b"\x89PNG\r\n\x1a\n"
READS = types.ToolAnnotations(read_only_hint=True)

server = MCPServer("lab", instructions="Ask before you write.")
rows: list[str] = []


@server.tool(annotations=READS)
def add(a: int, b: Annotated[int, Field(ge=0)]) -> int:
    """Adds two numbers.

    Args:
        a: any.
        b: not negative.
    """
    return a + b


@server.tool(annotations=types.ToolAnnotations(read_only_hint=False))
def write(row: str) -> str:
    """Adds a row."""
    rows.append(row)
    return f"{len(rows)} rows"


@server.tool(structured_output=False)
def fail() -> str:
    raise ToolError("no such row: 7")


@server.tool(name="files.of/all", structured_output=False)
def files() -> list[types.ContentBlock]:
    return [
        types.TextContent(text="two files and a link"),
        Image(data=PNG, format="png").to_image_content(),
        types.EmbeddedResource(resource=types.TextResourceContents(uri="file:///a.txt", text="a text")),
        types.EmbeddedResource(
            resource=types.BlobResourceContents(uri="file:///b.pdf", mime_type="application/pdf", blob="JVBERg==")
        ),
        types.ResourceLink(name="more", uri="https://example.com/more"),
    ]


@server.tool(name="files-of all", structured_output=False)
def same_name() -> str:
    return "the other"


@server.tool(structured_output=False)
def structured() -> types.CallToolResult:
    return types.CallToolResult(content=[], structured_content={"rows": [1, 2], "name": "ü"})


@server.tool(structured_output=False)
async def steps(context: Context) -> str:
    for step in (1, 2, 3):
        await context.report_progress(step, 3, f"step {step}")
    return "all steps"


@server.tool()
async def hang(port: int) -> str:
    """Hangs; says on a socket when it begins and when it is cancelled."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"begun\n")
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        writer.write(b"cancelled\n")
        raise
    finally:
        writer.close()
    return ""


@server.tool()
def crash() -> str:
    os._exit(3)


@server.tool()
async def grow(context: Context) -> str:
    """Adds a tool to this server."""
    server.add_tool(lambda: "new", name="born")
    await context.notify_tools_changed()
    return "grown"


@server.tool()
def process() -> str:
    """The server's process and variables."""
    return f"{os.getpid()} {os.environ.get('LAB')} {os.environ.get('SECRET')} {os.getcwd()}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        import uvicorn

        uvicorn.run(server.streamable_http_app(), fd=int(sys.argv[1]), log_config=None)
    else:
        server.run()
