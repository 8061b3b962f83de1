"""The contract's rules 8 and 9, as checks: closing, cancelling, the clocks, back-pressure, many streams at once."""

from __future__ import annotations

import asyncio
import gc
import warnings
from contextlib import suppress
from typing import Any

import pytest

from promptport.errors import FirstFrameTimeout, IdleTimeout, IncompleteStreamError, InvalidInputError, TotalTimeout
from promptport.frames import Append, FinishReason
from promptport.llm_client import LLMClient
from promptport.messages import Prompt
from promptport.stream import Timeouts
from promptport.testing.bench import Bench, run
from promptport.testing.steps import Finish, Say
from promptport.testing.wire_server import RecordedRequest, WireResponse

__all__ = ["ClosingChecks"]

_STOP = Finish(FinishReason.STOP)
_CLOCKS = {"first_frame": FirstFrameTimeout, "idle": IdleTimeout, "total": TotalTimeout}
_STREAMS = 200


class ClosingChecks:
    """What must become of the connection."""

    bench: Bench

    # ------------------------------------------------------------------------------ rule 8: closing closes

    def _stalled(self) -> WireResponse:
        begun = (Say("Hello"), Say(" you"))
        return self.bench.stalled(begun, (*begun, _STOP))

    @pytest.mark.parametrize(
        "how", ["break", "aclose", "cancel", "exception", "close elsewhere", "close the client", "text stream"]
    )
    def test_rule_8_closing_closes_the_connection(self, how: str) -> None:
        """Whichever way a consumer leaves, the server sees the connection close within a second."""

        async def check() -> None:
            async with self.bench.client(self._stalled()) as (server, client):
                await asyncio.wait_for(_leave(client, self.bench, how), self.bench.enough)
                await server.client_closed(timeout=self.bench.soon)

        run(check())
        self.bench.scenarios += 1

    def test_rule_8_cancelling_at_any_moment_closes(self) -> None:
        """Before the request, while connecting, in the body: the caller's cancellation comes out, and nothing stays."""
        begun = [Say(f"{number} ") for number in range(30)]
        response = self.bench.stalled(begun, (*begun, _STOP))
        moments = (*range(16), 20, 25, 32, 40, 50, 64, 80, 100, 150)

        async def check() -> None:
            # The first request imports what the client needs, on a connection that is not kept.
            warm_up = self.bench.response(self.bench.wire((Say("Hello"), _STOP)), framing="close")
            async with self.bench.client(warm_up) as (server, client):
                server.answer(lambda _: _slowly(response))
                await self.bench.read(client)
                for turns in moments:
                    task = asyncio.create_task(self.bench.read(client))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.wait({task}, timeout=self.bench.enough)
                    assert task.cancelled(), f"after {turns} turns of the loop the cancellation was swallowed"
                self.bench.scenarios += len(moments)
                while (asked := len(server.requests)) > server.closed_by_client:
                    await server.client_closed(asked, timeout=self.bench.soon)

        run(check())

    def test_rule_8_cancelling_and_closing_at_once(self) -> None:
        """A cancelled task that reads, and a close of its stream in the same moment: the cancellation comes out."""

        async def check() -> None:
            async with self.bench.client(self._stalled()) as (server, client):
                stream = client.execute_streaming_with_tools(self.bench.prompt, self.bench.model)
                task, began = _consuming(stream)
                await asyncio.wait_for(began.wait(), self.bench.enough)
                task.cancel()
                await asyncio.wait_for(stream.aclose(), self.bench.enough)
                await asyncio.wait({task}, timeout=self.bench.enough)
                assert task.cancelled(), "the caller's cancellation was swallowed"
                await server.client_closed(timeout=self.bench.soon)

        run(check())
        self.bench.scenarios += 1

    def test_rule_8_cancelling_execute_closes(self) -> None:
        """The same for a request that does not stream."""

        async def check() -> None:
            async with self.bench.client(WireResponse(b"{" * 100, stall_after=50)) as (server, client):
                task = asyncio.create_task(client.execute(self.bench.prompt, self.bench.model))
                await server.requested(timeout=self.bench.enough)
                task.cancel()
                await asyncio.wait({task}, timeout=self.bench.enough)
                assert task.cancelled()
                await server.client_closed(timeout=self.bench.soon)

        run(check())
        self.bench.scenarios += 1

    def test_rule_8_a_dropped_stream_warns_and_closes(self) -> None:
        """A stream that nobody closed is a ``ResourceWarning``, and does not leak its connection."""

        async def check() -> None:
            async with self.bench.client(self._stalled()) as (server, client):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    stream = client.execute_streaming_with_tools(self.bench.prompt, self.bench.model)
                    await anext(stream)
                    del stream
                    gc.collect()
                    await server.client_closed(timeout=self.bench.soon)
                assert any(issubclass(warning.category, ResourceWarning) for warning in caught)

        run(check())
        self.bench.scenarios += 1

    def test_rule_8_a_closed_stream_gives_nothing(self) -> None:
        """Closed before it was read it asks nothing; closed on the way it is no whole answer. Closing twice is fine."""

        async def check() -> None:
            async with self.bench.client(self._stalled()) as (server, client):
                for frames in (0, 1):
                    stream = client.execute_streaming_with_tools(self.bench.prompt, self.bench.model)
                    for _ in range(frames):
                        await anext(stream)
                    await stream.aclose()
                    await stream.aclose()
                    with pytest.raises(IncompleteStreamError):
                        await stream.message()
                    assert len(server.requests) == frames

        run(check())
        self.bench.scenarios += 1

    def test_rule_8_a_whole_answer_leaves_the_connection_usable(self) -> None:
        """Three answers, one connection."""
        response = self.bench.response(self.bench.wire((Say("Hello"), _STOP)))

        async def check() -> None:
            async with self.bench.client(*[response] * 3) as (server, client):
                for _ in range(3):
                    _, error = await self.bench.read(client)
                    assert error is None, error
                assert server.connections == 1

        run(check())

    def test_a_closed_client_says_so(self) -> None:
        """After ``aclose`` nothing is sent."""

        async def check() -> None:
            async with self.bench.client() as (server, client):
                await client.aclose()
                await client.aclose()
                with pytest.raises(InvalidInputError):
                    await client.execute_streaming_with_tools(self.bench.prompt, self.bench.model).message()
                with pytest.raises(InvalidInputError):
                    await client.execute(self.bench.prompt, self.bench.model)
                assert server.requests == []

        run(check())

    # ------------------------------------------------------------------------------------------ the clocks

    @pytest.mark.parametrize("clock", _CLOCKS)
    def test_the_three_clocks(self, clock: str) -> None:
        """Each clock has its error, with what had come, and closes the connection."""
        response = self._stalled() if clock != "first_frame" else self.bench.response(b"x", stall_after=0)
        seconds = {"first_frame": 30.0, "idle": 30.0, "total": 30.0, clock: 0.15}

        async def check() -> None:
            async with self.bench.client(response, timeouts=Timeouts(**seconds, connect=5)) as (server, client):
                frames, error = await asyncio.wait_for(self.bench.read(client), self.bench.enough)
                assert isinstance(error, _CLOCKS[clock]), (frames, error)
                assert (error.provider, error.model) == (client.provider, self.bench.model.id)
                assert error.partial is not None
                assert error.partial.text == "".join([frame.text for frame in frames if isinstance(frame, Append)])
                await server.client_closed(len(server.requests), timeout=self.bench.soon)

        self.bench.answer((Say("Hello"), _STOP))  # imports what the client needs, on no clock
        run(check())

    def test_a_clock_for_execute(self) -> None:
        """``timeouts.total`` holds for a request that does not stream."""

        async def check() -> None:
            timeouts = Timeouts(first_frame=10, idle=10, total=0.15, connect=5)
            async with self.bench.client(WireResponse(b"{}", stall_after=0), timeouts=timeouts) as (server, client):
                with pytest.raises(TotalTimeout):
                    await asyncio.wait_for(client.execute(self.bench.prompt, self.bench.model), self.bench.enough)
                await server.client_closed(len(server.requests), timeout=self.bench.soon)

        self.bench.answer((Say("Hello"), _STOP))  # as above
        run(check())
        self.bench.scenarios += 1

    # -------------------------------------------------------------------------------- rule 9: back-pressure

    def test_rule_9_nothing_reads_ahead_without_bound(self) -> None:
        """While the consumer rests, the server cannot send all of a large answer."""
        text = "x" * 65536
        body = b"".join(self.bench.wire([Say(text)] * 384))

        async def check() -> None:
            async with self.bench.client(self.bench.response(body, cut="events")) as (server, client):
                async with client.execute_streaming_with_tools(self.bench.prompt, self.bench.model) as stream:
                    assert await anext(stream) == Append(text)
                    sent = -1
                    while sent != server.sent_bytes:
                        sent = server.sent_bytes
                        await asyncio.sleep(0.1)
                    assert sent < len(body) * 3 // 4, f"{sent} bytes were taken of {len(body)}"

        run(check())
        self.bench.scenarios += 1
        self.bench.frames += 1

    # --------------------------------------------------------------------------------------- many at once

    def test_two_hundred_streams_do_not_mix(self) -> None:
        """200 streams at once: each gets its own answer."""
        bodies = {
            str(number): self.bench.wire((*[Say(f"{number}-{index} ") for index in range(10)], _STOP))
            for number in range(_STREAMS)
        }

        def answer(request: RecordedRequest) -> WireResponse:
            number = request.body.partition(b"stream number ")[2].partition(b".")[0].decode()
            return self.bench.response(bodies[number], pace=0)

        async def one(client: LLMClient, number: int) -> None:
            prompt = Prompt.of(f"This is stream number {number}.")
            frames, error = await self.bench.read(client, prompt=prompt)
            assert error is None, error
            texts = [frame.text for frame in frames if isinstance(frame, Append)]
            assert texts == [f"{number}-{index} " for index in range(10)]

        async def check() -> None:
            async with self.bench.client() as (server, client):
                server.answer(answer)
                async with asyncio.TaskGroup() as group:
                    for number in range(_STREAMS):
                        group.create_task(one(client, number))
                assert len(server.requests) == _STREAMS

        run(check())


# ------------------------------------------------------------------------------------------------ helpers


def _slowly(response: WireResponse) -> WireResponse:
    """The same, with a turn of the loop after each event, so that a cancellation can fall between two."""
    return WireResponse(response.body, content_type=response.content_type, stall_after=response.stall_after, pace=0)


async def _leave(client: LLMClient, bench: Bench, how: str) -> None:
    """Iterates an answer that stalls, and leaves it in one of the ways that consumers have."""
    if how == "text stream":
        async with client.execute_streaming(bench.prompt, bench.model) as texts:
            async for _ in texts:
                break
        return
    stream = client.execute_streaming_with_tools(bench.prompt, bench.model)
    if how == "aclose":
        await anext(stream)
        await stream.aclose()
    elif how == "break":
        async with stream:
            async for _ in stream:
                break
    elif how == "exception":
        with suppress(ZeroDivisionError):
            async with stream:
                async for _ in stream:
                    raise ZeroDivisionError
    elif how == "close the client":
        await anext(stream)
        await client.aclose()
    else:
        await _leave_waiting(stream, how)


def _consuming(stream: Any) -> tuple[asyncio.Task[None], asyncio.Event]:
    """A task that reads the stream, and an event that it sets when two frames came: from then on it waits."""
    began = asyncio.Event()

    async def consume() -> None:
        frames = 0
        async for _ in stream:
            frames += 1
            if frames == 2:
                began.set()

    return asyncio.create_task(consume()), began


async def _leave_waiting(stream: Any, how: str) -> None:
    """Leaves while a read waits: by cancelling its task, or by closing from another."""
    task, began = _consuming(stream)
    await began.wait()
    await asyncio.sleep(0)
    if how == "cancel":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        await stream.aclose()
        with pytest.raises(IncompleteStreamError):
            await task
