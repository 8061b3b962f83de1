"""The stream rules of the contract, held by `FrameStream` for any source of frames: each test is named after its rule.

`test_contract_client.py` holds the same rules over a client and bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
import warnings
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sources import END, Source, Step, iterated, never, turns, until_error

from promptport.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ContextLengthError,
    FirstFrameTimeout,
    IdleTimeout,
    IncompleteStreamError,
    InvalidInputError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    ProviderError,
    ProviderStreamError,
    RateLimitError,
    ServerError,
    StreamError,
    TotalTimeout,
    TransportError,
)
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
    Usage,
)
from promptport.messages import AssistantMessage, TextPart
from promptport.stream import FrameStream, TextStream, Timeouts, message_of

# ------------------------------------------------------------------------------- 1. complete, or an error


async def test_rule_1_the_last_frame_is_end() -> None:
    source = Source([Append("a")], [], [Append("b"), END])
    assert await iterated(source.stream()) == [Append("a"), Append("b"), END]
    assert source.closed == 1


@pytest.mark.parametrize("steps", [(), ([],), ([Append("a")],), ([Append("a")], [])], ids=str)
async def test_rule_1_without_end_it_raises(steps: tuple[Step, ...]) -> None:
    source = Source(*steps)
    stream = source.stream()
    frames, error = await until_error(stream)
    assert type(error) is IncompleteStreamError
    assert error.partial == message_of(frames) == stream.partial
    assert source.closed == 1


async def test_rule_1_after_an_error_it_never_looks_complete() -> None:
    stream = Source([Append("a")], ProtocolError("broken")).stream()
    await until_error(stream)
    for _ in range(2):
        frames, error = await until_error(stream)
        assert frames == []
        assert isinstance(error, IncompleteStreamError)
        assert error.partial == AssistantMessage.of("a")
    with pytest.raises(IncompleteStreamError):
        await stream.message()


async def test_rule_1_after_end_it_stops_and_stays_stopped() -> None:
    stream = Source([END]).stream()
    assert await iterated(stream) == [END]
    assert await stream.next_batch() == []
    await stream.aclose()
    assert await stream.next_batch() == []
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@pytest.mark.parametrize(
    "steps",
    [
        ([END, END],),
        ([END, Append("a")],),
        ([END], [END]),
        ([END], [Append("a")]),
        ([END, Append("a")], [END]),
        ([Append("a"), END, Append("b"), END],),
    ],
    ids=["twice", "more", "twice later", "more later", "more, twice", "more between"],
)
async def test_rule_1_a_source_that_goes_on_after_end_is_an_error(steps: tuple[Step, ...]) -> None:
    source = Source(*steps)
    frames, error = await until_error(source.stream())
    assert isinstance(error, ProtocolError | IncompleteStreamError)
    assert sum(isinstance(frame, End) for frame in frames) <= 1
    assert source.closed == 1


@pytest.mark.parametrize(
    "error",
    [
        IncompleteStreamError("x"),
        ProviderStreamError("x", code="overloaded"),
        ProtocolError("x"),
        *[
            kind("x", provider="p", model="m", status=400)
            for kind in (
                ProviderError,
                AuthenticationError,
                PermissionDeniedError,
                ModelNotFoundError,
                BadRequestError,
                ContextLengthError,
                RateLimitError,
                OverloadedError,
                ServerError,
                TransportError,
                FirstFrameTimeout,
                IdleTimeout,
                TotalTimeout,
            )
        ],
    ],
    ids=lambda error: type(error).__name__,
)
async def test_rule_1_every_error_carries_what_had_arrived(error: StreamError | ProviderError) -> None:
    source = Source([Append("a"), ToolCallDelta("1", "f", '{"x"')], error)
    _, caught = await until_error(source.stream())
    assert caught is error
    assert error.partial == AssistantMessage((TextPart("a"),), unfinished=(UnfinishedCall("1", "f", '{"x"'),))
    assert pickle.loads(pickle.dumps(error)).partial == error.partial
    assert source.closed == 1


async def test_rule_1_an_error_keeps_the_partial_that_it_has() -> None:
    error = ProtocolError("x")
    error.partial = AssistantMessage.of("from within")
    _, caught = await until_error(Source([Append("a")], error).stream())
    assert caught is error
    assert error.partial == AssistantMessage.of("from within")


async def test_rule_1_an_error_without_partial_and_a_strange_one_pass_as_they_are() -> None:
    with pytest.raises(ConfigurationError):
        await iterated(Source(ConfigurationError("x")).stream())
    source = Source([Append("a")], KeyError("bug"))
    with pytest.raises(KeyError, match="bug"):
        await iterated(source.stream())
    assert source.closed == 1


async def test_rule_1_nothing_is_read_for_ever_after_end() -> None:
    source = Source([END], [], never())
    assert await iterated(source.stream()) == [END]
    assert source.closed == 1


async def test_rule_1_what_the_wire_does_after_end_cannot_take_it_back() -> None:
    source = Source([Append("a"), END], TransportError("reset", provider="p"))
    assert await iterated(source.stream()) == [Append("a"), END]
    assert source.closed == 1


# ----------------------------------------------------------------- 2. a call that was cut short is no ToolCall


async def test_rule_2_a_call_cut_short_is_unfinished() -> None:
    done = ToolCall("1", "f", "{}")
    source = Source(
        [ToolCallDelta("1", "f", "{}"), done], [ToolCallDelta("2", "g", '{"a":')], [ToolCallDelta("2", "g", "1}")]
    )
    stream = source.stream()
    _, error = await until_error(stream)
    assert isinstance(error, IncompleteStreamError)
    assert error.partial is not None
    assert error.partial.tool_calls == (done,)
    assert error.partial.unfinished == (UnfinishedCall("2", "g", '{"a":1}'),)


async def test_rule_2_what_end_calls_unfinished_is_in_the_message() -> None:
    end = End(FinishReason.LENGTH, unfinished=(UnfinishedCall("1", "f", '{"a'),))
    message = await Source([ToolCallDelta("1", "f", '{"a'), end]).stream().message()
    assert message.unfinished == end.unfinished
    assert message.tool_calls == ()


# ------------------------------------------------------------------------------------------- 4. sums agree

_PIECES: list[StreamFrame] = [
    Append("one "),
    Append("two"),
    ReasoningAppend("think"),
    Reasoning("think", {"signature": "s"}),
    ToolCallDelta("1", "f", "{}"),
    ToolCall("1", "f", "{}"),
    InvalidToolCall("2", "g", "[1]", "not an object"),
    Citation("https://example.com"),
    ProviderItem("web_search", {"query": "q"}),
]


def pieces(frames: Iterable[StreamFrame]) -> st.SearchStrategy[list[list[StreamFrame]]]:
    """The frames in order, in batches of any size."""
    row = list(frames)
    return st.lists(st.integers(0, len(row)), max_size=6).map(
        lambda cuts: [row[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(row)], strict=True)]
    )


@given(st.lists(st.sampled_from(_PIECES), max_size=12).flatmap(lambda row: pieces([*row, END])))
def test_rule_4_and_5_the_message_is_the_sum_of_the_frames_however_batched(batches: list[list[StreamFrame]]) -> None:
    frames = [frame for batch in batches for frame in batch]

    async def run() -> None:
        stream = Source(*batches).stream()
        seen: list[StreamFrame] = []
        async for frame in stream:
            seen.append(frame)
            assert stream.partial == message_of(seen)
        assert seen == frames
        message = await stream.message()
        assert message == message_of(frames)
        assert message.text == "".join(frame.text for frame in frames if isinstance(frame, Append))
        texts = [text async for text in Source(*batches).stream().text()]
        assert texts == [frame.text for frame in frames if isinstance(frame, Append)]

    asyncio.run(run())


async def test_rule_4_parts_stand_in_the_order_in_which_they_came() -> None:
    call = ToolCall("1", "f", "{}")
    frames: list[StreamFrame] = [
        ReasoningAppend("hm"),
        Reasoning("hm"),
        Append("a"),
        Append("b"),
        Citation("https://example.com"),
        Append("c"),
        ToolCallDelta("1", "f", "{}"),
        call,
        END,
    ]
    message = await FrameStream.of(frames).message()
    assert message.parts == (Reasoning("hm"), TextPart("ab"), Citation("https://example.com"), TextPart("c"), call)
    assert message.finish_reason is FinishReason.STOP
    assert (message.usage, message.model, message.response_id) == (Usage(3, 2), "model-1", "answer-1")


async def test_rule_4_a_long_stream_is_the_same() -> None:
    frames: list[StreamFrame] = [Append(f"{index} ") for index in range(5000)]
    frames.insert(2500, ToolCall("1", "f", "{}"))
    stream = Source(*[frames[at : at + 7] for at in range(0, len(frames), 7)], [END]).stream()
    count = 0
    async for _ in stream:
        count += 1
        if count in (511, 512, 513, 514, 2501, 2502, 4000):
            assert stream.partial == message_of(frames[:count])
    assert await stream.message() == message_of([*frames, END])


# ---------------------------------------------------------------- the views: text(), message(), partial, of()


async def test_text_is_the_appends_as_text() -> None:
    source = Source([Append("a"), ReasoningAppend("no"), Append("b")], [Reasoning("no"), END])
    stream = source.stream()
    texts = stream.text()
    assert isinstance(texts, TextStream)
    assert [text async for text in texts] == ["a", "b"]
    assert (await stream.message()).text == "ab"
    assert source.closed == 1


async def test_text_raises_as_the_frames_do_and_carries_partial() -> None:
    async with Source([Append("a")], ProtocolError("x")).stream().text() as texts:
        assert await anext(texts) == "a"
        with pytest.raises(ProtocolError) as caught:
            await anext(texts)
    assert caught.value.partial == AssistantMessage.of("a")


async def test_text_comes_before_the_first_read() -> None:
    async with Source([Append("a"), Append("b"), END]).stream() as stream:
        await anext(stream)
        with pytest.raises(InvalidInputError, match="before"):
            stream.text()


async def test_message_after_partial_iteration_is_the_whole() -> None:
    stream = Source([Append("a"), Append("b")], [Append("c"), END]).stream()
    assert await anext(stream) == Append("a")
    assert (await stream.message()).text == "abc"
    assert await stream.message() == stream.partial


async def test_partial_counts_what_was_iterated_also_within_one_batch() -> None:
    async with Source([Append("a"), Append("b"), Append("c"), END]).stream() as stream:
        assert stream.partial == AssistantMessage()
        await anext(stream)
        assert stream.partial == AssistantMessage.of("a")
        await anext(stream)
        assert stream.partial == AssistantMessage.of("ab")
    assert stream.partial == AssistantMessage.of("ab")


async def test_partial_holds_open_reasoning_and_calls() -> None:
    async with Source([ReasoningAppend("hm"), ToolCallDelta("1", "f", "{")], never()).stream() as stream:
        await anext(stream)
        await anext(stream)
        assert stream.partial.reasoning == "hm"
        assert stream.partial.unfinished == (UnfinishedCall("1", "f", "{"),)
        assert stream.partial.finish_reason is None


async def test_of_gives_frames_that_are_there_already() -> None:
    assert await iterated(FrameStream.of([Append("a"), END])) == [Append("a"), END]
    _, error = await until_error(FrameStream.of([Append("a")]))
    assert isinstance(error, IncompleteStreamError)


def test_a_stream_needs_no_loop_until_it_is_read() -> None:
    source = Source([Append("a"), END])
    stream = source.stream()
    assert stream.partial == AssistantMessage()
    assert asyncio.run(iterated(stream)) == [Append("a"), END]
    unread = Source([END]).stream()
    asyncio.run(unread.aclose())


def test_reading_without_a_loop_is_refused_and_leaves_nothing_open() -> None:
    source = Source([END])
    stream = source.stream()
    with pytest.raises(RuntimeError, match="loop"):
        stream.__anext__().__await__().send(None)
    assert source.given == 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del stream
        gc.collect()
    assert not [entry for entry in caught if "Stream was dropped" in str(entry.message)]


async def test_on_done_tells_once_what_became_of_the_stream() -> None:
    for steps, complete in (([[Append("a"), END]], True), ([[Append("a")], ProtocolError("x")], False)):
        told: list[tuple[AssistantMessage, bool]] = []
        stream = Source(*steps).stream()
        stream.on_done(lambda *what, told=told: told.append(what))
        with contextlib.suppress(ProtocolError):
            await iterated(stream)
        await stream.aclose()
        assert told == [(stream.partial, complete)]
        assert told[0][0].text == "a"


async def test_next_batch_gives_what_can_be_had_without_waiting() -> None:
    stream = Source([Append("a"), Append("b")], [], [Append("c")], [END]).stream()
    assert await stream.next_batch() == [Append("a"), Append("b")]
    assert stream.partial.text == "ab"
    assert await stream.next_batch() == [Append("c")]
    assert await stream.next_batch() == [END]
    assert await stream.next_batch() == await stream.next_batch() == []


# ------------------------------------------------------------------------------------------ 9. back-pressure


async def test_rule_9_the_source_is_never_more_than_one_batch_ahead() -> None:
    batches: list[list[StreamFrame]] = [[Append(f"{index}"), Append("x")] for index in range(50)]
    source = Source(*batches, [END])
    stream = source.stream(Timeouts())
    await turns()
    assert source.given == 0
    seen = 0
    async for _ in stream:
        seen += 1
        await turns(2)
        assert source.given == (seen + 1) // 2


async def test_many_streams_at_once_do_not_touch_each_other() -> None:
    async def one(number: int) -> None:
        batches: list[list[StreamFrame]] = [[Append(f"{number}:{index} ")] for index in range(20)]
        stream = Source(*batches, [END]).stream(Timeouts())
        texts = []
        async for frame in stream:
            if isinstance(frame, Append):
                texts.append(frame.text)
            await asyncio.sleep(0)
        assert texts == [f"{number}:{index} " for index in range(20)]
        assert (await stream.message()).text == "".join(texts)

    await asyncio.gather(*[one(number) for number in range(200)])
