"""What every decoder shares: `StreamDecoder`, bytes in and frames out. Pure, as in h11.

Rule: the same bytes give the same frames, however they are cut, also before an error. So an error never takes the
frames with it that came before it in the same read: `feed` returns them, and leaves the error in ``error``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from promptport.decoding.assembly import CallAssembler
from promptport.decoding.error_objects import json_or_none, refuse_web_page, reported_error
from promptport.decoding.limits import DEFAULT_LIMITS, Limits
from promptport.decoding.surrogates import FrameMender, marked_halves
from promptport.errors import IncompleteStreamError, ProtocolError, ProviderStreamError, StreamError
from promptport.frames import StreamFrame, Usage

__all__ = ["MALFORMED", "StreamDecoder", "WireDecoder", "whole_frames"]

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder of msgspec raises for bytes that are no JSON, or not the JSON that it reads."""

_Event = TypeVar("_Event")
_Event_co = TypeVar("_Event_co", covariant=True)


class WireDecoder(Protocol[_Event_co]):
    """Bytes in, wire events out: ``wire.sse`` and ``wire.ndjson``."""

    def feed(self, data: bytes) -> Sequence[_Event_co]:
        """The events that these bytes complete. Raises `ProtocolError` past the size limit."""
        ...

    def close(self) -> Sequence[_Event_co]:
        """The event that the end of the bytes completes, if one does."""
        ...

    @property
    def stray(self) -> bytes:
        """The beginning of what was no event at all: an error page, say."""
        ...


_BESIDE = frozenset({"id", "index", "object", "role", "type"})
"""Fields that say whose something is, and of which kind, but nothing by themselves."""


def _says(value: object) -> bool:
    """Whether a part of an event says something."""
    if isinstance(value, dict):
        return any(name not in _BESIDE and _says(part) for name, part in value.items())
    if isinstance(value, list):
        return any(map(_says, value))
    return bool(value)


class StreamDecoder(ABC, Generic[_Event]):
    """Decodes one answer.

    Attributes:
        ended: `End` was emitted; what comes after it is ignored.
        error: what went wrong; nothing is decoded after it.
        skipped: how many unknown events were passed over, by name.
        error_fields: a body that is no stream, but a JSON object with one of these, is the provider's error.
    """

    error_fields: ClassVar[Collection[str]] = ()

    _calls: Any = None
    """A decoder that puts its calls together with an assembler keeps it here, so that `bound` reaches it."""

    def __init__(self, wire: WireDecoder[_Event]) -> None:
        self._wire = wire
        self._seen = False
        self._mender: FrameMender | None = None  # from the first half of a surrogate pair on
        self.ended = False
        self.error: StreamError | None = None
        self.skipped: dict[str, int] = {}
        self._limits = DEFAULT_LIMITS

    def bound(self, limits: Limits) -> None:
        """Sets the limits of this response, before its first byte; without it they are the defaults."""
        self._limits = limits
        for part in (self._wire, self._calls):
            bound = getattr(part, "bound", None)
            if bound is not None:
                bound(limits)

    def offer(self, names: Iterable[str]) -> None:
        """The names of the tools that were sent: a name that comes in pieces is put together by them."""
        if isinstance(self._calls, CallAssembler):
            self._calls.offer(names)

    def feed(self, data: bytes) -> list[StreamFrame]:
        """The frames that these bytes complete; then look at ``error`` and ``ended``. Never raises `StreamError`."""
        out: list[StreamFrame] = []
        if self.error is None and not self.ended:
            try:
                events = self._wire.feed(data)
                if events:
                    self._seen = True
                    self._events(events, out)
            except StreamError as error:
                self.error = error
            # A part that only a second look at an event reads: msgspec checks there what it passed over before.
            except MALFORMED as error:
                self.error = ProtocolError(f"an event is not JSON that can be read: {error}")
            if self._mender is not None:
                out = self._mend(self._mender, out)
        return out

    def close(self) -> list[StreamFrame]:
        """The bytes are at their end: the frames that this completes; then look at ``error``."""
        out: list[StreamFrame] = []
        if self.error is None and not self.ended:
            try:
                events = self._wire.close()
                self._seen = self._seen or bool(events)
                try:
                    self._events(events, out)
                except (ProtocolError, *MALFORMED):
                    # What is wrong with the last event is that its end is missing.
                    raise IncompleteStreamError("the bytes ended inside an event") from None
                if not self.ended:
                    if not self._seen:
                        self._no_events(self._wire.stray, out)
                    else:
                        self._end_of_bytes(out)
            except StreamError as error:
                self.error = error
            if self._mender is not None:
                out = self._mend(self._mender, out)
        return out

    def _readable(self, data: bytes) -> bytes | None:
        """For an event that a JSON decoder refused: the same in a form that it takes, where halves of surrogate pairs
        are what is wrong with it; ``None`` where they are not. Decode that, as if it had come.
        """
        marked = marked_halves(data)
        if marked == data:
            return None
        if self._mender is None:
            self._mender = FrameMender()
        return marked

    def _again(self, data: bytes, error: Exception, what: str) -> bytes | None:
        """For an event that a JSON decoder refused: as `_readable`. ``None`` for ``[DONE]``, which proxies send last.

        ``None`` also for an event without data, which keeps a connection alive.

        Args:
            data: The event.
            error: The decoder's.
            what: How the error begins, for an event that is JSON.

        Raises:
            ProtocolError: The event is malformed.
        """
        readable = self._readable(data)
        if readable is None and data.strip() == b"[DONE]":
            self._skip("[DONE]")
        elif readable is None and not self._is_heartbeat(b"", data):
            told = f"{what}: {error}" if isinstance(error, msgspec.ValidationError) else "an event is not JSON"
            raise ProtocolError(told) from None
        return readable

    def _mend(self, mender: FrameMender, frames: list[StreamFrame]) -> list[StreamFrame]:
        out = mender.feed(frames)
        return out if self.error is None else out + mender.close()

    def _events(self, events: Iterable[_Event], out: list[StreamFrame]) -> None:
        """Decodes the events of one read; a decoder may do here what nearly every event is, to save the call."""
        for event in events:
            self._event(event, out)
            if self.ended:
                break

    def used(self) -> Usage:
        """The tokens that the provider told of so far, for a response that is cut; by default nothing.

        A decoder whose provider tells before the end says so here.
        """
        return Usage()

    @abstractmethod
    def _event(self, event: _Event, out: list[StreamFrame]) -> None:
        """Decodes one wire event; sets ``ended`` with `End`. Raises `StreamError`."""

    @abstractmethod
    def _end_of_bytes(self, out: list[StreamFrame]) -> None:
        """The bytes ended without the terminal. Raises `IncompleteStreamError`, or emits `End` where that is one."""

    def _no_events(self, stray: bytes, out: list[StreamFrame]) -> None:
        """The bytes ended without any event; ``stray`` is their beginning."""
        self._look_for_error(stray)
        refuse_web_page(stray, "stream")
        if stray.strip():
            raise ProtocolError("the server answered with something else than a stream of events")
        self._end_of_bytes(out)

    def _look_for_error(self, data: bytes) -> None:
        """Raises `ProviderStreamError` where ``data`` is an error object: HTTP 200, and not even a stream."""
        decoded = json_or_none(data) if self.error_fields and data.strip() else None
        while isinstance(decoded, list) and decoded:  # Google puts its errors into lists
            decoded = decoded[0]
        if isinstance(decoded, dict) and any(decoded.get(name) for name in self.error_fields):
            raise reported_error(decoded)

    @staticmethod
    def _error_in(data: bytes) -> ProviderStreamError:
        """The error for an event that is one by its name: its JSON, or its text."""
        decoded = json_or_none(data)
        return reported_error(data.decode(errors="replace") if decoded is None else decoded)

    def _nothing_in(self, where: str, body: object, known: Collection[str], *, word: str = " with") -> None:
        """Nothing was read of a known event: counts it under the first of its fields that is not ``known``.

        Raises:
            ProtocolError: there is none, so that what must be there is missing.
        """
        fields = body if isinstance(body, Mapping) else ()
        unknown = next((name for name in fields if name not in known and name not in _BESIDE), None)
        if unknown is None:
            raise ProtocolError(f"a {where} event holds nothing of what it must hold")
        self._skip(f"{where}{word} {unknown}")

    def _unread(self, where: str, body: object) -> bool:
        """Nothing was read of a known event: counts it under the first field that says something.

        Returns:
            Whether there is such a field.
        """
        counted = sum(self.skipped.values())
        if isinstance(body, dict):
            field = next((name for name, value in body.items() if name not in _BESIDE and _says(value)), None)
            if field is not None:
                self._skip(f"{where} with {field}")
        elif _says(body):
            self._skip(f"{where} that is no object")
        return sum(self.skipped.values()) > counted

    def _is_heartbeat(self, name: bytes, data: bytes, known: Collection[str] = ()) -> bool:
        """Whether an event without data only keeps the connection alive: its name is none that is known. Counts it."""
        kind = name.decode(errors="replace")
        if data.strip() or kind in known:
            return False
        self._skip(kind or "blank")
        return True

    def _skip(self, name: str) -> None:
        if name not in self.skipped and len(self.skipped) >= self._limits.skipped:
            raise ProtocolError(f"unknown events of more than {self._limits.skipped} names (limits.skipped)")
        self.skipped[name] = self.skipped.get(name, 0) + 1


def whole_frames(decoder: StreamDecoder[Any], data: bytes) -> list[StreamFrame]:
    """The frames of a body that is whole. Raises the decoder's `StreamError`, if it has one."""
    frames = decoder.feed(data) + decoder.close()
    if decoder.error is not None:
        raise decoder.error
    return frames
