"""`OpenAIResponsesEncoder`: frames → the events of OpenAI's Responses API. Pure.

Rules: as in `api_encoder`. Each output item that is added is done, complete or not; events are counted without a gap;
the last one holds the whole response.

Source: OpenAI's reference of streaming events, and the types of the official SDK.
"""

from __future__ import annotations

from typing import Any

import msgspec

from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    ToolCall,
    UnfinishedCall,
    Usage,
)
from promptport.front_ends.api_encoder import APIEncoder, event_named
from promptport.front_ends.api_errors import APIError
from promptport.messages import AssistantMessage

__all__ = ["OpenAIResponsesEncoder"]

_encode = msgspec.json.Encoder().encode

_INCOMPLETE = {FinishReason.LENGTH: "max_output_tokens", FinishReason.CONTENT_FILTER: "content_filter"}
_OURS = ("message", "reasoning", "function_call", "custom_tool_call", "refusal")


class OpenAIResponsesEncoder(APIEncoder):
    """The events of one response. See `FrameEncoder` for its methods, and `APIEncoder` for its options.

    Examples:
        ```python
        from promptport import Append, End, FinishReason
        from promptport.front_ends import OpenAIResponsesEncoder

        encoder = OpenAIResponsesEncoder("run-1", model="openai/gpt-5")
        body = b"".join(map(encoder.feed, [Append("Hello"), End(FinishReason.STOP)])) + encoder.close()
        print(body.decode())
        ```
    """

    def __init__(self, run: str, **options: Any) -> None:
        """See `APIEncoder`."""
        super().__init__(run, **options)
        self._number = 0
        self._output: list[dict[str, Any] | None] = []  # `None` where an item is open
        self._open = ""  # message or reasoning, and where: one of them at a time
        self._index = 0
        self._content: list[str] = []
        self._notes: list[dict[str, Any]] = []
        self._middle = b""  # what all deltas of the message have in common
        self._items: dict[str, int] = {}  # of the calls that are open
        self._refused = False
        self._last: dict[str, Any] = {}

    # ------------------------------------------------------------------------------------------- events

    def _event(self, kind: str, body: dict[str, Any]) -> bytes:
        self._number += 1
        return event_named(kind, {"sequence_number": self._number - 1, **body})

    def _response(self, status: str, usage: Usage | None = None, **more: Any) -> dict[str, Any]:
        output = [item for item in self._output if item is not None] if status != "in_progress" else []
        told = {
            "id": f"resp_{self._run}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": self._model,
            "output": output,
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": None if usage is None else _counts(usage),
        }
        return {**told, **more}

    def _begin(self, out: list[bytes]) -> None:
        response = self._response("in_progress")
        out.append(self._event("response.created", {"response": response}))
        out.append(self._event("response.in_progress", {"response": response}))

    def _add(self, item: dict[str, Any], out: list[bytes]) -> int:
        self._close_parts(out)
        self._shown = True
        index = len(self._output)
        self._output.append(None)
        out.append(self._event("response.output_item.added", {"output_index": index, "item": item}))
        return index

    def _done(self, index: int, item: dict[str, Any], out: list[bytes]) -> None:
        self._output[index] = item
        out.append(self._event("response.output_item.done", {"output_index": index, "item": item}))

    def _id(self, kind: str, index: int) -> str:
        return f"{kind}_{self._run}_{index}"

    # ------------------------------------------------------------------------------------- text, reasoning

    def _open_message(self, out: list[bytes]) -> None:
        self._close_parts(out)
        item_id = self._id("msg", len(self._output))
        item = {"type": "message", "id": item_id, "status": "in_progress", "role": "assistant", "content": []}
        self._index = self._add(item, out)
        self._open = "message"
        part = {"type": "output_text", "text": "", "annotations": []}
        place = {"item_id": item_id, "output_index": self._index, "content_index": 0}
        out.append(self._event("response.content_part.added", {**place, "part": part}))
        self._middle = b'"item_id":%b,"output_index":%d,"content_index":0,"logprobs":[],"delta":' % (
            _encode(item_id),
            self._index,
        )

    def _on_text(self, frame: Append, out: list[bytes]) -> None:
        if not frame.text:
            return
        if self._open != "message" or self._notes:
            self._open_message(out)
        self._text_delta = self._more_text
        out.append(self._more_text(frame.text))

    def _more_text(self, text: str) -> bytes:
        if not text:
            return b""
        self._content.append(text)
        self._number += 1
        return (
            b"event: response.output_text.delta\ndata: "
            b'{"type":"response.output_text.delta","sequence_number":%d,%b%b}\n\n'
            % (self._number - 1, self._middle, _encode(text))
        )

    def _on_thought(self, frame: ReasoningAppend, out: list[bytes]) -> None:
        if not frame.text or not self._shows_reasoning:
            return
        if self._open != "reasoning":
            self._open_reasoning(out)
        if not self._content:
            part = {"type": "summary_text", "text": ""}
            place = {"item_id": self._id("rs", self._index), "output_index": self._index, "summary_index": 0}
            out.append(self._event("response.reasoning_summary_part.added", {**place, "part": part}))
        self._content.append(frame.text)
        place = {"item_id": self._id("rs", self._index), "output_index": self._index, "summary_index": 0}
        out.append(self._event("response.reasoning_summary_text.delta", {**place, "delta": frame.text}))

    def _open_reasoning(self, out: list[bytes]) -> None:
        self._close_parts(out)
        item = {"type": "reasoning", "id": self._id("rs", len(self._output)), "summary": []}
        self._index = self._add(item, out)
        self._open = "reasoning"

    def _on_reasoning(self, frame: Reasoning, out: list[bytes]) -> None:
        if not self._shows_reasoning:
            return
        if self._open != "reasoning":
            self._open_reasoning(out)
            self._on_thought(ReasoningAppend(frame.text), out)
        self._close_reasoning(self._thought(frame, self._index), out)

    def _thought(self, frame: Reasoning, index: int) -> dict[str, Any]:
        """The item of a reasoning, with what a client brings back."""
        data = frame.provider_data
        if self._seal is None and data is not None and data.get("type") == "reasoning":
            return data
        summary = [{"type": "summary_text", "text": frame.text}] if frame.text else []
        item: dict[str, Any] = {"type": "reasoning", "id": self._id("rs", index), "summary": summary}
        sealed = self._sealed(data, frame.text)
        return item if sealed is None else {**item, "encrypted_content": sealed}

    def _close_reasoning(self, item: dict[str, Any], out: list[bytes]) -> None:
        text, self._content = "".join(self._content), []
        self._open = ""
        if text:
            place = {"item_id": self._id("rs", self._index), "output_index": self._index, "summary_index": 0}
            part = {"type": "summary_text", "text": text}
            out.append(self._event("response.reasoning_summary_text.done", {**place, "text": text}))
            out.append(self._event("response.reasoning_summary_part.done", {**place, "part": part}))
        self._done(self._index, item, out)

    def _close_parts(self, out: list[bytes], status: str = "completed", **head: Any) -> None:
        if self._open == "reasoning":
            text = "".join(self._content)
            self._close_reasoning(self._thought(Reasoning(text), self._index), out)
        elif self._open == "message":
            text, self._content = "".join(self._content), []
            notes, self._notes = self._notes, []
            self._open = ""
            self._text_delta = None
            item_id = self._id("msg", self._index)
            place = {"item_id": item_id, "output_index": self._index, "content_index": 0}
            part = {"type": "output_text", "text": text, "annotations": notes}
            out.append(self._event("response.output_text.done", {**place, "text": text, "logprobs": []}))
            out.append(self._event("response.content_part.done", {**place, "part": part}))
            item = {"type": "message", "id": item_id, "status": status, "role": "assistant", "content": [part]}
            self._done(self._index, {**item, **head}, out)

    # ------------------------------------------------------------------------------------------- calls

    def _start_call(self, id: str, name: str, out: list[bytes]) -> None:
        item_id = self._id("fc", len(self._output))
        item = {"type": "function_call", "id": item_id, "status": "in_progress", "call_id": id, "name": name}
        self._items[id] = self._add({**item, "arguments": ""}, out)

    def _grow_call(self, id: str, arguments: str, out: list[bytes]) -> None:
        index = self._items[id]
        self._number += 1
        out.append(
            b"event: response.function_call_arguments.delta\ndata: "
            b'{"type":"response.function_call_arguments.delta","sequence_number":%d,"item_id":%b,"output_index":%d,'
            b'"delta":%b}\n\n' % (self._number - 1, _encode(self._id("fc", index)), index, _encode(arguments))
        )

    def _end_call(self, frame: ToolCall | InvalidToolCall, out: list[bytes]) -> None:
        index = self._items.pop(frame.id)
        place = {"item_id": self._id("fc", index), "output_index": index, "name": frame.name}
        out.append(self._event("response.function_call_arguments.done", {**place, "arguments": frame.arguments}))
        item = self._call_item(UnfinishedCall(frame.id, frame.name, frame.arguments), "completed", index)
        data = frame.provider_data
        if self._seal is None and data is not None and data.get("type") == "function_call":
            item |= {**data, "call_id": frame.id}
        sealed = self._sealed(data, frame.id)
        self._done(index, item if sealed is None else {**item, "promptport": sealed}, out)

    def _call_item(self, call: UnfinishedCall, status: str, index: int) -> dict[str, Any]:
        item = {"type": "function_call", "id": self._id("fc", index), "status": status}
        return {**item, "call_id": call.id, "name": call.name, "arguments": call.arguments}

    # ------------------------------------------------------------------------------------------- others

    def _on_citation(self, frame: Citation, out: list[bytes]) -> None:
        if self._open != "message":
            self._open_message(out)
        note = _annotation(frame)
        place = {"item_id": self._id("msg", self._index), "output_index": self._index, "content_index": 0}
        more = {**place, "annotation_index": len(self._notes), "annotation": note}
        self._notes.append(note)
        self._text_delta = None  # text behind a citation is a message of its own
        out.append(self._event("response.output_text.annotation.added", more))

    def _on_item(self, frame: ProviderItem, out: list[bytes]) -> None:
        if frame.type == "message" and self._open == "message":
            self._close_parts(out, **{key: value for key, value in frame.data.items() if key != "content"})
        elif frame.type == "refusal":
            self._refuse(str(frame.data.get("refusal", "")), out)
        elif frame.type not in _OURS and frame.data.get("type") == frame.type:
            self._done(self._add(frame.data, out), frame.data, out)

    def _refuse(self, text: str, out: list[bytes]) -> None:
        self._refused = True
        item_id = self._id("msg", len(self._output))
        item = {"type": "message", "id": item_id, "status": "in_progress", "role": "assistant", "content": []}
        index = self._add(item, out)
        place = {"item_id": item_id, "output_index": index, "content_index": 0}
        out.append(self._event("response.refusal.delta", {**place, "delta": text}))
        out.append(self._event("response.refusal.done", {**place, "refusal": text}))
        content = [{"type": "refusal", "refusal": text}]
        self._done(index, {**item, "status": "completed", "content": content}, out)

    # ------------------------------------------------------------------------------------------- the end

    def _finish(self, frame: End, out: list[bytes]) -> None:
        self._over = True
        self._close_parts(out)
        reason = frame.finish_reason
        cut = bool(self._texts)
        self._cut_calls(out)
        if (cut or reason in _INCOMPLETE) and not (self._refused and not cut and reason is FinishReason.CONTENT_FILTER):
            details = {"reason": _INCOMPLETE.get(reason, "content_filter")}
            self._last = self._response("incomplete", frame.usage, incomplete_details=details)
        elif reason in (FinishReason.PAUSED, FinishReason.OTHER):
            self._last = self._response("incomplete", frame.usage, incomplete_details={"reason": reason.value})
        else:
            self._last = self._response("completed", frame.usage)
        out.append(self._event(f"response.{self._last['status']}", {"response": self._last}))

    def _cut_calls(self, out: list[bytes]) -> None:
        for call_id, texts in self._texts.items():
            index = self._items.pop(call_id)
            call = UnfinishedCall(call_id, self._names[call_id], "".join(texts))
            self._done(index, self._call_item(call, "incomplete", index), out)

    def _failed(self, error: APIError, out: list[bytes]) -> None:
        self._close_parts(out, "incomplete")
        self._cut_calls(out)
        told = {"code": error.code, "message": error.message}
        out.append(self._event("response.failed", {"response": self._response("failed", error=told)}))

    def _body(self, message: AssistantMessage) -> bytes:
        for frame in message.frames():
            self.feed(frame)
        return _encode(self._last)


def _annotation(citation: Citation) -> dict[str, Any]:
    given = citation.provider_data
    if given is not None and given.get("type") in ("url_citation", "file_citation", "container_file_citation"):
        return given
    told = {"url": citation.url or "", "title": citation.title or ""}
    return {"type": "url_citation", "start_index": 0, "end_index": 0, **told}


def _counts(usage: Usage) -> dict[str, Any]:
    """The tokens as far as they are known."""
    told: dict[str, Any] = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    inputs = {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_tokens}
    outputs = {"reasoning_tokens": usage.reasoning_tokens}
    for name, counts in (("input_tokens_details", inputs), ("output_tokens_details", outputs)):
        if known := {key: count for key, count in counts.items() if count is not None}:
            told[name] = known
    if usage.input_tokens is not None and usage.output_tokens is not None:
        told["total_tokens"] = usage.input_tokens + usage.output_tokens
    return {name: count for name, count in told.items() if count is not None}
