"""What stands in Bedrock's events and whole answers alike: reasoning, citations, counts. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from promptport.provider import (
    Citation,
    ProtocolError,
    Usage,
    count_in,
    dict_in,
    dicts_in,
    text_in,
)

__all__ = ["citation_of", "joined", "usage_of"]


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
