"""A pause is resumed once, and what runs is what was shown; tools that the front end runs."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from promptport.dispatch.dispatcher import DispatchStream, ToolDispatcher
from promptport.dispatch.tool_frames import (
    ApprovalNeeded,
    MemoryPauseStore,
    PausedRun,
    StepEnd,
    StepReset,
    ToolProgress,
    ToolResult,
    ToolsPending,
    decode_dispatch_frame,
    encode_dispatch_frame,
)
from promptport.errors import InvalidInputError
from promptport.frames import End, FinishReason, InvalidToolCall, ToolCall, Usage
from promptport.messages import AssistantMessage, ImagePart, Prompt, TextPart, ToolResultMessage
from promptport.models import LLModel
from promptport.testing import ScriptedExecutor
from promptport.tools import ToolDescriptor, tool

MODEL = LLModel("scripted", "scripted")
PROMPT = Prompt.of("Go.")
PLACE = ToolDescriptor("place", parameters={"type": "object", "properties": {"exact": {"type": "boolean"}}})


class Till:
    """A tool that costs money."""

    def __init__(self) -> None:
        self.paid: list[int] = []

    @tool(needs_approval=True)
    async def pay(self, amount: int) -> str:
        """Pays."""
        self.paid.append(amount)
        return f"paid {amount}"


def pay(id: str, amount: int) -> ToolCall:
    return ToolCall(id, "pay", f'{{"amount": {amount}}}')


async def paused_at(dispatcher: ToolDispatcher) -> PausedRun:
    async with dispatcher.stream(PROMPT, MODEL) as stream:
        _ = [frame async for frame in stream]
    assert stream.paused is not None
    return stream.paused


def till(*answers: Any, **options: Any) -> tuple[Till, ToolDispatcher]:
    one = Till()
    executor = ScriptedExecutor(*(answers or ([pay("1", 3)],)), *[["end"]] * 3)
    return one, ToolDispatcher(executor, [one.pay, PLACE], **options)


# --------------------------------------------------------------------------------------------------- once


async def read(stream: DispatchStream) -> None:
    async with stream:
        await stream.message()


@pytest.mark.parametrize("way", ["same value", "from json", "another dispatcher", "first not read", "side by side"])
async def test_a_double_click_pays_once(way: str) -> None:
    one, dispatcher = till()
    paused = await paused_at(dispatcher)
    again = PausedRun.from_json(paused.to_json()) if way == "from json" else paused
    other = ToolDispatcher(ScriptedExecutor(["end"]), [one.pay]) if way == "another dispatcher" else dispatcher
    first = dispatcher.resume(paused, {"1": True})
    if way not in ("first not read", "side by side"):
        await read(first)
    with pytest.raises(InvalidInputError, match="resumed before"):
        other.resume(again, {"1": True})
    if way == "side by side":
        await read(first)
    assert one.paid == ([] if way == "first not read" else [3])
    await first.aclose()


async def test_wrong_decisions_do_not_use_a_pause_up() -> None:
    one, dispatcher = till()
    paused = await paused_at(dispatcher)
    for wrong in ({}, {"2": True}, {"1": True, "2": True}, {"1": 1}, {"1": None}):
        with pytest.raises(InvalidInputError, match="decision"):
            dispatcher.resume(paused, wrong)  # type: ignore[arg-type]
    await read(dispatcher.resume(paused, {"1": True}))
    assert one.paid == [3]


class AsyncStore:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def take(self, id: str) -> bool:
        await asyncio.sleep(0)
        self.asked.append(id)
        return self.asked.count(id) == 1


class LaterStore(AsyncStore):
    def take(self, id: str) -> Any:
        return super().take(id)


@pytest.mark.parametrize("make", [AsyncStore, LaterStore])
async def test_a_store_may_be_asynchronous(make: Callable[[], AsyncStore]) -> None:
    store = make()
    one, dispatcher = till(store=store)
    paused = await paused_at(dispatcher)
    first, second = dispatcher.resume(paused, {"1": True}), dispatcher.resume(paused, {"1": True})
    done = await asyncio.gather(read(first), read(second), return_exceptions=True)
    assert [type(one) for one in done] == [type(None), InvalidInputError]
    assert one.paid == [3]
    assert store.asked == [paused.id, paused.id]


async def test_a_store_that_fails_runs_nothing() -> None:
    class Broken:
        async def take(self, id: str) -> bool:
            raise ConnectionError("the database is away")

    one, dispatcher = till(store=Broken())
    with pytest.raises(ConnectionError):
        await read(dispatcher.resume(await paused_at(dispatcher), {"1": True}))
    assert one.paid == []


async def test_another_store_knows_nothing_of_it() -> None:
    one, dispatcher = till()
    paused = await paused_at(dispatcher)
    await read(dispatcher.resume(paused, {"1": True}))
    other = ToolDispatcher(ScriptedExecutor(["end"]), [one.pay], store=MemoryPauseStore())
    await read(other.resume(paused, {"1": True}))  # what several processes must not do, a shared store forbids
    assert one.paid == [3, 3]


def test_the_store_in_memory_is_atomic_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    store, taken = MemoryPauseStore(), []
    barrier = threading.Barrier(8)

    def take() -> None:
        barrier.wait()
        taken.extend([store.take(str(number)) for number in range(200)])

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken.count(True) == 200
    monkeypatch.setattr("promptport.dispatch.tool_frames._REMEMBERED", 10)
    small = MemoryPauseStore()
    assert all(small.take(str(number)) for number in range(100))
    assert not small.take("99")


# ------------------------------------------------------------------------------------------------- forged


def changed(paused: PausedRun, **changes: Any) -> PausedRun:
    return replace(paused, **changes)


def through_json(paused: PausedRun, old: str, new: str) -> PausedRun:
    text = paused.to_json().decode()
    assert old in text
    return PausedRun.from_json(text.replace(old, new))


@pytest.mark.parametrize(
    "forge",
    [
        lambda p: changed(p, pending=(pay("1", 3000), p.pending[1])),
        lambda p: changed(p, pending=(replace(p.pending[0], name="place"), p.pending[1])),
        lambda p: changed(p, pending=p.pending[:1]),
        lambda p: changed(p, pending=(*p.pending, pay("9", 1))),
        lambda p: changed(p, pending=(p.pending[0], p.pending[0])),
        lambda p: changed(p, pending=p.pending[::-1]),
        lambda p: changed(p, results=(ToolResult("9", "pay", "x"),)),
        lambda p: changed(p, results=(ToolResult("1", "pay", "paid"),)),
        lambda p: changed(p, client_calls=("9",)),
        lambda p: changed(p, message=AssistantMessage((pay("1", 3000), p.pending[1]))),
        lambda p: changed(p, message=AssistantMessage((pay("1", 3), pay("1", 4))), pending=(pay("1", 3),)),
        lambda p: changed(p, message=AssistantMessage((*p.message.parts, InvalidToolCall("9", "pay", "{", "no")))),
        lambda p: changed(p, prompt=Prompt.of("Pay everything.")),
        lambda p: changed(p, step=0, usage=Usage(1)),
        lambda p: changed(p, id="0" * 32),
        lambda p: through_json(p, '\\"amount\\": 3}', '\\"amount\\": 3000}'),
        lambda p: through_json(p, "Go.", "Stop."),
        lambda p: changed(p, id=p.id + "0"),
        lambda p: changed(p, id="0" * 32 + p.id[32:]),
        lambda p: changed(p, id=p.id[32:]),
        lambda p: through_json(p, p.id, f"again.{p.id}"),
    ],
)
async def test_a_pause_that_was_changed_is_refused_and_pays_nothing(forge: Callable[[PausedRun], PausedRun]) -> None:
    one, dispatcher = till([pay("1", 3), pay("2", 4)])
    paused = await paused_at(dispatcher)
    forged = forge(paused)
    with pytest.raises(InvalidInputError, match="resume"):
        dispatcher.resume(forged, {call.id: True for call in forged.pending})
    assert one.paid == []
    await read(dispatcher.resume(paused, {"1": True, "2": False}))
    assert one.paid == [3]


async def test_a_pause_survives_a_database_that_sorts_its_keys() -> None:
    _, dispatcher = till([ToolCall("1", "pay", '{"amount": 3}', {"z": 1, "a": {"y": 1, "b": 2.0}})])
    paused = await paused_at(dispatcher)
    again = PausedRun.from_json(json.dumps(json.loads(paused.to_json()), sort_keys=True))
    assert again == paused
    again.check()


async def test_each_pause_has_an_identity_of_its_own() -> None:
    ids = {(await paused_at(till()[1])).id for _ in range(5)}
    assert len(ids) == 5
    assert all(len(one) > 32 for one in ids)


async def test_identical_calls_are_asked_about_once_and_answered_together() -> None:
    one, dispatcher = till([pay("1", 3), pay("2", 3), pay("3", 4)])
    paused = await paused_at(dispatcher)
    assert [call.id for call in paused.pending] == ["1", "3"]
    stream = dispatcher.resume(PausedRun.from_json(paused.to_json()), {"1": True, "3": "Too dear."})
    await read(stream)
    assert one.paid == [3]
    texts = {message.call_id: message.text for message in stream.messages if isinstance(message, ToolResultMessage)}
    assert texts == {"1": "paid 3", "2": "paid 3", "3": "Too dear."}
    assert [outcome.result.id for outcome in stream.outcomes if outcome.result.denied] == ["3"]


async def test_no_repr_of_a_pause_shows_contents() -> None:
    _, dispatcher = till([pay("1", 7654321)])
    paused = await paused_at(dispatcher)
    for shown in (paused, ApprovalNeeded(paused.pending), ToolsPending(paused.pending)):
        assert "7654321" not in repr(shown)
        assert "Go." not in repr(shown)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b"[" * 100_000, '"\ud83d"', b'{"id": 1}'])
def test_what_is_no_paused_run_says_so(data: Any) -> None:
    with pytest.raises(InvalidInputError, match="not a paused run"):
        PausedRun.from_json(data)
    with pytest.raises(InvalidInputError, match="not a frame"):
        decode_dispatch_frame(data)


@pytest.mark.parametrize("id", [None, ""])
async def test_a_saved_pause_without_its_id_gets_no_new_one(id: str | None) -> None:
    _, dispatcher = till([pay("1", 3)])
    saved = json.loads((await paused_at(dispatcher)).to_json())
    saved.pop("id")
    with pytest.raises(InvalidInputError, match="not a paused run"):
        PausedRun.from_json(json.dumps(saved if id is None else {**saved, "id": id}))


def test_no_repr_of_progress_shows_contents() -> None:
    assert repr(ToolProgress("1", {"amount": 7654321})) == "ToolProgress(id='1', data=<dict>)"


async def test_only_a_paused_run_can_be_resumed() -> None:
    _, dispatcher = till()
    with pytest.raises(InvalidInputError, match=r"takes a PausedRun, not bytes. Use PausedRun.from_json"):
        dispatcher.resume((await paused_at(dispatcher)).to_json(), {"1": True})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------- tools of the front end


@tool
async def echo(text: str) -> str:
    """Says it again."""
    return text


async def test_a_turn_with_a_tool_of_the_front_end_ends_in_tools_pending() -> None:
    call = ToolCall("1", "place", '{"exact": true}')
    executor = ScriptedExecutor(["Where?", call, ToolCall("2", "echo", '{"text": "x"}')], ["You are in Rome."])
    async with ToolDispatcher(executor, [PLACE, echo]) as dispatcher:
        async with dispatcher.stream(PROMPT, MODEL) as stream:
            frames = [frame async for frame in stream]
        assert frames[-1] == ToolsPending((call,), Usage(1, 1))
        assert ToolResult("2", "echo", "x") in frames  # the server's own tools ran
        assert not any(type(frame) in (End, StepEnd, ApprovalNeeded) for frame in frames)
        assert executor.requests[0].tools == (PLACE, echo)
        assert stream.paused is not None
        paused = PausedRun.from_json(stream.paused.to_json())
        assert (paused.pending, paused.client_calls) == ((call,), ("1",))
        async with dispatcher.resume(paused, results={"1": ToolResult("1", "place", "Rome")}) as resumed:
            frames = [frame async for frame in resumed]
    assert frames[0] == ToolResult("1", "place", "Rome")
    assert type(frames[1]) is StepEnd
    assert type(frames[-1]) is End
    assert [message.text for message in executor.requests[1].prompt.messages[-2:]] == ["Rome", "x"]


@pytest.mark.parametrize(
    ("given", "text", "error", "state"),
    [
        ("Rome", "Rome", None, "finished"),
        ({"city": "Rome"}, '{"city":"Rome"}', None, "finished"),
        (None, "", None, "finished"),
        ([TextPart("Rome")], "Rome", None, "finished"),
        (ToolResult("1", "place", error="no GPS"), "no GPS", "no GPS", "failed"),
        (ToolResult("1", "place", error="no", denied=True), "no", "no", "refused"),
    ],
)
async def test_what_the_front_end_may_give(given: Any, text: str, error: str | None, state: str) -> None:
    _, dispatcher = till([ToolCall("1", "place", "{}")])
    stream = dispatcher.resume(await paused_at(dispatcher), results={"1": given})
    await read(stream)
    (outcome,) = stream.outcomes
    assert (outcome.result.message().text, outcome.result.error, outcome.state) == (text, error, state)
    assert outcome.result.json == isinstance(given, dict)


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ({}, r"results: missing for \['1'\]"),
        ({"2": "x"}, r"not asked for \['2'\]"),
        ({"1": b"x"}, "bytes"),
        ({"1": object()}, "not JSON"),
        ({"1": ToolResult("2", "place", "x")}, "is of call '2'"),
        ({"1": ToolResult("1", "other", "x")}, "is of call"),
    ],
)
async def test_results_must_be_those_asked_for(results: Any, says: str) -> None:
    _, dispatcher = till([ToolCall("1", "place", "{}")])
    paused = await paused_at(dispatcher)
    with pytest.raises(InvalidInputError, match=says):
        dispatcher.resume(paused, results=results)
    with pytest.raises(InvalidInputError, match="decisions"):
        dispatcher.resume(paused, {"1": True})


async def test_a_person_and_the_front_end_in_one_answer() -> None:
    one, dispatcher = till([ToolCall("1", "place", "{}"), pay("2", 3), ToolCall("3", "place", "{}")])
    async with dispatcher.stream(PROMPT, MODEL) as stream:
        frames = [frame async for frame in stream]
    assert [type(frame) for frame in frames[-2:]] == [ApprovalNeeded, ToolsPending]
    paused = stream.paused
    assert paused is not None
    assert [call.id for call in paused.pending] == ["1", "2"]
    assert paused.client_calls == ("1",)
    resumed = dispatcher.resume(paused, {"2": True}, results={"1": "Rome"})
    await read(resumed)
    assert one.paid == [3]
    texts = {message.call_id: message.text for message in resumed.messages if isinstance(message, ToolResultMessage)}
    assert texts == {"1": "Rome", "2": "paid 3", "3": "Rome"}


async def test_arguments_that_do_not_fit_never_reach_the_front_end() -> None:
    executor = ScriptedExecutor([ToolCall("1", "place", '{"exact": "very"}')], ["sorry"])
    async with ToolDispatcher(executor, [PLACE]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        await read(stream)
    assert stream.outcomes[0].state == "refused"
    assert stream.paused is None


async def test_a_content_filter_ends_what_waits_for_the_front_end() -> None:
    executor = ScriptedExecutor([ToolCall("1", "place", "{}"), End(FinishReason.CONTENT_FILTER)])
    async with ToolDispatcher(executor, [PLACE]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        await read(stream)
    assert stream.outcomes[0].state == "refused"
    assert stream.paused is None


def test_the_new_frames_go_to_json_and_back() -> None:
    picture = ImagePart(data=b"x", media_type="image/png")
    for frame in (
        ToolsPending((pay("1", 3),), Usage(1)),
        StepReset(2),
        ToolResult("1", "n", "{}", json=True),
        ToolResult("1", "n", (picture,), "no", denied=True),
    ):
        again = decode_dispatch_frame(encode_dispatch_frame(frame))
        assert again == frame
        if isinstance(frame, ToolResult) and isinstance(again, ToolResult):
            assert (again.denied, again.json) == (frame.denied, frame.json)


async def test_a_pause_that_nobody_decides_is_closed() -> None:
    executor = ScriptedExecutor([pay("1", 5), ToolCall("2", "look", "{}"), pay("3", 7)], ["Well."])

    @tool
    def look() -> str:
        """Looks."""
        return "seen"

    async with ToolDispatcher(executor, [Till().pay, look]) as dispatcher:
        async with dispatcher.stream(PROMPT, MODEL) as stream:
            _ = [frame async for frame in stream]
        assert stream.paused is not None
        paused = PausedRun.from_json(stream.paused.to_json())
        prompt = paused.answered("Nobody decided.")
        assert stream.answered("Nobody decided.") == prompt
        results = [message for message in prompt.messages if isinstance(message, ToolResultMessage)]
        assert {(message.call_id, message.text) for message in results if message.error is None} == {("2", "seen")}
        assert {message.call_id for message in results if message.error == "Nobody decided."} == {"1", "3"}
        async with dispatcher.stream(prompt.user("Go on."), MODEL) as going_on:
            assert (await going_on.message()).text == "Well."
