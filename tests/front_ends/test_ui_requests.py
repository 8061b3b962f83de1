"""What chats of the AI SDK post, read into a `ChatRequest`: each part and state, the limits, and the trust."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.dispatch import ToolResult
from promptport.errors import InvalidInputError
from promptport.frames import Citation, InvalidToolCall, ProviderItem, Reasoning, ToolCall
from promptport.front_ends import BodyLimits, decode_ui_request
from promptport.messages import (
    AssistantMessage,
    DocumentPart,
    ImagePart,
    Origin,
    SystemMessage,
    TextPart,
    ToolResultMessage,
    UserMessage,
)

USER = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
AGAIN = {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "And?"}]}


def body(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"id": "chat", "trigger": "submit-message", "messages": list(messages), **more}


def assistant(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"id": "a1", "role": "assistant", "parts": list(parts), **more}


def call(state: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool-book", "toolCallId": "c1", "state": state, "input": {"a": 1}, **more}


# ------------------------------------------------------------------------------------------- conversations


def test_messages_of_each_role() -> None:
    system = {"id": "s", "role": "system", "parts": [{"type": "text", "text": "Be brief."}]}
    request = decode_ui_request(body(system, USER, assistant({"type": "text", "text": "Hello"}), AGAIN, sdk="6", x=[1]))
    assert request.thread == "chat"
    assert request.prompt.messages == (
        SystemMessage("Be brief."),
        UserMessage.of("Hi"),
        AssistantMessage.of("Hello"),
        UserMessage.of("And?"),
    )
    assert request.extra == {"sdk": "6", "x": [1]}
    assert request.message_id is None


def test_the_last_message_alone() -> None:
    request = decode_ui_request({"id": "chat", "message": USER, "trigger": "regenerate-message"})
    assert request.prompt.messages == (UserMessage.of("Hi"),)
    assert request.regenerate


def test_an_assistant_message_is_an_answer_for_each_step_with_its_results() -> None:
    message = assistant(
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm", "state": "done", "providerMetadata": {"promptport": {"data": {"s": 1}}}},
        {"type": "text", "text": "Looking."},
        call("output-available", output={"ok": True}),
        {"type": "step-start"},
        {"type": "source-url", "sourceId": "1", "url": "https://example.com"},
        {"type": "data-weather", "data": 1},
        {"type": "text", "text": "Done."},
    )
    assert decode_ui_request(body(USER, message, AGAIN)).prompt.messages[1:-1] == (
        AssistantMessage.of(Reasoning("hm", {"s": 1}), "Looking.", ToolCall("c1", "book", '{"a":1}')),
        ToolResultMessage("c1", "book", '{"ok":true}'),
        AssistantMessage.of(Citation("https://example.com"), "Done."),
    )


CUT_REASONING = {"type": "reasoning", "text": "h", "state": "streaming"}


def test_cut_reasoning_and_a_step_that_began_anew_are_dropped() -> None:
    parts = [{"type": "step-start"}, CUT_REASONING, {"type": "text", "text": "half"}, {"type": "data-restarted"}]
    message = assistant(*parts, {"type": "step-start"}, CUT_REASONING, {"type": "text", "text": "whole"})
    assert decode_ui_request(body(USER, message, AGAIN)).prompt.messages[1:-1] == (AssistantMessage.of("whole"),)


def test_what_is_opaque_comes_back_with_its_origin() -> None:
    kept = {"data": {"s": 1}, "origin": {"provider": "anthropic", "address": "a"}}
    reasoning = {"type": "reasoning", "text": "", "providerMetadata": {"promptport": kept}}
    item = {"type": "data-provider_item", "data": {"type": "web", "data": {"q": 1}}}
    message = decode_ui_request(body(USER, assistant(reasoning, item), AGAIN)).prompt.messages[1]
    assert isinstance(message, AssistantMessage)
    assert message.parts == (Reasoning("", {"s": 1}), ProviderItem("web", {"q": 1}))
    assert message.origin == Origin("anthropic", "a")


ERROR = "The call was interrupted before it had a result."
RESULTS: list[tuple[str, dict[str, Any], ToolResultMessage | None]] = [
    ("output-available", {"output": "text"}, ToolResultMessage("c1", "book", "text")),
    ("output-available", {"output": 5}, ToolResultMessage("c1", "book", "5")),
    ("output-available", {"output": "p", "preliminary": True}, ToolResultMessage("c1", "book", error=ERROR)),
    ("output-error", {"errorText": "boom"}, ToolResultMessage("c1", "book", error="boom")),
    ("output-denied", {"approval": {"id": "x", "approved": False, "reason": "no"}}, None),
    ("input-available", {}, ToolResultMessage("c1", "book", error=ERROR)),
    ("approval-responded", {"approval": {"id": "x", "approved": True}}, ToolResultMessage("c1", "book", error=ERROR)),
    ("approval-responded", {"approval": {"id": "x", "approved": False, "reason": "no"}}, None),
]


@pytest.mark.parametrize(("state", "more", "result"), RESULTS)
def test_every_call_of_the_past_has_one_result(
    state: str, more: dict[str, Any], result: ToolResultMessage | None
) -> None:
    request = decode_ui_request(body(USER, assistant(call(state, **more)), AGAIN))
    told = request.prompt.messages[2]
    assert told == (result or ToolResultMessage("c1", "book", error="no"))
    assert request.prompt.answered("x") == request.prompt
    assert not request.decisions
    assert not request.results


def test_a_call_that_waited_for_a_person_who_went_on_was_not_approved() -> None:
    waiting = call("approval-requested", approval={"id": "x"})
    told = decode_ui_request(body(USER, assistant(waiting), AGAIN)).prompt.messages[2]
    assert isinstance(told, ToolResultMessage)
    assert told.error is not None
    assert "not approved" in told.error


def test_a_call_under_way_is_dropped() -> None:
    message = assistant({"type": "text", "text": "a"}, call("input-streaming"))
    assert decode_ui_request(body(USER, message, AGAIN)).prompt.messages[1] == AssistantMessage.of("a")


@pytest.mark.parametrize("shape", [{"input": '{"a":'}, {"input": None, "rawInput": '{"a":'}])
def test_an_invalid_call_keeps_its_text(shape: dict[str, Any]) -> None:
    message = assistant(call("output-error", errorText="not JSON") | shape)
    answer, result = decode_ui_request(body(USER, message, AGAIN)).prompt.messages[1:3]
    assert isinstance(answer, AssistantMessage)
    assert isinstance(answer.parts[0], InvalidToolCall)
    assert answer.parts[0].arguments == '{"a":'
    assert result == ToolResultMessage("c1", "book", error="not JSON")


def test_a_dynamic_tool_has_its_name() -> None:
    part = {"type": "dynamic-tool", "toolName": "far", "toolCallId": "c", "state": "output-available", "output": ""}
    message = decode_ui_request(body(USER, assistant(part), AGAIN)).prompt.messages[1]
    assert message == AssistantMessage.of(ToolCall("c", "far", "{}"))


# -------------------------------------------------------------------------------------- decisions, results


@pytest.mark.parametrize(
    ("answer", "decision"),
    [({"approved": True}, True), ({"approved": False}, False), ({"approved": False, "reason": "no"}, "no")],
)
def test_decisions_of_the_last_step(answer: dict[str, Any], decision: bool | str) -> None:
    message = assistant(call("approval-responded", approval={"id": "ap", **answer}))
    request = decode_ui_request(body(USER, message))
    assert request.decisions == {"c1": decision}
    assert request.approvals == {"c1": "ap"}
    assert request.message_id == "a1"
    assert not request.results


def test_results_of_the_last_step_only() -> None:
    earlier = call("output-available", output="1")
    parts = [earlier, {"type": "step-start"}, call("output-available", output={"x": 1}, toolCallId="c2")]
    request = decode_ui_request(body(USER, assistant(*parts)))
    assert request.results == {"c2": ToolResult("c2", "book", '{"x":1}')}
    failed = decode_ui_request(body(USER, assistant(call("output-error", errorText="denied by the browser"))))
    assert failed.results["c1"].error == "denied by the browser"


def test_decisions_of_clients_without_approvals() -> None:
    request = decode_ui_request(body(USER, assistant(call("input-available")), decisions={"c1": "no"}))
    assert request.decisions == {"c1": "no"}


# --------------------------------------------------------------------------------------------------- files


def test_files_are_bytes_or_an_address_that_nobody_fetches_here() -> None:
    image = {
        "type": "file",
        "mediaType": "image/png",
        "url": "data:image/png;base64,eA==",
    }
    paper = {"type": "file", "mediaType": "application/pdf", "url": "https://example.com/a.pdf", "filename": "a.pdf"}
    message = decode_ui_request(body({"role": "user", "parts": [image, paper]})).prompt.messages[0]
    assert message == UserMessage(
        (
            ImagePart(b"x", media_type="image/png"),
            DocumentPart(None, "https://example.com/a.pdf", "application/pdf", name="a.pdf"),
        )
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "ftp://example.com/a",
        "/etc/passwd",
        "data:image/png,x",
        "data:image/png;base64,!!!",
        "data:image/png;base64,",
        "",
    ],
)
def test_other_addresses_are_refused_with_their_place(url: str) -> None:
    file = {"type": "file", "mediaType": "image/png", "url": url}
    with pytest.raises(InvalidInputError, match=r"^body\.messages\[0\]\.parts\[1\]\.url: ") as caught:
        decode_ui_request(body({"role": "user", "parts": [{"type": "text", "text": "a"}, file]}))
    assert not url or url not in str(caught.value)


def test_media_types_are_those_that_the_server_accepts() -> None:
    file = {"type": "file", "mediaType": "application/x-sh", "url": "https://example.com/a"}
    with pytest.raises(InvalidInputError, match="media type"):
        decode_ui_request(body({"role": "user", "parts": [file]}))
    limits = BodyLimits(media_types=("application/x-sh",))
    assert decode_ui_request(body({"role": "user", "parts": [file]}), limits=limits)


# --------------------------------------------------------------------------------------------------- limits

BAD: list[tuple[Any, str]] = [
    ({"messages": [USER]}, "body.id: is missing"),
    ({"id": "c"}, "body: has no messages"),
    ({"id": "c", "messages": []}, "body: has no message that says anything"),
    ({"id": "c", "messages": "x"}, "body.messages: is a string"),
    ({"id": "c", "messages": [5]}, "body.messages[0]: is a number"),
    ({"id": "c", "messages": [{"role": "user"}]}, "body.messages[0].parts: is missing"),
    ({"id": "c", "messages": [{"role": "god", "parts": []}]}, "body.messages[0].role: is not a role"),
    (body({"role": "user", "parts": [{"type": "text"}]}), "body.messages[0].parts[0].text: is missing"),
    (body({"role": "user", "parts": [{"type": "x"}]}), "body.messages[0].parts[0].type: is not a part"),
    (body(USER, assistant(call("odd"))), "body.messages[1].parts[0].state: is not a state"),
    (body(USER, assistant(call("input-available", toolCallId=""))), "body.messages[1].parts[0].toolCallId: is empty"),
    (body(USER, assistant(*[call("input-available")] * 2)), "body.messages[1].parts[1].toolCallId: is the id"),
    (
        body(USER, assistant(call("approval-responded", approval={"id": "x", "approved": "yes"}))),
        "body.messages[1].parts[0].approval.approved: is not a decision",
    ),
    (body(USER, decisions={"c": 1}), "body.decisions.c: is not a decision"),
    ({"id": "x" * 201, "messages": [USER]}, "body.id: has 201 characters"),
]


@pytest.mark.parametrize(("posted", "error"), BAD)
def test_an_error_names_the_place(posted: Any, error: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        decode_ui_request(json.dumps(posted).encode())
    assert str(caught.value).startswith(error)


@pytest.mark.parametrize("posted", [b"", b"{", b"\xff", b"[]", b"5", b"[" * 100_000, b'{"id": "\\ud800"}'])
def test_what_is_no_body_is_refused(posted: bytes) -> None:
    with pytest.raises(InvalidInputError):
        decode_ui_request(posted)


def test_limits() -> None:
    with pytest.raises(InvalidInputError, match="Send at most 10"):
        decode_ui_request(json.dumps(body(USER)).encode(), limits=BodyLimits(max_bytes=10))
    with pytest.raises(InvalidInputError, match=r"body\.messages: has 2 items\. Send at most 1"):
        decode_ui_request(body(USER, AGAIN), limits=BodyLimits(max_messages=1))
    with pytest.raises(InvalidInputError, match=r"parts: has 1 items"):
        decode_ui_request(body(USER), limits=BodyLimits(max_parts=0))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "text", "user", "assistant", "tool-x", "id"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "parts", "text", "state", "toolCallId", "input", "approval", "url", "id"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(_JSON)
def test_whatever_is_posted_is_read_or_refused(value: Any) -> None:
    for posted in (body(value), body({"role": "assistant", "parts": value}), body(assistant(value)), value):
        try:
            request = decode_ui_request(json.dumps(posted))
        except InvalidInputError:
            continue
        assert request.prompt.messages


def test_its_repr_shows_no_contents() -> None:
    assert "Hi" not in repr(decode_ui_request(body(USER)))
    assert TextPart("Hi") in decode_ui_request(body(USER)).prompt.messages[0].parts  # type: ignore[union-attr]
