"""Starts the benchmarks' processes, and talks to them.

Rule: a contender that fails or hangs is told of and left out; it never stops the run of the others.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tests.benchmarks.environments import ROOT, python_of

Result = dict[str, Any]


class Failed(Exception):
    """What a contender said when it could not do what was asked."""


def environment() -> dict[str, str]:
    """The environment of every process: nobody's keys, proxies or debug switches."""
    kept = {name: value for name, value in os.environ.items() if "API_KEY" not in name and "proxy" not in name.lower()}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}


def _processors() -> list[int]:
    """Those that this process may use; empty where it cannot choose among several."""
    able = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return able if len(able) > 1 else []


class Process:
    """A process that is asked line by line, and ends with its context."""

    def __init__(self, *command: str, processors: Sequence[int]) -> None:
        """``processors``: where it runs; not all are equally fast, and nobody shall have the better one by chance."""
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        if processors:
            os.sched_setaffinity(self._process.pid, processors)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def write(self, text: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the answer that does not come will tell
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()

    def last_words(self) -> str:
        """The end of what the process said besides its answers."""
        self._log.seek(0)
        return self._log.read()[-1000:].strip()

    def read(self, seconds: float) -> str:
        """One line; an empty string where none comes in time."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return self._process.stdout.readline() if selector.select(seconds) else ""


class Server(Process):
    """`tests.benchmarks.server`."""

    def __init__(self) -> None:
        super().__init__(sys.executable, "-m", "tests.benchmarks.server", processors=_processors()[1:])
        self._port = int(self.read(30))

    def url(
        self, api: str, kind: str, events: int, *, per_chunk: int = 1, period: float = 0.0, streams: int = 1
    ) -> str:
        """Where this answer is given; see the server's docstring."""
        words = f"{kind}-{events}-{per_chunk}-{round(period * 1e6)}-{streams}"
        return f"http://127.0.0.1:{self._port}/{api}/{words}"


class Redis(Process):
    """A Redis of the benchmarks' own, which keeps nothing on the disk."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Failed("redis-server is not installed; on Debian: apt-get install redis-server")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        options += ["--loglevel", "warning"]
        super().__init__(program, *options, processors=_processors()[1:])
        self.url = f"redis://127.0.0.1:{port}"
        until = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if time.monotonic() > until:
                raise Failed("redis-server did not start")
            time.sleep(0.01)


class Client(Process):
    """`tests.benchmarks.client`, or another module that answers a line for a line, with one contender."""

    def __init__(self, contender: str, *arguments: str, module: str = "client") -> None:
        command = [python_of(contender), "-m", f"tests.benchmarks.{module}", contender, *arguments]
        super().__init__(*command, processors=_processors()[:1])

    def ask(self, command: str, within: float = 60.0, **options: Any) -> Result:
        """The answer to one command.

        Raises:
            Failed: an error, or no answer in time.
        """
        self.write(json.dumps({"command": command, **options}))
        line = self.read(within)
        if not line:
            raise Failed(f"no answer within {within:g} s; {self.last_words()}")
        result: Result = json.loads(line)
        if "error" in result:
            raise Failed(str(result["error"]).strip())
        return result
