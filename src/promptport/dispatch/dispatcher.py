"""`ToolDispatcher`: model → calls → results → model …, with the tools running while the text flows.

Rules: a sealed call starts at once; nothing outlives the stream; results go back in the order of the calls; what goes
wrong in a tool is told to the model, what goes wrong elsewhere is raised to the caller.

What a caller sees is here; how a stream runs is in `step_loop`, and how a call runs in `tool_runner`.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Self, cast

from promptport.arguments import as_prompt, check_asker, model_for
from promptport.checking import checked
from promptport.dispatch.dispatch_stream import DispatchStream
from promptport.dispatch.entries import Approve
from promptport.dispatch.given_answers import checked_answers
from promptport.dispatch.journaling import Journal, Ledger
from promptport.dispatch.recorded_pause import take_up
from promptport.dispatch.run_ties import RunTies
from promptport.dispatch.settings import (
    RESUMED_BEFORE,
    OnStep,
    Settings,
    StepChoice,
    StreamingExecutor,
    by_name,
)
from promptport.dispatch.step_loop import Run
from promptport.dispatch.tool_frames import (
    MemoryPauseStore,
    PausedRun,
    PauseStore,
    ToolResult,
)
from promptport.dispatch.workers import Workers
from promptport.errors import InvalidInputError
from promptport.frames import End, FinishReason, InvalidToolCall, ToolCall
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel
from promptport.stream import FrameStream
from promptport.telemetry import Observer, check_observers
from promptport.tools import ToolDescriptor, ToolStart

if TYPE_CHECKING:
    from promptport.policies import Budget

__all__ = ["DispatchStream", "ToolDispatcher"]


class ToolDispatcher:
    """Runs the loop over one executor; serves many streams, also side by side.

    ::

        async with ToolDispatcher(executor, [get_weather, book_table]) as dispatcher:
            async with dispatcher.stream(prompt, model) as stream:
                async for frame in stream: ...

    What tools do is told to the model as an error result, and the stream goes on: an unknown tool, arguments that do
    not fit, an exception, ``sys.exit``, a result that is not JSON, a timeout.

    What cannot be stopped: an async tool that blocks the event loop holds up everything on it, so write such a tool
    as a plain ``def``, which runs on ``workers``. A thread or a process runs on until its function returns, also
    after a timeout or cancellation; its late result is dropped, and `aclose` waits for our own threads.
    """

    @checked
    def __init__(
        self,
        executor: StreamingExecutor,
        tools: Iterable[ToolDescriptor] = (),
        *,
        approve: Approve | None = None,
        start: ToolStart = "eager",
        max_concurrency: int = 8,
        timeout: float | None = 600.0,
        grace: float = 2.0,
        max_steps: int = 20,
        max_calls: int | None = 1000,
        max_failures: int | None = 5,
        max_output_chars: int | None = None,
        tool_choice: StepChoice | None = None,
        on_step: OnStep | None = None,
        workers: Executor | Mapping[str, Executor] | None = None,
        workers_rerun: bool | None = None,
        store: PauseStore | None = None,
        observers: Sequence[Observer] = (),
        budget: Budget | None = None,
        journal: Journal | None = None,
        context: object = None,
    ) -> None:
        """Args:
            executor: who asks the model; it is not closed.
            tools: what the model may call. A `ToolDescriptor` without a function is a tool that the front end runs:
                the stream then ends in `ToolsPending`, and `resume` takes the results.
            approve: asks a person about a call that needs it: ``True`` runs it, ``False`` or a reason does not. An
                async function, or a plain one that does not block. It is asked as soon as the call is sealed, for
                several calls at once. Without it the stream pauses: see `ApprovalNeeded` and `resume`.
            start: ``"on_finish"`` starts no call before the model's answer is complete.
            max_concurrency: how many tools of one stream run at a time.
            timeout: seconds from a tool's start to its result, for tools that say nothing; ``None`` is no limit. The
                wait for a free thread, process, or worker of a Ray or Dask cluster does not count.
            grace: seconds that a tool has to end after its timeout, or after the stream was left. One that swallows
                its cancellation is abandoned then, with a `RuntimeWarning` that names it.
            max_steps: how many requests one stream may make; one more raises `StepLimitError`.
            max_calls: how many tool calls one answer, and all answers of one stream together, may hold; one more
                raises `StepLimitError`. ``None`` is no limit.
            max_failures: how often the model may make the same call that fails, answer after answer, before the
                stream raises `StepLimitError`. ``None`` is no limit.
            max_output_chars: the longest text of one result; what is longer is cut, with a note that says so. By
                default all of it is passed on.
            tool_choice: the tool choice of a request, by its index from 0; where it says nothing, the prompt's own
                holds, of which ``REQUIRED`` or a named tool is for the first request only, so that the loop can end.
            on_step: called between two requests; may change the prompt or the tools from there on. An async function,
                or a plain one that does not block.
            workers: runs sync tools: any ``concurrent.futures.Executor``, such as a process pool,
                `promptport.dispatch.ray.RayExecutor` or ``dask.distributed.Client.get_executor()``; or a mapping of
                tool names to executors. The caller closes them. Threads by default. If it is not a thread pool,
                function, arguments and result must be picklable.
            workers_rerun: whether ``workers`` may run a call again whose worker died; if so, tools that are not
                ``repeatable`` are refused. By default that holds for Dask, and for a `RayExecutor` with retries. Pass
                ``False`` if the cluster is configured not to (Dask: ``distributed.scheduler.allowed-failures: 0``).
            store: remembers which pauses were resumed. Default: the memory of this process; see `PauseStore`. For the
                pauses of a run with a journal, the journal does.
            observers: who is told of this dispatcher's loops, requests and tools; see `promptport.telemetry`.
            budget: what all its requests together may use; a request over it raises `BudgetExceededError`.
            journal: records each whole answer and outcome of one run, so that the run survives its process; see
                `promptport.journal`. Such a dispatcher serves one stream, and the resumes of its pauses. Only
                tools that are ``repeatable`` then start before their answer is complete.
            context: what tools get as ``ToolContext.value``, unless a stream has its own.

        Raises:
            InvalidInputError: two tools of one name, a tool that cannot run, a limit below 1.
        """
        check_asker(executor, where="ToolDispatcher: executor")
        limits = {
            "max_concurrency": max_concurrency,
            "max_steps": max_steps,
            "max_calls": max_calls,
            "max_failures": max_failures,
            "max_output_chars": max_output_chars,
        }
        for name, limit in limits.items():
            if limit is not None and (not isinstance(limit, int) or limit is True or limit < 1):
                raise InvalidInputError(f"{name} must be at least 1, not {limit!r}")
        if timeout is not None and not (_is_number(timeout) and timeout > 0):
            raise InvalidInputError(f"timeout must be more than 0 seconds, not {timeout!r}; None is no limit")
        if not (_is_number(grace) and 0 <= grace < math.inf):
            raise InvalidInputError(f"grace must be 0 or more seconds, not {grace!r}")
        for name, hook in (("approve", approve), ("on_step", on_step)):
            if hook is not None and not callable(hook):
                raise InvalidInputError(f"{name} takes a function, async or plain, not {hook!r}. Write {name}=ask.")
        if start not in ("eager", "on_finish"):
            raise InvalidInputError(f"start is 'eager' or 'on_finish', not {start!r}")
        check_observers(observers, where="observers")
        self._settings = Settings(
            executor,
            approve,
            start,
            max_concurrency,
            timeout,
            grace,
            max_steps,
            max_calls,
            max_failures,
            max_output_chars,
            tool_choice,
            on_step,
            store if store is not None else _MEMORY,
            tuple(observers),
            Ledger(journal) if journal is not None else None,
        )
        self._tools = by_name(tools)
        self._workers = Workers(workers, self._tools, rerun=workers_rerun, complete=on_step is None)
        self._budget = budget
        self._context = context

    @property
    def tools(self) -> tuple[ToolDescriptor, ...]:
        """What the model may call."""
        return tuple(self._tools.values())

    def stream(self, prompt: Prompt | str, model: LLModel | str, *, context: object = None) -> DispatchStream:
        """Starts a loop; nothing is sent before it is iterated.

        Args:
            prompt: the conversation so far, or the text of a user message.
            model: which model is asked.
            context: what tools get as ``ToolContext.value``. Default: the dispatcher's.

        Raises:
            InvalidInputError, UnsupportedCapabilityError: at once, where the first request cannot be made, or the
                context is not what a tool wants.
        """
        asked = as_prompt(prompt)
        run = self._run(asked, model_for(self._settings.executor, model, asked, tuple(self._tools.values())), context)
        run.ask(run.request())
        return DispatchStream(run)

    @checked
    def resume(
        self,
        paused: PausedRun,
        decisions: Mapping[str, bool | str] | None = None,
        *,
        results: Mapping[str, Any] | None = None,
        context: object = None,
    ) -> DispatchStream:
        """Goes on with a loop that waited for a person, or for the front end. A pause can be resumed once.

        Args:
            paused: what ``DispatchStream.paused`` held.
            decisions: for the id of each pending call that a person decides ``True`` to run it, ``False`` or a
                reason, in words for the model, not to.
            results: for the id of each pending call that the front end ran (``paused.client_calls``) a `ToolResult`,
                or what a tool could return: text, parts, or anything that is JSON.
            context: what tools get as ``ToolContext.value``. Default: the dispatcher's.

        Raises:
            InvalidInputError: A pending call without a decision or result, one for another call, a paused run that
                was changed since it paused, belongs to another run of a journal, or was resumed before. With a store
                that is asynchronous, the last is raised by the first read.
        """
        if not isinstance(paused, PausedRun):
            raise InvalidInputError(
                f"resume(): takes a PausedRun, not {type(paused).__name__}. Use PausedRun.from_json()."
            )
        decided, given = checked_answers(paused, decisions, results)
        ledger = self._settings.ledger
        if paused.run and paused.run != (ledger.run if ledger is not None else ""):
            raise InvalidInputError(
                f"resume(): the pause belongs to the run {paused.run!r} of a journal. "
                "Pass that journal to ToolDispatcher."
            )
        run = self._run(paused.prompt, paused.model, context)
        if run.ledger is not None:
            take_up(run, paused, decided, given, functools.partial(self._taken, paused.id))
            return DispatchStream(run)
        self._take(run, paused.id)
        run.restore(paused, decided, given)
        return DispatchStream(run)

    def _run(self, prompt: Prompt, model: LLModel, context: object) -> Run:
        ties = RunTies(self._context if context is None else context, self._budget, self._settings.ledger)
        ties.check(self._tools)
        return Run(self._settings, self._workers, self._tools, prompt, model, ties=ties)

    async def _taken(self, id: str) -> bool:
        taken = self._settings.store.take(id)
        return await taken if inspect.isawaitable(taken) else taken

    def _take(self, run: Run, id: str) -> None:
        """Takes the pause from the store: now, or where the store is asynchronous, when the stream is first read."""
        store = self._settings.store
        if inspect.iscoroutinefunction(store.take):
            run.claim = functools.partial(cast("Callable[[str], Awaitable[bool]]", store.take), id)
            return
        taken = store.take(id)
        if inspect.isawaitable(taken):
            run.claim = lambda: taken
        elif not taken:
            raise InvalidInputError(RESUMED_BEFORE)

    @checked
    async def execute(
        self, calls: Sequence[ToolCall | InvalidToolCall] | AssistantMessage, *, context: object = None
    ) -> list[ToolResult]:
        """Run tool calls, and ask no model: for a program or a graph with a loop of its own.

        Args:
            calls: the calls of one answer, or the answer that holds them.
            context: what tools get as ``ToolContext.value``. Default: the dispatcher's.

        Returns:
            One result for each call, in their order.

        Raises:
            InvalidInputError: two calls have one id, or a call needs a person's approval and there is no ``approve``.

        Examples:
            ```python
            message = await executor.execute(prompt, model, dispatcher.tools)
            results = await dispatcher.execute(message)
            prompt = prompt.add(message, *[result.message() for result in results])
            ```
        """
        if isinstance(calls, AssistantMessage):
            calls = [*calls.tool_calls, *calls.invalid_tool_calls]
        if len({call.id for call in calls}) < len(calls):
            raise InvalidInputError("execute(): two calls have the same id. Pass the calls of one answer.")
        if not calls:
            return []
        run = self._run(_ASKED, _NOBODY, context)
        run.source = FrameStream.of([*calls, End(FinishReason.TOOL_CALLS)])
        results: dict[str, ToolResult] = {}
        async with DispatchStream(run) as stream:
            async for frame in stream:
                if isinstance(frame, ToolResult):
                    results[frame.id] = frame
                    if len(results) == len(calls):
                        break
        if run.paused is not None:
            names = ", ".join(sorted({call.name for call in run.paused.pending}))
            raise InvalidInputError(
                f"execute(): {names} cannot run here: a person decides, or the front end runs it. Pass approve= to "
                "ToolDispatcher, or use stream() and resume()."
            )
        return [results[call.id] for call in calls]

    async def aclose(self) -> None:
        """Ends our own threads, and waits for those in which a tool still runs. Close the streams first."""
        await self._workers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


_ASKED, _NOBODY = Prompt(), LLModel("none", "none")

_MEMORY = MemoryPauseStore()
"""One for the process: a dispatcher is often made for each request."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and value is not True
