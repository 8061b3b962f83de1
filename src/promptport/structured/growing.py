"""JSON that grows: the value of a text so far, when the text comes in pieces. Pure.

Rule: each character is looked at once. The open containers stand on a stack, and what comes is added to them; a value
that was handed out does not change any more, so that the containers that are open then are copied before the next
change, and nothing else is.

Rule: what a text means while it is not whole is what ``pydantic_core.from_json(…, allow_partial="trailing-strings")``
says; that is the reference that the tests compare with. So a text is cut back to its last whole character, a number or
a word that could still become another is left out, and a container that goes on with what cannot be is at its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

__all__ = ["OTHER", "PERHAPS", "SAME", "GrowingJson"]

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


class GrowingJson:
    """The value of a JSON text that grows.

    Attributes:
        broken: whether the text cannot become JSON any more.
    """

    __slots__ = (
        "_before",
        "_is_key",
        "_leaf",
        "_pieces",
        "_read",
        "_rest",
        "_root",
        "_shared",
        "_stack",
        "_state",
        "_text",
        "_touched",
    )

    def __init__(self) -> None:
        from pydantic_core import from_json  # noqa: PLC0415 - pydantic is imported when it is needed

        self._read: Callable[..., Any] = from_json
        self._touched = SAME
        self._root: Any = _NOTHING
        self._stack: list[list[Any]] = []  # each a container and the key that its value is for
        self._state = _VALUE
        self._rest = ""  # the end of the text so far, which could not be read yet
        self._shared = False
        # The text under way, as far as it is joined; the pieces behind it; whether it is a key.
        self._text = ""
        self._pieces: list[str] = []
        self._is_key = False
        self._leaf = False  # whether the value under way stands in its container already
        self._before: Any = _NOTHING  # and what stood there before it

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

    def value(self) -> tuple[Any, int]:
        """The value so far, which does not change when the text goes on.

        Returns:
            The value, and whether it differs from the last one: `SAME`, `OTHER`, or `PERHAPS`, then compare them.
        """
        if self._state == _IN_TEXT:
            if not self._is_key:
                self._place(self._joined())
        elif self._rest:
            number = self._number(self._rest)
            if number is not _NOTHING:
                self._place(number)
            elif self._leaf:
                self._take_back()
        self._shared = True
        touched, self._touched = self._touched, SAME
        return self._root, touched

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
        self._text, self._is_key = "", is_key
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
        said = self._joined()
        if self._is_key:
            self._stack[-1][1] = said
            self._state = _COLON
        else:
            self._finish(said)
        return end + 1

    def _joined(self) -> str:
        if self._pieces:
            self._text += "".join(self._pieces)
            self._pieces.clear()
        return self._text

    # -------------------------------------------------------------------------------------- containers

    def _open(self, container: Any, state: int) -> None:
        if len(self._stack) >= _DEPTH:
            self._state = _BROKEN
            return
        if self._stack:
            self._place(container)
            self._leaf = False
        else:
            self._root = container
            self._touched = self._touched or OTHER
        self._stack.append([container, None])
        self._state = state

    def _close(self) -> None:
        self._stack.pop()
        self._state = _NEXT if self._stack else _CLOSED

    def _finish(self, value: Any) -> None:
        """The value under way is whole."""
        self._place(value)
        self._leaf = False
        self._state = _NEXT

    def _place(self, value: Any) -> None:
        """Puts the value under way into its container, in place of what it was before."""
        container, key = self._own()
        if self._leaf:
            last = container[-1 if key is None else key]
            if last is value:
                return
            if last != value:
                self._touched = self._touched or OTHER
        elif type(container) is list:
            self._touched = self._touched or OTHER
        else:
            self._before = container.get(key, _NOTHING)
            self._touched = PERHAPS if self._before is not _NOTHING else self._touched or OTHER
        if type(container) is list:
            if self._leaf:
                container[-1] = value
            else:
                container.append(value)
        else:
            container[key] = value
        self._leaf = True

    def _take_back(self) -> None:
        """The number under way is none for the moment, as ``1.`` is."""
        container, key = self._own()
        if type(container) is list:
            container.pop()
        elif self._before is not _NOTHING:
            container[key] = self._before
            self._touched = PERHAPS
        else:
            del container[key]
        self._touched = self._touched or OTHER
        self._leaf = False

    def _own(self) -> tuple[Any, Any]:
        """The innermost container and its key, fit to be changed: what was handed out is copied."""
        stack = self._stack
        if self._shared:
            self._shared = False
            above: Any = None
            for entry in stack:
                copy = entry[0].copy()
                entry[0] = copy
                if above is None:
                    self._root = copy
                elif above[1] is None:
                    above[0][-1] = copy
                else:
                    above[0][above[1]] = copy
                above = entry
        return stack[-1][0], stack[-1][1]
