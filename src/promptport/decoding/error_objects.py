"""What a provider's error object says, over HTTP or inside a stream. Pure.

Rule: what comes out is one line, bounded, with nothing that a terminal would obey.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from promptport.errors import ProtocolError, ProviderStreamError

__all__ = [
    "error_details",
    "json_or_none",
    "refuse_web_page",
    "reported_error",
    "reported_exception",
    "shortened",
    "words_and_codes",
]


_WORDS_LIMIT = 500


_CODE_LIMIT = 100


_SIZE_LIMIT = 20_000


_DEPTH_LIMIT = 6


_MESSAGE_KEYS = ("message", "msg", "error_message", "detail", "error", "errors", "title", "description", "Message")


def error_details(body: object) -> tuple[str, str | None]:
    """What a provider's error object says, over HTTP or inside a stream: its words on one line, and its code.

    Knows ``{"error": {…}}``, ``{"error": "…"}``, ``{"type": "error", "error": {…}}``, ``{"detail": …}``,
    ``{"message": …}``, lists of these (Google), and what OpenRouter passes on in ``metadata.raw``.

    Args:
        body: the decoded JSON, or plain text.

    Returns:
        The words, at most 500 characters, empty where there are none; and the provider's own code, or else its
        type, or ``None``.
    """
    words, codes = words_and_codes(body)
    return shortened(words), codes[0] if codes else None


def reported_error(body: object, code: str | None = None) -> ProviderStreamError:
    """The error for an error object inside a stream; ``code`` goes before the object's own.

    Examples:
        ```python
        from promptport.provider import reported_error

        raise reported_error({"error": {"code": 503, "message": "overloaded"}})
        ```
    """
    words, found = error_details(body)
    return ProviderStreamError(words or "the provider reported an error without a word", code=code or found)


def reported_exception(headers: Mapping[str, Any], payload: bytes) -> ProviderStreamError:
    """The error for an exception or error frame of an AWS event stream: throttling, a failing model …

    Args:
        headers: Of the frame; they name the exception.
        payload: Its JSON, or plain text; an error frame has its words in a header.
    """
    code = headers.get(":exception-type") or headers.get(":error-code")
    body: object = str(headers.get(":error-message") or "")
    if payload:
        decoded = json_or_none(payload)
        body = payload.decode(errors="replace") if decoded is None else decoded
    return reported_error(body, str(code) if code else None)


def words_and_codes(body: object) -> tuple[str, list[str]]:
    """All of the words, on one line, and all that could be a code, the most telling first."""
    error = body
    while isinstance(error, list) and error:
        error = error[0]
    codes: list[str] = []
    outer = error
    if isinstance(error, dict):
        inner = error.get("error")
        if isinstance(inner, dict):
            error = inner
            codes = _codes(inner)
        codes += [code for code in _codes(outer if isinstance(outer, dict) else {}) if code != "error"]
    words = _words(error, 0)
    passed_on = _passed_on(error)
    if passed_on is not None:
        more, more_codes = words_and_codes(passed_on)
        words = f"{words}: {more}" if more and more not in words else words
        codes += more_codes
    # Words before numbers: a number mostly repeats the HTTP status.
    codes.sort(key=str.isdigit)
    return _one_line(words), codes


def _codes(error: Mapping[str, Any]) -> list[str]:
    found: list[object] = []
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():  # google.rpc.ErrorInfo
        if isinstance(detail, dict):
            found.append(detail.get("reason"))
    found += [error.get(key) for key in ("code", "status", "type", "error_type", "__type")]
    codes = [str(code) for code in found if isinstance(code, str | int) and not isinstance(code, bool)]
    return [word for code in codes if (word := _one_line(code)[:_CODE_LIMIT].strip())]


def _words(error: object, depth: int) -> str:
    if isinstance(error, str):
        return error
    if depth < _DEPTH_LIMIT:
        if isinstance(error, list):
            return "; ".join([words for entry in error[:3] if (words := _words(entry, depth + 1))])
        if isinstance(error, dict):
            for key in _MESSAGE_KEYS:
                words = _words(error.get(key), depth + 1)
                if words:
                    where = error.get("loc")  # FastAPI says where; its "input" quotes the prompt, and stays out
                    return f"{'.'.join(map(str, where))}: {words}" if isinstance(where, list) else words
    return ""


def _passed_on(error: object) -> object:
    """The error of the provider behind a router, which OpenRouter gives as text."""
    metadata = error.get("metadata") if isinstance(error, dict) else None
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str):
        return None
    decoded = json_or_none(raw.encode("utf-8", "replace"))
    return raw if decoded is None else decoded


def json_or_none(data: bytes) -> object:
    """The decoded JSON; ``None`` where it is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def _one_line(text: str) -> str:
    """Without line ends, and without what a terminal would obey."""
    text = " ".join(text.split())[:_SIZE_LIMIT]
    return "".join([letter if letter.isprintable() else " " for letter in text])


def shortened(text: str) -> str:
    """At most 500 characters of it."""
    return text if len(text) <= _WORDS_LIMIT else text[: _WORDS_LIMIT - 2].rstrip() + " …"


def refuse_web_page(data: bytes, wanted: str) -> None:
    """Refuse a body that is a web page, as a proxy or a wrong address answers with status 200.

    Args:
        data: The body, or its beginning.
        wanted: What it should be, for the error: a stream, or a message.

    Raises:
        ProtocolError: It begins as a page does.
    """
    if data.lstrip()[:1] == b"<":
        raise ProtocolError(f"the server answered with a web page instead of a {wanted}: is the base_url right?")
