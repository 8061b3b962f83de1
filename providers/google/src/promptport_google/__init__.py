"""promptport for Gemini: the providers ``google`` (the Developer API, by key) and ``google-vertex`` (Vertex AI)."""

from __future__ import annotations

from typing import Any

from promptport.provider import LLMClient

__all__ = ["client", "vertex_client"]


def client(**options: Any) -> LLMClient:
    """Create a client of the Gemini Developer API, for models named ``google/…``.

    Args:
        options: See `promptport_google._client.GeminiClient`.

    Returns:
        The client.

    Raises:
        ConfigurationError: No key, or a key, URL or option that cannot be used.
    """
    from promptport_google._client import GeminiClient  # noqa: PLC0415 - listing providers imports none

    return GeminiClient(**options)


def vertex_client(**options: Any) -> LLMClient:
    """Create a client of Gemini on Vertex AI, for models named ``google-vertex/…``.

    Args:
        options: See `promptport_google._client.VertexClient`.

    Returns:
        The client.

    Raises:
        ConfigurationError: Options that exclude each other, or a key or URL that cannot be used.
    """
    from promptport_google._client import VertexClient  # noqa: PLC0415 - listing providers imports none

    return VertexClient(**options)
