"""The calls of an answer that are not sealed yet: what came of each, how they are found again, and the seal. Pure.

Rule: no work grows with the calls or the fragments that came before.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, NoReturn

from promptport.errors import ProtocolError
from promptport.frames import InvalidToolCall, ToolCall, parse_arguments

__all__ = ["OpenCall", "SameId", "SameName", "same_object", "seal_call"]

_PIECE = re.compile(r'[^"\\{}\[\]\s]+|\s+|.', re.DOTALL)


def seal_call(
    id: str, name: str, arguments: str, provider_data: dict[str, Any] | None = None
) -> ToolCall | InvalidToolCall:
    """The frame for a call that the provider finished; blank arguments are ``{}``."""
    if not arguments or arguments.isspace():
        arguments = "{}"
    if not name:
        return InvalidToolCall(id, name, arguments, "the call has no name", provider_data)
    try:
        parse_arguments(arguments)
    except ValueError as error:
        return InvalidToolCall(id, name, arguments, str(error), provider_data)
    return ToolCall(id, name, arguments, provider_data)


def same_object(left: str, right: str) -> bool:
    """Whether two texts of arguments mean the same object; what is no object is the same as nothing."""
    try:
        return parse_arguments(left) == parse_arguments(right)
    except ValueError:
        return False


class OpenCall:
    """A call that is not sealed yet."""

    __slots__ = (
        "_depth",
        "_escaped",
        "_in_text",
        "_looked",
        "_state",
        "fragments",
        "id",
        "index",
        "name",
        "number",
        "part",
        "provider_data",
        "provider_id",
        "room",
    )

    def __init__(self, id: str, provider_id: str | None, index: Hashable, number: int, room: int) -> None:
        self.id = id
        self.number = number  # in the order in which they are opened
        self.provider_id = provider_id
        self.index = index
        self.name = ""
        self.part = ""  # the beginning of a name that comes in pieces
        self.fragments: list[str] = []
        self.provider_data: dict[str, Any] | None = None
        self.room = room  # how many characters of arguments may still come
        # How far `is_whole` has looked, and what it saw.
        self._looked = 0
        self._depth = 0
        self._in_text = self._escaped = False
        self._state = _UNBEGUN

    def add(self, arguments: str) -> None:
        """One more fragment of the arguments. Raises `ProtocolError` past their limit."""
        self.room -= len(arguments)
        if self.room < 0:
            self.refuse()
        self.fragments.append(arguments)

    def refuse(self) -> NoReturn:
        """There is no room for more arguments. Raises `ProtocolError`."""
        raise ProtocolError("the arguments of a tool call are longer than limits.arguments allows")

    def is_restarted_by(self, arguments: str) -> bool:
        """Whether an object begins after a whole one, which could never become valid arguments of this call."""
        return arguments.lstrip().startswith("{") and self.is_whole()

    def is_whole(self) -> bool:
        """Whether the fragments so far are one JSON object; each is looked at once."""
        fragments = self.fragments
        while self._looked < len(fragments) and self._state != _BROKEN:
            self._look(fragments[self._looked])
            self._looked += 1
        if self._state == _CLOSED:
            try:
                parse_arguments("".join(fragments))
            except ValueError:
                self._state = _BROKEN
            else:
                self._state = _WHOLE
        return self._state == _WHOLE

    def _look(self, fragment: str) -> None:
        for piece in _PIECE.findall(fragment):
            if self._in_text:
                if self._escaped:
                    self._escaped = False
                elif piece == "\\":
                    self._escaped = True
                elif piece == '"':
                    self._in_text = False
            elif piece.isspace():
                continue
            elif self._state in (_CLOSED, _WHOLE) or (self._state == _UNBEGUN and piece != "{"):
                self._state = _BROKEN  # more than one object, or none
                return
            elif piece == '"':
                self._in_text = True
            elif piece in "{[":
                self._state = _INSIDE
                self._depth += 1
            elif piece in "}]":
                self._depth -= 1
                if not self._depth:
                    self._state = _CLOSED


_UNBEGUN, _INSIDE, _CLOSED, _WHOLE, _BROKEN = range(5)


class SameId:
    """The open calls of one provider's id: nearly always one, but some servers give all calls the same."""

    __slots__ = ("_first", "_nameless", "last", "only")

    def __init__(self, call: OpenCall) -> None:
        self.only: OpenCall | None = call  # as long as it is one
        self._first: dict[Any, OpenCall] = {}
        self._nameless: list[OpenCall] = []
        self.add(call)

    def add(self, call: OpenCall) -> None:
        """One more call of this id."""
        if call is not self.only:
            self.only = None
        self.last = call
        self._first.setdefault(call.index, call)
        if call.name:
            self._first.setdefault((call.index, call.name), call)
        else:
            self._nameless.append(call)

    def at(self, index: Hashable | None, name: str | None) -> OpenCall | None:
        """The first call at this index that an entry with this name, or without one, may go on with."""
        for call in self._nameless:
            if call.name:
                self._first.setdefault((call.index, call.name), call)
        self._nameless = [call for call in self._nameless if not call.name]
        if not name:
            return self._first.get(index)
        known = self._first.get((index, name))
        return known or next((call for call in self._nameless if call.index == index), None)

    def going_on(self, index: Hashable | None, name: str | None, arguments: str) -> OpenCall | None:
        """The call that an entry of this id goes on with; ``None`` if it is the head of another."""
        call = self.at(index, name)
        if call is not None:
            return call
        call = self.last
        if not name or not call.name:
            return call
        # An id that two calls share: the head of the second has a name of its own, or a place and where objects begin.
        head = index is not None and index != call.index and arguments.lstrip()[:1] in ("", "{")
        return None if head or name != call.name else call


class SameName:
    """The open calls of one name: ``growing`` are those that may go on, and some that were found whole since."""

    __slots__ = ("count", "growing", "last")

    def __init__(self) -> None:
        self.count = 0
        self.growing: list[OpenCall] = []

    def add(self, call: OpenCall) -> None:
        """One more call of this name."""
        self.count += 1
        self.growing.append(call)
        self.last = call
