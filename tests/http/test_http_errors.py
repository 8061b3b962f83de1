"""HTTP status → error, and what error objects say."""

from __future__ import annotations

import json
import os
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from promptport.decoding import error_details
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
from promptport.http.status_errors import status_error


def error(status: int, body: Any = b"", headers: dict[str, str] | None = None, *secrets: str) -> ProviderError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return status_error(provider="p", model="m", status=status, headers=headers or {}, body=data, secrets=secrets)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, RateLimitError),
        (403, PermissionDeniedError),
        (404, ModelNotFoundError),
        (405, BadRequestError),
        (408, OverloadedError),
        (409, BadRequestError),
        (413, BadRequestError),
        (418, BadRequestError),
        (422, BadRequestError),
        (429, RateLimitError),
        (498, BadRequestError),
        (500, ServerError),
        (501, ServerError),
        (502, ServerError),
        (503, OverloadedError),
        (504, ServerError),
        (520, ServerError),
        (529, OverloadedError),
        (304, ProviderError),
    ],
)
def test_the_status_decides(status: int, kind: type[ProviderError]) -> None:
    found = error(status)
    assert type(found) is kind
    assert (found.provider, found.model, found.status) == ("p", "m", status)
    assert (found.code, found.request_id, found.retry_after, found.partial) == (None, None, None, None)
    assert str(found).startswith(f"p/m: HTTP {status}")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"code": "context_length_exceeded", "type": "invalid_request_error", "message": "no"}}),
        (
            400,
            {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}},
        ),
        (400, {"error": {"code": 400, "type": "exceed_context_size_error", "message": "the request exceeds it"}}),
        (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400}),
        (413, {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}),
        (400, {"error": {"code": 400, "message": "The input token count (9) exceeds the maximum number of tokens"}}),
        (400, {"message": "Input is too long for requested model."}),
        (422, {"detail": "This model's maximum prompt length is 131072"}),
        (400, {"error": "input length and `max_tokens` exceed context limit"}),
        (400, {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":"prompt is too long"}'}}}),
    ],
)
def test_a_prompt_that_does_not_fit(status: int, body: object) -> None:
    found = error(status, body)
    assert type(found) is ContextLengthError
    assert "shorten the prompt" in str(found)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "API key not valid. Please pass one."}}, AuthenticationError),
        (400, {"code": "invalid-argument", "error": "Incorrect API key provided."}, AuthenticationError),
        (400, {"error": {"details": [{"reason": "API_KEY_INVALID"}], "message": "no"}}, AuthenticationError),
        (400, {"type": "invalid_model", "code": "1500", "message": "Invalid model: x"}, ModelNotFoundError),
        (403, {"error": {"code": "insufficient_quota", "message": "none left"}}, RateLimitError),
        (413, {"error": {"code": "rate_limit_exceeded", "message": "Request too large for model"}}, RateLimitError),
        (500, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, OverloadedError),
        (400, {"error": {"code": "invalid_request_error", "message": "context_management: bad"}}, BadRequestError),
        (429, {"error": {"message": "maximum context length"}}, RateLimitError),
    ],
)
def test_the_providers_code_says_more_than_the_status(status: int, body: object, kind: type[ProviderError]) -> None:
    assert type(error(status, body)) is kind


@pytest.mark.parametrize(
    ("status", "named", "words", "kind"),
    [
        (403, "UnrecognizedClientException", "The security token is invalid.", AuthenticationError),
        (403, "InvalidSignatureException:http://internal.amazon.com/coral/", "Signature expired", AuthenticationError),
        (403, "ExpiredTokenException", "The token is expired", AuthenticationError),
        (403, "AccessDeniedException", "Authentication failed: make sure your API Key is valid.", AuthenticationError),
        (403, "AccessDeniedException", "You don't have access to the model.", PermissionDeniedError),
        (429, "ThrottlingException", "Too many requests", RateLimitError),
        (400, "ServiceQuotaExceededException", "over the quota", RateLimitError),
        (429, "ModelNotReadyException", "it loads", OverloadedError),
        (408, "ModelTimeoutException", "too slow", OverloadedError),
        (424, "ModelErrorException", "it failed", ServerError),
        (500, "InternalServerException", "sorry", ServerError),
        (503, "ServiceUnavailableException", "busy", OverloadedError),
        (404, "ResourceNotFoundException", "no such model", ModelNotFoundError),
        (400, "ValidationException", "The provided model identifier is invalid.", ModelNotFoundError),
        (400, "ValidationException", "with on-demand throughput isn\u2019t supported. Retry", ModelNotFoundError),
        (400, "ValidationException", "Input is too long for requested model.", ContextLengthError),
        (400, "ValidationException", "The text field is blank", BadRequestError),
    ],
)
def test_what_aws_says_in_a_header(status: int, named: str, words: str, kind: type[ProviderError]) -> None:
    found = error(status, {"message": words}, {"x-amzn-ErrorType": named})
    assert type(found) is kind
    assert found.code == named.partition(":")[0]
    assert words.rstrip(".") in str(found)


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        ({"error": {"message": "no", "type": "t", "code": "c"}}, "no", "c"),
        ({"error": {"message": "no", "type": "t", "code": None}}, "no", "t"),
        ({"error": {"message": "no", "type": "t", "code": 400}}, "no", "t"),
        ({"error": {"message": "no", "code": 400}}, "no", "400"),
        ({"error": {"message": "no", "code": 400, "status": "INVALID_ARGUMENT"}}, "no", "INVALID_ARGUMENT"),
        ({"error": "no"}, "no", None),
        ({"error": "no", "error_type": "overloaded"}, "no", "overloaded"),
        ({"error": ["no", "never"]}, "no; never", None),
        ({"type": "error", "error": {"type": "api_error", "message": "no"}}, "no", "api_error"),
        ({"detail": "no"}, "no", None),
        ({"detail": [{"loc": ["body", "n"], "msg": "too big", "input": "a prompt"}]}, "body.n: too big", None),
        ({"message": "no", "type": "invalid_model", "code": "1500"}, "no", "invalid_model"),
        ({"message": "no", "__type": "ThrottlingException"}, "no", "ThrottlingException"),
        ({"errors": [{"message": "no"}]}, "no", None),
        ([{"error": {"message": "no", "status": "S"}}], "no", "S"),
        ({"error": {"message": "it failed", "metadata": {"raw": "why"}}}, "it failed: why", None),
        ({"error": {"message": "it failed", "metadata": {"raw": "[]"}}}, "it failed", None),
        ("text", "text", None),
        ({"error": {"message": "two\nlines\x1b[31m", "code": True}}, "two lines [31m", None),
        ({}, "", None),
        ([], "", None),
        (None, "", None),
        (7, "", None),
        ({"error": None}, "", None),
    ],
)
def test_what_an_error_object_says(body: object, words: str, code: str | None) -> None:
    assert error_details(body) == (words, code)


NAMES = ["error", "message", "code", "type", "detail", "details", "metadata", "raw"]
_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=12,
)


@given(_json_values)
@example({"code": "\ud7fc"})  # a code of which nothing can be printed is none
def test_every_object_says_something_or_nothing(body: object) -> None:
    words, code = error_details(body)
    assert isinstance(words, str)
    assert code is None or code.strip()


@given(st.binary(max_size=40), st.integers(300, 599))
def test_every_body_gives_an_error(body: bytes, status: int) -> None:
    found = error(status, body)
    assert str(found).isprintable()


def test_deep_and_long_bodies() -> None:
    assert error(400, b"[" * 100_000).status == 400
    assert error(400, b'{"error":' * 5000 + b'"x"' + b"}" * 5000).status == 400
    found = str(error(400, {"error": {"message": "word " * 10_000}}))
    assert len(found) < 600
    assert found.endswith(" …")


@pytest.mark.parametrize(
    "body", [b"<html>\r\n<body>502</body>", b"  <!DOCTYPE html><p>sk-secret", b"\xef\xbb\xbf<html>"]
)
def test_a_web_page_is_not_repeated(body: bytes) -> None:
    assert str(error(502, body)) == "p/m: HTTP 502: an HTML page; try again later"
    assert str(error(400, body)) == "p/m: HTTP 400: an HTML page; check the base_url"


def test_bodies_that_are_not_json() -> None:
    assert str(error(500, b"upstream timed out")) == "p/m: HTTP 500: upstream timed out; try again later"
    assert str(error(400, "détail".encode("latin-1"))) == "p/m: HTTP 400: d\ufffdtail"
    assert str(error(400, b"")) == "p/m: HTTP 400"


def test_keys_are_taken_out() -> None:
    body = {"error": {"message": "Incorrect API key provided: sk-abcdef.", "code": "bad sk-abcdef"}}
    found = error(401, body, {}, "sk-abcdef", "sk-abc", "")
    assert str(found) == "p/m: HTTP 401 (bad [redacted]): Incorrect API key provided: [redacted]; check the API key"
    assert found.code == "bad [redacted]"


def test_a_key_at_the_cut_is_taken_out() -> None:
    for length in range(480, 510):
        found = error(400, {"error": {"message": "x" * length + " sk-abcdefgh"}}, {}, "sk-abcdefgh")
        assert "sk-" not in str(found)


def test_a_key_that_is_hardly_one_does_not_spoil_the_words() -> None:
    assert "maximum" in str(error(400, {"error": "maximum"}, {}, "x"))


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ({"X-Request-Id": "a"}, "a"),
        ({"request-id": "b"}, "b"),
        ({"x-amzn-RequestId": "c"}, "c"),
        ({"mistral-correlation-id": "d"}, "d"),
        ({"x-request-id": "", "cf-ray": "e"}, "e"),
        ({}, "body"),
    ],
)
def test_the_request_id(headers: dict[str, str], request_id: str) -> None:
    assert error(400, {"request_id": "body", "error": "no"}, headers).request_id == request_id


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "20"}, 20.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_when_to_try_again(headers: dict[str, str], seconds: float | None) -> None:
    assert error(429, b"", headers).retry_after == seconds


def test_when_to_try_again_by_our_own_clock() -> None:
    after = error(503, b"", {"retry-after": formatdate(time.time() + 100, usegmt=True)}).retry_after
    assert after is not None
    assert 90 < after < 101


def test_the_advice() -> None:
    assert str(error(429, b"", {"retry-after": "20"})).endswith("; try again in 20 s")
    assert str(error(429)).endswith("; wait, then try again")
    assert str(error(402)).endswith("; check the plan and its billing")
    assert str(error(405)).endswith("; check the base_url")


def test_the_model_may_have_no_name() -> None:
    found = status_error(provider="p", model="", status=401, headers={}, body=b"")
    assert str(found) == "p: HTTP 401; check the API key"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("34.4s", 34.4), ("7s", 7.0), ("0s", 0.0), ("soon", None), ("-1s", None), (5, None), (None, None)],
)
@pytest.mark.parametrize("listed", [False, True])
def test_google_says_in_the_body_when_to_try_again(told: Any, seconds: float | None, listed: bool) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": told}
    details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure"}, "nonsense", info]
    body: Any = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": details}}
    body = [body] if listed else body
    found = error(429, body)
    assert (type(found), found.retry_after, found.code) == (RateLimitError, seconds, "RESOURCE_EXHAUSTED")
    assert error(429, body, {"retry-after": "3"}).retry_after == 3


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"id": "1", "message": "invalid token"}, AuthenticationError),
        ({"error": {"message": "token budget", "code": "capacity_exceeded"}}, OverloadedError),
        ({"error": {"message": "no capacity for so many tokens"}}, OverloadedError),
    ],
)
def test_498_is_two_things(body: Any, kind: type[ProviderError]) -> None:
    assert type(error(498, body)) is kind


# ------------------------------------------------------------------------------------------ recorded bodies

CORPUS = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).parents[3] / "shared" / "wire"))

# Where a provider's code is more exact than its status.
BY_CODE = {
    "bedrock/converse-stream/http-400-rig-model-ids-bare-profile-only-model-id-is-re.error.json": 404,
    "google/stream-generate-content/http-400-rig-response-identity-auth-rejection-keeps-tra.error.json": 401,
    "mistral/chat-completions/http-400-rig-response-identity-edge-blocking-error-carr.error.json": 404,
    "xai/responses/http-400-rig-response-identity-auth-rejection-classifie.error.json": 401,
}
KINDS = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    429: RateLimitError,
    500: ServerError,
    502: ServerError,
    529: OverloadedError,
}


def test_recorded_errors() -> None:
    if not (CORPUS / "manifest.json").is_file():
        pytest.skip(f"the recorded wires are not at {CORPUS}; set PROMPTPORT_CORPUS")
    seen = 0
    for entry in json.loads((CORPUS / "manifest.json").read_bytes()):
        if entry["protocol"] != "http-error" or entry["status"] < 400:
            continue
        seen += 1
        body = (CORPUS / entry["path"]).read_bytes()
        found = error(entry["status"], body)
        assert type(found) is KINDS[BY_CODE.get(entry["path"], entry["status"])], entry["path"]
        words, _ = error_details(json.loads(body) if entry["path"].endswith(".json") else "an HTML page")
        assert words
        assert words.rstrip(".") in str(found)
    assert seen >= 35


@pytest.mark.parametrize(
    "words",
    [
        "Invalid request: Your request exceeded model token limit: 131072 (requested: 140000)",
        "Input length 200001 exceeds the maximum allowed input length of 131072 tokens",
        "The prompt exceeds the maximum input size",
    ],
)
def test_more_vendors_words_for_a_prompt_that_is_too_long(words: str) -> None:
    assert type(error(400, {"error": {"message": words}})) is ContextLengthError
    assert type(error(401, {"error": {"message": words}})) is AuthenticationError


def test_a_limit_of_the_answer_is_no_prompt_that_is_too_long() -> None:
    assert type(error(400, {"error": {"message": "max_tokens exceeds the maximum tokens allowed"}})) is BadRequestError


@pytest.mark.parametrize(("delay", "seconds"), [("34s", 34.0), ("1.5s", 1.5), ("soon", None), (7, None), ("-1s", None)])
def test_googles_retry_info(delay: Any, seconds: float | None) -> None:
    kind = "type.googleapis.com/google.rpc.RetryInfo"
    details = [{"@type": "type.googleapis.com/google.rpc.Help"}, {"@type": kind, "retryDelay": delay}]
    body = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": details}}
    assert error(429, body).retry_after == error(429, [body]).retry_after == seconds
    assert error(429, body, {"Retry-After": "2"}).retry_after == 2


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/", RateLimitError),
        (400, "com.amazon.coral.service#ValidationException", BadRequestError),
        (403, "AccessDeniedException", PermissionDeniedError),
        (500, "ModelNotReadyException", OverloadedError),
        (404, "ResourceNotFoundException", ModelNotFoundError),
        (400, "SomethingNewException", BadRequestError),
    ],
)
def test_awss_header_names_the_class(status: int, name: str, kind: type[ProviderError]) -> None:
    found = error(status, {"message": "no"}, {"x-amzn-ErrorType": name})
    assert type(found) is kind
    assert found.code == name.partition(":")[0].rpartition("#")[2]


def test_498_is_no_capacity_at_groq_only() -> None:
    found = status_error(provider="groq", model="m", status=498, headers={}, body=b"")
    assert type(found) is OverloadedError


DATE = {"date": "Wed, 21 Oct 2015 07:28:00 GMT"}
NOON = 1445412480  # that date


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "2m59.56s"}, 179.56),
        ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-reset-requests": "1d2h3m4s"}, 93784.0),
        ({"x-ratelimit-reset": "30"}, 30.0),
        ({"x-ratelimit-reset": str(NOON + 40), **DATE}, 40.0),
        ({"x-ratelimit-reset": str((NOON + 40) * 1000), **DATE}, 40.0),
        ({"ratelimit-reset": "7"}, 7.0),
        ({"anthropic-ratelimit-input-tokens-reset": "2015-10-21T07:29:00Z", **DATE}, 60.0),
        (
            {
                "x-ratelimit-reset-requests": "9s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "1h",
            },
            9.0,
        ),
        ({"x-ratelimit-reset-tokens": "0s"}, None),
        ({"x-ratelimit-reset": str(NOON - 40), **DATE}, None),
        ({"x-ratelimit-reset-tokens": "soon"}, None),
        ({"x-ratelimit-reset-tokens": ""}, None),
        ({"x-ratelimit-limit-tokens": "5"}, None),
        ({"retry-after": "3", "x-ratelimit-reset-tokens": "6m0s"}, 3.0),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": "2015-10-21T07:28:30+00:00", **DATE}, 30.0),
        ({"retry-after": "9999999999"}, None),
    ],
)
def test_when_a_spent_limit_is_filled_again(headers: dict[str, str], seconds: float | None) -> None:
    assert error(429, b"", headers).retry_after == seconds
    if "retry-after" not in headers:
        assert error(400, b"", headers).retry_after is None  # no limit refused it


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"error": {"message": "slow down", "retry_after": 12}}, 12.0),
        ({"error": {"message": "slow down", "retry_after": "1.5"}}, 1.5),
        ({"retryAfter": 3, "message": "slow down"}, 3.0),
        ({"error": {"retry_after_ms": 250}}, 0.25),
        ({"error": "slow down", "retry_after_seconds": 4}, 4.0),
        ({"error": {"metadata": {"headers": {"X-RateLimit-Reset": str((NOON + 40) * 1000)}}}}, 40.0),
        ({"error": {"metadata": {"headers": {"Retry-After": "5", "X-RateLimit-Reset": "9"}}}}, 5.0),
        ([{"error": {"details": [{"retryDelay": "7s"}]}}], 7.0),
        ({"error": {"retry_after": True}}, None),
        ({"error": {"retry_after": -1}}, None),
        ({"error": {"retry_after": None}}, None),
        ({"error": {"retry_after": [5]}}, None),
        ({"error": {"message": "Please try again in 20s."}}, None),  # words are not read
    ],
)
def test_what_an_error_says_of_when_to_try_again(body: Any, seconds: float | None) -> None:
    assert error(429, body, DATE).retry_after == seconds
    assert error(429, body, {**DATE, "retry-after": "2"}).retry_after == 2
