"""OpenAI Responses, the way out; what an answer holds goes back as it came."""

import functools
import json
from typing import Any

import pydantic
import pytest

from promptport.errors import InvalidInputError, UnsupportedCapabilityError
from promptport.frames import Citation, InvalidToolCall, ProviderItem, Reasoning, ToolCall
from promptport.messages import (
    AssistantMessage,
    AudioPart,
    DocumentPart,
    ImagePart,
    NamedTool,
    Origin,
    Prompt,
    ReasoningEffort,
    SystemMessage,
    TextPart,
    ToolChoice,
    ToolResultMessage,
    UserMessage,
    UserPart,
)
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.tools import ToolDescriptor
from promptport_openai._responses_request import responses_body

GPT4 = LLModel("openai", "gpt-4.1")
GPT5 = LLModel("openai", "gpt-5")
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED = {**CITY, "additionalProperties": False}
WEATHER = ToolDescriptor("get_weather", "Current weather of a city.", CITY)


@functools.cache
def sdk_type() -> pydantic.TypeAdapter[Any]:
    from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

    return pydantic.TypeAdapter(ResponseCreateParamsStreaming)


def body_of(prompt: Prompt, model: LLModel = GPT4, *tools: ToolDescriptor) -> dict[str, Any]:
    """The body, which the SDK's own types accept, and which is JSON."""
    body = responses_body(prompt, model, tools, stream=True)
    sdk_type().validate_python(body)
    decoded: dict[str, Any] = json.loads(json.dumps(body))
    assert decoded == body
    return body


def items_of(*messages: Any, **params: Any) -> list[dict[str, Any]]:
    prompt = Prompt((UserMessage.of("Hi"), *messages)).with_params(**params)
    items: list[dict[str, Any]] = body_of(prompt)["input"][1:]
    return items


# --------------------------------------------------------------------------------------------------- the plain


def test_a_plain_prompt() -> None:
    prompt = Prompt.of("Hi", system="Be brief.")
    items = [
        {"type": "message", "role": "system", "content": "Be brief."},
        {"type": "message", "role": "user", "content": "Hi"},
    ]
    body = {"model": "gpt-4.1", "input": items, "store": False}
    assert responses_body(prompt, GPT4, stream=False) == body
    assert body_of(prompt) == {**body, "stream": True}


def test_instructions_keep_their_place() -> None:
    items = items_of(SystemMessage("Later."), UserMessage.of("And?"))
    assert [item["role"] for item in items] == ["system", "user"]


def test_what_a_user_sends() -> None:
    parts: list[UserPart] = [
        TextPart("Look:"),
        ImagePart(data=b"\x89PNG", media_type="image/png"),
        ImagePart(url="https://example.org/a.png", detail="low"),
        DocumentPart(data=b"%PDF", media_type="application/pdf"),
        DocumentPart(url="https://example.org/a.pdf", name="a.pdf"),
    ]
    (item,) = items_of(UserMessage(tuple(parts)))
    assert item["content"] == [
        {"type": "input_text", "text": "Look:"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw==", "detail": "auto"},
        {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "low"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERg==", "filename": "document"},
        {"type": "input_file", "file_url": "https://example.org/a.pdf", "filename": "a.pdf"},
    ]


def test_what_is_to_be_cached() -> None:
    breakpoint_ = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    image = ImagePart(url="https://example.org/a.png", cache=True)
    document = DocumentPart(url="https://example.org/a.pdf", cache=True)
    system, user = items_of(SystemMessage("Be brief.", cache=True), UserMessage((TextPart("a", True), image, document)))
    assert system["content"] == [{"type": "input_text", "text": "Be brief.", **breakpoint_}]
    assert all(breakpoint_.items() <= part.items() for part in user["content"])


# -------------------------------------------------------------------------------------------------- parameters


def test_parameters() -> None:
    schema = {"title": "My answer!", **CLOSED}
    prompt = Prompt.of("Hi", temperature=0.5, max_tokens=9, user="u1", response_schema=schema)
    body = body_of(prompt)
    assert body["text"]["format"] == {"type": "json_schema", "name": "My_answer_", "schema": schema, "strict": True}
    expected = {"temperature": 0.5, "max_output_tokens": 9, "safety_identifier": "u1"}
    assert {key: body[key] for key in expected} == expected
    assert body_of(Prompt.of("Hi", response_schema=CITY))["text"]["format"]["schema"] == CLOSED
    free = {"type": "object", "additionalProperties": {"type": "string"}}
    assert body_of(Prompt.of("Hi", response_schema=free))["text"]["format"]["strict"] is False


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice.AUTO, "auto"),
        (ToolChoice.NONE, "none"),
        (ToolChoice.REQUIRED, "required"),
        (NamedTool("get_weather"), {"type": "function", "name": "get_weather"}),
    ],
)
def test_tool_choice(choice: ToolChoice | NamedTool, sent: object) -> None:
    prompt = Prompt.of("Hi", tool_choice=choice, parallel_tool_calls=False)
    body = body_of(prompt, GPT4, WEATHER)
    assert body["tool_choice"] == sent
    assert body["parallel_tool_calls"] is False
    if choice in (ToolChoice.AUTO, ToolChoice.NONE):
        assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(body_of(prompt))


def test_tools_are_flat_and_their_schemas_stay_as_written() -> None:
    loose = {"type": "function", "name": "get_weather", "description": "Current weather of a city."}
    assert body_of(Prompt.of("Hi"), GPT4, WEATHER)["tools"] == [{**loose, "parameters": CITY, "strict": False}]
    tools = responses_body(
        Prompt.of("Hi"),
        GPT4,
        [
            ToolDescriptor("closed", parameters=CLOSED),
            ToolDescriptor("asked", parameters=CITY, strict=True),
            ToolDescriptor("now"),
        ],
        stream=True,
    )["tools"]
    assert tools[0] == {"type": "function", "name": "closed", "parameters": CLOSED, "strict": True}
    assert tools[1]["strict"] is True
    assert tools[1]["parameters"] == {**CITY, "additionalProperties": False}, "strict means fitted"
    assert tools[2]["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("model", "effort", "asked"),
    [
        (GPT5, None, True),
        (GPT4, None, False),
        (GPT5, ReasoningEffort.NONE, False),
        (LLModel("openai", "gpt-unheard-of"), None, False),
        (LLModel("openai", "gpt-unheard-of"), ReasoningEffort.LOW, True),
        (
            LLModel("openai", "mine", ModelCapabilities(StreamedTools.DELTAS, frozenset([Capability.REASONING]))),
            None,
            True,
        ),
    ],
)
def test_models_that_reason_are_asked_for_their_reasoning(
    model: LLModel, effort: ReasoningEffort | None, asked: bool
) -> None:
    body = body_of(Prompt.of("Hi", reasoning_effort=effort), model)
    assert body.get("include") == (["reasoning.encrypted_content"] if asked else None)
    assert body.get("reasoning") == ({"effort": effort.value} if effort else None)


def test_parameters_that_responses_does_not_have() -> None:
    for params in ({"stop": "x"}, {"seed": 1}, {"reasoning_budget": 100}):
        with pytest.raises(UnsupportedCapabilityError) as caught:
            body_of(Prompt.of("Hi", **params))
        assert caught.value.missing == tuple(params)
    with pytest.raises(UnsupportedCapabilityError, match="audio"):
        body_of(Prompt().user(AudioPart(data=b"RIFF", media_type="audio/wav")))


def test_extra_is_put_over_the_body() -> None:
    extra = {
        "tools": [{"type": "web_search"}],
        "include": ["web_search_call.action.sources", "reasoning.encrypted_content"],
        "reasoning": {"summary": "auto"},
        "text": {"verbosity": "low"},
        "truncation": "auto",
        "store": True,
    }
    prompt = Prompt.of(
        "Hi",
        reasoning_effort=ReasoningEffort.HIGH,
        response_schema=CLOSED,
        tool_choice=ToolChoice.REQUIRED,
        extra=extra,
    )
    body = body_of(prompt, GPT5, WEATHER)
    assert [tool["type"] for tool in body["tools"]] == ["function", "web_search"]
    assert body["include"] == ["reasoning.encrypted_content", "web_search_call.action.sources"]
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}
    assert set(body["text"]) == {"format", "verbosity"}
    assert (body["truncation"], body["store"]) == ("auto", True)
    only_theirs = body_of(Prompt.of("Hi", tool_choice=ToolChoice.REQUIRED, extra={"tools": [{"type": "web_search"}]}))
    assert (only_theirs["tools"], only_theirs["tool_choice"]) == ([{"type": "web_search"}], "required")


@pytest.mark.parametrize("key", ["model", "input", "stream"])
def test_extra_cannot_take_the_prompt_away(key: str) -> None:
    with pytest.raises(InvalidInputError, match=key):
        body_of(Prompt.of("Hi", extra={key: "x"}))


# -------------------------------------------------------------------------------------------------- round trips


def test_the_answer_goes_back_as_it_came(wire: Any) -> None:
    """Encrypted reasoning, text and calls in a second request, with the results."""
    answer = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [], "encrypted_content": "gAAA"},
        {**wire.message("Wait.", phase="commentary"), "id": "msg_1"},
        {**wire.call("call_a", "get_weather", '{"city":"Paris"}', status="completed"), "id": "fc_1"},
        {**wire.call("call_b", "get_weather", '{"city":"Rome"}', status="completed"), "id": "fc_2"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
    ]
    streamed = wire.decode(
        wire.done(0, answer[0]),
        wire.text("Wait.", output_index=1),
        *[wire.done(index, item) for index, item in enumerate(answer) if index],
        wire.completed(*answer),
    )
    prompt = Prompt.of("Weather?").add(streamed.message)
    prompt = prompt.tool_result("call_b", "rainy").tool_result("call_a", error="no such city")
    restored = Prompt.from_json(prompt.to_json())
    assert body_of(restored, GPT5, WEATHER)["input"] == [
        {"type": "message", "role": "user", "content": "Weather?"},
        *answer,
        {"type": "function_call_output", "call_id": "call_b", "output": "rainy"},
        {"type": "function_call_output", "call_id": "call_a", "output": "no such city"},
    ]


def test_plain_text_of_a_model() -> None:
    assert items_of(AssistantMessage.of("Hello")) == [{"type": "message", "role": "assistant", "content": "Hello"}]
    cited = AssistantMessage.of("Hello", Citation("https://example.org"), " you")
    assert items_of(cited) == [{"type": "message", "role": "assistant", "content": "Hello you"}]
    phased = AssistantMessage.of("Hello", ProviderItem("message", {"type": "message", "phase": "commentary"}))
    assert items_of(phased)[0] == {"type": "message", "role": "assistant", "content": "Hello", "phase": "commentary"}
    assert items_of(AssistantMessage()) == []


def test_a_refusal_goes_back() -> None:
    refusal = ProviderItem("refusal", {"refusal": "No."})
    (plain,) = items_of(AssistantMessage.of(refusal))
    assert plain["content"] == "No."
    (item,) = items_of(AssistantMessage.of("Hm.", refusal, ProviderItem("message", {"type": "message", "id": "msg_1"})))
    assert item["content"][1] == {"type": "refusal", "refusal": "No."}


def test_results_with_images() -> None:
    call = AssistantMessage.of(ToolCall("call_1", "look", "{}"))
    image = ImagePart(url="https://example.org/a.png")
    result = ToolResultMessage("call_1", "look", (TextPart("Here:"), image))
    assert items_of(call, result)[1]["output"] == [
        {"type": "input_text", "text": "Here:"},
        {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"},
    ]
    assert items_of(call, ToolResultMessage("call_1", "look", (TextPart("a"), TextPart("b"))))[1]["output"] == "ab"


def test_an_invalid_call_goes_back_as_json() -> None:
    call, _ = items_of(
        AssistantMessage.of(InvalidToolCall("call_1", "look", '{"a":', "not JSON")),
        ToolResultMessage("call_1", "look", error="not JSON"),
    )
    assert call["call_id"] == "call_1"
    assert json.loads(call["arguments"]) == {"invalid_arguments": '{"a":'}


def test_a_custom_tools_call_and_its_result(wire: Any) -> None:
    item = {"type": "custom_tool_call", "call_id": "call_1", "name": "run", "input": "print(3)", "id": "ctc_1"}
    message = wire.decode(wire.done(0, item), wire.completed(item)).message
    result = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "3"}
    assert items_of(message, ToolResultMessage("call_1", "run", "3")) == [item, result]


def test_the_wrappers_calls_go_back_one_by_one(wire: Any) -> None:
    uses = [{"recipient_name": f"functions.{name}", "parameters": {}} for name in ("add", "multiply")]
    item = wire.call(name="multi_tool_use.parallel", whole=json.dumps({"tool_uses": uses}))
    message = wire.decode(wire.done(0, item), wire.completed(item)).message
    results = [ToolResultMessage(call.id, call.name, "3") for call in message.tool_calls]
    items = items_of(message, *results)
    assert [item["type"] for item in items] == ["function_call"] * 2 + ["function_call_output"] * 2
    assert [item["call_id"] for item in items[:2]] == [item["call_id"] for item in items[2:]]


def test_what_other_providers_answered() -> None:
    """Their reasoning and items mean nothing here; text and calls do."""
    theirs = AssistantMessage(
        (
            Reasoning("Hm.", {"type": "thinking", "signature": "abc"}),
            ProviderItem("server_tool_use", {"type": "server_tool_use", "id": "srvtoolu_1"}),
            TextPart("Hello"),
            ToolCall("toolu_1", "look", "{}", {"type": "tool_use"}),
        ),
        raw_finish_reason="tool_use",
        origin=Origin("anthropic", "api.anthropic.com"),
    )
    message, call = items_of(theirs)
    assert message["content"] == "Hello"
    assert call == {"type": "function_call", "call_id": "toolu_1", "name": "look", "arguments": "{}"}


def test_an_item_of_the_callers_own() -> None:
    approval = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    assert items_of(AssistantMessage.of(ProviderItem("mcp_approval_response", approval))) == [approval]


def test_reasoning_that_only_the_server_knows() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    message = AssistantMessage.of(Reasoning("Hm.", item), "Hello")
    assert [entry["type"] for entry in items_of(message)] == ["message"]
    assert items_of(message, extra={"store": True})[0] == item
    visible = {**item, "content": [{"type": "reasoning_text", "text": "Hm."}]}
    assert items_of(AssistantMessage.of(Reasoning("Hm.", visible)))[0] == visible


# ------------------------------------------------------------------------------------------ previous responses


def test_what_the_server_knows_is_not_sent_again(wire: Any) -> None:
    item = {"type": "custom_tool_call", "call_id": "call_b", "name": "run", "input": "ls"}
    first = wire.decode(
        wire.done(0, wire.call("call_a", "get_weather", "{}")),
        wire.done(1, item),
        wire.completed(id="resp_1"),
        taken=frozenset(["call_a"]),
    ).message
    made = first.tool_calls[0].id
    assert made != "call_a"
    prompt = Prompt.of("Weather?", system="Be brief.").add(first).tool_result(made, "sunny").tool_result("call_b", "a")
    body = body_of(prompt.with_params(extra={"previous_response_id": "resp_1"}), GPT5, WEATHER)
    assert body["previous_response_id"] == "resp_1"
    assert "store" not in body
    assert body["input"] == [
        {"type": "function_call_output", "call_id": "call_a", "output": "sunny"},
        {"type": "custom_tool_call_output", "call_id": "call_b", "output": "a"},
    ]


def test_a_response_that_is_not_in_the_prompt() -> None:
    body = body_of(Prompt.of("And now?", extra={"previous_response_id": "resp_0"}))
    assert [item["content"] for item in body["input"]] == ["And now?"]
