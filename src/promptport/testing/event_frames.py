"""Frames of ``application/vnd.amazon.eventstream``, for encoders and for mutators. Pure.

Rule: it writes what `promptport.decoding.EventStreamDecoder` reads, by the format's own rules and without its code.

A frame: total length (u32), length of the headers (u32), CRC-32 of these eight bytes; the headers; the payload; CRC-32
of all before. A header: length of the name (u8), name, type (u8), value.
"""

from __future__ import annotations

import struct
from zlib import crc32

__all__ = ["event_frame", "frame_parts", "header", "split_frames", "written_frame"]

_PRELUDE_BYTES, _CHECKSUM_BYTES = 12, 4
_TEXT = 7


def event_frame(payload: bytes, **headers: str) -> bytes:
    """One frame with text headers; in their names ``_`` stands for ``-``, and ``:`` goes before them.

    Examples:
        ```python
        from promptport.testing import event_frame

        event_frame(b"{}", event_type="messageStop", message_type="event")
        ```
    """
    block = b"".join(
        [
            header(f":{name.replace('_', '-')}", _TEXT, struct.pack(">H", len(value.encode())) + value.encode())
            for name, value in headers.items()
        ]
    )
    return written_frame(block, payload)


def header(name: str, kind: int, value: bytes) -> bytes:
    """One header; ``value`` as the type has it."""
    return bytes([len(name.encode())]) + name.encode() + bytes([kind]) + value


def written_frame(block: bytes, payload: bytes) -> bytes:
    """A frame of a block of headers and a payload, with its lengths and checksums."""
    prelude = struct.pack(">II", len(block) + len(payload) + _PRELUDE_BYTES + _CHECKSUM_BYTES, len(block))
    body = prelude + struct.pack(">I", crc32(prelude)) + block + payload
    return body + struct.pack(">I", crc32(body))


def frame_parts(frame: bytes) -> tuple[bytes, bytes]:
    """The block of headers and the payload of a whole frame."""
    end = _PRELUDE_BYTES + int.from_bytes(frame[4:8])
    return frame[_PRELUDE_BYTES:end], frame[end:-_CHECKSUM_BYTES]


def split_frames(body: bytes) -> list[bytes]:
    """The frames of a body, by their lengths; what is left at the end, or has no such length, is the last."""
    frames: list[bytes] = []
    while body:
        size = int.from_bytes(body[:4])
        size = size if _PRELUDE_BYTES + _CHECKSUM_BYTES <= size <= len(body) else len(body)
        frames.append(body[:size])
        body = body[size:]
    return frames
