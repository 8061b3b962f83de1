"""One tool call, from its seal to its one outcome.

Rules: what does not fit is refused before anything runs; what was started has exactly one outcome, whatever the tool
does and whoever leaves; nothing is started twice.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Literal, TypeAlias

import msgspec

from promptport.dispatch.inbox import Inbox
from promptport.dispatch.tool_frames import ToolProgress, ToolResult, ToolStarted
from promptport.dispatch.tool_output import Output, describe, limited, output_of, progress_of, tamed
from promptport.dispatch.workers import Workers
from promptport.errors import InvalidToolArgumentsError, ToolError, ToolFailedError, ToolTimeoutError
from promptport.frames import InvalidToolCall, ToolCall
from promptport.tools import Tool

__all__ = ["Approve", "Entry", "RunningTools", "ToolOutcome"]


Approve: TypeAlias = Callable[[ToolCall], Awaitable[bool | str]]


"""Asks a person: ``True`` runs the call, ``False`` or a reason in words for the model does not."""


_DENIED = "the user did not allow this call"


class ToolOutcome(msgspec.Struct, frozen=True):
    """What became of a call.

    Attributes:
        result: what the model is told.
        state: ``refused`` was never started (unknown tool, bad arguments, not approved); the others were.
        error: our error, whose ``__cause__`` is what the tool raised; ``None`` when finished or cancelled.
    """

    result: ToolResult
    state: Literal["finished", "failed", "cancelled", "refused"]
    error: ToolError | None = None


class Entry:
    """A call on its way.

    Attributes:
        call: the call.
        tool: its tool, once it is known that the call can run.
        values: what the tool is called with.
        approved: a person allowed it, or nobody needs to.
        outcome: what became of it.
    """

    __slots__ = ("approved", "call", "outcome", "tool", "values")

    def __init__(self, call: ToolCall | InvalidToolCall, outcome: ToolOutcome | None = None) -> None:
        self.call = call
        self.tool: Tool[Any] | None = None
        self.values: dict[str, Any] = {}
        self.approved = False
        self.outcome = outcome


class RunningTools:
    """The calls of one stream that run, and what became of all that ran.

    Attributes:
        tasks: what must have ended before the stream does.
        outcomes: in the order in which they came.
    """

    def __init__(
        self,
        inbox: Inbox[Any],
        workers: Workers,
        fail: Callable[[BaseException], None],
        *,
        approve: Approve | None,
        timeout: float | None,
        max_concurrency: int,
        max_output_chars: int | None,
    ) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.outcomes: list[ToolOutcome] = []
        self._inbox = inbox
        self._workers = workers
        self._fail_stream = fail
        self._approve = approve
        self._timeout = timeout
        self._slots = asyncio.Semaphore(max_concurrency)
        self._limit = max_output_chars

    def prepare(self, entry: Entry, tool: Tool[Any]) -> bool:
        """Makes a sealed call fit to run; where it does not fit, it is refused, and the answer is ``False``."""
        arguments = entry.call.arguments
        try:
            entry.values = tool.validate(arguments)
            needs = tool.needs_approval
            entry.approved = not (needs(entry.values) if callable(needs) else needs)
        except InvalidToolArgumentsError as error:
            self.refuse(entry, error)
            return False
        except Exception as cause:
            unfit = InvalidToolArgumentsError(describe(cause), tool=tool.name)
            unfit.__cause__ = cause
            self.refuse(entry, unfit)
            return False
        entry.tool = tool
        return True

    def refuse(self, entry: Entry, error: ToolError) -> None:
        """The call's outcome, without running it."""
        self._settle(entry, "refused", error=error)

    def deny(self, entry: Entry, decision: bool | str) -> None:
        """The outcome of a call that a person did not allow; a text is the reason."""
        self.refuse(
            entry, ToolError(decision or _DENIED if isinstance(decision, str) else _DENIED, tool=entry.call.name)
        )

    def start(self, entry: Entry) -> None:
        """Asks for approval if need be, waits for a free place, and runs a prepared call."""
        self.spawn(self._run(entry), f"promptport-tool-{entry.call.name}")

    def spawn(self, work: Any, name: str) -> asyncio.Task[Any]:
        """A task that the stream waits for, and whose error is the stream's."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def cancel(self) -> None:
        """Ends all tasks; `tasks` is empty when they have ended."""
        for task in self.tasks:
            task.cancel()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail_stream(error)
        self._inbox.wake()

    async def _run(self, entry: Entry) -> None:
        if not entry.approved and self._approve is not None and isinstance(entry.call, ToolCall):
            decision = await self._approve(entry.call)
            if decision is not True:
                self.deny(entry, decision)
                return
        async with self._slots:
            self._inbox.push(ToolStarted(entry.call.id, entry.call.name))
            await self._execute(entry)

    async def _execute(self, entry: Entry) -> None:
        """Runs a call that was started, whose outcome is settled when this returns or raises."""
        name, tool = entry.call.name, entry.tool
        assert tool is not None
        seconds = tool.timeout if tool.timeout is not None else self._timeout
        clock = asyncio.timeout(None if seconds == math.inf else seconds)
        task = asyncio.current_task()
        try:
            async with clock:
                output = await self._output(entry, tool)
        except (asyncio.CancelledError, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt) or (task is not None and task.cancelling()):
                self._settle(entry, "cancelled")
                raise
            self._fail(entry, tamed(error))
        except BaseException as error:
            if clock.expired():
                timeout = ToolTimeoutError(f"the tool did not finish within {seconds:g} s", tool=name)
                timeout.__cause__ = error
                self._settle(entry, "failed", error=timeout)
            else:
                self._fail(entry, tamed(error))
        else:
            self._settle(entry, "finished", limited(output, self._limit))

    async def _output(self, entry: Entry, tool: Tool[Any]) -> Output:
        function, values = tool.function, entry.values
        kind = tool.kind
        if kind == "sync":
            return await self._workers.call(function, values)
        if kind == "async":
            return output_of(await function(**values))
        value: Any = None
        async with aclosing(function(**values)) as steps:
            async for value in steps:
                await self._inbox.put(ToolProgress(entry.call.id, progress_of(value)))
        return output_of(value)

    def _fail(self, entry: Entry, cause: Exception) -> None:
        error = ToolFailedError(describe(cause), tool=entry.call.name)
        error.__cause__ = cause
        self._settle(entry, "failed", error=error)

    def _settle(
        self,
        entry: Entry,
        state: Literal["finished", "failed", "cancelled", "refused"],
        output: Output = "",
        error: ToolError | None = None,
    ) -> None:
        text = "the call was cancelled before it finished" if state == "cancelled" else None
        if error is not None:
            cut = limited(str(error), self._limit)
            text = cut if isinstance(cut, str) else None
        result = ToolResult(entry.call.id, entry.call.name, output, text)
        entry.outcome = ToolOutcome(result, state, error)
        self.outcomes.append(entry.outcome)
        self._inbox.push(result)
