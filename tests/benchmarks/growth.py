"""Answers of many entries, in the shapes that once cost the square of their number; each is read by our decoder alone.

Rule: a function of how many entries there are that gives what is to be run; only that is measured.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import promptport as pp
from promptport.protocols import ChatCompletionsDecoder

Run = Callable[[], None]


def _decoding(deltas: list[dict[str, Any]]) -> Run:
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    events = [b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n" for choice in choices]

    def run() -> None:
        decoder = ChatCompletionsDecoder()
        for event in events:
            decoder.feed(event)
        decoder.close()
        if decoder.error is not None or not decoder.ended:
            raise SystemExit(f"the answer was not read: {decoder.error}")

    return run


def _calls(count: int, id: str | None) -> Run:
    call: dict[str, Any] = {"function": {"name": "save_text", "arguments": '{"text": "a"}'}}
    if id is not None:
        call["id"] = id
    return _decoding([{"tool_calls": [{"index": index, **call}]} for index in range(count)])


def _details(count: int) -> Run:
    return _decoding([{"reasoning_details": [{"type": "reasoning.text", "text": "so ", "index": 0}]}] * count)


def _structured(count: int) -> Run:
    from pydantic import BaseModel

    class Numbers(BaseModel):
        numbers: list[int]

    async def pieces() -> AsyncIterator[str]:
        yield '{"numbers": [1'
        for _ in range(count):
            yield ", 12"
        yield "]}"

    async def parse() -> None:
        async for _ in pp.JsonDefinition(Numbers).parse(pieces()):
            pass

    return lambda: asyncio.run(parse())


SHAPES: dict[str, Callable[[int], Run]] = {
    "calls without ids": lambda count: _calls(count, None),
    "calls of one id": lambda count: _calls(count, "call_1"),
    "reasoning_details": _details,
    "JsonDefinition": _structured,
}
COUNTS = (2_500, 20_000)
