"""The transport over a real loopback socket, and an HTTP library's exceptions → errors."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import httpx
import httpx2
import pytest

from promptport.errors import (
    AuthenticationError,
    ConfigurationError,
    ModelNotFoundError,
    PromptportError,
    ProtocolError,
    ProviderError,
    TransportError,
)
from promptport.http import bodies, transport_errors
from promptport.http.addresses import check_base_url
from promptport.http.aiohttp_transport import AiohttpTransport
from promptport.http.httpx_transport import HTTPTransport, ResponseStream
from promptport.http.transport_errors import transport_error
from promptport.stream import Timeouts
from promptport.testing import RecordedRequest, WireResponse, WireServer

KEY = "sk-very-secret"


EVENTS = b"data: 1\n\ndata: 2\n\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def below_http(handler: Handler) -> AsyncIterator[str]:
    """For what `WireServer` does not do: answers that are not HTTP. Gives host and port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        await handler(reader, writer)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    listener.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


def transport(url: str, **options: Any) -> HTTPTransport:
    options.setdefault("headers", {"authorization": f"Bearer {KEY}"})
    options.setdefault("timeouts", Timeouts())
    return HTTPTransport(url, provider="p", **options)


@asynccontextmanager
async def transporting(url: str, **options: Any) -> AsyncIterator[HTTPTransport]:
    made = transport(url, **options)
    try:
        yield made
    finally:
        await made.aclose()


def clients() -> list[Any]:
    return [httpx.AsyncClient, httpx2.AsyncClient]


# --------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize("kind", [None, *clients()])
async def test_a_body_goes_out_and_bytes_come_in(kind: Any) -> None:
    client = kind() if kind else None
    async with WireServer(*[WireResponse(EVENTS, cut=(5, 7))] * 2) as server:
        async with transporting(f"{server.url}/v1/", http_client=client) as sender:
            for _ in range(2):
                stream = await sender.open("/chat", {"model": "m", "text": "é"}, "m")
                assert b"".join([data async for data in stream]) == EVENTS
                await stream.aclose()
        request = server.requests[0]
        assert server.connections == 1  # a body that was read to the end leaves the connection to the next
    assert (request.method, request.path) == ("POST", "/v1/chat")
    assert request.json() == {"model": "m", "text": "é"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    if client is not None:
        assert not client.is_closed
        await client.aclose()


async def test_whole_answers() -> None:
    async with WireServer(*[WireResponse.json({"ok": 1})] * 2) as server, transporting(server.url) as sender:
        assert await sender.post("/chat", {"a": 1}, "m") == b'{"ok": 1}'
        assert await sender.get("/models") == b'{"ok": 1}'
        assert [request.method for request in server.requests] == ["POST", "GET"]
        assert [request.path for request in server.requests] == ["/chat", "/models"]
        assert "content-type" not in server.requests[1].headers
        assert server.connections == 1


async def test_closing_a_stream_cuts_its_connection() -> None:
    async with (
        WireServer(WireResponse(EVENTS, cut="events", stall_after=9)) as server,
        transporting(server.url) as sender,
    ):
        stream = await sender.open("/chat", {}, "m")
        assert await anext(aiter(stream)) == b"data: 1\n\n"
        assert server.open_connections == 1
        await stream.aclose()
        await server.client_closed()
        await stream.aclose()


async def test_closing_a_stream_that_was_not_read() -> None:
    async with WireServer(WireResponse(EVENTS, stall_after=0)) as server, transporting(server.url) as sender:
        await (await sender.open("/chat", {}, "m")).aclose()
        await server.client_closed()


@pytest.mark.parametrize("kind", clients())
@pytest.mark.parametrize("turns", range(5))
async def test_a_second_cancellation_does_not_keep_the_connection(kind: Any, turns: int) -> None:
    """A task that reads is cancelled, and again while it cleans up."""

    async def read() -> None:
        stream = await sender.open("/chat", {}, "m")
        try:
            async for _ in stream:
                reading.set()
        finally:
            await stream.aclose()

    reading = asyncio.Event()
    async with kind() as client, WireServer(WireResponse(EVENTS, cut="events", stall_after=9)) as server:
        sender = transport(server.url, http_client=client)
        task = asyncio.create_task(read())
        await reading.wait()
        task.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await server.client_closed()


async def test_the_librarys_own_iterator_is_handed_out() -> None:
    async with (
        WireServer(WireResponse(b"x")) as server,
        httpx.AsyncClient() as client,
        client.stream("GET", server.url) as response,
    ):
        assert type(aiter(ResponseStream(response))) is type(response.aiter_raw())


async def test_compressed_bodies_are_decompressed() -> None:
    async with WireServer(*[WireResponse(EVENTS, gzip=True)] * 2) as server, transporting(server.url) as sender:
        stream = await sender.open("/chat", {}, "m")
        assert b"".join([data async for data in stream]) == EVENTS
        await stream.aclose()
        assert await sender.post("/chat", {}, "m") == EVENTS


async def test_broken_compression() -> None:
    broken = WireResponse(b"no", headers={"content-encoding": "gzip"})
    async with WireServer(broken, broken) as server, transporting(server.url) as sender:
        stream = await sender.open("/chat", {}, "m")
        with pytest.raises(ProtocolError, match="compression"):
            _ = [data async for data in stream]
        await stream.aclose()
        with pytest.raises(ProtocolError, match="compression"):
            await sender.post("/chat", {}, "m")


async def test_redirects_are_followed() -> None:
    moved = WireResponse(status=307, headers={"location": "/v2/chat"}, framing="length")
    async with WireServer(moved, WireResponse.json({})) as server, transporting(f"{server.url}/v1") as sender:
        assert await sender.post("/chat", {"a": 1}, "m") == b"{}"
        assert server.requests[1].path == "/v2/chat"
        assert server.requests[1].json() == {"a": 1}


async def test_redirects_without_end() -> None:
    async with WireServer() as server, transporting(server.url) as sender:
        server.answer(lambda _: WireResponse(status=307, headers={"location": "/chat"}, framing="length"))
        with pytest.raises(TransportError, match="redirects"):
            await sender.post("/chat", {}, "m")


# ------------------------------------------------------------------------------------------------ errors


async def test_an_error_status() -> None:
    missing = WireResponse.json({"error": {"message": f"no model m for {KEY}"}}, 404, {"x-request-id": "r1"})
    async with WireServer(*[missing] * 3) as server, transporting(server.url) as sender:
        for call in (sender.open("/chat", {}, "m"), sender.post("/chat", {}, "m")):
            with pytest.raises(ModelNotFoundError, match=r"^p/m: HTTP 404: no model m for \[redacted\]; ") as raised:
                await call
            assert raised.value.request_id == "r1"
        with pytest.raises(ModelNotFoundError):
            await sender.get("/models")
        assert server.connections == 1


@pytest.mark.parametrize("header", ["X-Api-Key", "Ocp-Apim-Subscription-Key", "cf-access-client-secret", "X-Auth"])
async def test_a_key_in_another_header_is_redacted_too(header: str) -> None:
    refused = WireResponse(f"bad key {KEY}".encode(), status=401)
    async with WireServer(refused) as server, transporting(server.url, headers={header: KEY}) as sender:
        with pytest.raises(AuthenticationError) as raised:
            await sender.post("/chat", {}, "m")
        assert KEY not in str(raised.value)


async def test_an_error_body_is_read_to_its_limit_and_no_further() -> None:
    endless = WireResponse([b"x" * 65536] * 40, status=500, stall_after=40 * 65536)
    async with WireServer(endless) as server, transporting(server.url) as sender:
        with pytest.raises(ProviderError, match="HTTP 500"):
            await sender.open("/chat", {}, "m")
        await server.client_closed()


@pytest.mark.parametrize(
    "options",
    [{"drop_after": 1}, {"reset_after": 1}, {"headers": {"content-encoding": "gzip"}}],
    ids=["dropped", "reset", "no gzip"],
)
async def test_an_error_body_that_cannot_be_read_is_still_the_status(options: dict[str, Any]) -> None:
    async with WireServer(WireResponse(b"{}", status=401, **options)) as server, transporting(server.url) as sender:
        with pytest.raises(AuthenticationError):
            await sender.open("/chat", {}, "m")


async def test_a_slow_error_body_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_ERROR_BODY_SECONDS", 0.05)
    slow = WireResponse([b"bad key", b" and more"], status=401, stall_after=7)
    async with WireServer(slow) as server, transporting(server.url) as sender:
        with pytest.raises(AuthenticationError, match="bad key;"):
            await sender.open("/chat", {}, "m")


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with transporting(f"http://user:{KEY}@127.0.0.1:{port}/v1", headers={}) as sender:
            with pytest.raises(TransportError) as raised:
                await sender.open("/chat", {}, "m")
    assert str(raised.value) == f"p: cannot connect to 127.0.0.1:{port}: is the server running?"
    assert isinstance(raised.value.__cause__, httpx.ConnectError)
    assert (raised.value.provider, raised.value.model, raised.value.status) == ("p", "m", None)


async def test_the_server_hangs_up() -> None:
    async with below_http(hang_up) as host, transporting(f"http://{host}") as sender:
        for call in (sender.open("/chat", {}, "m"), sender.post("/chat", {}, "m"), sender.get("/models")):
            with pytest.raises(TransportError, match=rf"^p: the connection to {host} broke$"):
                await call


@pytest.mark.parametrize("options", [{"drop_after": 1}, {"reset_after": 1}, {"drop_after": 1, "framing": "length"}])
async def test_the_server_hangs_up_in_the_body(options: dict[str, Any]) -> None:
    async with WireServer(WireResponse(b"{}", **options)) as server, transporting(server.url) as sender:
        with pytest.raises(TransportError, match="broke"):
            await sender.post("/chat", {}, "m")


async def test_get_does_not_wait_for_ever() -> None:
    silent = WireResponse(b"{}", stall_after=0)
    timeouts = Timeouts(first_frame=0.05)
    async with WireServer(silent) as server, transporting(server.url, timeouts=timeouts) as sender:
        with pytest.raises(TransportError, match="did not answer in time"):
            await sender.get("/models")


async def test_no_other_clock_runs_in_the_http_client() -> None:
    async def answer(_: RecordedRequest) -> WireResponse:
        await held.wait()
        return WireResponse.json({})

    held = asyncio.Event()
    async with (
        httpx.AsyncClient(timeout=0.05) as client,
        WireServer() as server,
        transporting(server.url, http_client=client) as sender,
    ):
        server.answer(answer)
        waiting = asyncio.create_task(sender.post("/chat", {}, "m"))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        held.set()
        assert await waiting == b"{}"


@pytest.mark.parametrize("kind", clients())
async def test_tls_where_there_is_none(kind: Any) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with kind() as client, below_http(refuse) as host:
        sender = transport(f"https://{host}", http_client=client)
        with pytest.raises(TransportError, match=rf"^p: no secure connection to {host}: does it speak https"):
            await sender.post("/chat", {}, "m")


@pytest.mark.parametrize("kind", clients())
async def test_a_host_that_does_not_exist(kind: Any) -> None:
    async with kind(trust_env=False) as client, transporting("http://nobody.invalid/v1", http_client=client) as sender:
        with pytest.raises(TransportError, match=r"^p: there is no host nobody\.invalid: check"):
            await sender.post("/chat", {}, "m")


async def test_no_proxy_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with WireServer(*[WireResponse.json({})] * 2) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            async with transporting(url) as sender:
                assert await sender.post("/chat", {}, "m") == b"{}"
    async with transporting("http://example.invalid") as sender:
        with pytest.raises(TransportError, match=r"cannot connect to example\.invalid"):
            await sender.post("/chat", {}, "m")


# ----------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com/v1",
        "ftp://example.com",
        "http://",
        "https:///v1",
        "http://exam ple.com",
        "http://example.com\n",
        "http://example.com:port",
        "http://[::1",
        "http://example.com/v1?a=b",
        "http://example.com/v1#a",
        None,
    ],
)
def test_unusable_base_urls(url: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^p: the base_url "):
        transport(url)


def test_usable_base_urls() -> None:
    assert check_base_url("https://api.example.com/v1/", provider="p") == "https://api.example.com/v1"
    assert check_base_url("http://[::1]:8080", provider="p") == "http://[::1]:8080"
    for usual in ("http://[fe80::1%eth0]:80", "http://my_server", "https://b\u00fccher.example", "http://127.0.0.1:9"):
        assert check_base_url(usual, provider="p") == usual


async def test_unusable_http_clients() -> None:
    with httpx.Client() as sync:
        for client in (sync, object(), "client"):
            with pytest.raises(ConfigurationError, match=r"httpx\.AsyncClient"):
                transport("http://127.0.0.1:9", http_client=client)
    client = httpx.AsyncClient()
    await client.aclose()
    with pytest.raises(ConfigurationError, match="closed"):
        await transport("http://127.0.0.1:9", http_client=client).post("/", {}, "m")


async def test_closing_twice_and_unused() -> None:
    unused = transport("http://127.0.0.1:9")
    await unused.aclose()
    await unused.aclose()


def test_import_brings_no_http_library() -> None:
    code = (
        "import sys, promptport.http;"
        "print([name for name in sys.modules if name.split('.')[0] in ('httpx', 'httpx2', 'aiohttp', 'anyio', 'h11')])"
    )
    # The environment's own path: the test may run from a source tree.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONPATH": path})
    assert out.stdout.strip() == b"[]"


# -------------------------------------------------------------------------------------------- exceptions


def exceptions(library: Any) -> list[type[Exception]]:
    found = [value for value in vars(library).values() if isinstance(value, type) and issubclass(value, Exception)]
    return [kind for kind in found if not issubclass(kind, Warning)]


@pytest.mark.parametrize("library", [httpx, httpx2, aiohttp, aiohttp.client_exceptions])
def test_every_exception_of_an_http_library_is_mapped(library: Any) -> None:
    """Fails when a release brings an exception that nobody has thought about."""
    mapped = transport_errors._LIBRARIES[library.__name__.partition(".")[0]]
    found = [
        kind for kind in exceptions(library) if kind.__module__.partition(".")[0] == library.__name__.partition(".")[0]
    ]
    assert len(found) > 20
    assert [kind.__name__ for kind in found if kind.__name__ not in mapped] == []
    for kind in found:
        assert isinstance(transported(kind.__new__(kind)), PromptportError)


def transported(error: Exception, base_url: str = f"https://user:{KEY}@example.com:8443/v1?key={KEY}") -> Any:
    return transport_error(error, provider="p", model="m", base_url=base_url)


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_what_httpx_says_becomes_ours(library: Any) -> None:
    def text(name: str) -> str:
        error = transported(getattr(library, name)(f"Illegal header value {KEY}"))
        assert isinstance(error, TransportError)
        assert KEY not in str(error)
        assert KEY not in repr(error)
        return str(error)

    assert text("ConnectError") == "p: cannot connect to example.com:8443: is the server running?"
    assert "took too long" in text("ConnectTimeout")
    assert "did not answer in time" in text("ReadTimeout")
    assert "became free" in text("PoolTimeout")
    assert "broke" in text("ReadError")
    assert "broke" in text("RemoteProtocolError")
    assert "proxy" in text("ProxyError")
    assert "LocalProtocolError" in text("LocalProtocolError")
    assert type(transported(library.DecodingError("x"))) is ProtocolError
    for name in ("InvalidURL", "UnsupportedProtocol"):
        error = transported(getattr(library, name)(f"https://{KEY}"))
        assert type(error) is ConfigurationError
        assert KEY not in str(error)


def caused(error: Exception, *causes: BaseException) -> Exception:
    current: BaseException = error
    for cause in causes:
        current.__cause__ = cause
        current = cause
    return error


def test_the_cause_says_more() -> None:
    gai = socket.gaierror(-2, "Name or service not known")
    untrusted = ssl.SSLCertVerificationError(1, "x")
    untrusted.verify_message = "self-signed certificate"
    assert "no host example.com" in str(transported(caused(httpx.ConnectError("x"), OSError("y"), gai)))
    message = str(transported(caused(httpx2.ConnectError("x"), untrusted)))
    assert message.endswith("its certificate is not trusted (self-signed certificate)")
    assert "no host" in str(transported(caused(httpx.ConnectError("x"), OSError(), ExceptionGroup("all", [gai]))))
    disconnected = caused(httpx2.ConnectTimeout("x"), aiohttp.ServerDisconnectedError())
    assert "broke" in str(transported(disconnected))
    encoding = aiohttp.http_exceptions.ContentEncodingError("gzip")
    assert isinstance(
        transported(caused(httpx2.ReadError("x"), aiohttp.ClientPayloadError("y"), encoding)), ProtocolError
    )
    assert "broke" in str(transported(caused(httpx.ReadError("x"), ssl.SSLError(1, "eof"))))


def test_a_circle_of_causes_ends() -> None:
    first, second = httpx.ConnectError("x"), OSError("y")
    first.__cause__, second.__cause__ = second, first
    assert isinstance(transported(first), TransportError)


def test_sockets_tls_and_anyio() -> None:
    assert "is the server running" in str(transported(ConnectionRefusedError(111, "refused")))
    assert "is the server running" in str(transported(OSError(113, "No route to host")))
    assert "broke" in str(transported(ConnectionResetError(104, "reset")))
    assert "broke" in str(transported(BrokenPipeError(32, "pipe")))
    assert "in time" in str(transported(TimeoutError()))
    assert "no host" in str(transported(socket.gaierror(-2, "x")))
    assert "no secure connection" in str(transported(ssl.SSLError(1, "x")))
    assert "broke" in str(transported(anyio.EndOfStream()))
    assert "closed" in str(transported(anyio.ClosedResourceError()))


def test_what_is_not_theirs_stays() -> None:
    class Derived(httpx.ReadError):
        pass

    assert isinstance(transported(Derived("x")), TransportError)
    for error in (
        ValueError("x"),
        RuntimeError("x"),
        FileNotFoundError(2, "x", "cert.pem"),
        AuthenticationError("x", provider="p"),
    ):
        assert transported(error) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://localhost:11434", "localhost:11434"),
        ("https://[::1]:80/x", "[::1]:80"),
        ("https://example.com/v1", "example.com"),
        ("nonsense", "the server"),
        ("http://a:b:c", "the server"),
    ],
)
def test_only_host_and_port_are_shown(url: str, host: str) -> None:
    assert str(transported(httpx.ReadError("x"), url)) == f"p: the connection to {host} broke"


async def test_the_librarys_error_where_it_is_none_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def send(*_: object, **__: object) -> None:
        raise ValueError("odd")

    async with httpx.AsyncClient() as client:
        monkeypatch.setattr(client, "send", send)
        with pytest.raises(ValueError, match="odd"):
            await transport("http://127.0.0.1:9", http_client=client).post("/", {}, "m")


@pytest.mark.parametrize(("headers", "connections"), [({}, 1), ({"Connection": "close"}, 3)])
async def test_a_connection_is_not_used_again_where_the_header_says_so(
    headers: dict[str, str], connections: int
) -> None:
    async with WireServer(*[WireResponse(b"{}") for _ in range(3)]) as server:
        transport = AiohttpTransport(server.url, provider="test", headers=headers)
        for _ in range(3):
            assert await transport.get("/health") == b"{}"
        await transport.aclose()
        assert server.connections == connections
