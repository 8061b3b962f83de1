"""Kill -9 at each point of a run, on each journal: nothing recorded is done again, each call has one outcome,
and a viewer who reads throughout has the same in the end.

A reduced table runs always; all of it with ``-m slow``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.journal.postgres_server import PostgresServer
from tests.journal.restate_server import NODE, RestateServer
from tests.journal.run_viewer import RunViewer
from tests.journal.temporal_server import TemporalServer

import promptport as pp
from promptport.journal import SqliteJournal

ROOT = Path(__file__).parents[2]

POINTS = [
    "none",
    "before answer/0",
    "mid answer/0",
    "unrecorded answer/0",
    "recorded answer/0",
    "before call/0/0/look",
    "in look a",
    "unrecorded call/0/0/look",
    "recorded call/0/0/look",
    "unrecorded call/0/1/charge/start",
    "recorded call/0/1/charge/start",
    "in charge b",
    "unrecorded call/0/1/charge",
    "recorded call/0/1/charge",
    "mid answer/1",
    "unrecorded answer/1",
    "recorded answer/1",
    "in charge c",
    "recorded call/1/0/charge",
    "awaited",
    "before resume/1",
    "unrecorded resume/1",
    "recorded resume/1",
    "recorded resumed/1/1/book/start",
    "in book d",
    "unrecorded resumed/1/1/book",
    "recorded resumed/1/1/book",
    "mid answer/2",
    "unrecorded answer/2",
    "recorded answer/2",
    "unrecorded end",
    "recorded end",
]
REDUCED = {
    "sqlite": {"mid answer/0", "unrecorded answer/0", "in look a", "in charge b", "awaited", "in book d"},
    "dbos": {"in charge b", "awaited"},
    "dbos-postgres": {"in charge c"},
    "restate": set(),
}
CAUGHT = {
    "recorded call/0/1/charge/start": "b",
    "in charge b": "b",
    "unrecorded call/0/1/charge": "b",
    "in charge c": "c",
    "recorded resumed/1/1/book/start": "d",
    "in book d": "d",
    "unrecorded resumed/1/1/book": "d",
}
"""Where the process dies between the start of a tool that is not repeatable and its recorded outcome."""

CALLS = [("look", "a"), ("charge", "b"), ("charge", "c"), ("book", "d")]
TEXT = ["Step 0 is this. ", "Step 1 is this. ", "Step 2 is this. "]


TEMPORAL = ["none", "mid answer/0", "whole answer/0", "in look a", "in charge b", "mid answer/1", "in charge c"]
TEMPORAL += ["awaited", "decided", "in book d", "mid answer/2", "whole answer/2", "end"]
"""There are no places of a journal: the executor and the tools are activities."""


def table() -> Iterator[Any]:
    for kind, reduced in REDUCED.items():
        for point in POINTS:
            marks = () if point in reduced else (pytest.mark.slow,)
            yield pytest.param(kind, point, marks=marks, id=f"{kind}: {point}")


def program(
    kind: str, place: Path, point: str | None, database: str | None, redis: str | None = None
) -> subprocess.CompletedProcess[str]:
    given = {"KILL": point, "DATABASE": database, "REDIS": redis}
    environment = {**os.environ, **{name: value for name, value in given.items() if value}}
    return subprocess.run(
        [sys.executable, "-m", "tests.journal.durable_program", kind.partition("-")[0], str(place)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.timeout(280)
@pytest.mark.parametrize(("kind", "point"), list(table()))
def test_a_run_that_is_killed_ends_right(kind: str, point: str, tmp_path: Path) -> None:
    if kind == "dbos-postgres":
        with PostgresServer(tmp_path) as server:
            killed_and_taken_up(kind, point, tmp_path, server)
    elif kind == "restate":
        with RestateServer(tmp_path, NODE) as restate:
            killed_and_taken_up(kind, point, tmp_path, restate)
    else:
        killed_and_taken_up(kind, point, tmp_path, None)


def killed_and_taken_up(kind: str, point: str, place: Path, server: PostgresServer | RestateServer | None) -> None:
    with RunViewer(place) as viewer:
        told = with_a_viewer(kind, point, place, server, viewer)
        steps = viewer.steps()
    assert ["".join(frame.text for frame in step if isinstance(frame, pp.Append)) for step in steps] == TEXT
    shown = [frame for step in steps for frame in step if isinstance(frame, pp.ToolResult)]
    assert Counter((one.name, one.output, one.error) for one in shown) == Counter(map(tuple, told["results"]))
    assert isinstance(steps[-1][-1], pp.End)


def with_a_viewer(
    kind: str, point: str, place: Path, server: PostgresServer | RestateServer | None, viewer: RunViewer
) -> Any:
    database = server.url if server is not None else None
    first = program(kind, place, point, database, viewer.url)
    assert first.returncode == (0 if point == "none" else -9), first.stderr[-2000:]
    reached = lines(place / "points")
    if server is not None and point != "none":
        server.restart()
    second = program(kind, place, None, database, None if point == "none" else viewer.url)
    assert second.returncode == 0, second.stderr[-2000:]
    told = json.loads(second.stdout)
    asked, effects = Counter(lines(place / "asks")), [line.split() for line in lines(place / "effects")]
    for step in ("0", "1", "2"):
        recorded = f"recorded answer/{step}" in reached
        again = f"before answer/{step}" in reached and not recorded and f"mid answer/{step}" in reached
        assert asked[step] == (2 if again else 1), f"step {step} was asked {asked[step]} times"
    assert told["text"] == TEXT
    assert [name for name, _, _ in told["results"]] == [name for name, _ in CALLS]
    for (name, what), (_, output, error) in zip(CALLS, told["results"], strict=True):
        times = [effect for effect in effects if effect[:2] == [name, what]]
        if CAUGHT.get(point) == what:
            assert "may have had its effect, or not; it was not run again" in error
            assert output == ""
            assert len(times) <= 1
        elif error is not None:  # it ran beside the call at whose place the process died
            key = f"call/0/{CALLS.index((name, what))}/{name}"
            assert "may have had its effect, or not; it was not run again" in error
            assert f"before {key}/start" in reached
            assert f"recorded {key}" not in reached
            assert len(times) <= 1
            assert name != "look"
        else:
            assert (output, error) == (f"{name} {what} is done", None)
            assert len(times) == 1 or (name == "look" and len(times) == 2)
        if f"recorded call/0/0/{name}" in reached:
            assert len(times) == 1
    third = program(kind, place, None, database)
    assert json.loads(third.stdout) == told
    assert Counter(lines(place / "asks")) == asked
    assert [line.split() for line in lines(place / "effects")] == effects
    if kind == "sqlite":
        with SqliteJournal(place / "journal.db") as journal:
            assert [run.state for run in journal.runs()] == ["finished"]
    return told


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("point", TEMPORAL)
def test_a_run_on_temporal_that_is_killed_ends_right(point: str, tmp_path: Path) -> None:
    with TemporalServer(tmp_path) as server:
        first = program("temporal", tmp_path, point, server.url)
        assert first.returncode == (0 if point == "none" else -9), first.stderr[-2000:]
        if point == "decided":
            server.restart()
        told = json.loads(program("temporal", tmp_path, None, server.url).stdout)
        asked, effects = Counter(lines(tmp_path / "asks")), [line.split() for line in lines(tmp_path / "effects")]
        for step in ("0", "1", "2"):
            cut = point in (f"mid answer/{step}", f"whole answer/{step}")
            assert asked[step] == (2 if cut else 1), f"step {step} was asked {asked[step]} times"
        assert told["text"] == TEXT
        assert [name for name, _, _ in told["results"]] == [name for name, _ in CALLS]
        for (name, what), (_, output, error) in zip(CALLS, told["results"], strict=True):
            times = [effect for effect in effects if effect[:2] == [name, what]]
            killed = point == f"in {name} {what}"
            beside = (point, what) == ("in look a", "b")  # it runs beside the tool in which the process died
            if (killed and name != "look") or (beside and error is not None):
                assert "may have had its effect, or not; it was not run again" in error
                assert len(times) <= 1
            else:
                assert (output, error) == (f"{name} {what} is done", None)
                assert len(times) == 1 or (name == "look" and killed and len(times) == 2)
        assert json.loads(program("temporal", tmp_path, None, server.url).stdout) == told
        assert [line.split() for line in lines(tmp_path / "effects")] == effects
