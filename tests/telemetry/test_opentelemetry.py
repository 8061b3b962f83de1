"""OpenTelemetry through the SDK's in-memory exporters, by the names of the conventions."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.sources import until_error

import promptport as pp
from promptport import telemetry
from promptport.testing import CUT, ScriptedClient, WireResponse, WireServer

MODEL = pp.LLModel("openai-chat", "gpt-5")
SECRET = "my-secret-words"
PROMPT = pp.Prompt.of(SECRET, id="conversation-1", temperature=0.5, max_tokens=10, stop=("END",), seed=7)
USAGE = pp.Usage(7, 5, 3, 2, 1)
END = pp.End(pp.FinishReason.STOP, "stop", USAGE, "gpt-5-2025", "response-1")


class Collected:
    """What went out, and the options for an observer that sends it here."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.options: dict[str, Any] = {"tracer_provider": tracers, "meter_provider": self._meters}

    def close(self) -> None:
        self._meters.shutdown()

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        data = self._reader.get_metrics_data()
        return {
            metric.name: [dict(point.attributes or {}) for point in metric.data.data_points]
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def collected() -> Iterator[Collected]:
    found = Collected()
    yield found
    found.close()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def ask(*answer: Any, collected: Collected, **options: Any) -> ReadableSpan:
    with telemetry.observe(telemetry.OpenTelemetryObserver(**collected.options, **options)):
        stream = ScriptedClient(list(answer), provider="openai-chat").execute_streaming_with_tools(PROMPT, MODEL)
        with contextlib.suppress(pp.PromptportError):
            await stream.message()
    return collected.spans[-1]


async def test_the_span_of_a_request_has_the_names_of_the_conventions(collected: Collected) -> None:
    span = await ask("Hello", END, collected=collected)
    found = attributes(span)
    assert span.name == "chat gpt-5"
    first = found.pop("gen_ai.response.time_to_first_chunk")
    assert first >= 0
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 10,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.output.type": "text",
        "gen_ai.conversation.id": "conversation-1",
        "gen_ai.response.id": "response-1",
        "gen_ai.response.model": "gpt-5-2025",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.cache_write.input_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 1,
    }


async def test_the_metrics_have_the_names_of_the_conventions(collected: Collected) -> None:
    await ask("Hello", END, collected=collected)
    metrics = collected.metrics()
    assert set(metrics) == {
        "gen_ai.client.inference.duration",
        "gen_ai.client.inference.time_to_first_chunk",
        "gen_ai.client.inference.time_per_output_chunk",
        *[
            f"gen_ai.client.inference.usage.{name}"
            for name in (
                "input_tokens",
                "output_tokens",
                "cache_read.input_tokens",
                "cache_write.input_tokens",
                "reasoning.output_tokens",
            )
        ],
        "gen_ai.client.inference.operation.input_tokens",
        "gen_ai.client.inference.operation.output_tokens",
    }
    for name, points in metrics.items():
        assert points[0]["gen_ai.provider.name"] == "openai"
        assert ("gen_ai.token.modality" in points[0]) == (".usage." in name)


async def test_the_names_of_the_last_release(collected: Collected) -> None:
    span = await ask("Hello", END, collected=collected, semconv="1.41")
    assert attributes(span)["gen_ai.usage.cache_creation.input_tokens"] == 2
    assert set(collected.metrics()) == {
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.operation.time_per_output_chunk",
        "gen_ai.client.token.usage",
    }
    with pytest.raises(pp.InvalidInputError, match="semconv"):
        telemetry.OpenTelemetryObserver(semconv="1.0")  # type: ignore[arg-type]


async def test_contents_are_in_a_span_only_where_the_program_says_so(collected: Collected) -> None:
    said = f"I repeat {SECRET}"
    span = await ask(said, END, collected=collected)
    assert SECRET not in str(attributes(span))
    failing = pp.ProviderStreamError(f"the provider said {SECRET}", code="overloaded_error")
    span = await ask("a", failing, collected=collected)
    assert SECRET not in span.to_json()
    span = await ask(said, END, collected=collected, contents=True)
    found = attributes(span)
    assert SECRET in found["gen_ai.input.messages"]
    assert said in found["gen_ai.output.messages"]


async def test_an_error_is_named_by_its_class(collected: Collected) -> None:
    span = await ask("a", pp.RateLimitError("x", provider="p", status=429), collected=collected)
    assert attributes(span)["error.type"] == "RateLimitError"
    assert span.status.description == "HTTP 429"
    assert [event.name for event in span.events] == ["gen_ai.client.operation.exception"]
    assert collected.metrics()["gen_ai.client.inference.duration"][0]["error.type"] == "RateLimitError"


async def test_a_stream_that_is_left_has_its_span_ended(collected: Collected) -> None:
    with telemetry.observe(telemetry.OpenTelemetryObserver(**collected.options)):
        async with ScriptedClient(["a", "b"]).execute_streaming_with_tools(PROMPT, MODEL) as stream:
            await anext(stream)
    assert attributes(collected.spans[0])["error.type"] == "cancelled"


async def test_instrument_is_one_line(collected: Collected) -> None:
    instrumented = telemetry.instrument(**collected.options)
    try:
        await until_error(
            ScriptedClient([pp.ServerError("x", provider="p")]).execute_streaming_with_tools(PROMPT, MODEL)
        )
    finally:
        instrumented.__exit__(None, None, None)
    assert len(collected.spans) == 1


# ------------------------------------------------------------------------------------ names of v1.41, and of now


def constants(module: Any) -> set[str]:
    return {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


async def a_loop_with_everything(collected: Collected, **options: Any) -> None:
    @pp.tool
    async def act(x: int) -> str:
        """Acts."""
        if x == 0:
            raise ZeroDivisionError("secret")
        return "done"

    everything = {"top_p": 0.5, "top_k": 3, "frequency_penalty": 1, "presence_penalty": 0.5}
    prompt = pp.Prompt.of("Act.", system="Be brief.", id="c", max_tokens=9, seed=1, stop=("x",)).with_params(
        reasoning_effort="low", extra={**everything, "previous_response_id": "resp_1", "user_key": "no attribute"}
    )
    called = [pp.ToolCall("1", "act", '{"x": 1}'), pp.ToolCall("2", "act", '{"x": 0}')]
    script = ScriptedClient([*called, END], ["b", "c", END], provider="openai-chat")
    with telemetry.observe(telemetry.OpenTelemetryObserver(**collected.options, **options)):
        async with pp.ToolDispatcher(script, [act]) as dispatcher:
            await dispatcher.stream(prompt, MODEL).message()


@pytest.mark.parametrize("contents", [False, True])
async def test_every_name_of_v1_41_is_one_of_the_official_package(collected: Collected, contents: bool) -> None:
    gen_ai = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
    from opentelemetry.semconv.attributes import error_attributes, exception_attributes, server_attributes

    known = set[str]().union(*map(constants, (gen_ai, error_attributes, exception_attributes, server_attributes)))
    await a_loop_with_everything(collected, semconv="1.41", contents=contents)
    assert len(collected.spans) == 5
    for span in collected.spans:
        assert set(attributes(span)) <= known, span.name
        for event in span.events:
            assert set(event.attributes or {}) <= known
    metrics = collected.metrics()
    assert set(metrics) <= constants(gen_ai_metrics)
    assert {name for points in metrics.values() for point in points for name in point} <= known


async def test_the_current_names_have_what_v1_41_did_not(collected: Collected) -> None:
    await a_loop_with_everything(collected)
    chats = [attributes(span) for span in collected.spans if span.name == "chat gpt-5"]
    for found in chats:
        assert found["gen_ai.request.reasoning.level"] == "low"
        assert found["gen_ai.request.previous_response.id"] == "resp_1"
        assert (found["gen_ai.request.top_p"], found["gen_ai.request.top_k"]) == (0.5, 3)
        assert not any("user_key" in name for name in found)
    assert {
        "gen_ai.execute_tool.duration",
        "gen_ai.invoke_agent.duration",
        "gen_ai.invoke_agent.inference_calls",
        "gen_ai.invoke_agent.tool_calls",
        "gen_ai.client.inference.time_per_output_chunk",
    } <= set(collected.metrics())


async def test_a_conversation_that_was_cut_says_so(collected: Collected) -> None:
    long = pp.Prompt.of("1").assistant("a").user("2").assistant("b").user("3")
    with telemetry.observe(telemetry.OpenTelemetryObserver(**collected.options)):
        client = ScriptedClient(["a"], ["b"])
        await client.execute(long.trimmed(max_messages=2), MODEL)
        await client.execute(long, MODEL)
    told = [attributes(span).get("gen_ai.conversation.compacted") for span in collected.spans]
    assert told == [True, None]


@pytest.mark.parametrize(("reads", "recorded"), [(0, 1), (5, 6), (15, 16), (40, 10), (3000, 11)])
async def test_the_times_between_chunks_are_few_however_long_a_response_is(
    collected: Collected, reads: int, recorded: int
) -> None:
    seen: list[tuple[float, ...]] = []

    class Times(telemetry.Observer):
        def request_finished(self, event: telemetry.RequestFinished) -> None:
            seen.append(event.chunk_seconds)

    with telemetry.observe(Times()):
        await ask(*["a"] * (reads + 1), END, collected=collected)
    (times,) = seen
    assert len(times) == recorded <= 16
    assert all(seconds >= 0 for seconds in times)


# ----------------------------------------------------------------------------------------------------- contents


async def test_contents_have_the_shapes_of_the_conventions(collected: Collected) -> None:
    prompt = (
        pp.Prompt()
        .system("Be brief.")
        .user(
            "What is this?", pp.ImagePart(data=b"png", media_type="image/png"), pp.DocumentPart(url="https://x/y.pdf")
        )
        .add(
            pp.AssistantMessage(
                (
                    pp.Reasoning("hm", {"signature": "opaque"}),
                    pp.TextPart("Let me look."),
                    pp.ToolCall("1", "f", '{"x": 1}'),
                )
            )
        )
        .tool_result("1", "found")
        .user("And?")
    )
    tool = pp.ToolDescriptor("f", "Finds.", {"type": "object", "properties": {"x": {"type": "integer"}}})
    with telemetry.observe(telemetry.OpenTelemetryObserver(**collected.options, contents=True)):
        script = ScriptedClient(["Hello", pp.ToolCall("2", "f", '{"x": 2}'), END])
        await script.execute_streaming_with_tools(prompt, MODEL, [tool]).message()
    found = attributes(collected.spans[0])
    assert json.loads(found["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    assert json.loads(found["gen_ai.input.messages"]) == [
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "What is this?"},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "cG5n"},
                {"type": "uri", "modality": "document", "uri": "https://x/y.pdf"},
            ],
        },
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "text", "content": "Let me look."},
                {"type": "tool_call", "id": "1", "name": "f", "arguments": {"x": 1}},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "found"}]},
        {"role": "user", "parts": [{"type": "text", "content": "And?"}]},
    ]
    (said,) = json.loads(found["gen_ai.output.messages"])
    assert said["role"] == "assistant"
    assert said["finish_reason"] == "stop"
    assert said["parts"][1] == {"type": "tool_call", "id": "2", "name": "f", "arguments": {"x": 2}}
    (definition,) = json.loads(found["gen_ai.tool.definitions"])
    assert definition == {"type": "function", "name": "f", "description": "Finds.", "parameters": tool.parameters}
    assert "opaque" not in str(found)


@pytest.mark.parametrize("cut", [CUT, pp.OverloadedError("x", provider="p"), None])
async def test_contents_of_a_response_that_was_cut(collected: Collected, cut: Any) -> None:
    with telemetry.observe(telemetry.OpenTelemetryObserver(**collected.options, contents=True)):
        script = ScriptedClient(["so far", pp.ToolCallDelta("1", "f", '{"x"'), cut or asyncio.Event()])
        async with script.execute_streaming_with_tools("\ud83d half a pair", MODEL) as stream:
            with contextlib.suppress(pp.PromptportError):
                async for frame in stream:
                    if cut is None and isinstance(frame, pp.ToolCallDelta):
                        break
    found = attributes(collected.spans[0])
    assert json.loads(found["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [
                {"type": "text", "content": "so far"},
                {"type": "tool_call", "id": "1", "name": "f", "arguments": '{"x"'},
            ],
            "finish_reason": "cancelled" if cut is None else "error",
        }
    ]
    assert "ud83d" in found["gen_ai.input.messages"]


async def test_the_tokens_of_a_stream_that_is_left_are_those_that_the_provider_told_of(collected: Collected) -> None:
    usage = {"input_tokens": 11, "output_tokens": 1, "cache_read_input_tokens": 5}
    message = {"id": "m", "model": "claude-x", "role": "assistant", "usage": usage}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "so far"}},
    ]
    body = b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)
    async with WireServer(WireResponse([body, b"x"], stall_after=len(body))) as server:
        client = pp.client("anthropic", api_key="test-key-1234", base_url=server.url)
        with telemetry.observe(telemetry.OpenTelemetryObserver(**collected.options)):
            async with client.execute_streaming_with_tools("Hi", "anthropic/claude-sonnet-4-5") as stream:
                await anext(stream)
        assert stream.partial.usage == stream.usage == pp.Usage(16, 1, 5)
        await client.aclose()
    found = attributes(collected.spans[0])
    assert found["error.type"] == "cancelled"
    assert found["gen_ai.usage.input_tokens"] == 16
    assert found["gen_ai.usage.cache_read.input_tokens"] == 5
