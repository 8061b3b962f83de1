"""The README's programs print what the page says that they print."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("promptport_local")

ROOT = Path(__file__).parent.parent
PROGRAMS = re.findall(
    r"<!-- output -->\n```python\n(.*?)```\n\n```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
)


def test_two_programs_show_their_output() -> None:
    assert len(PROGRAMS) == 2
    assert all(len([line for line in program.splitlines() if line.strip()]) <= 22 for program, _ in PROGRAMS)


@pytest.mark.parametrize(("program", "output"), PROGRAMS, ids=["text", "tool"])
def test_a_program_prints_what_the_page_says(program: str, output: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120, cwd=ROOT
    )
    assert done.stdout == output
    assert done.stderr == ""
