"""A Redis of the test's own, on a free port of the loopback address, which the test may kill and start again."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Self

from tests.real_parts import free_port, need

__all__ = ["RedisServer"]


class RedisServer:
    def __init__(self, folder: Path, *options: str) -> None:
        self._program = need("redis-server")
        self._folder = folder
        self._options = options
        self.port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *[self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            *self._options,
            cwd=self._folder,
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(10):
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                        return
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
