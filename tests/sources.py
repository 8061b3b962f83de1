"""Scripted sources of frames, for the tests of what iterates them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from promptport.errors import PromptportError
from promptport.frames import End, FinishReason, StreamFrame, Usage
from promptport.stream import FrameBatches, FrameStream, Timeouts

__all__ = ["END", "SOON", "Source", "Step", "iterated", "never", "turns", "until_error"]

END = End(FinishReason.STOP, "stop", Usage(3, 2), "model-1", "answer-1")
SOON = 0.05
Step = Sequence[StreamFrame] | BaseException | asyncio.Event


class Source:
    """Plays batches, errors, and waits for events; records what happens to it."""

    def __init__(self, *steps: Step, close: asyncio.Event | None = None) -> None:
        self.steps = steps
        self.given = 0
        self.closed = 0
        self.waiting = asyncio.Event()
        self.closing = asyncio.Event()
        self._close = close

    @property
    def started(self) -> bool:
        return self.given > 0 or self.waiting.is_set() or self.closed > 0

    async def frames(self) -> FrameBatches:
        try:
            for step in self.steps:
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, asyncio.Event):
                    self.waiting.set()
                    await step.wait()
                else:
                    self.given += 1
                    yield step
        finally:
            self.closing.set()
            if self._close is not None:
                await self._close.wait()
            self.closed += 1

    def stream(self, timeouts: Timeouts | None = None) -> FrameStream:
        return FrameStream(self.frames(), timeouts=timeouts, named=("provider-1", "model-1"))


def never() -> asyncio.Event:
    return asyncio.Event()


async def iterated(stream: FrameStream) -> list[StreamFrame]:
    return [frame async for frame in stream]


async def until_error(stream: FrameStream) -> tuple[list[StreamFrame], PromptportError]:
    frames: list[StreamFrame] = []
    try:
        async for frame in stream:
            frames.append(frame)
    except PromptportError as error:
        return frames, error
    raise AssertionError(f"no error came after {frames}")


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
