"""Two forms of a stream as events: server-sent events, and one JSON array that grows. Pure.

Rule: the first letter tells the form, and an event is the JSON text of one response, whichever form it came in.

Source: Google's APIs send an array with one response an element, unless asked for ``alt=sse``; some proxies drop that.
"""

from __future__ import annotations

from promptport.decoding.json_objects import JSONObjectsDecoder
from promptport.decoding.limits import Limits
from promptport.decoding.sse import SSEDecoder

__all__ = ["SSEOrJSONDecoder"]

_BLANK = b"\xef\xbb\xbf \t\r\n"
_HEAD = 64


class SSEOrJSONDecoder:
    """Bytes in, the JSON of each response out."""

    def __init__(self) -> None:
        self._head: bytes | None = b""
        self._limits = Limits()
        self._events = SSEDecoder()
        self._objects: JSONObjectsDecoder | None = None

    def bound(self, limits: Limits) -> None:
        """Sets the most that an event may hold, before its first byte."""
        self._limits = limits
        self._events.bound(limits)

    @property
    def stray(self) -> bytes:
        """Lines of no event: an HTML page, or the bare JSON of an error behind the events."""
        return self._events.stray

    @property
    def complete(self) -> bool:
        """Whether the bytes may end here: an array that was opened is closed."""
        return self._objects is None or not self._objects.opened

    def feed(self, data: bytes) -> list[bytes]:
        """The events that these bytes complete. Raises `ProtocolError` as the decoders of the two forms do."""
        if self._head is not None:
            data = self._head + data
            first = data.lstrip(_BLANK)[:1]
            if not first and len(data) < _HEAD:
                self._head = data
                return []
            self._head = None
            if first in (b"[", b"{"):
                data = data.lstrip(_BLANK)
                self._objects = JSONObjectsDecoder()
                self._objects.bound(self._limits)
        if self._objects is not None:
            return self._objects.feed(data)
        return [event for _, event in self._events.feed(data)]

    def close(self) -> list[bytes]:
        """The event that the end of the bytes completes, or cuts."""
        if self._objects is not None:
            return self._objects.close()
        return [event for _, event in self._events.close()]
