"""Which of our errors an HTTP status is. Pure.

Rule: this is the one place for HTTP status → error. A message is one line: who, which status, the provider's own
words, what to do; it holds no key and no prompt of ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from promptport.decoding import class_of_code, json_or_none, shortened, words_and_codes
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
from promptport.http.redaction import redacted
from promptport.http.retry_times import retry_seconds

__all__ = ["header_secrets", "status_error"]


_CONTEXT_CODES = frozenset(
    {"context_length_exceeded", "exceed_context_size_error", "request_too_large", "model_context_window_exceeded"}
)


_CONTEXT_WORDS = re.compile(
    r"prompt is too long|input is too long|(maximum|max) (context|prompt) length|context (length|window|size|limit)"
    r"|exceeds? the (model'?s? )?(maximum |available )?context|token count .{0,40}exceeds the maximum"
    r"|exceeded (the )?model('s)? token limit|exceeds? the maximum (allowed )?(input|prompt)"
    r"|too many tokens: |reduce the length of the (messages|prompt|input)",
    re.IGNORECASE,
)


_QUOTA_CODES = frozenset({"insufficient_quota", "rate_limit_exceeded", "rate_limit_error", "billing_error"})


_KEY_CODES = frozenset({"invalid_api_key", "API_KEY_INVALID", "authentication_error"})


_KEY_WORDS = re.compile(r"(incorrect|invalid|missing) api key|api key (is )?(not valid|invalid|missing)", re.IGNORECASE)


_TOKEN_WORDS = re.compile(r"\btoken\b", re.IGNORECASE)


_MODEL_CODES = frozenset({"model_not_found", "invalid_model"})


_MODEL_WORDS = re.compile(
    r"provided model identifier is invalid|on-demand throughput isn.t supported"  # AWS, HTTP 400 each
)


_CAPACITY_CODES = frozenset({"overloaded_error", "capacity_exceeded"})


_LESS_TELLING = (BadRequestError, ServerError, PermissionDeniedError, ModelNotFoundError, RateLimitError)
"""Classes that AWS's own name for an error goes before."""


_BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: AuthenticationError,
    402: RateLimitError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    408: OverloadedError,  # the provider gave up waiting for its own worker: the same request may do later
    429: RateLimitError,
    503: OverloadedError,
    529: OverloadedError,  # Anthropic
}


_ADVICE: Mapping[type[ProviderError], str] = {
    AuthenticationError: "check the API key",
    PermissionDeniedError: "this key may not do this",
    ModelNotFoundError: "check the model's id and the base_url",
    ContextLengthError: "shorten the prompt, or choose a model with a longer context",
    OverloadedError: "try again later",
    ServerError: "try again later",
    ProviderError: "check the base_url",
}


_BARE_PATH = re.compile(r"https?://[^/?#]*/(chat/completions|responses|models)/?(\?.*)?")


_REQUEST_ID_HEADERS = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "apim-request-id",
    "mistral-correlation-id",
    "x-goog-request-id",
    "cf-ray",
)


def status_error(
    *,
    provider: str,
    model: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Collection[str] = (),
    url: str = "",
) -> ProviderError:
    """The error for an HTTP answer that is no success. Raises nothing, whatever the body is.

    Args:
        provider: the provider's name.
        model: the model's id, or an empty string.
        status: the HTTP status.
        headers: of the answer; names in any case.
        body: as far as it was read.
        secrets: keys and tokens of the request; providers quote them.
        url: what was asked, for a hint about its path; it is not shown.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    decoded = _decoded(body)
    words, codes = words_and_codes(decoded)
    if isinstance(decoded, str) and decoded.startswith("<"):
        words = "an HTML page"
    words = shortened(redacted(words, secrets))
    named_by_aws = lowered.get("x-amzn-errortype", "").partition(":")[0].rpartition("#")[2].strip()
    if named_by_aws and named_by_aws not in codes:
        codes.insert(0, named_by_aws)
    kind = _kind_of_status(status, words, codes)
    by_aws = class_of_code(named_by_aws)
    if by_aws not in (None, BadRequestError) and kind in _LESS_TELLING:
        kind = by_aws or kind
    if status == 498 and kind is BadRequestError and _is_no_capacity(provider, words, codes):
        kind = OverloadedError
    code = redacted(codes[0], secrets) if codes else None
    retry_after = retry_seconds(lowered, decoded, limited=status == 429)
    request_id = _request_id(lowered, decoded)
    head = f"{provider}/{model}" if model else provider
    said = f": {words.rstrip('.;: ')}" if words else ""
    named = f" ({code})" if code and code != str(status) else ""
    advice = _advice(kind, status, codes, words, retry_after)
    if status in (404, 405) and _BARE_PATH.fullmatch(url):
        advice = "the base_url has no path, and most OpenAI-compatible servers want one that ends in /v1"
    return kind(
        f"{head}: HTTP {status}{named}{said}{'; ' if advice else ''}{advice}",
        provider=provider,
        model=model,
        status=status,
        code=code,
        request_id=redacted(request_id, secrets) if request_id else None,
        retry_after=retry_after,
    )


def _is_no_capacity(provider: str, words: str, codes: Collection[str]) -> bool:
    """What 498 means at Groq, in its flex tier; others use it as they like, unless they say so."""
    return provider == "groq" or "capacity" in words.lower() or bool(_CAPACITY_CODES.intersection(codes))


def _decoded(body: bytes) -> object:
    """The body's JSON, or its text where it is none."""
    text = body.decode("utf-8-sig", "replace").strip()
    decoded = json_or_none(text.encode())
    return text if decoded is None else decoded


def _kind_of_status(status: int, words: str, codes: Collection[str]) -> type[ProviderError]:
    if status < 400:
        return ProviderError
    if status >= 500 and status not in _BY_STATUS:
        return OverloadedError if _CAPACITY_CODES.intersection(codes) else ServerError
    if status < 500:
        # Providers use 400 for nearly everything: their code says more.
        if _QUOTA_CODES.intersection(codes):
            return RateLimitError
        if status in (400, 413, 422) and (_CONTEXT_CODES.intersection(codes) or _CONTEXT_WORDS.search(words)):
            return ContextLengthError
        if status == 400 and (_KEY_CODES.intersection(codes) or _KEY_WORDS.search(words)):
            return AuthenticationError
        if status == 498 and _TOKEN_WORDS.search(words) and not _CAPACITY_CODES.intersection(codes):
            return AuthenticationError
        if status == 400 and (_MODEL_CODES.intersection(codes) or _MODEL_WORDS.search(words)):
            return ModelNotFoundError
        if status == 403 and words.startswith("Authentication failed"):  # AWS, of a bearer key
            return AuthenticationError
    return _BY_STATUS.get(status, BadRequestError)


def _advice(
    kind: type[ProviderError], status: int, codes: Collection[str], words: str, retry_after: float | None
) -> str:
    if kind is RateLimitError and (status == 402 or "insufficient_quota" in codes or "billing_error" in codes):
        return "check the plan and its billing"
    if retry_after is not None and kind in (RateLimitError, OverloadedError, ServerError):
        return f"try again in {retry_after:g} s"
    if kind is RateLimitError:
        return "wait, then try again"
    if kind is BadRequestError and (status == 405 or words == "an HTML page"):
        return "check the base_url"
    return _ADVICE.get(kind, "")


_SECRET_HEADER = re.compile(r"auth|cookie|credential|key|passw|secret|signature|token", re.IGNORECASE)


def header_secrets(headers: Mapping[str, str]) -> list[str]:
    """What a request's headers hold that nobody may read in an error, for ``secrets`` of `status_error`.

    Which header carries a key is up to each gateway; one whose name sounds like it does.
    """
    values = [value for name, value in headers.items() if _SECRET_HEADER.search(name)]
    return [secret for value in values for secret in (value, value.partition(" ")[2]) if secret]


def _request_id(headers: Mapping[str, str], body: object) -> str | None:
    for name in _REQUEST_ID_HEADERS:
        if headers.get(name):
            return headers[name]
    found = body.get("request_id") if isinstance(body, dict) else None
    return found if isinstance(found, str) and found else None
