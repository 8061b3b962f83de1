"""Each policy by itself: what it waits for, what it counts, and that whatever ends it leaves nothing behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sources import iterated, turns, until_error

import promptport as pp
from promptport.decoding import class_of_code
from promptport.policies import (
    Asker,
    Budget,
    BudgetedExecutor,
    CachedExecutor,
    Circuit,
    FallbackExecutor,
    FolderCache,
    HedgedClient,
    LimitedClient,
    Limits,
    MemoryCache,
    RetryConfig,
    RetryingClient,
    RoutingExecutor,
    aliases,
    by_capability,
    is_passing,
    round_robin,
    weighted,
)
from promptport.testing import CUT, ScriptedAnswer, ScriptedClient, ScriptedExecutor, assert_valid_stream

MODEL, OTHER, THIRD = (pp.LLModel("scripted", name) for name in ("large", "small", "tiny"))
PROMPT = pp.Prompt.of("Hello")
AT_ONCE = RetryConfig(max_attempts=4, initial_delay=0.0, max_delay=0.0, jitter_factor=0.0)
REFUSED = pp.End(pp.FinishReason.CONTENT_FILTER, "refusal")


def overloaded() -> pp.OverloadedError:
    return pp.OverloadedError("busy", provider="scripted", status=529)


def busy(retry_after: float | None = None) -> pp.RateLimitError:
    return pp.RateLimitError("slow down", provider="scripted", status=429, retry_after=retry_after)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - a count tells nobody
            await asyncio.sleep(0.001)


def said(frames: list[pp.StreamFrame]) -> str:
    return "".join(frame.text for frame in frames if isinstance(frame, pp.Append))


# ------------------------------------------------------------------------------------------------ retrying


@pytest.mark.parametrize(
    ("attempt", "retry_after", "chance", "wait"),
    [
        (1, None, 0.5, 1.0),
        (2, None, 0.5, 2.0),
        (3, None, 1.0, 4.4),
        (3, None, 0.0, 3.6),
        (8, None, 0.5, 10.0),
        (1, 5.0, 0.0, 5.0),
        (1, 0.01, 0.5, 1.0),
        (1, 20.1, 0.5, None),
        (9, None, 0.5, None),
    ],
)
def test_the_wait_before_the_next_request(
    attempt: int, retry_after: float | None, chance: float, wait: float | None
) -> None:
    config = RetryConfig(max_attempts=9, max_delay=10.0, max_retry_after=20.0)
    found = config.delay(attempt, busy(retry_after), chance)
    assert found == (wait if wait is None else pytest.approx(wait))


@given(st.integers(1, 10_000), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 60)))
def test_a_wait_is_never_shorter_than_the_provider_asks_nor_without_bound(
    attempt: int, chance: float, asked: float | None
) -> None:
    wait = RetryConfig(max_attempts=100_000).delay(attempt, busy(asked), chance)
    assert wait is not None
    assert (asked or 0) <= wait <= 66.1


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"initial_delay": -1},
        {"jitter_factor": 2},
        {"backoff_multiplier": 0.5},
        {"total": 0},
        {"max_retry_after": -1},
    ],
)
def test_a_number_out_of_range_is_refused_by_its_name(options: dict[str, float]) -> None:
    with pytest.raises(pp.InvalidInputError, match=next(iter(options))):
        RetryConfig(**options)  # type: ignore[arg-type]


def test_the_presets_are_what_their_names_say() -> None:
    assert RetryConfig.DISABLED.delay(1, busy(), 0.5) is None
    assert RetryConfig.AGGRESSIVE.max_attempts > RetryConfig.PRODUCTION.max_attempts
    assert RetryConfig.CONSERVATIVE.initial_delay > RetryConfig.PRODUCTION.initial_delay


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (overloaded(), True),
        (busy(), True),
        (pp.ServerError("x", provider="p", status=500), True),
        (pp.TransportError("x", provider="p"), True),
        (pp.FirstFrameTimeout("x", provider="p"), True),
        (pp.IncompleteStreamError("x"), True),
        (pp.ProviderStreamError("x", code="overloaded_error"), True),
        (pp.ProviderStreamError("x", code="ThrottlingException"), True),
        (pp.ProviderStreamError("x", code="503"), True),
        (pp.ProviderStreamError("rate limit, overloaded", code="invalid_request_error"), False),
        (pp.ProviderStreamError("x"), False),
        (pp.TotalTimeout("x", provider="p"), False),
        (pp.RateLimitError("x", provider="p", status=402), False),
        (pp.RateLimitError("x", provider="p", status=429, code="insufficient_quota"), False),
        (pp.BadRequestError("overloaded, 529", provider="p", status=400), False),
        (pp.AuthenticationError("x", provider="p", status=401), False),
        (pp.ProtocolError("x"), False),
    ],
)
def test_which_errors_pass(error: pp.PromptportError, passing: bool) -> None:
    assert is_passing(error) is passing


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("overloaded_error", pp.OverloadedError),
        ("RESOURCE_EXHAUSTED", pp.RateLimitError),
        ("com.amazon.coral#ThrottlingException", pp.RateLimitError),
        ("internalServerException", pp.ServerError),
        ("context_length_exceeded", pp.ContextLengthError),
        ("529", pp.OverloadedError),
        ("418", pp.BadRequestError),
        ("599", pp.ServerError),
        ("200", None),
        ("a_new_word", None),
        ("", None),
        (None, None),
    ],
)
def test_the_class_of_a_code(code: str | None, kind: type[pp.ProviderError] | None) -> None:
    assert class_of_code(code) is kind


async def test_a_passing_error_before_the_first_frame_is_not_seen() -> None:
    script = ScriptedClient([busy(0)], [CUT], [pp.ProviderStreamError("x", code="server_error")], ["Hello"])
    async with RetryingClient(script, AT_ONCE) as client:
        frames = await iterated(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert said(frames) == "Hello"
    assert len(script.requests) == script.closed == 4
    assert_valid_stream(frames)


async def test_the_last_attempts_error_is_raised_with_its_partial() -> None:
    script = ScriptedClient([overloaded()], repeat=True)
    async with RetryingClient(script, AT_ONCE) as client:
        _, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
        assert isinstance(error, pp.OverloadedError)
        assert error.partial is not None
        with pytest.raises(pp.OverloadedError):
            await client.execute(PROMPT, MODEL)
    assert len(script.requests) == 8


async def test_the_total_bounds_attempts_and_waits() -> None:
    script = ScriptedClient([busy(5)], repeat=True)
    client = RetryingClient(script, RetryConfig(max_attempts=9, total=1.0))
    _, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert isinstance(error, pp.RateLimitError)
    assert len(script.requests) == 1


async def test_closing_ends_the_wait_between_two_attempts() -> None:
    script = ScriptedClient([busy(50)], ["never"])
    client = RetryingClient(script, RetryConfig(max_retry_after=60))
    stream = client.execute_streaming_with_tools(PROMPT, MODEL)
    reader = asyncio.create_task(until_error(stream))
    while not script.closed:
        await turns()
    await client.aclose()
    _, error = await reader
    assert isinstance(error, pp.IncompleteStreamError)
    assert len(script.requests) == 1


async def test_cancelling_ends_the_wait_between_two_attempts() -> None:
    script = ScriptedClient([busy(50)], ["never"])
    client = RetryingClient(script, RetryConfig(max_retry_after=60))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.execute(PROMPT, MODEL)
    assert len(script.requests) == 1


async def test_a_request_that_is_wrong_in_itself_raises_at_once() -> None:
    client = RetryingClient(ScriptedClient(["never"]), AT_ONCE)
    with pytest.raises(pp.InvalidInputError):
        client.execute_streaming_with_tools(pp.Prompt(()), MODEL)


# ------------------------------------------------------------------------------------------------ fallback


async def test_the_next_model_answers_where_one_fails() -> None:
    script = ScriptedExecutor([overloaded()], [pp.AuthenticationError("x", provider="scripted", status=401)], ["Hello"])
    executor = FallbackExecutor([OTHER, THIRD], script)
    assert said(await iterated(executor.execute_streaming_with_tools(PROMPT, MODEL))) == "Hello"
    assert [request.model for request in script.requests] == [MODEL, OTHER, THIRD]


async def test_a_missing_capability_is_another_models_chance() -> None:
    blind = pp.ModelCapabilities.of(pp.StreamedTools.NONE, ())
    script = ScriptedExecutor(["Hello"])
    executor = FallbackExecutor([OTHER], script)
    model = pp.LLModel("scripted", "large", blind)
    frames = await iterated(executor.execute_streaming_with_tools(pp.Prompt.of("Hi", system="s"), model))
    assert said(frames) == "Hello"
    assert [request.model for request in script.requests] == [OTHER]
    with pytest.raises(pp.UnsupportedCapabilityError):
        FallbackExecutor([model], script).execute_streaming_with_tools(pp.Prompt.of("Hi", system="s"), model)


async def test_a_refusal_is_another_models_chance_unless_nobody_is_left() -> None:
    for verb in ("stream", "execute"):
        script = ScriptedExecutor([REFUSED], ["Hello"])
        executor = FallbackExecutor([OTHER], script)
        if verb == "stream":
            message = await executor.execute_streaming_with_tools(PROMPT, MODEL).message()
        else:
            message = await executor.execute(PROMPT, MODEL)
        assert message.text == "Hello"
        script = ScriptedExecutor([REFUSED], [REFUSED])
        executor = FallbackExecutor([OTHER], script)
        message = await executor.execute_streaming_with_tools(PROMPT, MODEL).message()
        assert message.finish_reason is pp.FinishReason.CONTENT_FILTER
        keeping = FallbackExecutor([OTHER], ScriptedExecutor([REFUSED]), on_refusal=False)
        assert (await keeping.execute(PROMPT, MODEL)).finish_reason is pp.FinishReason.CONTENT_FILTER


async def test_after_text_the_error_is_raised_or_the_answer_begins_anew() -> None:
    executor = FallbackExecutor([OTHER], ScriptedExecutor(["so far", overloaded()], ["never"]))
    frames, error = await until_error(executor.execute_streaming_with_tools(PROMPT, MODEL))
    assert said(frames) == "so far"
    assert isinstance(error, pp.OverloadedError)
    assert error.partial == pp.AssistantMessage.of("so far")
    executor = FallbackExecutor([OTHER], ScriptedExecutor(["so far", CUT], ["Hello"]), on_partial="restart")
    stream = executor.execute_streaming_with_tools(PROMPT, MODEL)
    frames = await iterated(stream)
    assert frames[:3] == [
        pp.Append("so far"),
        pp.Restarted("scripted/small", "IncompleteStreamError"),
        pp.Append("Hello"),
    ]
    assert stream.partial.text == "Hello"
    assert_valid_stream(frames)


async def test_after_a_call_nothing_is_asked_again() -> None:
    script = ScriptedExecutor([pp.ToolCall("1", "f", "{}"), overloaded()], ["never"])
    executor = FallbackExecutor([OTHER], script, on_partial="restart")
    frames, error = await until_error(executor.execute_streaming_with_tools(PROMPT, MODEL))
    assert isinstance(frames[-1], pp.ToolCall)
    assert isinstance(error, pp.OverloadedError)
    assert len(script.requests) == 1


async def test_a_text_stream_never_begins_anew() -> None:
    executor = FallbackExecutor([OTHER], ScriptedExecutor(["so far", overloaded()], ["never"]), on_partial="restart")
    texts = []
    with pytest.raises(pp.OverloadedError):
        async for text in executor.execute_streaming(PROMPT, MODEL):
            texts.append(text)
    assert texts == ["so far"]


async def test_a_model_that_fails_rests_and_is_probed_by_one_request() -> None:
    now = 0.0
    circuit = Circuit(max_failures=2, cooldown=10, clock=lambda: now)
    script = ScriptedExecutor([overloaded()], ["a"], [overloaded()], ["b"], ["c"], ["d"], ["e"])
    executor = FallbackExecutor([OTHER], script, circuit=circuit)
    for _ in range(3):
        await executor.execute(PROMPT, MODEL)
    assert [request.model for request in script.requests] == [MODEL, OTHER, MODEL, OTHER, OTHER]
    now = 10.0
    stream = executor.execute_streaming_with_tools(PROMPT, MODEL)
    await anext(stream)  # the probe, which is not over yet
    await executor.execute(PROMPT, MODEL)
    await stream.message()
    assert [request.model for request in script.requests[5:]] == [MODEL, OTHER]
    assert circuit.allows(str(MODEL))


async def test_a_probe_that_is_cancelled_lets_another_one_try() -> None:
    now = 100.0
    circuit = Circuit(max_failures=1, cooldown=10, clock=lambda: now)
    circuit.failed(str(MODEL))
    now = 111.0
    script = ScriptedExecutor(["a", asyncio.Event()], ["b"])
    executor = FallbackExecutor([OTHER], script, circuit=circuit)
    stream = executor.execute_streaming_with_tools(PROMPT, MODEL)
    assert await anext(stream) == pp.Append("a")
    assert not circuit.allows(str(MODEL))
    await stream.aclose()
    assert circuit.allows(str(MODEL))


async def test_where_all_models_rest_the_one_that_rests_least_is_asked() -> None:
    now = 0.0
    circuit = Circuit(max_failures=1, cooldown=10, clock=lambda: now)
    circuit.failed(str(OTHER))
    now = 1.0
    circuit.failed(str(MODEL))
    script = ScriptedExecutor(["Hello"])
    await FallbackExecutor([OTHER], script, circuit=circuit).execute(PROMPT, MODEL)
    assert script.requests[0].model == OTHER


def test_a_fallback_without_models_or_with_a_strange_option_is_refused() -> None:
    with pytest.raises(pp.InvalidInputError, match="empty"):
        FallbackExecutor([], ScriptedExecutor())
    with pytest.raises(pp.InvalidInputError, match="on_partial"):
        FallbackExecutor([OTHER], ScriptedExecutor(), on_partial="again")  # type: ignore[arg-type]
    with pytest.raises(pp.InvalidInputError, match="cooldown"):
        Circuit(cooldown=0)


# ------------------------------------------------------------------------------------------------- routing


async def test_the_model_that_is_asked_is_resolved_first() -> None:
    script = ScriptedExecutor(["a"], ["b"], ["c"])
    executor = RoutingExecutor(script, aliases({"fast": "scripted/small"}))
    await executor.execute(PROMPT, "fast")
    await executor.execute_streaming_with_tools(PROMPT, MODEL).message()
    assert [text async for text in executor.execute_streaming(PROMPT, "fast")] == ["c"]
    assert [request.model for request in script.requests] == [OTHER, MODEL, OTHER]
    assert executor.capabilities("fast") == script.capabilities(OTHER)
    with pytest.raises(pp.InvalidInputError, match=r"no alias 'slow'\. Use one of fast"):
        executor.resolve("slow", PROMPT)


def test_models_take_turns_and_shares() -> None:
    turn = round_robin("any", ["scripted/large", OTHER])
    assert [turn("any", PROMPT, ()) for _ in range(3)] == [MODEL, OTHER, MODEL]
    assert turn(THIRD, PROMPT, ()) == THIRD
    share = weighted("any", {MODEL: 1, "scripted/small": 3, THIRD: 0}, chooser=random.Random(7))
    drawn = [share("any", PROMPT, ()) for _ in range(400)]
    assert THIRD not in drawn
    assert 250 < drawn.count(OTHER) < 350
    bads: list[dict[pp.LLModel | str, float]] = [{}, {MODEL: 0}, {MODEL: -1, OTHER: 2}]
    for bad in bads:
        with pytest.raises(pp.InvalidInputError):
            weighted("any", bad)


def test_the_first_model_that_can_do_it_is_asked() -> None:
    small = pp.ModelCapabilities.of(pp.StreamedTools.NONE, (pp.Capability.SYSTEM,), context_length=1000)
    large = pp.ModelCapabilities.of(pp.StreamedTools.DELTAS, tuple(pp.Capability), context_length=100_000)
    route = by_capability("auto", [OTHER, MODEL], lambda model: small if model == OTHER else large)
    tool = pp.ToolDescriptor("f")
    long = PROMPT.add(pp.AssistantMessage(usage=pp.Usage(5000, 10)), pp.UserMessage.of("And?"))
    assert route("auto", PROMPT, ()) == OTHER
    assert route("auto", PROMPT, [tool]) == MODEL
    assert route("auto", long, ()) == MODEL
    assert route("auto", PROMPT.with_params(temperature=0.5), ()) == MODEL
    assert route(OTHER, long, ()) == OTHER


# ------------------------------------------------------------------------------------------------- limits


async def test_no_more_requests_at_once_and_first_come_first_served() -> None:
    gates = [asyncio.Event() for _ in range(4)]
    answers: list[ScriptedAnswer] = [[str(index), gate] for index, gate in enumerate(gates)]
    script = ScriptedClient(*answers)
    client = LimitedClient(script, Limits(concurrency=2))
    order: list[str] = []

    async def ask() -> None:
        async with client.execute_streaming_with_tools(PROMPT, MODEL) as stream:
            order.append((await stream.message()).text)

    tasks = []
    for _ in range(4):
        tasks.append(asyncio.create_task(ask()))
        await turns(20)
    opened = script.closed
    assert opened == 0
    for number, gate in enumerate(gates):
        gate.set()
        while len(order) <= number:
            await turns()
    await asyncio.gather(*tasks)
    assert order == ["0", "1", "2", "3"]


async def test_waiting_has_a_bound_and_can_be_cancelled() -> None:
    gate = asyncio.Event()
    script = ScriptedClient(["a", gate], ["b"], ["c"])
    limits = Limits(concurrency=1, max_wait=0.02)
    client = LimitedClient(script, limits)
    held = client.execute_streaming_with_tools(PROMPT, MODEL)
    await anext(held)
    _, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert isinstance(error, pp.RateLimitError)
    assert error.code == "local_limit"
    assert "No request was sent" in str(error)
    waiting = asyncio.create_task(LimitedClient(script, limits).execute(PROMPT, MODEL))
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await held.aclose()
    assert (await client.execute(PROMPT, MODEL)).text
    assert limits._slots is not None
    assert not limits._slots.locked()


async def test_requests_and_tokens_of_a_minute() -> None:
    script = ScriptedClient([pp.Append("a"), pp.End(pp.FinishReason.STOP, usage=pp.Usage(60, 50))], repeat=True)
    requests = LimitedClient(script, Limits(requests_per_minute=2, max_wait=0.02, name="requests"))
    for _ in range(2):
        await requests.execute(PROMPT, MODEL)
    with pytest.raises(pp.RateLimitError):
        await requests.execute(PROMPT, MODEL)
    tokens = LimitedClient(script, Limits(tokens_per_minute=100, max_wait=0.02, name="tokens"))
    await tokens.execute_streaming_with_tools(PROMPT, MODEL).message()
    with pytest.raises(pp.RateLimitError):
        await tokens.execute(PROMPT, MODEL)
    assert len(script.requests) == 3


def test_limits_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(pp.InvalidInputError, match="no limit"):
        Limits()
    with pytest.raises(pp.InvalidInputError, match="concurrency must be at least 1"):
        Limits(concurrency=0)
    with pytest.raises(pp.InvalidInputError, match="max_wait"):
        Limits(concurrency=1, max_wait=-1)
    with pytest.raises(pp.ConfigurationError, match="storage"):
        Limits(requests_per_minute=1, storage="nonsense://")


# -------------------------------------------------------------------------------------------------- hedged


async def test_a_second_request_is_heard_where_the_first_is_silent() -> None:
    script = ScriptedClient([asyncio.Event()], ["Hello"])
    client = HedgedClient(script, after=0.01)
    frames = await iterated(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert said(frames) == "Hello"
    assert (client.hedges, client.wins, script.closed) == (1, 1, 2)


async def test_the_first_is_heard_where_it_speaks_first() -> None:
    gate = asyncio.Event()
    script = ScriptedClient([gate, "first"], [asyncio.Event()])
    client = HedgedClient(script, after=0.01)
    reader = asyncio.create_task(iterated(client.execute_streaming_with_tools(PROMPT, MODEL)))
    await until(lambda: client.hedges > 0)
    gate.set()
    assert said(await reader) == "first"
    assert (client.wins, script.closed) == (0, 2)


async def test_a_quick_answer_or_error_is_not_hedged() -> None:
    script = ScriptedClient(["quick"], [overloaded()])
    client = HedgedClient(script, after=30)
    await iterated(client.execute_streaming_with_tools(PROMPT, MODEL))
    _, error = await until_error(client.execute_streaming_with_tools(PROMPT, MODEL))
    assert isinstance(error, pp.OverloadedError)
    assert (client.hedges, len(script.requests)) == (0, 2)


async def test_leaving_a_race_leaves_nobody_running() -> None:
    script = ScriptedClient([asyncio.Event()], [asyncio.Event()])
    client = HedgedClient(script, after=0.01)
    reader = asyncio.create_task(iterated(client.execute_streaming_with_tools(PROMPT, MODEL)))
    await until(lambda: client.hedges > 0)
    await turns(10)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert script.closed == 2
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_hedge_needs_a_time() -> None:
    with pytest.raises(pp.InvalidInputError, match="after"):
        HedgedClient(ScriptedClient(), after=0)


# -------------------------------------------------------------------------------------------------- budget


async def test_a_budget_is_checked_before_a_request_and_tells_what_was_used() -> None:
    usage = pp.Usage(30, 20)
    script = ScriptedExecutor([pp.Append("a"), pp.End(pp.FinishReason.STOP, usage=usage)], repeat=True)
    budget = Budget(output_tokens=30, cost=100.0, price=lambda model, usage: 1.5)
    one, other = BudgetedExecutor(script, budget), BudgetedExecutor(script, budget)
    await one.execute(PROMPT, MODEL)
    await other.execute_streaming_with_tools(PROMPT, MODEL).message()
    with pytest.raises(pp.BudgetExceededError) as caught:
        one.execute_streaming_with_tools(PROMPT, MODEL)
    assert caught.value.used == {"output_tokens": 40, "cost": 3.0}
    assert caught.value.limits == {"output_tokens": 30, "cost": 100.0}
    assert budget.left == {"output_tokens": 0, "cost": 97.0}
    assert len(script.requests) == 2


async def test_two_streams_that_were_made_together_share_the_last_request() -> None:
    script = ScriptedExecutor(["a"], ["b"])
    executor = BudgetedExecutor(script, Budget(requests=1))
    first = executor.execute_streaming_with_tools(PROMPT, MODEL)
    second = executor.execute_streaming_with_tools(PROMPT, MODEL)
    await first.message()
    _, error = await until_error(second)
    assert isinstance(error, pp.BudgetExceededError)
    assert error.partial is not None


@pytest.mark.parametrize("options", [{}, {"requests": -1}, {"cost": 1.0}])
def test_a_budget_that_cannot_be_meant_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(pp.InvalidInputError):
        Budget(**options)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------- cache


async def test_an_equal_request_is_not_sent_twice(tmp_path: Path) -> None:
    for store in (MemoryCache(), FolderCache(tmp_path / "cache")):
        script = ScriptedExecutor(
            lambda request: [f"{request.model.id} ", f"{request.prompt.params.temperature}"], repeat=True
        )
        executor = CachedExecutor(script, store)
        first = await executor.execute_streaming_with_tools(PROMPT, MODEL).message()
        again = await executor.execute_streaming_with_tools(pp.Prompt.of("Hello"), MODEL).message()
        assert again == first
        assert await executor.execute(PROMPT, MODEL) == first
        assert (await executor.execute(PROMPT, OTHER)).text == "small None"
        assert (await executor.execute(pp.Prompt.of("Hello", temperature=0.5), MODEL)).text == "large 0.5"
        assert (executor.hits, executor.misses) == (2, 3)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "cache").iterdir())


async def test_calls_errors_and_cut_answers_are_not_kept() -> None:
    call = [pp.ToolCall("1", "f", "{}")]
    script = ScriptedExecutor(call, call, [overloaded()], ["a", pp.End(pp.FinishReason.LENGTH)], ["whole"])
    executor = CachedExecutor(script)
    for _ in range(2):
        await executor.execute(PROMPT, MODEL)
    for _ in range(3):
        try:
            message = await executor.execute(PROMPT, OTHER)
        except pp.OverloadedError:
            continue
    assert message.text == "whole"
    assert executor.hits == 0
    keeping = CachedExecutor(ScriptedExecutor(call), cache_calls=True)
    assert await keeping.execute(PROMPT, MODEL) == await keeping.execute(PROMPT, MODEL)


async def test_a_damaged_entry_is_asked_anew_and_old_ones_go() -> None:
    store = MemoryCache(max_entries=1)
    executor = CachedExecutor(ScriptedExecutor(["a"], ["b"], ["c"]), store)
    await executor.execute(PROMPT, MODEL)
    key = next(iter(store._entries))
    await store.put(key, b"{")
    assert (await executor.execute(PROMPT, MODEL)).text == "b"
    await store.put("another", b"{}")
    assert (await executor.execute(PROMPT, MODEL)).text == "c"


async def test_a_paced_answer_is_the_same_answer() -> None:
    executor = CachedExecutor(ScriptedExecutor(["One two ", "three.\n"], repeat=True), pace=0.001)
    await executor.execute(PROMPT, MODEL)
    frames = await iterated(executor.execute_streaming_with_tools(PROMPT, MODEL))
    assert said(frames) == "One two three.\n"
    assert len(frames) == 4
    assert_valid_stream(frames)


# ---------------------------------------------------------------------------------------------------- all

_STEP = st.sampled_from(["text", "busy", "cut", "call", "stream error", "bad request"])
_SCRIPTS = st.lists(st.lists(_STEP, max_size=3), min_size=1, max_size=5)
_NESTING = st.lists(st.sampled_from(["retry", "fallback", "restart", "limit", "budget", "cache", "route"]), max_size=4)


def _scripted(steps: list[str], number: int) -> ScriptedAnswer:
    made: dict[str, pp.StreamFrame | str | Exception | object] = {
        "text": f"{number} ",
        "busy": overloaded(),
        "cut": CUT,
        "call": pp.ToolCall(f"call-{number}", "f", "{}"),
        "stream error": pp.ProviderStreamError("x", code="overloaded_error"),
        "bad request": pp.BadRequestError("x", provider="scripted", status=400),
    }
    used: set[str] = set()
    script = []
    for step in steps:
        if step not in used:
            script.append(made[step])
        used.add(step)
    return script  # type: ignore[return-value]


def _wrapped(inner: Asker, policy: str) -> Asker:
    match policy:
        case "retry":
            return RetryingClient(inner, AT_ONCE)
        case "fallback":
            return FallbackExecutor([OTHER, THIRD], inner)
        case "restart":
            return FallbackExecutor([OTHER, THIRD], inner, on_partial="restart")
        case "limit":
            return LimitedClient(inner, Limits(concurrency=2))
        case "budget":
            return BudgetedExecutor(inner, Budget(requests=100))
        case "cache":
            return CachedExecutor(inner)
        case _:
            return RoutingExecutor(inner, aliases({}))


@given(_SCRIPTS, _NESTING)
async def test_frames_always_fold_into_one_whole_message_or_one_error(
    scripts: list[list[str]], nesting: list[str]
) -> None:
    script = ScriptedClient(*[_scripted(steps, number) for number, steps in enumerate(scripts)])
    asker: Asker = script
    for policy in nesting:
        asker = _wrapped(asker, policy)
    frames: list[pp.StreamFrame] = []
    stream = asker.execute_streaming_with_tools(PROMPT, MODEL)
    try:
        async for frame in stream:
            frames.append(frame)
    except pp.PromptportError as error:
        assert not any(isinstance(frame, pp.End) for frame in frames)
        out_of_script = isinstance(error, pp.InvalidInputError)
        assert out_of_script or getattr(error, "partial", None) is not None  # noqa: PT017 - either may come
    else:
        assert_valid_stream(frames)
        calls = [frame for frame in frames if isinstance(frame, pp.ToolCall)]
        assert len(calls) <= 1
        begun = max([index for index, frame in enumerate(frames) if isinstance(frame, pp.Restarted)], default=-1)
        assert said(frames[begun + 1 :]) == (await stream.message()).text
    await asker.aclose()
    assert script.closed == len(script.requests)


async def test_a_batch_of_prompts_with_limits_and_faults() -> None:
    def reply(request: object) -> list[object]:
        number = len(script.requests)
        return [busy(0)] if number % 7 == 0 else [f"answer {number}"]

    script = ScriptedClient(reply, repeat=True)  # type: ignore[arg-type]
    limits = Limits(concurrency=5)
    async with LimitedClient(RetryingClient(script, AT_ONCE), limits) as client:
        batch = pp.map_prompts(client, [f"question {index}" for index in range(200)], MODEL, concurrency=20)
        seen = []
        async for mapped in batch:
            seen.append(mapped)
            assert batch.done == len(seen)
    assert batch.total == 200
    assert sorted(mapped.index for mapped in seen) == list(range(200))
    assert batch.failed == sum(mapped.error is not None for mapped in seen) == 0
    assert batch.usage.output_tokens == 200
    assert 200 < len(script.requests) < 240


async def test_an_error_in_a_batch_belongs_to_its_prompt_and_leaving_cancels_the_rest() -> None:
    script = ScriptedClient(["a"], [overloaded()], [asyncio.Event()], [asyncio.Event()])
    batch = pp.map_prompts(script, (f"{index}" for index in range(9)), "scripted/large", concurrency=2)
    assert batch.total is None
    async with batch:
        first, second = await anext(batch), await anext(batch)
        assert {first.index, second.index} == {0, 1}
        assert {type(one.error) for one in (first, second)} == {type(None), pp.OverloadedError}
        await turns(20)
    assert script.closed == len(script.requests) == 4
    with pytest.raises(pp.InvalidInputError):
        pp.map_prompts(script, [], MODEL, concurrency=0)
    done = await pp.map_prompts(ScriptedClient(["a"], ["b"]), ["1", "2"], MODEL).results()
    assert [mapped.index for mapped in done] == [0, 1]
