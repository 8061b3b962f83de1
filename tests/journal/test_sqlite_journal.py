"""The journal in a file: who may hold a run, what is kept, and what a damaged file says."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import promptport as pp
from promptport.journal import SqliteJournal
from promptport.testing import ScriptedExecutor

MODEL = pp.LLModel("scripted", "m")


async def value(text: bytes = b"1") -> bytes:
    return text


async def never() -> bytes:
    raise AssertionError("it was recorded")


async def test_a_record_is_written_once_and_read_by_the_next_attempt(tmp_path: Path) -> None:
    for attempt in (1, 2, 3):
        with SqliteJournal(tmp_path / "j.db", "a") as journal:
            assert (journal.run, journal.attempt) == ("a", attempt)
            assert await journal.step("k")(value if attempt == 1 else never) == b"1"
    with SqliteJournal(tmp_path / "j.db") as journal:
        assert journal.records("a") == {"k": b"1"}
        assert journal.unfinished() == ["a"]
        (run,) = journal.runs()
        assert (run.run, run.state, run.attempt, run.records) == ("a", "unfinished", 3, 1)


async def test_work_that_raises_records_nothing(tmp_path: Path) -> None:
    async def broken() -> bytes:
        raise ValueError("x")

    with SqliteJournal(tmp_path / "j.db", "a") as journal:
        with pytest.raises(ValueError, match="x"):
            await journal.step("k")(broken)
        assert await journal.step("k")(value) == b"1"


async def test_a_run_that_ended_is_not_unfinished_and_a_stopped_one_is_not_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with SqliteJournal(path, "a") as journal:
        async with pp.ToolDispatcher(ScriptedExecutor(["Hi"]), journal=journal).stream("Go", MODEL) as stream:
            await stream.message()
        assert journal.unfinished() == []
    with SqliteJournal(path, "b") as journal:
        assert journal.unfinished() == ["b"]
        journal.stop()
        assert journal.unfinished() == []
    with pytest.raises(pp.InvalidInputError, match="stopped"):
        SqliteJournal(path, "b")


def test_a_run_is_held_by_one_at_a_time_in_this_process(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with SqliteJournal(path, "a"), SqliteJournal(path, "b"):
        with pytest.raises(pp.InvalidInputError, match="is running"):
            SqliteJournal(path, "a")
    SqliteJournal(path, "a").close()


HOLD = """
import sys
from promptport.journal import SqliteJournal
journal = SqliteJournal(sys.argv[1], "a")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_is_held_by_one_process_and_free_at_once_when_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(pp.InvalidInputError, match="is running"):
            SqliteJournal(path, "a")
        SqliteJournal(path, "b").close()  # letting go of another run's lock frees no run of another process
        with pytest.raises(pp.InvalidInputError, match="is running"):
            SqliteJournal(path, "a")
    finally:
        holder.kill()
        holder.communicate()
    with SqliteJournal(path, "a") as journal:
        assert journal.attempt == 2


async def test_whoever_lost_the_run_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with SqliteJournal(path, "a") as journal:
        other = sqlite3.connect(path)
        other.execute("UPDATE runs SET attempt = attempt + 1")  # as one on whose system locks do not work
        other.commit()
        other.close()
        with pytest.raises(pp.InvalidInputError, match="taken up elsewhere"):
            await journal.step("k")(value)
        assert journal.records("a") == {}


async def test_a_file_that_another_process_writes_is_waited_for_while_the_event_loop_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with SqliteJournal(path, "a") as journal:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(_record(journal))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not writing.done()
        other.execute("COMMIT")
        other.close()
        assert await asyncio.wait_for(writing, 10) == b"1"


async def _record(journal: SqliteJournal) -> bytes:
    return await journal.step("k")(value)


@pytest.mark.parametrize("kind", ["text", "folder", "version"])
def test_what_is_no_journal_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "j.db"
    if kind == "text":
        path.write_text("not a database, but a text that is long enough to be looked at" * 20)
    elif kind == "folder":
        path.mkdir()
    else:
        database = sqlite3.connect(path)
        database.execute("PRAGMA user_version=99")
        database.close()
    with pytest.raises(pp.ConfigurationError, match="SqliteJournal"):
        SqliteJournal(path, "a")


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb"])
def test_a_name_that_cannot_be_used_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(pp.InvalidInputError, match="printable"):
        SqliteJournal(tmp_path / "j.db", name)


async def test_limits_and_misuse_are_told(tmp_path: Path) -> None:
    with SqliteJournal(tmp_path / "j.db", "a", max_bytes=3) as journal:
        with pytest.raises(pp.InvalidInputError, match="max_bytes"):
            await journal.step("k")(lambda: value(b"1234"))
        with pytest.raises(pp.InvalidInputError, match="no run 'z'"):
            journal.records("z")
    with pytest.raises(pp.InvalidInputError, match="no run is open"):
        journal.step("k")
    with SqliteJournal(tmp_path / "j.db") as journal, pytest.raises(pp.InvalidInputError, match="no run is open"):
        journal.stop()


async def test_many_runs_side_by_side_in_one_file(tmp_path: Path) -> None:
    async def one(name: str) -> str:
        with SqliteJournal(tmp_path / "j.db", name) as journal:
            dispatcher = pp.ToolDispatcher(ScriptedExecutor([f"I am {name}"]), journal=journal)
            async with dispatcher.stream("Go", MODEL) as stream:
                return (await stream.message()).text

    names = [f"run-{number}" for number in range(20)]
    assert await asyncio.gather(*map(one, names)) == [f"I am {name}" for name in names]
    with SqliteJournal(tmp_path / "j.db") as journal:
        assert [run.state for run in journal.runs()] == ["finished"] * 20
