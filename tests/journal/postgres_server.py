"""A Postgres of a test's own, of Debian's package, at a free loopback port; ended with its test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.journal.server_process import ServerProcess
from tests.real_parts import free_port, need

__all__ = ["PostgresServer"]


class PostgresServer(ServerProcess):
    """Postgres with an empty database; it refuses to run as root, so it runs as somebody else then."""

    def __init__(self, place: Path) -> None:
        super().__init__(place / "postgres.log")
        self._initdb, self._postgres = need("initdb"), need("postgres")
        self._folder = ""
        self._port = free_port()
        self._user = _somebody() if os.getuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/durable"

    def __enter__(self) -> Self:
        self._folder = tempfile.mkdtemp(prefix="promptport-postgres-")  # pytest's folders are for their owner alone
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        command = [self._initdb, "-D", self._folder, "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd="/")
        return super().__enter__()

    def start(self) -> None:
        sockets = ["-c", f"unix_socket_directories={self._folder}", "-c", "listen_addresses=127.0.0.1", "-F"]
        command = [self._postgres, "-D", self._folder, "-p", str(self._port), *sockets]
        asks = [need("pg_isready"), "-h", "127.0.0.1", "-p", str(self._port)]

        def is_ready() -> bool:
            return subprocess.run(asks, capture_output=True, check=False).returncode == 0

        self.launch(command, is_ready, within=30, user=self._user, cwd="/")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                self._process.send_signal(3)  # does not wait for clients
                self._process.wait(20)
            self._process = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        shutil.rmtree(self._folder, ignore_errors=True)


def _somebody() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
