"""Observers that raise, that are async, that change what they are shown: a response is the same with all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from tests.sources import iterated

import promptport as pp
from promptport import telemetry
from promptport.policies import ObservedClient
from promptport.testing import ScriptedClient, ScriptedExecutor

MODEL = pp.LLModel("scripted", "m")
METHODS = [
    "request_started",
    "first_frame",
    "frames",
    "request_finished",
    "run_started",
    "run_finished",
    "tool_started",
    "around_tool",
    "tool_finished",
]


class OwnExit(BaseException):
    """Nothing that ``except Exception`` catches."""


class Witness(telemetry.Observer):
    wants_frames = True

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in METHODS:
            return lambda *_: self.told.append(name)
        return super().__getattribute__(name)


@pp.tool
async def act() -> str:
    """Acts."""
    return "done"


async def a_loop(*observers: telemetry.Observer) -> tuple[list[Any], ScriptedExecutor]:
    script = ScriptedExecutor(["a", pp.ToolCall("1", "act", "{}")], ["over"])
    async with pp.ToolDispatcher(script, [act], observers=observers) as dispatcher:
        stream = dispatcher.stream("Go", MODEL)
        return [frame async for frame in stream], script


@pytest.mark.parametrize("raised", [ZeroDivisionError, OwnExit, asyncio.CancelledError, SystemExit, GeneratorExit])
@pytest.mark.parametrize("method", METHODS)
async def test_one_that_raises_harms_nothing_and_hides_nothing_from_the_others(
    method: str, raised: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: object, *_: object) -> None:
        raise raised("mine")

    broken = type("Broken", (telemetry.Observer,), {"wants_frames": True, method: fail})()
    witness = Witness()
    plain, _ = await a_loop()
    frames, script = await a_loop(broken, witness)
    assert frames == plain
    assert script.client.closed == 2
    assert set(witness.told) == set(METHODS)
    assert f"Broken raised in {method}" in caplog.text


async def test_ctrl_c_inside_an_observer_reaches_the_program_and_leaves_nothing_open() -> None:
    class Interrupted(telemetry.Observer):
        def first_frame(self, event: telemetry.FirstFrame) -> None:
            raise KeyboardInterrupt

    witness, script = Witness(), ScriptedClient(["a", asyncio.Event()])
    with telemetry.observe(Interrupted(), witness):
        stream = script.execute_streaming_with_tools("Hi", MODEL)
        with pytest.raises(KeyboardInterrupt):
            await iterated(stream)
    assert script.closed == 1
    assert witness.told == ["request_started", "first_frame", "request_finished"]


@pytest.mark.parametrize("raised", [ZeroDivisionError, OwnExit])
@pytest.mark.parametrize("when", ["enter", "exit"])
async def test_a_context_around_a_tool_that_fails_or_swallows_errors(when: str, raised: type[BaseException]) -> None:
    class Around(telemetry.Observer):
        @contextlib.contextmanager
        def around_tool(self, event: telemetry.ToolCallStarted) -> Iterator[None]:
            if when == "enter":
                raise raised
            with contextlib.suppress(BaseException):
                yield
            raise raised

    frames, _ = await a_loop(Around(), Witness())
    assert [frame.output for frame in frames if isinstance(frame, pp.ToolResult)] == ["done"]


async def test_one_that_changes_what_it_is_shown_changes_nothing() -> None:
    class Thief(telemetry.Observer):
        wants_frames = True

        def frames(self, id: int, frames: Any) -> None:
            frames.clear()

    with telemetry.observe(Thief()):
        assert (await ScriptedClient(["Hello"]).execute_streaming_with_tools("Hi", MODEL).message()).text == "Hello"


async def test_an_object_with_some_of_the_methods_is_an_observer() -> None:
    class Counter:
        finished = 0

        def request_finished(self, event: telemetry.RequestFinished) -> None:
            self.finished += 1

    counter = Counter()
    with telemetry.observe(counter):  # type: ignore[arg-type]
        await ScriptedClient(["Hello"]).execute("Hi", MODEL)
    assert counter.finished == 1


@pytest.mark.parametrize("where", ["observe", "observed_by", "ObservedClient", "ToolDispatcher"])
@pytest.mark.parametrize("method", ["request_started", "tool_finished"])
def test_an_async_method_is_refused_at_once_because_nobody_would_await_it(method: str, where: str) -> None:
    async def late(self: object, *_: object) -> None:
        """Never awaited."""

    observer = type("Late", (telemetry.Observer,), {method: late})()
    ways: dict[str, Any] = {
        "observe": lambda: telemetry.observe(observer).__enter__(),
        "observed_by": lambda: telemetry.observed_by([observer]).__enter__(),
        "ObservedClient": lambda: ObservedClient(ScriptedClient(), observer),
        "ToolDispatcher": lambda: pp.ToolDispatcher(ScriptedExecutor(), [], observers=[observer]),
    }
    with pytest.raises(pp.InvalidInputError, match=f"Late.{method} is async"):
        ways[where]()


@pytest.mark.parametrize(("wrong", "hint"), [(Witness, r"Write Witness\(\)"), (3, "int is no"), ("x", "str is no")])
def test_what_is_no_observer_is_refused_at_once(wrong: Any, hint: str) -> None:
    with pytest.raises(pp.InvalidInputError, match=hint):
        telemetry.observe(wrong).__enter__()


async def test_one_that_is_removed_meanwhile_is_told_of_the_end_of_what_began_before() -> None:
    gate, witness = asyncio.Event(), Witness()
    script = ScriptedClient(["a", gate, "b"], ["c"])
    with telemetry.observe(witness):
        stream = script.execute_streaming_with_tools("Hi", MODEL)
        await anext(stream)
    gate.set()
    await stream.message()
    await script.execute("Hi", MODEL)
    assert witness.told[0] == "request_started"
    assert witness.told[-1] == "request_finished"
    assert witness.told.count("request_finished") == 1


async def test_equal_observers_are_left_each_by_its_own_context() -> None:
    class Alike(Witness):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    first, second = Alike(), Alike()
    outer, inner = telemetry.observe(first), telemetry.observe(second)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)  # in the order in which they came, which no context manager asks for
    await ScriptedClient(["a"]).execute("Hi", MODEL)
    inner.__exit__(None, None, None)
    assert first.told == []
    assert second.told != []


async def test_what_a_response_cost_is_told_to_an_observer_that_asks() -> None:
    costs: list[float | None] = []

    class Costs(telemetry.Observer):
        def request_finished(self, event: telemetry.RequestFinished) -> None:
            costs.append(event.cost)

    end = pp.End(pp.FinishReason.STOP, usage=pp.Usage(1_000_000, 0))
    script = ScriptedClient(["a", end], ["b", end], provider="openai")
    with telemetry.observe(Costs()):
        await script.execute("Hi", "openai/gpt-4o")
        await script.execute("Hi", "openai/nobody-knows-it")
    assert costs == [pytest.approx(2.5), None]
