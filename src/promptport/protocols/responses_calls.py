"""The calls of one OpenAI Responses answer: whose arguments came, when a call is sealed, what it becomes. Pure.

Rule: ``output_index`` says whose an event is, because clones change the item's id from one event to the next; the id
helps where there is no index, or two open calls share one. ``call_id`` is the call's id. Nothing is guessed: where
nobody says whose arguments these are, that is a `ProtocolError`.

No work grows with the calls that came before: each is found by a key.

Arguments that come whole, at a call's end, must begin with the deltas that came before: the rest is one more delta.
If they differ, and do not mean the same JSON either, that is a `ProtocolError`: nobody can say which are right.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterable
from typing import Any

import msgspec

from promptport.decoding import CallAssembler, Limits, mended_text, same_object
from promptport.errors import ProtocolError
from promptport.frames import InvalidToolCall, StreamFrame, ToolCallDelta, UnfinishedCall, parse_arguments

__all__ = ["CALL_TYPES", "OpenCall", "ResponseCalls"]

CALL_TYPES = frozenset(["function_call", "custom_tool_call"])
"""Output items that the caller is to answer."""

_WRAPPER = "multi_tool_use.parallel"
_FREE_TEXT = "this is a custom tool's free text, not a JSON object"

Frames = list[StreamFrame]


class OpenCall:
    """A call that is not sealed."""

    __slots__ = ("announced", "arguments_done", "held", "id", "index", "item", "name", "number", "texts")

    def __init__(self, index: int | None, item: dict[str, Any], number: int) -> None:
        self.index = index
        self.number = number  # in the order in which they were opened
        self.item: dict[str, Any] = {}
        self.name = ""
        self.id = ""  # of the frames, once it is announced
        self.texts: list[str] = []
        self.held = ""  # arguments that came with the head, and count only if no others come
        self.announced = False
        self.arguments_done = False
        self.learn(item)

    def learn(self, item: dict[str, Any]) -> None:
        """Takes what the item says; what was known before stays where the item is silent."""
        for key, value in item.items():
            if value not in (None, "") and key not in ("arguments", "input"):
                self.item[key] = value
        name = self.item.get("name")
        self.name = self.name or (name if isinstance(name, str) else "")

    @property
    def call_id(self) -> str | None:
        """The provider's own id of the call."""
        return _call_id(self.item)

    @property
    def streamed(self) -> str:
        """The arguments that came in increments."""
        return mended_text("".join(self.texts))

    @property
    def custom(self) -> bool:
        """Its input is free text."""
        return self.item.get("type") == "custom_tool_call"

    def provider_data(self) -> dict[str, Any]:
        """The item, without what the frame says."""
        said = {"name", "call_id"} if self.call_id == self.id else {"name"}
        data = {"type": "function_call", **{key: value for key, value in self.item.items() if key not in said}}
        if data.get("status") == "in_progress":
            data["status"] = "completed"
        return data


class _OpenCalls:
    """The calls that are not sealed, in the order in which they were opened, and by whatever may name one."""

    __slots__ = ("_by_key", "calls")

    def __init__(self) -> None:
        self.calls: OrderedDict[OpenCall, None] = OrderedDict()
        self._by_key: dict[Hashable, OrderedDict[OpenCall, None]] = {}

    @staticmethod
    def _keys(call: OpenCall) -> list[Hashable]:
        call_id, item_id = call.call_id, call.item.get("id")
        keys: list[Hashable] = [("index", call.index)]
        if call_id is None:
            keys += ["no id", ("no id at", call.index)]
        else:
            keys += [("call", call_id), ("call at", call_id, call.index)]
        return [*keys, ("item", item_id)] if isinstance(item_id, str) else keys

    def add(self, call: OpenCall) -> None:
        self.calls[call] = None
        self._name(call, self._keys(call))

    def remove(self, call: OpenCall) -> None:
        del self.calls[call]
        self._drop(call, self._keys(call))

    def _name(self, call: OpenCall, keys: Iterable[Hashable]) -> None:
        for key in keys:
            bucket = self._by_key.setdefault(key, OrderedDict())
            late = bool(bucket) and next(reversed(bucket)).number > call.number
            bucket[call] = None
            if late:
                self._by_key[key] = OrderedDict.fromkeys(sorted(bucket, key=lambda call: call.number))

    def _drop(self, call: OpenCall, keys: Iterable[Hashable]) -> None:
        for key in keys:
            bucket = self._by_key[key]
            del bucket[call]
            if not bucket:
                del self._by_key[key]

    def learn(self, call: OpenCall, item: dict[str, Any]) -> None:
        """The call's item says more; it may have another name from now on."""
        before = self._keys(call)
        call.learn(item)
        after = self._keys(call)
        if before != after:
            self._drop(call, before)
            self._name(call, after)

    def at(self, *key: Hashable) -> OrderedDict[OpenCall, None]:
        """The calls that have this name."""
        return self._by_key.get(key[0] if len(key) == 1 else key, _NONE)


_NONE: OrderedDict[OpenCall, None] = OrderedDict()


class ResponseCalls:
    """All calls of one answer, open and sealed."""

    __slots__ = ("_assembler", "_finished", "_finished_at", "_finished_ids", "_open", "by_index", "seen")

    def __init__(self, taken: Collection[str]) -> None:
        """``taken``: the ids of the conversation's calls so far."""
        self.by_index: dict[int | None, OpenCall] = {}
        """Open calls by ``output_index``, as far as that tells them apart."""
        self.seen = 0
        """How many calls were opened."""
        self._assembler = CallAssembler(taken)
        self._open = _OpenCalls()
        # Of the sealed ones: index and call_id, and each by itself.
        self._finished: set[tuple[int | None, str | None]] = set()
        self._finished_at: set[int | None] = set()
        self._finished_ids: set[str | None] = set()

    def bound(self, limits: Limits) -> None:
        """Sets the limits of the response."""
        self._assembler.bound(limits)

    @property
    def sealed(self) -> int:
        """How many calls are sealed."""
        return self._assembler.sealed

    # ------------------------------------------------------------------------------------------- events

    def added(self, index: int | None, item: dict[str, Any], out: Frames) -> None:
        """A call begins."""
        if index is not None and (index, _call_id(item)) in self._finished:
            return  # it came after its own end
        call = self.by_index.get(index)
        if call is None or call.name:
            call = self._opened(index, item, out)
        else:  # its arguments came before
            self._open.learn(call, item)
            self._announce(call, out)
        call.held = _arguments(item)

    def delta(self, index: int | None, item_id: str | None, text: str, out: Frames) -> None:
        """An increment of a call's arguments."""
        call = self.by_index.get(index) or self._find(index, item_id)
        if call is None:
            if self._was_finished(index):
                raise ProtocolError("arguments came for a tool call that was finished before")
            call = self._opened(index, {"type": "function_call", "id": item_id}, out)
        call.texts.append(text)
        if call.announced:
            self._assembler.append(call, text, out)

    def arguments_done(self, index: int | None, item_id: str | None, body: dict[str, Any], out: Frames) -> None:
        """All arguments of a call are there; the call itself is not sealed by that."""
        call = self.by_index.get(index) or self._find(index, item_id)
        if call is None:
            if self._was_finished(index):
                return
            call = self._opened(index, {"type": "function_call", "id": item_id}, out)
        self._open.learn(call, {"name": body.get("name"), "call_id": body.get("call_id")})
        self._announce(call, out)
        self._whole_arguments(call, _arguments(body), out)
        call.arguments_done = True

    def done(self, index: int | None, item: dict[str, Any], out: Frames) -> None:
        """A call's item is complete, and with it the call, unless it says that it is incomplete."""
        call = self.matching(index, item)
        if call is None:
            if (index, _call_id(item)) in self._finished and (index is not None or _call_id(item)):
                return  # it came twice
            call = self._opened(index, item, out)
        self._open.learn(call, item)
        self._announce(call, out)
        if item.get("status") == "incomplete":
            if _arguments(item).startswith(call.streamed):
                self._whole_arguments(call, _arguments(item), out)
            return  # it stays open: the end of the answer makes it unfinished
        self._seal(call, _arguments(item), out)

    def completed(self, items: list[dict[str, Any]], out: Frames) -> None:
        """The answer is complete, and lists these calls: seals what is open, gives what was not streamed."""
        finished = set(self._finished_ids)
        known = {call.call_id for call in self._open.calls} | finished
        unknown = sum(_call_id(item) not in known for item in items)
        # A server may give its calls other ids in the end; taken for new ones, they would run twice.
        may_be_new = len(items) - unknown == self.seen
        for item in items:
            call, call_id = self.matching(None, item), _call_id(item)
            is_new = may_be_new and call_id not in known
            if is_new or (call and (call.call_id == call_id or call_id not in finished)):
                self.done(None, item, out)
        for call in [
            call for call in self._open.calls if call.arguments_done and call.item.get("status") != "incomplete"
        ]:
            self._seal(call, "", out)

    def unfinished(self, out: Frames) -> tuple[UnfinishedCall, ...]:
        """The calls that are open at the end of the answer."""
        for call in self._open.calls:
            if not call.announced:
                self._start(call, out)
        return self._assembler.unfinished()

    # -------------------------------------------------------------------------------------------- whose

    def matching(self, index: int | None, item: dict[str, Any]) -> OpenCall | None:
        """The open call that an item completes."""
        call_id, item_id = _call_id(item), item.get("id")
        if call_id:
            same_id = self._open.at("call at", call_id, index) if index is not None else _NONE
            same_id = same_id or self._open.at("call", call_id)
            if same_id:
                return next(iter(same_id))
        same_index = self._open.at("index", index) if index is not None else _NONE
        # Two ids at one index are two calls.
        if not call_id:
            candidates = same_index or self._open.calls
        else:
            candidates = self._open.at("no id at", index) if same_index else self._open.at("no id")
        if item_id and isinstance(item_id, str):
            named = self._open.at("item", item_id)
            for call in min(named, candidates, key=len):
                if call in named and call in candidates:
                    return call
        sure = same_index or (index is None and call_id is None)
        return next(iter(candidates)) if sure and len(candidates) == 1 else None

    def _find(self, index: int | None, item_id: str | None) -> OpenCall | None:
        """The open call that arguments belong to, where the index alone does not say; ``None``: there is none.

        Raises:
            ProtocolError: it is one of several, and nothing says which.
        """
        if item_id:
            # Where two have one id, the later one streams; llama.cpp gives the call's id.
            named = [
                next(reversed(calls))
                for calls in (self._open.at("item", item_id), self._open.at("call", item_id))
                if calls
            ]
            if named:
                return max(named, key=lambda call: call.number)
        if index is None:
            places = [self._open.calls]
        else:
            places = [calls for place in (index, None) if (calls := self._open.at("index", place))]
        if sum(map(len, places)) > 1:
            raise ProtocolError("arguments came for one of several open calls, and nothing says for which")
        return next(iter(places[0]), None) if places else None

    def _was_finished(self, index: int | None) -> bool:
        return index is not None and index in self._finished_at

    # --------------------------------------------------------------------------------- a call's own life

    def _opened(self, index: int | None, item: dict[str, Any], out: Frames) -> OpenCall:
        call = OpenCall(index, item, self.seen)
        self.seen += 1
        if index is not None:
            if self._open.at("index", index):
                self.by_index.pop(index, None)  # shared by several: `_find` looks at the ids
            else:
                self.by_index[index] = call
        self._open.add(call)
        self._announce(call, out)
        return call

    def _announce(self, call: OpenCall, out: Frames) -> None:
        """The call's first delta, as soon as its name is known; none for the wrapper, which may be no call at all."""
        if call.name and call.name != _WRAPPER and not call.announced:
            self._start(call, out)

    def _start(self, call: OpenCall, out: Frames) -> None:
        call.announced = True
        self._assembler.start(call, call.call_id, call.name, out)
        first = out[-1]
        assert isinstance(first, ToolCallDelta)
        call.id = first.id
        self._assembler.append(call, "".join(call.texts), out)

    def _whole_arguments(self, call: OpenCall, whole: str, out: Frames) -> None:
        """The arguments as they are in the end: gives what the deltas lack; nothing said is nothing lacking."""
        streamed = call.streamed
        if not whole or whole == streamed:
            return
        if whole.startswith(streamed):
            rest = whole[len(streamed) :]
            call.texts.append(rest)
            if call.announced:
                self._assembler.append(call, rest, out)
        elif not same_object(whole, streamed):
            raise ProtocolError("a call's whole arguments differ from the deltas that came before")

    def _seal(self, call: OpenCall, whole: str, out: Frames) -> None:
        self._whole_arguments(call, whole or ("" if call.texts else call.held), out)
        self._open.remove(call)
        if self.by_index.get(call.index) is call:
            del self.by_index[call.index]
        self._finished.add((call.index, call.call_id))
        self._finished_at.add(call.index)
        self._finished_ids.add(call.call_id)
        text = "".join(call.texts)
        if not call.announced:
            if call.name == _WRAPPER and self._unwrap(text, out):
                return
            self._start(call, out)
        self._assembler.seal(call, out, provider_data=call.provider_data())
        if call.custom and (not text or isinstance(out[-1], InvalidToolCall)):
            out[-1] = InvalidToolCall(call.id, call.name, text, _FREE_TEXT, call.provider_data())

    def _unwrap(self, text: str, out: Frames) -> bool:
        """Emits the calls that the wrapper holds; ``False`` if anything about it is odd."""
        try:
            uses = msgspec.json.decode(text, type=_Wrapped).tool_uses
            calls = [(use.recipient_name.removeprefix("functions."), bytes(use.parameters).decode()) for use in uses]
            for _, arguments in calls:
                parse_arguments(arguments)
        except ValueError:
            return False
        for name, arguments in calls:
            self._assembler.whole(None, name, arguments, out)
        return bool(calls)


class _Use(msgspec.Struct):
    recipient_name: str
    parameters: msgspec.Raw


class _Wrapped(msgspec.Struct):
    tool_uses: list[_Use]


def _call_id(item: dict[str, Any]) -> str | None:
    """An id that is one: some servers fill the field with nothing, or with the word ``null``."""
    value = item.get("call_id")
    return value if isinstance(value, str) and value != "null" and value.strip() else None


def _arguments(item: dict[str, Any]) -> str:
    """The call's argument text, empty where it is not said; some servers send the object itself."""
    value = item.get("input", item.get("arguments"))
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return mended_text(value) if isinstance(value, str) else ""
