"""`WireServer` as an HTTP client and as a bare socket see it."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest

from promptport.testing.cuts import cut_body
from promptport.testing.wire_server import RecordedRequest, WireResponse, WireServer

BODY = b"data: one\n\ndata: two\n\ndata: three\n\n"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
        yield client


async def exchange(server: WireServer, request: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> bytes:
    """All bytes that the server sends until it closes; raises where it resets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


# ---------------------------------------------------------------------------------------------- requests


async def test_requests_are_recorded(client: httpx.AsyncClient) -> None:
    async with WireServer(WireResponse(), WireResponse()) as server:
        await client.post(f"{server.url}/v1/chat?a=1&b=2", json={"model": "m"}, headers={"X-Key": "k"})

        async def parts() -> AsyncIterator[bytes]:
            yield b"one "
            yield b"two"

        await client.put(f"{server.url}/other", content=parts(), headers=[("X-Twice", "1"), ("X-Twice", "2")])
    first, second = server.requests
    assert (first.method, first.path, first.query) == ("POST", "/v1/chat", "a=1&b=2")
    assert first.headers["x-key"] == "k"
    assert first.headers["content-type"] == "application/json"
    assert first.json() == {"model": "m"}
    assert (second.method, second.path, second.query, second.body) == ("PUT", "/other", "", b"one two")
    assert second.headers["x-twice"] == "1, 2"


async def test_responses_are_queued_for_a_path_or_for_any(client: httpx.AsyncClient) -> None:
    async with WireServer() as server:
        server.queue(WireResponse(b"any 1"), WireResponse(b"any 2"))
        server.queue(WireResponse(b"a"), path="/a")
        server.answer(lambda request: WireResponse(request.path.encode()))
        paths = ["/b", "/a", "/a", "/c"]
        assert [(await client.get(server.url + path)).content for path in paths] == [b"any 1", b"a", b"any 2", b"/c"]


async def test_an_answer_may_be_async_and_is_cancelled_when_the_client_leaves(client: httpx.AsyncClient) -> None:
    left = asyncio.Event()

    async def answer(request: RecordedRequest) -> WireResponse:
        if request.path == "/now":
            return WireResponse.json({"got": request.json()}, status=201, headers={"X-Extra": "1"})
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    async with WireServer() as server:
        server.answer(answer)
        response = await client.post(f"{server.url}/now", json=[1])
        assert (response.status_code, response.json()) == (201, {"got": [1]})
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-extra"] == "1"
        waiting = asyncio.create_task(client.get(f"{server.url}/never"))
        await server.requested(2)
        waiting.cancel()
        await asyncio.wait_for(left.wait(), 5)
        await server.client_closed()


async def test_a_request_that_nothing_answers_fails_the_test(client: httpx.AsyncClient) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with WireServer() as server:
            assert (await client.get(f"{server.url}/lost")).status_code == 500
    assert "nothing is queued for GET /lost" in str(raised.value.exceptions[0])


async def test_an_answer_that_raises_fails_the_test_unless_the_test_failed(client: httpx.AsyncClient) -> None:
    def answer(request: RecordedRequest) -> WireResponse:
        raise ZeroDivisionError

    async def run(error: Exception | None) -> None:
        async with WireServer() as server:
            server.answer(answer)
            assert (await client.get(server.url)).status_code == 500
            if error is not None:
                raise error

    with pytest.raises(ExceptionGroup) as raised:
        await run(None)
    assert isinstance(raised.value.exceptions[0], ZeroDivisionError)
    with pytest.raises(KeyError):
        await run(KeyError())


async def test_what_is_no_request_fails_the_test() -> None:
    with pytest.raises(ExceptionGroup):
        async with WireServer() as server:
            assert await exchange(server, b"hello\r\n\r\n") == b""


# ---------------------------------------------------------------------------------------------- framings


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("cut", ["whole", "bytes", "events", ("random", 3), [1, 12]])
async def test_the_body_comes_through(client: httpx.AsyncClient, framing, cut, compressed) -> None:  # type: ignore[no-untyped-def]
    async with WireServer(WireResponse(BODY, framing=framing, cut=cut, gzip=compressed, pace=0)) as server:
        response = await client.post(server.url)
        assert response.content == BODY
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers.get("content-encoding") == ("gzip" if compressed else None)
        assert ("transfer-encoding" in response.headers) == (framing == "chunked")
        assert ("content-length" in response.headers) == (framing == "length")


async def test_what_stands_on_the_wire() -> None:
    head = b"HTTP/1.1 529 \r\nX-A: 1\r\nContent-Type: text/plain\r\n"
    options = {"status": 529, "headers": {"X-A": "1"}, "content_type": "text/plain"}
    request = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    async with WireServer() as server:
        server.queue(WireResponse([b"abc", b"", b"defghijklm"], **options))  # type: ignore[arg-type]
        expected = head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na\r\ndefghijklm\r\n0\r\n\r\n"
        assert await exchange(server, request) == expected
        assert server.sent_bytes == len(expected)
        server.queue(WireResponse(b"abc", framing="length", **options))  # type: ignore[arg-type]
        assert await exchange(server, request) == head + b"Content-Length: 3\r\n\r\nabc"
        server.queue(WireResponse(b"abc", framing="close", content_type=None))
        assert await exchange(server) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"
        await server.client_closed(3)


async def test_gzip_is_flushed_at_each_chunk(client: httpx.AsyncClient) -> None:
    async with WireServer(WireResponse(BODY, cut="events", gzip=True, stall_after=len(BODY))) as server:
        got = b""
        async with client.stream("GET", server.url) as response:
            async for chunk in response.aiter_bytes():
                got += chunk
                if got == BODY:
                    break
        await server.client_closed()


async def test_connections_are_kept_alive(client: httpx.AsyncClient) -> None:
    async with WireServer(*[WireResponse(BODY)] * 5) as server:
        for _ in range(5):
            await client.get(server.url)
        assert (server.connections, server.open_connections, server.closed_by_client) == (1, 1, 0)
        await client.aclose()
        await server.client_closed()
        assert (server.connections, server.open_connections, server.closed_by_client) == (1, 0, 1)


async def test_a_second_request_may_come_while_the_first_is_answered() -> None:
    async with WireServer(WireResponse(b"1", pace=0, cut="bytes"), WireResponse(b"2", framing="close")) as server:
        answer = await exchange(server, b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
        assert answer.endswith(b"\r\n\r\n2")
        assert [request.path for request in server.requests] == ["/1", "/2"]


# ------------------------------------------------------------------------------------------------ faults


async def read_until_error(client: httpx.AsyncClient, url: str) -> tuple[bytes, type[Exception] | None]:
    got = b""
    try:
        async with client.stream("GET", url) as response:
            async for chunk in response.aiter_bytes():
                got += chunk
    except httpx.HTTPError as error:
        return got, type(error)
    return got, None


@pytest.mark.parametrize("at", [0, 1, 15, len(BODY), len(BODY) + 9])
@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_ends_early(client: httpx.AsyncClient, framing, at: int) -> None:  # type: ignore[no-untyped-def]
    async with WireServer(WireResponse(BODY, framing=framing, cut="events", end_after=at), WireResponse()) as server:
        assert await read_until_error(client, server.url) == (BODY[:at], None)
        await client.get(server.url)
        assert server.connections == 1


@pytest.mark.parametrize("at", [0, 1, 15])
@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_drops(client: httpx.AsyncClient, framing, at: int) -> None:  # type: ignore[no-untyped-def]
    async with WireServer(WireResponse(BODY, framing=framing, cut="bytes", drop_after=at)) as server:
        assert await read_until_error(client, server.url) == (BODY[:at], httpx.RemoteProtocolError)
        await server.client_closed()
        assert server.open_connections == 0


async def test_resets(client: httpx.AsyncClient) -> None:
    async with WireServer(*[WireResponse(BODY, cut="events", reset_after=15)] * 2) as server:
        assert await read_until_error(client, server.url) == (BODY[:15], httpx.ReadError)
        with pytest.raises(ConnectionResetError):
            await exchange(server)
        assert server.closed_by_client == 0


async def test_gzip_ends_early_in_order_and_drops_in_the_middle(client: httpx.AsyncClient) -> None:
    async with WireServer() as server:
        server.queue(WireResponse(BODY, gzip=True, end_after=15), WireResponse(BODY, gzip=True, drop_after=15))
        async with client.stream("GET", server.url) as response:
            assert gzip.decompress(b"".join([chunk async for chunk in response.aiter_raw()])) == BODY[:15]
        raw = (await exchange(server)).split(b"\r\n\r\n", 1)[1]
        compressed = raw.split(b"\r\n", 1)[1].removesuffix(b"\r\n")
        assert zlib.decompressobj(wbits=31).decompress(compressed) == BODY[:15]


@pytest.mark.parametrize("at", [0, 15])
async def test_stalls_until_the_client_leaves(client: httpx.AsyncClient, at: int) -> None:
    async with WireServer(WireResponse(BODY, cut="events", stall_after=at)) as server:
        async with client.stream("GET", server.url) as response:
            chunks = response.aiter_bytes()
            got = b""
            while len(got) < at:
                got += await anext(chunks)
            assert got == BODY[:at]
            assert (server.open_connections, server.closed_by_client) == (1, 0)
        await server.client_closed()
        assert server.open_connections == 0


async def test_a_client_that_leaves_in_the_middle_of_a_paced_body_is_seen(client: httpx.AsyncClient) -> None:
    async with WireServer(WireResponse(BODY, cut="bytes", pace=3600)) as server:
        async with client.stream("GET", server.url) as response:
            assert await anext(response.aiter_bytes()) == BODY[:1]
        await server.client_closed()


async def test_a_client_that_leaves_in_the_middle_of_its_request_is_seen() -> None:
    async with WireServer() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
        writer.close()
        await server.client_closed()
        assert server.requests == []


async def test_a_client_that_does_not_read_is_not_written_to(client: httpx.AsyncClient) -> None:
    size = 64 << 20
    async with WireServer(WireResponse([b"x" * 65536] * (size // 65536))) as server:
        async with client.stream("GET", server.url) as response:
            await anext(response.aiter_raw())
            before = -1
            while server.sent_bytes != before:  # until the kernel's buffers are full
                before = server.sent_bytes
                await asyncio.sleep(0.02)
            assert before < size
        await server.client_closed()


async def test_waiting_in_vain_says_what_came(client: httpx.AsyncClient) -> None:
    async with WireServer(WireResponse()) as server:
        await client.get(server.url)
        with pytest.raises(TimeoutError, match=r"client to close 1 .* 1 requests on 1 connections, 0 of them"):
            await server.client_closed(timeout=0.01)
        with pytest.raises(TimeoutError, match="for 2 requests"):
            await server.requested(2, timeout=0.01)


async def test_leaving_closes_all_connections() -> None:
    async with WireServer(*[WireResponse(BODY, stall_after=3)] * 3) as server:
        connections = [await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2])) for _ in range(3)]
        for reader, writer in connections:
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await reader.readuntil(b"dat\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.open_connections == 3
    assert (server.open_connections, server.closed_by_client) == (0, 0)
    for reader, writer in connections:
        assert await reader.read() == b""
        writer.close()


async def test_two_hundred_connections_at_once() -> None:
    async with WireServer() as server:
        server.answer(lambda request: WireResponse(BODY + request.path.encode(), cut="events", pace=0.01))
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=30.0, limits=limits, trust_env=False) as client:
            answers = await asyncio.gather(*(client.get(f"{server.url}/{index}") for index in range(200)))
        assert [answer.content for answer in answers] == [BODY + b"/%d" % index for index in range(200)]
        assert server.connections == 200
        await server.client_closed(200)
        assert server.open_connections == 0


def test_two_faults_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="choose one"):
        WireResponse(BODY, stall_after=1, drop_after=2)


# -------------------------------------------------------------------------------------------------- cuts


def test_cuts() -> None:
    assert cut_body(BODY) == [BODY]
    assert cut_body(BODY, "bytes") == [bytes([byte]) for byte in BODY]
    assert cut_body(BODY, "events") == [b"data: one\n\n", b"data: two\n\n", b"data: three\n\n"]
    assert cut_body(b"a\r\n\r\nb\r\rc", "events") == [b"a\r\n\r\n", b"b\r\r", b"c"]
    assert cut_body(b'{"a":1}\r\n{"b":2}\n{}', "events") == [b'{"a":1}\r\n', b'{"b":2}\n', b"{}"]
    assert cut_body(BODY, [3, 3, 0, 999, 5]) == [BODY[:3], BODY[3:5], BODY[5:]]
    for seed in range(20):
        chunks = cut_body(BODY * 9, ("random", seed))
        assert b"".join(chunks) == BODY * 9
        assert all(chunks)
        assert chunks == cut_body(BODY * 9, ("random", seed))
    assert cut_body(BODY * 9, ("random", 1)) != cut_body(BODY * 9, ("random", 2))
    assert cut_body(b"", "bytes") == []
    with pytest.raises(ValueError, match="no such cut"):
        cut_body(BODY, "halves")  # type: ignore[arg-type]
