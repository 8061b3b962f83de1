"""The list of tested versions stands where pip reads it and where uv does; both are the same list."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_pip_and_uv_read_the_same_constraints() -> None:
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    for_pip = [line for line in lines if line and not line.startswith("#")]
    for_uv = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    assert for_pip == for_uv
    assert len(for_pip) > 50
    assert all("==" in line for line in for_pip)
