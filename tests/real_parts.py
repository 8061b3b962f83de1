"""Programs that only the tests of real parts need: Redis, Postgres, Node, Chromium.

Rule: on a person's machine a missing one skips its tests, with a word that says how to get it; where
``PROMPTPORT_REAL_PARTS=required`` is set, as in ``.ci/run``, it fails them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["free_port", "missing", "need", "skip_module"]

_PACKAGES = {
    "chromium": "chromium",
    "initdb": "postgresql",
    "node": "nodejs",
    "npm": "npm",
    "postgres": "postgresql",
    "redis-server": "redis-server",
    "tmux": "tmux",
}
_ELSEWHERE = "/usr/lib/postgresql/*/bin"


def need(program: str) -> str:
    """The path of a program; without it the test is skipped, or fails where real parts are required."""
    found = shutil.which(program)
    if found is None:
        beside = sorted(Path("/").glob(f"{_ELSEWHERE.removeprefix('/')}/{program}"))
        found = str(beside[-1]) if beside else None
    if found is None:
        package = _PACKAGES.get(program, program)
        missing(f"{program} is not installed; on Debian: apt-get install {package}")
    return found


def missing(why: str) -> NoReturn:
    """Skips the test, or fails it where real parts are required."""
    if os.environ.get("PROMPTPORT_REAL_PARTS") == "required":
        pytest.fail(f"a real part is missing: {why}", pytrace=False)
    pytest.skip(why)


def skip_module(why: str) -> NoReturn:
    """As `missing`, for all tests of the module that calls this while it is imported."""
    if os.environ.get("PROMPTPORT_REAL_PARTS") == "required":
        pytest.fail(f"a real part is missing: {why}", pytrace=False)
    pytest.skip(why, allow_module_level=True)


def free_port() -> int:
    """A port of the loopback address that nobody listens at."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
