"""Two living processes with one run: one of them is refused or fenced, and no tool runs twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.journal.postgres_server import PostgresServer
from tests.journal.test_kill_table import CALLS, ROOT, TEXT, lines, program


@contextmanager
def held_at(point: str, kind: str, place: Path, database: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that stands at a point of its run until it reads a line."""
    environment = {**os.environ, "HOLD": point, **({"DATABASE": database} if database else {})}
    command = [sys.executable, "-m", "tests.journal.durable_program", kind, str(place)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "holding\n"
            yield holder
        finally:
            holder.kill()


def effects(place: Path) -> Counter[tuple[str, ...]]:
    return Counter(tuple(line.split()[:2]) for line in lines(place / "effects"))


@pytest.mark.parametrize("point", ["in charge b", "before call/0/1/charge/start"])
def test_in_one_file_the_second_is_refused_also_while_the_first_is_stopped(tmp_path: Path, point: str) -> None:
    with held_at(point, "sqlite", tmp_path) as holder:
        holder.send_signal(signal.SIGSTOP)
        refused = program("sqlite", tmp_path, None, None)
        assert refused.returncode == 1
        assert "is running" in refused.stderr
        holder.send_signal(signal.SIGCONT)
        out, _ = holder.communicate("go\n", timeout=60)
        assert json.loads(out)["text"] == TEXT
    assert effects(tmp_path) == Counter(CALLS)


FENCED = {
    "in charge b": True,
    "unrecorded call/0/1/charge": True,
    "recorded call/0/1/charge/start": True,
    "unrecorded call/0/1/charge/start": False,
    "before call/0/1/charge/start": False,
    "whole answer/1": False,
}
"""Where the first process stands, and whether the tool that it is at counts as caught running."""


def taken_from_the_first(place: Path, point: str, database: str | None) -> None:
    with held_at(point, "dbos", place, database) as holder:
        second = program("dbos", place, None, database)  # of the same executor id: it recovers what the first runs
        assert second.returncode == 0, second.stderr[-2000:]
        told = json.loads(second.stdout)
        out, error = holder.communicate("go\n", timeout=90)
        assert holder.returncode == 0, error[-2000:]
        assert json.loads(out) == told, "the first was fenced, and has the other's result"
    assert told["text"] == TEXT
    assert {call: count for call, count in effects(place).items() if count > 1 and call[0] != "look"} == {}
    caught = [name for name, _, error in told["results"] if error and "may have had its effect" in error]
    assert caught == (["charge"] if FENCED[point] else [])


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "point",
    ["in charge b", *[pytest.param(point, marks=pytest.mark.slow) for point in FENCED if point != "in charge b"]],
)
def test_on_dbos_the_first_is_fenced_when_its_run_is_taken_from_it(tmp_path: Path, point: str) -> None:
    taken_from_the_first(tmp_path, point, None)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("point", FENCED)
def test_on_postgres_the_first_is_fenced_when_its_run_is_taken_from_it(tmp_path: Path, point: str) -> None:
    with PostgresServer(tmp_path) as server:
        taken_from_the_first(tmp_path, point, server.url)
