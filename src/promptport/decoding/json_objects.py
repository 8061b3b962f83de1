"""The objects of a growing JSON array out of bytes, as Google streams without ``alt=sse``. Pure.

Rule: an object is found by its braces, outside strings, and nothing is looked at twice. Between objects stand blanks,
commas and the array's brackets; objects in a row without an array, such as a lone one, are taken too.
"""

from __future__ import annotations

import re

from promptport.decoding.limits import Limits
from promptport.errors import ProtocolError

__all__ = ["JSONObjectsDecoder"]

_BETWEEN = re.compile(rb"[^\s,]")
_INSIDE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')


class JSONObjectsDecoder:
    """Bytes in, the JSON text of each object out.

    Attributes:
        opened: The array began and has not ended.

    Examples:
        ```python
        from promptport.provider import JSONObjectsDecoder

        decoder = JSONObjectsDecoder()
        print(decoder.feed(b'[{"a": 1}, {"b": '))  # [b'{"a": 1}']
        print(decoder.feed(b"2}]"), decoder.opened)  # [b'{"b": 2}'] False
        ```
    """

    stray = b""
    """Always empty: here everything is an object, or an error."""

    def __init__(self, max_object_bytes: int = 32 * 1024 * 1024) -> None:
        """``max_object_bytes``: the most that an object may hold."""
        self.opened = False
        self._began = False
        self._limit = max_object_bytes
        self._error: ProtocolError | None = None
        self._held: list[bytes] = []  # of the object under way
        self._size = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def bound(self, limits: Limits) -> None:
        """Sets the most that an object may hold, before its first byte."""
        self._limit = limits.event

    def feed(self, data: bytes) -> list[bytes]:
        """The objects that these bytes complete.

        Raises:
            ProtocolError: An object is too large, or between them stands something else. Objects before it in the same
                read are returned, and the error comes with the next call.
        """
        if self._error is not None:
            raise self._error
        out: list[bytes] = []
        try:
            self._scan(data, out)
        except ProtocolError as error:
            self._error = error
            self._held.clear()
            if not out:
                raise
        return out

    def close(self) -> list[bytes]:
        """The object that was cut, which no JSON reader will take."""
        if self._error is not None:
            raise self._error
        return [b"".join(self._held)] if self._depth else []

    def _scan(self, data: bytes, out: list[bytes]) -> None:
        start = 0  # of the object under way
        position = 1 if self._escaped and data else 0
        self._escaped = self._escaped and not data
        while found := self._pattern().search(data, position):
            position = found.end()
            mark = found[0]
            if self._in_string:
                self._in_string = mark != b'"'
                if mark == b"\\":
                    position += 1
                    self._escaped = position > len(data)
            elif mark == b'"' and self._depth:
                self._in_string = True
            elif not self._depth and mark != b"{":
                self._between(mark)
            elif mark in b"{[":
                if not self._depth:
                    start = position - 1
                    self._began = True
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    self._hold(data[start:position])
                    out.append(b"".join(self._held))
                    self._held.clear()
                    self._size = 0
        if self._depth:
            self._hold(data[start:])

    def _pattern(self) -> re.Pattern[bytes]:
        if self._in_string:
            return _IN_STRING
        return _INSIDE if self._depth else _BETWEEN

    def _between(self, mark: bytes) -> None:
        if mark == b"[" and not self._began:
            self.opened = self._began = True
        elif mark == b"]" and self.opened:
            self.opened = False
        else:
            raise ProtocolError("the stream's JSON array holds something else than objects")

    def _hold(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            raise ProtocolError(f"an event of the stream is larger than {self._limit} bytes")
        self._held.append(part)
