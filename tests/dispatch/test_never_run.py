"""What is not a whole, known and fitting call is never run: every provider's client, every fault of the kit, counted.

A dispatcher reads each small answer of `tests/wires` over a real socket, as it was written and with each mutator's
fault, and its tools count how often they run. What a fault may do, and what it may not, is the mutator's meaning.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.kits import LONG, kit, response

from promptport.dispatch import ToolOutcome
from promptport.dispatch.dispatcher import ToolDispatcher
from promptport.errors import InvalidToolArgumentsError, StreamError, UnknownToolError
from promptport.llm_client import LLMClient
from promptport.messages import Prompt
from promptport.testing import MUTATORS, Meaning, Mutator, ProviderContract, Wire, WireServer
from promptport.tools import Tool, tool

WIRES = Path(__file__).parents[1] / "wires"
PROVIDERS = ["anthropic", "local", "ollama", "openai", "openai-chat"]
PROMPT = Prompt.of("What is the weather in Paris?")
FAULTS = [mutator for mutator in MUTATORS if mutator.protocols - {"eventstream"}]
"""Those of binary frames alone are Bedrock's, whose answers are not among `tests/wires`."""
SEEDS = (1, 2)
CALLS = {"text": 0, "one_call": 1, "parallel_calls": 2, "empty_arguments": 1}
"""How many calls each answer holds: so that a test that runs nothing fails."""
NAMES = ("get_weather", "book_table", "current_time")


class Bench:
    """A dispatcher over a provider's client, at the other end of whose socket is an answer of ours."""

    def __init__(self, contract: ProviderContract, server: WireServer, client: LLMClient) -> None:
        self.contract = contract
        self.server = server
        self.client = client
        assert contract.mutators is not None
        self.protocol = contract.mutators
        folder = WIRES / self.protocol
        self.bodies = {path.stem: path.read_bytes() for path in folder.iterdir()}
        assert set(CALLS) <= set(self.bodies)

    async def run(self, body: bytes, tools: Iterable[Tool[Any]]) -> tuple[StreamError | None, Sequence[ToolOutcome]]:
        """One turn: this answer, and after its calls another that is only text."""
        self.server.queue(response(self.contract, body))
        self.server.answer(lambda _: response(self.contract, self.bodies["text"]))
        error: StreamError | None = None
        async with ToolDispatcher(self.client, tools) as dispatcher:
            async with dispatcher.stream(PROMPT, self.contract.model) as stream:
                try:
                    await stream.message()
                except StreamError as caught:
                    error = caught
            return error, stream.outcomes

    async def counted(self, body: bytes) -> tuple[Counter[str], StreamError | None]:
        """What ran, when every tool that the answers call is there and takes anything."""
        ran: Counter[str] = Counter()
        error, _ = await self.run(body, [counting(name, ran) for name in NAMES])
        return ran, error

    def faulty(self, name: str, mutator: Mutator, seed: int) -> bytes | None:
        return mutator(Wire.parse(self.protocol, self.bodies[name]), random.Random(seed))


def counting(name: str, ran: Counter[str]) -> Tool[Any]:
    async def run(**values: Any) -> str:
        ran[f"{name} {sorted(values.items())}"] += 1
        return "done"

    return Tool(name=name, function=run)


@asynccontextmanager
async def bench_of(provider: str) -> AsyncIterator[Bench]:
    contract = kit(provider)
    async with WireServer() as server:
        client = contract.make_client(server.url, LONG)
        try:
            yield Bench(contract, server, client)
        finally:
            await client.aclose()


@pytest.fixture(params=PROVIDERS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with bench_of(request.param) as made:
        yield made


async def test_as_it_was_written_each_call_runs_once(bench: Bench) -> None:
    for name, calls in CALLS.items():
        ran, error = await bench.counted(bench.bodies[name])
        assert error is None
        assert list(ran.values()) == [1] * calls, f"{bench.protocol}/{name}: {ran}"


@pytest.mark.parametrize("mutator", FAULTS, ids=lambda mutator: mutator.name)
async def test_under_every_fault_nothing_runs_that_was_not_sealed(mutator: Mutator) -> None:
    applied = 0
    for provider in PROVIDERS:
        async with bench_of(provider) as bench:
            for name in CALLS:
                whole: Counter[str] | None = None
                for seed in SEEDS:
                    body = bench.faulty(name, mutator, seed)
                    if body is None:
                        continue
                    applied += 1
                    if whole is None:
                        whole, _ = await bench.counted(bench.bodies[name])
                    ran, error = await bench.counted(body)
                    where = f"{mutator.name} in {bench.protocol}/{name}, seed {seed}"
                    assert ran <= whole, f"{where}: ran {ran - whole}"
                    if mutator.meaning in (Meaning.HARMLESS, Meaning.IDENTITY):
                        assert (ran, error) == (whole, None), where
                    else:
                        assert error is not None, where
                        sealed = Wire.parse(bench.protocol, body).sealed_calls()
                        assert ran.total() <= sealed, f"{where}: {ran}, of which {sealed} were sealed"
    assert applied, f"{mutator.name} applies to no answer: nothing was tested"


@pytest.mark.parametrize("mutator", FAULTS, ids=lambda mutator: mutator.name)
async def test_under_every_fault_no_unknown_and_no_unfit_call_runs(mutator: Mutator) -> None:
    """Nothing that the answers call is offered, but for one tool, whose arguments the calls do not fit."""
    ran: list[str] = []

    @tool(name="get_weather")
    async def of_a_zip_code(zip_code: int) -> str:
        """Weather by ZIP code."""
        ran.append("get_weather")
        return "sunny"

    @tool
    async def nobody_calls_this() -> None:
        """Nothing."""
        ran.append("nobody_calls_this")

    refused: set[type[Exception]] = set()
    for provider in PROVIDERS:
        async with bench_of(provider) as bench:
            for name in CALLS:
                body = bench.faulty(name, mutator, SEEDS[0])
                if body is not None:
                    _, outcomes = await bench.run(body, [of_a_zip_code, nobody_calls_this])
                    assert {outcome.state for outcome in outcomes} <= {"refused"}
                    refused |= {type(outcome.error) for outcome in outcomes if outcome.error is not None}
    assert ran == []
    assert refused <= {UnknownToolError, InvalidToolArgumentsError}
    if mutator.meaning is Meaning.HARMLESS:
        assert InvalidToolArgumentsError in refused
