"""The events of a response from a platform that resells Claude: server-sent events, or AWS event-stream frames. Pure.

Rule: the first byte tells which of them it is. An event-stream frame begins with the high byte of its length, which is
0 or 1 (AWS allows 24 MiB); text begins with neither. In a frame of Bedrock's InvokeModelWithResponseStream the payload
holds one Anthropic event as base64; an exception is the provider's error.

Source: ResponseStream of the Bedrock runtime API reference (PayloadPart, and the exceptions beside it).
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from promptport.provider import (
    MALFORMED,
    EventStreamDecoder,
    EventStreamHeaders,
    Limits,
    ProtocolError,
    SSEDecoder,
    StreamError,
    reported_exception,
)

__all__ = ["PlatformEvents"]

_Event: TypeAlias = tuple[bytes, bytes]
_BINARY = (0, 1)


class _Chunk(msgspec.Struct):
    event: bytes = msgspec.field(name="bytes")


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class PlatformEvents:
    """Bytes in, ``(name, data)`` out, as from `SSEDecoder`."""

    def __init__(self) -> None:
        self._text = SSEDecoder()
        self._frames: EventStreamDecoder | None = None
        self._started = False
        self._limits: Limits | None = None
        self._error: StreamError | None = None

    def bound(self, limits: Limits) -> None:
        """Sets the limits, before the first byte."""
        self._limits = limits
        self._text.bound(limits)

    @property
    def stray(self) -> bytes:
        """The beginning of a body without events."""
        return self._text.stray

    def feed(self, data: bytes) -> list[_Event]:
        """The events that these bytes complete. Raises `StreamError`, after the events before it were returned."""
        if not self._started and data:
            self._started = True
            if data[0] in _BINARY:
                self._frames = EventStreamDecoder()
                if self._limits is not None:
                    self._frames.bound(self._limits)
        if self._frames is None:
            return list(self._text.feed(data))
        if self._error is not None:
            raise self._error
        out: list[_Event] = []
        for headers, payload in self._frames.feed(data):
            try:
                out.append(_event(headers, payload))
            except StreamError as error:
                self._error = error
                if not out:
                    raise
                break
        return out

    def close(self) -> list[_Event]:
        """The events that the end of the bytes completes. Raises as `feed`, and `IncompleteStreamError`."""
        if self._frames is None:
            return list(self._text.close())
        if self._error is not None:
            raise self._error
        self._frames.close()
        return []


def _event(headers: EventStreamHeaders, payload: bytes) -> _Event:
    """The Anthropic event in a frame. Raises `ProtocolError`, `ProviderStreamError`."""
    if headers.get(":message-type", "event") != "event":
        raise reported_exception(headers, payload)
    name = str(headers.get(":event-type", ""))
    if name != "chunk":
        return name.encode() or b"an event without a type", b"{}"  # unknown: it is counted by its name
    try:
        return b"", _decode_chunk(payload).event
    except MALFORMED as error:
        raise ProtocolError(f"a chunk event is not what Bedrock sends: {error}") from None
