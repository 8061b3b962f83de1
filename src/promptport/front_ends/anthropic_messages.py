"""`AnthropicMessagesEncoder`: frames → the events of Anthropic's Messages API. Pure.

Rules: as in `api_encoder`. A block that was begun is stopped, but for a call that was cut and reads as if it were
complete: its stop would complete it. Calls that come side by side are blocks that are open side by side.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming, and the types of the official SDK.
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
from promptport.front_ends.api_encoder import APIEncoder, event_named, is_object
from promptport.front_ends.api_errors import APIError, error_body
from promptport.messages import AssistantMessage, TextPart

__all__ = ["AnthropicMessagesEncoder"]

_encode = msgspec.json.Encoder().encode

_REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.PAUSED: "pause_turn",
    FinishReason.OTHER: "other",
}
_CUTTING = (FinishReason.LENGTH, FinishReason.CONTENT_FILTER)


class AnthropicMessagesEncoder(APIEncoder):
    """The events of one message. See `FrameEncoder` for its methods, and `APIEncoder` for its options.

    Examples:
        ```python
        from promptport import Append, End, FinishReason
        from promptport.front_ends import AnthropicMessagesEncoder

        encoder = AnthropicMessagesEncoder("run-1", model="openai/gpt-5")
        body = b"".join(map(encoder.feed, [Append("Hello"), End(FinishReason.STOP)])) + encoder.close()
        print(body.decode())
        ```
    """

    def __init__(self, run: str, **options: Any) -> None:
        """See `APIEncoder`."""
        super().__init__(run, **options)
        self._block = -1  # the index of the last block
        self._open = ""  # text or thinking, if that is a block that is open
        self._blocks: dict[str, int] = {}  # of the calls that are open
        self._text_head = b""
        self._doubt = False  # the last call reads as if it might have been cut

    def _begin(self, out: list[bytes]) -> None:
        usage = {"input_tokens": 0, "output_tokens": 0}
        message = {**self._message(), "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        out.append(event_named("message_start", {"message": message}))

    def _message(self) -> dict[str, Any]:
        return {"id": f"msg_{self._run}", "type": "message", "role": "assistant", "model": self._model}

    # ---------------------------------------------------------------------------------- text, thinking

    def _start(self, kind: str, block: dict[str, Any], out: list[bytes]) -> None:
        self._close_parts(out)
        self._doubt = False
        self._block += 1
        self._open = kind
        out.append(event_named("content_block_start", {"index": self._block, "content_block": block}))

    def _delta(self, kind: bytes, field: bytes, text: str) -> bytes:
        return _DELTA % (self._block, kind, field, _encode(text))

    def _on_text(self, frame: Append, out: list[bytes]) -> None:
        if not frame.text:
            return
        if self._open != "text":
            self._shown = True
            self._start("text", {"type": "text", "text": ""}, out)
            self._text_head = _DELTA_HEAD % self._block
            self._text_delta = self._more_text
        out.append(self._more_text(frame.text))

    def _more_text(self, text: str) -> bytes:
        return b"%b%b}}\n\n" % (self._text_head, _encode(text)) if text else b""

    def _on_thought(self, frame: ReasoningAppend, out: list[bytes]) -> None:
        if not frame.text or not self._shows_reasoning:
            return
        if self._open != "thinking":
            self._shown = True
            self._start("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
        out.append(self._delta(b"thinking_delta", b"thinking", frame.text))

    def _on_reasoning(self, frame: Reasoning, out: list[bytes]) -> None:
        if not self._shows_reasoning:
            return
        block = self._thinking(frame)
        if block["type"] == "redacted_thinking":
            self._start("", block, out)
            out.append(_STOP % self._block)
            return
        if self._open != "thinking":
            self._start("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
            if frame.text:
                out.append(self._delta(b"thinking_delta", b"thinking", frame.text))
        if block["signature"]:
            out.append(self._delta(b"signature_delta", b"signature", block["signature"]))
        self._close_parts(out)

    def _thinking(self, frame: Reasoning) -> dict[str, Any]:
        """The block of a reasoning: what a client brings back of it is in its signature, or is all of it."""
        data = frame.provider_data or {}
        sealed = self._sealed(frame.provider_data, frame.text)
        if sealed is not None and not frame.text:
            return {"type": "redacted_thinking", "data": sealed}
        if self._seal is None and data.get("type") == "redacted_thinking":
            return data
        signature = sealed or (data.get("signature") if self._seal is None else None) or ""
        return {"type": "thinking", "thinking": frame.text, "signature": signature}

    # ------------------------------------------------------------------------------------------- calls

    def _start_call(self, id: str, name: str, out: list[bytes]) -> None:
        self._start("", {"type": "tool_use", "id": id, "name": name, "input": {}}, out)
        self._blocks[id] = self._block

    def _grow_call(self, id: str, arguments: str, out: list[bytes]) -> None:
        out.append(_DELTA % (self._blocks[id], b"input_json_delta", b"partial_json", _encode(arguments)))

    def _end_call(self, frame: ToolCall | InvalidToolCall, out: list[bytes]) -> None:
        out.append(_STOP % self._blocks.pop(frame.id))
        self._doubt = isinstance(frame, InvalidToolCall) or frame.arguments == "{}"
        if self._doubt:
            self._close_parts(out)  # a block that begins says that nothing cut the call
            if self._blocks:
                self._settle(out)

    def _settle(self, out: list[bytes]) -> None:
        self._start("text", {"type": "text", "text": ""}, out)
        self._close_parts(out)

    # ------------------------------------------------------------------------------------------- others

    def _on_citation(self, frame: Citation, out: list[bytes]) -> None:
        if self._open != "text":
            self._start("text", {"type": "text", "text": ""}, out)
        out.append(_DELTA % (self._block, b"citations_delta", b"citation", _encode(_citation(frame))))
        self._close_parts(out)

    def _on_item(self, frame: ProviderItem, out: list[bytes]) -> None:
        if _is_item(frame):
            self._start("", frame.data, out)
            out.append(_STOP % self._block)

    def _close_parts(self, out: list[bytes]) -> None:
        if self._open:
            self._open = ""
            self._text_delta = None
            out.append(_STOP % self._block)

    # ------------------------------------------------------------------------------------------- the end

    def _finish(self, frame: End, out: list[bytes]) -> None:
        self._over = True
        self._close_parts(out)
        reason = frame.finish_reason
        if self._texts:
            reason = FinishReason.LENGTH if reason is FinishReason.LENGTH else FinishReason.CONTENT_FILTER
            last = next(reversed(self._texts))
            if len(self._texts) == 1 and not self._doubt and not is_object("".join(self._texts[last]) or "x"):
                out.append(_STOP % self._blocks.pop(last))
        elif self._doubt and reason in _CUTTING:
            self._settle(out)
        word = self._word(reason, frame.raw_finish_reason)
        delta = {"stop_reason": word, "stop_sequence": None}
        out.append(event_named("message_delta", {"delta": delta, "usage": _counts(frame.usage)}))
        out.append(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')

    @staticmethod
    def _word(reason: FinishReason, raw: str | None) -> str:
        return "stop_sequence" if raw == "stop_sequence" and reason is FinishReason.STOP else _REASONS[reason]

    def _failed(self, error: APIError, out: list[bytes]) -> None:
        self._close_parts(out)
        out.append(b"event: error\ndata: %b\n\n" % error_body("anthropic", error))

    def _body(self, message: AssistantMessage) -> bytes:
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, TextPart):
                if part.text:
                    content.append({"type": "text", "text": part.text})
            elif isinstance(part, Reasoning):
                content.append(self._thinking(part))
            elif isinstance(part, Citation):
                if content and content[-1]["type"] == "text":
                    content[-1].setdefault("citations", []).append(_citation(part))
            elif isinstance(part, ProviderItem):
                if _is_item(part):
                    content.append(part.data)
            else:
                content.append({"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part)})
        reason = message.finish_reason or FinishReason.OTHER
        told = {"content": content, "stop_reason": self._word(reason, message.raw_finish_reason), "stop_sequence": None}
        return _encode({**self._message(), **told, "usage": _counts(message.usage)})


_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_DELTA_HEAD = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":'
)
_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}\n\n'
)


def _is_item(item: ProviderItem) -> bool:
    """Whether an item is a block of this API."""
    own = item.type in ("server_tool_use", "mcp_tool_use", "container_upload", "compaction")
    return item.data.get("type") == item.type and (own or item.type.endswith("_tool_result"))


def _citation(citation: Citation) -> dict[str, Any]:
    given = citation.provider_data
    if given is not None and str(given.get("type", "")).endswith("_location"):
        return given
    told = {"url": citation.url or "", "title": citation.title, "cited_text": citation.text or ""}
    return {"type": "web_search_result_location", "encrypted_index": "", **told}


def _input(call: ToolCall | InvalidToolCall) -> Any:
    """The arguments as the object that this API has; where they are none, their text, so that no client runs it."""
    if isinstance(call, ToolCall):
        return msgspec.Raw(call.arguments.encode("utf-8", "replace"))
    return call.arguments


def _counts(usage: Usage) -> dict[str, int]:
    """The tokens as far as they are known; the API counts what came from a cache and went into it apart."""
    read, written = usage.cached_input_tokens, usage.cache_write_tokens
    given = usage.input_tokens
    told: dict[str, int | None] = {
        "input_tokens": None if given is None else max(0, given - (read or 0) - (written or 0)),
        "output_tokens": usage.output_tokens or 0,  # clients want a number
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "thinking_tokens": usage.reasoning_tokens,
    }
    return {name: count for name, count in told.items() if count is not None}
