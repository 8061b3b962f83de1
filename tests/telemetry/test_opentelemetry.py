"""OpenTelemetry through the SDK's in-memory exporters, by the names of the conventions."""

from __future__ import annotations

import contextlib
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
from promptport.testing import ScriptedClient

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
