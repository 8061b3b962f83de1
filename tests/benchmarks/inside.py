"""What promptport's own parts cost without a network: the dispatcher, the encoder for front ends, the text parser.

Rule: answers as `tests.benchmarks.client` does, one command a line; each is measured beside the same frames alone.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from tests.benchmarks.growth import SHAPES

import promptport as pp
from promptport import telemetry
from promptport.front_ends import (
    AGUIEncoder,
    AnthropicMessagesEncoder,
    FrameEncoder,
    OpenAIChatEncoder,
    OpenAIResponsesEncoder,
    UIMessageEncoder,
    encode_events,
    encode_frames,
)
from promptport.policies import (
    Asker,
    Budget,
    BudgetedExecutor,
    CachedExecutor,
    FallbackExecutor,
    HedgedClient,
    LimitedClient,
    Limits,
    ObservedClient,
    RetryingClient,
    RoutingExecutor,
    aliases,
)
from promptport.stream import FrameBatches
from promptport.testing import ScriptedClient
from promptport.text_tools import TextToolsParser

_MODEL = pp.LLModel("scripted", "scripted")
_PROMPT = pp.Prompt.of("Go.")
_END: list[pp.StreamFrame] = [pp.End(pp.FinishReason.STOP)]


def _stream(count: int, batch: int, observation: telemetry.Observation | None = None) -> pp.FrameStream:
    """So many frames, as from reads that brought ``batch`` each."""

    async def source() -> FrameBatches:
        for _ in range(count // batch):
            yield [pp.Append(" word") for _ in range(batch)]
        yield _END

    return pp.FrameStream(source(), observation=observation)


class _Executor:
    def __init__(self, count: int, batch: int) -> None:
        self._make: Callable[[], pp.FrameStream] = lambda: _stream(count, batch)

    def execute_streaming_with_tools(
        self, prompt: pp.Prompt, model: pp.LLModel, tools: Sequence[pp.ToolDescriptor] = ()
    ) -> pp.FrameStream:
        return self._make()


class _Asker(pp.SingleClientExecutor):
    """An executor whose answers are there already, with no client behind it."""

    def __init__(self, batch: int) -> None:
        super().__init__(ScriptedClient())
        self._batch = batch

    def execute_streaming_with_tools(
        self, prompt: pp.Prompt | str, model: pp.LLModel | str, tools: Sequence[pp.ToolDescriptor] = ()
    ) -> pp.FrameStream:
        return _stream(self._batch, self._batch)


async def _drained(frames: AsyncIterator[Any]) -> float:
    gc.collect()
    cpu = time.process_time()
    async for _ in frames:
        pass
    return time.process_time() - cpu


async def stream(count: int, batch: int) -> float:
    """The frames alone."""
    return await _drained(_stream(count, batch))


async def dispatcher(count: int, batch: int) -> float:
    """The frames through a dispatcher whose tools are not called."""
    async with pp.ToolDispatcher(_Executor(count, batch)) as dispatching:
        return await _drained(dispatching.stream(_PROMPT, _MODEL))


async def encoder(count: int, batch: int) -> float:
    """The frames as events for a front end."""
    return await _drained(encode_events(_stream(count, batch)))


async def text_parser(count: int, batch: int) -> float:
    """A text in which every line begins as a marker does, character by character; ``batch`` has no meaning here."""
    parser = TextToolsParser("hermes", [pp.ToolDescriptor("f", "", {"type": "object"})])
    line = "<tool_cal of this line is only the beginning of a marker, and so it is text.\n"
    text = (line * (count // len(line) + 1))[:count]
    gc.collect()
    cpu = time.process_time()
    for character in text:
        parser.feed(character)
    parser.finish()
    return time.process_time() - cpu


def growth(shape: str, count: int) -> float:
    """An answer of so many entries."""
    run = SHAPES[shape](count)
    gc.collect()
    cpu = time.process_time()
    run()
    return time.process_time() - cpu


async def observed(count: int, batch: int) -> float:
    """The frames with OpenTelemetry looking on: spans and metrics, into nothing."""
    observer = telemetry.OpenTelemetryObserver(tracer_provider=TracerProvider(shutdown_on_exit=False))
    with telemetry.observe(observer):
        looking = telemetry.begin_request(_PROMPT, _MODEL, 0, streaming=True)
    return await _drained(_stream(count, batch, looking))


async def _asked(asker: Asker, count: int) -> float:
    gc.collect()
    cpu = time.process_time()
    for _ in range(count):
        async for _frame in asker.execute_streaming_with_tools(_PROMPT, _MODEL):
            pass
    return time.process_time() - cpu


async def requests(count: int, batch: int) -> float:
    """So many requests of ``batch`` frames each, without a policy."""
    return await _asked(_Asker(batch), count)


async def retrying(count: int, batch: int) -> float:
    """The requests through a policy of retrying."""
    return await _asked(RetryingClient(_Asker(batch)), count)


async def falling_back(count: int, batch: int) -> float:
    """The requests through a fallback."""
    return await _asked(FallbackExecutor([pp.LLModel("scripted", "other")], _Asker(batch)), count)


async def limited(count: int, batch: int) -> float:
    """The requests through a limit on how many are under way."""
    return await _asked(LimitedClient(_Asker(batch), Limits(concurrency=8)), count)


async def budgeted(count: int, batch: int) -> float:
    """The requests through a budget."""
    return await _asked(BudgetedExecutor(_Asker(batch), Budget(requests=10**9)), count)


async def routed(count: int, batch: int) -> float:
    """The requests through a table of aliases."""
    return await _asked(RoutingExecutor(_Asker(batch), aliases({"fast": _MODEL})), count)


async def limited_requests(count: int, batch: int) -> float:
    """The requests through a limit of requests a minute."""
    return await _asked(LimitedClient(_Asker(batch), Limits(requests_per_minute=10**9, name=f"r{count}")), count)


async def limited_tokens(count: int, batch: int) -> float:
    """The requests through a limit of tokens a minute."""
    return await _asked(LimitedClient(_Asker(batch), Limits(tokens_per_minute=10**9, name=f"t{count}")), count)


async def hedged(count: int, batch: int) -> float:
    """The requests through a policy that would send a second one."""
    return await _asked(HedgedClient(_Asker(batch), after=60), count)


class _Forgetful:
    async def get(self, key: str) -> bytes | None:
        return None

    async def put(self, key: str, value: bytes) -> None:
        """Keep nothing."""


async def cache_hits(count: int, batch: int) -> float:
    """The requests answered by a cache in memory."""
    asker = CachedExecutor(_Asker(batch))
    await asker.execute_streaming_with_tools(_PROMPT, _MODEL).message()
    return await _asked(asker, count)


async def cache_misses(count: int, batch: int) -> float:
    """The requests through a cache that has none of them."""
    return await _asked(CachedExecutor(_Asker(batch), _Forgetful()), count)


class _Told(_Asker):
    def execute_streaming_with_tools(
        self, prompt: pp.Prompt | str, model: pp.LLModel | str, tools: Sequence[pp.ToolDescriptor] = ()
    ) -> pp.FrameStream:
        return _stream(self._batch, self._batch, telemetry.begin_request(_PROMPT, _MODEL, tools, streaming=True))


async def observed_requests(count: int, batch: int) -> float:
    """The requests told to an observer that does nothing."""
    return await _asked(ObservedClient(_Told(batch), telemetry.Observer()), count)


_ENCODERS: dict[str, Callable[[], FrameEncoder]] = {
    "ui_messages": lambda: UIMessageEncoder("run"),
    "ag_ui": lambda: AGUIEncoder("thread", "run"),
    "openai_chat": lambda: OpenAIChatEncoder("run"),
    "openai_responses": lambda: OpenAIResponsesEncoder("run"),
    "anthropic_messages": lambda: AnthropicMessagesEncoder("run"),
}


async def encoded(name: str, count: int, batch: int) -> float:
    """The frames through one of the other encoders and the loop that drives them."""
    return await _drained(encode_frames(_stream(count, batch), _ENCODERS[name]()))


_PARTS = {
    "requests": requests,
    "retrying": retrying,
    "falling_back": falling_back,
    "limited": limited,
    "budgeted": budgeted,
    "limited_requests": limited_requests,
    "limited_tokens": limited_tokens,
    "hedged": hedged,
    "cache_hits": cache_hits,
    "cache_misses": cache_misses,
    "observed_requests": observed_requests,
    "routed": routed,
    "observed": observed,
    "stream": stream,
    "dispatcher": dispatcher,
    "encoder": encoder,
    "text_parser": text_parser,
}


async def main() -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        options = json.loads(line)
        command, count = options["command"], options["count"]
        if command in SHAPES:
            cpu = await asyncio.to_thread(growth, command, count)
        elif command in _ENCODERS:
            cpu = await encoded(command, count, options["batch"])
        else:
            cpu = await _PARTS[command](count, options["batch"])
        print(json.dumps({"cpu": cpu}), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    asyncio.run(main())
