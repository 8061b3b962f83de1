"""How the Messages API writes down what a model says: the contract tests of `promptport.testing` for this provider.

Written from Anthropic's pages on streaming messages, stop reasons and extended thinking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from promptport.provider import FinishReason, LLMClient, LLModel, Timeouts, Usage
from promptport.testing import (
    INPUT_TOKENS,
    Arguments,
    Blocked,
    Fail,
    Finish,
    Malformed,
    MalformedCall,
    Opaque,
    ProviderContract,
    Say,
    Seal,
    Start,
    Step,
    Think,
    Unknown,
    Used,
    WireProtocol,
)
from promptport_anthropic import client

__all__ = ["MessagesContract"]

_WORDS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.PAUSED: "pause_turn",
}
_HEAD: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "test-model",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1},
}
_SIGNATURE = "c2lnbmVk"


class MessagesContract(ProviderContract):
    """The Messages API through the Anthropic SDK."""

    model: ClassVar[LLModel] = LLModel("anthropic", "test-model")
    mutators: ClassVar[WireProtocol | None] = "anthropic"
    floor: ClassVar[int] = 170

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_client`."""
        return client(base_url=base_url, api_key="test-key", timeouts=timeouts)

    key_variables: ClassVar[tuple[str, ...]] = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")

    def make_keyless_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_keyless_client`."""
        return client(base_url=base_url, timeouts=timeouts)

    def encode(self, steps: Sequence[Step]) -> list[bytes] | None:
        """See `ProviderContract.encode`."""
        if not _can_say(steps):
            return None
        writer = _Events()
        for step in steps:
            writer.write(step)
        return writer.events

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        """See `ProviderContract.encode_complete`."""
        end = next((step for step in steps if isinstance(step, Finish)), None)
        if end is None or not _can_say(steps):
            return None
        signature = "".join([step.token for step in steps if isinstance(step, Opaque)]) or _SIGNATURE
        content: list[dict[str, Any]] = []
        for step in steps:
            if isinstance(step, Start):
                given = "".join([each.text for each in steps if isinstance(each, Arguments) and each.key == step.key])
                content.append(_tool_use(step, given))
            elif isinstance(step, Say | Think):
                kind, field = ("text", "text") if isinstance(step, Say) else ("thinking", "thinking")
                if not content or content[-1]["type"] != kind:
                    content.append({"type": kind, field: "", **({} if kind == "text" else {"signature": signature})})
                content[-1][field] += step.text
        return msgspec.json.encode(
            {**_HEAD, "content": content, "stop_reason": _WORDS[end.reason], "usage": _counts(end.usage)}
        )

    def encode_models(self, ids: Sequence[str]) -> bytes | None:
        """See `ProviderContract.encode_models`."""
        listed = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in ids
        ]
        return msgspec.json.encode({"data": listed, "has_more": False, "first_id": ids[0], "last_id": ids[-1]})


def _can_say(steps: Sequence[Step]) -> bool:
    """Calls have no signatures; a prompt that is refused, and a call that is none, have no events."""
    unsaid = (isinstance(step, Blocked | MalformedCall) for step in steps)
    return not any(unsaid) and all(step.key is None for step in steps if isinstance(step, Opaque))


def _counts(usage: Usage) -> dict[str, Any]:
    """What was read from the cache and written to it is counted apart from ``input_tokens``."""
    read, written = usage.cached_input_tokens, usage.cache_write_tokens
    given = (usage.input_tokens or 0) - (read or 0) - (written or 0)
    counts: dict[str, Any] = {"input_tokens": given, "output_tokens": usage.output_tokens}
    counts |= {} if read is None else {"cache_read_input_tokens": read}
    counts |= {} if written is None else {"cache_creation_input_tokens": written}
    thoughts = usage.reasoning_tokens
    return counts | ({} if thoughts is None else {"output_tokens_details": {"thinking_tokens": thoughts}})


def _tool_use(start: Start, arguments: str = "") -> dict[str, Any]:
    # Raw: the input is JSON inside JSON, and stays as the model wrote it.
    given = msgspec.Raw((arguments or "{}").encode())
    return {"type": "tool_use", "id": start.id, "name": start.name, "input": given}


class _Events:
    """Writes one answer: message_start, the content blocks one by one, message_delta, message_stop."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self._blocks = 0
        self._signature = _SIGNATURE
        self._open = ""  # the type of the text or thinking block under way
        self._calls: dict[int, int] = {}  # key → index of its block
        self._emit("message_start", message=_HEAD)

    def write(self, step: Step) -> None:
        match step:
            case Say(text=text):
                self._increment("text", {"type": "text_delta", "text": text})
            case Think(text=text):
                self._increment("thinking", {"type": "thinking_delta", "thinking": text})
            case Start(key=key):
                self._close()
                self._calls[key] = self._start(_tool_use(step))
            case Arguments(key=key, text=text):
                self._delta(self._calls[key], {"type": "input_json_delta", "partial_json": text})
            case Seal(key=key):
                self._emit("content_block_stop", index=self._calls.pop(key))
            case Opaque(token=token):
                self._signature = token
            case Used(usage=usage):  # as servers send it that count on their way; the counts are cumulative
                self._emit("message_delta", delta={"stop_reason": None}, usage=_counts(usage))
            case Finish(reason=reason, usage=usage):
                self._close()
                stop = {"stop_reason": _WORDS[reason], "stop_sequence": None}
                self._emit("message_delta", delta=stop, usage=_counts(usage))
                self._emit("message_stop")
            case Blocked() | MalformedCall():
                pass
            case Fail(message=message, code=code):
                self._emit("error", error={"type": code, "message": message})
            case Unknown():
                self._emit("weather", sky="blue")
            case Malformed():
                self.events.append(b'event: content_block_delta\ndata: {"type":"content_block_delta","index":\n\n')

    def _emit(self, type: str, **fields: Any) -> None:
        data = msgspec.json.encode({"type": type, **fields})
        self.events.append(b"event: %b\ndata: %b\n\n" % (type.encode(), data))

    def _start(self, block: dict[str, Any]) -> int:
        self._blocks += 1
        self._emit("content_block_start", index=self._blocks - 1, content_block=block)
        return self._blocks - 1

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        self._emit("content_block_delta", index=index, delta=delta)

    def _increment(self, kind: str, delta: dict[str, Any]) -> None:
        if self._open != kind:
            self._close()
            self._open = kind
            block = {"type": kind, kind: ""}
            self._start(block if kind == "text" else {**block, "signature": ""})
        self._delta(self._blocks - 1, delta)

    def _close(self) -> None:
        """Ends the text or thinking block under way, which is the last that began."""
        if self._open == "thinking":
            self._delta(self._blocks - 1, {"type": "signature_delta", "signature": self._signature})
        if self._open:
            self._emit("content_block_stop", index=self._blocks - 1)
            self._open = ""
