"""Half a surrogate pair in one event and its other half in the next: the character, for every API and every cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.decoding import StreamDecoder
from promptport.frames import Append, ReasoningAppend, StreamFrame, ToolCall, parse_arguments
from promptport.message_building import message_of
from promptport.protocols import ChatCompletionsDecoder, MessagesDecoder, ResponsesDecoder, decode_chat_completion
from promptport.testing import assert_valid_stream
from promptport_ollama._decode import ChatDecoder

HIGH, LOW, FACE = "\ud83d", "\ude00", "\U0001f600"
CUTS = {  # pieces, and what they are together
    "over two events": (["Hi " + HIGH, LOW + "!"], f"Hi {FACE}!"),
    "alone in their events": (["a", HIGH, LOW], f"a{FACE}"),
    "inside one event": (["a" + HIGH + LOW + "b"], f"a{FACE}b"),
    "twice": ([FACE + HIGH, LOW + HIGH, LOW], FACE * 3),
    "the first stays alone": (["a" + HIGH, "b"], "a\ufffdb"),
    "the first stays alone inside": (["a" + HIGH + "b", "c"], "a\ufffdbc"),
    "the first stays alone at the end": (["a", "b" + HIGH], "ab\ufffd"),
    "the second stays alone": (["a", LOW + "b"], "a\ufffdb"),
    "the wrong way round": (["a" + LOW, HIGH + "b"], "a\ufffd\ufffdb"),
    "two firsts": ([HIGH, HIGH, LOW], f"\ufffd{FACE}"),
}
cuts = pytest.mark.parametrize(("pieces", "whole"), CUTS.values(), ids=CUTS)


def sse(value: Any, raw: bool) -> bytes:
    return b"data: " + written(value, raw) + b"\n\n"


def written(value: Any, raw: bool) -> bytes:
    """JSON with the halves as escapes, or as bytes that are not UTF-8."""
    return json.dumps(value, ensure_ascii=not raw).encode("utf-8", "surrogatepass")


def chat(kind: str, pieces: list[str], raw: bool) -> bytes:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return sse({"id": "1", "model": "m", "choices": [choice]}, raw)

    def delta(text: str) -> dict[str, Any]:
        if kind == "arguments":
            return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
        return {"content" if kind == "text" else "reasoning_content": text}

    head = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]}
    first = chunk(head) if kind == "arguments" else b""
    return first + b"".join([chunk(delta(text)) for text in pieces]) + chunk({}, "stop") + b"data: [DONE]\n\n"


def anthropic(kind: str, pieces: list[str], raw: bool) -> bytes:
    block, delta, field = {
        "text": ({"type": "text", "text": ""}, "text_delta", "text"),
        "reasoning": ({"type": "thinking", "thinking": ""}, "thinking_delta", "thinking"),
        "arguments": ({"type": "tool_use", "id": "a", "name": "f", "input": {}}, "input_json_delta", "partial_json"),
    }[kind]
    events = [
        {"type": "message_start", "message": {"id": "1", "model": "m", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *[{"type": "content_block_delta", "index": 0, "delta": {"type": delta, field: text}} for text in pieces],
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    return b"".join([sse(event, raw) for event in events])


def responses(kind: str, pieces: list[str], raw: bool) -> bytes:
    name = {
        "text": "output_text",
        "reasoning": "reasoning_summary_text",
        "arguments": "function_call_arguments",
    }[kind]
    call = {"type": "function_call", "call_id": "a", "name": "f"}
    whole = "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    events: list[dict[str, Any]] = [{"type": f"response.{name}.delta", "output_index": 0, "delta": p} for p in pieces]
    if kind == "arguments":
        events.insert(0, {"type": "response.output_item.added", "output_index": 0, "item": call})
        done = {"type": "response.output_item.done", "output_index": 0, "item": {**call, "arguments": whole}}
        events += [{"type": f"response.{name}.done", "output_index": 0, "arguments": whole}, done]
    elif kind == "reasoning":
        item = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": whole}]}
        events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    else:
        events.append({"type": f"response.{name}.done", "output_index": 0, "text": whole})
    events.append({"type": "response.completed", "response": {"id": "1", "model": "m", "status": "completed"}})
    return b"".join([sse(event, raw) for event in events])


def ollama(kind: str, pieces: list[str], raw: bool) -> bytes:
    field = {"text": "content", "reasoning": "thinking"}
    if kind == "arguments":
        call = {"function": {"name": "f", "arguments": "".join(pieces)}}
        lines: list[dict[str, Any]] = [{"message": {"tool_calls": [call]}, "done": False}]
    else:
        lines = [{"message": {field[kind]: text}, "done": False} for text in pieces]
    lines.append({"message": {"content": ""}, "done": True, "done_reason": "stop"})
    return b"".join([written(line, raw) + b"\n" for line in lines])


Writer = Callable[[str, list[str], bool], bytes]
APIS: dict[str, tuple[Writer, Callable[[], StreamDecoder[Any]]]] = {
    "chat": (chat, ChatCompletionsDecoder),
    "anthropic": (anthropic, MessagesDecoder),
    "responses": (responses, ResponsesDecoder),
    "ollama": (ollama, ChatDecoder),
}
apis = pytest.mark.parametrize("api", APIS)
raws = pytest.mark.parametrize("raw", [False, True], ids=["escapes", "bytes"])


def decoded(api: str, body: bytes) -> list[StreamFrame]:
    make = APIS[api][1]
    frames = [decode(make(), [body]), decode(make(), [body[i : i + 1] for i in range(len(body))])]
    frames.append(decode(make(), [body[i : i + 7] for i in range(0, len(body), 7)]))
    assert frames[0] == frames[1] == frames[2]
    assert_valid_stream(frames[0])
    return frames[0]


def decode(decoder: StreamDecoder[Any], chunks: list[bytes]) -> list[StreamFrame]:
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)] + decoder.close()
    assert decoder.error is None, decoder.error
    return frames


@apis
@raws
@cuts
def test_text(api: str, raw: bool, pieces: list[str], whole: str) -> None:
    frames = decoded(api, APIS[api][0]("text", pieces, raw))
    assert message_of(frames).text == whole
    assert all(frame.text for frame in frames if isinstance(frame, Append))


@apis
@raws
@cuts
def test_reasoning(api: str, raw: bool, pieces: list[str], whole: str) -> None:
    frames = decoded(api, APIS[api][0]("reasoning", pieces, raw))
    assert "".join([frame.text for frame in frames if isinstance(frame, ReasoningAppend)]) == whole


@apis
@raws
@cuts
def test_arguments(api: str, raw: bool, pieces: list[str], whole: str) -> None:
    inside = ['{"k": "', *pieces, '"}']
    frames = decoded(api, APIS[api][0]("arguments", inside, raw))
    (call,) = [frame for frame in frames if isinstance(frame, ToolCall)]
    assert call.parsed() == {"k": whole}


@apis
@given(text=st.text(st.sampled_from(["a", "\\", '"', HIGH, LOW, FACE, "\ufffd"]), max_size=8), at=st.integers(0, 8))
def test_whatever_the_halves_and_the_cut(api: str, text: str, at: int) -> None:
    pieces = [piece for piece in (text[:at], text[at:]) if piece]
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert message_of(decoded(api, APIS[api][0]("text", pieces, False))).text == whole


def test_an_answer_that_was_not_streamed() -> None:
    message = {"content": "a" + HIGH, "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    assert decode_chat_completion(body).text == "a\ufffd"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"k": "\ud83d"}', "\ufffd"),
        (r'{"k": "\ude00\ud83d\ude00"}', "\ufffd" + FACE),
        (r'{"k": "\\\\ud83d\ud83d"}'.replace("\\\\", "\\"), "\\ud83d\ufffd"),
        ('{"k": "' + HIGH + '"}', "\ufffd"),
    ],
)
def test_a_half_that_the_model_itself_wrote_into_its_arguments(text: str, value: str) -> None:
    assert parse_arguments(text) == {"k": value}
