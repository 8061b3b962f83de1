"""Leaving a two-step run with four tools at every frame, over real sockets: nothing is left, not even a process."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.kits import LONG, kit, response

from promptport.dispatch.dispatcher import DispatchStream, ToolDispatcher
from promptport.dispatch.tool_frames import DispatchFrame, ToolResult, ToolStarted
from promptport.frames import Append, End, FinishReason
from promptport.messages import Prompt
from promptport.testing import Arguments, Finish, Say, Seal, Start, Step, WireServer
from promptport.tools import Tool

PROMPT = Prompt.of("Go.")
TOOLS = ("quick", "steps", "thread", "process")
LAST = "last words"


def answer(step: int) -> list[Step]:
    """Four calls with text between and behind them."""
    steps: list[Step] = [Say("Now. ")]
    for key, name in enumerate(TOOLS):
        call = f"call_{name}_{step}"
        steps += [Start(key, call, name), Arguments(key, '{"step":'), Arguments(key, f" {step}}}"), Seal(key)]
        steps += [Say(f"{name} "), Say("runs, ")]
    return [*steps, Say("so "), Say("much "), Say("for that. "), Say(LAST), Finish(FinishReason.TOOL_CALLS)]


class Scene:
    """The tools, and what they leave behind. Those that wait go on when an answer's last text was read."""

    def __init__(self) -> None:
        self.gates = [asyncio.Event(), asyncio.Event()]
        self.thread_gates = [threading.Event(), threading.Event()]
        self.started: list[str] = []
        self.processes: list[asyncio.subprocess.Process] = []
        self.frames: list[DispatchFrame] = []

    def tools(self) -> list[Tool[Any]]:
        async def quick(step: int) -> int:
            self.started.append(f"quick{step}")
            return step

        async def steps(step: int) -> AsyncIterator[int]:
            self.started.append(f"steps{step}")
            yield 1
            await self.gates[step].wait()
            yield 2

        def thread(step: int) -> int:
            self.started.append(f"thread{step}")
            assert self.thread_gates[step].wait(30)
            return step

        async def process(step: int) -> int:
            self.started.append(f"process{step}")
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-S", "-E", "-c", "input()", stdin=asyncio.subprocess.PIPE
            )
            self.processes.append(child)
            try:
                await self.gates[step].wait()
            finally:
                child.kill()
                await child.wait()
            return step

        functions = {"quick": quick, "steps": steps, "thread": thread, "process": process}
        return [Tool(name=name, function=functions[name]) for name in TOOLS]

    def saw(self, frame: DispatchFrame) -> None:
        self.frames.append(frame)
        if frame == Append(LAST):
            self.open(self.frames.count(Append(LAST)) - 1)

    def open(self, step: int) -> None:
        self.gates[step].set()
        self.thread_gates[step].set()

    async def check(self, stream: DispatchStream) -> None:
        """Each call that started has one outcome, and what its tool made is gone."""
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("promptport")] == []
        outcomes = Counter(outcome.result.id for outcome in stream.outcomes)
        assert set(outcomes.values()) <= {1}
        shown = {frame.id for frame in self.frames if isinstance(frame, ToolStarted)}
        ran = {f"call_{name[:-1]}_{name[-1]}" for name in self.started}
        assert shown | ran <= set(outcomes)
        async with asyncio.timeout(20):
            for child in self.processes:
                await child.wait()  # a tool may be cancelled in its own wait, after it has ended the process


@pytest.mark.parametrize("provider", ["anthropic", "openai-chat"])
async def test_leaving_at_every_frame_over_a_socket(provider: str) -> None:
    contract = kit(provider)
    end: list[Step] = [Say("end"), Finish(FinishReason.STOP)]
    bodies = [contract.encode(steps) for steps in (answer(0), answer(1), end)]
    states: Counter[str] = Counter()
    async with WireServer() as server:
        client = contract.make_client(server.url, LONG)

        async def run(leave_after: int) -> list[DispatchFrame]:
            served = iter(bodies)
            server.answer(lambda _: response(contract, next(served) or [], pace=0))
            scene = Scene()
            async with ToolDispatcher(client, scene.tools()) as dispatcher:
                async with dispatcher.stream(PROMPT, contract.model) as stream:
                    async for frame in stream:
                        scene.saw(frame)
                        if len(scene.frames) == leave_after:
                            break
                await scene.check(stream)
                for step in (0, 1):
                    scene.open(step)  # a thread cannot be ended: its function returns by itself
            assert [thread for thread in threading.enumerate() if thread.name.startswith("promptport")] == []
            states.update([outcome.state for outcome in stream.outcomes])
            return scene.frames

        whole = await run(10_000)
        assert isinstance(whole[-1], End)
        assert len([frame for frame in whole if isinstance(frame, ToolResult)]) == 8
        for index in range(1, len(whole)):
            assert len(await run(index)) == index
        await client.aclose()
        await server.client_closed(server.connections)
        assert server.open_connections == 0
    assert states["cancelled"] > 0
    assert set(states) == {"cancelled", "finished"}
    assert asyncio.all_tasks() == {asyncio.current_task()}
