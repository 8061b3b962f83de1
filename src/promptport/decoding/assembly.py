"""Fragments of tool calls in, `ToolCallDelta`, `ToolCall` and `InvalidToolCall` out. Pure.

Rule: a call is sealed because the provider said so, never because its arguments happen to parse. Until then its
fragments are passed on as deltas; at the seal the joined text must be one JSON object, or the call is invalid.

Rule: an entry without a name goes on with a call; it opens one only where there is none that it could belong to.

Rule: no work grows with the calls or the fragments that came before. Each is found by a key, and whether a call's
arguments are a whole object is followed as they come.

Identity: the provider's id is the call's id, unless it is missing, or was seen in the conversation before; then the
id is made up here. Made-up ids count upwards, so that the same bytes give the same frames, and are nine letters and
digits, which every provider takes back (Mistral refuses anything else).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Hashable, Iterable
from typing import Any, TypeAlias

from promptport.decoding.limits import DEFAULT_LIMITS, Limits
from promptport.decoding.open_calls import OpenCall, SameId, SameName, same_object, seal_call
from promptport.errors import ProtocolError
from promptport.frames import (
    FinishReason,
    InvalidToolCall,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
)

__all__ = ["CallAssembler"]

Frames: TypeAlias = list[StreamFrame]
_BLANK = 8  # fragments; an empty object comes in fewer


class CallAssembler:
    """Pieces the calls of one answer together.

    Two ways in. Protocols that key their calls (content block, output item) use `start`, `append` and `seal`.
    Chat Completions, whose clones key them by whatever they like, uses `fragment` and `seal_all`.

    Where a server closes a call that its limit cut, as it closes any other, use `end` for `seal`, and `settle`.
    """

    __slots__ = (
        "_begun",
        "_by_id",
        "_by_index",
        "_cut",
        "_heads",
        "_held",
        "_limits",
        "_made",
        "_named",
        "_nameless",
        "_offered",
        "_open",
        "_prefix",
        "_sealed",
        "_sorted",
        "_taken",
        "sealed",
    )

    def __init__(self, taken: Collection[str] = (), *, prefix: str = "call") -> None:
        """``taken``: the ids of the calls that the conversation holds already; ``prefix``: of ids made up here."""
        self._prefix = prefix
        self.sealed = 0
        self._limits = DEFAULT_LIMITS
        self._begun = 0
        self._taken = set(taken)
        self._made = len(self._taken)
        self._open: dict[OpenCall, None] = {}  # in the order in which they were opened
        self._by_index: dict[Hashable, OpenCall] = {}
        self._by_id: dict[str, SameId] = {}
        self._nameless: list[OpenCall] = []  # and with names since they were last asked for
        self._named: dict[str, SameName] = {}
        self._heads: dict[Hashable, str] = {}  # an id that came before its call's name, at the index of another call
        self._sealed: dict[str, tuple[str, str]] = {}  # the provider's id: name and arguments
        self._held: ToolCall | InvalidToolCall | None = None  # see `end`
        self._cut: list[UnfinishedCall] = []
        self._offered: frozenset[str] = frozenset()
        self._sorted: list[str] = []

    def bound(self, limits: Limits) -> None:
        """Sets the limits for arguments and for the number of calls, before the first call."""
        self._limits = limits

    def offer(self, names: Iterable[str]) -> None:
        """The names of the tools that the model may call: one that comes in pieces is put together by them."""
        self._offered = frozenset(names)
        self._sorted = sorted(self._offered)

    @property
    def open(self) -> int:
        """How many calls wait for their seal."""
        return len(self._open)

    def take(self, id: str) -> None:
        """A call elsewhere has this id: none here gets it."""
        self._taken.add(id)

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
            call.add(arguments)
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
        del self._open[call]
        if provider_data is not None:
            call.provider_data = provider_data
        self._seal(call, out)

    def end(self, key: Hashable, out: Frames) -> None:
        """The provider closed the call, which it may do with one that a limit cut.

        A call with no arguments, or with what is not a JSON object, waits for `settle`: what comes next tells.

        Raises:
            ProtocolError: no such call is open.
        """
        blank = self.has(key) and not self.length(key)
        sealed: Frames = []
        self.seal(key, sealed)
        call = sealed[0]
        self.settle(out)
        if isinstance(call, InvalidToolCall) or (blank and isinstance(call, ToolCall)):
            self._held = call
        else:
            out.append(call)

    @property
    def waiting(self) -> bool:
        """Whether a call waits for `settle`."""
        return self._held is not None

    def settle(self, out: Frames, *, cut: bool = False) -> None:
        """What waits is a call, since the model went on after it; or it was ``cut``, and stays unfinished."""
        held, self._held = self._held, None
        if held is not None and cut:
            arguments = held.arguments if isinstance(held, InvalidToolCall) else ""
            self._cut.append(UnfinishedCall(held.id, held.name, arguments))
            self.sealed -= 1
        elif held is not None:
            out.append(held)

    def whole(
        self,
        id: str | None,
        name: str,
        arguments: str,
        out: Frames,
        provider_data: dict[str, Any] | None = None,
        *,
        keep_id: bool = False,
    ) -> None:
        """A call that arrives in one piece, sealed by its arrival; ``keep_id``: an id of the server's that another call
        has already goes into ``provider_data``, as ``id``.
        """
        call = self._begin(id, None, 0)
        call.name = name
        call.provider_data = provider_data
        if keep_id and id and call.id != id:
            call.provider_data = {**(provider_data or {}), "id": id}
        call.add(arguments if arguments else "{}")
        out.append(ToolCallDelta(call.id, name, call.fragments[0]))
        self._seal(call, out)

    def came(self, id: str | None, name: str, arguments: str) -> bool:
        """Whether a call of this id, name and arguments, however spelled, is complete already: some servers send a
        copy.
        """
        before = self._sealed.get(id) if id is not None else None
        return (
            before is not None and before[0] == name and (before[1] == arguments or same_object(before[1], arguments))
        )

    # --------------------------------------------------------------------------------- Chat Completions

    def grow(self, index: Hashable | None, arguments: str | None, out: Frames, id: str | None = None) -> bool:
        """The plain case of `fragment`, which nearly every entry is: no name, and at the index of an open call.

        Args:
            index: The entry's index.
            arguments: The increment of the arguments.
            out: Where the frames go.
            id: The entry's id, if it has one: Mistral says it with every increment.

        Returns:
            Whether it was that; if not, nothing was done.

        Raises:
            ProtocolError: The arguments are longer than their limit.
        """
        call = self._by_index.get(index)
        if call is None or not call.name or not arguments:
            return False
        if id:
            same = self._by_id.get(id)
            if same is None or same.only is not call:
                return False
        call.room -= len(arguments)
        if call.room < 0:
            call.refuse()
        call.fragments.append(arguments)
        out.append(ToolCallDelta(call.id, call.name, arguments))
        return True

    def fragment(  # noqa: PLR0912 - one entry's whole way, a call for each step would cost more than it
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
        if self._heads and index in self._heads and not id:
            head = self._heads.pop(index)
            id = head if name else None  # noqa: A001 - the entry's
        call = self._find(index, id, name, arguments, apart)
        if call is None:
            if not (id or name) and not arguments and provider_data is None:
                return  # an empty trailing entry
            if id and self._repeats(id, name, arguments):
                return
            if id and not (name or arguments or provider_data) and self._waits(index):
                self._heads[index] = id
                return
            call = self._new(id, index)
            self._nameless.append(call)
        elif call.provider_id is None and id:
            call.provider_id = id
            self._is_known_as(id, call)
            if not call.name:  # it was not announced under the id that was made up for it
                call.id = self._identity(id)
        if provider_data is not None:
            call.provider_data = {**(call.provider_data or {}), **provider_data}
        if not call.name:
            if name and self._offered:
                name = self._joined(call.part, name) or call.part
                if not arguments and not call.fragments and name not in self._offered and self._is_part(name):
                    call.part, name = name, None
            elif arguments:
                name = name or call.part
            if not name:
                # Nothing is announced before the name is known.
                if arguments:
                    call.add(arguments)
                return
            self._is_named(call, name)
            held = "".join(call.fragments)
            out.append(ToolCallDelta(call.id, name, held + arguments))
            if arguments:
                call.add(arguments)
        elif arguments:
            call.add(arguments)
            out.append(ToolCallDelta(call.id, call.name, arguments))

    def _find(
        self, index: Hashable | None, id: str | None, name: str | None, arguments: str, apart: bool
    ) -> OpenCall | None:
        """The open call that an entry continues; ``None`` opens one."""
        at_index = self._by_index.get(index) if index is not None else None
        if id:
            same_id = self._by_id.get(id)
            if same_id:
                return same_id.going_on(index, name, arguments)
            if at_index is None or at_index.provider_id is not None:
                if name or not arguments:
                    return None
                return self._by_no_name(id, at_index, arguments)
            # The call at this index had no id yet: this is its id, or the head of another.
        if at_index is not None:
            return None if name and self._starts_another(at_index, name, arguments) else at_index
        if name:
            return None if index is not None or apart else self._by_name(name, arguments)
        if len(self._open) > 1 and arguments:
            raise ProtocolError(
                "a fragment of a tool call has neither a known id nor a known index, and several are open"
            )
        last = next(reversed(self._open), None)
        return None if index is not None and last and last.is_restarted_by(arguments) else last

    def _waits(self, index: Hashable | None) -> bool:
        """Whether the call at this index has a name, and not all of its arguments."""
        call = self._by_index.get(index)
        return call is not None and bool(call.name) and not call.is_whole()

    def _by_no_name(self, id: str, at_index: OpenCall | None, arguments: str) -> OpenCall | None:
        """The call that a fragment goes on which has an id that nobody knows, and no name.

        Some servers make up an id for every fragment. ``None``, a call whose name comes last, only where no call
        waits for these arguments.
        """
        call = at_index or next(reversed(self._open), None)
        if call is None or not call.name or call.is_whole():
            return None
        if at_index is None and len(self._open) > 1:
            raise ProtocolError("a fragment of a tool call has an unknown id and no name, and several calls are open")
        self._is_known_as(id, call)
        return call

    def _is_known_as(self, id: str, call: OpenCall) -> None:
        known = self._by_id.get(id)
        if known is None:
            self._by_id[id] = SameId(call)
        else:
            known.add(call)

    def _by_name(self, name: str, arguments: str) -> OpenCall | None:
        """The call that a fragment goes on which has nothing but a name, as each of its server's fragments has."""
        nameless = self._nameless = [call for call in self._nameless if not call.name]
        same = self._named.get(name)
        growing = same.growing if same else []
        if not arguments.strip():
            return max([*nameless, *([same.last] if same else [])], key=lambda call: call.number, default=None)
        if same and not nameless and same.count == 1 and not same.last.is_restarted_by(arguments):
            return same.last
        # A whole object is not gone on with: not asked again, or many calls of one name would cost their square.
        growing[:] = [call for call in growing if not call.is_whole()]
        calls = [*nameless, *growing]
        if len(calls) > 1:
            raise ProtocolError(f"a fragment of a call of {name!r} has neither id nor index, and several are open")
        return calls[0] if calls else None

    def _is_named(self, call: OpenCall, name: str) -> None:
        call.name = name
        same = self._named.get(name)
        if same is None:
            same = self._named[name] = SameName()
        same.add(call)

    def _starts_another(self, call: OpenCall, name: str, arguments: str) -> bool:
        """Whether an entry with a name and no id of its own is the head of a call after ``call``.

        Some servers repeat the name on every chunk, so the same name is the same call, unless that cannot be.
        """
        if not call.name:
            return bool(call.part) and not self._joined(call.part, name)
        return name != call.name or call.is_restarted_by(arguments)

    def _is_part(self, name: str) -> bool:
        place = bisect_left(self._sorted, name)  # a server may write many names, and a program offer many tools
        return place < len(self._sorted) and self._sorted[place].startswith(name)

    def _joined(self, part: str, name: str) -> str:
        """A name of which a part came before, or all of it once more; an empty string if it is another's."""
        if self._is_part(part + name):
            return part + name
        return name if name.startswith(part) else ""

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
        self._adopt(out)
        calls, self._open = self._open, {}
        for call in calls:
            if not call.name:
                if not (call.fragments or call.part):
                    continue  # an id alone is no call
                call.name = call.part
                out.append(ToolCallDelta(call.id, call.name, "".join(call.fragments)))
            self._seal(call, out)
        for kept in (self._by_index, self._by_id, self._nameless, self._named, self._heads):
            kept.clear()

    def _adopt(self, out: Frames) -> None:
        """Arguments that never got a name belong to the call at their index whose ``{}`` only held their place.

        That call becomes invalid: a call without arguments is not what the model made.
        """
        empty: dict[Hashable, OpenCall] = {}
        for call in list(self._open):
            if call.name:
                empty.pop(call.index, None)
                if len(call.fragments) < _BLANK and "".join("".join(call.fragments).split()) == "{}":
                    empty[call.index] = call
            elif call.fragments and not call.part and call.index in empty:
                arguments = "".join(call.fragments)
                before = empty.pop(call.index)
                before.add(arguments)
                out.append(ToolCallDelta(before.id, before.name, arguments))
                del self._open[call]

    # ------------------------------------------------------------------------------------------- the end

    def unfinished(self) -> tuple[UnfinishedCall, ...]:
        """The calls that were cut or are still open, as far as they came."""
        still = [UnfinishedCall(call.id, call.name or call.part, "".join(call.fragments)) for call in self._open]
        return (*self._cut, *still)

    def reason(self, told: FinishReason) -> FinishReason:
        """Why the answer ended, where the provider told this: because of its calls, unless a limit cut it."""
        return FinishReason.TOOL_CALLS if self.sealed and told is not FinishReason.LENGTH else told

    def _new(self, provider_id: str | None, index: Hashable | None) -> OpenCall:
        call = self._begin(provider_id, index, len(self._open))
        self._open[call] = None
        if index is not None:
            self._by_index[index] = call
        if provider_id:
            self._is_known_as(provider_id, call)
        return call

    def _begin(self, provider_id: str | None, index: Hashable | None, number: int) -> OpenCall:
        self._begun += 1
        if self._begun > self._limits.calls:
            raise ProtocolError(f"the response holds more than {self._limits.calls} tool calls (limits.calls)")
        return OpenCall(self._identity(provider_id), provider_id, index, number, self._limits.arguments)

    def _identity(self, provider_id: str | None) -> str:
        if provider_id and provider_id not in self._taken:
            self._taken.add(provider_id)
            return provider_id
        while True:
            self._made += 1
            made = f"{self._prefix}{self._made:05d}"
            if made not in self._taken:
                self._taken.add(made)
                return made

    def _seal(self, call: OpenCall, out: Frames) -> None:
        arguments = "".join(call.fragments)
        if call.provider_id:
            self._sealed[call.provider_id] = (call.name, arguments)
        self.sealed += 1
        out.append(seal_call(call.id, call.name, arguments, call.provider_data))
