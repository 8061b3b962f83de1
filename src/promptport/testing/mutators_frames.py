"""Mutators of binary frames (``application/vnd.amazon.eventstream``). `promptport.testing.mutators` lists them."""

from __future__ import annotations

import random

from promptport.testing.event_frames import event_frame, frame_parts, header, written_frame
from promptport.testing.recorded_bodies import Wire, WireEvent

__all__ = ["frame_checksum", "frame_exception", "frame_length", "frame_truncated", "frame_unknown_headers"]

_UNKNOWN = (
    header(":x-true", 0, b""),
    header("x-int", 4, b"\x00\x00\x00\x2a"),
    header("x-bytes", 6, b"\x00\x03\x00\xff\x01"),
    header("x-text", 7, b"\x00\x04data"),
    header("x-time", 8, bytes(8)),
    header("x-uuid", 9, bytes(range(16))),
)
"""Of each kind of value that the format has."""


def _replaced(wire: Wire, place: int, frame: bytes) -> bytes:
    events = list(wire.events)
    events[place] = WireEvent(frame, events[place].name)
    return wire.with_events(events).body()


def frame_checksum(wire: Wire, chooser: random.Random) -> bytes | None:
    """One bit of a frame's headers, payload or checksum is another, before the end."""
    place = _place(wire, chooser)
    if place is None:
        return None
    frame = bytearray(wire.events[place].data)
    frame[chooser.randrange(12, len(frame))] ^= 1 << chooser.randrange(8)
    return _replaced(wire, place, bytes(frame))


def frame_length(wire: Wire, chooser: random.Random) -> bytes | None:
    """A frame says another length than it has."""
    place = _place(wire, chooser)
    if place is None:
        return None
    frame = wire.events[place].data
    length = max(0, int.from_bytes(frame[:4]) + chooser.choice([-9, -1, 1, 7, 1 << 20, 1 << 30]))
    return _replaced(wire, place, length.to_bytes(4) + frame[4:])


def frame_truncated(wire: Wire, chooser: random.Random) -> bytes | None:
    """A frame lacks its last bytes, and the next one follows, or nothing."""
    place = _place(wire, chooser)
    if place is None:
        return None
    frame = wire.events[place].data
    return _replaced(wire, place, frame[: chooser.randrange(1, len(frame))])


def frame_unknown_headers(wire: Wire, chooser: random.Random) -> bytes | None:
    """Headers that nobody knows, of each kind of value, before and after those that are there."""
    events = []
    for event in wire.events:
        block, payload = frame_parts(event.data)
        unknown = b"".join(chooser.sample(_UNKNOWN, len(_UNKNOWN)))
        block = chooser.choice([unknown + block, block + unknown])
        events.append(WireEvent(written_frame(block, payload), event.name))
    return wire.with_events(events).body()


def frame_exception(wire: Wire, chooser: random.Random) -> bytes | None:
    """A frame that is an exception or an error, before the end; then nothing, or the rest of the answer."""
    place = _place(wire, chooser)
    if place is None:
        return None
    words = b'{"message":"The server had an error while it answered."}'
    kind = chooser.choice(["throttlingException", "modelStreamErrorException", "xUnknownException"])
    broken = event_frame(words, exception_type=kind, content_type="application/json", message_type="exception")
    rest = wire.events[place:] if chooser.random() < 0.5 else ()
    return wire.with_events([*wire.events[:place], WireEvent(broken), *rest]).body()


def _place(wire: Wire, chooser: random.Random) -> int | None:
    """Any event up to the one that ends the answer."""
    end = wire.terminal()
    return None if end is None else chooser.randint(0, end)
