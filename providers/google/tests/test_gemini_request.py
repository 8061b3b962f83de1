"""Prompts to request bodies: what goes where, what is refused, and what goes back to Gemini as it came."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from promptport.errors import InvalidInputError, UnsupportedCapabilityError
from promptport.frames import InvalidToolCall, ProviderItem, Reasoning, ToolCall
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
from promptport.stream import message_of
from promptport.tools import ToolDescriptor
from promptport_google._request import content_body

OLD = LLModel("google", "gemini-2.5-flash")
NEW = LLModel("google", "gemini-3-flash-preview")
UNKNOWN = LLModel("google", "gemini-9-quark")
HI = Prompt.of("Hi")
ORIGIN = Origin("google", "here")
PNG = ImagePart(data=b"\x89PNG", media_type="image/png")
BLOB = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"\x89PNG").decode()}}
TOOL_SCHEMA = {"type": "object", "properties": {"x": {"const": 1}}}
TOOL = ToolDescriptor("f", "Does it.", {**TOOL_SCHEMA, "$schema": "https://json-schema.org/draft/2020-12/schema"})


def body(prompt: Prompt, model: LLModel = NEW, tools: Any = (), **options: Any) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(content_body(prompt, model, tools, origin=ORIGIN, **options))
    )
    return made


def own(*parts: AssistantPart | str) -> AssistantMessage:
    """A message that this server made."""
    return msgspec.structs.replace(AssistantMessage.of(*parts), origin=ORIGIN)


def model_parts(*parts: AssistantPart | str, model: LLModel = NEW, **options: Any) -> list[dict[str, Any]]:
    """What one message of the model's becomes."""
    message = own(*parts)
    results = [ToolResultMessage(part.id, part.name, "ok") for part in message.parts if isinstance(part, ToolCall)]
    turns = body(HI.add(message, *results), model, **options)["contents"]
    return [part for turn in turns if turn["role"] == "model" for part in turn["parts"]]


# -------------------------------------------------------------------------------------------------- turns


def test_the_plain_prompt() -> None:
    assert body(HI) == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_instructions_stand_apart_wherever_they_were() -> None:
    made = body(Prompt().system("A").user("Hi").system("B"))
    assert made["systemInstruction"] == {"parts": [{"text": "A"}, {"text": "B"}]}
    assert len(made["contents"]) == 1


def test_neighbours_of_one_role_are_one_turn_and_blank_text_is_none() -> None:
    prompt = Prompt().user("a", "  ").user("b").assistant("c").assistant("d", "").user("e")
    assert body(prompt)["contents"] == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}, {"text": "d"}]},
        {"role": "user", "parts": [{"text": "e"}]},
    ]


def test_a_models_turn_does_not_come_first() -> None:
    turns = body(Prompt().assistant("Hello").user("Hi"))["contents"]
    assert [turn["role"] for turn in turns] == ["user", "model", "user"]
    assert turns[0]["parts"][0]["text"].strip()


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (PNG, BLOB),
        (DocumentPart(data=b"%PDF", media_type="application/pdf", name="a.pdf"), "application/pdf"),
        (AudioPart(data=b"RIFF", media_type="audio/wav"), "audio/wav"),
        (ImagePart(url="https://e.com/a.png"), {"fileData": {"fileUri": "https://e.com/a.png"}}),
        (
            DocumentPart(url="gs://b/a.pdf", media_type="application/pdf"),
            {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/a.pdf"}},
        ),
        (ImagePart(url=f"data:image/png;base64,{BLOB['inlineData']['data']}"), BLOB),
    ],
)
def test_media(part: Any, sent: Any) -> None:
    made = body(Prompt().user("Look", part))["contents"][0]["parts"][1]
    assert made == sent if isinstance(sent, dict) else made["inlineData"]["mimeType"] == sent


def test_media_on_vertex() -> None:
    named = DocumentPart(data=b"%PDF", media_type="application/pdf", name="a.pdf")
    made = body(Prompt().user("Look", named), vertex=True)["contents"][0]["parts"][1]
    assert made["inlineData"]["displayName"] == "a.pdf"
    with pytest.raises(InvalidInputError, match="media_type"):
        body(Prompt().user("Look", ImagePart(url="gs://b/a")), vertex=True)


# ------------------------------------------------------------------------------------- calls and their results


def test_results_stand_in_the_order_of_the_calls_with_their_names() -> None:
    calls = [ToolCall("c1", "f", '{"x": 1}', {"thoughtSignature": "s"}), ToolCall("c2", "g", "{}")]
    prompt = HI.add(
        own("Look:", *calls),
        ToolResultMessage("c2", "", error="broken"),
        ToolResultMessage("c1", "f", "sunny"),
    ).user("So?")
    assert body(prompt)["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "Look:"},
                {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1}}, "thoughtSignature": "s"},
                {"functionCall": {"id": "c2", "name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c1", "name": "f", "response": {"output": "sunny"}}},
                {"functionResponse": {"id": "c2", "name": "g", "response": {"error": "broken"}}},
                {"text": "So?"},
            ],
        },
    ]


def test_vertex_gets_no_ids() -> None:
    prompt = HI.add(own(ToolCall("c1", "f", "{}")), ToolResultMessage("c1", "f", "ok"))
    made = msgspec.json.encode(content_body(prompt, NEW, (), vertex=True))
    assert b"c1" not in made
    assert b'"id"' not in made


def test_the_servers_own_id_goes_back() -> None:
    call = ToolCall("call00001", "f", "{}", {"id": "a1"})
    prompt = HI.add(own(call), ToolResultMessage("call00001", "f", "ok"))
    turns = body(prompt)["contents"]
    assert turns[1]["parts"][0]["functionCall"]["id"] == "a1"
    assert turns[2]["parts"][0]["functionResponse"]["id"] == "a1"


def test_arguments_keep_their_spelling() -> None:
    prompt = HI.add(own(ToolCall("c1", "f", '{"n":12345678901234567890123}')), ToolResultMessage("c1", "f", "ok"))
    assert b"12345678901234567890123" in msgspec.json.encode(content_body(prompt, NEW, ()))


def test_an_invalid_call_is_shown_as_the_model_wrote_it() -> None:
    call = InvalidToolCall("c1", "f", '{"x', "not JSON")
    parts = body(HI.add(own(call), ToolResultMessage("c1", "f", error="not JSON")))["contents"][1]["parts"]
    assert parts[0]["functionCall"]["args"] == {"INVALID_JSON": '{"x'}


def test_a_call_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'f'"):
        body(HI.add(own(ToolCall("c1", "f", "[1]")), ToolResultMessage("c1", "f", "ok")))


def test_media_in_results() -> None:
    wav = AudioPart(data=b"RIFF", media_type="audio/wav")
    prompt = HI.add(own(ToolCall("c1", "f", "{}")), ToolResultMessage("c1", "f", (TextPart("a map"), PNG, wav)))
    new, old = body(prompt)["contents"][2]["parts"], body(prompt, OLD)["contents"][2]["parts"]
    assert new[0]["functionResponse"]["parts"] == [BLOB]
    assert "a map" in new[0]["functionResponse"]["response"]["output"]
    assert [part["inlineData"]["mimeType"] for part in new if "inlineData" in part] == ["audio/wav"]
    assert "parts" not in old[0]["functionResponse"]
    assert [part["inlineData"]["mimeType"] for part in old if "inlineData" in part] == ["image/png", "audio/wav"]


# ----------------------------------------------------------------------------------------------- signatures

STAND_IN = "skip_thought_signature_validator"


def test_signatures_go_back_on_their_parts() -> None:
    assert model_parts(
        Reasoning("hm", {"thoughtSignature": "s1"}),
        "text",
        Reasoning("", {"thoughtSignature": "s2", "part": "text"}),
        "more",
        Reasoning("", {"thoughtSignature": "s3", "part": "empty text"}),
        ToolCall("c1", "f", "{}", {"thoughtSignature": "s4"}),
    ) == [
        {"text": "hm", "thought": True, "thoughtSignature": "s1"},
        {"text": "text", "thoughtSignature": "s2"},
        {"text": "more"},
        {"text": "", "thoughtSignature": "s3"},
        {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "s4"},
    ]


def test_thoughts_without_a_signature_stay_here() -> None:
    assert model_parts(Reasoning("hm"), "text") == [{"text": "text"}]


def test_two_signatures_of_text_stand_on_two_parts() -> None:
    signed = Reasoning("", {"thoughtSignature": "s", "part": "text"})
    assert model_parts("a", signed, signed) == [
        {"text": "a", "thoughtSignature": "s"},
        {"text": "", "thoughtSignature": "s"},
    ]


def test_only_the_first_of_calls_that_come_together_needs_a_signature() -> None:
    unsigned = [ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}")]
    assert [part.get("thoughtSignature") for part in model_parts(*unsigned)] == [STAND_IN, None]
    signed = [ToolCall("c1", "f", "{}", {"thoughtSignature": "s"}), ToolCall("c2", "f", "{}")]
    assert [part.get("thoughtSignature") for part in model_parts(*signed)] == ["s", None]


@pytest.mark.parametrize(
    ("made_by", "same"), [("gemini-3.1-pro-preview", True), ("gemini-2.5-flash", False), (None, True)]
)
def test_signatures_of_another_generation_are_refused(made_by: str | None, same: bool) -> None:
    message = own(
        Reasoning("hm", {"thoughtSignature": "s"}),
        ProviderItem("inlineData", {**BLOB, "thoughtSignature": "s"}),
        ToolCall("c1", "f", "{}", {"thoughtSignature": "s"}),
    )
    message = msgspec.structs.replace(message, model=made_by)
    turns = body(HI.add(message, ToolResultMessage("c1", "f", "ok")))["contents"]
    signatures = [part.get("thoughtSignature") for part in turns[1]["parts"]]
    assert signatures == (["s", "s", "s"] if same else [None, STAND_IN])


@pytest.mark.parametrize(
    ("model", "stand_in"),
    [(NEW, True), (UNKNOWN, True), (OLD, False), (LLModel("google", "gemma-4-31b-it"), False)],
)
def test_older_models_need_no_signature(model: LLModel, stand_in: bool) -> None:
    parts = model_parts(ToolCall("c1", "f", "{}"), model=model)
    assert (parts[0].get("thoughtSignature") == STAND_IN) is stand_in


def test_items_of_the_server_go_back_as_they_came() -> None:
    ran = {"executableCode": {"code": "1"}, "thoughtSignature": "s"}
    parts = model_parts(
        ProviderItem("executableCode", ran),
        ProviderItem("inlineData", BLOB),
        ProviderItem("groundingMetadata", {"groundingMetadata": {}}),
        ProviderItem("finishMessage", {"finishMessage": "x"}),
        "text",
    )
    assert parts == [ran, BLOB, {"text": "text"}]


def test_what_came_goes_back(wire: Any) -> None:
    came = [
        {"text": "hm", "thought": True, "thoughtSignature": "s1"},
        {"text": "It is", "thoughtSignature": "s2"},
        {"text": " sunny."},
        {"executableCode": {"code": "1"}},
        {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1}}, "thoughtSignature": "s3"},
        {"functionCall": {"id": "c2", "name": "f", "args": {"x": 2}}},
        {"text": "", "thoughtSignature": "s4"},
    ]
    frames, error = wire.read([wire.sse(*[wire.response(part) for part in came], wire.response(reason="STOP"))])
    assert error == ""
    assert model_parts(*message_of(frames).parts) == came


# ------------------------------------------------------------------------------------------------ parameters


def test_tools_and_choices() -> None:
    declared = [
        {"functionDeclarations": [{"name": "f", "parametersJsonSchema": TOOL_SCHEMA, "description": "Does it."}]}
    ]
    assert body(HI, tools=[TOOL]) == {**body(HI), "tools": declared}
    for choice, config in (
        (ToolChoice.AUTO, {"mode": "AUTO"}),
        (ToolChoice.NONE, {"mode": "NONE"}),
        (ToolChoice.REQUIRED, {"mode": "ANY"}),
        (NamedTool("f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ):
        made = body(HI.with_params(tool_choice=choice), tools=[TOOL])
        assert made["toolConfig"] == {"functionCallingConfig": config}
    strict = [ToolDescriptor("f", strict=True), ToolDescriptor("g")]
    assert body(HI, tools=strict)["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert body(HI, tools=[TOOL], vertex=True, stream_arguments=True)["toolConfig"] == {
        "functionCallingConfig": {"streamFunctionCallArguments": True}
    }


def test_generation() -> None:
    schema = {"type": "array", "items": {"type": "string"}}
    prompt = HI.with_params(temperature=0.5, max_tokens=9, stop=("a", "b"), seed=3, response_schema=schema)
    assert body(prompt)["generationConfig"] == {
        "temperature": 0.5,
        "maxOutputTokens": 9,
        "stopSequences": ["a", "b"],
        "seed": 3,
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }
    assert "tools" in body(prompt, tools=[TOOL])
    with pytest.raises(UnsupportedCapabilityError, match="json_schema together with tools"):
        body(prompt, OLD, [TOOL])


def test_schemas_are_fitted() -> None:
    schema = {"type": "object", "properties": {"x": {"const": 1, "pattern": "a"}}, "required": ["x"]}
    fitted = body(HI.with_params(response_schema=schema))["generationConfig"]["responseJsonSchema"]["properties"]["x"]
    assert fitted["enum"] == [1]
    assert not {"const", "pattern"} & set(fitted)


@pytest.mark.parametrize(
    ("id", "params", "config"),
    [
        (
            "gemini-3-flash-preview",
            {"reasoning_effort": "minimal"},
            {"thinkingLevel": "MINIMAL", "includeThoughts": True},
        ),
        ("gemini-3.7-flash", {"reasoning_effort": "high"}, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3.7-flash", {"reasoning_effort": "minimal"}, None),
        ("gemini-3-pro-preview", {"reasoning_effort": "medium"}, None),
        ("gemini-3-pro-preview", {"reasoning_effort": "none"}, None),
        ("gemini-9-quark", {"reasoning_effort": "xhigh"}, {"thinkingLevel": "XHIGH", "includeThoughts": True}),
        ("gemini-9-quark", {"reasoning_effort": "max"}, None),
        ("gemini-9-quark", {"reasoning_budget": 77}, {"thinkingBudget": 77, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "medium"}, {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", {"reasoning_budget": 0}, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", {"reasoning_budget": 0}, None),
        ("gemini-2.5-pro", {"reasoning_budget": 200}, {"thinkingBudget": 200, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "xhigh"}, None),
    ],
)
def test_thinking(id: str, params: dict[str, Any], config: dict[str, Any] | None) -> None:
    prompt = HI.with_params(**params)
    if config is None:
        with pytest.raises(UnsupportedCapabilityError, match=r"use .*(low|budget|minimal)"):
            body(prompt, LLModel("google", id))
    else:
        assert body(prompt, LLModel("google", id))["generationConfig"] == {"thinkingConfig": config}


def test_thinking_that_contradicts_itself() -> None:
    with pytest.raises(InvalidInputError, match="one of them"):
        body(HI.with_params(reasoning_effort="low", reasoning_budget=100), OLD)
    with pytest.raises(InvalidInputError, match="128 to 32768"):
        body(HI.with_params(reasoning_budget=100), LLModel("google", "gemini-2.5-pro"))


def test_extra_is_put_over_the_body() -> None:
    extra = {
        "generationConfig": {"topK": 3, "thinkingConfig": {"includeThoughts": False}},
        "tools": [{"googleSearch": {}}],
        "safetySettings": [1],
    }
    made = body(HI.with_params(temperature=1, reasoning_effort="low", extra=extra), tools=[TOOL])
    assert made["generationConfig"] == {
        "temperature": 1,
        "topK": 3,
        "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": False},
    }
    assert made["tools"][1] == {"googleSearch": {}}
    assert made["safetySettings"] == [1]
    for taken in ("contents", "model"):
        with pytest.raises(InvalidInputError, match=taken):
            body(HI.with_params(extra={taken: 1}))


def test_what_is_cached_is_not_sent_again() -> None:
    prompt = Prompt.of("Hi", system="Long.", tool_choice="required", extra={"cachedContent": "cachedContents/1"})
    assert body(prompt, tools=[TOOL]) == {**body(HI), "cachedContent": "cachedContents/1"}


def test_users_that_stand_together_once_a_thought_is_left_out_are_one_turn() -> None:
    prompt = Prompt.of("a").add(AssistantMessage((Reasoning("I think."),))).user("b")
    contents = content_body(prompt, LLModel("google", "gemini-2.5-pro"), ())["contents"]
    assert contents == [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]
