"""The bodies of the three APIs: what they mean, what is refused and where, and what no client can forge."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import promptport as pp
from promptport.front_ends import (
    APIRequest,
    BodyLimits,
    OpaqueSeal,
    RequestRefused,
    Sealed,
    decode_chat_request,
    decode_messages_request,
    decode_responses_request,
)

Decode = Callable[..., APIRequest]
LOOK: dict[str, Any] = {"type": "object", "properties": {"place": {"type": "string"}}}
PIXEL = base64.b64encode(b"\x89PNG pixel").decode()
ANTHROPIC = pp.Origin("anthropic", "api.anthropic.com")
USER: Any = {"role": "user", "content": "Hi"}


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER], **more}


def response(**more: Any) -> dict[str, Any]:
    return {"model": "m", "input": "Hi", **more}


def message(**more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [USER], **more}


CALL: Any = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"place": "Paris"}'}}
HISTORIES: list[tuple[Decode, dict[str, Any]]] = [
    (
        decode_chat_request,
        chat(
            messages=[
                {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Where?"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    ],
                },
                {"role": "assistant", "content": "Looking.", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
                {"role": "user", "content": "And?"},
            ]
        ),
    ),
    (
        decode_responses_request,
        response(
            instructions="Be brief.",
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Where?"},
                        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
                    ],
                },
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Looking.", "annotations": []}],
                },
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"place": "Paris"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
                {"role": "user", "content": "And?"},
            ],
        ),
    ),
    (
        decode_messages_request,
        message(
            system=[{"type": "text", "text": "Be brief."}],
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Where?"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Looking."},
                        {"type": "tool_use", "id": "c1", "name": "look", "input": {"place": "Paris"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
                        {"type": "text", "text": "And?"},
                    ],
                },
            ],
        ),
    ),
]


@pytest.mark.parametrize(("decode", "body"), HISTORIES)
def test_one_conversation_in_three_forms_is_one_prompt(decode: Decode, body: dict[str, Any]) -> None:
    for given_body in (body, json.dumps(body), json.dumps(body).encode()):
        messages = decode(given_body).prompt.messages
        assert isinstance(messages[2], pp.AssistantMessage)
        assert messages[2].tool_calls[0].parsed() == {"place": "Paris"}
        assert messages == (
            pp.SystemMessage("Be brief."),
            pp.UserMessage((pp.TextPart("Where?"), pp.ImagePart(b"\x89PNG pixel", None, "image/png"))),
            pp.AssistantMessage(
                (pp.TextPart("Looking."), pp.ToolCall("c1", "look", messages[2].tool_calls[0].arguments))
            ),
            pp.ToolResultMessage("c1", "look", "sunny"),
            pp.UserMessage.of("And?"),
        )


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("decode", "body", "params"),
    [
        (
            decode_chat_request,
            chat(temperature=0.5, max_tokens=7, stop="x", seed=3, user="u"),
            {"temperature": 0.5, "max_tokens": 7, "stop": ("x",), "seed": 3, "user": "u"},
        ),
        (
            decode_chat_request,
            chat(max_completion_tokens=8, max_tokens=7, stop=["x", "y"]),
            {"max_tokens": 8, "stop": ("x", "y")},
        ),
        (decode_chat_request, chat(response_format={"type": "json_object"}), {"response_schema": {"type": "object"}}),
        (
            decode_chat_request,
            chat(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}),
            {"response_schema": SCHEMA},
        ),
        (
            decode_chat_request,
            chat(response_format={"type": "text"}, reasoning_effort="low"),
            {"reasoning_effort": pp.ReasoningEffort.LOW},
        ),
        (
            decode_responses_request,
            response(max_output_tokens=5, reasoning={"effort": "high"}),
            {"max_tokens": 5, "reasoning_effort": pp.ReasoningEffort.HIGH},
        ),
        (
            decode_responses_request,
            response(text={"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}),
            {"response_schema": SCHEMA},
        ),
        (
            decode_messages_request,
            message(stop_sequences=["a"], metadata={"user_id": "u"}),
            {"max_tokens": 9, "stop": ("a",), "user": "u"},
        ),
        (
            decode_messages_request,
            message(max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024}),
            {"max_tokens": 2000, "reasoning_budget": 1024},
        ),
        (
            decode_messages_request,
            message(thinking={"type": "disabled"}),
            {"max_tokens": 9, "reasoning_effort": pp.ReasoningEffort.NONE},
        ),
        (
            decode_messages_request,
            message(output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
            {"max_tokens": 9, "response_schema": SCHEMA},
        ),
    ],
)
def test_parameters_mean_the_same(decode: Decode, body: dict[str, Any], params: dict[str, Any]) -> None:
    assert decode(body).prompt.params == pp.LLMParams(**params)


CHAT_TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": LOOK}}]
RESPONSES_TOOLS: Any = [{"type": "function", "name": "look", "parameters": LOOK}]
MESSAGES_TOOLS: Any = [{"name": "look", "input_schema": LOOK}]


@pytest.mark.parametrize(
    ("decode", "body", "choice", "parallel"),
    [
        (decode_chat_request, chat(tools=CHAT_TOOLS, tool_choice="required"), pp.ToolChoice.REQUIRED, None),
        (
            decode_chat_request,
            chat(tools=CHAT_TOOLS, tool_choice="none", parallel_tool_calls=False),
            pp.ToolChoice.NONE,
            False,
        ),
        (
            decode_chat_request,
            chat(tools=CHAT_TOOLS, tool_choice={"type": "function", "function": {"name": "look"}}),
            pp.NamedTool("look"),
            None,
        ),
        (decode_responses_request, response(tools=RESPONSES_TOOLS, tool_choice="auto"), pp.ToolChoice.AUTO, None),
        (
            decode_responses_request,
            response(tools=RESPONSES_TOOLS, tool_choice={"type": "function", "name": "look"}),
            pp.NamedTool("look"),
            None,
        ),
        (
            decode_messages_request,
            message(tools=MESSAGES_TOOLS, tool_choice={"type": "any", "disable_parallel_tool_use": True}),
            pp.ToolChoice.REQUIRED,
            False,
        ),
        (
            decode_messages_request,
            message(tools=MESSAGES_TOOLS, tool_choice={"type": "tool", "name": "look"}),
            pp.NamedTool("look"),
            None,
        ),
        (
            decode_messages_request,
            message(tools=MESSAGES_TOOLS, tool_choice={"type": "none"}),
            pp.ToolChoice.NONE,
            None,
        ),
    ],
)
def test_tools_and_each_kind_of_choice(
    decode: Decode, body: dict[str, Any], choice: Any, parallel: bool | None
) -> None:
    request = decode(body)
    assert request.tools == (pp.ToolDescriptor("look", "", LOOK),)
    assert (request.prompt.params.tool_choice, request.prompt.params.parallel_tool_calls) == (choice, parallel)


def use(**more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}, **more}]}


@pytest.mark.parametrize(
    ("decode", "body", "param"),
    [
        (decode_chat_request, chat(n=2), "n"),
        (decode_chat_request, chat(logprobs=True), "logprobs"),
        (decode_chat_request, chat(functions=[]), "functions"),
        (decode_chat_request, chat(no_such_thing=1), "no_such_thing"),
        (decode_chat_request, chat(model=""), "model"),
        (decode_chat_request, chat(messages="Hi"), "messages"),
        (decode_chat_request, chat(messages=[]), ""),
        (decode_chat_request, chat(messages=[{"role": "king", "content": "Hi"}]), "messages[0].role"),
        (decode_chat_request, chat(messages=[{"role": "user"}]), "messages[0].content"),
        (
            decode_chat_request,
            chat(
                messages=[
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
                ]
            ),
            "messages[0].content[0].image_url.url",
        ),
        (
            decode_chat_request,
            chat(
                messages=[
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}],
                    }
                ]
            ),
            "messages[0].content[0].image_url.url",
        ),
        (
            decode_chat_request,
            chat(messages=[USER, {"role": "assistant", "tool_calls": [CALL]}]),
            "messages[1].tool_calls[0].id",
        ),
        (
            decode_chat_request,
            chat(messages=[USER, {"role": "assistant", "tool_calls": [CALL]}, USER]),
            "messages[1].tool_calls[0].id",
        ),
        (
            decode_chat_request,
            chat(messages=[USER, {"role": "assistant", "tool_calls": [CALL, CALL]}]),
            "messages[1].tool_calls[1].id",
        ),
        (
            decode_chat_request,
            chat(messages=[USER, {"role": "tool", "tool_call_id": "c9", "content": ""}]),
            "messages[1].tool_call_id",
        ),
        (decode_chat_request, chat(tools=CHAT_TOOLS, tool_choice="sometimes"), "tool_choice"),
        (decode_chat_request, chat(tool_choice={"type": "function", "function": {"name": "look"}}), "tool_choice"),
        (decode_chat_request, chat(tools=[{"type": "custom"}]), "tools[0].type"),
        (decode_chat_request, chat(tools=[{"type": "function", "function": {"name": "a b"}}]), "tools[0].function"),
        (decode_chat_request, chat(response_format={"type": "xml"}), "response_format.type"),
        (decode_chat_request, chat(stream="yes"), "stream"),
        (decode_responses_request, response(previous_response_id="r"), "previous_response_id"),
        (decode_responses_request, response(conversation="c"), "conversation"),
        (decode_responses_request, response(background=True), "background"),
        (decode_responses_request, response(input=[{"type": "item_reference", "id": "x"}]), "input[0]"),
        (decode_responses_request, response(input=[{"type": "web_search_call"}]), "input[0].type"),
        (decode_responses_request, response(tools=[{"type": "web_search"}]), "tools[0].type"),
        (decode_messages_request, {"model": "m", "messages": [USER]}, "max_tokens"),
        (decode_messages_request, message(messages=[{"role": "system", "content": "x"}]), "messages[0].role"),
        (decode_messages_request, message(messages=[USER, use(), USER]), "messages[1].content[0].id"),
        (decode_messages_request, message(messages=[USER, use(input="x")]), "messages[1].content[0].input"),
        (decode_messages_request, message(mcp_servers=[]), "mcp_servers"),
        (
            decode_messages_request,
            message(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
            "tools[0].type",
        ),
        (decode_messages_request, message(thinking={"type": "deep"}), "thinking.type"),
    ],
)
def test_what_is_refused_names_its_place(decode: Decode, body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        decode(body)
    assert caught.value.param == param
    assert str(caught.value).startswith(f"body.{param}: " if param else "body: ")


def test_a_parameter_out_of_range_is_refused_in_words() -> None:
    for decode, body in (
        (decode_chat_request, chat(temperature=-1)),
        (decode_responses_request, response(max_output_tokens=0)),
        (decode_messages_request, message(max_tokens="many")),
        (decode_chat_request, chat(reasoning_effort="extreme")),
    ):
        with pytest.raises(RequestRefused):
            decode(body)


def test_what_has_no_effect_is_listed() -> None:
    assert decode_chat_request(chat(top_p=0.9, metadata={}, logprobs=False, n=1)).ignored == ("top_p", "metadata")
    assert decode_responses_request(response(store=False, background=False)).ignored == ("store", "background")
    assert decode_messages_request(message(top_k=3)).ignored == ("top_k",)


@pytest.mark.parametrize("decode", [decode_chat_request, decode_responses_request, decode_messages_request])
def test_size_depth_and_counts_are_bounded(decode: Decode) -> None:
    with pytest.raises(RequestRefused, match="bytes"):
        decode(b'{"model": "' + b"x" * 200 + b'"}', limits=BodyLimits(max_bytes=100))
    with pytest.raises(RequestRefused):
        decode(b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    many: Any = [USER] * 4
    with pytest.raises(RequestRefused, match="4 items"):
        decode(
            {"model": "m", "max_tokens": 1, "messages": many}
            if decode is not decode_responses_request
            else {"model": "m", "input": many},
            limits=BodyLimits(max_messages=3),
        )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "name", "id", "input", "tool_calls", "function", "source", "url"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(value=JSON, other=JSON)
def test_no_body_raises_anything_else(value: Any, other: Any) -> None:
    for decode, key in (
        (decode_chat_request, "messages"),
        (decode_responses_request, "input"),
        (decode_messages_request, "messages"),
    ):
        for field in ("tools", "tool_choice", "system", "text", "reasoning", "thinking", "stop", "response_format"):
            try:
                decode({"model": "m", "max_tokens": 1, key: value, field: other})
                decode({"model": "m", key: [value], field: [other]})
            except RequestRefused:
                pass


# ------------------------------------------------------------------------------------------------ opaque


def thinking(token: object, text: str = "Hm") -> list[tuple[Decode, dict[str, Any]]]:
    details = [{"type": "reasoning.encrypted", "format": "promptport", "data": token}]
    assistant = {"role": "assistant", "content": "So.", "reasoning_content": text, "reasoning_details": details}
    item = {
        "type": "reasoning",
        "id": "r",
        "summary": [{"type": "summary_text", "text": text}],
        "encrypted_content": token,
    }
    block = {"type": "thinking", "thinking": text, "signature": token}
    said = {"type": "text", "text": "So."}
    return [
        (decode_chat_request, chat(messages=[USER, assistant, USER])),
        (decode_responses_request, response(input=[USER, item, {"role": "assistant", "content": "So."}, USER])),
        (decode_messages_request, message(messages=[USER, {"role": "assistant", "content": [block, said]}, USER])),
    ]


def test_what_this_server_sealed_goes_home_and_nothing_else_does() -> None:
    seal = OpaqueSeal(b"0123456789abcdef")
    data = {"type": "thinking", "signature": "of the provider"}
    token = seal.close(Sealed(data, ANTHROPIC, "Hm"))
    for decode, body in thinking(token):
        made = decode(body, seal=seal).prompt.messages[1]
        assert isinstance(made, pp.AssistantMessage)
        assert (made.origin, made.parts[0]) == (ANTHROPIC, pp.Reasoning("Hm", data))
    forged = base64.urlsafe_b64encode(b"x" * 32 + b'{"data":{},"origin":{"provider":"anthropic"}}').decode()
    for bad in (
        "",
        "pp1.",
        "pp1.!!",
        f"pp1.{forged}",
        token[:-4],
        token + "AAAA",
        OpaqueSeal().close(Sealed(data, ANTHROPIC, "Hm")),
    ):
        for decode, body in thinking(bad):
            made = decode(body, seal=seal).prompt.messages[1]
            assert isinstance(made, pp.AssistantMessage)
            assert (made.origin, made.parts[0]) == (None, pp.Reasoning("Hm"))
    for decode, body in thinking(token, "another thought"):
        made = decode(body, seal=seal).prompt.messages[1]
        assert isinstance(made, pp.AssistantMessage)
        assert (made.origin, made.parts[0]) == (None, pp.Reasoning("another thought"))
