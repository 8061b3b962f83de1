"""How Gemini writes down what a model says: the contract tests of `promptport.testing` for both of its APIs.

Written from https://ai.google.dev/api/generate-content. A call comes whole: what is half of one, the protocol cannot
say, but for Vertex AI where it streams the arguments. No event is the terminal: a stream that says why it ended, and
then ends, is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from promptport.provider import FinishReason, LLMClient, LLModel, Timeouts, parse_arguments
from promptport.testing import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    AnyProtocol,
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
_USAGE = {"promptTokenCount": INPUT_TOKENS, "candidatesTokenCount": OUTPUT_TOKENS - 3, "thoughtsTokenCount": 3}


class GeminiContract(ProviderContract):
    """The Gemini Developer API."""

    model: ClassVar[LLModel] = LLModel("google", "test-model")
    mutators: ClassVar[AnyProtocol | None] = "sse"
    ends_with_its_bytes: ClassVar[bool] = True
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
        if not _can_say(steps):
            return None
        return [b"data: %b\r\n\r\n" % event for step in steps for event in self._events(step, steps)]

    def _events(self, step: Step, steps: Sequence[Step]) -> list[bytes]:
        match step:
            case Say(text=text):
                return [_response([{"text": text}])]
            case Think(text=text):
                return [_response([{"text": text, "thought": True}])]
            case Start() | Arguments():
                return []
            case Seal(key=key):
                return [_response([self._call(key, steps)])]
            case Finish(reason=reason):
                return [_response([{"text": ""}], _WORDS[reason])]
            case Fail(message=message, code=code):
                return [msgspec.json.encode({"error": {"code": 503, "message": message, "status": code}})]
            case Unknown():
                return [b'{"weather":{"sky":"blue"}}']
            case Malformed():
                return [b'{"candidates":[{"content":{"parts":[']

    def _call(self, key: int, steps: Sequence[Step]) -> dict[str, Any]:
        start = next(step for step in steps if isinstance(step, Start) and step.key == key)
        # Raw: the arguments are JSON inside JSON. A line end in them would end the line.
        arguments = msgspec.Raw(_arguments(key, steps).replace("\n", " ").encode())
        call = {"name": start.name, "args": arguments}
        return {"functionCall": {"id": start.id, **call} if self._ids else call}

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        """See `ProviderContract.encode_complete`."""
        parts: list[dict[str, Any]] = []
        for step in steps:
            if isinstance(step, Say):
                parts.append({"text": step.text})
            elif isinstance(step, Think):
                parts.append({"text": step.text, "thought": True})
            elif isinstance(step, Seal):
                parts.append(self._call(step.key, steps))
        return _response(parts, next(_WORDS[step.reason] for step in steps if isinstance(step, Finish)))

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


def _can_say(steps: Sequence[Step]) -> bool:
    """Whether every call is whole when the next thing comes, and its arguments are an object."""
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
        elif isinstance(step, Finish | Fail) and open_call is not None:
            return False
    return True


def _arguments(key: int, steps: Sequence[Step]) -> str:
    return "".join([step.text for step in steps if isinstance(step, Arguments) and step.key == key]) or "{}"


def _response(parts: list[dict[str, Any]], reason: str | None = None) -> bytes:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if reason is None:
        return msgspec.json.encode({"candidates": [candidate], **_HEAD})
    candidate["finishReason"] = reason
    return msgspec.json.encode({"candidates": [candidate], "usageMetadata": _USAGE, **_HEAD})
