"""How Cohere's chat API writes down what a model says: the contract tests of `promptport.testing` for this provider.

Written from https://docs.cohere.com/v2/docs/streaming and the reference of the chat API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from promptport.provider import FinishReason, LLMClient, LLModel, Timeouts, Usage
from promptport.testing import (
    AnyProtocol,
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
)
from promptport_cohere import client

__all__ = ["ChatContract"]

_WORDS = {FinishReason.STOP: "COMPLETE", FinishReason.LENGTH: "MAX_TOKENS", FinishReason.TOOL_CALLS: "TOOL_CALL"}
_EMPTY = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}


class ChatContract(ProviderContract):
    """Cohere's chat API, version 2."""

    model: ClassVar[LLModel] = LLModel("cohere", "test-model")
    mutators: ClassVar[AnyProtocol | None] = "sse"
    ways_to_end: ClassVar[int] = 2
    floor: ClassVar[int] = 130

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_client`."""
        return client(base_url=base_url, api_key="test-key", timeouts=timeouts)

    key_variables: ClassVar[tuple[str, ...]] = ("CO_API_KEY", "COHERE_API_KEY")

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
        kinds = [type(step) for step in steps]
        if Seal in kinds and any(kind in (Say, Think) for kind in kinds[kinds.index(Seal) :]):
            return None  # one message has its text in front of its calls
        content: list[dict[str, Any]] = []
        for step in steps:
            if isinstance(step, Say | Think):
                kind = "text" if isinstance(step, Say) else "thinking"
                if not content or content[-1]["type"] != kind:
                    content.append({"type": kind, kind: ""})
                content[-1][kind] += step.text
        calls = [_call(step, _arguments(step.key, steps) or "null") for step in steps if isinstance(step, Start)]
        end = next((step for step in steps if isinstance(step, Finish)), None)
        if end is None or not _can_say(steps):
            return None
        message = {"role": "assistant", "content": content, "tool_calls": calls}
        return msgspec.json.encode(
            {"id": "id-1", "finish_reason": _WORDS[end.reason], "message": message, "usage": _counts(end.usage)}
        )

    def encode_models(self, ids: Sequence[str]) -> bytes | None:
        """See `ProviderContract.encode_models`."""
        return msgspec.json.encode({"models": [{"name": name, "endpoints": ["chat"]} for name in ids]})


def _can_say(steps: Sequence[Step]) -> bool:
    """Nothing is signed, and nothing is counted before the end."""
    if any(isinstance(step, Opaque | Used | Blocked | MalformedCall) for step in steps):
        return False
    return all(step.reason in _WORDS for step in steps if isinstance(step, Finish))


def _counts(usage: Usage) -> dict[str, Any]:
    tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    tokens |= {} if usage.reasoning_tokens is None else {"reasoning_tokens": usage.reasoning_tokens}
    cached = {} if usage.cached_input_tokens is None else {"cached_tokens": usage.cached_input_tokens}
    return {"billed_units": {"input_tokens": 1, "output_tokens": 2}, "tokens": tokens, **cached}


def _call(start: Start, arguments: str) -> dict[str, Any]:
    return {"id": start.id, "type": "function", "function": {"name": start.name, "arguments": arguments}}


def _arguments(key: int, steps: Sequence[Step]) -> str:
    return "".join([step.text for step in steps if isinstance(step, Arguments) and step.key == key])


class _Events:
    """Writes one answer: message-start, content blocks and calls, message-end; not the [DONE] behind it."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self._open = ""  # the type of the content block under way
        self._blocks = 0
        self._emit("message-start", id="id-1", delta={"message": _EMPTY})

    def write(self, step: Step) -> None:
        match step:
            case Say(text=text):
                self._increment("text", text)
            case Think(text=text):
                self._increment("thinking", text)
            case Start(key=key):
                self._close()
                self._emit("tool-call-start", index=key, delta={"message": {"tool_calls": _call(step, "")}})
            case Arguments(key=key, text=text):
                call = {"function": {"arguments": text}}
                self._emit("tool-call-delta", index=key, delta={"message": {"tool_calls": call}})
            case Seal(key=key):
                self._emit("tool-call-end", index=key)
            case Finish(reason=reason, usage=usage, way=way):
                self._close()
                self._emit("message-end", delta={"finish_reason": _WORDS[reason], "usage": _counts(usage)})
                if way:
                    self.events.append(b"data: [DONE]\n\n")
            case Opaque() | Used() | Blocked() | MalformedCall():
                pass
            case Fail(message=message):
                self._emit("message-end", delta={"finish_reason": "ERROR", "error": message})
            case Unknown():
                self._emit("weather", sky="blue")
            case Malformed():
                self.events.append(b'event: content-delta\ndata: {"type":"content-delta","index":\n\n')

    def _emit(self, type: str, **fields: Any) -> None:
        data = msgspec.json.encode({"type": type, **fields})
        self.events.append(b"event: %b\ndata: %b\n\n" % (type.encode(), data))

    def _increment(self, kind: str, text: str) -> None:
        if self._open != kind:
            self._close()
            self._open = kind
            self._emit("content-start", index=self._blocks, delta={"message": {"content": {"type": kind, kind: ""}}})
        self._emit("content-delta", index=self._blocks, delta={"message": {"content": {kind: text}}})

    def _close(self) -> None:
        if self._open:
            self._emit("content-end", index=self._blocks)
            self._blocks += 1
            self._open = ""
