"""One tool call, from its seal to its one outcome.

Rules: what does not fit is refused before anything runs; what was started has exactly one outcome, whatever the tool
does and whoever leaves; nothing is started twice.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import warnings
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, cast

from msgspec.structs import replace

from promptport.dispatch.entries import Approve, Entry, State, ToolOutcome
from promptport.dispatch.far_check import check_far
from promptport.dispatch.inbox import Inbox
from promptport.dispatch.journaling import CALL, CallContext
from promptport.dispatch.recorded_calls import RecordedCall
from promptport.dispatch.run_ties import RunTies
from promptport.dispatch.tool_frames import ToolProgress, ToolResult, ToolStarted
from promptport.dispatch.tool_output import Given, Output, describe, limited, output_of, progress_of, tamed
from promptport.dispatch.tool_view import SHOWS, ToolView
from promptport.dispatch.workers import Workers
from promptport.errors import InvalidToolArgumentsError, ToolError, ToolFailedError, ToolTimeoutError
from promptport.frames import ToolCall
from promptport.telemetry import RunObservation, begin_tool
from promptport.tools import SchemaCheck, Tool, ToolDescriptor

__all__ = ["RunningTools"]


_DENIED = "the user did not allow this call"
_RECORDING = "promptport-record"


class RunningTools:
    """The calls of one stream that run, and what became of all that ran.

    Attributes:
        tasks: what must have ended before the stream does.
        outcomes: in the order in which they came.
        told: the observers of the loop, where there are any.
        park: keeps a call for a person, or for the front end.
    """

    def __init__(
        self,
        inbox: Inbox[Any],
        workers: Workers,
        ties: RunTies,
        fail: Callable[[BaseException], None],
        park: Callable[[Entry], None],
        *,
        approve: Approve | None,
        timeout: float | None,
        grace: float,
        max_concurrency: int,
        max_output_chars: int | None,
        token: str,
    ) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.outcomes: list[ToolOutcome] = []
        self.told: RunObservation | None = None
        self._entries: dict[asyncio.Task[Any], Entry] = {}
        self._inbox = inbox
        self._workers = workers
        self._ties = ties
        self._fail_stream = fail
        self.park = park
        self._approve = approve
        self._timeout = timeout
        self._grace = grace
        self._slots = asyncio.Semaphore(max_concurrency)
        self._limit = max_output_chars
        self._token = token

    # ------------------------------------------------------------------------------------ before it runs

    def prepare(self, entry: Entry, tool: Tool[Any]) -> bool:
        """Makes a sealed call fit to run; where it does not fit, it is refused, and the answer is ``False``."""
        check, arguments = tool.validator, entry.call.arguments
        if isinstance(check, SchemaCheck) and check.is_heavy(arguments):
            entry.tool, entry.unchecked = tool, True
            return True
        try:
            entry.values = tool.validate(arguments)
            self._ask_whether_to_ask(entry, tool)
        except KeyboardInterrupt:
            raise
        except BaseException as cause:
            self._unfit(entry, cause, tool)
            return False
        entry.tool = tool
        return True

    def _ask_whether_to_ask(self, entry: Entry, tool: Tool[Any]) -> None:
        needs = tool.needs_approval
        entry.approved = entry.approved or not (needs(entry.values) if callable(needs) else needs)

    def _unfit(self, entry: Entry, cause: BaseException, tool: ToolDescriptor) -> None:
        if issubclass(type(cause), InvalidToolArgumentsError):  # `isinstance` asks the exception itself
            self.refuse(entry, cast("InvalidToolArgumentsError", cause))
            return
        unfit = InvalidToolArgumentsError(describe(cause), tool=tool.name)
        unfit.__cause__ = cause
        self.refuse(entry, unfit)

    def fits(self, entry: Entry, check: SchemaCheck, tool: ToolDescriptor) -> bool:
        """Whether a call of a tool that runs elsewhere fits its schema; where it does not, it is refused."""
        if check.is_heavy(entry.call.arguments):
            return True  # whoever runs it checks it
        try:
            check(entry.call.arguments)
        except InvalidToolArgumentsError as error:
            self._unfit(entry, error, tool)
            return False
        return True

    def refuse(self, entry: Entry, error: ToolError, *, denied: bool = False) -> None:
        """The call's outcome, without running it."""
        self._settle(entry, "refused", error=error, denied=denied)

    def deny(self, entry: Entry, decision: bool | str) -> None:
        """The outcome of a call that a person did not allow; a text is the reason."""
        reason = decision or _DENIED if isinstance(decision, str) else _DENIED
        self.refuse(entry, ToolError(reason, tool=entry.call.name), denied=True)

    def accept(self, entry: Entry, result: ToolResult) -> None:
        """The outcome of a call that ran elsewhere."""
        output = limited(result.output, self._limit)
        cut = ToolResult(
            result.id, result.name, output, result.error, result.denied, result.json and output == result.output
        )
        error = None if result.error is None else ToolFailedError(result.error, tool=result.name)
        state: State = "finished" if result.error is None else "refused" if result.denied else "failed"
        self._record(entry, ToolOutcome(cut, state, error))

    def follow(self, first: Entry, twin: Entry) -> None:
        """Gives an identical call the outcome of the first, now or when it is there."""
        first.twins.append(twin)
        if first.outcome is not None and (first.shown or not first.hold):
            self._share(first.outcome, twin)

    # ----------------------------------------------------------------------------------------- the tasks

    def start(self, entry: Entry) -> None:
        """Asks for approval if need be, waits for a free place, and runs a prepared call."""
        self._task(self._run(entry), entry)

    def _task(self, work: Any, entry: Entry) -> None:
        entry.begun = True
        self._entries[self.spawn(work, f"promptport-tool-{entry.call.name}")] = entry

    def begin(self, entry: Entry) -> None:
        """Runs a call that was admitted, and has its place."""
        self._task(self._run_now(entry), entry)

    def record(self, call: RecordedCall) -> None:
        """Gives a call its outcome by way of a journal."""
        self.spawn(call.run(), _RECORDING)

    def spawn(self, work: Any, name: str) -> asyncio.Task[Any]:
        """A task that the stream waits for, and whose error is the stream's."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def cancel(self) -> None:
        """Ends all tasks; `tasks` is empty when they have ended, or were abandoned after the grace period."""
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            loop = asyncio.get_running_loop()
            late = loop.call_later(self._grace, self._abandon_all, tasks)
            pending = len(tasks)

            def ended(_: asyncio.Task[Any]) -> None:
                nonlocal pending
                pending -= 1
                if not pending:
                    late.cancel()

            for task in tasks:
                task.add_done_callback(ended)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._entries.pop(task, None)
        abandoned = task not in self.tasks
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not abandoned:
            self._fail_stream(error)
        self._inbox.wake()

    def _abandon_all(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            self._abandon(task)

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        """Waits no longer for a task that goes on after its cancellation."""
        if task.done() or task not in self.tasks:
            return
        entry = self._entries.get(task)
        self.tasks.discard(task)
        hook = "the journal" if task.get_name() == _RECORDING else "on_step"
        name = hook if entry is None else f"tool {entry.call.name!r}"
        if entry is not None:
            if entry.started and entry.outcome is None:
                self._slots.release()
            if entry.timed_out:
                self._settle(entry, "failed", error=self._too_late(entry))
            else:
                self._settle(entry, "cancelled")
        self._inbox.wake()
        warnings.warn(
            f"{name} was cancelled and still runs {self._grace:g} s later (grace). It is abandoned: it runs on, and "
            "what it gives is dropped. Let asyncio.CancelledError pass through it.",
            RuntimeWarning,
            stacklevel=2,
        )

    async def _run(self, entry: Entry) -> None:
        if await self.admit(entry):
            await self.take_place(entry)
            await self._run_now(entry)

    async def admit(self, entry: Entry) -> bool:
        """Checks what is yet to be checked, and asks a person if need be; what may not run is refused, or kept."""
        if entry.outside and entry.approved:
            text = "not run: a person allowed it, and since then the front end runs this tool"
            self.refuse(entry, ToolError(text, tool=entry.call.name))
            return False
        if entry.outside:
            self.park(entry)
            return False
        if entry.unchecked and not await self._check_far(entry):
            return False
        if not entry.approved and isinstance(entry.call, ToolCall):
            if self._approve is None:
                self.park(entry)
                return False
            decision = self._approve(entry.call)
            if inspect.isawaitable(decision):
                decision = await decision
            if decision is not True:
                self.deny(entry, decision)
                return False
        return True

    async def take_place(self, entry: Entry) -> None:
        """Waits until fewer than ``max_concurrency`` tools run."""
        await self._slots.acquire()
        entry.started = True

    async def _run_now(self, entry: Entry) -> None:
        if self.told is not None:
            entry.told = begin_tool(self.told, entry.call.id, entry.call.name, entry.call.arguments)
        try:
            self._inbox.push(ToolStarted(entry.call.id, entry.call.name))
            await self._execute(entry)
        finally:
            if asyncio.current_task() in self.tasks:  # else its place was freed when it was abandoned
                self._slots.release()

    async def _check_far(self, entry: Entry) -> bool:
        """Checks arguments in another process, for as long as the tool itself may take."""
        tool = entry.tool
        assert tool is not None
        seconds = self._seconds(tool)
        try:
            async with self._slots, asyncio.timeout(seconds):
                entry.values = await check_far(
                    cast("SchemaCheck", tool.validator), tool.arguments_of(entry.call.arguments)
                )
            self._ask_whether_to_ask(entry, tool)
        except TimeoutError:
            text = f"the arguments could not be checked within {seconds:g} s; they were not used"
            self.refuse(entry, ToolTimeoutError(text, tool=tool.name))
            return False
        except Exception as cause:
            self._unfit(entry, cause, tool)
            return False
        return True

    def _seconds(self, tool: Tool[Any]) -> float | None:
        seconds = tool.timeout if tool.timeout is not None else self._timeout
        return None if seconds == math.inf else seconds

    async def _execute(self, entry: Entry) -> None:  # noqa: PLR0912 - one outcome for each way to end
        """Runs a call that was started, whose outcome is settled when this returns or raises."""
        tool, task = entry.tool, asyncio.current_task()
        assert tool is not None
        assert task is not None
        seconds = self._seconds(tool)
        view = entry.view = ToolView(entry, self._inbox)
        if tool.kind != "sync":
            view.begin()
        if seconds is not None:
            entry.late = asyncio.get_running_loop().call_later(seconds, self._time_is_over, entry, task, seconds)
        try:
            given = await self._output(entry, tool)
        except (asyncio.CancelledError, KeyboardInterrupt) as error:
            if entry.timed_out and isinstance(error, asyncio.CancelledError) and task.cancelling() <= 1:
                task.uncancel()  # the cancellation was ours
                self._settle(entry, "failed", error=self._too_late(entry, error))
                return
            if isinstance(error, KeyboardInterrupt) or task.cancelling():
                self._settle(entry, "cancelled")
                raise
            self._fail(entry, tamed(error))
        except BaseException as error:
            if entry.timed_out:
                self._settle(entry, "failed", error=self._too_late(entry, error))
            else:
                self._fail(entry, tamed(error))
        else:
            if entry.timed_out:
                self._settle(entry, "failed", error=self._too_late(entry))
            else:
                output = limited(given.output, self._limit)
                self._settle(entry, "finished", output, json=given.json and output == given.output)
        finally:
            if entry.late is not None:
                entry.late.cancel()
            view.end()

    def _time_is_over(self, entry: Entry, task: asyncio.Task[Any], seconds: float) -> None:
        left = entry.view.left(seconds)  # the wait for a place is not the tool's time
        if left > 0:
            entry.late = asyncio.get_running_loop().call_later(left, self._time_is_over, entry, task, seconds)
            return
        entry.timed_out = True
        task.cancel()
        asyncio.get_running_loop().call_later(self._grace, self._abandon, task)

    def _too_late(self, entry: Entry, cause: BaseException | None = None) -> ToolTimeoutError:
        assert entry.tool is not None
        error = ToolTimeoutError(
            f"the tool did not finish within {self._seconds(entry.tool):g} s", tool=entry.call.name
        )
        error.__cause__ = cause
        return error

    async def _output(self, entry: Entry, tool: Tool[Any]) -> Given:
        told = entry.told
        if told is None:
            return await self._given(entry, tool)
        with told:
            return await self._given(entry, tool)

    async def _given(self, entry: Entry, tool: Tool[Any]) -> Given:
        function, values = tool.function, self._ties.values(tool, entry.values)
        self._ties.enter()
        CALL.set(entry.context or CallContext(entry.call.id, f"{self._token}/{entry.call.id}"))  # in the tool's task
        SHOWS.set(entry.view)
        kind = tool.kind
        if kind == "sync":
            return await self._workers.call(function, values, tool, entry.view)
        if kind == "async":
            return output_of(await function(**values))
        progress = _Progress(entry, self._inbox)
        value: Any = None
        try:
            async with aclosing(function(**values)) as steps:
                async for value in steps:
                    await progress.show(value)
        finally:
            progress.end()
        return output_of(value)

    # --------------------------------------------------------------------------------------- its outcome

    def _fail(self, entry: Entry, cause: Exception) -> None:
        error = ToolFailedError(describe(cause), tool=entry.call.name)
        error.__cause__ = cause
        self._settle(entry, "failed", error=error)

    def _settle(
        self,
        entry: Entry,
        state: State,
        output: Output = "",
        error: ToolError | None = None,
        *,
        denied: bool = False,
        json: bool = False,
    ) -> None:
        text = "the call was cancelled before it finished" if state == "cancelled" else None
        if error is not None:
            cut = limited(str(error), self._limit)
            text = cut if isinstance(cut, str) else None
        result = ToolResult(entry.call.id, entry.call.name, output, text, denied, json)
        self._record(entry, ToolOutcome(result, state, error))

    def _record(self, entry: Entry, outcome: ToolOutcome) -> None:
        if entry.outcome is not None:
            return  # it was abandoned, and has its outcome
        entry.outcome = outcome
        waited = entry.settled
        if waited is not None and not waited.done():
            waited.set_result(None)
        if not entry.hold or outcome.state == "cancelled" or (waited is not None and waited.cancelled()):
            self.show(entry, outcome)

    def tell(self, frame: ToolStarted) -> None:
        """Shows a frame of a call that ran in an earlier attempt."""
        self._inbox.push(frame)

    def show(self, entry: Entry, outcome: ToolOutcome) -> None:
        """Shows an outcome, once, and gives it to the identical calls."""
        if entry.shown:
            return
        entry.shown = True
        self.outcomes.append(outcome)
        self._inbox.push(outcome.result)
        if self.told is not None:
            told = entry.told or begin_tool(self.told, entry.call.id, entry.call.name, entry.call.arguments)
            told.finished(outcome.state, outcome.error, outcome.result.output)
        for twin in entry.twins:
            self._share(outcome, twin)

    def _share(self, outcome: ToolOutcome, twin: Entry) -> None:
        self._record(twin, replace(outcome, result=replace(outcome.result, id=twin.call.id)))


class _Progress:
    """What an async-generator tool yields, shown at once; but for its last value, which is its output.

    A value is shown when the generator goes on and waits for something, or yields the next; where it ends at once, it
    was the last.
    """

    __slots__ = ("_entry", "_held", "_inbox", "_later")

    def __init__(self, entry: Entry, inbox: Inbox[Any]) -> None:
        self._entry = entry
        self._inbox = inbox
        self._held: ToolProgress | None = None
        self._later: asyncio.Handle | None = None

    async def show(self, value: Any) -> None:
        """Takes the next value; waits while too many are unread."""
        self._flush()
        self._held = ToolProgress(self._entry.call.id, progress_of(value))
        self._later = asyncio.get_running_loop().call_soon(self._flush)
        await self._inbox.room()

    def _flush(self) -> None:
        if self._held is not None and self._entry.outcome is None:
            self._inbox.push(self._held)
        self.end()

    def end(self) -> None:
        """Drops what was not shown."""
        if self._later is not None:
            self._later.cancel()
        self._held = self._later = None
