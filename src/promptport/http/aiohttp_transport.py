"""`AiohttpTransport`: the way of all providers, unless a caller brings an HTTP client of another library."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from promptport.decoding import Limits
from promptport.errors import ConfigurationError
from promptport.http.aiohttp_session import AiohttpBody, AiohttpSession
from promptport.http.request import HTTPRequest, Prepare, check_connections
from promptport.http.transport import Transport
from promptport.stream import Timeouts

if TYPE_CHECKING:
    import ssl

    import aiohttp

__all__ = ["AiohttpTransport"]


class AiohttpTransport(Transport):
    """One server over aiohttp; it belongs to one event loop. See `Transport` for the rules."""

    def __init__(
        self,
        base_url: str,
        *,
        provider: str,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        prepare: Prepare | None = None,
        secrets: Collection[str] = (),
        http_client: aiohttp.ClientSession | None = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int | None = None,
    ) -> None:
        """Args:
            base_url: See `Transport`, as for the next seven.
            provider: For the errors.
            headers: Sent with every request. With `connection: close`, each request has a connection of its own.
            query: Appended to every URL.
            timeouts: Of them, ``connect``.
            limits: For the bodies.
            prepare: The hook for each request.
            secrets: What no error may quote.
            http_client: Your own ``aiohttp.ClientSession``. promptport does not close it; its timeouts do not apply.
            ssl_context: The certificates to trust. Default: the system's.
            max_connections: How many requests may be open at once; more wait. Default: no limit.

        Raises:
            InvalidInputError: An option of the wrong type.
            ConfigurationError: The URL, a header, or options that exclude each other.
        """
        super().__init__(
            base_url,
            provider=provider,
            headers=headers,
            query=query,
            timeouts=timeouts,
            limits=limits,
            prepare=prepare,
            secrets=secrets,
        )
        check_connections(provider=provider, ssl_context=ssl_context, max_connections=max_connections)
        if http_client is not None and (ssl_context is not None or max_connections is not None):
            raise ConfigurationError(f"{provider}: an http_client brings its own ssl_context and max_connections")
        self._session = AiohttpSession(
            self.base_url,
            provider=provider,
            session=http_client,
            ssl_context=ssl_context,
            max_connections=max_connections,
            # Some servers say that they keep a connection, and close it: it is not kept then on this side either.
            keep_alive=self._headers.get("connection", "").lower() != "close",
        )

    async def aclose(self) -> None:
        """Closes the connections; a session of the caller's stays open."""
        await self._session.aclose()

    async def _exchange(self, request: HTTPRequest) -> AiohttpBody:
        response = await self._session.request(
            request.method,
            request.url,
            headers=request.headers,
            content=request.body,
            connect=self._timeouts.connect,
        )
        return AiohttpBody(response, self.limits)
