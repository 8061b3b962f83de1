"""What an error is, for a policy: its class, by itself or by the code of a stream's first event. Pure.

Rule: an error is judged by its class, its status, its code and ``retry_after``; never by the words of its message.
"""

from __future__ import annotations

from promptport.decoding import class_of_code
from promptport.errors import (
    IncompleteStreamError,
    OverloadedError,
    PromptportError,
    ProviderError,
    ProviderStreamError,
    RateLimitError,
    ServerError,
    StreamError,
    TotalTimeout,
    TransportError,
)

__all__ = ["LOCAL", "STORAGE", "class_of", "is_local", "is_passing", "retry_after_of"]

LOCAL, STORAGE = "local_limit", "limits_storage"
"""The codes of errors of our own limits: no server was asked."""

_PASSING = (RateLimitError, OverloadedError, ServerError, TransportError)
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached"})


def class_of(error: BaseException) -> type[BaseException]:
    """The error's class; for one that came inside a stream, the class that its code would have over HTTP."""
    if isinstance(error, ProviderStreamError):
        return class_of_code(error.code) or ProviderStreamError
    return type(error)


def is_local(error: BaseException) -> bool:
    """Whether our own limits said it, and nobody was asked."""
    return isinstance(error, ProviderError) and error.code in (LOCAL, STORAGE)


def is_passing(error: PromptportError) -> bool:
    """Whether the same request may do later: rate limits, overload, server errors, and a server that was not reached.

    Not where the account is empty (402, a code for quota), and not where ``timeouts.total`` is over: that was all the
    time there is.
    """
    if isinstance(error, TotalTimeout):
        return False
    if isinstance(error, ProviderError | StreamError) and error.code in _QUOTA_CODES:
        return False
    if isinstance(error, ProviderError) and error.status == 402:
        return False
    # The bytes ended before any of them was a frame: nothing of the answer was delivered.
    return isinstance(error, IncompleteStreamError) or issubclass(class_of(error), _PASSING)


def retry_after_of(error: BaseException) -> float | None:
    """Seconds that the provider asks to wait, where it says so."""
    return error.retry_after if isinstance(error, ProviderError) else None
