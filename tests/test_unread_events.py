"""The providers' decoders: a known event of which nothing was read is read, counted in ``skipped``, or an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from promptport.decoding import StreamDecoder
from promptport.frames import Append, End, ProviderItem, Reasoning, ReasoningAppend, StreamFrame
from promptport.protocols import MessagesDecoder, ResponsesDecoder
from promptport_bedrock._decode import ConverseDecoder
from promptport_cohere._decode import ChatDecoder as CohereDecoder
from promptport_google._decode import ContentDecoder
from promptport_ollama._decode import ChatDecoder as OllamaDecoder

Event = dict[str, Any]


def decoded(make: Callable[[], StreamDecoder[Any]], events: list[Event]) -> tuple[list[StreamFrame], dict[str, int]]:
    decoder, end = make(), b"\n" if make is OllamaDecoder else b"\n\n"
    start = b"" if make is OllamaDecoder else b"data: "
    frames = [frame for event in events for frame in decoder.feed(start + json.dumps(event).encode() + end)]
    frames += decoder.close()
    assert decoder.error is None
    assert isinstance(frames[-1], End)
    return frames, dict(decoder.skipped)


DONE = {"type": "response.completed", "response": {"status": "completed", "output": []}}
THOUGHT = {"type": "reasoning", "id": "r", "summary": []}


@pytest.mark.parametrize(
    ("events", "frames"),
    [
        ([{"type": "response.content_part.done", "part": {"type": "output_text", "text": "Hi"}}], [Append("Hi")]),
        (
            [
                {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"},
                {"type": "response.output_text.done", "output_index": 0, "text": "Hi"},
                {
                    "type": "response.content_part.done",
                    "output_index": 0,
                    "part": {"type": "output_text", "text": "Hi"},
                },
                {
                    "type": "response.content_part.done",
                    "output_index": 0,
                    "part": {"type": "output_text", "text": "Hi"},
                },
            ],
            [Append("Hi")],
        ),
        ([{"type": "response.refusal.done", "refusal": "No."}], [ProviderItem("refusal", {"refusal": "No."})]),
        (
            [
                {"type": "response.refusal.delta", "delta": "No."},
                {"type": "response.refusal.done", "refusal": "No."},
                {"type": "response.content_part.done", "part": {"type": "refusal", "refusal": "No."}},
            ],
            [ProviderItem("refusal", {"refusal": "No."})],
        ),
        (
            [{"type": "response.reasoning_text.done", "output_index": 0, "content_index": 0, "text": "hm"}],
            [ReasoningAppend("hm"), Reasoning("hm")],
        ),
        (
            [
                {"type": "response.reasoning_summary_text.done", "output_index": 0, "summary_index": 0, "text": "a"},
                {
                    "type": "response.reasoning_summary_part.done",
                    "output_index": 0,
                    "summary_index": 1,
                    "part": {"type": "summary_text", "text": "b"},
                },
                {"type": "response.output_item.done", "output_index": 0, "item": THOUGHT},
            ],
            [ReasoningAppend("a"), ReasoningAppend("\n\n"), ReasoningAppend("b"), Reasoning("a\n\nb", THOUGHT)],
        ),
        (
            [
                {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "hm"},
                {"type": "response.reasoning_text.done", "output_index": 0, "content_index": 0, "text": "hm"},
            ],
            [ReasoningAppend("hm"), Reasoning("hm")],
        ),
    ],
)
def test_responses_reads_what_came_without_deltas_and_nothing_twice(
    events: list[Event], frames: list[StreamFrame]
) -> None:
    got, skipped = decoded(ResponsesDecoder, [*events, DONE])
    assert got[:-1] == frames
    assert skipped == {}


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        ({"type": "response.audio.delta", "delta": "UklGR"}, "response.audio.delta"),
        ({"type": "response.audio.transcript.done", "transcript": "Hi"}, "response.audio.transcript.done"),
        (
            {"type": "response.content_part.added", "part": {"type": "output_text", "text": "Hi"}},
            "response.content_part.added with text",
        ),
        (
            {"type": "response.content_part.done", "part": {"type": "output_audio", "data": "UklGR"}},
            "response.content_part.done with data",
        ),
        ({"type": "response.output_text.delta", "delta": None}, "response.output_text.delta"),
        ({"type": "response.refusal.delta"}, "response.refusal.delta"),
        ({"type": "response.reasoning_text.delta", "text": "hm"}, "response.reasoning_text.delta"),
    ],
)
def test_responses_counts_what_it_cannot_read(event: Event, counted: str) -> None:
    frames, skipped = decoded(ResponsesDecoder, [event, DONE])
    assert len(frames) == 1
    assert skipped == {counted: 1}


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        ({"model": "m", "response": "Hi", "done": False}, {"line with response": 1}),
        ({"model": "m", "response": "", "done": False}, {}),
        ({"message": {"role": "assistant", "content": "", "images": ["iVBOR"]}}, {"message with images": 1}),
        ({"message": {"role": "assistant", "content": "", "audio": {"data": "Ukl"}}}, {"message with audio": 1}),
        ({"message": {"role": "assistant", "content": ""}}, {}),
    ],
)
@pytest.mark.parametrize("ends", [False, True])
def test_ollama(line: Event, counted: dict[str, int], ends: bool) -> None:
    last = {"done": True, "done_reason": "stop"}
    events = [{**line, **last}] if ends else [line, {"message": {"content": ""}, **last}]
    assert decoded(OllamaDecoder, events)[1] == counted


START: Event = {"type": "message_start", "message": {"id": "m", "model": "m", "content": []}}
STOP: list[Event] = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        ({"type": "message_delta", "delta": {"text": "Hi"}}, {"message_delta with delta": 1}),
        ({"type": "message_delta", "delta": {}}, {}),
        (
            {"type": "message_start", "message": {"content": [{"type": "text", "text": "Hi"}]}},
            {"a second message_start": 1},
        ),
        (START, {}),
    ],
)
def test_anthropic(event: Event, counted: dict[str, int]) -> None:
    assert decoded(MessagesDecoder, [START, event, *STOP])[1] == counted


def candidate(**fields: Any) -> Event:
    return {"candidates": [{"index": 0, **fields}]}


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        ({"candidates": [], "modelVersion": "m"}, {"candidates": 1}),
        (candidate(output="Hi"), {"candidate with output": 1}),
        (candidate(content={"role": "model", "text": "Hi"}), {"candidate with content": 1}),
        (candidate(content={"role": "model", "parts": [{}]}), {"an empty part": 1}),
        (candidate(content={"parts": [{"thought": True}]}), {"an empty part": 1}),
        (candidate(content={"role": "model"}, safetyRatings=[{"category": "X"}]), {}),
        ({"candidates": [{"index": 1, "content": {"parts": [{"text": "Hi"}]}}]}, {"candidate other than the first": 1}),
        (candidate(content={"parts": [{"text": ""}]}), {}),
    ],
)
def test_google(event: Event, counted: dict[str, int]) -> None:
    assert decoded(ContentDecoder, [event, candidate(finishReason="STOP")])[1] == counted


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        (
            {"type": "content-delta", "delta": {"message": {"content": {"type": "image", "image": "iVBOR"}}}},
            {"content-delta with content": 1},
        ),
        ({"type": "content-delta", "delta": {"message": {"txt": "Hi"}}}, {"content-delta with txt": 1}),
        ({"type": "tool-plan-delta", "delta": {"message": {"plan": "Hm"}}}, {"tool-plan-delta with plan": 1}),
        ({"type": "content-start", "delta": {"message": {"content": {"type": "text", "text": ""}}}}, {}),
        ({"type": "message-start", "delta": {"message": {"role": "assistant", "content": []}}}, {}),
    ],
)
def test_cohere(event: Event, counted: dict[str, int]) -> None:
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}
    assert decoded(CohereDecoder, [event, end])[1] == counted


@pytest.mark.parametrize(
    ("payload", "counted"),
    [
        ({"delta": {"reasoningContent": {"data": "x"}}}, {"reasoningContent with data": 1}),
        ({"delta": {"reasoningContent": {"text": ""}}}, {}),
        ({"delta": {"audio": {"bytes": "x"}}}, {"contentBlockDelta audio": 1}),
    ],
)
def test_bedrock(payload: Event, counted: dict[str, int]) -> None:
    decoder = ConverseDecoder()
    headers: Any = {":message-type": "event", ":event-type": "contentBlockDelta"}
    decoder._event((headers, json.dumps({"contentBlockIndex": 0, **payload}).encode()), [])
    assert decoder.skipped == counted


def test_bedrock_of_a_block_without_a_frame() -> None:
    decoder, kind = ConverseDecoder(), {":message-type": "event"}
    start = {"contentBlockIndex": 0, "start": {"image": {"format": "png"}}}
    delta = {"contentBlockIndex": 0, "delta": {"video": {"bytes": "x"}}}
    for name, payload in (("contentBlockStart", start), ("contentBlockDelta", delta)):
        decoder._event(({**kind, ":event-type": name}, json.dumps(payload).encode()), [])
    assert decoder.skipped == {"contentBlockDelta with video": 1}
