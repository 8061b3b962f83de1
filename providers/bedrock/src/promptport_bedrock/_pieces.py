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
    Usage,
    count_in,
    dict_in,
    dicts_in,
    reported_error,
    text_in,
)

__all__ = ["MALFORMED", "citation_of", "joined", "reported", "usage_of"]

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they must be."""


def joined(blobs: Sequence[str]) -> str:
    """Pieces of base64, each with an end of its own, as one."""
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, blobs))).decode()
    except binascii.Error:
        raise ProtocolError("redactedContent is not base64") from None


def citation_of(data: dict[str, Any]) -> Citation:
    """One citation of a text."""
    url = text_in(dict_in(dict_in(data.get("location")).get("web")).get("url"))
    cited = "".join([text_in(entry.get("text")) or "" for entry in dicts_in(data.get("sourceContent"))])
    return Citation(url or None, text_in(data.get("title")) or None, cited or None, data)


def usage_of(counts: dict[str, Any]) -> Usage:
    """Bedrock counts what was read from the cache and written to it apart from ``inputTokens``."""
    read, written = count_in(counts.get("cacheReadInputTokens")), count_in(counts.get("cacheWriteInputTokens"))
    given = count_in(counts.get("inputTokens"))
    return Usage(
        input_tokens=None if given is None else given + (read or 0) + (written or 0),
        output_tokens=count_in(counts.get("outputTokens")),
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
    return reported_error(body, code)
