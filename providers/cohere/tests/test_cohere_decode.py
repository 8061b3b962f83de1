"""Cohere's events to frames: plans, thoughts, calls, citations, each end, at every cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from promptport.errors import IncompleteStreamError, ProtocolError, ProviderStreamError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    Reasoning,
    ReasoningAppend,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
    Usage,
)
from promptport.stream import message_of
from promptport.testing import assert_valid_stream
from promptport_cohere._decode import ChatDecoder, decode_complete


def end_of(result: tuple[list[StreamFrame], str]) -> End:
    frames, error = result
    assert error == ""
    assert_valid_stream(frames)
    end = frames[-1]
    assert isinstance(end, End)
    return end


def test_a_plan_and_its_calls(wire: Any) -> None:
    result = wire.everywhere(
        wire.start(),
        wire.plan("I will ", "look."),
        wire.call(0, "get_time_a", "get_time", '{"zone"', ':"UTC"}'),
        wire.call(1, "get_time_b", "get_time", '{"zone":"CET"}'),
        wire.end("TOOL_CALL"),
    )
    assert result[0][:3] == [
        ReasoningAppend("I will "),
        ReasoningAppend("look."),
        Reasoning("I will look.", {"type": "tool_plan"}),
    ]
    assert [frame for frame in result[0] if isinstance(frame, ToolCall)] == [
        ToolCall("get_time_a", "get_time", '{"zone":"UTC"}'),
        ToolCall("get_time_b", "get_time", '{"zone":"CET"}'),
    ]
    end = end_of(result)
    assert (end.finish_reason, end.raw_finish_reason, end.response_id) == (FinishReason.TOOL_CALLS, "TOOL_CALL", "id-1")


def test_thoughts_and_text(wire: Any) -> None:
    result = wire.everywhere(
        wire.start(),
        wire.plan("plan"),
        wire.block(0, "thinking", "Let me ", "think."),
        wire.block(1, "text", "It is ", "sunny.\u2028"),
        wire.end(),
    )
    assert result[0][:-1] == [
        ReasoningAppend("plan"),
        Reasoning("plan", {"type": "tool_plan"}),
        ReasoningAppend("Let me "),
        ReasoningAppend("think."),
        Reasoning("Let me think.", {"type": "thinking"}),
        Append("It is "),
        Append("sunny.\u2028"),
    ]
    assert end_of(result).finish_reason is FinishReason.STOP


def test_citations_follow_their_text(wire: Any) -> None:
    source = {"type": "document", "id": "doc:1", "document": {"title": "Cats", "url": "https://c", "text": "…"}}
    entry = {"start": 0, "end": 4, "text": "Cats", "sources": [source], "type": "TEXT_CONTENT"}
    tool = {"start": 5, "end": 9, "text": "purr", "sources": [{"type": "tool", "id": "t:0", "tool_output": {}}]}
    result = wire.everywhere(
        wire.start(),
        wire.block(0, "text", "Cats purr"),
        wire.event("citation-start", index=0, delta={"message": {"citations": entry}}),
        wire.event("citation-end", index=0),
        wire.event("citation-start", index=1, delta={"message": {"citations": tool}}),
        wire.event("citation-end", index=1),
        wire.end(),
    )
    assert result[0][1:-1] == [Citation("https://c", "Cats", "Cats", entry), Citation(None, None, "purr", tool)]


def test_a_call_without_arguments_is_one(wire: Any) -> None:
    for following in (wire.call(1, "b", "g", "{}"), wire.end("TOOL_CALL")):
        result = wire.everywhere(wire.start(), wire.call(0, "a", "f"), following, wire.end("TOOL_CALL"))
        assert ToolCall("a", "f", "{}") in result[0]
        assert end_of(result).unfinished == ()


@pytest.mark.parametrize("texts", [(), ('{"x"',), ("12",)])
def test_a_call_that_the_limit_may_have_cut_is_unfinished(wire: Any, texts: tuple[str, ...]) -> None:
    result = wire.everywhere(wire.start(), wire.call(0, "a", "f", *texts), wire.end("MAX_TOKENS"))
    assert not any(isinstance(frame, ToolCall | InvalidToolCall) for frame in result[0])
    end = end_of(result)
    assert end.unfinished == (UnfinishedCall("a", "f", "".join(texts)),)
    assert end.finish_reason is FinishReason.LENGTH


def test_calls_before_the_one_that_was_cut_are_calls(wire: Any) -> None:
    result = wire.everywhere(
        wire.start(), wire.call(0, "a", "f", "{}"), wire.call(1, "b", "g", '{"x', end=False), wire.end("MAX_TOKENS")
    )
    end = end_of(result)
    assert ToolCall("a", "f", "{}") in result[0]
    assert (end.finish_reason, end.unfinished) == (FinishReason.LENGTH, (UnfinishedCall("b", "g", '{"x'),))


def test_broken_arguments_are_never_run(wire: Any) -> None:
    result = wire.everywhere(wire.start(), wire.call(0, "a", "f", '{"x":'), wire.end("TOOL_CALL"))
    assert [type(frame) for frame in result[0]] == [ToolCallDelta, ToolCallDelta, InvalidToolCall, End]


def test_arguments_in_the_first_event_and_calls_in_a_list(wire: Any) -> None:
    head = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":'}}
    tail = [{"function": {"arguments": "1}"}}]
    result = wire.everywhere(
        wire.start(),
        wire.event("tool-call-start", index=0, delta={"message": {"tool_calls": [head]}}),
        wire.event("tool-call-delta", index=0, delta={"message": {"tool_calls": tail}}),
        wire.event("tool-call-end", index=0),
        wire.end("TOOL_CALL"),
    )
    assert ToolCall("a", "f", '{"x":1}') in result[0]


def test_calls_without_an_index(wire: Any) -> None:
    body = wire.start() + wire.call(0, "a", "f", "{", "}") + wire.call(1, "b", "g", "{}") + wire.end("TOOL_CALL")
    for index in (0, 1):
        body = body.replace(f'"index": {index}, '.encode(), b"").replace(f', "index": {index}'.encode(), b"")
    assert b"index" not in body
    result = wire.everywhere(body)
    assert [call.id for call in message_of(result[0]).tool_calls] == ["a", "b"]


def test_ids_that_the_conversation_has_are_made_new(wire: Any) -> None:
    body = wire.start() + wire.call(0, "a", "f", "{}") + wire.end("TOOL_CALL")
    frames, _ = wire.read([body], ChatDecoder(["a"]))
    assert [frame.id for frame in frames if isinstance(frame, ToolCall)] == ["call00002"]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("COMPLETE", FinishReason.STOP),
        ("STOP_SEQUENCE", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("TOOL_CALL", FinishReason.TOOL_CALLS),
        ("SOMETHING_NEW", FinishReason.OTHER),
        (None, FinishReason.OTHER),
    ],
)
def test_every_finish_reason(wire: Any, word: Any, reason: FinishReason) -> None:
    end = end_of(wire.everywhere(wire.start(), wire.block(0, "text", "x"), wire.end(word)))
    assert (end.finish_reason, end.raw_finish_reason) == (reason, word)


@pytest.mark.parametrize(
    ("delta", "words"),
    [
        ({"finish_reason": "ERROR", "error": "out of memory"}, "out of memory"),
        ({"finish_reason": "TIMEOUT"}, "TIMEOUT"),
        ({"finish_reason": "ERROR"}, "ERROR"),
        ({"finish_reason": "ERROR_TOXIC"}, "ERROR_TOXIC"),
        ({"finish_reason": "COMPLETE", "error": "late"}, "late"),
    ],
)
def test_errors_are_no_answers(wire: Any, delta: dict[str, Any], words: str) -> None:
    events = [wire.start(), wire.block(0, "text", "x"), wire.call(0, "a", "f"), wire.event("message-end", delta=delta)]
    frames, error = wire.everywhere(*events)
    assert error.startswith("ProviderStreamError")
    assert words in error
    assert not any(isinstance(frame, End | ToolCall) for frame in frames)
    decoder = ChatDecoder()
    decoder.feed(b"".join(events))
    assert isinstance(decoder.error, ProviderStreamError)
    assert decoder.error.code == delta["finish_reason"]


@pytest.mark.parametrize("usage", [{"tokens": {"input_tokens": 9.0, "output_tokens": 4}, "cached_tokens": 2.0}])
def test_usage_is_in_tokens_and_not_in_units(wire: Any, usage: dict[str, Any]) -> None:
    told = {**usage, "billed_units": {"input_tokens": 1}}
    assert end_of(wire.everywhere(wire.start(), wire.end(usage=told))).usage == Usage(9, 4, 2)
    others: list[Any] = [None, {}, {"tokens": None}, {"tokens": {"input_tokens": "9", "output_tokens": 1.5}}, []]
    for strange in others:
        assert end_of(wire.everywhere(wire.start(), wire.end(usage=strange))).usage == Usage()


def test_bytes_that_end_too_soon(wire: Any) -> None:
    events = wire.start() + wire.block(0, "text", "Hi") + wire.call(0, "a", "f", "{}")
    for length in range(len(events)):
        frames, error = wire.read([events[:length]])
        assert error.startswith("IncompleteStreamError"), length
        assert not any(isinstance(frame, End) for frame in frames)
    assert wire.everywhere(events, wire.done)[1].startswith("IncompleteStreamError")


def test_unknown_events_are_counted(wire: Any) -> None:
    decoder = ChatDecoder()
    body = [wire.start(), wire.event("weather", sky="blue"), wire.event("debug", prompt="…")]
    body += [wire.event("weather", delta="of another type"), wire.block(0, "text", "x"), wire.end()]
    frames, error = wire.read([b"".join(body)], decoder)
    assert (error, frames[0]) == ("", Append("x"))
    assert decoder.skipped == {"weather": 2}


def test_names_may_stand_in_the_event_alone(wire: Any) -> None:
    body = wire.start() + wire.block(0, "text", "x") + wire.end()
    for kind in ("message-start", "content-start", "content-delta", "content-end", "message-end"):
        body = body.replace(f'{{"type": "{kind}", '.encode(), b"{")
    frames, error = wire.everywhere(body)
    assert (error, frames[0]) == ("", Append("x"))


DELTA = {"message": {"tool_calls": {"function": {"arguments": "{"}}}}
UNKNOWN_CALL = json.dumps({"type": "tool-call-delta", "index": 9, "delta": DELTA}).encode()


@pytest.mark.parametrize(
    "bad",
    [
        b'data: {"type": "content-delta", "index":\n\n',
        b'data: {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": 1}}}}\n\n',
        b'data: {"type": "content-delta", "index": 0}\n\n',
        b"data: " + UNKNOWN_CALL + b"\n\n",
        b'data: {"type": "tool-call-end", "index": 9}\n\n',
        b'data: {"type": "citation-start", "delta": {"message": {"citations": [1]}}}\n\n',
        b"data: nonsense\n\n",
    ],
)
def test_known_events_that_are_malformed(wire: Any, bad: bytes) -> None:
    frames, error = wire.everywhere(wire.start(), wire.block(0, "text", "x"), bad, wire.end())
    assert frames == [Append("x")]
    assert error.startswith("ProtocolError")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"message": "model overloaded", "id": "1"}', "ProviderStreamError('model overloaded')"),
        (b'data: {"message": "model overloaded"}\n\n', "ProviderStreamError('model overloaded')"),
        (b'event: error\ndata: {"message": "model overloaded"}\n\n', "ProviderStreamError('model overloaded')"),
        (b"<html>", "ProtocolError"),
        (b"Not Found", "ProtocolError"),
        (b"", "IncompleteStreamError"),
    ],
)
def test_what_is_no_stream(wire: Any, body: bytes, kind: str) -> None:
    assert wire.everywhere(body)[1].startswith(kind)


def test_halves_of_a_character(wire: Any) -> None:
    result = wire.everywhere(
        wire.start(),
        wire.plan("\ud83d", "\ude00"),
        wire.block(0, "text", "a\ud83d", "\ude00b"),
        wire.call(0, "a", "f", '{"x":"\ud83d', '\ude00"}'),
        wire.end("TOOL_CALL"),
    )
    message = message_of(result[0])
    assert (message.text, message.reasoning) == ("a😀b", "😀")
    assert [call.parsed() for call in message.tool_calls] == [{"x": "😀"}]
    spoken = decode_complete(answer({"role": "assistant", "content": [{"type": "text", "text": "a\ud83d"}]}))
    assert spoken.text == "a\ufffd"


# ------------------------------------------------------------------------------------------- whole answers


def answer(message: dict[str, Any], reason: str = "COMPLETE") -> bytes:
    usage = {"tokens": {"input_tokens": 9, "output_tokens": 4}}
    return json.dumps({"id": "id-1", "finish_reason": reason, "message": message, "usage": usage}).encode()


def test_a_whole_answer_equals_the_streamed_one(wire: Any) -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "null"}},
    ]
    message = {"role": "assistant", "tool_plan": "I will look.", "tool_calls": calls}
    frames, _ = wire.everywhere(
        wire.start(),
        wire.plan("I will ", "look."),
        wire.call(0, "a", "f", '{"x"', ": 1}"),
        wire.call(1, "b", "g"),
        wire.end("TOOL_CALL", usage={"tokens": {"input_tokens": 9, "output_tokens": 4}}),
    )
    assert decode_complete(answer(message, "TOOL_CALL")) == message_of(frames)
    entry = {"start": 0, "end": 2, "text": "Hi"}
    spoken = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}]
    message = {"role": "assistant", "content": spoken, "citations": [entry]}
    frames, _ = wire.everywhere(
        wire.start(),
        wire.block(0, "thinking", "hm"),
        wire.block(1, "text", "H", "i"),
        wire.event("citation-start", index=0, delta={"message": {"citations": entry}}),
        wire.end(usage={"tokens": {"input_tokens": 9, "output_tokens": 4}}),
    )
    assert decode_complete(answer(message)) == message_of(frames)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"message": "no such model"}', ProviderStreamError),
        (answer({"role": "assistant", "content": []}, "TIMEOUT"), ProviderStreamError),
        (b"<html>", ProtocolError),
        (b'{"id": "1"}', ProtocolError),
        (b'{"message": {"content": 1}}', ProtocolError),
        (b"", ProtocolError),
    ],
)
def test_whole_answers_that_are_none(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode_complete(body)


def test_the_words_of_the_sdk_are_known() -> None:
    import typing

    reasons = pytest.importorskip("cohere.types.chat_finish_reason").ChatFinishReason
    words = typing.get_args(typing.get_args(reasons)[0])
    assert set(words) == {"COMPLETE", "STOP_SEQUENCE", "MAX_TOKENS", "TOOL_CALL", "ERROR", "TIMEOUT"}


def test_an_incomplete_stream_keeps_what_came(wire: Any) -> None:
    decoder = ChatDecoder()
    frames = decoder.feed(wire.start() + wire.block(0, "text", "Hi")) + decoder.close()
    assert isinstance(decoder.error, IncompleteStreamError)
    assert message_of(frames).text == "Hi"
