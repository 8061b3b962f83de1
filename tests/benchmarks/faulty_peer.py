"""One conversation with a faulty server through one library's own fallback: ``python faulty_peer.py NAME URL``.

Rule: each library as its documentation says: two models, the second of which answers where the first fails, and a tool.
One line of JSON tells what a user would have seen: the text, how often the tool ran, and the error.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

KEY = "test-key"
RUNS: list[int] = []


def act(x: int) -> str:
    """Does something that must not be done twice."""
    RUNS.append(x)
    return "done"


async def promptport(url: str, show: Callable[[str], None]) -> None:
    import promptport as pp

    options = {"openai-chat": {"api_key": KEY, "base_url": url, "timeouts": pp.Timeouts(first_frame=2, idle=2)}}
    executor = pp.connect("openai-chat", options=options, fallback=["openai-chat/second"])
    async with executor, pp.ToolDispatcher(executor, [pp.tool(act)]) as dispatcher:
        async with dispatcher.stream("Hello", "openai-chat/first") as stream:
            async for frame in stream:
                if isinstance(frame, pp.Append):
                    show(frame.text)


async def pydantic_ai(url: str, show: Callable[[str], None]) -> None:
    import httpx2
    from openai import AsyncOpenAI
    from pydantic_ai import Agent
    from pydantic_ai.models.fallback import FallbackModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    sdk = AsyncOpenAI(api_key=KEY, base_url=url, max_retries=0, timeout=httpx2.Timeout(2))
    models = [OpenAIChatModel(name, provider=OpenAIProvider(openai_client=sdk)) for name in ("first", "second")]
    agent = Agent(FallbackModel(*models), tools=[act])
    async with agent.run_stream("Hello") as result:
        async for text in result.stream_text(delta=True, debounce_by=None):
            show(text)


async def langchain(url: str, show: Callable[[str], None]) -> None:
    from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
    from langchain_openai import ChatOpenAI

    def model(name: str) -> Any:
        chat = ChatOpenAI(model=name, base_url=url, api_key=KEY, max_retries=0, timeout=2, streaming=True)
        return chat.bind_tools([act])

    chain = model("first").with_fallbacks([model("second")])
    messages: list[Any] = [HumanMessage("Hello")]
    for _ in range(3):
        whole: AIMessageChunk | None = None
        async for chunk in chain.astream(messages):
            whole = chunk if whole is None else whole + chunk
            show(str(chunk.content))
        if whole is None or not whole.tool_calls:
            return
        messages.append(whole)
        messages += [ToolMessage(act(**call["args"]), tool_call_id=call["id"]) for call in whole.tool_calls]


async def litellm(url: str, show: Callable[[str], None]) -> None:
    from litellm import Router, stream_chunk_builder

    deployments = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_key": KEY, "api_base": url, "timeout": 2},
        }
        for name in ("first", "second")
    ]
    router = Router(model_list=deployments, fallbacks=[{"first": ["second"]}], num_retries=0)
    tool = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    tools = [{"type": "function", "function": {"name": "act", "parameters": tool}}]
    messages: list[Any] = [{"role": "user", "content": "Hello"}]
    for _ in range(3):
        chunks = []
        async for chunk in await router.acompletion(model="first", messages=messages, tools=tools, stream=True):
            chunks.append(chunk)
            show(chunk.choices[0].delta.content or "" if chunk.choices else "")
        message: Any = stream_chunk_builder(chunks).choices[0].message
        if not message.tool_calls:
            return
        messages.append(message.model_dump())
        for call in message.tool_calls:
            result = act(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


PEERS: dict[str, Callable[[str, Callable[[str], None]], Awaitable[None]]] = {
    "promptport": promptport,
    "pydantic-ai": pydantic_ai,
    "langchain": langchain,
    "litellm": litellm,
}


def main() -> None:
    shown: list[str] = []
    error = ""
    try:
        asyncio.run(asyncio.wait_for(PEERS[sys.argv[1]](sys.argv[2], shown.append), 30))
    except Exception as raised:
        error = type(raised).__name__
    sys.stdout.write("\n" + json.dumps({"text": "".join(shown), "runs": len(RUNS), "error": error}) + "\n")


if __name__ == "__main__":
    main()
