"""The test of the kit: a good provider passes, and every check finds the bug that it is there for.

The provider is the one of docs/writing-a-provider.md; the bugs are in tests/kit_bugs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.testing.guide import install_guide

from promptport.testing import ProviderContract

ROOT = Path(__file__).parents[2]
TEN = {
    "TestDropsADelta": "test_rule_4_every_increment_comes_through",
    "TestEmitsEndTwice": "test_rule_1_end_comes_once_and_last",
    "TestMergesCalls": "test_rule_3_parallel_calls_stay_apart",
    "TestIgnoresTruncation": "test_rule_1_an_answer_that_was_cut_raises[end_after-text]",
    "TestLeaksTheSocket": "test_rule_8_closing_closes_the_connection[break]",
    "TestSwallowsAnError": "test_an_error_in_the_stream_is_raised",
    "TestLosesAnId": "test_rule_3_ids_are_kept",
    "TestMutatesArguments": "test_rule_4_arguments_are_as_the_model_wrote_them",
    "TestHidesTools": "test_tools_are_in_the_request",
    "TestReordersFrames": "test_rule_4_frames_keep_the_order_of_the_wire[reasoning, text and call]",
}


Outcomes = Mapping[tuple[str, str], str]
Bugs = Mapping[str, tuple[str, str, str]]


def ran(folder: Path, what: str) -> dict[tuple[str, str], str]:
    """By class and check: the failure's message, an empty string where it passed, ``n/a`` where it was skipped."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    path = os.pathsep.join([str(install_guide(folder)), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, "-m", "tests.kit_bugs.run", str(folder), what],
        env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    report = folder / "report.xml"
    assert report.exists(), ended.stdout + ended.stderr
    out: dict[tuple[str, str], str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        failure = case.find("failure")
        place = case.attrib["classname"].rpartition(".")[2], case.attrib["name"]
        out[place] = failure.text or "" if failure is not None else ""
        skipped = case.find("skipped")
        if skipped is not None:
            out[place] = "xfail" if "xfail" in skipped.attrib.get("type", "") else "n/a"
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bugs")


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> Outcomes:
    return ran(folder, "bugs")


@pytest.fixture(scope="module")
def bugs(outcomes: Outcomes, folder: Path) -> Bugs:
    """By class: the check, what its message must say, the provider without the bug."""
    return {name: tuple(rest) for name, rest in json.loads((folder / "bugs.json").read_text()).items()}


@pytest.mark.parametrize("bug", TEN)
def test_the_kit_finds_each_of_the_ten_bugs(bug: str, outcomes: Outcomes) -> None:
    assert outcomes[bug, TEN[bug]] not in ("", "n/a")
    assert outcomes["TestGood", TEN[bug]] == ""


def test_every_bug_is_found_by_the_check_that_names_it(outcomes: Outcomes, bugs: Bugs) -> None:
    assert len(bugs) >= 90
    assert not [name for name, (check, _, _) in bugs.items() if outcomes[name, check] in ("", "n/a")]


def test_every_message_names_the_cause(outcomes: Outcomes, bugs: Bugs) -> None:
    """It ends in a sentence on what is probably wrong, and says what this bug does."""
    unnamed = [
        (name, outcomes[name, check])
        for name, (check, says, _) in bugs.items()
        if "Probably " not in outcomes[name, check] or says not in outcomes[name, check]
    ]
    assert not unnamed
    silent = [name for name, (_, says, _) in bugs.items() if not says]
    assert not silent, "a bug says which words of the message name its cause"


def test_no_message_is_a_group_of_exceptions(outcomes: Outcomes, bugs: Bugs) -> None:
    grouped = [name for name, (check, _, _) in bugs.items() if "sub-exception" in outcomes[name, check]]
    assert not grouped


def test_the_good_provider_passes_the_same_checks(outcomes: Outcomes, bugs: Bugs) -> None:
    assert not [(good, check) for _, (check, _, good) in bugs.items() if outcomes[good, check] != ""]


def test_every_check_of_the_kit_finds_a_bug(bugs: Bugs) -> None:
    checks = {name for name in dir(ProviderContract) if name.startswith("test_")}
    assert checks - {check.partition("[")[0] for check, _, _ in bugs.values()} == set()


def test_a_scenario_that_gives_no_frames_fails(outcomes: Outcomes) -> None:
    message = outcomes["TestGivesNothing", "test_rule_5_the_same_frames_for_every_chunking[nothing]"]
    assert "gave no frames" in message


def test_a_stream_that_is_no_frame_stream_can_pass(outcomes: Outcomes) -> None:
    own = {check: message for (name, check), message in outcomes.items() if name == "TestHandMade"}
    assert sum(message == "" for message in own.values()) >= 160
    assert not {check: message for check, message in own.items() if message not in ("", "n/a")}


def test_right_but_unusual_providers_pass(tmp_path: Path) -> None:
    """Ends by its bytes, whole calls, no ids, an effort that is a budget, no schema mode; nothing is in ``known``."""
    by_class: dict[str, list[tuple[str, str]]] = {}
    for (name, check), message in ran(tmp_path, "unusual").items():
        by_class.setdefault(name, []).append((check, message))
    assert len(by_class) == 5
    for name, found in by_class.items():
        assert not [(name, check, message) for check, message in found if message not in ("", "n/a")]
        assert sum(message == "" for _, message in found) >= 150, name
