"""A process that produces one run: ``python -m tests.run_log.producer URL RUN COUNT LEASE [PERIOD]``.

Killed, or frozen, by its test. With a period it goes on: a frame each so many seconds, without end.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import promptport as pp
from promptport.dispatch import DispatchFrame
from promptport.run_log.redis import RedisRunLog


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def frames(count: int, period: float) -> AsyncIterator[DispatchFrame]:
    try:
        for number in range(count):
            yield pp.Append(f"{number} ")
            await asyncio.sleep(0.01)
        say("waiting")
        while period:
            yield pp.Append("more ")
            await asyncio.sleep(period)
        await asyncio.Event().wait()
    finally:
        say("closed")


async def main(url: str, run: str, count: int, lease: float, period: float) -> None:
    log = RedisRunLog(url, lease=lease, buffer_seconds=None)
    await log.start(run, frames(count, period), thread="thread-1")
    reader = log.read(run)
    try:
        async for _ in reader:
            pass
        say("stopped" if reader.stopped else "over")
    except pp.StreamError as error:
        say(error.code or "")
    await log.aclose()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float((*sys.argv, "0")[5])))
