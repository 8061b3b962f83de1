"""The request: what of a prompt stands where in the body, and what Ollama has no place for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from promptport.errors import InvalidInputError, UnsupportedCapabilityError
from promptport.frames import Citation, InvalidToolCall, ProviderItem, Reasoning, ToolCall
from promptport.messages import AssistantMessage, ImagePart, Prompt, ReasoningEffort, TextPart, ToolChoice
from promptport.models import LLModel
from promptport.tools import ToolDescriptor
from promptport_ollama._request import chat_body

MODEL = LLModel("ollama", "qwen3:4b")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolDescriptor("get_weather", "The weather of a city.", SCHEMA)


def body_of(prompt: Prompt, *tools: ToolDescriptor, stream: bool = True) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(chat_body(prompt, MODEL, tools, stream=stream)))
    return body


def test_the_smallest_request() -> None:
    assert body_of(Prompt.of("Hi", system="Be brief.")) == {
        "model": "qwen3:4b",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "stream": True,
    }
    assert body_of(Prompt.of("Hi"), stream=False)["stream"] is False


def test_tools() -> None:
    nothing = ToolDescriptor("now")
    assert body_of(Prompt.of("Hi"), WEATHER, nothing)["tools"] == [
        {
            "type": "function",
            "function": {"name": "get_weather", "description": "The weather of a city.", "parameters": SCHEMA},
        },
        {
            "type": "function",
            "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}},
        },
    ]


def test_no_tools_are_sent_where_calls_are_forbidden() -> None:
    assert "tools" not in body_of(Prompt.of("Hi", tool_choice=ToolChoice.NONE), WEATHER)
    assert "tools" in body_of(Prompt.of("Hi", tool_choice=ToolChoice.AUTO), WEATHER)


def test_images_are_base64() -> None:
    prompt = Prompt().user("What ", ImagePart(b"\x89PNG", media_type="image/png"), TextPart("is this?"))
    assert body_of(prompt)["messages"] == [{"role": "user", "content": "What is this?", "images": ["iVBORw=="]}]


@pytest.mark.parametrize(
    "image", [ImagePart(url="https://example.com/a.png"), ImagePart(b"x", media_type="image/png", detail="low")]
)
def test_images_that_ollama_cannot_take(image: ImagePart) -> None:
    with pytest.raises(UnsupportedCapabilityError) as raised:
        body_of(Prompt().user("What is this?", image))
    assert raised.value.instead


def test_a_conversation_with_tools_goes_back() -> None:
    prompt = (
        Prompt.of("The weather?")
        .assistant(
            Reasoning("A tool "),
            "I ask.",
            Reasoning("fits."),
            ToolCall("c1", "get_weather", '{"city":"Paris","n":123456789012345678901234567890}'),
            InvalidToolCall("c2", "get_weather", "[1", "not JSON"),
            Citation(url="https://example.com"),
            ProviderItem("web_search_call", {}),
        )
        .tool_result("c1", "sunny")
        .tool_result("c2", error="not JSON")
    )
    assistant, first, second = body_of(prompt, WEATHER)["messages"][1:]
    arguments = {"city": "Paris", "n": 123456789012345678901234567890}
    assert assistant == {
        "role": "assistant",
        "content": "I ask.",
        "thinking": "A tool fits.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}},
            {
                "id": "c2",
                "type": "function",
                "function": {"name": "get_weather", "arguments": {"invalid_arguments": "[1"}},
            },
        ],
    }
    assert first == {"role": "tool", "content": "sunny", "tool_name": "get_weather", "tool_call_id": "c1"}
    assert second == {"role": "tool", "content": "not JSON", "tool_name": "get_weather", "tool_call_id": "c2"}


def test_a_result_in_parts_gives_its_text() -> None:
    prompt = Prompt.of("x").tool_call("c", "f").tool_result("c", [TextPart("a"), TextPart("b")])
    assert body_of(prompt)["messages"][-1]["content"] == "ab"


def test_a_call_made_by_hand_must_have_an_object() -> None:
    with pytest.raises(InvalidInputError, match="'f'"):
        body_of(Prompt.of("x").add(AssistantMessage((ToolCall("c", "f", "[1]"),))))


def test_parameters_become_options() -> None:
    prompt = Prompt.of("Hi", temperature=0.0, max_tokens=64, stop=("END",), seed=7)
    assert body_of(prompt)["options"] == {"temperature": 0.0, "num_predict": 64, "stop": ["END"], "seed": 7}


def test_extra_is_passed_through_and_options_are_merged() -> None:
    extra = {"options": {"num_ctx": 8192, "seed": 8}, "keep_alive": "10m", "think": True, "logprobs": True}
    body = body_of(Prompt.of("Hi", seed=7, temperature=0.5, extra=extra))
    assert body["options"] == {"temperature": 0.5, "num_ctx": 8192, "seed": 8}
    assert (body["keep_alive"], body["think"], body["logprobs"]) == ("10m", True, True)


def test_format() -> None:
    assert body_of(Prompt.of("Hi", response_schema=SCHEMA))["format"] == SCHEMA
    assert body_of(Prompt.of("Hi", extra={"format": "json"}))["format"] == "json"


@pytest.mark.parametrize("name", ["model", "messages", "tools", "stream"])
def test_extra_cannot_set_what_the_request_is(name: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        body_of(Prompt.of("Hi", extra={name: None}))


def test_options_must_be_a_mapping() -> None:
    with pytest.raises(InvalidInputError, match="num_ctx"):
        body_of(Prompt.of("Hi", extra={"options": ["num_ctx"]}))


def test_think() -> None:
    thinks = {effort: body_of(Prompt.of("Hi", reasoning_effort=effort))["think"] for effort in EFFORTS}
    assert list(thinks.values()) == [False, "low", "medium", "high", "max"]
    assert "think" not in body_of(Prompt.of("Hi"))
    for effort in set(ReasoningEffort).difference(EFFORTS):
        with pytest.raises(UnsupportedCapabilityError, match=effort.value):
            body_of(Prompt.of("Hi", reasoning_effort=effort))


EFFORTS = (
    ReasoningEffort.NONE,
    ReasoningEffort.LOW,
    ReasoningEffort.MEDIUM,
    ReasoningEffort.HIGH,
    ReasoningEffort.MAX,
)
