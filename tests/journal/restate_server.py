"""A Restate server of a test's own, of npm's package, at free loopback ports; ended with its test."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import httpx
from tests.journal.server_process import ServerProcess
from tests.real_parts import free_port, missing

__all__ = ["NODE", "RestateServer"]

NODE = Path(tempfile.gettempdir()) / "promptport-restate-server"

PACKAGE = "@restatedev/restate-server@1.7.12"


def _binary(cache: Path) -> str:
    """The server's program; installed by npm when it is first needed."""
    found = sorted(cache.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not found:
        cache.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
        try:
            subprocess.run(command, cwd=cache, check=True, capture_output=True, timeout=200)
        except (OSError, subprocess.SubprocessError) as error:
            missing(f"Restate's server is not installed: npm install {PACKAGE}: {error}")
        found = sorted(cache.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not found:
        missing(f"Restate's server: {PACKAGE} has none for this machine")
    return str(found[0])


class RestateServer(ServerProcess):
    """Restate, with its data in a folder of the test."""

    def __init__(self, place: Path, cache: Path) -> None:
        super().__init__(place / "restate.log")
        self._program = _binary(cache)
        self._place = place
        self._ports = [free_port() for _ in range(4)]

    @property
    def url(self) -> str:
        """Where it is called, where it is administered, and the port at which it finds the program."""
        ingress, admin, _, own = self._ports
        return f"http://127.0.0.1:{ingress},http://127.0.0.1:{admin},{own}"

    def start(self) -> None:
        ingress, admin, node, _ = self._ports
        environment = {
            **os.environ,
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_BIND_IP": "127.0.0.1",
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
            "RESTATE_BASE_DIR": str(self._place / "restate"),
            "RESTATE_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
        }

        def is_ready() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{admin}/health", timeout=2).status_code == 200
            except httpx.TransportError:
                return False

        self.launch([self._program], is_ready, within=60, env=environment, cwd=self._place)
