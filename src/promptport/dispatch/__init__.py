"""The tool loop: model → calls → results → model, with the tools running while the text flows.

What enters knows that tools run. Imports: frames, messages, models, streams and `promptport.tools`; no client, no
provider.
"""

from promptport.dispatch.dispatch_stream import DispatchStream, RunOutcome
from promptport.dispatch.dispatcher import ToolDispatcher
from promptport.dispatch.entries import Approve, ToolOutcome
from promptport.dispatch.given_answers import checked_answers
from promptport.dispatch.journaling import CallContext, Journal, current_call
from promptport.dispatch.run_ties import enclosing_usage, within_budgets
from promptport.dispatch.settings import StepChange, StepState, StreamingExecutor
from promptport.dispatch.tool_frames import (
    ApprovalNeeded,
    DispatchFrame,
    MemoryPauseStore,
    PausedRun,
    PauseStore,
    StepEnd,
    StepReset,
    ToolProgress,
    ToolResult,
    ToolsPending,
    ToolStarted,
    decode_dispatch_frame,
    encode_dispatch_frame,
)
from promptport.dispatch.tool_view import progress

__all__ = [
    "ApprovalNeeded",
    "Approve",
    "CallContext",
    "DispatchFrame",
    "DispatchStream",
    "Journal",
    "MemoryPauseStore",
    "PauseStore",
    "PausedRun",
    "RunOutcome",
    "StepChange",
    "StepEnd",
    "StepReset",
    "StepState",
    "StreamingExecutor",
    "ToolDispatcher",
    "ToolOutcome",
    "ToolProgress",
    "ToolResult",
    "ToolStarted",
    "ToolsPending",
    "checked_answers",
    "current_call",
    "decode_dispatch_frame",
    "enclosing_usage",
    "encode_dispatch_frame",
    "progress",
    "within_budgets",
]
