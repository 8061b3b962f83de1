"""How Gemini writes down what a model says: the contract tests of `promptport.testing` for both of its APIs.

Written from https://ai.google.dev/api/generate-content. A call comes whole: what is half of one, the protocol cannot
say, but for Vertex AI where it streams the arguments. No event is the terminal: a stream that says why it ended, and
then ends, is whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

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
    WholeCall,
    whole_calls,
)
from promptport_google import client, vertex_client

__all__ = ["GeminiContract", "VertexContract"]

_WORDS = {
    FinishReason.STOP: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.TOOL_CALLS: "STOP",
    FinishReason.CONTENT_FILTER: "SAFETY",
    FinishReason.PAUSED: "CONTINUATION",
    FinishReason.OTHER: "MALFORMED_RESPONSE",
}
_HEAD = {"modelVersion": "test-model", "responseId": "id-1"}


class GeminiContract(ProviderContract):
    """The Gemini Developer API."""

    model: ClassVar[LLModel] = LLModel("google", "test-model")
    mutators: ClassVar[AnyProtocol | None] = "sse"
    ends_by: ClassVar[Literal["event", "bytes"]] = "bytes"
    ways_to_end: ClassVar[int] = 2
    floor: ClassVar[int] = 140
    _ids: ClassVar[bool] = True

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_client`."""
        return client(base_url=base_url, api_key="test-key", timeouts=timeouts)

    key_variables: ClassVar[tuple[str, ...]] = ("GEMINI_API_KEY", "GOOGLE_API_KEY")

    def make_keyless_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_keyless_client`."""
        return client(base_url=base_url, timeouts=timeouts)

    def encode(self, steps: Sequence[Step]) -> list[bytes] | None:
        """See `ProviderContract.encode`."""
        calls = whole_calls(steps)
        if calls is None:
            return None
        return [b"data: %b\r\n\r\n" % event for step in steps for event in self._events(step, calls)]

    def _events(self, step: Step, calls: Mapping[int, WholeCall]) -> list[bytes]:
        match step:
            case Say(text=text):
                return [_response([{"text": text}])]
            case Think(text=text):
                return [_response([{"text": text, "thought": True}])]
            case Start() | Arguments():
                return []
            case Opaque(key=key, token=token):  # a call has its own in its part
                return [_response([{"text": "", "thought": True, "thoughtSignature": token}])] if key is None else []
            case Seal(key=key):
                return [_response([self._call(calls[key])])]
            case Used(usage=usage):
                return [_response([], usage=usage)]
            case Finish(reason=reason, usage=usage, way=way):
                # Recorded: a last response with an empty text, or with no part at all.
                return [_response([{"text": ""}] if not way else [], _WORDS[reason], usage)]
            case Blocked(reason=reason):
                return [msgspec.json.encode({"promptFeedback": {"blockReason": reason.upper()}, **_HEAD})]
            case MalformedCall(text=text):
                malformed = f"Malformed function call: {text}"
                return [_response([], "MALFORMED_FUNCTION_CALL", finishMessage=malformed)]
            case Fail(message=message, code=code):
                return [msgspec.json.encode({"error": {"code": 503, "message": message, "status": code}})]
            case Unknown():
                return [b'{"weather":{"sky":"blue"}}']
            case Malformed():
                return [b'{"candidates":[{"content":{"parts":[']

    def _call(self, call: WholeCall) -> dict[str, Any]:
        written = {"name": call.name, "args": call.raw}
        part: dict[str, Any] = {"functionCall": {"id": call.id, **written} if self._ids else written}
        return {**part, "thoughtSignature": call.opaque} if call.opaque else part

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        """See `ProviderContract.encode_complete`."""
        calls = whole_calls(steps)
        if calls is None:
            return None
        parts: list[dict[str, Any]] = []
        for step in steps:
            if isinstance(step, Say):
                parts.append({"text": step.text})
            elif isinstance(step, Think):
                parts.append({"text": step.text, "thought": True})
            elif isinstance(step, Opaque) and step.key is None:
                parts.append({"text": "", "thought": True, "thoughtSignature": step.token})
            elif isinstance(step, Seal):
                parts.append(self._call(calls[step.key]))
        end = next((step for step in steps if isinstance(step, Finish)), None)
        return None if end is None else _response(parts, _WORDS[end.reason], end.usage)

    def encode_models(self, ids: Sequence[str]) -> bytes | None:
        """See `ProviderContract.encode_models`."""
        return msgspec.json.encode({"models": [{"name": f"models/{name}", "inputTokenLimit": 1} for name in ids]})


class VertexContract(GeminiContract):
    """Gemini on Vertex AI, which has no ids for calls."""

    model: ClassVar[LLModel] = LLModel("google-vertex", "test-model")
    sends_call_ids: ClassVar[bool] = False
    _ids: ClassVar[bool] = False

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_client`."""
        return vertex_client(base_url=base_url, api_key="test-key", timeouts=timeouts)

    def make_keyless_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_keyless_client`."""
        return vertex_client(base_url=base_url, project="kit", location="global", timeouts=timeouts)

    def encode_models(self, ids: Sequence[str]) -> bytes | None:
        """See `ProviderContract.encode_models`."""
        names = [{"name": f"publishers/google/models/{name}"} for name in ids]
        return msgspec.json.encode({"publisherModels": names})


def _response(
    parts: list[dict[str, Any]], reason: str | None = None, usage: Usage | None = None, **fields: Any
) -> bytes:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0, **fields}
    if reason is not None:
        candidate["finishReason"] = reason
    counted = {} if usage is None else {"usageMetadata": _counts(usage)}
    return msgspec.json.encode({"candidates": [candidate], **counted, **_HEAD})


def _counts(usage: Usage) -> dict[str, Any]:
    """Thoughts are counted apart from the rest of what the model wrote."""
    thoughts = usage.reasoning_tokens or 0
    counts = {"promptTokenCount": usage.input_tokens, "candidatesTokenCount": (usage.output_tokens or 0) - thoughts}
    if usage.reasoning_tokens is not None:
        counts["thoughtsTokenCount"] = thoughts
    if usage.cached_input_tokens is not None:
        counts["cachedContentTokenCount"] = usage.cached_input_tokens
    return counts
