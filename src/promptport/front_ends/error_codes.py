"""What a front end is told of an error: a code and a sentence for people. Pure.

Rule: an error tells its class and nothing of its text, which may quote what users and providers wrote.
"""

from __future__ import annotations

from promptport.errors import (
    AuthenticationError,
    BudgetExceededError,
    ContextLengthError,
    OverloadedError,
    PermissionDeniedError,
    PromptportError,
    ProviderError,
    RateLimitError,
    StepLimitError,
    StreamError,
    TransportError,
    UnsupportedCapabilityError,
)

__all__ = ["error_code"]

_ERRORS: tuple[tuple[type[BaseException], str, str], ...] = (
    (RateLimitError, "rate_limit", "The model is asked too often; try again later."),
    (OverloadedError, "overloaded", "The model is overloaded; try again later."),
    (ContextLengthError, "context_length", "The conversation is too long for the model."),
    (AuthenticationError, "configuration", "The server is not set up to ask this model."),
    (PermissionDeniedError, "configuration", "The server is not set up to ask this model."),
    (TransportError, "unreachable", "The model could not be reached."),
    (UnsupportedCapabilityError, "unsupported", "The model cannot do what was asked."),
    (BudgetExceededError, "budget", "The budget for this conversation is used up."),
    (StepLimitError, "step_limit", "The model wanted more steps than it is allowed."),
    (StreamError, "interrupted", "The answer was interrupted."),
    (ProviderError, "provider", "The model refused to answer."),
    (PromptportError, "invalid", "The request could not be answered."),
)
"""For each class its word and what may be shown; the first that fits counts."""

_INTERNAL = ("internal", "Something went wrong.")
_KNOWN = {code: (code, message) for _, code, message in _ERRORS} | {
    "internal": _INTERNAL,
    "producer_lost": ("producer_lost", "The server that ran this stopped working."),
    "unknown_run": ("unknown_run", "There is no such run, or it is kept no more."),
    "log_full": ("log_full", "The run was too long to be kept."),
}


def error_code(error: BaseException) -> tuple[str, str]:
    """The code and the sentence that a front end may see of this error.

    Args:
        error: Any exception. A `StreamError` that carries a code of this table, as a run log's does, keeps it.
    """
    if isinstance(error, StreamError) and error.code in _KNOWN:
        return _KNOWN[error.code]
    for kind, code, message in _ERRORS:
        if isinstance(error, kind):
            return code, message
    return _INTERNAL
