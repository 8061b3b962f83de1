"""How ConverseStream writes down what a model says: the contract tests of `promptport.testing` for this provider.

Written from the Bedrock runtime API reference.
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
    event_frame,
)
from promptport_bedrock import client

__all__ = ["ConverseContract", "frame"]

_WORDS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "content_filtered",
}
_SIGNATURE = "c2lnbmVk"


frame = event_frame


class ConverseContract(ProviderContract):
    """Converse and ConverseStream, signed."""

    model: ClassVar[LLModel] = LLModel("bedrock", "test-model")
    content_type: ClassVar[str] = "application/vnd.amazon.eventstream"
    mutators: ClassVar[AnyProtocol | None] = "eventstream"
    ways_to_end: ClassVar[int] = 2
    floor: ClassVar[int] = 150

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_client`."""
        return client(
            base_url=base_url,
            region="us-east-1",
            access_key="AKIDEXAMPLE",
            secret_key="test-key",  # noqa: S106
            timeouts=timeouts,
        )

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
        signature = _signature(steps)
        content: list[dict[str, Any]] = []
        for step in steps:
            if isinstance(step, Start):
                given = "".join([each.text for each in steps if isinstance(each, Arguments) and each.key == step.key])
                call = {"toolUseId": step.id, "name": step.name, "input": msgspec.Raw((given or "{}").encode())}
                content.append({"toolUse": call})
            elif isinstance(step, Say):
                if not content or "text" not in content[-1]:
                    content.append({"text": ""})
                content[-1]["text"] += step.text
            elif isinstance(step, Think):
                if not content or "reasoningContent" not in content[-1]:
                    content.append({"reasoningContent": {"reasoningText": {"text": "", "signature": signature}}})
                content[-1]["reasoningContent"]["reasoningText"]["text"] += step.text
        message = {"role": "assistant", "content": content}
        return msgspec.json.encode(
            {
                "output": {"message": message},
                "stopReason": _WORDS[end.reason],
                "usage": _counts(end.usage),
                "metrics": {"latencyMs": 1},
            }
        )

    def encode_models(self, ids: Sequence[str]) -> bytes | None:
        """See `ProviderContract.encode_models`."""
        listed = [{"modelId": name, "outputModalities": ["TEXT"], "inputModalities": ["TEXT"]} for name in ids]
        return msgspec.json.encode({"modelSummaries": listed})


def _can_say(steps: Sequence[Step]) -> bool:
    """Calls have no signatures, and nothing is counted before the end."""
    unsaid = any(isinstance(step, Used) or (isinstance(step, Opaque) and step.key is not None) for step in steps)
    return not unsaid and all(step.reason in _WORDS for step in steps if isinstance(step, Finish))


def _signature(steps: Sequence[Step]) -> str:
    return "".join([step.token for step in steps if isinstance(step, Opaque)]) or _SIGNATURE


def _counts(usage: Usage) -> dict[str, Any]:
    """What was read from the cache and written to it is counted apart from ``inputTokens``."""
    read, written = usage.cached_input_tokens, usage.cache_write_tokens
    given = (usage.input_tokens or 0) - (read or 0) - (written or 0)
    counts = {"inputTokens": given, "outputTokens": usage.output_tokens}
    counts |= {} if read is None else {"cacheReadInputTokens": read}
    return counts | ({} if written is None else {"cacheWriteInputTokens": written})


class _Events:
    """Writes one answer: messageStart, the content blocks one by one, messageStop, metadata."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self._blocks = 0
        self._signature = _SIGNATURE
        self._open = ""  # "text" or "reasoning": the block under way
        self._calls: dict[int, int] = {}  # key → index of its block
        self._emit("messageStart", role="assistant")

    def write(self, step: Step) -> None:
        match step:
            case Say(text=text):
                self._increment("text", {"text": text})
            case Think(text=text):
                self._increment("reasoning", {"reasoningContent": {"text": text}})
            case Start(key=key, id=id, name=name):
                self._close()
                self._calls[key] = self._blocks
                self._blocks += 1
                start = {"toolUse": {"toolUseId": id, "name": name}}
                self._emit("contentBlockStart", contentBlockIndex=self._calls[key], start=start)
            case Arguments(key=key, text=text):
                self._delta(self._calls[key], {"toolUse": {"input": text}})
            case Seal(key=key):
                self._emit("contentBlockStop", contentBlockIndex=self._calls.pop(key))
            case Opaque(token=token):
                self._signature = token
            case Finish():
                self._finish(step)
            case Blocked() | MalformedCall():
                reason = "guardrail_intervened" if isinstance(step, Blocked) else "malformed_tool_use"
                self._emit("messageStop", stopReason=reason)
            case Fail(message=message, code=code):
                body = msgspec.json.encode({"message": message})
                self.events.append(frame(body, exception_type=code, message_type="exception"))
            case Unknown():
                self._emit("weather", sky="blue")
            case Malformed():
                self.events.append(
                    frame(b'{"contentBlockIndex":', event_type="contentBlockDelta", message_type="event")
                )

    def _finish(self, finish: Finish) -> None:
        self._close()
        counted = {"usage": _counts(finish.usage), "metrics": {"latencyMs": 1}}
        if finish.way:  # the counts came first
            self._emit("metadata", **counted)
        self._emit("messageStop", stopReason=_WORDS[finish.reason])
        if not finish.way:
            self._emit("metadata", **counted)

    def _emit(self, type: str, **fields: Any) -> None:
        payload = msgspec.json.encode({**fields, "p": "abcdefghij"[: 1 + len(self.events) % 10]})
        self.events.append(frame(payload, event_type=type, content_type="application/json", message_type="event"))

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        self._emit("contentBlockDelta", contentBlockIndex=index, delta=delta)

    def _increment(self, kind: str, delta: dict[str, Any]) -> None:
        if self._open != kind:
            self._close()
            self._open = kind
            self._blocks += 1
        self._delta(self._blocks - 1, delta)

    def _close(self) -> None:
        """Ends the text or reasoning block under way, which is the last that began."""
        if self._open == "reasoning":
            self._delta(self._blocks - 1, {"reasoningContent": {"signature": self._signature}})
        if self._open:
            self._emit("contentBlockStop", contentBlockIndex=self._blocks - 1)
            self._open = ""
