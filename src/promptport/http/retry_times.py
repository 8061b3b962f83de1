"""When a server that refused a request may be asked again: what its headers and its error object say. Pure.

Rule: an explicit ``retry-after`` goes before all else; then what the error says; then, of a spent rate limit, when it
is filled again. Nothing is read out of the words of a message, and a time that has passed already says nothing.

Sources: RFC 9110, 10.2.3; OpenAI's, Anthropic's and Groq's pages on rate limits (``x-ratelimit-reset-*`` as ``6m0s``,
``anthropic-ratelimit-*-reset`` as a time); google.rpc.RetryInfo; OpenRouter's ``metadata.headers``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any

__all__ = ["retry_seconds"]

_MOST = 1e9  # seconds; what is more is a time, and a time in milliseconds is more than a thousand times that
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS = (86_400, 3_600, 60, 1, 0.001)
_RESET = re.compile(r"(?:(?:x|anthropic)-)?ratelimit-(?:(.+)-)?reset(?:-(.+))?")
_FIELDS = ("retry_after", "retryAfter", "retry_after_seconds", "retry-after")
_DURATIONS = ("retryDelay", "retry_delay")  # google.rpc.RetryInfo: always with its unit
_MILLISECONDS = ("retry_after_ms", "retryAfterMs", "retry-after-ms")
_DEPTH = 4


def retry_seconds(headers: Mapping[str, str], body: object, *, limited: bool) -> float | None:
    """Seconds from now; ``None`` where nothing says it.

    Args:
        headers: Of the response, with names in lower case.
        body: The decoded error.
        limited: The server refused because of a rate limit, so that its ``reset`` headers tell when it is filled.
    """
    told = _of_headers(headers)
    if told is None:
        told = next(_of_body(body, headers, 0), None)
    return _of_limits(headers) if told is None and limited else told


def _of_headers(headers: Mapping[str, str]) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "").strip()
    return _seconds(value, headers) if value else None


def _of_body(body: object, headers: Mapping[str, str], depth: int) -> Iterator[float]:
    """What an error object says, its own word before that of what it holds."""
    if depth > _DEPTH:
        return
    if isinstance(body, list):
        for entry in body[:8]:
            yield from _of_body(entry, headers, depth + 1)
    if not isinstance(body, dict):
        return
    yield from _own_words(body, headers)
    for name in ("error", "details", "metadata"):
        yield from _of_body(body.get(name), headers, depth + 1)
    passed_on = body.get("headers")  # of the server behind a router
    if isinstance(passed_on, dict):
        clock = {"date": headers.get("date", "")}
        lowered = clock | {str(name).lower(): str(value) for name, value in passed_on.items()}
        found = _of_headers(lowered)
        found = _of_limits(lowered) if found is None else found
        if found is not None:
            yield found


def _own_words(body: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[float]:
    for name in _MILLISECONDS:
        found = _number(body.get(name))
        if found is not None:
            yield found / 1000
    for name in _FIELDS:
        seconds = _seconds(body.get(name), headers)
        if seconds is not None:
            yield seconds
    for name in _DURATIONS:
        told = body.get(name)
        seconds = _seconds(told, headers) if isinstance(told, str) and told.endswith("s") else None
        if seconds is not None:
            yield seconds


def _of_limits(headers: Mapping[str, str]) -> float | None:
    """The longest wait for a limit that is spent, or, where none says how much of it remains, for any."""
    waits: list[float] = []
    spent: list[float] = []
    for name, value in headers.items():
        found = _RESET.fullmatch(name)
        seconds = _seconds(value.strip(), headers) if found else None
        if seconds:
            waits.append(seconds)
            if _number(headers.get(name.replace("reset", "remaining"))) == 0:
                spent.append(seconds)
    return max(spent or waits, default=None)


def _seconds(value: Any, headers: Mapping[str, str]) -> float | None:
    """Seconds from now: of so many, of a time since 1970 in seconds or milliseconds, of ``1m30s``, of a date."""
    number = _number(value)
    if number is not None:
        if number < _MOST:
            return number
        return _until(number / 1000 if number >= _MOST * 1000 else number, headers)
    if not isinstance(value, str) or not value.strip():
        return None
    found = _DURATION.fullmatch(value.strip())
    if found is not None:
        return float(sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part))
    then = _date(value)
    return None if then is None else _until(then, headers)


def _until(then: float, headers: Mapping[str, str]) -> float | None:
    now = _date(headers.get("date", ""))  # the server's own clock, where it tells
    wait = max(0.0, then - (now if now is not None else time.time()))
    return wait if wait < _MOST else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < _MOST * 1e6 else None


def _date(text: str) -> float | None:
    from datetime import datetime  # noqa: PLC0415 - not worth their time at import
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        pass
    try:
        then = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
