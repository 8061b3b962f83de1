"""What may happen to a request, as a provider that speaks Chat Completions on a real socket shows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import promptport as pp
from promptport.testing import WireResponse

__all__ = ["FAULTS", "MODEL", "OTHER", "PROMPT", "answer", "client", "event", "text"]

MODEL, OTHER = pp.LLModel("openai-chat", "first"), pp.LLModel("openai-chat", "second")
PROMPT = pp.Prompt.of("Hello")
Fault = Callable[[], WireResponse]


def client(base_url: str, **options: Any) -> pp.LLMClient:
    timeouts = pp.Timeouts(first_frame=0.6, idle=0.6, total=30, connect=5)
    return pp.client("openai-chat", api_key="test-key-1234", base_url=base_url, **{"timeouts": timeouts, **options})


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "a", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def text(words: str) -> bytes:
    return event({"content": words})


def _call(arguments: str, *, head: bool = True) -> bytes:
    function = {"arguments": arguments, **({"name": "act"} if head else {})}
    entry = {"index": 0, "function": function, **({"id": "call_1", "type": "function"} if head else {})}
    return event({"tool_calls": [entry]})


def answer(words: str) -> WireResponse:
    """A whole answer, with its usage."""
    usage = {"id": "a", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    return WireResponse(
        [text(words), event({}, "stop"), b"data: " + json.dumps(usage).encode() + b"\n\n", b"data: [DONE]\n\n"]
    )


def _status(status: int, **headers: str) -> Fault:
    body = {"error": {"message": "not now", "type": "some_error"}}
    return lambda: WireResponse.json(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


def _error(code: str) -> bytes:
    return b"data: " + json.dumps({"error": {"message": "not now", "code": code}}).encode() + b"\n\n"


_WHOLE_CALL = _call('{"x": ') + _call("1}", head=False) + event({}, "tool_calls")

# Name: (what the server does, whether anything was delivered before, whether a call was sealed before).
FAULTS: dict[str, tuple[Fault, bool, bool]] = {
    "429": (_status(429), False, False),
    "429 with retry-after": (_status(429, retry_after="0.01"), False, False),
    "500": (_status(500), False, False),
    "529": (_status(529), False, False),
    "408": (_status(408), False, False),
    "reset before the head": (lambda: WireResponse(text("x"), reset_after=0), False, False),
    "reset after the head": (lambda: WireResponse([b": hello\n\n", text("x")], reset_after=9), False, False),
    "bytes end without a frame": (lambda: WireResponse(b": hello\n\n"), False, False),
    "overload as first event": (lambda: WireResponse(_error("overloaded_error")), False, False),
    "rate limit as first event": (lambda: WireResponse(_error("429")), False, False),
    "silence": (lambda: WireResponse(text("x"), stall_after=0), False, False),
    "error after text": (lambda: WireResponse(text("so far") + _error("overloaded_error")), True, False),
    "reset after text": (
        lambda: WireResponse([text("so far"), text("never")], reset_after=len(text("so far"))),
        True,
        False,
    ),
    "silence after text": (
        lambda: WireResponse([text("so far"), text("x")], stall_after=len(text("so far"))),
        True,
        False,
    ),
    "error after a delta of a call": (lambda: WireResponse(_call('{"x": ') + _error("server_error")), True, False),
    "error after a sealed call": (lambda: WireResponse(_WHOLE_CALL + _error("server_error")), True, True),
}
