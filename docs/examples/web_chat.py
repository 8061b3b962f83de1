"""A web chat whose tool asks a person first: POST /chat {"say": …}, then POST /chat {"decisions": {id: true}}."""

import json
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

import promptport as pp
from promptport.front_ends import encode_events


@pp.tool(needs_approval=True)
async def send_mail(to: str, text: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


def chat_app(executor: pp.PromptExecutor, model: str) -> Starlette:
    sessions: dict[str, pp.LLMSession] = {}  # in your program: by the signed-in user, in your database (to_json)

    async def chat(request: Request) -> StreamingResponse:
        asked = json.loads(await request.body())
        user = request.headers.get("x-user", "")
        session = sessions.setdefault(user, pp.LLMSession(executor, model, tools=[send_mail]))
        stream = session.resume(asked["decisions"]) if "decisions" in asked else session.run(asked["say"])

        async def events() -> AsyncIterator[bytes]:
            async with stream:
                async for event in encode_events(stream):
                    yield event

        return StreamingResponse(events(), media_type="text/event-stream")

    return Starlette(routes=[Route("/chat", chat, methods=["POST"])])
