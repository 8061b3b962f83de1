"""aiohttp for one server: a session that is made when it is needed, and the body of a response.

Rules: between the socket and the decoder there is aiohttp and nothing of ours. aiohttp is imported with the first
request, never before. It follows no redirect, decompresses nothing and repeats no request. What it raises passes
through here; `transport_errors.transport_error` makes it ours.
"""

from __future__ import annotations

import asyncio
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

from promptport.decoding import DEFAULT_LIMITS, Limits
from promptport.errors import ConfigurationError, InvalidInputError
from promptport.http.addresses import environment_proxy, origin_of
from promptport.http.bodies import ResponseBody

if TYPE_CHECKING:
    import ssl

    import aiohttp

__all__ = ["AiohttpBody", "AiohttpSession"]

_KEEP_ALIVE_SECONDS = 30.0
_PLAIN_BODY_LIMIT = 1 << 20  # bytes; aiohttp wants more than that as a file


class AiohttpBody(ResponseBody):
    """The body of an open response of aiohttp, whose session must not have decompressed it."""

    __slots__ = ("_closed", "_response")

    def __init__(self, response: aiohttp.ClientResponse, limits: Limits = DEFAULT_LIMITS) -> None:
        """Args:
        response: an open one, made with ``auto_decompress=False``.
        limits: for its body.
        """
        super().__init__(response.status, response.headers, limits)
        self._response = response
        # Where a chunk's head is malformed, aiohttp (3.14) closes the connection and leaves the reader waiting.
        protocol = response.connection.protocol if response.connection is not None else None
        self._closed = protocol.closed if protocol is not None else None
        if self._closed is not None:
            self._closed.remove_done_callback(_look_at)  # one of them is enough for all requests of a connection
            self._closed.add_done_callback(_look_at)
            self._closed.add_done_callback(self._lost)

    def raw(self) -> AsyncIterator[bytes]:
        """The library's own iterator: what each read brought."""
        return self._response.content.iter_any()

    async def aclose(self) -> None:
        """Cuts the connection, unless the body was read to its end: then it is in the pool already."""
        if self._closed is not None:
            self._closed.remove_done_callback(self._lost)
        self._response.close()

    def _lost(self, _: asyncio.Future[None]) -> None:
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(ConnectionResetError("the connection closed inside the body"))


class _NotAgainError(Exception):
    """Takes an exception past the place where aiohttp would send the request once more."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__()
        self.reason = reason


async def _once(request: Any, send: Callable[[Any], Awaitable[Any]]) -> Any:
    """A middleware for aiohttp."""
    try:
        return await send(request)
    except OSError as error:  # aiohttp's own for a connection among them
        raise _NotAgainError(error) from None
    except Exception as error:
        if type(error).__name__ == "ServerDisconnectedError":
            raise _NotAgainError(error) from None
        raise


def _look_at(closed: asyncio.Future[None]) -> None:
    """Asyncio reports an exception that nobody looked at, such as of a connection that broke in the pool."""
    if not closed.cancelled():
        closed.exception()


def _warn_unclosed(provider: str, session: aiohttp.ClientSession, connector: Any) -> None:
    """A client was dropped unclosed: says so in promptport's words, before aiohttp does in its own."""
    session.detach()
    connector._close()  # as its own finalizer does: the public one must be awaited
    warnings.warn(
        f"{provider}: the client was dropped unclosed. Use it in 'async with', or await its aclose().",
        ResourceWarning,
        stacklevel=2,
    )


class AiohttpSession:
    """Requests to one server (its address may differ from request to request), in one event loop."""

    def __init__(
        self,
        base_url: str,
        *,
        provider: str,
        session: aiohttp.ClientSession | None = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int | None = None,
        keep_alive: bool = True,
    ) -> None:
        """Args:
        base_url: the server; the environment is asked for a proxy to it.
        provider: for the errors.
        session: one of the caller's, which stays open; its own timeouts do not apply.
        ssl_context: whom to trust, where the session is ours; else the system's certificates.
        max_connections: ``None`` for no limit, where the session is ours.
        keep_alive: whether a connection serves further requests, where the session is ours.
        """
        self._base_url = base_url
        self._provider = provider
        self._given = session
        self._made: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ssl_context = ssl_context
        self._max_connections = max_connections
        self._keeping: dict[str, Any] = (
            {"keepalive_timeout": _KEEP_ALIVE_SECONDS} if keep_alive else {"force_close": True}
        )
        self._timeouts: dict[tuple[float | None, ...], aiohttp.ClientTimeout] = {}
        self._proxies: dict[str | None, str | None] = {}
        self._url_class: Any = None

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
        if self._given is None:
            options["proxy"] = self._proxy(url)
        if method != "POST":  # aiohttp repeats what it takes for idempotent
            options["middlewares"] = (_once,)
        try:
            return await session.request(
                method,
                self._url_class(url, encoded=True),
                data=content if content is None or len(content) <= _PLAIN_BODY_LIMIT else BytesIO(content),
                headers=headers,
                timeout=self._timeout(connect, read, pool),
                allow_redirects=False,
                auto_decompress=False,
                **options,
            )
        except _NotAgainError as error:
            raise error.reason from error.reason.__cause__

    async def aclose(self) -> None:
        """Closes the connections; a session of the caller's stays open."""
        made, self._made = self._made, None
        if made is not None:
            self._dropped.detach()
            await made.close()

    def _session(self) -> aiohttp.ClientSession:
        session = self._given if self._given is not None else self._made
        if self._url_class is None:
            import yarl  # noqa: PLC0415 - imported when it is first used

            self._url_class = yarl.URL
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

        from promptport.http.aiohttp_connector import Connector  # noqa: PLC0415 - derives from aiohttp's

        self._loop = asyncio.get_running_loop()
        secure = self._ssl_context if self._ssl_context is not None else True
        connector = Connector(limit=self._max_connections or 0, ssl=secure, **self._keeping)
        self._made = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        self._dropped = weakref.finalize(self, _warn_unclosed, self._provider, self._made, connector)
        return self._made

    def _proxy(self, url: str) -> str | None:
        """The environment is read once for each server; with trust_env, aiohttp asks a thread at each request."""
        origin = origin_of(url)
        if origin not in self._proxies:
            self._proxies[origin] = environment_proxy(url, provider=self._provider)
        return self._proxies[origin]

    def _timeout(self, connect: float | None, read: float | None, pool: float | None) -> aiohttp.ClientTimeout:
        """One object for equal clocks, because making it costs more than looking."""
        key = (connect, read, pool)
        found = self._timeouts.get(key)
        if found is None:
            import aiohttp  # noqa: PLC0415 - imported when it is first used

            found = aiohttp.ClientTimeout(total=None, connect=pool, sock_connect=connect, sock_read=read)
            self._timeouts[key] = found
        return found
