"""Anthropic's token counts. Pure."""

from __future__ import annotations

from promptport.provider import Usage

__all__ = ["usage_of"]


def usage_of(counts: dict[str, int]) -> Usage:
    """Anthropic counts what was read from the cache and written to it apart from ``input_tokens``."""
    read = counts.get("cache_read_input_tokens")
    written = counts.get("cache_creation_input_tokens")
    given = counts.get("input_tokens")
    return Usage(
        input_tokens=None if given is None else given + (read or 0) + (written or 0),
        output_tokens=counts.get("output_tokens"),
        cached_input_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=counts.get("thinking_tokens"),
    )
