"""``promptport conformance``, over the provider of docs/writing-a-provider.md and over ones that fail."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.testing.guide import install_guide

from promptport.errors import ConfigurationError
from promptport.testing.command import CheckResult, ConformanceReport, contracts, report_tables, run_conformance

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
    unsaid = [check for check in report["checks"] if check["outcome"] == "n/a" and check["name"] != "test_faulty_wires"]
    assert [(check["name"], check["variant"], check["reason"]) for check in unsaid] == [
        ("test_rule_1_finish_reasons", "paused", "the protocol cannot say this")
    ]


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
