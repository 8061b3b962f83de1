"""`Observer`: who is told of requests and tools; and who is told now.

Rules: nobody is told unless a program asked for it, and then nothing is held up; an observer that raises is reported
to the log, and harms nothing. Whoever is told of a beginning is told of its end.
"""

from __future__ import annotations

import contextvars
import inspect
import itertools
import logging
import weakref
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from time import monotonic
from typing import Any, Literal, Self

from promptport.errors import InvalidInputError, PromptportError
from promptport.frames import End, StreamFrame, Usage
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel
from promptport.telemetry.events import (
    FirstFrame,
    RequestFinished,
    RequestStarted,
    RunFinished,
    RunStarted,
    ToolCallFinished,
    ToolCallStarted,
)
from promptport.tools import ToolDescriptor

__all__ = [
    "Observation",
    "Observer",
    "RunObservation",
    "ToolObservation",
    "as_attempt",
    "begin_request",
    "begin_run",
    "begin_tool",
    "check_observers",
    "in_run",
    "leaving_out",
    "observe",
    "observed_by",
]

_log = logging.getLogger("promptport")


class Observer:
    """Who is told. Inherit from it, and override what you want to know; all methods do nothing here.

    Methods are plain functions. They are called in the event loop's thread, and must not block. An object of another
    class can be an observer too: the methods that it does not have are not called.

    Examples:
        ```python
        from promptport import telemetry

        class Counter(telemetry.Observer):
            requests = 0

            def request_started(self, event: telemetry.RequestStarted) -> None:
                self.requests += 1

        counter = Counter()
        with telemetry.observe(counter):
            ...
        ```
    """

    wants_frames = False
    """Whether `frames` is called. Default: `False`."""

    def request_started(self, event: RequestStarted) -> None:
        """A request is about to be sent."""

    def first_frame(self, event: FirstFrame) -> None:
        """The first frame of a response arrived."""

    def frames(self, id: int, frames: Sequence[StreamFrame]) -> None:
        """The frames of one read; only if `wants_frames`."""

    def request_finished(self, event: RequestFinished) -> None:
        """A request is over: complete, failed or cancelled."""

    def run_started(self, event: RunStarted) -> None:
        """A tool loop begins."""

    def run_finished(self, event: RunFinished) -> None:
        """A tool loop is over."""

    def tool_started(self, event: ToolCallStarted) -> None:
        """A tool is about to run."""

    def around_tool(self, event: ToolCallStarted) -> AbstractContextManager[Any] | None:
        """A context that the tool runs in, such as a span that is the current one; or `None`."""
        return None

    def tool_finished(self, event: ToolCallFinished) -> None:
        """A tool has its outcome."""


# ---------------------------------------------------------------------------------------- who is told now

_everywhere: tuple[Observer, ...] = ()
_here: contextvars.ContextVar[tuple[Observer, ...]] = contextvars.ContextVar("promptport_observers", default=())
_run: contextvars.ContextVar[int | None] = contextvars.ContextVar("promptport_run", default=None)
_attempt: contextvars.ContextVar[int] = contextvars.ContextVar("promptport_attempt", default=1)
_dropped: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("promptport_dropped", default=())
_numbers = itertools.count(1)


_CHECKED: weakref.WeakSet[type] = weakref.WeakSet()
"""Classes whose observers were found usable: observers are made and named for each request, too."""

_METHODS = tuple(name for name, value in vars(Observer).items() if inspect.isfunction(value))


def check_observers(observers: Iterable[object], *, where: str) -> None:
    """Check that each can be told.

    Args:
        observers: What a program passed.
        where: The function or the argument, for the error.

    Raises:
        InvalidInputError: One is a class, has none of the methods, or has an `async` one, which nobody would await.
    """
    for observer in observers:
        if isinstance(observer, type):
            name = observer.__name__
            raise InvalidInputError(f"{where}: takes observers, not the class {name}. Write {name}().")
        if type(observer) in _CHECKED:
            continue
        name = type(observer).__name__
        methods = [method for method in _METHODS if hasattr(type(observer), method) or hasattr(observer, method)]
        if not methods:
            raise InvalidInputError(
                f"{where}: {name} is no observer, and has none of its methods. Inherit from telemetry.Observer."
            )
        for method in methods:
            found = getattr(type(observer), method, None)
            if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
                raise InvalidInputError(
                    f"{where}: {name}.{method} is async, and nobody awaits an observer. Write it as a plain function, "
                    "which starts a task if it needs one."
                )
        if isinstance(observer, Observer):
            _CHECKED.add(type(observer))


@contextmanager
def observe(*observers: Observer) -> Iterator[None]:
    """Tell these observers of everything in this process, until the context is left.

    A request, a tool loop or a tool that began before is told to its end.

    Raises:
        InvalidInputError: One of them is no observer, or has an `async` method.
    """
    global _everywhere  # noqa: PLW0603 - one process, one list
    check_observers(observers, where="observe()")
    _everywhere = (*_everywhere, *observers)
    try:
        yield
    finally:
        left = list(_everywhere)
        for observer in observers:
            del left[next(place for place, each in enumerate(left) if each is observer)]
        _everywhere = tuple(left)


@contextmanager
def observed_by(observers: Sequence[Observer]) -> Iterator[None]:
    """What is begun inside is told to these observers, too.

    Raises:
        InvalidInputError: One of them is no observer, or has an `async` method.
    """
    check_observers(observers, where="observed_by()")
    token = _here.set((*_here.get(), *observers))
    try:
        yield
    finally:
        _here.reset(token)


@contextmanager
def in_run(run: int | None) -> Iterator[None]:
    """What is begun inside belongs to this tool loop."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


@contextmanager
def as_attempt(attempt: int) -> Iterator[None]:
    """A request that is begun inside is this attempt at it."""
    token = _attempt.set(attempt)
    try:
        yield
    finally:
        _attempt.reset(token)


@contextmanager
def leaving_out(names: tuple[str, ...]) -> Iterator[None]:
    """A request that is begun inside goes without these parameters: its observers are told."""
    token = _dropped.set((*_dropped.get(), *names))
    try:
        yield
    finally:
        _dropped.reset(token)


def _tell(observers: Sequence[Observer], method: str, *arguments: Any) -> None:
    for place, observer in enumerate(observers):
        try:
            call = getattr(observer, method, None)
            if call is not None:
                call(*arguments)
        except Exception:
            _report(observer, method)
        except KeyboardInterrupt:  # a person's, who wants to leave; whoever else is to be told of an end, is
            _tell(observers[place + 1 :], method, *arguments)
            raise
        except BaseException:  # a cancellation, an exit or a generator's end of its own making
            _report(observer, method)


def _report(observer: object, method: str) -> None:
    """Logs what is raised now, also an exception whose own methods raise; only Ctrl-C goes through."""
    text, name = "the observer %s raised in %s", type(observer).__name__
    try:
        _log.exception(text, name, method)
    except KeyboardInterrupt:
        raise
    except BaseException:
        _log.error(f"{text}, and what it raised cannot be shown", name, method)


def _wants_frames(observer: Observer) -> bool:
    try:
        return bool(getattr(observer, "wants_frames", False))
    except Exception:
        _report(observer, "wants_frames")
        return False


_GAPS = 16


class Observation:
    """One request, as its observers are told of it."""

    __slots__ = (
        "_began",
        "_dropped",
        "_end",
        "_first",
        "_gaps",
        "_last",
        "_observers",
        "_over",
        "_reads",
        "_skipping",
        "_told",
        "_wanting",
    )

    def __init__(self, observers: tuple[Observer, ...], told: RequestStarted, dropped: tuple[str, ...] = ()) -> None:
        """See `begin_request`; ``dropped``: what was left out of the request."""
        self._dropped = dropped
        self._observers = observers
        self._wanting = tuple([observer for observer in observers if _wants_frames(observer)])
        self._told = told
        self._began = 0.0
        self._first: float | None = None
        self._last = 0.0
        self._reads = self._skipping = 0
        self._gaps: list[float] = []  # thinned out as they grow, see `RequestFinished.chunk_seconds`
        self._end: End | None = None
        self._over = False

    def sent(self) -> None:
        """The request is sent now."""
        self._began = monotonic()
        _tell(self._observers, "request_started", self._told)

    def read(self, batch: Sequence[StreamFrame]) -> None:
        """These frames arrived."""
        if self._first is None:
            self._last = monotonic()
            self._first = self._last - self._began
            _tell(self._observers, "first_frame", FirstFrame(self._told.id, self._first))
        else:
            reads = self._reads = self._reads + 1
            place = reads & self._skipping
            if not place:
                now = monotonic()
                self._gaps.append(now - self._last)
                self._last = now
                if len(self._gaps) > _GAPS:
                    self._gaps = self._gaps[1::2]
                    self._skipping = self._skipping * 2 + 1
            elif place == self._skipping:  # the one before one that is timed
                self._last = monotonic()
        if type(batch[-1]) is End:
            self._end = batch[-1]
        if self._wanting:
            _tell(self._wanting, "frames", self._told.id, tuple(batch))

    async def call(self, answer: Awaitable[AssistantMessage]) -> AssistantMessage:
        """Awaits a whole response, and tells of it."""
        self.sent()
        try:
            message = await answer
        except BaseException as error:
            ours = issubclass(type(error), PromptportError)  # another one's attributes may do anything
            self.finished((getattr(error, "partial", None) if ours else None) or AssistantMessage(), error)
            raise
        self.finished(message, None)
        return message

    def finished(self, message: AssistantMessage, error: BaseException | None) -> None:
        """The request is over; an error that is none of promptport's is a cancellation."""
        if self._over:
            return
        self._over = True
        complete = self._end is not None or (error is None and message.finish_reason is not None)
        failed = issubclass(type(error), PromptportError) and not complete
        counted = self._end.usage if self._end is not None else message.usage
        event = RequestFinished(
            self._told.id,
            "complete" if complete else "failed" if failed else "cancelled",
            monotonic() - self._began,
            self._first,
            counted,
            self._end.finish_reason if self._end is not None else message.finish_reason,
            self._end.model if self._end is not None else message.model,
            self._end.response_id if self._end is not None else message.response_id,
            self._dropped,
            error if failed else None,
            message,
            self._told.model,
            tuple(self._gaps),
        )
        _tell(self._observers, "request_finished", event)


def begin_request(
    prompt: Prompt,
    model: LLModel,
    tools: int | Sequence[ToolDescriptor],
    *,
    streaming: bool,
    address: tuple[str, int] | None = None,
) -> Observation | None:
    """The observation of a request that is made here; `None` if nobody wants to know.

    Args:
        prompt: What is asked.
        model: Who is asked.
        tools: The tools that are offered, or how many.
        streaming: Whether the response is streamed.
        address: Host and port of the server; `None` for a model in this process.
    """
    observers = _everywhere + _here.get()
    if not observers:
        return None
    offered = () if isinstance(tools, int) else tuple(tools)
    told = RequestStarted(
        next(_numbers),
        model,
        streaming,
        _attempt.get(),
        _run.get(),
        len(prompt.messages),
        tools if isinstance(tools, int) else len(offered),
        address,
        prompt,
        offered,
    )
    return Observation(observers, told, _dropped.get())


class RunObservation:
    """One tool loop, as its observers are told of it."""

    __slots__ = ("_began", "_over", "_told", "id", "observers")

    def __init__(self, observers: tuple[Observer, ...], prompt: Prompt, model: LLModel) -> None:
        self.id = next(_numbers)
        self.observers = observers
        self._began = 0.0
        self._over = False
        self._told = RunStarted(self.id, model, prompt)

    def started(self) -> None:
        """The loop is read for the first time."""
        self._began = monotonic()
        _tell(self.observers, "run_started", self._told)

    def finished(
        self,
        error: BaseException | None,
        *,
        complete: bool,
        paused: bool,
        requests: int,
        tool_calls: int,
        usage: Usage,
    ) -> None:
        """The loop is over; an error that is none of promptport's is a cancellation."""
        if self._over or not self._began:
            return
        self._over = True
        failed = issubclass(type(error), PromptportError)
        outcome: Literal["complete", "failed", "cancelled", "paused"] = (
            "paused" if paused else "complete" if complete else "failed" if failed else "cancelled"
        )
        seconds = monotonic() - self._began
        event = RunFinished(
            self.id, outcome, seconds, requests, tool_calls, usage, error if outcome == "failed" else None
        )
        _tell(self.observers, "run_finished", event)


def begin_run(prompt: Prompt, model: LLModel, observers: Sequence[Observer] = ()) -> RunObservation | None:
    """The observation of a tool loop that begins now; `None` if nobody wants to know."""
    told = (*_everywhere, *_here.get(), *observers)
    return RunObservation(told, prompt, model) if told else None


class _Harmless(AbstractContextManager[None]):
    """The context of an observer's `around_tool`, of which leaving can fail."""

    def __init__(self, observer: Observer, around: AbstractContextManager[Any]) -> None:
        self._observer = observer
        self._around = around

    def __enter__(self) -> None:
        self._around.__enter__()

    def __exit__(self, *_: object) -> None:
        try:
            self._around.__exit__(None, None, None)
        except KeyboardInterrupt:
            raise
        except BaseException:
            _report(self._observer, "around_tool")


class ToolObservation(AbstractContextManager["ToolObservation"]):
    """One tool, as its observers are told of it; the tool runs inside."""

    def __init__(self, run: RunObservation, id: str, name: str, arguments: str) -> None:
        self._observers = run.observers
        self._told = ToolCallStarted(id, name, run.id, arguments)
        self._began = monotonic()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        _tell(self._observers, "tool_started", self._told)
        for observer in self._observers:
            try:
                make = getattr(observer, "around_tool", None)
                around = make(self._told) if make is not None else None
                if around is not None:
                    self._stack.enter_context(_Harmless(observer, around))
            except KeyboardInterrupt:
                self._stack.close()
                raise
            except BaseException:
                _report(observer, "around_tool")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def finished(self, outcome: str, error: BaseException | None, output: Any) -> None:
        """The tool has its outcome."""
        told, seconds = self._told, monotonic() - self._began
        event = ToolCallFinished(told.id, told.name, told.run, outcome, seconds, error, output)
        _tell(self._observers, "tool_finished", event)


def begin_tool(run: RunObservation, id: str, name: str, arguments: str) -> ToolObservation:
    """The observation of a tool that runs now."""
    return ToolObservation(run, id, name, arguments)
