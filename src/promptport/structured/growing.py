"""JSON that grows: the value of a text so far, when the text comes in pieces. Pure.

Rule: each character is looked at once, and a value that nobody reads costs nothing more. The open containers stand on
a stack and hold only what is whole; what comes is added to them, and to nothing else. So a value that was handed out
is a `Snapshot`: how far each of them was, and the text or number that was under way. It is put together when somebody
reads it.

Rule: what a text means while it is not whole is what ``pydantic_core.from_json(…, allow_partial="trailing-strings")``
says; that is the reference that the tests compare with. So a text is cut back to its last whole character, a number or
a word that could still become another is left out, and a container that goes on with what cannot be is at its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import Any

__all__ = ["OTHER", "PERHAPS", "SAME", "GrowingJson", "Snapshot"]

SAME, OTHER, PERHAPS = range(3)

_DEPTH = 201  # as deep as the reference goes
_TEXT = re.compile(r'[^"\\]*(?:\\(?:u.{4}|[^u])[^"\\]*)*', re.DOTALL)
_HEX = "[0-9a-fA-F]"
_WHOLE = re.compile(
    rf"(?:[^\\]+|\\[^u]|\\u(?:[0-9a-ce-fA-CE-F]{_HEX}|[dD][0-7]){_HEX}{{2}}|\\u[dD][89abAB]{_HEX}{{2}}\\u{_HEX}{{4}})*"
)
"""What of a text's inside stands for whole characters."""
_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+(?:[eE][+-]?[0-9]*)?)?|[eE][+-]?[0-9]*)?)?")
_WORDS = {"t": "true", "f": "false", "n": "null", "N": "NaN", "I": "Infinity"}
_SPACE = re.compile(r"[ \t\n\r]*")

# What may come next.
_VALUE, _VALUE_OR_END, _KEY, _KEY_OR_END, _COLON, _NEXT, _IN_TEXT, _CLOSED, _BROKEN = range(9)
_DIGITS = "0123456789"
_NOTHING = object()


def _end(pattern: re.Pattern[str], text: str, at: int, to: int) -> int:
    """Where the match of a pattern ends that matches everywhere, if only nothing."""
    found = pattern.match(text, at, to)
    return at if found is None else found.end()


class Snapshot:
    """The value of a text as far as it had come, whatever comes later."""

    __slots__ = ("_leaf", "_open")

    def __init__(self, open: tuple[tuple[Any, int, Any], ...], leaf: Any) -> None:
        """``open``: the open containers from the outermost, each with its size and the key of what is under way in it.

        ``leaf``: what is under way in the innermost: a value, the pieces of a text and their number, or `_NOTHING`.
        """
        self._open = open
        self._leaf = leaf

    def value(self) -> Any:
        """The value. It takes as long as what was open is large: what was whole is not copied."""
        leaf = self._leaf
        inner = "".join(islice(leaf[0], leaf[1])) if type(leaf) is tuple else leaf
        for container, size, key in reversed(self._open):
            outer: Any
            if type(container) is list:
                outer = container[:size]
                if inner is not _NOTHING:
                    outer.append(inner)
            else:
                outer = dict(islice(container.items(), size))
                if inner is not _NOTHING:
                    outer[key] = inner
            inner = outer
        return inner


class GrowingJson:
    """The value of a JSON text that grows.

    Attributes:
        broken: whether the text cannot become JSON any more.
    """

    __slots__ = (
        "_handed_out",
        "_is_key",
        "_pieces",
        "_read",
        "_rest",
        "_root",
        "_shown",
        "_stack",
        "_state",
        "_touched",
    )

    def __init__(self) -> None:
        from pydantic_core import from_json  # noqa: PLC0415 - pydantic is imported when it is needed

        self._read: Callable[..., Any] = from_json
        self._touched = SAME
        self._root: Any = _NOTHING  # the value, once it is whole
        self._stack: list[list[Any]] = []  # each a container, the key that its value is for, and when it was made
        self._state = _VALUE
        self._rest = ""  # the end of the text so far, which could not be read yet
        self._pieces: list[str] = []  # of the text under way, and whether it is a key
        self._is_key = False
        self._shown: Any = _NOTHING  # what was under way in the last value that was handed out, if it still is
        self._handed_out = 0  # how many values were

    @property
    def broken(self) -> bool:
        """Whether the text cannot become JSON any more."""
        return self._state == _BROKEN

    def feed(self, piece: str) -> None:
        """More of the text."""
        text, at = self._rest + piece, 0
        self._rest = ""
        while at < len(text) and self._state < _CLOSED:
            if self._state == _IN_TEXT:
                at = self._in_text(text, at)
            else:
                at = _end(_SPACE, text, at, len(text))
                if at < len(text):
                    at = self._token(text, at)

    def value(self) -> tuple[Snapshot, int]:
        """The value so far.

        Returns:
            The value, and whether it differs from the last one: `SAME`, `OTHER`, or `PERHAPS`, then compare them.
        """
        leaf = self._root
        if self._state == _IN_TEXT:
            leaf = _NOTHING if self._is_key else (self._pieces, len(self._pieces))
        elif self._rest:
            leaf = self._number(self._rest)
        if self._stack:
            self._changes(leaf)
            self._shown = leaf
        touched, self._touched = self._touched, SAME
        self._handed_out += 1
        return Snapshot(tuple([(container, len(container), key) for container, key, _ in self._stack]), leaf), touched

    # ------------------------------------------------------------------------------------------ tokens

    def _token(self, text: str, at: int) -> int:  # noqa: PLR0912 - one token's whole way
        char, state = text[at], self._state
        if state == _NEXT:
            return self._next(char, at)
        if state == _COLON:
            self._state = _VALUE if char == ":" else _BROKEN
            return at + 1
        if state in (_KEY, _KEY_OR_END):
            if char == '"':
                self._begin_text(is_key=True)
            elif char == "}" and state == _KEY_OR_END:
                self._close()
            else:
                self._state = _BROKEN
            return at + 1
        if char == '"':
            self._begin_text(is_key=False)
        elif char == "{":
            self._open({}, _KEY_OR_END)
        elif char == "[":
            self._open([], _VALUE_OR_END)
        elif char == "]" and state == _VALUE_OR_END:
            self._close()
        elif char == "-" or char in _DIGITS:
            return self._in_number(text, at)
        elif char in _WORDS:
            return self._in_word(text, at, at)
        else:
            self._state = _BROKEN
        return at + 1

    def _next(self, char: str, at: int) -> int:
        """Behind a value: a comma, or the end of its container; what cannot be there ends it too."""
        is_list = type(self._stack[-1][0]) is list
        if char == ",":
            self._state = _VALUE if is_list else _KEY
            return at + 1
        self._close()
        return at + 1 if char == ("]" if is_list else "}") else at

    def _in_number(self, text: str, at: int) -> int:
        end = _end(_NUMBER, text, at, len(text))
        if end == len(text):
            self._rest = text[at:]
            return end
        digits = text[at:end]
        if digits == "-" and text[end] == "I":
            return self._in_word(text, at, end)
        number = self._number(digits)
        if number is _NOTHING or (digits in ("0", "-0") and text[end] in _DIGITS):
            self._state = _BROKEN
        else:
            self._finish(number)
        return end

    def _number(self, token: str) -> Any:
        """The number, or `_NOTHING` where this is the beginning of one, or of a word."""
        if not token[-1].isdigit():
            return _NOTHING
        try:
            return self._read(token)
        except ValueError:  # more digits than Python takes
            self._state = _BROKEN
            return _NOTHING

    def _in_word(self, text: str, at: int, start: int) -> int:
        word = _WORDS[text[start]]
        end = start + len(word)
        if text.startswith(word, start):
            self._finish(self._read(text[at:end]))
        elif word.startswith(text[start:]):
            self._rest = text[at:]
            return len(text)
        else:
            self._state = _BROKEN
        return end

    def _begin_text(self, *, is_key: bool) -> None:
        self._is_key = is_key
        self._pieces = []
        self._state = _IN_TEXT

    def _in_text(self, text: str, at: int) -> int:
        end = _end(_TEXT, text, at, len(text))
        closed = end < len(text) and text[end] == '"'
        whole = end if closed else _end(_WHOLE, text, at, end)
        try:
            if whole > at:
                self._pieces.append(self._read(f'["{text[at:whole]}"]')[0])
            if not closed and whole < len(text):
                self._rest = text[whole:]
                self._read(f'["{self._rest}', allow_partial="trailing-strings")
        except ValueError:
            self._state = _BROKEN
            return len(text)
        if not closed:
            return len(text)
        said = "".join(self._pieces)
        if self._is_key:
            self._stack[-1][1] = said
            self._state = _COLON
        else:
            self._changes((self._pieces, len(self._pieces)))
            self._add(said)
        return end + 1

    # -------------------------------------------------------------------------------------- containers

    def _open(self, container: Any, state: int) -> None:
        if len(self._stack) >= _DEPTH:
            self._state = _BROKEN
            return
        if self._stack:
            self._changes(container)
            self._shown = _NOTHING
        else:
            self._touched = self._touched or OTHER
        self._stack.append([container, None, self._handed_out])
        self._state = state

    def _close(self) -> None:
        container, _, _ = self._stack.pop()
        if self._stack:
            self._add(container)
        else:
            self._root, self._state = container, _CLOSED

    def _finish(self, value: Any) -> None:
        """A number or a word is whole."""
        self._changes(value)
        self._add(value)

    def _add(self, value: Any) -> None:
        """Puts a whole value into its container, which is changed in no other way."""
        entry = self._stack[-1]
        container, key, made = entry
        if type(container) is list:
            container.append(value)
        else:
            if made != self._handed_out and key in container:
                # A key for the second time changes what is there, which may have been handed out.
                entry[0] = container = container.copy()
                entry[2] = self._handed_out
            container[key] = value
        self._shown = _NOTHING
        self._state = _NEXT

    def _changes(self, leaf: Any) -> None:
        """Notes whether a value that has this under way differs from the last one that was handed out."""
        container, key, _ = self._stack[-1]
        shown = self._shown
        if type(container) is dict and key in container and (leaf is _NOTHING) != (shown is _NOTHING):
            self._touched = PERHAPS
        elif type(leaf) is tuple and type(shown) is tuple:
            if leaf[1] != shown[1]:
                self._touched = self._touched or OTHER
        elif leaf is not shown and leaf != shown:
            self._touched = self._touched or OTHER
