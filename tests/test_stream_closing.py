"""Rule 8 of the contract, closing closes, held by `FrameStream` for any source of frames."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest
from tests.sources import END, Source, iterated, never, turns, until_error

from promptport.errors import IncompleteStreamError, ProtocolError
from promptport.frames import Append, End
from promptport.messages import AssistantMessage
from promptport.stream import FrameStream, TextStream, Timeouts

# ---------------------------------------------------------------------------------------- 8. closing closes


async def test_rule_8_leaving_async_with_closes_the_source() -> None:
    source = Source([Append("a")], [Append("b")], [END])
    async with source.stream() as stream:
        async for _ in stream:
            break
    assert (source.closed, source.given) == (1, 1)


async def test_rule_8_an_exception_in_the_body_closes_the_source() -> None:
    source = Source([Append("a")], [END])

    async def fail() -> None:
        async with source.stream() as stream:
            async for _ in stream:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert source.closed == 1


async def test_rule_8_closing_twice_or_after_the_end_does_nothing() -> None:
    source = Source([Append("a")], [END])
    stream = source.stream()
    await anext(stream)
    await stream.aclose()
    await stream.aclose()
    assert source.closed == 1
    done = Source([END])
    stream = done.stream()
    await iterated(stream)
    await stream.aclose()
    await stream.aclose()
    assert done.closed == 1


async def test_rule_8_a_closed_stream_is_no_complete_stream() -> None:
    for batches in ([[Append("a")], [END]], [[Append("a"), END]]):
        stream = Source(*batches).stream()
        await anext(stream)
        await stream.aclose()
        with pytest.raises(IncompleteStreamError, match="closed") as caught:
            await anext(stream)
        assert caught.value.partial == AssistantMessage.of("a")


async def test_rule_8_closing_before_the_first_read_starts_nothing() -> None:
    source = Source([END])
    stream = source.stream()
    await stream.aclose()
    assert not source.started
    with pytest.raises(IncompleteStreamError, match="closed"):
        await anext(stream)
    async with source.stream():
        pass
    assert not source.started


async def test_rule_8_aclose_wakes_a_read_in_another_task() -> None:
    source = Source([Append("a")], never(), [END])
    stream = source.stream()
    reader = asyncio.create_task(until_error(stream))
    await source.waiting.wait()
    await stream.aclose()
    assert source.closed == 1, "aclose() returns when it is closed"
    frames, error = await reader
    assert frames == [Append("a")]
    assert isinstance(error, IncompleteStreamError)
    assert error.partial == AssistantMessage.of("a")
    assert not reader.cancelled()


async def test_rule_8_the_woken_task_is_not_cancelled() -> None:
    source = Source(never())
    stream = source.stream()

    async def read() -> int:
        with pytest.raises(IncompleteStreamError):
            await anext(stream)
        await asyncio.sleep(0)  # a cancelled task would end here
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    reader = asyncio.create_task(read())
    await source.waiting.wait()
    await stream.aclose()
    assert await reader == 0


async def test_rule_8_aclose_while_the_consumer_holds_the_stream() -> None:
    source = Source([Append("a"), Append("b")], [END])
    stream = source.stream()
    await anext(stream)
    await asyncio.create_task(stream.aclose())
    assert source.closed == 1
    with pytest.raises(IncompleteStreamError, match="closed"):
        await anext(stream)


@pytest.mark.parametrize("reading", [True, False])
async def test_rule_8_aclose_from_many_tasks_at_once(reading: bool) -> None:
    allow = asyncio.Event()
    source = Source([Append("a")], never(), close=allow)
    stream = source.stream()
    await anext(stream)
    reader = asyncio.create_task(until_error(stream)) if reading else None
    if reader:
        await source.waiting.wait()
    closers = [asyncio.create_task(stream.aclose()) for _ in range(3)]
    await source.closing.wait()
    closers += [asyncio.create_task(stream.aclose()) for _ in range(2)]
    await turns()
    assert not any(closer.done() for closer in closers), "closing takes as long as the source takes"
    allow.set()
    await asyncio.gather(*closers)
    assert source.closed == 1
    if reader:
        await reader


async def test_rule_8_aclose_while_the_reader_closes_by_itself() -> None:
    allow = asyncio.Event()
    source = Source([Append("a")], ProtocolError("x"), close=allow)
    stream = source.stream()
    reader = asyncio.create_task(until_error(stream))
    await source.closing.wait()
    closer = asyncio.create_task(stream.aclose())
    await turns()
    allow.set()
    await closer
    _, error = await reader
    assert isinstance(error, ProtocolError | IncompleteStreamError)


async def test_rule_8_a_closer_that_is_cancelled_leaves_the_stream_closing() -> None:
    allow = asyncio.Event()
    source = Source([Append("a")], never(), close=allow)
    stream = source.stream()
    reader = asyncio.create_task(until_error(stream))
    await source.waiting.wait()
    closer = asyncio.create_task(stream.aclose())
    await source.closing.wait()
    closer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closer
    allow.set()
    await reader
    assert source.closed == 1
    await stream.aclose()


async def test_rule_8_cancelling_the_consumer_closes_the_source_at_once_and_cancels() -> None:
    source = Source([Append("a")], never(), [END])
    stream = source.stream(Timeouts())
    reader = asyncio.create_task(iterated(stream))
    await source.waiting.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert source.closed == 1
    with pytest.raises(IncompleteStreamError):
        await anext(stream)


async def test_rule_8_cancelling_after_end_still_cancels() -> None:
    """The source makes its connection fit for the next use, and the consumer is cancelled meanwhile."""
    source = Source([END], never())
    reader = asyncio.create_task(iterated(source.stream()))
    await source.waiting.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert source.closed == 1


async def test_rule_8_aclose_after_end_stops_the_draining() -> None:
    source = Source([END], never())
    stream = source.stream()
    reader = asyncio.create_task(iterated(stream))
    await source.waiting.wait()
    await stream.aclose()
    assert await reader == [END]
    assert source.closed == 1


@pytest.mark.parametrize("first", ["close", "cancel"])
async def test_rule_8_a_cancellation_is_not_lost_when_the_stream_is_closed_in_the_same_moment(first: str) -> None:
    source = Source([Append("a")], never())
    stream = source.stream()
    reader = asyncio.create_task(iterated(stream))
    await source.waiting.wait()
    if first == "cancel":
        # The closing task runs before the reader, and finds it cancelled already.
        closer = asyncio.create_task(stream.aclose())
        reader.cancel()
    else:
        closer = asyncio.create_task(stream.aclose())
        asyncio.get_running_loop().call_soon(reader.cancel)
    with pytest.raises(asyncio.CancelledError):
        await reader
    await closer
    assert source.closed == 1


# ----------------------------------------------------------------------------------------- 8. dropped streams


def warned(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(entry.message) for entry in caught if "Stream was dropped" in str(entry.message)]


async def test_rule_8_a_dropped_stream_warns_once_and_is_closed() -> None:
    for text in (False, True):
        source = Source([Append("a")], [END])
        stream: FrameStream | TextStream = source.stream()
        if text:
            stream = stream.text()  # type: ignore[union-attr]
        await anext(stream)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del stream
            gc.collect()
        assert len(warned(caught)) == 1
        assert f"{'Text' if text else 'Frame'}Stream was dropped unclosed" in warned(caught)[0]
        caught.clear()  # the warning keeps the stream, for tracemalloc
        gc.collect()
        await turns()
        assert source.closed == 1, "the loop closes what was dropped"


async def test_rule_8_a_stream_of_which_a_view_is_alive_is_not_dropped() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stream = Source([Append("a")], [Append("b"), END]).stream()
        texts = stream.text()
        assert await anext(texts) == "a"
        del stream
        gc.collect()
        assert [text async for text in texts] == ["b"]
        stream = Source([Append("a")], [END]).stream()
        texts = stream.text()
        assert await anext(texts) == "a"
        del texts
        gc.collect()
        await stream.aclose()
    assert not warned(caught)


async def test_rule_8_a_stream_that_never_began_or_is_over_does_not_warn() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stream = Source([END]).stream()
        del stream
        stream = Source([END]).stream()
        await iterated(stream)
        del stream
        stream = Source([Append("a"), END]).stream()
        async for frame in stream:
            if isinstance(frame, End):
                break
        del stream
        stream = Source([Append("a")]).stream()
        await until_error(stream)
        del stream
        stream = Source([Append("a")], never()).stream()
        await anext(stream)
        await stream.aclose()
        del stream
        gc.collect()
    assert not warned(caught)
