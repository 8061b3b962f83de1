"""promptport for AWS Bedrock: the provider ``bedrock``, over Converse and ConverseStream."""

from __future__ import annotations

from typing import Any

from promptport.provider import LLMClient

__all__ = ["client"]


def client(**options: Any) -> LLMClient:
    """Make a client of Bedrock: models named ``bedrock/…``, with the options of `_client.BedrockClient`.

    Raises:
        ConfigurationError: No usable region, credentials, key or URL.
    """
    from promptport_bedrock._client import BedrockClient  # noqa: PLC0415 - listing providers imports none

    return BedrockClient(**options)
