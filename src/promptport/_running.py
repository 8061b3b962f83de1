"""One tool call, from its seal to its one outcome.

Rules: what does not fit is refused before anything runs; what was started has exactly one outcome, whatever the tool
does and whoever leaves; nothing is started twice.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from promptport._tool_output import Output, describe, limited, output_of, portable, progress_of, tamed
from promptport.dispatch_frames import ToolProgress, ToolResult, ToolStarted
from promptport.errors import InvalidToolArgumentsError, ToolError, ToolFailedError, ToolTimeoutError
from promptport.frames import InvalidToolCall, ToolCall
from promptport.tools import Tool

__all__ = ["Approve", "Entry", "Inbox", "RunningTools", "ToolOutcome", "Workers"]

Approve: TypeAlias = Callable[[ToolCall], Awaitable[bool | str]]
"""Asks a person: ``True`` runs the call, ``False`` or a reason in words for the model does not."""

_DENIED = "the user did not allow this call"

_Item = TypeVar("_Item")


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


# -------------------------------------------------------------------------------------------------- inbox

_ROOM = 32


class Inbox(Generic[_Item]):
    """What tasks hand to the one generator that yields.

    `push` always takes; `put` waits while more than `_ROOM` items are unread, so that a consumer that stops reading
    stops the model's stream, and a tool that shows progress without end.
    """

    __slots__ = ("_closed", "_room", "_waiter", "items")

    def __init__(self) -> None:
        self.items: deque[_Item] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._closed: BaseException | None = None

    def push(self, item: _Item) -> None:
        self.items.append(item)
        self.wake()

    async def put(self, item: _Item) -> None:
        self.push(item)
        if len(self.items) > _ROOM:
            self._room.clear()
            await self._room.wait()

    def pop(self) -> _Item:
        item = self.items.popleft()
        if len(self.items) < _ROOM and not self._room.is_set():
            self._room.set()
        return item

    def wake(self) -> None:
        """Ends the generator's wait, so that it looks again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self, error: BaseException) -> None:
        """The generator's wait, this one or the next, raises ``error``."""
        self._closed = error
        self.wake()

    async def wait(self) -> None:
        """Until `push` or `wake`."""
        if self._closed is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._closed is not None:
            raise self._closed


# ------------------------------------------------------------------------------------------------ workers

_THREADS = 32


class Workers:
    """Where sync tools run: the caller's executor, or threads of our own, made when first needed."""

    def __init__(self, executor: Executor | None) -> None:
        self._given = executor
        self._own: ThreadPoolExecutor | None = None
        self._calls: set[Future[Output]] = set()

    async def call(self, function: Callable[..., Any], values: dict[str, Any]) -> Output:
        """What the model gets for ``function(**values)``. Raises what the function raised."""
        future = self._submit(function, values)
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        return await asyncio.wrap_future(future)

    def _submit(self, function: Callable[..., Any], values: dict[str, Any]) -> Future[Output]:
        executor = self._given
        if executor is None:
            if self._own is None:
                self._own = ThreadPoolExecutor(_THREADS, thread_name_prefix="promptport-tool")
            executor = self._own
        if isinstance(executor, ThreadPoolExecutor):
            return executor.submit(contextvars.copy_context().run, _call, function, values)
        # The last argument makes each call unlike any other: Dask runs equal calls only once.
        return executor.submit(_call_far, _sendable(function, executor), values, os.urandom(16).hex())

    async def aclose(self) -> None:
        """Waits until our threads have returned from their tools, and ends them; the caller's executor is his."""
        if self._own is not None:
            self._own.shutdown(wait=False, cancel_futures=True)
            if self._calls:
                await asyncio.wait([asyncio.wrap_future(call) for call in list(self._calls)])
            self._own.shutdown()
            self._own = None


def _call(function: Callable[..., Any], values: dict[str, Any]) -> Output:
    try:
        return output_of(function(**values))
    except BaseException as error:
        calm = tamed(error)
        if calm is error:
            raise
        raise calm from error


def _call_far(function: Callable[..., Any], values: dict[str, Any], _unique: str) -> Output:
    try:
        return _call(function, values)
    except Exception as error:
        raise portable(error) from None


class _Named(msgspec.Struct, frozen=True):
    """A tool by the name under which it can be imported."""

    module: str
    name: str

    def __call__(self, **values: Any) -> Any:
        return _found(self.module, self.name)(**values)


def _sendable(function: Callable[..., Any], executor: Executor) -> Callable[..., Any]:
    """The function, in a form that reaches another process.

    A decorated function cannot be pickled, since its name leads to the `Tool`; so its name is sent. Only a process
    pool's workers share our ``__main__``: to others a script's own function is sent itself, as cloudpickle can.
    """
    if not _importable(function):
        return function
    pools = sys.modules.get("concurrent.futures.process")  # not imported for the sake of those who have no pool
    pool = pools is not None and isinstance(executor, pools.ProcessPoolExecutor)
    if function.__module__ == "__main__" and not pool:
        return function
    return _Named(function.__module__, function.__qualname__)


def _found(module: str, name: str) -> Any:
    found = __import__(module, fromlist=["_"])
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _importable(function: Callable[..., Any]) -> bool:
    """Whether the function's name leads to the `Tool` that was made of it."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if module not in sys.modules or name is None:
        return False
    try:
        found = _found(module, name)
    except (AttributeError, ImportError):
        return False
    return isinstance(found, Tool) and found.function is function


# ------------------------------------------------------------------------------------------------ running


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
