"""`ChatDialect`: each way in which one server's requests differ from the next, and Mistral's thinking both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from promptport.errors import InvalidInputError, UnsupportedCapabilityError
from promptport.frames import Append, Reasoning, ReasoningAppend, ToolCall
from promptport.messages import AssistantMessage, NamedTool, Prompt, ToolChoice
from promptport.models import LLModel
from promptport.protocols import (
    ChatCompletionsDecoder,
    ChatDialect,
    FittingRule,
    HistoryRules,
    chat_body,
    decode_chat_completion,
)
from promptport.stream import message_of
from promptport.tools import ToolDescriptor

MODEL = LLModel("p", "m")
TOOL = ToolDescriptor("look", "", {"type": "object", "properties": {}}, strict=True)
CALLED = Prompt.of("Hi").tool_call("call_1", "look").tool_result("call_1", "seen")
NINE = HistoryRules(FittingRule(r"[A-Za-z0-9]{9}", "", 9), own_call_ids=False)


def body(prompt: Prompt, *, tools: tuple[ToolDescriptor, ...] = (), stream: bool = False, **dialect: Any) -> Any:
    return chat_body(prompt, MODEL, tools, stream=stream, dialect=ChatDialect(**dialect))


def test_names_of_fields() -> None:
    asked = body(Prompt.of("Hi", seed=7, max_tokens=5, user="u"), seed="random_seed", max_tokens="limit", user="who")
    assert {"random_seed": 7, "limit": 5, "who": "u"}.items() <= asked.items()
    assert asked.keys() == {"model", "messages", "random_seed", "limit", "who"}


@pytest.mark.parametrize(
    ("choice", "dialect", "expected"),
    [
        (ToolChoice.REQUIRED, {}, "required"),
        (ToolChoice.REQUIRED, {"required": "any"}, "any"),
        (ToolChoice.AUTO, {"required": "any", "forbidden": ""}, "auto"),
        (ToolChoice.NONE, {}, "none"),
        (NamedTool("look"), {"required": "any"}, {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_words_of_the_tool_choice(choice: Any, dialect: dict[str, Any], expected: object) -> None:
    assert body(Prompt.of("Hi", tool_choice=choice), tools=(TOOL,), **dialect)["tool_choice"] == expected


def test_where_no_word_forbids_calls_the_tools_are_left_out_unless_the_history_needs_them() -> None:
    prompt = Prompt.of("Hi", tool_choice=ToolChoice.NONE, parallel_tool_calls=False)
    assert body(prompt, tools=(TOOL,), forbidden="").keys() == {"model", "messages"}
    asked = body(CALLED.with_params(tool_choice=ToolChoice.NONE), tools=(TOOL,), forbidden="")
    assert "tools" in asked
    assert "tool_choice" not in asked


def test_strict_is_left_out_of_functions_and_schemas() -> None:
    prompt = Prompt.of("Hi", response_schema={"type": "object", "properties": {}, "additionalProperties": False})
    assert '"strict"' in json.dumps(body(prompt, tools=(TOOL,)))
    assert '"strict"' not in json.dumps(body(prompt, tools=(TOOL,), strict=False))


def test_a_schema_beside_tools_is_refused_where_the_server_takes_one_of_them() -> None:
    prompt = Prompt.of("Hi", response_schema={"type": "object"})
    body(prompt, schema_beside_tools=False)
    with pytest.raises(UnsupportedCapabilityError, match="one of them at a time"):
        body(prompt, tools=(TOOL,), schema_beside_tools=False)


SWITCH = {"thinking": {"thinking": {"type": "enabled"}}, "no_thinking": {"thinking": {"type": "disabled"}}}


@pytest.mark.parametrize(
    ("params", "dialect", "expected"),
    [
        ({"reasoning_effort": "low"}, {}, {"reasoning_effort": "low"}),
        ({"reasoning_effort": "none"}, {}, {"reasoning_effort": "none"}),
        ({"reasoning_effort": "low"}, {"effort": "reasoning.effort"}, {"reasoning": {"effort": "low"}}),
        ({"reasoning_budget": 9}, {"budget": "reasoning.max_tokens"}, {"reasoning": {"max_tokens": 9}}),
        ({"reasoning_effort": "high"}, {"effort": "", **SWITCH}, {"thinking": {"type": "enabled"}}),
        ({"reasoning_effort": "none"}, {"effort": "", **SWITCH}, {"thinking": {"type": "disabled"}}),
        ({"reasoning_budget": 0}, {"budget": "b", **SWITCH}, {"thinking": {"type": "disabled"}}),
        (
            {"reasoning_effort": "high", "reasoning_budget": 9},
            {"budget": "thinking.budget", **SWITCH},
            {"thinking": {"type": "enabled", "budget": 9}, "reasoning_effort": "high"},
        ),
    ],
)
def test_how_reasoning_is_asked_for(params: dict[str, Any], dialect: dict[str, Any], expected: dict[str, Any]) -> None:
    asked = body(Prompt.of("Hi", **params), **dialect)
    assert {name: value for name, value in asked.items() if name not in ("model", "messages")} == expected


def test_reasoning_that_the_server_does_not_take_is_refused() -> None:
    with pytest.raises(UnsupportedCapabilityError, match="reasoning_effort xhigh; use low, high"):
        body(Prompt.of("Hi", reasoning_effort="xhigh"), efforts=("low", "high"))
    with pytest.raises(UnsupportedCapabilityError, match="reasoning_budget"):
        body(Prompt.of("Hi", reasoning_budget=5))
    with pytest.raises(InvalidInputError, match="contradict"):
        body(Prompt.of("Hi", reasoning_budget=5, reasoning_effort="none"), budget="b")


def test_fields_of_the_server_and_of_the_caller() -> None:
    prompt = Prompt.of("Hi", extra={"b": 3})
    dialect: dict[str, Any] = {"fields": {"a": 1, "b": 1}, "stream_fields": {"c": 2}, "stream_usage": False}
    assert {"a": 1, "b": 3, "c": 2, "stream": True}.items() <= body(prompt, stream=True, **dialect).items()
    assert body(prompt, **dialect).keys() == {"model", "messages", "a", "b"}


@pytest.mark.parametrize(
    ("back", "kept"), [("never", (False, False)), ("calls", (False, True)), ("always", (True, True))]
)
def test_when_reasoning_goes_back(back: str, kept: tuple[bool, bool]) -> None:
    thought = Reasoning("hm", {"field": "reasoning_content"})
    prompt = CALLED.add(AssistantMessage.of(thought, "plain")).user("More")
    first = AssistantMessage.of(thought, ToolCall("call_1", "look", "{}"))
    prompt = Prompt((prompt.messages[0], first, *prompt.messages[2:]))
    turns = [each for each in body(prompt, reasoning_back=back)["messages"] if each["role"] == "assistant"]
    assert ["reasoning_content" in turn for turn in turns] == list(reversed(kept))


def test_a_turn_of_calls_only_can_have_an_empty_text() -> None:
    assert body(CALLED)["messages"][1]["content"] is None
    assert body(CALLED, null_content=False)["messages"][1]["content"] == ""


def test_ids_of_nine_letters_and_digits_also_where_the_server_made_others_itself() -> None:
    for given in ("call_1", "chatcmpl-tool-5a6f", "abcdefghi"):
        prompt = Prompt.of("Hi").tool_call(given, "look").tool_result(given, "seen")
        _, call, result = body(prompt, history=NINE)["messages"]
        sent = call["tool_calls"][0]["id"]
        assert sent == result["tool_call_id"]
        assert len(sent) == 9
        assert sent.isalnum()
        assert (sent == given) is (given == "abcdefghi")


# ------------------------------------------------------------------------------------------ Mistral's thinking

SIGNED = {"type": "thinking", "thinking": [{"type": "text", "text": " see"}], "signature": "sig", "closed": True}
DELTAS: list[dict[str, Any]] = [
    {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Let me"}]}]},
    {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": " see"}], "signature": "sig", "closed": True}
        ]
    },
    {"content": [{"type": "text", "text": "Hel"}]},
    {"content": "lo"},
]
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Let me see"}], "closed": True, "signature": "sig"}


def test_mistrals_thinking_comes_as_reasoning_and_goes_back_as_content() -> None:
    events = [{"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in DELTAS]
    events.append({"id": "1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    wire = b"".join([b"data: %b\n\n" % json.dumps(event).encode() for event in events]) + b"data: [DONE]\n\n"
    decoder = ChatCompletionsDecoder()
    frames = decoder.feed(wire)
    reasoning = Reasoning("Let me see", {"content": "thinking", "signature": "sig"})
    assert frames[:-1] == [
        *(ReasoningAppend("Let me"), ReasoningAppend(" see"), reasoning),
        *(Append("Hel"), Append("lo")),
    ]
    sent = body(Prompt.of("Hi").add(message_of(frames)).user("More"))["messages"][1]
    assert sent == {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "Hello"}]}


def test_mistrals_thinking_in_a_whole_response_and_beside_a_call() -> None:
    call = {"id": "abcdefghi", "function": {"name": "look", "arguments": "{}"}, "index": 0}
    message = {"role": "assistant", "content": [THOUGHT], "tool_calls": [call]}
    whole = {"id": "1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    answer = decode_chat_completion(json.dumps(whole).encode())
    assert answer.reasoning == "Let me see"
    sent = body(Prompt.of("Hi").add(answer).tool_result("abcdefghi", "seen"), history=NINE)["messages"][1]
    assert sent["content"] == [THOUGHT]
    assert sent["tool_calls"][0]["id"] == "abcdefghi"
    assert "reasoning_content" not in sent


def test_mistrals_thinking_does_not_go_back_where_none_is_taken() -> None:
    message = AssistantMessage.of(Reasoning("hm", {"content": "thinking"}), "text")
    assert body(Prompt.of("Hi").add(message).user("More"), reasoning_back="never")["messages"][1]["content"] == "text"
