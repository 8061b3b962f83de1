"""The real npm package `@ag-ui/client`, 1.0.0 and 0.0.59, against a running server: what its agents see."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
from tests.front_ends.chat_server import ChatServer
from tests.front_ends.chunks import SECRET
from tests.front_ends.npm_packages import npm_folder
from tests.real_parts import need

import promptport as pp

SCENARIOS = (
    *("text", "reasoning", "parallel", "progress", "tool_error", "invalid_call", "client_tool", "provider_error"),
    *("early_error", "incomplete", "cut_call", "resume", "stop", "echo", "approve", "deny"),
    *("woven", "restarted", "go_on_after_error", "echo_outcomes", "two_approvals", "mixed", "echo_denied", "cancelled"),
)
DRIVER = os.path.join(os.path.dirname(__file__), "clients", "agui_client.mjs")


class Client:
    """What one version saw in each scenario, and the server that it talked to."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.server = ChatServer()
        folder = npm_folder("@ag-ui/client", version)
        self.results: dict[str, Any] = asyncio.run(self._run([need("node"), DRIVER, str(folder), version]))

    async def _run(self, command: list[str]) -> dict[str, Any]:
        async with self.server.running(), asyncio.timeout(60):
            pipe = asyncio.subprocess.PIPE
            node = await asyncio.create_subprocess_exec(*command, self.server.url, *SCENARIOS, stdout=pipe, stderr=pipe)
            try:
                out, errors = await node.communicate()
            finally:
                if node.returncode is None:
                    node.kill()
            assert node.returncode == 0, errors.decode()
            return dict(json.loads(out))

    def __getitem__(self, scenario: str) -> Any:
        assert "uncaught" not in self.results, self.results["uncaught"]
        result = self.results[scenario]
        assert "crashed" not in result, result["crashed"]
        assert SECRET not in json.dumps(result)
        return result

    def executor(self, scenario: str) -> Any:
        return next(one for thread, one in self.server.executors.items() if thread.startswith(scenario))


@pytest.fixture(scope="module", params=["1.0.0", "0.0.59"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(request.param)


def finished(result: Any) -> Any:
    assert "threw" not in result, result["threw"]
    return result["events"][-1]


def said(result: Any) -> list[tuple[str, str]]:
    return [(one["role"], one.get("content", "")) for one in result["messages"]]


def test_text(client: Client) -> None:
    result = client["text"]
    assert finished(result)["type"] == "RUN_FINISHED"
    assert said(result) == [("user", "Hi"), ("assistant", "Hello wörld\n\u2028!")]


def test_reasoning_with_its_signature(client: Client) -> None:
    result = client["reasoning"]
    assert finished(result)["type"] == "RUN_FINISHED"
    reasoning = next(one for one in result["messages"] if one["role"] == "reasoning")
    assert reasoning["content"] == "Let me see."
    assert json.loads(reasoning["encryptedValue"]) == {"data": {"signature": "sig-1"}}


def test_two_calls_run_while_the_text_goes_on(client: Client) -> None:
    result = client["parallel"]
    assert finished(result)["type"] == "RUN_FINISHED"
    assert said(result) == [
        ("user", "Hi"),
        ("assistant", "Looking. And text goes on. "),
        ("tool", '{"at":"Paris"}'),
        ("tool", '{"at":"Rome"}'),
        ("assistant", "Done"),
    ]
    assert [call["id"] for call in result["messages"][1]["toolCalls"]] == ["c1", "c2"]


def test_progress(client: Client) -> None:
    told = [event["value"]["data"] for event in client["progress"]["events"] if event["type"] == "CUSTOM"]
    assert told == [{"done": 1}, {"done": 2}]
    assert said(client["progress"])[2] == ("tool", '{"done":3}')


def test_a_tool_that_fails(client: Client) -> None:
    assert said(client["tool_error"])[2:] == [("tool", "The tool failed."), ("assistant", "Done")]


def test_an_invalid_call(client: Client) -> None:
    result = client["invalid_call"]
    assert result["messages"][1]["toolCalls"][0]["function"]["arguments"] == '{"place":'
    assert said(result)[2:] == [("tool", "the arguments are not JSON"), ("assistant", "Done")]


def test_a_tool_that_the_front_end_runs(client: Client) -> None:
    result = client["client_tool"]
    outcome = result["finished"].get("outcome", {})
    assert outcome.get("pendingToolCallIds") == (["c1"] if client.version == "1.0.0" else None)
    assert said(result)[1:] == [("assistant", "Where? "), ("tool", "Paris"), ("assistant", "Done")]
    assert client.executor("client_tool").requests[-1].prompt.messages[-1] == pp.ToolResultMessage(
        "c1", "place", "Paris"
    )


@pytest.mark.parametrize("scenario", ["provider_error", "early_error", "incomplete", "cut_call"])
def test_a_response_that_failed_is_an_error(client: Client, scenario: str) -> None:
    result = client[scenario]
    error = result["events"][-1]
    assert error["type"] == "RUN_ERROR"
    assert error["code"] == ("rate_limit" if scenario.endswith("error") else "interrupted")


def test_reading_again(client: Client) -> None:
    result = client["resume"]
    assert finished(result)["type"] == "RUN_FINISHED"
    assert said(result) == [("user", "Hi"), ("assistant", "first half, second half")]


def test_stop(client: Client) -> None:
    result = client["stop"]
    last = result["events"][-1]
    if client.version == "1.0.0":
        assert (last["type"], last["outcome"]["type"]) == ("RUN_FINISHED", "cancelled")
    else:
        assert (last["type"], last["code"]) == ("RUN_ERROR", "cancelled")
    assert said(result) == [("user", "Hi"), ("assistant", "first half, ")]


def test_approve(client: Client) -> None:
    result = client["approve"]
    assert finished(result)["type"] == "RUN_FINISHED"
    (interrupt,) = result["finished"]["outcome"]["interrupts"]
    assert (interrupt["reason"], interrupt["toolCallId"]) == ("tool_call", "c1")
    assert said(result)[1:] == [("assistant", "I ask. "), ("tool", "2 seats"), ("assistant", "Done")]
    assert [seats for thread, seats in client.server.booked.items() if thread.startswith("approve")] == [[2]]


def test_deny(client: Client) -> None:
    result = client["deny"]
    assert finished(result)["type"] == "RUN_FINISHED"
    assert "not today" in said(result)[2][1]
    assert not [thread for thread in client.server.booked if thread.startswith("deny")]


def test_what_the_client_sends_back_is_the_conversation(client: Client) -> None:
    prompt = pp.Prompt.from_json(said(client["echo"])[-1][1])
    assert prompt.messages == (
        pp.UserMessage.of("Hi"),
        pp.AssistantMessage.of(
            pp.Reasoning("Let me see.", {"signature": "sig-1"}),
            "Looking. ",
            pp.ToolCall("c1", "look", '{"place": "Paris"}'),
            pp.ToolCall("c2", "look", '{"place":"Rome"}'),
        ),
        pp.ToolResultMessage("c1", "look", '{"at":"Paris"}'),
        pp.ToolResultMessage("c2", "look", '{"at":"Rome"}'),
        pp.AssistantMessage.of("Done"),
        pp.UserMessage.of("And now?"),
    )


def test_thoughts_text_and_a_call_of_one_answer(client: Client) -> None:
    result = client["woven"]
    assert finished(result)["type"] == "RUN_FINISHED"
    assert [one[1] for one in said(result) if one[0] == "assistant"] == ["One two three", "Done"]
    signatures = [
        json.loads(one["encryptedValue"])["data"]["signature"] for one in result["messages"] if "encryptedValue" in one
    ]
    assert signatures == ["sig-1", "sig-2", "sig-3"]
    (citation,) = [event["value"] for event in result["events"] if event["type"] == "CUSTOM"]
    assert citation == {"messageId": result["messages"][2]["id"], "url": "https://example.com/a", "title": "A page"}


def test_an_answer_that_began_anew_is_another_message(client: Client) -> None:
    result = client["restarted"]
    assert finished(result)["type"] == "RUN_FINISHED"
    wrong, right = [one for one in result["messages"] if one["role"] == "assistant"]
    assert (wrong["content"], right["content"]) == ("Wrong", "Right")
    (told,) = [event for event in result["events"] if event["type"] == "CUSTOM"]
    assert (told["name"], told["value"]) == ("restarted", {"messageId": wrong["id"]})


def test_a_chat_goes_on_after_a_response_that_was_cut(client: Client) -> None:
    result = client["go_on_after_error"]
    _, answer, whole, cut, user = pp.Prompt.from_json(said(result)[-1][1]).messages
    assert isinstance(answer, pp.AssistantMessage)
    assert (answer.text, [call.id for call in answer.tool_calls]) == ("Half", ["c1"])
    assert isinstance(answer.parts[-1], pp.InvalidToolCall)
    assert whole == pp.ToolResultMessage("c1", "look", '{"at":"Paris"}')
    assert isinstance(cut, pp.ToolResultMessage)
    assert (cut.call_id, user) == ("c9", pp.UserMessage.of("And now?"))


def test_failed_and_invalid_calls_come_back_answered(client: Client) -> None:
    messages = pp.Prompt.from_json(said(client["echo_outcomes"])[-1][1]).messages
    answered = {one.call_id: one.output for one in messages if isinstance(one, pp.ToolResultMessage)}
    assert answered == {"c1": "The tool failed.", "c2": "not JSON"}
    assert messages[-2:] == (pp.AssistantMessage.of("Tried"), pp.UserMessage.of("And now?"))


def test_two_calls_are_decided_each_in_its_own_way(client: Client) -> None:
    result = client["two_approvals"]
    assert finished(result)["type"] == "RUN_FINISHED"
    outcomes = {one["toolCallId"]: one["content"] for one in result["messages"] if one["role"] == "tool"}
    assert outcomes == {"b1": "1 seats", "b2": "one is enough"}
    booked = {thread: seats for thread, seats in client.server.booked.items() if thread.startswith("two_approvals")}
    assert list(booked.values()) == [[1]]


def test_tools_of_both_sides_and_an_approval_in_one_answer(client: Client) -> None:
    result = client["mixed"]
    assert finished(result)["type"] == "RUN_FINISHED"
    assert [one["toolCallId"] for one in result["finished"]["outcome"]["interrupts"]] == ["b2"]
    outcomes = {one["toolCallId"]: one["content"] for one in result["messages"] if one["role"] == "tool"}
    assert outcomes == {"c1": '{"at":"Paris"}', "p1": "Oslo", "b2": "2 seats"}
    assert said(result)[-1] == ("assistant", "Done")


def test_an_interrupt_that_was_cancelled_is_not_allowed(client: Client) -> None:
    result = client["cancelled"]
    assert finished(result)["type"] == "RUN_FINISHED"
    assert "did not allow" in said(result)[2][1]
    assert not [thread for thread in client.server.booked if thread.startswith("cancelled")]


def test_a_denied_call_comes_back_with_its_reason(client: Client) -> None:
    messages = pp.Prompt.from_json(said(client["echo_denied"])[-1][1]).messages
    assert messages[2:4] == (pp.ToolResultMessage("b1", "book", "not today"), pp.AssistantMessage.of("Well then"))
