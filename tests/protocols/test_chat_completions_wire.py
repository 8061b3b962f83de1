"""Chat Completions against the wire itself: line ends, cuts, limits, what is no event stream, and whole answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.chat_wire import DONE, chunk, decode, decode_cut, delta, failing, finish, frames_of, message, tool

from promptport.decoding import SSEDecoder
from promptport.errors import IncompleteStreamError, ProtocolError, ProviderStreamError, StreamError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    ProviderItem,
    Reasoning,
    StreamFrame,
    ToolCall,
    UnfinishedCall,
    Usage,
)
from promptport.messages import AssistantMessage, TextPart
from promptport.protocols.chat_completions import ChatCompletionsDecoder, decode_chat_completion

PARIS = '{"city": "Paris"}'
BODY = (
    delta(content="Zürich \u2028\u2029\x85😀")
    + delta(tool_calls=[tool(PARIS, "f", index=0, id="a")])
    + finish("tool_calls")
    + DONE
)
FRAMES = decode_cut(BODY, "whole")[0]

# ------------------------------------------------------------------------------------------------ the bytes


@pytest.mark.parametrize("offset", range(1, len(BODY), 7))
def test_a_read_may_end_anywhere(offset: int) -> None:
    assert decode_cut(BODY, [offset])[0] == FRAMES


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends(end: bytes) -> None:
    assert frames_of(BODY.replace(b"\n", end)) == FRAMES


def test_data_without_the_space_several_lines_comments_and_a_byte_order_mark() -> None:
    assert frames_of(BODY.replace(b"data: ", b"data:")) == FRAMES
    assert frames_of(b"\xef\xbb\xbf" + BODY) == FRAMES
    assert frames_of(b": keep-alive\n\n" + BODY.replace(b"\n\n", b"\n: comment\n\n")) == FRAMES
    assert frames_of(BODY.replace(b'"choices"', b'\ndata: "choices"')) == FRAMES
    assert frames_of(BODY.replace(b"data: {", b"event: message\nid: 7\nretry: 10\ndata: {")) == FRAMES


def test_the_last_event_needs_no_blank_line() -> None:
    assert frames_of(BODY.removesuffix(b"\n")) == FRAMES
    assert frames_of(BODY.removesuffix(b"\n\n")) == FRAMES
    assert frames_of(BODY.removesuffix(DONE).removesuffix(b"\n\n")) == FRAMES


def test_unicode_line_ends_inside_text_are_text() -> None:
    assert FRAMES[0] == Append("Zürich \u2028\u2029\x85😀")
    for escaped in (False, True):
        raw = json.dumps({"choices": [{"delta": {"content": "a\u2028\u2029\x85\x0b\x0c\x1cb"}}]}, ensure_ascii=escaped)
        assert message(b"data: " + raw.encode() + b"\n\n", finish(), DONE).text == "a\u2028\u2029\x85\x0b\x0c\x1cb"


def test_one_huge_event() -> None:
    text = "x" * (5 << 20)
    frames, error = decode_cut(delta(content=text) + finish() + DONE, "whole")
    assert error is None
    assert frames[0] == Append(text)


@pytest.mark.parametrize("cut", ["whole", ("random", 1)])
@pytest.mark.parametrize("rest", [b"x" * 2000, b"x" * 2000 + b"\n\n", b"x" * 2000 + b'"}}]}\n\n' + DONE])
def test_an_event_past_the_limit_is_a_protocol_error(rest: bytes, cut: Any) -> None:
    class Small(ChatCompletionsDecoder):
        def __init__(self) -> None:
            super().__init__()
            self._wire = SSEDecoder(1000)

    from promptport.testing import cut_body

    decoder = Small()
    body = delta(content="a") + b'data: {"choices": [{"delta": {"content": "' + rest
    frames = [frame for part in cut_body(body, cut) for frame in decoder.feed(part)] + decoder.close()
    assert frames == [Append("a")]
    assert type(decoder.error) is ProtocolError
    assert "larger than 1000 bytes" in str(decoder.error)


def test_done_twice_and_data_after_done() -> None:
    for after in (DONE, delta(content="b"), b"data: nonsense\n\n", chunk({"error": {"message": "no"}}), b"garbage"):
        assert frames_of(BODY, after) == FRAMES


def test_nothing_is_decoded_after_an_error() -> None:
    decoder = ChatCompletionsDecoder()
    assert decoder.feed(delta(content="a") + b"data: nonsense\n\n" + delta(content="b")) == [Append("a")]
    assert isinstance(decoder.error, ProtocolError)
    assert decoder.feed(BODY) == decoder.close() == []


@pytest.mark.parametrize(
    "event",
    [
        b"data: nonsense\n\n",
        b"data: {\n\n",
        b"data: []\n\n",
        b"data: 7\n\n",
        b"data: null\n\n",
        b'data: "text"\n\n',
        b'data: {"a": "\xff"}\n\n',
        b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n\n",
        b'data: {"object": "chat.completion.chunk"}\n\n',
    ],
    ids=range(11),
)
def test_what_is_no_chunk_is_a_protocol_error(event: bytes) -> None:
    for cut in ("whole", ("random", 1)):
        frames, error = decode_cut(delta(content="a") + event + finish() + DONE, cut)
        if error is None:  # what is not looked at may be anything
            assert b'"a": "\xff"' in event
        else:
            assert type(error) is ProtocolError
            assert frames == [Append("a")]


@pytest.mark.parametrize(
    "event",
    [
        chunk({"object": "ping"}),
        chunk({}, "ping"),
        b"event: ping\ndata: 2025-01-01\n\n",
        b"event: ping\ndata:\n\n",
        b"data:\n\n",
        b"data: \n\n",
        chunk({"object": "chat.completion.news", "choices": []}),
        chunk({"type": "keep-alive", "timing": {}}),
    ],
)
def test_unknown_events_are_skipped(event: bytes) -> None:
    assert frames_of(event, delta(content="a"), event, finish(), event, DONE)[:1] == [Append("a")]


def test_skipped_events_are_counted_by_their_names() -> None:
    decoder = ChatCompletionsDecoder()
    decoder.feed(
        chunk({}, "ping") * 2 + chunk({"object": "news"}) + b"data:\n\n" + b"event: tick\ndata: 7\n\n" + chunk({})
    )
    assert decoder.skipped == {"ping": 2, "news": 1, "blank": 1, "tick": 1, "chunk": 1}
    assert decoder.error is None


def test_unknown_fields_are_passed_over() -> None:
    odd = {
        "news": {"a": [1]},
        "logprobs": None,
        "service_tier": "default",
        "system_fingerprint": None,
        "created": "now",
    }
    first = chunk({**odd, "choices": [{**odd, "delta": {**odd, "content": "a"}}], "model": "m", "id": None})
    assert message(first, finish(), DONE).text == "a"


# ------------------------------------------------------------------------------- what is no event stream at all


@pytest.mark.parametrize("body", [b"", b"\n\n", b": comment\n\n", b"event: message\n\n"])
def test_a_body_without_events_is_incomplete(body: bytes) -> None:
    frames, error = decode(body)
    assert frames == []
    assert type(error) is IncompleteStreamError


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"  <!DOCTYPE html>\n<html>\n", b"<?xml version='1.0'?>"])
def test_a_web_page_is_a_protocol_error_that_names_the_base_url(body: bytes) -> None:
    _, error = failing(body)
    assert type(error) is ProtocolError
    assert "base_url" in str(error)
    with pytest.raises(ProtocolError, match="base_url"):
        decode_chat_completion(body)


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "no credit", "code": "billing"}},
        {"error": "no credit"},
        [{"error": {"message": "no credit"}}],
        {"detail": "no credit"},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_error_body_instead_of_a_stream(value: Any, indent: int | None) -> None:
    body = json.dumps(value, indent=indent).encode()
    _, error = failing(body)
    assert type(error) is ProviderStreamError
    assert "no credit" in str(error)
    with pytest.raises(ProviderStreamError, match="no credit"):
        decode_chat_completion(body)


def test_a_whole_answer_instead_of_a_stream() -> None:
    whole = json.dumps(complete({"content": "a"}, "stop"), indent=1).encode()
    assert frames_of(whole)[0] == Append("a")


@pytest.mark.parametrize(
    "body",
    [b"Not found", b"{", b'{"a": 1}', b"[1]", b"7", b'"text"', b"\xff", b'{"choices": []}', b"[" * 100_000],
    ids=range(9),
)
def test_anything_else_is_a_protocol_error(body: bytes) -> None:
    _, error = failing(body)
    assert type(error) is ProtocolError
    with pytest.raises(ProtocolError):
        decode_chat_completion(body)


# ------------------------------------------------------------------------------------------------ whole answers


def complete(reply: dict[str, Any], finish_reason: str | None, **top: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **reply}, "finish_reason": finish_reason}
    return {"id": "answer-1", "object": "chat.completion", "model": "model-1", "choices": [choice], **top}


def whole(reply: dict[str, Any], finish_reason: str | None = "stop", **top: Any) -> AssistantMessage:
    return decode_chat_completion(json.dumps(complete(reply, finish_reason, **top)).encode())


def test_a_whole_answer_equals_its_stream() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    calls = [tool(PARIS, "f", id="a", type="function"), tool("", "g", id="b", type="function")]
    reply = {"content": "Hello", "reasoning_content": "hm", "tool_calls": calls}
    streamed = message(
        delta(role="assistant", reasoning_content="h"),
        delta(reasoning_content="m"),
        delta(content="Hel"),
        delta(content="lo"),
        delta(tool_calls=[tool("", "f", id="a", index=0)]),
        delta(tool_calls=[tool(PARIS, index=0)]),
        delta(tool_calls=[tool("", "g", id="b", index=1)]),
        finish("tool_calls", usage=usage),
        DONE,
    )
    assert whole(reply, "tool_calls", usage=usage) == streamed
    assert streamed.parts == (
        Reasoning("hm", {"field": "reasoning_content"}),
        TextPart("Hello"),
        ToolCall("a", "f", PARIS),
        ToolCall("b", "g", "{}"),
    )
    assert (streamed.usage, streamed.model, streamed.response_id) == (Usage(5, 2), "model-1", "answer-1")


def test_a_whole_answer_with_reasoning_details_equals_its_stream() -> None:
    text = {"type": "reasoning.text", "index": 0}
    reply = {"content": "a", "reasoning": "hm", "reasoning_details": [{**text, "text": "hm", "signature": "s"}]}
    streamed = message(
        delta(content="", reasoning="h", reasoning_details=[{**text, "text": "h"}]),
        delta(content="", reasoning="m", reasoning_details=[{**text, "text": "m"}]),
        delta(content="", reasoning=None, reasoning_details=[{**text, "signature": "s"}]),
        delta(content="a", reasoning=None, reasoning_details=[]),
        finish(),
        DONE,
    )
    assert whole(reply) == streamed


def test_a_whole_refusal_citations_and_lists_equal_their_streams() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://a"}}
    assert whole({"content": None, "refusal": "no"}).parts == (ProviderItem("refusal", {"refusal": "no"}),)
    assert whole({"content": "a", "annotations": [note]}).parts == (
        TextPart("a"),
        Citation("https://a", None, None, note),
    )
    assert whole({"content": "a"}, citations=["https://a"]).parts == (TextPart("a"), Citation("https://a"))
    assert whole({"content": [{"type": "text", "text": "a"}]}).parts == (TextPart("a"),)


def test_whole_calls_keep_apart_without_ids_or_with_one_id_for_all() -> None:
    for fields in ({}, {"id": ""}, {"id": "a"}):
        calls = [tool(PARIS, "f", **fields), tool(PARIS, "f", **fields), tool({"x": 1}, "g", **fields)]
        answer = whole({"content": None, "tool_calls": calls}, "tool_calls")
        assert [(call.name, call.parsed()) for call in answer.tool_calls] == [
            ("f", {"city": "Paris"}),
            ("f", {"city": "Paris"}),
            ("g", {"x": 1}),
        ]
        assert len({call.id for call in answer.tool_calls}) == 3


def test_a_whole_answer_that_was_cut_short_has_no_calls() -> None:
    answer = whole({"content": None, "tool_calls": [tool('{"city": "Pa', "f", id="a")]}, "length")
    assert answer.tool_calls == ()
    assert answer.unfinished == (UnfinishedCall("a", "f", '{"city": "Pa'),)
    assert answer.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("reason", [None, ""])
def test_a_whole_answer_needs_a_finish_reason(reason: str | None) -> None:
    with pytest.raises(IncompleteStreamError):
        whole({"content": "a"}, reason)


def test_the_legacy_call_and_ids_of_the_conversation_in_a_whole_answer() -> None:
    assert whole({"content": None, "function_call": {"name": "f", "arguments": PARIS}}).tool_calls[0].arguments == PARIS
    body = json.dumps(complete({"tool_calls": [tool(PARIS, "f", id="a")]}, "tool_calls")).encode()
    assert decode_chat_completion(body, ("a",)).tool_calls[0].id != "a"


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
       lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
           st.sampled_from(["choices", "message", "delta", "tool_calls", "function", "arguments", "content", "error",
                            "index", "finish_reason", "usage", "id", "name"]), inner, max_size=4),
       max_leaves=12).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_the_body_is_only_our_errors_come(body: bytes) -> None:
    for run in (lambda: decode_chat_completion(body), lambda: decode_cut(b"data: " + body + b"\n\n", "whole")):
        try:
            run()
        except StreamError:
            continue


def ends(frames: list[StreamFrame]) -> int:
    return sum(isinstance(frame, End) for frame in frames)


def test_end_comes_once_whatever_follows() -> None:
    frames, _ = decode_cut(BODY + BODY, "whole")
    assert ends(frames) == 1
    assert frames == FRAMES
