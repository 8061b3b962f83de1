"""Many readers of many runs of ``promptport serve``, over HTTP, from a process of their own.

Rules: one reader of each run posts, the others read it again, and one of all reads nothing for the whole time. What is
told: the time from the making of a text to its reading, the server's memory at a quarter and at the end, its CPU.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from typing import Any

import aiohttp
import psutil

__all__ = ["many_readers"]

_STAMP = re.compile(rb'"delta":"(\d+\.\d{6}) "')
_SERVE = ("-m", "promptport", "serve", "--port", "0", "--model", "stamping/m")


async def many_readers(*, runs: int, readers: int, seconds: float, period: float) -> dict[str, float]:
    """Figures of ``runs`` runs with ``readers`` readers each.

    Args:
        runs: How many responses are under way at once.
        readers: How many read each, with the one that asked.
        seconds: How long a response takes.
        period: Seconds between two texts of a response.

    Raises:
        AssertionError: A reader missed a text, or the slow one did.
    """
    process = subprocess.Popen(  # noqa: ASYNC220 - before anything else runs
        [sys.executable, *_SERVE, "--executor", "tests.benchmarks.stamping:Stamping"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line[line.index("http://") :].split()[0]
        return await _read(url, psutil.Process(process.pid), (runs, readers), seconds, period)
    finally:
        process.kill()
        process.communicate()


async def _read(
    url: str, server: psutil.Process, shape: tuple[int, int], seconds: float, period: float
) -> dict[str, float]:
    runs, readers = shape
    events = round(seconds / period)
    late: list[float] = []

    async def follow(session: aiohttp.ClientSession, run: int, reader: int) -> int:
        if reader == 0:
            asked = {"type": "text", "text": f"{events} {period}"}
            body = {"id": f"t{run}", "messages": [{"id": "u", "role": "user", "parts": [asked]}]}
            response = await session.post(f"{url}/chat", json=body)
        else:
            response = await session.get(f"{url}/chat/t{run}/stream")
        count, rest = 0, b""
        async with response:
            assert response.status == 200, await response.text()
            if (run, reader) == (0, 1):  # the slow one
                await asyncio.sleep(seconds + 1)
            async for data in response.content.iter_any():
                now = time.monotonic()
                rest += data
                for stamp in _STAMP.finditer(rest):
                    count += 1
                    if (run, reader) != (0, 1):
                        late.append(now - float(stamp[1]))
                rest = rest[rest.rfind(b"\n\n") + 2 :]
        return count

    timeout = aiohttp.ClientTimeout(total=seconds * 3 + 60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        tasks = []
        for run in range(runs):
            tasks.append(asyncio.create_task(follow(session, run, 0)))
            await asyncio.sleep(period / runs)
        await asyncio.sleep(period)
        for reader in range(1, readers):
            for run in range(runs):
                tasks.append(asyncio.create_task(follow(session, run, reader)))
            await asyncio.sleep(0.05)
        await asyncio.sleep(seconds / 4)
        joined, began, memory = len(late), server.cpu_times(), server.memory_info().rss
        await asyncio.sleep(seconds / 2)
        after, ended, grown = len(late), server.cpu_times(), server.memory_info().rss - memory
        counts = await asyncio.gather(*tasks)
    assert set(counts) == {events}, f"a reader missed something: {min(counts)} of {events}"
    steady = sorted(late[joined:after])
    cpu = ended.user + ended.system - began.user - began.system
    return {
        "cpu": cpu / len(steady) * 1e6,
        "p50": steady[len(steady) // 2] * 1e3,
        "p99": steady[len(steady) * 99 // 100] * 1e3,
        "memory": memory / 2**20,
        "grown": grown / 2**20,
    }


async def main() -> None:
    options: dict[str, Any] = json.loads(sys.stdin.readline())
    options.pop("command")
    print(json.dumps(await many_readers(**options)), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    asyncio.run(main())
