"""`ChatCompletionsContract`: the contract for servers that speak Chat Completions, whose wire is written here.

An adapter for one more of them gives a model and ``make_client``; where its server words things otherwise, it overrides
``head``, ``words`` or ``error``. Written from OpenAI's reference of the chat completion chunk object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from promptport.frames import FinishReason, Usage
from promptport.testing.contract import ProviderContract
from promptport.testing.recorded_bodies import AnyProtocol
from promptport.testing.steps import (
    Arguments,
    Blocked,
    Fail,
    Finish,
    Malformed,
    MalformedCall,
    Opaque,
    Say,
    Seal,
    Start,
    Step,
    Think,
    Unknown,
    Used,
)

__all__ = ["ChatCompletionsContract"]

_encode = msgspec.json.Encoder().encode


class ChatCompletionsContract(ProviderContract):
    """See the module.

    Attributes:
        head: the fields that every chunk carries.
        words: what the server calls each reason of an answer's end; a scenario that ends for another is skipped.
        opening: the first chunk's delta.
        unknown: an event that no version of the protocol known today has.
    """

    mutators: ClassVar[AnyProtocol | None] = "openai-chat"
    ways_to_end: ClassVar[int] = 2
    head: ClassVar[Mapping[str, Any]] = {"id": "chatcmpl-1", "created": 1, "model": "test-model"}
    words: ClassVar[Mapping[FinishReason, str]] = {
        FinishReason.STOP: "stop",
        FinishReason.LENGTH: "length",
        FinishReason.TOOL_CALLS: "tool_calls",
        FinishReason.CONTENT_FILTER: "content_filter",
    }
    opening: ClassVar[Mapping[str, Any]] = {"role": "assistant", "content": ""}
    unknown: ClassVar[bytes] = b'event: thread.weather\ndata: {"object":"thread.weather","sky":"blue"}\n\n'

    def error(self, fail: Fail) -> dict[str, Any]:
        """The payload of the event that reports an error."""
        return {"error": {"message": fail.message, "code": fail.code, "type": "error"}}

    def encode(self, steps: Sequence[Step]) -> list[bytes] | None:
        """See `ProviderContract.encode`."""
        if not self._can_say(steps):
            return None
        return [self._delta(self.opening), *[event for step in steps for event in self._events(step)]]

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        """See `ProviderContract.encode_complete`."""
        message: dict[str, Any] = {"role": "assistant", "content": _joined(steps, Say) or None}
        if thought := _joined(steps, Think):
            message["reasoning_content"] = thought
        if calls := [_call(step, steps) for step in steps if isinstance(step, Start)]:
            message["tool_calls"] = calls
        end = next((step for step in steps if isinstance(step, Finish)), None)
        if end is None or not self._can_say(steps):
            return None
        choice = {"index": 0, "message": message, "finish_reason": self.words[end.reason]}
        return _encode({**self.head, "object": "chat.completion", "choices": [choice], "usage": _counts(end.usage)})

    def _can_say(self, steps: Sequence[Step]) -> bool:
        """Nothing is signed, and a refused prompt has a status of HTTP."""
        if any(isinstance(step, Opaque | Blocked) for step in steps):
            return False
        return all(step.reason in self.words for step in steps if isinstance(step, Finish))

    def encode_models(self, ids: Sequence[str]) -> bytes | None:
        """See `ProviderContract.encode_models`."""
        listed = [{"id": name, "object": "model", "created": 1, "owned_by": "kit"} for name in ids]
        return _encode({"object": "list", "data": listed})

    def _events(self, step: Step) -> list[bytes]:
        match step:
            case Say(text=text):
                return [self._delta({"content": text})]
            case Think(text=text):
                return [self._delta({"reasoning_content": text})]
            case Start(key=key, id=id, name=name):
                function = {"name": name, "arguments": ""}
                return [self._call({"index": key, "id": id, "type": "function", "function": function})]
            case Arguments(key=key, text=text):
                return [self._call({"index": key, "function": {"arguments": text}})]
            case Seal():
                return []
            case Used(usage=usage):
                return [_event({**self._head, "choices": [], "usage": _counts(usage)})]
            case Finish(reason=reason, usage=usage, way=way):
                last = self._delta({}, self.words[reason])
                counted = _event({**self._head, "choices": [], "usage": _counts(usage)})
                # Recorded: some servers never send [DONE], and end with their bytes.
                return [last, counted] if way else [last, counted, b"data: [DONE]\n\n"]
            case MalformedCall(text=text):
                failed = self.error(Fail("Failed to call a function.", "tool_use_failed"))
                return [_event({**failed, "failed_generation": text})]
            case Opaque() | Blocked():
                return []
            case Fail():
                return [_event(self.error(step))]
            case Unknown():
                return [self.unknown]
            case Malformed():
                return [b'data: {"choices": [{"index": 0, "delta": {"content": \n\n']

    def _call(self, increment: dict[str, Any]) -> bytes:
        return self._delta({"tool_calls": [increment]})

    def _delta(self, delta: Mapping[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _event({**self._head, "choices": [choice]})

    @property
    def _head(self) -> dict[str, Any]:
        return {**self.head, "object": "chat.completion.chunk"}


def _event(payload: Any) -> bytes:
    return b"data: " + _encode(payload) + b"\n\n"


def _counts(usage: Usage) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": (usage.input_tokens or 0) + (usage.output_tokens or 0),
    }
    if usage.cached_input_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached_input_tokens}
    if usage.reasoning_tokens is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return counts


def _call(start: Start, steps: Sequence[Step]) -> dict[str, Any]:
    arguments = "".join([step.text for step in steps if isinstance(step, Arguments) and step.key == start.key])
    return {"id": start.id, "type": "function", "function": {"name": start.name, "arguments": arguments}}


def _joined(steps: Sequence[Step], kind: type[Say | Think]) -> str:
    return "".join([step.text for step in steps if isinstance(step, kind)])
