"""OpenAI Responses, the way in: server-sent events → frames, for OpenAI and its clones. Pure.

Rule: exact about what ends a call and what ends the stream, lenient about everything else.

- A call is sealed by its ``response.output_item.done``, unless that says that it is incomplete. Where a server leaves
  the event out, ``response.completed`` seals the call if its ``output`` holds it, or if the call's arguments had
  their own ``done``; every other call that is open at the end is unfinished.
- The stream ends with ``response.completed`` or ``response.incomplete``; ``response.failed`` and ``error`` raise.
  ``[DONE]``, which some clones add, is no terminal.

What becomes what, beyond the obvious:

- A refusal is no answer text: ``ProviderItem("refusal", {"refusal": text})``, and the answer ends in CONTENT_FILTER.
- Citations come when their message is complete, from its annotations.
- ``ProviderItem("message", …)`` is the head of the message before it (id, status, phase). It is given where the model
  wants it back: after reasoning, and for messages with a phase.
- A call of a custom tool, whose input is free text, is an `InvalidToolCall` with that text, because it is no JSON
  object; a caller who has such tools runs it, and answers it as any other call.
- ``multi_tool_use.parallel``, a wrapper that models make up, is taken apart into the calls that it holds, with ids of
  ours; if anything about it is odd, it stays the one call that it is (to a tool that nobody has).

Source: the SDK's ``types/responses``, 3.54.0; the clones' habits from recorded wires and public issue threads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from promptport.decoding import (
    SSEDecoder,
    StreamDecoder,
    count_in,
    dict_in,
    dicts_in,
    error_details,
    number_in,
    text_in,
)
from promptport.errors import IncompleteStreamError, ProtocolError, ProviderStreamError
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
from promptport.protocols.responses_calls import CALL_TYPES, ResponseCalls

__all__ = ["ResponsesDecoder", "decode_response"]

Frames = list[StreamFrame]


class _Event(msgspec.Struct, gc=False):
    """What the frequent events hold; the others are decoded once more, untyped."""

    type: str = ""
    delta: str | msgspec.UnsetType | None = msgspec.UNSET
    output_index: int | None = None
    item_id: str | None = None
    content_index: int | None = None
    summary_index: int | None = None


_decode = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder().decode

_UNINTERESTING = re.compile(
    r"keepalive|response\.("
    r"queued|in_progress|compaction\.compacting|reasoning_summary_part\.added"
    r"|(web_search|file_search|code_interpreter|image_generation|mcp|apply_patch|shell)_call(_\w+)?\.\w+"
    r"|mcp_list_tools\.\w+)"
).fullmatch
"""Events that are known, and say nothing that ``output_item.done`` does not say."""

_ONCE = frozenset(["response.output_text.done", "response.output_item.added", "response.output_item.done"])
"""Events that say nothing when they come a second time at once."""

_INCOMPLETE = {"max_output_tokens": FinishReason.LENGTH, "content_filter": FinishReason.CONTENT_FILTER}


class ResponsesDecoder(StreamDecoder[tuple[bytes, bytes]]):
    """Decodes one streamed answer."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the conversation's calls so far."""
        super().__init__(SSEDecoder())
        self._calls = ResponseCalls(taken)
        # Lengths tell whether a text that comes whole was streamed before.
        self._streamed = 0
        self._texts_done = 0
        self._parts_done = 0
        self._ended_parts: set[tuple[object, ...]] = set()
        self._messages_done = 0
        self._items_done = 0
        self._last = b""
        self._reasoning: list[str] = []
        self._reasoning_part: tuple[object, ...] = ()
        self._reasoning_parts: set[tuple[object, ...]] = set()
        self._reasoning_deltas = self._reasoned = False
        self._refusal: list[str] = []
        self._refused = False
        self._annotations: list[dict[str, Any]] = []
        self._model: str | None = None
        self._id: str | None = None
        self._handlers: dict[str, Callable[[_Event, bytes, Frames], None]] = {
            "response.output_text.done": self._text_done,
            "response.function_call_arguments.done": self._arguments_done,
            "response.custom_tool_call_input.delta": self._arguments_delta,
            "response.custom_tool_call_input.done": self._arguments_done,
            "response.reasoning_summary_text.delta": self._reasoning_delta,
            "response.reasoning_text.delta": self._reasoning_delta,
            "response.reasoning_summary_text.done": self._reasoning_part_done,
            "response.reasoning_text.done": self._reasoning_part_done,
            "response.reasoning_summary_part.done": self._part_done,
            "response.content_part.added": self._part_added,
            "response.content_part.done": self._part_done,
            "response.refusal.delta": self._refusal_delta,
            "response.refusal.done": self._refusal_done,
            "response.output_text.annotation.added": self._annotation,
            "response.output_item.added": self._item_added,
            "response.output_item.done": self._item_done,
            "response.created": self._created,
            "response.completed": self._terminal,
            "response.incomplete": self._terminal,
            "response.failed": self._terminal,
            "response.cancelled": self._terminal,
            "response.done": self._terminal,
            "response.error": self._error,
            "error": self._error,
        }

    # ------------------------------------------------------------------------------------------- events

    def _event(  # noqa: PLR0912 - the way of nearly every event: a call for each branch would cost more than it
        self, event: tuple[bytes, bytes], out: Frames
    ) -> None:
        data = event[1]
        try:
            head = _decode(data)
        except (ValueError, RecursionError):  # of msgspec, or because the bytes are no UTF-8
            if data.strip() == b"[DONE]":
                self._end_of_bytes(out)
            readable = self._readable(data)
            if readable is not None:
                self._event((event[0], readable), out)
            if readable is not None or self._is_heartbeat(event[0], data, self._handlers):
                return
            head = _lenient(data)
        previous, self._last = self._last, data
        kind = head.type
        if kind == "response.output_text.delta":
            text = head.delta
            if text:
                self._streamed += len(text)
                out.append(Append(text))
            elif text is msgspec.UNSET:
                raise ProtocolError("a delta of the text came without text")
            elif text is None:
                self._skip(kind)
        elif kind == "response.function_call_arguments.delta":
            self._arguments_delta(head, data, out)
        else:
            if not kind:  # some servers name the event, and not its data
                head.type = kind = event[0].decode("utf-8", "replace")
            handler = self._handlers.get(kind)
            if handler is not None:
                if data != previous or kind not in _ONCE:
                    handler(head, data, out)
            elif not _UNINTERESTING(kind):
                self._unknown(kind, data)

    def _unknown(self, kind: str, data: bytes) -> None:
        body = _body(data)
        if body.get("error") and not kind.startswith("response."):
            raise _reported(body)
        self._skip(kind or "event without a type")

    def _created(self, head: _Event, data: bytes, out: Frames) -> None:
        self._identify(dict_in(_body(data).get("response")))

    def _identify(self, response: dict[str, Any]) -> None:
        self._model = text_in(response.get("model")) or self._model
        self._id = text_in(response.get("id")) or self._id

    def _error(self, head: _Event, data: bytes, out: Frames) -> None:
        raise _reported(_body(data))

    # -------------------------------------------------------------------------------------------- text

    def _text_done(self, head: _Event, data: bytes, out: Frames) -> None:
        text = text_in(_body(data).get("text")) or ""
        self._texts_done += len(text)
        self._whole_text(text, self._texts_done, out)

    def _whole_text(self, text: str, done: int, out: Frames) -> None:
        """A text that is complete, the last of ``done`` characters: gives it if nothing of it was streamed."""
        if text and done - self._streamed == len(text):
            self._streamed += len(text)
            out.append(Append(text))

    def _refusal_delta(self, head: _Event, data: bytes, out: Frames) -> None:
        if head.delta:
            self._refusal.append(head.delta)
        elif head.delta != "":
            self._skip(head.type)

    def _refusal_done(self, head: _Event, data: bytes, out: Frames) -> None:
        self._whole_refusal(text_in(_body(data).get("refusal")) or "")

    def _whole_refusal(self, text: str) -> None:
        """A refusal that is complete: the deltas said it, unless the server sent none."""
        if not "".join(self._refusal).endswith(text):
            self._refusal.append(text)

    # ------------------------------------------------------------------------------------------- parts

    def _part_added(self, head: _Event, data: bytes, out: Frames) -> None:
        """A part begins; what it holds then, its end says again."""
        self._unread(head.type, _body(data).get("part"))

    def _part_done(self, head: _Event, data: bytes, out: Frames) -> None:
        """A part is complete: gives what no delta and no end of its text said before."""
        part = dict_in(_body(data).get("part"))
        text, refusal = text_in(part.get("text")), text_in(part.get("refusal"))
        if part.get("type") in ("reasoning_text", "summary_text") or head.type.startswith("response.reasoning"):
            self._whole_thought(head, text or "", out)
        elif text is not None:
            place = (head.item_id, head.output_index, head.content_index)
            if place not in self._ended_parts:
                self._ended_parts.add(place)
                self._parts_done += len(text)
                self._whole_text(text, self._parts_done, out)
        elif refusal is not None:
            self._whole_refusal(refusal)
        else:
            self._unread(head.type, part)

    def _annotation(self, head: _Event, data: bytes, out: Frames) -> None:
        annotation = _body(data).get("annotation")
        if isinstance(annotation, dict):
            self._annotations.append(annotation)

    def _message(self, item: dict[str, Any], out: Frames) -> None:
        content = dicts_in(item.get("content"))
        text = "".join([text_in(part.get("text")) or "" for part in content if part.get("type") != "refusal"])
        self._messages_done += len(text)
        self._whole_text(text, self._messages_done, out)
        annotations = [note for part in content for note in dicts_in(part.get("annotations"))]
        if annotations:
            self._annotations = annotations
        refusals = [refusal for part in content if (refusal := text_in(part.get("refusal")))]
        if refusals:
            self._refusal = refusals
        said = bool(text or self._refusal)
        self._end_message(out)
        if said and (item.get("phase") or (self._reasoned and item.get("id"))):
            out.append(ProviderItem("message", {key: value for key, value in item.items() if key != "content"}))

    def _end_message(self, out: Frames) -> None:
        """What waits for the end of a message."""
        out.extend(map(_citation, self._annotations))
        self._annotations = []
        if self._refusal:
            out.append(ProviderItem("refusal", {"refusal": "".join(self._refusal)}))
            self._refusal = []
            self._refused = True

    # ---------------------------------------------------------------------------------------- reasoning

    def _reasoning_delta(self, head: _Event, data: bytes, out: Frames) -> None:
        if head.delta:
            part = (head.output_index, head.summary_index, head.content_index)
            if part != self._reasoning_part:
                if self._reasoning:
                    self._think("\n\n", out)
                self._reasoning_part = part
                self._reasoning_parts.add(part)
            self._reasoning_deltas = True
            self._think(head.delta, out)
        elif head.delta != "":
            self._skip(head.type)

    def _reasoning_part_done(self, head: _Event, data: bytes, out: Frames) -> None:
        self._whole_thought(head, text_in(_body(data).get("text")) or "", out)

    def _whole_thought(self, head: _Event, text: str, out: Frames) -> None:
        """A part of the reasoning is complete: gives it if no delta did; behind its item it is only counted."""
        part = (head.output_index, head.summary_index, head.content_index)
        if not text or part in self._reasoning_parts:
            return
        if self._reasoned or self._reasoning_deltas:
            self._skip(f"{head.type} without deltas")
            return
        if self._reasoning:
            self._think("\n\n", out)
        self._reasoning_parts.add(part)
        self._think(text, out)

    def _think(self, text: str, out: Frames) -> None:
        self._reasoning.append(text)
        out.append(ReasoningAppend(text))

    def _reasoning_done(self, item: dict[str, Any] | None, out: Frames) -> None:
        """A reasoning item is complete; ``None`` where its end was left out."""
        if item is not None and not self._reasoning:
            parts = [*dicts_in(item.get("content")), *dicts_in(item.get("summary"))]
            text = "\n\n".join([text for part in parts if (text := text_in(part.get("text")))])
            if text:
                self._think(text, out)
        if item is not None or self._reasoning:
            out.append(Reasoning("".join(self._reasoning), item))
        self._reasoning = []
        self._reasoned = self._reasoned or item is not None

    # -------------------------------------------------------------------------------------------- items

    def _item_added(self, head: _Event, data: bytes, out: Frames) -> None:
        item = _item(data)
        if text_in(item.get("type")) in CALL_TYPES:
            self._calls.added(head.output_index, item, out)

    def _item_done(self, head: _Event, data: bytes, out: Frames) -> None:
        self._done(head.output_index, _item(data), out)

    def _done(self, index: int | None, item: dict[str, Any], out: Frames) -> None:
        """An output item is complete: streamed, or in the body of a whole response."""
        self._items_done += 1
        kind = text_in(item.get("type"))
        if kind in CALL_TYPES:
            self._calls.done(index, item, out)
        elif kind == "message":
            self._message(item, out)
        elif kind == "reasoning":
            self._reasoning_done(item, out)
        elif kind:
            out.append(ProviderItem(kind, item))
        elif index in self._calls.by_index:
            self._calls.done(index, item, out)  # some servers send it empty
        else:
            self._skip("item without a type")

    def _arguments_delta(self, head: _Event, data: bytes, out: Frames) -> None:
        if head.delta:
            self._calls.delta(head.output_index, head.item_id, head.delta, out)
        elif head.delta is msgspec.UNSET:
            raise ProtocolError("a delta of a call's arguments came without text")

    def _arguments_done(self, head: _Event, data: bytes, out: Frames) -> None:
        self._calls.arguments_done(head.output_index, head.item_id, _body(data), out)

    # ---------------------------------------------------------------------------------------------- ends

    def _terminal(self, head: _Event, data: bytes, out: Frames) -> None:
        body = _body(data)
        response = dict_in(body.get("response"))
        kind = head.type.removeprefix("response.")
        status = text_in(response.get("status"))
        if kind in ("failed", "cancelled") or status in ("failed", "cancelled"):
            raise _reported(response.get("error") or body.get("error") or f"the response is {status or kind}")
        complete = kind != "incomplete" and status != "incomplete"
        output = dicts_in(response.get("output"))
        if not self._items_done:
            self._output(output, complete, not self._calls.seen, out)
        if complete:
            self._calls.completed([item for item in output if text_in(item.get("type")) in CALL_TYPES], out)
        self._end(response, complete, out)

    def _output(self, output: list[dict[str, Any]], complete: bool, calls: bool, out: Frames) -> None:
        """The items of a whole response; without ``calls`` those that are none."""
        for position, item in enumerate(output):
            if text_in(item.get("type")) not in CALL_TYPES:
                self._done(position, item, out)
            elif calls:
                if not complete and item.get("status") != "completed":
                    item["status"] = "incomplete"  # nobody says that it was finished before the cut
                self._done(position, item, out)

    def _end(self, response: dict[str, Any], complete: bool, out: Frames) -> None:
        self._identify(response)
        self._reasoning_done(None, out)
        self._end_message(out)
        unfinished = self._calls.unfinished(out)
        details = dict_in(response.get("incomplete_details")) if not complete else {}
        told = _INCOMPLETE.get(text_in(details.get("reason")) or "", FinishReason.OTHER)
        if self._calls.sealed and told is not FinishReason.LENGTH:
            reason = FinishReason.TOOL_CALLS
        elif self._refused:
            reason = FinishReason.CONTENT_FILTER
        elif not complete:
            reason = told
        else:
            reason = FinishReason.OTHER if unfinished else FinishReason.STOP
        raw = "completed" if complete else "incomplete"
        out.append(End(reason, raw, _usage(response.get("usage")), self._model, self._id, unfinished))
        self.ended = True

    def _end_of_bytes(self, out: Frames) -> None:
        raise IncompleteStreamError("the stream ended without response.completed or response.incomplete")

    def _no_events(self, stray: bytes, out: Frames) -> None:
        """No event at all: perhaps a JSON error, or the whole answer of a server that does not stream."""
        if stray.lstrip()[:1] == b"{":
            self._whole(stray, out)
        else:
            super()._no_events(stray, out)

    def _whole(self, data: bytes, out: Frames) -> None:
        """The body of a response that was not streamed. Raises `StreamError`."""
        body = _body(self._readable(data) or data)
        status = text_in(body.get("status"))
        output = body.get("output")
        if status in ("failed", "cancelled") or not isinstance(output, list):
            if status is None and not error_details(body)[0]:
                raise ProtocolError("the answer has no output")
            raise _reported(body.get("error") or (f"the response is {status}" if status else body))
        if status not in (None, "completed", "incomplete"):
            raise IncompleteStreamError(f"the response is {status}")
        complete = status != "incomplete"
        self._output(dicts_in(output), complete, True, out)
        self._end(body, complete, out)


def decode_response(data: bytes, taken: Collection[str] = ()) -> AssistantMessage:
    """The message in the body of a response that was not streamed: the same as its stream would give.

    Raises:
        ProtocolError, IncompleteStreamError, ProviderStreamError: no such body, not finished, an error object.
    """
    decoder = ResponsesDecoder(taken)
    out: Frames = []
    decoder._whole(data, out)
    return message_of(decoder._mender.feed(out) if decoder._mender is not None else out)


# ------------------------------------------------------------------------------------------ small things


def _lenient(data: bytes) -> _Event:
    """An event that the typed decode refused, as far as its meaning is plain."""
    body = _body(data)
    event = _Event(text_in(body.get("type")) or "")
    if "delta" in body:
        delta = body["delta"]
        as_object = isinstance(delta, dict) and "arguments" in event.type
        event.delta = msgspec.json.encode(delta).decode() if as_object else text_in(delta)
    event.output_index, event.content_index, event.summary_index = (
        number_in(body.get(field)) for field in ("output_index", "content_index", "summary_index")
    )
    item_id = body.get("item_id")
    event.item_id = str(item_id) if isinstance(item_id, str | int) else None
    return event


def _body(data: bytes) -> dict[str, Any]:
    try:
        body = _decode_any(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"an event is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ProtocolError("an event is not a JSON object")
    return body


def _item(data: bytes) -> dict[str, Any]:
    item = _body(data).get("item")
    if not isinstance(item, dict):
        raise ProtocolError("an event of an output item came without the item")
    return item


def _reported(error: Any) -> ProviderStreamError:
    message, code = error_details({"error": error} if isinstance(error, str) else error)
    return ProviderStreamError(f"the provider reported an error: {message or code or 'it gave no reason'}", code=code)


def _citation(annotation: dict[str, Any]) -> Citation:
    title = text_in(annotation.get("title")) or text_in(annotation.get("filename"))
    return Citation(text_in(annotation.get("url")), title, None, annotation)


def _usage(usage: object) -> Usage:
    counts = dict_in(usage)
    inputs, outputs = dict_in(counts.get("input_tokens_details")), dict_in(counts.get("output_tokens_details"))
    told = [counts.get("input_tokens"), counts.get("output_tokens"), inputs.get("cached_tokens")]
    told += [inputs.get("cache_write_tokens"), outputs.get("reasoning_tokens")]
    return Usage(*[count_in(number_in(value)) for value in told])
