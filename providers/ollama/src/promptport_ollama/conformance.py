"""How Ollama's ``/api/chat`` writes down what a model says: the contract tests of `promptport.testing` for it.

Written from https://docs.ollama.com/api/chat, /capabilities/tool-calling and /api/errors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from promptport.client import LLMClient
from promptport.frames import FinishReason
from promptport.models import LLModel
from promptport.stream import Timeouts
from promptport.testing.contract import ProviderContract
from promptport.testing.steps import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Arguments,
    Fail,
    Finish,
    Malformed,
    Say,
    Seal,
    Start,
    Step,
    Think,
    Unknown,
)
from promptport.testing.wires import WireProtocol
from promptport_ollama import client

__all__ = ["OllamaContract"]

_HEAD = {"model": "test-model", "created_at": "2026-11-21T20:28:00.000000Z"}
_COUNTS = {"prompt_eval_count": INPUT_TOKENS, "eval_count": OUTPUT_TOKENS, "total_duration": 1}


class OllamaContract(ProviderContract):
    """Ollama's native API."""

    model: ClassVar[LLModel] = LLModel("ollama", "test-model")
    content_type: ClassVar[str] = "application/x-ndjson"
    mutators: ClassVar[WireProtocol | None] = "ollama-chat"
    floor: ClassVar[int] = 120

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """The provider's client for the server at ``base_url``."""
        return client(base_url=base_url, timeouts=timeouts)

    def encode(self, steps: Sequence[Step]) -> list[bytes] | None:
        """See `ProviderContract.encode`."""
        sealed = {step.key for step in steps if isinstance(step, Seal)}
        if any(isinstance(step, Start) and step.key not in sealed for step in steps):
            return None  # calls come whole: a call that is cut is not there at all
        return [line for step in steps if (line := self._line(step, steps))]

    def _line(self, step: Step, steps: Sequence[Step]) -> bytes:
        match step:
            case Say(text=text):
                return _said({"content": text})
            case Think(text=text):
                return _said({"content": "", "thinking": text})
            case Start():
                return _said({"content": "", "tool_calls": [_call(step, steps)]})
            case Finish(reason=reason):
                return _said({"content": ""}, done=True, done_reason=_word(reason), **_COUNTS)
            case Fail(message=message, code=code):
                return json.dumps({"error": {"message": message, "code": code}}).encode() + b"\n"
            case Unknown():
                return b'{"status":"warming up"}\n'
            case Malformed():
                return b'{"model":"test-model","message":{"role":"assistant","content":\n'
        return b""

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        """See `ProviderContract.encode_complete`."""
        calls = [_call(step, steps) for step in steps if isinstance(step, Start)]
        text = "".join([step.text for step in steps if isinstance(step, Say)])
        reason = next(step.reason for step in steps if isinstance(step, Finish))
        message = {"content": text, **({"tool_calls": calls} if calls else {})}
        return _said(message, done=True, done_reason=_word(reason), **_COUNTS)


def _said(message: dict[str, Any], **fields: Any) -> bytes:
    body = {**_HEAD, "message": {"role": "assistant", **message}, "done": False, **fields}
    return json.dumps(body, ensure_ascii=False).encode() + b"\n"


def _call(start: Start, steps: Sequence[Step]) -> dict[str, Any]:
    text = "".join([step.text for step in steps if isinstance(step, Arguments) and step.key == start.key])
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        arguments = text  # as servers do that pass on what they could not read
    return {"id": start.id, "function": {"index": start.key, "name": start.name, "arguments": arguments}}


def _word(reason: FinishReason) -> str:
    return "length" if reason is FinishReason.LENGTH else "stop"
