"""A call on its way, and what became of it: values that the loop and the runner share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import msgspec

from promptport.dispatch.tool_frames import ToolResult
from promptport.errors import ToolError
from promptport.frames import InvalidToolCall, ToolCall
from promptport.telemetry import ToolObservation
from promptport.tools import Tool

__all__ = ["Approve", "Entry", "State", "ToolOutcome"]


Approve: TypeAlias = Callable[[ToolCall], Awaitable[bool | str] | bool | str]
"""Asks a person: ``True`` runs the call, ``False`` or a reason in words for the model does not.

A plain function is called in the event loop, so it must not block."""


State: TypeAlias = Literal["finished", "failed", "cancelled", "refused"]


class ToolOutcome(msgspec.Struct, frozen=True):
    """What became of a call. Its ``repr`` shows no contents.

    Attributes:
        result: what the model is told.
        state: ``refused`` was never started (unknown tool, bad arguments, not approved); the others were.
        error: our error, whose ``__cause__`` is what the tool raised; ``None`` when finished or cancelled.
    """

    result: ToolResult
    state: State
    error: ToolError | None = None

    def __repr__(self) -> str:
        error = f", {type(self.error).__name__}" if self.error is not None else ""
        return f"ToolOutcome({self.result!r}, {self.state!r}{error})"


class Entry:
    """A call on its way.

    Attributes:
        call: the call.
        tool: its tool, once it is known that the call can run.
        values: what the tool is called with.
        unchecked: its arguments are yet to be checked, in a process of its own.
        approved: a person allowed it, or nobody needs to.
        outside: the front end runs it.
        started: its tool runs, or ran.
        timed_out: its tool is to end, because its time is over.
        told: its observers, where there are any.
        outcome: what became of it.
        context: what `current_call` says; made when the tool starts, unless a journal gave it.
        begun: its tool was given to a task.
        hold: its outcome is shown only when a journal has recorded it.
        shown: its outcome was shown.
        view: where its function runs, and when it began.
        late: ends its tool.
        settled: resolved with its outcome, where somebody waits for it.
        twins: the identical calls of the same answer, which get its result.
    """

    __slots__ = (
        "approved",
        "begun",
        "call",
        "context",
        "hold",
        "late",
        "outcome",
        "outside",
        "settled",
        "shown",
        "started",
        "timed_out",
        "told",
        "tool",
        "twins",
        "unchecked",
        "values",
        "view",
    )

    def __init__(self, call: ToolCall | InvalidToolCall, outcome: ToolOutcome | None = None) -> None:
        self.call = call
        self.tool: Tool[Any] | None = None
        self.values: dict[str, Any] = {}
        self.unchecked = False
        self.approved = False
        self.outside = False
        self.started = False
        self.timed_out = False
        self.told: ToolObservation | None = None
        self.outcome = outcome
        self.context: Any = None
        self.begun = False
        self.hold = False
        self.shown = outcome is not None
        self.view: Any = None
        self.late: asyncio.TimerHandle | None = None
        self.settled: asyncio.Future[None] | None = None
        self.twins: list[Entry] = []
