"""`TextToolsClient`: what the wrapped client is asked, and what comes of its text."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from promptport.errors import IncompleteStreamError, InvalidInputError, ProviderStreamError, UnsupportedCapabilityError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    Reasoning,
    ReasoningAppend,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
    Usage,
)
from promptport.messages import (
    AssistantMessage,
    ImagePart,
    LLMParams,
    NamedTool,
    Prompt,
    SystemMessage,
    TextPart,
    ToolChoice,
    UserMessage,
)
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.testing import CUT, ScriptedClient, assert_valid_stream
from promptport.text_tools.formats import FORMATS
from promptport.text_tools.prompting import call_schema, calls_schema
from promptport.text_tools.text_tools_client import TextToolsClient
from promptport.tools import ToolDescriptor

MODEL = LLModel("scripted", "qwen2.5:0.5b")
WEATHER = ToolDescriptor("get_weather", "Weather", {"type": "object", "properties": {"city": {"type": "string"}}})
NOOP = ToolDescriptor("noop")
TOOLS = [WEATHER, NOOP]
TEXT_ONLY = ModelCapabilities.of(StreamedTools.NONE, [Capability.SYSTEM, Capability.TEMPERATURE])
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
CUT_CALL = CALL[: CALL.index('"}}')]
PROMPT = Prompt.of("Weather in Paris?", system="Be brief.")


def wrapped(
    *answers: Any, capabilities: ModelCapabilities = TEXT_ONLY, **options: Any
) -> tuple[ScriptedClient, TextToolsClient]:
    inner = ScriptedClient(*answers, capabilities=capabilities)
    return inner, TextToolsClient(inner, **options)


async def test_text_becomes_calls() -> None:
    inner, client = wrapped(
        ["Let me ", "look.\n<tool", CALL.removeprefix("<tool")[:40], CALL.removeprefix("<tool")[40:]]
    )
    async with client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS) as stream:
        frames = [frame async for frame in stream]
    assert_valid_stream(frames)
    assert frames[:2] == [Append("Let me "), Append("look.\n")]
    assert frames[-2] == ToolCall("call00001", "get_weather", '{"city": "Paris"}')
    assert frames[-1] == End(FinishReason.TOOL_CALLS, usage=Usage(1, 1))
    assert len([frame for frame in frames if isinstance(frame, ToolCallDelta)]) >= 2
    (request,) = inner.requests
    assert request.tools == ()
    assert client.provider == "scripted"


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "none"])
async def test_streamed_equals_complete(format: str) -> None:
    writing = FORMATS[format].writing
    text = writing.assistant(
        [TextPart("Hm: "), ToolCall("a", "noop", "{}"), ToolCall("b", "get_weather", '{"city": "x"}')]
    )
    _, client = wrapped([*text], [text], format=format)
    streamed = await client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS).message()
    assert streamed == await client.execute(PROMPT, MODEL, TOOLS)
    assert [call.name for call in streamed.tool_calls] == ["noop", "get_weather"]
    assert streamed.finish_reason is FinishReason.TOOL_CALLS


async def test_tools_are_told_in_the_system_message() -> None:
    inner, client = wrapped(["ok"], ["ok"], ["ok"], format="hermes")
    await client.execute(PROMPT, MODEL, TOOLS)
    told = inner.requests[0].prompt.messages
    assert told == (SystemMessage(f"Be brief.\n\n{FORMATS['hermes'].writing.describe(TOOLS)}"), PROMPT.messages[1])
    await client.execute(Prompt.of("Hi"), MODEL, TOOLS)
    assert [type(message) for message in inner.requests[1].prompt.messages] == [SystemMessage, UserMessage]
    await client.execute(PROMPT, MODEL)
    assert inner.requests[2].prompt == PROMPT


async def test_without_system_messages_the_first_user_message_is_told() -> None:
    inner, client = wrapped(["ok"], capabilities=ModelCapabilities(), format="json")
    await client.execute(Prompt.of("Hi"), MODEL, TOOLS)
    (message,) = inner.requests[0].prompt.messages
    assert isinstance(message, UserMessage)
    assert message.text == f"{FORMATS['json'].writing.describe(TOOLS)}\n\nHi"


async def test_past_calls_and_results_are_sent_as_text() -> None:
    prompt = (
        PROMPT.assistant("I look.", Reasoning("why"))
        .tool_call("call00001", "get_weather", {"city": "Paris"})
        .tool_call("call00002", "noop")
        .tool_result("call00001", "sunny")
        .tool_result("call00002", error="no luck")
        .user("And tomorrow?")
    )
    inner, client = wrapped([CALL], format="hermes")
    message = await client.execute(prompt, MODEL, TOOLS)
    assert [call.id for call in message.tool_calls] == ["call00003"], "ids differ from those of the conversation"
    _, question, said, answered = inner.requests[0].prompt.messages
    assert question == PROMPT.messages[1]
    calls = '<tool_call>\n{"name": "noop", "arguments": {}}\n</tool_call>'
    first = CALL.replace('"city": ', '"city":')  # as the prompt's builder writes arguments
    assert said == AssistantMessage.of(Reasoning("why"), f"I look.\n{first}\n{calls}")
    assert answered == UserMessage.of(
        "<tool_response>\nsunny\n</tool_response>\n<tool_response>\nno luck\n</tool_response>\n\nAnd tomorrow?"
    )


async def test_results_at_the_end_are_the_users() -> None:
    image = ImagePart(url="https://example.org/a.png")
    prompt = PROMPT.tool_call("a", "noop").tool_result("a", [TextPart("look"), image])
    able = TEXT_ONLY.with_(Capability.IMAGES)
    inner, client = wrapped(["ok"], capabilities=able, format="hermes")
    await client.execute(prompt, MODEL, TOOLS)
    assert inner.requests[0].prompt.messages[-1] == UserMessage.of("<tool_response>\nlook\n</tool_response>", image)


async def test_an_invalid_call_of_the_past_is_sent_as_it_was() -> None:
    prompt = PROMPT.add(AssistantMessage.of(InvalidToolCall("a", "noop", "{x", "no JSON"))).tool_result(
        "a", error="bad"
    )
    inner, client = wrapped(["ok"], format="hermes")
    await client.execute(prompt, MODEL, TOOLS)
    said = inner.requests[0].prompt.messages[2]
    assert said == AssistantMessage.of('<tool_call>\n{"name": "noop", "arguments": {x}\n</tool_call>')


# ------------------------------------------------------------------------------------------- capabilities


def test_capabilities_are_those_of_text() -> None:
    native = ModelCapabilities.of(StreamedTools.NONE, Capability, context_length=4096)
    _, client = wrapped(capabilities=native, format="qwen_coder")
    got = client.capabilities(MODEL)
    assert got.streamed_tools is StreamedTools.WHOLE
    assert got.capabilities == frozenset(Capability)
    assert got.context_length == 4096
    _, client = wrapped(format="hermes")
    got = client.capabilities(MODEL)
    assert got == TEXT_ONLY.with_(Capability.TOOLS).of(
        StreamedTools.DELTAS, [*TEXT_ONLY.capabilities, Capability.TOOLS]
    )


@pytest.mark.parametrize(
    ("model", "format"),
    [("qwen2.5", "hermes"), ("qwen3-coder", "qwen_coder"), ("tiny", "json"), ("llama3.2", "llama3")],
)
async def test_auto_writes_what_the_models_name_suggests(model: str, format: str) -> None:
    inner, client = wrapped([CALL])
    named = LLModel("scripted", model)
    assert client.capabilities(named).streamed_tools is FORMATS[format].streamed_tools
    message = await client.execute(PROMPT, named, TOOLS)
    assert inner.requests[0].prompt.messages[0] == SystemMessage(
        f"Be brief.\n\n{FORMATS[format].writing.describe(TOOLS)}"
    )
    assert [call.name for call in message.tool_calls] == ["get_weather"], "auto reads every format"


async def test_what_text_cannot_do_is_refused_before_anything_is_sent() -> None:
    inner, client = wrapped()
    for params in (
        {"tool_choice": ToolChoice.REQUIRED},
        {"tool_choice": NamedTool("noop")},
        {"parallel_tool_calls": True},
    ):
        with pytest.raises(UnsupportedCapabilityError):
            client.execute_streaming_with_tools(PROMPT.with_params(**params), MODEL, TOOLS)
    _, client = wrapped(capabilities=TEXT_ONLY.with_(Capability.JSON_SCHEMA))
    with pytest.raises(UnsupportedCapabilityError, match="tools together with response_schema"):
        client.execute_streaming_with_tools(PROMPT.with_params(response_schema={"type": "object"}), MODEL, TOOLS)
    with pytest.raises(InvalidInputError, match="no text format"):
        TextToolsClient(inner, format="xml")
    assert inner.requests == []


# -------------------------------------------------------------------------------------------- tool choice

CONSTRAINED = TEXT_ONLY.with_(Capability.JSON_SCHEMA)


async def test_a_required_call_constrains_the_answer() -> None:
    inner, client = wrapped(
        *[['{"name": "noop", ', '"arguments": {"a": 1}}']] * 2, capabilities=CONSTRAINED, format="hermes"
    )
    prompt = PROMPT.with_params(tool_choice=ToolChoice.REQUIRED, temperature=0.5)
    message = await client.execute_streaming_with_tools(prompt, MODEL, TOOLS).message()
    assert message.parts == (ToolCall("call00001", "noop", '{"a": 1}'),)
    assert inner.requests[0].prompt.params == LLMParams(temperature=0.5, response_schema=calls_schema(TOOLS))
    single = prompt.with_params(parallel_tool_calls=False)
    await client.execute(single, MODEL, TOOLS)
    assert inner.requests[1].prompt.params == LLMParams(temperature=0.5, response_schema=call_schema(TOOLS))
    options = call_schema(TOOLS)["oneOf"]
    assert [option["properties"]["name"] for option in options] == [{"const": "get_weather"}, {"const": "noop"}]
    assert options[0]["properties"]["arguments"] == WEATHER.parameters
    assert list(options[0]["properties"]) == options[0]["required"] == ["name", "arguments"]


@pytest.mark.parametrize("size", [1, 3, 12, 25, 33])
async def test_a_required_call_that_is_cut_is_unfinished_and_no_text(size: int) -> None:
    text = '{"name": "get_weather", "arguments": {"city": "Paris"}}'[:size]
    end = End(FinishReason.LENGTH, "length", Usage(3, 4), "m", "r")
    _, client = wrapped([text, end], capabilities=CONSTRAINED)
    prompt = PROMPT.with_params(tool_choice=ToolChoice.REQUIRED)
    message = await client.execute_streaming_with_tools(prompt, MODEL, TOOLS).message()
    assert (message.text, message.tool_calls) == ("", ())
    (cut,) = message.unfinished
    assert cut.name == ("get_weather" if size > 22 else "")
    assert cut.arguments == ("" if cut.name else text)


@pytest.mark.parametrize("text", [
    '[{"name": "noop", "arguments": {}}, {"name": "get_weather", "arguments": {"city": "Paris"}}]',
    ' [\n{"name": "noop", "arguments": {}},{"name": "get_weather", "arguments": {"city": "Paris"}}\n]',
])  # fmt: skip
async def test_a_required_answer_is_a_list_of_calls(text: str) -> None:
    _, client = wrapped([*text], capabilities=CONSTRAINED)
    prompt = PROMPT.with_params(tool_choice=ToolChoice.REQUIRED)
    message = await client.execute_streaming_with_tools(prompt, MODEL, TOOLS).message()
    assert [(call.name, call.parsed()) for call in message.tool_calls] == [
        ("noop", {}),
        ("get_weather", {"city": "Paris"}),
    ]
    assert not message.text.strip()
    end = End(FinishReason.LENGTH)
    _, client = wrapped([text[:60], end], capabilities=CONSTRAINED)
    message = await client.execute_streaming_with_tools(prompt, MODEL, TOOLS).message()
    assert [call.name for call in message.tool_calls] == ["noop"]
    assert message.finish_reason is FinishReason.LENGTH


def test_a_list_of_calls_keeps_its_definitions_at_the_root() -> None:
    nested = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    schema = calls_schema([ToolDescriptor("a", "", nested)])
    assert schema["$defs"] == {"a.A": {"type": "string"}}
    assert "$defs" not in schema["items"]


async def test_prose_in_place_of_a_required_call_is_text() -> None:
    _, client = wrapped([" I", " cannot."], capabilities=CONSTRAINED)
    prompt = PROMPT.with_params(tool_choice=ToolChoice.REQUIRED)
    assert (await client.execute(prompt, MODEL, TOOLS)).text == " I cannot."


async def test_a_named_tool_constrains_the_answer_to_it() -> None:
    inner, client = wrapped(['{"name":"get_weather","arguments":{}}'], capabilities=CONSTRAINED)
    message = await client.execute(PROMPT.with_params(tool_choice=NamedTool("get_weather")), MODEL, TOOLS)
    assert [call.name for call in message.tool_calls] == ["get_weather"]
    schema = inner.requests[0].prompt.params.response_schema
    assert schema == calls_schema([WEATHER])
    assert schema["items"]["properties"]["name"] == {"const": "get_weather"}


async def test_no_tools_wanted_none_told_and_none_read() -> None:
    inner, client = wrapped([CALL], format="hermes")
    message = await client.execute(PROMPT.with_params(tool_choice=ToolChoice.NONE), MODEL, TOOLS)
    assert message.text == CALL
    assert message.finish_reason is FinishReason.STOP
    assert inner.requests[0].prompt == PROMPT.with_params(tool_choice=None)


def test_definitions_move_with_a_schema() -> None:
    nested = {
        "type": "object",
        "properties": {
            "who": {"$ref": "#/$defs/Person"},
            "all": {"type": "array", "items": {"$ref": "#/$defs/Person"}},
        },
        "$defs": {"Person": {"type": "object", "properties": {"boss": {"$ref": "#/$defs/Person"}}}},
    }
    schema = call_schema([ToolDescriptor("a", "", nested), ToolDescriptor("b", "", nested)])
    assert set(schema) == {"oneOf", "$defs"}
    assert set(schema["$defs"]) == {"a.Person", "b.Person"}
    assert schema["$defs"]["b.Person"]["properties"]["boss"] == {"$ref": "#/$defs/b.Person"}
    arguments = schema["oneOf"][0]["properties"]["arguments"]
    assert arguments["properties"]["all"]["items"] == {"$ref": "#/$defs/a.Person"}
    assert "$defs" not in arguments
    assert "#/$defs/Person" not in json.dumps(schema)


# ------------------------------------------------------------------------------------------------- streams


async def test_other_frames_pass_and_reasoning_tags_are_read() -> None:
    citation = Citation(url="https://example.org")
    _, client = wrapped([ReasoningAppend("own"), Reasoning("own"), "<think>tagged</think>A", citation, "B"])
    message = await client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS).message()
    assert message.parts == (Reasoning("own"), Reasoning("tagged"), TextPart("A"), citation, TextPart("B"))
    _, client = wrapped(["<think>x</think>"], reasoning="off")
    assert (await client.execute(PROMPT, MODEL)).text == "<think>x</think>"


async def test_the_text_of_a_stream() -> None:
    _, client = wrapped(["<think>x</think>A", "B"])
    assert [text async for text in client.execute_streaming(PROMPT, MODEL)] == ["A", "B"]


async def test_a_call_cut_by_the_limit_is_unfinished() -> None:
    end = End(FinishReason.LENGTH, "length", Usage(3, 4), "m", "r")
    _, client = wrapped(["A ", CUT_CALL, end], [f"{CALL}<tool", end])
    message = await client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS).message()
    assert message.tool_calls == ()
    assert message.unfinished == (UnfinishedCall("call00001", "get_weather", '{"city": "Paris'),)
    assert (message.finish_reason, message.usage, message.response_id) == (FinishReason.LENGTH, Usage(3, 4), "r")
    message = await client.execute(PROMPT, MODEL, TOOLS)
    assert [call.name for call in message.tool_calls] == ["get_weather"]
    assert message.finish_reason is FinishReason.LENGTH
    assert message.raw_finish_reason == "length"
    assert message.text == "<tool"


@pytest.mark.parametrize(
    ("failure", "kind"), [(CUT, IncompleteStreamError), (ProviderStreamError("overloaded"), ProviderStreamError)]
)
async def test_an_error_carries_what_the_text_said(failure: Any, kind: type[Exception]) -> None:
    inner, client = wrapped([f"A {CALL} B ", CUT_CALL, failure])
    frames = []
    with pytest.raises(kind) as caught:
        async for frame in client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS):
            frames.append(frame)
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert partial.text == "A  B "
    assert [call.name for call in partial.tool_calls] == ["get_weather"]
    assert partial.unfinished == (UnfinishedCall("call00002", "get_weather", '{"city": "Paris'),)
    assert inner.closed == 1


async def test_closing_closes_the_wrapped_stream() -> None:
    inner, client = wrapped(["A", asyncio.Event()], ["A", asyncio.Event()])
    async with client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS) as stream:
        assert await anext(stream) == Append("A")
    assert inner.closed == 1
    stream = client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS)
    await anext(stream)
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await stream.aclose()
    assert inner.closed == 2
    with pytest.raises(IncompleteStreamError):
        await reading
    inner, client = wrapped(["A", asyncio.Event()])
    stream = client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS)
    await anext(stream)
    await client.aclose()
    assert inner.closed == 1
    unread = wrapped(["A"])[1].execute_streaming_with_tools(PROMPT, MODEL, TOOLS)
    await unread.aclose()


class _Closing(ScriptedClient):
    """Knows that it was closed, and what it discovers."""

    gone = False

    async def discover(self, model: LLModel) -> ModelCapabilities:
        return TEXT_ONLY.with_(Capability.SEED)

    async def aclose(self) -> None:
        self.gone = True


async def test_the_rest_is_the_wrapped_clients() -> None:
    inner = _Closing(capabilities=TEXT_ONLY)
    async with TextToolsClient(inner, format="pythonic") as client:
        assert await client.models() == [LLModel("scripted", "scripted")]
        found = await client.discover(MODEL)
        assert {Capability.SEED, Capability.TOOLS} <= found.capabilities
        assert found.streamed_tools is StreamedTools.WHOLE
        assert not inner.gone
    assert inner.gone
