"""`Observer`: who is told of requests and tools; and who is told now.

Rules: nobody is told unless a program asked for it, and then nothing is held up; an observer that raises is reported
to the log, and harms nothing. Events hold the prompt and the message for those who want contents; their ``repr``
shows none.
"""

from __future__ import annotations

import contextvars
import itertools
import logging
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from time import monotonic
from typing import Any, Literal, Self

import msgspec

from promptport.errors import PromptportError
from promptport.frames import End, FinishReason, StreamFrame, Usage
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel

__all__ = [
    "FirstFrame",
    "Observation",
    "Observer",
    "RequestFinished",
    "RequestStarted",
    "RunFinished",
    "RunObservation",
    "RunStarted",
    "ToolCallFinished",
    "ToolCallStarted",
    "ToolObservation",
    "as_attempt",
    "begin_request",
    "begin_run",
    "begin_tool",
    "in_run",
    "leaving_out",
    "observe",
    "observed_by",
]

_log = logging.getLogger("promptport")

RequestOutcome = Literal["complete", "failed", "cancelled"]


class _Event(msgspec.Struct, frozen=True):
    def __repr__(self) -> str:
        shown = [
            f"{name}={getattr(self, name)!r}"
            for name in self.__struct_fields__
            if name not in ("prompt", "message", "arguments", "output")
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


class RequestStarted(_Event, frozen=True):
    """A request is about to be sent.

    Attributes:
        id: The request's number in this process.
        model: The model that is really asked.
        streaming: Whether the response is streamed.
        attempt: 1, or more if a policy repeats the request.
        run: The number of the tool loop that asks, or `None`.
        messages: How many messages the prompt has.
        tools: How many tools the model is told of.
        address: Host and port of the server, or `None` for a model in this process.
        prompt: The prompt itself, for observers that a person allowed to see contents.
    """

    id: int
    model: LLModel
    streaming: bool
    attempt: int
    run: int | None
    messages: int
    tools: int
    address: tuple[str, int] | None
    prompt: Prompt


class FirstFrame(_Event, frozen=True):
    """The first frame of a response arrived.

    Attributes:
        id: The request's number.
        seconds: Since the request was sent.
    """

    id: int
    seconds: float


class RequestFinished(_Event, frozen=True):
    """A request is over.

    Attributes:
        id: The request's number.
        outcome: `complete`; `failed`, with `error`; or `cancelled` by whoever read the stream.
        seconds: Since the request was sent.
        first_frame: Seconds until the first frame, or `None` if none arrived.
        usage: The tokens that the provider counted, as far as it told.
        finish_reason: Why the model stopped, or `None`.
        answered: The model that answered, in the provider's words, or `None`.
        response_id: The provider's id of the response, or `None`.
        dropped: Parameters that were left out because the model cannot honor them.
        error: What went wrong, or `None`.
        message: The message as far as it arrived, for observers that a person allowed to see contents.
    """

    id: int
    outcome: RequestOutcome
    seconds: float
    first_frame: float | None
    usage: Usage
    finish_reason: FinishReason | None
    answered: str | None
    response_id: str | None
    dropped: tuple[str, ...]
    error: BaseException | None
    message: AssistantMessage


class RunStarted(_Event, frozen=True):
    """A tool loop begins.

    Attributes:
        id: The loop's number in this process.
        model: The model that it asks.
        prompt: The conversation, for observers that a person allowed to see contents.
    """

    id: int
    model: LLModel
    prompt: Prompt


class RunFinished(_Event, frozen=True):
    """A tool loop is over.

    Attributes:
        id: The loop's number.
        outcome: `complete`, `failed`, `cancelled`, or `paused` for a decision or a result.
        seconds: Since it began.
        requests: How many requests it sent.
        tool_calls: How many tool calls it saw.
        usage: The tokens of all its responses.
        error: What went wrong, or `None`.
    """

    id: int
    outcome: Literal["complete", "failed", "cancelled", "paused"]
    seconds: float
    requests: int
    tool_calls: int
    usage: Usage
    error: BaseException | None


class ToolCallStarted(_Event, frozen=True):
    """A tool is about to run.

    Attributes:
        id: The call's id.
        name: The tool's name.
        run: The number of the tool loop.
        arguments: The JSON text of the arguments, for observers that a person allowed to see contents.
    """

    id: str
    name: str
    run: int | None
    arguments: str


class ToolCallFinished(_Event, frozen=True):
    """A tool has its outcome.

    Attributes:
        id: The call's id.
        name: The tool's name.
        run: The number of the tool loop.
        outcome: `finished`, `failed`, `cancelled`, or `refused` for a call that never ran.
        seconds: How long it ran.
        error: What went wrong, or `None`.
        output: What the model is told, for observers that a person allowed to see contents.
    """

    id: str
    name: str
    run: int | None
    outcome: str
    seconds: float
    error: BaseException | None
    output: Any


class Observer:
    """Who is told. Inherit from it, and override what you want to know; all methods do nothing here.

    Methods are called in the event loop's thread, and must not block.

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


@contextmanager
def observe(*observers: Observer) -> Iterator[None]:
    """Tell these observers of everything in this process, until the context is left."""
    global _everywhere  # noqa: PLW0603 - one process, one list
    _everywhere = (*_everywhere, *observers)
    try:
        yield
    finally:
        left = list(_everywhere)
        for observer in observers:
            left.remove(observer)
        _everywhere = tuple(left)


@contextmanager
def observed_by(observers: Sequence[Observer]) -> Iterator[None]:
    """What is begun inside is told to these observers, too."""
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
    for observer in observers:
        with _reporting("the observer %s raised in %s", type(observer).__name__, method):
            getattr(observer, method)(*arguments)


@contextmanager
def _reporting(text: str, *arguments: str) -> Iterator[None]:
    """Logs what is raised inside, also an exception whose own methods raise; only Ctrl-C goes through."""
    try:
        try:
            yield
        except Exception:
            _log.exception(text, *arguments)
    except KeyboardInterrupt:
        raise
    except BaseException:
        _log.error(f"{text}, and what it raised cannot be shown", *arguments)


class Observation:
    """One request, as its observers are told of it."""

    __slots__ = ("_began", "_dropped", "_end", "_first", "_id", "_observers", "_over", "_told", "_wanting")

    def __init__(self, observers: tuple[Observer, ...], told: RequestStarted, dropped: tuple[str, ...] = ()) -> None:
        """See `begin_request`; ``dropped``: what was left out of the request."""
        self._dropped = dropped
        self._observers = observers
        self._wanting = tuple([observer for observer in observers if observer.wants_frames])
        self._told = told
        self._began = 0.0
        self._first: float | None = None
        self._end: End | None = None
        self._over = False

    def sent(self) -> None:
        """The request is sent now."""
        self._began = monotonic()
        _tell(self._observers, "request_started", self._told)

    def read(self, batch: Sequence[StreamFrame]) -> None:
        """These frames arrived."""
        if self._first is None:
            self._first = monotonic() - self._began
            _tell(self._observers, "first_frame", FirstFrame(self._told.id, self._first))
        if type(batch[-1]) is End:
            self._end = batch[-1]
        if self._wanting:
            _tell(self._wanting, "frames", self._told.id, batch)

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
        )
        _tell(self._observers, "request_finished", event)


def begin_request(
    prompt: Prompt, model: LLModel, tools: int, *, streaming: bool, address: tuple[str, int] | None = None
) -> Observation | None:
    """The observation of a request that is made here; `None` if nobody wants to know."""
    observers = _everywhere + _here.get()
    if not observers:
        return None
    told = RequestStarted(
        next(_numbers), model, streaming, _attempt.get(), _run.get(), len(prompt.messages), tools, address, prompt
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
            with _reporting("the observer %s raised in around_tool", type(observer).__name__):
                around = observer.around_tool(self._told)
                if around is not None:
                    self._stack.enter_context(around)
        return self

    def __exit__(self, *_: object) -> None:
        with _reporting("an observer raised in the context of around_tool"):
            self._stack.close()

    def finished(self, outcome: str, error: BaseException | None, output: Any) -> None:
        """The tool has its outcome."""
        told, seconds = self._told, monotonic() - self._began
        event = ToolCallFinished(told.id, told.name, told.run, outcome, seconds, error, output)
        _tell(self._observers, "tool_finished", event)


def begin_tool(run: RunObservation, id: str, name: str, arguments: str) -> ToolObservation:
    """The observation of a tool that runs now."""
    return ToolObservation(run, id, name, arguments)
