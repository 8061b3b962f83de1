"""promptport for OpenAI: the provider ``openai`` (Responses) and ``openai-chat`` (Chat Completions, and its clones)."""

from __future__ import annotations

from typing import Any

from promptport.provider import LLMClient, TextCalls

__all__ = ["chat_client", "responses_client"]


def responses_client(**options: Any) -> LLMClient:
    """The Responses API: models named ``openai/…``; options as in `_client.OpenAIClient`.

    Raises:
        ConfigurationError: no key, an unusable key or URL.
    """
    from promptport_openai._apis import responses  # noqa: PLC0415 - listing providers imports none
    from promptport_openai._client import OpenAIClient  # noqa: PLC0415

    return OpenAIClient(responses, **options)


def chat_client(*, text_calls: TextCalls = "off", **options: Any) -> LLMClient:
    """Chat Completions: models named ``openai-chat/…``, at OpenAI or any compatible ``base_url``.

    Args:
        text_calls: Whether tool calls are also read out of the text: ``auto``, for a server that passes on what a
            self-hosted model writes, or ``off``.
        options: As in `_client.OpenAIClient`.

    Raises:
        ConfigurationError: no key, an unusable key or URL, or another ``text_calls``.
    """
    from promptport.provider import with_text_calls  # noqa: PLC0415
    from promptport_openai._apis import chat_completions  # noqa: PLC0415 - listing providers imports none
    from promptport_openai._client import OpenAIClient  # noqa: PLC0415

    return with_text_calls(OpenAIClient(chat_completions, **options), text_calls, provider="openai-chat")
