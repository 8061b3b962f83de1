"""The real npm package `ai`, versions 7, 6 and 5, against a running server: what its chats see."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
from tests.front_ends.chat_server import ChatServer
from tests.front_ends.chunks import SECRET, chunks_of
from tests.front_ends.npm_packages import npm_folder
from tests.real_parts import need

import promptport as pp

CLIENTS = [("7", "7.0.173"), ("6", "6.0.325"), ("5", "5.0.277"), ("5", "5.0.60"), ("5.0", "5.0.0")]
ALL = (
    *("text", "reasoning", "parallel", "progress", "tool_error", "invalid_call", "client_tool", "provider_error"),
    *("early_error", "incomplete", "cut_call", "resume", "stop", "echo", "busy"),
    *("woven", "restarted", "go_on_after_error", "echo_outcomes", "undecided"),
)
MODERN = ("approve", "deny", "resume_over", "two_approvals", "mixed", "resume_approval", "echo_denied")
DRIVER = os.path.join(os.path.dirname(__file__), "clients", "ui_client.mjs")


class Client:
    """What one version saw in each scenario, and the server that it talked to."""

    def __init__(self, sdk: str, version: str) -> None:
        self.sdk = sdk
        self.server = ChatServer()
        folder = npm_folder("ai", version)
        self.results: dict[str, Any] = asyncio.run(self._run([need("node"), DRIVER, str(folder), sdk]))

    @property
    def modern(self) -> bool:
        return self.sdk in ("6", "7")

    async def _run(self, command: list[str]) -> dict[str, Any]:
        scenarios = [one for one in (*ALL, *(MODERN if self.modern else ())) if self.sdk != "5.0" or one != "progress"]
        async with self.server.running(), asyncio.timeout(60):
            pipe = asyncio.subprocess.PIPE
            node = await asyncio.create_subprocess_exec(*command, self.server.url, *scenarios, stdout=pipe, stderr=pipe)
            try:
                out, errors = await node.communicate()
            finally:
                if node.returncode is None:
                    node.kill()
            assert node.returncode == 0, errors.decode()
            return dict(json.loads(out))

    def __getitem__(self, scenario: str) -> Any:
        result = self.results[scenario]
        assert "crashed" not in result, result["crashed"]
        assert SECRET not in json.dumps(result)
        return result


@pytest.fixture(scope="module", params=CLIENTS, ids=[version for _, version in CLIENTS])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(*request.param)


def parts(result: Any, kind: str = "") -> list[Any]:
    """The parts of the last message of this kind, or all but the marks of steps."""
    found = result["messages"][-1]["parts"]
    return [part for part in found if part["type"] == kind or (not kind and part["type"] != "step-start")]


def texts(result: Any) -> list[str]:
    return [part["text"] for part in parts(result, "text")]


def nothing_open(result: Any) -> bool:
    states = [part.get("state") for message in result["messages"] for part in message["parts"]]
    return not {"streaming", "input-streaming"} & set(states)


def test_text(client: Client) -> None:
    result = client["text"]
    assert (result["status"], texts(result)) == ("ready", ["Hello wörld\n\u2028!"])
    assert result["messages"][-1]["metadata"] == {"usage": {"inputTokens": 3, "outputTokens": 4}, "model": "m-1"}
    assert nothing_open(result)


def test_reasoning_with_its_signature(client: Client) -> None:
    result = client["reasoning"]
    (reasoning,) = parts(result, "reasoning")
    assert reasoning["text"] == "Let me see."
    assert reasoning["providerMetadata"] == {"promptport": {"data": {"signature": "sig-1"}}}
    assert texts(result) == ["Done"]


def test_two_calls_run_while_the_text_goes_on(client: Client) -> None:
    result = client["parallel"]
    during = [part for part in result["during"] if part["type"] == "tool-look"]
    assert [part["state"] for part in during] == ["input-available"] * 2  # shown before either tool was done
    calls = parts(result, "tool-look")
    assert [(part["state"], part["input"]["place"], part["output"]["at"]) for part in calls] == [
        ("output-available", "Paris", "Paris"),
        ("output-available", "Rome", "Rome"),
    ]
    assert texts(result) == ["Looking. ", "And text goes on. ", "Done"]
    assert (result["status"], nothing_open(result)) == ("ready", True)


def test_progress(client: Client) -> None:
    if client.sdk == "5.0":
        pytest.skip("the first releases of version 5 have no progress")
    result = client["progress"]
    assert (result["during"]["output"], result["during"]["preliminary"]) == ({"done": 1}, True)
    (call,) = parts(result, "tool-count")
    assert (call["output"], call.get("preliminary", False)) == ({"done": 3}, False)


def test_a_tool_that_fails(client: Client) -> None:
    result = client["tool_error"]
    (call,) = parts(result, "tool-fail")
    assert (call["state"], call["errorText"]) == ("output-error", "The tool failed.")
    assert (result["status"], texts(result)) == ("ready", ["Done"])


def test_an_invalid_call(client: Client) -> None:
    result = client["invalid_call"]
    (call,) = parts(result, "tool-look")
    assert (call["state"], call["errorText"]) == ("output-error", "the arguments are not JSON")
    shown = [call.get("input"), call.get("rawInput")]  # where each version keeps it
    assert '{"place":' in shown or {"arguments": '{"place":'} in shown
    assert (result["status"], texts(result)) == ("ready", ["Done"])


def test_a_tool_that_the_front_end_runs(client: Client) -> None:
    result = client["client_tool"]
    (call,) = parts(result, "tool-place")
    assert (call["state"], call["output"]) == ("output-available", {"place": "Paris"})
    assert (result["status"], texts(result), len(result["messages"])) == ("ready", ["Where? ", "Done"], 2)
    (executor,) = [one for thread, one in client.server.executors.items() if thread.startswith("client_tool")]
    assert executor.requests[-1].prompt.messages[-1] == pp.ToolResultMessage("c1", "place", '{"place":"Paris"}')


@pytest.mark.parametrize(
    ("scenario", "error"),
    [
        ("provider_error", "The model is asked too often; try again later."),
        ("incomplete", "The answer was interrupted."),
        ("cut_call", "The answer was interrupted."),
    ],
)
def test_a_response_that_failed_is_an_error_and_nothing_stays_open(client: Client, scenario: str, error: str) -> None:
    result = client[scenario]
    assert (result["status"], result["error"]) == ("error", error)
    assert texts(result) == ["Half"]
    assert nothing_open(result)
    assert [part["state"] for part in parts(result, "tool-look")] in ([], ["output-available"], ["output-error"])


def test_an_error_before_anything_else(client: Client) -> None:
    result = client["early_error"]
    assert (result["status"], result["error"]) == ("error", "The model is asked too often; try again later.")


def test_a_reload_reads_the_response_again_and_to_its_end(client: Client) -> None:
    result = client["resume"]
    assert (result["status"], texts(result)) == ("ready", ["first half, second half"])
    assert result["messages"][-1]["id"] == result["first"]["messages"][-1]["id"]
    assert len(result["messages"]) == 2
    assert result["last"]["statuses"] == [204]
    assert client.sdk == "5.0" or result["last"]["status"] == "ready"  # 5.0.0 stays in "submitted" by itself


def test_stop_from_elsewhere_ends_the_response(client: Client) -> None:
    result = client["stop"]
    assert (result["status"], texts(result), result["stopped"]) == ("ready", ["first half, "], {"stopped": True})
    assert nothing_open(result)


def test_a_second_message_while_the_first_is_answered_is_refused(client: Client) -> None:
    result = client["busy"]
    assert (result["statuses"], result["status"]) == ([409], "error")
    assert "The conversation has an active response" in result["error"]


def test_what_the_client_sends_back_is_the_conversation(client: Client) -> None:
    result = client["echo"]
    prompt = pp.Prompt.from_json(texts(result)[-1])
    assert prompt.messages == (
        pp.UserMessage.of("Hi"),
        pp.AssistantMessage.of(
            pp.Reasoning("Let me see.", {"signature": "sig-1"}),
            "Looking. ",
            pp.ToolCall("c1", "look", '{"place":"Paris"}'),
            pp.ToolCall("c2", "look", '{"place":"Rome"}'),
        ),
        pp.ToolResultMessage("c1", "look", '{"at":"Paris"}'),
        pp.ToolResultMessage("c2", "look", '{"at":"Rome"}'),
        pp.AssistantMessage.of("Done"),
        pp.UserMessage.of("And now?"),
    )


def test_thoughts_text_a_call_and_a_source_stand_in_the_order_in_which_they_came(client: Client) -> None:
    result = client["woven"]
    kinds = ["reasoning", "text", "tool-look", "text", "reasoning", "text", "source-url", "reasoning", "text"]
    assert [part["type"] for part in parts(result)] == kinds
    assert texts(result) == ["One ", "two ", "three", "Done"]
    kept = [part["providerMetadata"]["promptport"]["data"]["signature"] for part in parts(result, "reasoning")]
    assert kept == ["sig-1", "sig-2", "sig-3"]
    assert (result["status"], nothing_open(result)) == ("ready", True)


def test_an_answer_that_began_anew_is_told_apart(client: Client) -> None:
    result = client["restarted"]
    found = [part["type"] for part in parts(result)]
    first = [] if client.sdk == "7" else ["reasoning", "text", "data-restarted"]
    assert found == [*first, "reasoning", "text"]
    assert (texts(result)[-1], result["status"], nothing_open(result)) == ("Right", "ready", True)


def test_a_chat_goes_on_after_a_response_that_was_cut(client: Client) -> None:
    result = client["go_on_after_error"]
    assert (result["failed"], result["status"]) == ("error", "ready")
    _, answer, whole, cut, user = pp.Prompt.from_json(texts(result)[-1]).messages
    assert isinstance(answer, pp.AssistantMessage)
    assert (answer.text, answer.tool_calls[0].id) == ("Half", "c1")
    assert whole == pp.ToolResultMessage("c1", "look", '{"at":"Paris"}')
    assert cut == pp.ToolResultMessage("c9", "look", error="The call was cut off.")
    assert user == pp.UserMessage.of("And now?")
    last_part = answer.parts[-1]
    assert isinstance(last_part, pp.ToolCall if client.sdk == "5.0" else pp.InvalidToolCall)
    assert last_part.arguments == ('{"arguments":"{\\"pla"}' if client.sdk == "5.0" else '{"pla')


def test_failed_and_invalid_calls_come_back_answered(client: Client) -> None:
    _, _, *outcomes, last, user = pp.Prompt.from_json(texts(client["echo_outcomes"])[-1]).messages
    assert outcomes == [
        pp.ToolResultMessage("c1", "fail", error="The tool failed."),
        pp.ToolResultMessage("c2", "look", error="not JSON"),
    ]
    assert (last, user) == (pp.AssistantMessage.of("Tried"), pp.UserMessage.of("And now?"))


def test_a_call_that_nobody_decided_comes_back_as_not_approved(client: Client) -> None:
    result = pp.Prompt.from_json(texts(client["undecided"])[-1]).messages[2]
    assert isinstance(result, pp.ToolResultMessage)
    assert (result.call_id, bool(result.error)) == ("b1", True)
    assert not [thread for thread in client.server.booked if thread.startswith("undecided")]


# ----------------------------------------------------------------------------------- from version 6 on


def test_two_calls_are_decided_each_in_its_own_way(client: Client) -> None:
    if not client.modern:
        pytest.skip("version 5 has no approvals")
    result = client["two_approvals"]
    first, second = parts(result, "tool-book")
    assert (first["state"], first["output"]) == ("output-available", "1 seats")
    assert (second["state"], second["approval"]["reason"]) == ("output-denied", "one is enough")
    assert (result["between"], texts(result)[-1], len(result["messages"])) == (0, "Done", 2)
    booked = {thread: seats for thread, seats in client.server.booked.items() if thread.startswith("two_approvals")}
    assert list(booked.values()) == [[1]]


def test_tools_of_both_sides_and_an_approval_in_one_answer(client: Client) -> None:
    if not client.modern:
        pytest.skip("version 5 has no approvals")
    result = client["mixed"]
    states = [part["state"] for part in result["asked"] if part["type"].startswith("tool-")]
    assert states == ["output-available", "output-available", "approval-requested"]
    calls = [part for part in parts(result) if part["type"].startswith("tool-")]
    assert [part["output"] for part in calls] == [{"at": "Paris"}, {"place": "Oslo"}, "2 seats"]
    assert (texts(result)[-1], len(result["messages"])) == ("Done", 2)


def test_a_reload_after_an_approval_reads_the_whole_message(client: Client) -> None:
    if not client.modern:
        pytest.skip("version 5 has no approvals")
    result = client["resume_approval"]
    assert texts(result) == ["I ask. ", "first half, second half"]
    (call,) = parts(result, "tool-book")
    assert (call["state"], call["output"], len(result["messages"])) == ("output-available", "1 seats", 2)


def test_a_denied_call_comes_back_with_its_reason(client: Client) -> None:
    if not client.modern:
        pytest.skip("version 5 has no approvals")
    messages = pp.Prompt.from_json(texts(client["echo_denied"])[-1]).messages
    assert messages[2:4] == (
        pp.ToolResultMessage("b1", "book", error="not today"),
        pp.AssistantMessage.of("Well then"),
    )


def test_approve(client: Client) -> None:
    if not client.modern:
        pytest.skip("version 5 has no approvals")
    result = client["approve"]
    assert result["asked"]["state"] == "approval-requested"
    (call,) = parts(result, "tool-book")
    assert (call["state"], call["output"]) == ("output-available", "2 seats")
    assert (result["status"], texts(result), len(result["messages"])) == ("ready", ["I ask. ", "Done"], 2)


def test_a_decision_is_taken_once_and_arguments_are_the_servers(client: Client) -> None:
    if not client.modern:
        pytest.skip("version 5 has no approvals")
    status, body = client["approve"]["again"]
    assert status == 200
    assert [chunk["delta"] for chunk in chunks_of(body.encode())[:-1] if chunk["type"] == "text-delta"] == ["Done"]
    booked = {thread: seats for thread, seats in client.server.booked.items() if thread.startswith("approve")}
    assert list(booked.values()) == [[2]]


def test_deny(client: Client) -> None:
    if not client.modern:
        pytest.skip("version 5 has no approvals")
    result = client["deny"]
    (call,) = parts(result, "tool-book")
    assert call["state"] == "output-denied"
    assert (result["status"], texts(result)) == ("ready", ["I ask. ", "Done"])
    assert not [thread for thread in client.server.booked if thread.startswith("deny")]
    (executor,) = [one for thread, one in client.server.executors.items() if thread.startswith("deny")]
    told = executor.requests[-1].prompt.messages[-1]
    assert isinstance(told, pp.ToolResultMessage)
    assert told.error is not None
    assert "not today" in told.error


def test_reading_again_over_half_of_the_message_doubles_nothing(client: Client) -> None:
    if not client.modern:
        pytest.skip("version 5 keeps its half; a page reads again after a reload")
    result = client["resume_over"]
    assert (result["status"], texts(result), len(result["messages"])) == ("ready", ["first half, second half"], 2)
