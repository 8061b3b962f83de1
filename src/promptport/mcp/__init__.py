"""Tools of MCP servers, through the official SDK. The extra ``mcp`` installs it.

What enters knows MCP. Imports: `promptport.tools`, and the SDK when a server is connected.
"""

from promptport.mcp.server import McpServer, WhatNeedsApproval, connect_http, connect_stdio

__all__ = [
    "McpServer",
    "WhatNeedsApproval",
    "connect_http",
    "connect_stdio",
]
