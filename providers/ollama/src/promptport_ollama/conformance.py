"""How ``/api/chat`` writes down what a model says: the contract tests of `promptport.testing` for this provider.

Written from https://docs.ollama.com/api/chat and /api/errors. A call comes whole: what is half of one, the protocol
cannot say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from promptport.provider import FinishReason, LLMClient, LLModel, Timeouts, Usage
from promptport.testing import (
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
    WholeCall,
    WireProtocol,
    whole_calls,
)
from promptport_ollama import client

__all__ = ["ChatContract"]

_WORDS = {FinishReason.STOP: "stop", FinishReason.LENGTH: "length", FinishReason.TOOL_CALLS: "stop"}
_HEAD = {"model": "test-model", "created_at": "2026-01-01T00:00:00Z"}


class ChatContract(ProviderContract):
    """Ollama's own API, as servers before 0.12.10 speak it: without ids for calls."""

    model: ClassVar[LLModel] = LLModel("ollama", "test-model")
    content_type: ClassVar[str] = "application/x-ndjson"
    sends_call_ids: ClassVar[bool] = False
    mutators: ClassVar[WireProtocol | None] = "ollama-chat"
    floor: ClassVar[int] = 140

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_client`."""
        return client(base_url=base_url, api_key="test-key", timeouts=timeouts)

    key_variables: ClassVar[tuple[str, ...]] = ("OLLAMA_API_KEY",)

    def make_keyless_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_keyless_client`."""
        return client(base_url=base_url, timeouts=timeouts)

    def encode(self, steps: Sequence[Step]) -> list[bytes] | None:
        """See `ProviderContract.encode`."""
        calls = whole_calls(steps)
        if calls is None or not _has_words(steps):
            return None
        return [line + b"\n" for step in steps for line in self._lines(step, calls)]

    def _lines(self, step: Step, calls: Mapping[int, WholeCall]) -> list[bytes]:
        match step:
            case Say(text=text):
                return [_line(_message(text))]
            case Think(text=text):
                return [_line({**_message(""), "thinking": text})]
            case Start() | Arguments() | Opaque() | Used() | Blocked() | MalformedCall():
                return []
            case Seal(key=key):
                return [_line({**_message(""), "tool_calls": [self._call(calls[key])]})]
            case Finish(reason=reason, usage=usage):
                return [_line(_message(""), done=True, done_reason=_WORDS[reason], **_counts(usage))]
            case Fail(message=message):
                return [msgspec.json.encode({"error": message})]
            case Unknown():
                return [b'{"weather":{"sky":"blue"}}']
            case Malformed():
                return [b'{"model":"test-model","message":{"role":"assistant","content":']

    def _call(self, call: WholeCall) -> dict[str, Any]:
        written = {"function": {"name": call.name, "arguments": call.raw}}
        return {"id": call.id, **written} if self.sends_call_ids else written

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        """See `ProviderContract.encode_complete`."""
        calls = whole_calls(steps)
        if calls is None or not _has_words(steps) or _speaks_after_a_call(steps):
            return None  # one message has its text in front of its calls
        message: dict[str, Any] = _message("".join([step.text for step in steps if isinstance(step, Say)]))
        if thought := "".join([step.text for step in steps if isinstance(step, Think)]):
            message["thinking"] = thought
        if calls:
            message["tool_calls"] = [self._call(call) for call in calls.values()]
        end = next(step for step in steps if isinstance(step, Finish))
        return _line(message, done=True, done_reason=_WORDS[end.reason], **_counts(end.usage))

    def encode_models(self, ids: Sequence[str]) -> bytes | None:
        """See `ProviderContract.encode_models`."""
        return msgspec.json.encode({"models": [{"name": name, "model": name, "size": 1} for name in ids]})


def _has_words(steps: Sequence[Step]) -> bool:
    """Whether the protocol has a word for all of these steps."""
    if any(isinstance(step, Opaque | Used | Blocked | MalformedCall) for step in steps):
        return False
    return all(step.reason in _WORDS for step in steps if isinstance(step, Finish))


def _counts(usage: Usage) -> dict[str, Any]:
    counts = {"total_duration": 1, "prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}
    cached = usage.cached_input_tokens
    return counts if cached is None else {**counts, "prompt_eval_cached_count": cached}


def _speaks_after_a_call(steps: Sequence[Step]) -> bool:
    kinds = [type(step) for step in steps]
    return Seal in kinds and any(kind in (Say, Think) for kind in kinds[kinds.index(Seal) :])


def _message(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def _line(message: dict[str, Any], *, done: bool = False, **fields: Any) -> bytes:
    return msgspec.json.encode({**_HEAD, "message": message, "done": done, **fields})
