"""Frames of ``application/vnd.amazon.eventstream`` out of bytes: headers and a payload each, under two checksums. Pure.

Rule: the same bytes give the same events, however they are cut, and no event is given whose checksums do not hold. A
length is believed only after its own checksum held, so that a flipped bit is told at once and waited for never.

A frame: total length (u32), length of the headers (u32), CRC-32 of these eight bytes; the headers; the payload; CRC-32
of all before. A header: length of the name (u8), name, type (u8), value.

Source: https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html (event stream encoding), and
``botocore.eventstream`` for the types of values and the limits.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TypeAlias
from zlib import crc32

from promptport.decoding.limits import Limits
from promptport.errors import IncompleteStreamError, ProtocolError

__all__ = ["EventStreamDecoder", "EventStreamHeaders"]

HeaderValue: TypeAlias = bool | int | str | bytes
EventStreamHeaders: TypeAlias = Mapping[str, HeaderValue]

_PRELUDE = struct.Struct(">III")
_FIXED = {2: struct.Struct(">b"), 3: struct.Struct(">h"), 4: struct.Struct(">i"), 5: struct.Struct(">q")}
_FIXED[8] = _FIXED[5]  # a timestamp: milliseconds since 1970
_FRAMING_BYTES = 16  # prelude and last checksum
_MAX_HEADER_BYTES = 128 * 1024
_STRAY_BYTES = 65536
_TEXT = b"{[<\n\r\xef"  # how a JSON body or a page begins: as lengths, all of these are far over the limit
_CACHED_BLOCKS = 64
_CACHED_LENGTHS = 1024


class EventStreamDecoder:
    """Bytes in, ``(headers, payload)`` out. Events with the same header bytes share one headers object."""

    __slots__ = (
        "_error",
        "_headers",
        "_held",
        "_lengths",
        "_max_payload_bytes",
        "_needed",
        "_parts",
        "_started",
        "_stray",
        "_text",
    )

    def __init__(self, max_payload_bytes: int = 24 * 1024 * 1024) -> None:
        """``max_payload_bytes``: the most that a payload may hold."""
        self._max_payload_bytes = max_payload_bytes
        # The frame under way, in the pieces that the reads brought: joined once, when `_needed` bytes are there.
        self._parts: list[bytes] = []
        self._held = 0
        self._needed = _PRELUDE.size
        self._headers: dict[bytes, EventStreamHeaders] = {}
        self._lengths: dict[bytes, tuple[int, int]] = {}  # by the prelude that says them; few differ
        self._error: ProtocolError | None = None
        self._started = False
        self._text = False
        self._stray = bytearray()

    def bound(self, limits: Limits) -> None:
        """Sets the most that a payload may hold, before the first byte; AWS allows no more than 24 MiB."""
        self._max_payload_bytes = min(self._max_payload_bytes, limits.event)

    @property
    def stray(self) -> bytes:
        """The first 64 KiB of a body that is text instead: a JSON error, an HTML page."""
        return bytes(self._stray)

    def feed(self, data: bytes) -> list[tuple[EventStreamHeaders, bytes]]:
        """The events that these bytes complete.

        Raises:
            ProtocolError: a checksum, a length or a header is wrong. Events before it that end in the same read are
                returned, and the error comes with the next call.
        """
        if self._error is not None:
            raise self._error
        if not self._started and data:
            self._started = True
            self._text = data[0] in _TEXT
        if self._text:
            self._stray += data[: _STRAY_BYTES - len(self._stray)]
            return []
        if self._held:
            self._parts.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
        out: list[tuple[EventStreamHeaders, bytes]] = []
        try:
            rest = self._frames(data, out)
        except ProtocolError as error:
            self._error = error
            self._held = 0
            if not out:
                raise
            return out
        self._held = len(rest)
        if rest:
            self._parts.append(rest)
        return out

    def close(self) -> list[tuple[EventStreamHeaders, bytes]]:
        """The bytes are at their end, which completes no event.

        Raises:
            ProtocolError: see `feed`.
            IncompleteStreamError: the bytes end inside a frame.
        """
        if self._error is not None:
            raise self._error
        if self._held:
            raise IncompleteStreamError("the bytes ended inside an event")
        return []

    def _frames(self, data: bytes, out: list[tuple[EventStreamHeaders, bytes]]) -> bytes:
        """Takes the whole frames off ``data``; what is left of it."""
        start, size = 0, len(data)
        lengths, known = self._lengths.get, self._headers.get
        while size - start >= 12:  # a prelude
            first = start + 12
            prelude = data[start:first]
            total, header_bytes = lengths(prelude) or self._lengths_in(prelude)
            if size - start < total:
                self._needed = total
                return data[start:]
            end = start + total - 4
            if crc32(data[start:end]) != int.from_bytes(data[end : end + 4]):
                raise ProtocolError("the checksum over an event does not hold: the bytes were changed on their way")
            block = data[first : first + header_bytes]
            headers = known(block)
            if headers is None:
                headers = _headers(block)
                if len(self._headers) < _CACHED_BLOCKS:
                    self._headers[block] = headers
            out.append((headers, data[first + header_bytes : end]))
            start = end + 4
        self._needed = _PRELUDE.size
        return data[start:]

    def _lengths_in(self, prelude: bytes) -> tuple[int, int]:
        """How long an event and its headers are. Raises `ProtocolError`."""
        total, header_bytes, checksum = _PRELUDE.unpack(prelude)
        if crc32(prelude[:8]) != checksum:
            raise ProtocolError("the checksum over an event's lengths does not hold: is this an event stream?")
        payload_bytes = total - header_bytes - _FRAMING_BYTES
        if payload_bytes < 0:
            raise ProtocolError("an event's lengths contradict each other")
        if header_bytes > _MAX_HEADER_BYTES:
            raise ProtocolError(f"an event's headers are larger than {_MAX_HEADER_BYTES} bytes")
        if payload_bytes > self._max_payload_bytes:
            raise ProtocolError(f"an event of the stream is larger than {self._max_payload_bytes} bytes")
        if len(self._lengths) < _CACHED_LENGTHS:
            self._lengths[prelude] = total, header_bytes
        return total, header_bytes


def _headers(block: bytes) -> dict[str, HeaderValue]:
    """The headers by name. Raises `ProtocolError`."""
    found: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(block):
            end = at + 1 + block[at]
            name = block[at + 1 : end].decode()
            kind = block[end]
            value, at = _value(kind, block, end + 1)
            if name in found or at > len(block):
                raise ValueError
            found[name] = value
    except (ValueError, IndexError, struct.error):
        raise ProtocolError("an event's headers cannot be read") from None
    return found


def _value(kind: int, block: bytes, at: int) -> tuple[HeaderValue, int]:
    """A header's value, and where it ends. Raises `ValueError`, `struct.error`."""
    if kind in (0, 1):
        return kind == 0, at
    if kind in _FIXED:
        return _FIXED[kind].unpack_from(block, at)[0], at + _FIXED[kind].size
    if kind in (6, 7):
        start = at + 2
        end = start + int.from_bytes(block[at:start])
        if start > len(block):
            raise ValueError
        return (block[start:end].decode() if kind == 7 else block[start:end]), end
    if kind == 9:  # a UUID
        return block[at : at + 16], at + 16
    raise ValueError
