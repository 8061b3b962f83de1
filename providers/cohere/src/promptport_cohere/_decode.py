"""The events of Cohere's chat API, version 2, in, frames out. Pure.

Rules: ``tool-call-end`` seals a call, ``message-end`` is the terminal, and the ``[DONE]`` behind it says nothing. An
answer that did not stream goes the same way as one that did.

One thing waits: a call that ended without arguments, or with arguments that are not a JSON object, may have been cut by
``max_tokens``. What comes next tells: another event, or the finish reason.

Source: https://docs.cohere.com/reference/chat-stream, and the types of the official SDK 7.3; what servers send besides
is named where it is handled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal

import msgspec

from promptport.provider import (
    MALFORMED,
    Append,
    AssistantMessage,
    CallAssembler,
    Citation,
    End,
    FinishReason,
    IncompleteStreamError,
    ProtocolError,
    ProviderStreamError,
    SSEDecoder,
    StreamDecoder,
    StreamFrame,
    Thoughts,
    Usage,
    count_in,
    dict_in,
    dicts_in,
    error_details,
    message_of,
    refuse_web_page,
    reported_error,
    text_in,
)

__all__ = ["ChatDecoder", "decode_complete"]


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    id: Any = None
    function: _Function | None = None


class _Content(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class _Message(msgspec.Struct, gc=False):
    """Of a whole answer, or the increment of one; a stream begins with empty lists."""

    content: _Content | list[_Content] | None = None
    tool_plan: str | None = None
    tool_calls: _Call | list[_Call] | None = None
    citations: Any = None


class _Delta(msgspec.Struct, gc=False):
    message: _Message | None = None
    finish_reason: str | None = None
    usage: Any = None
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int | str | None = None
    id: Any = None
    delta: _Delta | None = None


class _GrowingFunction(msgspec.Struct, gc=False):
    """One more increment of a call's arguments and nothing else, as below."""

    arguments: str
    name: None = None


class _GrowingCall(msgspec.Struct, gc=False):
    function: _GrowingFunction


class _GrowingMessage(msgspec.Struct, gc=False):
    tool_calls: _GrowingCall
    content: None = None
    tool_plan: None = None
    citations: None = None


class _GrowingDelta(msgspec.Struct, gc=False):
    message: _GrowingMessage


class _Growing(msgspec.Struct, gc=False):
    type: Literal["tool-call-delta"]
    index: int
    delta: _GrowingDelta


class _Answer(msgspec.Struct):
    message: _Message | str | None = None
    id: Any = None
    finish_reason: str | None = None
    usage: Any = None


_decode_growing = msgspec.json.Decoder(_Growing).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_any = msgspec.json.Decoder().decode

_FINISH_REASONS = {
    "COMPLETE": FinishReason.STOP,
    "STOP_SEQUENCE": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "TOOL_CALL": FinishReason.TOOL_CALLS,
}
_SILENT = frozenset({"debug", "citation-end"})
_KNOWN = frozenset(
    {"message-start", "content-start", "content-delta", "content-end", "tool-plan-delta", "tool-call-start"}
    | {"tool-call-delta", "tool-call-end", "citation-start", "message-end"}
)


class ChatDecoder(StreamDecoder[tuple[bytes, bytes]]):
    """Decodes one answer."""

    error_fields = ("message", "error")

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the calls that the conversation holds already."""
        super().__init__(SSEDecoder())
        self._calls = CallAssembler(taken)
        self._thoughts = Thoughts()
        self._thinking = ""  # what they are: "tool_plan" or "thinking"
        self._id: str | None = None
        self._growing = False  # the last event was an increment of a call, so that the next one probably is

    # ------------------------------------------------------------------------------------------ events

    def _events(self, events: Iterable[tuple[bytes, bytes]], out: list[StreamFrame]) -> None:
        """As inherited; an increment of text or of arguments, as nearly every event is, is taken in place."""
        for name, data in events:
            if self._growing:
                try:
                    grown = _decode_growing(data)
                except MALFORMED:
                    self._growing = False
                else:
                    if self._calls.grow(grown.index, grown.delta.message.tool_calls.function.arguments, out):
                        continue
            try:
                event = _decode_event(data)
            except MALFORMED as error:
                self._malformed(name, data, error, out)
                continue
            message = event.delta.message if event.delta is not None else None
            if message is not None and not self._calls.waiting:
                content, call = message.content, message.tool_calls
                text = content.text if type(content) is _Content and event.type == "content-delta" else None
                if text and not self._thoughts.texts:
                    out.append(Append(text))
                    continue
                function = call.function if type(call) is _Call and event.type == "tool-call-delta" else None
                if function is not None and self._calls.grow(event.index, function.arguments, out):
                    self._growing = True
                    continue
            self._read(event, event.type or name.decode(errors="replace"), data, out)
            if self.ended:
                break

    def _event(self, event: tuple[bytes, bytes], out: list[StreamFrame]) -> None:
        self._events((event,), out)

    def _malformed(self, name: bytes, data: bytes, error: Exception, out: list[StreamFrame]) -> None:
        if (readable := self._readable(data)) is not None:
            self._event((name, readable), out)
            return
        if self._is_heartbeat(name, data, _KNOWN):
            return
        if data.strip() == b"[DONE]":
            raise IncompleteStreamError("the stream ended without message-end")
        try:
            decoded = _decode_any(data)
        except MALFORMED:
            raise ProtocolError("an event of the stream is not JSON") from None
        kind = decoded.get("type") if isinstance(decoded, dict) else None
        kind = kind if isinstance(kind, str) else name.decode(errors="replace")
        if kind in _KNOWN or not kind:
            raise ProtocolError(f"a {kind or 'nameless'} event is not what Cohere sends: {error}") from None
        self._skip(kind)

    def _read(self, event: _Event, kind: str, data: bytes, out: list[StreamFrame]) -> None:
        if kind not in _KNOWN:
            if kind not in _SILENT:
                self._unknown(kind, data)
            return
        delta = event.delta or _Delta()
        index = "" if event.index is None else event.index  # a call needs a place
        if event.delta is None and kind == "message-end":
            raise ProtocolError("a message-end event does not say why the answer ended")
        if kind != "message-end":
            self._calls.settle(out)  # the model went on after that call, so nothing cut it
        message = delta.message
        if kind == "message-start":
            self._id = text_in(event.id) or None
        elif kind == "content-end":
            self._end_thoughts(out)
        elif kind == "tool-call-end":
            self._calls.end(index, out)
        elif kind == "message-end":
            self._finish(delta.finish_reason, delta.usage, delta.error, out)
            return
        elif message is None:
            raise ProtocolError(f"a {kind} event has no message")
        if message is not None:
            known = len(out)
            held = _HELD[kind](message) if kind in _HELD else [""]
            missing = not held or None in held
            if missing and (message.tool_calls or not self._unread(kind, _decode_any(data)["delta"]["message"])):
                raise ProtocolError(f"a {kind} event lacks what it must hold")
            self._message(message, kind, index, out)
            if not missing and len(out) == known and not message.tool_calls:
                self._unread(kind, _decode_any(data)["delta"]["message"])

    def _unknown(self, kind: str, data: bytes) -> None:
        decoded = _decode_any(data)
        if kind == "error" or (not kind and (isinstance(decoded.get("message"), str) or decoded.get("error"))):
            raise reported_error(decoded)
        self._skip(kind or "an event without a type")

    def _message(self, message: _Message, kind: str, index: int | str, out: list[StreamFrame]) -> None:
        """An increment, or a whole answer, of which ``kind`` and ``index`` say nothing."""
        if message.tool_plan:
            self._think("tool_plan", message.tool_plan, out)
        for content in _listed(message.content):
            if content.thinking:
                self._think("thinking", content.thinking, out)
            if content.text:
                self._end_thoughts(out)
                out.append(Append(content.text))
        for number, call in enumerate(_listed(message.tool_calls)):
            self._end_thoughts(out)
            self._call(call, kind, number if kind == "message" else index, out)
        for entry in _listed(message.citations):
            self._end_thoughts(out)
            out.append(_citation(entry))

    def _think(self, kind: str, text: str, out: list[StreamFrame]) -> None:
        if self._thinking != kind:
            self._end_thoughts(out)
        self._thinking = kind
        self._thoughts.add(text, out)

    def _end_thoughts(self, out: list[StreamFrame]) -> None:
        if self._thoughts.texts:
            self._thoughts.end(out, {"type": self._thinking})

    # ------------------------------------------------------------------------------------------- calls

    def _call(self, call: _Call, kind: str, index: int | str, out: list[StreamFrame]) -> None:
        function = call.function or _Function()
        arguments = function.arguments or ""
        if kind == "tool-call-delta":
            self._calls.append(index, arguments, out)
            return
        if self._calls.has(index):
            raise ProtocolError("a tool call began where another is open")
        self._calls.start(index, text_in(call.id) or None, function.name or "", out)
        self._calls.append(index, "" if arguments == "null" else arguments, out)  # so a whole answer writes none
        if kind == "message":
            self._calls.end(index, out)

    # ----------------------------------------------------------------------------------------- the end

    def _finish(self, reason: str | None, usage: Any, error: Any, out: list[StreamFrame]) -> None:
        self._end_thoughts(out)
        if error or reason == "TIMEOUT" or (reason or "").startswith("ERROR"):
            words = error_details(error)[0] if error else "it gave no reason"
            raise ProviderStreamError(f"the provider stopped with {reason or 'an error'}: {words}", code=reason)
        found = _FINISH_REASONS.get(reason or "", FinishReason.OTHER)
        self._calls.settle(out, cut=found is FinishReason.LENGTH)
        reason_of_end = self._calls.reason(found)
        out.append(End(reason_of_end, reason, _usage(usage), None, self._id, self._calls.unfinished()))
        self.ended = True

    def _no_events(self, stray: bytes, out: list[StreamFrame]) -> None:
        """No event at all: perhaps an error, or the whole answer of a server that does not stream."""
        try:
            answer = _decode_answer(stray)
        except MALFORMED:
            answer = _Answer()
        if isinstance(answer.message, _Message):
            self.answer(answer, out)
        else:
            super()._no_events(stray, out)

    def answer(self, answer: _Answer, out: list[StreamFrame]) -> None:
        """An answer that did not stream. Raises `StreamError`."""
        if isinstance(answer.message, str):
            raise reported_error({"message": answer.message})
        if answer.message is None:
            raise ProtocolError("the server's answer has no message")
        self._id = text_in(answer.id) or None
        self._message(answer.message, "message", 0, out)
        self._finish(answer.finish_reason, answer.usage, None, out)

    def _end_of_bytes(self, out: list[StreamFrame]) -> None:
        self._look_for_error(self._wire.stray)
        raise IncompleteStreamError("the stream ended without message-end")


def decode_complete(data: bytes, taken: Collection[str] = ()) -> AssistantMessage:
    """The message in the body of an answer that did not stream.

    Args:
        data: the body.
        taken: the ids of the calls that the conversation holds already.

    Raises:
        ProviderStreamError: the body is an error, or the provider stopped with one.
        ProtocolError: the body is no answer.
    """
    refuse_web_page(data, "message")
    decoder = ChatDecoder(taken)
    try:
        answer = _decode_answer(decoder._readable(data) or data)
    except MALFORMED as error:
        raise ProtocolError(f"the answer is not what Cohere sends: {error}") from None
    out: list[StreamFrame] = []
    decoder.answer(answer, out)
    return message_of(decoder._mender.feed(out) if decoder._mender is not None else out)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


_HELD: dict[str, Callable[[_Message], list[Any]]] = {
    "content-delta": lambda told: [
        each.text if each.thinking is None else each.thinking for each in _listed(told.content)
    ],
    "tool-plan-delta": lambda told: [told.tool_plan],
    "tool-call-start": lambda told: [call.function for call in _listed(told.tool_calls)],
    "tool-call-delta": lambda told: [call.function and call.function.arguments for call in _listed(told.tool_calls)],
    "citation-start": lambda told: _listed(told.citations),
}
"""What an event is there for; it may be empty, but not missing."""


def _citation(entry: Any) -> Citation:
    if not isinstance(entry, dict) or not entry:
        raise ProtocolError("a citation is not an object that says anything")
    sources = dicts_in(_listed(entry.get("sources")))
    told = dict_in(sources[0].get("document")) if sources else {}
    return Citation(
        text_in(told.get("url")) or None, text_in(told.get("title")) or None, text_in(entry.get("text")) or None, entry
    )


def _usage(usage: Any) -> Usage:
    """What the model read and wrote; ``billed_units`` is another matter."""
    counts = dict_in(usage)
    tokens = dict_in(counts.get("tokens"))
    return Usage(
        input_tokens=count_in(tokens.get("input_tokens")),
        output_tokens=count_in(tokens.get("output_tokens")),
        cached_input_tokens=count_in(counts.get("cached_tokens")),
        reasoning_tokens=count_in(tokens.get("reasoning_tokens")),
    )
