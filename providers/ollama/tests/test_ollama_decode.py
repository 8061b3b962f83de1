"""The decoder: every line of NDJSON that an Ollama server is known to send, cut in every way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptport.errors import IncompleteStreamError, ProtocolError, ProviderStreamError, StreamError
from promptport.frames import (
    Append,
    End,
    FinishReason,
    InvalidToolCall,
    Reasoning,
    ReasoningAppend,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from promptport.stream import message_of
from promptport.testing import Cut, assert_valid_stream, cut_body
from promptport_ollama._decode import ChatDecoder, decode_complete


def line(message: dict[str, Any] | None = None, **fields: Any) -> bytes:
    body: dict[str, Any] = {"model": "qwen3:4b", "created_at": "2026-08-04T19:59:02.854866Z"}
    if message is not None:
        body["message"] = {"role": "assistant", **message}
    return json.dumps({**body, "done": False, **fields}, ensure_ascii=False).encode() + b"\n"


def text(content: str) -> bytes:
    return line({"content": content})


def called(*calls: dict[str, Any], content: str = "") -> bytes:
    return line({"content": content, "tool_calls": list(calls)})


def call(name: Any, arguments: Any, **fields: Any) -> dict[str, Any]:
    return {**fields, "function": {"name": name, "arguments": arguments}}


def done(reason: str | None = "stop", content: str = "", **fields: Any) -> bytes:
    fields = {"done": True, **({"done_reason": reason} if reason is not None else {}), **fields}
    return line({"content": content}, **fields)


def decode(*chunks: bytes) -> tuple[list[StreamFrame], StreamError | None]:
    decoder = ChatDecoder()
    frames: list[StreamFrame] = []
    for chunk in chunks:
        frames += decoder.feed(chunk)
        if decoder.error is not None or decoder.ended:
            break
    else:
        frames += decoder.close()
    return frames, decoder.error


def frames_of(*lines: bytes) -> list[StreamFrame]:
    frames, error = decode(b"".join(lines))
    assert error is None
    assert_valid_stream(frames)
    return frames


def outcome(body: bytes, cut: Cut) -> tuple[list[StreamFrame], type[StreamError] | None, str]:
    frames, error = decode(*cut_body(body, cut))
    return frames, type(error) if error is not None else None, str(error)


# --------------------------------------------------------------------------------------------- the answer


def test_text_usage_and_model() -> None:
    counts: dict[str, Any] = {
        "prompt_eval_count": 25,
        "eval_count": 9,
        "prompt_eval_cached_count": 20,
        "total_duration": 246778792,
    }
    assert frames_of(text("Hel"), text("lo"), done(**counts)) == [
        Append("Hel"),
        Append("lo"),
        End(FinishReason.STOP, "stop", Usage(25, 9, 20), "qwen3:4b"),
    ]


def test_missing_and_unusable_counts_are_none() -> None:
    assert frames_of(done())[-1] == End(FinishReason.STOP, "stop", Usage(), "qwen3:4b")
    odd = frames_of(done(prompt_eval_count="12", eval_count=None, model=None))[-1]
    assert odd == End(FinishReason.STOP, "stop", Usage(), None)


def test_content_in_the_terminal_line() -> None:
    assert [frame for frame in frames_of(text("a"), done(content="b")) if type(frame) is Append] == [
        Append("a"),
        Append("b"),
    ]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("load", FinishReason.OTHER),
        ("unload", FinishReason.OTHER),
        ("something new", FinishReason.OTHER),
        (None, FinishReason.OTHER),
    ],
)
def test_done_reasons(word: str | None, reason: FinishReason) -> None:
    end = frames_of(done(word))[-1]
    assert isinstance(end, End)
    assert (end.finish_reason, end.raw_finish_reason) == (reason, word)


def test_a_terminal_without_a_message() -> None:
    assert frames_of(text("a"), b'{"done":true,"done_reason":"stop"}\n')[-1] == End(FinishReason.STOP, "stop")


def test_what_follows_the_terminal_is_ignored() -> None:
    assert len(frames_of(done(), done("length"), text("late"))) == 1


def test_empty_and_null_content_give_no_frame() -> None:
    lines = [line({"content": ""}), line({"content": None}), line({}), line({"content": "a", "tool_calls": None})]
    assert len(frames_of(*lines, line({"content": "b", "tool_calls": [], "thinking": None}), done())) == 3


# ------------------------------------------------------------------------------------------------ thinking


def test_thinking_ends_with_the_text() -> None:
    assert frames_of(line({"thinking": "I "}), line({"content": "", "thinking": "think"}), text("so"), done())[:-1] == [
        ReasoningAppend("I "),
        ReasoningAppend("think"),
        Reasoning("I think"),
        Append("so"),
    ]


def test_thinking_ends_with_a_call_and_with_the_answer() -> None:
    frames = frames_of(line({"thinking": "a"}), called(call("f", {}, id="c1")), line({"thinking": "b"}), done())
    assert [type(frame) for frame in frames] == [
        ReasoningAppend,
        Reasoning,
        ToolCallDelta,
        ToolCall,
        ReasoningAppend,
        Reasoning,
        End,
    ]


def test_thinking_and_text_in_one_line() -> None:
    frames = frames_of(line({"thinking": "a", "content": "b"}), done())
    assert frames[:-1] == [ReasoningAppend("a"), Reasoning("a"), Append("b")]


# --------------------------------------------------------------------------------------------------- calls


def test_a_call_comes_whole_and_the_stream_ends_in_tool_calls() -> None:
    frames = frames_of(text("Let me see."), called(call("weather", {"city": "Paris"}, id="call_1")), done("stop"))
    assert frames[1:] == [
        ToolCallDelta("call_1", "weather", '{"city": "Paris"}'),
        ToolCall("call_1", "weather", '{"city": "Paris"}'),
        End(FinishReason.TOOL_CALLS, "stop", Usage(), "qwen3:4b"),
    ]


def test_several_calls_in_one_line_and_one_a_line() -> None:
    first, second = call("f", {"a": 1}), call("f", {"a": 1})
    together, apart = frames_of(called(first, second), done()), frames_of(called(first), called(second), done())
    assert together == apart
    calls = message_of(together).tool_calls
    assert [(made.name, made.parsed()) for made in calls] == [("f", {"a": 1})] * 2
    assert len({made.id for made in calls}) == 2


def test_missing_ids_are_made_up_past_those_of_the_conversation() -> None:
    decoder = ChatDecoder({"call00001"})
    frames = decoder.feed(called(call("f", {}), call("g", {}, id=""), call("h", {}, id=7), call("i", {}, id="own")))
    ids = [frame.id for frame in frames if isinstance(frame, ToolCall)]
    assert len(set(ids)) == 4
    assert "call00001" not in ids
    assert ids[-1] == "own"


def test_a_repeated_id_is_replaced() -> None:
    frames = frames_of(called(call("f", {}, id="x")), called(call("f", {}, id="x")), done())
    assert len({frame.id for frame in frames if isinstance(frame, ToolCall)}) == 2


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ({"name": "f"}, "{}"),
        ({"name": "f", "arguments": None}, "{}"),
        ({"name": "f", "arguments": {}}, "{}"),
        ({"name": "f", "arguments": ""}, "{}"),
        ({"name": "f", "arguments": '{"a": 1}'}, '{"a": 1}'),
        ({"name": "f", "arguments": {"n": 123456789012345678901234567890}}, '{"n": 123456789012345678901234567890}'),
    ],
)
def test_arguments_as_object_text_or_nothing(function: dict[str, Any], arguments: str) -> None:
    sealed = frames_of(called({"id": "c", "function": function}), done())[1]
    assert sealed == ToolCall("c", "f", arguments)


@pytest.mark.parametrize(
    "made",
    [call("f", [1]), call("f", 1), call("f", '{"a":'), call("", {}), call(None, {}), {"function": None}, {}],
)
def test_calls_that_cannot_be_run(made: Any) -> None:
    frames = frames_of(called(made), done())
    assert [type(frame) for frame in frames] == [ToolCallDelta, InvalidToolCall, End]


def test_a_call_before_the_connection_breaks_was_safe_to_run() -> None:
    frames, error = decode(called(call("f", {}, id="c")))
    assert frames[-1] == ToolCall("c", "f", "{}")
    assert type(error) is IncompleteStreamError


# -------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "error", ["the model crashed", {"message": "the model crashed", "code": "crash"}, {"error": "the model crashed"}]
)
def test_an_error_line_in_a_successful_stream(error: Any) -> None:
    frames, raised = decode(text("Yes"), json.dumps({"error": error}).encode() + b"\n")
    assert frames == [Append("Yes")]
    assert type(raised) is ProviderStreamError
    assert "the model crashed" in str(raised)
    assert raised.code == ("crash" if "code" in error else None)


def test_an_error_body_in_place_of_a_stream() -> None:
    frames, raised = decode(b'{"error":"model requires more system memory"}')
    assert frames == []
    assert type(raised) is ProviderStreamError


def test_an_empty_error_is_none() -> None:
    assert len(frames_of(line({"content": "a"}, error=""), line({"content": "b"}, error=None), done())) == 3


def test_a_clean_end_without_the_terminal_is_incomplete() -> None:
    frames, raised = decode(text("all that the model wanted to say."))
    assert len(frames) == 1
    assert type(raised) is IncompleteStreamError
    assert type(decode()[1]) is IncompleteStreamError


def test_a_cut_inside_a_line_is_incomplete() -> None:
    body = text("a") + text("b")
    frames, raised = decode(body[:-10])
    assert frames == [Append("a")]
    assert type(raised) is IncompleteStreamError


def test_a_terminal_without_a_line_end() -> None:
    assert frames_of(text("a"), done().rstrip())[-1] == frames_of(done())[-1]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"{not json}\n", "malformed"),
        (b"[1]\n", "object"),
        (b'"text"\n', "object"),
        (b"data: {}\n", "malformed"),
        (b'{"message":{"content":5}}\n', "message.content"),
        (b'{"message":"text"}\n', "message"),
        (b'{"message":{"content":"\xff"}}\n', "UTF-8"),
        (b'{"done":true,"model":"\xff"}\n', "UTF-8"),
        (b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a":"\xff"}}}]}}\n', "UTF-8"),
        (b'{"x":' + b"[" * 100_000 + b"\n", "deep"),
        (b"<!DOCTYPE html>\n<html></html>\n", "base_url"),
        (b"<html></html>", "base_url"),
        (b"Bad gateway", "/api/chat"),
    ],
)
def test_malformed_lines(bad: bytes, says: str) -> None:
    frames, raised = decode(text("a") + bad)
    assert frames == [Append("a")]
    assert type(raised) is ProtocolError
    assert says in str(raised)
    assert raised.__cause__ is None


def test_errors_show_nothing_of_the_answer() -> None:
    for bad in (b'{"message":{"content":"secret words"} x', b'{"message":{"thinking":5,"content":"secret words"}}\n'):
        _, raised = decode(bad + b"\n")
        assert isinstance(raised, ProtocolError)
        assert "secret" not in repr(raised)


def test_unknown_lines_and_fields_are_skipped_and_counted() -> None:
    decoder = ChatDecoder()
    body = b'{"status":"loading model"}\n{}\n' + line({"content": "a", "logprobs": [1]}, remote_host="x") + done()
    frames = decoder.feed(b'{"status":"pulling"}\n' + body)
    assert [type(frame) for frame in frames] == [Append, End]
    assert decoder.skipped == {"status": 2, "an empty object": 1}


# --------------------------------------------------------------------------------------------- the transport


SEPARATORS = "next\u0085line\u2028separator\u2029paragraph\x0b\x0c\x1c\x1d\x1e end"


def test_separators_inside_json_text_are_not_line_ends() -> None:
    answer = frames_of(text(SEPARATORS), called(call("f", {"a": SEPARATORS})), done())
    assert message_of(answer).text == SEPARATORS
    assert message_of(answer).tool_calls[0].parsed() == {"a": SEPARATORS}


def test_line_ends_blank_lines_and_a_byte_order_mark() -> None:
    plain = text("ä") + done()
    odd = b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n\r\n \n")
    assert decode(odd) == decode(plain)
    assert decode(b"\xef\xbb\xbf" + done()) == decode(done())


def test_one_huge_line() -> None:
    huge = "x" * (4 << 20)
    assert frames_of(text(huge), done())[0] == Append(huge)


def test_a_line_that_never_ends() -> None:
    decoder = ChatDecoder()
    for _ in range(40):
        frames = decoder.feed(b'{"message":{"content":"' + b"x" * (1 << 20))
        if decoder.error is not None:
            break
    assert frames == []
    assert isinstance(decoder.error, ProtocolError)
    assert decoder.feed(done()) == []


WIRES = {
    "text": text("Grüße, ") + text(SEPARATORS) + text("🙂") + done(prompt_eval_count=1),
    "calls": line({"thinking": "ü"})
    + called(call("f", {"a": "é"}), call("g", {}), content="x")
    + called(call("h", "{"))
    + done(),
    "error": text("ü") + b'{"error":"no"}\n' + text("late"),
    "malformed": text("a") + b"{]\n" + done(),
    "cut": (text("a") + done())[:-20],
    "not UTF-8": text("a") + b'{"message":{"content":"\xff"}}\n',
    "crlf": (text("a") + text("b") + done()).replace(b"\n", b"\r\n\r\n"),
    "html": b"<html>\n<body>",
    "empty": b"",
}


@pytest.mark.parametrize("name", WIRES)
def test_bytewise_is_as_whole(name: str) -> None:
    assert outcome(WIRES[name], "bytes") == outcome(WIRES[name], "whole")


@pytest.mark.parametrize("name", [name for name in WIRES if WIRES[name]])
def test_every_single_cut_is_as_whole(name: str) -> None:
    body = WIRES[name]
    whole = outcome(body, "whole")
    assert all(outcome(body, [offset]) == whole for offset in range(1, len(body)))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(WIRES)), st.lists(st.integers(0, 1000), max_size=12))
def test_random_cuts_are_as_whole(name: str, offsets: list[int]) -> None:
    assert outcome(WIRES[name], offsets) == outcome(WIRES[name], "whole")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=8), st.integers(0, 9))
def test_any_text_comes_through(parts: list[str], seed: int) -> None:
    body = b"".join(map(text, parts)) + done()
    frames, error = decode(*cut_body(body, ("random", seed)))
    assert error is None
    assert frames[:-1] == [Append(part) for part in parts]


# ----------------------------------------------------------------------------------------- the whole answer


def test_complete_equals_streamed() -> None:
    streamed = frames_of(
        line({"thinking": "I "}),
        line({"thinking": "think"}),
        text("Hel"),
        text("lo"),
        called(call("f", {"a": 1}, id="c"), call("g", {})),
        done(prompt_eval_count=3, eval_count=4),
    )
    body = line(
        {"thinking": "I think", "content": "Hello", "tool_calls": [call("f", {"a": 1}, id="c"), call("g", {})]},
        done=True,
        done_reason="stop",
        prompt_eval_count=3,
        eval_count=4,
    )
    assert decode_complete(body) == message_of(streamed)


def test_complete_may_be_written_on_many_lines() -> None:
    body = json.dumps(json.loads(done(content="a")), indent=2).encode()
    assert decode_complete(b"\xef\xbb\xbf" + body).text == "a"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", IncompleteStreamError),
        (b" \n", IncompleteStreamError),
        (text("a"), IncompleteStreamError),
        (done(content="a")[:-9], IncompleteStreamError),
        (b'{"error":"no"}', ProviderStreamError),
        (b"<html>", ProtocolError),
        (b"[]", ProtocolError),
    ],
)
def test_complete_that_is_not(body: bytes, kind: type[StreamError]) -> None:
    with pytest.raises(kind):
        decode_complete(body)


def test_complete_keeps_clear_of_the_conversations_ids() -> None:
    body = line({"content": "", "tool_calls": [call("f", {}, id="x"), call("g", {})]}, done=True)
    first, second = decode_complete(body, {"x", "call00002"}).tool_calls
    assert len({first.id, second.id, "x", "call00002"}) == 4
