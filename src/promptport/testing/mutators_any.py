"""Mutators that need little more of a protocol than where an answer ends. `promptport.testing.mutators` lists them."""

from __future__ import annotations

import json
import random
from typing import Any

from promptport.testing.recorded_bodies import Wire, WireEvent

__all__ = [
    "byte_order_mark",
    "comments",
    "cut_anywhere",
    "cut_inside_call",
    "cut_terminal",
    "data_after_the_end",
    "error_event",
    "extra_fields",
    "id_and_retry_fields",
    "last_event_unterminated",
    "line_ends",
    "no_space_after_colon",
    "pings",
    "several_data_lines",
    "terminal_twice",
    "unknown_events",
]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UNKNOWN = {"detail": ["words that no decoder knows", None, {"delta": {"text": "x", "content": "x"}}]}

# ------------------------------------------------------------------------------------------- the transport


def line_ends(wire: Wire, chooser: random.Random) -> bytes | None:
    """CR LF, or where the format has it a lone CR, in place of LF."""
    return wire.body().replace(b"\n", chooser.choice([b"\r\n", b"\r"]) if wire.is_sse else b"\r\n")


def byte_order_mark(wire: Wire, chooser: random.Random) -> bytes | None:
    """A byte order mark at the very start."""
    return _BYTE_ORDER_MARK + wire.body() if wire.is_sse else None


def no_space_after_colon(wire: Wire, chooser: random.Random) -> bytes | None:
    """``data:`` and ``event:`` without the space."""
    if not wire.is_sse:
        return None
    return b"".join([_field(b"event", event.name) + _field(b"data", event.data) + b"\n" for event in wire.events])


def _field(name: bytes, value: bytes) -> bytes:
    return b"".join([name + b":" + line + b"\n" for line in value.split(b"\n")]) if value else b""


def several_data_lines(wire: Wire, chooser: random.Random) -> bytes | None:
    """JSON over three ``data`` lines."""
    if not wire.is_sse:
        return None
    spread = [_spread(event) if event.payload() else event for event in wire.events]
    return wire.with_events(spread).body()


def _spread(event: WireEvent) -> WireEvent:
    data = event.data.strip()
    return WireEvent(data[:1] + b"\n" + data[1:-1] + b"\n" + data[-1:], event.name)


def last_event_unterminated(wire: Wire, chooser: random.Random) -> bytes | None:
    """The last event without the blank line, or without its line end."""
    return wire.body().rstrip(b"\n") + (b"\n" if wire.is_sse and chooser.random() < 0.5 else b"")


def comments(wire: Wire, chooser: random.Random) -> bytes | None:
    """Comment lines between the events, and inside them; in NDJSON blank lines."""
    parts = []
    for event in wire.events:
        if chooser.random() < 0.3:
            parts.append(b": keep-alive\n\n" if wire.is_sse else b"\n")
        if wire.is_sse and chooser.random() < 0.3:
            parts.append(chooser.choice([b":\n", b": PROCESSING\n", b":data: x\n"]))
        parts.append(wire.encoded(event))
    return b"".join([b": hello\n\n" if wire.is_sse else b"\r\n", *parts])


def id_and_retry_fields(wire: Wire, chooser: random.Random) -> bytes | None:
    """The fields ``id`` and ``retry``, and one that nobody knows, in every event."""
    if not wire.is_sse:
        return None
    parts = []
    for number, event in enumerate(wire.events):
        parts.append(b"id: %d\nretry: 3000\nx-field: data: x\n" % number + wire.encoded(event))
    return b"".join(parts)


# ------------------------------------------------------------------------------------------ what is unknown


def pings(wire: Wire, chooser: random.Random) -> bytes | None:
    """The protocol's own sign of life, or an event that says nothing, at random places before the end."""
    if not wire.is_known:
        return None
    return _scattered(wire, chooser, _ping(wire))


def _ping(wire: Wire) -> WireEvent:
    if wire.protocol == "anthropic":
        return WireEvent.of({"type": "ping"}, "ping")
    if wire.protocol == "openai-responses":
        return WireEvent.of({"type": "keepalive", "sequence_number": 0}, "keepalive")
    first = wire.events[0].payload()
    if wire.protocol == "ollama-chat":
        message = {"role": "assistant", "content": ""}
        return WireEvent.of({"model": first.get("model"), "message": message, "done": False})
    kept = {name: first[name] for name in ("id", "object", "created", "model") if name in first}
    return WireEvent.of({**kept, "choices": []})


def unknown_events(wire: Wire, chooser: random.Random) -> bytes | None:
    """Events of a type that nobody knows, at random places before the end, where the protocol has types."""
    if wire.protocol not in ("anthropic", "openai-responses"):
        return None
    name = chooser.choice(["x_unknown", "x_unknown.delta", "content_block_x", "response.x.done"])
    return _scattered(wire, chooser, WireEvent.of({"type": name, "index": 0, "output_index": 0, **_UNKNOWN}, name))


def extra_fields(wire: Wire, chooser: random.Random) -> bytes | None:
    """A field that nobody knows in every object."""
    extra = b'{"x_unknown":' + json.dumps(_UNKNOWN).encode() + b","
    # Put in front, so that all else keeps its spelling.
    events = [
        WireEvent(extra + event.data.lstrip()[1:], event.name) if event.payload() else event for event in wire.events
    ]
    return wire.with_events(events).body()


def _scattered(wire: Wire, chooser: random.Random, event: WireEvent) -> bytes | None:
    end = wire.terminal()
    if end is None:
        return None
    events = list(wire.events)
    for _ in range(chooser.randint(1, 5)):
        events.insert(chooser.randint(0, end), event)
    return wire.with_events(events).body()


# ------------------------------------------------------------------------------------------ after the end


def terminal_twice(wire: Wire, chooser: random.Random) -> bytes | None:
    """The last event once more, or twice; in Chat Completions that is ``[DONE]``."""
    if not _ends_for_good(wire):
        return None
    return wire.with_events([*wire.events, *wire.events[-1:] * chooser.randint(1, 2)]).body()


def data_after_the_end(wire: Wire, chooser: random.Random) -> bytes | None:
    """Earlier events again after the last, as if the answer went on."""
    if not _ends_for_good(wire):
        return None
    return wire.with_events([*wire.events, *chooser.choices(wire.events, k=4)]).body()


def _ends_for_good(wire: Wire) -> bool:
    if wire.protocol == "openai-chat":
        return bool(wire.events) and wire.events[-1].data.strip() == b"[DONE]"
    return wire.protocol == "eventstream" or wire.terminal() == len(wire.events) - 1


# --------------------------------------------------------------------------------------------------- cuts


def cut_terminal(wire: Wire, chooser: random.Random) -> bytes | None:
    """Everything before the event that ends the answer, and no more."""
    end = wire.terminal()
    return None if end is None else wire.with_events(wire.events[:end]).body()


def cut_anywhere(wire: Wire, chooser: random.Random) -> bytes | None:
    """The bytes up to any place before the end of the event that ends the answer."""
    end = wire.terminal()
    return None if end is None else _cut_in(wire, 0, end, chooser)


def cut_inside_call(wire: Wire, chooser: random.Random) -> bytes | None:
    """The bytes up to any place between a call's first event and the end of the event that seals it."""
    spans = wire.call_spans()
    if not spans:
        return None
    head, seal = chooser.choice(spans)
    return _cut_in(wire, min(head + 1, seal), seal, chooser)


def _cut_in(wire: Wire, first: int, last: int, chooser: random.Random) -> bytes:
    """The bytes up to a place in the events ``first`` to ``last``, of which the last does not become whole."""
    before = b"".join([wire.encoded(event) for event in wire.events[:first]])
    inside = b"".join([wire.encoded(event) for event in wire.events[first : last + 1]])
    # A JSON object without its last character is none; what follows it (blanks, line ends) would not matter.
    return before + inside[: chooser.randrange(len(inside.rstrip()))]


# ------------------------------------------------------------------------------------------------- errors


def error_event(wire: Wire, chooser: random.Random) -> bytes | None:
    """The protocol's error event at a random place before the end; then nothing, or the rest of the answer."""
    end = wire.terminal()
    if end is None or not wire.is_known:
        return None
    place = chooser.randint(0, end)
    rest = wire.events[place:] if chooser.random() < 0.5 else ()
    return wire.with_events([*wire.events[:place], chooser.choice(_errors(wire)), *rest]).body()


def _errors(wire: Wire) -> list[WireEvent]:
    words = "The server had an error while it answered."
    first = wire.events[0].payload()
    error: dict[str, Any] = {"message": words, "type": "server_error", "param": None, "code": "server_error"}
    if wire.protocol == "anthropic":
        return [WireEvent.of({"type": "error", "error": {"type": "overloaded_error", "message": words}}, "error")]
    if wire.protocol == "ollama-chat":
        return [WireEvent.of({"error": words})]
    if wire.protocol == "openai-chat":
        choice = {
            "index": 0,
            "delta": {"content": ""},
            "finish_reason": "error",
            "error": error,
        }
        return [WireEvent.of({"error": error}), WireEvent.of({**first, "choices": [choice]})]
    failed = {**(first.get("response") or {}), "status": "failed", "error": {"code": "server_error", "message": words}}
    return [
        WireEvent.of({**error, "type": "error", "sequence_number": 0}, "error"),
        WireEvent.of({"type": "response.failed", "sequence_number": 0, "response": failed}, "response.failed"),
    ]
