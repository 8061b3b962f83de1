"""The three clocks of a stream, on real time but short: what they end, and what they leave alone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from tests.sources import END, SOON, Source, never, until_error

from promptport.errors import (
    FirstFrameTimeout,
    IdleTimeout,
    InvalidInputError,
    PromptportError,
    ProtocolError,
    TotalTimeout,
    TransportError,
)
from promptport.frames import Append
from promptport.messages import AssistantMessage
from promptport.stream import FrameBatches, FrameStream, Timeouts, message_of


@pytest.mark.parametrize(
    ("timeouts", "before", "kind"),
    [
        (Timeouts(first_frame=SOON), False, FirstFrameTimeout),
        (Timeouts(first_frame=SOON, idle=None), False, FirstFrameTimeout),
        (Timeouts(first_frame=None, idle=SOON), False, IdleTimeout),
        (Timeouts(first_frame=SOON, idle=2 * SOON), True, IdleTimeout),
        (Timeouts(idle=SOON), True, IdleTimeout),
        (Timeouts(total=SOON), False, TotalTimeout),
        (Timeouts(total=SOON), True, TotalTimeout),
    ],
)
async def test_a_stalled_source_runs_into_its_clock(
    timeouts: Timeouts, before: bool, kind: type[TransportError]
) -> None:
    source = Source(*([[Append("a")]] if before else []), never(), [END])
    frames, error = await until_error(source.stream(timeouts))
    assert type(error) is kind
    assert isinstance(error, TransportError)
    assert (error.provider, error.model) == ("provider-1", "model-1")
    assert error.partial == message_of(frames)
    assert source.closed == 1
    assert "0." in str(error)
    assert "timeouts." in str(error)


async def test_the_first_frame_clock_waits_for_a_frame_not_for_bytes() -> None:
    async def pings() -> FrameBatches:
        while True:
            await asyncio.sleep(SOON / 10)
            yield []

    _, error = await until_error(FrameStream(pings(), timeouts=Timeouts(first_frame=SOON, idle=None)))
    assert isinstance(error, FirstFrameTimeout)


async def test_bytes_without_frames_keep_the_idle_clock_from_running_out() -> None:
    async def pings() -> FrameBatches:
        yield [Append("a")]
        for _ in range(8):
            await asyncio.sleep(SOON)
            yield []
        yield [END]

    stream = FrameStream(pings(), timeouts=Timeouts(idle=SOON * 6))
    assert [frame async for frame in stream] == [Append("a"), END]


async def test_heartbeats_for_ever_run_into_the_clock_that_only_frames_stop() -> None:
    async def heartbeats() -> FrameBatches:
        yield [Append("a")]
        yield [Append("b")]
        while True:
            await asyncio.sleep(SOON / 10)
            yield []

    frames, error = await until_error(FrameStream(heartbeats(), timeouts=Timeouts(next_frame=SOON)))
    assert frames == [Append("a"), Append("b")]
    assert isinstance(error, IdleTimeout)
    assert "timeouts.next_frame" in str(error)
    assert error.partial == message_of(frames)


async def test_a_frame_in_time_sets_the_clock_of_frames_anew_and_the_caller_has_all_the_time_it_wants() -> None:
    async def source() -> FrameBatches:
        for _ in range(6):
            await asyncio.sleep(SOON)
            yield []
            yield [Append("a")]
        yield [END]

    stream = FrameStream(source(), timeouts=Timeouts(next_frame=SOON * 4))
    count = 0
    async for _ in stream:
        count += 1
        if count == 3:
            await asyncio.sleep(SOON * 5)
    assert count == 7


async def test_the_idle_clock_stands_while_the_consumer_holds_the_stream() -> None:
    source = Source([Append("a")], [Append("b")], never())
    stream = source.stream(Timeouts(first_frame=SOON, idle=SOON))
    for text in "ab":
        assert await anext(stream) == Append(text)
        await asyncio.sleep(4 * SOON)
    with pytest.raises(IdleTimeout):
        await anext(stream)


async def test_the_total_clock_ends_the_next_read() -> None:
    source = Source([Append("a"), Append("b")], [END])
    stream = source.stream(Timeouts(total=SOON))
    assert await anext(stream) == Append("a")
    await asyncio.sleep(2 * SOON)
    assert await anext(stream) == Append("b"), "what had arrived is not taken away"
    with pytest.raises(TotalTimeout) as caught:
        await anext(stream)
    assert caught.value.partial == AssistantMessage.of("ab")
    assert source.closed == 1


async def test_no_clock_ends_an_answer_that_is_here() -> None:
    stream = Source([Append("a"), END]).stream(Timeouts(first_frame=SOON, idle=SOON, total=SOON))
    assert await anext(stream) == Append("a")
    await asyncio.sleep(2 * SOON)
    assert [frame async for frame in stream] == [END]


async def test_no_clock_is_left_running() -> None:
    loop = asyncio.get_running_loop()
    for steps in ([[END]], [[Append("a")], ProtocolError("x")]):
        stream = Source(*steps).stream(Timeouts())
        with contextlib.suppress(ProtocolError):
            [frame async for frame in stream]
    stream = Source([Append("a")], never()).stream(Timeouts())
    await anext(stream)
    await stream.aclose()
    scheduled = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    assert scheduled == []


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "5"])
@pytest.mark.parametrize("name", ["first_frame", "idle", "total", "connect"])
def test_a_clock_needs_time(name: str, seconds: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"{name}.*None"):
        Timeouts(**{name: seconds})


async def test_a_clock_and_a_callers_timeout_at_the_same_time() -> None:
    for _ in range(10):
        source = Source(never())
        stream = source.stream(Timeouts(first_frame=None, idle=SOON / 5))
        with pytest.raises((IdleTimeout, TimeoutError)):
            async with asyncio.timeout(SOON / 5):
                await anext(stream)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert source.closed == 1


async def test_an_old_cancellation_is_not_taken_for_a_new_one() -> None:
    """A consumer that was cancelled before, and reads on in its cleanup, still gets our errors as they are."""

    async def read() -> PromptportError:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            _, error = await until_error(Source(never()).stream(Timeouts(first_frame=None, idle=SOON)))
            return error
        raise AssertionError

    reader = asyncio.create_task(read())
    await asyncio.sleep(0)
    reader.cancel()
    assert isinstance(await reader, IdleTimeout)


async def test_the_idle_clock_leaves_the_wait_for_the_first_byte_to_the_first_clock() -> None:
    async def silent() -> FrameBatches:
        await asyncio.Event().wait()
        yield []

    with pytest.raises(FirstFrameTimeout):
        await FrameStream(silent(), timeouts=Timeouts(first_frame=0.1, idle=0.02)).message()
    with pytest.raises(IdleTimeout):
        await FrameStream(silent(), timeouts=Timeouts(first_frame=None, idle=0.02)).message()
