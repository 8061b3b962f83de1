"""OpenAI Responses, the way in: everything but the calls (for these see `test_responses_calls.py`)."""

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
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    UnfinishedCall,
    Usage,
)
from promptport.messages import TextPart
from promptport.protocols import decode_response
from promptport.stream import message_of

# -------------------------------------------------------------------------------------------------------- text


def test_text_usage_and_identity(wire: Any) -> None:
    usage = {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 4},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
    }
    outcome = wire.decode(
        wire.event("response.created", response={"id": "resp_1", "model": "gpt-4.1-2025-04-14"}),
        wire.event("response.in_progress", response={}),
        wire.added(0, wire.message("")),
        wire.text("Hel"),
        wire.text("lo"),
        wire.event("response.output_text.done", output_index=0, content_index=0, text="Hello"),
        wire.done(0, wire.message("Hello", id="msg_1")),
        wire.completed(wire.message("Hello"), usage=usage),
    )
    end = End(FinishReason.STOP, "completed", Usage(12, 7, 3, 4, 2), "gpt-4.1-2025-04-14", "resp_1")
    assert outcome.frames == [Append("Hel"), Append("lo"), end]
    assert outcome.skipped == {}


def test_text_that_comes_only_whole(wire: Any) -> None:
    text_done = wire.event("response.output_text.done", output_index=0, content_index=0, text="Hello")
    for events in (
        [text_done, wire.done(0, wire.message("Hello")), wire.completed(wire.message("Hello"))],
        [wire.done(0, wire.message("Hello")), wire.completed()],
        [wire.completed(wire.message("Hello"))],
        [wire.incomplete("max_output_tokens", wire.message("Hello"))],
        [
            wire.text("Hello", output_index=None),
            text_done,
            text_done,
            wire.done(..., wire.message("Hello")),
            wire.completed(),
        ],
    ):
        assert wire.decode(*events).message.parts == (TextPart("Hello"),)


def test_several_messages_whose_ends_lack_the_index(wire: Any) -> None:
    outcome = wire.decode(
        wire.text("First "),
        wire.text("message"),
        wire.done(..., wire.message("First message", id="msg_1")),
        wire.text("Second", output_index=1),
        wire.done(..., wire.message("Second", id="msg_2")),
        wire.completed(),
    )
    assert outcome.message.text == "First messageSecond"


def test_the_head_of_a_message_is_kept_where_the_model_wants_it_back(wire: Any) -> None:
    head = {"type": "message", "role": "assistant", "status": "completed", "id": "msg_1", "phase": "final_answer"}
    outcome = wire.decode(
        wire.text("Hi"), wire.done(0, wire.message("Hi", id="msg_1", phase="final_answer")), wire.completed()
    )
    assert outcome.message.parts == (TextPart("Hi"), ProviderItem("message", head))
    reasoned = wire.decode(
        wire.done(0, {"type": "reasoning", "id": "rs_1", "summary": []}),
        wire.text("Hi", output_index=1),
        wire.done(1, wire.message("Hi", id="msg_1")),
        wire.completed(),
    )
    del head["phase"]
    assert reasoned.message.parts[1:] == (TextPart("Hi"), ProviderItem("message", head))
    assert wire.decode(
        wire.text("Hi"), wire.done(0, wire.message("Hi", id="msg_1")), wire.completed()
    ).message.parts == (TextPart("Hi"),)


def test_citations_come_with_the_end_of_their_message(wire: Any) -> None:
    note = {"type": "url_citation", "url": "https://example.org", "title": "Example", "start_index": 0, "end_index": 2}
    file = {"type": "file_citation", "file_id": "file_1", "filename": "a.pdf", "index": 3}
    whole = wire.message("Hi.")
    whole["content"][0]["annotations"] = [note, file]
    note_added = wire.event(
        "response.output_text.annotation.added", output_index=0, annotation_index=0, annotation=note
    )
    cited = Citation("https://example.org", "Example", None, note)
    outcome = wire.decode(wire.text("Hi"), note_added, wire.text("."), wire.done(0, whole), wire.completed(whole))
    assert outcome.message.parts == (TextPart("Hi."), cited, Citation(None, "a.pdf", None, file))
    unlisted = wire.decode(wire.text("Hi."), note_added, wire.done(0, wire.message("Hi.")), wire.completed())
    assert unlisted.message.parts == (TextPart("Hi."), cited)


def test_a_refusal_is_no_answer_text(wire: Any) -> None:
    parts = [
        wire.event("response.refusal.delta", output_index=0, content_index=0, delta="I can't "),
        wire.event("response.refusal.delta", output_index=0, content_index=0, delta="help."),
        wire.event("response.refusal.done", output_index=0, content_index=0, refusal="I can't help."),
    ]
    item = {**wire.message(""), "content": [{"type": "refusal", "refusal": "I can't help."}]}
    for events in (
        [*parts, wire.done(0, item), wire.completed(item)],
        [*parts, wire.completed()],
        [wire.done(0, item), wire.completed()],
    ):
        outcome = wire.decode(*events)
        assert outcome.message.text == ""
        assert outcome.message.parts == (ProviderItem("refusal", {"refusal": "I can't help."}),)
        assert outcome.end.finish_reason is FinishReason.CONTENT_FILTER
        assert outcome.end.raw_finish_reason == "completed"


# --------------------------------------------------------------------------------------------------- reasoning


def test_a_summary_of_several_parts(wire: Any) -> None:
    parts = [{"type": "summary_text", "text": "One two"}, {"type": "summary_text", "text": "Three"}]
    item = {"type": "reasoning", "id": "rs_1", "summary": parts, "encrypted_content": "gAAA"}
    streamed = [wire.summary("One"), wire.summary(" two"), wire.summary("Three", part=1)]
    outcome = wire.decode(
        wire.added(0, {"type": "reasoning", "encrypted_content": "cut"}),
        *streamed,
        wire.done(0, item),
        wire.completed(),
    )
    assert outcome.frames[:-1] == [
        ReasoningAppend("One"),
        ReasoningAppend(" two"),
        ReasoningAppend("\n\n"),
        ReasoningAppend("Three"),
        Reasoning("One two\n\nThree", item),
    ]
    whole = wire.decode(wire.done(0, item), wire.completed())
    assert whole.frames[:-1] == [ReasoningAppend("One two\n\nThree"), Reasoning("One two\n\nThree", item)]


def test_raw_reasoning_and_encrypted_reasoning(wire: Any) -> None:
    thought = wire.event("response.reasoning_text.delta", output_index=0, content_index=0, delta="Hm.")
    raw = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    assert wire.decode(thought, wire.done(0, raw), wire.completed()).message.parts == (Reasoning("Hm.", raw),)
    assert wire.decode(wire.done(0, raw), wire.completed()).message.parts == (Reasoning("Hm.", raw),)
    hidden = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    assert wire.decode(wire.done(0, hidden), wire.completed()).message.parts == (Reasoning("", hidden),)


def test_reasoning_whose_end_is_missing_has_nothing_to_send_back(wire: Any) -> None:
    assert wire.decode(wire.summary("Hm."), wire.incomplete("max_output_tokens")).message.parts == (Reasoning("Hm."),)


# ------------------------------------------------------------------------------------------------------- items


def test_items_that_the_provider_runs_itself(wire: Any) -> None:
    items: list[dict[str, Any]] = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"type": "mcp_call", "id": "mcp_1", "name": "ask", "arguments": "{}", "output": "42"},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"},
        {"type": "brand_new_call", "id": "new_1"},
    ]
    events = [entry for index, item in enumerate(items) for entry in (wire.added(index, item), wire.done(index, item))]
    progress = [
        wire.event("response.web_search_call.searching", output_index=0),
        wire.event("response.mcp_call_arguments.delta", output_index=1, delta="{}"),
        wire.event("response.code_interpreter_call_code.delta", output_index=1, delta="1"),
    ]
    outcome = wire.decode(*progress, *events, wire.completed(*items))
    assert outcome.message.parts == tuple(ProviderItem(item["type"], item) for item in items)
    assert outcome.end.finish_reason is FinishReason.STOP
    assert outcome.skipped == {}


# -------------------------------------------------------------------------------------------------------- ends


@pytest.mark.parametrize(
    ("reason", "finish_reason"),
    [
        ("max_output_tokens", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("steered", FinishReason.OTHER),
        (None, FinishReason.OTHER),
    ],
)
def test_incomplete(wire: Any, reason: str | None, finish_reason: FinishReason) -> None:
    end = wire.decode(wire.text("Hi"), wire.incomplete(reason)).end
    assert (end.finish_reason, end.raw_finish_reason) == (finish_reason, "incomplete")


def test_other_ways_to_say_how_it_ended(wire: Any) -> None:
    assert wire.decode(wire.text("Hi"), wire.event("response.completed")).end.finish_reason is FinishReason.STOP
    assert wire.decode(wire.text("Hi"), wire.event("response.done", response={})).end.raw_finish_reason == "completed"
    details = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert (
        wire.decode(wire.text("Hi"), wire.event("response.done", response=details)).end.finish_reason
        is FinishReason.LENGTH
    )
    assert wire.decode(wire.text("Hi"), wire.completed(**details)).end.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        ({"type": "error", "code": "server_error", "message": "It broke.", "param": None}, "server_error"),
        ({"type": "error", "error": {"type": "server_error", "code": None, "message": "It broke."}}, "server_error"),
        ({"type": "error", "code": 502, "message": "It broke."}, "502"),
        ({"type": "response.error", "error": {"code": "x", "message": "It broke."}}, "x"),
        (
            {"type": "response.failed", "response": {"error": {"code": "rate_limit", "message": "It broke."}}},
            "rate_limit",
        ),
        ({"type": "response.completed", "response": {"status": "failed", "error": {"message": "It broke."}}}, None),
        ('{"error": {"code": "bad", "message": "It broke."}}', "bad"),
    ],
)
def test_errors_in_the_stream(wire: Any, failure: dict[str, Any] | str, code: str | None) -> None:
    outcome = wire.decode(
        wire.text("Hi"), wire.added(1, wire.call()), wire.arguments(1, "{}"), failure, wire.completed()
    )
    assert isinstance(outcome.error, ProviderStreamError)
    assert outcome.error.code == code
    assert "It broke." in str(outcome.error)
    assert message_of(outcome.frames).tool_calls == ()
    assert message_of(outcome.frames).text == "Hi"


def test_failures_that_say_nothing(wire: Any) -> None:
    for failure in (
        wire.event("response.failed", response={"error": None}),
        wire.event("response.cancelled"),
        wire.event("error"),
    ):
        assert isinstance(wire.decode(failure).error, ProviderStreamError)


def test_done_is_no_terminal(wire: Any) -> None:
    assert wire.decode(wire.text("Hi"), wire.completed(), "[DONE]", "[DONE]", wire.text("late")).message.text == "Hi"
    assert isinstance(wire.decode(wire.text("Hi"), "[DONE]", wire.completed()).error, IncompleteStreamError)


def test_the_bytes_end_before_the_terminal(wire: Any) -> None:
    for events in (
        [],
        [wire.text("Hi")],
        [wire.text("Hi"), wire.event("response.output_text.done", text="Hi"), wire.done(0, wire.message("Hi"))],
        [
            wire.added(0, wire.call()),
            wire.arguments(0, '{"amount":10}'),
            wire.done(0, wire.call(whole='{"amount":10}')),
        ],
        [wire.added(0, wire.call()), wire.arguments(0, '{"amount":10}')],
    ):
        assert isinstance(wire.decode(*events).error, IncompleteStreamError)


def test_the_terminal_without_a_blank_line_after_it(wire: Any) -> None:
    data = wire.sse(wire.text("Hi"), wire.completed())
    assert wire.decode(data.rstrip(b"\n")).message.text == "Hi"
    assert isinstance(wire.decode(data[:-12]).error, IncompleteStreamError)


# ---------------------------------------------------------------------------------- unknown, odd and malformed


def test_unknown_events_are_skipped_and_counted(wire: Any) -> None:
    outcome = wire.decode(
        wire.event("response.brand_new.delta", delta="x", error={"message": "its own"}),
        wire.event("response.brand_new.delta", delta="y"),
        wire.event("keepalive", sequence_number=3),
        '{"object": "something"}',
        wire.text("Hi", brand_new_field={"a": [1]}),
        wire.done(1, {"id": "x"}),
        wire.completed(),
    )
    assert outcome.message.parts == (TextPart("Hi"),)
    assert outcome.skipped == {
        "response.brand_new.delta": 2,
        "event without a type": 1,
        "item without a type": 1,
    }


def test_the_type_may_be_in_the_name_only_or_in_the_data_only(wire: Any) -> None:
    named = b'event: response.output_text.delta\ndata: {"delta":"unused"}\n\n'
    assert wire.decode(named, wire.completed()).skipped == {"response.output_text.delta": 1}
    nameless = f"data: {json.dumps(wire.text('Hi'))}\n\ndata: {json.dumps(wire.completed())}\n\n".encode()
    assert wire.decode(nameless).message.text == "Hi"
    assert (
        wire.decode(wire.sse(wire.text("Hi")), b'event: response.completed\ndata: {"response":{}}\n\n').message.text
        == "Hi"
    )


def test_odd_values_whose_meaning_is_plain(wire: Any) -> None:
    outcome = wire.decode(
        wire.text("H", output_index="0", item_id=7),
        wire.event("response.output_text.delta", delta=None),
        wire.text("i", content_index=None),
        wire.added(1, wire.call()),
        wire.arguments(1, '{"a":', output_index="1"),
        wire.event("response.function_call_arguments.delta", output_index=1, delta=None),
        wire.arguments(1, "1}", item_id=7),
        wire.done(1, {}),
        wire.completed(usage={"input_tokens": "many", "output_tokens": 3, "input_tokens_details": []}, output=None),
    )
    assert outcome.message.text == "Hi"
    assert outcome.calls == [("call_1", "transfer", '{"a":1}')]
    assert outcome.end.usage == Usage(output_tokens=3)


@pytest.mark.parametrize(
    "bad",
    [
        b"data: not json\n\n",
        b"data: [1, 2]\n\n",
        b'data: {"type": "response.output_text.delta", "delta": "\xff"}\n\n',
        b'data: {"type": "response.output_text.delta"}\n\n',
        b'data: {"type": "response.function_call_arguments.delta", "output_index": 0}\n\n',
        b'data: {"type": "response.output_item.done", "output_index": 0}\n\n',
        b'data: {"type": "response.output_item.added", "item": null}\n\n',
        b'data: {"type": "response.created", "response": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n\n",
    ],
)
def test_malformed_events(wire: Any, bad: bytes) -> None:
    outcome = wire.run([wire.sse(wire.text("Hi")) + bad + wire.sse(wire.completed())])
    assert isinstance(outcome.error, ProtocolError)
    assert outcome.frames == [Append("Hi")]


# --------------------------------------------------------------------------------------------------- transport


def test_line_ends_comments_and_a_byte_order_mark(wire: Any) -> None:
    data = b": PROCESSING\n\n" + wire.sse(wire.text("a\u2028b\u0085c\u2029d"), wire.completed())
    for line_end in (b"\r\n", b"\r"):
        assert wire.decode(b"\xef\xbb\xbf" + data.replace(b"\n", line_end)).message.text == "a\u2028b\u0085c\u2029d"


def test_several_data_lines_in_one_event(wire: Any) -> None:
    pretty = json.dumps(wire.text("Hi"), indent=1).replace("\n", "\ndata:")
    assert wire.decode(f"data:{pretty}\n\n".encode(), wire.completed()).message.text == "Hi"


def test_bodies_that_are_no_event_stream(wire: Any) -> None:
    assert isinstance(wire.decode(b"<html>Bad gateway</html>").error, ProtocolError)
    assert isinstance(wire.decode(b"upstream said no").error, ProtocolError)
    refused = wire.decode(b'{"error": {"message": "No quota.", "code": "insufficient_quota"}}')
    assert isinstance(refused.error, ProviderStreamError)
    assert refused.error.code == "insufficient_quota"
    whole = json.dumps({"status": "completed", "output": [wire.message("Hi")]}).encode()
    assert wire.decode(whole).message.text == "Hi"


@given(which=st.integers(0, 4), places=st.lists(st.integers(1, 400), max_size=30))
def test_any_cut_gives_the_same_frames(wire: Any, which: int, places: list[int]) -> None:
    whole_call = wire.call(whole='{"a":"é"}')
    streams = [
        wire.sse(wire.text("Grüße 🎉"), wire.completed(wire.message("Grüße 🎉"))),
        wire.sse(
            wire.added(0, wire.call()),
            wire.arguments(0, '{"a":"é'),
            wire.arguments(0, '"}'),
            wire.done(0, whole_call),
            wire.completed(),
        ),
        wire.sse(wire.text("Hi"), wire.event("error", message="It broke."), wire.completed()),
        wire.sse(
            wire.summary("Hm."),
            wire.done(0, {"type": "reasoning"}),
            wire.text("Hi", output_index=1),
            wire.incomplete("content_filter"),
        ),
        wire.sse(wire.text("Hi"))[:-9],
    ]
    whole, pieces = wire.run([streams[which]]), wire.run(wire.cut(streams[which], places))
    assert pieces.frames == whole.frames
    assert repr(pieces.error) == repr(whole.error)


# ---------------------------------------------------------------------------------------------------- complete


def body(status: str | None, *output: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"id": "resp_1", "model": "gpt-5", "status": status, "output": [*output], **fields}).encode()


def test_streamed_equals_complete(wire: Any) -> None:
    wrapped = json.dumps({"tool_uses": [{"recipient_name": f"functions.{c}", "parameters": {}} for c in "xy"]})
    cited = wire.message("Hello", id="msg_1", phase="commentary")
    cited["content"][0]["annotations"] = [{"type": "url_citation", "url": "https://example.org", "title": "E"}]
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "web_search_call", "id": "ws_1"},
        cited,
        wire.call("call_a", whole='{"a":1}', status="completed"),
        wire.call("call_b", whole='{"b":', status="completed"),
        {"type": "custom_tool_call", "call_id": "call_c", "name": "run", "input": "ls"},
        wire.call("call_d", "multi_tool_use.parallel", wrapped),
    ]
    usage = {"input_tokens": 5, "output_tokens": 6}
    response = {"id": "resp_1", "model": "gpt-5", "status": "completed", "output": items, "usage": usage}
    streamed = wire.decode(
        wire.summary("Hm."),
        wire.done(0, items[0]),
        wire.done(1, items[1]),
        wire.text("Hel", output_index=2),
        wire.text("lo", output_index=2),
        *[wire.done(index, item) for index, item in enumerate(items) if index >= 2],
        wire.event("response.completed", response=response),
    )
    assert decode_response(json.dumps(response).encode()) == streamed.message
    assert len(streamed.message.parts) == 10


def test_complete_and_cut_short(wire: Any) -> None:
    cut_call = wire.call(whole='{"a":', status="incomplete")
    details = {"reason": "max_output_tokens"}
    answer = decode_response(body("incomplete", wire.message("Hi"), cut_call, incomplete_details=details))
    streamed = wire.decode(
        wire.event("response.created", response={"id": "resp_1", "model": "gpt-5"}),
        wire.text("Hi"),
        wire.added(1, wire.call()),
        wire.arguments(1, '{"a":'),
        wire.incomplete("max_output_tokens"),
    )
    assert answer == streamed.message
    unsaid = decode_response(body("incomplete", wire.call(whole="{}"), incomplete_details=details))
    assert unsaid.tool_calls == ()
    assert unsaid.unfinished == (UnfinishedCall("call_1", "transfer", "{}"),)
    finished = wire.call("call_a", whole="{}", status="completed")
    assert len(decode_response(body("incomplete", finished, cut_call)).tool_calls) == 1


def test_complete_with_ids_of_the_conversation(wire: Any) -> None:
    (part,) = decode_response(body("completed", wire.call("call_a")), frozenset(["call_a"])).tool_calls
    assert part.id != "call_a"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (body("failed", error={"code": "server_error", "message": "It broke."}), ProviderStreamError),
        (body("cancelled"), ProviderStreamError),
        (body("queued"), IncompleteStreamError),
        (body("in_progress", {"type": "message"}), IncompleteStreamError),
        (b'{"error": {"message": "It broke."}}', ProviderStreamError),
        (b'{"object": "list"}', ProtocolError),
        (b"<html>", ProtocolError),
        (b"[]", ProtocolError),
    ],
)
def test_bodies_that_are_no_answer(wire: Any, data: bytes, kind: type[StreamError]) -> None:
    with pytest.raises(kind):
        decode_response(data)
