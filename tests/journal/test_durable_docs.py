"""The programs of docs/durable-runs.md print what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.journal.restate_server import NODE, RestateServer
from tests.journal.temporal_server import TemporalServer

ROOT = Path(__file__).parents[2]
SHOWN = re.findall(
    r"<!-- output of (\S+) -->\n```text\n(.*?)```", (ROOT / "docs" / "durable-runs.md").read_text(), re.DOTALL
)


def test_a_program_for_each_journal_is_shown() -> None:
    names = ["durable_order", "durable_dbos", "durable_temporal"]
    assert [path for path, _ in SHOWN] == [f"docs/examples/{name}.py" for name in names]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_program_on_temporal_prints_what_the_page_says(tmp_path: Path) -> None:
    path, output = SHOWN[-1]
    with TemporalServer(tmp_path) as server:
        done = subprocess.run(
            [sys.executable, path, server.url], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.stdout == output, done.stderr[-2000:]


@pytest.mark.parametrize(("path", "output"), SHOWN[:2], ids=[path for path, _ in SHOWN[:2]])
def test_a_program_prints_what_the_page_says(path: str, output: str) -> None:
    done = subprocess.run([sys.executable, path], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, output), done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_program_on_restate_answers_as_the_page_says(tmp_path: Path) -> None:
    with RestateServer(tmp_path, NODE) as server:
        ingress, admin, port = server.url.split(",")
        command = [sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{port}", "durable_restate:app"]
        place, log = ROOT / "docs" / "examples", (tmp_path / "program.log").open("wb")
        program = subprocess.Popen(command, cwd=place, stdout=log, stderr=log, env=dict(os.environ))
        try:
            with httpx.Client(timeout=60) as client:
                deployment = {"uri": f"http://127.0.0.1:{port}", "force": True}
                until = time.monotonic() + 60
                while not client.post(f"{admin}/deployments", json=deployment).is_success:
                    assert time.monotonic() < until, (tmp_path / "program.log").read_text()[-2000:]
                    time.sleep(0.2)
                run = f"{ingress}/support/order-17"
                client.post(f"{run}/answer/send", json="Refund order 17").raise_for_status()
                while client.post(f"{run}/pending").json() != ["call_1"]:
                    assert time.monotonic() < until
                    time.sleep(0.1)
                client.post(f"{run}/decide", json={"call_1": True}).raise_for_status()
                answer = client.get(f"{ingress}/restate/workflow/support/order-17/attach")
                assert answer.json() == "The money is on its way."
        finally:
            program.kill()
            program.wait()
            log.close()
