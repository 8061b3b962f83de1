"""promptport for Anthropic: the provider ``anthropic``, over the Messages API."""

from __future__ import annotations

from typing import Any

from promptport.provider import LLMClient

__all__ = ["client"]


def client(**options: Any) -> LLMClient:
    """The Messages API: models named ``anthropic/…``; options as in `_client.AnthropicClient`.

    Raises:
        ConfigurationError: no key, an unusable key or URL.
    """
    from promptport_anthropic._client import AnthropicClient  # noqa: PLC0415 - listing providers imports none

    return AnthropicClient(**options)
