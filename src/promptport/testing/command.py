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
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from promptport.errors import ConfigurationError
from promptport.registry import providers

__all__ = ["GROUP", "CheckResult", "ConformanceReport", "Progress", "contracts", "report_json", "run_conformance"]

GROUP = "promptport.conformance"
_HINT = 'the conformance kit needs pytest: pip install "promptport[testing]"'
_NO_XDIST = "-n needs pytest-xdist: pip install pytest-xdist. Or leave -n out: each provider has a process of its own."
_PROGRESS = b"promptport-progress "
"""How the other process tells its progress, at the end of a line."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the provider's name, how many checks ended, and how many there are: 0 until they are collected."""

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
        quick: only the first case of each check ran, and not the slow ones.
    """

    provider: str
    checks: tuple[CheckResult, ...] = ()
    counts: dict[str, int] = {}
    scenarios: int = 0
    frames: int = 0
    floor: int = 0
    error: str = ""
    quick: bool = False

    @property
    def ok(self) -> bool:
        """Whether the provider keeps the contract."""
        return not self.error and not self.counts.get("failed", 0)

    @property
    def summary(self) -> str:
        """One line for a badge, such as ``203 passed, 9 n/a``."""
        if self.error:
            return "no result" if not self.checks else "too few checks ran"
        shown = ("failed", "passed", "xfailed", "n/a", "skipped")
        words = {"xfailed": "known exceptions" if self.counts.get("xfailed", 0) > 1 else "known exception"}
        parts = [f"{self.counts[name]} {words.get(name, name)}" for name in shown if self.counts.get(name)]
        return ", ".join(parts) + (" (quick)" if self.quick else "")

    @property
    def badge(self) -> dict[str, Any]:
        """The same as shields.io's endpoint badge takes it."""
        color = "brightgreen" if self.ok else "red"
        return {"schemaVersion": 1, "label": "promptport conformance", "message": self.summary, "color": color}


def report_json(reports: Sequence[ConformanceReport]) -> bytes:
    """The reports, each with its ``ok``, ``summary`` and ``badge``."""
    return msgspec.json.encode(
        [
            {**msgspec.to_builtins(report), "ok": report.ok, "summary": report.summary, "badge": report.badge}
            for report in reports
        ]
    )


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


def run_conformance(
    names: Sequence[str] = (), *, quick: bool = False, processes: int = 1, progress: Progress | None = None
) -> list[ConformanceReport]:
    """Runs the kit for these providers, or for all that are installed.

    Args:
        names: the providers.
        quick: only the first case of each check, and not the slow ones: for the seconds between two edits.
        processes: over how many processes a provider's checks are spread; more than 1 needs pytest-xdist.
        progress: called at the start, and when a check ends; from a thread for each provider.

    Raises:
        ConfigurationError: pytest or pytest-xdist is not installed, or a provider is not, or it has no contract class.
    """
    if importlib.util.find_spec("pytest") is None:
        raise ConfigurationError(_HINT)
    if processes > 1 and importlib.util.find_spec("xdist") is None:
        raise ConfigurationError(_NO_XDIST)
    known = contracts()
    for name in names:
        if name not in known:
            raise ConfigurationError(_unknown(name, known))
    chosen = list(names or known)
    if not chosen:
        raise ConfigurationError("no provider is installed that can be checked; see: promptport providers")
    options = [*(["--conformance-quick"] if quick else []), *(_spread(processes) if processes > 1 else [])]
    at_once = max(1, (os.cpu_count() or 1) // processes)
    with ThreadPoolExecutor(min(len(chosen), at_once)) as pool:
        return list(pool.map(lambda name: _run(name, known[name], options, progress or _silent), chosen))


def _spread(processes: int) -> list[str]:
    return ["-p", "xdist.plugin", "-n", str(processes)]


def _silent(provider: str, ended: int, total: int) -> None:
    """Says nothing."""


def _unknown(name: str, known: Iterable[str]) -> str:
    for info in providers():
        if info.name == name:
            return (
                f"the provider {name!r} has no entry point in the group {GROUP!r}, so it cannot be checked"
                if info.installed
                else f"the provider {name!r} is not installed: {info.hint}"
            )
    return f"there is no provider {name!r}; those that can be checked: {', '.join(known)}"


def _run(name: str, contract: str, options: Sequence[str], progress: Progress) -> ConformanceReport:
    progress(name, 0, 0)
    with tempfile.TemporaryDirectory(prefix="promptport-") as folder:
        place = Path(folder)
        module, _, attribute = contract.partition(":")
        (place / "pytest.ini").write_text("[pytest]\n")
        (place / "test_conformance.py").write_text(
            f"from {module} import {attribute}\n\n\nclass TestProvider({attribute}):\n    pass\n"
        )
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")}
        said: list[str] = []
        with subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", __name__, folder, *options],
            env={**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            for line in process.stdout or ():
                before, told, counts_told = line.rpartition(_PROGRESS)  # it may stand behind pytest's dots
                if told:
                    ended, total = map(int, counts_told.split())
                    progress(name, ended, total)
                    line = before  # noqa: PLW2901
                said.append(line.decode(errors="replace").strip())
        written = place / "tally.json"
        if not written.exists():
            last = [line for line in said if line]
            return ConformanceReport(name, error=f"the kit could not run: {' | '.join(last[-8:])}")
        tally = msgspec.json.decode(written.read_bytes(), type=_Tally)
    counts = Counter(check.outcome for check in tally.checks)
    ran = len(tally.checks) - counts["n/a"] - counts["skipped"]
    quick = "--conformance-quick" in options
    error = f"{ran} checks ran, and the floor is {tally.floor}" if ran < tally.floor and not quick else ""
    checks = tuple(sorted(tally.checks, key=lambda check: (check.name, check.variant))) if options else tally.checks
    return ConformanceReport(name, checks, dict(counts), tally.scenarios, tally.frames, tally.floor, error, quick)


# -------------------------------------------------------------------------------------- the other process


class _Writer:
    """Tells how far the run is, and writes the tally where the process that asked finds it."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._told = os.dup(1)  # which pytest does not capture
        self._ended = self._total = 0

    def pytest_collection_finish(self, session: Any) -> None:
        self._total = self._total or len(session.items)
        self._tell()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "teardown":
            self._ended += 1
            self._tell()

    def _tell(self) -> None:
        os.write(self._told, b"%b%d %d\n" % (_PROGRESS, self._ended, max(self._total, self._ended)))

    def pytest_sessionfinish(self, session: Any) -> None:
        tallies = session.config.pluginmanager.get_plugin("promptport-tallies").tallies
        if len(tallies) == 1:
            self._place.write_bytes(msgspec.json.encode(*tallies.values()))


class _SpreadWriter(_Writer):
    """The same where other processes collect."""

    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        self._total = len(ids)
        self._tell()


def _main(folder: str, *options: str) -> int:
    import pytest  # noqa: PLC0415 - the process that asked needs none

    place = Path(folder)
    arguments = [*_ARGUMENTS, *options, f"--rootdir={folder}", f"--config-file={place / 'pytest.ini'}", folder]
    writer = _SpreadWriter if "-n" in options else _Writer
    return int(pytest.main(arguments, plugins=[writer(place / "tally.json")]))


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
