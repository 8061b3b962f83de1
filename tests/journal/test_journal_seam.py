"""The seam: what is recorded, when tools start, what is replayed, and what a tool learns of its call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

import promptport as pp
from promptport.testing import ScriptedExecutor

MODEL = pp.LLModel("scripted", "m")


class DictJournal:
    """Records in a dict, which outlives the attempts."""

    def __init__(self, records: dict[str, bytes], attempt: int = 1) -> None:
        self.run = "r"
        self.records = records
        self.attempt = attempt
        self.drawn: list[str] = []
        self.fail_at: str | None = None

    def step(self, key: str) -> Callable[[Callable[[], Awaitable[bytes]]], Awaitable[bytes]]:
        self.drawn.append(key)

        async def place(work: Callable[[], Awaitable[bytes]]) -> bytes:
            if key not in self.records:
                value = await work()
                if key == self.fail_at:
                    raise ConnectionError("the journal is away")
                self.records[key] = value
            return self.records[key]

        return place


class Counting:
    def __init__(self, *, repeatable: bool = False, name: str = "book", **options: Any) -> None:
        self.runs: list[pp.CallContext] = []

        async def book(city: str) -> str:
            """Book."""
            self.runs.append(pp.current_call())
            if city == "Fail":
                raise ValueError("no such city")
            if city == "Hang":
                await asyncio.sleep(60)
            return f"booked {city}"

        self.tool = pp.tool(book, name=name, repeatable=repeatable, **options)


def call(city: str, id: str = "c1", name: str = "book") -> pp.ToolCall:
    return pp.ToolCall(id, name, msgspec.json.encode({"city": city}).decode())


async def run(executor: ScriptedExecutor, journal: Any, *tools: Any, **options: Any) -> list[Any]:
    async with (
        pp.ToolDispatcher(executor, tools, journal=journal, **options) as dispatcher,
        dispatcher.stream("Go", MODEL) as stream,
    ):
        return [frame async for frame in stream]


def results(frames: list[Any]) -> list[pp.ToolResult]:
    return [frame for frame in frames if isinstance(frame, pp.ToolResult)]


ANSWERS = ([call("Paris"), call("Fail", "c2")], ["Done"])


async def test_a_finished_run_is_replayed_without_asking_or_running() -> None:
    records: dict[str, bytes] = {}
    first, second = ScriptedExecutor(*ANSWERS), ScriptedExecutor()
    counted = Counting()
    before = await run(first, DictJournal(records), counted.tool)
    again = await run(second, DictJournal(records, 2), counted.tool)
    assert len(counted.runs) == 2
    assert second.requests == []
    assert results(before) == results(again)
    assert len(results(again)) == 2
    assert before[-1] == again[-1]
    assert [type(frame) for frame in again].count(pp.ToolStarted) == 2
    assert "".join(frame.text for frame in again if isinstance(frame, pp.Append)) == "Done"


async def test_places_are_drawn_in_the_same_order_in_each_attempt_whatever_the_tools_are() -> None:
    records: dict[str, bytes] = {}
    journal = DictJournal(records)
    await run(ScriptedExecutor(*ANSWERS), journal, Counting().tool)
    replay = DictJournal(records, 2)
    frames = await run(ScriptedExecutor(), replay)  # the tool was removed
    assert replay.drawn == journal.drawn
    assert journal.drawn == [
        "answer/0", "call/0/0/book/start", "call/0/0/book", "call/0/1/book/start", "call/0/1/book", "answer/1", "end",
    ]  # fmt: skip
    assert [one.output for one in results(frames)] == ["booked Paris", ""]


@pytest.mark.parametrize("kind", ["Fail", "Hang"])
async def test_failures_and_timeouts_are_recorded_as_the_model_was_told(kind: str) -> None:
    records: dict[str, bytes] = {}
    answers = ([call(kind)], ["Done"])
    before = await run(ScriptedExecutor(*answers), DictJournal(records), Counting(timeout=0.05).tool)
    again = await run(ScriptedExecutor(), DictJournal(records, 2), Counting().tool)
    assert results(again) == results(before)
    assert results(again)[0].error


async def test_a_tool_that_swallows_its_cancellation_is_recorded_as_too_late() -> None:
    records: dict[str, bytes] = {}
    release = asyncio.Event()

    @pp.tool(timeout=0.02)
    async def stubborn() -> str:
        """Never stops."""
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    answers = ([pp.ToolCall("c1", "stubborn", "{}")], ["Done"])
    with pytest.warns(RuntimeWarning, match="stubborn"):
        before = await run(ScriptedExecutor(*answers), DictJournal(records), stubborn, grace=0.02)
    release.set()
    again = await run(ScriptedExecutor(), DictJournal(records, 2), stubborn)
    assert results(again) == results(before)
    assert "0.02 s" in (results(again)[0].error or "")


@pytest.mark.parametrize(("repeatable", "runs"), [(False, 0), (True, 1)])
async def test_a_call_that_was_caught_running_has_one_outcome(repeatable: bool, runs: int) -> None:
    records: dict[str, bytes] = {}
    await run(ScriptedExecutor([call("Paris")], ["Done"]), DictJournal(records), Counting(repeatable=repeatable).tool)
    for key in ("call/0/0/book", "answer/1", "end"):
        del records[key]  # the process died in the tool
    counted = Counting(repeatable=repeatable)
    frames = await run(ScriptedExecutor(["Done"]), DictJournal(records, 2), counted.tool)
    assert len(counted.runs) == runs
    (result,) = results(frames)
    if repeatable:
        assert result.output == "booked Paris"
        assert counted.runs[0].attempt == 2
    else:
        assert "may have had its effect, or not; it was not run again" in (result.error or "")
    third = await run(ScriptedExecutor(), DictJournal(records, 3), counted.tool)
    assert results(third) == [result]
    assert len(counted.runs) == runs


async def test_the_key_is_the_same_after_a_restart_and_differs_between_calls() -> None:
    records: dict[str, bytes] = {}
    counted = Counting(repeatable=True)
    answers = ([call("Paris"), call("Rome", "c2")], [call("Paris", "c3")], ["Done"])
    await run(ScriptedExecutor(*answers), DictJournal(records), counted.tool)
    keys = {one.id: one.key for one in counted.runs}
    assert len(set(keys.values())) == 3
    assert all(key.startswith("r/") for key in keys.values())
    assert {one.attempt for one in counted.runs} == {1}
    for key in [key for key in records if key.startswith("call/") and "start" not in key]:
        del records[key]
    counted.runs.clear()
    await run(ScriptedExecutor(), DictJournal(records, 2), counted.tool)
    assert {one.id: one.key for one in counted.runs} == keys
    assert {one.attempt for one in counted.runs} == {2}


class Gated(ScriptedExecutor):
    """Its answer's end waits for a gate."""

    def __init__(self, gate: asyncio.Event, *answers: Any) -> None:
        super().__init__(*answers)
        self.gate = gate

    def execute_streaming_with_tools(self, prompt: Any, model: Any, tools: Any = ()) -> pp.FrameStream:
        inner = super().execute_streaming_with_tools(prompt, model, tools)

        async def source() -> Any:
            async with inner:
                async for frame in inner:
                    if isinstance(frame, pp.End):
                        await self.gate.wait()
                    yield (frame,)

        return pp.FrameStream(source())


@pytest.mark.parametrize(("repeatable", "eager"), [(True, True), (False, False)])
async def test_only_repeatable_tools_start_before_their_answer_is_recorded(repeatable: bool, eager: bool) -> None:
    gate = asyncio.Event()
    counted = Counting(repeatable=repeatable)
    executor = Gated(gate, [call("Paris")], ["Done"])
    task = asyncio.create_task(run(executor, DictJournal({}), counted.tool))
    for _ in range(200):
        await asyncio.sleep(0)
    assert bool(counted.runs) is eager
    gate.set()
    frames = await asyncio.wait_for(task, 10)
    assert len(counted.runs) == 1
    assert len(results(frames)) == 1


async def test_an_answer_that_was_not_recorded_is_asked_anew_and_its_calls_are_those_of_the_new_one() -> None:
    records: dict[str, bytes] = {}
    journal = DictJournal(records)
    journal.fail_at = "answer/0"
    counted = Counting(repeatable=True)
    with pytest.raises(ConnectionError):
        await run(ScriptedExecutor([call("Paris")]), journal, counted.tool)
    frames = await run(ScriptedExecutor([call("Rome", "d1")], ["Done"]), DictJournal(records, 2), counted.tool)
    assert [one.output for one in results(frames)] == ["booked Rome"]


async def test_identical_calls_run_once_and_are_answered_each() -> None:
    records: dict[str, bytes] = {}
    counted = Counting()
    answers = ([call("Paris"), call("Paris", "c2")], ["Done"])
    before = await run(ScriptedExecutor(*answers), DictJournal(records), counted.tool)
    again = await run(ScriptedExecutor(), DictJournal(records, 2), counted.tool)
    assert len(counted.runs) == 1
    assert {one.id for one in results(before)} == {one.id for one in results(again)} == {"c1", "c2"}


@pytest.mark.parametrize("decision", [True, "too dear"])
async def test_an_approval_is_recorded_and_a_pause_is_resumed_once(decision: bool | str) -> None:
    records: dict[str, bytes] = {}
    counted = Counting(needs_approval=True)
    journal = DictJournal(records)
    other = Counting(name="look")
    answers = ([call("Paris"), call("Rome", "c2", "look")], ["Done"])
    async with pp.ToolDispatcher(ScriptedExecutor(*answers), [counted.tool, other.tool], journal=journal) as dispatcher:
        async with dispatcher.stream("Go", MODEL) as stream:
            await stream.message()
        assert stream.paused is not None
        saved = stream.paused.to_json()
        async with dispatcher.resume(stream.paused, {"c1": decision}) as resumed:
            told = results([frame async for frame in resumed])
        with pytest.raises(pp.InvalidInputError, match="once"):
            dispatcher.resume(stream.paused, {"c1": True})
    assert len(counted.runs) == (1 if decision is True else 0)
    # A new process, which has only the pause as it was saved, and another decision: the first one holds.
    async with pp.ToolDispatcher(
        ScriptedExecutor(), [counted.tool, other.tool], journal=DictJournal(records, 2)
    ) as dispatcher:
        again = dispatcher.resume(pp.PausedRun.from_json(saved), {"c1": decision is not True})
        async with again:
            assert results([frame async for frame in again]) == told
    assert len(counted.runs) == (1 if decision is True else 0)
    assert len(other.runs) == 1


async def test_a_replayed_run_pauses_again_and_goes_on() -> None:
    records: dict[str, bytes] = {}
    counted = Counting(needs_approval=True)
    await run(ScriptedExecutor([call("Paris")]), DictJournal(records), counted.tool)
    async with pp.ToolDispatcher(
        ScriptedExecutor(["Done"]), [counted.tool], journal=DictJournal(records, 2)
    ) as dispatcher:
        async with dispatcher.stream("Go", MODEL) as stream:
            frames = [frame async for frame in stream]
        assert isinstance(frames[-1], pp.ApprovalNeeded)
        assert stream.paused is not None
        async with dispatcher.resume(stream.paused, {"c1": True}) as resumed:
            assert (await resumed.message()).text == "Done"
    assert len(counted.runs) == 1


async def test_tools_of_the_front_end_go_on_with_the_results_that_were_recorded() -> None:
    records: dict[str, bytes] = {}
    outside = pp.ToolDescriptor("pick", parameters={"type": "object", "properties": {}})
    answers = ([pp.ToolCall("c1", "pick", "{}")], ["Done"])
    for attempt, value in ((1, "red"), (2, "blue")):
        executor = ScriptedExecutor(*answers) if attempt == 1 else ScriptedExecutor()
        async with pp.ToolDispatcher(executor, [outside], journal=DictJournal(records, attempt)) as dispatcher:
            async with dispatcher.stream("Go", MODEL) as stream:
                assert isinstance([frame async for frame in stream][-1], pp.ToolsPending)
            assert stream.paused is not None
            async with dispatcher.resume(stream.paused, results={"c1": value}) as resumed:
                assert [one.output for one in results([frame async for frame in resumed])] == ["red"]


async def test_a_person_asked_in_the_process_is_asked_once() -> None:
    records: dict[str, bytes] = {}
    asked: list[str] = []

    def approve(call: pp.ToolCall) -> bool:
        asked.append(call.id)
        return True

    counted = Counting(repeatable=True, needs_approval=True)
    answers = ([call("Paris")], ["Done"])
    await run(ScriptedExecutor(*answers), DictJournal(records), counted.tool, approve=approve)
    del records["call/0/0/book"]
    await run(ScriptedExecutor(), DictJournal(records, 2), counted.tool, approve=approve)
    assert asked == ["c1"]
    assert len(counted.runs) == 2


async def test_max_calls_ends_a_replayed_run_as_it_ended_before() -> None:
    records: dict[str, bytes] = {}
    answers = ([call("Paris"), call("Rome", "c2")],)
    for attempt in (1, 2):
        with pytest.raises(pp.StepLimitError):
            await run(ScriptedExecutor(*answers), DictJournal(records, attempt), Counting().tool, max_calls=1)


async def test_a_journal_serves_one_stream() -> None:
    journal = DictJournal({})
    async with pp.ToolDispatcher(ScriptedExecutor(["One"], ["Two"]), journal=journal) as dispatcher:
        async with dispatcher.stream("Go", MODEL) as stream:
            await stream.message()
        with pytest.raises(pp.InvalidInputError, match="one run"):
            dispatcher.stream("Go", MODEL)


def test_what_is_no_journal_is_refused() -> None:
    with pytest.raises(pp.InvalidInputError, match=r"step\(key\)"):
        pp.ToolDispatcher(ScriptedExecutor(["One"]), journal="runs.db")  # type: ignore[arg-type]


async def test_a_record_of_another_kind_is_told_by_name() -> None:
    with pytest.raises(pp.InvalidInputError, match="cannot be read"):
        await run(ScriptedExecutor(["One"]), DictJournal({"answer/0": b'{"x":1}'}))


async def test_leaving_a_stream_records_no_outcome_of_the_running_tool() -> None:
    records: dict[str, bytes] = {}
    counted = Counting()
    async with pp.ToolDispatcher(
        ScriptedExecutor([call("Hang")]), [counted.tool], journal=DictJournal(records)
    ) as dispatcher:
        async with dispatcher.stream("Go", MODEL) as stream:
            async for frame in stream:
                if isinstance(frame, pp.ToolStarted):
                    break
        assert [one.state for one in stream.outcomes] == ["cancelled"]
    assert set(records) == {"answer/0", "call/0/0/book/start"}


# ----------------------------------------------------------------------------------------------- current_call


@pp.tool
def where() -> str:
    """Tell the call."""
    call = pp.current_call()
    return f"{call.id} {call.key} {call.attempt}"


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor, ProcessPoolExecutor])
@pytest.mark.parametrize("journaled", [True, False])
async def test_a_tool_knows_its_call_wherever_it_runs(pool: Any, journaled: bool) -> None:
    workers = pool(1) if pool is not None else None
    records: dict[str, bytes] = {}
    journal = DictJournal(records) if journaled else None
    try:
        answers = ([pp.ToolCall("c1", "where", "{}")], ["Done"])
        frames = await run(ScriptedExecutor(*answers), journal, where, workers=workers)
    finally:
        if workers is not None:
            workers.shutdown()
    call_id, key, attempt = str(results(frames)[0].output).split()
    assert (call_id, attempt) == ("c1", "1")
    assert key.startswith("r/0/0/") if journaled else "c1" in key


def test_outside_of_a_tool_there_is_no_call() -> None:
    with pytest.raises(pp.InvalidInputError, match="ToolDispatcher"):
        pp.current_call()
