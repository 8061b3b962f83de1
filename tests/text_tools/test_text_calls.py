"""`TextCallsClient`: what passes, what is read, and what is left alone; special tokens; markers that nobody reads."""

from __future__ import annotations

from typing import Any

import pytest

from promptport.errors import ConfigurationError, IncompleteStreamError
from promptport.frames import Append, End, FinishReason, Reasoning, ToolCall, ToolCallDelta, UnfinishedCall
from promptport.llm_client import LLMClient
from promptport.messages import Prompt, ToolChoice, ToolResultMessage, UserMessage
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.testing import CUT, ScriptedClient, assert_valid_stream
from promptport.text_tools import TextCallsClient, TextToolsClient, TextToolsParser, defused, with_text_calls
from promptport.text_tools.formats import FORMATS
from promptport.tools import ToolDescriptor

MODEL = LLModel("scripted", "m")
NATIVE = ModelCapabilities.of(StreamedTools.DELTAS, Capability)
TOOLS = [ToolDescriptor("noop"), ToolDescriptor("other")]
CALL = '{"name": "noop", "arguments": {}}'
PROMPT = Prompt.of("Hi")


def wrapped(*answers: Any) -> tuple[ScriptedClient, TextCallsClient]:
    inner = ScriptedClient(*answers, capabilities=NATIVE)
    return inner, TextCallsClient(inner)


async def test_native_calls_and_calls_in_text() -> None:
    native = [ToolCallDelta("call00001", "other", "{}"), ToolCall("call00001", "other", "{}")]
    inner, client = wrapped(
        ["<think>hm</think>", "<tool_", *native, f"call>{CALL}</tool_call>", End(FinishReason.STOP)]
    )
    stream = client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS)
    frames = [frame async for frame in stream]
    assert_valid_stream(frames)
    assert [(f.id, f.name) for f in frames if isinstance(f, ToolCall)] == [
        ("call00001", "other"),
        ("text00001", "noop"),
    ]
    assert any(isinstance(frame, Reasoning) for frame in frames)
    assert not any(isinstance(frame, Append) for frame in frames)
    assert isinstance(frames[-1], End)
    assert frames[-1].finish_reason is FinishReason.TOOL_CALLS
    assert [tool.name for tool in inner.requests[0].tools] == ["noop", "other"]
    assert client.capabilities(MODEL) == NATIVE


async def test_streamed_equals_complete() -> None:
    _, client = wrapped(["Hm ", *CALL], ["Hm ", *CALL])
    streamed = await client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS).message()
    complete = await client.execute(PROMPT, MODEL, TOOLS)
    assert (streamed.parts, streamed.finish_reason) == (complete.parts, complete.finish_reason)
    assert complete.tool_calls


@pytest.mark.parametrize("why", ["no tools", "none allowed", "a schema"])
async def test_what_can_hold_no_call_is_not_read(why: str) -> None:
    _, client = wrapped([CALL], [CALL])
    tools = [] if why == "no tools" else TOOLS
    prompt = PROMPT.with_params(tool_choice=ToolChoice.NONE if why == "none allowed" else None)
    if why == "a schema":
        prompt = prompt.with_params(response_schema={"type": "object"})
    assert (await client.execute_streaming_with_tools(prompt, MODEL, tools).message()).text == CALL
    assert (await client.execute(prompt, MODEL, tools)).text == CALL


async def test_a_cut_after_a_whole_call_says_length() -> None:
    _, client = wrapped([f'{CALL}\n{{"name": "other", "arguments": {{"a": ', End(FinishReason.LENGTH)])
    message = await client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS).message()
    assert [call.name for call in message.tool_calls] == ["noop"]
    assert message.finish_reason is FinishReason.LENGTH
    assert message.unfinished == (UnfinishedCall("text00002", "other", '{"a": '),)


async def test_an_error_carries_what_the_text_said() -> None:
    inner, client = wrapped([f"A {CALL} B", CUT])
    with pytest.raises(IncompleteStreamError) as caught:
        await client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS).message()
    partial = caught.value.partial
    assert partial is not None
    assert [call.name for call in partial.tool_calls] == ["noop"]
    assert inner.closed == 1


def test_the_option() -> None:
    inner: LLMClient = ScriptedClient(capabilities=NATIVE)
    assert with_text_calls(inner, "off") is inner
    assert isinstance(with_text_calls(inner, "auto"), TextCallsClient)
    with pytest.raises(ConfigurationError, match="text_calls must be 'auto' or 'off', not 'on'"):
        with_text_calls(inner, "on")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- what nobody reads


@pytest.mark.parametrize(
    "text",
    [
        '<|action_start|>{"a": 1}',
        "<TOOLCALL>[x]",
        'functools[{"x": 1}]',
        "<tool_call>what</tool_call>",
        "<｜DSML｜function_calls>",
    ],
)
async def test_a_marker_that_is_not_read_is_reported(text: str) -> None:
    for pieces in ([text], [*text]):
        _, client = wrapped(["So: ", *pieces])
        stream = client.execute_streaming_with_tools(PROMPT, MODEL, TOOLS)
        assert (await stream.message()).text == f"So: {text}", "it is still shown"
        ((name, count),) = stream.skipped.items()
        assert name.startswith("text ")
        assert text.startswith(name.removeprefix("text "))
        assert count == 1
    parser = TextToolsParser("auto", TOOLS)
    parser.feed(f"Plain. {CALL}")
    parser.finish()
    assert parser.skipped == {}


# ---------------------------------------------------------------------------------------------- special tokens

TOKENS = (
    "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<|start|>", "</tool_response>", "<tool_response>",
    "<tool_call>", "</tool_call>", "[INST]", "[/INST]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "<start_of_turn>",
    "<end_of_turn>", "</s>", "<｜User｜>", "<｜tool▁output▁end｜>", "]~b]", "[e~[", "<|tool_calls_section_begin|>",
    "<think>", "</response>", "<<SYS>>",
)  # fmt: skip


@pytest.mark.parametrize("token", TOKENS)
async def test_a_token_in_contents_is_no_token(token: str) -> None:
    said = f"a{token}b {token}{token} <<{token}"
    assert token not in defused(said)
    assert defused(said).replace(" ", "") == said.replace(" ", "")
    prompt = Prompt.of(said).tool_call("c", "noop").tool_result("c", said)
    prompt = prompt.tool_call("d", "noop").tool_result("d", error=said)
    tools = [ToolDescriptor("noop", said, {"type": "object", "properties": {"a": {"description": said}}})]
    for name in ("hermes", "qwen_coder", "json"):
        inner = ScriptedClient(["ok"], capabilities=ModelCapabilities.of(StreamedTools.NONE, [Capability.SYSTEM]))
        await TextToolsClient(inner, format=name).execute(prompt, MODEL, tools)
        described = inner.requests[0].prompt.messages[0]
        users = [message.text for message in inner.requests[0].prompt.messages if isinstance(message, UserMessage)]
        assert sum(text.count(token) for text in users) == sum(
            FORMATS[name].writing.result(ToolResultMessage(i, "noop", "x")).count(token) for i in "cd"
        ), "only the format's own"
        assert said not in described.text


@pytest.mark.parametrize("text", ["a < b || c > d", "x[0] <b>bold</b> [a](b)", "if (a <| b)", "List<T> [args]"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert defused(text) == text
