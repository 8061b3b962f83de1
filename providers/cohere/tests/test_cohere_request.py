"""Prompts to request bodies: what goes where, what is refused, and what goes back to Cohere as it came."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from promptport.errors import InvalidInputError, UnsupportedCapabilityError
from promptport.frames import InvalidToolCall, Reasoning, ToolCall
from promptport.messages import (
    AssistantMessage,
    AssistantPart,
    AudioPart,
    DocumentPart,
    ImagePart,
    NamedTool,
    Origin,
    Prompt,
    TextPart,
    ToolChoice,
    ToolResultMessage,
)
from promptport.models import LLModel
from promptport.tools import ToolDescriptor
from promptport_cohere._request import chat_body

MODEL = LLModel("cohere", "command-a-plus-05-2026")
HI = Prompt.of("Hi")
ORIGIN = Origin("cohere", "here")
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = [ToolDescriptor("f", "Does it.", EMPTY), ToolDescriptor("g")]
PNG = ImagePart(data=b"\x89PNG", media_type="image/png", detail="low")


def body(prompt: Prompt, tools: Any = ()) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(chat_body(prompt, MODEL, tools, stream=True, origin=ORIGIN))
    )
    return made


def own(*parts: AssistantPart | str) -> AssistantMessage:
    """A message that this server made."""
    return msgspec.structs.replace(AssistantMessage.of(*parts), origin=ORIGIN)


def sent(*parts: AssistantPart | str) -> list[dict[str, Any]]:
    """What one message of the model's becomes, and its results."""
    message = own(*parts)
    results = [ToolResultMessage(part.id, part.name, "ok") for part in message.parts if isinstance(part, ToolCall)]
    return list(body(HI.add(message, *results))["messages"][1:])


CALL = ToolCall("c1", "f", '{"x": 1}')
ENTRY = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "ok"}


def test_the_plain_prompt() -> None:
    prompt = Prompt().system("Be brief.").user("Hi", " there").assistant("Hello").user("Bye")
    assert body(prompt) == {
        "model": MODEL.id,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi there"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Bye"},
        ],
        "stream": True,
    }


def test_what_is_said_beside_calls_is_their_plan() -> None:
    assert sent("I will ", "look.", CALL) == [
        {"role": "assistant", "tool_calls": [ENTRY], "tool_plan": "I will \nlook."},
        RESULT,
    ]
    assert sent(Reasoning("I plan.", {"type": "tool_plan"}), CALL)[0]["tool_plan"] == "I plan."
    assert sent(CALL)[0] == {"role": "assistant", "tool_calls": [ENTRY]}


def test_thoughts_go_back_as_content() -> None:
    thought = Reasoning("hm", {"type": "thinking"})
    block = {"type": "thinking", "thinking": "hm"}
    assert sent(thought, CALL)[0] == {"role": "assistant", "tool_calls": [ENTRY], "content": [block]}
    assert sent(thought, "Hi") == [{"role": "assistant", "content": [block, {"type": "text", "text": "Hi"}]}]


def test_other_models_thoughts_and_turns_of_nothing_stay_here() -> None:
    for thought in (Reasoning("hm", {"type": "thinking", "signature": "s"}), Reasoning("hm")):
        for origin in (None, Origin("anthropic", "there")):
            message = msgspec.structs.replace(AssistantMessage.of(thought, "Hi"), origin=origin)
            assert body(HI.add(message))["messages"][1:] == [{"role": "assistant", "content": "Hi"}]
            message = msgspec.structs.replace(message, parts=(thought, TextPart("  ")))
            assert body(HI.add(message))["messages"][1:] == []


def test_results_and_their_errors() -> None:
    prompt = HI.add(
        own(CALL, ToolCall("c2", "g", "{}"), InvalidToolCall("c3", "g", "{", "cut")),
        ToolResultMessage("c1", "f", (TextPart("a map"), PNG)),
        ToolResultMessage("c2", "g", ""),
        ToolResultMessage("c3", "g", error="not JSON"),
    ).user("So?")
    calls, first, second, third, pictures, question = body(prompt)["messages"][1:]
    assert json.loads(calls["tool_calls"][2]["function"]["arguments"]) == {"invalid_arguments": "{"}, "always JSON"
    assert (first["role"], "a map" in first["content"]) == ("tool", True)
    assert second["content"].strip()
    assert third["content"] == "error: not JSON"
    assert pictures["role"] == "user"
    assert pictures["content"][-1]["type"] == "image_url"
    assert question == {"role": "user", "content": "So?"}


def test_pictures_and_documents() -> None:
    text = DocumentPart(data="Katzen ä".encode(), media_type="text/markdown", name="Cats")
    prompt = Prompt().user("Look", PNG, text).with_params(extra={"documents": ["another"]})
    made = body(prompt)
    assert made["messages"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw==", "detail": "low"}},
    ]
    assert made["documents"] == [{"data": {"title": "Cats", "text": "Katzen ä"}}, "another"]


@pytest.mark.parametrize(
    "part",
    [
        DocumentPart(data=b"%PDF", media_type="application/pdf"),
        DocumentPart(url="https://e.com/a.txt", media_type="text/plain"),
        AudioPart(data=b"RIFF", media_type="audio/wav"),
    ],
)
def test_what_cohere_cannot_read_is_refused(part: Any) -> None:
    with pytest.raises(UnsupportedCapabilityError, match="send text"):
        body(Prompt().user("Look", part))


def test_a_text_that_is_none() -> None:
    with pytest.raises(InvalidInputError, match="UTF-8"):
        body(Prompt().user("Look", DocumentPart(data=b"\xff", media_type="text/plain")))


def test_tools_and_choices() -> None:
    plain = body(HI, TOOLS)
    assert plain["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "Does it.", "parameters": EMPTY}},
        {"type": "function", "function": {"name": "g", "parameters": EMPTY}},
    ]
    assert not {"tool_choice", "strict_tools"} & set(plain)
    assert body(HI.with_params(tool_choice=ToolChoice.AUTO), TOOLS) == plain
    assert body(HI.with_params(tool_choice=ToolChoice.NONE), TOOLS)["tool_choice"] == "NONE"
    assert body(HI.with_params(tool_choice=ToolChoice.REQUIRED), TOOLS)["tool_choice"] == "REQUIRED"
    named = body(HI.with_params(tool_choice=NamedTool("g")), TOOLS)
    assert (named["tool_choice"], [tool["function"]["name"] for tool in named["tools"]]) == ("REQUIRED", ["g"])
    assert body(HI, [ToolDescriptor("f", strict=True)])["strict_tools"] is True


def test_parameters() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    prompt = HI.with_params(temperature=0.5, max_tokens=9, stop=("a",), seed=3, response_schema=schema)
    made = body(prompt)
    assert {name: made[name] for name in ("temperature", "max_tokens", "stop_sequences", "seed")} == {
        "temperature": 0.5,
        "max_tokens": 9,
        "stop_sequences": ["a"],
        "seed": 3,
    }
    assert made["response_format"] == {"type": "json_object", "json_schema": schema}
    with pytest.raises(UnsupportedCapabilityError, match="together with tools"):
        body(prompt, TOOLS)
    with pytest.raises(UnsupportedCapabilityError, match="together with documents"):
        body(prompt.with_params(extra={"documents": ["x"]}))
    with pytest.raises(InvalidInputError, match="at most 5"):
        body(HI.with_params(stop=("a", "b", "c", "d", "e", "f")))


@pytest.mark.parametrize(
    ("budget", "thinking"), [(0, {"type": "disabled"}), (50, {"type": "enabled", "token_budget": 50}), (None, None)]
)
def test_thinking(budget: int | None, thinking: Any) -> None:
    assert body(HI.with_params(reasoning_budget=budget)).get("thinking") == thinking


def test_extra_is_put_over_the_body() -> None:
    extra = {"citation_options": {"mode": "FAST"}, "thinking": {"type": "enabled"}, "k": 3, "tools": ["more"]}
    made = body(HI.with_params(reasoning_budget=5, extra=extra), TOOLS[:1])
    assert made["citation_options"] == {"mode": "FAST"}
    assert made["thinking"] == {"type": "enabled", "token_budget": 5}
    assert (made["k"], made["tools"][1:]) == (3, ["more"])
    for taken in ("model", "messages", "stream"):
        with pytest.raises(InvalidInputError, match=taken):
            body(HI.with_params(extra={taken: 1}))
