"""``promptport conformance``: the kit, run over installed providers.

Rule: each provider runs in a process of its own, with no plug-in of pytest's but ours, and whatever its options say at
home: the same result everywhere.

A provider names its contract class in the entry-point group ``promptport.conformance``, under its provider name.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.errors import ConfigurationError
from promptport.registry import providers

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["GROUP", "CheckResult", "ConformanceReport", "contracts", "report_tables", "run_conformance"]

GROUP = "promptport.conformance"
_HINT = 'the conformance kit needs pytest: pip install "promptport[testing]"'
_REASON_LIMIT = 300  # characters; the JSON has all of it
_ARGUMENTS = (
    "--quiet",
    "--import-mode=importlib",
    "--tb=native",
    "-p",
    "promptport.testing.plugin",
    "-p",
    "no:cacheprovider",
    # A connection that is left to the garbage collector is a leak.
    "-W",
    "error::ResourceWarning",
    "-W",
    "error::pytest.PytestUnraisableExceptionWarning",
)


class CheckResult(msgspec.Struct, frozen=True):
    """What became of one check; see `promptport.testing.plugin.Check`."""

    name: str
    variant: str
    outcome: str
    reason: str
    seconds: float


class ConformanceReport(msgspec.Struct, frozen=True):
    """What the kit found out about one provider.

    Attributes:
        provider: its name.
        checks: what became of each check, in the kit's order.
        counts: how many checks had each outcome.
        scenarios: how many answers were played.
        frames: how many frames came of them.
        floor: how many checks must run.
        error: why there is no result, or why it does not count; else an empty string.
    """

    provider: str
    checks: tuple[CheckResult, ...] = ()
    counts: dict[str, int] = {}
    scenarios: int = 0
    frames: int = 0
    floor: int = 0
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the provider keeps the contract."""
        return not self.error and not self.counts.get("failed", 0)


class _Tally(msgspec.Struct):
    """A `promptport.testing.plugin.Tally` on its way from the process that ran it."""

    floor: int
    selected: int | None
    checks: tuple[CheckResult, ...]
    scenarios: int
    frames: int


def contracts() -> dict[str, str]:
    """The contract classes that are installed, as ``module:class``, by provider.

    Raises:
        ConfigurationError: two packages claim one provider.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow to import

    found: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        if found.setdefault(point.name, point.value) != point.value:
            raise ConfigurationError(f"two packages claim the conformance of {point.name!r}; uninstall one of them")
    return dict(sorted(found.items()))


def run_conformance(names: Sequence[str] = ()) -> list[ConformanceReport]:
    """Runs the kit for these providers, or for all that are installed.

    Raises:
        ConfigurationError: pytest is not installed, or a provider is not, or it has no contract class.
    """
    if importlib.util.find_spec("pytest") is None:
        raise ConfigurationError(_HINT)
    known = contracts()
    for name in names:
        if name not in known:
            raise ConfigurationError(_unknown(name, known))
    chosen = list(names or known)
    if not chosen:
        raise ConfigurationError("no provider is installed that can be checked; see: promptport providers")
    with ThreadPoolExecutor(min(len(chosen), os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda name: _run(name, known[name]), chosen))


def _unknown(name: str, known: Iterable[str]) -> str:
    for info in providers():
        if info.name == name:
            return (
                f"the provider {name!r} has no entry point in the group {GROUP!r}, so it cannot be checked"
                if info.installed
                else f"the provider {name!r} is not installed: {info.hint}"
            )
    return f"there is no provider {name!r}; those that can be checked: {', '.join(known)}"


def _run(name: str, contract: str) -> ConformanceReport:
    with tempfile.TemporaryDirectory(prefix="promptport-") as folder:
        place = Path(folder)
        module, _, attribute = contract.partition(":")
        (place / "pytest.ini").write_text("[pytest]\n")
        (place / "test_conformance.py").write_text(
            f"from {module} import {attribute}\n\n\nclass TestProvider({attribute}):\n    pass\n"
        )
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")}
        ended = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, "-m", __name__, folder],
            env={**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        written = place / "tally.json"
        if not written.exists():
            last = [line.strip() for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
            return ConformanceReport(name, error=f"the kit could not run: {' | '.join(last[-8:])}")
        tally = msgspec.json.decode(written.read_bytes(), type=_Tally)
    counts = Counter(check.outcome for check in tally.checks)
    ran = len(tally.checks) - counts["n/a"] - counts["skipped"]
    error = f"{ran} checks ran, and the floor is {tally.floor}" if ran < tally.floor else ""
    return ConformanceReport(name, tally.checks, dict(counts), tally.scenarios, tally.frames, tally.floor, error)


# ------------------------------------------------------------------------------------------------- tables


def report_tables(reports: Sequence[ConformanceReport]) -> list[RenderableType]:
    """What a person sees: every check by every provider, the totals, and what was not applicable or went wrong."""
    from rich.table import Table  # noqa: PLC0415 - of the extra "cli"
    from rich.text import Text  # noqa: PLC0415

    table = Table("check")
    for report in reports:
        table.add_column(report.provider, no_wrap=True)
    names = dict.fromkeys(check.name for report in reports for check in report.checks)
    for name in sorted(names, key=_rule):
        cells = [_cell([check for check in report.checks if check.name == name]) for report in reports]
        table.add_row(_readable(name), *cells, style="red" if any("failed" in cell for cell in cells) else None)
    table.add_section()
    for outcome in ("passed", "n/a", "failed", "xfailed", "skipped"):
        if outcome in ("passed", "n/a", "failed") or any(report.counts.get(outcome) for report in reports):
            table.add_row(outcome, *[str(report.counts.get(outcome, 0)) for report in reports])
    table.add_row("scenarios played", *[str(report.scenarios) for report in reports])
    table.add_row("frames seen", *[str(report.frames) for report in reports])
    return [table, *[Text(line) for line in _notes(reports)]]


def _rule(name: str) -> str:
    """What to sort by: the checks of the rules first, in their order; the others stay as they came."""
    return name[: len("test_rule_1")] if name.startswith("test_rule_") else "test_s"


def _cell(checks: Sequence[CheckResult]) -> str:
    """How often a check passed, and what else became of it: it has a variant for each scenario, status, fault …"""
    counts = Counter(check.outcome for check in checks)
    others = [f"{counts[outcome]} {outcome}" for outcome in ("failed", "xfailed", "n/a", "skipped") if counts[outcome]]
    return ", ".join([f"{counts['passed']} ok", *others] if counts["passed"] else others)


def _readable(name: str) -> str:
    words = name.removeprefix("test_").split("_")
    return f"rule {words[1]}: {' '.join(words[2:])}" if words[0] == "rule" else " ".join(words)


def _notes(reports: Sequence[ConformanceReport]) -> list[str]:
    """A line for each reason, with the variants that it holds for."""
    lines: list[str] = []
    for report in reports:
        reasons: dict[tuple[str, str, str], list[str]] = {}
        for check in report.checks:
            if check.outcome != "passed":
                reasons.setdefault((check.outcome, check.name, check.reason), []).append(check.variant)
        for (outcome, name, reason), variants in sorted(reasons.items(), key=lambda entry: entry[0][0] != "failed"):
            which = f" ({', '.join(variants)})" if any(variants) else ""
            lines.append(f"{report.provider}: {outcome}: {_readable(name)}{which}: {_shortened(reason)}")
        if report.error:
            lines.append(f"{report.provider}: {report.error}")
    return lines


def _shortened(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= _REASON_LIMIT else f"{line[:_REASON_LIMIT]} …"


# -------------------------------------------------------------------------------------- the other process


class _Writer:
    """Writes the tally where the process that asked finds it."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def pytest_sessionfinish(self, session: Any) -> None:
        tallies = session.config.pluginmanager.get_plugin("promptport-tallies").tallies
        if len(tallies) == 1:
            self._place.write_bytes(msgspec.json.encode(*tallies.values()))


def _main(folder: str) -> int:
    import pytest  # noqa: PLC0415 - the process that asked needs none

    place = Path(folder)
    arguments = [*_ARGUMENTS, f"--rootdir={folder}", f"--config-file={place / 'pytest.ini'}", folder]
    return int(pytest.main(arguments, plugins=[_Writer(place / "tally.json")]))


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
