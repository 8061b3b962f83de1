"""POST → bytes over httpx, for a caller's own ``httpx.AsyncClient``.

Rule: httpx is imported when it is used, never before.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec

from promptport.errors import ConfigurationError, PromptportError
from promptport.http.addresses import check_base_url, is_loopback
from promptport.http.status_errors import header_secrets, status_error
from promptport.http.transport_errors import transport_error
from promptport.stream import Timeouts

__all__ = ["HTTPTransport", "ResponseStream"]


class ResponseStream:
    """The body of an open httpx or httpx2 response, as a `client.ByteStream`."""

    __slots__ = ("_closing", "_iterator", "_response")

    def __init__(self, response: Any) -> None:
        self._response = response
        self._iterator: Any = None
        self._closing: asyncio.Task[None] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The library's own iterator, with no layer of ours around it."""
        response = self._response
        plain = response.headers.get("content-encoding", "identity").strip().lower() in ("", "identity")
        self._iterator = response.aiter_raw() if plain else response.aiter_bytes()
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


_ERROR_BODY_LIMIT = 1 << 20


_ERROR_BODY_SECONDS = 10.0


class HTTPTransport:
    """One server, reached with httpx: JSON out, bytes in.

    Every method raises `ProviderError`, `ProtocolError` and `ConfigurationError`, and nothing of the HTTP library.
    A loopback address is never asked through a proxy.
    """

    def __init__(
        self,
        base_url: str,
        *,
        provider: str,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        http_client: Any = None,
    ) -> None:
        """Args:
            base_url: what the paths are appended to.
            provider: for the errors.
            headers: sent with every request.
            timeouts: ``connect`` is kept here; the other clocks are the stream's.
            http_client: an ``httpx.AsyncClient`` of the caller's (or httpx2's), which stays open; its own timeouts
                do not apply.

        Raises:
            ConfigurationError: the URL or the client is not usable.
        """
        self.base_url = check_base_url(base_url, provider=provider)
        self.provider = provider
        self._headers = dict(headers)
        self._timeouts = timeouts
        if http_client is not None and not inspect.iscoroutinefunction(getattr(http_client, "send", None)):
            raise ConfigurationError(f"{provider}: http_client must be an httpx.AsyncClient")
        self._given = http_client
        self._made: Any = None

    async def open(self, path: str, body: dict[str, Any], model: str) -> ResponseStream:
        """POSTs the body as JSON; returns when the head of a successful answer is there."""
        # Compression would hold back small chunks, for a text that is read once.
        headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
        return ResponseStream(await self._send("POST", path, model, headers, msgspec.json.encode(body)))

    async def post(self, path: str, body: dict[str, Any], model: str) -> bytes:
        """POSTs the body as JSON; the body of a successful answer."""
        return await self._whole("POST", path, model, msgspec.json.encode(body))

    async def get(self, path: str) -> bytes:
        """The body of a successful answer; within ``timeouts.first_frame``."""
        with self._translating(""):
            async with asyncio.timeout(self._timeouts.first_frame):
                return await self._whole("GET", path, "", None)

    def failure(self, error: Exception, model: str) -> PromptportError | None:
        """`transport_error` for this server."""
        return transport_error(error, provider=self.provider, model=model, base_url=self.base_url)

    async def aclose(self) -> None:
        """Closes the connections; a client of the caller's stays open."""
        made, self._made = self._made, None
        if made is not None:
            await made.aclose()

    # ---------------------------------------------------------------------------------------- requests

    @contextmanager
    def _translating(self, model: str) -> Iterator[None]:
        try:
            yield
        except PromptportError:
            raise
        except Exception as error:
            failure = self.failure(error, model)
            if failure is None:
                raise
            raise failure from error

    async def _whole(self, method: str, path: str, model: str, content: bytes | None) -> bytes:
        response = await self._send(method, path, model, {"accept": "application/json"}, content)
        try:
            with self._translating(model):
                return bytes(await response.aread())
        finally:
            await response.aclose()

    async def _send(self, method: str, path: str, model: str, headers: dict[str, str], content: bytes | None) -> Any:
        if content is not None:
            headers["content-type"] = "application/json"
        client = self._client()
        with self._translating(model):
            request = client.build_request(
                method,
                self.base_url + path,
                content=content,
                headers={**headers, **self._headers},
                timeout=(self._timeouts.connect, None, None, None),
            )
            response = await client.send(request, stream=True)
        if response.is_success:
            return response
        try:
            data = await _beginning(response)
        finally:
            await response.aclose()
        raise status_error(
            provider=self.provider,
            model=model,
            status=response.status_code,
            headers=response.headers,
            body=data,
            secrets=[*header_secrets(self._headers), urlsplit(self.base_url).password or ""],
        )

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
            return httpx.AsyncClient(limits=limits, follow_redirects=True)
        if self.base_url.startswith("https:"):
            return httpx.AsyncClient(limits=limits, follow_redirects=True, trust_env=False)
        # Reading the certificates takes longer than the rest; without any, TLS (after a redirect) trusts nobody.
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return httpx.AsyncClient(limits=limits, follow_redirects=True, trust_env=False, verify=nobody)


async def _beginning(response: Any) -> bytes:
    """An error's body, up to 1 MiB and 10 s of it; what goes wrong with it is less than what it says."""
    data = bytearray()
    try:
        async with asyncio.timeout(_ERROR_BODY_SECONDS):
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) >= _ERROR_BODY_LIMIT:
                    break
    except Exception:  # noqa: S110 - the status is known, and is what matters
        pass
    return bytes(data[:_ERROR_BODY_LIMIT])
