"""aiohttp for one server: a session that is made when it is needed, and the body of a response.

Rules: between the socket and the decoder there is aiohttp and nothing of ours. aiohttp is imported with the first
request, never before. What it raises passes through here; `transport.transport_error` makes it ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

from promptport.errors import ConfigurationError, InvalidInputError
from promptport.http.addresses import environment_proxy

if TYPE_CHECKING:
    import ssl

    import aiohttp

__all__ = ["AiohttpBody", "AiohttpSession"]

_KEEP_ALIVE_SECONDS = 30.0
_PLAIN_BODY_LIMIT = 1 << 20  # bytes; aiohttp wants more than that as a file


class AiohttpBody:
    """The body of an open response, as a `promptport.http.ByteStream`."""

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
        """The library's own iterator: what each read brought."""
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


class AiohttpSession:
    """Requests to one server, in one event loop."""

    def __init__(
        self,
        base_url: str,
        *,
        provider: str,
        session: aiohttp.ClientSession | None = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int | None = None,
    ) -> None:
        """Args:
        base_url: the server; the environment is asked for a proxy to it.
        provider: for the errors.
        session: one of the caller's, which stays open; its own timeouts do not apply.
        ssl_context: whom to trust, where the session is ours; else the system's certificates.
        max_connections: ``None`` for no limit, where the session is ours.
        """
        self._base_url = base_url
        self._provider = provider
        self._given = session
        self._made: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ssl_context = ssl_context
        self._max_connections = max_connections
        self._timeouts: dict[tuple[float | None, ...], aiohttp.ClientTimeout] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None,
        connect: float | None,
        read: float | None = None,
        pool: float | None = None,
        **options: Any,
    ) -> aiohttp.ClientResponse:
        """The response, when its head is there.

        Args:
            method: of HTTP.
            url: the whole of it.
            headers: sent as they are.
            content: the body.
            connect: seconds until the connection stands; of each clock, ``None`` is for no limit.
            read: seconds between two reads.
            pool: seconds until a connection is free.
            options: what else aiohttp's ``request`` takes.

        Raises:
            ConfigurationError: the caller's session is closed, or the environment names a proxy that cannot be used.
            InvalidInputError: another event loop than the first request's.
        """
        session = self._session()
        return await session.request(
            method,
            url,
            data=content if content is None or len(content) <= _PLAIN_BODY_LIMIT else BytesIO(content),
            headers=headers,
            timeout=self._timeout(connect, read, pool),
            **options,
        )

    async def aclose(self) -> None:
        """Closes the connections; a session of the caller's stays open."""
        made, self._made = self._made, None
        if made is not None:
            await made.close()

    def _session(self) -> aiohttp.ClientSession:
        session = self._given if self._given is not None else self._made
        if session is None:
            return self._new_session()
        if session.closed:
            raise ConfigurationError(f"{self._provider}: the http_client is closed")
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise InvalidInputError(
                f"{self._provider}: this client was used in another event loop; make one for each loop"
            )
        return session

    def _new_session(self) -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415 - imported when it is first used

        self._loop = asyncio.get_running_loop()
        # The environment is read once: with trust_env, aiohttp asks a thread for it at each request.
        proxy = environment_proxy(self._base_url, provider=self._provider)
        secure = self._ssl_context if self._ssl_context is not None else True
        connector = aiohttp.TCPConnector(
            limit=self._max_connections or 0, ssl=secure, keepalive_timeout=_KEEP_ALIVE_SECONDS
        )
        self._made = aiohttp.ClientSession(connector=connector, proxy=proxy, cookie_jar=aiohttp.DummyCookieJar())
        return self._made

    def _timeout(self, connect: float | None, read: float | None, pool: float | None) -> aiohttp.ClientTimeout:
        """One object for equal clocks, because making it costs more than looking."""
        key = (connect, read, pool)
        found = self._timeouts.get(key)
        if found is None:
            import aiohttp  # noqa: PLC0415 - imported when it is first used

            found = aiohttp.ClientTimeout(total=None, connect=pool, sock_connect=connect, sock_read=read)
            self._timeouts[key] = found
        return found
