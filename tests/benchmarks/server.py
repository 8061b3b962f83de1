"""The provider of the benchmarks: a process of its own, raw asyncio, bytes that were encoded before the clock starts.

Rule: what is asked for stands in the path, ``/<api>/<kind>-<events>-<events a chunk>-<period in µs>-<streams>/…``, so
that every client, whosever it is, is told by nothing but its base URL.

``period`` 0 sends all at once, as fast as the client takes it; else one event goes out each period. Paced answers
wait until as many ``streams`` are open, and spread over one period: opening them is no part of what is measured.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from dataclasses import dataclass

from tests.benchmarks.wires import STAMP, Wire, overlapping, wire

_SETTLE = 0.05, 0.0005  # seconds, and as many more for each stream
_STAMP = STAMP.encode()
_TYPES = {"ollama": b"application/x-ndjson", "bedrock": b"application/vnd.amazon.eventstream"}
_SEALED_AT = 0.035


@dataclass(frozen=True)
class Answer:
    """What one path says."""

    api: str
    kind: str
    events: int
    events_per_chunk: int
    period: float
    streams: int

    @classmethod
    def of(cls, path: str) -> Answer:
        api, words = path.split("/")[1:3]
        kind, events, per_chunk, period, streams = words.split("-")
        return cls(api, kind, int(events), int(per_chunk), int(period) / 1e6, int(streams))


@functools.cache
def _body(answer: Answer) -> bytes:
    """The whole of an answer that is not paced, as it goes over the wire."""
    chunks = wire(answer.api, answer.kind, answer.events).chunks(answer.events_per_chunk)
    return b"".join(map(_chunk, chunks)) + b"0\r\n\r\n"


@functools.cache
def _wire(answer: Answer) -> Wire:
    return wire(answer.api, answer.kind, answer.events)


@functools.cache
def _overlapping() -> Wire:
    return overlapping()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class _Server:
    def __init__(self) -> None:
        self._waiting: dict[Answer, list[asyncio.Future[float]]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line[15:])
                body = await reader.readexactly(length)
                path = head.split(b" ", 2)[1].decode()
                if path.endswith("/api/show"):  # asked before each request by one library
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n" + b'{"model_info": {}}')
                else:
                    await self._answer(Answer.of(path), body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, answer: Answer, body: bytes, writer: asyncio.StreamWriter) -> None:
        kind = _TYPES.get(answer.api, b"text/event-stream; charset=utf-8")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n" % kind)
        if answer.kind == "overlap":
            await self._overlap(answer, body, writer)
        elif answer.period:
            await self._paced(answer, writer)
        else:
            writer.write(_body(answer))
            await writer.drain()

    async def _paced(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        parts = _wire(answer)
        writer.writelines(map(_chunk, parts.head))
        due = await self._all_open(answer)
        stamped = answer.kind == "paced"
        for event in parts.deltas:
            await asyncio.sleep(due - time.monotonic())
            writer.write(_chunk(event.replace(_STAMP, b"%017.6f " % time.monotonic()) if stamped else event))
            due += answer.period
        await asyncio.sleep(due - time.monotonic())
        writer.write(b"".join(map(_chunk, parts.tail)) + b"0\r\n\r\n")
        await writer.drain()

    async def _all_open(self, answer: Answer) -> float:
        """When this stream's first event is due."""
        waiting = self._waiting.setdefault(answer, [])
        waiting.append(asyncio.get_running_loop().create_future())
        place = waiting[-1]
        if len(waiting) == answer.streams:
            del self._waiting[answer]
            start = time.monotonic() + _SETTLE[0] + _SETTLE[1] * answer.streams
            for number, future in enumerate(waiting):
                future.set_result(start + answer.period * number / answer.streams)
        return await place

    async def _overlap(self, answer: Answer, body: bytes, writer: asyncio.StreamWriter) -> None:
        """A call, sealed at 35 ms, and then text; a short text once the call's result is there."""
        if b"function_call_output" in body:
            writer.write(_body(Answer("responses", "text", 4, 1, 0.0, 1)))
            return
        parts = _overlapping()
        await asyncio.sleep(_SEALED_AT)
        writer.writelines(map(_chunk, parts.head))
        for event in parts.deltas:
            await asyncio.sleep(answer.period)
            writer.write(_chunk(event))
        writer.write(b"".join(map(_chunk, parts.tail)) + b"0\r\n\r\n")


async def main() -> None:
    server = await asyncio.start_server(_Server().serve, "127.0.0.1", 0, backlog=4096, limit=1 << 26)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - tells the one who started it
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until that one is gone
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
