"""An MCP server of 2025, by hand and over stdio, for the tests; its argument says how it misbehaves."""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object", "properties": {"text": {"$ref": "http://127.0.0.1:9/x"}}}}


def answer(method: str, params: dict[str, Any], mode: str) -> dict[str, Any] | None:
    if method == "initialize" and mode != "refuses":
        capabilities = {"tools": {"listChanged": True}}
        info = {"name": "old", "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info}
    if method == "tools/list":
        if mode == "lists nonsense":
            return {"tools": "none"}
        if mode == "lists for ever":
            return {"tools": [], "nextCursor": f"{time.monotonic()}"}
        first = (params or {}).get("cursor") is None
        return {"tools": [tool("first" if first else "second")], **({"nextCursor": "2"} if first else {})}
    if method == "tools/call":
        send(method="notifications/tools/list_changed")
        content: Any = [{"type": "text", "text": json.dumps(params["arguments"])}]
        return {"content": "nonsense" if mode == "calls give nonsense" else content}
    return None


def main(mode: str) -> None:
    if mode == "ends":
        sys.exit(1)
    for line in sys.stdin:
        request = json.loads(line)
        if mode == "says nothing" or "id" not in request:
            continue
        result = answer(request["method"], request.get("params") or {}, mode)
        if result is None:
            send(id=request["id"], error={"code": -32601, "message": "no such method"})
        else:
            send(id=request["id"], result=result)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
