"""The client against recorded bytes: what is asked, and what becomes of the answers."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from providers.local.tests.gguf_files import write_gguf

from promptport import (
    Append,
    AuthenticationError,
    Capability,
    ConfigurationError,
    ContextLengthError,
    End,
    FinishReason,
    InvalidInputError,
    LLModel,
    ModelCapabilities,
    ModelNotFoundError,
    NamedTool,
    Prompt,
    ProtocolError,
    ProviderError,
    StreamedTools,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolDescriptor,
    ToolResultMessage,
    TransportError,
    UnsupportedCapabilityError,
    message_of,
)
from promptport.protocols import ChatCompletionsDecoder, decode_chat_completion
from promptport.testing import WireResponse, WireServer
from promptport_local import DEFAULT_MODEL, LocalClient
from promptport_local._server import LocalServer
from promptport_local._writing import SMALL, decided

WIRES = Path(__file__).parent / "wires"
WEATHER = ToolDescriptor(
    "get_weather",
    "Current weather.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
PING = ToolDescriptor("ping", "Answers.", {"type": "object", "properties": {}})
ELSEWHERE = LLModel("local", "some-model")
QUESTION = Prompt.of("What is the weather in Paris?")


def wire(name: str, **options: Any) -> WireResponse:
    return WireResponse((WIRES / name).read_bytes(), **options)


@asynccontextmanager
async def elsewhere(*responses: WireResponse) -> AsyncIterator[tuple[WireServer, LocalClient]]:
    """A server of the caller's."""
    async with WireServer(*responses) as server, LocalClient(base_url=f"{server.url}/v1", api_key="key") as client:
        yield server, client


@asynccontextmanager
async def embedded(
    monkeypatch: pytest.MonkeyPatch, *responses: WireResponse, **options: Any
) -> AsyncIterator[tuple[WireServer, LocalClient]]:
    """The embedded server, but that a script speaks in llama.cpp's place."""
    async with WireServer(*responses) as server, LocalClient(**options) as client:
        server.answer(lambda _: WireResponse.json({"status": "ok"}), "/health")
        monkeypatch.setattr(LocalServer, "_load", lambda _: server.url)
        yield server, client


async def read(client: LocalClient, prompt: Prompt, model: LLModel, *tools: ToolDescriptor) -> list[StreamFrame]:
    async with client.execute_streaming_with_tools(prompt, model, tools) as stream:
        return [frame async for frame in stream]


def asked(server: WireServer) -> dict[str, Any]:
    body: dict[str, Any] = server.requests[-1].json()
    return body


def called_schema(body: dict[str, Any]) -> Any:
    return body["response_format"]["json_schema"]["schema"]


# ------------------------------------------------------------------------------------------- recordings


@pytest.mark.parametrize("name", ["text", "text-length", "forced-call", "forced-call-length"])
def test_recordings_give_the_same_frames_for_every_cut(name: str) -> None:
    body = (WIRES / f"{name}.sse").read_bytes()
    whole = ChatCompletionsDecoder()
    frames = whole.feed(body)
    assert whole.ended
    for size in (1, 7, 100):
        decoder = ChatCompletionsDecoder()
        assert [f for at in range(0, len(body), size) for f in decoder.feed(body[at : at + size])] == frames
    end = frames[-1]
    assert isinstance(end, End)
    assert end.model == "smollm2-135m"
    assert end.usage.input_tokens
    assert end.usage.output_tokens
    assert end.finish_reason is (FinishReason.LENGTH if "length" in name else FinishReason.STOP)


def test_streamed_equals_complete_in_the_recordings() -> None:
    decoder = ChatCompletionsDecoder()
    streamed = message_of(decoder.feed((WIRES / "text.sse").read_bytes()))
    complete = decode_chat_completion((WIRES / "text.json").read_bytes())
    assert streamed.text == complete.text == "The capital of France is Paris."
    assert streamed.finish_reason is complete.finish_reason is FinishReason.STOP


async def test_a_recorded_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async with embedded(monkeypatch, wire("forced-call.sse")) as (_, client):
        frames = await read(client, QUESTION, DEFAULT_MODEL, WEATHER)
    deltas = [frame for frame in frames if isinstance(frame, ToolCallDelta)]
    calls = [frame for frame in frames if isinstance(frame, ToolCall)]
    assert len(deltas) > 3
    assert [(call.name, call.parsed()) for call in calls] == [("get_weather", {"city": "Paris"})]
    assert "".join([delta.arguments for delta in deltas]) == calls[0].arguments
    assert frames[-1].finish_reason is FinishReason.TOOL_CALLS  # type: ignore[union-attr]
    assert not any(isinstance(frame, Append) for frame in frames)


async def test_a_recorded_call_that_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    async with embedded(monkeypatch, wire("forced-call-length.sse")) as (_, client):
        frames = await read(client, QUESTION, DEFAULT_MODEL, WEATHER)
    end = frames[-1]
    assert isinstance(end, End)
    assert end.finish_reason is FinishReason.LENGTH
    assert [call.name for call in end.unfinished] == ["get_weather"]
    assert not any(isinstance(frame, ToolCall) for frame in frames)


async def test_recorded_errors() -> None:
    context = wire("http-400-context.error.json", status=400, content_type="application/json")
    key = wire("http-401.error.json", status=401, content_type="application/json")
    async with elsewhere(context, key) as (_, client):
        with pytest.raises(ContextLengthError, match="exceeds the available context size"):
            await read(client, QUESTION, ELSEWHERE)
        with pytest.raises(AuthenticationError, match="Invalid API Key"):
            await client.execute(QUESTION, ELSEWHERE)


# ---------------------------------------------------------------------------------- the bundled model


async def test_text_is_asked_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with embedded(monkeypatch, wire("text.sse"), api_key="mine") as (server, client):
        prompt = Prompt.of("Hi", system="Be brief.", max_tokens=5, seed=3, stop=("x",), temperature=0.5)
        async with client.execute_streaming(prompt, DEFAULT_MODEL) as stream:
            assert "".join([text async for text in stream]) == "The capital of France is Paris."
        assert server.requests[-1].path == "/v1/chat/completions"
        assert server.requests[-1].headers["authorization"] == "Bearer mine"
        assert asked(server) == {
            "model": "smollm2-135m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.5,
            "max_tokens": 5,
            "seed": 3,
            "stop": ["x"],
        }


@pytest.mark.parametrize("choice", [None, ToolChoice.AUTO, ToolChoice.REQUIRED, NamedTool("get_weather")])
async def test_what_it_may_call_it_calls(monkeypatch: pytest.MonkeyPatch, choice: Any) -> None:
    async with embedded(monkeypatch, wire("forced-call.sse")) as (server, client):
        await read(client, QUESTION.with_params(tool_choice=choice), DEFAULT_MODEL, WEATHER, PING)
        body = asked(server)
    assert "tools" not in body
    assert body["temperature"] == 0.0
    assert "get_weather" in body["messages"][0]["content"]
    options = called_schema(body).get("oneOf", [called_schema(body)])
    names = [option["properties"]["name"]["const"] for option in options]
    assert names == (["get_weather"] if isinstance(choice, NamedTool) else ["get_weather", "ping"])


async def test_after_a_result_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = QUESTION.tool_call("c1", "get_weather", {"city": "Paris"}).tool_result("c1", "18 degrees")
    async with embedded(monkeypatch, wire("text.sse")) as (server, client):
        frames = await read(client, prompt, DEFAULT_MODEL, WEATHER)
        body = asked(server)
    assert "response_format" not in body
    assert body["messages"] == [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": "Let me look that up."},
        {"role": "user", "content": "The information is: 18 degrees. So, what is the answer to my question?"},
    ]
    assert message_of(frames).text == "The capital of France is Paris."


async def test_a_second_call_has_an_id_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async with embedded(monkeypatch, wire("forced-call.sse"), wire("forced-call.sse")) as (_, client):
        first = message_of(await read(client, QUESTION, DEFAULT_MODEL, WEATHER)).tool_calls[0]
        prompt = QUESTION.tool_call(first.id, first.name, first.arguments).tool_result(first.id, "18 degrees")
        second = message_of(await read(client, prompt.user("And now?"), DEFAULT_MODEL, WEATHER)).tool_calls[0]
    assert first.id != second.id


async def test_no_call_when_it_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async with embedded(monkeypatch, wire("text.sse")) as (server, client):
        frames = await read(client, QUESTION.with_params(tool_choice=ToolChoice.NONE), DEFAULT_MODEL, WEATHER)
        assert "response_format" not in asked(server)
        assert "get_weather" not in json.dumps(asked(server))
    assert not message_of(frames).tool_calls


def test_decided() -> None:
    results = QUESTION.tool_call("c1", "ping").tool_result("c1", "pong")
    assert decided(QUESTION).params.tool_choice is ToolChoice.REQUIRED
    assert decided(results).params.tool_choice is ToolChoice.NONE
    assert decided(results).params.temperature == 0.0
    assert decided(results.with_params(tool_choice=NamedTool("ping"))).params.tool_choice == NamedTool("ping")
    assert decided(QUESTION.with_params(temperature=1.5)).params.temperature == 1.5
    assert decided(QUESTION.with_params(tool_choice=ToolChoice.NONE)).params.tool_choice is ToolChoice.NONE


def test_the_words_for_results() -> None:
    writing = SMALL.writing
    assert writing.result(ToolResultMessage("c", "f", "4")) == (
        "The information is: 4. So, what is the answer to my question?"
    )
    assert writing.result(ToolResultMessage("c", "f", error="no")).startswith("The error is: no.")
    assert "get_weather" not in writing.calls([ToolCall("c", "get_weather", "{}")])  # it would be said again


async def test_what_it_cannot_do_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with embedded(monkeypatch) as (server, client):
        for prompt in (
            QUESTION.with_params(user="someone"),
            QUESTION.with_params(response_schema={"type": "object"}),
        ):
            with pytest.raises(UnsupportedCapabilityError):
                client.execute_streaming_with_tools(prompt, DEFAULT_MODEL, [WEATHER])
        with pytest.raises(InvalidInputError, match="two tools"):
            await client.execute(QUESTION, DEFAULT_MODEL, [PING, PING])
        assert server.requests == []


# -------------------------------------------------------------------------------------- other models


async def test_a_model_that_was_trained_for_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    native = write_gguf(tmp_path / "m.gguf", template="{{ tools }}")
    model = LLModel("local", "mine")
    async with embedded(monkeypatch, wire("text.sse"), wire("forced-call.sse"), model_path=native, alias="mine") as (
        server,
        client,
    ):
        await read(client, QUESTION, model, WEATHER)
        assert asked(server)["tools"][0]["function"]["name"] == "get_weather"
        assert "response_format" not in asked(server)
        frames = await read(client, QUESTION.with_params(tool_choice=ToolChoice.REQUIRED), model, WEATHER)
        assert "tools" not in asked(server)
        assert called_schema(asked(server))["type"] == "array"
        assert len(message_of(frames).tool_calls) == 1


async def test_a_model_that_was_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is told of the tools, and decides."""
    path = write_gguf(tmp_path / "m.gguf")
    async with embedded(monkeypatch, wire("text.sse")) as (server, client):
        frames = await read(client, QUESTION, LLModel("local", str(path)), WEATHER)
        assert "get_weather" in asked(server)["messages"][0]["content"]
        assert "response_format" not in asked(server)
    assert message_of(frames).text == "The capital of France is Paris."


@pytest.mark.parametrize("word", ["minLength", "maxLength", "minItems", "maxItems"])
async def test_bounds_that_no_grammar_holds_are_not_sent(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    import xllamacpp

    small = {"type": "string" if "Length" in word else "array", word: 2}
    schema = {"type": "object", "properties": {"a": {**small, word: 3000}, "b": small}}
    async with embedded(monkeypatch, wire("text.sse")) as (server, client):
        await read(client, QUESTION.with_params(response_schema=schema), DEFAULT_MODEL)
        sent = called_schema(asked(server))
    assert word not in sent["properties"]["a"]
    assert sent["properties"]["b"][word] == 2
    assert xllamacpp.json_schema_to_grammar(sent)


async def test_no_such_model() -> None:
    async with LocalClient() as client:
        with pytest.raises(ModelNotFoundError, match=r"no model 'gpt-5'"):
            await read(client, QUESTION, LLModel("local", "gpt-5"))
        with pytest.raises(ModelNotFoundError):
            await client.execute(QUESTION, LLModel("local", "gpt-5"))


# --------------------------------------------------------------------------------- a server elsewhere


async def test_a_server_elsewhere() -> None:
    async with elsewhere(wire("text.sse")) as (server, client):
        server.queue(WireResponse.json({"data": [{"id": "a"}, {"id": ""}, 7]}), path="/v1/models")
        server.queue(WireResponse.json({"default_generation_settings": {"n_ctx": 77}}), path="/props")
        assert message_of(await read(client, QUESTION, ELSEWHERE)).text == "The capital of France is Paris."
        assert server.requests[0].headers["authorization"] == "Bearer key"
        assert await client.models() == [LLModel("local", "a")]
        assert not client.capabilities(ELSEWHERE).known
        found = await client.discover(ELSEWHERE)
        assert (found.context_length, found.known) == (77, True)
        assert Capability.TOOLS in found


async def test_a_server_elsewhere_that_says_nothing_of_use() -> None:
    async with elsewhere() as (server, client):
        server.queue(WireResponse.json([]), WireResponse(b"no", content_type=None), path="/v1/models")
        server.queue(WireResponse.json({"default_generation_settings": None}), path="/props")
        for _ in range(2):
            with pytest.raises(ProtocolError, match="not a JSON object"):
                await client.models()
        assert (await client.discover(ELSEWHERE)).context_length is None


async def test_what_the_caller_says_of_a_model_holds() -> None:
    trained = ModelCapabilities.of(StreamedTools.DELTAS, [Capability.TOOLS, Capability.SYSTEM])
    async with elsewhere(wire("text.sse")) as (server, client):
        model = LLModel("local", "m", trained)
        assert client.capabilities(model) == trained
        assert await client.discover(model) == trained
        await read(client, QUESTION, model, WEATHER)
        assert asked(server)["tools"]
        with pytest.raises(UnsupportedCapabilityError, match="tool_choice"):
            client.execute_streaming_with_tools(QUESTION.with_params(tool_choice=ToolChoice.REQUIRED), model, [WEATHER])


async def test_nobody_is_elsewhere() -> None:
    async with LocalClient(base_url="http://127.0.0.1:9") as client:
        with pytest.raises(TransportError, match="is the server running"):
            await read(client, QUESTION, ELSEWHERE)


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    with pytest.raises(ConfigurationError, match="give one of them"):
        LocalClient(path, base_url="http://127.0.0.1:8080")
    with pytest.raises(ConfigurationError, match="model_path"):
        LocalClient(alias="mine")
    with pytest.raises(ConfigurationError, match="base_url"):
        LocalClient(base_url="127.0.0.1:8080")


async def test_a_closed_client_says_so() -> None:
    client = LocalClient()
    await client.aclose()
    await client.aclose()
    with pytest.raises(InvalidInputError, match="closed"):
        client.execute_streaming_with_tools(QUESTION, DEFAULT_MODEL)


async def test_headers_go_to_a_server_elsewhere() -> None:
    async with (
        WireServer(WireResponse(b'{"data": []}', content_type="application/json")) as server,
        LocalClient(base_url=server.url, headers={"x-team": "blue"}) as client,
    ):
        assert await client.models() == []
        assert server.requests[0].headers["x-team"] == "blue"


def test_what_is_for_a_server_elsewhere_wants_its_address() -> None:
    for options in ({"headers": {"x-team": "blue"}}, {"ssl_context": ssl.create_default_context()}):
        with pytest.raises(ConfigurationError, match="Pass its base_url too"):
            LocalClient(**options)


@pytest.mark.parametrize("token", ["<|im_end|>", "<|eot_id|>", "<turn|>", "[INST]", "<｜User｜>"])
async def test_no_special_token_of_a_content_reaches_a_template(token: str) -> None:
    """llama.cpp reads them wherever they stand: in a tool's description, a call's arguments, and parts of one text."""
    evil = f"a{token}b"
    schema = {"type": "object", "properties": {"x": {"type": "string", "enum": [evil], "description": evil}}}
    prompt = Prompt().user(evil[:4], evil[4:]).tool_call("c", "f", {"x": evil}).tool_result("c", evil)
    native = ModelCapabilities.of(StreamedTools.DELTAS, [Capability.TOOLS])
    model = LLModel("local", "m", native)
    async with elsewhere(WireResponse(b"", status=500)) as (server, client):
        with pytest.raises(ProviderError):
            await client.execute(prompt, model, [ToolDescriptor("f", evil, schema)])
    assert server.requests
    for text in _texts(server.requests[0].json()):
        assert token not in text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        if value.startswith("{"):
            yield from _texts(json.loads(value))
    elif isinstance(value, list) and all(isinstance(part, dict) and "text" in part for part in value):
        yield "".join([part["text"] for part in value])
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
