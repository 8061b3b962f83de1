"""The tool loop's inside: one generator yields everything that a `DispatchStream` gives.

Rule: what is asked, run and told is decided here; how it is waited for is in `driving`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar, cast

import msgspec
from msgspec.structs import replace

from promptport.dispatch.entries import Entry, State, ToolOutcome
from promptport.dispatch.inbox import Inbox
from promptport.dispatch.journaling import context_of
from promptport.dispatch.recorded_answer import RecordedAnswer
from promptport.dispatch.recorded_calls import record_calls
from promptport.dispatch.run_limits import RunLimits
from promptport.dispatch.run_ties import RunTies, within_budgets
from promptport.dispatch.settings import RESUMED_BEFORE, SUCCESS, Settings, StepState, by_name, is_empty
from promptport.dispatch.tool_frames import (
    DispatchFrame,
    PausedRun,
    StepEnd,
    ToolResult,
    call_key,
    pause_frames,
)
from promptport.dispatch.tool_runner import RunningTools
from promptport.dispatch.workers import Workers
from promptport.errors import (
    IncompleteStreamError,
    InvalidInputError,
    InvalidToolArgumentsError,
    ProtocolError,
    StepLimitError,
    ToolError,
    UnknownToolError,
)
from promptport.frames import End, FinishReason, InvalidToolCall, ToolCall, Usage
from promptport.messages import AssistantMessage, Prompt, ToolChoice
from promptport.models import LLModel
from promptport.stream import FrameStream
from promptport.telemetry import RunObservation, begin_run, in_run, observed_by
from promptport.tools import SchemaCheck, Tool, ToolDescriptor

__all__ = ["Item", "Run"]

_T = TypeVar("_T")
_Cut = TypeVar("_Cut", StepLimitError, IncompleteStreamError, ProtocolError)


class _Parked(msgspec.Struct, frozen=True):
    """The reader stopped."""

    exhausted: bool


Item: TypeAlias = DispatchFrame | _Parked


class Run:
    """The state of one stream; it does not refer to its handle, so that a dropped handle is noticed."""

    def __init__(
        self,
        settings: Settings,
        workers: Workers,
        tools: dict[str, ToolDescriptor],
        prompt: Prompt,
        model: LLModel,
        *,
        ties: RunTies,
    ) -> None:
        self.settings = settings
        self.ties = ties
        self.tools = tools
        self.prompt = prompt
        self.model = model
        self.inbox: Inbox[Item] = Inbox()
        self.running = RunningTools(
            self.inbox,
            workers,
            ties,
            self.fail,
            self._park,
            approve=settings.approve,
            timeout=settings.timeout,
            grace=settings.grace,
            max_concurrency=settings.max_concurrency,
            max_output_chars=settings.max_output_chars,
            token=f"{id(self):x}-{time.time_ns():x}",
        )
        self.step = 0
        self.usage = Usage()
        self.told: RunObservation | None = None  # its observers, where there are any
        self.limits = RunLimits(settings.max_steps, settings.max_calls, settings.max_failures)
        self.checks: dict[str, SchemaCheck] = {}
        self.claim: Callable[[], Awaitable[bool]] | None = None
        # The answer that is read now, and its calls: all, those that start at its end, those that a person decides,
        # those that the front end runs; and the first of each that are identical.
        self.source: FrameStream | None = None
        self.ledger = settings.ledger
        self.answer: RecordedAnswer | None = None  # under a journal
        self.reader: asyncio.Task[None] | None = None
        self.exhausted = False
        self.end: End | None = None
        self.message = AssistantMessage()
        self.kept = False  # whether that answer is in the prompt
        self.entries: list[Entry] = []
        self.held: list[Entry] = []
        self.pending: list[Entry] = []
        self.outside: list[Entry] = []
        self.first: dict[tuple[str, bytes], Entry] = {}
        # How it all ends.
        self.paused: PausedRun | None = None
        self.failure: BaseException | None = None
        self.started = False
        self.ended = False
        self.closed = False
        self.finished: asyncio.Future[None] | None = None

    # --------------------------------------------------------------------------------------- observers

    def begin(self) -> None:
        """The first read: the loop begins."""
        self.started = True
        self.ties.begin()
        if self.told is not None:
            self.told.started()

    def tell_its_end(self, error: BaseException | None) -> None:
        """The loop is over, and whoever looks on is told how."""
        if self.told is not None:
            requests = self.step + (self.end is not None or self.source is not None)
            self.told.finished(
                error,
                complete=self.ended,
                paused=self.paused is not None,
                requests=requests,
                tool_calls=self.limits.calls,
                usage=self.total if self.end is not None or self.source is None else self.total + self.source.usage,
            )

    # ---------------------------------------------------------------------------------------- requests

    def request(self) -> Prompt:
        """The prompt of the next request: the conversation, with the tool choice of this step."""
        option, own = self.settings.tool_choice, self.prompt.params.tool_choice
        choice = None if option is None else option(self.step) if callable(option) else option.get(self.step)
        if choice is None:
            choice = own if self.step == 0 or own is None or own is ToolChoice.NONE else ToolChoice.AUTO
        return self.prompt if choice == own else self.prompt.with_params(tool_choice=choice)

    def ask(self, request: Prompt) -> None:
        """Makes the next request; it is sent when its stream is read."""
        offered = tuple(self.tools.values())
        if self.told is None:
            self.told = self.running.told = begin_run(request, self.model, self.settings.observers)
        if self.ledger is None:
            self.source = self._asked(request, offered)
        else:  # a recorded answer is not asked for, so nothing is made yet
            ask = functools.partial(self._asked, request, offered)
            self.answer = RecordedAnswer(ask, self.ledger, self.step, request)
            self.source = self.answer.stream
        self.exhausted, self.end, self.entries, self.first, self.kept = False, None, [], {}, False

    def _asked(self, request: Prompt, offered: tuple[ToolDescriptor, ...]) -> FrameStream:
        with observed_by(self.settings.observers), in_run(self.told.id if self.told is not None else None):
            executor = within_budgets(self.settings.executor, self.ties)
            stream: FrameStream = executor.execute_streaming_with_tools(request, self.model, offered)
            return stream

    def restore(
        self, paused: PausedRun, decisions: Mapping[str, bool | str], client_results: Mapping[str, ToolResult]
    ) -> None:
        """Takes up an answer whose calls waited for a person, or for the front end."""
        self.message, self.end, self.exhausted = paused.message, paused.end, True
        self.step, self.usage = paused.step, paused.usage
        results = {result.id: result for result in paused.results}
        for part in paused.message.parts:
            if not isinstance(part, ToolCall | InvalidToolCall):
                continue
            if part.id in results:
                result = results[part.id]
                state: State = "finished" if result.error is None else "refused" if result.denied else "failed"
                self._entry(part).outcome = ToolOutcome(result, state)
                continue
            if not isinstance(part, ToolCall) or self._is_twin(part):
                continue  # `PausedRun.check` has seen that nothing else is left
            if decisions.get(part.id) is True:
                self._take_call(part, approved=True)
                continue
            entry = self.first[call_key(part)] = self._entry(part)
            if part.id in client_results:
                self.running.accept(entry, client_results[part.id])
            else:
                self.running.deny(entry, decisions[part.id])

    async def claimed(self) -> None:
        """Asks the store whether this is the first who resumes.

        Raises:
            InvalidInputError: it is not.
        """
        assert self.claim is not None
        if not await self._call(self.claim()):
            raise InvalidInputError(RESUMED_BEFORE)

    # ------------------------------------------------------------------------------------------ frames

    def take(self, item: Item) -> DispatchFrame | None:
        """Does what an item asks for; the frame to show."""
        kind = type(item)
        if kind is _Parked:
            self.reader, self.exhausted = None, cast("_Parked", item).exhausted
            return None
        if kind is End:
            self._take_end(cast("End", item))
            return None
        if self.failure is None:  # else what had arrived is shown, and starts nothing any more
            if kind is ToolCall:
                self._count_call()
                if self.failure is None:
                    self._take_call(cast("ToolCall", item))
            elif kind is InvalidToolCall:
                self._count_call()
                invalid = cast("InvalidToolCall", item)
                self.running.refuse(self._entry(invalid), InvalidToolArgumentsError(invalid.reason, tool=invalid.name))
        return cast("DispatchFrame", item)

    def _entry(self, call: ToolCall | InvalidToolCall) -> Entry:
        entry = Entry(call)
        self.entries.append(entry)
        return entry

    def _take_call(self, call: ToolCall, *, approved: bool = False) -> None:
        """Starts a sealed call, keeps it for later, or refuses it."""
        tool = self.tools.get(call.name)
        if any(entry.call.id == call.id for entry in self.entries):
            error = ProtocolError(f"two tool calls of one answer have the id {call.id!r}; neither can be answered")
            self.fail(self._with_partial(error))
            return
        if (tool is not None or self.ledger is not None) and self._is_twin(call):
            return
        entry = self._entry(call)
        entry.hold = self.ledger is not None  # until its outcome is recorded
        if tool is None:
            self.first.setdefault(call_key(call), entry)
            known = ", ".join(self.tools) or "none"
            text = f"there is no tool named {call.name!r}; the tools are: {known}"
            self.running.refuse(entry, UnknownToolError(text, tool=call.name))
            return
        self.first[call_key(call)] = entry
        if not isinstance(tool, Tool):
            if self.running.fits(entry, self._check_of(tool), tool):
                entry.outside, entry.approved = True, approved
                self._keep(entry)
            return
        entry.approved = approved
        if not self.running.prepare(entry, tool):
            return
        if not entry.approved and not entry.unchecked and self.settings.approve is None:
            self._keep(entry)
        elif approved or "on_finish" in (tool.start, self.settings.start) or not self._may_be_eager(entry, tool):
            self.held.append(entry)
        else:
            entry.hold = False
            if self.ledger is not None:
                entry.context = context_of(self.ledger, self.step, len(self.entries) - 1, call)
            self.running.start(entry)

    def _may_be_eager(self, entry: Entry, tool: Tool[Any]) -> bool:
        """Whether a call may start before its answer is recorded, if it will be."""
        if self.ledger is None:
            return True
        live = self.answer is None or not self.answer.replayed
        return live and tool.repeatable and entry.approved and not entry.unchecked

    def _is_twin(self, call: ToolCall) -> bool:
        """Whether the answer has an identical call, whose result is this one's too."""
        first = self.first.get(call_key(call))
        if first is None:
            return False
        self.running.follow(first, self._entry(call))
        return True

    def _check_of(self, tool: ToolDescriptor) -> SchemaCheck:
        check = self.checks.get(tool.name)
        if check is None or check.schema is not tool.parameters:
            check = self.checks[tool.name] = SchemaCheck(tool.name, tool.parameters, lenient=True)
        return check

    def _keep(self, entry: Entry) -> None:
        """Keeps a call for a person or the front end; under a journal when it is recorded that it waits."""
        (self._park if self.ledger is None else self.held.append)(entry)

    def _park(self, entry: Entry) -> None:
        """Keeps a call for a person or the front end, at the earliest when its arguments were checked."""
        if self.end is not None and self.end.finish_reason is FinishReason.CONTENT_FILTER:
            self._filter([entry])
        else:
            (self.outside if entry.outside else self.pending).append(entry)

    def _count_call(self) -> None:
        """Ends a run that calls without end."""
        if (error := self.limits.call()) is not None:
            self.fail(self._with_partial(error))

    def _filter(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.running.refuse(entry, ToolError("not run: a content filter stopped the answer", tool=entry.call.name))

    def _take_end(self, end: End) -> None:
        self.end = end
        self.usage += end.usage
        self.ties.tell(end.usage)
        self.message = self.partial
        if end.finish_reason is FinishReason.CONTENT_FILTER:
            self._filter([*self.held, *self.pending, *self.outside])
            self.held, self.pending, self.outside = [], [], []
        self.start_held("call")

    def start_held(self, kind: str = "resumed") -> None:
        """Starts the calls that waited for the answer's end, or for the stream's first read."""
        if self.ledger is not None:
            self.held = []
            if self.failure is None:
                asked = self.answer.attempt if self.answer is not None else self.ledger.attempt
                eager = self.settings.start == "eager"
                record_calls(self.running, self.ledger, self.entries, f"{kind}/{self.step}", asked=asked, eager=eager)
            return
        for entry in self.held:
            self.running.start(entry)
        self.held = []

    def keep_reading(self) -> None:
        """While tools run, a task reads the model's frames."""
        if self.reader is None and not self.exhausted and self.failure is None:
            self.reader = asyncio.get_running_loop().create_task(self._read(), name="promptport-reader")

    async def _read(self) -> None:
        exhausted = False
        assert self.source is not None
        try:
            async for frame in self.source:
                await self.inbox.put(frame)
                if not self.running.tasks:
                    return
            exhausted = True
        except Exception as error:
            self.fail(error)
        finally:
            self.inbox.push(_Parked(exhausted))

    # ------------------------------------------------------------------------------------------- steps

    def finish_step(self) -> tuple[DispatchFrame, ...]:
        """Appends the answer and its results to the conversation; the last frames, if this is the end.

        Raises:
            IncompleteStreamError: the model's stream had no end, or its last answer is empty.
        """
        if self.end is None:
            raise self.cut("the model's stream ended without its End")
        if self.pending or self.outside:
            self.ended = True
            return self._pause(self.end)
        results = [result.message() for result in self._results()]
        reason = self.end.finish_reason
        self.limits.outcomes(self.entries)
        if reason is FinishReason.PAUSED or (results and reason is not FinishReason.CONTENT_FILTER):
            self.prompt, self.kept = self.prompt.add(self.message, *results), True
            return ()
        if reason in SUCCESS and is_empty(self.message):
            raise self.cut(
                "the model's last answer is empty: it has no text and no tool call. Ask again, or ask for a text in "
                "the prompt."
            )
        self.prompt, self.kept, self.ended = self.prompt.add(self.message, *results), True, True
        return (replace(self.end, usage=self.total),)

    def _pause(self, end: End) -> tuple[DispatchFrame, ...]:
        """Keeps all that is needed to go on, and says what for."""
        waiting = [entry for entry in self.entries if entry in self.pending or entry in self.outside]
        calls = [cast("ToolCall", entry.call) for entry in waiting]
        outside = tuple([entry.call.id for entry in waiting if entry in self.outside])
        given = (self.prompt, self.message, end, self.model, tuple(calls), self._results())
        self.paused = PausedRun(*given, self.step, self.total, outside, run=self.ledger.run if self.ledger else "")
        return pause_frames(self.paused)

    def _with_partial(self, error: _Cut) -> _Cut:
        error.partial = self.partial
        return error

    def _results(self) -> tuple[ToolResult, ...]:
        return tuple([entry.outcome.result for entry in self.entries if entry.outcome is not None])

    async def next_step(self) -> StepEnd:
        """Makes the request that follows; says that the one before is over.

        Raises:
            StepLimitError: there may be no more requests, or the same call failed too often.
        """
        assert self.end is not None
        if (error := self.limits.request(self.step + 1)) is not None:
            raise self._with_partial(error)
        over = StepEnd(self.step, self.end)
        self.step += 1
        request = self.request()
        if self.settings.on_step is not None:
            state = StepState(
                over.index, request, tuple(self.tools.values()), self.message, self._results(), self.total
            )
            changing = self.settings.on_step(state)
            change = await self._call(changing) if inspect.isawaitable(changing) else changing
            if change is not None and change.tools is not None:
                self.tools = by_name(change.tools)
            if change is not None and change.prompt is not None:
                self.prompt = request = change.prompt
        self.ask(request)
        return over

    async def _call(self, awaitable: Awaitable[_T]) -> _T:
        """Awaits what is the caller's in a task of its own, so that closing the stream can end the wait."""

        async def work() -> _T:
            return await awaitable

        task = self.running.spawn(work(), "promptport-hook")
        while self.running.tasks:
            await self.inbox.wait()
        if not task.done():
            raise self.cut("the stream was closed while it was read")
        result: _T = task.result()
        return result

    # --------------------------------------------------------------------------------------- the end

    @property
    def total(self) -> Usage:
        """The tokens of all answers, and of all that tools asked."""
        return self.usage + self.ties.below

    @property
    def partial(self) -> AssistantMessage:
        """The answer as far as it came."""
        return self.message if self.source is None else self.source.partial

    def cut(self, text: str) -> IncompleteStreamError:
        """Our error for a stream that did not reach its end."""
        return self._with_partial(IncompleteStreamError(text))

    def fail(self, error: BaseException) -> None:
        """The stream will raise this, when what had come was yielded, and the tools have ended; nothing starts now."""
        if self.failure is None:
            self.failure = error
        self.held = []
        for entry in self.entries:
            if entry.outcome is not None:
                self.running.show(entry, entry.outcome)  # where a journal was to record it first
        self.running.cancel()
        if self.reader is not None and self.reader is not asyncio.current_task():
            self.reader.cancel()

    async def interrupt(self) -> None:
        """Ends the read that waits in another task, and waits until all is closed."""
        if self.finished is None:
            self.finished = asyncio.get_running_loop().create_future()
        self.inbox.close(self.cut("the stream was closed while it was read"))
        if self.reader is None and self.source is not None:
            await self.source.aclose()
        await asyncio.shield(self.finished)

    async def close(self) -> None:
        """Ends all that runs, and returns when it has ended, also where this is cancelled meanwhile."""
        self.closed = True
        cancelled: asyncio.CancelledError | None = None
        self.running.cancel()
        if self.reader is not None:
            self.reader.cancel()
        tasks = {*self.running.tasks, *([self.reader] if self.reader is not None else [])}
        while tasks := {
            task for task in tasks if not task.done() and (task in self.running.tasks or task is self.reader)
        }:
            try:
                # In the meantime those that do not end are abandoned; the reader's is the model's stream.
                await asyncio.wait(tasks, timeout=self.settings.grace + 0.01)
            except asyncio.CancelledError as error:
                cancelled = error
        self.reader = None
        if self.source is not None:
            await self.source.aclose()
        if cancelled is not None:
            raise cancelled
