"""The seam to a journal: what a run has finished is recorded, and is not done again by whoever takes the run up.

Rules: a place is drawn at once, in the order of the answer's calls, so that engines which count places agree; a record
is a whole answer, a start, a whole outcome or a decision, as JSON, and is written once; nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from promptport.dispatch.entries import State, ToolOutcome
from promptport.dispatch.tool_frames import ToolResult
from promptport.errors import (
    InvalidInputError,
    InvalidToolArgumentsError,
    ToolError,
    ToolFailedError,
    ToolTimeoutError,
    UnknownToolError,
)
from promptport.frames import ToolCall
from promptport.messages import AssistantMessage, Prompt, UserMessage

__all__ = [
    "CALL",
    "Answered",
    "Begun",
    "CallContext",
    "Decided",
    "Finished",
    "Journal",
    "Ledger",
    "Place",
    "Work",
    "context_of",
    "current_call",
    "question_of",
]

Work: TypeAlias = Callable[[], Awaitable[bytes]]
_Said = TypeVar("_Said")
Place: TypeAlias = Callable[[Work], Awaitable[bytes]]


class Journal(Protocol):
    """What one run has finished; `ToolDispatcher` takes it as ``journal=``.

    `promptport.journal.SqliteJournal` keeps it in a file. A journal of your own needs `run` and `step`; an attribute
    ``attempt``, from 1, tells how often the run was taken up.
    """

    @property
    def run(self) -> str:
        """The run's name; it is part of `CallContext.key`."""
        ...

    def step(self, key: str) -> Callable[[Callable[[], Awaitable[bytes]]], Awaitable[bytes]]:
        """Draw the place of a record at once, without waiting.

        Args:
            key: What is recorded there, the same in each attempt. Each key is drawn once an attempt.

        Returns:
            A function of the work: it gives the recorded bytes, or runs the work and records what it gives. If the
            work raises, nothing is recorded, and the exception is raised.
        """
        ...


class CallContext(msgspec.Struct, frozen=True):
    """Which call a tool runs for; see `current_call`.

    Attributes:
        id: The call's id.
        key: A text for this call alone, for the idempotency key of a service. With a journal it is the same when the
            call is run again after a crash.
        attempt: From 1; more if the call might have run before.
    """

    id: str
    key: str
    attempt: int = 1


CALL: ContextVar[CallContext] = ContextVar("promptport_call")


def current_call() -> CallContext:
    """Return the call that this tool runs for; also in threads, process pools and on clusters.

    Raises:
        InvalidInputError: No dispatcher runs this function.

    Examples:
        ```python
        import promptport as pp

        @pp.tool(repeatable=True)
        def charge(amount: int) -> str:
            return f"charged {amount} with the key {pp.current_call().key}"
        ```
    """
    call = CALL.get(None)
    if call is None:
        raise InvalidInputError(
            "current_call(): no tool call runs here. Call it inside a function that ToolDispatcher runs as a tool."
        )
    return call


def context_of(ledger: Ledger, step: int, index: int, call: ToolCall) -> CallContext:
    """The call's context, with its key: the same in each attempt, once its answer is recorded."""
    import hashlib  # noqa: PLC0415 - for journals alone

    text = msgspec.json.encode((call.id, call.name, call.arguments))
    key = f"{ledger.run}/{step}/{index}/{hashlib.sha256(text).hexdigest()[:16]}"
    return CallContext(call.id, key)


def question_of(prompt: Prompt) -> str:
    """A text for what the user said in it: the system's words may change while a run waits, such as the date."""
    import hashlib  # noqa: PLC0415 - for journals alone

    said = [message for message in prompt.messages if isinstance(message, UserMessage)]
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()[:32]


class Answered(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The record of an answer.

    Attributes:
        message: The whole answer.
        attempt: The attempt that asked for it.
        question: What the run's user said, as `question_of` tells it; in the first answer of a run.
    """

    message: AssistantMessage
    attempt: int = 1
    question: str = ""


class Begun(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The record before a call runs: after it, the tool might have run.

    Attributes:
        attempt: The attempt that begins it.
        refused: It does not run, and this is its outcome.
        parked: It waits for a person, or for the front end.
    """

    attempt: int = 1
    refused: Finished | None = None
    parked: bool = False


class Finished(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The record of an outcome.

    Attributes:
        result: What the model is told.
        state: See `ToolOutcome`.
        error: Its error's class, of ours.
        text: What the error says.
    """

    result: ToolResult
    state: State
    error: str | None = None
    text: str = ""

    @classmethod
    def of(cls, outcome: ToolOutcome) -> Finished:
        """The record of this outcome."""
        if outcome.error is None:
            return cls(outcome.result, outcome.state)
        return cls(outcome.result, outcome.state, type(outcome.error).__name__, str(outcome.error))

    def outcome(self) -> ToolOutcome:
        """The outcome that was recorded."""
        if self.error is None:
            return ToolOutcome(self.result, self.state)
        error = _ERRORS.get(self.error, ToolError)(self.text, tool=self.result.name)
        return ToolOutcome(self.result, self.state, error)


_ERRORS: dict[str, type[ToolError]] = {
    kind.__name__: kind for kind in (UnknownToolError, InvalidToolArgumentsError, ToolTimeoutError, ToolFailedError)
}


class Decided(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The record of what a pause was resumed with.

    Attributes:
        decisions: By call id.
        results: By call id.
    """

    decisions: dict[str, bool | str] = {}
    results: dict[str, ToolResult] = {}


class Ledger:
    """A dispatcher's hand on its journal: each place is drawn once.

    Attributes:
        run: The run's name.
        attempt: How often the run was taken up, from 1.
    """

    def __init__(self, journal: Journal) -> None:
        if not callable(getattr(journal, "step", None)):
            raise InvalidInputError(
                f"ToolDispatcher: journal: {type(journal).__name__} has no method step(key). "
                "Pass promptport.journal.SqliteJournal(path, run), or an object with `run` and `step`."
            )
        self.run = str(getattr(journal, "run", ""))
        self.attempt = int(getattr(journal, "attempt", 1))
        self._journal = journal
        self._free: dict[str, Place] = {}
        self._used: set[str] = set()

    def is_of(self, other: Ledger) -> bool:
        """Whether both write the records of one run."""
        if self._journal is other._journal:
            return True
        return self.run == other.run != "" and type(self._journal) is type(other._journal)

    def check_question(self, asked: str, recorded: str) -> None:
        """Refuses a run's name that was used for something else.

        Raises:
            InvalidInputError: The recorded answer is to another question.
        """
        if asked and recorded and asked != recorded:
            raise InvalidInputError(
                f"ToolDispatcher: the run {self.run!r} of the journal began with other user messages, and its recorded "
                "answers are to them. Take it up with the same prompt, or start a run of another name."
            )

    def draw(self, key: str) -> Place:
        """The place of a key, drawn now; one that was not used yet is given again.

        Raises:
            InvalidInputError: It was used: the dispatcher runs something for the second time.
        """
        if key in self._used:
            raise InvalidInputError(
                f"ToolDispatcher: the journal of run {self.run!r} has used {key!r} in this attempt. A journal serves "
                "one stream of one run, and each pause of it is resumed once. Open a journal for each run."
            )
        place = self._free.get(key)
        if place is None:
            place = self._free[key] = self._journal.step(key)
        drawn = place

        def once(work: Work) -> Awaitable[bytes]:
            self._used.add(key)
            self._free.pop(key, None)
            return drawn(work)

        return once

    async def end(self) -> None:
        """Records that the run is over."""

        async def work() -> bytes:
            return b"{}"

        await self.draw("end")(work)

    def read(self, kind: type[Any], raw: bytes) -> Any:
        """What a record says.

        Raises:
            InvalidInputError: It is not what stands at this place in this version of promptport.
        """
        return self.told(lambda: msgspec.json.decode(raw, type=kind))

    def told(self, reading: Callable[[], _Said]) -> _Said:
        """What a piece of a record says; see `read`."""
        try:
            return reading()
        except (ValueError, TypeError, InvalidInputError) as error:
            raise InvalidInputError(
                f"journal: a record of run {self.run!r} cannot be read: {error}. Take the run up with the version of "
                "promptport, and the program, that began it."
            ) from error
