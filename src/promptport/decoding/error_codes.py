"""A provider's own code for an error → the class that it would have been over HTTP. Pure.

Rule: a code is a word of the protocol; the words of a message are not looked at. What is not listed is ``None``.

Sources: OpenAI's, Anthropic's and Cohere's API references ("Errors"), google.rpc.Code, the exceptions of Bedrock's
ConverseStream; all looked up in November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

from promptport.errors import (
    AuthenticationError,
    BadRequestError,
    ContextLengthError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    RateLimitError,
    ServerError,
)

__all__ = ["class_of_code"]

_CODES: Mapping[type[ProviderError], str] = {
    AuthenticationError: "invalid_api_key authentication_error unauthenticated"
    " unrecognizedclientexception invalidsignatureexception signaturedoesnotmatch incompletesignatureexception"
    " missingauthenticationtokenexception expiredtokenexception invalidclienttokenid",
    PermissionDeniedError: "permission_error permission_denied accessdeniedexception",
    ModelNotFoundError: "model_not_found not_found_error not_found resourcenotfoundexception",
    ContextLengthError: "context_length_exceeded exceed_context_size_error model_context_window_exceeded",
    BadRequestError: "invalid_request_error invalid_argument validationexception failed_precondition",
    RateLimitError: "rate_limit_exceeded rate_limit_error insufficient_quota billing_error resource_exhausted"
    " throttlingexception servicequotaexceededexception too_many_requests tokens_rate_limit",
    OverloadedError: "overloaded_error overloaded capacity_exceeded unavailable serviceunavailableexception"
    " modelnotreadyexception service_unavailable engine_overloaded",
    ServerError: "server_error api_error internal_error internal_server_error internal timeout_error"
    " internalserverexception modelstreamerrorexception modeltimeoutexception deadline_exceeded vector_store_timeout"
    " modelerrorexception error timeout",  # Cohere's finish reasons
}
_BY_CODE = {code: kind for kind, codes in _CODES.items() for code in codes.split()}
_BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    402: RateLimitError,
    408: OverloadedError,
    429: RateLimitError,
    503: OverloadedError,
    529: OverloadedError,
}


def class_of_code(code: str | None) -> type[ProviderError] | None:
    """The class of a provider's code, such as ``overloaded_error`` or ``"429"``; ``None`` where it says nothing.

    Args:
        code: the code of an error event inside a stream, in any case.
    """
    if not code:
        return None
    word = code.strip().lower().rpartition("#")[2]  # AWS may put a namespace before it
    if word.isdecimal() and len(word) == 3 and int(word) >= 400:
        status = int(word)
        return _BY_STATUS.get(status, ServerError if status >= 500 else BadRequestError)
    return _BY_CODE.get(word)
