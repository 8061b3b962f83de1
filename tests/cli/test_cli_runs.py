"""``promptport runs``: what it lists, shows and resumes, and what it says of what is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import promptport as pp
from promptport.testing import ScriptedExecutor

@pp.tool
def charge(amount: int) -> str:
    '''Charge.'''
    with open("charged", "a") as file:
        file.write(f"{amount}\\n")
    return "charged"

async def answer(journal, *answers):
    answers = answers or (["It is done."],)
    async with pp.ToolDispatcher(ScriptedExecutor(*answers), [charge], journal=journal, max_steps=5) as dispatcher:
        async with dispatcher.stream("Charge 5", "scripted/m") as stream:
            return (await stream.message()).text

if __name__ == "__main__":
    import asyncio
    from promptport.journal import SqliteJournal
    with SqliteJournal("runs.db", "order-17") as journal:
        asyncio.run(answer(journal, [pp.ToolCall("1", "charge", '{"amount": 5}')], ConnectionError("the line is cut")))
"""


def cli(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "promptport", *arguments], cwd=place, capture_output=True, text=True, check=False
    )


def test_a_run_is_listed_shown_and_resumed(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(PROGRAM)
    cut = subprocess.run([sys.executable, "agent.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert cut.returncode == 1
    (run,) = [json.loads(line) for line in cli(tmp_path, "runs", "list", "runs.db", "--json").stdout.splitlines()]
    assert (run["run"], run["state"], run["attempt"], run["records"]) == ("order-17", "unfinished", 1, 3)
    assert "order-17\tunfinished" in cli(tmp_path, "runs", "list", "runs.db", "--unfinished").stdout
    shown = cli(tmp_path, "runs", "show", "runs.db", "order-17").stdout
    assert [line.partition("\t")[0] for line in shown.splitlines()] == [
        "answer/0",
        "call/0/0/charge/start",
        "call/0/0/charge",
    ]
    assert "charged" not in shown
    assert "charged" in cli(tmp_path, "runs", "show", "runs.db", "order-17", "--contents").stdout
    resumed = cli(tmp_path, "runs", "resume", "runs.db", "order-17", "--program", "agent.py:answer")
    assert (resumed.returncode, resumed.stdout) == (0, "It is done.\n"), resumed.stderr
    assert (tmp_path / "charged").read_text() == "5\n"
    assert cli(tmp_path, "runs", "list", "runs.db", "--unfinished").stdout == ""


def test_what_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(PROGRAM)
    for arguments in (
        ["list", "nothing.db"],
        ["show", "agent.py", "x"],
        ["resume", "nothing.db", "x", "-p", "agent.py:answer"],
        ["resume", "runs.db", "x", "-p", "agent.py:nothing"],
        ["resume", "runs.db", "x", "-p", "nowhere"],
    ):
        done = cli(tmp_path, "runs", *arguments)
        assert done.returncode == 2, arguments
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("promptport: ")
    assert not (tmp_path / "nothing.db").exists()


def test_a_run_of_another_name_is_not_begun_by_mistake(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(PROGRAM)
    subprocess.run([sys.executable, "agent.py"], cwd=tmp_path, capture_output=True, check=False)
    done = cli(tmp_path, "runs", "resume", "runs.db", "order-18", "--program", "agent.py:answer")
    assert done.returncode == 2
    assert "no run 'order-18'" in done.stderr
    assert len(cli(tmp_path, "runs", "list", "runs.db").stdout.splitlines()) == 1
