"""The test of the kit: a good provider passes, and every check finds the bug that it is there for.

The provider is the one of docs/writing-a-provider.md; the bugs are in tests/kit_bugs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.testing.guide import install_guide

from promptport.testing.contract import ProviderContract

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


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, str], str]:
    """By class and check: the failure's message, an empty string where it passed, ``n/a`` where it was skipped."""
    folder = tmp_path_factory.mktemp("bugs")
    (folder / "pytest.ini").write_text("[pytest]\n")
    path = os.pathsep.join([str(install_guide(folder)), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, "-m", "tests.testing.kit_bugs.run", str(folder)],
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
        out[place] = failure.attrib["message"] if failure is not None else ""
        if case.find("skipped") is not None:
            out[place] = "n/a"
    return out


@pytest.fixture
def found(outcomes: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """The same, of the bugs."""
    return {place: message for place, message in outcomes.items() if place[0] not in ("TestGood", "TestHandMade")}


@pytest.mark.parametrize("bug", TEN)
def test_the_kit_finds_each_of_the_ten_bugs(bug: str, outcomes: Mapping[tuple[str, str], str]) -> None:
    assert outcomes[bug, TEN[bug]] not in ("", "n/a")
    assert outcomes["TestGood", TEN[bug]] == ""


def test_every_bug_is_found_by_the_check_that_names_it(found: dict[tuple[str, str], str]) -> None:
    assert len(found) > 60
    assert not [place for place, message in found.items() if message in ("", "n/a")]


def test_the_good_provider_passes_the_same_checks(
    outcomes: Mapping[tuple[str, str], str], found: dict[tuple[str, str], str]
) -> None:
    good = {check: message for (name, check), message in outcomes.items() if name == "TestGood"}
    assert set(good) == {check for _, check in found}
    assert not {check: message for check, message in good.items() if message}


def test_every_check_of_the_kit_finds_a_bug(found: dict[tuple[str, str], str]) -> None:
    checks = {name for name in dir(ProviderContract) if name.startswith("test_")}
    assert checks - {check.partition("[")[0] for _, check in found} == set()


def test_a_scenario_that_gives_no_frames_fails(outcomes: Mapping[tuple[str, str], str]) -> None:
    message = outcomes["TestGivesNothing", "test_rule_5_the_same_frames_for_every_chunking[nothing]"]
    assert "gave no frames" in message


def test_a_stream_that_is_no_frame_stream_can_pass(outcomes: Mapping[tuple[str, str], str]) -> None:
    own = {check: message for (name, check), message in outcomes.items() if name == "TestHandMade"}
    assert sum(message == "" for message in own.values()) >= 160
    assert not {check: message for check, message in own.items() if message not in ("", "n/a")}
