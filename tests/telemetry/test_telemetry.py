"""Observers, the log, the dump, prices: who is told of what, and that contents and keys are in nothing by default."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import Any

import pytest
from tests.sources import iterated, turns, until_error

import promptport as pp
from promptport import telemetry
from promptport.policies import FallbackExecutor, RetryConfig, RetryingClient
from promptport.testing import CUT, ScriptedClient, ScriptedExecutor

MODEL, OTHER = pp.LLModel("scripted", "large"), pp.LLModel("scripted", "small")
SECRET = "my-secret-words"
PROMPT = pp.Prompt.of(SECRET, system="Be brief.")
AT_ONCE = RetryConfig(max_attempts=4, initial_delay=0.0, max_delay=0.0, jitter_factor=0.0)


class Witness(telemetry.Observer):
    """Keeps all events."""

    wants_frames = True

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.read: list[pp.StreamFrame] = []

    def request_started(self, event: telemetry.RequestStarted) -> None:
        self.events.append(event)

    def first_frame(self, event: telemetry.FirstFrame) -> None:
        self.events.append(event)

    def frames(self, id: int, frames: Any) -> None:
        self.read += frames

    def request_finished(self, event: telemetry.RequestFinished) -> None:
        self.events.append(event)

    @property
    def started(self) -> list[telemetry.RequestStarted]:
        return [event for event in self.events if isinstance(event, telemetry.RequestStarted)]

    @property
    def finished(self) -> list[telemetry.RequestFinished]:
        return [event for event in self.events if isinstance(event, telemetry.RequestFinished)]


async def test_a_stream_is_told_from_its_start_to_its_end() -> None:
    witness, script = Witness(), ScriptedClient(["Hel", "lo", pp.End(pp.FinishReason.STOP, usage=pp.Usage(7, 2))])
    with telemetry.observe(witness):
        stream = script.execute_streaming_with_tools(PROMPT, MODEL, [pp.ToolDescriptor("f")])
        assert witness.events == [], "nothing is sent before it is iterated"
        frames = await iterated(stream)
    assert [type(event) for event in witness.events] == [
        telemetry.RequestStarted,
        telemetry.FirstFrame,
        telemetry.RequestFinished,
    ]
    began, ended = witness.started[0], witness.finished[0]
    assert (began.model, began.streaming, began.attempt, began.messages, began.tools) == (MODEL, True, 1, 2, 1)
    assert (ended.id, ended.outcome, ended.usage, ended.error) == (began.id, "complete", pp.Usage(7, 2), None)
    assert ended.first_frame is not None
    assert 0 <= ended.first_frame <= ended.seconds
    assert witness.read == frames


async def test_a_request_that_does_not_stream_is_told_too() -> None:
    witness = Witness()
    with telemetry.observe(witness):
        await ScriptedClient(["Hello"]).execute(PROMPT, MODEL)
    assert not witness.started[0].streaming
    assert witness.finished[0].outcome == "complete"
    assert witness.finished[0].message.text == "Hello"


@pytest.mark.parametrize("how", ["break", "cancel", "timeout", "close from another task"])
async def test_leaving_is_told_as_cancelled(how: str) -> None:
    witness, script = Witness(), ScriptedClient(["so far", asyncio.Event()])
    with telemetry.observe(witness):
        stream = script.execute_streaming_with_tools(PROMPT, MODEL)
        if how == "break":
            async with stream:
                async for _ in stream:
                    break
        elif how == "cancel":
            task = asyncio.create_task(iterated(stream))
            await turns(10)
            task.cancel()
            await asyncio.wait([task])
        elif how == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await iterated(stream)
        else:
            task = asyncio.create_task(iterated(stream))
            await turns(10)
            await stream.aclose()
            await asyncio.wait([task])
            task.exception()
    assert [event.outcome for event in witness.finished] == [
        "failed" if how == "close from another task" else "cancelled"
    ]
    assert witness.finished[0].message.text == "so far"


@pytest.mark.parametrize("error", [pp.OverloadedError("x", provider="p", status=529), CUT])
async def test_a_failure_is_told_with_its_error_and_what_had_arrived(error: Any) -> None:
    witness = Witness()
    with telemetry.observe(witness):
        await until_error(ScriptedClient(["so far", error]).execute_streaming_with_tools(PROMPT, MODEL))
    event = witness.finished[0]
    assert event.outcome == "failed"
    assert isinstance(event.error, pp.OverloadedError | pp.IncompleteStreamError)
    assert event.message.text == "so far"


async def test_a_clock_that_runs_out_is_a_failure() -> None:
    witness = Witness()
    with telemetry.observe(witness):
        client = ScriptedClient([asyncio.Event()], timeouts=pp.Timeouts(first_frame=0.02))
        await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert isinstance(witness.finished[0].error, pp.FirstFrameTimeout)


async def test_each_attempt_and_each_model_is_a_request_of_its_own() -> None:
    busy = [pp.OverloadedError("x", provider="p", status=529) for _ in range(4)]
    witness, script = Witness(), ScriptedExecutor(*[[one] for one in busy], ["Hello"])
    executor = FallbackExecutor([OTHER], RetryingClient(script, AT_ONCE))
    with telemetry.observed_by([witness]):
        stream = executor.execute_streaming_with_tools(PROMPT, MODEL)
    await stream.message()  # observed although the context was left: it was begun inside
    assert [(event.model.id, event.attempt) for event in witness.started] == [
        *[("large", attempt) for attempt in (1, 2, 3, 4)],
        ("small", 1),
    ]
    assert [event.outcome for event in witness.finished] == ["failed"] * 4 + ["complete"]


async def test_only_what_is_begun_inside_is_told_to_a_local_observer() -> None:
    witness, script = Witness(), ScriptedClient(["a"], ["b"])
    with telemetry.observed_by([witness]):
        inside = script.execute_streaming_with_tools(PROMPT, MODEL)
    await script.execute_streaming_with_tools(PROMPT, MODEL).message()
    await inside.message()
    assert len(witness.started) == len(witness.finished) == 1


async def test_an_observer_that_raises_is_reported_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(telemetry.Observer):
        def __getattribute__(self, name: str) -> Any:
            if name in ("request_started", "first_frame", "request_finished"):
                raise ZeroDivisionError(name)
            return super().__getattribute__(name)

    witness = Witness()
    with telemetry.observe(Broken(), witness):
        message = await ScriptedClient(["Hello"]).execute_streaming_with_tools(PROMPT, MODEL).message()
    assert message.text == "Hello"
    assert len(witness.events) == 3
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3
    assert "Broken raised in request_started" in caplog.records[0].getMessage()


async def test_without_an_observer_nothing_is_made() -> None:
    assert telemetry.begin_request(PROMPT, MODEL, 0, streaming=True) is None
    assert telemetry.begin_run(PROMPT, MODEL) is None


def test_the_repr_of_an_event_shows_no_contents() -> None:
    began = telemetry.RequestStarted(1, MODEL, True, 1, None, 1, 0, None, PROMPT)
    ended = telemetry.RequestFinished(
        1, "complete", 1.0, None, pp.Usage(), None, None, None, (), None, pp.AssistantMessage.of(SECRET)
    )
    tool = telemetry.ToolCallStarted("1", "f", None, f'{{"x": "{SECRET}"}}')
    assert SECRET not in f"{began!r} {ended!r} {tool!r}"


# --------------------------------------------------------------------------------------------------- log


async def test_the_log_holds_counts_and_times_and_no_contents(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "promptport")
    failing = pp.ProviderStreamError(f"the provider said {SECRET}", code="overloaded_error")
    refused = pp.RateLimitError(f"you asked {SECRET}", provider="p", status=429, code="slow_down")
    with telemetry.observe(telemetry.LogObserver()):
        await ScriptedClient([SECRET]).execute_streaming_with_tools(PROMPT, MODEL).message()
        await until_error(ScriptedClient(["a", failing]).execute_streaming_with_tools(PROMPT, MODEL))
        await until_error(ScriptedClient([refused]).execute_streaming_with_tools(PROMPT, MODEL))
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert SECRET not in caplog.text
    assert [level for level, _ in lines if level != "DEBUG"] == ["INFO", "WARNING", "WARNING"]
    info = [text for level, text in lines if level != "DEBUG"]
    assert "to scripted/large: complete in" in info[0]
    assert info[0].endswith("1 tokens in, 1 out")
    assert info[1].endswith("? tokens in, ? out, ProviderStreamError (overloaded_error)")
    assert info[2].endswith("RateLimitError (HTTP 429, slow_down)")


async def test_the_log_says_what_a_response_cost_if_the_program_asks_and_it_is_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "promptport")
    end = pp.End(pp.FinishReason.STOP, usage=pp.Usage(1000, 0))
    with telemetry.observe(telemetry.LogObserver(costs=True)):
        for model in ("openai/gpt-4o", "openai/nobody-knows-it"):
            await ScriptedClient(["a", end]).execute(PROMPT, model)
    known, unknown = [record.getMessage() for record in caplog.records]
    assert known.endswith("1000 tokens in, 0 out, $0.002500")
    assert unknown.endswith("1000 tokens in, 0 out")


async def test_the_dump_shows_everything_but_keys_and_what_a_terminal_obeys() -> None:
    file = io.StringIO()
    with telemetry.dump(file):
        await ScriptedClient(["Hello \x1b[2J"]).execute_streaming_with_tools(PROMPT, MODEL).message()
    text = file.getvalue()
    assert SECRET in text
    assert "Hello" in text
    assert "\x1b" not in text
    assert "complete in" in text


# ------------------------------------------------------------------------------------------------ prices


def test_a_known_price_and_an_unknown_one() -> None:
    assert telemetry.price(pp.LLModel("openai", "gpt-4o"), pp.Usage(1_000_000, 0)) == pytest.approx(2.5)
    assert telemetry.price(pp.LLModel("openai-chat", "gpt-4o"), pp.Usage(0, 1_000_000)) == pytest.approx(10.0)
    cached = telemetry.price(pp.LLModel("openai", "gpt-4o"), pp.Usage(1_000_000, 0, 1_000_000))
    assert cached == pytest.approx(1.25)
    assert telemetry.price(pp.LLModel("openai", "gpt-nobody-knows"), pp.Usage(1, 1)) is None
    assert telemetry.price(pp.LLModel("nobody", "gpt-4o"), pp.Usage(1, 1)) is None
    assert telemetry.price(pp.LLModel("openai", "gpt-4o"), pp.Usage()) is None
    assert telemetry.price(pp.LLModel("local", "smollm2-135m"), pp.Usage(5, 5)) == 0.0
