"""What the tool loop says besides the model's frames: `DispatchFrame`, and `PausedRun`, a loop that waits for a person.

Rule: as in `promptport.frames`; all of it goes to JSON and back without loss.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

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
)
from promptport.json_values import read_value
from promptport.messages import AssistantMessage, Prompt, ToolResultMessage, UserPart
from promptport.models import LLModel

__all__ = [
    "ApprovalNeeded",
    "DispatchFrame",
    "PausedRun",
    "StepEnd",
    "ToolProgress",
    "ToolResult",
    "ToolStarted",
    "decode_dispatch_frame",
    "encode_dispatch_frame",
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
    """An async-generator tool yielded something on its way.

    Attributes:
        id: the call's id.
        data: what it yielded, as JSON types.
    """

    id: str
    data: Any


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result", omit_defaults=True):
    """A call's one outcome, as the model is told of it.

    Attributes:
        id: the call's id.
        name: the tool's name, as the model wrote it.
        output: text, or parts.
        error: ``None``, or what went wrong.
    """

    id: str
    name: str
    output: str | tuple[UserPart, ...] = ""
    error: str | None = None

    def message(self) -> ToolResultMessage:
        """The message that gives it to the model."""
        return ToolResultMessage(self.id, self.name, self.output, self.error)


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
    | ApprovalNeeded
    | End
)
"""What a `DispatchStream` yields: the model's frames, and the loop's."""


class PausedRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """A loop that waits for decisions; ``ToolDispatcher.resume`` goes on with it, also in another process.

    It holds the whole conversation, and what it says is trusted: keep it on the server, and show a person ``pending``.

    Attributes:
        prompt: the conversation before the answer that wants these calls.
        message: that answer.
        end: how it ended.
        model: which model is asked.
        pending: the calls to decide, in order.
        results: what the answer's other calls gave, in order.
        step: the index of the request, from 0.
        usage: the tokens of all requests so far.
    """

    prompt: Prompt
    message: AssistantMessage
    end: End
    model: LLModel
    pending: tuple[ToolCall, ...]
    results: tuple[ToolResult, ...] = ()
    step: int = 0
    usage: Usage = Usage()

    def to_json(self) -> bytes:
        """This as JSON (UTF-8)."""
        return _encoder.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> PausedRun:
        """What `to_json` wrote.

        Raises:
            InvalidInputError: not JSON, or not a paused run.
        """
        return read_value(_paused_decoder.decode, data, "a paused run")


_encoder = msgspec.json.Encoder()
_frame_decoder: msgspec.json.Decoder[DispatchFrame] = msgspec.json.Decoder(DispatchFrame)
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
