"""Keys: which one goes to which server, and what one must look like.

Rule: a key goes only to whom it belongs. One from an environment variable is sent to the provider's own address; to
another ``base_url`` only a key that was passed as ``api_key``.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from promptport.errors import ConfigurationError, InvalidInputError

__all__ = ["APIKey", "check_api_key", "environment_key"]

APIKey: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A key or token, or a function (it may be a coroutine function) that gives a fresh one for each request."""


def check_api_key(key: str | None, *, provider: str, variable: str, option: str = "api_key") -> str:
    """The key, usable in a header.

    Args:
        key: What was passed, or found in the environment.
        provider: For the error.
        variable: The environment variable, for the error; may be empty.
        option: The name of the argument, for the error.

    Raises:
        InvalidInputError: The key is not a string.
        ConfigurationError: No key, or one that holds blanks or control characters.
    """
    either = f"{option}=…, {variable}" if variable else f"{option}=…"
    if not isinstance(key, str | None):
        raise InvalidInputError(f"{provider}: {option} must be a string, not {type(key).__name__}. Pass {option}='…'.")
    if not key:
        set_it = f" or set {variable}" if variable else ""
        raise ConfigurationError(f"{provider}: no API key; pass {option}=…{set_it}")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            f"{provider}: the API key holds a blank, a line end or another character that no key has;"
            f" was it copied whole and alone? ({either})"
        )
    return key


def environment_key(variable: str, *, own: bool) -> tuple[str | None, str]:
    """The key in a variable, if the server is the provider's own; else ``None`` and the note for a refusal.

    Args:
        variable: The environment variable, or an empty string.
        own: Whether the request goes to the provider's own address.
    """
    key = os.environ.get(variable) if variable else None
    if not key:
        return None, ""
    if own:
        return key, ""
    note = (
        f"promptport did not send the key in {variable}: it goes only to the provider's own address."
        " If this server may have it, pass it as api_key=…"
    )
    return None, note
