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
    ProtocolError,
    ProviderItem,
    ReasoningAppend,
    StreamDecoder,
    StreamFrame,
    Usage,
    dict_in,
    dicts_in,
    message_of,
    text_in,
)
from promptport_bedrock._pieces import MALFORMED, citation_of, reasoning_of, reported, usage_of

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

    error_fields = ("message", "Message", "error", "__type")

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the calls that the conversation holds already."""
        super().__init__(EventStreamDecoder())
        self._calls = CallAssembler(taken)
        self._blocks: dict[int, _Block] = {}
        self._text_index: int | None = None  # of the text block under way: the way of most events
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
                    self._delta(parsed, event[1], out)
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
        if kind != "event" or name not in _KNOWN:
            self._skip(name or str(kind))
            return
        decode, handle = _KNOWN[name]
        try:
            parsed = decode(payload)
        except MALFORMED as error:
            readable = self._readable(payload)
            if readable is None:
                raise ProtocolError(f"a {name} event is not what ConverseStream sends: {error}") from None
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

    def _next(self, out: list[StreamFrame]) -> None:
        """The model goes on: nothing cut the call before, and blocks that only a delta opened are complete."""
        self._calls.settle(out)
        self._text_index = None
        for index in [index for index, block in self._blocks.items() if block.kind in ("text", "reasoning")]:
            self._close(index, out)

    def _start(self, parsed: _BlockStart, payload: bytes, out: list[StreamFrame]) -> None:
        index, start = parsed.content_block_index, parsed.start
        if index in self._blocks:
            raise ProtocolError("a content block started where another is open")
        self._next(out)
        kind = next(iter(start), "")
        given = start.get(kind)
        if not isinstance(given, dict):
            self._skip(f"contentBlockStart {kind}".rstrip())
        elif kind != "toolUse" or given.get("type") == _SERVER_TOOL:
            self._blocks[index] = _Block("item", {kind: dict(given)})
        else:
            self._blocks[index] = _Block("call")
            kept = {name: value for name, value in given.items() if name not in _CALL_FIELDS and value is not None}
            call_id, name = text_in(given.get("toolUseId")), text_in(given.get("name"))
            self._calls.start(index, call_id or None, name or "", out, kept or None)

    def _delta(self, parsed: _BlockDelta, payload: bytes, out: list[StreamFrame]) -> None:
        index, delta = parsed.content_block_index, parsed.delta
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
            block = self._open("item", index, out)
            block.data = {"image" if delta.image is not None else "toolResult": {}}
            self._item_delta(block, delta, payload)
        else:
            self._nothing_in("contentBlockDelta", _decode_object(payload)["delta"], _DELTAS, word="")

    def _open(self, kind: str, index: int, out: list[StreamFrame]) -> _Block:
        """The open block of this index, which its first delta opens."""
        block = self._blocks.get(index)
        if block is not None and block.kind == kind:
            return block
        if block is not None and block.kind == "call":
            raise ProtocolError(f"{kind} came for a content block that is a tool call")
        self._next(out)  # also what was under this index before: reasoning, and then text
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
        if delta == _ReasoningDelta():
            self._nothing_in("reasoningContent", _decode_object(payload)["delta"]["reasoningContent"], _THOUGHTS)

    def _item_delta(self, block: _Block, delta: _Delta, payload: bytes) -> None:
        data = next(iter(block.data.values()))
        if delta.tool_use is not None:
            block.parts.append(delta.tool_use.input)
        elif delta.tool_result is not None:
            data.setdefault("content", []).extend(delta.tool_result)
        elif delta.image is not None:
            data.update(delta.image)
        elif delta.text is not None:
            data.setdefault("content", []).append({"text": delta.text})
        else:
            self._nothing_in("contentBlockDelta", _decode_object(payload)["delta"], _DELTAS - {"reasoningContent"})

    def _stop(self, parsed: _BlockStop, payload: bytes, out: list[StreamFrame]) -> None:
        if parsed.content_block_index in self._blocks:
            self._close(parsed.content_block_index, out)
        else:
            self._skip("contentBlockStop without a block")

    def _close(self, index: int, out: list[StreamFrame]) -> None:
        block = self._blocks.pop(index)
        if self._text_index == index:
            self._text_index = None
        if block.kind == "text":
            out.extend(map(citation_of, block.citations))
        elif block.kind == "reasoning":
            out.append(reasoning_of(block.parts, block.signature, block.blobs))
        elif block.kind == "call":
            self._calls.end(index, out)
        else:
            kind, data = next(iter(block.data.items()))
            if kind == "toolUse":
                try:
                    data["input"] = _decode_object("".join(block.parts) or "{}")
                except MALFORMED:
                    self._skip("toolUse input that is not JSON")
            out.append(ProviderItem(kind, block.data))

    # ----------------------------------------------------------------------------------------- the end

    def _message_stop(self, parsed: _MessageStop, payload: bytes, out: list[StreamFrame]) -> None:
        if self._stop_reason is not None:
            raise ProtocolError("messageStop came twice")
        self._stop_reason = parsed.stop_reason
        self._delta_headers = None
        for index in [index for index, block in self._blocks.items() if block.kind != "call"]:
            self._close(index, out)
        self._calls.settle(out, cut=parsed.stop_reason in _CUTTING)
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
        out.append(End(reason, self._stop_reason, self._usage or Usage(), unfinished=self._calls.unfinished()))
        self.ended = True

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
    if data.lstrip()[:1] == b"<":
        raise ProtocolError("the server answered with a web page instead of a message: is the base_url right?")
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
        decoder._next(out)
        out.append(ProviderItem(next(iter(block), "unknown"), block))
        return
    decoder._close(index, out)
