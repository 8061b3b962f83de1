"""OpenTelemetry: spans and metrics by the conventions for generative AI, with ``opentelemetry-api`` alone.

Names: the development text of the repository semantic-conventions-genai as of November 2026; ``semconv="1.41"`` gives
those of the last released text, v1.41.0 of the main conventions, and leaves out what that does not have.

Rule: contents (prompts, answers, arguments, results) are in a span only if the program asked for them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

from promptport.errors import ConfigurationError, InvalidInputError, ProviderError
from promptport.messages import TrimmedPrompt
from promptport.telemetry.contents import (
    input_messages,
    json_text,
    output_messages,
    system_instructions,
    tool_definitions,
)
from promptport.telemetry.events import (
    FirstFrame,
    RequestFinished,
    RequestStarted,
    RunFinished,
    RunStarted,
    ToolCallFinished,
    ToolCallStarted,
)
from promptport.telemetry.observer import Observer

__all__ = ["OpenTelemetryObserver"]

SemConv = Literal["current", "1.41"]

_PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "google": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "openai-chat": "openai",
    "xai": "x_ai",
}
"""``gen_ai.provider.name`` where the conventions spell a provider otherwise than promptport."""

_EXTRA = {
    "frequency_penalty": (int, float),
    "presence_penalty": (int, float),
    "top_k": (int,),
    "top_p": (int, float),
}
"""A provider's own options that the conventions know under the same name, and what they must be."""

_BUCKETS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]


class OpenTelemetryObserver(Observer):
    """Spans and metrics for requests, tool loops and tools.

    The span of a request is a child of its loop's, and the parent of the spans of the tools that its response calls.
    The span of a tool is the current span while the tool runs.

    Examples:
        ```python
        from promptport import telemetry

        with telemetry.observe(telemetry.OpenTelemetryObserver()):
            ...
        ```
    """

    def __init__(
        self,
        *,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        contents: bool = False,
        semconv: SemConv = "current",
    ) -> None:
        """Make an observer.

        Args:
            tracer_provider: Where spans go. Default: OpenTelemetry's global one.
            meter_provider: Where metrics go. Default: OpenTelemetry's global one.
            contents: Put prompts, answers, arguments and results into spans. Default: `False`.
            semconv: Which names to use: `"current"`, or `"1.41"` for the last release. Default: `"current"`.

        Raises:
            ConfigurationError: The package `opentelemetry-api` is not installed.
            InvalidInputError: An unknown `semconv`.
        """
        if semconv not in ("current", "1.41"):
            raise InvalidInputError(f"OpenTelemetryObserver: semconv is 'current' or '1.41', not {semconv!r}.")
        try:
            from opentelemetry import metrics, trace  # noqa: PLC0415 - imported when it is first used
        except ImportError as error:
            raise ConfigurationError(
                'OpenTelemetryObserver: opentelemetry-api is not installed. Run: pip install "promptport[otel]".'
            ) from error
        self._trace = trace
        self._tracer = trace.get_tracer("promptport", tracer_provider=tracer_provider)
        meter = metrics.get_meter("promptport", meter_provider=meter_provider)
        self._contents = contents
        self._old = semconv == "1.41"
        self._requests: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._runs: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._run_of: dict[int, int] = {}  # by request
        self._asking: dict[int, Any] = {}  # by run: the span of the request whose response it reads
        self._tools: dict[tuple[int | None, str], Any] = {}
        names = _OLD_METRICS if self._old else _METRICS
        self._duration = meter.create_histogram(
            names["duration"], unit="s", explicit_bucket_boundaries_advisory=_BUCKETS
        )
        self._first_chunk = meter.create_histogram(
            names["first"], unit="s", explicit_bucket_boundaries_advisory=_BUCKETS
        )
        self._per_chunk = meter.create_histogram(names["chunk"], unit="s", explicit_bucket_boundaries_advisory=_BUCKETS)
        self._tokens = _token_metrics(meter, old=self._old)
        self._around = None if self._old else _AroundMetrics(meter)

    # ---------------------------------------------------------------------------------------- requests

    def request_started(self, event: RequestStarted) -> None:
        """Begin the span of a request."""
        params = event.prompt.params
        provider = _PROVIDERS.get(event.model.provider, event.model.provider)
        common: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": event.model.id,
        }
        attributes: dict[str, Any] = {
            **common,
            "gen_ai.request.stream": event.streaming,
            "gen_ai.output.type": "json" if params.response_schema is not None else "text",
        }
        for name, value in (
            ("gen_ai.request.max_tokens", params.max_tokens),
            ("gen_ai.request.temperature", params.temperature),
            ("gen_ai.request.seed", params.seed),
            ("gen_ai.request.stop_sequences", list(params.stop) or None),
            ("gen_ai.conversation.id", event.prompt.id or None),
        ):
            if value is not None:
                attributes[name] = value
        if event.address is not None:
            host, port = event.address
            attributes |= {"server.address": host, "server.port": port}
            common |= {"server.address": host, "server.port": port}
        for name, kinds in _EXTRA.items():
            value = params.extra.get(name)
            if isinstance(value, kinds) and not isinstance(value, bool):
                attributes[f"gen_ai.request.{name}"] = value
        if not self._old:
            attributes |= self._newer(event)
        if self._contents:
            attributes["gen_ai.input.messages"] = input_messages(event.prompt)
            instructions = system_instructions(event.prompt)
            if instructions is not None:
                attributes["gen_ai.system_instructions"] = instructions
            if event.definitions:
                attributes["gen_ai.tool.definitions"] = tool_definitions(event.definitions)
        kind = self._trace.SpanKind.INTERNAL if event.address is None else self._trace.SpanKind.CLIENT
        parent = self._runs.get(event.run) if event.run is not None else None
        context = self._trace.set_span_in_context(parent[0]) if parent is not None else None
        span = self._tracer.start_span(f"chat {event.model.id}", context, kind=kind, attributes=attributes)
        self._requests[event.id] = (span, common)
        if event.run is not None:
            self._asking[event.run] = span
            self._run_of[event.id] = event.run

    def _newer(self, event: RequestStarted) -> dict[str, Any]:
        """What v1.41 does not have."""
        found: dict[str, Any] = {}
        effort, before = event.prompt.params.reasoning_effort, event.prompt.params.extra.get("previous_response_id")
        if effort is not None:
            found["gen_ai.request.reasoning.level"] = str(effort.value)
        if isinstance(before, str):
            found["gen_ai.request.previous_response.id"] = before
        if isinstance(event.prompt, TrimmedPrompt) and event.prompt.cut:
            found["gen_ai.conversation.compacted"] = True
        return found

    def first_frame(self, event: FirstFrame) -> None:
        """Note when the response began."""
        found = self._requests.get(event.id)
        if found is not None:
            span, common = found
            span.set_attribute("gen_ai.response.time_to_first_chunk", event.seconds)
            self._first_chunk.record(event.seconds, common)
            run = self._run_of.get(event.id)
            if run is not None:  # of two that race, the first to speak is the one that is heard
                self._asking[run] = span

    def request_finished(self, event: RequestFinished) -> None:
        """End the span of a request, also of one that was cancelled, with the tokens that are known."""
        found = self._requests.pop(event.id, None)
        self._run_of.pop(event.id, None)
        if found is None:
            return
        span, common = found
        if event.answered is not None:
            common["gen_ai.response.model"] = event.answered
        for name, value in (
            ("gen_ai.response.id", event.response_id),
            ("gen_ai.response.model", event.answered),
            ("gen_ai.response.finish_reasons", [str(event.finish_reason.value)] if event.finish_reason else None),
            ("gen_ai.usage.input_tokens", event.usage.input_tokens),
            ("gen_ai.usage.output_tokens", event.usage.output_tokens),
            ("gen_ai.usage.cache_read.input_tokens", event.usage.cached_input_tokens),
            (
                f"gen_ai.usage.{'cache_creation' if self._old else 'cache_write'}.input_tokens",
                event.usage.cache_write_tokens,
            ),
            ("gen_ai.usage.reasoning.output_tokens", event.usage.reasoning_tokens),
        ):
            if value is not None:
                span.set_attribute(name, value)
        if self._contents:
            span.set_attribute("gen_ai.output.messages", output_messages(event.message, event.outcome))
        for seconds in event.chunk_seconds:
            self._per_chunk.record(seconds, common)
        if event.outcome != "complete":
            common["error.type"] = self._failed(span, event.error)
        for record in self._tokens:
            record(event.usage, common)
        self._duration.record(event.seconds, common)
        span.end()

    def _failed(self, span: Any, error: BaseException | None) -> str:
        """The class of an error, at its span; of what it says nothing, since that may quote a prompt."""
        kind = "cancelled" if error is None else type(error).__name__
        span.set_attribute("error.type", kind)
        if error is not None:
            status = error.status if isinstance(error, ProviderError) else None
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, f"HTTP {status}" if status else kind))
            if not self._old:
                span.add_event("gen_ai.client.operation.exception", {"exception.type": kind})
        return kind

    # ------------------------------------------------------------------------------------------- loops

    def run_started(self, event: RunStarted) -> None:
        """Begin the span of a tool loop."""
        common = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": _PROVIDERS.get(event.model.provider, event.model.provider),
            "gen_ai.request.model": event.model.id,
        }
        self._runs[event.id] = (self._tracer.start_span("invoke_agent", attributes=common), dict(common))

    def run_finished(self, event: RunFinished) -> None:
        """End the span of a tool loop."""
        found = self._runs.pop(event.id, None)
        self._asking.pop(event.id, None)
        if found is None:
            return
        span, common = found
        for name, value in (
            ("gen_ai.usage.input_tokens", event.usage.input_tokens),
            ("gen_ai.usage.output_tokens", event.usage.output_tokens),
        ):
            if value is not None:
                span.set_attribute(name, value)
        if event.outcome in ("failed", "cancelled"):
            common["error.type"] = self._failed(span, event.error)
        if self._around is not None:
            self._around.run(event, common)
        span.end()

    # ------------------------------------------------------------------------------------------- tools

    def tool_started(self, event: ToolCallStarted) -> None:
        """Begin the span of a tool."""
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": event.name,
            "gen_ai.tool.call.id": event.id,
            "gen_ai.tool.type": "function",
        }
        if self._contents:
            attributes["gen_ai.tool.call.arguments"] = event.arguments
        parent = self._asking.get(event.run) if event.run is not None else None
        if parent is None and event.run in self._runs:  # a run that began with the calls of an earlier response
            parent = self._runs[event.run][0]
        context = self._trace.set_span_in_context(parent) if parent is not None else None
        span = self._tracer.start_span(f"execute_tool {event.name}", context, attributes=attributes)
        self._tools[event.run, event.id] = span

    def around_tool(self, event: ToolCallStarted) -> AbstractContextManager[Any] | None:
        """Make the tool's span the current one while it runs."""
        span = self._tools.get((event.run, event.id))
        if span is None:
            return None
        current: AbstractContextManager[Any] = self._trace.use_span(
            span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        )
        return current

    def tool_finished(self, event: ToolCallFinished) -> None:
        """End the span of a tool."""
        span = self._tools.pop((event.run, event.id), None)
        if span is None:
            return
        common = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": event.name}
        if self._contents:
            output = event.output
            span.set_attribute("gen_ai.tool.call.result", output if isinstance(output, str) else json_text(output))
        if event.outcome != "finished":
            common["error.type"] = self._failed(span, event.error)
        if self._around is not None:
            self._around.duration.record(event.seconds, common)
        span.end()


class _AroundMetrics:
    """The metrics of tools and tool loops, which v1.41 does not have."""

    def __init__(self, meter: Any) -> None:
        self.duration = meter.create_histogram("gen_ai.execute_tool.duration", unit="s")
        self._run = meter.create_histogram("gen_ai.invoke_agent.duration", unit="s")
        self._requests = meter.create_histogram("gen_ai.invoke_agent.inference_calls", unit="{call}")
        self._calls = meter.create_histogram("gen_ai.invoke_agent.tool_calls", unit="{call}")

    def run(self, event: RunFinished, common: dict[str, Any]) -> None:
        """A tool loop is over."""
        self._run.record(event.seconds, common)
        self._requests.record(event.requests, common)
        self._calls.record(event.tool_calls, common)


_METRICS = {
    "duration": "gen_ai.client.inference.duration",
    "first": "gen_ai.client.inference.time_to_first_chunk",
    "chunk": "gen_ai.client.inference.time_per_output_chunk",
}
_OLD_METRICS = {
    "duration": "gen_ai.client.operation.duration",
    "first": "gen_ai.client.operation.time_to_first_chunk",
    "chunk": "gen_ai.client.operation.time_per_output_chunk",
}
_FIELDS = (
    ("input_tokens", "input_tokens"),
    ("output_tokens", "output_tokens"),
    ("cached_input_tokens", "cache_read.input_tokens"),
    ("cache_write_tokens", "cache_write.input_tokens"),
    ("reasoning_tokens", "reasoning.output_tokens"),
)


def _token_metrics(meter: Any, *, old: bool) -> list[Any]:
    """Functions that record a usage: one histogram by type until 1.41, a counter for each kind of token since."""
    if old:
        histogram = meter.create_histogram("gen_ai.client.token.usage", unit="{token}")

        def record(usage: Any, common: dict[str, Any]) -> None:
            for name, kind in (("input_tokens", "input"), ("output_tokens", "output")):
                value = getattr(usage, name)
                if value is not None:
                    histogram.record(value, {**common, "gen_ai.token.type": kind})

        return [record]

    counters = [
        (field, meter.create_counter(f"gen_ai.client.inference.usage.{name}", unit="{token}"))
        for field, name in _FIELDS
    ]
    histograms = [
        (field, meter.create_histogram(f"gen_ai.client.inference.operation.{name}", unit="{token}"))
        for field, name in _FIELDS[:2]
    ]

    def count(usage: Any, common: dict[str, Any]) -> None:
        for field, counter in counters:
            value = getattr(usage, field)
            if value is not None:
                counter.add(value, {**common, "gen_ai.token.modality": "unknown"})
        for field, histogram in histograms:
            value = getattr(usage, field)
            if value is not None:
                histogram.record(value, common)

    return [count]
