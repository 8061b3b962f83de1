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
    Append,
    AssistantMessage,
    CallAssembler,
    End,
    EventStreamDecoder,
    EventStreamHeaders,
    FinishReason,
    IncompleteStreamError,
    InvalidToolCall,
    ProtocolError,
    ProviderItem,
    ReasoningAppend,
    StreamDecoder,
    StreamFrame,
    ToolCall,
    UnfinishedCall,
    Usage,
    message_of,
)
from promptport_bedrock._pieces import MALFORMED, citation_of, error_of, reasoning_of, reported, text_of, usage_of

__all__ = ["ConverseDecoder", "decode_complete"]

_Event: TypeAlias = tuple[EventStreamHeaders, bytes]


class _ToolDelta(msgspec.Struct, gc=False, rename="camel"):
    input: str = ""


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


class _Converse(msgspec.Struct, rename="camel"):
    output: _Output | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    trace: dict[str, Any] | None = None
    additional_model_response_fields: Any = None


_decode_delta = msgspec.json.Decoder(_BlockDelta).decode
_decode_start = msgspec.json.Decoder(_BlockStart).decode
_decode_stop = msgspec.json.Decoder(_BlockStop).decode
_decode_message_stop = msgspec.json.Decoder(_MessageStop).decode
_decode_metadata = msgspec.json.Decoder(_Metadata).decode
_decode_converse = msgspec.json.Decoder(_Converse).decode
_decode_whole_block = msgspec.json.Decoder(_WholeBlock).decode
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


class _Block:
    """A content block that is open; ``data`` is what a `ProviderItem` will hold."""

    __slots__ = ("blobs", "citations", "data", "kind", "parts", "signature")

    def __init__(self, kind: str, data: dict[str, Any] | None = None) -> None:
        self.kind = kind
        self.data = data if data is not None else {}
        self.parts: list[str] = []  # of its reasoning, or of its input
        self.blobs: list[str] = []
        self.signature: list[str] = []
        self.citations: list[dict[str, Any]] = []


class ConverseDecoder(StreamDecoder[_Event]):
    """Decodes one answer."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the calls that the conversation holds already."""
        super().__init__(EventStreamDecoder())
        self._calls = CallAssembler(taken)
        self._blocks: dict[int, _Block] = {}
        self._text_index: int | None = None  # of the text block under way: the way of most events
        self._held: ToolCall | InvalidToolCall | None = None
        self._unfinished: list[UnfinishedCall] = []
        self._delta_headers: EventStreamHeaders | None = None
        self._stop_reason: str | None = None
        self._usage: Usage | None = None

    # ------------------------------------------------------------------------------------------- events

    def _events(self, events: Iterable[_Event], out: list[StreamFrame]) -> None:
        """As inherited; an increment of text or arguments, as nearly every event is, is decoded in place."""
        for event in events:
            if event[0] is self._delta_headers:  # the headers of one kind of event are one object
                try:
                    parsed = _decode_delta(event[1])
                except MALFORMED:
                    self._event(event, out)
                    continue
                delta, index = parsed.delta, parsed.content_block_index
                if delta.text and index == self._text_index:
                    out.append(Append(delta.text))
                elif delta.tool_use is None or not self._calls.grow(index, delta.tool_use.input, out):
                    self._delta(index, delta, event[1], out)
            else:
                self._event(event, out)
                if self.ended:
                    break

    def _event(self, event: _Event, out: list[StreamFrame]) -> None:
        headers, payload = event
        kind = headers.get(":message-type")
        if kind in ("exception", "error"):
            raise reported(headers, payload)
        name = str(headers.get(":event-type", ""))
        handler = _HANDLERS.get(name) if kind == "event" else None
        if handler is None:
            self._skip(name or str(kind))
            return
        try:
            handler(self, payload, out)
        except MALFORMED as error:
            raise ProtocolError(f"a {name} event is not what ConverseStream sends: {error}") from None
        if name == "contentBlockDelta":
            self._delta_headers = headers

    def _message_start(self, payload: bytes, out: list[StreamFrame]) -> None:
        """Says that the role is the assistant's, and nothing more."""

    def _block_start(self, payload: bytes, out: list[StreamFrame]) -> None:
        parsed = _decode_start(payload)
        self._start(parsed.content_block_index, parsed.start, out)

    def _block_delta(self, payload: bytes, out: list[StreamFrame]) -> None:
        parsed = _decode_delta(payload)
        self._delta(parsed.content_block_index, parsed.delta, payload, out)

    def _block_stop(self, payload: bytes, out: list[StreamFrame]) -> None:
        self._stop(_decode_stop(payload).content_block_index, out)

    def _message_stop(self, payload: bytes, out: list[StreamFrame]) -> None:
        stop = _decode_message_stop(payload)
        self._stopped(stop.stop_reason, stop.additional_model_response_fields, out)
        if self._usage is not None:
            self._finish(out)

    def _metadata(self, payload: bytes, out: list[StreamFrame]) -> None:
        metadata = _decode_metadata(payload)
        self._counted(metadata.usage, metadata.trace, out)
        if self._stop_reason is not None:
            self._finish(out)

    # ------------------------------------------------------------------------------------------- blocks

    def _start(self, index: int, start: dict[str, Any], out: list[StreamFrame]) -> None:
        self._settle(out)  # the model went on after that call, so nothing cut it
        if index in self._blocks:
            raise ProtocolError("a content block started where another is open")
        self._text_index = None
        kind = next(iter(start), "")
        given = start.get(kind)
        if not isinstance(given, dict):
            self._skip(f"contentBlockStart {kind}".rstrip())
            return
        if kind != "toolUse" or given.get("type") == _SERVER_TOOL:
            self._blocks[index] = _Block("item", {kind: dict(given)})
            return
        self._blocks[index] = _Block("call")
        kept = {name: value for name, value in given.items() if name not in _CALL_FIELDS and value is not None}
        self._calls.start(index, text_of(given, "toolUseId") or None, text_of(given, "name"), out, kept or None)

    def _delta(self, index: int, delta: _Delta, payload: bytes, out: list[StreamFrame]) -> None:
        block = self._blocks.get(index)
        if block is not None and block.kind == "item":
            self._item_delta(block, delta, payload)
        elif delta.tool_use is not None:
            self._calls.append(index, delta.tool_use.input, out)
        elif delta.text is not None:
            self._open("text", index, out)
            self._text_index = index
            if delta.text:
                out.append(Append(delta.text))
        elif delta.reasoning_content is not None:
            self._reason(self._open("reasoning", index, out), delta.reasoning_content, payload, out)
        elif delta.citation is not None:
            self._open("text", index, out).citations.append(delta.citation)
        elif delta.image is not None or delta.tool_result is not None:
            self._blocks[index] = block = _Block("item", {"image" if delta.image is not None else "toolResult": {}})
            self._item_delta(block, delta, payload)
        else:
            kinds = _decode_object(payload)["delta"]
            self._skip(f"contentBlockDelta {next(iter(kinds), '')}".rstrip())

    def _open(self, kind: str, index: int, out: list[StreamFrame]) -> _Block:
        """The open block of this index, which its first delta opens."""
        block = self._blocks.get(index)
        if block is not None and block.kind == kind:
            return block
        if block is not None and block.kind == "call":
            raise ProtocolError(f"{kind} came for a content block that is a tool call")
        if block is not None:  # reasoning and then text under one index: what was before is complete
            self._stop(index, out)
        self._settle(out)
        block = self._blocks[index] = _Block(kind)
        return block

    def _reason(self, block: _Block, delta: _ReasoningDelta, payload: bytes, out: list[StreamFrame]) -> None:
        if delta.text:
            block.parts.append(delta.text)
            out.append(ReasoningAppend(delta.text))
        if delta.signature:
            block.signature.append(delta.signature)
        if delta.redacted_content:
            block.blobs.append(delta.redacted_content)
        if not (delta.text or delta.signature or delta.redacted_content):
            self._unread("reasoningContent", _decode_object(payload)["delta"]["reasoningContent"])

    def _item_delta(self, block: _Block, delta: _Delta, payload: bytes) -> None:
        data = next(iter(block.data.values()))
        if delta.tool_use is not None:
            block.parts.append(delta.tool_use.input)
        elif delta.tool_result is not None:
            data.setdefault("content", []).extend(delta.tool_result)
        elif delta.image is not None:
            data.update(delta.image)
        elif delta.text:
            data.setdefault("content", []).append({"text": delta.text})
        else:
            self._unread("contentBlockDelta", _decode_object(payload)["delta"])

    def _stop(self, index: int, out: list[StreamFrame]) -> None:
        block = self._blocks.pop(index, None)
        if self._text_index == index:
            self._text_index = None
        if block is None:
            self._skip("contentBlockStop without a block")
        elif block.kind == "text":
            out.extend(map(citation_of, block.citations))
        elif block.kind == "reasoning":
            out.append(reasoning_of(block.parts, block.signature, block.blobs))
        elif block.kind == "call":
            self._seal(index, out)
        else:
            kind, data = next(iter(block.data.items()))
            if kind == "toolUse":
                try:
                    data["input"] = _decode_object("".join(block.parts) or "{}")
                except MALFORMED:
                    self._skip("toolUse input that is not JSON")
            out.append(ProviderItem(kind, block.data))

    # ------------------------------------------------------------------------------------------- calls

    def _seal(self, index: int, out: list[StreamFrame]) -> None:
        blank = not self._calls.length(index)
        sealed: list[StreamFrame] = []
        self._calls.seal(index, sealed)
        call = sealed[0]
        if isinstance(call, InvalidToolCall) or (blank and isinstance(call, ToolCall)):
            self._held = call
        else:
            out.append(call)

    def _settle(self, out: list[StreamFrame], *, cut: bool = False) -> None:
        """What waits is a call, or was ``cut`` short."""
        held, self._held = self._held, None
        if held is None:
            return
        if cut:
            arguments = held.arguments if isinstance(held, InvalidToolCall) else ""
            self._unfinished.append(UnfinishedCall(held.id, held.name, arguments))
        else:
            out.append(held)

    # ----------------------------------------------------------------------------------------- the end

    def _stopped(self, reason: str, fields: Any, out: list[StreamFrame]) -> None:
        if self._stop_reason is not None:
            raise ProtocolError("messageStop came twice")
        self._stop_reason = reason
        for index in [index for index, block in self._blocks.items() if block.kind != "call"]:
            self._stop(index, out)
        self._settle(out, cut=reason in _CUTTING)
        if isinstance(fields, dict) and fields:
            out.append(ProviderItem("additionalModelResponseFields", fields))

    def _counted(self, usage: dict[str, Any] | None, trace: dict[str, Any] | None, out: list[StreamFrame]) -> None:
        self._usage = usage_of(usage or {})
        if trace:
            out.append(ProviderItem("trace", trace))

    def _finish(self, out: list[StreamFrame]) -> None:
        reason = _FINISH_REASONS.get(self._stop_reason or "", FinishReason.OTHER)
        if self._calls.sealed > len(self._unfinished) and reason is not FinishReason.LENGTH:
            reason = FinishReason.TOOL_CALLS
        unfinished = (*self._unfinished, *self._calls.unfinished())
        out.append(End(reason, self._stop_reason, self._usage or Usage(), unfinished=unfinished))
        self.ended = True

    def _end_of_bytes(self, out: list[StreamFrame]) -> None:
        if self._stop_reason is None:
            raise IncompleteStreamError("the stream ended without messageStop")
        self._finish(out)

    def _no_events(self, stray: bytes, out: list[StreamFrame]) -> None:
        try:
            decoded = msgspec.json.decode(stray)
        except MALFORMED:
            decoded = None
        if isinstance(decoded, dict) and decoded.keys() & {"message", "Message", "error", "__type"}:
            raise error_of(decoded, None)  # HTTP 200, and not even a stream
        super()._no_events(stray, out)


_HANDLERS: dict[str, Callable[[ConverseDecoder, bytes, list[StreamFrame]], None]] = {
    "messageStart": ConverseDecoder._message_start,
    "contentBlockStart": ConverseDecoder._block_start,
    "contentBlockDelta": ConverseDecoder._block_delta,
    "contentBlockStop": ConverseDecoder._block_stop,
    "messageStop": ConverseDecoder._message_stop,
    "metadata": ConverseDecoder._metadata,
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
    if data.lstrip()[:1] == b"<":
        raise ProtocolError("the server answered with a web page instead of a message: is the base_url right?")
    decoder = ConverseDecoder(taken)
    out: list[StreamFrame] = []
    try:
        answer = _decode_converse(data)
        if answer.output is None or answer.output.message is None:
            decoded = _decode_object(data)
            if decoded.keys() & {"message", "Message", "error", "__type"}:
                raise error_of(decoded, None)
            raise ProtocolError("the server's answer has no output.message")
        for index, raw in enumerate(answer.output.message.content):
            _whole_block(decoder, index, raw, out)
    except MALFORMED as error:
        raise ProtocolError(f"the answer is not what Converse sends: {error}") from None
    decoder._stopped(answer.stop_reason or "", answer.additional_model_response_fields, out)
    decoder._counted(answer.usage, answer.trace, out)
    decoder._finish(out)
    return message_of(out)


def _whole_block(decoder: ConverseDecoder, index: int, raw: msgspec.Raw, out: list[StreamFrame]) -> None:
    block = _decode_object(raw)
    tool = block.get("toolUse")
    if isinstance(tool, dict) and tool.get("type") != _SERVER_TOOL:
        whole = _decode_whole_block(raw).tool_use
        start = {name: value for name, value in tool.items() if name != "input"}
        decoder._start(index, {"toolUse": start}, out)
        if whole is not None:  # it stays the text that it is: numbers have spellings
            decoder._calls.append(index, bytes(whole.input).decode(), out)
    elif isinstance(block.get("text"), str):
        decoder._delta(index, _Delta(text=block["text"]), raw, out)
    elif isinstance(block.get("reasoningContent"), dict):
        given = block["reasoningContent"]
        kept = given.get("reasoningText")
        kept = kept if isinstance(kept, dict) else {}
        redacted = given.get("redactedContent")
        delta = _ReasoningDelta(
            text_of(kept, "text"), text_of(kept, "signature"), redacted if isinstance(redacted, str) else None
        )
        decoder._delta(index, _Delta(reasoning_content=delta), raw, out)
    elif isinstance(block.get("citationsContent"), dict):
        given = block["citationsContent"]
        text = "".join([text_of(entry, "text") for entry in given.get("content") or () if isinstance(entry, dict)])
        decoder._delta(index, _Delta(text=text), raw, out)
        for citation in given.get("citations") or ():
            decoder._delta(index, _Delta(citation=citation), raw, out)
    else:
        decoder._settle(out)
        out.append(ProviderItem(next(iter(block), "unknown"), block))
        return
    decoder._stop(index, out)
