"""A process that streams from the benchmarks' server with one contender, and says what that cost it.

Rule: nothing of the server and nothing of other contenders runs in here; the garbage collector is on, for everybody,
and everybody has the malloc that promptport sees to (`promptport.http.base_client`), which some get by an import.

One command a line comes in as JSON, and one line goes out for each:

- ``burst``: requests, one after the other → CPU seconds of one, where nothing disturbed them.
- ``paced``: so many streams at once → CPU seconds, and seconds from an event's stamp until its text is handed over,
  for the time from the first stamp until the last, in which nothing is opened or closed; and what the streams hold.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from tests.benchmarks.contenders import CONTENDERS, Stream
from tests.benchmarks.peers import PEERS
from tests.benchmarks.wires import STAMP, pieces_of

Result = dict[str, Any]


def resident() -> int:
    """Bytes of memory that this process holds now."""
    import psutil

    size: int = psutil.Process().memory_info().rss
    return size


class _Client:
    def __init__(self, contender: str, api: str) -> None:
        self._make = {**CONTENDERS, **PEERS}[contender]
        self._parsed = contender != "bytes"
        self._api = api
        self._streams: dict[str, Stream] = {}

    def _stream(self, url: str, tool: bool) -> Stream:
        """One for each address, so that connections are used again."""
        if url not in self._streams:
            self._streams[url] = self._make(self._api, url, tool)
        return self._streams[url]

    async def burst(self, url: str, kind: str, events: int, requests: int, seconds: float) -> Result:
        """The fastest so many requests of all that fit into so much CPU time, which may be one time only."""
        stream = self._stream(url, kind == "call")
        expected = "".join(pieces_of(kind, events))
        gc.collect()
        assert gc.isenabled()
        least, total = math.inf, 0.0
        while total == 0 or total < seconds:
            texts: list[list[str]] = [[] for _ in range(requests)]
            start = time.process_time()
            for text in texts:
                await stream(text.append)
            cpu = time.process_time() - start
            least, total = min(least, cpu), total + cpu
            if self._parsed:
                for text in texts:
                    _compare("".join(text), expected)
        return {"cpu": least / requests}

    async def paced(self, url: str, warm_url: str, streams: int, events: int) -> Result:
        await self._make(self._api, warm_url, False)(lambda _: None)
        stream = self._stream(url, False)
        gc.collect()
        before = resident()
        if not self._parsed:
            await asyncio.gather(*[stream(lambda _: None) for _ in range(streams)])
            return {}
        window = _Window(streams * events)
        await asyncio.gather(*[stream(window.take) for _ in range(streams)])
        return {**window.result(), "memory": (window.resident - before) / streams}


class _Window:
    """The time from the first stamp to the last."""

    def __init__(self, events: int) -> None:
        self._latencies: list[float] = []
        self._half = events // 2
        self._cpu = [0.0, 0.0]
        self._last = 0
        self._events = events
        self.resident = 0

    def take(self, text: str) -> None:
        now = time.monotonic()
        latencies = self._latencies
        if not latencies:
            self._cpu[0] = time.process_time()
        if len(text) == len(STAMP):
            latencies.append(now - float(text))
        else:  # several events that were handed over as one
            latencies.extend(now - float(stamp) for stamp in text.split())
        if not self.resident and len(latencies) >= self._half:
            self.resident = resident()
        if len(latencies) == self._events:
            self._cpu[1] = time.process_time()

    def result(self) -> Result:
        if len(self._latencies) != self._events:
            raise AssertionError(f"{len(self._latencies)} events of {self._events} came")
        ordered = sorted(self._latencies)
        return {
            "cpu": self._cpu[1] - self._cpu[0],
            "p50": ordered[len(ordered) // 2],
            "p99": ordered[len(ordered) * 99 // 100],
        }


def _compare(text: str, expected: str) -> None:
    """Whoever loses or doubles a piece is not measured."""
    if text != expected:
        raise AssertionError(f"{len(text)} characters came where {len(expected)} were sent, or others")


async def main(contender: str, api: str) -> None:
    bytes(1 << 20)
    client = _Client(contender, api)
    commands: dict[str, Callable[..., Any]] = {"burst": client.burst, "paced": client.paced}
    loop = asyncio.get_running_loop()
    # Some libraries print; the answers must not mix with that.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        options = json.loads(line)
        try:
            result = await commands[options.pop("command")](**options)
        except Exception:
            result = {"error": traceback.format_exc(limit=-3)}
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
