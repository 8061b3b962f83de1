"""The benchmarks run: once, small, without the other libraries. No time is asserted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.benchmarks.environments import ROOT
from tests.benchmarks.plan import BURSTS, PACED
from tests.benchmarks.report import Figures, compared, figures_of, tables, write_page
from tests.benchmarks.wires import APIS, pieces_of, wire

from promptport.protocols import ChatCompletionsDecoder
from promptport.stream import message_of


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_runs_once(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    result = run("--quick", "--no-peers", "--rounds", "1", "--json", str(file))
    assert result.returncode == 0, result.stderr
    assert "failed" not in result.stderr
    figures = msgspec.json.decode(file.read_bytes(), type=Figures)
    works = {f"{api}/{key}" for key, work in {**BURSTS, **PACED}.items() for api in work.apis}
    others = {
        "inside/growth/2500",
        "inside/growth/20000",
        "import",
        "inside/1",
        "inside/16",
        "inside/encoders",
        "inside/policies",
        "inside/text",
        "overlap",
        "run_log",
        "readers",
        "serve",
    }
    assert works | others | {f"cold/{api}" for api in APIS} == set(figures.costs)
    for key in works:
        assert {"floor", "promptport"} <= set(figures.costs[key])
        assert f"{key} promptport:floor" in figures.ratios
    assert tables(figures) in result.stdout

    page, chart = tmp_path / "page.md", tmp_path / "chart.svg"
    page.write_text("before\n<!-- figures: made by tests/benchmarks -->\nold\n<!-- end of figures -->\nafter\n")
    for _ in range(2):  # what was written can be written again
        write_page(page, chart, figures)
        text = page.read_text()
        assert text.startswith("before\n")
        assert text.endswith("after\n")
        assert text.count(tables(figures)) == 1
        assert "old" not in text
    assert chart.read_text().startswith("<svg")


def test_what_is_not_a_whole_run_is_not_written() -> None:
    result = run("--quick", "--write")
    assert result.returncode == 2
    assert "whole run" in result.stderr


def measured(ours: float, theirs: float) -> Figures:
    return figures_of({"chat/text": {"promptport": [{"cpu": ours}], "floor": [{"cpu": theirs}]}}, rounds=1)


def test_a_time_is_the_least_of_its_rounds_and_a_latency_their_median() -> None:
    rounds = [{"cpu": cpu, "p99": p99} for cpu, p99 in ((9.0, 1.0), (2.0, 2.0), (3.0, 9.0))]
    figures = figures_of({"chat/200": {"promptport": rounds, "floor": [{"cpu": 1.0, "p99": 1.0}]}}, rounds=3)
    assert figures.costs["chat/200"]["promptport"] == {"cpu": 2.0, "p99": 2.0}
    assert figures.ratios == {"chat/200 promptport:floor": 2.0}


def test_a_ratio_that_is_worse_by_more_than_a_fifth_is_told() -> None:
    committed = measured(3.0, 2.0)
    assert compared(measured(3.5, 2.0), committed) == []
    assert compared(measured(7.0, 4.0), committed) == []  # a slower machine
    [line] = compared(measured(3.7, 2.0), committed)
    assert line.startswith("chat/text promptport:floor: 1.850, was 1.500")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("kind", ["text", "call"])
def test_the_answers_hold_what_was_asked_for(api: str, kind: str) -> None:
    if api == "ollama" and kind == "call":
        with pytest.raises(ValueError, match="whole"):
            wire(api, kind, 10)
        return
    answer = wire(api, kind, 100)
    assert len(answer.deltas) == 100
    assert b"".join(answer.chunks(1)) == b"".join(answer.chunks(16))
    assert len(answer.chunks(16)) == len(answer.head) + 7 + len(answer.tail)


def test_an_answer_decodes_to_its_pieces() -> None:
    decoder = ChatCompletionsDecoder()
    frames = decoder.feed(b"".join(wire("chat", "call", 50).chunks(1)))
    [call] = message_of(frames).tool_calls
    assert call.arguments == "".join(pieces_of("call", 50))
