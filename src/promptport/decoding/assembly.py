"""Fragments of tool calls in, `ToolCallDelta`, `ToolCall` and `InvalidToolCall` out. Pure.

Rule: a call is sealed because the provider said so, never because its arguments happen to parse. Until then its
fragments are passed on as deltas; at the seal the joined text must be one JSON object, or the call is invalid.

Identity: the provider's id is the call's id, unless it is missing, or was seen in the conversation before; then the
id is made up here. Made-up ids count upwards, so that the same bytes give the same frames, and are nine letters and
digits, which every provider takes back (Mistral refuses anything else).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Any, TypeAlias

from promptport.errors import ProtocolError
from promptport.frames import InvalidToolCall, StreamFrame, ToolCall, ToolCallDelta, UnfinishedCall, parse_arguments

__all__ = ["CallAssembler", "seal_call"]

Frames: TypeAlias = list[StreamFrame]


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


class _Call:
    __slots__ = ("fragments", "id", "index", "name", "provider_data", "provider_id")

    def __init__(self, id: str, provider_id: str | None, index: Hashable) -> None:
        self.id = id
        self.provider_id = provider_id
        self.index = index
        self.name = ""
        self.fragments: list[str] = []
        self.provider_data: dict[str, Any] | None = None


class CallAssembler:
    """Pieces the calls of one answer together.

    Two ways in. Protocols that key their calls (content block, output item) use `start`, `append` and `seal`.
    Chat Completions, whose clones key them by whatever they like, uses `fragment` and `seal_all`.
    """

    __slots__ = ("_by_id", "_by_index", "_made", "_open", "_sealed", "_taken", "sealed")

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the calls that the conversation holds already."""
        self.sealed = 0
        self._taken = set(taken)
        self._made = len(self._taken)
        self._open: list[_Call] = []
        self._by_index: dict[Hashable, _Call] = {}
        self._by_id: dict[str, list[_Call]] = {}
        self._sealed: dict[str, tuple[str, str]] = {}  # the provider's id: name and arguments

    @property
    def open(self) -> int:
        """How many calls wait for their seal."""
        return len(self._open)

    # ------------------------------------------------------------------------------- keyed by the protocol

    def start(
        self, key: Hashable, id: str | None, name: str, out: Frames, provider_data: dict[str, Any] | None = None
    ) -> None:
        """A call begins; its first delta goes out."""
        call = self._new(id, key)
        call.provider_data = provider_data
        call.name = name
        out.append(ToolCallDelta(call.id, name, ""))

    def append(self, key: Hashable, arguments: str, out: Frames) -> None:
        """An increment of the arguments; an empty one gives no frame.

        Raises:
            ProtocolError: no such call is open.
        """
        call = self._by_index.get(key)
        if call is None:
            raise ProtocolError("arguments came for a tool call that is not open")
        if arguments:
            call.fragments.append(arguments)
            out.append(ToolCallDelta(call.id, call.name, arguments))

    def has(self, key: Hashable) -> bool:
        """Whether this call is open."""
        return key in self._by_index

    def length(self, key: Hashable) -> int:
        """How many characters of arguments this open call has."""
        return sum(map(len, self._by_index[key].fragments))

    def seal(self, key: Hashable, out: Frames, *, provider_data: dict[str, Any] | None = None) -> None:
        """The provider finished the call.

        Raises:
            ProtocolError: no such call is open.
        """
        call = self._by_index.pop(key, None)
        if call is None:
            raise ProtocolError("a tool call ended that is not open")
        self._open.remove(call)
        if provider_data is not None:
            call.provider_data = provider_data
        self._seal(call, out)

    def whole(
        self, id: str | None, name: str, arguments: str, out: Frames, provider_data: dict[str, Any] | None = None
    ) -> None:
        """A call that arrives in one piece, sealed by its arrival."""
        call = _Call(self._identity(id), id, None)
        call.name = name
        call.provider_data = provider_data
        call.fragments.append(arguments if arguments else "{}")
        out.append(ToolCallDelta(call.id, name, call.fragments[0]))
        self._seal(call, out)

    # --------------------------------------------------------------------------------- Chat Completions

    def grow(self, index: Hashable | None, arguments: str | None, out: Frames) -> bool:
        """The plain case of `fragment`, which nearly every entry is: neither id nor name, at the index of an open call.

        Returns:
            Whether it was that; if not, nothing was done.
        """
        call = self._by_index.get(index)
        if call is None or not call.name or not arguments:
            return False
        call.fragments.append(arguments)
        out.append(ToolCallDelta(call.id, call.name, arguments))
        return True

    def fragment(
        self,
        index: Hashable | None,
        id: str | None,
        name: str | None,
        arguments: str,
        out: Frames,
        *,
        apart: bool = False,
        provider_data: dict[str, Any] | None = None,
    ) -> None:
        """One entry of a delta's ``tool_calls``; whose call it is, `_find` decides.

        Args:
            index: the entry's index, ``None`` if missing.
            id: the entry's id, ``None`` if missing or blank.
            name: the function's name, ``None`` if missing or blank.
            arguments: the increment of the arguments, may be empty.
            out: where the frames go.
            apart: the entry stands in one list with an earlier one, so that both cannot be the same call
                unless id or index say so.
            provider_data: what the provider wants back with the call.

        Raises:
            ProtocolError: nobody can say whose call this is, or the call is sealed already.
        """
        call = self._find(index, id, name, arguments, apart)
        if call is None:
            if not (id or name) and not arguments and provider_data is None:
                return  # an empty trailing entry
            if id and self._repeats(id, name, arguments):
                return
            call = self._new(id, index)
        elif call.provider_id is None and id:
            call.provider_id = id
            self._by_id.setdefault(id, []).append(call)
            if not call.name:  # it was not announced under the id that was made up for it
                call.id = self._identity(id)
        if provider_data is not None:
            call.provider_data = {**(call.provider_data or {}), **provider_data}
        if not call.name:
            if not name:
                # Nothing is announced before the name is known.
                if arguments:
                    call.fragments.append(arguments)
                return
            call.name = name
            held = "".join(call.fragments)
            out.append(ToolCallDelta(call.id, name, held + arguments))
            if arguments:
                call.fragments.append(arguments)
        elif arguments:
            call.fragments.append(arguments)
            out.append(ToolCallDelta(call.id, call.name, arguments))

    def _find(
        self, index: Hashable | None, id: str | None, name: str | None, arguments: str, apart: bool
    ) -> _Call | None:
        """The open call that an entry continues; ``None`` opens one."""
        at_index = self._by_index.get(index) if index is not None else None
        if id:
            same_id = self._by_id.get(id)
            if same_id:
                return self._by_known_id(same_id, index, name, arguments)
            if at_index is None or at_index.provider_id is not None:
                return None
            # The call at this index had no id yet: this is its id, or the head of another.
        if at_index is not None:
            return None if name and self._starts_another(at_index, name, arguments) else at_index
        if name:
            return None if index is not None or apart else self._by_name(name, arguments)
        if len(self._open) > 1 and arguments:
            raise ProtocolError(
                "a fragment of a tool call has neither a known id nor a known index, and several are open"
            )
        last = self._open[-1] if self._open else None
        return None if index is not None and last and self._restarts(last, arguments) else last

    @staticmethod
    def _by_known_id(same_id: list[_Call], index: Hashable | None, name: str | None, arguments: str) -> _Call | None:
        for call in same_id:
            if call.index == index and (not name or not call.name or name == call.name):
                return call
        call = same_id[-1]
        if not name or not call.name:
            return call
        # An id that two calls share: the head of the second has a name of its own, or a place and where objects begin.
        head = index is not None and index != call.index and arguments.lstrip()[:1] in ("", "{")
        return None if head or name != call.name else call

    def _by_name(self, name: str, arguments: str) -> _Call | None:
        """The call that a fragment goes on which has nothing but a name, as each of its server's fragments has."""
        calls = [call for call in self._open if not self._starts_another(call, name, arguments)]
        if len(calls) > 1 and arguments.strip():
            calls = [call for call in calls if not self._is_whole(call)]
            if len(calls) > 1:
                raise ProtocolError(f"a fragment of a call of {name!r} has neither id nor index, and several are open")
        return calls[-1] if calls else None

    def _starts_another(self, call: _Call, name: str, arguments: str) -> bool:
        """Whether an entry with a name and no id of its own is the head of a call after ``call``.

        Some servers repeat the name on every chunk, so the same name is the same call, unless that cannot be.
        """
        if not call.name:
            return False
        return name != call.name or self._restarts(call, arguments)

    def _restarts(self, call: _Call, arguments: str) -> bool:
        """Whether an object begins after a whole one, which could never become valid arguments of ``call``."""
        return arguments.lstrip().startswith("{") and self._is_whole(call)

    @staticmethod
    def _is_whole(call: _Call) -> bool:
        if not (call.fragments and call.fragments[-1].rstrip().endswith("}")):
            return False  # the cheap test first: a server that names every chunk must not cost a parse for each
        try:
            parse_arguments("".join(call.fragments))
        except ValueError:
            return False
        return True

    def _repeats(self, id: str, name: str | None, arguments: str) -> bool:
        """Whether an entry says once more what a call was that is sealed.

        Raises:
            ProtocolError: it goes on with that call.
        """
        known = self._sealed.get(id)
        if known is None or (name and name != known[0]):
            return False
        if not name and arguments:
            raise ProtocolError("arguments came for a tool call that was finished before")
        return not arguments or arguments == known[1]

    def seal_all(self, out: Frames) -> None:
        """The provider finished the answer: all open calls, in the order in which they were opened."""
        calls, self._open = self._open, []
        for call in calls:
            if not call.name:
                if not call.fragments:
                    continue  # an id alone is no call
                out.append(ToolCallDelta(call.id, "", "".join(call.fragments)))
            self._seal(call, out)
        self._by_index.clear()
        self._by_id.clear()

    # ------------------------------------------------------------------------------------------- the end

    def unfinished(self) -> tuple[UnfinishedCall, ...]:
        """The calls that are still open, as far as they came."""
        return tuple([UnfinishedCall(call.id, call.name, "".join(call.fragments)) for call in self._open])

    def _new(self, provider_id: str | None, index: Hashable | None) -> _Call:
        call = _Call(self._identity(provider_id), provider_id, index)
        self._open.append(call)
        if index is not None:
            self._by_index[index] = call
        if provider_id:
            self._by_id.setdefault(provider_id, []).append(call)
        return call

    def _identity(self, provider_id: str | None) -> str:
        if provider_id and provider_id not in self._taken:
            self._taken.add(provider_id)
            return provider_id
        while True:
            self._made += 1
            made = f"call{self._made:05d}"
            if made not in self._taken:
                self._taken.add(made)
                return made

    def _seal(self, call: _Call, out: Frames) -> None:
        arguments = "".join(call.fragments)
        if call.provider_id:
            self._sealed[call.provider_id] = (call.name, arguments)
        self.sealed += 1
        out.append(seal_call(call.id, call.name, arguments, call.provider_data))
