"""What the servers of the journal's tests have alike: started, killed as in a crash, started again, and ended."""

from __future__ import annotations

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["ServerProcess"]


class ServerProcess(ABC):
    """A server of a test's own, as a process whose output goes to a file."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Starts it, and waits until it answers."""

    def launch(self, command: list[str], is_ready: Callable[[], bool], *, within: float, **options: Any) -> None:
        """Starts this command; it is ready within so many seconds."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **options)
        until = time.monotonic() + within
        while not is_ready():
            assert time.monotonic() < until, self._log.read_text()[-3000:]
            time.sleep(0.1)

    def restart(self) -> None:
        """As after a crash: killed, and started again."""
        self.stop()
        self.start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
