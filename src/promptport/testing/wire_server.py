"""`WireServer`: a provider that says, byte for byte, what a test tells it to say. HTTP/1.1 on a real loopback socket.

Rule: everything below HTTP is real (sockets, FIN, RST, chunked bodies, gzip), everything above it is scripted, and
nothing passes in silence: a request that nobody expected fails the ``async with`` that holds the server.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import struct
import zlib
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from http.client import responses
from typing import Any, Literal, Self, TypeAlias, TypeVar

from promptport.testing.cuts import Cut, cut_body

__all__ = ["Answer", "RecordedRequest", "WireResponse", "WireServer"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as it came.

    Attributes:
        method: ``POST``, ``GET`` …
        path: the path, without the query.
        query: what stood after the ``?``, or an empty string.
        headers: names in lower case; values of a repeated header joined by ``", "``.
        body: the body, out of its chunks.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(frozen=True)
class WireResponse:
    """One scripted response.

    Attributes:
        body: the bytes, or the chunks in which they are sent.
        status: the HTTP status.
        headers: further headers.
        content_type: the ``Content-Type``; ``None`` sends none.
        cut: how the body is cut into chunks, where it does not come in chunks; each is written on its own.
        pace: seconds to sleep after each chunk, the same or one for each; 0 lets other tasks run in between.
        framing: how the client knows the body's end: chunked transfer, ``Content-Length``, or closing the connection.
        gzip: compress, flushed at each chunk.
        stall_after: after so many bytes of the body (before gzip), say nothing more until the client leaves.
        reset_after: after so many bytes, reset the connection (RST).
        drop_after: after so many bytes, close the connection (FIN) without ending the body.
        end_after: after so many bytes, end the body as if that were all of it.
        head: send the status and the headers; ``False`` with ``reset_after=0`` or ``drop_after=0`` ends the connection
            before a byte of an answer.
    """

    body: bytes | Sequence[bytes] = b""
    _: KW_ONLY
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = "text/event-stream"
    cut: Cut = "whole"
    pace: float | Sequence[float] | None = None
    framing: Literal["chunked", "length", "close"] = "chunked"
    gzip: bool = False
    stall_after: int | None = None
    reset_after: int | None = None
    drop_after: int | None = None
    end_after: int | None = None
    head: bool = True

    def __post_init__(self) -> None:
        if sum(fault is not None for fault in self._faults) > 1:
            raise ValueError("a response stalls, resets, drops or ends early: choose one")
        if not self.head and self.reset_after != 0 and self.drop_after != 0:
            raise ValueError("head=False: there is no response without a head. Add reset_after=0 or drop_after=0.")

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> WireResponse:
        """A response that does not stream: ``value`` as JSON."""
        return cls(
            json.dumps(value).encode(),
            status=status,
            headers=headers or {},
            content_type="application/json",
            framing="length",
        )

    @property
    def chunks(self) -> list[bytes]:
        """The whole body in its chunks."""
        return (
            cut_body(self.body, self.cut) if isinstance(self.body, bytes) else [chunk for chunk in self.body if chunk]
        )

    def pause(self, number: int) -> float | None:
        """Seconds to sleep after this chunk, from 0; ``None`` not to."""
        if self.pace is None or isinstance(self.pace, int | float):
            return self.pace
        return self.pace[number] if number < len(self.pace) else None

    @property
    def limit(self) -> int | None:
        """How many bytes of the body are sent; ``None`` for all."""
        return next((limit for limit in self._faults if limit is not None), None)

    @property
    def _faults(self) -> tuple[int | None, ...]:
        return self.stall_after, self.reset_after, self.drop_after, self.end_after


Answer: TypeAlias = Callable[[RecordedRequest], WireResponse | Awaitable[WireResponse]]
"""Answers a request; may be async, and is cancelled when the client leaves while it waits."""

_ANY_PATH = ""


class WireServer:
    """A scripted server on a free port of 127.0.0.1; connections are kept alive between requests.

    ::

        async with WireServer(WireResponse(body, cut="events", stall_after=100)) as server:
            ...  # point a client at server.url
            await server.client_closed()

    Attributes:
        url: ``http://127.0.0.1:<port>``, without a slash at the end.
        requests: what came, in order.
        connections: how many connections were accepted.
        open_connections: how many of them are open now.
        closed_by_client: how many the client closed, on its side of the socket, whoever was first.
        sent_bytes: how many bytes the kernel took for responses; it stands still when the client does not read.
    """

    def __init__(self, *responses: WireResponse) -> None:
        """``responses``: as for `queue`."""
        self.url = ""
        self.requests: list[RecordedRequest] = []
        self.connections = 0
        self.open_connections = 0
        self.closed_by_client = 0
        self.sent_bytes = 0
        self._queues: defaultdict[str, deque[WireResponse]] = defaultdict(deque)
        self._queues[_ANY_PATH].extend(responses)
        self._answers: dict[str, Answer] = {}
        self._failures: list[Exception] = []
        self._closing = False
        self._handlers: set[asyncio.Task[None]] = set()
        self._waiters: list[asyncio.Future[None]] = []

    def queue(self, *responses: WireResponse, path: str = _ANY_PATH) -> None:
        """Answers the next requests, one each: for this path, or for any path that has nothing of its own."""
        self._queues[path].extend(responses)

    def answer(self, answer: Answer, path: str = _ANY_PATH) -> None:
        """Answers the requests for which nothing is queued: for this path, or for any that has nothing of its own."""
        self._answers[path] = answer

    async def client_closed(self, n: int = 1, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - says what was missing
        """Waits until the client closed ``n`` connections.

        Raises:
            TimeoutError: it did not within ``timeout`` seconds.
        """
        await self._until(lambda: self.closed_by_client >= n, timeout, f"the client to close {n} connections")

    async def requested(self, n: int = 1, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - says what was missing
        """Waits until ``n`` requests came.

        Raises:
            TimeoutError: they did not within ``timeout`` seconds.
        """
        await self._until(lambda: len(self.requests) >= n, timeout, f"{n} requests")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024, limit=1 << 20)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Closes all connections.

        Raises:
            ExceptionGroup: requests came that nothing answered, or an answer raised (where nothing else was raised).
        """
        self._closing = True
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()
        if kind is None and self._failures:
            raise ExceptionGroup("the wire server could not answer", self._failures)

    # --------------------------------------------------------------------------------------- connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        if handler is None or self._closing:
            writer.transport.abort()
            return
        self._handlers.add(handler)
        self.connections += 1
        self.open_connections += 1
        left = False
        # The server cancels its handlers when it closes; asyncio would report a cancelled one as a failure.
        try:
            left = await _Connection(self, reader, writer).run()
        except asyncio.CancelledError:
            pass
        except Exception as error:  # a request that is no HTTP, say; `__aexit__` raises it
            self._failures.append(error)
        finally:
            writer.transport.abort()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            self._handlers.discard(handler)
            self.open_connections -= 1
            self.closed_by_client += left
            self._changed()

    async def response_to(self, request: RecordedRequest) -> WireResponse:
        """The response to this request, which is recorded."""
        self.requests.append(request)
        self._changed()
        try:
            for path in (request.path, _ANY_PATH):
                if self._queues[path]:
                    return self._queues[path].popleft()
                if path in self._answers:
                    answered = self._answers[path](request)
                    return await answered if inspect.isawaitable(answered) else answered
            raise LookupError(f"nothing is queued for {request.method} {request.path}")
        except Exception as error:
            self._failures.append(error)
            return WireResponse.json({"error": {"message": f"wire server: {error}"}}, status=500)

    # ------------------------------------------------------------------------------------------- waiting

    def _changed(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    self._waiters.append(asyncio.get_running_loop().create_future())
                    await self._waiters[-1]
        except TimeoutError:
            raise TimeoutError(
                f"waited {seconds:g} s for {what}; came: {len(self.requests)} requests"
                f" on {self.connections} connections, {self.closed_by_client} of them closed by the client"
            ) from None


class _Connection:
    """One connection: requests in, responses out, until one side has enough.

    A read is always under way, also while a response is: only so does the server see that the client left.
    """

    def __init__(self, server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._reset = False
        # So that all that was written has gone to the kernel when `drain` returns.
        writer.transport.set_write_buffer_limits(high=0)

    async def run(self) -> bool:
        """Serves; whether the client closed its side."""
        next_byte = self._next_byte()
        try:
            while first := await next_byte:
                request = await self._read_request(first)
                next_byte = self._next_byte()
                response = await self._unless_gone(self._server.response_to(request), next_byte)
                if response is None or not await self._unless_gone(self._send(response, request), next_byte):
                    break
            return not self._reset and not await next_byte
        except (ConnectionError, asyncio.IncompleteReadError):
            return True
        finally:
            next_byte.cancel()
            await asyncio.gather(next_byte, return_exceptions=True)

    def _next_byte(self) -> asyncio.Task[bytes]:
        return asyncio.create_task(self._reader.read(1))

    async def _unless_gone(self, work: Coroutine[Any, Any, _T], next_byte: asyncio.Task[bytes]) -> _T | None:
        """The result of ``work``; ``None``, and ``work`` cancelled, when the client leaves first."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, next_byte}, return_when=asyncio.FIRST_COMPLETED)
            gone = next_byte.done() and (next_byte.exception() is not None or not next_byte.result())
            return None if gone and not task.done() else await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # ------------------------------------------------------------------------------------------ requests

    async def _read_request(self, first: bytes) -> RecordedRequest:
        head = (first + await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = request_line.split(" ")
        path, _, query = target.partition("?")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return RecordedRequest(method, path, query, headers, await self._read_body(headers))

    async def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await self._reader.readexactly(int(headers.get("content-length", "0")))
        body = bytearray()
        while size := int((await self._reader.readline()).partition(b";")[0], 16):
            body += await self._reader.readexactly(size)
            await self._reader.readline()
        while (await self._reader.readline()).strip():
            pass  # trailers
        return bytes(body)

    # ----------------------------------------------------------------------------------------- responses

    async def _send(self, response: WireResponse, request: RecordedRequest) -> bool:
        """Sends all that is to be sent; whether the connection can be used again."""
        whole = response.chunks
        chunks = _first_bytes(whole, response.limit)
        complete = response.limit is None or response.end_after is not None
        if response.gzip:
            whole, chunks = _gzipped(chunks if complete else whole, finish=True), _gzipped(chunks, finish=complete)
        elif complete:
            whole = chunks
        if response.head:
            await self._write(_head(response, sum(map(len, whole))))
        for number, chunk in enumerate(chunks):
            await self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if response.framing == "chunked" else chunk)
            pause = response.pause(number)
            if pause is not None:
                await asyncio.sleep(pause)
        if complete and response.framing == "chunked":
            await self._write(b"0\r\n\r\n")
        if response.stall_after is not None:
            await asyncio.get_running_loop().create_future()  # cancelled when the client leaves
        if response.reset_after is not None:
            self._reset = True
            linger = struct.pack("ii", 1, 0)  # on, for 0 s: the kernel closes with RST in place of FIN
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        closing = "close" in (response.framing, request.headers.get("connection"))
        if closing or response.drop_after is not None:
            self._writer.write_eof()
            return False
        return True

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        self._server.sent_bytes += len(data)


def _head(response: WireResponse, length: int) -> bytes:
    headers = dict(response.headers)
    if response.content_type is not None:
        headers["Content-Type"] = response.content_type
    if response.gzip:
        headers["Content-Encoding"] = "gzip"
    framing = {"chunked": ("Transfer-Encoding", "chunked"), "length": ("Content-Length", str(length))}
    name, value = framing.get(response.framing, ("Connection", "close"))
    headers[name] = value
    lines = [f"HTTP/1.1 {response.status} {responses.get(response.status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _first_bytes(chunks: list[bytes], limit: int | None) -> list[bytes]:
    if limit is None:
        return chunks
    out: list[bytes] = []
    for chunk in chunks:
        if limit > 0:
            out.append(chunk[:limit])
        limit -= len(chunk)
    return out


def _gzipped(chunks: list[bytes], *, finish: bool) -> list[bytes]:
    compressor = zlib.compressobj(wbits=31)  # 31: the gzip container
    out = [compressor.compress(chunk) + compressor.flush(zlib.Z_SYNC_FLUSH) for chunk in chunks]
    return [*out, compressor.flush()] if finish else out
