"""`RunLog`: the frames of a run for its viewers, at any number of places; and who writes them.

Rules: a log decides nothing, and its loss ends no run; the position of a frame is its id, counted from 1 without gaps;
a viewer that leaves ends nothing; a run that is stopped, from anywhere, ends as stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any, Literal, Protocol

import msgspec

from promptport.dispatch import DispatchFrame
from promptport.errors import IncompleteStreamError, InvalidInputError, PromptportError, ProviderStreamError
from promptport.front_ends import TokenBuffer, error_code

__all__ = [
    "FULL_ENDING",
    "LOST_ENDING",
    "Ending",
    "LoggedFrame",
    "RunLog",
    "RunReader",
    "RunWriter",
    "check_name",
    "check_position",
    "produce",
    "raise_for",
]

_log = logging.getLogger("promptport")

LOST = "producer_lost"
UNKNOWN = "unknown_run"
FULL = "log_full"


class LoggedFrame(msgspec.Struct, frozen=True):
    """A frame and its place in the run.

    Attributes:
        position: From 1, without gaps; the id of the event that a browser sees.
        frame: The frame.
    """

    position: int
    frame: DispatchFrame


class Ending(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes:
        outcome: `complete`, `stopped` by somebody, or `failed`.
        code: For `failed`, a word for front ends, such as `rate_limit`; never what an error said.
        message: For `failed`, a sentence for people.
    """

    outcome: Literal["complete", "stopped", "failed"] = "complete"
    code: str = ""
    message: str = ""


LOST_ENDING = Ending("failed", LOST, "The server that ran this stopped working.")
FULL_ENDING = Ending("failed", FULL, "The run was too long to be kept.")


class RunReader(Protocol):
    """The frames of a run from a position on, to its end; an async iterator for one use.

    Iterating ends where the run is complete or was stopped (`stopped`), and raises where it failed: a
    `ProviderStreamError` with the code for front ends, or `IncompleteStreamError` where its producer died.
    """

    @property
    def stopped(self) -> bool:
        """Whether somebody stopped the run; known when the iteration is over."""
        ...

    def __aiter__(self) -> AsyncIterator[LoggedFrame]:
        """The frames."""
        ...

    async def __anext__(self) -> LoggedFrame:
        """The next frame."""
        ...

    async def aclose(self) -> None:
        """Leave; the run goes on."""
        ...


class RunWriter(Protocol):
    """Who writes a run's frames."""

    @property
    def stopping(self) -> asyncio.Event:
        """Set when somebody stops the run."""
        ...

    async def append(self, frames: Sequence[DispatchFrame]) -> None:
        """Write these frames; does not wait for a log that is away."""
        ...

    async def close(self, ending: Ending) -> None:
        """The run is over."""
        ...


class RunLog(Protocol):
    """Where the frames of runs are kept: `MemoryRunLog`, or `RedisRunLog` for several machines."""

    async def start(
        self, run: str, frames: AsyncIterable[DispatchFrame], *, thread: str | None = None, takeover: bool = False
    ) -> None:
        """Run these frames to their end, in a task of the log's own, and keep them.

        Args:
            run: The run's name: letters, digits, `-` and `_`, at most 100.
            frames: A `FrameStream` or `DispatchStream`; the log closes it.
            thread: The conversation; it has one active run at a time.
            takeover: The run's producer died, and this one goes on in its place.

        Raises:
            InvalidInputError: A name that cannot be used; a run that is there already; a thread that has an active run.
        """
        ...

    def read(self, run: str, *, after: int = 0) -> RunReader:
        """The frames behind this position, from the ones that are kept to the run's end.

        Args:
            run: The run's name.
            after: The position of the last frame that the reader has; 0 for none. Behind the end there are no frames,
                and the reader is told how the run ended.

        Raises:
            InvalidInputError: ``after`` is not a whole number from 0 up.
        """
        ...

    async def active(self, thread: str) -> str | None:
        """The run of this thread that is not over, or `None`."""
        ...

    async def stop(self, run: str) -> bool:
        """Stop a run, from any process; whether there was one to stop."""
        ...

    async def aclose(self) -> None:
        """Stop the runs of this process, and let go of connections."""
        ...


def check_name(name: str, *, what: str) -> str:
    """A name that is safe in keys and paths.

    Raises:
        InvalidInputError: It is empty, too long, or has other characters than letters, digits, `-`, `_`, `.` and `:`.
    """
    fine = isinstance(name, str) and 0 < len(name) <= 100 and name.isascii()
    if not fine or not all(letter.isalnum() or letter in "-_.:" for letter in name):
        raise InvalidInputError(
            f"run log: the {what} {str(name)[:40]!r} is not usable."
            " Use up to 100 letters, digits, '-', '_', '.' or ':'."
        )
    return name


def check_position(after: object) -> int:
    """A position that a reader may name.

    Raises:
        InvalidInputError: It is not a whole number from 0 up, or larger than any position.
    """
    if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after < _MOST:
        shown = repr(after)[:40] if isinstance(after, int | float | str) else type(after).__name__
        raise InvalidInputError(
            f"read(): after={shown} is not a position. Pass 0, or the position of the last frame that you have."
        )
    return after


_MOST = 1 << 53


def raise_for(ending: Ending) -> None:
    """Raise what a reader raises at this ending; nothing for a complete or stopped run."""
    if ending.outcome != "failed":
        return
    if ending.code in (LOST, UNKNOWN):
        raise IncompleteStreamError(ending.message, code=ending.code)
    raise ProviderStreamError(ending.message, code=ending.code)


async def produce(
    frames: AsyncIterable[DispatchFrame], writer: RunWriter, *, buffer: TokenBuffer | None = None
) -> None:
    """Hand all frames to the writer, joined by the buffer, until their end or a stop; always tells an `Ending`."""
    ending = Ending("failed", "internal", "Something went wrong.")
    source: Any = buffer.coalesce(frames) if buffer is not None else frames
    stopping = asyncio.create_task(writer.stopping.wait(), name="promptport-run-stop")
    working = asyncio.create_task(_hand_over(source, writer), name="promptport-run-frames")
    try:
        await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
        ending = _ending_of(working) if working.done() else Ending("stopped")
    except asyncio.CancelledError:
        ending = Ending("stopped")
        raise
    finally:
        for task in (stopping, working):
            task.cancel()
        await asyncio.gather(stopping, working, return_exceptions=True)
        for each in (source, frames):
            close = getattr(each, "aclose", None)
            if close is not None:
                try:
                    await close()
                except Exception:
                    _log.exception("a run's stream raised while it was closed")
        await asyncio.shield(writer.close(ending))


def _ending_of(working: asyncio.Task[None]) -> Ending:
    error = working.exception() if not working.cancelled() else asyncio.CancelledError()
    if error is None:
        return Ending()
    if not isinstance(error, PromptportError):
        _log.error("a run failed", exc_info=error)
    code, message = error_code(error)
    return Ending("failed", code, message)


async def _hand_over(frames: AsyncIterable[DispatchFrame], writer: RunWriter) -> None:
    async for frame in frames:
        await writer.append([frame])
