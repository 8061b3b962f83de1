"""Whatever a tool does has one outcome, and the loop goes on; where sync tools run."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import functools
import json
import math
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from promptport.dispatch import ToolOutcome
from promptport.dispatch.dispatcher import ToolDispatcher
from promptport.dispatch.inbox import Inbox
from promptport.dispatch.tool_frames import DispatchFrame, ToolProgress, ToolResult, ToolStarted
from promptport.dispatch.workers import Workers
from promptport.errors import ToolFailedError, ToolTimeoutError
from promptport.frames import Append, End, ToolCall
from promptport.messages import ImagePart, Prompt, TextPart
from promptport.models import LLModel
from promptport.testing import ScriptedExecutor
from promptport.tools import Tool, tool

MODEL = LLModel("scripted", "scripted")
PROMPT = Prompt.of("Go.")


async def outcome_of(one: Tool[Any], arguments: str = "{}", **options: Any) -> ToolOutcome:
    """What one call of the tool comes to; the loop must go on after it."""
    executor = ScriptedExecutor([ToolCall("1", one.name, arguments), "text"], ["end"])
    async with ToolDispatcher(executor, [one], **options) as dispatcher:
        async with dispatcher.stream(PROMPT, MODEL) as stream:
            frames = [frame async for frame in stream]
        assert type(frames[-1]) is End
        assert [frame.text for frame in frames if type(frame) is Append] == ["text", "end"]
        assert sum(type(frame) is ToolStarted for frame in frames) == 1
        assert [frame for frame in frames if type(frame) is ToolResult] == [stream.outcomes[0].result]
        assert len(stream.outcomes) == 1
        return stream.outcomes[0]


def sync_and_async(body: Callable[[], Any]) -> Iterator[Any]:
    """The same body as a thread's tool, and as a coroutine's."""

    def plain() -> Any:
        return body()

    async def coroutine() -> Any:
        return body()

    async def stream() -> AsyncIterator[Any]:
        yield body()

    for function in (plain, coroutine, stream):
        yield tool(function, name="one")


# ------------------------------------------------------------------------------------------------- output


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    YES = "yes"


@dataclass
class Point:
    x: int
    y: float


class Row(BaseModel):
    id: int
    at: Point


IMAGE = ImagePart(b"png", media_type="image/png")


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("text", "text"),
        ("", ""),
        (None, ""),
        (3, "3"),
        (True, "true"),
        (1.5, "1.5"),
        (math.nan, "null"),
        ([1, "a", None], '[1,"a",null]'),
        ({"a": {"b": (1, 2)}, 3: 4}, '{"a":{"b":[1,2]},"3":4}'),
        (Colour.RED, "red"),
        (Word.YES, "yes"),
        ([Colour.RED], '["red"]'),
        (Point(1, 2.0), '{"x":1,"y":2.0}'),
        (Row(id=1, at=Point(1, 2)), '{"id":1,"at":{"x":1,"y":2.0}}'),
        ([Row(id=1, at=Point(1, 2))], '[{"id":1,"at":{"x":1,"y":2.0}}]'),
        (TextPart("a"), (TextPart("a"),)),
        (IMAGE, (IMAGE,)),
        (["see", IMAGE, TextPart("b"), {"a": 1}], (TextPart("see"), IMAGE, TextPart("b"), TextPart('{"a":1}'))),
        ("half \ud83d pair", "half \ufffd pair"),
        ("pair \ud83d\ude00", "pair \U0001f600"),
    ],
)
async def test_outputs(value: Any, output: Any) -> None:
    for one in sync_and_async(lambda: value):
        outcome = await outcome_of(one)
        assert outcome.result == ToolResult("1", "one", output)
        assert outcome.state == "finished"


def circular() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


async def unawaited() -> None: ...


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (object, "TypeError: the tool gave a value of type object, which is not JSON"),
        (lambda: {"socket": threading.Lock()}, "a value of type _thread.lock, which is not JSON"),
        (circular, "ValueError: the tool gave a value that holds itself"),
        (unawaited, "declare its function 'async def'"),
    ],
)
async def test_results_that_are_not_json(make: Callable[[], Any], says: str) -> None:
    for one in sync_and_async(make):
        outcome = await outcome_of(one)
        assert outcome.state == "failed"
        assert says in str(outcome.result.error)
        assert outcome.result.output == ""


async def test_ten_megabytes_are_passed_on_whole_unless_a_limit_says_so() -> None:
    huge = "x" * 10_000_000
    for one in sync_and_async(lambda: huge):
        assert (await outcome_of(one)).result.output == huge
    limited = await outcome_of(one, max_output_chars=100)
    assert (
        limited.result.output == "x" * 100 + "\n[cut: the output has 10000000 characters, and these are the first 100]"
    )
    parts = tool(lambda: [TextPart("a" * 80), IMAGE, TextPart("b" * 80), TextPart("c" * 80)], name="parts")
    assert (await outcome_of(parts, max_output_chars=100)).result.output == (
        TextPart("a" * 80),
        IMAGE,
        TextPart("b" * 20),
        TextPart("\n[cut: the output has 240 characters, and these are the first 100]"),
    )
    assert len((await outcome_of(parts, max_output_chars=240)).result.output) == 4


async def test_a_long_error_is_cut_too() -> None:
    def fail() -> None:
        raise ValueError("x" * 1000)

    error = (await outcome_of(tool(fail), max_output_chars=100)).result.error
    assert error is not None
    assert error.startswith("ValueError: xxx")
    assert len(error) < 200


# ------------------------------------------------------------------------------------------ bad behaviour


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Rude(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("no such city"), "ValueError: no such city"),
        (ValueError(), "ValueError"),
        (Unprintable(), "Unprintable"),
        (TimeoutError("theirs"), "TimeoutError: theirs"),
        (asyncio.CancelledError("own"), "RuntimeError: the tool raised CancelledError: own"),
        (StopIteration(3), "RuntimeError"),
        (StopAsyncIteration(), "RuntimeError"),
        (GeneratorExit(), "RuntimeError: the tool raised GeneratorExit"),
        (Rude("x"), "RuntimeError: the tool raised Rude: x"),
        (ExceptionGroup("g", [ValueError("a")]), "ExceptionGroup: g (1 sub-exception)"),
        (SystemExit(3), "RuntimeError: the tool called sys.exit(3)"),
    ],
)
async def test_whatever_a_tool_raises_is_its_outcome(error: BaseException, says: str) -> None:
    def fail() -> None:
        raise error

    for one in sync_and_async(fail):
        outcome = await outcome_of(one)
        assert outcome.state == "failed"
        assert type(outcome.error) is ToolFailedError
        assert str(outcome.result.error).startswith(says)


async def test_sys_exit_and_interrupts_in_a_thread() -> None:
    def leave() -> None:
        sys.exit("bye")

    def interrupt() -> None:
        raise KeyboardInterrupt

    assert (await outcome_of(tool(leave))).result.error == "RuntimeError: the tool called sys.exit('bye')"
    assert (await outcome_of(tool(interrupt))).result.error == "RuntimeError: the tool raised KeyboardInterrupt"


async def test_a_tool_that_hangs_is_ended_by_its_timeout() -> None:
    ended = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    async def stream() -> AsyncIterator[int]:
        yield 1
        await hang()

    for function in (hang, stream):
        outcome = await outcome_of(tool(function, timeout=0.01))
        assert outcome.result.error == "the tool did not finish within 0.01 s"
        assert type(outcome.error) is ToolTimeoutError
        assert outcome.state == "failed"
        assert ended.pop() == 1
        assert (await outcome_of(tool(function), timeout=0.01)).result.error == outcome.result.error
        assert ended.pop() == 1


async def test_a_threads_tool_that_hangs_is_left_behind() -> None:
    gate, returned = threading.Event(), threading.Event()

    def hang() -> None:
        gate.wait()
        returned.set()

    executor = ScriptedExecutor([ToolCall("1", "hang", "{}")], ["end"])
    dispatcher = ToolDispatcher(executor, [tool(hang, timeout=0.01)])
    async with dispatcher.stream(PROMPT, MODEL) as stream:
        assert (await stream.message()).text == "end"
    assert stream.outcomes[0].result.error == "the tool did not finish within 0.01 s"
    assert not returned.is_set()
    closing = asyncio.create_task(dispatcher.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.set()
    await closing
    assert returned.is_set()
    assert not threads()


async def test_a_timeout_may_be_none_or_longer_for_one_tool() -> None:
    async def one() -> str:
        await asyncio.sleep(0.03)
        return "done"

    assert (await outcome_of(tool(one, timeout=math.inf), timeout=0.01)).state == "finished"
    assert (await outcome_of(tool(one), timeout=None)).state == "finished"


async def test_what_a_tool_gives_after_its_timeout_is_dropped() -> None:
    async def best_effort() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "what I have"
        return ""

    outcome = await outcome_of(tool(best_effort), timeout=0.01)
    assert outcome.state == "failed"
    assert type(outcome.error) is ToolTimeoutError
    assert outcome.result == ToolResult("1", "best_effort", "", "the tool did not finish within 0.01 s")


async def test_a_tool_that_turns_its_cancellation_into_an_error_timed_out() -> None:
    async def grumpy() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("I was busy") from None

    outcome = await outcome_of(tool(grumpy), timeout=0.01)
    assert type(outcome.error) is ToolTimeoutError
    assert type(outcome.error.__cause__) is ValueError


async def test_a_tool_that_blocks_the_loop_delays_and_breaks_nothing() -> None:
    @tool
    async def rude() -> str:
        time.sleep(0.1)  # noqa: ASYNC251 - this is the point
        return "done"

    begun = asyncio.Event()
    executor = ScriptedExecutor([ToolCall("1", "rude", "{}"), begun, "a", "b"], ["end"])
    frames: list[DispatchFrame] = []
    async with ToolDispatcher(executor, [rude]) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        async for frame in stream:
            frames.append(frame)
            if type(frame) is ToolStarted:
                begun.set()
    assert [frame for frame in frames if type(frame) is ToolResult] == [ToolResult("1", "rude", "done")]
    assert [frame.text for frame in frames if type(frame) is Append] == ["a", "b", "end"]


async def test_progress_that_is_not_json_fails_the_tool_and_closes_it() -> None:
    closed = []

    @tool
    async def odd() -> AsyncIterator[Any]:
        try:
            yield object()
        finally:
            closed.append(1)

    assert "which is not JSON" in str((await outcome_of(odd)).result.error)
    assert closed


async def test_a_stream_without_values_gives_nothing() -> None:
    @tool
    async def silent() -> AsyncIterator[int]:
        for _ in ():
            yield 1

    assert (await outcome_of(silent)).result == ToolResult("1", "silent", "")


async def test_progress_waits_for_a_consumer_that_does_not_read() -> None:
    yielded = 0

    @tool
    async def chatty() -> AsyncIterator[int]:
        nonlocal yielded
        for yielded in range(1000):
            yield yielded

    executor = ScriptedExecutor([ToolCall("1", "chatty", "{}")], ["end"])
    async with ToolDispatcher(executor, [chatty]) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        while type(await anext(stream)) is not ToolProgress:
            pass
        for _ in range(200):
            await asyncio.sleep(0)
        assert yielded < 50
        progress = [frame.data async for frame in stream if type(frame) is ToolProgress]
        assert progress == list(range(1, 999))  # and 999 is the result


async def test_the_models_stream_waits_for_a_consumer_that_does_not_read() -> None:
    """Also while a tool runs; and the tool goes on meanwhile."""
    asked, gate, done = 0, asyncio.Event(), asyncio.Event()

    @tool
    async def work() -> None:
        await gate.wait()
        done.set()

    def answer(_: Any) -> Iterator[Any]:
        nonlocal asked
        yield ToolCall("1", "work", "{}")
        while asked < 1000:
            asked += 1
            yield "x"

    executor = ScriptedExecutor(answer, ["end"])
    async with ToolDispatcher(executor, [work]) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        while type(await anext(stream)) is not Append:
            pass
        gate.set()
        await done.wait()
        for _ in range(200):
            await asyncio.sleep(0)
        assert asked < 50
        assert sum([type(frame) is Append async for frame in stream]) == 1000


# ------------------------------------------------------------------------------------------------ workers


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("promptport")]


async def test_sync_tools_run_in_threads_of_our_own_that_closing_ends() -> None:
    @tool
    def where() -> str:
        return threading.current_thread().name

    dispatcher = ToolDispatcher(ScriptedExecutor([ToolCall("1", "where", "{}")], ["end"]), [where])
    assert not threads()
    async with dispatcher.stream(PROMPT, MODEL) as stream:
        await stream.message()
    assert str(stream.outcomes[0].result.output).startswith("promptport-tool")
    assert threads()
    await dispatcher.aclose()
    await dispatcher.aclose()
    assert not threads()


async def test_a_sync_tool_does_not_hold_up_the_stream() -> None:
    """The thread ends only after text was read that the model wrote while it ran."""
    begun, read = asyncio.Event(), threading.Event()

    @tool
    def slow() -> str:
        loop.call_soon_threadsafe(begun.set)
        assert read.wait(10)
        return "done"

    loop = asyncio.get_running_loop()
    executor = ScriptedExecutor([ToolCall("1", "slow", "{}"), begun, "meanwhile"], ["end"])
    frames: list[DispatchFrame] = []
    async with ToolDispatcher(executor, [slow]) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        async for frame in stream:
            frames.append(frame)
            if frame == Append("meanwhile"):
                read.set()
    assert ToolResult("1", "slow", "done") in frames


async def test_threads_see_the_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    variable.set("mine")

    @tool
    def get() -> str:
        return variable.get()

    assert (await outcome_of(get)).result.output == "mine"
    with ThreadPoolExecutor(1) as workers:
        assert (await outcome_of(get, workers=workers)).result.output == "mine"


async def test_an_executor_that_is_shut_down_is_an_outcome() -> None:
    workers = ThreadPoolExecutor(1)
    workers.shutdown()
    error = (await outcome_of(tool(lambda: None, name="one"), workers=workers)).result.error
    assert "cannot schedule new futures after shutdown" in str(error)


async def test_cancelling_takes_back_what_no_thread_has_begun() -> None:
    gate, began, ran = threading.Event(), asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def block() -> None:
        loop.call_soon_threadsafe(began.set)
        gate.wait(10)

    with ThreadPoolExecutor(1) as workers:
        first = asyncio.create_task(Workers(workers).call(block, {}))
        await began.wait()
        second = asyncio.create_task(Workers(workers).call(lambda: ran.append(1), {}))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        gate.set()
        await first
    assert not ran


# The tools of a process pool live in a module that its processes can import.
FAR = '''
import os, sys
from promptport.tools import tool
from promptport.messages import ImagePart

calls = 0

def plain(number: int) -> int:
    """Not decorated."""
    return number + 1

@tool
def double(number: int) -> dict:
    return {"pid": os.getpid(), "double": 2 * number}

class Holder:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @tool
    def times(self, number: int) -> int:
        return self.factor * number

class Odd(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__("odd")
        self.code = code

@tool
def fail() -> None:
    raise Odd(code=3)

@tool
def leave() -> None:
    sys.exit(4)

@tool
def lock():
    import threading
    return threading.Lock()

@tool
def picture():
    return ["a", ImagePart(b"png", media_type="image/png")]

@tool
def die() -> None:
    os._exit(1)
'''


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "far_tools.py").write_text(FAR)
    monkeypatch.syspath_prepend(str(tmp_path))
    import far_tools  # type: ignore[import-not-found]

    yield far_tools
    del sys.modules["far_tools"]


@pytest.fixture
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


async def test_a_process_pool(far: Any, processes: Executor) -> None:
    check = functools.partial(outcome_of, workers=processes)
    output = json.loads(str((await check(far.double, '{"number": "4"}')).result.output))
    assert output["double"] == 8
    assert output["pid"] != os.getpid()
    assert (await check(tool(far.plain), '{"number": 4}')).result.output == "5"
    assert (await check(far.Holder(3).times, '{"number": 4}')).result.output == "12"
    assert (await check(far.picture)).result.output == (TextPart("a"), IMAGE)
    assert (await check(far.fail)).result.error == "RuntimeError: Odd: odd"
    assert (await check(far.leave)).result.error == "RuntimeError: the tool called sys.exit(4)"
    assert "type _thread.lock, which is not JSON" in str((await check(far.lock)).result.error)
    assert "pickle" in str((await check(tool(lambda: 1, name="local"))).result.error)
    # Nothing above broke the pool; a process that dies does, and that too is an outcome.
    assert (await check(tool(far.plain), '{"number": 5}')).result.output == "6"
    assert "BrokenProcessPool" in str((await check(far.die)).result.error)


async def test_the_inbox_wakes_whoever_waits_for_room() -> None:
    inbox: Inbox[int] = Inbox()
    writers = [asyncio.create_task(inbox.put(n)) for n in range(100)]
    await asyncio.sleep(0)
    waiting = [writer for writer in writers if not writer.done()]
    assert waiting
    waiting[0].cancel()
    assert [inbox.pop() for _ in range(100)] == list(range(100))
    await asyncio.wait(writers)
    assert sum(writer.cancelled() for writer in writers) == 1
