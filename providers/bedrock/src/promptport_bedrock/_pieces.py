"""What stands in Bedrock's events and whole answers alike: reasoning, citations, counts, errors. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from promptport.provider import (
    Citation,
    EventStreamHeaders,
    ProtocolError,
    ProviderStreamError,
    Reasoning,
    Usage,
    error_details,
)

__all__ = ["MALFORMED", "citation_of", "error_of", "reasoning_of", "reported", "text_of", "usage_of"]

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they must be."""


def text_of(data: dict[str, Any], name: str) -> str:
    """The text under a name; an empty one where it is none."""
    value = data.get(name)
    return value if isinstance(value, str) else ""


def reasoning_of(texts: Sequence[str], signature: Sequence[str], blobs: Sequence[str]) -> Reasoning:
    """A complete block of reasoning, with what goes back."""
    data: dict[str, Any] = {"type": "reasoningContent"}
    if signature:
        data["signature"] = "".join(signature)
    if blobs:
        data["redactedContent"] = blobs[0] if len(blobs) == 1 else _joined(blobs)
    return Reasoning("".join(texts), data)


def _joined(blobs: Sequence[str]) -> str:
    """Pieces of base64, each with an end of its own, as one."""
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, blobs))).decode()
    except binascii.Error:
        raise ProtocolError("redactedContent is not base64") from None


def citation_of(data: dict[str, Any]) -> Citation:
    """One citation of a text."""
    location = data.get("location")
    web = location.get("web") if isinstance(location, dict) else None
    url = text_of(web, "url") if isinstance(web, dict) else ""
    sources = data.get("sourceContent")
    cited = (
        [text_of(entry, "text") for entry in sources if isinstance(entry, dict)] if isinstance(sources, list) else []
    )
    return Citation(url or None, text_of(data, "title") or None, "".join(cited) or None, data)


def usage_of(counts: dict[str, Any]) -> Usage:
    """Bedrock counts what was read from the cache and written to it apart from ``inputTokens``."""
    numbers = {name: value for name, value in counts.items() if type(value) is int}
    read, written = numbers.get("cacheReadInputTokens"), numbers.get("cacheWriteInputTokens")
    given = numbers.get("inputTokens")
    return Usage(
        input_tokens=None if given is None else given + (read or 0) + (written or 0),
        output_tokens=numbers.get("outputTokens"),
        cached_input_tokens=read,
        cache_write_tokens=written,
    )


def reported(headers: EventStreamHeaders, payload: bytes) -> ProviderStreamError:
    """The error for one of the exceptions that come inside a stream: throttling, a failing model, a refused request."""
    code = str(headers.get(":exception-type") or headers.get(":error-code") or "") or None
    said = headers.get(":error-message")
    try:
        body: object = msgspec.json.decode(payload) if payload else said
    except MALFORMED:
        body = payload.decode(errors="replace")
    return error_of(body, code)


def error_of(body: object, code: str | None) -> ProviderStreamError:
    """The error for an error object."""
    words, found = error_details(body)
    return ProviderStreamError(words or "the provider reported an error without a word", code=code or found)
