"""What people test their own programs with: `ScriptedClient`, `ScriptedExecutor`, `assert_valid_stream`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

import promptport as pp
from promptport.frames import encode_frame
from promptport.testing.scripted import CUT, Pause, ScriptedClient, ScriptedExecutor, ScriptedRequest
from promptport.testing.validity import assert_valid_stream

MODEL = pp.LLModel("scripted", "model")
PROMPT = pp.Prompt.of("What is the weather?")
WEATHER = pp.ToolDescriptor("get_weather", "Current weather of a city.")
CALL = pp.ToolCall("call_1", "get_weather", '{"city":"Paris"}')
DELTA = pp.ToolCallDelta("call_1", "get_weather", '{"city":"Paris"}')
STOP = pp.End(pp.FinishReason.STOP)


async def frames_of(client: ScriptedClient | ScriptedExecutor, *tools: pp.ToolDescriptor) -> list[pp.StreamFrame]:
    async with client.execute_streaming_with_tools(PROMPT, MODEL, tools) as stream:
        return [frame async for frame in stream]


# --------------------------------------------------------------------------------------- what it answers


async def test_strings_are_text_and_an_end_is_made_up() -> None:
    frames = await frames_of(ScriptedClient(["Hel", "lo"]))
    assert frames == [pp.Append("Hel"), pp.Append("lo"), pp.End(pp.FinishReason.STOP, usage=pp.Usage(1, 1))]
    assert_valid_stream(frames)


async def test_whole_calls_get_their_increments() -> None:
    frames = await frames_of(ScriptedClient(["Let me look.", CALL]), WEATHER)
    assert frames[1:] == [DELTA, CALL, pp.End(pp.FinishReason.TOOL_CALLS, usage=pp.Usage(1, 1))]
    assert_valid_stream(frames)


async def test_increments_that_are_written_are_not_made_up() -> None:
    script: list[pp.StreamFrame] = [
        pp.ToolCallDelta("call_1", "get_weather", '{"city":'),
        pp.ToolCallDelta("call_1", "", ""),
        CALL,
    ]
    frames = await frames_of(ScriptedClient(script), WEATHER)
    assert frames[:-1] == script


async def test_reasoning_gets_its_increment_once() -> None:
    thought = pp.Reasoning("Hm.", {"signature": "x"})
    frames = await frames_of(ScriptedClient([thought, pp.ReasoningAppend("Hm."), thought, "Yes."]))
    assert frames[:-2] == [pp.ReasoningAppend("Hm."), thought, pp.ReasoningAppend("Hm."), thought]
    assert_valid_stream(frames)


async def test_invalid_calls_end_in_tool_calls_too() -> None:
    frames = await frames_of(ScriptedClient([pp.InvalidToolCall("call_1", "get_weather", "{", "cut")]), WEATHER)
    assert isinstance(frames[-1], pp.End)
    assert frames[-1].finish_reason is pp.FinishReason.TOOL_CALLS
    assert_valid_stream(frames)


async def test_an_end_of_the_scripts_own() -> None:
    end = pp.End(pp.FinishReason.LENGTH, "max", pp.Usage(5, 6))
    assert await frames_of(ScriptedClient(["Once", end])) == [pp.Append("Once"), end]


async def test_answers_come_in_their_order() -> None:
    client = ScriptedClient(["one"], ["two"])
    assert [(await client.execute(PROMPT, MODEL)).text for _ in range(2)] == ["one", "two"]
    with pytest.raises(pp.InvalidInputError, match="the script has 2 answers, and this is request 3"):
        await client.execute(PROMPT, MODEL)
    assert len(client.requests) == 2


async def test_a_script_may_repeat() -> None:
    client = ScriptedClient(["one"], ["two"], repeat=True)
    assert [(await client.execute(PROMPT, MODEL)).text for _ in range(5)] == ["one", "two", "one", "two", "one"]


async def test_a_function_answers_by_the_request() -> None:
    def answer(request: ScriptedRequest) -> Sequence[str]:
        return [f"{len(request.tools)} tools for {request.model}"]

    client = ScriptedClient(answer)
    assert (await client.execute(PROMPT, MODEL, [WEATHER])).text == "1 tools for scripted/model"


async def test_all_verbs() -> None:
    async with ScriptedClient(["Hel", "lo"], repeat=True) as client:
        assert [text async for text in client.execute_streaming(PROMPT, MODEL)] == ["Hel", "lo"]
        assert (await client.execute(PROMPT, MODEL)).text == "Hello"
        assert await client.models() == [MODEL] or [model.provider for model in await client.models()] == ["scripted"]
        assert await client.discover(MODEL) == client.capabilities(MODEL)


# ------------------------------------------------------------------------------------- faults and delays


async def test_an_exception_is_raised_with_what_had_come() -> None:
    client = ScriptedClient(["Hel", pp.ProviderStreamError("it broke", code="overloaded"), "never"])
    with pytest.raises(pp.ProviderStreamError, match="it broke") as caught:
        await frames_of(client)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"


async def test_a_cut_is_an_incomplete_stream() -> None:
    client = ScriptedClient(["Hel", DELTA, CUT, "never"])
    with pytest.raises(pp.IncompleteStreamError) as caught:
        await frames_of(client, WEATHER)
    assert caught.value.partial is not None
    assert [call.name for call in caught.value.partial.unfinished] == ["get_weather"]


async def test_a_pause_runs_into_the_clocks() -> None:
    client = ScriptedClient(["Hel", Pause(30), "lo"], timeouts=pp.Timeouts(idle=0.05))
    with pytest.raises(pp.IdleTimeout) as caught:
        await frames_of(client)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"
    assert (caught.value.provider, caught.value.model) == ("scripted", "model")


async def test_a_short_pause_goes_by() -> None:
    frames = await frames_of(ScriptedClient(["Hel", Pause(0), "lo"]))
    assert [frame.text for frame in frames if isinstance(frame, pp.Append)] == ["Hel", "lo"]


async def test_an_event_is_waited_for() -> None:
    event = asyncio.Event()
    client = ScriptedClient(["Hel", event, "lo"])
    async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
        assert await anext(stream) == pp.Append("Hel")
        waiting = asyncio.ensure_future(stream.message())
        await asyncio.sleep(0)
        assert not waiting.done()
        event.set()
        assert (await waiting).text == "Hello"


async def test_it_tells_what_was_closed() -> None:
    client = ScriptedClient(["Hel", "lo"], repeat=True)
    assert client.closed == 0
    await frames_of(client)
    assert client.closed == 1
    async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
        await anext(stream)
    assert client.closed == 2


# ---------------------------------------------------------------------------------- requests, capabilities


async def test_requests_are_recorded() -> None:
    client = ScriptedClient(["Hello"])
    await frames_of(client, WEATHER)
    assert client.requests == [ScriptedRequest(PROMPT, MODEL, (WEATHER,))]


async def test_capabilities_are_checked_as_any_clients_are() -> None:
    bare = pp.ModelCapabilities(pp.StreamedTools.NONE, frozenset([pp.Capability.TOOLS]))
    client = ScriptedClient([CALL], capabilities=bare, provider="mine")
    with pytest.raises(pp.UnsupportedCapabilityError) as caught:
        client.execute_streaming_with_tools(PROMPT, MODEL, [WEATHER])
    assert caught.value.missing == ("streamed tool calls",)
    with pytest.raises(pp.UnsupportedCapabilityError, match="system"):
        client.execute_streaming_with_tools(PROMPT.system("Be brief."), MODEL)
    with pytest.raises(pp.InvalidInputError):
        client.execute_streaming_with_tools(pp.Prompt(), MODEL)
    assert client.requests == []
    assert (await client.execute(PROMPT, MODEL, [WEATHER])).tool_calls == (CALL,)
    assert client.provider == "mine"


async def test_an_executor_over_a_script() -> None:
    executor = ScriptedExecutor([CALL], ["Sunny."])
    async with executor:
        assert (await frames_of(executor, WEATHER))[0] == DELTA
        assert [text async for text in executor.execute_streaming(PROMPT, MODEL)] == ["Sunny."]
    assert [request.tools for request in executor.requests] == [(WEATHER,), ()]
    assert executor.requests is executor.client.requests


async def test_an_executor_follows_the_policy() -> None:
    bare = pp.ModelCapabilities(pp.StreamedTools.NONE, frozenset([pp.Capability.TOOLS]))
    executor = ScriptedExecutor([CALL], when_tools_cannot_stream="complete", capabilities=bare)
    assert_valid_stream(await frames_of(executor, WEATHER))


# ------------------------------------------------------------------------------------ assert_valid_stream


def delta(id: str = "a", name: str = "f", arguments: str = "{}") -> pp.ToolCallDelta:
    return pp.ToolCallDelta(id, name, arguments)


def call(id: str = "a", name: str = "f", arguments: str = "{}") -> pp.ToolCall:
    return pp.ToolCall(id, name, arguments)


CALLS = pp.End(pp.FinishReason.TOOL_CALLS)
UNFINISHED = pp.End(pp.FinishReason.TOOL_CALLS, unfinished=(pp.UnfinishedCall("a", "f", "{}"),))


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], "at least its End"),
        ([pp.Append("x")], "the last frame is Append"),
        ([STOP, pp.Append("x")], "the last frame is Append"),
        ([STOP, STOP], "exactly one"),
        ([pp.Append(""), STOP], "an empty Append"),
        ([pp.ReasoningAppend(""), pp.Reasoning(""), STOP], "an empty ReasoningAppend"),
        ([pp.ReasoningAppend("x"), STOP], "no Reasoning frame completes"),
        ([pp.ReasoningAppend("x"), pp.Reasoning("y"), STOP], "not the reasoning"),
        ([pp.Reasoning("y"), STOP], "not the reasoning"),
        ([delta(""), STOP], "without an id"),
        ([delta(), delta(name="g"), STOP], "changes name"),
        ([delta(), call(name="g"), CALLS], "changes name"),
        ([call(), CALLS], "had no delta"),
        ([delta(), call(), call(), CALLS], "sealed twice"),
        ([delta(), call(), delta(), CALLS], "after its seal"),
        ([delta(arguments='{"a":1}'), call(arguments='{"a": 1}'), CALLS], "not the arguments"),
        ([delta(), call(), UNFINISHED], "both sealed and unfinished"),
        ([delta(), call(), STOP], "the stream ends in"),
        ([delta(), pp.InvalidToolCall("a", "f", "{}", "?"), STOP], "the stream ends in"),
        ([delta(), STOP], "neither sealed nor unfinished"),
        ([delta(), delta(), UNFINISHED], "not what is unfinished"),
    ],
)
def test_what_is_no_valid_stream(frames: list[pp.StreamFrame], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        assert_valid_stream(frames)


def test_arguments_that_are_no_object_are_no_call() -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        assert_valid_stream([delta(arguments="[]"), call(arguments="[]"), CALLS])
    invalid = pp.InvalidToolCall("a", "f", "[]", "no object")
    assert_valid_stream([delta(arguments="[]"), invalid, CALLS])


@pytest.mark.parametrize(
    "frames",
    [
        [STOP],
        [delta(arguments=""), call(), CALLS],
        [delta(arguments=" \n"), call(), CALLS],
        [delta(), pp.End(pp.FinishReason.LENGTH, unfinished=(pp.UnfinishedCall("a", "f", "{}"),))],
        [delta("a"), delta("b"), call("b"), call("a"), CALLS],
        [pp.Reasoning("", {"data": "x"}), pp.Citation("https://example.com"), pp.ProviderItem("search", {}), STOP],
    ],
)
def test_what_is_one(frames: list[pp.StreamFrame]) -> None:
    assert_valid_stream(frames)
    assert_valid_stream(iter(frames))
    assert_valid_stream([pp.frames.decode_frame(encode_frame(frame)) for frame in frames])
