"""`HTTPTransport`: the same way to a server over httpx, for a caller's own ``httpx.AsyncClient`` (or httpx2's).

Rule: httpx is imported when it is used, never before. It follows no redirect by itself, and repeats no request.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

from promptport.decoding import DEFAULT_LIMITS, Limits
from promptport.errors import ConfigurationError
from promptport.http.addresses import is_loopback
from promptport.http.bodies import ResponseBody
from promptport.http.request import HTTPRequest, Prepare
from promptport.http.transport import Transport
from promptport.stream import Timeouts

__all__ = ["HTTPTransport", "ResponseStream"]


class ResponseStream(ResponseBody):
    """The body of an open httpx or httpx2 response."""

    __slots__ = ("_closing", "_iterator", "_response")

    def __init__(self, response: Any, limits: Limits = DEFAULT_LIMITS) -> None:
        """Args:
        response: an open one.
        limits: for its body.
        """
        super().__init__(response.status_code, response.headers, limits)
        self._response = response
        self._iterator: Any = None
        self._closing: asyncio.Task[None] | None = None

    def raw(self) -> AsyncIterator[bytes]:
        """The library's own iterator, with no layer of ours around it."""
        self._iterator = self._response.aiter_raw()
        return self._iterator  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        """Closes the response: its connection goes back to the pool if the body was read, else it is cut."""
        if self._closing is None:
            if self._response.is_closed:
                return
            self._closing = asyncio.create_task(self._close())
        # A caller that is cancelled now leaves, and the closing goes on.
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._response.aclose()
        # httpx leaves the connection open if a second cancellation meets the clean-up after the first.
        network = self._response.extensions.get("network_stream")
        if network is not None:
            await network.aclose()
        iterator, self._iterator = self._iterator, None
        if iterator is not None and not iterator.ag_running:
            await iterator.aclose()


class HTTPTransport(Transport):
    """One server over httpx. A loopback address is never asked through a proxy. See `Transport` for the rules."""

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
        http_client: Any = None,
    ) -> None:
        """Args:
            base_url: See `Transport`, as for the next seven.
            provider: For the errors.
            headers: Sent with every request.
            query: Appended to every URL.
            timeouts: Of them, ``connect``.
            limits: For the bodies.
            prepare: The hook for each request.
            secrets: What no error may quote.
            http_client: Your own ``httpx.AsyncClient`` (or httpx2's). promptport does not close it; its timeouts do
                not apply, and it follows no redirects here.

        Raises:
            ConfigurationError: The URL, a header or the client is not usable.
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
        if http_client is not None and not inspect.iscoroutinefunction(getattr(http_client, "send", None)):
            raise ConfigurationError(
                f"{provider}: http_client must be an aiohttp.ClientSession or an httpx.AsyncClient,"
                f" not {type(http_client).__name__}"
            )
        self._given = http_client
        self._made: Any = None

    async def aclose(self) -> None:
        """Closes the connections; a client of the caller's stays open."""
        made, self._made = self._made, None
        if made is not None:
            await made.aclose()

    async def _exchange(self, request: HTTPRequest) -> ResponseStream:
        client = self._client()
        sent = client.build_request(
            request.method,
            request.url,
            content=request.body,
            headers=request.headers,
            timeout=(self._timeouts.connect, None, None, None),
        )
        # httpx reads a URL anew and may write it in another way.
        sent.url = sent.url.copy_with(raw_path=_raw_path(request.url))
        return ResponseStream(await client.send(sent, stream=True, follow_redirects=False), self.limits)

    def _client(self) -> Any:
        client = self._given if self._given is not None else self._made
        if client is None:
            client = self._made = self._new_client()
        elif client.is_closed:
            raise ConfigurationError(f"{self.provider}: the http_client is closed")
        return client

    def _new_client(self) -> Any:
        import httpx  # noqa: PLC0415 - a third of the time that the first answer of a local model takes

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        if not is_loopback(self.base_url):
            return httpx.AsyncClient(limits=limits)
        if self.base_url.startswith("https:"):
            return httpx.AsyncClient(limits=limits, trust_env=False)
        # Reading the certificates takes longer than the rest; without any, TLS trusts nobody.
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return httpx.AsyncClient(limits=limits, trust_env=False, verify=nobody)


def _raw_path(url: str) -> bytes:
    """Path and query of a URL, as they stand in it."""
    rest = url.partition("://")[2]
    slash = min([place for place in (rest.find("/"), rest.find("?")) if place >= 0], default=len(rest))
    path = rest[slash:]
    return (path if path.startswith("/") else f"/{path}").encode()
