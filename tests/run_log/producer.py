"""A process that produces one run: ``python -m tests.run_log.producer URL RUN COUNT LEASE``. Killed by its test."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import promptport as pp
from promptport.dispatch import DispatchFrame
from promptport.run_log.redis import RedisRunLog


async def frames(count: int) -> AsyncIterator[DispatchFrame]:
    for number in range(count):
        yield pp.Append(f"{number} ")
        await asyncio.sleep(0.01)
    sys.stdout.write("waiting\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


async def main(url: str, run: str, count: int, lease: float) -> None:
    log = RedisRunLog(url, lease=lease, buffer_seconds=None)
    await log.start(run, frames(count), thread="thread-1")
    reader = log.read(run)
    async for _ in reader:
        pass
    sys.stdout.write("stopped\n" if reader.stopped else "over\n")
    sys.stdout.flush()
    await log.aclose()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
