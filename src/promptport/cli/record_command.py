"""``promptport record``: runs a program, and records what its SDKs ask and get."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from promptport.cli.application import app, one_line_errors
from promptport.cli.terminal import console, visible

__all__ = ["record"]


@app.command()
def record(
    command: Annotated[list[str], typer.Argument(help="Program to run, with its arguments. Example: -- python app.py")],
    to: Annotated[Path, typer.Option("--to", help="Folder for the cassettes, one for each server. Example: tapes")],
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            "--upstream",
            help="Further server, as VARIABLE=ADDRESS. Repeatable. Example: MISTRAL_BASE_URL=https://api.mistral.ai",
        ),
    ] = None,
    scrub: Annotated[
        list[str] | None,
        typer.Option("--scrub", help="Regular expression of what must not be kept. Repeatable. Example: 'acct_[0-9]+'"),
    ] = None,
) -> None:
    """Run a program and record its requests and responses as cassettes, without keys.

    The exit code is the program's.

    Examples:
    promptport record --to tapes -- python app.py

    promptport record --to tapes --scrub 'acct_[0-9]+' -- pytest tests/test_chat.py
    """
    from promptport.testing import record_program  # noqa: PLC0415 - of this command only

    with one_line_errors():
        code, written = asyncio.run(record_program(to, command, upstreams=upstream or (), scrub=scrub or ()))
    for path in written:
        console.print(f"recorded: {visible(str(path), one_line=True)}", markup=False, highlight=False, soft_wrap=True)
    if not written:
        console.print("nothing was recorded: the program asked none of the servers", markup=False, highlight=False)
    raise SystemExit(code if code >= 0 else 128 - code)
