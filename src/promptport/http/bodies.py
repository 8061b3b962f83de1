"""The body of a response, whatever library brought it: decompressed, bounded, closed.

Rules: what came plain is read through the library's own iterator, with no layer of ours around it. What came
compressed is decompressed piece by piece, and the event loop runs between the pieces.
"""

from __future__ import annotations

import asyncio
import zlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping

from promptport.decoding import Limits
from promptport.errors import ProtocolError

__all__ = ["ResponseBody", "beginning_of", "decompressed"]

_PIECE = 1 << 16  # bytes; a tenth of a millisecond of decompressing
_AUTOMATIC = 32 + zlib.MAX_WBITS  # gzip or zlib, by their heads
_ERROR_BODY_SECONDS = 10.0


class ResponseBody(ABC):
    """An open response. Iterating gives its body as it comes, decompressed."""

    __slots__ = ("headers", "limits", "status")

    def __init__(self, status: int, headers: Mapping[str, str], limits: Limits) -> None:
        """Args:
        status: of HTTP.
        headers: to be asked by names in any case.
        limits: for the body.
        """
        self.status = status
        self.headers = headers
        self.limits = limits

    @abstractmethod
    def raw(self) -> AsyncIterator[bytes]:
        """The bytes as they came from the network, each read apart."""

    @abstractmethod
    async def aclose(self) -> None:
        """Closes the response; its connection is cut unless the body was read to its end."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        encoding = self.headers.get("content-encoding")
        if not encoding or encoding.strip().lower() == "identity":
            return self.raw()
        return decompressed(self.raw(), encoding, self.limits)

    async def read(self) -> bytes:
        """The whole body; closes it.

        Raises:
            ProtocolError: It is longer than ``limits.answer``.
        """
        most = self.limits.answer
        chunks = []
        size = 0
        try:
            async for chunk in self:
                size += len(chunk)
                if size > most:
                    raise ProtocolError(f"the response is larger than {most} bytes (limits.answer)")
                chunks.append(chunk)
        finally:
            await self.aclose()
        return b"".join(chunks)


async def decompressed(chunks: AsyncIterator[bytes], encoding: str, limits: Limits) -> AsyncIterator[bytes]:
    """The chunks without their compression, in pieces of at most 64 KiB.

    Raises:
        ProtocolError: A compression that was not asked for and is not gzip or deflate; broken data; more than
            ``limits.decompressed`` bytes.
    """
    kind = encoding.strip().lower()
    if kind not in ("gzip", "x-gzip", "deflate"):
        raise ProtocolError(f"the server compressed its response as {kind[:40]!r}, which promptport did not ask for")
    machine = None
    size = 0
    async for chunk in chunks:
        waiting = chunk
        while waiting:
            if machine is None:
                # "deflate" means zlib's format, and some servers send it without its head.
                bare = kind == "deflate" and waiting[0] & 0x0F != 8
                machine = zlib.decompressobj(-zlib.MAX_WBITS if bare else _AUTOMATIC)
            try:
                piece = machine.decompress(waiting, _PIECE)
            except zlib.error:
                raise ProtocolError("the compression (content-encoding) of the response is broken") from None
            size += len(piece)
            if size > limits.decompressed:
                raise ProtocolError(
                    f"the decompressed response is larger than {limits.decompressed} bytes (limits.decompressed)"
                )
            waiting = machine.unused_data if machine.eof else machine.unconsumed_tail
            if machine.eof:
                machine = None  # gzip may hold several members
                if not waiting.strip(b"\0"):
                    waiting = b""
            if piece:
                yield piece
            if waiting:
                await asyncio.sleep(0)
    if machine is not None:
        raise ProtocolError("the compressed response is cut off")


async def beginning_of(body: ResponseBody) -> bytes:
    """An error's body, up to ``limits.error_body`` and 10 s of it; the status counts, not what happens to its body."""
    data = bytearray()
    try:
        async with asyncio.timeout(_ERROR_BODY_SECONDS):
            async for chunk in body:
                data += chunk
                if len(data) >= body.limits.error_body:
                    break
    except Exception:  # noqa: S110 - the status is known, and is what matters
        pass
    return bytes(data[: body.limits.error_body])
