"""Keys that somebody quoted, taken out of an error. Pure.

Rule: this is done once, where all errors of a client pass, for all that a traceback or a pickle shows of one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from promptport.errors import PromptportError

__all__ = ["redact", "redacted"]

_REDACTED = "[redacted]"
_SECRET_LENGTH = 4  # a shorter "key" (a local server's "x") stands in too many words to be taken out of them
_CHAIN_LENGTH = 50


def redacted(text: str, secrets: Collection[str]) -> str:
    """The text without the secrets; those that are shorter than four characters stay.

    Args:
        text: What somebody else wrote.
        secrets: Keys, tokens and passwords.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_LENGTH and secret in text:
            text = text.replace(secret, _REDACTED)
    return text


def redact(error: BaseException, secrets: Collection[str]) -> None:
    """Takes the secrets out of an error, its notes and attributes, and of all that a traceback prints with it.

    An exception of another library whose text cannot be changed gives way to a `PromptportError` with its class's name.

    Args:
        error: The error; it is changed in place, and its causes with it.
        secrets: Keys, tokens and passwords.
    """
    if not any(len(secret) >= _SECRET_LENGTH for secret in secrets):
        return
    for current in _chain(error):
        _redact_one(current, secrets)
        for link in ("__cause__", "__context__"):
            linked = getattr(current, link)
            if linked is not None:
                _redact_one(linked, secrets)
                if _quotes(linked, secrets):
                    suppressed = current.__suppress_context__
                    stand_in = PromptportError(f"{type(linked).__name__} {_REDACTED}")
                    stand_in.__cause__, stand_in.__context__ = linked.__cause__, linked.__context__
                    stand_in.__suppress_context__ = linked.__suppress_context__
                    stand_in.__traceback__ = linked.__traceback__
                    setattr(current, link, stand_in)
                    current.__suppress_context__ = suppressed


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, each once; what `redact` puts in its place is seen too."""
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(seen) < _CHAIN_LENGTH:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [linked for linked in (current.__cause__, current.__context__) if linked is not None]
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions


def _redact_one(error: BaseException, secrets: Collection[str]) -> None:
    try:
        error.args = tuple([_redacted_value(value, secrets) for value in error.args])
        for name, value in list(vars(error).items()):
            changed = _redacted_value(value, secrets)
            if changed is not value:
                setattr(error, name, changed)
    except Exception:  # noqa: S110 - one that cannot be changed is replaced, where it still quotes
        pass


def _redacted_value(value: Any, secrets: Collection[str]) -> Any:
    if isinstance(value, str):
        return redacted(value, secrets)
    if isinstance(value, bytes):
        text = value.decode("latin-1")
        changed = redacted(text, secrets)
        return value if changed == text else changed.encode("latin-1", "replace")
    if type(value) in (list, tuple):
        return type(value)([_redacted_value(item, secrets) for item in value])
    if type(value) is dict:
        return {key: _redacted_value(item, secrets) for key, item in value.items()}
    return value


def _quotes(error: BaseException, secrets: Collection[str]) -> bool:
    try:
        text = f"{error} {error!r}"
    except Exception:
        return True
    return redacted(text, secrets) != text
