"""A stream is for one use and for one task, and a client is closed: else promptport says so."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.sources import turns

import promptport as pp
from promptport.errors import InvalidInputError
from promptport.testing import Pause, ScriptedExecutor, WireResponse, WireServer

HI = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
MODEL = pp.LLModel("scripted", "m")
ANSWER = ["Hello", " world"]


def frames(executor: ScriptedExecutor) -> Any:
    return executor.execute_streaming_with_tools(pp.Prompt.of("Hi"), MODEL)


def texts(executor: ScriptedExecutor) -> Any:
    return executor.execute_streaming(pp.Prompt.of("Hi"), MODEL)


def dispatched(executor: ScriptedExecutor) -> Any:
    return pp.ToolDispatcher(executor, []).stream(pp.Prompt.of("Hi"), MODEL)


KINDS = pytest.mark.parametrize(
    ("make", "kind"), [(frames, "FrameStream"), (texts, "TextStream"), (dispatched, "DispatchStream")]
)
Make = Callable[[ScriptedExecutor], Any]


@KINDS
async def test_iterating_a_second_time_says_so(make: Make, kind: str) -> None:
    stream = make(ScriptedExecutor(ANSWER))
    async with stream:
        first = [item async for item in stream]
        assert first
        with pytest.raises(InvalidInputError, match=f"{kind}: it was iterated to its end before"):
            [item async for item in stream]
    with pytest.raises(InvalidInputError, match="for one use"):
        [item async for item in stream]


@KINDS
async def test_going_on_where_one_left_off_is_no_second_time(make: Make, kind: str) -> None:
    whole = [item async for item in make(ScriptedExecutor(ANSWER))]
    async with make(ScriptedExecutor(ANSWER)) as stream:
        got = []
        async for item in stream:
            got.append(item)
            break
        got += [item async for item in stream]
    assert got == whole


@pytest.mark.parametrize("make", [frames, dispatched])
async def test_the_message_can_be_had_again_after_the_end(make: Make) -> None:
    async with make(ScriptedExecutor(ANSWER)) as stream:
        [item async for item in stream]
        assert (await stream.message()).text == "Hello world"
        assert (await stream.message()).text == "Hello world"


async def _loop(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]


async def _step(stream: AsyncIterator[Any]) -> Any:
    return await anext(stream)


@KINDS
async def test_two_tasks_that_read_at_once_are_told_so(make: Make, kind: str) -> None:
    read = _loop  # a bare anext() of a second task is refused by Python itself, in its own words
    stream = make(ScriptedExecutor(["Hello", Pause(0.05), " world"]))
    assert await anext(stream)
    first = asyncio.create_task(read(stream))
    await turns()
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=f"{kind}: another task is reading it"):
            await asyncio.create_task(read(stream))
    assert await first, "the task that read first is not disturbed"
    await stream.aclose()


@KINDS
async def test_a_stream_may_pass_from_one_task_to_another(make: Make, kind: str) -> None:
    stream = make(ScriptedExecutor(ANSWER))
    await asyncio.create_task(_step(stream))
    assert await asyncio.create_task(_loop(stream))


async def test_a_client_that_is_dropped_unclosed_warns_in_our_words_and_leaves_no_socket() -> None:
    async with WireServer(WireResponse(HI)) as server:
        client = pp.client("openai-chat", api_key="k", base_url=server.url)
        async with client.execute_streaming_with_tools(pp.Prompt.of("Hi"), pp.LLModel("openai-chat", "m")) as stream:
            assert (await stream.message()).text == "Hi"
        del stream
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            gc.collect()
        told = [str(one.message) for one in caught if one.category is ResourceWarning]
        assert len(told) == 1
        assert told[0].startswith("openai-chat: the client was dropped unclosed.")
        assert "async with" in told[0]


async def test_a_client_that_asked_nothing_or_was_closed_does_not_warn() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client = pp.client("openai-chat", api_key="k")
        del client
        other: Any = pp.client("openai-chat", api_key="k")
        async with other:
            pass
        del other
        gc.collect()
    assert caught == []
