"""The embedded server after a request was cut: left alone while it is idle or answers others, else ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from promptport_local import _running
from promptport_local._running import CountedStream, RunningRequests


class Server:
    def __init__(self, *busy: bool) -> None:
        self.busy = list(busy)
        self.asked = 0
        self.ended = 0
        self.told = asyncio.Event()
        self.requests = RunningRequests(self._busy, self._end)

    async def _busy(self) -> bool:
        self.asked += 1
        self.told.set()
        return self.busy.pop(0) if len(self.busy) > 1 else self.busy[0]

    async def _end(self) -> None:
        self.ended += 1

    async def watched(self) -> None:
        if self.requests._watching is not None:
            await self.requests._watching


class Body:
    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_running, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(_running, "_PAUSE_SECONDS", 0.001)


async def test_a_server_that_goes_on_is_ended_once() -> None:
    server = Server(True)
    server.requests.begin()
    server.requests.ended(whole=False)
    await server.watched()
    assert server.ended == 1
    server.requests.begin()
    server.requests.ended(whole=True)
    await server.watched()
    assert server.ended == 1, "nothing was cut since"


@pytest.mark.parametrize("busy", [(False,), (True, True, False)])
async def test_a_server_that_is_idle_soon_goes_on(busy: tuple[bool, ...]) -> None:
    server = Server(*busy)
    server.requests.begin()
    server.requests.ended(whole=False)
    await server.watched()
    assert (server.ended, server.asked) == (0, len(busy))


async def test_a_whole_answer_asks_nothing() -> None:
    server = Server(True)
    server.requests.begin()
    server.requests.ended(whole=True)
    assert server.requests._watching is None


async def test_a_server_that_answers_others_goes_on_until_they_are_done() -> None:
    server = Server(True)
    server.requests.begin()
    server.requests.begin()
    server.requests.ended(whole=False)
    assert server.requests._watching is None
    server.requests.ended(whole=True)
    await server.told.wait()
    server.requests.begin()  # somebody comes before the decision
    await server.watched()
    assert server.ended == 0
    server.requests.ended(whole=True)
    await server.watched()
    assert server.ended == 1


async def test_closing_ends_the_watch() -> None:
    server = Server(True)
    server.requests.begin()
    server.requests.ended(whole=False)
    await server.told.wait()
    await server.requests.aclose()
    await server.requests.aclose()
    assert server.ended == 0


@pytest.mark.parametrize(("read", "ended"), [(0, 1), (1, 1), (3, 0)])
async def test_a_stream_is_whole_where_it_was_read_to_its_end(read: int, ended: int) -> None:
    server, body = Server(True), Body(b"a", b"b")
    server.requests.begin()
    stream = CountedStream(body, server.requests)
    chunks = [chunk async for chunk, _ in _zip(stream, read)]
    assert b"".join(chunks) == b"ab"[:read]
    await stream.aclose()
    await stream.aclose()
    await server.watched()
    assert (server.ended, body.closed) == (ended, 2)


async def _zip(stream: CountedStream, most: int) -> AsyncIterator[tuple[bytes, int]]:
    for number in range(most):
        try:
            yield await anext(stream), number
        except StopAsyncIteration:
            return
