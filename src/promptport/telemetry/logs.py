"""Requests and tools in the log: logger ``promptport``, one line at INFO for each, details at DEBUG.

Rule: ids, counts and times; never contents or keys. An error is told by its class, its status and its code.
"""

from __future__ import annotations

import logging

from promptport.errors import ProviderError, StreamError
from promptport.telemetry.events import (
    FirstFrame,
    RequestFinished,
    RequestStarted,
    RunFinished,
    ToolCallFinished,
)
from promptport.telemetry.observer import Observer

__all__ = ["LogObserver"]

_log = logging.getLogger("promptport")


class LogObserver(Observer):
    """Writes to the logger `promptport`.

    Examples:
        ```python
        import logging
        from promptport import telemetry

        logging.basicConfig(level=logging.INFO)
        with telemetry.observe(telemetry.LogObserver()):
            ...
        ```
    """

    def __init__(self, *, costs: bool = False) -> None:
        """Make an observer.

        Args:
            costs: Write what each response cost, if its price is known; needs the package `genai-prices`.
                Default: `False`.
        """
        self._costs = costs

    def request_started(self, event: RequestStarted) -> None:
        """At DEBUG."""
        _log.debug(
            "request %d to %s: %d messages, %d tools, attempt %d%s",
            event.id,
            event.model,
            event.messages,
            event.tools,
            event.attempt,
            ", streaming" if event.streaming else "",
        )

    def first_frame(self, event: FirstFrame) -> None:
        """At DEBUG."""
        _log.debug("request %d: first frame after %.3f s", event.id, event.seconds)

    def request_finished(self, event: RequestFinished) -> None:
        """One line at INFO, or at WARNING for a request that failed."""
        usage, cost = event.usage, event.cost if self._costs else None
        _log.log(
            logging.WARNING if event.outcome == "failed" else logging.INFO,
            "request %d to %s: %s in %.3f s, %s tokens in, %s out%s%s",
            event.id,
            event.model,
            event.outcome,
            event.seconds,
            "?" if usage.input_tokens is None else usage.input_tokens,
            "?" if usage.output_tokens is None else usage.output_tokens,
            f", ${cost:.6f}" if cost is not None else "",
            f", {_named(event.error)}" if event.error is not None else "",
        )

    def tool_finished(self, event: ToolCallFinished) -> None:
        """One line at INFO."""
        _log.info("tool %s: %s in %.3f s", event.name, event.outcome, event.seconds)

    def run_finished(self, event: RunFinished) -> None:
        """One line at INFO."""
        _log.info(
            "loop %d: %s in %.3f s, %d requests, %d tool calls",
            event.id,
            event.outcome,
            event.seconds,
            event.requests,
            event.tool_calls,
        )


def _named(error: BaseException) -> str:
    details = []
    if isinstance(error, ProviderError) and error.status is not None:
        details.append(f"HTTP {error.status}")
    if isinstance(error, ProviderError | StreamError) and error.code:
        details.append(error.code)
    return type(error).__name__ + (f" ({', '.join(details)})" if details else "")
