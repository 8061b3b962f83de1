"""A server with the routes of a chat and scripted models: one script for each scenario that the clients run."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.front_ends.chunks import SECRET
from tests.real_parts import free_port

import promptport as pp
from promptport.errors import RateLimitError
from promptport.front_ends import ChatRequest
from promptport.front_ends.starlette import ChatTurn, chat_routes
from promptport.run_log import MemoryRunLog
from promptport.testing import CUT, ScriptedExecutor

__all__ = ["ChatServer"]

MODEL = pp.LLModel("scripted", "m")
PLACE = pp.ToolDescriptor("place", "Where the user is.", {"type": "object", "properties": {}})
USAGE = pp.Usage(3, 4)


class ChatServer:
    """Scripts, the gates that clients open, and what the model was asked.

    Attributes:
        executors: by the id of the conversation.
        booked: the arguments with which the tool that needs an approval ran, by conversation.
    """

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.executors: dict[str, ScriptedExecutor] = {}
        self.booked: dict[str, list[int]] = defaultdict(list)
        self.log = MemoryRunLog()
        self.url = ""

    def _tools(self, thread: str) -> list[pp.ToolDescriptor]:
        gate = self.gates[thread]

        @pp.tool
        async def look(place: str) -> dict[str, str]:
            """Looks at a place."""
            if thread.startswith("parallel"):
                await gate.wait()
            return {"at": place}

        @pp.tool
        async def count() -> AsyncIterator[dict[str, int]]:
            """Counts."""
            yield {"done": 1}
            await gate.wait()
            yield {"done": 2}
            yield {"done": 3}

        @pp.tool
        def fail() -> str:
            """Fails."""
            raise RuntimeError(f"the database at {SECRET} is gone")

        @pp.tool(needs_approval=True)
        def book(seats: int) -> str:
            """Books."""
            self.booked[thread].append(seats)
            return f"{seats} seats"

        return [look, count, fail, book, PLACE]

    def _script(self, scenario: str, thread: str) -> list[Any]:
        gate = self.gates[thread]
        thought = pp.Reasoning("Let me see.", {"signature": "sig-1"})
        paris, rome = pp.ToolCall("c1", "look", '{"place": "Paris"}'), pp.ToolCall("c2", "look", '{"place":"Rome"}')
        half: list[Any] = ["first half, ", gate, "second half"]
        end = pp.End(pp.FinishReason.STOP, "stop", USAGE, "m-1")

        def echo(request: Any) -> list[Any]:
            return [request.prompt.to_json().decode()]

        scripts: dict[str, list[Any]] = {
            "text": [["Hello", " wörld\n\u2028", "!", end]],
            "reasoning": [[pp.ReasoningAppend("Let me "), pp.ReasoningAppend("see."), thought, "Done", end]],
            "parallel": [["Looking. ", paris, rome, "And text goes on. "], ["Done", end]],
            "progress": [[pp.ToolCall("c1", "count", "{}")], ["Done", end]],
            "tool_error": [[pp.ToolCall("c1", "fail", "{}")], ["Done", end]],
            "invalid_call": [[pp.InvalidToolCall("c1", "look", '{"place":', "the arguments are not JSON")], ["Done"]],
            "approve": [["I ask. ", pp.ToolCall("c1", "book", '{"seats": 2}')], ["Done", end]],
            "client_tool": [["Where? ", pp.ToolCall("c1", "place", "{}")], ["Done", end]],
            "provider_error": [["Half", RateLimitError(SECRET, provider="p", model="m")]],
            "early_error": [[RateLimitError(SECRET, provider="p", model="m")]],
            "incomplete": [["Half", paris, CUT]],
            "cut_call": [["Half", pp.ToolCallDelta("c1", "look", '{"pla'), CUT]],
            "resume": [half],
            "resume_over": [half],
            "busy": [half],
            "stop": [["first half, ", asyncio.Event(), "never"]],
            "echo": [[pp.ReasoningAppend("Let me see."), thought, "Looking. ", paris, rome], ["Done", end], echo],
        }
        seats = [pp.ToolCall(f"b{number}", "book", f'{{"seats": {number}}}') for number in (1, 2)]
        place = pp.ToolCall("p1", "place", "{}")
        again = pp.Restarted("p/m", "IncompleteStreamError")
        later = pp.Reasoning("And now?", {"signature": "sig-2"})
        scripts |= {
            "two_approvals": [["I ask twice. ", *seats], ["Done", end]],
            "mixed": [["All at once. ", paris, place, seats[1]], ["Done", end]],
            "woven": [
                [thought, "One ", paris, "two ", later, "three", pp.Citation("https://example.com/a", "A page")],
                [pp.Reasoning("Last.", {"signature": "sig-3"}), "Done", end],
            ],
            "restarted": [[pp.ReasoningAppend("Wrong"), "Wrong", again, thought, "Right", end]],
            "resume_approval": [["I ask. ", seats[0]], half],
            "go_on_after_error": [["Half", paris, pp.ToolCallDelta("c9", "look", '{"pla'), CUT], echo],
            "echo_outcomes": [
                ["Trying. ", pp.ToolCall("c1", "fail", "{}"), pp.InvalidToolCall("c2", "look", "{", "not JSON")],
                ["Tried", end],
                echo,
            ],
            "echo_denied": [["I ask. ", seats[0]], ["Well then", end], echo],
            "undecided": [["I ask. ", seats[0]], echo],
        }
        scripts["deny"] = scripts["cancelled"] = scripts["approve"]
        return scripts[scenario]

    async def choose(self, request: Request, chat: ChatRequest) -> ChatTurn:
        scenario = chat.extra.get("scenario", "text")
        if chat.thread not in self.executors:
            self.executors[chat.thread] = ScriptedExecutor(*self._script(scenario, chat.thread))
        tools = {tool.name: tool for tool in (*self._tools(chat.thread), *chat.tools)}
        return ChatTurn(pp.ToolDispatcher(self.executors[chat.thread], tools.values()), MODEL)

    async def open_gate(self, request: Request) -> Response:
        self.gates[request.path_params["gate"]].set()
        return JSONResponse({})

    @property
    def app(self) -> Starlette:
        gate = Route("/gate/{gate}", self.open_gate, methods=["POST"])
        return Starlette(routes=[gate, *chat_routes(self.choose, log=self.log)])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[ChatServer]:
        port = free_port()
        server = uvicorn.Server(
            uvicorn.Config(self.app, host="127.0.0.1", port=port, log_level="error", lifespan="off")
        )
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - it has no event for this
            await asyncio.sleep(0.01)
        self.url = f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            await self.log.aclose()
            server.should_exit = True
            await serving
