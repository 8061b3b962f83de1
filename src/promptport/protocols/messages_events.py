"""Messages, the way in: Anthropic's events → frames, for Anthropic and the servers that speak like it. Pure.

Rules: a content block's stop seals its call, ``message_stop`` is the terminal, and an answer that did not stream goes
the same way as one that did, so that both make the same message.

One thing waits: a call whose block stopped with no arguments, or with arguments that are not a JSON object, may have
been cut by ``max_tokens``. What comes next tells: another block, or the stop reason; where nothing comes, it is
unfinished.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming, and the types of the official SDK; what
servers send besides is named where it is handled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, TypeVar

import msgspec

from promptport.decoding import CallAssembler, SSEDecoder, StreamDecoder, WireDecoder, json_or_none, reported_error
from promptport.errors import IncompleteStreamError, ProtocolError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    StreamFrame,
    Usage,
)
from promptport.message_building import message_of
from promptport.messages import AssistantMessage

__all__ = ["MessagesDecoder", "decode_message"]

_Decoded = TypeVar("_Decoded")


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: dict[str, Any] | None = None


class _Event(msgspec.Struct, gc=False):
    """What is decoded of every event: all of the frequent ones; the others are read once more."""

    type: str = ""
    index: int | str | None = None
    delta: _Delta | None = None


class _Message(msgspec.Struct):
    content: list[msgspec.Raw] | None = None
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: Any = None
    error: Any = None


class _MessageStart(msgspec.Struct):
    message: _Message


class _BlockStart(msgspec.Struct):
    content_block: msgspec.Raw
    index: int | str | None = None


class _Input(msgspec.Struct):
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Stop(msgspec.Struct):
    stop_reason: str | None = None


class _MessageDelta(msgspec.Struct):
    delta: _Stop | None = None
    usage: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_message_start = msgspec.json.Decoder(_MessageStart).decode
_decode_block_start = msgspec.json.Decoder(_BlockStart).decode
_decode_input = msgspec.json.Decoder(_Input).decode
_decode_message_delta = msgspec.json.Decoder(_MessageDelta).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode

_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "pause_turn": FinishReason.PAUSED,
    "refusal": FinishReason.CONTENT_FILTER,
}
_CUTTING = frozenset({FinishReason.LENGTH, FinishReason.CONTENT_FILTER})
"""Reasons that may end an answer inside a call."""

_DELTAS = frozenset({"text_delta", "input_json_delta", "thinking_delta", "signature_delta", "citations_delta"})
_FRAMED = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
_CALL_FIELDS = frozenset({"type", "id", "name", "input"})
_NOWHERE = object()


class _Block:
    """A content block that is open."""

    __slots__ = ("citations", "data", "grown", "parts", "type")

    def __init__(self, type: str, data: dict[str, Any]) -> None:
        self.type = type
        self.data = data
        self.parts: list[str] = []  # of its thinking, or of its input
        self.citations: list[dict[str, Any]] = []
        self.grown: dict[str, list[str]] = {}  # texts of `data` that come in increments, joined at the block's stop


class MessagesDecoder(StreamDecoder[tuple[bytes, bytes]]):
    """Decodes one answer."""

    error_fields = ("error",)

    def __init__(self, taken: Collection[str] = (), wire: WireDecoder[tuple[bytes, bytes]] | None = None) -> None:
        """``taken``: the ids of the calls that the conversation holds already. ``wire``: default: `SSEDecoder`."""
        super().__init__(wire if wire is not None else SSEDecoder())
        self._calls = CallAssembler(taken)
        self._blocks: dict[Hashable, _Block] = {}
        self._text_index: Hashable = _NOWHERE  # of the text block that opened last: the way of most events
        self._limited = False  # the provider said that a limit ended the answer
        self._started = False
        self._id: str | None = None
        self._model: str | None = None
        self._stop_reason: str | None = None
        self._counts: dict[str, int] = {}
        self._at_end = False

    def close(self) -> list[StreamFrame]:
        """See `StreamDecoder.close`: a last event that is cut makes the answer incomplete, not malformed."""
        self._at_end = True
        return super().close()

    # ------------------------------------------------------------------------------------------ events

    def _events(self, events: Iterable[tuple[bytes, bytes]], out: list[StreamFrame]) -> None:
        """As inherited; an increment of text or of arguments, as nearly every event is, is taken in place."""
        for event in events:
            try:
                parsed = _decode_event(event[1])
            except _MALFORMED as error:
                self._malformed(event[0], event[1], error, out)
                continue
            delta = parsed.delta
            if delta is not None and parsed.type == "content_block_delta":
                if delta.text and delta.type == "text_delta" and parsed.index == self._text_index:
                    out.append(Append(delta.text))
                    continue
                if delta.type == "input_json_delta" and self._calls.grow(parsed.index, delta.partial_json, out):
                    continue
            self._parsed(parsed, event, out)
            if self.ended:
                break

    def _event(self, event: tuple[bytes, bytes], out: list[StreamFrame]) -> None:
        self._events((event,), out)

    def _parsed(self, parsed: _Event, event: tuple[bytes, bytes], out: list[StreamFrame]) -> None:
        name, data = event
        kind = parsed.type or name.decode(errors="replace")  # some proxies leave the type to the event's name
        if kind == "content_block_delta":
            self._delta(parsed.index, parsed.delta, data, out)
            return
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, data, out)
            return
        if not kind:
            self._look_for_error(data)
        self._skip(kind or "an event without a type")

    def _malformed(self, name: bytes, data: bytes, error: Exception, out: list[StreamFrame]) -> None:
        """An event that is no JSON, or not what it should be; what is unknown may be either."""
        readable = self._readable(data)
        if readable is not None:
            self._event((name, readable), out)
            return
        kind = name.decode(errors="replace")
        try:
            decoded = msgspec.json.decode(data)
        except _MALFORMED:
            self._no_json(kind, data)
            return
        if isinstance(decoded, dict):
            kind = _text(decoded, "type") or kind
            delta = decoded.get("delta")
            if kind == "content_block_delta" and isinstance(delta, dict) and _text(delta, "type") not in _DELTAS:
                index = decoded.get("index")
                self._delta(index if isinstance(index, int | str) else None, _Delta(_text(delta, "type")), data, out)
                return
        if kind == "error":
            self._reported(data, out)
        if kind in _KNOWN:
            raise ProtocolError(f"a {kind} event is not what the Messages API sends: {error}")
        self._skip(kind or "an event without a type")

    def _no_json(self, kind: str, data: bytes) -> None:
        if kind == "error":
            raise reported_error(data.decode(errors="replace"))
        if data.strip() == b"[DONE]":  # OpenRouter sends it after the terminal
            self._skip("[DONE]")
        elif self._is_heartbeat(kind.encode(), data, _KNOWN - {"ping"}):
            return
        elif self._at_end:
            raise IncompleteStreamError("the stream ended inside an event")
        elif not kind or (kind in _KNOWN and kind != "ping"):
            raise ProtocolError("an event of the stream is not JSON")
        else:
            self._skip(kind)

    def _message_start(self, data: bytes, out: list[StreamFrame]) -> None:
        self._message(_read(_decode_message_start, data, "message_start").message, out)

    def _message(self, message: _Message, out: list[StreamFrame]) -> None:
        """The message, or as much as is there at its start: some content may be, after a tool that the server ran."""
        self._count(message.usage)
        self._stop_reason = message.stop_reason or self._stop_reason
        if self._started:  # seen twice on real wires
            if message.content:
                self._skip("a second message_start")
            return
        self._started = True
        self._id, self._model = message.id, message.model
        for number, block in enumerate(message.content or ()):
            self._start(("message", number), block, out)
            self._stop(("message", number), out)

    def _block_start(self, data: bytes, out: list[StreamFrame]) -> None:
        start = _read(_decode_block_start, data, "content_block_start")
        self._start(start.index, start.content_block, out)

    def _block_stop(self, data: bytes, out: list[StreamFrame]) -> None:
        self._stop(_decode_event(data).index, out)

    def _message_delta(self, data: bytes, out: list[StreamFrame]) -> None:
        message = _read(_decode_message_delta, data, "message_delta")
        self._count(message.usage)
        if message.delta is not None and message.delta.stop_reason:
            self._stop_reason = message.delta.stop_reason
            self._limited = self._reason() in _CUTTING
            self._calls.settle(out, cut=self._limited)
        elif not message.usage:
            self._unread("message_delta", _decode_object(data))

    def _message_stop(self, data: bytes, out: list[StreamFrame]) -> None:
        self._finish(out)

    def _reported(self, data: bytes, out: list[StreamFrame]) -> None:
        raise reported_error(_read(_decode_object, data, "error event"))

    def _ping(self, data: bytes, out: list[StreamFrame]) -> None:
        """Keeps the connection alive, and says nothing."""

    # ------------------------------------------------------------------------------------------ blocks

    def _start(self, index: Hashable, raw: msgspec.Raw, out: list[StreamFrame]) -> None:
        self._calls.settle(out)  # the model went on after that call, so nothing cut it
        data = _read(_decode_object, raw, "content_block_start")
        kind = data.get("type")
        if not isinstance(kind, str) or not kind:
            raise ProtocolError("a content block has no type")
        if index in self._blocks:
            raise ProtocolError("a content block started where another is open")
        for begun in [each for each, block in self._blocks.items() if block.type == "thinking"]:
            self._stop(begun, out)  # thoughts that nobody closed are complete where the next block begins
        block = self._blocks[index] = _Block(kind, data)
        if kind == "text":
            self._text_index = index
            if text := _text(data, "text"):
                out.append(Append(text))
            given = data.get("citations")
            block.citations += [entry for entry in given if isinstance(entry, dict)] if isinstance(given, list) else ()
            return
        if index == self._text_index:
            self._text_index = _NOWHERE
        if kind == "thinking":
            if text := _text(data, "thinking"):
                block.parts.append(text)
                out.append(ReasoningAppend(text))
        elif kind == "tool_use":
            if data.get("input"):
                # Programmatic calls come with their input here. It stays the text that it is: numbers have spellings.
                block.parts.append(bytes(_read(_decode_input, raw, "content_block_start").input).decode())
            kept = {key: value for key, value in data.items() if key not in _CALL_FIELDS and value is not None}
            self._calls.start(index, _text(data, "id") or None, _text(data, "name"), out, kept or None)

    def _delta(self, index: Hashable, delta: _Delta | None, data: bytes, out: list[StreamFrame]) -> None:
        if delta is None or not delta.type:
            raise ProtocolError("a content_block_delta event has no delta")
        block = self._blocks.get(index)
        kind = delta.type
        if block is not None and block.type not in _FRAMED:
            self._item_delta(block, delta, data)
        elif kind == "text_delta":
            if text := _needed(delta.text, kind):
                out.append(Append(text))
        elif kind == "input_json_delta":
            self._calls.append(index, _needed(delta.partial_json, kind), out)
        elif kind == "thinking_delta":
            if block is None:
                raise ProtocolError("thinking came for a content block that is not open")
            if text := _needed(delta.thinking, kind):
                block.parts.append(text)
                out.append(ReasoningAppend(text))
        elif kind == "signature_delta" and block is not None:
            block.data["signature"] = _needed(delta.signature, kind)
        elif kind == "citations_delta" and block is not None:
            block.citations.append(_needed(delta.citation, kind))
        else:
            self._skip(f"content_block_delta {kind}")

    @staticmethod
    def _item_delta(block: _Block, delta: _Delta, data: bytes) -> None:
        """A delta of a block that has no frame of its own: texts are increments, anything else is the new value."""
        if delta.partial_json is not None:
            block.parts.append(delta.partial_json)
            return
        for name, value in _read(_decode_object, data, "content_block_delta")["delta"].items():
            if name != "type" and value is not None:
                before = block.data.get(name)
                if isinstance(before, str) and isinstance(value, str):
                    block.grown.setdefault(name, [before]).append(value)
                else:
                    block.grown.pop(name, None)
                    block.data[name] = value

    def _stop(self, index: Hashable, out: list[StreamFrame]) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            self._skip("content_block_stop without a block")
        elif block.type == "text":
            _cite(block, out)
        elif block.type == "thinking":
            kept = {key: value for key, value in block.data.items() if key != "thinking"}
            out.append(Reasoning("".join(block.parts), kept))
        elif block.type == "redacted_thinking":
            out.append(Reasoning("", block.data))
        elif block.type == "tool_use":
            if not self._limited:  # a call that was open when the limit came is cut, whatever stands behind it
                self._seal(index, block, out)
        else:
            if block.parts:
                self._take_input(block)
            block.data.update({name: "".join(texts) for name, texts in block.grown.items()})
            out.append(ProviderItem(block.type, block.data))

    def _take_input(self, block: _Block) -> None:
        try:
            block.data["input"] = msgspec.json.decode("".join(block.parts) or "{}")
        except _MALFORMED:
            self._skip(f"{block.type} input that is not JSON")

    # ------------------------------------------------------------------------------------------- calls

    def _seal(self, index: Hashable, block: _Block, out: list[StreamFrame]) -> None:
        if block.parts and not self._calls.length(index):
            self._calls.append(index, block.parts[0], out)
        self._calls.end(index, out)

    # ----------------------------------------------------------------------------------------- the end

    def _finish(self, out: list[StreamFrame]) -> None:
        for index, block in list(self._blocks.items()):
            if block.type in ("text", "thinking"):
                self._stop(index, out)
            elif block.type != "tool_use":
                self._skip(f"{block.type} block that did not end")
        reason = self._reason()
        self._calls.settle(out, cut=reason in _CUTTING)
        ended, unfinished = self._calls.reason(reason), self._calls.unfinished()
        out.append(End(ended, self._stop_reason, self.used(), self._model, self._id, unfinished))
        self.ended = True

    def _reason(self) -> FinishReason:
        return _FINISH_REASONS.get(self._stop_reason or "", FinishReason.OTHER)

    def _end_of_bytes(self, out: list[StreamFrame]) -> None:
        self._look_for_error(self._wire.stray)  # a proxy may write it as bare JSON behind good events
        raise IncompleteStreamError("the stream ended without message_stop")

    def used(self) -> Usage:
        """What ``message_start`` and ``message_delta`` told so far."""
        return _usage(self._counts)

    def _no_events(self, stray: bytes, out: list[StreamFrame]) -> None:
        """No event at all: perhaps an error, or the whole answer of a server that does not stream."""
        body = json_or_none(stray)
        if isinstance(body, dict) and isinstance(body.get("content"), list):
            self._whole(stray, out)
        else:
            super()._no_events(stray, out)

    def _whole(self, data: bytes, out: list[StreamFrame]) -> None:
        """The body of an answer that did not stream. Raises `StreamError`."""
        message = _read(_decode_message, self._readable(data) or data, "message")
        if message.content is None:
            if message.error:
                raise reported_error({"error": message.error})
            raise ProtocolError("the server's message has no content")
        self._message(message, out)
        self._finish(out)

    def _count(self, usage: Any) -> None:
        """Counts are cumulative: a later one replaces the one before."""
        if isinstance(usage, dict):
            self._counts.update({name: value for name, value in usage.items() if type(value) is int and value >= 0})
            self._count(usage.get("output_tokens_details"))


_HANDLERS: dict[str, Callable[[MessagesDecoder, bytes, list[StreamFrame]], None]] = {
    "message_start": MessagesDecoder._message_start,
    "content_block_start": MessagesDecoder._block_start,
    "content_block_stop": MessagesDecoder._block_stop,
    "message_delta": MessagesDecoder._message_delta,
    "message_stop": MessagesDecoder._message_stop,
    "error": MessagesDecoder._reported,
    "ping": MessagesDecoder._ping,
}
_KNOWN = frozenset({*_HANDLERS, "content_block_delta"})


def decode_message(data: bytes, taken: Collection[str] = ()) -> AssistantMessage:
    """The message in the body of an answer that did not stream.

    Args:
        data: the body.
        taken: the ids of the calls that the conversation holds already.

    Raises:
        ProviderStreamError: the body is an error object.
        ProtocolError: the body is no message.
    """
    if data.lstrip()[:1] == b"<":
        raise ProtocolError("the server answered with a web page instead of a message: is the base_url right?")
    decoder = MessagesDecoder(taken)
    out: list[StreamFrame] = []
    decoder._whole(data, out)
    return message_of(decoder._mender.feed(out) if decoder._mender is not None else out)


def _read(decode: Callable[[bytes | msgspec.Raw], _Decoded], data: bytes | msgspec.Raw, what: str) -> _Decoded:
    try:
        return decode(data)
    except _MALFORMED as error:
        raise ProtocolError(f"a {what} is not what the Messages API sends: {error}") from None


def _needed(value: _Decoded | None, what: str) -> _Decoded:
    if value is None:
        raise ProtocolError(f"a {what} is empty")
    return value


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _cite(block: _Block, out: list[StreamFrame]) -> None:
    """The sources of a text block, after its text; the API sends them in front of it."""
    for entry in block.citations:
        title = _text(entry, "title") or _text(entry, "document_title") or None
        out.append(Citation(_text(entry, "url") or None, title, _text(entry, "cited_text") or None, entry))


def _usage(counts: dict[str, int]) -> Usage:
    """Anthropic counts what was read from the cache and written to it apart from ``input_tokens``."""
    read = counts.get("cache_read_input_tokens")
    written = counts.get("cache_creation_input_tokens")
    given = counts.get("input_tokens")
    return Usage(
        input_tokens=None if given is None else given + (read or 0) + (written or 0),
        output_tokens=counts.get("output_tokens"),
        cached_input_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=counts.get("thinking_tokens"),
    )
