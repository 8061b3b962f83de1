"""Who is told of requests and tools: observers, the log, OpenTelemetry, prices.

Nothing is told unless a program asks for it. What enters looks on, and changes nothing. Imports: errors, frames,
messages, models; OpenTelemetry and prices when they are first used.
"""

from contextlib import AbstractContextManager
from typing import Any

from promptport.telemetry.dumping import dump
from promptport.telemetry.events import (
    FirstFrame,
    RequestFinished,
    RequestStarted,
    RunFinished,
    RunStarted,
    ToolCallFinished,
    ToolCallStarted,
)
from promptport.telemetry.logs import LogObserver
from promptport.telemetry.observer import (
    Observation,
    Observer,
    RunObservation,
    ToolObservation,
    as_attempt,
    begin_request,
    begin_run,
    begin_tool,
    check_observers,
    in_run,
    leaving_out,
    observe,
    observed_by,
)
from promptport.telemetry.opentelemetry import OpenTelemetryObserver
from promptport.telemetry.prices import price

__all__ = [
    "FirstFrame",
    "LogObserver",
    "Observation",
    "Observer",
    "OpenTelemetryObserver",
    "RequestFinished",
    "RequestStarted",
    "RunFinished",
    "RunObservation",
    "RunStarted",
    "ToolCallFinished",
    "ToolCallStarted",
    "ToolObservation",
    "as_attempt",
    "begin_request",
    "begin_run",
    "begin_tool",
    "check_observers",
    "dump",
    "in_run",
    "instrument",
    "leaving_out",
    "observe",
    "observed_by",
    "price",
]


def instrument(**options: Any) -> AbstractContextManager[None]:
    """Send spans and metrics of everything in this process to OpenTelemetry, from now on.

    Args:
        options: As in `OpenTelemetryObserver`.

    Returns:
        A context manager that is entered already; leave it (`__exit__`) to stop, or never.

    Raises:
        ConfigurationError: The package `opentelemetry-api` is not installed.
    """
    context = observe(OpenTelemetryObserver(**options))
    context.__enter__()
    return context
