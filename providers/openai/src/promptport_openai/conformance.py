"""How OpenAI's APIs write down what a model says: the contract tests of `promptport.testing` for this provider.

Written from OpenAI's reference of the Responses streaming events; Chat Completions is the kit's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from promptport.provider import FinishReason, LLMClient, LLModel, Timeouts, Usage
from promptport.testing import (
    Arguments,
    Blocked,
    ChatCompletionsContract,
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
from promptport_openai import chat_client, responses_client

__all__ = ["OpenAIChatContract", "ResponsesContract"]


class OpenAIChatContract(ChatCompletionsContract):
    """Chat Completions through the OpenAI SDK."""

    model: ClassVar[LLModel] = LLModel("openai-chat", "test-model")
    floor: ClassVar[int] = 170

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_client`."""
        return chat_client(base_url=f"{base_url}/v1", api_key="test-key", timeouts=timeouts)

    key_variables: ClassVar[tuple[str, ...]] = ("OPENAI_API_KEY",)

    def make_keyless_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_keyless_client`."""
        return chat_client(base_url=f"{base_url}/v1", timeouts=timeouts)


class ResponsesContract(ProviderContract):
    """Responses through the OpenAI SDK."""

    model: ClassVar[LLModel] = LLModel("openai", "test-model")
    mutators: ClassVar[WireProtocol | None] = "openai-responses"
    floor: ClassVar[int] = 170

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_client`."""
        return responses_client(base_url=f"{base_url}/v1", api_key="test-key", timeouts=timeouts)

    key_variables: ClassVar[tuple[str, ...]] = ("OPENAI_API_KEY",)

    def make_keyless_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """See `ProviderContract.make_keyless_client`."""
        return responses_client(base_url=f"{base_url}/v1", timeouts=timeouts)

    def encode(self, steps: Sequence[Step]) -> list[bytes] | None:
        """See `ProviderContract.encode`."""
        if not _can_say(steps):
            return None
        writer = _Response()
        for step in steps:
            writer.write(step)
        return writer.events

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        """See `ProviderContract.encode_complete`."""
        if not _can_say(steps):
            return None
        writer = _Response()
        for step in steps:
            writer.write(step)
        return _json(writer.response).encode()

    def encode_models(self, ids: Sequence[str]) -> bytes | None:
        """See `ProviderContract.encode_models`."""
        return OpenAIChatContract().encode_models(ids)


def _can_say(steps: Sequence[Step]) -> bool:
    """Only reasoning is encrypted, and nothing is counted before the end."""
    for step in steps:
        if isinstance(step, Used | Blocked | MalformedCall) or (isinstance(step, Opaque) and step.key is not None):
            return False
        if isinstance(step, Finish) and step.reason is FinishReason.PAUSED:
            return False
    return True


def _counts(usage: Usage) -> dict[str, Any]:
    inputs = {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_tokens}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {name: count for name, count in inputs.items() if count is not None},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {} if usage.reasoning_tokens is None else {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": (usage.input_tokens or 0) + (usage.output_tokens or 0),
    }


def _json(payload: Any) -> str:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


class _Response:
    """Writes one answer: its events, and the response object that the last of them carries."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.response: dict[str, Any] = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "model": "test-model",
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }
        self._output: list[dict[str, Any]] = self.response["output"]
        self._open: int | None = None  # the message or reasoning item under way …
        self._text: list[str] = []  # … and what it said
        self._calls: dict[int, int] = {}  # key → output index
        self._emit("response.created", response={**self.response, "output": []})
        self._emit("response.in_progress", response={**self.response, "output": []})

    def write(self, step: Step) -> None:  # one line for each event of the reference
        match step:
            case Say(text=text):
                self._increment("message", text)
            case Think(text=text):
                self._increment("reasoning", text)
            case Start(key=key, id=id, name=name):
                self._close()
                item = {"type": "function_call", "call_id": id, "name": name, "arguments": ""}
                self._calls[key] = self._add("fc", item)
            case Arguments(key=key, text=text):
                index = self._calls[key]
                self._output[index]["arguments"] += text
                self._emit("response.function_call_arguments.delta", **self._place(index), delta=text)
            case Seal(key=key):
                self._seal(self._calls.pop(key))
            case Opaque(token=token):
                if self._open is not None:
                    self._output[self._open]["encrypted_content"] = token
            case Finish(reason=reason, usage=usage):
                self._finish(reason, usage)
            case Used() | Blocked() | MalformedCall():
                pass
            case Fail(message=message, code=code):
                self._emit("error", message=message, code=code, param=None)
            case Unknown():
                self._emit("response.weather.delta", sky="blue")
            case Malformed():
                self.events.append(b'event: response.output_text.delta\ndata: {"type":"response.output_text.del\n\n')

    def _emit(self, type: str, **fields: Any) -> None:
        payload = {"type": type, "sequence_number": len(self.events), **fields}
        self.events.append(f"event: {type}\ndata: {_json(payload)}\n\n".encode())

    def _place(self, index: int) -> dict[str, Any]:
        return {"item_id": self._output[index]["id"], "output_index": index}

    def _add(self, prefix: str, item: dict[str, Any]) -> int:
        index = len(self._output)
        self._output.append({"id": f"{prefix}_{index}", **item, "status": "in_progress"})
        self._emit("response.output_item.added", output_index=index, item=self._output[index])
        return index

    def _increment(self, kind: str, text: str) -> None:
        if self._open is None or self._output[self._open]["type"] != kind:
            self._close()
            self._begin(kind)
        place = self._place(self._open or 0)
        self._text.append(text)
        if kind == "message":
            self._emit("response.output_text.delta", **place, content_index=0, delta=text, logprobs=[])
        else:
            self._emit("response.reasoning_summary_text.delta", **place, summary_index=0, delta=text)

    def _begin(self, kind: str) -> None:
        if kind == "message":
            self._open = self._add("msg", {"type": kind, "role": "assistant", "content": []})
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            self._emit("response.content_part.added", **self._place(self._open), content_index=0, part=part)
            self._output[self._open]["content"] = [part]
        else:
            self._open = self._add("rs", {"type": kind, "summary": []})
            part = {"type": "summary_text", "text": ""}
            self._emit("response.reasoning_summary_part.added", **self._place(self._open), summary_index=0, part=part)
            self._output[self._open]["summary"] = [part]

    def _close(self) -> None:
        """Ends the message or reasoning item under way."""
        if self._open is None:
            return
        item = self._output[self._open]
        place = self._place(self._open)
        text = "".join(self._text)
        self._text = []
        if item["type"] == "message":
            item["content"][0]["text"] = text
            self._emit("response.output_text.done", **place, content_index=0, text=text, logprobs=[])
            self._emit("response.content_part.done", **place, content_index=0, part=item["content"][0])
        else:
            item["summary"][0]["text"] = text
            self._emit("response.reasoning_summary_text.done", **place, summary_index=0, text=text)
            self._emit("response.reasoning_summary_part.done", **place, summary_index=0, part=item["summary"][0])
        self._done(self._open)
        self._open = None

    def _seal(self, index: int) -> None:
        item = self._output[index]
        place = self._place(index)
        self._emit("response.function_call_arguments.done", **place, name=item["name"], arguments=item["arguments"])
        self._done(index)

    def _done(self, index: int, status: str = "completed") -> None:
        self._output[index]["status"] = status
        self._emit("response.output_item.done", output_index=index, item=self._output[index])

    def _finish(self, reason: FinishReason, usage: Usage) -> None:
        self._close()
        for index in self._calls.values():
            self._done(index, "incomplete")
        details = {FinishReason.LENGTH: "max_output_tokens", FinishReason.CONTENT_FILTER: "content_filter"}.get(reason)
        status = "incomplete" if details else "completed"
        self.response["status"] = status
        self.response["incomplete_details"] = {"reason": details} if details else None
        self.response["usage"] = _counts(usage)
        self._emit(f"response.{status}", response=self.response)
