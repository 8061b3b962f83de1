"""A run that its journal takes up again, in the log where its first part stands: shown on, and not twice.

Rule: whole steps, and pauses, that viewers have are skipped; where they have a part of a step, `StepReset` says that it
begins anew, since an answer that was not recorded is asked anew. Pure.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from promptport.dispatch import ApprovalNeeded, DispatchFrame, StepEnd, StepReset, ToolsPending
from promptport.frames import End

__all__ = ["Shown", "rejoined"]


class Shown:
    """What viewers have of a run.

    Attributes:
        steps: How many steps are whole.
        pauses: How many pauses the step after them has.
        half: There is something behind the last whole step or pause.
        over: They have its end.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.pauses = 0
        self.half = False
        self.over = False

    def add(self, frame: DispatchFrame) -> None:
        """Takes the next frame of the log."""
        if isinstance(frame, StepEnd):
            self.steps, self.pauses, self.half = self.steps + 1, 0, False
        elif isinstance(frame, ApprovalNeeded | ToolsPending):
            self.pauses, self.half = self.pauses + 1, False
        elif isinstance(frame, StepReset):
            self.pauses, self.half = 0, True
        else:
            self.half, self.over = True, isinstance(frame, End)


async def rejoined(frames: AsyncIterable[DispatchFrame], shown: Shown) -> AsyncIterator[DispatchFrame]:
    """The frames of a run from its start, without what viewers have."""
    steps, pauses = shown.steps, 0 if shown.half else shown.pauses
    try:
        if shown.half and not shown.over:
            yield StepReset(shown.steps)
        async for frame in frames:
            if steps:
                steps -= isinstance(frame, StepEnd)
            elif pauses:
                pauses -= isinstance(frame, ApprovalNeeded | ToolsPending)
            elif not shown.over:
                yield frame
    finally:
        source: Any = frames
        if hasattr(source, "aclose"):
            await source.aclose()
