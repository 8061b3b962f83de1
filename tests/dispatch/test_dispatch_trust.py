"""Calls, arguments and tools that go wrong on purpose: what never holds up a loop, a stream or a process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from promptport.dispatch import ToolOutcome
from promptport.dispatch.dispatcher import DispatchStream, ToolDispatcher
from promptport.dispatch.settings import StepChange, StepState
from promptport.dispatch.tool_frames import DispatchFrame, ToolProgress, ToolResult, ToolStarted
from promptport.errors import (
    IncompleteStreamError,
    InvalidToolArgumentsError,
    ProtocolError,
    StepLimitError,
    ToolFailedError,
    ToolTimeoutError,
)
from promptport.frames import (
    End,
    FinishReason,
    InvalidToolCall,
    Reasoning,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
)
from promptport.messages import ImagePart, Prompt
from promptport.models import LLModel
from promptport.telemetry import Observer
from promptport.testing import ScriptedExecutor
from promptport.tools import Tool, tool

MODEL = LLModel("scripted", "scripted")
PROMPT = Prompt.of("Go.")


def call(id: str, name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(id, name, arguments)


async def run(answers: list[Any], tools: list[Any], **options: Any) -> tuple[DispatchStream, list[DispatchFrame]]:
    async with ToolDispatcher(ScriptedExecutor(*answers), tools, **options) as dispatcher:
        async with dispatcher.stream(PROMPT, MODEL) as stream:
            return stream, [frame async for frame in stream]


async def outcome_of(one: Tool[Any], arguments: str = "{}", **options: Any) -> ToolOutcome:
    stream, _ = await run([[call("1", one.name, arguments)], ["end"]], [one], **options)
    return stream.outcomes[0]


# --------------------------------------------------------------------------------------- hostile arguments

CHILD = {"properties": {"a": {"$ref": "#/$defs/n"}}}
DOUBLING = {
    "type": "object",
    "$defs": {"n": {"oneOf": [CHILD, CHILD, {"type": "null"}]}},
    "properties": {"a": {"$ref": "#/$defs/n"}},
}


def deep(levels: int) -> str:
    return '{"a":' * levels + "{}" + "}" * levels


def size(a: list[int]) -> int:
    return len(a)


async def test_a_check_without_end_is_bounded_by_the_tool_s_timeout_and_holds_up_nothing() -> None:
    ran = []

    def own(**values: Any) -> None:
        ran.append(values)

    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.01)

    heart = asyncio.create_task(beat())
    outcome = await outcome_of(Tool(name="own", parameters=DOUBLING, function=own, timeout=1.0), deep(55))
    heart.cancel()
    assert (outcome.state, type(outcome.error)) == ("refused", ToolTimeoutError)
    assert "could not be checked within 1 s" in str(outcome.result.error)
    assert beats > 20
    assert not ran


async def test_a_heavy_check_that_ends_runs_the_call_or_refuses_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}
    one = Tool(name="own", parameters=schema, function=size, timeout=60)
    numbers = ",".join(["1"] * 600_000)
    assert (await outcome_of(one, f'{{"a":[{numbers}]}}')).result.output == "600000"
    refused = await outcome_of(one, f'{{"a":[{numbers},"x"]}}')
    assert (refused.state, type(refused.error)) == ("refused", InvalidToolArgumentsError)
    assert refused.result.error == "a.600000: 'x' is not of type 'integer'"


async def test_a_program_without_an_interpreter_refuses_a_heavy_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.frozen", True, raising=False)
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}
    one = Tool(name="own", parameters=schema, function=size)
    refused = await outcome_of(one, f'{{"a":[{",".join(["1"] * 600_000)}]}}')
    assert (refused.state, type(refused.error)) == ("refused", InvalidToolArgumentsError)


async def test_a_heavy_call_asks_a_person_as_any_other() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}
    one = Tool(name="own", parameters=schema, function=size, needs_approval=True, timeout=60)
    arguments = f'{{"a":[{",".join(["1"] * 600_000)}]}}'
    async with ToolDispatcher(ScriptedExecutor([call("1", "own", arguments)], ["end"]), [one]) as dispatcher:
        async with dispatcher.stream(PROMPT, MODEL) as stream:
            await stream.message()
        assert stream.paused is not None
        async with dispatcher.resume(stream.paused, {"1": True}) as resumed:
            assert (await resumed.message()).text == "end"
    assert resumed.outcomes[0].result.output == "600000"


# ------------------------------------------------------------------------------------ tools that do not end


async def test_a_tool_that_swallows_its_cancellation_is_abandoned_after_its_timeout() -> None:
    ended = asyncio.Event()

    @tool(timeout=0.01)
    async def stubborn() -> str:
        while not ended.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()
        return "late"

    with pytest.warns(RuntimeWarning, match="tool 'stubborn' was cancelled and still runs 0.05 s later"):
        stream, frames = await run([[call("1", "stubborn")], ["end"]], [stubborn], grace=0.05)
    assert type(frames[-1]) is End
    (outcome,) = stream.outcomes
    assert (outcome.state, type(outcome.error)) == ("failed", ToolTimeoutError)
    (left,) = asyncio.all_tasks() - {asyncio.current_task()}
    ended.set()
    await asyncio.wait([left])
    assert len(stream.outcomes) == 1


@pytest.mark.parametrize("way", ["close", "timeout", "cancel"])
async def test_a_tool_that_swallows_its_cancellation_does_not_hold_its_stream(way: str) -> None:
    ended = asyncio.Event()

    @tool
    async def stubborn() -> AsyncIterator[int]:
        while not ended.is_set():
            yield 1
            try:
                await ended.wait()
            except asyncio.CancelledError:
                yield 2

    executor = ScriptedExecutor([call("1", "stubborn"), asyncio.Event()])
    dispatcher = ToolDispatcher(executor, [stubborn], grace=0.05)
    begun = asyncio.Event()
    streams: list[DispatchStream] = []

    async def consume() -> None:
        async with dispatcher.stream(PROMPT, MODEL) as stream:
            streams.append(stream)
            async for frame in stream:
                if type(frame) is ToolProgress:
                    begun.set()
                    if way == "close":
                        return

    with pytest.warns(RuntimeWarning, match="tool 'stubborn'"):  # noqa: PT031 - it comes while all of this runs
        consumer = asyncio.create_task(consume())
        await begun.wait()
        if way == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await consumer
        elif way == "cancel":
            consumer.cancel()
        async with asyncio.timeout(20):
            await asyncio.wait([consumer])
    assert [outcome.state for outcome in streams[0].outcomes] == ["cancelled"]
    ended.set()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left)
    await dispatcher.aclose()


async def test_an_abandoned_tool_frees_its_place() -> None:
    ended = asyncio.Event()

    @tool
    async def stubborn() -> None:
        while not ended.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()

    @tool
    async def quick() -> str:
        return "done"

    answers = [[call("1", "stubborn"), call("2", "quick")], ["end"]]
    with pytest.warns(RuntimeWarning):
        stream, _ = await run(answers, [stubborn, quick], timeout=0.01, grace=0.01, max_concurrency=1)
    assert {outcome.result.id: outcome.state for outcome in stream.outcomes} == {"1": "failed", "2": "finished"}
    ended.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})


async def test_a_hook_that_swallows_its_cancellation_is_abandoned_too() -> None:
    ended, begun = asyncio.Event(), asyncio.Event()

    @tool
    async def quick() -> None: ...

    async def on_step(state: StepState) -> None:
        begun.set()
        while not ended.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()

    executor = ScriptedExecutor([call("1", "quick")], ["end"])
    async with ToolDispatcher(executor, [quick], on_step=on_step, grace=0.02) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        reading = asyncio.create_task(stream.message())
        await begun.wait()
        with pytest.warns(RuntimeWarning, match="on_step"):
            await stream.aclose()
        with pytest.raises(IncompleteStreamError):
            await reading
    ended.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})


# ------------------------------------------------------------------------------- exceptions with bad manners


def raising(error: BaseException) -> Callable[..., str]:
    def text(self: object) -> str:
        raise error

    return text


@pytest.mark.parametrize("method", ["__str__", "__repr__", "__reduce__"])
@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), RuntimeError(), asyncio.CancelledError()])
@pytest.mark.parametrize("base", [ValueError, BaseException, ToolFailedError])
async def test_an_exception_whose_text_cannot_be_had_is_an_outcome(
    base: type[BaseException], raised: BaseException, method: str
) -> None:
    rude: Any = type("Rude", (base,), {method: raising(raised), "__init__": lambda self: None})
    rude.tool = "fail"

    def sync() -> None:
        raise rude

    async def asynchronous() -> None:
        raise rude

    async def stream() -> AsyncIterator[int]:
        yield 1
        raise rude

    for function in (sync, asynchronous, stream):
        outcome = await outcome_of(tool(function))
        assert outcome.state == "failed"
        assert "Rude" in str(outcome.result.error) or method != "__str__"


@pytest.mark.parametrize("where", ["its attributes", "the name of its class"])
@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), RecursionError(), asyncio.CancelledError()])
async def test_an_exception_that_cannot_be_looked_at_is_an_outcome(raised: BaseException, where: str) -> None:
    meta = type("Meta", (type,), {"__name__": property(raising(raised))} if where != "its attributes" else {})

    def attribute(self: object, name: str) -> Any:
        raise raised

    rude: Any = meta("Rude", (ValueError,), {"__getattribute__": attribute} if where == "its attributes" else {})

    def sync() -> None:
        raise rude

    async def asynchronous() -> None:
        raise rude

    for function in (sync, asynchronous):
        outcome = await outcome_of(tool(function))
        assert (outcome.state, outcome.result.error) == ("failed", "RuntimeError: the tool raised Rude")


@pytest.mark.parametrize("raised", [SystemExit(3), GeneratorExit(), asyncio.CancelledError(), ValueError("no")])
async def test_a_rule_or_a_validator_that_raises_anything_refuses_the_call(raised: BaseException) -> None:
    def rule(values: dict[str, Any]) -> bool:
        raise raised

    def validator(arguments: str) -> dict[str, Any]:
        raise raised

    for options in ({"needs_approval": rule}, {"validator": validator}):
        outcome = await outcome_of(Tool(name="own", function=print, **options))
        assert (outcome.state, type(outcome.error)) == ("refused", InvalidToolArgumentsError)


@pytest.mark.parametrize("method", ["__str__", "__class__", "__getattribute__", "__dict__", "__cause__", "args"])
async def test_a_rule_may_raise_what_cannot_be_looked_at(method: str) -> None:
    broken = raising(SystemExit(3))
    plain = method in ("__str__", "__getattribute__")
    rude: Any = type("Rude", (ValueError,), {method: broken if plain else property(broken)})

    def rule(values: dict[str, Any]) -> bool:
        raise rude

    outcome = await outcome_of(Tool(name="own", function=print, needs_approval=rule))
    assert (outcome.state, outcome.result.error) == ("refused", "Rude")


async def test_an_error_without_measure_is_cut() -> None:
    long: Any = type("Long", (ValueError,), {"__str__": lambda self: "x" * 5_000_000})

    def sync() -> None:
        raise long

    async def asynchronous() -> None:
        raise long

    for function in (sync, asynchronous):
        error = (await outcome_of(tool(function))).result.error
        assert error is not None
        assert len(error) < 101_000
        assert error.endswith("[cut: the error has 5,000,000 characters]")


async def test_the_words_of_a_thread_s_exception_are_found_in_the_thread() -> None:
    """They may take for ever, which holds up neither the event loop nor, after the timeout, the stream."""
    ended = threading.Event()

    def slow(self: object) -> str:
        ended.wait()
        return "late"

    class Endless(ValueError):
        __str__ = slow

    def fail() -> None:
        raise Endless

    executor = ScriptedExecutor([call("1", "fail")], ["end"])
    async with ToolDispatcher(executor, [tool(fail)], timeout=0.1, grace=0.05) as dispatcher:
        async with dispatcher.stream(PROMPT, MODEL) as stream:
            await stream.message()
        ended.set()
    assert type(stream.outcomes[0].error) is ToolTimeoutError


@pytest.mark.parametrize("raised", [SystemExit(3), GeneratorExit(), asyncio.CancelledError(), ValueError("no")])
@pytest.mark.parametrize("method", ["", "__str__", "__class__", "__notes__", "__cause__", "__getattribute__"])
async def test_an_observer_that_raises_anything_harms_nothing(raised: BaseException, method: str) -> None:
    error: Any = raised
    if method:
        broken = raising(raised)
        plain = method in ("__str__", "__getattribute__")
        error = type("Rude", (ValueError,), {method: broken if plain else property(broken)})()

    class Rude(Observer):
        def around_tool(self, event: Any) -> Any:
            raise error

    def fail(self: Any, event: Any) -> None:
        raise error

    told = ("run_started", "run_finished", "tool_started", "tool_finished", "request_started", "request_finished")
    for name in told:
        setattr(Rude, name, fail)
    stream, _ = await run([[call("1", "count", '{"number": 1}')], ["end"]], [count], observers=[Rude()])
    assert [outcome.state for outcome in stream.outcomes] == ["finished"]


# ----------------------------------------------------------------------------------- loops that go nowhere


@tool
async def count(number: int) -> int:
    return number


async def test_more_calls_than_max_calls_in_one_answer_end_the_run() -> None:
    calls = [call(str(n), "count", f'{{"number": {n}}}') for n in range(4)]
    with pytest.raises(StepLimitError, match=r"more than 3 tool calls \(max_calls\)"):
        await run([calls, ["end"]], [count], max_calls=3)
    stream, _ = await run([calls, ["end"]], [count], max_calls=4)
    assert len(stream.outcomes) == 4


async def test_more_calls_than_max_calls_in_all_answers_end_the_run() -> None:
    answers = [[call(str(n), "count", f'{{"number": {n}}}')] for n in range(4)]
    with pytest.raises(StepLimitError, match="max_calls"):
        await run([*answers, ["end"]], [count], max_calls=3)


async def test_what_cannot_run_counts_too() -> None:
    calls: list[Any] = [InvalidToolCall(str(n), "count", "{", "not JSON") for n in range(3)]
    with pytest.raises(StepLimitError, match="max_calls"):
        await run([[*calls, call("4", "nobody")], ["end"]], [count], max_calls=3)


async def test_identical_calls_of_one_answer_run_once_and_the_result_answers_all() -> None:
    ran = []

    @tool
    async def book(city: str, days: int = 1) -> str:
        ran.append(city)
        await asyncio.sleep(0)
        return f"booked {len(ran)}"

    calls = [
        call("1", "book", '{"city": "Rome", "days": 2}'),
        call("2", "book", '{ "days": 2, "city": "Rome" }'),
        call("3", "book", '{"city": "Oslo"}'),
        "text while it runs",
        call("4", "book", '{"days":2,"city":"Rome"}'),
    ]
    stream, frames = await run([calls, ["end"]], [book])
    assert ran == ["Rome", "Oslo"]
    results = {frame.id: frame.output for frame in frames if type(frame) is ToolResult}
    assert results == {"1": "booked 1", "2": "booked 1", "4": "booked 1", "3": "booked 2"}
    assert [frame.id for frame in frames if type(frame) is ToolStarted] == ["1", "3"]
    sent = [message.call_id for message in stream.messages if hasattr(message, "call_id")]
    assert sent == ["1", "2", "3", "4"]


async def test_an_identical_call_of_a_later_answer_runs_again() -> None:
    ran = []

    @tool
    async def look() -> int:
        ran.append(1)
        return len(ran)

    await run([[call("1", "look")], [call("2", "look")], ["end"]], [look])
    assert len(ran) == 2


@pytest.mark.parametrize("start", ["eager", "on_finish"])
async def test_identical_calls_that_fail_fail_together(start: Any) -> None:
    @tool(start=start)
    async def fail() -> None:
        raise ValueError("no")

    stream, _ = await run([[call("1", "fail"), call("2", "fail")], ["end"]], [fail])
    assert [(outcome.result.id, outcome.result.error) for outcome in stream.outcomes] == [
        ("1", "ValueError: no"),
        ("2", "ValueError: no"),
    ]


async def test_a_second_call_of_one_id_ends_the_run() -> None:
    ran = []

    @tool(start="on_finish")
    async def look(number: int) -> None:
        ran.append(number)

    with pytest.raises(ProtocolError, match="two tool calls of one answer have the id '1'"):
        await run([[call("1", "look", '{"number": 1}'), call("1", "look", '{"number": 2}')], ["end"]], [look])
    assert not ran


@pytest.mark.parametrize("how", ["raises", "does not fit", "is not there", "is not JSON", "is denied"])
async def test_the_same_failing_call_again_and_again_ends_with_an_error(how: str) -> None:
    @tool
    async def fail(number: int = 0) -> None:
        raise ValueError("secret")

    name = "nobody" if how == "is not there" else "ask" if how == "is denied" else "fail"
    arguments = '{"number": "x"}' if how == "does not fit" else "{}"
    ask = tool(count.function, name="ask", needs_approval=True)
    numbers = iter(range(100))

    def answer(_: Any) -> list[Any]:
        number = str(next(numbers))
        if how == "is not JSON":
            return [InvalidToolCall(number, "fail", "{", "not JSON")]
        return [call(number, name, '{"number": 1}' if how == "is denied" else arguments)]

    executor = ScriptedExecutor(*[answer] * 20)
    async with ToolDispatcher(executor, [fail, ask], approve=lambda _: False, max_failures=3) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        with pytest.raises(StepLimitError, match=rf"same call of '{name}' 3 times.*max_failures") as caught:
            await stream.message()
    assert len(executor.requests) == 3
    assert "secret" not in str(caught.value)


async def test_a_call_that_succeeds_at_last_is_forgiven() -> None:
    ran = []

    @tool
    async def flaky() -> str:
        ran.append(1)
        if len(ran) % 2:
            raise ValueError("not now")
        return "done"

    answers = [[call(str(n), "flaky")] for n in range(8)]
    stream, _ = await run([*answers, ["end"]], [flaky], max_failures=2)
    assert len(stream.outcomes) == 8


@pytest.mark.parametrize(
    "last",
    [[], ["  \n"], [Reasoning("I think")], [End(FinishReason.OTHER)]],
)
@pytest.mark.parametrize("calls", [True, False])
async def test_an_empty_last_answer_is_no_success(last: list[Any], calls: bool) -> None:
    answers = [[call("1", "count", '{"number": 1}')], last] if calls else [last]
    async with ToolDispatcher(ScriptedExecutor(*answers), [count]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        with pytest.raises(IncompleteStreamError, match="last answer is empty"):
            await stream.message()
    assert len(stream.messages) == (3 if calls else 1)


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER])
async def test_an_empty_answer_that_says_why_is_its_end(reason: FinishReason) -> None:
    _, frames = await run([[End(reason)]], [])
    assert frames == [End(reason)]


# --------------------------------------------------------------------------------------- plain functions


@pytest.mark.parametrize("decision", [True, False, "Too dear."])
async def test_approve_may_be_a_plain_function(decision: bool | str) -> None:
    one = tool(count.function, name="ask", needs_approval=True)
    outcome = await outcome_of(one, '{"number": 1}', approve=lambda _: decision)
    assert outcome.state == ("finished" if decision is True else "refused")
    assert outcome.result.denied == (decision is not True)


async def test_on_step_may_be_a_plain_function() -> None:
    seen = []

    def on_step(state: StepState) -> StepChange | None:
        seen.append(state.step)
        return StepChange(tools=[])

    executor = ScriptedExecutor([call("1", "count", '{"number": 1}')], ["end"])
    async with ToolDispatcher(executor, [count], on_step=on_step) as dispatcher:
        await dispatcher.stream(PROMPT, MODEL).message()
    assert seen == [0]
    assert executor.requests[1].tools == ()


# ------------------------------------------------------------------------------------------- what is shown


@pytest.mark.parametrize(
    "value", [b"x", bytearray(b"x"), memoryview(b"x"), {"a": b"x"}, [1, [b"x"]], {"a": {"b": (b"x",)}}]
)
async def test_bytes_are_refused_in_words(value: Any) -> None:
    def sync() -> Any:
        return value

    async def asynchronous() -> Any:
        return value

    for function in (sync, asynchronous):
        outcome = await outcome_of(tool(function))
        assert outcome.state == "failed"
        assert "the tool gave bytes" in str(outcome.result.error)
        assert "ImagePart(data=" in str(outcome.result.error)


async def test_a_result_says_whether_its_output_is_json() -> None:
    picture = ImagePart(data=b"x", media_type="image/png")
    for value, json in (({"a": 1}, True), (1, True), ([], True), ("1", False), (None, False), (picture, False)):

        @tool
        async def give(value: Any = value) -> Any:
            return value

        assert (await outcome_of(give)).result.json == json
    long = tool(lambda: ["x" * 100], name="long")
    assert not (await outcome_of(long, max_output_chars=10)).result.json


async def test_the_last_value_is_not_progress_and_the_others_are_shown_at_once() -> None:
    shown = asyncio.Event()

    @tool
    async def steps() -> AsyncIterator[Any]:
        yield "first"
        await shown.wait()
        yield "second"
        yield "third"
        await asyncio.sleep(0)
        yield "last"

    executor = ScriptedExecutor([call("1", "steps")], ["end"])
    data = []
    async with ToolDispatcher(executor, [steps]) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        async for frame in stream:
            if type(frame) is ToolProgress:
                data.append(frame.data)
                shown.set()
    assert data == ["first", "second", "third"]
    assert stream.outcomes[0].result.output == "last"


def test_no_repr_shows_contents() -> None:
    secret = "hunter2"
    result = ToolResult("1", "n", secret, secret)
    shown = [
        result,
        ToolOutcome(result, "failed", ToolFailedError(secret, tool="n")),
        ToolCall("1", "n", secret),
        InvalidToolCall("1", "n", secret, secret),
        ToolCallDelta("1", "n", secret),
        UnfinishedCall("1", "n", secret),
        End(FinishReason.LENGTH, unfinished=(UnfinishedCall("1", "n", secret),)),
    ]
    for one in shown:
        assert secret not in repr(one)
        assert "n" in repr(one)
