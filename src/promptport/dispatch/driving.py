"""`drive`: the one generator behind a stream of the tool loop.

How it runs: while no tool runs, the generator iterates the model's frames itself, without a task switch. While tools
run, a reader task iterates them, and the generator takes frames and the tools' news from one inbox. It waits only in
these two places, so that closing can always reach it. No ``yield`` stands inside a task group or a cancel scope.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from promptport.dispatch.step_loop import Item, Run
from promptport.dispatch.tool_frames import DispatchFrame
from promptport.frames import End, InvalidToolCall, ToolCall

__all__ = ["drive"]


async def drive(run: Run) -> AsyncGenerator[DispatchFrame, None]:  # noqa: PLR0912, PLR0915 - layers cost
    """The one generator behind a stream."""
    inbox, items = run.inbox, run.inbox.items
    item: Item
    error: BaseException | None = None
    run.begin()
    try:
        if run.claim is not None:
            await run.claimed()
        run.start_held()
        while True:
            while True:
                if items:
                    item = inbox.pop()
                elif run.running.tasks or run.reader is not None:
                    run.keep_reading()
                    await inbox.wait()
                    continue
                elif run.failure is not None:
                    raise run.failure
                elif run.exhausted:
                    break
                else:
                    assert run.source is not None
                    async for frame in run.source:  # nothing runs: frames pass without a task switch
                        kind = type(frame)
                        if kind is ToolCall or kind is End or kind is InvalidToolCall:
                            item = frame
                            break
                        yield frame
                    else:
                        run.exhausted = True
                        continue
                shown = run.take(item)
                if shown is not None:
                    yield shown
            if last := run.finish_step():
                if run.ledger is not None and run.paused is None:
                    await run.ledger.end()
                for shown in last:
                    yield shown
                return
            yield await run.next_step()
    except BaseException as raised:
        error = raised
        raise
    finally:
        try:
            await run.close()
            run.tell_its_end(error)
        finally:
            run.ties.done(run)
            if run.finished is not None and not run.finished.done():
                run.finished.set_result(None)
