"""What the servers that speak Chat Completions make of it, one kind of oddity after the other.

Each case is read whole, byte by byte and at cuts of seven bytes, to the same frames.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from promptport.errors import ProviderStreamError
from promptport.frames import (
    Append,
    End,
    FinishReason,
    Reasoning,
    StreamFrame,
    ToolCall,
    Usage,
)
from promptport.protocols import ChatCompletionsDecoder

USAGE = {"prompt_tokens": 3, "completion_tokens": 4}


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": reason}
    return {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **more}


def read(*events: Any, done: bool = True) -> tuple[list[StreamFrame], str | None]:
    texts = [each if isinstance(each, str) else json.dumps(each) for each in events]
    body = "".join([f"data: {text}\n\n" for text in [*texts, *(["[DONE]"] if done else [])]]).encode()
    results = []
    for size in (len(body), 1, 7):
        decoder = ChatCompletionsDecoder()
        frames: list[StreamFrame] = []
        for start in range(0, len(body), size):
            frames += decoder.feed(body[start : start + size])
        frames += decoder.close()
        assert decoder.error is None or isinstance(decoder.error, ProviderStreamError), decoder.error
        results.append((frames, str(decoder.error) if decoder.error else None))
    assert results[0] == results[1] == results[2]
    return results[0]


def text_of(frames: list[StreamFrame]) -> str:
    return "".join([frame.text for frame in frames if isinstance(frame, Append)])


def end_of(frames: list[StreamFrame]) -> End:
    end = frames[-1]
    assert isinstance(end, End)
    return end


@pytest.mark.parametrize(
    ("word", "reason", "cut"),
    [
        ("model_context_window_exceeded", FinishReason.LENGTH, True),
        ("max_output_tokens", FinishReason.LENGTH, True),
        ("MAX_TOKENS", FinishReason.LENGTH, True),
        ("FINISH_REASON_MAX_TOKENS", FinishReason.LENGTH, True),
        ("context_length_exceeded", FinishReason.LENGTH, True),
        ("SAFETY", FinishReason.CONTENT_FILTER, True),
        ("recitation", FinishReason.CONTENT_FILTER, True),
        ("guardrail_intervened", FinishReason.CONTENT_FILTER, True),
        ("refusal", FinishReason.CONTENT_FILTER, True),
        ("network_error", FinishReason.OTHER, True),
        ("insufficient_system_resource", FinishReason.OTHER, True),
        ("aborted", FinishReason.OTHER, True),
        ("cancelled", FinishReason.OTHER, True),
        ("timeout", FinishReason.OTHER, True),
        ("malformed_function_call", FinishReason.OTHER, True),
        ("STOP", FinishReason.STOP, False),
        ("stop_token", FinishReason.STOP, False),
        ("eos_token", FinishReason.STOP, False),
        ("tool_use", FinishReason.OTHER, False),
    ],
)
def test_words_for_an_end(word: str, reason: FinishReason, cut: bool) -> None:
    frames, _ = read(chunk({"content": "T"}), chunk({}, word))
    assert (end_of(frames).finish_reason, end_of(frames).raw_finish_reason) == (reason, word)
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    frames, _ = read(chunk({"tool_calls": [call]}), chunk({}, word))
    assert [frame for frame in frames if isinstance(frame, ToolCall)] == ([] if cut else [ToolCall("a", "f", "{}")])
    assert [call.id for call in end_of(frames).unfinished] == (["a"] if cut else [])


ERRORS: list[dict[str, Any]] = [
    {"error_code": 17, "error_msg": "boom"},
    {"id": "x", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "boom"}},
    {"id": "x", "choices": [], "usage": USAGE, "base_resp": {"status_code": 1027, "status_msg": "boom"}},
    {"detail": "boom"},
    {"detail": [{"loc": ["body"], "msg": "boom"}]},
    {"success": False, "errors": [{"code": 7000, "message": "boom"}], "result": None},
    {"error_message": "boom"},
    {"status": 500, "title": "boom"},
    {"code": 1302, "msg": "boom"},
]


@pytest.mark.parametrize("body", ERRORS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("done", [True, False])
def test_an_error_in_any_shape_ends_the_stream(body: dict[str, Any], first: bool, done: bool) -> None:
    frames, error = read(*([] if first else [chunk({"content": "T"})]), body, done=done)
    assert error is not None
    assert "boom" in error
    assert text_of(frames) == ("" if first else "T")


@pytest.mark.parametrize("nothing", [None, {}, "", False, []])
def test_an_error_that_says_nothing_beside_content_is_none(nothing: Any) -> None:
    frames, error = read(chunk({"content": "T"}, error=nothing), chunk({}, "stop"))
    assert (error, text_of(frames)) == (None, "T")


def test_a_base_resp_that_is_fine_is_no_error() -> None:
    fine: dict[str, Any] = {"base_resp": {"status_code": 0, "status_msg": ""}}
    frames, error = read(chunk({"content": "T"}, **fine), chunk({}, "stop"), {"choices": [], "usage": USAGE, **fine})
    assert (error, end_of(frames).usage) == (None, Usage(3, 4))


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 3, "output_tokens": 4},
        {"prompt_tokens": 3.0, "completion_tokens": 4.0},
        {"prompt_tokens": 3, "completion_tokens": 4, "cached_tokens": 2},
    ],
)
def test_usage_under_other_names(usage: dict[str, Any]) -> None:
    frames, _ = read(chunk({"content": "T"}), chunk({}, "stop", usage=usage))
    assert end_of(frames).usage == Usage(3, 4, usage.get("cached_tokens"))


def test_usage_inside_the_last_choice() -> None:
    last = chunk({}, "stop")
    last["choices"][0]["usage"] = USAGE
    frames, _ = read(chunk({"content": "T"}), last)
    assert end_of(frames).usage == Usage(3, 4)


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": {"content": "a"}},
        {"reasoning": {"text": "a"}},
        {"reasoning_content": [{"type": "text", "text": "a"}]},
        {"reasoning_details": {"type": "reasoning.text", "text": "a"}},
        {"reasoning_text": "a"},
        {"thinking": "a"},
    ],
)
def test_reasoning_in_other_shapes(delta: dict[str, Any]) -> None:
    frames, _ = read(chunk(delta), chunk({"content": "T"}), chunk({}, "stop"))
    assert [frame.text for frame in frames if isinstance(frame, Reasoning)] == ["a"]
    assert text_of(frames) == "T"


def test_parts_of_a_content_keep_their_order() -> None:
    parts = [
        {"type": "text", "text": "A"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "b"}], "signature": "s"},
        {"type": "text", "text": "C"},
    ]
    frames, _ = read(chunk({"content": parts}), chunk({}, "stop"))
    told = [frame for frame in frames if isinstance(frame, Append | Reasoning)]
    assert told == [
        Append("A"),
        Reasoning("b", {"content": "thinking", "signature": "s"}),
        Append("C"),
    ]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_answers_in_one_first_chunk_are_not_mixed(order: tuple[int, int]) -> None:
    both = {"id": "x", "choices": [{"index": i, "delta": {"content": "AB"[i]}} for i in order]}
    other = {"id": "x", "choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]}
    frames, _ = read(both, other, chunk({}, "stop"))
    assert text_of(frames) == "A"
    assert end_of(frames).finish_reason is FinishReason.STOP


def test_a_call_outside_a_list() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": {"n": 1.0}}}
    frames, _ = read(chunk({"tool_calls": call}), chunk({}, "tool_calls"))
    assert [frame.parsed() for frame in frames if isinstance(frame, ToolCall)] == [{"n": 1.0}]


@pytest.mark.parametrize("word", ["[done]", '"[DONE]"', " [DONE] "])
def test_the_last_word_in_other_spellings(word: str) -> None:
    frames, error = read(chunk({"content": "T"}), word, done=False)
    assert (error, end_of(frames).finish_reason) == (None, FinishReason.OTHER)
