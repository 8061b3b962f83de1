"""Our providers' own conformance kits: how each makes a client, and writes down what a model says."""

from __future__ import annotations

from typing import Any

import pytest

from promptport.stream import Timeouts
from promptport.testing import ProviderContract, WireResponse

__all__ = ["LONG", "kit", "response"]

LONG = Timeouts(first_frame=30, idle=30, total=60, connect=10)


_KITS = {
    "anthropic": "promptport_anthropic.conformance:MessagesContract",
    "bedrock": "promptport_bedrock.conformance:ConverseContract",
    "cohere": "promptport_cohere.conformance:ChatContract",
    "google": "promptport_google.conformance:GeminiContract",
    "google-vertex": "promptport_google.conformance:VertexContract",
    "local": "promptport_local.conformance:LlamaServerContract",
    "ollama": "promptport_ollama.conformance:ChatContract",
    "openai": "promptport_openai.conformance:ResponsesContract",
    "openai-chat": "promptport_openai.conformance:OpenAIChatContract",
}


def kit(provider: str) -> ProviderContract:
    """The kit of this provider; the test is skipped where it is not installed."""
    module, _, name = _KITS[provider].partition(":")
    contract: type[ProviderContract] = getattr(pytest.importorskip(module), name)
    return contract()


def response(provider: ProviderContract, body: bytes | list[bytes], **options: Any) -> WireResponse:
    """An answer with this body, one chunk for each of its pieces."""
    kind = "application/x-ndjson" if provider.mutators == "ollama-chat" else "text/event-stream"
    return WireResponse(body, content_type=kind, **options)
