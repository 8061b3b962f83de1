"""Policies where something is strange: numbers, races, functions of the program that raise, stores that lie."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.policies.faults import answer, client, text
from tests.sources import iterated, turns, until_error

import promptport as pp
from promptport import telemetry
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
    RetryConfig,
    RetryingClient,
    RoutingExecutor,
    aliases,
    round_robin,
    weighted,
)
from promptport.testing import CUT, Pause, ScriptedClient, ScriptedExecutor, WireResponse, WireServer

MODEL, OTHER, THIRD = (pp.LLModel("scripted", name) for name in ("large", "small", "tiny"))
AT_ONCE = RetryConfig(max_attempts=4, initial_delay=0.0, max_delay=0.0, jitter_factor=0.0)


def overloaded() -> pp.OverloadedError:
    return pp.OverloadedError("busy", provider="scripted", status=529)


# ---------------------------------------------------------------------------------------------- options

STRANGE: dict[str, Callable[[], object]] = {
    "max_attempts": lambda: RetryConfig(max_attempts="3"),  # type: ignore[arg-type]
    "max_attempts must be at least 1, not True": lambda: RetryConfig(max_attempts=True),
    "max_attempts must be at least 1, not 2.5": lambda: RetryConfig(max_attempts=2.5),  # type: ignore[arg-type]
    "initial_delay": lambda: RetryConfig(initial_delay=float("nan")),
    "max_delay": lambda: RetryConfig(max_delay=float("inf")),
    "total must be over 0, not nan": lambda: RetryConfig(total=float("nan")),
    "retry_on takes a function": lambda: RetryConfig(retry_on=3),  # type: ignore[arg-type]
    "RetryingClient takes an executor or a client": lambda: RetryingClient("openai"),  # type: ignore[arg-type]
    "config takes a RetryConfig, not dict": lambda: RetryingClient(ScriptedClient(), {}),  # type: ignore[arg-type]
    "limits takes Limits, not int": lambda: LimitedClient(ScriptedClient(), 8),  # type: ignore[arg-type]
    "concurrency must be at least 1, not 2.5": lambda: Limits(concurrency=2.5),  # type: ignore[arg-type]
    "tokens_per_minute": lambda: Limits(tokens_per_minute="9"),  # type: ignore[arg-type]
    "max_wait": lambda: Limits(concurrency=1, max_wait=float("nan")),
    "Budget: requests": lambda: Budget(requests="9"),  # type: ignore[arg-type]
    "Budget: output_tokens": lambda: Budget(output_tokens=float("nan")),  # type: ignore[arg-type]
    "price takes a function": lambda: Budget(cost=1, price=0.5),  # type: ignore[arg-type]
    "after must be over 0": lambda: HedgedClient(ScriptedClient(), after="2"),  # type: ignore[arg-type]
    "pace must be over 0": lambda: CachedExecutor(ScriptedClient(), pace=float("inf")),
    "Circuit: cooldown": lambda: Circuit(cooldown=float("nan")),
    "Circuit: max_failures": lambda: Circuit(max_failures=1.5),  # type: ignore[arg-type]
    "models takes a list, not a string": lambda: FallbackExecutor("openai/gpt-5", ScriptedExecutor()),
    "each of models": lambda: FallbackExecutor([3], ScriptedExecutor()),  # type: ignore[list-item]
    "route takes a plain function": lambda: RoutingExecutor(ScriptedExecutor(), {"fast": MODEL}),  # type: ignore[arg-type]
    "each weight": lambda: weighted("any", {MODEL: float("inf")}),
    "each weight must be at least 0, not nan": lambda: weighted("any", {MODEL: float("nan")}),
    "max_bytes": lambda: FolderCache("x", max_bytes=0),
}


@pytest.mark.parametrize("words", STRANGE)
def test_what_cannot_be_meant_is_refused_at_once(words: str) -> None:
    with pytest.raises(pp.InvalidInputError, match=words):
        STRANGE[words]()


def test_an_async_route_is_refused() -> None:
    async def route(model: object, prompt: object, tools: object) -> pp.LLModel:
        return MODEL

    with pytest.raises(pp.InvalidInputError, match="an async function"):
        RoutingExecutor(ScriptedExecutor(), route)  # type: ignore[arg-type]


@pytest.mark.parametrize("multiplier", [1.5, 1e10, 1e300])
@pytest.mark.parametrize("attempt", [1, 60, 100_000])
def test_a_wait_that_grows_beyond_all_numbers_is_the_longest_one(attempt: int, multiplier: float) -> None:
    config = RetryConfig(max_attempts=10**6, backoff_multiplier=multiplier, jitter_factor=0.0)
    wait = config.delay(attempt, overloaded(), 0.5)
    assert wait is not None
    assert 1.0 <= wait <= 30.0
    assert RetryConfig(max_attempts=10**6, initial_delay=0, backoff_multiplier=1e300).delay(99, overloaded(), 0.5) == 0


# --------------------------------------------------------------------------------------------- retrying


@pytest.mark.parametrize("streaming", [True, False])
async def test_the_total_time_also_bounds_a_request_that_hangs(streaming: bool) -> None:
    hanging = WireResponse(text("x"), stall_after=0)
    async with WireServer(answer("warm"), WireResponse.json({}, 503), hanging) as server:
        config = RetryConfig(initial_delay=0, total=1.5)
        inner = client(server.url, timeouts=pp.Timeouts(first_frame=60))
        await inner.execute_streaming_with_tools("Hi", "openai-chat/m").message()  # what is imported first, is now
        asker = RetryingClient(inner, config)
        with pytest.raises(pp.TotalTimeout, match=r"RetryConfig\.total") as caught:
            if streaming:
                await iterated(asker.execute_streaming_with_tools("Hi", "openai-chat/m"))
            else:
                await asker.execute("Hi", "openai-chat/m")
        await server.client_closed()
        assert len(server.requests) == 3
        assert (caught.value.provider, caught.value.model) == ("openai-chat", "m")
        await asker.aclose()


async def test_the_total_time_ends_nothing_that_has_begun_to_speak() -> None:
    asker = RetryingClient(ScriptedClient(["a", Pause(0.3), "b"]), RetryConfig(total=0.1))
    assert (await asker.execute_streaming_with_tools("Hi", MODEL).message()).text == "ab"


async def test_a_function_that_judges_errors_and_raises_is_seen_with_the_error_that_it_judged() -> None:
    def judge(error: pp.PromptportError) -> bool:
        raise ZeroDivisionError("mine")

    script = ScriptedExecutor([overloaded()], ["never"])
    for asker in (
        RetryingClient(script, RetryConfig(retry_on=judge)),
        FallbackExecutor([OTHER], script, fall_back_on=judge),
    ):
        script.requests.clear()
        with pytest.raises(ZeroDivisionError, match="mine") as caught:
            await asker.execute_streaming_with_tools("Hi", MODEL).message()
        assert isinstance(caught.value.__context__, pp.OverloadedError)
        assert len(script.requests) == script.client.closed == 1
        script.client.closed = 0


FIRST_EVENTS: dict[str, bytes] = {
    "anthropic": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n',
    "openai": b'event: error\ndata: {"type":"error","code":"server_error","message":"x"}\n\n',
    "openai-chat": b'data: {"error":{"message":"x","code":429}}\n\n',
    "google": b'data: {"error":{"code":503,"status":"UNAVAILABLE","message":"x"}}\n\n',
    "ollama": b'{"error":{"code":503,"message":"x"}}\n',
}


@pytest.mark.parametrize("provider", FIRST_EVENTS)
async def test_an_overload_that_is_the_first_event_of_a_200_is_retried(provider: str) -> None:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse(FIRST_EVENTS[provider]))
        asker = RetryingClient(
            pp.client(provider, base_url=server.url, **({} if provider == "ollama" else {"api_key": "test-key-1234"})),
            AT_ONCE,
        )
        with pytest.raises(pp.ProviderStreamError):
            await iterated(asker.execute_streaming_with_tools("Hi", f"{provider}/m"))
        await asker.aclose()
        assert len(server.requests) == 4


# ---------------------------------------------------------------------------------------------- fallback


@pytest.mark.parametrize("streaming", [True, False])
async def test_one_request_probes_a_model_whose_rest_is_over_also_when_several_begin_at_once(streaming: bool) -> None:
    now = 0.0
    circuit = Circuit(max_failures=1, cooldown=10, clock=lambda: now)
    circuit.failed(str(MODEL))
    now = 11.0
    gate = asyncio.Event()
    asked: list[str] = []

    def reply(request: Any) -> Any:
        asked.append(request.model.id)  # when it is sent, not when the stream is made
        return [gate, "x"] if request.model == MODEL else ["y"]

    executor = FallbackExecutor([OTHER], ScriptedExecutor(reply, repeat=True), circuit=circuit)

    streams = [executor.execute_streaming_with_tools("Hi", MODEL) for _ in range(3)] if streaming else []
    waiting = [stream.message() for stream in streams] or [executor.execute("Hi", MODEL) for _ in range(3)]
    tasks = [asyncio.create_task(one) for one in waiting]
    await turns(50)
    gate.set()
    texts = sorted([(await task).text for task in tasks])
    assert texts == ["x", "y", "y"]
    assert sorted(asked) == ["large", "small", "small"]
    assert circuit.allows(str(MODEL))


def test_a_request_that_began_before_the_rest_does_not_end_the_probe_of_another() -> None:
    now = 0.0
    circuit = Circuit(max_failures=1, cooldown=10, clock=lambda: now)
    late, leaving = circuit.asked("m"), circuit.asked("m")
    circuit.failed("m")
    now = 11.0
    assert circuit.allows("m")
    assert circuit.asked("m"), "this one is the probe"
    assert (late, leaving) == (False, False)
    circuit.failed("m", probe=late)
    circuit.left("m", probe=leaving)
    assert not circuit.allows("m"), "the probe is still under way"
    circuit.left("m")
    assert circuit.allows("m")


@pytest.mark.parametrize(
    "error",
    [
        pp.BadRequestError("x", provider="scripted", status=400),
        pp.ContextLengthError("x", provider="scripted", status=400),
        pp.ProviderStreamError("x", code="invalid_request_error"),
        pp.RateLimitError("x", provider="scripted", code="local_limit"),
    ],
)
async def test_a_request_that_is_wrong_or_was_never_sent_makes_no_model_ill(error: pp.PromptportError) -> None:
    circuit = Circuit(max_failures=1)
    executor = FallbackExecutor(
        [OTHER],
        ScriptedExecutor(lambda request: [error] if request.model == MODEL else ["a"], repeat=True),
        circuit=circuit,
    )
    with contextlib.suppress(pp.PromptportError):
        await executor.execute_streaming_with_tools("Hi", MODEL).message()
    with contextlib.suppress(pp.PromptportError):
        await executor.execute("Hi", MODEL)
    assert circuit.allows(str(MODEL))


async def test_after_an_answer_began_anew_each_further_model_is_told() -> None:
    script = ScriptedExecutor(["so far", CUT], [overloaded()], ["Hello"])
    executor = FallbackExecutor([OTHER, THIRD], script, on_partial="restart")
    frames = await iterated(executor.execute_streaming_with_tools("Hi", MODEL))
    assert [frame for frame in frames if isinstance(frame, pp.Restarted)] == [
        pp.Restarted("scripted/small", "IncompleteStreamError"),
        pp.Restarted("scripted/tiny", "OverloadedError"),
    ]
    assert pp.message_of(frames).text == "Hello"


# ---------------------------------------------------------------------------------------------- hedging


async def test_a_second_request_that_cannot_be_made_takes_nothing_from_the_first() -> None:
    inner = BudgetedExecutor(ScriptedExecutor([Pause(0.1), "first"]), Budget(requests=1))
    hedged = HedgedClient(inner, after=0.01)
    assert (await hedged.execute_streaming_with_tools("Hi", MODEL).message()).text == "first"
    assert hedged.hedges == 0


async def test_where_both_fail_the_first_error_is_raised_and_nothing_is_left() -> None:
    gate = asyncio.Event()
    script = ScriptedClient([gate, overloaded()], [pp.ServerError("x", provider="scripted", status=500)])
    hedged = HedgedClient(script, after=0.01)
    reading = asyncio.create_task(until_error(hedged.execute_streaming_with_tools("Hi", MODEL)))
    async with asyncio.timeout(5):
        while script.closed < 1:  # noqa: ASYNC110 - a count tells nobody
            await asyncio.sleep(0.001)
    gate.set()
    _, error = await reading
    assert isinstance(error, pp.ServerError)
    assert script.closed == 2


async def test_the_tokens_of_the_request_that_lost_are_in_the_usage() -> None:
    usage = {"input_tokens": 11, "output_tokens": 1}
    begun: dict[str, Any] = {
        "type": "message_start",
        "message": {"id": "m", "model": "c", "role": "assistant", "usage": usage},
    }
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    said = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}
    rest: list[dict[str, Any]] = [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    head, *others = [
        f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in (begun, block, said, *rest)
    ]
    async with WireServer(WireResponse([head, b"x"], stall_after=len(head)), WireResponse([head, *others])) as server:
        hedged = HedgedClient(pp.client("anthropic", api_key="test-key-1234", base_url=server.url), after=0.2)
        budget = Budget(requests=9)
        message = await BudgetedExecutor(hedged, budget).execute_streaming_with_tools("Hi", "anthropic/c").message()
        await server.client_closed()
        await hedged.aclose()
    assert message.text == "Hello"
    assert message.usage == budget.usage == pp.Usage(22, 6)
    assert (hedged.hedges, hedged.wins) == (1, 1)


# ------------------------------------------------------------------------------------------------ budget


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("price", [float("nan"), -5.0, float("inf"), ZeroDivisionError("mine"), None])
async def test_a_price_that_is_none_takes_no_answer_and_changes_no_sum(price: Any, streaming: bool) -> None:
    def cost(model: pp.LLModel, usage: pp.Usage) -> float | None:
        if isinstance(price, Exception):
            raise price
        return price  # type: ignore[no-any-return]

    budget = Budget(cost=1.0, price=cost)
    executor = BudgetedExecutor(ScriptedExecutor(["whole"]), budget)
    if streaming:
        message = await executor.execute_streaming_with_tools("Hi", MODEL).message()
    else:
        message = await executor.execute("Hi", MODEL)
    assert message.text == "whole"
    assert (budget.cost, budget.unpriced) == (0.0, 1)


async def test_the_tokens_of_an_answer_that_was_cut_are_counted_as_far_as_they_were_told() -> None:
    chunk = {"id": "a", "choices": [{"index": 0, "delta": {"content": "x"}}], "usage": {"prompt_tokens": 7}}
    body = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    async with WireServer(WireResponse([body, b"x"], stall_after=len(body))) as server:
        budget = Budget(input_tokens=5)
        asker = BudgetedExecutor(client(server.url), budget)
        async with asker.execute_streaming_with_tools("Hi", "openai-chat/m") as stream:
            await anext(stream)
        assert budget.used == {"input_tokens": 7}
        with pytest.raises(pp.BudgetExceededError):
            asker.execute_streaming_with_tools("Hi", "openai-chat/m")
        await asker.aclose()


async def test_requests_that_begin_together_pass_a_limit_only_by_what_they_use() -> None:
    budget = Budget(output_tokens=3)
    executor = BudgetedExecutor(ScriptedExecutor(["a"], repeat=True), budget)
    results = await asyncio.gather(*[executor.execute("Hi", MODEL) for _ in range(5)], return_exceptions=True)
    assert budget.used["output_tokens"] == sum(isinstance(one, pp.AssistantMessage) for one in results)
    with pytest.raises(pp.BudgetExceededError):
        await executor.execute("Hi", MODEL)


# ------------------------------------------------------------------------------------------------ limits


async def test_whoever_waits_and_is_cancelled_leaves_no_hole_and_loses_nobodys_turn() -> None:
    limits = Limits(concurrency=1)
    served: list[int] = []

    async def one(number: int) -> None:
        async with limits.place(MODEL):
            served.append(number)
            await turns(3)

    tasks = [asyncio.create_task(one(number)) for number in range(9)]
    await turns(2)
    for number in (1, 4, 8):
        tasks[number].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert served == [0, 2, 3, 5, 6, 7]
    await one(9)


async def test_an_answer_whose_usage_nobody_told_counts_no_token() -> None:
    unknown = pp.End(pp.FinishReason.STOP, usage=pp.Usage())
    limited = LimitedClient(
        ScriptedClient(["a", unknown], repeat=True), Limits(tokens_per_minute=1, max_wait=0.05, name="unknown")
    )
    for _ in range(3):
        await limited.execute("Hi", MODEL)


async def test_a_storage_that_says_nothing_is_lost_and_takes_no_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("redis")
    from promptport.policies import limited as module

    monkeypatch.setattr(module, "_STORAGE_SECONDS", 0.2)
    silent = socket.create_server(("127.0.0.1", 0))  # the kernel connects, and nobody answers
    address = f"async+redis://127.0.0.1:{silent.getsockname()[1]}"
    script = ScriptedExecutor(["whole"])
    limits = Limits(requests_per_minute=5, max_wait=None, storage=address)
    with pytest.raises(pp.TransportError, match="storage of the limits cannot be asked"):
        async with asyncio.timeout(10):
            await LimitedClient(script, limits).execute("Hi", MODEL)
    assert script.requests == []
    counting = Limits(tokens_per_minute=5, storage=address)
    with caplog.at_level(logging.WARNING, "promptport"):
        async with asyncio.timeout(10):
            await counting.count(pp.Usage(1, 1))
    assert "could not be counted" in caplog.text
    await limits.aclose()
    await counting.aclose()
    silent.close()


# ------------------------------------------------------------------------------------------------- cache


def variants(value: Any) -> list[Any]:
    """The same, each time with another value in one of its fields."""
    samples: dict[str, Any] = {
        "messages": (pp.UserMessage.of("other"),),
        "params": pp.LLMParams(seed=1),
        "temperature": 0.5,
        "max_tokens": 5,
        "stop": ("x",),
        "seed": 5,
        "tool_choice": pp.ToolChoice.NONE,
        "parallel_tool_calls": False,
        "response_schema": {"type": "object", "properties": {}},
        "reasoning_effort": "low",
        "reasoning_budget": 2000,
        "user": "me",
        "extra": {"x": 1},
        "name": "other",
        "description": "other",
        "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
        "strict": True,
        "provider": "other",
        "capabilities": pp.ModelCapabilities(known=False),
        "cache": True if isinstance(value, pp.ImagePart) else "auto",
        "cache_lifetime": "1h",
        "foreign_reasoning": "text",
        "data": b"other",
        "url": "https://other",
        "media_type": "image/gif",
        "detail": "low",
        "text": "other",
    }
    made = []
    for name in value.__struct_fields__:
        if isinstance(value, pp.Prompt) and name == "id":
            continue
        sample = "other" if name == "id" else samples.get(name)
        if sample is None:
            pytest.fail(f"{type(value).__name__}.{name} is new: give it a value here")
        try:
            made.append(msgspec.structs.replace(value, **{name: sample}))
        except pp.InvalidInputError:
            made.append(msgspec.structs.replace(value, **{name: sample, **TOGETHER.get(name, {})}))
    return made


TOGETHER: dict[str, dict[str, Any]] = {"url": {"data": None}, "cache_lifetime": {"cache": "auto"}}


def test_every_field_of_a_request_is_part_of_its_key() -> None:
    base, tool = pp.Prompt.of("Hi"), pp.ToolDescriptor("f", "Does.", {"type": "object", "properties": {}})
    picture = pp.ImagePart(data=b"png", media_type="image/png")
    requests: list[tuple[pp.Prompt, pp.LLModel, list[pp.ToolDescriptor]]] = [(base, MODEL, []), (base, MODEL, [tool])]
    requests += [(prompt, MODEL, [tool]) for prompt in variants(base)]
    requests += [(msgspec.structs.replace(base, params=params), MODEL, [tool]) for params in variants(base.params)]
    requests += [(base, model, [tool]) for model in variants(MODEL)]
    requests += [(base, MODEL, [other]) for other in variants(tool)]
    requests += [(base, MODEL, [tool, other]) for other in variants(tool)[:1]]
    requests += [(pp.Prompt().user("Hi", part), MODEL, [tool]) for part in (picture, *variants(picture))]
    requests += [(pp.Prompt().system("Hi").user("Hi"), MODEL, [tool]), (base.assistant("Hi").user("Hi"), MODEL, [tool])]
    executor = CachedExecutor(ScriptedExecutor(["x"], repeat=True, capabilities=EVERYTHING))
    keys = {_key_of(executor, *request) for request in requests}
    assert len(keys) == len(requests) > 30
    named = msgspec.structs.replace(base, id="another name")
    assert _key_of(executor, named, MODEL, []) == _key_of(executor, base, MODEL, [])
    assert all(len(key) == 64 for key in keys), "a hash, and nothing of the request, is the name of a file"


EVERYTHING = pp.ModelCapabilities.of(pp.StreamedTools.DELTAS, tuple(pp.Capability))


def _key_of(executor: CachedExecutor, prompt: pp.Prompt, model: pp.LLModel, tools: list[pp.ToolDescriptor]) -> str:
    from promptport.policies.cached import _key
    from promptport.policies.relay import server_of

    return _key(prompt, model, tools, server_of(executor.inner, model))


async def test_two_servers_that_share_a_folder_do_not_share_answers(tmp_path: Path) -> None:
    async def said(server: WireServer, wrap: Callable[[Any], Asker]) -> str:
        asker = CachedExecutor(wrap(client(server.url)), FolderCache(tmp_path))
        try:
            return (await asker.execute_streaming_with_tools("Hi", "openai-chat/m").message()).text
        finally:
            await asker.aclose()

    wraps: list[Callable[[Any], Asker]] = [
        lambda one: one,
        lambda one: RetryingClient(LimitedClient(one, Limits(concurrency=1))),
        lambda one: FallbackExecutor(["openai-chat/n"], pp.MultiProviderExecutor([one])),
    ]
    async with WireServer() as first, WireServer() as second:
        first.answer(lambda _: answer("first"))
        second.answer(lambda _: answer("second"))
        for wrap in wraps:
            assert [await said(first, wrap), await said(second, wrap), await said(first, wrap)] == [
                "first",
                "second",
                "first",
            ]
        assert len(first.requests) == len(second.requests) == 1, "policies in between do not change the key"


@pytest.mark.parametrize("thing", ["pipe", "link", "huge", "deep", "foreign"])
async def test_a_strange_file_in_the_folder_is_no_answer(tmp_path: Path, thing: str) -> None:
    store = FolderCache(tmp_path / "cache", max_bytes=2000)
    executor = CachedExecutor(ScriptedExecutor(["one"], ["two"]), store)
    assert (await executor.execute("Hi", MODEL)).text == "one"
    (file,) = (tmp_path / "cache").glob("*.json")
    kept = file.read_bytes()
    file.unlink()
    if thing == "pipe":
        os.mkfifo(file)
    elif thing == "link":
        (tmp_path / "elsewhere").write_bytes(kept)
        file.symlink_to(tmp_path / "elsewhere")
    elif thing == "huge":
        file.write_bytes(kept + b" " * 3000)
    else:
        file.write_bytes(b"[" * 1900 if thing == "deep" else b'{"role":"assistant","parts":7}')
    async with asyncio.timeout(5):
        assert (await executor.execute("Hi", MODEL)).text == "two"
    if thing == "link":
        assert (tmp_path / "elsewhere").read_bytes() == kept, "what a link leads to is not written"


async def test_a_store_that_raises_counts_as_empty(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        async def get(self, key: str) -> bytes | None:
            raise ConnectionError("away")

        async def put(self, key: str, value: bytes) -> None:
            raise ConnectionError("away")

    executor = CachedExecutor(ScriptedExecutor(["one"], ["two"]), Broken())
    with caplog.at_level(logging.WARNING, "promptport"):
        assert (await executor.execute("Hi", MODEL)).text == "one"
        assert (await executor.execute_streaming_with_tools("Hi", MODEL).message()).text == "two"
    assert "could not be read" in caplog.text


async def test_a_full_disk_loses_no_answer_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    executor = CachedExecutor(ScriptedExecutor(["one"]), FolderCache(tmp_path))
    assert (await executor.execute("Hi", MODEL)).text == "one"
    assert os.listdir(tmp_path) == []


async def test_writers_of_one_entry_leave_one_whole_file(tmp_path: Path) -> None:
    store = FolderCache(tmp_path)
    values = [bytes([65 + number]) * 200_000 for number in range(6)]
    seen: set[int] = set()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            found = store._read("key")
            seen.add(len(found) if found is not None else 200_000)
            assert found is None or found in values

    reader = asyncio.create_task(asyncio.to_thread(read))
    await asyncio.gather(*[store.put("key", value) for value in values])
    over.set()
    await reader
    assert seen == {200_000}
    assert os.listdir(tmp_path) == ["key.json"]


async def test_a_kept_answer_needs_no_budget() -> None:
    executor = CachedExecutor(BudgetedExecutor(ScriptedExecutor(["one"]), Budget(requests=1)))
    assert (await executor.execute("Hi", MODEL)).text == "one"
    assert (await executor.execute_streaming_with_tools("Hi", MODEL).message()).text == "one"
    _, error = await until_error(executor.execute_streaming_with_tools("Another", MODEL))
    assert isinstance(error, pp.BudgetExceededError)


async def test_leaving_a_paced_answer_ends_it() -> None:
    executor = CachedExecutor(ScriptedExecutor(["one two three"], repeat=True), pace=30.0)
    await executor.execute("Hi", MODEL)
    reading = asyncio.create_task(iterated(executor.execute_streaming_with_tools("Hi", MODEL)))
    await turns(20)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert asyncio.all_tasks() == {asyncio.current_task()}


# ------------------------------------------------------------------------------------------------- routes

AROUND: dict[str, Callable[[Asker], Asker]] = {
    "retrying": RetryingClient,
    "limited": lambda inner: LimitedClient(inner, Limits(concurrency=1)),
    "hedged": lambda inner: HedgedClient(inner, after=30),
    "budgeted": lambda inner: BudgetedExecutor(inner, Budget(requests=9)),
    "cached": CachedExecutor,
    "falling back": lambda inner: FallbackExecutor([OTHER], inner),
    "several": lambda inner: RetryingClient(
        BudgetedExecutor(LimitedClient(inner, Limits(concurrency=1)), Budget(requests=9))
    ),
}


@pytest.mark.parametrize("policy", AROUND)
async def test_a_policy_around_a_route_speaks_of_the_model_that_is_asked(policy: str) -> None:
    class Models(telemetry.Observer):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def request_started(self, event: telemetry.RequestStarted) -> None:
            self.seen.append(str(event.model))

    script = (
        ScriptedExecutor([overloaded()], ["a"], ["b"], ["c"])
        if policy == "falling back"
        else ScriptedExecutor(["a"], ["b"], ["c"])
    )
    models, asker = Models(), AROUND[policy](RoutingExecutor(script, aliases({"fast": MODEL})))
    with telemetry.observe(models):
        await asker.execute("1", "fast")
        await asker.execute_streaming_with_tools("2", "fast").message()
        assert asker.capabilities("fast") == script.capabilities(MODEL)  # type: ignore[arg-type]
        async with pp.ToolDispatcher(asker, []) as dispatcher:
            await dispatcher.stream("3", "fast").message()
    assert set(models.seen) <= {str(MODEL), str(OTHER)}
    assert models.seen[0] == str(MODEL)
    with pytest.raises(pp.InvalidInputError, match="no alias 'slow'"):
        await asker.execute("4", "slow")


async def test_loops_sessions_and_batches_take_the_name_of_a_route() -> None:
    script = ScriptedExecutor(lambda request: [request.model.id], repeat=True)
    executor = RoutingExecutor(script, round_robin("any", [MODEL, OTHER]))
    batch = await pp.map_prompts(executor, ["1", "2", "3", "4"], "any", concurrency=1).results()
    assert [mapped.message.text for mapped in batch if mapped.message] == ["large", "small", "large", "small"]
    session = pp.LLMSession(executor=executor, model="any")
    assert session.model == MODEL
    async with pp.ToolDispatcher(executor, []) as dispatcher:
        assert (await dispatcher.stream("Hi", "any").message()).text == "small"


def test_asking_what_a_model_can_do_takes_no_turn() -> None:
    executor = RoutingExecutor(ScriptedExecutor(), round_robin("any", [MODEL, OTHER]))
    found = []
    for _ in range(4):
        executor.capabilities("any")
        found.append(executor.resolve("any", pp.Prompt.of("Hi")))
    assert found == [MODEL, OTHER, MODEL, OTHER]


@pytest.mark.parametrize("returned", [None, 3, "no-provider"])
def test_a_route_that_gives_no_model_is_told_at_once(returned: Any) -> None:
    executor = RoutingExecutor(ScriptedExecutor(["never"]), lambda model, prompt, tools: returned)
    with pytest.raises((pp.InvalidInputError, pp.ConfigurationError)):
        executor.execute_streaming_with_tools("Hi", "fast")
