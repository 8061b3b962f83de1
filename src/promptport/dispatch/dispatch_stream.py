"""`DispatchStream`: what a caller iterates of a tool loop.

Rule: it is a handle; what it tells is the run's (`step_loop`), and its generator is in `driving`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from types import AsyncGeneratorType, TracebackType
from typing import Any, Self, cast

import msgspec

from promptport.dispatch.driving import drive
from promptport.dispatch.entries import ToolOutcome
from promptport.dispatch.step_loop import Run
from promptport.dispatch.tool_frames import DispatchFrame, PausedRun, closed
from promptport.errors import InvalidInputError
from promptport.frames import Usage
from promptport.messages import AssistantMessage, Message, Origin, Prompt

__all__ = ["DispatchStream", "RunOutcome"]


class RunOutcome(msgspec.Struct, frozen=True):
    """What a run left behind when its stream ended, failed or was closed. Its ``repr`` shows no contents.

    Attributes:
        prompt: the conversation, with each complete step.
        partial: the response that was under way, or the last one.
        complete: whether the last `End` came.
        paused: what waits, if the run paused.
        answered: makes the conversation with what was cut off, see `DispatchStream.answered`.
    """

    prompt: Prompt
    partial: AssistantMessage
    complete: bool
    paused: PausedRun | None
    answered: Callable[[str], Prompt]

    def __repr__(self) -> str:
        return f"RunOutcome(complete={self.complete}, paused={self.paused is not None})"


def _outcome(run: Run) -> RunOutcome:
    complete = run.ended and run.paused is None
    return RunOutcome(run.prompt, run.partial, complete, run.paused, lambda error: _answered(run, error))


def _answered(run: Run, error: str) -> Prompt:
    if run.paused is not None:
        return run.paused.answered(error)
    results = [entry.outcome.result for entry in run.entries if entry.outcome is not None]
    return run.prompt if run.kept else closed(run.prompt, run.partial, results, error)


class DispatchStream:
    """What a loop yields: an async iterator of `DispatchFrame` and an async context manager, for one use.

    The last frame is `End`, with the usage of all requests, or, where the run pauses, `ApprovalNeeded` or
    `ToolsPending`. Iterating raises what the model's stream raises, `StepLimitError`, `IncompleteStreamError` for a
    last answer that is empty, and what ``approve`` and ``on_step`` raise; before it does, the tools that run are
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
        if self._generator.ag_frame is None and self._run.ended:
            raise InvalidInputError(
                "DispatchStream: it was iterated to its end before, and is for one use. Call the dispatcher's stream()"
                " again, or keep the frames in a list."
            )
        return self

    def __anext__(self) -> Awaitable[DispatchFrame]:
        run = self._run
        if self._generator.ag_running:
            raise InvalidInputError(
                "DispatchStream: another task is reading it. Iterate a stream in one task, and hand its frames on."
            )
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

    def __await__(self) -> Generator[Any, None, AssistantMessage]:
        """Read to the end, and close; the model's last answer."""
        return self._whole().__await__()

    async def _whole(self) -> AssistantMessage:
        async with self:
            return await self.message()

    async def message(self) -> AssistantMessage:
        """Reads to the end; the model's last answer."""
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await self.__anext__()
        return self._run.message

    @property
    def prompt(self) -> Prompt:
        """The conversation so far: every answer that is complete, with the results of its calls.

        It can be sent at any time; see `answered` for what an answer that was cut off called.
        """
        return self._run.prompt

    def answered(self, error: str) -> Prompt:
        """The conversation so far, with what was cut off: use it to go on after leaving early, a failure or a pause.

        The response that was under way is part of it if it holds tool calls. They have the results that are known.
        Each other call gets this error, so that every provider takes the prompt.

        Args:
            error: What the model reads as the result of each open call.

        Returns:
            `prompt`, if nothing was cut off, or if no call of it was complete.

        Examples:
            ```python
            async with dispatcher.stream(prompt, model) as stream:
                async for frame in stream:
                    if stopped():
                        break
            prompt = stream.answered("The user stopped this.").user("Do this instead.")
            ```
        """
        return _answered(self._run, error)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of `prompt`."""
        return self._run.prompt.messages

    @property
    def origin(self) -> Origin | None:
        """The server that makes the answer under way, or made the last one; ``None`` if no client said so."""
        return self._run.partial.origin

    def follow(self, begun: Callable[[], None], done: Callable[[RunOutcome], None]) -> None:
        """Call these when the stream begins, and when it has ended, failed or been closed; each once.

        A stream that was never iterated calls neither.

        Args:
            begun: called before the first frame; does not block.
            done: called with what the run left behind; does not block.
        """
        self._run.ties.on_begin.append(begun)
        self._run.ties.on_done.append(lambda run: done(_outcome(run)))

    @property
    def partial(self) -> AssistantMessage:
        """The model's answer that is read now, as far as it came; after the end, its last."""
        return self._run.partial

    @property
    def usage(self) -> Usage:
        """The tokens of all answers that are complete."""
        return self._run.total

    @property
    def outcomes(self) -> tuple[ToolOutcome, ...]:
        """What became of each call that was started or refused here, in the order in which it was known."""
        return tuple(self._run.running.outcomes)

    @property
    def paused(self) -> PausedRun | None:
        """What `ToolDispatcher.resume` needs, once the stream ended in `ApprovalNeeded` or `ToolsPending`."""
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
