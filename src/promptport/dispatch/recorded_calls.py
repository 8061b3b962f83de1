"""`RecordedCall`: a call that runs at most once, or again if its tool is repeatable, whatever becomes of the process.

How: one record before the tool may run, and one of its whole outcome. A start without an outcome is a tool that was
caught running: it is not run again, and its one outcome says so, unless it is repeatable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from promptport.dispatch.entries import Entry, ToolOutcome
from promptport.dispatch.journaling import Begun, CallContext, Finished, Ledger, Place, context_of
from promptport.dispatch.tool_frames import ToolResult, ToolStarted
from promptport.errors import ToolFailedError
from promptport.frames import ToolCall

if TYPE_CHECKING:
    from promptport.dispatch.tool_runner import RunningTools

__all__ = ["RecordedCall", "record_calls"]

_CAUGHT = (
    "the process ended while this call was running: it may have had its effect, or not; it was not run again. "
    "Find out before calling it again."
)


class RecordedCall:
    """One call of a recorded answer."""

    def __init__(
        self,
        running: RunningTools,
        entry: Entry,
        ledger: Ledger,
        *,
        start: Place,
        end: Place,
        context: CallContext,
        since: int,
    ) -> None:
        """``since`` is the attempt in which the tool might have run first, as far as the answer's record says."""
        self._running = running
        self._entry = entry
        self._ledger = ledger
        self._start = start
        self._end = end
        self._context = context
        self._since = since
        self._begins = False
        self._runs = False
        self._begun = Begun()

    async def run(self) -> None:
        """Gives the call its outcome, out of the journal or by running it; then it is shown."""
        entry = self._entry
        try:
            self._begun = self._ledger.read(Begun, await self._start(self._begin))
            if self._begun.parked:
                if not self._begins:
                    entry.outcome = None  # that it does not fit any more is told when it would run
                    self._running.park(entry)
                return
            finished: Finished | None = self._begun.refused
            if finished is None:
                finished = self._ledger.read(Finished, await self._end(self._finish))
            if not self._runs and not (self._begins and self._begun.refused is not None):
                entry.outcome = finished.outcome()
        except BaseException:
            if entry.outcome is not None:
                self._running.show(entry, entry.outcome)  # unrecorded, and still its outcome here
            raise
        assert entry.outcome is not None
        if not self._runs and entry.outcome.state != "refused":
            self._running.tell(ToolStarted(entry.call.id, entry.call.name))
        self._running.show(entry, entry.outcome)

    async def _begin(self) -> bytes:
        """Admits the call; gives the record after which it may run."""
        self._begins = True
        entry = self._entry
        if entry.begun:  # eagerly, before its answer was recorded
            return msgspec.json.encode(Begun(self._since))
        if entry.outcome is None and await self._running.admit(entry):
            await self._running.take_place(entry)
            return msgspec.json.encode(Begun(self._ledger.attempt))
        if entry.outcome is None:
            return msgspec.json.encode(Begun(parked=True))
        return msgspec.json.encode(Begun(self._ledger.attempt, Finished.of(entry.outcome)))

    async def _finish(self) -> bytes:
        """Runs the tool, or says that it was caught running; gives the record of its outcome."""
        entry, tool = self._entry, self._entry.tool
        if not entry.begun:
            if not self._begins and (tool is None or not tool.repeatable or entry.outcome is not None):
                return msgspec.json.encode(Finished.of(self._caught()))
            if not self._begins:
                entry.approved = True  # as the record says
                if not await self._running.admit(entry):
                    assert entry.outcome is not None
                    return msgspec.json.encode(Finished.of(entry.outcome))
                await self._running.take_place(entry)
            first = min(self._since, self._begun.attempt)
            attempt = self._ledger.attempt - first + 1
            again = not self._begins or first < self._ledger.attempt
            entry.context = replace(self._context, attempt=max(2, attempt) if again else 1)
            self._running.begin(entry)
        self._runs = True
        if entry.outcome is None:
            entry.settled = asyncio.get_running_loop().create_future()
            await entry.settled
        assert entry.outcome is not None
        if entry.outcome.state == "cancelled":
            raise asyncio.CancelledError
        return msgspec.json.encode(Finished.of(entry.outcome))

    def _caught(self) -> ToolOutcome:
        call = self._entry.call
        return ToolOutcome(
            ToolResult(call.id, call.name, "", _CAUGHT), "failed", ToolFailedError(_CAUGHT, tool=call.name)
        )


def record_calls(
    running: RunningTools, ledger: Ledger, entries: Sequence[Entry], place: str, *, asked: int, eager: bool
) -> None:
    """Draws the places of all calls of an answer, in their order, and gives the calls to the journal.

    Args:
        running: What runs them.
        ledger: The journal.
        entries: The calls.
        place: What their keys begin with; it ends in the index of the step.
        asked: The attempt that asked for the answer.
        eager: Whether a repeatable call may have started before its answer was recorded.
    """
    kind, _, step = place.partition("/")
    for index, entry in enumerate(entries):
        key = f"{place}/{index}/{entry.call.name}"
        start, end = ledger.draw(f"{key}/start"), ledger.draw(key)  # also for those that need none: places are counted
        if not isinstance(entry.call, ToolCall) or not (entry.hold or (entry.begun and kind == "call")):
            continue
        tool = entry.tool
        early = eager and tool is not None and tool.repeatable and tool.start == "eager" and not entry.unchecked
        since = asked if early and entry.approved else ledger.attempt
        context = context_of(ledger, int(step), index, entry.call)
        running.record(RecordedCall(running, entry, ledger, start=start, end=end, context=context, since=since))
