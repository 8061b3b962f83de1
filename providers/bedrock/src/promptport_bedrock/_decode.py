"""The events of Bedrock's ConverseStream in, frames out; and the body of Converse. Pure.

Rules: a content block's stop seals its call. ``messageStop`` is the provider's own terminal, after which ``metadata``
brings the counts: `End` comes with the second of the two, or without counts at a clean end of the bytes.

Text and reasoning have no event that opens their block; a call has. A call whose block stopped with no arguments, or
with arguments that are not a JSON object, may have been cut by a limit: it waits for what comes next.

Source: ConverseStreamOutput of the Bedrock runtime API reference, and the service model in botocore 1.44
(``bedrock-runtime/2023-09-30/service-2.json``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeAlias

import msgspec

from promptport.provider import (
    MALFORMED,
    Append,
    AssistantMessage,
    CallAssembler,
    ContentBlocks,
    End,
    EventStreamDecoder,
    EventStreamHeaders,
    FinishReason,
    IncompleteStreamError,
    ProtocolError,
    ProviderItem,
    StreamDecoder,
    StreamFrame,
    Usage,
    dict_in,
    dicts_in,
    message_of,
    refuse_web_page,
    reported_exception,
    text_in,
)
from promptport_bedrock._pieces import citation_of, joined, usage_of

__all__ = ["ConverseDecoder", "decode_complete"]

_Event: TypeAlias = tuple[EventStreamHeaders, bytes]


class _ToolDelta(msgspec.Struct, gc=False, rename="camel"):
    input: str


class _ReasoningDelta(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Delta(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    tool_use: _ToolDelta | None = None
    reasoning_content: _ReasoningDelta | None = None
    citation: dict[str, Any] | None = None
    tool_result: list[dict[str, Any]] | None = None
    image: dict[str, Any] | None = None


class _BlockDelta(msgspec.Struct, gc=False, rename="camel"):
    content_block_index: int
    delta: _Delta


class _GrowingDelta(msgspec.Struct, gc=False, rename="camel"):
    """One more increment of a call's arguments and nothing else."""

    tool_use: _ToolDelta
    text: None = None
    reasoning_content: None = None
    citation: None = None
    tool_result: None = None
    image: None = None


class _Growing(msgspec.Struct, gc=False, rename="camel"):
    content_block_index: int
    delta: _GrowingDelta


class _BlockStart(msgspec.Struct, rename="camel"):
    content_block_index: int
    start: dict[str, Any] = {}


class _BlockStop(msgspec.Struct, rename="camel"):
    content_block_index: int


class _MessageStop(msgspec.Struct, rename="camel"):
    stop_reason: str
    additional_model_response_fields: Any = None


class _Metadata(msgspec.Struct, rename="camel"):
    usage: dict[str, Any] | None = None
    trace: dict[str, Any] | None = None


class _Input(msgspec.Struct, rename="camel"):
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _WholeBlock(msgspec.Struct, rename="camel"):
    tool_use: _Input | None = None


class _Message(msgspec.Struct, rename="camel"):
    content: list[msgspec.Raw] = []


class _Output(msgspec.Struct, rename="camel"):
    message: _Message | None = None


class _Converse(_Metadata, rename="camel"):
    output: _Output | None = None
    stop_reason: str = ""
    additional_model_response_fields: Any = None


_decode_growing = msgspec.json.Decoder(_Growing).decode
_decode_delta = msgspec.json.Decoder(_BlockDelta).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode

_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
}
_CUTTING = frozenset(
    [
        *[word for word, reason in _FINISH_REASONS.items() if reason.value in ("length", "content_filter")],
        "malformed_tool_use",
        "malformed_model_output",
    ]
)
"""Words that may end an answer inside a call."""

_SERVER_TOOL = "server_tool_use"
_CALL_FIELDS = frozenset({"toolUseId", "name", "input"})
_DELTAS = frozenset({"text", "toolUse", "reasoningContent", "citation", "toolResult", "image"})
_THOUGHTS = frozenset({"text", "signature", "redactedContent"})


class ConverseDecoder(StreamDecoder[_Event]):
    """Decodes one answer."""

    error_fields = ("message", "Message", "error", "__type")

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the calls that the conversation holds already."""
        super().__init__(EventStreamDecoder())
        self._calls = CallAssembler(taken)
        self._blocks = ContentBlocks(self._calls, {"type": "reasoningContent"})
        self._delta_headers: EventStreamHeaders | None = None
        self._stop_reason: str | None = None
        self._usage: Usage | None = None
        self._growing = False  # the last event was an increment of a call, so that the next one probably is

    # ------------------------------------------------------------------------------------------- events

    def _events(self, events: Iterable[_Event], out: list[StreamFrame]) -> None:
        """As inherited; an increment of text or arguments, as nearly every event is, is decoded in place."""
        for event in events:
            if event[0] is self._delta_headers:  # the headers of one kind of event are one object
                if self._growing:
                    try:
                        grown = _decode_growing(event[1])
                    except MALFORMED:
                        self._growing = False
                    else:
                        if self._calls.grow(grown.content_block_index, grown.delta.tool_use.input, out):
                            continue
                try:
                    parsed = _decode_delta(event[1])
                except MALFORMED:
                    self._event(event, out)
                    continue
                delta, index = parsed.delta, parsed.content_block_index
                if delta.text and index == self._blocks.text_index:
                    out.append(Append(delta.text))
                elif delta.tool_use is not None and self._calls.grow(index, delta.tool_use.input, out):
                    self._growing = True
                else:
                    self._delta(parsed, event[1], out)
            else:
                self._event(event, out)
                if self.ended:
                    break

    def _event(self, event: _Event, out: list[StreamFrame]) -> None:
        headers, payload = event
        kind, name = headers.get(":message-type", "event"), str(headers.get(":event-type", ""))
        if kind in ("exception", "error") or name.endswith("Exception"):
            raise reported_exception({":exception-type": name, **headers}, payload)
        if kind != "event" or name not in _KNOWN:
            self._skip(name or str(kind))
            return
        decode, handle = _KNOWN[name]
        try:
            parsed = decode(payload)
        except MALFORMED as error:
            readable = self._again(payload, error, f"a {name} event is not what ConverseStream sends")
            if readable is not None:
                self._event((headers, readable), out)
            return
        if self._stop_reason is not None and name.startswith("contentBlock"):
            raise ProtocolError(f"a {name} event came after messageStop")
        handle(self, parsed, payload, out)
        if name == "contentBlockDelta":
            self._delta_headers = headers

    def _message_start(self, parsed: dict[str, Any], payload: bytes, out: list[StreamFrame]) -> None:
        """Says that the role is the assistant's, and nothing more."""

    # ------------------------------------------------------------------------------------------- blocks

    def _start(self, parsed: _BlockStart, payload: bytes, out: list[StreamFrame]) -> None:
        index, start = parsed.content_block_index, parsed.start
        if self._blocks.kind(index):
            raise ProtocolError("a content block started where another is open")
        kind = next(iter(start), "")
        given = start.get(kind)
        if not isinstance(given, dict):
            self._blocks.next(out)
            self._skip(f"contentBlockStart {kind}".rstrip())
        elif kind != "toolUse" or given.get("type") == _SERVER_TOOL:
            self._blocks.item(index, kind, {"input": {}, **given} if kind == "toolUse" else dict(given), out)
        else:
            kept = {name: value for name, value in given.items() if name not in _CALL_FIELDS and value is not None}
            call_id, name = text_in(given.get("toolUseId")), text_in(given.get("name"))
            self._blocks.open_call(index, call_id or None, name or "", out, kept or None)

    def _delta(self, parsed: _BlockDelta, payload: bytes, out: list[StreamFrame]) -> None:
        index, delta = parsed.content_block_index, parsed.delta
        kind, given = self._blocks.kind(index), delta.reasoning_content
        if delta.tool_result is not None:
            self._blocks.item(index, "toolResult", {}, out).setdefault("content", []).extend(delta.tool_result)
        elif delta.image is not None:
            self._blocks.item(index, "image", {}, out).update(delta.image)
        elif delta.tool_use is not None and kind == "item":
            self._blocks.put_in(index, delta.tool_use.input)
        elif delta.tool_use is not None:
            self._calls.append(index, delta.tool_use.input, out)
        elif delta.text is not None and kind == "item":
            self._blocks.item(index, "", {}, out).setdefault("content", []).append({"text": delta.text})
        elif delta.text is not None:
            self._blocks.say(index, delta.text, out)
        elif delta.citation is not None and kind != "item":
            self._blocks.cite(index, citation_of(delta.citation), out)
        elif given is None or kind == "item":
            word = " with" if kind == "item" else ""
            self._nothing_in("contentBlockDelta", _decode_object(payload)["delta"], _DELTAS, word=word)
        elif given == _ReasoningDelta():
            self._nothing_in("reasoningContent", _decode_object(payload)["delta"]["reasoningContent"], _THOUGHTS)
        else:
            self._blocks.think(index, given.text or "", out)
            if given.signature:
                self._blocks.keep(index, "signature", given.signature, out)
            if given.redacted_content:
                self._blocks.keep(index, "redactedContent", given.redacted_content, out, join=joined)

    def _stop(self, parsed: _BlockStop, payload: bytes, out: list[StreamFrame]) -> None:
        if not self._blocks.close(parsed.content_block_index, out, parse=self._input):
            self._skip("contentBlockStop without a block")

    def _input(self, text: str) -> Any:
        try:
            return _decode_object(text)
        except MALFORMED:
            self._skip("toolUse input that is not JSON")
            return {}

    # ----------------------------------------------------------------------------------------- the end

    def _message_stop(self, parsed: _MessageStop, payload: bytes, out: list[StreamFrame]) -> None:
        if self._stop_reason is not None:
            raise ProtocolError("messageStop came twice")
        self._stop_reason = parsed.stop_reason
        self._delta_headers = None
        self._blocks.close_all(out, cut=parsed.stop_reason in _CUTTING)
        fields = parsed.additional_model_response_fields
        if isinstance(fields, dict) and fields:
            out.append(ProviderItem("additionalModelResponseFields", fields))
        if self._usage is not None:
            self._finish(out)

    def _metadata(self, parsed: _Metadata, payload: bytes, out: list[StreamFrame]) -> None:
        self._usage = usage_of(parsed.usage or {})
        if parsed.trace:
            out.append(ProviderItem("trace", parsed.trace))
        if self._stop_reason is not None:
            self._finish(out)

    def _finish(self, out: list[StreamFrame]) -> None:
        reason = self._calls.reason(_FINISH_REASONS.get(self._stop_reason or "", FinishReason.OTHER))
        out.append(End(reason, self._stop_reason, self.used(), unfinished=self._calls.unfinished()))
        self.ended = True

    def used(self) -> Usage:
        """What ``metadata`` told, if it came."""
        return self._usage or Usage()

    def _end_of_bytes(self, out: list[StreamFrame]) -> None:
        if self._stop_reason is None:
            raise IncompleteStreamError("the stream ended without messageStop")
        self._finish(out)


_Handler: TypeAlias = Callable[[ConverseDecoder, Any, bytes, list[StreamFrame]], None]

_KNOWN: dict[str, tuple[Callable[[bytes], Any], _Handler]] = {
    "messageStart": (_decode_object, ConverseDecoder._message_start),
    "contentBlockStart": (msgspec.json.Decoder(_BlockStart).decode, ConverseDecoder._start),
    "contentBlockDelta": (_decode_delta, ConverseDecoder._delta),
    "contentBlockStop": (msgspec.json.Decoder(_BlockStop).decode, ConverseDecoder._stop),
    "messageStop": (msgspec.json.Decoder(_MessageStop).decode, ConverseDecoder._message_stop),
    "metadata": (msgspec.json.Decoder(_Metadata).decode, ConverseDecoder._metadata),
}

# ------------------------------------------------------------------------------------------- whole answers


def decode_complete(data: bytes, taken: Collection[str] = ()) -> AssistantMessage:
    """The message in the body of an answer that did not stream; it goes the way of a stream's events.

    Args:
        data: the body.
        taken: the ids of the calls that the conversation holds already.

    Raises:
        ProviderStreamError: the body is an error object.
        ProtocolError: the body is no answer.
    """
    refuse_web_page(data, "message")
    decoder = ConverseDecoder(taken)
    data = decoder._readable(data) or data
    out: list[StreamFrame] = []
    try:
        answer = msgspec.json.decode(data, type=_Converse)
        if answer.output is None or answer.output.message is None:
            decoder._look_for_error(data)
            raise ProtocolError("the server's answer has no output.message")
        for index, raw in enumerate(answer.output.message.content):
            _whole_block(decoder, index, raw, out)
    except MALFORMED as error:
        raise ProtocolError(f"the answer is not what Converse sends: {error}") from None
    decoder._message_stop(_MessageStop(answer.stop_reason, answer.additional_model_response_fields), data, out)
    decoder._metadata(answer, data, out)
    return message_of(decoder._mender.feed(out) if decoder._mender is not None else out)


def _whole_block(decoder: ConverseDecoder, index: int, raw: msgspec.Raw, out: list[StreamFrame]) -> None:
    block, payload = _decode_object(raw), bytes(raw)

    def delta(**fields: Any) -> None:
        decoder._delta(_BlockDelta(index, _Delta(**fields)), payload, out)

    tool, given, cited = block.get("toolUse"), block.get("reasoningContent"), block.get("citationsContent")
    if isinstance(tool, dict) and tool.get("type") != _SERVER_TOOL:
        decoder._start(_BlockStart(index, {"toolUse": tool}), payload, out)
        whole = msgspec.json.decode(raw, type=_WholeBlock).tool_use or _Input()
        delta(tool_use=_ToolDelta(bytes(whole.input).decode()))  # it stays the text that it is: numbers have spellings
    elif isinstance(block.get("text"), str):
        delta(text=block["text"])
    elif isinstance(given, dict):
        kept = dict_in(given.get("reasoningText"))
        text, signature = text_in(kept.get("text")) or "", text_in(kept.get("signature"))
        delta(reasoning_content=_ReasoningDelta(text, signature, text_in(given.get("redactedContent"))))
    elif isinstance(cited, dict):
        delta(text="".join([text_in(entry.get("text")) or "" for entry in dicts_in(cited.get("content"))]))
        for citation in dicts_in(cited.get("citations")):
            delta(citation=citation)
    else:
        decoder._blocks.next(out)
        out.append(ProviderItem(next(iter(block), "unknown"), block))
        return
    decoder._blocks.close(index, out)
