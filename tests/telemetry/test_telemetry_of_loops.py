"""Observers of tool loops: the loop, its requests, its tools, and OpenTelemetry's spans of them as one tree."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import promptport as pp
from promptport import telemetry
from promptport.policies import Budget, ObservedClient
from promptport.testing import ScriptedExecutor

MODEL = pp.LLModel("scripted", "m")
PROMPT = pp.Prompt.of("Act.")


class Witness(telemetry.Observer):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def request_started(self, event: telemetry.RequestStarted) -> None:
        self.events.append(event)

    def run_started(self, event: telemetry.RunStarted) -> None:
        self.events.append(event)

    def run_finished(self, event: telemetry.RunFinished) -> None:
        self.events.append(event)

    def tool_started(self, event: telemetry.ToolCallStarted) -> None:
        self.events.append(event)

    def tool_finished(self, event: telemetry.ToolCallFinished) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


@pp.tool
async def act(x: int) -> str:
    """Acts."""
    if x == 0:
        raise ZeroDivisionError("secret")
    return f"did {x}"


@pp.tool
def slow() -> str:
    """Runs on a thread."""
    return trace.get_current_span().name  # type: ignore[attr-defined, no-any-return]


def calls(*arguments: str) -> list[Any]:
    return [pp.ToolCall(f"call-{index}", "act", text) for index, text in enumerate(arguments)]


async def test_a_loop_its_requests_and_its_tools_are_told() -> None:
    witness, script = Witness(), ScriptedExecutor(calls('{"x": 1}', '{"x": 0}', '{"y": 1}'), ["over"])
    async with pp.ToolDispatcher(script, [act], observers=[witness]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        assert witness.events == []
        await stream.message()
    (began,) = witness.of(telemetry.RunStarted)
    (ended,) = witness.of(telemetry.RunFinished)
    assert (ended.id, ended.outcome, ended.requests, ended.tool_calls) == (began.id, "complete", 2, 3)
    assert ended.usage == pp.Usage(2, 2)
    assert [event.run for event in witness.of(telemetry.RequestStarted)] == [began.id, began.id]
    outcomes = {event.id: (event.outcome, type(event.error)) for event in witness.of(telemetry.ToolCallFinished)}
    assert outcomes == {
        "call-0": ("finished", type(None)),
        "call-1": ("failed", pp.ToolFailedError),
        "call-2": ("refused", pp.InvalidToolArgumentsError),
    }
    assert {event.id for event in witness.of(telemetry.ToolCallStarted)} == {"call-0", "call-1"}
    assert {event.run for event in witness.of(telemetry.ToolCallFinished)} == {began.id}


@pytest.mark.parametrize("how", ["left", "failed", "paused"])
async def test_how_a_loop_ended_is_told(how: str) -> None:
    @pp.tool(needs_approval=True)
    async def risky() -> str:
        """Needs consent."""
        return "done"

    answers: dict[str, list[Any]] = {
        "left": ["a", asyncio.Event()],
        "failed": ["a", pp.ServerError("x", provider="p")],
        "paused": [pp.ToolCall("1", "risky", "{}")],
    }
    witness = Witness()
    with telemetry.observe(witness):
        async with pp.ToolDispatcher(ScriptedExecutor(answers[how]), [risky]) as dispatcher:
            async with dispatcher.stream(PROMPT, MODEL) as stream:
                if how == "left":
                    await anext(stream)
                elif how == "failed":
                    with pytest.raises(pp.ServerError):
                        await stream.message()
                else:
                    await stream.message()
    (ended,) = witness.of(telemetry.RunFinished)
    assert ended.outcome == {"left": "cancelled"}.get(how, how)
    assert (ended.error is not None) == (how == "failed")


async def test_spans_are_one_tree_and_a_tools_span_is_the_current_one_while_it_runs() -> None:
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    observer = telemetry.OpenTelemetryObserver(tracer_provider=tracers)
    script = ScriptedExecutor([pp.ToolCall("1", "slow", "{}"), *calls('{"x": 0}')], ["over"])
    async with pp.ToolDispatcher(script, [act, slow], observers=[observer]) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        frames = [frame async for frame in stream]
    results = {frame.id: frame for frame in frames if isinstance(frame, pp.ToolResult)}
    assert results["1"].output == "execute_tool slow"
    finished = exporter.get_finished_spans()
    assert [span.name for span in finished].count("chat m") == 2
    spans = {span.name: span for span in reversed(finished)}
    assert set(spans) == {"invoke_agent", "chat m", "execute_tool slow", "execute_tool act"}
    root, first = spans["invoke_agent"], spans["chat m"]
    assert root.parent is None
    for child, parent in (
        (first, root),
        (finished[-2], root),
        (spans["execute_tool slow"], first),
        (spans["execute_tool act"], first),
    ):
        assert child.parent is not None
        assert parent.context is not None
        assert child.parent.span_id == parent.context.span_id, child.name
    failed = dict(spans["execute_tool act"].attributes or {})
    assert failed["error.type"] == "ToolFailedError"
    assert "secret" not in spans["execute_tool act"].to_json()


async def test_the_tools_of_each_response_are_children_of_its_own_request_and_a_sub_agents_loop_of_its_tool() -> None:
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    inner = ScriptedExecutor(["found"])

    @pp.tool
    async def research() -> str:
        """Asks another agent."""
        async with pp.ToolDispatcher(inner, []) as below:
            return (await below.stream("Go", MODEL).message()).text

    script = ScriptedExecutor(calls('{"x": 1}'), [pp.ToolCall("r", "research", "{}")], ["over"])
    with telemetry.observe(telemetry.OpenTelemetryObserver(tracer_provider=tracers)):
        async with pp.ToolDispatcher(script, [act, research]) as dispatcher:
            await dispatcher.stream(PROMPT, MODEL).message()
    by_id = {span.context.span_id: span for span in exporter.get_finished_spans() if span.context is not None}
    paths = []
    for span in by_id.values():
        names, above = [span.name], span.parent
        while above is not None:
            names.append(by_id[above.span_id].name)
            above = by_id[above.span_id].parent
        paths.append(" < ".join(names))
    assert sorted(paths) == [
        "chat m < invoke_agent",
        "chat m < invoke_agent",
        "chat m < invoke_agent",
        "chat m < invoke_agent < execute_tool research < chat m < invoke_agent",
        "execute_tool act < chat m < invoke_agent",
        "execute_tool research < chat m < invoke_agent",
        "invoke_agent",
        "invoke_agent < execute_tool research < chat m < invoke_agent",
    ]
    chats = {span.parent.span_id for span in by_id.values() if span.name.startswith("execute") and span.parent}
    assert len(chats) == 2, "each tool under the request whose response called it"


async def test_a_budget_bounds_a_loop() -> None:
    budget = Budget(requests=3)
    script = ScriptedExecutor(lambda request: calls(f'{{"x": {len(script.requests)}}}'), repeat=True)
    async with pp.ToolDispatcher(script, [act], budget=budget) as dispatcher:
        stream = dispatcher.stream(PROMPT, MODEL)
        with pytest.raises(pp.BudgetExceededError):
            await stream.message()
    assert len(script.requests) == 3
    assert budget.used == {"requests": 3}
    assert len(stream.outcomes) == 3


async def test_one_client_is_observed_by_its_own_observers() -> None:
    witness, script = Witness(), ScriptedExecutor(["a"], ["b"], ["c"])
    observed = ObservedClient(script, witness)
    await observed.execute(PROMPT, MODEL)
    await observed.execute_streaming_with_tools(PROMPT, MODEL).message()
    await script.execute(PROMPT, MODEL)
    assert [event.streaming for event in witness.of(telemetry.RequestStarted)] == [False, True]
