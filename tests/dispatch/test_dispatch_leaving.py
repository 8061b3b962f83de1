"""Leaving a stream, in every way and at every frame: nothing is left running, and all that started has an outcome."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from promptport.dispatch import StepState
from promptport.dispatch.dispatcher import DispatchStream, ToolDispatcher
from promptport.dispatch.tool_frames import DispatchFrame, StepEnd, ToolResult, ToolStarted
from promptport.errors import IncompleteStreamError
from promptport.frames import Append, End, FinishReason, ToolCall
from promptport.history import check_results
from promptport.messages import Prompt, ToolResultMessage
from promptport.models import LLModel
from promptport.stream import FrameStream
from promptport.testing import ScriptedExecutor
from promptport.tools import Tool, ToolDescriptor, tool

MODEL = LLModel("scripted", "scripted")
PROMPT = Prompt.of("Go.")
CALLS = ["quick", "slow", "steps", "thread"]


class Scene:
    """Two answers with four calls each. The slow tools of an answer end when its last text has been read."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.gates = [asyncio.Event(), asyncio.Event()]
        self.thread_gates = [threading.Event(), threading.Event()]
        self.executor = ScriptedExecutor(self.answer(0), self.answer(1), ["The end."])
        self.dispatcher = ToolDispatcher(self.executor, list(self.tools()))

    def answer(self, step: int) -> list[Any]:
        calls = [ToolCall(f"{name}{step}", name, f'{{"step": {step}}}') for name in CALLS]
        return ["Now. ", calls[0], "one ", calls[1], *(["two "] * 5), *calls[2:], *(["three "] * 40), "last"]

    def tools(self) -> Iterator[Tool[Any]]:
        async def quick(step: int) -> int:
            self.started.append(f"quick{step}")
            return step

        async def slow(step: int) -> int:
            self.started.append(f"slow{step}")
            await self.gates[step].wait()
            return step

        async def steps(step: int) -> AsyncIterator[int]:
            self.started.append(f"steps{step}")
            yield 1
            yield 2
            await self.gates[step].wait()
            yield 3

        def thread(step: int) -> int:
            self.started.append(f"thread{step}")
            assert self.thread_gates[step].wait(10)
            return step

        for name, function in (("quick", quick), ("slow", slow), ("steps", steps), ("thread", thread)):
            yield Tool(name=name, function=function)  # without @tool, which would take most of the test's time

    def saw(self, frame: DispatchFrame, frames: list[DispatchFrame]) -> None:
        frames.append(frame)
        if frame == Append("last"):
            step = frames.count(Append("last")) - 1
            self.gates[step].set()
            self.thread_gates[step].set()

    async def check(self, stream: DispatchStream, frames: list[DispatchFrame]) -> None:
        """Nothing runs, and each call that ran has one outcome; those whose result was read, the one that was read."""
        assert asyncio.all_tasks() == {asyncio.current_task()}
        sent = len(self.executor.requests) - (not frames or type(frames[-1]) is StepEnd)  # made, and not read yet
        assert self.executor.client.closed == sent
        outcomes = {outcome.result.id: outcome for outcome in stream.outcomes}
        assert len(outcomes) == len(stream.outcomes)
        assert set(self.started) <= set(outcomes)
        assert {frame.id for frame in frames if type(frame) is ToolStarted} <= set(outcomes)
        assert max(Counter(self.started).values(), default=0) <= 1
        for frame in frames:
            if type(frame) is ToolResult:
                assert outcomes[frame.id].result == frame
        goes_on(stream)
        for gate in self.thread_gates:
            gate.set()
        await self.dispatcher.aclose()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("promptport")]


def goes_on(stream: DispatchStream) -> None:
    """The conversation can be sent as it is, and with what was cut off: then it knows what ran."""
    check_results(stream.prompt.user("Go on.").messages)
    prompt = stream.answered("The user stopped this.")
    check_results(prompt.user("Go on.").messages)
    results = {message.call_id: message for message in prompt.messages if isinstance(message, ToolResultMessage)}
    known = [call for call, message in results.items() if message.error != "The user stopped this."]
    assert {outcome.result.id for outcome in stream.outcomes} == set(known)
    for outcome in stream.outcomes:
        assert results[outcome.result.id] == outcome.result.message()
    assert stream.answered("The user stopped this.") == prompt
    assert prompt.messages[: len(stream.messages)] == stream.messages


async def whole() -> list[DispatchFrame]:
    scene, frames = Scene(), list[DispatchFrame]()
    async with scene.dispatcher.stream(PROMPT, MODEL) as stream:
        async for frame in stream:
            scene.saw(frame, frames)
    await scene.check(stream, frames)
    assert [outcome.state for outcome in stream.outcomes] == ["finished"] * 8
    return frames


async def test_the_whole_run() -> None:
    frames = await whole()
    assert type(frames[-1]) is End
    assert len(frames) > 120


async def by_closing(scene: Scene, index: int) -> tuple[DispatchStream, list[DispatchFrame]]:
    frames: list[DispatchFrame] = []
    async with scene.dispatcher.stream(PROMPT, MODEL) as stream:
        while len(frames) < index:
            scene.saw(await anext(stream), frames)
    return stream, frames


async def by_an_error_of_its_own(scene: Scene, index: int) -> tuple[DispatchStream, list[DispatchFrame]]:
    frames: list[DispatchFrame] = []
    with contextlib.suppress(LookupError):
        async with scene.dispatcher.stream(PROMPT, MODEL) as stream:
            async for frame in stream:
                scene.saw(frame, frames)
                if len(frames) >= index:
                    await asyncio.sleep(0)  # so that what was started has begun
                    raise LookupError
    return stream, frames


async def by_cancellation(scene: Scene, index: int) -> tuple[DispatchStream, list[DispatchFrame]]:
    """The consumer is cancelled while it waits for the frame after ``index``, or works on it."""
    frames: list[DispatchFrame] = []
    reached = asyncio.Event()
    stream = scene.dispatcher.stream(PROMPT, MODEL)

    async def consume() -> None:
        async with stream:
            async for frame in stream:
                scene.saw(frame, frames)
                if len(frames) == index:
                    reached.set()

    consumer = asyncio.create_task(consume())
    await reached.wait()
    consumer.cancel()
    await asyncio.wait([consumer])
    return stream, frames


async def by_closing_from_another_task(scene: Scene, index: int) -> tuple[DispatchStream, list[DispatchFrame]]:
    frames: list[DispatchFrame] = []
    reached = asyncio.Event()
    stream = scene.dispatcher.stream(PROMPT, MODEL)

    async def consume() -> None:
        async for frame in stream:
            scene.saw(frame, frames)
            if len(frames) == index:
                reached.set()

    consumer = asyncio.create_task(consume())
    await reached.wait()
    await stream.aclose()
    assert asyncio.all_tasks() <= {asyncio.current_task(), consumer}
    await asyncio.wait([consumer])
    error = consumer.exception()
    assert isinstance(error, IncompleteStreamError) or (error is None and type(frames[-1]) is End)
    return stream, frames


Way = Callable[[Scene, int], Awaitable[tuple[DispatchStream, list[DispatchFrame]]]]


@pytest.mark.parametrize("leave", [by_closing, by_an_error_of_its_own, by_cancellation, by_closing_from_another_task])
async def test_leaving_at_every_frame(leave: Way) -> None:
    length = len(await whole())
    states: Counter[str] = Counter()
    for index in range(1, length + 1):
        scene = Scene()
        stream, frames = await leave(scene, index)
        assert len(frames) >= index
        states.update([outcome.state for outcome in stream.outcomes])
        await scene.check(stream, frames)
        if type(frames[-1]) is not End:
            with pytest.raises(IncompleteStreamError):
                await anext(stream)
    assert states["cancelled"] > length
    assert states["finished"] > length
    assert set(states) == {"cancelled", "finished"}


async def test_a_stream_that_is_never_read_leaves_nothing() -> None:
    scene = Scene()
    stream, frames = await by_closing(scene, 0)
    await scene.check(stream, frames)
    scene.dispatcher.stream(PROMPT, MODEL)  # dropped unread: nothing was asked, nothing warns
    gc.collect()


async def test_a_stream_that_is_never_read_is_closed_all_the_same() -> None:
    closed = []

    class Source(FrameStream):
        async def aclose(self) -> None:
            closed.append(1)
            await super().aclose()

    class Executor:
        def execute_streaming_with_tools(
            self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor] = ()
        ) -> FrameStream:
            return Source.of([])

    async with ToolDispatcher(Executor()).stream(PROMPT, MODEL):
        pass
    assert closed


async def test_closing_from_another_task_while_no_tool_runs() -> None:
    waiting = asyncio.Event()

    def answer(_: Any) -> Iterator[Any]:
        yield "a"
        waiting.set()
        yield asyncio.Event()

    executor = ScriptedExecutor(answer)
    stream = ToolDispatcher(executor).stream(PROMPT, MODEL)
    consumer = asyncio.create_task(stream.message())
    await waiting.wait()
    await stream.aclose()
    assert executor.client.closed == 1
    with pytest.raises(IncompleteStreamError, match="closed while it was read"):
        await consumer


async def test_a_dropped_stream_warns_and_ends_its_tools() -> None:
    ended = asyncio.Event()

    @tool
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    executor = ScriptedExecutor([ToolCall("1", "hang", "{}"), asyncio.Event()])
    async with ToolDispatcher(executor, [hang]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        while type(await anext(stream)) is not ToolStarted:
            pass
        with pytest.warns(ResourceWarning, match="DispatchStream was dropped unclosed"):
            del stream
        await ended.wait()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    assert executor.client.closed == 1


async def test_a_stream_that_is_left_at_its_end_does_not_warn() -> None:
    async with ToolDispatcher(ScriptedExecutor(["a"])) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        async for frame in stream:
            if type(frame) is End:
                break
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del stream
            gc.collect()
        await asyncio.sleep(0)


async def test_closing_waits_for_what_a_tool_does_when_it_is_cancelled() -> None:
    events: list[str] = []

    @tool
    async def careful() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            events.append("tidied")

    executor = ScriptedExecutor([ToolCall("1", "careful", "{}"), asyncio.Event()])
    async with ToolDispatcher(executor, [careful]) as dispatcher:
        async with dispatcher.stream(PROMPT, MODEL) as stream:
            while type(await anext(stream)) is not ToolStarted:
                pass
        events.append("closed")
    assert events == ["tidied", "closed"]


async def test_cancelling_the_closing_still_waits() -> None:
    events: list[str] = []
    begun, cancelled = asyncio.Event(), asyncio.Event()

    @tool
    async def careful() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await asyncio.sleep(0.01)
            events.append("tidied")

    executor = ScriptedExecutor([ToolCall("1", "careful", "{}"), asyncio.Event()])
    dispatcher = ToolDispatcher(executor, [careful])

    async def consume() -> None:
        async with dispatcher.stream(PROMPT, MODEL) as stream:
            async for _ in stream:
                pass

    consumer = asyncio.create_task(consume())
    await begun.wait()
    consumer.cancel()
    await cancelled.wait()
    consumer.cancel()
    await asyncio.wait([consumer])
    assert consumer.cancelled()
    assert events == ["tidied"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_tool_and_a_hook_may_close_the_stream_that_they_run_in() -> None:
    streams: list[DispatchStream] = []

    @tool
    async def stop() -> None:
        await streams[-1].aclose()

    @tool
    async def go() -> None: ...

    async def on_step(state: StepState) -> None:
        await streams[-1].aclose()

    for name in ("stop", "go"):
        executor = ScriptedExecutor([ToolCall("1", name, "{}"), "text"], ["end"])
        async with ToolDispatcher(executor, [stop, go], on_step=on_step) as dispatcher:
            streams.append(dispatcher.stream(PROMPT, MODEL))
            with pytest.raises(IncompleteStreamError, match="closed while it was read"):
                await streams[-1].message()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert streams[-1].outcomes[0].state == ("cancelled" if name == "stop" else "finished")


async def test_a_callers_own_timeout_around_the_stream_works() -> None:
    """No scope of ours is open between two frames, so that a scope of the caller's may be left anywhere."""

    @tool
    async def hang() -> None:
        await asyncio.Event().wait()

    executor = ScriptedExecutor([ToolCall("1", "hang", "{}"), "text", asyncio.Event()])
    async with ToolDispatcher(executor, [hang]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        with pytest.raises(TimeoutError):
            await _read_until_it_runs(stream)
        assert [outcome.state for outcome in stream.outcomes] == ["cancelled"]
        # One frame at a time, each in a scope and a task of its own.
        executor = ScriptedExecutor(["a", ToolCall("1", "none", "{}"), "b", End(FinishReason.TOOL_CALLS)], ["c"])
        async with ToolDispatcher(executor) as other, other.stream(PROMPT, MODEL) as stream:
            frames: list[DispatchFrame] = []
            while not frames or type(frames[-1]) is not End:
                async with asyncio.timeout(5):
                    frames.append(await asyncio.create_task(_next(stream)))
        assert [frame.text for frame in frames if type(frame) is Append] == ["a", "b", "c"]


async def _read_until_it_runs(stream: DispatchStream) -> None:
    async with asyncio.timeout(None) as scope, stream:
        async for frame in stream:
            if type(frame) is ToolStarted:
                scope.reschedule(asyncio.get_running_loop().time())


async def _next(stream: DispatchStream) -> DispatchFrame:
    return await anext(stream)
