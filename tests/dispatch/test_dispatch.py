"""The tool loop: what is started when, what goes back to the model, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from promptport.dispatch import StepChange, StepState
from promptport.dispatch.dispatcher import DispatchStream, ToolDispatcher
from promptport.dispatch.tool_frames import (
    ApprovalNeeded,
    DispatchFrame,
    PausedRun,
    StepEnd,
    ToolProgress,
    ToolResult,
    ToolStarted,
    decode_dispatch_frame,
    encode_dispatch_frame,
)
from promptport.errors import (
    IncompleteStreamError,
    InvalidInputError,
    InvalidToolArgumentsError,
    ProviderStreamError,
    StepLimitError,
    ToolError,
    ToolFailedError,
    UnknownToolError,
    UnsupportedCapabilityError,
)
from promptport.frames import Append, End, FinishReason, InvalidToolCall, ToolCall, ToolCallDelta, UnfinishedCall, Usage
from promptport.messages import AssistantMessage, NamedTool, Prompt, TextPart, ToolChoice, ToolResultMessage
from promptport.models import LLModel, ModelCapabilities, StreamedTools
from promptport.stream import FrameStream
from promptport.testing import CUT, ScriptedExecutor
from promptport.tools import Tool, ToolDescriptor, tool

MODEL = LLModel("scripted", "scripted")
PROMPT = Prompt.of("Go.")


UNFIT = (
    "the arguments do not fit: amount: "
    "Input should be a valid integer, unable to parse string as an integer, not 'many'"
)


def call(id: str, name: str = "echo", arguments: str = '{"text": "x"}') -> ToolCall:
    return ToolCall(id, name, arguments)


@tool
async def echo(text: str) -> str:
    """Says it again."""
    return text


def gated(name: str, gate: asyncio.Event, **options: Any) -> Tool[Any]:
    """A tool that waits for its gate."""

    async def wait() -> str:
        await gate.wait()
        return name

    return tool(wait, name=name, **options)


async def collect(stream: DispatchStream) -> list[DispatchFrame]:
    async with stream:
        return [frame async for frame in stream if type(frame) is not ToolCallDelta]


async def read(stream: DispatchStream, frames: list[DispatchFrame]) -> None:
    """As `collect`, for a stream that raises."""
    async for frame in stream:
        frames.append(frame)


async def run(executor: ScriptedExecutor, tools: Iterable[Tool[Any]], prompt: Prompt = PROMPT, **options: Any) -> Any:
    async with ToolDispatcher(executor, tools, **options) as dispatcher:
        return await collect(dispatcher.stream(prompt, MODEL))


def results(frames: Iterable[DispatchFrame]) -> list[ToolResult]:
    return [frame for frame in frames if type(frame) is ToolResult]


# ------------------------------------------------------------------------------------------------ the loop


async def test_the_loop() -> None:
    executor = ScriptedExecutor(["Let me see. ", call("1")], ["It says x."])
    async with ToolDispatcher(executor, [echo]) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        frames = [frame async for frame in stream]
        assert frames == [
            Append("Let me see. "),
            ToolCallDelta("1", "echo", '{"text": "x"}'),
            call("1"),
            ToolStarted("1", "echo"),
            ToolResult("1", "echo", "x"),
            StepEnd(0, End(FinishReason.TOOL_CALLS, usage=Usage(1, 1))),
            Append("It says x."),
            End(FinishReason.STOP, usage=Usage(2, 2)),
        ]
        assert stream.messages == (
            *PROMPT.messages,
            AssistantMessage(
                (TextPart("Let me see. "), call("1")), finish_reason=FinishReason.TOOL_CALLS, usage=Usage(1, 1)
            ),
            ToolResultMessage("1", "echo", "x"),
            AssistantMessage((TextPart("It says x."),), finish_reason=FinishReason.STOP, usage=Usage(1, 1)),
        )
        assert stream.usage == Usage(2, 2)
        assert stream.partial.text == "It says x."
        assert [(outcome.result.id, outcome.state) for outcome in stream.outcomes] == [("1", "finished")]
    assert executor.requests[1].prompt.messages == stream.messages[:-1]
    assert executor.requests[0].tools == (echo,)


async def test_without_tools_the_frames_are_the_models() -> None:
    frames = await run(ScriptedExecutor(["a", "b"]), [])
    assert frames == [Append("a"), Append("b"), End(FinishReason.STOP, usage=Usage(1, 1))]


async def test_message_drains_and_gives_the_last_answer() -> None:
    async with ToolDispatcher(ScriptedExecutor([call("1")], ["done"]), [echo]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        assert (await stream.message()).text == "done"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_tool_runs_while_text_flows() -> None:
    """The model writes on only after the tool has begun; the tool ends only after the text was read."""
    begun, read = asyncio.Event(), asyncio.Event()

    @tool
    async def slow() -> str:
        begun.set()
        await read.wait()
        return "done"

    executor = ScriptedExecutor([call("1", "slow", "{}"), begun, "while ", "it ", "runs"], ["end"])
    seen: list[DispatchFrame] = []
    async with ToolDispatcher(executor, [slow]) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        async for frame in stream:
            seen.append(frame)
            if frame == Append("runs"):
                read.set()
    kinds = [type(frame) for frame in seen]
    started, result = kinds.index(ToolStarted), kinds.index(ToolResult)
    assert seen[started + 1 : result] == [Append("while "), Append("it "), Append("runs")]


async def test_when_no_tool_runs_no_task_stands_between() -> None:
    readers: list[asyncio.Task[Any] | None] = []
    done, read_on = asyncio.Event(), asyncio.Event()

    @tool
    async def work() -> None:
        await read_on.wait()

    def answer(_: Any) -> Iterator[Any]:
        for step in ["a", call("1", "work", "{}"), "b", done, "c", "d"]:
            readers.append(asyncio.current_task())
            yield step

    consumer = asyncio.current_task()
    dispatcher = ToolDispatcher(ScriptedExecutor(answer, ["end"]), [work])
    async with dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        async for frame in stream:
            if frame == Append("b"):
                read_on.set()
            elif type(frame) is ToolResult:
                done.set()
    assert [reader is consumer for reader in readers] == [True, True, False, False, False, True]


async def test_results_come_as_they_finish_and_go_back_in_the_order_of_the_calls() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    tools = [gated(f"t{index}", gate) for index, gate in enumerate(gates)]
    executor = ScriptedExecutor([call(str(index), f"t{index}", "{}") for index in range(3)], ["end"])
    order: list[str] = []
    async with ToolDispatcher(executor, tools) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        async for frame in stream:
            if frame == ToolStarted("2", "t2"):
                gates[2].set()
            elif type(frame) is ToolResult:
                order.append(frame.id)
                for index in (1, 0):
                    if not gates[index].is_set():
                        gates[index].set()
                        break
    assert order == ["2", "1", "0"]
    sent = executor.requests[1].prompt.messages[-3:]
    assert [(message.call_id, message.output) for message in sent if isinstance(message, ToolResultMessage)] == [
        ("0", "t0"),
        ("1", "t1"),
        ("2", "t2"),
    ]


async def test_progress_is_shown_at_once_and_the_last_value_is_the_output() -> None:
    go = asyncio.Event()

    @tool
    async def search(words: int) -> AsyncIterator[Any]:
        yield {"found": 0}
        await go.wait()
        for found in range(1, words):
            yield {"found": found}

    executor = ScriptedExecutor([call("1", "search", '{"words": 3}')], ["end"])
    frames: list[DispatchFrame] = []
    async with ToolDispatcher(executor, [search]) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        async for frame in stream:
            frames.append(frame)
            if type(frame) is ToolProgress:
                go.set()  # so that the first came before the tool went on
    at = frames.index(ToolStarted("1", "search"))
    assert frames[at + 1 : at + 4] == [
        ToolProgress("1", {"found": 0}),
        ToolProgress("1", {"found": 1}),
        ToolResult("1", "search", '{"found":2}'),
    ]


async def test_no_more_than_max_concurrency_run_and_the_rest_waits_in_order() -> None:
    running, most, order = 0, 0, []

    @tool
    async def work(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        order.append(number)
        await asyncio.sleep(0)
        running -= 1

    executor = ScriptedExecutor([call(str(n), "work", f'{{"number": {n}}}') for n in range(7)], ["end"])
    frames = await run(executor, [work], max_concurrency=2)
    assert most == 2
    assert order == list(range(7))
    assert len(results(frames)) == 7


@pytest.mark.parametrize("whose", ["tool", "dispatcher"])
async def test_on_finish_starts_after_the_answer(whose: str) -> None:
    begun = asyncio.Event()

    @tool(start="on_finish" if whose == "tool" else "eager")
    async def late() -> None:
        begun.set()

    executor = ScriptedExecutor([call("1", "late", "{}"), "a", "b"], ["end"])
    frames: list[DispatchFrame] = []
    options: dict[str, Any] = {"start": "on_finish"} if whose == "dispatcher" else {}
    async with ToolDispatcher(executor, [late], **options) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        async for frame in stream:
            frames.append(frame)
            await asyncio.sleep(0)
            assert begun.is_set() == (ToolStarted("1", "late") in frames)
    assert frames.index(ToolStarted("1", "late")) > frames.index(Append("b"))


async def test_an_on_finish_tool_of_an_answer_that_fails_never_starts() -> None:
    ran = []

    @tool(start="on_finish")
    async def late() -> None:
        ran.append(1)

    with pytest.raises(IncompleteStreamError):
        await run(ScriptedExecutor([call("1", "late", "{}"), CUT]), [late])
    assert not ran


# --------------------------------------------------------------------------------------- what is never run


async def test_what_is_not_safe_is_never_run() -> None:
    """Truncated, invalid, unknown, unfit: told to the model, or in the error; never executed."""
    executed: list[str] = []

    @tool
    async def transfer(amount: int) -> None:
        executed.append(str(amount))

    cut = UnfinishedCall("5", "transfer", '{"amount": 10')
    executor = ScriptedExecutor(
        [
            InvalidToolCall("1", "transfer", '{"amount": 1', "the arguments are not JSON: truncated"),
            call("2", "transfers", '{"amount": 10}'),
            call("3", "transfer", '{"amount": "many"}'),
            call("4", "transfer", "{}"),
            ToolCallDelta("5", "transfer", '{"amount": 10'),
            End(FinishReason.LENGTH, usage=Usage(1, 1), unfinished=(cut,)),
        ],
        ["sorry", call("6", "transfer", '{"amount": 7}'), ToolCallDelta("7", "transfer", '{"amount": 10}')],
        ["end"],
    )
    async with ToolDispatcher(executor, [transfer]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        frames = await collect(stream)
    assert executed == ["7"]
    assert [(result.id, result.error) for result in results(frames)] == [
        ("1", "the arguments are not JSON: truncated"),
        ("2", "there is no tool named 'transfers'; the tools are: transfer"),
        (
            "3",
            UNFIT,
        ),
        ("4", "the arguments do not fit: amount is missing"),
        ("6", None),
    ]
    assert [frame.id for frame in frames if type(frame) is ToolStarted] == ["6"]
    assert [type(outcome.error) for outcome in stream.outcomes] == [
        InvalidToolArgumentsError,
        UnknownToolError,
        InvalidToolArgumentsError,
        InvalidToolArgumentsError,
        type(None),
    ]
    answered = [
        message.text for message in executor.requests[1].prompt.messages if isinstance(message, ToolResultMessage)
    ]
    assert answered == [result.error for result in results(frames)[:4]]


async def test_a_dropped_connection_runs_nothing_that_is_open() -> None:
    executor = ScriptedExecutor([ToolCallDelta("1", "echo", '{"text": "x"}'), CUT])
    with pytest.raises(IncompleteStreamError) as caught:
        await run(executor, [echo])
    assert caught.value.partial is not None
    assert caught.value.partial.unfinished == (UnfinishedCall("1", "echo", '{"text": "x"}'),)


async def test_a_content_filter_stops_the_loop_and_what_has_not_started() -> None:
    ran = []

    @tool(start="on_finish")
    async def late() -> None:
        ran.append(1)

    @tool(needs_approval=True)
    async def asked() -> None:
        ran.append(2)

    end = End(FinishReason.CONTENT_FILTER, usage=Usage(1, 1))
    executor = ScriptedExecutor([call("1"), call("2", "late", "{}"), call("3", "asked", "{}"), end])
    async with ToolDispatcher(executor, [echo, late, asked]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        frames = await collect(stream)
    assert not ran
    assert frames[-1] == end
    filtered = "not run: a content filter stopped the answer"
    assert {result.id: result.error for result in results(frames)} == {"1": None, "2": filtered, "3": filtered}
    assert [m.call_id for m in stream.messages if isinstance(m, ToolResultMessage)] == ["1", "2", "3"]


# ------------------------------------------------------------------------------------------------ the end


async def test_an_answer_cut_by_its_length_goes_on_with_the_calls_that_are_whole() -> None:
    executor = ScriptedExecutor([call("1"), End(FinishReason.LENGTH)], ["end"])
    assert (await run(executor, [echo]))[-1].finish_reason is FinishReason.STOP
    assert len(executor.requests) == 2


async def test_paused_is_sent_again_and_counts() -> None:
    paused = End(FinishReason.PAUSED, "pause_turn", Usage(3, 4))
    executor = ScriptedExecutor(["think ", paused], ["more ", paused], ["done"])
    frames = await run(executor, [])
    assert frames == [
        Append("think "),
        StepEnd(0, paused),
        Append("more "),
        StepEnd(1, paused),
        Append("done"),
        End(FinishReason.STOP, usage=Usage(7, 9)),
    ]
    assert [type(message) for message in executor.requests[2].prompt.messages[1:]] == [AssistantMessage] * 2
    with pytest.raises(StepLimitError):
        await run(ScriptedExecutor(["think ", paused], repeat=True), [], max_steps=3)


async def test_max_steps() -> None:
    executor = ScriptedExecutor([call("1")], [call("2")], [call("3")])
    frames: list[DispatchFrame] = []
    async with ToolDispatcher(executor, [echo], max_steps=2) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        with pytest.raises(StepLimitError, match="after 2 requests") as caught:
            await read(stream, frames)
    assert len(executor.requests) == 2
    assert caught.value.max_steps == 2
    assert caught.value.partial is not None
    assert caught.value.partial.tool_calls == (call("2"),)
    assert frames[-1] == ToolResult("2", "echo", "x")
    assert stream.messages[-1] == ToolResultMessage("2", "echo", "x")  # the caller may go on from here


async def test_a_stream_without_its_end_is_no_answer() -> None:
    class Short:
        def execute_streaming_with_tools(
            self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor] = ()
        ) -> FrameStream:
            return FrameStream.of([Append("a")])

    with pytest.raises(IncompleteStreamError):
        await collect(ToolDispatcher(Short()).stream(PROMPT, MODEL))


async def test_the_model_fails_while_tools_run() -> None:
    """What runs is cancelled, its outcome yielded, then the error raised; what had finished stays finished."""
    begun, gate = asyncio.Event(), asyncio.Event()

    @tool
    async def slow() -> None:
        begun.set()
        await gate.wait()

    error = ProviderStreamError("overloaded", code="overloaded_error")
    executor = ScriptedExecutor([call("1"), call("2", "slow", "{}"), begun, "text", error])
    frames: list[DispatchFrame] = []
    async with ToolDispatcher(executor, [echo, slow]) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        with pytest.raises(ProviderStreamError) as caught:
            await read(stream, frames)
        assert caught.value.partial is not None
        assert caught.value.partial.tool_calls == (call("1"), call("2", "slow", "{}"))
        assert [outcome.state for outcome in stream.outcomes] == ["finished", "cancelled"]
        assert stream.prompt == PROMPT
        going_on = stream.answered("stopped")
        assert [message.text for message in going_on.messages[-2:]] == [
            outcome.result.message().text for outcome in stream.outcomes
        ]
        assert going_on.answered("-") is going_on
        with pytest.raises(IncompleteStreamError):
            await anext(stream)
    assert Append("text") in frames
    assert results(frames) == [
        ToolResult("1", "echo", "x"),
        ToolResult("2", "slow", error="the call was cancelled before it finished"),
    ]


async def test_what_cannot_be_asked_raises_at_once() -> None:
    no_tools = ScriptedExecutor(["a"], capabilities=ModelCapabilities.of(StreamedTools.NONE, ()))
    with pytest.raises(UnsupportedCapabilityError):
        ToolDispatcher(no_tools, [echo]).stream(PROMPT, MODEL)
    with pytest.raises(InvalidInputError, match="no user message"):
        ToolDispatcher(ScriptedExecutor(["a"])).stream(Prompt(), MODEL)


class Holder:
    @tool
    def method(self) -> None: ...


@pytest.mark.parametrize(
    ("tools", "options", "says"),
    [
        ([echo, echo], {}, "two tools are named 'echo'"),
        ([None], {}, "ToolDescriptor"),
        ([ToolDescriptor("echo"), echo], {}, "two tools are named 'echo'"),
        ([], {"max_calls": 0}, "max_calls"),
        ([], {"max_failures": 0}, "max_failures"),
        ([], {"grace": -1}, "grace"),
        ([echo.function], {}, "@tool"),
        ([Holder.method], {}, "instance.method"),
        ([], {"max_steps": 0}, "max_steps"),
        ([], {"max_concurrency": 0}, "max_concurrency"),
        ([], {"max_output_chars": 0}, "max_output_chars"),
        ([], {"timeout": 0}, "timeout"),
        ([], {"start": "now"}, "on_finish"),
    ],
)
def test_a_dispatcher_that_cannot_work(tools: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        ToolDispatcher(ScriptedExecutor(), tools, **options)


# ------------------------------------------------------------------------------------- between the requests


def choices(executor: ScriptedExecutor) -> list[Any]:
    return [request.prompt.params.tool_choice for request in executor.requests]


@pytest.mark.parametrize("forced", [ToolChoice.REQUIRED, NamedTool("echo")])
async def test_a_forced_call_is_forced_once(forced: Any) -> None:
    executor = ScriptedExecutor([call("1")], [call("2")], ["end"])
    async with ToolDispatcher(executor, [echo]) as dispatcher:
        stream = dispatcher.stream(PROMPT.with_params(tool_choice=forced), MODEL)
        await stream.message()
    assert choices(executor) == [forced, ToolChoice.AUTO, ToolChoice.AUTO]
    assert stream.prompt.params.tool_choice == forced  # the conversation asks as the caller did


@pytest.mark.parametrize("own", [None, ToolChoice.NONE, ToolChoice.AUTO])
async def test_other_choices_hold(own: Any) -> None:
    executor = ScriptedExecutor([call("1")], ["end"])
    await run(executor, [echo], PROMPT.with_params(tool_choice=own))
    assert choices(executor) == [own, own]


@pytest.mark.parametrize("as_function", [True, False])
async def test_tool_choice_per_step(as_function: bool) -> None:
    by_step = {0: NamedTool("echo"), 2: ToolChoice.NONE}
    executor = ScriptedExecutor([call("1")], [call("2")], ["end"])
    await run(executor, [echo], tool_choice=by_step.get if as_function else by_step)
    assert choices(executor) == [NamedTool("echo"), None, ToolChoice.NONE]


async def test_on_step_sees_and_changes() -> None:
    @tool
    async def other() -> str:
        return "from other"

    states: list[StepState] = []

    async def on_step(state: StepState) -> StepChange | None:
        states.append(state)
        if state.step == 0:
            return StepChange(prompt=state.prompt.user("Hurry."), tools=[other])
        return None

    executor = ScriptedExecutor([call("1")], [call("2", "other", "{}"), call("3")], ["end"])
    async with ToolDispatcher(executor, [echo], on_step=on_step) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        frames = await collect(stream)
    assert states[0] == StepState(
        0,
        executor.requests[1].prompt.__class__(executor.requests[1].prompt.messages[:-1]),
        (echo,),
        states[0].message,
        (ToolResult("1", "echo", "x"),),
        Usage(1, 1),
    )
    assert states[0].message.tool_calls == (call("1"),)
    assert states[1].usage == Usage(2, 2)
    assert executor.requests[1].tools == executor.requests[2].tools == (other,)
    assert [result.error for result in results(frames)] == [
        None,
        None,
        "there is no tool named 'echo'; the tools are: other",
    ]
    assert sum(getattr(message, "text", "") == "Hurry." for message in stream.messages) == 1


async def test_what_on_step_raises_is_raised() -> None:
    async def on_step(state: StepState) -> None:
        raise LookupError("ours")

    executor = ScriptedExecutor([call("1")], ["end"])
    with pytest.raises(LookupError, match="ours"):
        await run(executor, [echo], on_step=on_step)
    assert len(executor.requests) == 1


# ------------------------------------------------------------------------------------------------ approval


@pytest.mark.parametrize(
    ("decision", "error"),
    [
        (True, None),
        (False, "the user did not allow this call"),
        ("Too dear.", "Too dear."),
        ("", "the user did not allow this call"),
    ],
)
async def test_approval_by_a_callback(decision: bool | str, error: str | None) -> None:
    """Asked as soon as the call is sealed, while the text flows on; nothing runs before the answer."""
    asked: list[ToolCall] = []
    text_read = asyncio.Event()
    ran = []

    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        ran.append(amount)
        return "paid"

    async def approve(wanted: ToolCall) -> bool | str:
        asked.append(wanted)
        await text_read.wait()
        assert not ran
        return decision

    executor = ScriptedExecutor([call("1", "pay", '{"amount": 3}'), "may I?"], ["end"])
    frames: list[DispatchFrame] = []
    async with ToolDispatcher(executor, [pay], approve=approve) as dispatcher:
        async with dispatcher.stream(PROMPT, MODEL) as stream:
            async for frame in stream:
                frames.append(frame)
                if type(frame) is Append:
                    text_read.set()
        assert stream.outcomes[0].state == ("finished" if error is None else "refused")
        assert error is None or type(stream.outcomes[0].error) is ToolError
    assert asked == [call("1", "pay", '{"amount": 3}')]
    assert ran == ([3] if error is None else [])
    assert results(frames) == [ToolResult("1", "pay", "paid" if error is None else "", error)]
    assert (ToolStarted("1", "pay") in frames) == (error is None)


async def test_approval_may_depend_on_the_arguments() -> None:
    @tool(needs_approval=lambda arguments: arguments["amount"] > 10)
    async def pay(amount: int) -> int:
        return amount

    async def approve(wanted: ToolCall) -> bool:
        assert wanted.id == "2"
        return False

    executor = ScriptedExecutor([call("1", "pay", '{"amount": 3}'), call("2", "pay", '{"amount": 30}')], ["end"])
    frames = await run(executor, [pay], approve=approve)
    assert {result.id: result.error is None for result in results(frames)} == {"1": True, "2": False}


async def test_a_rule_for_approval_that_fails_runs_nothing() -> None:
    ran = []

    @tool(needs_approval=lambda arguments: arguments["nothing"])
    async def pay() -> None:
        ran.append(1)

    frames = await run(ScriptedExecutor([call("1", "pay", "{}")], ["end"]), [pay])
    assert results(frames) == [ToolResult("1", "pay", error="KeyError: 'nothing'")]
    assert not ran


async def test_what_approve_raises_is_raised_and_ends_the_rest() -> None:
    begun = asyncio.Event()
    ran = []

    @tool
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    @tool(needs_approval=True)
    async def pay() -> None:
        ran.append(1)

    async def approve(wanted: ToolCall) -> bool:
        await begun.wait()
        raise LookupError("the approver's own")

    executor = ScriptedExecutor([call("1", "slow", "{}"), call("2", "pay", "{}"), asyncio.Event()])
    frames: list[DispatchFrame] = []
    dispatcher = ToolDispatcher(executor, [slow, pay], approve=approve)
    async with dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        with pytest.raises(LookupError, match="own"):
            await read(stream, frames)
    assert not ran
    assert [result.id for result in results(frames)] == ["1"]
    assert executor.client.closed == 1


async def test_after_a_failure_nothing_starts_any_more() -> None:
    """Not what was held, and not what had been read ahead."""
    ran: list[str] = []
    go, read_ahead = asyncio.Event(), asyncio.Event()

    @tool(needs_approval=True)
    async def pay() -> None:
        ran.append("pay")

    @tool(start="on_finish")
    async def late() -> None:
        ran.append("late")

    async def approve(wanted: ToolCall) -> bool:
        await go.wait()
        raise LookupError

    def answer(_: Any) -> Iterator[Any]:
        yield from (call("1", "pay", "{}"), call("2", "late", "{}"), "a", "b", call("3"), End(FinishReason.TOOL_CALLS))
        read_ahead.set()

    executor = ScriptedExecutor(answer)
    frames: list[DispatchFrame] = []
    dispatcher = ToolDispatcher(executor, [pay, late, echo], approve=approve)
    async with dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
        while Append("a") not in frames:
            frames.append(await anext(stream))
        await read_ahead.wait()
        go.set()
        for _ in range(5):
            await asyncio.sleep(0)
        with pytest.raises(LookupError):
            await read(stream, frames)
        assert not stream.outcomes
    assert Append("b") in frames
    assert not ran
    assert not results(frames)


async def test_a_pause_that_another_process_resumes() -> None:
    ran: list[int] = []

    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        ran.append(amount)
        return f"paid {amount}"

    calls = [call(str(n), "pay", f'{{"amount": {n}}}') for n in range(1, 4)]
    executor = ScriptedExecutor(
        [call("0"), calls[0], InvalidToolCall("4", "pay", "{", "not JSON"), *calls[1:]], [call("5")], ["end"]
    )
    async with ToolDispatcher(executor, [echo, pay]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        frames = await collect(stream)
    assert frames[-1] == ApprovalNeeded(tuple(calls), Usage(1, 1))
    assert not any(type(frame) in (End, StepEnd) for frame in frames)
    assert not ran
    assert stream.prompt == PROMPT
    assert stream.paused is not None
    saved = stream.paused.to_json()
    paused = PausedRun.from_json(saved)
    assert paused == stream.paused
    assert paused.pending == tuple(calls)

    async with ToolDispatcher(executor, [echo, pay]) as dispatcher:
        resumed = dispatcher.resume(paused, {"1": True, "2": False, "3": "No."})
        assert asyncio.all_tasks() == {asyncio.current_task()}  # nothing runs before it is iterated
        frames = await collect(resumed)
    assert ran == [1]
    assert resumed.paused is None
    assert {result.id: result.error for result in results(frames)} == {
        "2": "the user did not allow this call",
        "3": "No.",
        "1": None,
        "5": None,
    }
    assert [frame.index for frame in frames if type(frame) is StepEnd] == [0, 1]
    assert frames[-1] == End(FinishReason.STOP, usage=Usage(3, 3))
    answered = [m for m in executor.requests[1].prompt.messages if isinstance(m, ToolResultMessage)]
    assert [(m.call_id, m.text) for m in answered] == [
        ("0", "x"),
        ("1", "paid 1"),
        ("4", "not JSON"),
        ("2", "the user did not allow this call"),
        ("3", "No."),
    ]
    assert resumed.messages[1].parts == paused.message.parts  # type: ignore[union-attr]


async def test_max_steps_counts_across_a_pause() -> None:
    @tool(needs_approval=True)
    async def ask() -> None: ...

    executor = ScriptedExecutor([call("1", "ask", "{}")], [call("2", "ask", "{}")])
    async with ToolDispatcher(executor, [ask], max_steps=2) as dispatcher:
        first = dispatcher.stream(PROMPT, MODEL)
        await collect(first)
        assert first.paused is not None
        second = dispatcher.resume(first.paused, {"1": True})
        await collect(second)
        assert second.paused is not None
        assert second.paused.step == 1
        with pytest.raises(StepLimitError):
            await collect(dispatcher.resume(second.paused, {"2": True}))


async def test_decisions_must_be_those_asked_for() -> None:
    @tool(needs_approval=True)
    async def ask() -> None: ...

    executor = ScriptedExecutor([call("1", "ask", "{}")])
    async with ToolDispatcher(executor, [ask]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        await collect(stream)
        assert stream.paused is not None
        with pytest.raises(InvalidInputError, match=r"missing for \['1'\], and not asked for \['2'\]"):
            dispatcher.resume(stream.paused, {"2": True})
    with pytest.raises(InvalidInputError, match="not a paused run"):
        PausedRun.from_json(b"{}")


# ------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize(
    "frame",
    [
        Append("a"),
        ToolStarted("1", "n"),
        ToolProgress("1", {"a": [1, None, "x"]}),
        ToolResult("1", "n", "out"),
        ToolResult("1", "n", (TextPart("a"),), "bad"),
        StepEnd(1, End(FinishReason.TOOL_CALLS, usage=Usage(1))),
        ApprovalNeeded((call("1"),), Usage(1)),
        End(FinishReason.STOP),
    ],
)
def test_frames_go_to_json_and_back(frame: DispatchFrame) -> None:
    assert decode_dispatch_frame(encode_dispatch_frame(frame)) == frame


def test_what_is_no_frame() -> None:
    with pytest.raises(InvalidInputError, match="not a frame"):
        decode_dispatch_frame(msgspec.json.encode({"type": "nothing"}))


async def test_an_error_keeps_what_the_tool_raised() -> None:
    @tool
    async def bad() -> None:
        raise LookupError("no such row")

    async with ToolDispatcher(ScriptedExecutor([call("1", "bad", "{}")], ["end"]), [bad]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        await collect(stream)
    error = stream.outcomes[0].error
    assert type(error) is ToolFailedError
    assert type(error.__cause__) is LookupError
    assert error.tool == "bad"
    assert stream.outcomes[0].result.error == str(error) == "LookupError: no such row"
