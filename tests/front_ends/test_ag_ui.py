"""AG-UI: rules of its verifier and more, for any frames and any end; and what clients post."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.front_ends.chunks import SECRET, chunks_of, frame_sequences

from promptport.dispatch import ApprovalNeeded, DispatchFrame, ToolResult, ToolsPending
from promptport.errors import InvalidInputError
from promptport.frames import Append, End, FinishReason, InvalidToolCall, Reasoning, Restarted, ToolCall, Usage
from promptport.front_ends import AGUIEncoder, BodyLimits, approval_id, decode_agui_input
from promptport.messages import (
    AssistantMessage,
    DocumentPart,
    ImagePart,
    SystemMessage,
    TextPart,
    ToolResultMessage,
    UserMessage,
)

PROTOCOLS = st.sampled_from(["1.0", ""])
END = End(FinishReason.STOP, "stop", Usage(1, 2), "m")


def encoded(frames: Sequence[Any], **options: Any) -> list[Any]:
    encoder = AGUIEncoder("thread", "run", **options)
    return chunks_of(b"".join(map(encoder.feed, frames)) + encoder.close())


def no_null(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(no_null, value.values()))
    return value is not None and (not isinstance(value, list) or all(map(no_null, value)))


def check(events: list[Any], frames: Sequence[DispatchFrame], protocol: str) -> None:
    """All that must hold, whatever came and however it ended."""
    assert events[0]["type"] == "RUN_STARTED"
    lasts = [event for event in events if event["type"] in ("RUN_FINISHED", "RUN_ERROR")]
    assert lasts == events[-1:]
    opened: set[tuple[str, str]] = set()
    ids: set[str] = set()
    calls: dict[str, int] = {}
    for event in events:
        kind = event["type"]
        assert no_null(event), event
        assert event.get("delta") != ""
        key = event.get("toolCallId") if kind.startswith("TOOL") else event.get("messageId") or event.get("stepName")
        family = kind.rsplit("_", 1)[0]
        if kind.endswith(("_START", "_STARTED")) and kind != "RUN_STARTED":
            assert (family, key) not in opened
            assert kind == "REASONING_MESSAGE_START" or key not in ids
            ids.add(key)
            opened.add((family, key))
            if kind == "TOOL_CALL_START":
                calls[key] = 0
        elif kind.endswith(("_CONTENT", "_ARGS")):
            assert (family, key) in opened
        elif kind.endswith("_END") or kind == "STEP_FINISHED":
            opened.remove((family, key))
        elif kind == "TOOL_CALL_RESULT":
            assert ("TOOL_CALL", key) not in opened
            assert event["messageId"] not in ids
            ids.add(event["messageId"])
            calls[key] += 1
    assert not opened
    last = frames[-1] if frames else None
    paused = isinstance(last, ApprovalNeeded | ToolsPending) and events[-1]["type"] == "RUN_FINISHED"
    waiting = {call.id for call in last.calls} if paused and isinstance(last, ApprovalNeeded | ToolsPending) else set()
    if events[-1].get("outcome", {}).get("type") == "cancelled":
        waiting = set()
    assert calls == {call: int(call not in waiting) for call in calls}
    if not protocol:
        assert "pendingToolCallIds" not in json.dumps(events)
        assert events[-1].get("outcome", {}).get("type") in (None, "interrupt")


@given(frame_sequences(), PROTOCOLS, st.booleans())
def test_every_run_keeps_the_rules(frames: list[DispatchFrame], protocol: str, reasoning: bool) -> None:
    events = encoded(frames, protocol=protocol, reasoning=reasoning)
    check(events, frames, protocol)
    assert events[-1]["type"] == "RUN_FINISHED"
    assert SECRET not in json.dumps(events)
    assert events == encoded(frames, protocol=protocol, reasoning=reasoning)
    text = "".join([event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT"])
    assert text == "".join([frame.text for frame in frames if isinstance(frame, Append)])
    for call in frames:
        if isinstance(call, ToolCall | InvalidToolCall):
            mine = [one for one in events if one["type"] == "TOOL_CALL_ARGS" and one["toolCallId"] == call.id]
            assert "".join([one["delta"] for one in mine]) == call.arguments


@given(frame_sequences(), PROTOCOLS, st.data())
def test_every_cut_run_keeps_the_rules_however_it_ends(
    frames: list[DispatchFrame], protocol: str, data: st.DataObject
) -> None:
    frames = frames[: data.draw(st.integers(0, len(frames) - 1))]
    encoder = AGUIEncoder("thread", "run", protocol=protocol)
    body = b"".join(map(encoder.feed, frames))
    end = data.draw(st.sampled_from(["fail", "stop", "close"]))
    if end == "fail":
        body += encoder.fail(RuntimeError(SECRET))
    else:
        body += encoder.stop() if end == "stop" else encoder.close()
    assert encoder.feed(Append("late")) + encoder.fail(ValueError()) + encoder.stop() + encoder.close() == b""
    events = chunks_of(body)
    check(events, frames, protocol)
    assert (events[-1]["type"] == "RUN_FINISHED") == (end == "stop" and protocol != "")
    assert SECRET not in body.decode()


def test_an_approval_is_an_interrupt_and_calls_of_the_front_end_are_pending() -> None:
    call, other = ToolCall("c", "f", "{}"), ToolCall("d", "g", "{}")
    outcome = encoded([call, ApprovalNeeded((call,))])[-1]["outcome"]
    assert outcome["type"] == "interrupt"
    assert [one["id"] for one in outcome["interrupts"]] == [approval_id("run", "c")]
    both = encoded([call, other, ApprovalNeeded((call,)), ToolsPending((other,))])[-1]["outcome"]
    assert both["type"] == "interrupt"
    pending = encoded([other, ToolsPending((other,))])[-1]["outcome"]
    assert pending == {"type": "success", "pendingToolCallIds": ["d"]}


def test_an_answer_that_begins_anew_is_another_message() -> None:
    events = encoded([Append("half"), Restarted("p/m", "IncompleteStreamError"), Append("whole"), END])
    starts = [event["messageId"] for event in events if event["type"] == "TEXT_MESSAGE_START"]
    assert len(set(starts)) == 2
    assert [event["value"] for event in events if event["type"] == "CUSTOM"] == [{"messageId": starts[0]}]


def test_a_call_of_an_earlier_run_gets_its_result_and_no_other_does() -> None:
    frames = [ToolResult("c", "f", "1"), ToolResult("x", "f", "2"), Append("a"), END]
    told = [event["toolCallId"] for event in encoded(frames, calls=["c"]) if event["type"] == "TOOL_CALL_RESULT"]
    assert told == ["c"]


# ------------------------------------------------------------------------------------------------ requests

USER = {"id": "u", "role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CALLS = {"id": "a", "role": "assistant", "content": "Look.", "toolCalls": [CALL]}
RESULT = {"id": "t", "role": "tool", "toolCallId": "c1", "content": "one"}


def posted(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"threadId": "t", "runId": "r", "messages": list(messages), **more}


def test_messages_of_each_role() -> None:
    kept = json.dumps({"data": {"s": 1}})
    request = decode_agui_input(
        posted(
            {"id": "s", "role": "system", "content": "Be brief."},
            {"id": "d", "role": "developer", "content": "And kind."},
            USER,
            {"id": "h", "role": "reasoning", "content": "hm", "encryptedValue": kept},
            CALLS,
            RESULT,
            {"id": "x", "role": "activity", "activityType": "y", "content": {}},
            {"id": "b", "role": "assistant", "content": "Done."},
            USER,
            protocolVersion="1.0",
            state={"a": 1},
            context=[{"description": "page", "value": "home"}],
            tools=[{"name": "place", "description": "Where", "parameters": {"type": "object", "properties": {}}}],
            forwardedProps={"k": "v"},
        )
    )
    assert request.prompt.messages == (
        SystemMessage("Be brief.\n\nAnd kind."),
        UserMessage.of("Hi"),
        AssistantMessage.of(Reasoning("hm", {"s": 1}), "Look.", ToolCall("c1", "f", '{"a": 1}')),
        ToolResultMessage("c1", "f", "one"),
        AssistantMessage.of("Done."),
        UserMessage.of("Hi"),
    )
    assert (request.thread, request.run, request.protocol) == ("t", "r", "1.0")
    assert (request.state, request.context, request.extra) == ({"a": 1}, (("page", "home"),), {"k": "v"})
    assert [tool.name for tool in request.tools] == ["place"]
    assert not request.results


def test_a_client_before_1_0_may_send_less() -> None:
    request = decode_agui_input(posted(USER, unknown=1))
    assert (request.protocol, request.tools, request.context, request.state) == ("", (), (), None)


def test_results_of_the_last_answer_and_open_calls_of_the_past() -> None:
    assert decode_agui_input(posted(USER, CALLS, RESULT)).results == {"c1": ToolResult("c1", "f", "one")}
    failed = decode_agui_input(posted(USER, CALLS, {**RESULT, "error": "boom"})).results["c1"]
    assert failed.error == "boom"
    went_on = decode_agui_input(posted(USER, CALLS, USER)).prompt
    assert isinstance(went_on.messages[2], ToolResultMessage)
    assert went_on.answered("x") == went_on
    broken = {**CALL, "function": {"name": "f", "arguments": '{"a":'}}
    message = decode_agui_input(posted(USER, {**CALLS, "toolCalls": [broken]}, RESULT)).prompt.messages[1]
    assert isinstance(message, AssistantMessage)
    assert message.invalid_tool_calls[0].arguments == '{"a":'


@pytest.mark.parametrize(
    ("entry", "decision"),
    [
        ({"status": "resolved", "payload": {"approved": True}}, True),
        ({"status": "resolved", "payload": {"approved": False, "reason": "no"}}, "no"),
        ({"status": "resolved", "payload": {"approved": False}}, False),
        ({"status": "cancelled"}, False),
    ],
)
def test_decisions(entry: dict[str, Any], decision: bool | str) -> None:
    request = decode_agui_input(posted(USER, CALLS, resume=[{"interruptId": "i", **entry}]))
    assert request.interrupts == {"i": decision}


def test_media_are_bytes_or_addresses() -> None:
    data = {"type": "image", "source": {"type": "data", "value": "eA==", "mimeType": "image/png"}}
    url = {"type": "document", "source": {"type": "url", "value": "https://example.com/a.pdf"}}
    content = [{"type": "text", "text": "a"}, data, url]
    assert decode_agui_input(posted({"role": "user", "content": content})).prompt.messages == (
        UserMessage(
            (
                TextPart("a"),
                ImagePart(b"x", media_type="image/png"),
                DocumentPart(None, "https://example.com/a.pdf", "application/pdf"),
            )
        ),
    )


BAD: list[tuple[Any, str]] = [
    ({"runId": "r", "messages": []}, "body.threadId: is missing"),
    ({"threadId": "t", "messages": []}, "body.runId: is missing"),
    ({"threadId": "t", "runId": "r"}, "body.messages: is missing"),
    (posted({"role": "god"}), "body.messages[0].role: is not a role"),
    (posted(USER, RESULT), "body.messages[1].toolCallId: is not a call"),
    (posted(USER, CALLS, RESULT, RESULT), "body.messages[3].toolCallId: has a result already"),
    (posted(USER, CALLS, CALLS), "body.messages[2].toolCalls[0].id: is the id"),
    (posted(resume=[{"interruptId": "i", "status": "odd"}]), "body.resume[0].status: is not a status"),
    (
        posted(resume=[{"interruptId": "i", "status": "resolved", "payload": {"approved": "yes"}}]),
        "body.resume[0].payload.approved: is not a decision",
    ),
    (
        posted(resume=[{"interruptId": "i", "status": "resolved", "payload": {"approved": True, "editedArgs": {}}}]),
        "body.resume[0].payload.editedArgs: is not accepted",
    ),
    (posted(tools=[{"name": ""}]), "body.tools[0].name: is empty"),
    (
        posted({"role": "user", "content": [{"type": "image", "source": {"type": "url", "value": "http://10.0.0.1"}}]}),
        "body.messages[0].content[0].source.value: has a scheme",
    ),
]


@pytest.mark.parametrize(("body", "error"), BAD)
def test_an_error_names_the_place(body: Any, error: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        decode_agui_input(json.dumps(body).encode())
    assert str(caught.value).startswith(error)


def test_limits() -> None:
    with pytest.raises(InvalidInputError, match=r"body\.messages: has 1 items"):
        decode_agui_input(posted(USER), limits=BodyLimits(max_messages=0))
    with pytest.raises(InvalidInputError, match=r"body\.tools: has 1 items"):
        decode_agui_input(posted(USER, tools=[{"name": "a"}]), limits=BodyLimits(max_tools=0))
