"""`OpenAIChatEncoder`: frames → the chunks of Chat Completions, for every client that takes a ``base_url``. Pure.

Rules: as in `api_encoder`. Chat Completions completes all calls at once, with the finish reason, so a response that
was cut ends in one that says so. An error is an event, and no ``[DONE]`` follows it.

Source: OpenAI's reference of the chat completion chunk object; ``reasoning_content`` and ``reasoning_details`` as
DeepSeek and OpenRouter write them.
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
    Usage,
)
from promptport.front_ends.api_encoder import APIEncoder
from promptport.front_ends.api_errors import APIError, error_body
from promptport.messages import AssistantMessage

__all__ = ["OpenAIChatEncoder"]

_encode = msgspec.json.Encoder().encode

_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.PAUSED: "pause_turn",
    FinishReason.OTHER: "other",
}


class OpenAIChatEncoder(APIEncoder):
    """The chunks of one response of Chat Completions. See `FrameEncoder` for its methods.

    Examples:
        ```python
        from promptport import Append, End, FinishReason
        from promptport.front_ends import OpenAIChatEncoder

        encoder = OpenAIChatEncoder("run-1", model="openai/gpt-5")
        body = b"".join(map(encoder.feed, [Append("Hello"), End(FinishReason.STOP)])) + encoder.close()
        print(body.decode())
        ```
    """

    def __init__(self, run: str, *, usage: bool = True, **options: Any) -> None:
        """Make an encoder for one run.

        Args:
            run: The run's name, from which all ids are made.
            usage: Whether the last chunk tells the tokens, as ``stream_options.include_usage`` asks. Default: true.
            options: As in `APIEncoder`: ``model``, ``created``, ``own_tools``, ``reasoning``, ``origin``, ``seal``.
        """
        super().__init__(run, **options)
        self._usage = usage
        self._indexes: dict[str, int] = {}
        self._thinks = False
        self._refused = False
        head = _encode(
            {
                "id": f"chatcmpl-{run}",
                "object": "chat.completion.chunk",
                "created": self._created,
                "model": self._model,
            }
        )
        self._head = b"data: " + head[:-1]
        self._text_head = self._head + b',"choices":[{"index":0,"delta":{"content":'

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return b'%b,"choices":[%b]}\n\n' % (self._head, _encode(choice))

    def _begin(self, out: list[bytes]) -> None:
        out.append(self._chunk({"role": "assistant", "content": ""}))

    def _on_text(self, frame: Append, out: list[bytes]) -> None:
        if frame.text:
            self._shown = True
            self._text_delta = self._more_text
            out.append(self._more_text(frame.text))

    def _more_text(self, text: str) -> bytes:
        return b'%b%b},"finish_reason":null}]}\n\n' % (self._text_head, _encode(text)) if text else b""

    def _on_thought(self, frame: ReasoningAppend, out: list[bytes]) -> None:
        if frame.text and self._shows_reasoning:
            self._thinks = self._shown = True
            out.append(
                b'%b,"choices":[{"index":0,"delta":{"reasoning_content":%b},"finish_reason":null}]}\n\n'
                % (self._head, _encode(frame.text))
            )

    def _on_reasoning(self, frame: Reasoning, out: list[bytes]) -> None:
        if not self._shows_reasoning:
            return
        if frame.text and not self._thinks:
            self._on_thought(ReasoningAppend(frame.text), out)
        self._thinks = False
        if details := self._details(frame):
            out.append(self._chunk({"reasoning_details": details}))

    def _details(self, frame: Reasoning) -> list[dict[str, Any]]:
        """What a client brings back with the message."""
        data = frame.provider_data
        sealed = self._sealed(data, frame.text)
        if sealed is not None:
            return [{"type": "reasoning.encrypted", "format": "promptport", "data": sealed}]
        if data is None or self._seal is not None:
            return []
        given = data.get("reasoning_details")
        entries = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
        # Their text was said in the deltas, and would be read twice.
        return [{key: value for key, value in one.items() if key not in ("text", "summary")} for one in entries]

    def _start_call(self, id: str, name: str, out: list[bytes]) -> None:
        index = self._indexes[id] = len(self._indexes)
        function = {"name": name, "arguments": ""}
        out.append(self._chunk({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}))

    def _grow_call(self, id: str, arguments: str, out: list[bytes]) -> None:
        out.append(
            b'%b,"choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]},'
            b'"finish_reason":null}]}\n\n' % (self._head, self._indexes[id], _encode(arguments))
        )

    def _end_call(self, frame: ToolCall | InvalidToolCall, out: list[bytes]) -> None:
        extra = self._extra(frame)
        if extra is not None:
            out.append(self._chunk({"tool_calls": [{"index": self._indexes[frame.id], "extra_content": extra}]}))

    def _extra(self, call: ToolCall | InvalidToolCall) -> dict[str, Any] | None:
        data = call.provider_data
        sealed = self._sealed(data, call.id)
        if sealed is not None:
            return {"promptport": sealed}
        extra = data.get("extra_content") if data is not None and self._seal is None else None
        return extra if isinstance(extra, dict) else None

    def _on_citation(self, frame: Citation, out: list[bytes]) -> None:
        self._shown = True
        out.append(self._chunk({"annotations": [_annotation(frame)]}))

    def _on_item(self, frame: ProviderItem, out: list[bytes]) -> None:
        refusal = frame.data.get("refusal")
        if frame.type == "refusal" and isinstance(refusal, str):
            self._refused = self._shown = True
            out.append(self._chunk({"refusal": refusal}))
        elif frame.type == "executed_tool":
            out.append(self._chunk({"executed_tools": [frame.data]}))

    def _close_parts(self, out: list[bytes]) -> None:
        """Text and reasoning have no end here."""

    def _finish(self, frame: End, out: list[bytes]) -> None:
        self._over = True
        cut = bool(self._texts)
        reason = _REASONS[frame.finish_reason]
        if frame.finish_reason is FinishReason.CONTENT_FILTER and self._refused and not cut:
            reason = "stop"  # as OpenAI ends a refusal
        if cut and frame.finish_reason is not FinishReason.LENGTH:
            reason = "content_filter"  # any other word would complete what is open
        elif self._called and not cut and reason == "length":
            out.append(self._chunk({}, "tool_calls"))  # what is complete is complete
        out.append(self._chunk({}, reason))
        if self._usage:
            out.append(b'%b,"choices":[],"usage":%b}\n\n' % (self._head, _encode(_counts(frame.usage))))
        out.append(b"data: [DONE]\n\n")

    def _failed(self, error: APIError, out: list[bytes]) -> None:
        out.append(b"data: %b\n\n" % error_body("openai", error))

    def _body(self, message: AssistantMessage) -> bytes:
        told: dict[str, Any] = {"role": "assistant", "content": message.text or None, "refusal": None}
        calls = [part for part in message.parts if isinstance(part, ToolCall | InvalidToolCall)]
        if message.reasoning:
            told["reasoning_content"] = message.reasoning
        thoughts = [part for part in message.parts if isinstance(part, Reasoning)]
        if details := [detail for part in thoughts for detail in self._details(part)]:
            told["reasoning_details"] = details
        if sources := [_annotation(part) for part in message.parts if isinstance(part, Citation)]:
            told["annotations"] = sources
        for part in message.parts:
            if isinstance(part, ProviderItem) and part.type == "refusal":
                told["refusal"] = part.data.get("refusal")
        if calls:
            told["tool_calls"] = [self._call(call) for call in calls]
        reason = _REASONS[message.finish_reason or FinishReason.OTHER]
        body = {
            "id": f"chatcmpl-{self._run}",
            "object": "chat.completion",
            "created": self._created,
            "model": self._model,
            "choices": [{"index": 0, "message": told, "logprobs": None, "finish_reason": reason}],
            "usage": _counts(message.usage),
        }
        return _encode(body)

    def _call(self, call: ToolCall | InvalidToolCall) -> dict[str, Any]:
        function = {"name": call.name, "arguments": call.arguments}
        told: dict[str, Any] = {"id": call.id, "type": "function", "function": function}
        extra = self._extra(call)
        return told if extra is None else {**told, "extra_content": extra}


def _annotation(citation: Citation) -> dict[str, Any]:
    given = citation.provider_data
    if given is not None and (given.get("type") == "url_citation" or "url_citation" in given):
        return given
    told = {"url": citation.url, "title": citation.title, "content": citation.text}
    known = {name: text for name, text in told.items() if text is not None}
    return {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 0, **known}}


def _counts(usage: Usage) -> dict[str, Any]:
    """The tokens as far as they are known."""
    told: dict[str, Any] = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}
    if usage.input_tokens is not None and usage.output_tokens is not None:
        told["total_tokens"] = usage.input_tokens + usage.output_tokens
    inputs = {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_tokens}
    outputs = {"reasoning_tokens": usage.reasoning_tokens}
    for name, counts in (("prompt_tokens_details", inputs), ("completion_tokens_details", outputs)):
        if known := {key: count for key, count in counts.items() if count is not None}:
            told[name] = known
    return {name: count for name, count in told.items() if count is not None}
