"""The body of a Chat Completions request: every kind of message, every parameter, and history that goes back."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from tests.protocols.chat_wire import DONE, delta, finish, message, tool

from promptport.errors import InvalidInputError, UnsupportedCapabilityError
from promptport.frames import Citation, FinishReason, InvalidToolCall, ProviderItem, Reasoning, ToolCall, UnfinishedCall
from promptport.messages import (
    AssistantMessage,
    AudioPart,
    DocumentPart,
    ImagePart,
    LLMParams,
    NamedTool,
    Prompt,
    ReasoningEffort,
    SystemMessage,
    TextPart,
    ToolChoice,
    ToolResultMessage,
    UserMessage,
)
from promptport.models import LLModel
from promptport.protocols.chat_request import ChatDialect, chat_body, data_url, is_strict_schema, schema_name
from promptport.tools import ToolDescriptor

MODEL = LLModel("server", "model-1")
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = ToolDescriptor("get_weather", "The weather.", SCHEMA)
PNG = b"\x89PNG"
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


def body(
    prompt: Prompt, *tools: ToolDescriptor, stream: bool = False, dialect: ChatDialect | None = None
) -> dict[str, Any]:
    made = chat_body(prompt, MODEL, tools, stream=stream, dialect=dialect or ChatDialect())
    sent: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(made))
    return sent


def messages(*history: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = body(Prompt(history))["messages"]
    return sent


def assistant(*parts: Any) -> dict[str, Any]:
    return messages(AssistantMessage(parts))[0]


# ------------------------------------------------------------------------------------------------ the frame


def test_the_smallest_body() -> None:
    assert body(Prompt.of("Hello")) == {"model": "model-1", "messages": [{"role": "user", "content": "Hello"}]}


def test_a_streaming_body_asks_for_usage() -> None:
    sent = body(Prompt.of("Hello"), stream=True)
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})
    assert "stream_options" not in body(Prompt.of("Hello"), stream=True, dialect=ChatDialect(stream_usage=False))


def test_every_parameter_has_its_field() -> None:
    params = LLMParams(
        temperature=0.5,
        max_tokens=9,
        stop=("a", "b"),
        seed=0,
        tool_choice=ToolChoice.REQUIRED,
        parallel_tool_calls=False,
        response_schema={"title": "Answer", **SCHEMA},
        reasoning_effort=ReasoningEffort.LOW,
        user="u1",
        extra={"logit_bias": {"1": 2}},
    )
    sent = body(Prompt((UserMessage.of("Hello"),), params=params), TOOL)
    sent.pop("messages")
    assert sent == {
        "model": "model-1",
        "temperature": 0.5,
        "max_tokens": 9,
        "stop": ["a", "b"],
        "seed": 0,
        "user": "u1",
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "Answer", "schema": {"title": "Answer", **SCHEMA}, "strict": True},
        },
        "tools": [
            {
                "type": "function",
                "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA},
            }
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "logit_bias": {"1": 2},
    }


def test_no_parameter_is_dropped() -> None:
    """A field added to `LLMParams` must be written here, or refused."""
    known = {"temperature", "max_tokens", "stop", "seed", "tool_choice", "parallel_tool_calls", "response_schema"}
    known |= {"reasoning_effort", "reasoning_budget", "user", "extra"}
    known |= {"cache", "cache_lifetime", "foreign_reasoning"}
    assert set(LLMParams.__struct_fields__) == known
    with pytest.raises(UnsupportedCapabilityError, match=r"server/model-1.*reasoning_budget.*extra"):
        body(Prompt.of("Hello", reasoning_budget=100))


@pytest.mark.parametrize(
    "marked",
    [
        SystemMessage("s", cache=True),
        UserMessage((TextPart("a", cache=True),)),
        UserMessage((ImagePart(url="u", cache=True),)),
        ToolResultMessage("1", "f", (TextPart("a", cache=True),)),
    ],
)
def test_a_cache_mark_is_a_hint(marked: Any) -> None:
    prompt = Prompt.of("Hello").tool_call("1", "f").add(marked)
    assert "cache" not in str(body(prompt))


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice.AUTO, "auto"),
        (ToolChoice.NONE, "none"),
        (NamedTool("get_weather"), {"type": "function", "function": {"name": "get_weather"}}),
    ],
)
def test_tool_choice(choice: ToolChoice | NamedTool, sent: Any) -> None:
    assert body(Prompt.of("Hello", tool_choice=choice), TOOL)["tool_choice"] == sent


def test_what_is_said_about_tools_needs_tools() -> None:
    sent = body(Prompt.of("Hello", tool_choice=ToolChoice.NONE, parallel_tool_calls=True))
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(sent)


def test_a_tool_without_arguments_and_a_strict_one() -> None:
    first, second = body(Prompt.of("Hello"), ToolDescriptor("f"), ToolDescriptor("g", strict=True))["tools"]
    assert first["function"] == {"name": "f", "parameters": {"type": "object", "properties": {}}}
    assert second["function"]["strict"] is True


def test_a_servers_own_names() -> None:
    dialect = ChatDialect(max_tokens="max_completion_tokens", system_role="developer", user="safety_identifier")
    sent = body(Prompt.of("Hello", system="s", max_tokens=9, user="u"), dialect=dialect)
    assert (sent["max_completion_tokens"], sent["safety_identifier"]) == (9, "u")
    assert sent["messages"][0] == {"role": "developer", "content": "s"}
    assert not {"max_tokens", "user"} & set(sent)


def test_extra_goes_over_everything() -> None:
    assert body(Prompt.of("Hello", max_tokens=9, extra={"max_tokens": 5, "top_k": 3}))["max_tokens"] == 5


# ------------------------------------------------------------------------------------------------- messages


def test_texts_are_one_string() -> None:
    assert messages(SystemMessage("s"), UserMessage.of("a", "b")) == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "ab"},
    ]


def test_parts() -> None:
    user = UserMessage.of(
        "Look:",
        ImagePart(data=PNG, media_type="image/png"),
        ImagePart(url="https://example.com/a.png", detail="low"),
        DocumentPart(data=b"%PDF", media_type="application/pdf", name="a.pdf"),
        AudioPart(data=b"RIFF", media_type="audio/wav"),
    )
    assert messages(user)[0]["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": PNG_URL}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]
    assert data_url(ImagePart(data=PNG, media_type="image/png")) == PNG_URL


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("audio/wav", "wav"),
        ("audio/x-wav", "wav"),
        ("audio/wave", "wav"),
        ("audio/mpeg", "mp3"),
        ("audio/mp3", "mp3"),
        ("audio/flac", "flac"),
    ],
)
def test_audio_formats(media_type: str, kind: str) -> None:
    (part,) = messages(UserMessage.of(AudioPart(data=b"x", media_type=media_type)))[0]["content"]
    assert part["input_audio"]["format"] == kind


@pytest.mark.parametrize(
    "part", [DocumentPart(url="https://example.com/a.pdf"), AudioPart(url="https://example.com/a.wav")]
)
def test_what_has_no_form_is_refused(part: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"not by url.*data="):
        messages(UserMessage.of(part))


def test_tool_results() -> None:
    assert messages(
        ToolResultMessage("1", "f", "sunny"),
        ToolResultMessage("2", "f", "ignored", error="no such city"),
        ToolResultMessage("3", "f", (TextPart("a"), TextPart("b"))),
        ToolResultMessage("4", "f", (TextPart("a"), ImagePart(url="u"))),
        ToolResultMessage("5", "f"),
        AssistantMessage.of("I see."),
    ) == [
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "2", "content": "no such city"},
        {"role": "tool", "tool_call_id": "3", "content": "ab"},
        {
            "role": "tool",
            "tool_call_id": "4",
            "content": "a(The image of this result: see the next message.)",
        },
        {"role": "tool", "tool_call_id": "5", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "The image of the result of f:"},
                {"type": "image_url", "image_url": {"url": "u"}},
            ],
        },
        {"role": "assistant", "content": "I see."},
    ]


# ------------------------------------------------------------------------------------------ the model's own turn


def test_text_and_calls_go_back() -> None:
    assert assistant(TextPart("I look."), ToolCall("a", "f", '{"x": 1}'), TextPart(" Wait.")) == {
        "role": "assistant",
        "content": "I look. Wait.",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
    }
    assert assistant(ToolCall("a", "f", "{}"))["content"] is None


def test_a_turn_without_anything_to_say_has_a_content() -> None:
    for parts in ((), (Reasoning("hm"),), (Citation("u"),), (TextPart(""),)):
        assert assistant(*parts) == {"role": "assistant", "content": ""}


def test_an_invalid_call_goes_back_as_json() -> None:
    (call,) = assistant(InvalidToolCall("a", "f", '{"x": ', "not JSON"))["tool_calls"]
    assert call["function"]["name"] == "f"
    assert msgspec.json.decode(call["function"]["arguments"]) == {"invalid_arguments": '{"x": '}
    (call,) = assistant(InvalidToolCall("a", "", "{}", "no name"))["tool_calls"]
    assert call["function"]["name"]


def test_unfinished_calls_do_not_go_back() -> None:
    cut = AssistantMessage((TextPart("a"),), FinishReason.LENGTH, unfinished=(UnfinishedCall("1", "f", "{"),))
    assert messages(cut) == [{"role": "assistant", "content": "a"}]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_goes_back_with_the_calls_under_its_own_name(field: str) -> None:
    answer = message(
        delta(**{field: "hm"}), delta(tool_calls=[tool("{}", "f", index=0, id="a")]), finish("tool_calls"), DONE
    )
    sent = messages(answer)[0]
    assert sent[field] == "hm"
    assert sent["tool_calls"][0]["id"] == "a"
    without_calls = message(delta(**{field: "hm"}), delta(content="a"), finish(), DONE)
    assert messages(without_calls) == [{"role": "assistant", "content": "a"}]


def test_reasoning_details_go_back_unchanged_also_without_calls() -> None:
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0},
        {"type": "reasoning.encrypted", "data": "g"},
    ]
    answer = message(
        delta(reasoning_details=details[:1]), delta(reasoning_details=details[1:]), delta(content="a"), finish(), DONE
    )
    assert messages(answer) == [{"role": "assistant", "content": "a", "reasoning_details": details}]


def test_a_refusal_goes_back() -> None:
    answer = message(delta(refusal="I can"), delta(refusal="not."), finish(), DONE)
    assert messages(answer) == [{"role": "assistant", "content": None, "refusal": "I cannot."}]


def test_googles_extra_content_goes_back_with_its_call() -> None:
    extra = {"google": {"thought_signature": "sig"}}
    answer = message(
        delta(tool_calls=[tool("{}", "f", index=0, id="a", extra_content=extra)]), finish("tool_calls"), DONE
    )
    assert messages(answer)[0]["tool_calls"][0]["extra_content"] == extra


def test_what_another_provider_wants_back_stays_at_home() -> None:
    """History that another API made goes to this one without the other's opaque data."""
    sent = assistant(
        Reasoning("hm", {"signature": "s", "type": "thinking", "field": "thinking"}),
        Reasoning("", {"type": "redacted_thinking", "data": "x"}),
        ToolCall(
            "a", "f", "{}", {"item_id": "fc_1", "status": "completed", "id": "other", "extra_content": {"google": {}}}
        ),
        ProviderItem("web_search", {"query": "q"}),
        Citation("u"),
    )
    assert sent == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "a",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {}},
            }
        ],
    }


def test_a_conversation_in_order() -> None:
    prompt = (
        Prompt.of("Weather?", system="s").tool_call("a", "f", {"x": 1}).tool_call("b", "g").tool_result("a", "1")
    ).tool_result("b", "2")
    assert [one["role"] for one in body(prompt)["messages"]] == ["system", "user", "assistant", "tool", "tool"]


# -------------------------------------------------------------------------------------------------- schemas


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (SCHEMA, True),
        ({"type": "string"}, True),
        ({**SCHEMA, "additionalProperties": True}, False),
        ({**SCHEMA, "required": []}, False),
        ({"type": "object"}, False),
        ({"type": "array", "items": SCHEMA}, True),
        ({"type": "array", "items": {"type": "object", "properties": {}}}, False),
        ({"anyOf": [SCHEMA, {"type": "null"}], "$defs": {"A": SCHEMA}}, True),
        ({"anyOf": [SCHEMA], "$defs": {"A": {"type": "object"}}}, False),
    ],
)
def test_strict_schemas(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict_schema(schema) is strict
    format_ = body(Prompt.of("Hello", response_schema=schema))["response_format"]["json_schema"]
    assert format_["strict"] is strict


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ({}, "response"),
        ({"title": ""}, "response"),
        ({"title": "My Answer!"}, "My_Answer_"),
        ({"title": "Ä" * 70}, "_" * 64),
        ({"title": {"type": "string"}}, "response"),
    ],
)
def test_schema_names(schema: dict[str, Any], name: str) -> None:
    assert schema_name(schema) == name
