"""What a run log on a real Redis costs: appending in batches, and writing and reading at once.

Rule: answers as `tests.benchmarks.inside` does, one command a line. The CPU is that of this process, Redis's own apart.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator

import promptport as pp
from promptport.dispatch import encode_dispatch_frame
from promptport.run_log.redis import RedisRunLog

_RUNS, _RATE = 40, 100.0
_BATCH = 16


async def append(log: RedisRunLog, name: str, count: int) -> float:
    """CPU seconds of ``count`` frames, encoded and appended in batches of 16."""
    frames = [pp.Append(" word") for _ in range(_BATCH)]
    position = 1
    await log.write(name, "token", position, [], last=False, how="opening")
    gc.collect()
    cpu = time.process_time()
    for _ in range(count // _BATCH):
        entries = [b"f" + encode_dispatch_frame(frame) for frame in frames]
        await log.write(name, "token", position, entries, last=False, how="renew")
        position += _BATCH
    return time.process_time() - cpu


async def both(writing: RedisRunLog, reading: RedisRunLog, name: str, count: int) -> float:
    """CPU seconds of 40 runs that bring 100 frames a second each, with one reader each through Redis."""
    each = count // _RUNS

    async def frames() -> AsyncIterator[pp.StreamFrame]:
        due = time.monotonic()
        for _ in range(each):
            yield pp.Append(" word")
            due += 1 / _RATE
            await asyncio.sleep(due - time.monotonic())
        yield pp.End(pp.FinishReason.STOP)

    async def read(run: str) -> str:
        text = [logged.frame.text async for logged in reading.read(run) if isinstance(logged.frame, pp.Append)]
        return "".join(text)

    gc.collect()
    cpu = time.process_time()
    for number in range(_RUNS):
        await writing.start(f"{name}-{number}", frames())
    texts = await asyncio.gather(*[read(f"{name}-{number}") for number in range(_RUNS)])
    spent = time.process_time() - cpu
    if set(texts) != {" word" * each}:
        raise AssertionError("a reader missed something")
    return spent


async def main(url: str) -> None:
    loop = asyncio.get_running_loop()
    async with RedisRunLog(url) as writing, RedisRunLog(url) as reading:
        number = 0
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            options = json.loads(line)
            number += 1
            if options["command"] == "append":
                cpu = await append(writing, f"append-{number}", options["count"])
            else:
                cpu = await both(writing, reading, f"both-{number}", options["count"])
            print(json.dumps({"cpu": cpu}), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    asyncio.run(main(sys.argv[2]))
