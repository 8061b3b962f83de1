"""The pytest plug-in of promptport, found by its entry point: it counts what the conformance kit ran.

Rules: where no `ProviderContract` was collected it does nothing, and it imports no part of the kit. A class all of
whose tests were selected, and that ran fewer than its ``floor``, fails the session: a kit that skips is no kit.

Counts travel with the tests' reports, so that they are right in a distributed run too.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

__all__ = ["NOTE", "NOT_APPLICABLE", "PLAYED", "Check", "Tally", "TallyKeeper", "cassette"]

_CONTRACT = "promptport.testing.contract"
_PARTS = [
    f"promptport.testing.checks_{part}"
    for part in ("answers", "wire", "closing", "requests", "errors", "safety", "special")
]
_SLOW = (
    "test_rule_7_an_event_without_end_is_a_protocol_error",
    "test_rule_8_cancelling_at_any_moment_closes",
    "test_rule_9_nothing_reads_ahead_without_bound",
    "test_two_hundred_streams_do_not_mix",
    "test_a_clock_for_execute",
    "test_the_three_clocks",
)
"""What a quick run leaves out."""
NOT_APPLICABLE = "n/a: "
"""How the kit's own skips begin."""
NOTE = "promptport.check"
PLAYED = "promptport.played"
"""What a test's report carries: whose test it is; how many scenarios were played, and how many frames came."""


@dataclass(frozen=True)
class Check:
    """One test of the kit, and what became of it.

    Attributes:
        name: the test's name, such as ``test_the_three_clocks``.
        variant: its parameters, such as ``idle``, or an empty string.
        outcome: ``passed``, ``failed``, ``n/a``, ``skipped`` (not by the kit) or ``xfailed``.
        reason: why, unless it passed.
        seconds: how long it took.
    """

    name: str
    variant: str
    outcome: str
    reason: str
    seconds: float


@dataclass
class Tally:
    """What one contract class ran.

    Attributes:
        floor: how many of its checks must run.
        selected: how many were selected, where those are all that it has; else ``None``.
        checks: what became of each.
        scenarios: how many answers were played.
        frames: how many frames came of them.
    """

    floor: int
    selected: int | None
    checks: list[Check] = field(default_factory=list)
    scenarios: int = 0
    frames: int = 0

    @property
    def counts(self) -> Counter[str]:
        """How many checks had each outcome."""
        return Counter(check.outcome for check in self.checks)

    @property
    def ran(self) -> int:
        """How many checks were not skipped."""
        return sum(self.counts[outcome] for outcome in ("passed", "failed", "xfailed"))

    @property
    def below_floor(self) -> bool:
        """Whether all checks were selected and got their turn, and too few of them ran."""
        return self.selected is not None and len(self.checks) >= self.selected and self.ran < self.floor


class TallyKeeper:
    """Keeps the tallies of one session, by class."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}

    # ------------------------------------------------------------------------------------------ what runs

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes in one phase of one test."""
        notes: dict[str, Any] = dict(report.user_properties)
        note = notes.get(NOTE)
        if note is None:
            return
        tally = self.tallies.setdefault(note["class"], Tally(note["floor"], note["selected"]))
        if report.when == "teardown":
            scenarios, frames = notes.get(PLAYED, (0, 0))
            tally.scenarios += scenarios
            tally.frames += frames
        if report.when == "call" or report.outcome != "passed":
            tally.checks.append(Check(note["test"], note["variant"], *_outcome(report), report.duration))

    # ------------------------------------------------------------------------------------------- the end

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fails a session that checked too little."""
        if session.exitstatus == pytest.ExitCode.OK and any(tally.below_floor for tally in self.tallies.values()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """A line for each class."""
        if not self.tallies:
            return
        terminalreporter.section("promptport conformance")
        for place, tally in self.tallies.items():
            terminalreporter.line(f"{place}: {_summary(tally)}", red=tally.below_floor or bool(tally.counts["failed"]))


def _outcome(report: pytest.TestReport) -> tuple[str, str]:
    if report.outcome == "passed":
        return "passed", ""
    if hasattr(report, "wasxfail"):
        return "xfailed", report.wasxfail.removeprefix("reason: ")
    if report.outcome == "failed":
        crash = getattr(report.longrepr, "reprcrash", None)
        return "failed", crash.message if crash is not None else str(report.longrepr)
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    own = reason.startswith(NOT_APPLICABLE)
    return ("n/a", reason.removeprefix(NOT_APPLICABLE)) if own else ("skipped", reason)


def _summary(tally: Tally) -> str:
    counts = tally.counts
    parts = [f"{counts[outcome]} {outcome}" for outcome in ("passed", "n/a", "failed", "xfailed", "skipped")]
    text = ", ".join(part for part in parts if not part.startswith("0 ") or part in ("0 passed", "0 failed"))
    text += f"; {tally.scenarios} scenarios, {tally.frames} frames"
    return f"{text}: {tally.ran} ran, and the floor is {tally.floor}" if tally.below_floor else text


# ---------------------------------------------------------------------------------------------- cassettes


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--record``, for tests that use the fixture ``cassette``."""
    parser.addoption(
        "--record",
        choices=("none", "once", "all"),
        default="none",
        help="cassettes: none plays them (default), once records those that are missing, all records every one anew",
    )
    parser.addoption(
        "--conformance-quick",
        action="store_true",
        help="conformance kit: the first case of each check, and not the slow checks; no floor",
    )


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Any:
    """A function ``cassette(upstream, …)``: an async context whose value is the address to point a client at.

    The file is ``cassettes/MODULE/TEST.json`` beside the test. ``--record`` says whether it is played or recorded.
    """
    from promptport.testing.cassette_fixture import CassetteFixture  # noqa: PLC0415 - for those who use it

    return CassetteFixture(request.config.getoption("--record"), request.path, request.node.name)


# ------------------------------------------------------------------------------------------------- hooks


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the tallies; in a distributed run, where all reports come together."""
    # So that a failed check shows what differs; what is imported already stays as it is.
    pytest.register_assert_rewrite(*[name for name in _PARTS if name not in sys.modules])
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(TallyKeeper(), "promptport-tallies")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Notes on each test of a contract class whether all of them were selected; after all others have deselected."""
    contract = getattr(sys.modules.get(_CONTRACT), "ProviderContract", None)
    if contract is None:
        return (yield)
    if items and items[0].config.getoption("--conformance-quick"):
        _keep_quick(items, contract)
    before = Counter(cls for item in items if (cls := _contract_of(item, contract)))
    yield
    selected = Counter(cls for item in items if (cls := _contract_of(item, contract)))
    names: dict[type, set[str]] = {cls: set() for cls in selected}
    for item in items:
        if (cls := _contract_of(item, contract)) is not None:
            names[cls].add(getattr(item, "originalname", item.name))
    wholes: set[Any] = set()
    met: dict[type, set[str]] = {cls: set() for cls in selected}
    for item in items:
        if (cls := _contract_of(item, contract)) is not None:
            known = item.name.removeprefix("test_")
            if known in cls.known:
                met[cls].add(known)
                item.add_marker(pytest.mark.xfail(reason=cls.known[known], strict=True))
            whole = selected[cls] == before[cls] and names[cls] >= {name for name in dir(cls) if name[:5] == "test_"}
            note = {
                "class": item.parent.nodeid if item.parent is not None else cls.__qualname__,
                "test": getattr(item, "originalname", item.name),
                "variant": item.callspec.id if hasattr(item, "callspec") else "",
                "floor": cls.floor,
                "selected": selected[cls] if whole else None,
            }
            item.user_properties.append((NOTE, note))
            if whole:
                wholes.add(cls)
    for cls in wholes:
        if strangers := sorted({*cls.known} - met[cls]):
            raise pytest.UsageError(f"{cls.__name__}.known: no check has the case {strangers[0]!r}. Remove it.")
    return None


def _keep_quick(items: list[pytest.Item], contract: type) -> None:
    """Deselects all but the first case of each check of a contract class, and the slow checks."""
    seen: set[tuple[type, str]] = set()
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        cls, name = _contract_of(item, contract), getattr(item, "originalname", item.name)
        later = cls is not None and ((cls, name) in seen or name in _SLOW)
        (left if later else kept).append(item)
        if cls is not None:
            seen.add((cls, name))
    if left:
        items[:] = kept
        left[0].config.hook.pytest_deselected(items=left)


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs an async test of a contract class, unless a plug-in of the user's runs async tests: the kit needs none."""
    contract = getattr(sys.modules.get(_CONTRACT), "ProviderContract", None)
    if contract is None or _contract_of(pyfuncitem, contract) is None:
        return None
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    run = sys.modules["promptport.testing.bench"].run
    # As pytest does it: the fixtures that the function names, and no others.
    names = pyfuncitem._fixtureinfo.argnames
    run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def _contract_of(item: pytest.Item, contract: type) -> Any:
    """The contract class that this test is of."""
    cls = getattr(item, "cls", None)
    return cls if isinstance(cls, type) and issubclass(cls, contract) else None
