"""The decisions of a pause under a journal: those that were recorded first are those that hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from promptport.dispatch.journaling import Decided
from promptport.dispatch.settings import RESUMED_BEFORE
from promptport.dispatch.step_loop import Run
from promptport.dispatch.tool_frames import PausedRun, ToolResult
from promptport.errors import InvalidInputError

__all__ = ["take_up"]


def take_up(
    run: Run,
    paused: PausedRun,
    decisions: Mapping[str, bool | str],
    results: Mapping[str, ToolResult],
    taken: Callable[[], Awaitable[bool]],
) -> None:
    """Makes the run go on from the pause when it is first read.

    ``taken`` asks the store of pauses, once, for a pause that a run without this journal left. For those of this run
    the journal decides: the process might die between the store's record and its own.

    Raises:
        InvalidInputError: The pause was resumed before, in this attempt.
    """
    ledger = run.ledger
    assert ledger is not None
    run.message, run.step, run.usage = paused.message, paused.step, paused.usage
    place = ledger.draw(f"resume/{paused.step}")

    async def work() -> bytes:
        if not paused.run and not await taken():
            raise InvalidInputError(RESUMED_BEFORE)
        return msgspec.json.encode(Decided(dict(decisions), dict(results)))

    async def claim() -> bool:
        decided = ledger.read(Decided, await place(work))
        run.restore(paused, decided.decisions, decided.results)
        return True

    run.claim = claim
