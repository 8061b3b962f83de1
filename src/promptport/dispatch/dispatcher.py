"""`ToolDispatcher`: model → calls → results → model …, with the tools running while the text flows.

Rules: a sealed call starts at once; nothing outlives the stream; results go back in the order of the calls; what goes
wrong in a tool is told to the model, what goes wrong elsewhere is raised to the caller.

What a caller sees is here; how a stream runs is in `step_loop`, and how a call runs in `tool_runner`.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from concurrent.futures import Executor
from types import AsyncGeneratorType, TracebackType
from typing import Any, Self, cast

from promptport.dispatch.step_loop import (
    OnStep,
    Run,
    Settings,
    StepChange,
    StepChoice,
    StepState,
    StreamingExecutor,
    by_name,
    drive,
)
from promptport.dispatch.tool_frames import (
    ApprovalNeeded,
    DispatchFrame,
    PausedRun,
    StepEnd,
    ToolProgress,
    ToolResult,
    ToolStarted,
    decode_dispatch_frame,
    encode_dispatch_frame,
)
from promptport.dispatch.tool_runner import Approve, ToolOutcome
from promptport.dispatch.workers import Workers
from promptport.errors import InvalidInputError
from promptport.frames import Usage
from promptport.messages import AssistantMessage, Message, Prompt
from promptport.models import LLModel
from promptport.tools import Tool, ToolStart

__all__ = [
    "ApprovalNeeded",
    "Approve",
    "DispatchFrame",
    "DispatchStream",
    "PausedRun",
    "StepChange",
    "StepEnd",
    "StepState",
    "StreamingExecutor",
    "ToolDispatcher",
    "ToolOutcome",
    "ToolProgress",
    "ToolResult",
    "ToolStarted",
    "decode_dispatch_frame",
    "encode_dispatch_frame",
]


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

    def __init__(
        self,
        executor: StreamingExecutor,
        tools: Iterable[Tool[Any]] = (),
        *,
        approve: Approve | None = None,
        start: ToolStart = "eager",
        max_concurrency: int = 8,
        timeout: float | None = 600.0,
        max_steps: int = 20,
        max_output_chars: int | None = None,
        tool_choice: StepChoice | None = None,
        on_step: OnStep | None = None,
        workers: Executor | None = None,
    ) -> None:
        """Args:
            executor: who asks the model; it is not closed.
            tools: what the model may call.
            approve: asks a person about a call that needs it: ``True`` runs it, ``False`` or a reason does not. It
                is asked as soon as the call is sealed, for several calls at once. Without it the stream pauses:
                see `ApprovalNeeded` and `resume`.
            start: ``"on_finish"`` starts no call before the model's answer is complete.
            max_concurrency: how many tools of one stream run at a time.
            timeout: seconds from a tool's start to its result, for tools that say nothing; ``None`` is no limit. On
                busy ``workers`` the wait for a free one counts.
            max_steps: how many requests one stream may make; one more raises `StepLimitError`.
            max_output_chars: the longest text of one result; what is longer is cut, with a note that says so. By
                default all of it is passed on.
            tool_choice: the tool choice of a request, by its index from 0; where it says nothing, the prompt's own
                holds, of which ``REQUIRED`` or a named tool is for the first request only, so that the loop can end.
            on_step: called between two requests; may change the prompt or the tools from there on.
            workers: runs sync tools: any ``concurrent.futures.Executor``, such as a process pool or
                ``dask.distributed.Client.get_executor()``; the caller closes it. Threads by default. Where it is not
                a thread pool, function, arguments and result must be picklable. A cluster may run a call again that
                its worker did not survive, unless it is configured not to (Dask: ``allowed-failures: 0``).

        Raises:
            InvalidInputError: two tools of one name, a tool that cannot run, a limit below 1.
        """
        limits = {"max_concurrency": max_concurrency, "max_steps": max_steps, "max_output_chars": max_output_chars}
        for name, limit in limits.items():
            if limit is not None and limit < 1:
                raise InvalidInputError(f"{name} must be at least 1, not {limit}")
        if timeout is not None and not timeout > 0:
            raise InvalidInputError(f"timeout must be more than 0 seconds, not {timeout}; None is no limit")
        if start not in ("eager", "on_finish"):
            raise InvalidInputError(f"start is 'eager' or 'on_finish', not {start!r}")
        self._settings = Settings(
            executor,
            approve,
            start,
            max_concurrency,
            timeout,
            max_steps,
            max_output_chars,
            tool_choice,
            on_step,
        )
        self._tools = by_name(tools)
        self._workers = Workers(workers)

    @property
    def tools(self) -> tuple[Tool[Any], ...]:
        """What the model may call."""
        return tuple(self._tools.values())

    def stream(self, prompt: Prompt, model: LLModel) -> DispatchStream:
        """Starts a loop; nothing is sent before it is iterated.

        Raises:
            InvalidInputError, UnsupportedCapabilityError: at once, where the first request cannot be made.
        """
        run = Run(self._settings, self._workers, self._tools, prompt, model)
        run.ask(run.request())
        return DispatchStream(run)

    def resume(self, paused: PausedRun, decisions: Mapping[str, bool | str]) -> DispatchStream:
        """Goes on with a loop that waited for a person.

        Args:
            paused: what ``DispatchStream.paused`` held.
            decisions: for the id of each pending call ``True`` to run it, ``False`` or a reason, in words for the
                model, not to.

        Raises:
            InvalidInputError: a pending call without a decision, or a decision about another.
        """
        wanted = {call.id for call in paused.pending}
        if wanted != set(decisions):
            missing, strange = sorted(wanted - set(decisions)), sorted(set(decisions) - wanted)
            raise InvalidInputError(f"decisions: missing for {missing}, and not asked for {strange}")
        run = Run(self._settings, self._workers, self._tools, paused.prompt, paused.model)
        run.restore(paused, decisions)
        return DispatchStream(run)

    async def aclose(self) -> None:
        """Ends our own threads, and waits for those in which a tool still runs. Close the streams first."""
        await self._workers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


# ------------------------------------------------------------------------------------------------- stream


class DispatchStream:
    """What a loop yields: an async iterator of `DispatchFrame` and an async context manager, for one use.

    The last frame is `End`, with the usage of all requests, or `ApprovalNeeded`. Iterating raises what the model's
    stream raises, `StepLimitError`, and what ``approve`` and ``on_step`` raise; before it does, the tools that run are
    cancelled, and their `ToolResult`s yielded. Leaving cancels them too: their outcomes are in `outcomes`.

    A consumer that stops reading stops the model's stream, at most 32 frames later. Tools go on, but for one that
    shows progress: it waits as long, and its timeout runs on.
    """

    __slots__ = ("__weakref__", "_generator", "_next", "_run")

    def __init__(self, run: Run) -> None:
        self._run = run
        self._generator = cast("AsyncGeneratorType[DispatchFrame, None]", drive(run))
        self._next = self._generator.__anext__

    def __aiter__(self) -> AsyncIterator[DispatchFrame]:
        return self

    def __anext__(self) -> Awaitable[DispatchFrame]:
        run = self._run
        if run.closed and not run.ended:
            raise run.cut("the stream was closed before its end")
        return self._next()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the model's stream, cancels the tools, and returns when they have ended.

        A read that waits in another task raises `IncompleteStreamError`. Closing twice, or after the end, does nothing.
        """
        run = self._run
        if self._generator.ag_running:
            await run.interrupt()
            return
        run.closed = True
        await self._generator.aclose()
        await run.close()  # a generator that never ran has no finally

    async def message(self) -> AssistantMessage:
        """Reads to the end; the model's last answer."""
        async for _ in self:
            pass
        return self._run.message

    @property
    def prompt(self) -> Prompt:
        """The conversation so far: every answer that is complete, with the results of its calls."""
        return self._run.prompt

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of `prompt`."""
        return self._run.prompt.messages

    @property
    def partial(self) -> AssistantMessage:
        """The model's answer that is read now, as far as it came; after the end, its last."""
        return self._run.partial

    @property
    def usage(self) -> Usage:
        """The tokens of all answers that are complete."""
        return self._run.usage

    @property
    def outcomes(self) -> tuple[ToolOutcome, ...]:
        """What became of each call that was started or refused here, in the order in which it was known."""
        return tuple(self._run.running.outcomes)

    @property
    def paused(self) -> PausedRun | None:
        """What `ToolDispatcher.resume` needs, once the stream ended in `ApprovalNeeded`."""
        return self._run.paused

    def __del__(self) -> None:
        run = getattr(self, "_run", None)
        if run is not None and run.started and not run.closed and not run.ended:
            warnings.warn(
                "DispatchStream was dropped unclosed: use 'async with', or iterate to the end",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
