"""A real model behind a real server: llama.cpp with SmolLM2-135M, through the SDKs of OpenAI and Anthropic.

One server answers Chat Completions, Responses and Anthropic's Messages. The model was not trained to call tools and the
server forces none on it, so calls come out of the text: `TextToolsClient` over each of the three, held to the tool's
schema. Of this server's APIs only Chat Completions takes a schema by its own name (``response_format``); Responses
hands on a ``json_schema`` that it does not know; for Messages the server itself is started with the call's grammar.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import promptport as pp
import promptport_anthropic
import promptport_openai
from promptport.llm_client import LLMClient
from promptport.testing import assert_valid_stream
from promptport_local import LocalServer

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = pp.ToolDescriptor("get_weather", "Current weather of a city.", SCHEMA)
PLAIN = pp.ModelCapabilities.of(
    pp.StreamedTools.NONE,
    [pp.Capability.SYSTEM, pp.Capability.TEMPERATURE, pp.Capability.JSON_SCHEMA],
)


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer(context_length=2048) as server:
        yield server


def clients(server: LocalServer) -> dict[str, LLMClient]:
    root = server.base_url.removesuffix("/v1")
    # After a streamed answer llama.cpp says that it keeps the connection, and closes it under the next request.
    options: dict[str, Any] = {"api_key": server.api_key, "headers": {"connection": "close"}}
    return {
        "openai-chat": promptport_openai.chat_client(base_url=server.base_url, **options),
        "openai": promptport_openai.responses_client(base_url=server.base_url, **options),
        "anthropic": promptport_anthropic.client(base_url=root, **options),
    }


async def test_no_request_meets_a_connection_that_llama_cpp_closes(server: LocalServer) -> None:
    prompt = pp.Prompt.of("Name three colours.", max_tokens=2, temperature=0)
    model = pp.LLModel("llamacpp", "smollm2-135m", PLAIN)
    client = pp.client("llamacpp", base_url=server.base_url, api_key=server.api_key)
    for _ in range(25):
        streamed = await client.execute_streaming_with_tools(prompt, model).message()
        assert (await client.execute(prompt, model)).text == streamed.text
    await client.aclose()


@pytest.mark.parametrize("name", ["openai-chat", "openai", "anthropic"])
async def test_text_streams_token_by_token(server: LocalServer, name: str) -> None:
    client = clients(server)[name]
    model = pp.LLModel(name, "smollm2-135m", PLAIN)
    prompt = pp.Prompt.of("Name three colours.", max_tokens=30, temperature=0)
    async with client.execute_streaming_with_tools(prompt, model) as stream:
        frames = [frame async for frame in stream]
    assert_valid_stream(frames)
    texts = [frame.text for frame in frames if isinstance(frame, pp.Append)]
    assert len(texts) > 5
    assert "red" in "".join(texts).lower()
    end = frames[-1]
    assert isinstance(end, pp.End)
    assert end.finish_reason in (pp.FinishReason.STOP, pp.FinishReason.LENGTH)
    assert end.usage.output_tokens
    whole = await client.execute(prompt, model)
    assert whole.text == "".join(texts), "at temperature 0 the answer that is not streamed is the same"
    await client.aclose()


CALL = {
    "type": "object",
    "properties": {"name": {"const": "get_weather"}, "arguments": SCHEMA},
    "required": ["name", "arguments"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("name", ["openai-chat", "openai", "anthropic"])
async def test_a_constrained_tool_call(name: str) -> None:
    async with ConstrainedServer(context_length=2048) if name == "anthropic" else LocalServer() as server:
        client = pp.TextToolsClient(clients(server)[name], format="json")
        model = pp.LLModel(name, "smollm2-135m", PLAIN)
        extra = {"json_schema": CALL} if name == "openai" else {}
        prompt = pp.Prompt.of("What is the weather in Paris?", max_tokens=60, temperature=0, extra=extra)
        if name == "openai-chat":
            prompt = prompt.with_params(tool_choice=pp.ToolChoice.REQUIRED)
        async with client.execute_streaming_with_tools(prompt, model, [WEATHER]) as stream:
            frames = [frame async for frame in stream]
        await client.aclose()
    assert_valid_stream(frames)
    (call,) = [frame for frame in frames if isinstance(frame, pp.ToolCall)]
    assert (call.name, call.parsed()) == ("get_weather", {"city": "Paris"})
    assert len([frame for frame in frames if isinstance(frame, pp.ToolCallDelta)]) > 1


class ConstrainedServer(LocalServer):
    """A server that can only write calls of ``get_weather``."""

    def _wanted(self) -> dict[str, Any]:
        grammar = r'root ::= "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"" [A-Za-z]+ "\"}}"'
        return {**super()._wanted(), "grammar": grammar}


async def test_leaving_early_is_seen_by_the_real_server(server: LocalServer) -> None:
    client = clients(server)["openai-chat"]
    model = pp.LLModel("openai-chat", "smollm2-135m", PLAIN)
    long = pp.Prompt.of("Tell a very long story about a dog.", max_tokens=1000, temperature=0)
    for _ in range(3):
        async with client.execute_streaming_with_tools(long, model) as stream:
            assert await anext(stream)
    # Three answers of 1,000 tokens under way would hold both of the server's slots for many seconds.
    prompt = pp.Prompt.of("Say hello.", max_tokens=5)
    assert (await client.execute_streaming_with_tools(prompt, model).message()).text
    await client.aclose()


async def test_a_wrong_key_is_refused_by_the_real_server(server: LocalServer) -> None:
    client = promptport_openai.chat_client(base_url=server.base_url, api_key="wrong")
    with pytest.raises(pp.AuthenticationError):
        await client.execute(pp.Prompt.of("Hi"), pp.LLModel("openai-chat", "m", PLAIN))
    await client.aclose()
