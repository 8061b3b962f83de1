"""MCP servers that mean harm, or are broken: none stops the event loop, or fills the memory."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from promptport.dispatch import ToolDispatcher, ToolProgress
from promptport.errors import ProtocolError, ToolFailedError, ToolTimeoutError, TransportError
from promptport.frames import ToolCall
from promptport.mcp import McpServer, connect_stdio, mcp_tools
from promptport.testing import ScriptedExecutor

pytest.importorskip("mcp")

SERVER = """
import json, os, sys
mode = sys.argv[1]
GOOD = {"type": "object", "properties": {"text": {"type": "string"}}}
chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(6000)}
BAD = {
    "words": {"allOf": "x"}, "number": {"properties": {"a": {"required": 5}}},
    "inside": {"properties": {"a": {"enum": 5}}},
    "maps": {"properties": {"a": {"properties": [1]}}}, "kinds": {"properties": {"a": {"type": ["string", 5]}}},
    "self": {"$ref": "#"}, "away": {"$ref": "http://127.0.0.1:9/x"}, "nowhere": {"$ref": "#/nowhere"},
}
CHAIN = {"$defs": {**chain, "d6000": {}}, "properties": {"text": {"$ref": "#/$defs/d0"}}}
SCHEMAS = {**BAD, "chain": CHAIN, "good": GOOD}
EVIL = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}

def say(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\\n")
    sys.stdout.flush()

def tools(cursor):
    if mode == "same page":
        return {"tools": [{"name": "a", "inputSchema": GOOD}], "nextCursor": "again"}
    if mode == "pages":
        return {"tools": [], "nextCursor": str(int(cursor or 0) + 1)}
    if mode == "many":
        return {"tools": [{"name": "a\\u001b[2J", "inputSchema": GOOD}] * 2000, "nextCursor": str(int(cursor or 0) + 1)}
    if mode == "schemas":
        return {"tools": [{"name": name, "inputSchema": {"type": "object", **s}} for name, s in SCHEMAS.items()]}
    promised = {"outputSchema": EVIL} if mode.startswith("promises") else {}
    return {"tools": [{"name": "act", "inputSchema": GOOD, **promised}]}

def act(id, token):
    if mode == "huge":
        return say(id=id, result={"content": [{"type": "text", "text": "x" * 100_000}]})
    if mode == "dies":
        os._exit(1)
    if mode == "flood":
        for n in range(5_000):
            say(method="notifications/progress", params={"progressToken": token, "progress": n, "message": "m" * 100})
    if mode.startswith("promises"):
        given = {"a": "a" * 200} if mode == "promises and holds" else {"a": "a" * 200 + "!"}
        return say(id=id, result={"content": [{"type": "text", "text": "right"}], "structuredContent": given})
    if mode == "silent":
        return
    if mode == "other ids":
        for other in (id + 1000, "x", -1):
            say(id=other, result={"content": [{"type": "text", "text": "wrong"}]})
    say(id=id, result={"content": [{"type": "text", "text": "right"}]})

for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    id, params = request["id"], request.get("params") or {}
    if request["method"] == "initialize":
        info = {"name": "hostile", "version": "1"}
        say(id=id, result={"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info})
    elif request["method"] == "tools/list":
        say(id=id, result=tools(params.get("cursor")))
    elif request["method"] == "tools/call":
        act(id, (params.get("_meta") or {}).get("progressToken"))
    else:
        say(id=id, result={})
"""


def hostile(mode: str, **options: Any) -> McpServer:
    return connect_stdio(sys.executable, ["-c", SERVER, mode], **options)


async def called(mode: str, **options: Any) -> tuple[Any, list[Any]]:
    """The outcome of one call of the server's only tool, and what was shown before it."""
    async with hostile(mode) as server:
        tools = await server.tools(**options)
        executor = ScriptedExecutor([ToolCall("1", "act", "{}")], ["end"])
        async with ToolDispatcher(executor, tools) as dispatcher, dispatcher.stream("Go.", "scripted/m") as stream:
            frames = [frame async for frame in stream]
        return stream.outcomes[0], frames


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("same page", "lists the same page of tools again"),
        ("many", "lists more than 50,000 tools"),
        ("pages", "within 2 s"),
    ],
)
async def test_a_list_without_end_is_refused(mode: str, says: str) -> None:
    async with hostile(mode, connect_timeout=2.0 if mode == "pages" else 60.0) as server:
        with pytest.raises((ProtocolError, TransportError), match=says):
            await server.tools()


async def test_schemas_without_form_are_left_out_by_name_and_the_loop_goes_on() -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    async with hostile("schemas") as server:
        heart = asyncio.create_task(beat())
        tools = await server.tools()
        heart.cancel()
    assert [tool.name for tool in tools] == ["chain", "good"]
    assert set(server.refused_tools) == {*("words", "number", "inside", "maps", "kinds", "self", "away", "nowhere")}
    assert beats >= len(server.refused_tools)


async def test_a_result_without_measure_is_the_call_s_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_tools, "MAX_RESULT_BYTES", 99_999)
    outcome, _ = await called("huge")
    assert (outcome.state, type(outcome.error)) == ("failed", ToolFailedError)
    assert outcome.result.error == "the result has 100,000 characters, and at most 99,999 are taken"


async def test_a_server_that_dies_in_a_call_fails_it() -> None:
    outcome, _ = await called("dies")
    assert outcome.state == "failed"
    assert isinstance(outcome.error.__cause__, TransportError)


async def test_a_server_that_never_answers_is_bounded_by_the_timeout() -> None:
    outcome, _ = await called("silent", timeout=0.2)
    assert (outcome.state, type(outcome.error)) == ("failed", ToolTimeoutError)


async def test_answers_with_other_ids_are_nobody_s() -> None:
    outcome, _ = await called("other ids")
    assert outcome.result.output == "right"


async def test_a_flood_of_progress_is_bounded_and_ends() -> None:
    outcome, frames = await called("flood", progress=True)
    assert outcome.result.output == "right"
    shown = [frame for frame in frames if type(frame) is ToolProgress]
    assert shown
    assert len(shown) <= 5_000


async def test_a_promise_about_results_with_an_evil_pattern_is_checked_in_linear_time() -> None:
    """The SDK's own check, which tracks back, would take longer than the universe is old."""
    assert (await called("promises and holds"))[0].result.output == "right"
    outcome, _ = await called("promises")
    assert outcome.state == "failed"
    assert "Invalid structured content returned by tool act: a: " in str(outcome.result.error)
