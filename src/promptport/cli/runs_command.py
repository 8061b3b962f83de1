"""``promptport runs``: the runs of a journal: listed, shown, and taken up again.

Rule: a run is taken up by the program that began it, a function of the journal; contents are shown only if asked for.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from promptport.cli.application import app, one_line_errors
from promptport.cli.terminal import print_json, visible
from promptport.cli.tool_loading import load_function
from promptport.errors import InvalidInputError, PromptportError
from promptport.journal import SqliteJournal

__all__ = ["list_runs", "resume_run", "show_run"]

_runs = typer.Typer(no_args_is_help=True, help="List, show and resume the runs of a journal (SqliteJournal).")
app.add_typer(_runs, name="runs")

Journal = Annotated[str, typer.Argument(help="The journal's file. Example: runs.db.")]
Run = Annotated[str, typer.Argument(help="The run's name, as in the list.")]


def _existing(path: str) -> str:
    if not Path(path).is_file():
        raise InvalidInputError(f"there is no journal {path!r}. Pass the file that SqliteJournal(path, run) wrote.")
    return path


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


@_runs.command("list")
def list_runs(
    journal: Journal,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only the runs that have not ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one run a line, as JSON.")] = False,
) -> None:
    """List the runs of a journal, the oldest first.

    Examples:
    promptport runs list runs.db

    promptport runs list runs.db --unfinished --json
    """
    with one_line_errors(as_json=as_json), SqliteJournal(_existing(journal)) as opened:
        for run in opened.runs():
            if unfinished and run.state != "unfinished":
                continue
            if as_json:
                print_json(msgspec.json.encode(run))
                continue
            name = visible(run.run, one_line=True)
            line = f"{name}\t{run.state}\tattempt {run.attempt}\t{run.records} records\t{_when(run.updated)}"
            sys.stdout.write(line + "\n")


@_runs.command("show")
def show_run(
    journal: Journal,
    run: Run,
    contents: Annotated[bool, typer.Option("--contents", help="Show what was recorded, as JSON.")] = False,
) -> None:
    """Show the records of a run: its responses, tool calls and decisions, in the order of their writing.

    Examples:
    promptport runs show runs.db order-17

    promptport runs show runs.db order-17 --contents
    """
    with one_line_errors(), SqliteJournal(_existing(journal)) as opened:
        for key, value in opened.records(run).items():
            told = value.decode("utf-8", "replace") if contents else f"{len(value)} bytes"
            sys.stdout.write(f"{visible(key, one_line=True)}\t{visible(told, one_line=True)}\n")


@_runs.command("resume")
def resume_run(
    journal: Journal,
    run: Run,
    program: Annotated[
        str,
        typer.Option("--program", "-p", help="Function of the journal: module:function or path.py:function."),
    ],
) -> None:
    """Resume a run: call the program that began it with the journal. What was recorded is not done again.

    The program takes a SqliteJournal; it can be async. What it returns is printed.

    Examples:
    promptport runs resume runs.db order-17 --program agent.py:answer

    promptport runs resume runs.db order-17 --program shop.agent:answer
    """
    with one_line_errors():
        function = load_function(program, option="--program")
        _existing(journal)
        with SqliteJournal(journal) as looked_at:
            known = [one.run for one in looked_at.runs()]
        if run not in known:
            raise InvalidInputError(f"there is no run {run!r} in {journal!r}. See: promptport runs list {journal}")
        with SqliteJournal(journal, run) as opened:
            given = _called(function, opened, program)
        if given is not None:
            sys.stdout.write(visible(str(given)) + "\n")


def _called(function: Callable[..., Any], journal: SqliteJournal, program: str) -> Any:
    try:
        given = function(journal)
        return asyncio.run(_awaited(given)) if inspect.isawaitable(given) else given
    except (PromptportError, BrokenPipeError):
        raise
    except Exception as error:
        raise PromptportError(f"--program {program}: it raised {type(error).__name__}: {error}") from error


async def _awaited(given: Any) -> Any:
    return await given
