"""The events of Cohere's chat API, version 2, in, frames out. Pure.

Rules: ``tool-call-end`` seals a call, ``message-end`` is the terminal, and the ``[DONE]`` behind it says nothing. An
answer that did not stream goes the same way as one that did.

One thing waits: a call that ended without arguments, or with arguments that are not a JSON object, may have been cut by
``max_tokens``. What comes next tells: another event, or the finish reason.

Source: https://docs.cohere.com/reference/chat-stream, and the types of the official SDK 7.3; what servers send besides
is named where it is handled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from promptport.provider import (
    Append,
    AssistantMessage,
    CallAssembler,
    Citation,
    End,
    FinishReason,
    IncompleteStreamError,
    InvalidToolCall,
    ProtocolError,
    ProviderStreamError,
    Reasoning,
    ReasoningAppend,
    SSEDecoder,
    StreamDecoder,
    StreamFrame,
    ToolCall,
    UnfinishedCall,
    Usage,
    error_details,
    message_of,
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


class _Answer(msgspec.Struct):
    message: _Message | str | None = None
    id: Any = None
    finish_reason: str | None = None
    usage: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_any = msgspec.json.Decoder().decode
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

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

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the calls that the conversation holds already."""
        super().__init__(SSEDecoder())
        self._calls = CallAssembler(taken)
        self._thoughts: list[str] = []
        self._thinking = ""  # what they are: "tool_plan" or "thinking"
        self._held: ToolCall | InvalidToolCall | None = None
        self._id: str | None = None

    # ------------------------------------------------------------------------------------------ events

    def _events(self, events: Iterable[tuple[bytes, bytes]], out: list[StreamFrame]) -> None:
        """As inherited; an increment of text or of arguments, as nearly every event is, is taken in place."""
        for name, data in events:
            try:
                event = _decode_event(data)
            except _MALFORMED as error:
                self._malformed(name, data, error, out)
                continue
            message = event.delta.message if event.delta is not None else None
            if message is not None and self._held is None:
                content, call = message.content, message.tool_calls
                if event.type == "content-delta" and not self._thoughts and type(content) is _Content and content.text:
                    out.append(Append(content.text))
                    continue
                function = call.function if type(call) is _Call and event.type == "tool-call-delta" else None
                if function is not None and self._calls.grow(event.index, function.arguments, out):
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
        if data.strip() == b"[DONE]":
            raise IncompleteStreamError("the stream ended without message-end")
        try:
            decoded = _decode_any(data)
        except _MALFORMED:
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
        if kind != "message-end":
            self._settle(out)  # the model went on after that call, so nothing cut it
        message = delta.message
        if kind == "message-start":
            self._id = _text(event.id)
        elif kind == "content-end":
            self._end_thoughts(out)
        elif kind == "tool-call-end":
            self._seal(index, out)
        elif kind == "message-end":
            self._finish(delta.finish_reason, delta.usage, delta.error, out)
            return
        elif message is None:
            raise ProtocolError(f"a {kind} event has no message")
        if message is not None:
            known = len(out)
            self._message(message, kind, index, out)
            if len(out) == known and message.tool_calls in (None, []):
                self._unread(kind, _decode_any(data)["delta"]["message"])

    def _unknown(self, kind: str, data: bytes) -> None:
        decoded = _decode_any(data)
        if kind == "error" or (not kind and isinstance(decoded.get("message"), str)):
            raise _reported(decoded)
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
        self._thoughts.append(text)
        out.append(ReasoningAppend(text))

    def _end_thoughts(self, out: list[StreamFrame]) -> None:
        if self._thoughts:
            out.append(Reasoning("".join(self._thoughts), {"type": self._thinking}))
            self._thoughts.clear()

    # ------------------------------------------------------------------------------------------- calls

    def _call(self, call: _Call, kind: str, index: int | str, out: list[StreamFrame]) -> None:
        function = call.function or _Function()
        arguments = function.arguments or ""
        if kind == "tool-call-delta":
            self._calls.append(index, arguments, out)
            return
        if self._calls.has(index):
            raise ProtocolError("a tool call began where another is open")
        self._calls.start(index, _text(call.id), function.name or "", out)
        self._calls.append(index, "" if arguments == "null" else arguments, out)  # so a whole answer writes none
        if kind == "message":
            self._seal(index, out)

    def _seal(self, index: int | str, out: list[StreamFrame]) -> None:
        blank = self._calls.has(index) and not self._calls.length(index)
        sealed: list[StreamFrame] = []
        self._calls.seal(index, sealed)
        call = sealed[0]
        self._settle(out)
        if isinstance(call, InvalidToolCall) or (blank and isinstance(call, ToolCall)):
            self._held = call
        else:
            out.append(call)

    def _settle(self, out: list[StreamFrame]) -> None:
        if self._held is not None:
            out.append(self._held)
            self._held = None

    # ----------------------------------------------------------------------------------------- the end

    def _finish(self, reason: str | None, usage: Any, error: Any, out: list[StreamFrame]) -> None:
        self._end_thoughts(out)
        if error or reason == "TIMEOUT" or (reason or "").startswith("ERROR"):
            words = error_details(error)[0] if error else "it gave no reason"
            raise ProviderStreamError(f"the provider stopped with {reason or 'an error'}: {words}", code=reason)
        found = _FINISH_REASONS.get(reason or "", FinishReason.OTHER)
        unfinished = self._calls.unfinished()
        held = self._held
        if held is not None and found is FinishReason.LENGTH:
            arguments = held.arguments if isinstance(held, InvalidToolCall) else ""
            unfinished = (UnfinishedCall(held.id, held.name, arguments), *unfinished)
            self._held = None
        self._settle(out)
        if self._calls.sealed and found is not FinishReason.LENGTH:
            found = FinishReason.TOOL_CALLS
        out.append(End(found, reason, _usage(usage), None, self._id, unfinished))
        self.ended = True

    def _end_of_bytes(self, out: list[StreamFrame]) -> None:
        raise IncompleteStreamError("the stream ended without message-end")

    def _no_events(self, stray: bytes, out: list[StreamFrame]) -> None:
        try:
            decoded = _decode_any(stray)
        except _MALFORMED:
            decoded = None
        if isinstance(decoded, dict) and isinstance(decoded.get("message"), str):  # HTTP 200, and not even a stream
            raise _reported(decoded)
        super()._no_events(stray, out)


def decode_complete(data: bytes, taken: Collection[str] = ()) -> AssistantMessage:
    """The message in the body of an answer that did not stream.

    Args:
        data: the body.
        taken: the ids of the calls that the conversation holds already.

    Raises:
        ProviderStreamError: the body is an error, or the provider stopped with one.
        ProtocolError: the body is no answer.
    """
    if data.lstrip()[:1] == b"<":
        raise ProtocolError("the server answered with a web page instead of a message: is the base_url right?")
    decoder = ChatDecoder(taken)
    try:
        answer = _decode_answer(decoder._readable(data) or data)
    except _MALFORMED as error:
        raise ProtocolError(f"the answer is not what Cohere sends: {error}") from None
    if isinstance(answer.message, str):
        raise _reported({"message": answer.message})
    if answer.message is None:
        raise ProtocolError("the server's answer has no message")
    decoder._id = _text(answer.id)
    out: list[StreamFrame] = []
    decoder._message(answer.message, "message", 0, out)
    decoder._finish(answer.finish_reason, answer.usage, None, out)
    return message_of(decoder._mender.feed(out) if decoder._mender is not None else out)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _citation(entry: Any) -> Citation:
    if not isinstance(entry, dict):
        raise ProtocolError("a citation is not an object")
    sources = [source for source in _listed(entry.get("sources")) if isinstance(source, dict)]
    document = sources[0].get("document") if sources else None
    told = document if isinstance(document, dict) else {}
    return Citation(_text(told.get("url")), _text(told.get("title")), _text(entry.get("text")), entry)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _usage(usage: Any) -> Usage:
    """What the model read and wrote; ``billed_units`` is another matter."""
    counts: dict[str, Any] = usage if isinstance(usage, dict) else {}
    told = counts.get("tokens")
    tokens: dict[str, Any] = told if isinstance(told, dict) else {}
    return Usage(
        input_tokens=_number(tokens.get("input_tokens")),
        output_tokens=_number(tokens.get("output_tokens")),
        cached_input_tokens=_number(counts.get("cached_tokens")),
        reasoning_tokens=_number(tokens.get("reasoning_tokens")),
    )


def _number(value: Any) -> int | None:
    """Cohere writes counts as fractions, too."""
    return int(value) if type(value) in (int, float) and value == int(value) else None


def _reported(body: object) -> ProviderStreamError:
    words, code = error_details(body)
    return ProviderStreamError(words or "the provider reported an error without a word", code=code)
