"""The tool loop's inside: one generator yields everything that a `DispatchStream` gives.

How it runs: while no tool runs, the generator iterates the model's frames itself, without a task switch. While tools
run, a reader task iterates them, and the generator takes frames and the tools' news from one inbox. It waits only in
these two places, so that closing can always reach it. No ``yield`` stands inside a task group or a cancel scope.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast

import msgspec
from msgspec.structs import replace

from promptport.dispatch.inbox import Inbox
from promptport.dispatch.tool_frames import ApprovalNeeded, DispatchFrame, PausedRun, StepEnd, ToolResult
from promptport.dispatch.tool_runner import Approve, Entry, RunningTools, ToolOutcome
from promptport.dispatch.workers import Workers
from promptport.errors import (
    IncompleteStreamError,
    InvalidInputError,
    InvalidToolArgumentsError,
    StepLimitError,
    ToolError,
    UnknownToolError,
)
from promptport.frames import End, FinishReason, InvalidToolCall, ToolCall, Usage
from promptport.messages import AssistantMessage, NamedTool, Prompt, ToolChoice
from promptport.models import LLModel
from promptport.stream import FrameStream
from promptport.tools import Tool, ToolDescriptor, ToolStart

__all__ = [
    "OnStep",
    "Run",
    "Settings",
    "StepChange",
    "StepChoice",
    "StepState",
    "StreamingExecutor",
    "by_name",
    "drive",
]


class StreamingExecutor(Protocol):
    """Who asks the model: a `PromptExecutor`, an `LLMClient`, or anything with this one method."""

    def execute_streaming_with_tools(
        self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """The answer as frames; see `LLMClient.execute_streaming_with_tools`."""
        ...


class StepState(msgspec.Struct, frozen=True):
    """Where a loop stands between two requests.

    Attributes:
        step: the index of the request that is over, from 0.
        prompt: what is asked next: the conversation with the answer and the results.
        tools: what is offered next.
        message: the answer.
        results: what the tools gave for its calls, in their order.
        usage: the tokens of all requests so far.
    """

    step: int
    prompt: Prompt
    tools: tuple[Tool[Any], ...]
    message: AssistantMessage
    results: tuple[ToolResult, ...]
    usage: Usage


class StepChange(msgspec.Struct, frozen=True):
    """What is different from the next request on; ``None`` leaves it.

    Attributes:
        prompt: asked as it is, in place of ``StepState.prompt``.
        tools: offered, and run, in place of those before.
    """

    prompt: Prompt | None = None
    tools: Sequence[Tool[Any]] | None = None


OnStep: TypeAlias = Callable[[StepState], Awaitable[StepChange | None]]
Choice: TypeAlias = ToolChoice | NamedTool
StepChoice: TypeAlias = Mapping[int, Choice] | Callable[[int], Choice | None]


class Settings(msgspec.Struct, frozen=True):
    """What a dispatcher was made with; see `ToolDispatcher`."""

    executor: StreamingExecutor
    approve: Approve | None
    start: ToolStart
    max_concurrency: int
    timeout: float | None
    max_steps: int
    max_output_chars: int | None
    tool_choice: StepChoice | None
    on_step: OnStep | None


def by_name(tools: Iterable[Tool[Any]]) -> dict[str, Tool[Any]]:
    """The tools by their names.

    Raises:
        InvalidInputError: two of one name, or one that cannot run.
    """
    named: dict[str, Tool[Any]] = {}
    for tool in tools:
        if not isinstance(tool, Tool):
            raise InvalidInputError(
                f"a dispatcher runs tools; decorate the function with @tool, to give more than {tool!r}"
            )
        if tool.unbound:
            raise InvalidInputError(f"tool {tool.name!r} is a method; take it from an instance: instance.{tool.name}")
        if tool.name in named:
            raise InvalidInputError(f"two tools are named {tool.name!r}; names must differ")
        named[tool.name] = tool
    return named


class _Parked(msgspec.Struct, frozen=True):
    """The reader stopped."""

    exhausted: bool


_Item: TypeAlias = DispatchFrame | _Parked


class Run:
    """The state of one stream; it does not refer to its handle, so that a dropped handle is noticed."""

    def __init__(
        self, settings: Settings, workers: Workers, tools: dict[str, Tool[Any]], prompt: Prompt, model: LLModel
    ) -> None:
        self.settings = settings
        self.tools = tools
        self.prompt = prompt
        self.model = model
        self.inbox: Inbox[_Item] = Inbox()
        self.running = RunningTools(
            self.inbox,
            workers,
            self.fail,
            approve=settings.approve,
            timeout=settings.timeout,
            max_concurrency=settings.max_concurrency,
            max_output_chars=settings.max_output_chars,
        )
        self.step = 0
        self.usage = Usage()
        # The answer that is read now, and its calls: all, those that start at its end, those that a person decides.
        self.source: FrameStream | None = None
        self.reader: asyncio.Task[None] | None = None
        self.exhausted = False
        self.end: End | None = None
        self.message = AssistantMessage()
        self.entries: list[Entry] = []
        self.held: list[Entry] = []
        self.pending: list[Entry] = []
        # How it all ends.
        self.paused: PausedRun | None = None
        self.failure: BaseException | None = None
        self.started = False
        self.ended = False
        self.closed = False
        self.finished: asyncio.Future[None] | None = None

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
        self.source = self.settings.executor.execute_streaming_with_tools(request, self.model, offered)
        self.exhausted, self.end, self.entries = False, None, []

    def restore(self, paused: PausedRun, decisions: Mapping[str, bool | str]) -> None:
        """Takes up an answer whose calls waited for a person."""
        self.message, self.end, self.exhausted = paused.message, paused.end, True
        self.step, self.usage = paused.step, paused.usage
        results = {result.id: result for result in paused.results}
        for part in paused.message.parts:
            if not isinstance(part, ToolCall | InvalidToolCall):
                continue
            if part.id in results:
                result = results[part.id]
                self._entry(part).outcome = ToolOutcome(result, "finished" if result.error is None else "failed")
            elif isinstance(part, ToolCall) and decisions[part.id] is True:
                self._take_call(part, approved=True)
            else:
                self.running.deny(self._entry(part), decisions[part.id])

    # ------------------------------------------------------------------------------------------ frames

    def take(self, item: _Item) -> DispatchFrame | None:
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
                self._take_call(cast("ToolCall", item))
            elif kind is InvalidToolCall:
                invalid = cast("InvalidToolCall", item)
                self.running.refuse(self._entry(invalid), InvalidToolArgumentsError(invalid.reason, tool=invalid.name))
        return cast("DispatchFrame", item)

    def _entry(self, call: ToolCall | InvalidToolCall) -> Entry:
        entry = Entry(call)
        self.entries.append(entry)
        return entry

    def _take_call(self, call: ToolCall, *, approved: bool = False) -> None:
        """Starts a sealed call, keeps it for later, or refuses it."""
        entry, tool = self._entry(call), self.tools.get(call.name)
        if tool is None:
            known = ", ".join(self.tools) or "none"
            text = f"there is no tool named {call.name!r}; the tools are: {known}"
            self.running.refuse(entry, UnknownToolError(text, tool=call.name))
        elif self.running.prepare(entry, tool):
            if approved:
                entry.approved = True
            if not entry.approved and self.settings.approve is None:
                self.pending.append(entry)
            elif approved or "on_finish" in (tool.start, self.settings.start):
                self.held.append(entry)
            else:
                self.running.start(entry)

    def _take_end(self, end: End) -> None:
        self.end = end
        self.usage += end.usage
        self.message = self.partial
        if end.finish_reason is FinishReason.CONTENT_FILTER:
            for entry in [*self.held, *self.pending]:
                self.running.refuse(
                    entry, ToolError("not run: a content filter stopped the answer", tool=entry.call.name)
                )
            self.held, self.pending = [], []
        self.start_held()

    def start_held(self) -> None:
        """Starts the calls that waited for the answer's end, or for the stream's first read."""
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

    def finish_step(self) -> DispatchFrame | None:
        """Appends the answer and its results to the conversation; the last frame, if this is the end."""
        if self.end is None:
            raise self.cut("the model's stream ended without its End")
        if self.pending:
            calls = tuple([cast("ToolCall", entry.call) for entry in self.pending])
            self.paused = PausedRun(
                self.prompt, self.message, self.end, self.model, calls, self._results(), self.step, self.usage
            )
            self.ended = True
            return ApprovalNeeded(calls, self.usage)
        results = [result.message() for result in self._results()]
        self.prompt = self.prompt.add(self.message, *results)
        reason = self.end.finish_reason
        if reason is FinishReason.PAUSED or (results and reason is not FinishReason.CONTENT_FILTER):
            return None
        self.ended = True
        return replace(self.end, usage=self.usage)

    def _results(self) -> tuple[ToolResult, ...]:
        return tuple([entry.outcome.result for entry in self.entries if entry.outcome is not None])

    async def next_step(self) -> StepEnd:
        """Makes the request that follows; says that the one before is over.

        Raises:
            StepLimitError: there may be no more requests.
        """
        assert self.end is not None
        if self.step + 1 >= self.settings.max_steps:
            error = StepLimitError(
                f"the model still calls tools after {self.settings.max_steps} requests (max_steps)",
                max_steps=self.settings.max_steps,
            )
            error.partial = self.message
            raise error
        over = StepEnd(self.step, self.end)
        self.step += 1
        request = self.request()
        if self.settings.on_step is not None:
            state = StepState(
                over.index, request, tuple(self.tools.values()), self.message, self._results(), self.usage
            )
            change = await self._call(self.settings.on_step(state))
            if change is not None and change.tools is not None:
                self.tools = by_name(change.tools)
            if change is not None and change.prompt is not None:
                self.prompt = request = change.prompt
        self.ask(request)
        return over

    async def _call(self, awaitable: Awaitable[StepChange | None]) -> StepChange | None:
        """Awaits the caller's hook in a task of its own, so that closing the stream can end the wait."""

        async def work() -> StepChange | None:
            return await awaitable

        task = self.running.spawn(work(), "promptport-on-step")
        while self.running.tasks:
            await self.inbox.wait()
        return cast("StepChange | None", task.result())

    # --------------------------------------------------------------------------------------- the end

    @property
    def partial(self) -> AssistantMessage:
        """The answer as far as it came."""
        return self.message if self.source is None else self.source.partial

    def cut(self, text: str) -> IncompleteStreamError:
        """Our error for a stream that did not reach its end."""
        error = IncompleteStreamError(text)
        error.partial = self.partial
        return error

    def fail(self, error: BaseException) -> None:
        """The stream will raise this, when what had come was yielded, and the tools have ended; nothing starts now."""
        if self.failure is None:
            self.failure = error
        self.held = []
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
        tasks = [*self.running.tasks, *([self.reader] if self.reader is not None else [])]
        while tasks := [task for task in tasks if not task.done()]:
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError as error:
                cancelled = error
        self.reader = None
        if self.source is not None:
            await self.source.aclose()
        if cancelled is not None:
            raise cancelled


async def drive(run: Run) -> AsyncGenerator[DispatchFrame, None]:  # noqa: PLR0912 - a layer for each part would cost
    """The one generator behind a stream."""
    inbox, items = run.inbox, run.inbox.items
    item: _Item
    run.started = True
    try:
        run.start_held()
        while True:
            while True:
                if items:
                    item = inbox.pop()
                elif run.running.tasks or run.reader is not None:
                    run.keep_reading()
                    await inbox.wait()
                    continue
                elif run.failure is not None:
                    raise run.failure
                elif run.exhausted:
                    break
                else:
                    assert run.source is not None
                    async for frame in run.source:  # nothing runs: frames pass without a task switch
                        kind = type(frame)
                        if kind is ToolCall or kind is End or kind is InvalidToolCall:
                            item = frame
                            break
                        yield frame
                    else:
                        run.exhausted = True
                        continue
                shown = run.take(item)
                if shown is not None:
                    yield shown
            last = run.finish_step()
            if last is not None:
                yield last
                return
            yield await run.next_step()
    finally:
        try:
            await run.close()
        finally:
            if run.finished is not None and not run.finished.done():
                run.finished.set_result(None)
