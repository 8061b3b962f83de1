"""Sequences of frames that a run may have, and the rules that every stream of UI messages keeps."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from promptport.dispatch import (
    ApprovalNeeded,
    DispatchFrame,
    StepEnd,
    StepReset,
    ToolProgress,
    ToolResult,
    ToolsPending,
    ToolStarted,
)
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    Restarted,
    ToolCall,
    ToolCallDelta,
    Usage,
)

__all__ = ["SECRET", "chunks_of", "frame_sequences"]

SECRET = "sk-live-0123456789"
"""What stands in errors of providers and tools, and must be in no stream."""

_TEXTS = st.text(min_size=1, max_size=6)
_STEP_END = End(FinishReason.TOOL_CALLS, "tool_calls", Usage(1, 2), "m", "r")


def _call(draw: Any, number: int) -> tuple[list[DispatchFrame], ToolCall | InvalidToolCall]:
    call_id, name = f"call-{number}", draw(st.sampled_from(["search", "book", "x"]))
    valid = draw(st.booleans())
    spaced = "{\n  %s: %s\n}" if draw(st.booleans()) else "{%s:%s}"
    text = spaced % (json.dumps(draw(_TEXTS)), json.dumps(draw(_TEXTS))) if valid else '{"a":'
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    deltas: list[DispatchFrame] = [ToolCallDelta(call_id, name, piece) for piece in pieces]
    whole: ToolCall | InvalidToolCall = (
        ToolCall(call_id, name, text) if valid else InvalidToolCall(call_id, name, text, "broken")
    )
    return deltas, whole


@st.composite
def frame_sequences(draw: Any) -> list[DispatchFrame]:  # noqa: PLR0912
    """The frames of a run of one or more steps, with each kind of frame and of end."""
    frames: list[DispatchFrame] = []
    number = 0
    steps = draw(st.integers(1, 3))
    for step in range(steps):
        open_calls: list[ToolCall | InvalidToolCall] = []
        for _ in range(draw(st.integers(0, 6))):
            kind = draw(
                st.sampled_from(["text", "text", "reasoning", "call", "parallel", "citation", "item", "result"])
            )
            if kind == "text":
                frames.append(Append(draw(_TEXTS)))
            elif kind == "reasoning":
                texts = draw(st.lists(_TEXTS, max_size=2))
                frames += [ReasoningAppend(text) for text in texts]
                frames.append(Reasoning("".join(texts), draw(st.sampled_from([None, {"signature": "s"}]))))
            elif kind in ("call", "parallel"):
                deltas, whole = _call(draw, number)
                number += 1
                if kind == "parallel":
                    deltas.insert(draw(st.integers(0, len(deltas))), Append("text goes on"))
                frames += [*deltas, whole]
                open_calls.append(whole)
            elif kind == "citation":
                frames.append(Citation(draw(st.sampled_from([None, "https://example.com"])), "A title"))
            elif kind == "item":
                frames.append(ProviderItem("web_search", {"query": "q"}))
            elif open_calls:
                frames += _outcome(draw, open_calls.pop())
        last = step == steps - 1
        if last and draw(st.booleans()) and (waiting := [one for one in open_calls if isinstance(one, ToolCall)]):
            for one in open_calls:
                if isinstance(one, InvalidToolCall):
                    frames += _outcome(draw, one)
            kind_of_pause = draw(st.sampled_from([ApprovalNeeded, ToolsPending]))
            return [*frames, kind_of_pause(tuple(waiting), Usage(3, 4))]
        while open_calls:
            frames += _outcome(draw, open_calls.pop())
        if last:
            reason = draw(st.sampled_from(list(FinishReason)))
            frames.append(End(reason, None, Usage(5, 6), draw(st.sampled_from([None, "m"]))))
        else:
            frames.append(StepEnd(step, _STEP_END))
        if draw(st.integers(0, 9)) == 0:
            reset = StepReset(step) if draw(st.booleans()) else Restarted("p/m", "IncompleteStreamError")
            frames.insert(max(0, len(frames) - 1), reset)
    return frames


def _outcome(draw: Any, call: ToolCall | InvalidToolCall) -> list[DispatchFrame]:
    if isinstance(call, InvalidToolCall):
        return [ToolResult(call.id, call.name, error="broken")]
    outcome = draw(
        st.sampled_from(
            [
                ToolResult(call.id, call.name, "fine"),
                ToolResult(call.id, call.name, '{"a":1}', json=True),
                ToolResult(call.id, call.name, error=f"it failed with {SECRET}"),
                ToolResult(call.id, call.name, error="not today", denied=True),
            ]
        )
    )
    progress = [ToolProgress(call.id, value) for value in draw(st.sampled_from([[], [{"done": 1}, None]]))]
    return [ToolStarted(call.id, call.name), *progress, outcome]


def chunks_of(data: bytes) -> list[Any]:
    """The chunks, after a check of how they are written; the last is "[DONE]" where it came."""
    chunks: list[Any] = []
    for event in data.decode().split("\n\n"):
        if event:
            assert event.startswith("data: "), event
            assert not {"\n", "\r"} & set(event), event
            text = event.removeprefix("data: ")
            chunks.append(text if text == "[DONE]" else json.loads(text))
    return chunks
