"""An error as OpenAI's and Anthropic's clients read it: a status, a type, a code and a sentence. Pure.

Rule: as in `error_code`: the class is told, and nothing of the error's text. A request that we refuse is the exception:
its text is ours, and names the place in the body.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from promptport.errors import (
    BadRequestError,
    BudgetExceededError,
    ContextLengthError,
    FirstFrameTimeout,
    IdleTimeout,
    InvalidInputError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    RateLimitError,
    ServerError,
    StreamError,
    TotalTimeout,
    TransportError,
    UnsupportedCapabilityError,
)
from promptport.front_ends.error_codes import error_code

__all__ = ["APIError", "APIName", "RequestRefused", "api_error", "error_body", "refusal_of_status"]

APIName: TypeAlias = Literal["openai", "anthropic"]
"""Whose form an error has. Chat Completions and Responses share one."""


class RequestRefused(InvalidInputError):
    """A request that cannot be answered as it stands; its text may be shown to whoever sent it.

    Attributes:
        param: The place in the body, such as ``messages[0].role``, or an empty string.
        status: The HTTP status. Default: 400.
        code: A word for programs, such as ``model_not_found``.
    """

    def __init__(self, message: str, *, param: str = "", status: int = 400, code: str = "") -> None:
        """Make one."""
        super().__init__(message)
        self.param = param
        self.status = status
        self.code = code


class APIError(msgspec.Struct, frozen=True):
    """What a client is told.

    Attributes:
        status: The HTTP status, before anything was sent.
        openai: OpenAI's word for the type.
        anthropic: Anthropic's word for the type.
        code: A word for programs.
        message: A sentence for people.
        param: The place in the request's body, or an empty string.
        retry_after: Seconds after which to ask again, or `None`.
    """

    status: int
    openai: str
    anthropic: str
    code: str
    message: str
    param: str = ""
    retry_after: float | None = None


_KINDS: tuple[tuple[type[BaseException], int, str, str, str], ...] = (
    (RateLimitError, 429, "rate_limit_error", "rate_limit_error", "rate_limit_exceeded"),
    (BudgetExceededError, 429, "insufficient_quota", "rate_limit_error", "insufficient_quota"),
    (OverloadedError, 503, "server_error", "overloaded_error", "overloaded"),
    (ContextLengthError, 400, "invalid_request_error", "invalid_request_error", "context_length_exceeded"),
    (ModelNotFoundError, 404, "invalid_request_error", "not_found_error", "model_not_found"),
    (UnsupportedCapabilityError, 400, "invalid_request_error", "invalid_request_error", "unsupported"),
    (BadRequestError, 400, "invalid_request_error", "invalid_request_error", "provider"),
    (FirstFrameTimeout, 504, "server_error", "timeout_error", "unreachable"),
    (IdleTimeout, 504, "server_error", "timeout_error", "unreachable"),
    (TotalTimeout, 504, "server_error", "timeout_error", "unreachable"),
    (TransportError, 502, "server_error", "api_error", "unreachable"),
    (ServerError, 502, "server_error", "api_error", "provider"),
    (StreamError, 502, "server_error", "api_error", "interrupted"),
    (InvalidInputError, 400, "invalid_request_error", "invalid_request_error", "invalid"),
)
"""The first that fits counts; what is in none is the server's own fault, a wrong key of the server's too."""


def api_error(error: BaseException) -> APIError:
    """What a client of the APIs is told of this error.

    Args:
        error: Any exception.
    """
    if isinstance(error, RequestRefused):
        anthropic = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}.get(
            error.status, "request_too_large" if error.status == 413 else "invalid_request_error"
        )
        code = error.code or "invalid_request"
        return APIError(error.status, "invalid_request_error", anthropic, code, str(error), error.param)
    code, message = error_code(error)
    retry_after = error.retry_after if isinstance(error, ProviderError) else None
    for kind, status, openai, anthropic, word in _KINDS:
        if isinstance(error, kind):
            known = code if kind is StreamError else word
            return APIError(status, openai, anthropic, known, message, retry_after=retry_after)
    return APIError(500, "server_error", "api_error", code, message)


def refusal_of_status(status: int, message: str) -> APIError:
    """An error with this status that the server itself raised: a wrong key, a foreign host.

    Args:
        status: The HTTP status.
        message: A sentence for people.
    """
    code = {401: "invalid_api_key", 403: "permission_denied"}.get(status, "invalid_request")
    return api_error(RequestRefused(message, status=status, code=code))


def error_body(api: APIName, error: APIError) -> bytes:
    """The JSON of an error in the form of one API.

    Args:
        api: Whose form.
        error: What to tell.
    """
    if api == "anthropic":
        return _encode({"type": "error", "error": {"type": error.anthropic, "message": error.message}})
    told = {"message": error.message, "type": error.openai, "param": error.param or None, "code": error.code}
    return _encode({"error": told})


_encode = msgspec.json.Encoder().encode
