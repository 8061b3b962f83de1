"""``promptport conformance``: the conformance kit from the command line."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Annotated, Self

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from promptport.cli.application import app, one_line_errors
from promptport.cli.terminal import console, print_json
from promptport.errors import ConfigurationError

__all__ = ["conformance"]


@app.command()
def conformance(  # noqa: PLR0917 - typer's
    provider: Annotated[
        str | None, typer.Argument(help="Installed provider to check. Default: all that have a contract.")
    ] = None,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Send each provider's conversations to every other one instead.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run the first case of each check, without the slow checks.")
    ] = False,
    processes: Annotated[
        int, typer.Option("-n", "--processes", min=1, help="Processes for a provider's checks. Needs pytest-xdist.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the report as a page of Markdown.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write the JSON report to this file, too.")] = None,
) -> None:
    """Check providers with the conformance kit, against a server of the kit.

    Examples:
    promptport conformance openai --quick

    promptport conformance -n 2 --report conformance.json
    """
    if matrix:
        _print_matrix(provider, as_json)
    with one_line_errors(as_json=as_json):
        if report is not None and not report.parent.is_dir():
            raise ConfigurationError(f"--report {report}: there is no folder {report.parent}. Make it first.")
    from promptport.testing import (  # noqa: PLC0415 - of this command only
        report_json,
        report_page,
        report_tables,
        run_conformance,
    )

    with one_line_errors(as_json=as_json), _Shown() as shown:
        reports = run_conformance(
            [provider] if provider else [], quick=quick, processes=processes, progress=shown.progress
        )
    if report is not None:
        report.write_bytes(report_json(reports))
    if as_json:
        print_json(report_json(reports))
    elif markdown:
        print(report_page(reports), end="")  # noqa: T201
    else:
        output = Console(soft_wrap=True, highlight=False)
        for part in report_tables(reports):
            output.print(part)
        for each in reports:
            output.print(f"{each.provider}: {each.summary}", markup=False)
    raise SystemExit(0 if all(each.ok for each in reports) else 1)


class _Shown:
    """How far the run is: a line that changes in a terminal; elsewhere a line at the start and at each quarter."""

    def __init__(self) -> None:
        self._status = console.status("starting the conformance kit …")
        self._counts: dict[str, tuple[int, int]] = {}
        self._quarters: dict[str, int] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def progress(self, provider: str, ended: int, total: int) -> None:
        """See `promptport.testing.run_conformance`."""
        with self._lock:
            self._counts[provider] = (ended, total)
            if console.is_terminal:
                told = " · ".join([f"{name} {_count(*each)}" for name, each in self._counts.items()])
                self._status.update(Text(told))  # a string would be read as markup
                return
            quarter = ended * 4 // total if total else -1
            if self._quarters.get(provider) != quarter:
                self._quarters[provider] = quarter
                print(f"{provider}: {_count(ended, total)}", file=sys.stderr, flush=True)  # noqa: T201


def _count(ended: int, total: int) -> str:
    return f"{ended}/{total} checks" if total else "starting"


def _print_matrix(provider: str | None, as_json: bool) -> None:
    from promptport.testing import matrix_table, run_matrix  # noqa: PLC0415 - of this command only

    with one_line_errors(as_json=as_json), console.status("sending conversations from each to each …"):
        cells = run_matrix([provider] if provider else [])
    if as_json:
        print_json(msgspec.json.encode(cells))
    else:
        for part in matrix_table(cells):
            Console(soft_wrap=True, highlight=False).print(part)
    raise SystemExit(0 if not any(cell.refused for cell in cells) else 1)
