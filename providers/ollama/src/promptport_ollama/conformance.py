"""How ``/api/chat`` writes down what a model says: the contract tests of `promptport.testing` for this provider.

Written from https://docs.ollama.com/api/chat and /api/errors. A call comes whole: what is half of one, the protocol
cannot say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from promptport.provider import FinishReason, LLMClient, LLModel, Timeouts, parse_arguments
from promptport.testing import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Arguments,
    Fail,
    Finish,
    Malformed,
    ProviderContract,
    Say,
    Seal,
    Start,
    Step,
    Think,
    Unknown,
    WireProtocol,
)
from promptport_ollama import client

__all__ = ["ChatContract"]

_WORDS = {FinishReason.STOP: "stop", FinishReason.LENGTH: "length", FinishReason.TOOL_CALLS: "stop"}
_HEAD = {"model": "test-model", "created_at": "2026-01-01T00:00:00Z"}
_COUNTS = {"total_duration": 1, "prompt_eval_count": INPUT_TOKENS, "eval_count": OUTPUT_TOKENS}


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
        if not _can_say(steps):
            return None
        return [line + b"\n" for step in steps for line in self._lines(step, steps)]

    def _lines(self, step: Step, steps: Sequence[Step]) -> list[bytes]:
        match step:
            case Say(text=text):
                return [_line(_message(text))]
            case Think(text=text):
                return [_line({**_message(""), "thinking": text})]
            case Start() | Arguments():
                return []
            case Seal(key=key):
                return [_line({**_message(""), "tool_calls": [self._call(key, steps)]})]
            case Finish(reason=reason):
                return [_line(_message(""), done=True, done_reason=_WORDS[reason], **_COUNTS)]
            case Fail(message=message):
                return [msgspec.json.encode({"error": message})]
            case Unknown():
                return [b'{"weather":{"sky":"blue"}}']
            case Malformed():
                return [b'{"model":"test-model","message":{"role":"assistant","content":']

    def _call(self, key: int, steps: Sequence[Step]) -> dict[str, Any]:
        start = next(step for step in steps if isinstance(step, Start) and step.key == key)
        # Raw: the arguments are JSON inside JSON. A line end in them would end the line.
        arguments = msgspec.Raw(_arguments(key, steps).replace("\n", " ").encode())
        call = {"function": {"name": start.name, "arguments": arguments}}
        return {"id": start.id, **call} if self.sends_call_ids else call

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        """See `ProviderContract.encode_complete`."""
        if _speaks_after_a_call(steps):
            return None  # one message has its text in front of its calls
        message: dict[str, Any] = _message("".join([step.text for step in steps if isinstance(step, Say)]))
        if thought := "".join([step.text for step in steps if isinstance(step, Think)]):
            message["thinking"] = thought
        if calls := [self._call(step.key, steps) for step in steps if isinstance(step, Seal)]:
            message["tool_calls"] = calls
        reason = next(_WORDS[step.reason] for step in steps if isinstance(step, Finish))
        return _line(message, done=True, done_reason=reason, **_COUNTS)

    def encode_models(self, ids: Sequence[str]) -> bytes | None:
        """See `ProviderContract.encode_models`."""
        return msgspec.json.encode({"models": [{"name": name, "model": name, "size": 1} for name in ids]})


def _can_say(steps: Sequence[Step]) -> bool:
    """Whether every call is whole when the next thing comes, its arguments an object, and the reason has a word."""
    open_call: int | None = None
    for step in steps:
        if isinstance(step, Start):
            if open_call is not None:
                return False
            open_call = step.key
        elif isinstance(step, Seal):
            open_call = None
            try:
                parse_arguments(_arguments(step.key, steps))
            except ValueError:
                return False
        elif isinstance(step, Finish | Fail) and (
            open_call is not None or (isinstance(step, Finish) and step.reason not in _WORDS)
        ):
            return False
    return True


def _speaks_after_a_call(steps: Sequence[Step]) -> bool:
    kinds = [type(step) for step in steps]
    return Seal in kinds and any(kind in (Say, Think) for kind in kinds[kinds.index(Seal) :])


def _arguments(key: int, steps: Sequence[Step]) -> str:
    return "".join([step.text for step in steps if isinstance(step, Arguments) and step.key == key]) or "{}"


def _message(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def _line(message: dict[str, Any], *, done: bool = False, **fields: Any) -> bytes:
    return msgspec.json.encode({**_HEAD, "message": message, "done": done, **fields})
