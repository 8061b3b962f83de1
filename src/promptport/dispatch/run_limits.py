"""How much one run may do: requests, calls, and the same call that fails again and again. Pure.

Rule: a limit gives its error, and raises nothing; who asks knows what had come by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from promptport.dispatch.entries import Entry
from promptport.dispatch.tool_frames import call_key
from promptport.errors import StepLimitError

__all__ = ["RunLimits"]


class RunLimits:
    """What one stream did so far, against what it may do.

    Attributes:
        calls: how many calls the model made.
    """

    def __init__(self, max_steps: int, max_calls: int | None, max_failures: int | None) -> None:
        self._max_steps = max_steps
        self._max_calls = max_calls
        self._max_failures = max_failures
        self.calls = 0
        self._failures: Counter[tuple[str, bytes]] = Counter()

    def call(self) -> StepLimitError | None:
        """Counts a call; ends a run that calls without end."""
        self.calls += 1
        if self._max_calls is not None and self.calls > self._max_calls:
            return self._error(f"the model made more than {self._max_calls:,} tool calls (max_calls)")
        return None

    def outcomes(self, entries: Iterable[Entry]) -> None:
        """Notes which calls of an answer failed again, and which no longer do."""
        failed: dict[tuple[str, bytes], bool] = {}
        for entry in entries:
            if entry.outcome is not None:
                failed[call_key(entry.call)] = entry.outcome.state != "finished"
        for key, again in failed.items():
            if again:
                self._failures[key] += 1
            else:
                del self._failures[key]

    def request(self, index: int) -> StepLimitError | None:
        """Whether the request of this index, from 0, may not be made."""
        if index >= self._max_steps:
            return self._error(f"the model still calls tools after {self._max_steps} requests (max_steps)")
        for (name, _), times in self._failures.items():
            if self._max_failures is not None and times >= self._max_failures:
                return self._error(
                    f"the model made the same call of {name!r} {times} times, and it failed each time (max_failures). "
                    "Its last error is in the stream's outcomes."
                )
        return None

    def _error(self, text: str) -> StepLimitError:
        return StepLimitError(text, max_steps=self._max_steps)
