"""A recorded body taken apart into events, for those that make another body of it.

Rule: an event that nobody changed is written as its bytes were; and what is said here of a protocol (where an answer
ends, what seals a call) is read off a whole, well-formed recording, which is much less than a decoder must know.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import takewhile
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from promptport.decoding import NDJSONDecoder, SSEDecoder
from promptport.testing.event_frames import split_frames

__all__ = ["AnyProtocol", "Wire", "WireEvent", "WireProtocol", "chat_entries", "item_of", "ollama_calls"]

WireProtocol: TypeAlias = Literal["openai-chat", "openai-responses", "anthropic", "ollama-chat"]
AnyProtocol: TypeAlias = WireProtocol | Literal["sse", "ndjson", "eventstream"]
"""``sse``, ``ndjson`` and ``eventstream`` are any other protocol of server-sent events, of JSON lines, or of AWS's
binary frames: of it only this much is known, that the last event of a whole answer (or ``messageStop``) ends it."""

_OTHERS = ("sse", "ndjson", "eventstream")
_LINES = ("ollama-chat", "ndjson")

_TERMINALS = ("response.completed", "response.incomplete", "message_stop")
_HEADS = ("content_block_start", "response.output_item.added")
_SEALS = ("content_block_stop", "response.output_item.done")


class WireEvent(msgspec.Struct, frozen=True):
    """One event: a server-sent event, a line of NDJSON, or a binary frame.

    Attributes:
        data: the payload's bytes; of a binary frame all of its bytes.
        name: the event's name; empty where it has none.
    """

    data: bytes
    name: bytes = b""

    @classmethod
    def of(cls, payload: Any, name: str = "") -> WireEvent:
        """An event with this payload."""
        return cls(json.dumps(payload, separators=(",", ":")).encode(), name.encode())

    def payload(self) -> dict[str, Any]:
        """The JSON object; empty where the data is none (``[DONE]``, or half an event). A copy each time."""
        try:
            payload = json.loads(self.data)
        except ValueError:
            return {}
        return payload if isinstance(payload, dict) else {}


class Wire(msgspec.Struct, frozen=True):
    """The body of one answer."""

    protocol: AnyProtocol
    events: tuple[WireEvent, ...]

    @classmethod
    def parse(cls, protocol: AnyProtocol, body: bytes) -> Wire:
        """The events of a body.

        Raises:
            ValueError: no such protocol.
        """
        if protocol not in (*get_args(WireProtocol), *_OTHERS):
            raise ValueError(f"no such protocol: {protocol!r}")
        if protocol in _LINES:
            lines = NDJSONDecoder()
            return cls(protocol, tuple([WireEvent(data) for data in [*lines.feed(body), *lines.close()]]))
        if protocol == "eventstream":
            return cls(protocol, tuple([WireEvent(frame, _event_type(frame)) for frame in split_frames(body)]))
        events = SSEDecoder()
        return cls(protocol, tuple([WireEvent(data, name) for name, data in [*events.feed(body), *events.close()]]))

    @property
    def is_sse(self) -> bool:
        """Whether the body is server-sent events."""
        return self.protocol not in _LINES and self.protocol != "eventstream"

    @property
    def is_known(self) -> bool:
        """Whether its events are known, not only their format."""
        return self.protocol not in _OTHERS

    def body(self) -> bytes:
        """The bytes again."""
        return b"".join(map(self.encoded, self.events))

    def encoded(self, event: WireEvent) -> bytes:
        """One event as it stands in the body."""
        if self.protocol == "eventstream":
            return event.data
        if not self.is_sse:
            return event.data + b"\n"
        name = b"event: " + event.name + b"\n" if event.name else b""
        return name + b"".join([b"data: " + line + b"\n" for line in event.data.split(b"\n")]) + b"\n"

    def with_events(self, events: Iterable[WireEvent]) -> Wire:
        """The same with other events."""
        return Wire(self.protocol, tuple(events))

    def edited(self, edit: Callable[[dict[str, Any]], None]) -> Wire:
        """The same, after ``edit`` changed the payloads that it wanted to change, in place."""
        events = []
        for event in self.events:
            payload = event.payload()
            before = deepcopy(payload)
            edit(payload)
            events.append(event if payload == before else WireEvent.of(payload, event.name.decode()))
        return self.with_events(events)

    # ------------------------------------------------------------------------------------ what it says

    def terminal(self) -> int | None:
        """The index of the event before which the answer cannot be complete; ``None`` in one that never is."""
        if not self.is_known:
            named = [index for index, event in enumerate(self.events) if event.name == b"messageStop"]
            return named[0] if named else len(self.events) - 1 if self.events else None
        return next((index for index, event in enumerate(self.events) if self._is_terminal(event)), None)

    def _is_terminal(self, event: WireEvent) -> bool:
        payload = event.payload()
        if self.protocol == "openai-chat":
            return _finishes(payload) or event.data.strip() == b"[DONE]"
        if self.protocol == "ollama-chat":
            return payload.get("done") is True
        return payload.get("type") in _TERMINALS

    def call_spans(self) -> list[tuple[int, int]]:
        """For each call that begins, the indexes of its first event and of the event that seals it.

        In Chat Completions, where the answer's end seals them all, this is one span for all.
        """
        if self.protocol == "openai-chat":
            heads = [index for index, event in enumerate(self.events) if any(chat_entries(event.payload()))]
            end = self.terminal()
            return [(heads[0], end)] if heads and end is not None else []
        if self.protocol == "ollama-chat":
            return [(index, index) for index, event in enumerate(self.events) if ollama_calls(event.payload())]
        spans: list[tuple[int, int]] = []
        open_calls: dict[Any, int] = {}
        for index, event in enumerate(self.events):
            payload = event.payload()
            if _starts_call(payload):
                open_calls[_place(payload)] = index
            elif payload.get("type") in _SEALS and _place(payload) in open_calls:
                spans.append((open_calls.pop(_place(payload)), index))
        return spans

    def sealed_calls(self) -> int:
        """At most how many calls the provider finished before the end, or before it reported an error."""
        if not self.is_known:
            return sys.maxsize
        payloads = list(takewhile(lambda payload: not _reports_error(payload), self._payloads()))
        if self.protocol == "openai-chat":
            return sum(len(list(chat_entries(payload))) for payload in payloads) if any(map(_finishes, payloads)) else 0
        if self.protocol == "ollama-chat":
            return sum(len(ollama_calls(payload)) for payload in payloads)
        return len(self.with_events(self.events[: len(payloads)]).call_spans())

    def _payloads(self) -> list[dict[str, Any]]:
        return [event.payload() for event in self.events]


def _event_type(frame: bytes) -> bytes:
    """The frame's ``:event-type``, as far as it can be read."""
    after = frame.partition(b":event-type\x07")[2]
    return after[2 : 2 + int.from_bytes(after[:2])]


# ---------------------------------------------------------------------------------------- in a payload


def _choices(payload: dict[str, Any]) -> list[dict[str, Any]]:
    choices = payload.get("choices")
    return choices if isinstance(choices, list) else []


def _finishes(payload: dict[str, Any]) -> bool:
    return any(choice.get("finish_reason") for choice in _choices(payload))


def _reports_error(payload: dict[str, Any]) -> bool:
    in_choice = any(choice.get("error") for choice in _choices(payload))
    return bool(payload.get("error") or in_choice or payload.get("type") in ("error", "response.failed"))


def chat_entries(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The ``tool_calls`` entries of a Chat Completions chunk."""
    for choice in _choices(payload):
        yield from (choice.get("delta") or {}).get("tool_calls") or ()


def ollama_calls(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls in a line of Ollama's."""
    calls = (payload.get("message") or {}).get("tool_calls")
    return calls if isinstance(calls, list) else []


def item_of(payload: dict[str, Any]) -> dict[str, Any]:
    """The content block or output item in an event of Anthropic's or of the Responses API's; empty if there is none."""
    item = payload.get("content_block") or payload.get("item")
    return item if isinstance(item, dict) else {}


def _starts_call(payload: dict[str, Any]) -> bool:
    return payload.get("type") in _HEADS and item_of(payload).get("type") in ("tool_use", "function_call")


def _place(payload: dict[str, Any]) -> Any:
    return payload.get("output_index", payload.get("index"))
