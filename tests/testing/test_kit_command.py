"""``promptport conformance``, over the provider of docs/writing-a-provider.md and over ones that fail."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.testing.guide import install_guide

from promptport.errors import ConfigurationError
from promptport.testing import ProviderContract
from promptport.testing.command import CheckResult, ConformanceReport, contracts, report_json, run_conformance
from promptport.testing.shown_reports import report_page, report_tables

BROKEN = """
from promptport_marmot.conformance import MarmotContract


class HollowContract(MarmotContract):
    def encode(self, steps):
        return None


class WrongContract(MarmotContract):
    def encode(self, steps):
        body = super().encode(steps)
        return body and [body[0], *reversed(body[1:])]
"""
POINTS = """
[promptport.conformance]
hollow = broken_providers:HollowContract
wrong = broken_providers:WrongContract
missing = no_such_module:Contract

[promptport.providers]
unchecked = broken_providers:client
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory to import from, with good and broken providers."""
    source = install_guide(tmp_path_factory.mktemp("providers"))
    (source / "broken_providers.py").write_text(BROKEN)
    info = source / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.3\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    return source


def command(source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from promptport.cli import main; main()", "conformance", *arguments],
        env={**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200", "PYTEST_ADDOPTS": "--no-such-option"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_good_provider(installed: Path) -> None:
    ran = command(installed, "marmot", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (report,) = json.loads(ran.stdout)
    assert (report["provider"], report["error"]) == ("marmot", "")
    assert set(report["counts"]) == {"passed", "n/a"}
    assert report["counts"]["passed"] >= report["floor"] == 160
    assert sum(report["counts"].values()) == len(report["checks"])
    assert report["scenarios"] > 500
    assert report["frames"] > 3000
    unsaid = [(check["name"], check["variant"]) for check in report["checks"] if check["outcome"] == "n/a"]
    assert sorted(unsaid) == [
        ("test_data_behind_the_last_word_belongs_to_the_answer", ""),
        ("test_every_count_is_read", "cache_write_tokens"),
        ("test_every_count_is_read", "cached_input_tokens"),
        ("test_every_way_to_end_is_an_end", ""),
        ("test_rule_1_finish_reasons", "paused"),
    ]
    assert (report["ok"], report["summary"]) == (True, f"{report['counts']['passed']} passed, 5 n/a")
    badge = {
        "schemaVersion": 1,
        "label": "promptport conformance",
        "message": report["summary"],
        "color": "brightgreen",
    }
    assert report["badge"] == badge
    said = ran.stderr.splitlines()
    assert said[0] == "marmot: starting"
    assert said[-1] == f"marmot: {len(report['checks'])}/{len(report['checks'])} checks"


def test_a_quick_run_over_two_processes(installed: Path, tmp_path: Path) -> None:
    place = tmp_path / "report.json"
    ran = command(installed, "marmot", "--quick", "-n", "2", "--report", str(place))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (report,) = json.loads(place.read_bytes())
    names = [check["name"] for check in report["checks"]]
    assert len(names) == len(set(names)), "one case of each check"
    assert 50 < len(names) < 100
    assert "test_two_hundred_streams_do_not_mix" not in names
    assert report["quick"]
    assert ran.stdout.splitlines()[-1] == f"marmot: {report['summary']}"
    assert report["summary"].endswith("(quick)")


def test_all_checks_over_two_processes(installed: Path) -> None:
    ran = command(installed, "marmot", "-n", "2", "--markdown")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "| rule 1: a whole answer is whole | 13 |" in ran.stdout
    assert re.search(r"^- \*\*marmot\*\*: \d{3} passed, 5 n/a$", ran.stdout, re.MULTILINE)


def test_processes_need_xdist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "xdist" else object())
    with pytest.raises(ConfigurationError, match="-n needs pytest-xdist: pip install pytest-xdist"):
        run_conformance(["openai"], processes=2)


def test_a_report_says_it_in_one_line() -> None:
    good = ConformanceReport("a", (), {"passed": 7, "n/a": 2, "xfailed": 1})
    assert good.summary == "7 passed, 1 known exception, 2 n/a"
    bad = ConformanceReport("a", (), {"passed": 7, "failed": 2})
    assert (bad.summary, bad.badge["color"]) == ("2 failed, 7 passed", "red")
    assert ConformanceReport("a", error="no such module").summary == "no result"
    (told,) = json.loads(report_json([good]))
    assert (told["summary"], told["ok"], told["badge"]["message"]) == (good.summary, True, good.summary)


PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def test_the_page_of_our_providers_has_every_provider_and_every_check() -> None:
    """The numbers are CI's, which makes the page; here is what must be on it."""
    page = PAGE.read_text()
    head = next(line for line in page.splitlines() if line.startswith("| Check |"))
    assert [cell.strip() for cell in head.strip("|").split("|")[1:]] == list(contracts())
    rows = re.findall(r"^\| ((?!Check)[^|]+) \|", page, re.MULTILINE)
    checks = [name for name in dir(ProviderContract) if name.startswith("test_")]
    readable = [name.removeprefix("test_").replace("_", " ") for name in checks]
    assert sorted(rows) == sorted(re.sub(r"^rule (\d) ", r"rule \1: ", name) for name in readable)
    assert "failed" not in page
    assert all(re.search(rf"^- \*\*{name}\*\*: \d+ passed", page, re.MULTILINE) for name in contracts())


def test_the_page_is_made_of_reports() -> None:
    checks = (CheckResult("test_rule_1_x", "a", "passed", "", 0.1), CheckResult("test_rule_1_x", "b", "n/a", "no", 0.1))
    known = CheckResult("test_y", "", "xfailed", "it closes", 0.1)
    page = report_page([ConformanceReport("one", (*checks, known), {"passed": 1, "n/a": 1, "xfailed": 1})])
    assert "| rule 1: x | 1, 1 n/a |" in page
    assert "| y | 1 known |" in page
    assert page.endswith("## Known exceptions\n\n- **one**, y: it closes\n")


def test_a_provider_that_fails(installed: Path) -> None:
    ran = command(installed, "wrong")
    assert ran.returncode == 1, ran.stderr
    assert "rule 4: every increment comes through" in ran.stdout
    assert "1 failed" in ran.stdout
    assert "wrong: failed: rule 1: a whole answer is whole (text" in ran.stdout


def test_a_provider_that_shows_too_little(installed: Path) -> None:
    ran = command(installed, "hollow")
    assert ran.returncode == 1, ran.stderr
    assert "checks ran, and the floor is 160" in ran.stdout


def test_a_provider_that_cannot_be_imported(installed: Path) -> None:
    ran = command(installed, "missing")
    assert ran.returncode == 1, ran.stderr
    assert "missing: the kit could not run: " in ran.stdout
    assert "No module named 'no_such_module'" in ran.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nobody", "there is no provider 'nobody'; those that can be checked: "),
        ("unchecked", "the provider 'unchecked' has no entry point in the group 'promptport.conformance'"),
    ],
)
def test_a_provider_that_is_not_there(installed: Path, name: str, says: str) -> None:
    ran = command(installed, name)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert says in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_without_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r'pip install "promptport\[testing\]"'):
        run_conformance(["openai"])


def test_a_known_provider_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry_points(**_: Any) -> list[Any]:
        return []

    monkeypatch.setattr("importlib.metadata.entry_points", no_entry_points)
    with pytest.raises(ConfigurationError, match=r'is not installed: pip install "promptport\[anthropic\]"'):
        run_conformance(["anthropic"])
    with pytest.raises(ConfigurationError, match="no provider is installed"):
        run_conformance()


def test_our_providers_can_be_checked() -> None:
    assert {"anthropic", "ollama", "openai", "openai-chat"} <= set(contracts())


def test_one_table_for_several_providers() -> None:
    def check(name: str, variant: str, outcome: str, reason: str = "") -> CheckResult:
        return CheckResult(name, variant, outcome, reason, 0.1)

    one = ConformanceReport(
        "one",
        (
            check("test_closing", "", "passed"),
            check("test_rule_1_whole", "text", "passed"),
            check("test_rule_1_whole", "calls", "n/a", "it has none"),
        ),
        {"passed": 2, "n/a": 1},
        scenarios=3,
    )
    two = ConformanceReport(
        "two",
        (
            check("test_rule_1_whole", "text", "failed", "it is not [bold]whole[/bold]"),
            check("test_rule_1_whole", "calls", "xfailed", "later"),
        ),
        {"failed": 1, "xfailed": 1},
    )
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        for part in report_tables([one, two]):
            console.print(part)
    lines = [" ".join(line.replace("│", "|").split()) for line in console.export_text().splitlines()]
    rows = [line for line in lines if line.startswith("|")]
    assert rows == [
        "| rule 1: whole | 1 ok, 1 n/a | 1 failed, 1 xfailed |",
        "| closing | 1 ok | |",
        "| passed | 2 | 0 |",
        "| n/a | 1 | 0 |",
        "| failed | 0 | 1 |",
        "| xfailed | 0 | 1 |",
        "| scenarios played | 3 | 0 |",
        "| frames seen | 0 | 0 |",
    ]
    notes = lines[-3:]
    assert notes == [
        "one: n/a: rule 1: whole (calls): it has none",
        "two: failed: rule 1: whole (text): it is not [bold]whole[/bold]",
        "two: xfailed: rule 1: whole (calls): later",
    ]
    assert (one.ok, two.ok) == (True, False)
