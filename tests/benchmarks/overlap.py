"""How long a turn takes whose call is sealed at 35 ms, whose text goes on for a second, and whose tool takes a second.

Rule: answers as `tests.benchmarks.client` does. Each library's agent loop as its documentation begins, on the Responses
API, which lets text follow a call; two requests, the second with the tool's result.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from tests.benchmarks.contenders import KEY, PROMPT, base_url
from tests.benchmarks.peers import pydantic_ai_model
from tests.benchmarks.wires import MODELS, TOOL

Turn = Callable[[], Awaitable[None]]


def promptport(url: str, seconds: float) -> Turn:
    """Its dispatcher."""
    import promptport as pp

    @pp.tool
    async def save_text(text: str) -> str:
        """Saves a text."""
        await asyncio.sleep(seconds)
        return "saved"

    executor = pp.SingleClientExecutor(pp.client("openai", api_key=KEY, base_url=base_url("responses", url)))
    dispatcher = pp.ToolDispatcher(executor, [save_text])

    async def turn() -> None:
        async with dispatcher.stream(pp.Prompt.of(PROMPT), pp.LLModel("openai", MODELS["responses"])) as frames:
            async for _ in frames:
                pass

    return turn


def pydantic_ai(url: str, seconds: float) -> Turn:
    """Its agent."""
    agent = import_module("pydantic_ai").Agent(pydantic_ai_model("responses", url))

    @agent.tool_plain  # type: ignore[untyped-decorator]
    async def save_text(text: str) -> str:
        """Saves a text."""
        await asyncio.sleep(seconds)
        return "saved"

    async def turn() -> None:
        async with agent.run_stream_events(PROMPT) as events:
            async for _ in events:
                pass

    return turn


def openai_agents(url: str, seconds: float) -> Turn:
    """Its runner."""
    os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
    agents = import_module("agents")

    async def save_text(text: str) -> str:
        """Saves a text."""
        await asyncio.sleep(seconds)
        return "saved"

    client = import_module("openai").AsyncOpenAI(api_key=KEY, base_url=base_url("responses", url))
    model = agents.OpenAIResponsesModel(MODELS["responses"], client)
    agent = agents.Agent(name="benchmark", model=model, tools=[agents.function_tool(save_text)])

    async def turn() -> None:
        result = agents.Runner.run_streamed(agent, PROMPT)
        async for _ in result.stream_events():
            pass

    return turn


_LOOPS: dict[str, Callable[[str, float], Turn]] = {
    "promptport": promptport,
    "pydantic-ai": pydantic_ai,
    "openai-agents": openai_agents,
}


async def main(contender: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    turn: Turn | None = None
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        options: dict[str, Any] = json.loads(line)
        turn = turn or _LOOPS[contender](options["url"], options["seconds"])
        start = time.perf_counter()
        await turn()
        print(json.dumps({"wall": time.perf_counter() - start}), file=answers, flush=True)


assert TOOL["name"] == "save_text"  # the tool that the answer calls

if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
