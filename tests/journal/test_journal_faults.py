"""What happens to a run when its file, its program or its place is not as it was: told, or right, and nothing twice."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.journal.test_journal_seam import Counting, DictJournal, call, results, run

import promptport as pp
from promptport.journal import SqliteJournal
from promptport.testing import ScriptedExecutor

MODEL = pp.LLModel("scripted", "m")


# ------------------------------------------------------------------------------------------------ the file


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as database:
        yield database


@pytest.mark.parametrize("tables", ["CREATE TABLE runs (id, name)", "CREATE TABLE orders (id); PRAGMA user_version=1"])
def test_the_database_of_another_program_is_left_as_it_is(tmp_path: Path, tables: str) -> None:
    path = tmp_path / "shop.db"
    with opened(path) as database:
        database.executescript(tables)
    before = path.read_bytes()
    with pytest.raises(pp.ConfigurationError, match="another program"):
        SqliteJournal(path, "a")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["shop.db"]


@pytest.mark.parametrize("path", ["", ":memory:", b"", "a\0b", 7, None])
def test_what_is_no_file_is_told(tmp_path: Path, path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pp.InvalidInputError, match="path"):
        SqliteJournal(path, "a")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("options", [{"timeout": -1.0}, {"timeout": float("nan")}, {"max_bytes": 0}])
def test_numbers_out_of_range_are_told(tmp_path: Path, options: Any) -> None:
    with pytest.raises(pp.InvalidInputError, match="not usable"):
        SqliteJournal(tmp_path / "j.db", "a", **options)


def test_a_file_of_locks_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "j.db-lock").mkdir()
    with pytest.raises(pp.ConfigurationError, match="cannot be used"):
        SqliteJournal(tmp_path / "j.db", "a")


def test_a_run_is_held_under_each_name_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "j.db")
    monkeypatch.chdir(tmp_path)
    with SqliteJournal(tmp_path / "j.db", "a"):
        for other in ("link.db", "j.db", b"j.db", Path("./j.db")):
            with pytest.raises(pp.InvalidInputError, match="is running"):
                SqliteJournal(other, "a")  # type: ignore[arg-type]


def _open(path: Path, number: int) -> str:
    with SqliteJournal(path, f"run-{number}") as journal:
        return journal.run


def test_many_processes_make_one_file_at_the_same_moment(tmp_path: Path) -> None:
    for attempt in range(5):
        path = tmp_path / f"{attempt}.db"
        with ProcessPoolExecutor(6, mp_context=multiprocessing.get_context("fork")) as pool:
            names = list(pool.map(_open, [path] * 12, range(12)))
        with SqliteJournal(path) as journal:
            assert sorted(journal.unfinished()) == sorted(names)


async def recorded(path: Path, *, repeatable: bool = False) -> None:
    with SqliteJournal(path, "a") as journal:
        counted = Counting(repeatable=repeatable)
        await run(ScriptedExecutor([call("Paris")], ["Done"]), journal, counted.tool)


VALUES: dict[str, Any] = {
    "torn": lambda value: value[: len(value) // 2],
    "empty": lambda value: b"",
    "text": lambda value: value.decode(),
    "null bytes": lambda value: bytes(len(value)),
    "not utf-8": lambda value: b'"\xff"',
    "number": lambda value: 7,
    "list": lambda value: b"[]",
    "of another kind": lambda value: b'{"decisions":{"c1":true}}',
    "newer": lambda value: value[:-1] + b',"fence":12}',
    "older": lambda value: b"{}",
    "gone": None,
}


@pytest.mark.parametrize("key", ["answer/0", "call/0/0/book", "answer/1"])
@pytest.mark.parametrize("kind", VALUES)
async def test_a_damaged_record_is_told_and_nothing_runs(tmp_path: Path, kind: str, key: str) -> None:
    path = tmp_path / "j.db"
    await recorded(path)
    counted, executor = Counting(), ScriptedExecutor()
    with SqliteJournal(path, "a") as journal:
        with opened(path) as database:
            if VALUES[kind] is None:
                database.execute("DELETE FROM records WHERE key = ?", (key,))
            else:
                (value,) = database.execute("SELECT value FROM records WHERE key = ?", (key,)).fetchone()
                database.execute("UPDATE records SET value = ? WHERE key = ?", (VALUES[kind](value), key))
        with pytest.raises(pp.InvalidInputError, match=r"journal|Journal"):
            await run(executor, journal, counted.tool)
    assert counted.runs == []
    assert executor.requests == []


async def test_an_answer_without_its_end_is_told(tmp_path: Path) -> None:
    records = {"answer/0": b'{"message":{"role":"assistant","parts":[]}}'}
    with pytest.raises(pp.InvalidInputError, match="record"):
        await run(ScriptedExecutor(["One"]), DictJournal(records), Counting().tool)


async def test_pages_that_are_damaged_are_told(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await recorded(path)
    with opened(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[200:] = os.urandom(len(data) - 200)
    path.write_bytes(data)
    with pytest.raises(pp.ConfigurationError, match="SqliteJournal"):
        with SqliteJournal(path, "a") as journal:
            await run(ScriptedExecutor(), journal, Counting().tool)


async def test_a_file_that_is_locked_for_long_is_told_and_the_run_can_be_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    counted = Counting()
    with SqliteJournal(path, "a", timeout=0.1) as journal, opened(path) as other:
        stream = pp.ToolDispatcher(ScriptedExecutor([call("Paris")], ["Done"]), [counted.tool], journal=journal).stream(
            "Go", MODEL
        )
        async with stream:
            with pytest.raises(pp.ConfigurationError, match="locked"):
                async for frame in stream:
                    if isinstance(frame, pp.ToolStarted):
                        other.execute("BEGIN IMMEDIATE")
    assert len(counted.runs) == 1
    with SqliteJournal(path, "a") as journal:
        (result,) = results(await run(ScriptedExecutor(["Done"]), journal, counted.tool))
    assert "may have had its effect, or not" in str(result.error)
    assert len(counted.runs) == 1


async def test_a_file_that_is_locked_when_it_is_opened_is_told(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    SqliteJournal(path).close()
    with opened(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(pp.ConfigurationError, match="locked"):
            SqliteJournal(path, "a", timeout=0.05)
        with pytest.raises(pp.ConfigurationError, match="locked"):
            SqliteJournal(path, "a", timeout=0)
    SqliteJournal(path, "a").close()


async def test_a_full_disk_is_told_and_the_run_can_be_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    counted = Counting()
    with SqliteJournal(path, "a") as journal:
        pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
        journal._database.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(pp.ConfigurationError, match="full"):
            await run(ScriptedExecutor(["x" * 100_000]), journal, counted.tool)
    with SqliteJournal(path, "a") as journal:
        frames = await run(ScriptedExecutor(["Done"]), journal, counted.tool)
        assert isinstance(frames[-1], pp.End)
        assert journal.unfinished() == []


async def test_the_end_and_the_state_are_written_together(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with SqliteJournal(path, "a") as journal:
        journal._database.execute(
            "CREATE TRIGGER broken BEFORE UPDATE OF state ON runs BEGIN SELECT RAISE(FAIL, 'no space'); END"
        )
        with pytest.raises(pp.PromptportError):
            await run(ScriptedExecutor(["Done"]), journal)
        assert "end" not in journal.records("a")
        journal._database.execute("DROP TRIGGER broken")
    with SqliteJournal(path, "a") as journal:
        await run(ScriptedExecutor(), journal)
        assert [one.state for one in journal.runs()] == ["finished"]


async def test_a_run_that_is_stopped_writes_no_more_and_one_that_is_finished_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    counted = Counting()
    with SqliteJournal(path, "a") as journal:
        stream = pp.ToolDispatcher(ScriptedExecutor([call("Paris")], ["Done"]), [counted.tool], journal=journal).stream(
            "Go", MODEL
        )
        async with stream:
            with pytest.raises(pp.InvalidInputError, match="stopped"):
                async for frame in stream:
                    if isinstance(frame, pp.ToolCall):
                        journal.stop()
        assert [one.state for one in journal.runs()] == ["stopped"]
    assert counted.runs == []
    with SqliteJournal(path, "b") as journal:
        await run(ScriptedExecutor(["Done"]), journal)
        journal.stop()
    with SqliteJournal(path, "b") as journal:
        await run(ScriptedExecutor(), journal)


# ------------------------------------------------------------------------------------------- the program


async def test_a_name_that_was_used_for_another_question_is_told() -> None:
    records: dict[str, bytes] = {}
    await run(ScriptedExecutor(["One"]), DictJournal(records))
    dispatcher = pp.ToolDispatcher(ScriptedExecutor(["Two"]), journal=DictJournal(records, 2))
    async with dispatcher.stream("Something else", MODEL) as stream:
        with pytest.raises(pp.InvalidInputError, match="other user messages"):
            await stream.message()


async def test_what_the_system_says_may_change_while_a_run_waits() -> None:
    records: dict[str, bytes] = {}
    for attempt, day in ((1, "Monday"), (2, "Tuesday")):
        executor = ScriptedExecutor(*([["One"]] if attempt == 1 else []))
        dispatcher = pp.ToolDispatcher(executor, journal=DictJournal(records, attempt))
        async with dispatcher.stream(pp.Prompt.of("Go", system=f"It is {day}."), MODEL) as stream:
            assert (await stream.message()).text == "One"


def kinds() -> dict[str, Callable[[list[str]], Any]]:
    """The same tool, in each of the ways in which a program can have it."""

    def tool(ran: list[str], **options: Any) -> pp.Tool[Any]:
        async def book(city: str) -> str:
            """Book."""
            ran.append(city)
            return f"booked {city}"

        return pp.tool(book, **options)

    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {
        "plain": tool,
        "approved": lambda ran: tool(ran, needs_approval=True),
        "approved by its arguments": lambda ran: tool(ran, needs_approval=lambda values: values["city"] == "Paris"),
        "repeatable": lambda ran: tool(ran, repeatable=True),
        "outside": lambda ran: pp.ToolDescriptor("book", parameters=schema),
        "gone": lambda ran: pp.tool(lambda: "x", name="other", description="Other."),
        "other arguments": lambda ran: pp.tool(_book_number, name="book"),
    }


async def _book_number(number: int) -> str:
    """Book."""
    return f"booked {number}"


async def _life(records: dict[str, bytes], attempt: int, kind: str, ran: list[str], die: str | None) -> list[Any]:
    """One life of a run, whose journal breaks at a record; decisions and results are given as they are asked for."""
    journal = DictJournal(records, attempt)
    journal.fail_at = die
    answers: list[Any] = [[call("Paris")], ["Done"]]
    executor = ScriptedExecutor(*answers[sum(key.startswith("answer/") for key in records) :])
    frames: list[Any] = []
    async with pp.ToolDispatcher(executor, [kinds()[kind](ran)], journal=journal) as dispatcher:
        stream = dispatcher.stream("Go", MODEL)
        while True:
            async with stream:
                frames += [frame async for frame in stream]
            if stream.paused is None:
                return frames
            outside = stream.paused.client_calls
            decisions = {one.id: True for one in stream.paused.pending if one.id not in outside}
            stream = dispatcher.resume(stream.paused, decisions, results=dict.fromkeys(outside, "done outside"))


@pytest.mark.parametrize("die", ["call/0/0/book", "resume/0", "resumed/0/0/book", "answer/1"])
@pytest.mark.parametrize("after", kinds())
@pytest.mark.parametrize("before", kinds())
async def test_a_tool_that_is_another_in_the_next_life_runs_at_most_once(before: str, after: str, die: str) -> None:
    """Only a tool that is repeatable in the next life, or whose call was not begun, may run there."""
    records: dict[str, bytes] = {}
    ran: list[str] = []
    with suppress(ConnectionError):
        await _life(records, 1, before, ran, die)
    first, begun = len(ran), any(key.endswith("book/start") for key in records)
    frames = await _life(records, 2, after, ran, None)
    told = {one.output or one.error for one in results(frames)}
    assert len(told) == 1, "one outcome a call"
    assert len(results(frames)) == 1
    if "repeatable" not in after:
        assert len(ran) <= 1, f"ran {len(ran)} times"
    assert begun or first == 0 or before == "repeatable"
    again = await _life(records, 3, before, ran, None)
    assert {one.output or one.error for one in results(again)} == told
    assert len(ran) <= 1 or "repeatable" in (before, after)


async def test_a_tool_under_a_journal_may_not_write_into_the_journal_of_its_own_run(tmp_path: Path) -> None:
    with SqliteJournal(tmp_path / "j.db", "a") as journal:

        @pp.tool
        async def ask(question: str) -> str:
            """Ask another agent."""
            async with pp.ToolDispatcher(ScriptedExecutor(["Inner"]), journal=journal) as inner:
                return (await inner.stream(question, MODEL)).text

        executor = ScriptedExecutor([pp.ToolCall("c1", "ask", '{"question": "?"}')], ["Done"])
        (result,) = results(await run(executor, journal, ask))
    assert "journal of its own" in str(result.error)


async def test_agents_in_tools_survive_with_journals_of_their_own(tmp_path: Path) -> None:
    """Three levels; the process dies in the innermost tool, and each level goes on where it was."""
    path, effects, began = tmp_path / "j.db", list[str](), asyncio.Event()

    def agent(level: int, die: bool) -> tuple[ScriptedExecutor, pp.Tool[Any]]:
        @pp.tool(repeatable=True, start="on_finish", name=f"level_{level}")
        async def below(text: str) -> str:
            """Ask the level below."""
            key = pp.current_call().key
            if level == 2:
                effects.append(key)
                if die:
                    began.set()
                    await asyncio.Event().wait()
                return "deep"
            executor, tool = agent(level + 1, die)
            with SqliteJournal(path, key) as journal:
                async with pp.ToolDispatcher(executor, [tool], journal=journal) as dispatcher:
                    return (await dispatcher.stream("Go", MODEL)).text

        first = [pp.ToolCall(f"c{level}-{die}", below.name, '{"text": "x"}')]
        return ScriptedExecutor(*([first, ["never"]] if die else [[f"{level} is done"]])), below

    executor, tool = agent(0, die=True)
    with SqliteJournal(path, "a") as journal:
        dispatcher = pp.ToolDispatcher(executor, [tool], journal=journal)
        async with dispatcher.stream("Go", MODEL) as stream:
            async for frame in stream:
                if isinstance(frame, pp.ToolStarted):
                    break
            await asyncio.wait_for(began.wait(), 30)
    executor, tool = agent(0, die=False)
    with SqliteJournal(path, "a") as journal:
        async with pp.ToolDispatcher(executor, [tool], journal=journal) as dispatcher:
            assert (await dispatcher.stream("Go", MODEL)).text == "0 is done"
    assert len(effects) == 2
    assert len(set(effects)) == 1, "the innermost call has one key in both lives"
    with SqliteJournal(path) as journal:
        assert [one.state for one in journal.runs()] == ["finished"] * 3


# --------------------------------------------------------------------------------------------- the pause


class Store:
    """A store of pauses that outlives its process."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def take(self, id: str) -> bool:
        return id not in self.taken and not self.taken.add(id)  # type: ignore[func-returns-value]


async def test_a_process_that_dies_between_the_store_and_the_record_of_a_decision_is_no_loss() -> None:
    records: dict[str, bytes] = {}
    store, counted = Store(), Counting(needs_approval=True)
    journal = DictJournal(records)
    journal.fail_at = "resume/0"
    async with pp.ToolDispatcher(
        ScriptedExecutor([call("Paris")]), [counted.tool], journal=journal, store=store
    ) as one:
        async with one.stream("Go", MODEL) as stream:
            await stream.message()
        assert stream.paused is not None
        saved = stream.paused.to_json()
        with pytest.raises(ConnectionError):
            await one.resume(stream.paused, {"c1": True})
    async with pp.ToolDispatcher(
        ScriptedExecutor(["Done"]), [counted.tool], journal=DictJournal(records, 2), store=store
    ) as two:
        assert (await two.resume(pp.PausedRun.from_json(saved), {"c1": True})).text == "Done"
    assert len(counted.runs) == 1


async def test_a_pause_belongs_to_its_run() -> None:
    counted = Counting(needs_approval=True)
    tools = [counted.tool]
    async with pp.ToolDispatcher(ScriptedExecutor([call("Paris")]), tools, journal=DictJournal({})) as dispatcher:
        async with dispatcher.stream("Go", MODEL) as stream:
            await stream.message()
    assert stream.paused is not None
    assert stream.paused.run == "r"
    saved = pp.PausedRun.from_json(stream.paused.to_json())
    other = DictJournal({})
    other.run = "another"
    for journal in (None, other):
        with pytest.raises(pp.InvalidInputError, match="belongs to the run 'r'"):
            pp.ToolDispatcher(ScriptedExecutor(["Done"]), tools, journal=journal).resume(saved, {"c1": True})
    forged = msgspec.structs.replace(saved, run="")
    with pytest.raises(pp.InvalidInputError, match="changed"):
        pp.ToolDispatcher(ScriptedExecutor(["Done"]), tools).resume(forged, {"c1": True})
    assert counted.runs == []
