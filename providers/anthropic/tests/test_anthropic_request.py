"""Prompt → body of the Messages API."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from promptport.errors import InvalidInputError, UnsupportedCapabilityError
from promptport.frames import Citation, InvalidToolCall, ProviderItem, Reasoning, ToolCall, UnfinishedCall
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
)
from promptport.models import LLModel, ModelCapabilities
from promptport.protocols import MessagesDecoder
from promptport.stream import message_of
from promptport.tools import ToolDescriptor
from promptport_anthropic._request import messages_body

MODEL = LLModel("anthropic", "claude-opus-4-6")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolDescriptor("weather", "Current weather.", SCHEMA)
PNG = b"\x89PNG"


def body_of(prompt: Prompt, *tools: ToolDescriptor, model: LLModel = MODEL, **options: Any) -> dict[str, Any]:
    return messages_body(prompt, model, tools, **{"stream": True, **options})


def asked(**params: Any) -> dict[str, Any]:
    model = params.pop("model", MODEL)
    tools = params.pop("tools", ())
    return body_of(Prompt().user("hi").with_params(**params), *tools, model=model)


def test_the_smallest_request() -> None:
    assert body_of(Prompt.of("hi")) == {
        "model": "claude-opus-4-6",
        "max_tokens": 128_000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": True,
    }
    assert "stream" not in body_of(Prompt.of("hi"), stream=False)


def test_max_tokens() -> None:
    assert asked(max_tokens=7)["max_tokens"] == 7
    assert asked(model=LLModel("anthropic", "claude-haiku-4-5-20251001"))["max_tokens"] == 64_000
    assert asked(model=LLModel("anthropic", "somebody's"))["max_tokens"] == 8192
    own = ModelCapabilities(max_output_tokens=99)
    assert asked(model=LLModel("anthropic", "somebody's", own))["max_tokens"] == 99


def test_system() -> None:
    assert body_of(Prompt.of("hi", system="Be brief."))["system"] == "Be brief."
    prompt = Prompt().system("a", cache=True).user("hi").add(SystemMessage("b"))
    assert body_of(prompt)["system"] == [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "b"},
    ]
    assert body_of(Prompt().system("a", cache=True).user("hi"))["system"][0]["cache_control"] == {"type": "ephemeral"}


def test_user_parts() -> None:
    prompt = Prompt().user(
        TextPart("t", cache=True),
        ImagePart(data=PNG, media_type="image/png", cache=True),
        ImagePart(url="https://a.example/i.png"),
        DocumentPart(data=b"%PDF", media_type="application/pdf", name="a.pdf"),
        DocumentPart(url="https://a.example/d.pdf", cache=True),
        DocumentPart(data="ä".encode(), media_type="text/markdown; charset=utf-8"),
    )
    cache = {"type": "ephemeral"}
    assert body_of(prompt)["messages"][0]["content"] == [
        {"type": "text", "text": "t", "cache_control": cache},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()},
            "cache_control": cache,
        },
        {"type": "image", "source": {"type": "url", "url": "https://a.example/i.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
        {
            "type": "document",
            "source": {"type": "url", "url": "https://a.example/d.pdf"},
            "cache_control": cache,
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ä"}},
    ]


@pytest.mark.parametrize(
    "part",
    [
        AudioPart(data=b"a", media_type="audio/wav"),
        ImagePart(url="https://a.example/i.png", detail="low"),
        DocumentPart(data=b"PK", media_type="application/zip"),
    ],
)
def test_parts_that_the_api_has_no_form_for(part: Any) -> None:
    with pytest.raises(UnsupportedCapabilityError):
        body_of(Prompt().user(part))


def test_a_text_document_that_is_no_text() -> None:
    with pytest.raises(InvalidInputError):
        body_of(Prompt().user(DocumentPart(data=b"\xff", media_type="text/plain")))


def test_messages_of_one_role_become_one() -> None:
    prompt = Prompt().user("a").user("b").assistant("c").assistant(TextPart(""), "d").user("e")
    assert [(m["role"], [block["text"] for block in m["content"]]) for m in body_of(prompt)["messages"]] == [
        ("user", ["a", "b"]),
        ("assistant", ["c", "d"]),
        ("user", ["e"]),
    ]


def test_calls_and_results() -> None:
    calls = AssistantMessage.of(
        "text",
        ToolCall("a", "weather", '{"city": "Paris"}', {"caller": {"type": "direct"}}),
        ToolCall("b", "weather", "{}"),
        InvalidToolCall("c", "weather", '{"city', "cut"),
        ToolCall("d", "weather", "{}"),
    )
    prompt = (
        Prompt()
        .user("hi")
        .add(calls)
        .tool_result("a", "sunny")
        .tool_result("b", [TextPart("see"), ImagePart(data=PNG, media_type="image/png")])
        .user("and?")
        .tool_result("c", error="not JSON")
        .tool_result("d", "")
    )
    body = body_of(prompt, WEATHER)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"] == [
        {"type": "text", "text": "text"},
        {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Paris"}, "caller": {"type": "direct"}},
        {"type": "tool_use", "id": "b", "name": "weather", "input": {}},
        {"type": "tool_use", "id": "c", "name": "weather", "input": {"INVALID_JSON": '{"city'}},
        {"type": "tool_use", "id": "d", "name": "weather", "input": {}},
    ]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}}
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "sunny"},
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "see"}, image]},
        {"type": "tool_result", "tool_use_id": "c", "content": "not JSON", "is_error": True},
        {"type": "tool_result", "tool_use_id": "d"},
        {"type": "text", "text": "and?"},
    ]


def test_an_error_without_words_is_still_one() -> None:
    prompt = Prompt().user("hi").tool_call("a", "f").add(ToolResultMessage("a", "f", error=""))
    assert body_of(prompt)["messages"][2]["content"][0]["content"]


def test_thinking_goes_back_unchanged_and_in_order(wire: Any) -> None:
    """The second request of a conversation: what came is what goes."""
    body = (
        wire.start()
        + wire.thinking(0, "Let", " me", signature="EqQB")
        + wire.block(1, {"type": "redacted_thinking", "data": "Eqk="})
        + wire.text(2, "I look.")
        + wire.tool(3, "toolu_1", "weather", '{"city": "Paris"}', caller={"type": "direct"})
        + wire.end("tool_use")
    )
    message = message_of(MessagesDecoder().feed(body))
    prompt = Prompt().user("hi").add(message).tool_result("toolu_1", "sunny")
    assert body_of(Prompt.from_json(prompt.to_json()), WEATHER)["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Let me", "signature": "EqQB"},
                {"type": "redacted_thinking", "data": "Eqk="},
                {"type": "text", "text": "I look."},
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": "weather",
                    "input": {"city": "Paris"},
                    "caller": {"type": "direct"},
                },
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}]},
    ]


def test_server_tools_and_citations_go_back(wire: Any) -> None:
    use = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
    result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"encrypted_content": "E"}]}
    web = {"type": "web_search_result_location", "url": "https://a.example", "encrypted_index": "I", "cited_text": "x"}
    cited = wire.block(
        2,
        {"type": "text", "text": ""},
        {"type": "citations_delta", "citation": web},
        {"type": "text_delta", "text": "So."},
    )
    body = wire.start() + wire.block(0, use) + wire.block(1, result) + cited + wire.end("pause_turn")
    message = message_of(MessagesDecoder().feed(body))
    assert body_of(Prompt().user("hi").add(message))["messages"][1]["content"] == [
        use,
        result,
        {"type": "text", "text": "So.", "citations": [web]},
    ]


def test_what_another_provider_keeps_to_itself_stays_out() -> None:
    message = AssistantMessage(
        (
            Reasoning("hm", {"type": "reasoning", "encrypted_content": "x"}),
            Reasoning("hm"),
            ProviderItem("web_search_call", {"type": "web_search_call", "id": "ws_1"}),
            TextPart("text"),
            Citation("https://a.example", provider_data={"type": "url_citation"}),
            ToolCall("call_1", "f", "{}", {"thought_signature": "x"}),
        ),
        response_id="resp_1",
        origin=Origin("openai", "api.openai.com/v1"),
        unfinished=(UnfinishedCall("u", "f", "{"),),
    )
    content = body_of(Prompt().user("hi").add(message))["messages"][1]["content"]
    assert content == [{"type": "text", "text": "text"}, {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]
    only = AssistantMessage((Reasoning("hm"),))
    assert [m["role"] for m in body_of(Prompt().user("a").add(only).user("b"))["messages"]] == ["user"]


def test_tools() -> None:
    plain = ToolDescriptor("now")
    strict = ToolDescriptor("weather", "Current weather.", SCHEMA, strict=True)
    assert body_of(Prompt.of("hi"), plain, strict)["tools"] == [
        {"name": "now", "input_schema": plain.parameters},
        {
            "name": "weather",
            "input_schema": {**SCHEMA, "additionalProperties": False},
            "description": "Current weather.",
            "strict": True,
        },
    ]
    assert "strict" not in body_of(Prompt.of("hi"), strict, strict_tools=False)["tools"][0]
    eager: dict[str, Any] = {"eager_input_streaming": True}
    assert body_of(Prompt.of("hi"), WEATHER, **eager)["tools"][0]["eager_input_streaming"] is True
    assert "eager_input_streaming" not in body_of(Prompt.of("hi"), WEATHER, **eager, stream=False)["tools"][0]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, None),
        ({"tool_choice": ToolChoice.AUTO}, {"type": "auto"}),
        ({"tool_choice": ToolChoice.REQUIRED}, {"type": "any"}),
        ({"tool_choice": ToolChoice.NONE, "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": NamedTool("weather")}, {"type": "tool", "name": "weather"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, {"type": "auto", "disable_parallel_tool_use": False}),
        (
            {"tool_choice": ToolChoice.REQUIRED, "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tool_choice(params: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert asked(tools=[WEATHER], **params).get("tool_choice") == expected


def test_tool_choice_needs_tools() -> None:
    assert "tool_choice" not in asked(parallel_tool_calls=False)


def test_one_setting_places_the_marks() -> None:
    prompt = Prompt.of("Hi", system="s", cache="auto", cache_lifetime="1h").tool_call("1", "f").tool_result("1", "r")
    body = body_of(prompt, ToolDescriptor("a"), ToolDescriptor("f"))
    mark = {"type": "ephemeral", "ttl": "1h"}
    assert body["system"] == [{"type": "text", "text": "s", "cache_control": mark}]
    assert [tool.get("cache_control") for tool in body["tools"]] == [None, mark]
    assert body["messages"][-1]["content"][0]["content"] == [{"type": "text", "text": "r", "cache_control": mark}]
    assert str(body).count("cache_control") == 3
    assert "cache_control" not in str(body_of(prompt.with_params(cache=None, cache_lifetime=None), ToolDescriptor("f")))


@pytest.mark.parametrize("own", range(6))
def test_no_more_marks_than_anthropic_takes_beside_the_callers_own(own: int) -> None:
    marked = [TextPart(str(i), cache=i < own) for i in range(6)]
    prompt = Prompt.of("Hi", system="s", cache="auto").user(*marked).assistant("a").user("b")
    body = body_of(prompt, ToolDescriptor("f"))
    assert str(body).count("cache_control") == max(own, min(4, own + 3))


def test_a_budget_for_thoughts_leaves_room_for_the_answer() -> None:
    for model in ("claude-sonnet-4-5", "a-model-that-nobody-described"):
        body = messages_body(Prompt.of("Hi", reasoning_budget=16_000), LLModel("anthropic", model), (), stream=True)
        assert body["max_tokens"] > 16_000
    with pytest.raises(InvalidInputError, match=r"max_tokens=100 leaves no room.*reasoning_budget=200"):
        asked(max_tokens=100, reasoning_budget=200)


def test_sampling_and_the_rest() -> None:
    body = asked(temperature=0.2, stop=("END",), user="u-1", response_schema=SCHEMA)
    assert body["temperature"] == 0.2
    assert body["stop_sequences"] == ["END"]
    assert body["metadata"] == {"user_id": "u-1"}
    assert body["output_config"] == {
        "format": {"type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}}
    }
    with pytest.raises(UnsupportedCapabilityError, match="seed"):
        asked(seed=1)


@pytest.mark.parametrize(
    ("model", "params", "thinking", "effort"),
    [
        ("claude-opus-4-6", {}, None, None),
        ("claude-opus-4-6", {"reasoning_effort": ReasoningEffort.MAX}, {"type": "adaptive"}, "max"),
        ("claude-opus-4-6", {"reasoning_budget": 2048}, {"type": "enabled", "budget_tokens": 2048}, None),
        (
            "claude-opus-4-6",
            {"reasoning_budget": 2048, "reasoning_effort": ReasoningEffort.LOW},
            {"type": "enabled", "budget_tokens": 2048},
            "low",
        ),
        ("claude-opus-4-6", {"reasoning_budget": 0}, {"type": "disabled"}, None),
        ("claude-opus-4-6", {"reasoning_effort": ReasoningEffort.NONE}, {"type": "disabled"}, None),
        ("claude-opus-4-5", {"reasoning_effort": ReasoningEffort.HIGH}, None, "high"),
        ("claude-sonnet-5-5", {"reasoning_effort": ReasoningEffort.NONE}, {"type": "between_tools"}, None),
        ("claude-opus-5-5", {"reasoning_effort": ReasoningEffort.XHIGH}, {"type": "adaptive"}, "xhigh"),
        ("somebody's", {"reasoning_effort": ReasoningEffort.XHIGH}, None, "xhigh"),
        ("somebody's", {"reasoning_effort": ReasoningEffort.NONE}, {"type": "disabled"}, None),
    ],
)
def test_thinking(model: str, params: dict[str, Any], thinking: Any, effort: str | None) -> None:
    body = asked(model=LLModel("anthropic", model), **params)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort


@pytest.mark.parametrize(
    ("model", "effort"),
    [
        ("claude-opus-5-5", ReasoningEffort.NONE),
        ("claude-opus-4-6", ReasoningEffort.XHIGH),
        ("claude-opus-4-5", ReasoningEffort.MAX),
        ("claude-opus-5-5", ReasoningEffort.MINIMAL),
        ("somebody's", ReasoningEffort.MINIMAL),
    ],
)
def test_efforts_that_the_model_does_not_have(model: str, effort: ReasoningEffort) -> None:
    with pytest.raises(UnsupportedCapabilityError):
        asked(model=LLModel("anthropic", model), reasoning_effort=effort)


@pytest.mark.parametrize("effort", [ReasoningEffort.NONE, ReasoningEffort.HIGH])
def test_efforts_against_budgets(effort: ReasoningEffort) -> None:
    budget = 2048 if effort is ReasoningEffort.NONE else 0
    with pytest.raises(InvalidInputError):
        asked(reasoning_effort=effort, reasoning_budget=budget)


def test_extra_goes_over_the_body() -> None:
    search = {"type": "web_search_20260318", "name": "web_search"}
    extra = {
        "tools": [search],
        "thinking": {"display": "summarized"},
        "max_tokens": 3,
        "container": "c",
        "betas": ["b"],
    }
    body = asked(tools=[WEATHER], reasoning_effort=ReasoningEffort.LOW, extra=extra, parallel_tool_calls=False)
    assert body["tools"][1] == search
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert (body["max_tokens"], body["container"], body["betas"]) == (3, "c", ["b"])
    alone = asked(extra={"tools": [search]}, parallel_tool_calls=False)
    assert alone["tools"] == [search]
    assert alone["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


@pytest.mark.parametrize("name", ["model", "messages", "stream"])
def test_extra_cannot_take_the_request_over(name: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        asked(extra={name: True})


@pytest.mark.parametrize("choice", [ToolChoice.REQUIRED, NamedTool("weather")])
@pytest.mark.parametrize(
    "thinks", [{"reasoning_budget": 2000}, {"reasoning_effort": "high"}, {"extra": {"thinking": {"type": "adaptive"}}}]
)
def test_a_forced_tool_beside_thinking_is_refused_before_sending(choice: Any, thinks: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedCapabilityError, match="tool_choice") as caught:
        asked(tools=[WEATHER], tool_choice=choice, **thinks)
    assert "reasoning_effort 'none'" in str(caught.value)
    for free in ("auto", "none", None):
        assert "tools" in asked(tools=[WEATHER], tool_choice=free, **thinks)
    assert asked(tools=[WEATHER], tool_choice=choice, reasoning_budget=0)["thinking"] == {"type": "disabled"}


def test_the_first_turn_is_the_users() -> None:
    prompt = Prompt((SystemMessage("s"), AssistantMessage.of("Hello."))).user("Hi")
    messages = messages_body(prompt, LLModel("anthropic", "claude-opus-4-6"), (), stream=True)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
