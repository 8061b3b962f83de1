"""Chat Completions: a known event of which nothing was read is never silent; it is read, counted, or an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from promptport.frames import Append, End, StreamFrame
from promptport.protocols import ChatCompletionsDecoder


def decoded(*choices_of_chunks: Any) -> tuple[list[StreamFrame], dict[str, int]]:
    """The frames, and what was counted; whole and byte by byte are the same."""
    chunks = [{"object": "chat.completion.chunk", "id": "x", "model": "m", "choices": one} for one in choices_of_chunks]
    wire = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    outcomes = []
    for size in (len(wire), 1):
        decoder = ChatCompletionsDecoder()
        frames = [
            frame for start in range(0, len(wire), size) for frame in decoder.feed(wire[start : start + size])
        ] + decoder.close()
        assert decoder.error is None
        outcomes.append((frames, dict(decoder.skipped)))
    assert outcomes[0] == outcomes[1]
    return outcomes[0]


def delta(**fields: Any) -> list[Any]:
    return [{"index": 0, "delta": fields, "finish_reason": None}]


HEAD = delta(role="assistant", content="")
LAST = [{"index": 0, "delta": {}, "finish_reason": "stop"}]


@pytest.mark.parametrize(
    ("choices", "counted"),
    [
        (delta(audio={"data": "UklGR"}), "delta with audio"),
        (delta(role="assistant", content="", thinking_blocks=[{"thinking": "hm"}]), "delta with thinking_blocks"),
        (delta(content={"parts": ["Hi"]}), "delta with content"),
        (delta(content=[{"type": "image_url", "image_url": {"url": "data:"}}]), "delta with content"),
        (delta(content=None, reasoning={"parts": ["hm"]}), "delta with reasoning"),
        (delta(reasoning_content="", audio={"id": "a", "transcript": "Hi"}), "delta with audio"),
        (delta(tool_calls=[{"index": 0, "type": "function"}]), "tool call without a function"),
        (delta(tool_calls=[{"index": 0, "custom": {"input": "ls"}}]), "tool call without a function"),
        (delta(tool_calls=7), "delta with tool_calls"),
        (delta(refusal=["no"]), "delta with refusal"),
        ([None], "chat.completion.chunk"),
        (["Hi", 3], "chat.completion.chunk"),
        ({"delta": {"content": "Hi"}}, "chat.completion.chunk"),
        ([{"index": 0, "delta": "Hi", "finish_reason": None}], "choice without a delta"),
        ([{"index": 0, "delta": ["Hi"], "finish_reason": "stop"}], "choice without a delta"),
        ([{"index": 0}], "choice without a delta"),
    ],
)
def test_what_was_not_read_is_counted(choices: Any, counted: str) -> None:
    frames, skipped = decoded(HEAD, choices, LAST)
    assert skipped == {counted: 1}
    assert [type(frame) for frame in frames] == [End]


@pytest.mark.parametrize(
    "choices",
    [
        [],
        delta(),
        HEAD,
        delta(content=None, tool_calls=None, refusal=None, annotations=[], function_call=None),
        delta(role="assistant", content="", reasoning_content="", tool_calls=[], audio=None, extra={}),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ""}}]),
    ],
)
def test_what_says_nothing_is_not_counted(choices: Any) -> None:
    assert decoded(HEAD, choices, LAST)[1] == {}


@pytest.mark.parametrize(
    "content", [{"type": "text", "text": "Hi"}, ["Hi"], [{"type": "text", "text": "H"}, {"text": "i"}]]
)
def test_content_as_an_object_or_a_list_is_read_if_it_has_a_text(content: Any) -> None:
    frames, skipped = decoded(HEAD, delta(content=content), LAST)
    assert frames[0] == Append("Hi")
    assert skipped == {}


def test_a_custom_call_is_counted() -> None:
    entry = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    assert decoded(delta(tool_calls=[entry]), LAST)[1] == {"tool call without a function": 1}
