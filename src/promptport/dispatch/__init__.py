"""The tool loop: model → calls → results → model, with the tools running while the text flows.

What enters knows that tools run. Imports: frames, messages, models, streams and `promptport.tools`; no client, no
provider.
"""

from promptport.dispatch.dispatcher import DispatchStream, ToolDispatcher
from promptport.dispatch.step_loop import StepChange, StepState, StreamingExecutor
from promptport.dispatch.tool_frames import (
    ApprovalNeeded,
    DispatchFrame,
    PausedRun,
    StepEnd,
    ToolProgress,
    ToolResult,
    ToolStarted,
    decode_dispatch_frame,
    encode_dispatch_frame,
)
from promptport.dispatch.tool_runner import Approve, ToolOutcome

__all__ = [
    "ApprovalNeeded",
    "Approve",
    "DispatchFrame",
    "DispatchStream",
    "PausedRun",
    "StepChange",
    "StepEnd",
    "StepState",
    "StreamingExecutor",
    "ToolDispatcher",
    "ToolOutcome",
    "ToolProgress",
    "ToolResult",
    "ToolStarted",
    "decode_dispatch_frame",
    "encode_dispatch_frame",
]
