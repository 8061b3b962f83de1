"""The way to the server over aiohttp: JSON out, bytes in. What aiohttp raises becomes ours in the client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.provider import AiohttpBody, AiohttpSession, Timeouts, header_secrets, status_error

if TYPE_CHECKING:
    import aiohttp

__all__ = ["AiohttpTransport"]

_ERROR_BODY_LIMIT = 1 << 20
_ERROR_BODY_SECONDS = 10.0


class AiohttpTransport:
    """One server; `promptport.http.HTTPTransport` is the same over httpx."""

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
        self._session = AiohttpSession(
            url, provider="ollama", session=session, ssl_context=ssl_context, max_connections=max_connections
        )

    async def open(self, path: str, body: dict[str, Any], model: str) -> AiohttpBody:
        """POSTs the body; returns when the head of a successful answer is there."""
        # Compression would hold back small chunks, for a text that is read once.
        return AiohttpBody(await self._send("POST", path, model, body, {"accept-encoding": "identity"}))

    async def post(self, path: str, body: dict[str, Any], model: str) -> bytes:
        """POSTs the body; the body of a successful answer."""
        return await AiohttpBody(await self._send("POST", path, model, body, {})).read()

    async def get(self, path: str) -> bytes:
        """The body of a successful answer."""
        return await AiohttpBody(await self._send("GET", path, "", None, {})).read()

    async def aclose(self) -> None:
        """Closes the connections; a session of the caller's stays open."""
        await self._session.aclose()

    async def _send(
        self, method: str, path: str, model: str, body: dict[str, Any] | None, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        response = await self._session.request(
            method,
            self._url + path,
            headers={**headers, **self._headers},
            content=None if body is None else msgspec.json.encode(body),
            connect=self._timeouts.connect,
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
            secrets=header_secrets(self._headers),
        )


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
