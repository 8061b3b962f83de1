"""Prompt → Converse's body: what goes back, what is refused before sending, and what each family of models is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from promptport import (
    AssistantMessage,
    Capability,
    Citation,
    DocumentPart,
    ImagePart,
    InvalidInputError,
    LLModel,
    LLMParams,
    Origin,
    Prompt,
    ProviderItem,
    Reasoning,
    StreamedTools,
    TextPart,
    Timeouts,
    ToolCall,
    ToolChoice,
    ToolDescriptor,
    ToolResultMessage,
    UnsupportedCapabilityError,
    UserMessage,
)
from promptport.provider import DIALECTS, FinishReason, fit_schema
from promptport.testing import Arguments, Finish, Seal, Start, Step, WireResponse, WireServer
from promptport_bedrock import client
from promptport_bedrock._models import base_id, capabilities_of
from promptport_bedrock._request import converse_body
from promptport_bedrock.conformance import ConverseContract

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HERE = Origin("bedrock", "bedrock-runtime.us-east-1.amazonaws.com")
TOOL = ToolDescriptor("look", "", {"type": "object", "properties": {}})
PNG = ImagePart(data=b"png", media_type="image/png")


def body(prompt: Prompt, model: str = CLAUDE, tools: tuple[ToolDescriptor, ...] = ()) -> dict[str, Any]:
    return converse_body(prompt, LLModel("bedrock", model), tools, stream=True, origin=HERE)


def own(*parts: Any) -> AssistantMessage:
    return AssistantMessage(tuple(parts), origin=HERE)


def test_reasoning_goes_back_unchanged_and_in_order_before_the_calls() -> None:
    signed = Reasoning("hm", {"type": "reasoningContent", "signature": "c2ln"})
    redacted = Reasoning("", {"type": "reasoningContent", "redactedContent": "RXRrRQ=="})
    prompt = Prompt.of("Hi").add(own(signed, redacted, ToolCall("t1", "look", '{"a":1.0}'))).tool_result("t1", "seen")
    _, turn, _ = body(prompt, tools=(TOOL,))["messages"]
    assert turn["content"][:2] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "RXRrRQ=="}},
    ]
    assert bytes(turn["content"][2]["toolUse"]["input"]) == b'{"a":1.0}'
    other = body(prompt, "meta.llama3-3-70b-instruct-v1:0", (TOOL,))["messages"][1]
    assert [next(iter(block)) for block in other["content"]] == ["toolUse"]


def test_items_of_the_provider_go_back() -> None:
    item = {"toolUse": {"toolUseId": "s1", "name": "search", "type": "server_tool_use", "input": {}}}
    prompt = Prompt.of("Hi").add(own(ProviderItem("toolUse", item), ProviderItem("trace", {"a": 1}), TextPart("x")))
    assert body(prompt.user("More"))["messages"][1]["content"] == [item, {"text": "x"}]


def test_a_turn_holds_all_results_first_and_errors_have_their_status() -> None:
    prompt = Prompt.of("Hi").tool_call("t1", "look").tool_call("t2", "look")
    prompt = prompt.tool_result("t2", error="no").tool_result("t1", (TextPart("seen"), PNG)).user("So?")
    turn = body(prompt, tools=(TOOL,))["messages"][-1]["content"]
    assert [next(iter(block)) for block in turn] == ["toolResult", "toolResult", "text"]
    assert [block["toolResult"]["status"] for block in turn[:2]] == ["error", "success"]
    assert [next(iter(block)) for block in turn[1]["toolResult"]["content"]] == ["text", "image"]


def test_results_stand_alone_where_the_model_wants_that() -> None:
    prompt = Prompt.of("Hi").tool_call("tooluse_abc", "look").tool_result("tooluse_abc", "seen").user("So?")
    messages = body(prompt, "mistral.mistral-large-2407-v1:0", (TOOL,))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant", "user"]
    sent = messages[1]["content"][0]["toolUse"]["toolUseId"]
    assert len(sent) == 9
    assert sent.isalnum()
    assert messages[2]["content"][0]["toolResult"]["toolUseId"] == sent


def test_cache_points_stand_behind_what_is_marked() -> None:
    prompt = Prompt().system("Be brief.", cache=True).user(TextPart("Long", cache=True), "Hi")
    asked = body(prompt)
    point = {"cachePoint": {"type": "default"}}
    assert asked["system"] == [{"text": "Be brief."}, point]
    assert asked["messages"][0]["content"] == [{"text": "Long"}, point, {"text": "Hi"}]


def test_documents_have_fitting_names_and_a_text_beside_them() -> None:
    pdf = DocumentPart(data=b"%PDF", media_type="application/pdf", name="my_report (v1.2).pdf")
    [message] = body(Prompt().user(pdf, pdf))["messages"]
    assert message["content"][0] == {"text": "The document:"}
    names = [block["document"]["name"] for block in message["content"][1:]]
    assert names == ["my report (v1 2) pdf", "my report (v1 2) pdf 2"]
    assert message["content"][1]["document"]["source"] == {"bytes": "JVBERg=="}


def test_media_by_address() -> None:
    [message] = body(Prompt().user("?", ImagePart(url="s3://bucket/a.png")))["messages"]
    assert message["content"][1]["image"] == {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/a.png"}}}
    with pytest.raises(InvalidInputError, match="s3://"):
        body(Prompt().user("?", ImagePart(url="https://example.com/a.png")))


def test_tools_go_along_where_the_history_holds_calls() -> None:
    prompt = Prompt.of("Hi").tool_call("t1", "look").tool_result("t1", "seen")
    spec = {"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}
    assert body(prompt)["toolConfig"] == {"tools": [spec]}
    forbidden = body(prompt.with_params(tool_choice=ToolChoice.NONE), tools=(TOOL,))["toolConfig"]
    assert "toolChoice" not in forbidden
    assert "toolConfig" not in body(Prompt.of("Hi", tool_choice=ToolChoice.NONE), tools=(TOOL,))


@pytest.mark.parametrize(
    ("model", "params", "fields"),
    [
        (CLAUDE, {"reasoning_budget": 2048}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        (CLAUDE, {"reasoning_budget": 0}, {"thinking": {"type": "disabled"}}),
        (
            "anthropic.claude-opus-4-6-v1",
            {"reasoning_effort": "high"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        ),
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        (
            "us.amazon.nova-2-lite-v1:0",
            {"reasoning_effort": "medium"},
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}},
        ),
    ],
)
def test_how_each_family_is_asked_to_think(model: str, params: dict[str, Any], fields: dict[str, Any]) -> None:
    assert body(Prompt.of("Hi", **params), model)["additionalModelRequestFields"] == fields


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "xhigh"}),
        ("meta.llama3-3-70b-instruct-v1:0", {"reasoning_effort": "low"}),
        (CLAUDE, {"seed": 1}),
        (CLAUDE, {"user": "u"}),
        ("amazon.titan-text-express-v1", {"response_schema": {"type": "object"}}),
    ],
)
def test_what_a_model_has_not_is_refused_before_sending(model: str, params: dict[str, Any]) -> None:
    bedrock = client(region="us-east-1", access_key="a", secret_key="b")
    with pytest.raises(UnsupportedCapabilityError):
        bedrock.execute_streaming_with_tools(Prompt.of("Hi", **params), LLModel("bedrock", model))


def test_extra_goes_where_it_belongs() -> None:
    extra = {"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}, "top_k": 5}
    asked = body(Prompt.of("Hi", max_tokens=3, extra={**extra, "inferenceConfig": {"topP": 0.5}}))
    assert asked["guardrailConfig"] == extra["guardrailConfig"]
    assert asked["additionalModelRequestFields"] == {"top_k": 5}
    assert asked["inferenceConfig"] == {"maxTokens": 3, "topP": 0.5}
    with pytest.raises(InvalidInputError, match="messages"):
        body(Prompt.of("Hi", extra={"messages": []}))


def test_models_by_profile_and_by_arn() -> None:
    plain = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu."
    for name in (plain, f"us.{plain}", f"global.{plain}", f"{arn}{plain}"):
        assert base_id(name) == plain
        assert capabilities_of(name) == capabilities_of(plain)
    assert capabilities_of(plain).known
    assert not capabilities_of("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc").known
    titan = capabilities_of("amazon.titan-text-express-v1")
    assert titan.streamed_tools is StreamedTools.NONE
    assert Capability.TOOLS not in titan
    assert Capability.SYSTEM not in titan


ODD = {"type": "object", "properties": {"größe in €": {"type": "number", "minimum": 1}, "city": {"type": "string"}}}


def test_schemas_are_fitted_and_odd_names_go_by_others() -> None:
    tools = [ToolDescriptor("f", "", ODD)]
    sent = converse_body(Prompt.of("Hi"), LLModel("bedrock", "anthropic.claude-sonnet-4-5"), tools)
    name, _ = sent["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]["properties"]
    assert name in fit_schema(ODD, DIALECTS["bedrock"]).renamed
    held = [ToolDescriptor("f", "", {**ODD, "properties": {"n": {"type": "integer", "minimum": 1}}}, strict=True)]
    sent = converse_body(Prompt.of("Hi"), LLModel("bedrock", "anthropic.claude-sonnet-4-5"), held)
    schema = sent["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]
    assert schema["additionalProperties"] is False
    assert "minimum" not in schema["properties"]["n"]
    answer = Prompt.of("Hi").with_params(response_schema=held[0].parameters)
    sent = converse_body(answer, LLModel("bedrock", "anthropic.claude-sonnet-4-5"), [])
    said = json.loads(sent["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    assert said["additionalProperties"] is False


async def test_calls_get_the_own_names_of_properties_back() -> None:
    (sent,) = fit_schema(ODD, DIALECTS["bedrock"]).renamed
    contract = ConverseContract()
    call: list[Step] = [
        Start(0, "t1", "f"),
        Arguments(0, json.dumps({sent: 5})),
        Seal(0),
        Finish(FinishReason.TOOL_CALLS),
    ]
    answer = contract.encode(call)
    assert answer is not None
    async with WireServer(WireResponse(answer, content_type=contract.content_type)) as server:
        asked = contract.make_client(server.url, Timeouts(total=20))
        async with asked.execute_streaming_with_tools("Hi", contract.model, [ToolDescriptor("f", "", ODD)]) as stream:
            message = await stream.message()
        await asked.aclose()
    assert message.tool_calls[0].parsed() == {"größe in €": 5}


def test_thinking_goes_with_no_forced_tool_and_leaves_room() -> None:
    thinks = Prompt.of("Hi").with_params(reasoning_budget=2000)
    with pytest.raises(UnsupportedCapabilityError, match="tool_choice"):
        body(thinks.with_params(tool_choice=ToolChoice.REQUIRED), tools=(TOOL,))
    assert body(thinks.with_params(tool_choice=ToolChoice.AUTO), tools=(TOOL,))["toolConfig"]["toolChoice"] == {
        "auto": {}
    }
    with pytest.raises(InvalidInputError, match="no room"):
        body(thinks.with_params(max_tokens=2000))
    assert body(thinks.with_params(max_tokens=2001))["inferenceConfig"] == {"maxTokens": 2001}


def test_cache_auto_marks_what_the_model_takes() -> None:
    look = ToolDescriptor("look", "Looks.", {"type": "object", "properties": {}})
    prompt = Prompt.of("Hi", system="Be brief.", cache="auto", cache_lifetime="1h")
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    body = converse_body(prompt, LLModel("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"), [look])
    assert body["system"] == [{"text": "Be brief."}, point]
    assert body["messages"] == [{"role": "user", "content": [{"text": "Hi"}, point]}]
    assert body["toolConfig"]["tools"][1:] == [point]
    nova = converse_body(prompt, LLModel("bedrock", "us.amazon.nova-pro-v1:0"), [look])
    assert nova["system"][1:] == [point]
    assert len(nova["toolConfig"]["tools"]) == 1, "Nova takes no mark on its tools"
    plain = converse_body(prompt, LLModel("bedrock", "meta.llama3-1-70b-instruct-v1:0"), [look])
    assert "cachePoint" not in str(plain)


def test_a_mark_on_a_result_stands_behind_it() -> None:
    call = AssistantMessage((ToolCall("t1", "look", "{}"),), finish_reason=FinishReason.TOOL_CALLS)
    prompt = Prompt(
        (UserMessage.of("Hi"), call, ToolResultMessage("t1", "look", "seen")), params=LLMParams(cache="auto")
    )
    body = converse_body(prompt, LLModel("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"), [])
    assert [list(block) for block in body["messages"][-1]["content"]] == [["toolResult"], ["cachePoint"]]
    assert [list(block) for block in body["messages"][-1]["content"][0]["toolResult"]["content"]] == [["text"]]


def test_arguments_that_are_no_object_are_refused_before_sending() -> None:
    call = AssistantMessage((ToolCall("t1", "look", "[1]"),))
    prompt = Prompt((UserMessage.of("Hi"), call, ToolResultMessage("t1", "look", "seen")))
    with pytest.raises(InvalidInputError, match="look"):
        converse_body(prompt, LLModel("bedrock", "m"), [])


@pytest.mark.parametrize(
    "nothing",
    [
        AssistantMessage((Reasoning("hm", {"signature": "x"}),), origin=Origin("anthropic", "api.anthropic.com")),
        AssistantMessage((ProviderItem("web_search", {"id": "1"}),), origin=Origin("openai", "api.openai.com")),
        AssistantMessage((Reasoning("hm"),)),
        AssistantMessage((TextPart(" "),)),
        AssistantMessage(()),
        AssistantMessage((Citation("https://example.com"),)),
    ],
    ids=["thoughts", "item", "unsigned", "blank", "empty", "citation"],
)
def test_roles_alternate_where_nothing_of_a_turn_can_be_sent(nothing: AssistantMessage) -> None:
    prompt = Prompt.of("One").add(nothing).user("Two").add(AssistantMessage((TextPart("Yes."),))).user("Three")
    assert body(prompt)["messages"] == [
        {"role": "user", "content": [{"text": "One"}, {"text": "Two"}]},
        {"role": "assistant", "content": [{"text": "Yes."}]},
        {"role": "user", "content": [{"text": "Three"}]},
    ]
