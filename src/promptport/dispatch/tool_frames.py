"""What the tool loop says besides the model's frames: `DispatchFrame`, and `PausedRun`, a loop that waits.

Rule: as in `promptport.frames`; all of it goes to JSON and back without loss.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Awaitable, Iterable
from typing import Any, Protocol, TypeAlias

import msgspec
from msgspec.structs import force_setattr

from promptport.checking import checked
from promptport.errors import InvalidInputError
from promptport.frames import (
    Append,
    Citation,
    End,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    Restarted,
    ToolCall,
    ToolCallDelta,
    Usage,
    parse_arguments,
)
from promptport.json_values import read_value
from promptport.messages import AssistantMessage, Prompt, ToolResultMessage, UserPart
from promptport.models import LLModel

__all__ = [
    "ApprovalNeeded",
    "DispatchFrame",
    "MemoryPauseStore",
    "PauseStore",
    "PausedRun",
    "StepEnd",
    "StepReset",
    "ToolProgress",
    "ToolResult",
    "ToolStarted",
    "ToolsPending",
    "call_key",
    "closed",
    "decode_dispatch_frame",
    "encode_dispatch_frame",
    "pause_frames",
]


class ToolStarted(msgspec.Struct, frozen=True, gc=False, tag="tool_started"):
    """The tool runs now.

    Attributes:
        id: the call's id.
        name: the tool's name.
    """

    id: str
    name: str


class ToolProgress(msgspec.Struct, frozen=True, gc=False, tag="tool_progress"):
    """A tool showed something on its way, by `progress` or as an async generator. Its ``repr`` shows no contents.

    Attributes:
        id: the call's id.
        data: what it showed, as JSON types.
    """

    id: str
    data: Any

    def __repr__(self) -> str:
        return f"ToolProgress(id={self.id!r}, data=<{type(self.data).__name__}>)"


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result", omit_defaults=True):
    """A call's one outcome, as the model is told of it. Its ``repr`` shows no contents.

    Results are equal if the model reads the same: ``denied`` and ``json`` are notes for those who show them.

    Attributes:
        id: the call's id.
        name: the tool's name, as the model wrote it.
        output: text, or parts.
        error: ``None``, or what went wrong.
        denied: a person did not allow the call; ``error`` is the reason.
        json: ``output`` is the JSON of what the tool returned, and not a text.
    """

    id: str
    name: str
    output: str | tuple[UserPart, ...] = ""
    error: str | None = None
    denied: bool = False
    json: bool = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ToolResult):
            return NotImplemented
        mine, others = (self.id, self.name, self.output, self.error), (other.id, other.name, other.output, other.error)
        return mine == others

    def __hash__(self) -> int:
        return hash((self.id, self.name, self.output, self.error))

    def __repr__(self) -> str:
        state = "denied" if self.denied else "failed" if self.error is not None else "finished"
        return f"ToolResult(id={self.id!r}, name={self.name!r}, {state})"

    def message(self) -> ToolResultMessage:
        """The message that gives it to the model."""
        return ToolResultMessage(self.id, self.name, self.output, self.error)


def call_key(call: ToolCall | InvalidToolCall) -> tuple[str, bytes]:
    """What identical calls have in common: the tool, and the arguments by value."""
    try:
        return call.name, msgspec.json.encode(parse_arguments(call.arguments), order="deterministic")
    except (ValueError, RecursionError):
        return call.name, call.arguments.encode("utf-8", "surrogatepass")


class StepReset(msgspec.Struct, frozen=True, gc=False, tag="step_reset"):
    """The answer of a step is asked anew: forget the frames of this step so far. A run that is taken up again says so.

    Attributes:
        index: which request, from 0.
    """

    index: int


class StepEnd(msgspec.Struct, frozen=True, gc=False, tag="step_end"):
    """One request is over and the next follows.

    Attributes:
        index: which request, from 0.
        end: how it ended, with its own usage.
    """

    index: int
    end: End


class ApprovalNeeded(msgspec.Struct, frozen=True, gc=False, tag="approval_needed"):
    """The loop waits for a person: the last frame, in place of `End`; ``DispatchStream.paused`` holds what resumes it.

    Attributes:
        calls: what is to be decided.
        usage: the tokens of all requests so far.
    """

    calls: tuple[ToolCall, ...]
    usage: Usage = Usage()

    def __repr__(self) -> str:
        return f"ApprovalNeeded({len(self.calls)} calls)"


class ToolsPending(msgspec.Struct, frozen=True, gc=False, tag="tools_pending"):
    """The front end is to run these calls: the last frame, instead of `End`.

    ``DispatchStream.paused`` holds what ``ToolDispatcher.resume(paused, results={id: …})`` needs.

    Attributes:
        calls: what is to be run.
        usage: the tokens of all requests so far.
    """

    calls: tuple[ToolCall, ...]
    usage: Usage = Usage()

    def __repr__(self) -> str:
        return f"ToolsPending({len(self.calls)} calls)"


# Written out, because a union of an alias and more does not type-check to exhaustion everywhere.
DispatchFrame: TypeAlias = (
    Append
    | ReasoningAppend
    | Reasoning
    | ToolCallDelta
    | ToolCall
    | InvalidToolCall
    | Citation
    | ProviderItem
    | Restarted
    | ToolStarted
    | ToolProgress
    | ToolResult
    | StepEnd
    | StepReset
    | ApprovalNeeded
    | ToolsPending
    | End
)
"""What a `DispatchStream` yields: the model's frames, and the loop's."""


class PausedRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """A loop that waits for decisions, or for results; ``ToolDispatcher.resume`` goes on with it, once.

    It goes to JSON and back, so that another process can resume it. It holds the whole conversation: keep it on the
    server, and show a person ``pending``. Its ``repr`` shows no contents. An edit is refused, of the id too; but no
    secret is in the id, so somebody who knows how it is made can make another.

    Attributes:
        prompt: the conversation before the answer that wants these calls.
        message: that answer.
        end: how it ended.
        model: which model is asked.
        pending: the calls that wait, in order: for a decision, or for the front end's result.
        results: what the answer's other calls gave, in order.
        step: the index of the request, from 0.
        usage: the tokens of all requests so far.
        client_calls: the ids of those pending calls that the front end runs.
        id: what this pause is known by; made when the run pauses, and bound to all else.
        run: the run of the journal that it belongs to; blank without a journal.
    """

    prompt: Prompt
    message: AssistantMessage
    end: End
    model: LLModel
    pending: tuple[ToolCall, ...]
    results: tuple[ToolResult, ...] = ()
    step: int = 0
    usage: Usage = Usage()
    client_calls: tuple[str, ...] = ()
    id: str = ""
    run: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            made = secrets.token_hex(16)
            force_setattr(self, "id", f"{made}.{self._digest(made)}")

    def __repr__(self) -> str:
        return f"PausedRun(id={self.id!r}, step={self.step}, {len(self.pending)} pending)"

    def answered(self, error: str) -> Prompt:
        """The conversation without waiting any longer: each pending call gets this error as its result.

        Args:
            error: What the model reads as the result of each pending call.
        """
        return closed(self.prompt, self.message, self.results, error)

    def check(self) -> None:
        """Refuses what was changed since the run paused, and what no run can have left.

        Raises:
            InvalidInputError: it was, or its calls and its answer do not agree.
        """
        calls = {part.id: part for part in self.message.parts if isinstance(part, ToolCall | InvalidToolCall)}
        waiting, done = [call.id for call in self.pending], [result.id for result in self.results]
        problem = None
        if len(calls) != sum([isinstance(part, ToolCall | InvalidToolCall) for part in self.message.parts]):
            problem = "two calls of its answer have the same id"
        elif len({*waiting, *done}) != len(waiting) + len(done):
            problem = "a call is listed twice"
        elif not {*waiting, *done} <= set(calls) or any(calls[call.id] != call for call in self.pending):
            problem = "a pending call, or a result, is not one of its answer's calls"
        elif not {call_key(calls[one]) for one in set(calls) - {*waiting, *done}} <= {*map(call_key, self.pending)}:
            problem = "a call of its answer is neither pending nor answered"
        elif not set(self.client_calls) <= set(waiting):
            problem = "a call for the front end is not pending"
        elif self.id.rpartition(".")[2] != self._digest(self.id.rpartition(".")[0]):
            problem = "it was changed after the run paused"
        if problem is not None:
            raise InvalidInputError(f"resume(): the paused run is not usable: {problem}. Pass it as it was saved.")

    def _digest(self, made: str) -> str:
        """Binds the random part of the id to the rest, so that no pause gets another id."""
        import hashlib  # noqa: PLC0415 - for pauses alone

        fields = [made, *(getattr(self, name) for name in self.__struct_fields__ if name not in ("id", "run"))]
        fields += [self.run] if self.run else []
        return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()[:32]

    def to_json(self) -> bytes:
        """This as JSON (UTF-8)."""
        return _encoder.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> PausedRun:
        """What `to_json` wrote.

        Raises:
            InvalidInputError: not JSON, or not a paused run; one without its id, too.
        """
        if not read_value(_saved_decoder.decode, data, "a paused run").id:
            raise InvalidInputError("not a paused run: its id is blank. Pass it as it was saved.")
        return read_value(_paused_decoder.decode, data, "a paused run")


def pause_frames(paused: PausedRun) -> tuple[DispatchFrame, ...]:
    """The last frames of a stream that pauses: what a person decides, and what the front end runs."""
    outside = tuple([call for call in paused.pending if call.id in paused.client_calls])
    asked = tuple([call for call in paused.pending if call.id not in paused.client_calls])
    frames: list[DispatchFrame] = []
    if asked:
        frames.append(ApprovalNeeded(asked, paused.usage))
    if outside:
        frames.append(ToolsPending(outside, paused.usage))
    return tuple(frames)


def closed(prompt: Prompt, message: AssistantMessage, results: Iterable[ToolResult], error: str) -> Prompt:
    """The prompt with a message whose calls are answered: by these results, the others by the error."""
    calls = [part.id for part in message.parts if isinstance(part, ToolCall | InvalidToolCall)]
    if not calls or len(set(calls)) < len(calls) or not prompt.call_ids().isdisjoint(calls):
        return prompt  # nothing to answer, or nothing that can be: two calls have one id
    known = [result.message() for result in results if result.id in calls]
    return prompt.add(message, *known).answered(error)


class PauseStore(Protocol):
    """Remembers which pauses were resumed, so that each is resumed once; `MemoryPauseStore` is the default.

    A store that several processes share, such as a database, makes this hold for all of them.
    """

    def take(self, id: str) -> bool | Awaitable[bool]:
        """Take a pause: ``True`` for the first who asks, ``False`` for all others, also at the same moment.

        Args:
            id: ``PausedRun.id``.
        """
        ...


class MemoryPauseStore:
    """A `PauseStore` in memory, for one process. It remembers the last 100,000 pauses."""

    def __init__(self) -> None:
        self._taken: dict[str, None] = {}
        self._lock = threading.Lock()

    @checked
    def take(self, id: str) -> bool:
        """See `PauseStore.take`."""
        with self._lock:
            if id in self._taken:
                return False
            self._taken[id] = None
            if len(self._taken) > _REMEMBERED:
                del self._taken[next(iter(self._taken))]
            return True


_REMEMBERED = 100_000


class _Saved(msgspec.Struct):
    """A `PausedRun` that was saved has its id."""

    id: str


_encoder = msgspec.json.Encoder()
_frame_decoder: msgspec.json.Decoder[DispatchFrame] = msgspec.json.Decoder(DispatchFrame)
_saved_decoder = msgspec.json.Decoder(_Saved)
_paused_decoder: msgspec.json.Decoder[PausedRun] = msgspec.json.Decoder(PausedRun)


def encode_dispatch_frame(frame: DispatchFrame) -> bytes:
    """The frame as JSON (UTF-8)."""
    return _encoder.encode(frame)


def decode_dispatch_frame(data: bytes | str) -> DispatchFrame:
    """The frame that `encode_dispatch_frame` wrote.

    Raises:
        InvalidInputError: not JSON, or not a frame.
    """
    return read_value(_frame_decoder.decode, data, "a frame")
