"""A run that is taken up again goes on in its log: whole steps are not shown twice, a half one begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.run_log.redis_server import RedisServer

import promptport as pp
from promptport.dispatch import DispatchFrame
from promptport.run_log.redis import RedisRunLog
from promptport.run_log.rejoining import Shown, rejoined

STOP = pp.End(pp.FinishReason.STOP, "stop")
CALL = pp.ToolCall("1", "f", "{}")
ANSWERED = pp.ToolStarted("1", "f")
RUN: list[DispatchFrame] = []
RUN += [pp.Append("one "), CALL, ANSWERED, pp.ToolResult("1", "f", "x"), pp.StepEnd(0, STOP)]
RUN += [pp.Append("two "), CALL, pp.ApprovalNeeded((CALL,)), ANSWERED, pp.ToolResult("1", "f", "y")]
RUN += [pp.StepEnd(1, STOP), pp.Append("three"), STOP]


async def of(frames: list[DispatchFrame]) -> AsyncIterator[DispatchFrame]:
    for frame in frames:
        yield frame


def folded(frames: list[DispatchFrame]) -> list[DispatchFrame]:
    """What a viewer has in the end, who forgets a step that is asked anew."""
    steps: list[list[DispatchFrame]] = [[]]
    for frame in frames:
        if isinstance(frame, pp.StepReset):
            assert frame.index == len(steps) - 1
            steps[-1] = []
            continue
        steps[-1].append(frame)
        if isinstance(frame, pp.StepEnd):
            steps.append([])
    return [frame for step in steps for frame in step]


@pytest.mark.parametrize("second", range(len(RUN) + 1))
@pytest.mark.parametrize("first", range(len(RUN) + 1))
async def test_a_viewer_has_the_same_after_two_deaths_at_any_frames(first: int, second: int) -> None:
    log = RUN[:first]
    for cut in (second, None):
        shown = Shown()
        for frame in log:
            shown.add(frame)
        log = log + [frame async for frame in rejoined(of(RUN), shown)][:cut]
    assert folded(log) == RUN
    if first in (5, 11):
        assert not any(isinstance(frame, pp.StepReset) for frame in RUN[:first] + log[first : first + 1])


async def test_in_redis_ids_have_no_gap_and_the_reader_does_not_come_again(tmp_path: Path) -> None:
    async with (
        RedisServer(tmp_path) as server,
        RedisRunLog(server.url, lease=0.4, buffer_seconds=None) as dead,
        RedisRunLog(server.url, lease=0.4, buffer_seconds=None) as alive,
        RedisRunLog(server.url, lease=0.4, takeover_seconds=30) as viewers,
    ):
        reached = asyncio.Event()

        async def cut() -> AsyncIterator[DispatchFrame]:
            for frame in RUN[:6]:
                yield frame
            reached.set()
            await asyncio.Event().wait()

        await dead.start("run", cut())
        await reached.wait()
        reader = viewers.read("run")
        seen = [await anext(reader) for _ in range(6)]
        for task in asyncio.all_tasks():  # as if the process were killed: nobody renews the lease, or tells an end
            if task.get_name() == "promptport-log-run":
                task.cancel()
        await alive.start("run", of(RUN), replayed=True)
        async with asyncio.timeout(20):
            seen += [logged async for logged in reader]
        assert [logged.position for logged in seen] == list(range(1, len(seen) + 1))
        frames = [logged.frame for logged in seen]
        assert frames[6] == pp.StepReset(1)
        assert folded(frames) == RUN
