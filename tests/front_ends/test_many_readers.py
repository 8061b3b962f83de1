"""Many readers of many runs over HTTP: nobody misses a word, the slow stop nobody, and memory stays flat."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from tests.real_parts import free_port

import promptport as pp
from promptport.front_ends.starlette import ChatTurn, chat_routes
from promptport.run_log import MemoryRunLog
from promptport.testing import ScriptedExecutor

pytest.importorskip("psutil", reason="the benchmarks' own package is not installed: uv sync --group bench")


@pytest.mark.slow
async def test_a_thousand_readers_of_a_hundred_runs_for_a_minute_hold_no_more_memory_at_its_end() -> None:
    from tests.benchmarks.readers import many_readers

    figures = await many_readers(runs=100, readers=10, seconds=60.0, period=1.0)
    assert figures["grown"] < 8, f"MB that the server grew by in half a minute: {figures}"


async def test_readers_over_http_miss_nothing_and_one_that_reads_late_has_it_all() -> None:
    from tests.benchmarks.readers import many_readers

    figures = await many_readers(runs=4, readers=5, seconds=2.0, period=0.1)  # it raises where one missed something
    assert figures["cpu"] > 0


async def test_a_reader_that_reads_nothing_stops_neither_the_run_nor_another_reader() -> None:
    texts = [f"{number:07d}" * 1000 for number in range(800)]  # more than all buffers on the way hold
    turn = ChatTurn(pp.ToolDispatcher(ScriptedExecutor([*texts, pp.End(pp.FinishReason.STOP)])), "scripted/m")
    log = MemoryRunLog()
    port = free_port()
    app = Starlette(routes=chat_routes(lambda request, chat: turn, log=log))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it has no event for this
        await asyncio.sleep(0.01)
    try:
        user: Any = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            async with client.stream("POST", "/chat", json={"id": "c", "messages": [user]}) as slow:
                assert slow.status_code == 200  # and nothing of its body is read
                async with client.stream("GET", "/chat/c/stream?last=true") as quick:
                    seen = await text_of(quick)
                assert seen == "".join(texts)
                assert await log.active("c") is None, "the run is over, though a reader holds on to its beginning"
                assert await text_of(slow) == seen
    finally:
        await log.aclose()
        server.should_exit = True
        await serving


async def text_of(response: httpx.Response) -> str:
    text = ""
    async for line in response.aiter_lines():
        if line.startswith("data: {"):
            chunk = json.loads(line[6:])
            text += chunk["delta"] if chunk["type"] == "text-delta" else ""
    return text
