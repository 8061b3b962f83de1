r"""Server-sent events out of bytes: the event stream format of the WHATWG HTML standard, section 9.2.6. Pure.

Rule: the same bytes give the same events, however they are cut, and no byte is looked at again with each read.

Two ways for a line, one result. Nearly every line of a provider is ``data: X``, ``event: N`` or blank: these are told
by their beginning. Any other is taken apart by the standard. CR LF and CR are made ``\n`` before that.

Apart from the standard in three ways:

- A last event that no blank line ends is dispatched by `SSEDecoder.close`, because many servers leave that line
  out. The bytes may have been cut there, so whoever cannot parse this event's data has an incomplete stream.
- ``id`` and ``retry`` are ignored: no provider can resume an answer.
- Values stay bytes: whether they are UTF-8 is the JSON decoder's concern.
"""

from __future__ import annotations

from promptport.decoding.limits import Limits
from promptport.errors import ProtocolError

__all__ = ["SSEDecoder"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_FEED = 10
_CARRIAGE_RETURN = 13  # an int, because searching bytes for one is several times as fast as for b"\r"
_FIELDS = (b"data", b"event", b"id", b"retry")
_STRAY_BYTES = 65536
_LINE_BYTES = 64  # what a line costs in memory, however short it is: so many lines fit into an event's limit
_FEW_LINES = 1024


class _TooManyLinesError(Exception):
    """An event has more lines than its limit has room for."""


class SSEDecoder:
    """Bytes in, ``(event name, data)`` out; the name is ``b""`` where the event has none."""

    __slots__ = (
        "_after_return",
        "_event",
        "_head",
        "_held",
        "_line",
        "_more",
        "_more_size",
        "_normalize",
        "_room",
        "_stray",
        "_value",
    )

    def __init__(self, max_event_bytes: int = 32 * 1024 * 1024) -> None:
        """``max_event_bytes``: the most that an event may hold, its line under way included.

        Of ``data`` lines it may hold as many as fit in with 64 bytes for each, and 1024 in any case.
        """
        self._room = max_event_bytes + 1
        # The event under way: its name, its first data line, the further ones …
        self._event = b""
        self._value: bytes | None = None
        self._more: list[bytes] = []
        self._more_size = 0
        # … its line under way, in the pieces that the reads brought, and the size of all this.
        self._line: list[bytes] = []
        self._held = 0
        self._stray = bytearray()
        # What a plain read need not think of: a byte order mark at the start, a LF after a CR.
        self._normalize = True
        self._head: bytes | None = b""
        self._after_return = False

    def bound(self, limits: Limits) -> None:
        """Sets the most that an event may hold, before its first byte."""
        self._room = limits.event + 1

    @property
    def stray(self) -> bytes:
        """The first 64 KiB of the lines with none of the standard's fields: a JSON error body, an HTML page."""
        return bytes(self._stray)

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The events that these bytes complete.

        Raises:
            ProtocolError: an event is larger than ``max_event_bytes``. Events before it that end in the same read
                are returned, and the error comes with the next call.
        """
        if self._held + len(data) > self._room:
            return self._feed_measured(data)
        lines = self._lines(data) if self._normalize or _CARRIAGE_RETURN in data else data.split(b"\n")
        rest = lines.pop()
        event: bytes = b""
        value: bytes | None = None
        if self._held:
            if not lines:
                return self._feed_part(rest)
            event, value = self._resume(lines)
        out: list[tuple[bytes, bytes]] = []
        name_line = name = b""  # most events of a read have the name of the one before
        try:
            for line in lines:
                if not line:
                    if value is not None:
                        out.append((event, self._joined(value) if self._more else value))
                        value = None
                    event = b""
                elif line == name_line:
                    event = name
                elif value is None and line[:6] == b"data: ":
                    value = line[6:]
                elif line[:7] == b"event: ":
                    event, name_line = line[7:], line
                    name = event
                else:
                    event, value = self._odd_line(line, event, value)
        except _TooManyLinesError:
            self._fail(out)
            return out
        if rest or event or value is not None:
            self._hold(rest, event, value, out)
        return out

    def close(self) -> list[tuple[bytes, bytes]]:
        """The bytes are at their end: the event under way, if it has data, whether or not its last line ended.

        A last line that is only the beginning of a field's name counts for nothing.

        Raises:
            ProtocolError: see `feed`.
        """
        line = b"".join(self._line)
        if any(field.startswith(line) for field in _FIELDS):
            self._line.clear()
        return self.feed(b"\n\n")

    def _lines(self, data: bytes) -> list[bytes]:
        """The lines of a read with a CR in it, or before which one came; the last is what follows the last line end."""
        if self._normalize or data[-1] == _CARRIAGE_RETURN:
            return self._normalized(data).split(b"\n")
        # For bytes this knows the standard's three line ends and no other. To replace CR LF first would cost as much
        # as all the rest of an event.
        lines = data.splitlines()
        if data[-1] == _LINE_FEED:
            lines.append(b"")
        return lines

    def _normalized(self, data: bytes) -> bytes:
        r"""``data`` without the byte order mark, and with ``\n`` for each of the three line ends."""
        if self._head is not None:
            data = self._head + data
            if len(data) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(data):
                self._head = data
                self._held = len(data)
                return b""
            self._head = None
            self._held = 0
            data = data.removeprefix(_BYTE_ORDER_MARK)
        if self._after_return and data:
            # The CR before was taken for a whole line end, so as not to wait for this byte.
            self._after_return = False
            data = data.removeprefix(b"\n")
        if _CARRIAGE_RETURN in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._normalize = self._after_return
        return data

    def _hold(self, rest: bytes, event: bytes, value: bytes | None, out: list[tuple[bytes, bytes]]) -> None:
        """The read ended in the middle of an event: ``rest`` is the beginning of its next line."""
        if rest:
            self._line.append(rest)
        self._event, self._value = event, value
        self._held = len(rest) + len(event) + (0 if value is None else len(value) + 1 + self._more_size)
        if self._held >= self._room:
            self._fail(out)

    def _resume(self, lines: list[bytes]) -> tuple[bytes, bytes | None]:
        """The name and the first data line of the event under way; completes the first of ``lines``."""
        if self._line:
            # Joined once, when its end is there: joining at each read would make a long line quadratic.
            lines[0] = b"".join([*self._line, lines[0]])
            self._line.clear()
        self._held = 0
        event, self._event = self._event, b""
        value, self._value = self._value, None
        return event, value

    def _feed_part(self, part: bytes) -> list[tuple[bytes, bytes]]:
        """A read without any line end, in the middle of an event."""
        if part:
            self._line.append(part)
            self._held += len(part)
            if self._held >= self._room:
                self._fail([])
        return []

    def _odd_line(self, line: bytes, event: bytes, value: bytes | None) -> tuple[bytes, bytes | None]:
        """Any line that is not blank; the event's name and first data line after it."""
        field, colon, content = line.partition(b":")
        if content[:1] == b" ":
            content = content[1:]
        if field == b"data":
            if value is None:
                return event, content
            self._more.append(content)
            self._more_size += len(content) + 1
            if len(self._more) > max(_FEW_LINES, self._room // _LINE_BYTES):
                raise _TooManyLinesError
        elif field == b"event":
            return content, value
        elif not (field in _FIELDS or (colon and not field)):  # a line that begins with a colon is a comment
            self._stray += (line + b"\n")[: _STRAY_BYTES - len(self._stray)]
        return event, value

    def _joined(self, value: bytes) -> bytes:
        value = b"\n".join([value, *self._more])
        self._more.clear()
        self._more_size = 0
        return value

    def _feed_measured(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """A read that may take the event past its limit: in pieces, each of which may do so with its last byte only."""
        out: list[tuple[bytes, bytes]] = []
        start = 0
        while self._held < self._room and start < len(data):
            end = start + self._room - self._held
            try:
                out += self.feed(data[start:end])
            except ProtocolError:
                break
            start = end
        if self._held >= self._room:
            self._fail(out)
        return out

    def _fail(self, out: list[tuple[bytes, bytes]]) -> None:
        """Raises, or leaves that to the next call where this one has events to return."""
        self._line.clear()
        self._more.clear()
        self._held = self._room + 1  # from now on every read is measured, and raises
        if not out:
            raise ProtocolError(f"an event of the stream is larger than {self._room - 1} bytes")
