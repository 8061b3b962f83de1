"""How OpenAI's APIs write down what a model says: the contract tests of `promptport.testing` for this provider.

Written from OpenAI's reference of the chat completion chunk object and of the Responses streaming events.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from promptport.client import LLMClient
from promptport.frames import FinishReason
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
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
from promptport_openai import chat_client

__all__ = ["ChatCompletionsContract"]

_EVERYTHING = ModelCapabilities.of(StreamedTools.DELTAS, Capability)
_WORDS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
}
_USAGE = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
}


def _event(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


class ChatCompletionsContract(ProviderContract):
    """Chat Completions through the OpenAI SDK."""

    model: ClassVar[LLModel] = LLModel("openai-chat", "test-model", _EVERYTHING)
    mutators: ClassVar[WireProtocol | None] = "openai-chat"
    floor: ClassVar[int] = 140

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """The provider's client for the server at ``base_url``."""
        return chat_client(base_url=f"{base_url}/v1", api_key="test-key", timeouts=timeouts)

    def encode(self, steps: Sequence[Step]) -> list[bytes] | None:
        """See `ProviderContract.encode`."""
        out = [self._chunk({"role": "assistant", "content": ""})]
        for step in steps:
            out += self._events(step)
        return out

    def _events(self, step: Step) -> list[bytes]:
        match step:
            case Say(text=text):
                return [self._chunk({"content": text})]
            case Think(text=text):
                return [self._chunk({"reasoning_content": text})]
            case Start(key=key, id=id, name=name):
                function = {"name": name, "arguments": ""}
                return [
                    self._chunk({"tool_calls": [{"index": key, "id": id, "type": "function", "function": function}]})
                ]
            case Arguments(key=key, text=text):
                return [self._chunk({"tool_calls": [{"index": key, "function": {"arguments": text}}]})]
            case Seal():
                return []
            case Finish(reason=reason):
                usage = _event({**_HEAD, "choices": [], "usage": _USAGE})
                return [self._chunk({}, _WORDS[reason]), usage, b"data: [DONE]\n\n"]
            case Fail(message=message, code=code):
                return [_event({"error": {"message": message, "code": code, "type": "error"}})]
            case Unknown():
                return [b'event: thread.weather\ndata: {"object":"thread.weather","sky":"blue"}\n\n']
            case Malformed():
                return [b'data: {"choices": [{"index": 0, "delta": {"content": \n\n']

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        return _event({**_HEAD, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]})

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        """See `ProviderContract.encode_complete`."""
        calls = [
            {
                "id": step.id,
                "type": "function",
                "function": {
                    "name": step.name,
                    "arguments": "".join([s.text for s in steps if isinstance(s, Arguments) and s.key == step.key]),
                },
            }
            for step in steps
            if isinstance(step, Start)
        ]
        message = {"role": "assistant", "content": "".join([s.text for s in steps if isinstance(s, Say)]) or None}
        reason = next(_WORDS[step.reason] for step in steps if isinstance(step, Finish))
        choice = {
            "index": 0,
            "message": {**message, **({"tool_calls": calls} if calls else {})},
            "finish_reason": reason,
        }
        return json.dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE}).encode()


_HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "test-model"}
