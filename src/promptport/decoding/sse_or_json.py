"""Two forms of a stream as events: server-sent events, and one JSON array that grows. Pure.

Rule: the first letter tells the form, and an event is a name (mostly none) and the JSON text of one response,
whichever form it came in. Once the form is known, the decoder of that form is asked directly.

Source: Google's APIs send an array with one response an element, unless asked for ``alt=sse``; some proxies drop that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from promptport.decoding.json_objects import JSONObjectsDecoder
from promptport.decoding.limits import Limits
from promptport.decoding.sse import SSEDecoder

__all__ = ["SSEOrJSONDecoder"]

_Event: TypeAlias = tuple[bytes, bytes]
_BLANK = b"\xef\xbb\xbf \t\r\n"
_HEAD = 64


class SSEOrJSONDecoder:
    """Bytes in, ``(event name, JSON of a response)`` out, as from `SSEDecoder`.

    Attributes:
        feed: Bytes to the events that they complete. Raises `ProtocolError` as the decoders of the two forms do.
    """

    feed: Callable[[bytes], Sequence[_Event]]

    def __init__(self) -> None:
        self.feed = self._first
        self._head = b""
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

    def close(self) -> Sequence[_Event]:
        """The event that the end of the bytes completes, or cuts."""
        if self._objects is not None:
            return [(b"", found) for found in self._objects.close()]
        return self._events.close()

    def _first(self, data: bytes) -> Sequence[_Event]:
        """As `feed`, as long as nothing but blanks came."""
        data = self._head + data
        first = data.lstrip(_BLANK)[:1]
        if not first and len(data) < _HEAD:
            self._head = data
            return []
        if first in (b"[", b"{"):
            data = data.lstrip(_BLANK)
            self._objects = JSONObjectsDecoder()
            self._objects.bound(self._limits)
            self.feed = self._of_array
        else:
            self.feed = self._events.feed
        return self.feed(data)

    def _of_array(self, data: bytes) -> Sequence[_Event]:
        assert self._objects is not None
        return [(b"", found) for found in self._objects.feed(data)]
