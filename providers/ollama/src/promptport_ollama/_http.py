"""The way to the server over aiohttp: JSON out, bytes in.

Rule: between the socket and the decoder there is aiohttp and nothing of ours. What aiohttp raises passes through
here, and becomes ours in the client.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.errors import ConfigurationError, InvalidInputError
from promptport.stream import Timeouts
from promptport.transport import status_error
from promptport_ollama._server import environment_proxy

if TYPE_CHECKING:
    import aiohttp

__all__ = ["AiohttpTransport"]

_ERROR_BODY_LIMIT = 1 << 20
_ERROR_BODY_SECONDS = 10.0
_PLAIN_BODY_LIMIT = 1 << 20  # aiohttp wants more than that as a file


class _Body:
    """The body of an open response, as a `promptport.client.ByteStream`."""

    __slots__ = ("_closed", "_response")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        # Where a chunk's head is malformed, aiohttp (3.14) closes the connection and leaves the reader waiting.
        protocol = response.connection.protocol if response.connection is not None else None
        self._closed = protocol.closed if protocol is not None else None
        if self._closed is not None:
            self._closed.remove_done_callback(_look_at)  # one of them is enough for all requests of a connection
            self._closed.add_done_callback(_look_at)
            self._closed.add_done_callback(self._lost)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The library's own iterator: what each read brought, decompressed."""
        return self._response.content.iter_any()

    async def read(self) -> bytes:
        """The whole body; closes it."""
        try:
            return await self._response.read()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Cuts the connection, unless the body was read to its end: then it is in the pool already."""
        if self._closed is not None:
            self._closed.remove_done_callback(self._lost)
        self._response.close()

    def _lost(self, _: asyncio.Future[None]) -> None:
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(ConnectionResetError("the connection closed inside the body"))


def _look_at(closed: asyncio.Future[None]) -> None:
    """Asyncio reports an exception that nobody looked at, such as of a connection that broke in the pool."""
    if not closed.cancelled():
        closed.exception()


class AiohttpTransport:
    """One server; `promptport.transport.HTTPTransport` is the same over httpx."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        session: aiohttp.ClientSession | None = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int | None = None,
    ) -> None:
        """A way to one server.

        Args:
            url: what the paths are appended to.
            headers: sent with every request.
            timeouts: ``connect`` is kept here; the other clocks are the stream's.
            session: one of the caller's, which stays open; its own timeouts do not apply.
            ssl_context: whom to trust, where the session is ours.
            max_connections: ``None`` for no limit, where the session is ours.
        """
        self._url = url
        self._headers = dict(headers)
        self._timeouts = timeouts
        self._given = session
        self._made: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ssl_context = ssl_context
        self._max_connections = max_connections
        self._request_options: dict[str, Any] = {}

    async def open(self, path: str, body: dict[str, Any], model: str) -> _Body:
        """POSTs the body; returns when the head of a successful answer is there."""
        # Compression would hold back small chunks, for a text that is read once.
        return _Body(await self._send("POST", path, model, body, {"accept-encoding": "identity"}))

    async def post(self, path: str, body: dict[str, Any], model: str) -> bytes:
        """POSTs the body; the body of a successful answer."""
        return await _Body(await self._send("POST", path, model, body, {})).read()

    async def get(self, path: str) -> bytes:
        """The body of a successful answer."""
        return await _Body(await self._send("GET", path, "", None, {})).read()

    async def aclose(self) -> None:
        """Closes the connections; a session of the caller's stays open."""
        made, self._made = self._made, None
        if made is not None:
            await made.close()

    async def _send(
        self, method: str, path: str, model: str, body: dict[str, Any] | None, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        session = self._session()
        content = None if body is None else msgspec.json.encode(body)
        response = await session.request(
            method,
            self._url + path,
            data=content if content is None or len(content) <= _PLAIN_BODY_LIMIT else BytesIO(content),
            headers={**headers, **self._headers},
            **self._request_options,
        )
        if 200 <= response.status < 300:
            return response
        try:
            beginning = await _beginning(response)
        finally:
            response.close()
        raise status_error(
            provider="ollama",
            model=model,
            status=response.status,
            headers=response.headers,
            body=beginning,
            secrets=self._secrets(),
        )

    def _session(self) -> aiohttp.ClientSession:
        session = self._given if self._given is not None else self._made
        if session is None:
            session = self._made = self._new_session()
        elif session.closed:
            raise ConfigurationError("ollama: the http_client is closed")
        elif self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise InvalidInputError("ollama: this client was used in another event loop; make one for each loop")
        if not self._request_options:
            import aiohttp  # noqa: PLC0415 - imported when it is first used

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect)
            self._request_options = {"timeout": timeout}
        return session

    def _new_session(self) -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415 - imported when it is first used

        self._loop = asyncio.get_running_loop()
        # The environment is read once: with trust_env, aiohttp asks a thread for it at each request.
        proxy = environment_proxy(self._url)
        secure = self._ssl_context if self._ssl_context is not None else True
        connector = aiohttp.TCPConnector(limit=self._max_connections or 0, ssl=secure)
        return aiohttp.ClientSession(connector=connector, proxy=proxy, cookie_jar=aiohttp.DummyCookieJar())

    def _secrets(self) -> list[str]:
        authorization = self._headers.get("authorization", "")
        return [authorization, authorization.partition(" ")[2]]


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """An error's body, up to 1 MiB and 10 s of it; what goes wrong with it is less than what it says."""
    data = bytearray()
    try:
        async with asyncio.timeout(_ERROR_BODY_SECONDS):
            async for chunk in response.content.iter_any():
                data += chunk
                if len(data) >= _ERROR_BODY_LIMIT:
                    break
    except Exception:  # noqa: S110 - the status is known, and is what matters
        pass
    return bytes(data[:_ERROR_BODY_LIMIT])
