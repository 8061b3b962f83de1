"""The decoder of the Messages API: every line of what Anthropic and its clones really send, at many cuts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.errors import IncompleteStreamError, ProtocolError, ProviderStreamError, StreamError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
    Usage,
)
from promptport.messages import AssistantMessage, TextPart
from promptport.protocols import MessagesDecoder, decode_message
from promptport.stream import message_of
from promptport.testing import assert_valid_stream, cut_body

PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def frames_of(wire: Any, body: bytes) -> list[StreamFrame]:
    """The frames of a complete answer, the same at every cut."""
    seen: list[list[StreamFrame]] = []
    for chunks in wire.cuts(body):
        decoder = MessagesDecoder()
        seen.append(wire.read(decoder, chunks))
        assert decoder.error is None
        assert decoder.ended
    assert all(frames == seen[0] for frames in seen)
    assert_valid_stream(seen[0])
    return seen[0]


def failure_of(wire: Any, body: bytes) -> tuple[StreamError, AssistantMessage]:
    """The error of a bad answer, and what came before it, the same at every cut."""
    seen = []
    for chunks in wire.cuts(body):
        decoder = MessagesDecoder()
        frames = wire.read(decoder, chunks)
        assert decoder.error is not None, frames
        assert not any(isinstance(frame, End) for frame in frames)
        seen.append((decoder.error, frames))
    assert all(
        (type(error), str(error), frames) == (type(seen[0][0]), str(seen[0][0]), seen[0][1]) for error, frames in seen
    )
    return seen[0][0], message_of(seen[0][1])


def ends(wire: Any, body: bytes) -> End:
    end = frames_of(wire, body)[-1]
    assert isinstance(end, End)
    return end


# ------------------------------------------------------------------------------------------------- text


def test_text(wire: Any) -> None:
    body = wire.start() + PING + wire.text(0, "Hel", "", "lo \u2028\x85🙂") + PING + wire.end()
    usage = Usage(input_tokens=10, output_tokens=5)
    assert frames_of(wire, body) == [
        Append("Hel"),
        Append("lo \u2028\x85🙂"),
        End(FinishReason.STOP, "end_turn", usage, "claude-test", "msg_1"),
    ]


def test_every_offset(wire: Any) -> None:
    body = wire.start() + wire.thinking(0, "ä🙂") + wire.tool(1, "t", "f", '{"a"', ": 1}") + wire.end("tool_use")
    whole = MessagesDecoder().feed(body)
    assert isinstance(whole[-1], End)
    for offset in range(1, len(body)):
        decoder = MessagesDecoder()
        assert decoder.feed(body[:offset]) + decoder.feed(body[offset:]) == whole


@given(st.lists(st.integers(0, 2000)), st.text())
def test_any_cut_of_any_text(offsets: list[int], text: str) -> None:
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": text.encode("utf-8", "ignore").decode()},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_stop"},
    ]
    body = b"".join([b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n" for event in events])
    decoder = MessagesDecoder()
    frames = [frame for chunk in cut_body(body, offsets) for frame in decoder.feed(chunk)]
    assert message_of(frames).text == text.encode("utf-8", "ignore").decode()
    assert decoder.ended


def test_line_ends_and_types_only_in_names(wire: Any) -> None:
    body = wire.start() + wire.text(0, "a") + wire.end()
    assert frames_of(wire, body.replace(b"\n", b"\r\n")) == frames_of(wire, body)
    assert frames_of(wire, body.replace(b"\n", b"\r")) == frames_of(wire, body)
    assert frames_of(wire, b": keep-alive\n\n" + body.replace(b"data: ", b"data:")) == frames_of(wire, body)
    assert frames_of(wire, body.rstrip(b"\n")) == frames_of(wire, body)
    assert frames_of(wire, b"\xef\xbb\xbf" + body) == frames_of(wire, body)
    named = body.replace(b'"type": "content_block_delta", ', b"").replace(b'{"type": "message_stop"}', b"{}")
    assert frames_of(wire, named) == frames_of(wire, body)
    unnamed = b"".join([line for line in body.splitlines(keepends=True) if not line.startswith(b"event:")])
    assert frames_of(wire, unnamed) == frames_of(wire, body)


def test_text_without_a_block_start_is_still_text(wire: Any) -> None:
    body = wire.start() + wire.delta(0, "text_delta", text="a") + wire.end()
    assert frames_of(wire, body)[0] == Append("a")


def test_text_in_the_block_start(wire: Any) -> None:
    body = wire.start() + wire.block(0, {"type": "text", "text": "a"}, {"type": "text_delta", "text": "b"}) + wire.end()
    assert frames_of(wire, body)[:2] == [Append("a"), Append("b")]


# ------------------------------------------------------------------------------------------------ calls


def test_calls_between_texts(wire: Any) -> None:
    body = (
        wire.start()
        + wire.text(0, "first")
        + wire.tool(1, "toolu_1", "weather", "", '{"city": ', '"Pa', 'ris"}')
        + wire.text(2, "then")
        + wire.tool(3, "toolu_2", "time", '{"zone": 1}')
        + wire.end("tool_use")
    )
    frames = frames_of(wire, body)
    assert frames[:-1] == [
        Append("first"),
        ToolCallDelta("toolu_1", "weather", ""),
        ToolCallDelta("toolu_1", "weather", '{"city": '),
        ToolCallDelta("toolu_1", "weather", '"Pa'),
        ToolCallDelta("toolu_1", "weather", 'ris"}'),
        ToolCall("toolu_1", "weather", '{"city": "Paris"}'),
        Append("then"),
        ToolCallDelta("toolu_2", "time", ""),
        ToolCallDelta("toolu_2", "time", '{"zone": 1}'),
        ToolCall("toolu_2", "time", '{"zone": 1}'),
    ]


def test_a_call_is_sealed_by_its_block_stop(wire: Any) -> None:
    decoder = MessagesDecoder()
    frames = decoder.feed(wire.start() + wire.tool(0, "t", "f", '{"a": 1}', stop=False))
    assert not any(isinstance(frame, ToolCall) for frame in frames), "whole arguments are not a seal"
    assert decoder.feed(wire.event("content_block_stop", index=0)) == [ToolCall("t", "f", '{"a": 1}')]


def test_interleaved_calls(wire: Any) -> None:
    body = (
        wire.start()
        + wire.tool(0, "a", "f", '{"x"', stop=False)
        + wire.tool(1, "b", "g", '{"y"', stop=False)
        + wire.delta(0, "input_json_delta", partial_json=": 1}")
        + wire.delta(1, "input_json_delta", partial_json=": 2}")
        + wire.event("content_block_stop", index=1)
        + wire.event("content_block_stop", index=0)
        + wire.end("tool_use")
    )
    assert message_of(frames_of(wire, body)).tool_calls == (
        ToolCall("b", "g", '{"y": 2}'),
        ToolCall("a", "f", '{"x": 1}'),
    )


@pytest.mark.parametrize("parts", [(), ("",), ("", ""), ("{}",)])
def test_a_tool_without_arguments(wire: Any, parts: tuple[str, ...]) -> None:
    body = wire.start() + wire.tool(0, "t", "f", *parts) + wire.end("tool_use")
    message = message_of(frames_of(wire, body))
    assert message.tool_calls == (ToolCall("t", "f", "{}"),)
    assert message.finish_reason is FinishReason.TOOL_CALLS


def test_input_that_is_there_at_the_start(wire: Any) -> None:
    caller = {"type": "code_execution_20250825", "tool_id": "srv"}
    raw = wire.tool(0, "t", "f", given={"n": 1}, caller=caller).replace(b'{"n": 1}', b'{"n": 1.50, "s": "\\u00e4"}')
    message = message_of(frames_of(wire, wire.start() + raw + wire.end("tool_use")))
    assert message.tool_calls == (ToolCall("t", "f", '{"n": 1.50, "s": "\\u00e4"}', {"caller": caller}),)


def test_arguments_whose_beginning_is_valid_json(wire: Any) -> None:
    body = (
        wire.start()
        + wire.tool(0, "t", "f", "{}", " ")
        + wire.tool(1, "u", "g", '{"n": 1', "0}")
        + wire.end("tool_use")
    )
    assert [call.arguments for call in message_of(frames_of(wire, body)).tool_calls] == ["{} ", '{"n": 10}']


@pytest.mark.parametrize(("id", "given_id"), [(None, "call00001"), ("", "call00001")])
def test_a_call_without_an_id_gets_one(wire: Any, id: str | None, given_id: str) -> None:
    body = wire.start() + wire.tool(0, id, "f", "{}") + wire.end("tool_use")
    assert message_of(frames_of(wire, body)).tool_calls == (ToolCall(given_id, "f", "{}"),)


def test_a_repeated_id_is_another_call(wire: Any) -> None:
    body = wire.start() + wire.tool(0, "t", "f", '{"a": 1}') + wire.tool(1, "t", "f", '{"a": 2}') + wire.end("tool_use")
    calls = message_of(frames_of(wire, body)).tool_calls
    assert [call.arguments for call in calls] == ['{"a": 1}', '{"a": 2}']
    assert len({call.id for call in calls}) == 2
    decoder = MessagesDecoder(taken={"t"})
    (first, *_) = decoder.feed(wire.start() + wire.tool(0, "t", "f"))
    assert isinstance(first, ToolCallDelta)
    assert first.id != "t"


@pytest.mark.parametrize(("stop_reason"), ["max_tokens", "model_context_window_exceeded", "refusal"])
@pytest.mark.parametrize("parts", [('{"path": "a", "text": "Onc',), ('{"a": 1', ""), ("",), ()])
def test_a_call_that_the_limit_cut_is_unfinished(wire: Any, stop_reason: str, parts: tuple[str, ...]) -> None:
    """With eager input streaming a cut call gets its block stop all the same."""
    body = wire.start() + wire.text(0, "hm") + wire.tool(1, "t", "write", *parts) + wire.end(stop_reason)
    end = ends(wire, body)
    assert end.unfinished == (UnfinishedCall("t", "write", "".join(parts)),)
    assert end.finish_reason is (FinishReason.CONTENT_FILTER if stop_reason == "refusal" else FinishReason.LENGTH)


def test_a_whole_call_before_the_one_that_was_cut(wire: Any) -> None:
    body = wire.start() + wire.tool(0, "a", "now") + wire.tool(1, "b", "f", '{"x') + wire.end("max_tokens")
    message = message_of(frames_of(wire, body))
    assert message.tool_calls == (ToolCall("a", "now", "{}"),)
    assert message.unfinished == (UnfinishedCall("b", "f", '{"x'),)
    assert (message.finish_reason, message.raw_finish_reason) == (FinishReason.LENGTH, "max_tokens")


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", '"text"', "1", "{} {}"])
def test_arguments_that_are_no_object(wire: Any, arguments: str) -> None:
    body = wire.start() + wire.tool(0, "t", "f", arguments) + wire.text(1, "after") + wire.end("tool_use")
    frames = frames_of(wire, body)
    assert isinstance(frames[2], InvalidToolCall), "in its place, in front of what follows"
    assert frames[2].arguments == arguments
    alone = frames_of(wire, wire.start() + wire.tool(0, "t", "f", arguments) + wire.end("tool_use"))
    assert [type(frame) for frame in alone[2:]] == [InvalidToolCall, End]


def test_a_call_without_a_block_stop_is_unfinished(wire: Any) -> None:
    end = ends(wire, wire.start() + wire.tool(0, "t", "f", '{"a": 1}', stop=False) + wire.end("tool_use"))
    assert end.unfinished == (UnfinishedCall("t", "f", '{"a": 1}'),)


def test_arguments_for_no_call(wire: Any) -> None:
    error, _ = failure_of(wire, wire.start() + wire.delta(3, "input_json_delta", partial_json="{}"))
    assert isinstance(error, ProtocolError)


# -------------------------------------------------------------------------------------------- reasoning


def test_thinking_and_its_signature(wire: Any) -> None:
    body = wire.start() + wire.thinking(0, "Let", " me", signature="EqQB") + wire.text(1, "4") + wire.end()
    assert frames_of(wire, body)[:4] == [
        ReasoningAppend("Let"),
        ReasoningAppend(" me"),
        Reasoning("Let me", {"type": "thinking", "signature": "EqQB"}),
        Append("4"),
    ]


def test_thinking_that_is_not_shown(wire: Any) -> None:
    body = (
        wire.start()
        + wire.block(0, {"type": "redacted_thinking", "data": "Eqk="})
        + wire.thinking(1, signature="only")
        + wire.end()
    )
    assert frames_of(wire, body)[:2] == [
        Reasoning("", {"type": "redacted_thinking", "data": "Eqk="}),
        Reasoning("", {"type": "thinking", "signature": "only"}),
    ]


def test_thinking_whose_block_does_not_stop(wire: Any) -> None:
    block = wire.block(
        0, {"type": "thinking", "thinking": "a"}, {"type": "thinking_delta", "thinking": "b"}, stop=False
    )
    assert Reasoning("ab", {"type": "thinking"}) in frames_of(wire, wire.start() + block + wire.end())


def test_thinking_for_no_block(wire: Any) -> None:
    error, _ = failure_of(wire, wire.start() + wire.delta(0, "thinking_delta", thinking="a"))
    assert isinstance(error, ProtocolError)


# ----------------------------------------------------------------------- citations and provider's items


def test_citations_follow_the_text_that_they_are_for(wire: Any) -> None:
    web = {
        "type": "web_search_result_location",
        "url": "https://a.example",
        "title": "A",
        "cited_text": "x",
        "encrypted_index": "E",
    }
    page = {"type": "page_location", "document_title": "B", "cited_text": "y", "document_index": 0}
    cited = wire.block(
        0,
        {"type": "text", "text": "", "citations": []},
        {"type": "citations_delta", "citation": web},
        {"type": "text_delta", "text": "It is so."},
        {"type": "citations_delta", "citation": page},
    )
    assert frames_of(wire, wire.start() + cited + wire.end())[:3] == [
        Append("It is so."),
        Citation("https://a.example", "A", "x", web),
        Citation(None, "B", "y", page),
    ]


def test_items_that_the_provider_ran(wire: Any) -> None:
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result"}]}
    mcp = {"type": "mcp_tool_use", "id": "m", "name": "ask", "server_name": "s", "input": {}}
    body = (
        wire.start()
        + wire.block(
            0, use, *[{"type": "input_json_delta", "partial_json": part} for part in ("", '{"query": ', '"q"}')]
        )
        + wire.block(1, result)
        + wire.block(2, mcp, {"type": "input_json_delta", "partial_json": ""})
        + wire.text(3, "a")
        + wire.end("pause_turn")
    )
    frames = frames_of(wire, body)
    assert frames[:4] == [
        ProviderItem("server_tool_use", {**use, "input": {"query": "q"}}),
        ProviderItem("web_search_tool_result", result),
        ProviderItem("mcp_tool_use", mcp),
        Append("a"),
    ]
    assert frames[-1].finish_reason is FinishReason.PAUSED  # type: ignore[union-attr]


def test_blocks_that_nobody_knows_yet_are_kept_with_their_deltas(wire: Any) -> None:
    compaction = {"type": "compaction", "content": None, "encrypted_content": None}
    new = {"type": "connector_text", "text": "", "n": 1}
    body = (
        wire.start()
        + wire.block(0, compaction, {"type": "compaction_delta", "content": "Earlier", "encrypted_content": "Epw"})
        + wire.block(
            1,
            new,
            {"type": "text_delta", "text": "not "},
            {"type": "text_delta", "text": "the answer"},
            {"type": "new_delta", "text": {"odd": 1}, "n": 2},
        )
        + wire.text(2, "answer")
        + wire.end()
    )
    assert frames_of(wire, body)[:3] == [
        ProviderItem("compaction", {"type": "compaction", "content": "Earlier", "encrypted_content": "Epw"}),
        ProviderItem("connector_text", {"type": "connector_text", "text": {"odd": 1}, "n": 2}),
        Append("answer"),
    ]


def test_content_that_is_there_in_message_start(wire: Any) -> None:
    result = {"type": "code_execution_tool_result", "tool_use_id": "s", "content": {"stdout": "1"}}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"id": "c"}, "caller": {"type": "direct"}}
    body = wire.start([result, call], "tool_use") + wire.event("message_stop")
    frames = frames_of(wire, body)
    assert frames[0] == ProviderItem("code_execution_tool_result", result)
    assert frames[3] == ToolCall("t", "f", '{"id": "c"}', {"caller": {"type": "direct"}})
    assert frames[-1].raw_finish_reason == "tool_use"  # type: ignore[union-attr]


def test_message_start_twice(wire: Any) -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"id": "c"}}
    assert frames_of(wire, wire.start([call]) * 2 + wire.end()) == frames_of(wire, wire.start([call]) + wire.end())


# ---------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize(
    ("stop_reason", "expected"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("pause_turn", FinishReason.PAUSED),
        ("refusal", FinishReason.CONTENT_FILTER),
        ("compaction", FinishReason.OTHER),
        (None, FinishReason.OTHER),
    ],
)
def test_stop_reasons(wire: Any, stop_reason: str | None, expected: FinishReason) -> None:
    end = ends(wire, wire.start() + wire.text(0, "a") + wire.end(stop_reason))
    assert (end.finish_reason, end.raw_finish_reason) == (expected, stop_reason)


def test_calls_end_in_tool_calls_whatever_the_provider_says(wire: Any) -> None:
    end = ends(wire, wire.start() + wire.tool(0, "t", "f", '{"a": 1}') + wire.end("end_turn"))
    assert (end.finish_reason, end.raw_finish_reason) == (FinishReason.TOOL_CALLS, "end_turn")


def test_usage_is_cumulative_and_counts_the_cache_in(wire: Any) -> None:
    body = (
        wire.start(cache_read_input_tokens=100, cache_creation_input_tokens=20)
        + wire.text(0, "a")
        + wire.event("message_delta", delta={}, usage={"output_tokens": 3})
        + wire.event(
            "message_delta",
            delta={"stop_reason": "end_turn"},
            usage={"output_tokens": 9, "input_tokens": None, "output_tokens_details": {"thinking_tokens": 4}},
        )
        + wire.event("message_delta", usage={"output_tokens": 10})
        + wire.event("message_stop")
    )
    assert ends(wire, body).usage == Usage(130, 10, 100, 20, 4)


def test_no_usage_at_all(wire: Any) -> None:
    body = wire.event("message_start", message={"usage": "?"}) + wire.text(0, "a") + wire.event("message_stop")
    assert ends(wire, body).usage == Usage()


def test_what_follows_the_end_is_ignored(wire: Any) -> None:
    body = wire.start() + wire.text(0, "a") + wire.end()
    for more in (body, b"data: [DONE]\n\n", b"event: data\ndata: [DONE]\n\n", wire.event("message_stop")):
        assert frames_of(wire, body + more) == frames_of(wire, body)


def test_end_of_bytes_before_message_stop(wire: Any) -> None:
    body = wire.start() + wire.text(0, "a") + wire.tool(1, "t", "f", '{"a": 1}') + wire.tool(2, "u", "g", "{")
    for cut in (
        body,
        body + wire.end("tool_use").partition(b"event: message_stop")[0],
        body + b"event: message_stop\n\n",
    ):
        error, partial = failure_of(wire, cut)
        assert isinstance(error, IncompleteStreamError)
        assert partial.text == "a"
        assert partial.tool_calls == (ToolCall("t", "f", '{"a": 1}'),)


def test_end_of_bytes_after_a_call_without_arguments(wire: Any) -> None:
    """Nobody knows whether the limit cut it: it is not run."""
    error, partial = failure_of(wire, wire.start() + wire.tool(0, "t", "f", ""))
    assert isinstance(error, IncompleteStreamError)
    assert partial.unfinished == (UnfinishedCall("t", "f", ""),)


def test_end_of_bytes_at_every_offset_is_never_an_end(wire: Any) -> None:
    body = wire.start() + wire.text(0, "ä") + wire.tool(1, "t", "f", '{"a": 1}') + wire.end("tool_use")
    for offset in range(len(body.rstrip(b"\n"))):
        decoder = MessagesDecoder()
        frames = wire.read(decoder, [body[:offset]])
        assert isinstance(decoder.error, IncompleteStreamError), offset
        assert not decoder.ended
        assert all(frame.arguments == '{"a": 1}' for frame in frames if isinstance(frame, ToolCall))


# ------------------------------------------------------------------------- errors, unknown and malformed


def test_error_events(wire: Any) -> None:
    error = wire.event("error", error={"type": "overloaded_error", "message": "Overloaded", "details": None})
    failure, partial = failure_of(wire, wire.start() + wire.text(0, "a") + error + wire.end())
    assert isinstance(failure, ProviderStreamError)
    assert (failure.code, str(failure), partial.text) == ("overloaded_error", "Overloaded", "a")
    for odd in (
        b"event: error\ndata: Overloaded\n\n",
        b'event: error\ndata: {"error": {"message": "Overloaded"}}\n\n',
        b'event: error\ndata: {"type": "error", "index": {}, "error": "Overloaded"}\n\n',
    ):
        failure, _ = failure_of(wire, wire.start() + odd)
        assert isinstance(failure, ProviderStreamError)
        assert str(failure) == "Overloaded"


def test_an_error_in_place_of_a_stream(wire: Any) -> None:
    failure, _ = failure_of(wire, b'{"type": "error",\n "error": {"type": "api_error", "message": "Internal"}}')
    assert isinstance(failure, ProviderStreamError)
    assert failure.code == "api_error"
    for body in (b"<!doctype html><html>\n<p>hi</p></html>", b'{"hello": 1}', b"nothing\n"):
        failure, _ = failure_of(wire, body)
        assert isinstance(failure, ProtocolError)
    failure, _ = failure_of(wire, b"")
    assert isinstance(failure, IncompleteStreamError)


def test_unknown_events_are_skipped_and_counted(wire: Any) -> None:
    extra = (
        wire.event("vendor_event", delta=3)
        + b"event: log\ndata: not json\n\n"
        + b"event: ping\ndata: -\n\n"
        + b"data: [1]\n\n"
        + b"data: [DONE]\n\n"
        + wire.event("content_block_stop", index=7)
    )
    text = wire.block(
        0,
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "a", "new": 1},
        {"type": "mood_delta", "text": 5},
        {"type": "mood_delta"},
    )
    body = wire.start() + extra + text + wire.end()
    assert frames_of(wire, body)[0] == Append("a")
    decoder = MessagesDecoder()
    decoder.feed(body)
    assert decoder.skipped == {
        "vendor_event": 1,
        "log": 1,
        "ping": 1,
        "an event without a type": 1,
        "[DONE]": 1,
        "content_block_stop without a block": 1,
        "content_block_delta mood_delta": 2,
    }


@pytest.mark.parametrize(
    "event",
    [
        b"data: {nonsense\n\n",
        b"event: content_block_delta\ndata: \n\n",
        b'data: {"type": "content_block_delta", "index": 0}\n\n',
        b'data: {"type": "content_block_delta", "index": 0, "delta": {}}\n\n',
        b'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}}\n\n',
        b'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 5}}\n\n',
        b'data: {"type": "content_block_delta", "index": [], "delta": {"type": "text_delta", "text": "a"}}\n\n',
        b'data: {"type": "content_block_start", "index": 0}\n\n',
        b'data: {"type": "content_block_start", "index": 0, "content_block": {}}\n\n',
        b'data: {"type": "content_block_start", "index": 0, "content_block": []}\n\n',
        b'data: {"type": "message_start"}\n\n',
        b'data: {"type": "error", "error": {"message": "\xff"}}\n\n',
        b'data: {"type": "message_start", "message": {"content": [3]}}\n\n',
        b'data: {"type": "message_delta", "delta": {"stop_reason": 3}}\n\n',
        b'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "\xff"}}\n\n',
    ],
)
def test_malformed_events(wire: Any, event: bytes) -> None:
    error, partial = failure_of(wire, wire.text(1, "before") + event + wire.end())
    assert isinstance(error, ProtocolError)
    assert partial.text == "before"
    assert "before" not in str(error)


def test_two_blocks_at_one_index(wire: Any) -> None:
    error, _ = failure_of(wire, wire.tool(0, "t", "f", stop=False) + wire.tool(0, "u", "g"))
    assert isinstance(error, ProtocolError)


def test_a_huge_event(wire: Any) -> None:
    text = "x" * (3 << 20)
    decoder = MessagesDecoder()
    frames = wire.read(decoder, cut_body(wire.start() + wire.text(0, text) + wire.end(), range(0, 4 << 20, 65536)))
    assert frames[0] == Append(text)
    decoder = MessagesDecoder()
    for _ in range(40):
        decoder.feed(b"data: " + b"x" * (1 << 20))
    assert isinstance(decoder.error, ProtocolError)


def test_many_shapes_of_bytes_raise_nothing_else() -> None:
    for event in (
        b"data: " + b"[" * 100_000,
        b"data: \xff\xfe",
        b"data: {}",
        b"data: 1",
        b"data: null",
        b'data: ""',
        b'data: {"type": 3}',
    ):
        decoder = MessagesDecoder()
        decoder.feed(event + b"\n\n")
        decoder.close()
        assert decoder.error is not None


# ---------------------------------------------------------------------------------- without streaming


def complete(*content: dict[str, Any], stop_reason: str = "end_turn") -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 5}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": content}
    return json.dumps({**message, "stop_reason": stop_reason, "usage": usage}).encode()


def test_streamed_equals_complete(wire: Any) -> None:
    web = {"type": "web_search_result_location", "url": "https://a.example", "title": "A", "cited_text": "x"}
    use = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}}
    result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    redacted = {"type": "redacted_thinking", "data": "R"}
    body = (
        wire.start()
        + wire.thinking(0, "think")
        + wire.block(1, redacted)
        + wire.block(2, {**use, "input": {}}, {"type": "input_json_delta", "partial_json": '{"q": 1}'})
        + wire.block(3, result)
        + wire.block(
            4,
            {"type": "text", "text": ""},
            {"type": "citations_delta", "citation": web},
            {"type": "text_delta", "text": "cited"},
        )
        + wire.text(5, "plain")
        + wire.tool(6, "t", "f", '{"a": 1}')
        + wire.tool(7, "u", "g", "")
        + wire.end("tool_use")
    )
    whole = complete(
        {"type": "thinking", "thinking": "think", "signature": "sig"},
        redacted,
        use,
        result,
        {"type": "text", "text": "cited", "citations": [web]},
        {"type": "text", "text": "plain", "citations": None},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "u", "name": "g", "input": {}},
        stop_reason="tool_use",
    )
    streamed = message_of(frames_of(wire, body))
    assert decode_message(whole) == streamed
    assert streamed.parts[-3:] == (TextPart("plain"), ToolCall("t", "f", '{"a": 1}'), ToolCall("u", "g", "{}"))


def test_complete_and_cut() -> None:
    message = decode_message(
        complete({"type": "tool_use", "id": "t", "name": "f", "input": {}}, stop_reason="max_tokens")
    )
    assert message.tool_calls == ()
    assert message.unfinished == (UnfinishedCall("t", "f", ""),)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}', ProviderStreamError),
        (b"<html></html>", ProtocolError),
        (b"", ProtocolError),
        (b"[]", ProtocolError),
        (b"{}", ProtocolError),
        (b'{"content": [{"type": 5}]}', ProtocolError),
        (b'{"content": "text"}', ProtocolError),
    ],
)
def test_complete_and_wrong(body: bytes, kind: type[StreamError]) -> None:
    with pytest.raises(kind):
        decode_message(body)


def events(*told: dict[str, Any]) -> bytes:
    start = {"type": "message_start", "message": {"id": "m", "model": "m", "content": [], "usage": {}}}
    return b"".join(
        [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in (start, *told, STOPPED)]
    )


STOPPED = {"type": "message_stop"}
OPENED = {"type": "content_block_start", "content_block": {"type": "thinking", "thinking": "", "signature": ""}}
CALLED = {
    "type": "content_block_start",
    "index": 0,
    "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
}


def thought(index: int, text: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "thinking_delta", "thinking": text}}


@pytest.mark.parametrize("closed", [[], [{"type": "content_block_stop", "index": 0}]])
def test_thoughts_that_nobody_closed_end_where_the_next_block_begins(wire: Any, closed: list[dict[str, Any]]) -> None:
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    told = [{**OPENED, "index": 0}, thought(0, "a"), {**OPENED, "index": 1}, thought(1, "b"), *closed, ended]
    frames = frames_of(wire, events(*told))
    assert [type(frame) for frame in frames] == [ReasoningAppend, Reasoning, ReasoningAppend, Reasoning, End]


@pytest.mark.parametrize("arguments", [[], ["{}"], ['{"a":', " 1}"]])
@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "model_context_window_exceeded"])
def test_a_call_that_was_open_when_the_limit_came_is_no_call(wire: Any, arguments: list[str], reason: str) -> None:
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": text}}
        for text in arguments
    ]
    limit = {"type": "message_delta", "delta": {"stop_reason": reason}}
    frames = frames_of(wire, events(CALLED, *deltas, limit, {"type": "content_block_stop", "index": 0}))
    assert not any(isinstance(frame, ToolCall) for frame in frames)
    end = frames[-1]
    assert isinstance(end, End)
    assert end.unfinished == (UnfinishedCall("t", "f", "".join(arguments)),)
