"""An httpx2 transport over aiohttp, for SDKs that build their requests with httpx2.

The SDKs bring one of their own, whose bodies are read through four generators; from this one's response our decoder
reads what aiohttp has read, and no less is cancelled, closed and reported.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2

from promptport.http.aiohttp_session import AiohttpBody, AiohttpSession

__all__ = ["AiohttpTransport", "body_of"]

_BODY = "promptport.body"


def body_of(response: Any) -> AiohttpBody | None:
    """The body, past httpx2; ``None`` where the response is not ours, or httpx2 has to decompress it."""
    plain = response.headers.get("content-encoding", "identity").strip().lower() in ("", "identity")
    return response.extensions.get(_BODY) if plain else None


class _Stream(httpx2.AsyncByteStream):
    """The body for httpx2: of answers that do not stream, and of errors."""

    def __init__(self, body: AiohttpBody) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """See the module."""

    def __init__(self, session: AiohttpSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See httpx2. Raises what aiohttp raises."""
        clocks = request.extensions.get("timeout", {})
        response = await self._session.request(
            request.method,
            str(request.url),
            headers=request.headers,
            content=await request.aread() or None,
            connect=clocks.get("connect"),
            read=clocks.get("read"),
            pool=clocks.get("pool"),
        )
        body = AiohttpBody(response)
        return httpx2.Response(
            response.status,
            headers=response.raw_headers,
            stream=_Stream(body),
            request=request,
            extensions={"http_version": b"HTTP/1.1", _BODY: body},
        )

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._session.aclose()
