"""Faults by policies, over real sockets.

In no cell is anything sent that could repeat an effect, a frame lost or doubled, a tool run twice, or a socket left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psutil
import pytest
from tests.policies.faults import FAULTS, MODEL, OTHER, PROMPT, answer, client
from tests.sources import iterated

import promptport as pp
from promptport.policies import (
    Asker,
    Budget,
    BudgetedExecutor,
    CachedExecutor,
    Circuit,
    FallbackExecutor,
    HedgedClient,
    LimitedClient,
    Limits,
    RetryConfig,
    RetryingClient,
    RoutingExecutor,
    aliases,
)
from promptport.testing import RecordedRequest, WireResponse, WireServer, assert_valid_stream

FAST = RetryConfig(max_attempts=3, initial_delay=0.0, max_delay=0.0, jitter_factor=0.0)
runs: list[int] = []


@pp.tool
async def act(x: int) -> str:
    """Does something that must not be done twice."""
    runs.append(x)
    return "done"


def retrying(inner: Asker) -> Asker:
    return RetryingClient(inner, FAST)


def falling_back(inner: Asker) -> Asker:
    return FallbackExecutor([OTHER], inner, circuit=Circuit(max_failures=99))


def restarting(inner: Asker) -> Asker:
    return FallbackExecutor([OTHER], inner, on_partial="restart", circuit=Circuit(max_failures=99))


POLICIES: dict[str, Callable[[Asker], Asker]] = {
    "retrying": retrying,
    "falling back": falling_back,
    "restarting": restarting,
    "hedged": lambda inner: HedgedClient(inner, after=30),
    "limited": lambda inner: LimitedClient(inner, Limits(concurrency=1, requests_per_minute=50)),
    "budgeted": lambda inner: BudgetedExecutor(inner, Budget(requests=50)),
    "cached": CachedExecutor,
    "routed": lambda inner: RoutingExecutor(inner, aliases({})),
    "retrying, then falling back": lambda inner: falling_back(retrying(inner)),
    "restarting, limited, retried": lambda inner: retrying(LimitedClient(restarting(inner), Limits(concurrency=1))),
}
AGAIN = {"retrying", "falling back", "restarting", "retrying, then falling back", "restarting, limited, retried"}


async def no_socket_is_left(url: str) -> None:
    """No connection of this process leads to the server any more."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    async with asyncio.timeout(5):
        while any(  # noqa: ASYNC110 - the kernel tells nobody
            one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED
            for one in psutil.Process().net_connections("tcp")
        ):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_cell_of_the_table(fault: str, policy: str) -> None:
    respond, delivered, called = FAULTS[fault]
    mended = policy in AGAIN and (not delivered or ("restarting" in policy and not called))
    requests = 0

    def once(request: RecordedRequest) -> WireResponse:
        nonlocal requests
        requests += 1
        return respond() if requests == 1 else answer("Hello")

    runs.clear()
    async with WireServer() as server:
        server.answer(once)
        asker = POLICIES[policy](client(server.url))
        try:
            async with pp.ToolDispatcher(asker, [act]) as dispatcher, dispatcher.stream(PROMPT, MODEL) as stream:
                frames, error = [], None
                try:
                    async for frame in stream:
                        frames.append(frame)
                except pp.PromptportError as raised:
                    error = raised
        finally:
            await asker.aclose()
        await no_socket_is_left(server.url)
    texts = "".join(frame.text for frame in frames if isinstance(frame, pp.Append))
    if mended:
        assert error is None
        assert requests == 2
        restarted = [frame for frame in frames if isinstance(frame, pp.Restarted)]
        assert len(restarted) == (1 if delivered else 0)
        assert texts.endswith("Hello")
        assert stream.partial.text == "Hello"
        assert_valid_stream([frame for frame in frames if isinstance(frame, pp.StreamFrame)])
    else:
        assert error is not None
        assert requests == 1, "the request was repeated"
        assert texts == ("so far" if "text" in fault else "")
        assert getattr(error, "partial", None) is not None
    assert len(runs) == (1 if called else 0), "a tool runs once, or never"


@pytest.mark.parametrize("policy", sorted(AGAIN))
async def test_where_nobody_listens_each_attempt_is_told_by_one_error(policy: str) -> None:
    async with WireServer() as server:
        url = server.url
    asker = POLICIES[policy](client(url))
    try:
        with pytest.raises(pp.TransportError) as caught:
            await iterated(asker.execute_streaming_with_tools(PROMPT, MODEL))
        assert caught.value.partial is not None
    finally:
        await asker.aclose()


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_an_error_that_does_not_pass_is_not_retried(status: int) -> None:
    async with WireServer(WireResponse.json({"error": {"message": "no"}}, status)) as server:
        asker = retrying(client(server.url))
        with pytest.raises(pp.ProviderError):
            await iterated(asker.execute_streaming_with_tools(PROMPT, MODEL))
        await asker.aclose()
        assert len(server.requests) == 1


async def test_the_words_of_an_error_decide_nothing() -> None:
    words = {"error": {"message": "rate limit exceeded, overloaded, 429, try again", "type": "invalid_request_error"}}
    async with WireServer(WireResponse.json(words, 400)) as server:
        asker = retrying(client(server.url))
        with pytest.raises(pp.BadRequestError):
            await asker.execute(PROMPT, MODEL)
        await asker.aclose()
        assert len(server.requests) == 1
