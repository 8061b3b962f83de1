"""What several front ends are shown in the same way: tools' outputs, usage, ids of approvals, headers. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from promptport.dispatch import DispatchFrame, PausedRun, StepEnd, ToolResult
from promptport.frames import End, FinishReason, Usage
from promptport.messages import AssistantMessage, Message, TextPart, ToolResultMessage, UserMessage, UserPart

__all__ = ["EVENT_STREAM_HEADERS", "approval_id", "event_data", "frames_before", "output_json", "usage_json"]

_encode = msgspec.json.Encoder().encode

EVENT_STREAM_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    "connection": "keep-alive",
    "x-accel-buffering": "no",
}
"""The headers of a response that is read as it comes, also behind a proxy."""


def usage_json(usage: Usage) -> dict[str, int]:
    """The counts that the provider gave, by their names in JavaScript."""
    counts = {_camel(name): getattr(usage, name) for name in Usage.__struct_fields__}
    return {name: count for name, count in counts.items() if count is not None}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def event_data(kind: str, **fields: Any) -> bytes:
    """A server-sent event of one JSON object on one line, which begins with its type."""
    return b"data: %b\n\n" % _encode({"type": kind, **fields})


def approval_id(run: str, call: str) -> str:
    """The id under which a person answers for a call: bound to the run that asks, and to the call.

    Args:
        run: The run's name.
        call: The id of the tool call.
    """
    return f"approval-{hashlib.sha256(f'{len(run)}:{run}:{call}'.encode()).hexdigest()[:32]}"


def output_json(result: ToolResult) -> Any:
    """A result's output as JSON for a front end: the tool's own value, its text, or a list of parts."""
    if isinstance(result.output, str):
        return msgspec.json.decode(result.output) if result.json else result.output
    return [_part_json(part) for part in result.output]


def _part_json(part: UserPart) -> dict[str, str]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    media = part.media_type or "application/octet-stream"
    url = part.url
    if url is None:
        url = f"data:{media};base64,{base64.b64encode(part.data or b'').decode()}"
    return {"type": "file", "mediaType": media, "url": url}


def frames_before(paused: PausedRun) -> list[DispatchFrame]:
    """The frames of the turn that paused, up to the pause: for a viewer who reads the turn from its beginning."""
    messages: tuple[Message, ...] = paused.prompt.messages
    begin = max([index for index, message in enumerate(messages) if isinstance(message, UserMessage)], default=-1) + 1
    frames: list[DispatchFrame] = []
    over = End(FinishReason.TOOL_CALLS)
    step = 0
    for message in messages[begin:]:
        if isinstance(message, AssistantMessage):
            if frames:
                frames.append(StepEnd(step, over))
                step += 1
            frames += _frames(message)
        elif isinstance(message, ToolResultMessage):
            frames.append(ToolResult(message.call_id, message.name, message.output, message.error))
    if frames:
        frames.append(StepEnd(step, over))
    return [*frames, *_frames(paused.message), *paused.results]


def _frames(message: AssistantMessage) -> list[DispatchFrame]:
    complete = msgspec.structs.replace(message, finish_reason=FinishReason.TOOL_CALLS, unfinished=())
    return list(complete.frames()[:-1])
