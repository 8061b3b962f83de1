r"""Lines of JSON out of bytes (NDJSON, also called JSON Lines). Pure.

Rule: a line ends with LF and with nothing else. JSON text may hold U+0085, U+2028 and U+2029, which
``bytes.splitlines`` leaves alone and ``str.splitlines`` does not, so that nothing here is decoded; values stay bytes.
"""

from __future__ import annotations

from promptport.decoding.limits import Limits
from promptport.errors import ProtocolError

__all__ = ["NDJSONDecoder"]


class NDJSONDecoder:
    """Bytes in, lines out: without their ends (LF or CR LF), and without the blank ones."""

    __slots__ = ("_failed", "_max_line_bytes", "_parts", "_size")

    stray = b""
    """Always empty: here every line is an event."""

    def __init__(self, max_line_bytes: int = 32 * 1024 * 1024) -> None:
        """``max_line_bytes``: the most that a line may hold, also the most that is ever kept."""
        self._max_line_bytes = max_line_bytes
        # The line under way, in the pieces that the reads brought: joined once, when its end is there.
        self._parts: list[bytes] = []
        self._size = 0
        self._failed = False

    def bound(self, limits: Limits) -> None:
        """Sets the most that a line may hold, before its first byte."""
        self._max_line_bytes = limits.event

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete.

        Raises:
            ProtocolError: a line is longer than ``max_line_bytes``. Lines before it that end in the same read are
                returned, and the error comes with the next call.
        """
        if self._failed:
            self._raise()
        # Nearly every read: nothing is under way, no CR at a line's end, and too small for a line to be too long.
        plain = not self._size and 13 not in data and len(data) <= self._max_line_bytes
        lines = data.split(b"\n")
        if self._size and len(lines) > 1:
            lines[0] = b"".join([*self._parts, lines[0]])
            self._parts.clear()
            self._size = 0
        rest = lines.pop()
        if plain:
            if rest:
                self._parts.append(rest)
                self._size = len(rest)
            return list(filter(bytes.strip, lines))  # a blank line is empty then; half the time of asking each
        out: list[bytes] = []
        for line in lines:
            if len(line) > self._max_line_bytes:
                self._failed = True
                break
            if line and not line.isspace():
                out.append(line[:-1] if line[-1] == 13 else line)
        else:
            if rest:
                self._parts.append(rest)
                self._size += len(rest)
                self._failed = self._size > self._max_line_bytes
        if self._failed:
            self._parts.clear()
            if not out:
                self._raise()
        return out

    def close(self) -> list[bytes]:
        """The bytes are at their end: the last line, where no LF ended it. It may have been cut.

        Raises:
            ProtocolError: see `feed`.
        """
        if self._failed:
            self._raise()
        line = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return [line.removesuffix(b"\r")] if line and not line.isspace() else []

    def _raise(self) -> None:
        raise ProtocolError(f"a line of the stream is longer than {self._max_line_bytes} bytes")
