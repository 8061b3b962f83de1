"""Tools run while text flows, over real sockets and the providers' own clients, for every protocol that seals early.

No clock is read. The server holds back the text that follows a call until its tool runs, and the tool does not end
before the last of that text was read: a library in which either waits for the other never ends a turn. So a turn takes
as long as the longer of the two, and not as their sum.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from tests.kits import LONG, kit

from promptport.dispatch.dispatcher import ToolDispatcher
from promptport.dispatch.tool_frames import DispatchFrame, StepEnd, ToolResult, ToolStarted
from promptport.frames import Append, End, FinishReason, ToolCall
from promptport.messages import Prompt
from promptport.testing import Arguments, Finish, Say, Seal, Start, Step
from promptport.tools import Tool, tool

SEALED_EARLY = ["anthropic", "ollama", "openai"]
"""In Chat Completions the answer's end seals the calls, so that no text follows them."""

STORY = [f"word {number} " for number in range(40)]
UP_TO_SEAL: list[Step] = [
    Say("Let me look. "),
    Start(0, "call_a", "look"),
    Arguments(0, '{"city": '),
    Arguments(0, '"Paris"}'),
    Seal(0),
]
AFTER_SEAL: list[Step] = [*map(Say, STORY), Finish(FinishReason.TOOL_CALLS)]
SECOND: list[Step] = [Say("It is sunny."), Finish(FinishReason.STOP)]


class HoldingServer:
    """Answers two requests; in the first it waits for `go_on` when the call is sealed."""

    def __init__(self, head: list[bytes], rest: list[bytes], second: list[bytes], content_type: str) -> None:
        self.go_on = asyncio.Event()
        self.requests = 0
        self._answers = [(head, rest), ([], second)]
        self._content_type = content_type

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0]))
        first, rest = self._answers[self.requests]
        self.requests += 1
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {self._content_type}\r\nconnection: close\r\n\r\n".encode())
        writer.write(b"".join(first))
        await writer.drain()
        await self.go_on.wait()
        for event in rest:
            writer.write(event)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()


async def turn(
    provider: str, look: Tool[Callable[..., object]], running: asyncio.Event, read: Callable[[], None]
) -> None:
    """One turn of two requests; ``running`` says that the tool runs, and ``read`` is called after the last text."""
    contract = kit(provider)
    head, whole, second = (
        contract.encode(UP_TO_SEAL),
        contract.encode([*UP_TO_SEAL, *AFTER_SEAL]),
        contract.encode(SECOND),
    )
    assert head is not None
    assert whole is not None
    assert second is not None
    assert whole[: len(head)] == head
    content_type = "application/x-ndjson" if contract.mutators == "ollama-chat" else "text/event-stream"
    holding = HoldingServer(head, whole[len(head) :], second, content_type)
    frames: list[DispatchFrame] = []

    async def go_on() -> None:
        await running.wait()
        holding.go_on.set()

    server = await asyncio.start_server(holding.serve, "127.0.0.1", 0)
    waiting = asyncio.create_task(go_on())
    client = contract.make_client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", LONG)
    prompt = Prompt.of("What is the weather in Paris?")
    async with server, asyncio.timeout(30), ToolDispatcher(client, [look]) as dispatcher:
        async with dispatcher.stream(prompt, contract.model) as stream:
            async for frame in stream:
                frames.append(frame)
                if frame == Append(STORY[-1]):
                    read()
        await client.aclose()
    await waiting
    check(frames)
    assert holding.requests == 2


def check(frames: list[DispatchFrame]) -> None:
    """The order of events."""
    kinds = [type(frame) for frame in frames]
    started, ended = kinds.index(ToolStarted), kinds.index(ToolResult)
    assert kinds.index(ToolCall) < started < ended < kinds.index(StepEnd) < kinds.index(End)
    meanwhile = [frame.text for frame in frames[started:ended] if isinstance(frame, Append)]
    assert "".join(meanwhile) == "".join(STORY)
    last = [frame.text for frame in frames[kinds.index(StepEnd) :] if isinstance(frame, Append)]
    assert last == ["It is sunny."]


@pytest.mark.parametrize("provider", SEALED_EARLY)
async def test_an_async_tool_and_the_text_run_side_by_side(provider: str) -> None:
    running, read = asyncio.Event(), asyncio.Event()

    @tool
    async def look(city: str) -> str:
        running.set()
        await read.wait()
        return f"It is sunny in {city}."

    await turn(provider, look, running, read.set)


@pytest.mark.parametrize("provider", SEALED_EARLY)
async def test_a_tool_that_blocks_its_thread_and_the_text_run_side_by_side(provider: str) -> None:
    running, read = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @tool
    def look(city: str) -> str:
        loop.call_soon_threadsafe(running.set)
        assert read.wait(30)
        return f"It is sunny in {city}."

    await turn(provider, look, running, read.set)
