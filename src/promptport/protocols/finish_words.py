"""The words by which servers of Chat Completions say why an answer ended. Pure.

Rule: a word is known in any case, and with the prefix that Google's proxies put before it. A word that is not here
ends an answer like any other: the calls that are open then are complete.

Sources: the references of OpenAI, DeepSeek, Mistral, Z.ai, Together and MiniMax; Gemini's and Anthropic's words, which
routers pass on.
"""

from __future__ import annotations

from promptport.frames import FinishReason

__all__ = ["is_cut", "reason_of"]

_WORDS: dict[FinishReason, str] = {
    FinishReason.STOP: "stop eos eos_token stop_token end_turn stop_sequence complete",
    FinishReason.PAUSED: "pause_turn",
    FinishReason.LENGTH: "length max_tokens model_length max_output_tokens max_completion_tokens max_length"
    " model_context_window_exceeded context_length_exceeded context_length max_context_length length_limit incomplete",
    FinishReason.CONTENT_FILTER: "content_filter content_filtered content-filter sensitive safety recitation language"
    " blocklist prohibited_content spii refusal guardrail_intervened model_armor image_safety",
}
_BROKEN = (
    "abort aborted cancel cancelled canceled timeout failed failure insufficient_system_resource network_error"
    " no_kv_space engine_overloaded malformed_function_call malformed_tool_use malformed_response"
)
_REASONS = {word: reason for reason, words in _WORDS.items() for word in words.split()}
_WHOLE = (FinishReason.STOP, FinishReason.PAUSED)
_CUT = frozenset([*_BROKEN.split(), *[word for word, reason in _REASONS.items() if reason not in _WHOLE]])


def _plain(word: str | None) -> str:
    return (word or "").lower().removeprefix("finish_reason_")


def reason_of(word: str | None) -> FinishReason:
    """What a server's word means; `FinishReason.OTHER` for one that is not listed."""
    return _REASONS.get(_plain(word), FinishReason.OTHER)


def is_cut(word: str | None) -> bool:
    """Whether the word says that the answer did not end by itself: the calls that are open then are unfinished."""
    return _plain(word) in _CUT
