"""TokenBuffer: fewer frames, nothing lost, nothing overtaken."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.errors import IncompleteStreamError, InvalidInputError
from promptport.frames import Append, End, FinishReason, StreamFrame, ToolCall
from promptport.front_ends.token_buffer import TokenBuffer

END = End(FinishReason.STOP)
CALL = ToolCall("1", "f", "{}")


def test_the_first_text_goes_out_at_once() -> None:
    buffer = TokenBuffer(seconds=1)
    assert buffer.push(Append("a"), 0.0) == [Append("a")]
    assert buffer.push(Append("b"), 0.1) == []


def test_held_text_goes_out_before_any_other_frame() -> None:
    buffer = TokenBuffer(seconds=1)
    buffer.push(Append("a"), 0.0)
    buffer.push(Append("b"), 0.1)
    buffer.push(Append("c"), 0.2)
    assert buffer.push(CALL, 0.3) == [Append("bc"), CALL]
    assert buffer.push(END, 0.4) == [END]


def test_time_is_counted_from_the_first_text_that_is_held() -> None:
    buffer = TokenBuffer(seconds=1)
    buffer.push(Append("a"), 0.0)
    assert buffer.due is None
    buffer.push(Append("b"), 5.0)
    assert buffer.due == 6.0
    assert buffer.push(Append("c"), 5.5) == []
    assert buffer.push(Append("d"), 6.0) == [Append("bcd")]
    assert buffer.due is None


def test_size_and_words() -> None:
    by_size = TokenBuffer(seconds=None, characters=4)
    by_size.push(Append("x"), 0)
    assert by_size.push(Append("abc"), 0) == []
    assert by_size.push(Append("de"), 0) == [Append("abcde")]
    by_word = TokenBuffer(seconds=None, words=True)
    by_word.push(Append("x"), 0)
    assert by_word.push(Append("Hel"), 0) == []
    assert by_word.push(Append("lo wor"), 0) == [Append("Hello ")]
    assert by_word.push(Append("ld"), 0) == []
    assert by_word.flush() == [Append("world")]


@given(
    st.lists(st.one_of(st.text(alphabet="ab ", min_size=1, max_size=4), st.none()), max_size=40),
    st.sampled_from([{"seconds": 2}, {"seconds": None, "characters": 5}, {"seconds": 3, "words": True}]),
)
def test_nothing_is_lost_or_overtaken(steps: list[str | None], limits: dict[str, float]) -> None:
    buffer = TokenBuffer(**limits)  # type: ignore[arg-type]
    frames: list[StreamFrame] = [CALL if step is None else Append(step) for step in steps]
    out = [each for now, frame in enumerate(frames) for each in buffer.push(frame, now)] + buffer.flush()

    def joined(items: list[StreamFrame]) -> str:
        return "".join(item.text if isinstance(item, Append) else "|" for item in items)

    assert joined(out) == joined(frames)


async def test_coalesce_flushes_when_the_stream_stalls() -> None:
    seen = asyncio.Event()

    async def frames() -> AsyncIterator[StreamFrame]:
        yield Append("a")
        yield Append("b")
        await seen.wait()  # set only when "b" went out, which only the clock can have done
        yield END

    out: list[object] = []
    async with asyncio.timeout(5):
        async for frame in TokenBuffer(seconds=0.01).coalesce(frames()):
            out.append(frame)
            if frame == Append("b"):
                seen.set()
    assert out == [Append("a"), Append("b"), END]


async def test_coalesce_gives_what_is_held_before_an_error() -> None:
    async def frames() -> AsyncIterator[StreamFrame]:
        yield Append("a")
        yield Append("b")
        raise IncompleteStreamError("cut")

    out: list[object] = []
    with pytest.raises(IncompleteStreamError):
        async for frame in TokenBuffer(seconds=10).coalesce(frames()):
            out.append(frame)
    assert out == [Append("a"), Append("b")]


@pytest.mark.parametrize("limits", [{"seconds": None}, {"seconds": 0}, {"characters": 0}, {"seconds": -1}])
def test_limits_that_are_none_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="TokenBuffer"):
        TokenBuffer(**limits)  # type: ignore[arg-type]


async def test_closing_closes_the_frames() -> None:
    closed = asyncio.Event()

    async def frames() -> AsyncIterator[StreamFrame]:
        try:
            yield Append("a")
            await asyncio.Event().wait()
        finally:
            closed.set()

    coalesced = TokenBuffer(seconds=10).coalesce(frames())
    assert await anext(coalesced) == Append("a")
    await coalesced.aclose()
    assert closed.is_set()
