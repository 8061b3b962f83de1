"""`BodyReader`: the bytes of a request's body, unpacked, as far as they may go. Pure.

Rule: the limit holds for what comes out, so that a small body which unpacks to a large one is refused where it passes
the limit.
"""

from __future__ import annotations

import zlib

from promptport.front_ends.api_errors import RequestRefused

__all__ = ["BodyReader"]

_PACKED = ("gzip", "x-gzip", "deflate")
_EITHER = 47  # the largest window, and gzip or zlib, by their first bytes


class BodyReader:
    """Takes a body chunk by chunk, and gives all of it.

    Examples:
        ```python
        from promptport.front_ends import BodyReader

        reader = BodyReader(100)
        reader.feed(b'{"model":')
        reader.feed(b'"m"}')
        print(reader.close())  # b'{"model":"m"}'
        ```
    """

    def __init__(self, limit: int, *, encoding: str = "", length: str = "") -> None:
        """Make a reader for one body.

        Args:
            limit: How many bytes it may have, unpacked.
            encoding: The header ``content-encoding``.
            length: The header ``content-length``.

        Raises:
            RequestRefused: The encoding is not known (415), or the body is too large (413).
        """
        self._limit = limit
        self._body = bytearray()
        coding = encoding.strip().lower()
        if coding not in ("", "identity", *_PACKED):
            raise RequestRefused(
                "body: has a content-encoding that is not known here. Send it as it is, or with gzip.", status=415
            )
        self._unpacker = zlib.decompressobj(_EITHER) if coding in _PACKED else None
        if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > limit:
            raise self._too_large()

    def feed(self, chunk: bytes) -> None:
        """The next bytes.

        Raises:
            RequestRefused: The body is too large (413), or not in its encoding (400).
        """
        unpacker = self._unpacker
        if unpacker is None:
            self._add(chunk)
            return
        try:
            while chunk and not unpacker.eof:
                self._add(unpacker.decompress(chunk, self._limit - len(self._body) + 1))
                chunk = unpacker.unconsumed_tail
        except zlib.error:
            raise self._damaged() from None
        if chunk or unpacker.unused_data:
            raise self._damaged()

    def close(self) -> bytes:
        """All of it.

        Raises:
            RequestRefused: It ends too early for its encoding (400).
        """
        if self._unpacker is not None and not self._unpacker.eof:
            raise self._damaged()
        return bytes(self._body)

    def _add(self, data: bytes) -> None:
        if len(self._body) + len(data) > self._limit:
            raise self._too_large()
        self._body += data

    def _too_large(self) -> RequestRefused:
        return RequestRefused(f"body: is too large. Send at most {self._limit:,} bytes.", status=413)

    @staticmethod
    def _damaged() -> RequestRefused:
        return RequestRefused("body: is not in the encoding that its content-encoding names. Send it as it is.")
