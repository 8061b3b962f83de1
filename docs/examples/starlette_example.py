"""A chat endpoint: the tool loop as server-sent events, with larger pieces of text for slow front ends.

    pip install promptport starlette uvicorn
    python starlette_example.py
    curl -N "http://127.0.0.1:8000/chat?question=Hello"

In a browser: ``new EventSource("/chat?question=Hello").onmessage = event => show(JSON.parse(event.data))``, closed at
the event ``{"type": "done"}``.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import promptport as pp
from promptport.front_ends import encode_events
from promptport.testing import Pause, ScriptedExecutor


def chat_app(executor: pp.PromptExecutor, model: pp.LLModel, tools: Iterable[pp.Tool[Any]] = ()) -> Starlette:
    """The application; it closes the executor when it shuts down."""
    dispatcher = pp.ToolDispatcher(executor, tools)

    async def events(question: str) -> AsyncIterator[bytes]:
        """The events of one answer. A client that leaves closes this, and so the model's stream and the tools."""
        async with dispatcher.stream(pp.Prompt.of(question), model) as stream:
            frames = pp.TokenBuffer(seconds=0.05).coalesce(stream)
            async with aclosing(encode_events(frames)) as encoded:
                async for event in encoded:
                    yield event

    async def chat(request: Request) -> Response:
        question = request.query_params.get("question", "").strip()
        if not question:
            return Response("ask with ?question=…", status_code=400)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # proxies pass on each event at once
        return StreamingResponse(events(question), media_type="text/event-stream", headers=headers)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await dispatcher.aclose()
        await executor.aclose()

    return Starlette(routes=[Route("/chat", chat)], lifespan=lifespan)


@pp.tool
async def get_weather(city: str) -> str:
    """Current weather of a city."""
    return f"It is sunny in {city}."


def scripted() -> pp.PromptExecutor:
    """A model that says the same each time; ``pp.connect("openai")`` goes in its place."""
    call = pp.ToolCall("call_1", "get_weather", '{"city": "Paris"}')
    words = [step for word in ("It ", "is ", "sunny.") for step in (word, Pause(0.2))]
    return ScriptedExecutor(["Let me look. ", call], words, repeat=True)


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(chat_app(scripted(), pp.LLModel("scripted", "model"), [get_weather]), port=8000)
