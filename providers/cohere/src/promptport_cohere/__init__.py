"""promptport for Cohere: the provider ``cohere``, over the chat API, version 2."""

from __future__ import annotations

from typing import Any

from promptport.provider import LLMClient

__all__ = ["client"]


def client(**options: Any) -> LLMClient:
    """Create a client of Cohere, for models named ``cohere/…``.

    Args:
        options: See `promptport_cohere._client.CohereClient`.

    Returns:
        The client.

    Raises:
        ConfigurationError: No key, or a key, URL or option that cannot be used.
    """
    from promptport_cohere._client import CohereClient  # noqa: PLC0415 - listing providers imports none

    return CohereClient(**options)
