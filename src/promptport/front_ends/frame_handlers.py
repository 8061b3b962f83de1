"""`frame_handlers`: which method of an encoder takes which frame. Pure.

Rule: an encoder that tells of the loop's frames has one method for each kind, under one name in all encoders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from promptport.dispatch import (
    ApprovalNeeded,
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
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    Restarted,
    ToolCall,
    ToolCallDelta,
)

__all__ = ["FrameHandler", "frame_handlers"]

FrameHandler = Callable[[Any, list[bytes]], None]
"""Takes a frame, and adds what is to be sent."""

_METHODS: dict[type, str] = {
    Append: "_on_text",
    ReasoningAppend: "_on_thought",
    Reasoning: "_on_reasoning",
    ToolCallDelta: "_on_delta",
    ToolCall: "_on_call",
    InvalidToolCall: "_on_invalid",
    Citation: "_on_citation",
    ProviderItem: "_on_item",
    Restarted: "_on_reset",
    StepReset: "_on_reset",
    ToolStarted: "_on_started",
    ToolProgress: "_on_progress",
    ToolResult: "_on_result",
    StepEnd: "_on_step_end",
    ApprovalNeeded: "_on_approval",
    ToolsPending: "_on_pending",
    End: "_on_end",
}


def frame_handlers(encoder: object) -> dict[type, FrameHandler]:
    """The methods of an encoder, by the frames that they take.

    Args:
        encoder: Has a method for each name above.
    """
    return {kind: getattr(encoder, name) for kind, name in _METHODS.items()}
