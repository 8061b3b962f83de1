"""The benchmarks' one command::

    uv run --group bench python -m tests.benchmarks                     everything: about ten minutes
    uv run --group bench python -m tests.benchmarks --quick --no-peers  small: does it work at all
    uv run --group bench python -m tests.benchmarks --compare           against the committed figures
    uv run --group bench python -m tests.benchmarks --write             new figures, docs/performance.md and its chart

What is measured, and how, is told in docs/performance.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec
from tests.benchmarks.environments import ROOT
from tests.benchmarks.plan import GROUPS, Plan
from tests.benchmarks.report import Figures, compared, figures_of, provenance, tables, write_page

_COMMITTED = Path(__file__).parent / "figures.json"
_PAGE = ROOT / "docs" / "performance.md"
_CHART = ROOT / "docs" / "performance.svg"


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measures promptport beside others."
    )
    parser.add_argument("--quick", action="store_true", help="small works and two rounds: the figures mean little")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--rounds", type=int, help="figures for each median (7; 2 with --quick)")
    parser.add_argument(
        "--peers", action=argparse.BooleanOptionalAction, default=True, help="other libraries too, installed by uv"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the figures there")
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="?",
        const=_COMMITTED,
        metavar="FILE",
        help="tells what got worse by more than a fifth since those figures, and exits with 1",
    )
    parser.add_argument("--write", action="store_true", help="makes these the committed figures, and the page's")
    options = parser.parse_args(arguments)
    if options.write and (options.quick or options.only != GROUPS or not options.peers):
        parser.error("only a whole run can be written")
    return options


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command


def main(arguments: list[str]) -> int:
    """The exit code."""
    options = _options(arguments)
    rounds = options.rounds or (2 if options.quick else 7)
    committed = msgspec.json.decode(options.compare.read_bytes(), type=Figures) if options.compare else None
    measured = Plan(tuple(options.only), rounds, options.quick, options.peers, _say).run()
    figures = figures_of(measured, rounds=rounds)
    print(f"{provenance(figures)}\n\n{tables(figures)}")  # noqa: T201
    encoded = msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n"
    if options.json:
        options.json.write_bytes(encoded)
    if options.write:
        _COMMITTED.write_bytes(encoded)
        write_page(_PAGE, _CHART, figures)
    worse = compared(figures, committed) if committed is not None else []
    if worse:
        print("\nWorse by more than a fifth:\n" + "\n".join(worse))  # noqa: T201
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
