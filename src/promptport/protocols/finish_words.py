"""The words by which servers of Chat Completions say why an answer ended. Pure."""

from __future__ import annotations

from promptport.frames import FinishReason

__all__ = ["CUT_WORDS", "REASONS"]

REASONS = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "sensitive": FinishReason.CONTENT_FILTER,
}

CUT_WORDS = frozenset(
    [word for word, reason in REASONS.items() if reason in (FinishReason.LENGTH, FinishReason.CONTENT_FILTER)]
    + ["abort", "insufficient_system_resource", "network_error"]
)
"""Words that say that the answer did not end by itself: the calls that are open then are unfinished."""
