"""Where one JSON value, or the arguments of one Python call, ends. Pure.

Rule: text may be cut anywhere. Each scanner is a table of states and what each character means in them; strings are
skipped as a whole, so that nothing inside one is taken for a marker.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Protocol

__all__ = ["JsonScanner", "PythonScanner", "Scanner", "skipped"]


def skipped(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where the match at ``position`` ends; ``position`` itself where there is none."""
    match = pattern.match(text, position)
    return match.end() if match else position


class Scanner(Protocol):
    """Finds the end of what it scans.

    Attributes:
        done: the end was found.
        broken: what came last cannot be; it was not consumed.
    """

    done: bool
    broken: bool

    def feed(self, text: str, position: int, out: list[str]) -> int:
        """Consumes ``text`` from ``position`` on, as far as it belongs to the value.

        Returns:
            Where it stopped; ``out`` has what was consumed.
        """
        ...


class _Expect(IntEnum):
    VALUE = 0
    FIRST_ITEM = 1
    FIRST_KEY = 2
    KEY = 3
    COLON = 4
    AFTER = 5
    STRING = 6
    ESCAPE = 7
    SCALAR = 8


_E = _Expect
_OPENERS = {"{": _E.FIRST_KEY, "[": _E.FIRST_ITEM, '"': _E.STRING}
_SPACE = dict.fromkeys(" \t\r\n", None)
# What a character means where a state expects it: the next state, None for "stay". A closing bracket and a comma ask
# the stack; a character that is in no table begins a number or a word where a value may stand, else it is an error.
_TABLE: dict[_Expect, dict[str, _Expect | None]] = {
    _E.VALUE: {**_SPACE, **_OPENERS},
    _E.FIRST_ITEM: {**_SPACE, **_OPENERS, "]": _E.AFTER},
    _E.FIRST_KEY: {**_SPACE, '"': _E.STRING, "}": _E.AFTER},
    _E.KEY: {**_SPACE, '"': _E.STRING},
    _E.COLON: {**_SPACE, ":": _E.VALUE},
    _E.AFTER: {**_SPACE, ",": _E.VALUE, "]": _E.AFTER, "}": _E.AFTER},
}
_CLOSES = {"]": "[", "}": "{"}
_IN_STRING = re.compile(r'[^"\\\x00-\x1f]*')
_IN_SCALAR = re.compile(r"[-+.0-9A-Za-z]*")
_CONTROLS = {chr(code): f"\\u{code:04x}" for code in range(0x20)} | {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class JsonScanner:
    """One JSON value.

    Line ends and other control characters inside strings, which models write and JSON does not have, come out escaped.
    """

    __slots__ = ("_expect", "_key", "_stack", "broken", "done")

    def __init__(self) -> None:
        self.done = False
        self.broken = False
        self._expect = _E.VALUE
        self._stack: list[str] = []
        self._key = False  # the string that is open is a key

    def feed(self, text: str, position: int, out: list[str]) -> int:
        """See `Scanner`."""
        start, size = position, len(text)
        while position < size and not self.done:
            expect = self._expect
            if expect is _E.STRING:
                position = skipped(_IN_STRING, text, position)
                if position < size:
                    character = text[position]
                    if character in _CONTROLS:
                        out.append(text[start:position])
                        out.append(_CONTROLS[character])
                        start = position + 1
                    else:
                        self._in_string(character)
                    position += 1
            elif expect is _E.ESCAPE:
                self._expect = _E.STRING
                position += 1
            elif expect is _E.SCALAR:
                position = skipped(_IN_SCALAR, text, position)
                if position < size:
                    self._value_ended()
            elif self._step(text[position]):
                if self._expect is not _E.SCALAR:
                    position += 1
            else:
                self.broken = True
                break
        out.append(text[start:position])
        return position

    def _in_string(self, character: str) -> None:
        if character == "\\":
            self._expect = _E.ESCAPE
        elif self._key:
            self._key, self._expect = False, _E.COLON
        else:
            self._value_ended()

    def _step(self, character: str) -> bool:
        """Takes one character outside strings; whether it may stand here."""
        expect, stack = self._expect, self._stack
        table = _TABLE[expect]
        if character not in table:
            scalar = expect in (_E.VALUE, _E.FIRST_ITEM) and _IN_SCALAR.fullmatch(character) is not None
            if scalar:
                self._expect = _E.SCALAR
            return scalar
        following = table[character]
        if following is None:
            return True
        if character in _CLOSES:
            if stack[-1] != _CLOSES[character]:
                return False
            stack.pop()
            self._value_ended()
        elif character == ",":
            self._expect = _E.KEY if stack[-1] == "{" else _E.VALUE
        else:
            if character in "{[":
                stack.append(character)
            self._key = following is _E.STRING and expect in (_E.KEY, _E.FIRST_KEY)
            self._expect = following
        return True

    def _value_ended(self) -> None:
        self._expect = _E.AFTER
        self.done = not self._stack


_TO_BRACKET = re.compile(r"""[^"'()\[\]{}]*""")
_TO_QUOTE = {quote: re.compile(rf"[^{quote}\\]*") for quote in "\"'"}


class PythonScanner:
    """The arguments of a Python call, up to the parenthesis that closes it: it is consumed, and not in ``out``."""

    __slots__ = ("_depth", "_escaped", "_quote", "broken", "done")

    def __init__(self) -> None:
        self.done = False
        self.broken = False
        self._depth = 1
        self._quote = ""
        self._escaped = False

    def feed(self, text: str, position: int, out: list[str]) -> int:
        """See `Scanner`."""
        start, size = position, len(text)
        while position < size:
            if self._escaped:
                self._escaped = False
            elif self._quote:
                position = skipped(_TO_QUOTE[self._quote], text, position)
                if position == size:
                    break
                if text[position] == "\\":
                    self._escaped = True
                else:
                    self._quote = ""
            else:
                position = skipped(_TO_BRACKET, text, position)
                if position == size:
                    break
                self._bracket(text[position])
            position += 1
            if self.done:
                out.append(text[start : position - 1])
                return position
        out.append(text[start:position])
        return position

    def _bracket(self, character: str) -> None:
        if character in "\"'":
            self._quote = character
        elif character in "([{":
            self._depth += 1
        else:
            self._depth -= 1
            self.done = self._depth == 0
