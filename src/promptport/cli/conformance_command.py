"""``promptport conformance``: the conformance kit from the command line."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console

from promptport.cli.application import app, one_line_errors
from promptport.cli.terminal import console, visible_json

__all__ = ["conformance"]


@app.command()
def conformance(
    provider: Annotated[
        str | None, typer.Argument(help="Installed provider to check. Default: all that have a contract.")
    ] = None,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Send each provider's conversations to every other one instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check providers with the conformance kit, against a server of the kit.

    Examples:
    promptport conformance openai

    promptport conformance --matrix
    """
    if matrix:
        _print_matrix(provider, as_json)
    from promptport.testing import report_tables, run_conformance  # noqa: PLC0415 - of this command only

    with one_line_errors(as_json=as_json), console.status("running the conformance kit …"):
        reports = run_conformance([provider] if provider else [])
    if as_json:
        print(visible_json(msgspec.json.encode(reports)))  # noqa: T201
    else:
        for part in report_tables(reports):
            Console(soft_wrap=True, highlight=False).print(part)
    raise SystemExit(0 if all(report.ok for report in reports) else 1)


def _print_matrix(provider: str | None, as_json: bool) -> None:
    from promptport.testing import matrix_table, run_matrix  # noqa: PLC0415 - of this command only

    with one_line_errors(as_json=as_json), console.status("sending conversations from each to each …"):
        cells = run_matrix([provider] if provider else [])
    if as_json:
        print(visible_json(msgspec.json.encode(cells)))  # noqa: T201
    else:
        for part in matrix_table(cells):
            Console(soft_wrap=True, highlight=False).print(part)
    raise SystemExit(0 if not any(cell.refused for cell in cells) else 1)
