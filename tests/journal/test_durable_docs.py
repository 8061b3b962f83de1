"""The programs of docs/durable-runs.md print what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = re.findall(
    r"<!-- output of (\S+) -->\n```text\n(.*?)```", (ROOT / "docs" / "durable-runs.md").read_text(), re.DOTALL
)


def test_a_program_for_each_journal_is_shown() -> None:
    assert [path for path, _ in SHOWN] == ["docs/examples/durable_order.py", "docs/examples/durable_dbos.py"]


@pytest.mark.parametrize(("path", "output"), SHOWN, ids=[path for path, _ in SHOWN])
def test_a_program_prints_what_the_page_says(path: str, output: str) -> None:
    done = subprocess.run([sys.executable, path], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, output), done.stderr[-2000:]
