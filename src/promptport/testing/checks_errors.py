"""What goes wrong, as checks: HTTP statuses, errors in the stream, answers that are none, servers that are away.

Rule: every one is an error of ours, with what a caller needs to decide; none holds a key.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from promptport.errors import (
    AuthenticationError,
    BadRequestError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    ProviderStreamError,
    RateLimitError,
    ServerError,
    StreamError,
    TransportError,
)
from promptport.frames import Append
from promptport.messages import AssistantMessage
from promptport.models import LLModel
from promptport.testing.bench import LONG, QUESTION, Bench, not_applicable, run
from promptport.testing.checks_safety import keys_in
from promptport.testing.steps import Fail, Say
from promptport.testing.wire_server import RecordedRequest, WireResponse, WireServer

__all__ = ["ErrorChecks"]

_STATUSES: dict[int, type[ProviderError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    413: BadRequestError,
    422: BadRequestError,
    429: RateLimitError,
    500: ServerError,
    502: ServerError,
    503: OverloadedError,
    529: OverloadedError,
}
_BODIES: tuple[tuple[bytes, str | None], ...] = (
    (b'{"error":{"message":"no luck","type":"some_type","code":"some_code"}}', "application/json"),
    (b"<html><body>Bad Gateway</body></html>", "text/html"),
    (b"", None),
)
_NO_STREAMS = {
    "html": (b"<!DOCTYPE html><html><body>Welcome</body></html>", "text/html"),
    "json error": (b'{"error": {"message": "no such thing", "type": "invalid_request_error"}}', "application/json"),
    "empty": (b"", "text/event-stream"),
    "plain text": (b"Service Unavailable", "text/plain"),
}


class ErrorChecks:
    """Which error comes of what."""

    bench: Bench

    @pytest.mark.parametrize("status", _STATUSES)
    def test_http_errors_have_their_class(self, status: int) -> None:
        """With provider, model, status and ``retry_after``, whatever the body; streamed or not; nothing is retried."""
        headers = {"retry-after": "7", "x-request-id": "req_1", "request-id": "req_1"}
        responses = [
            WireResponse(body, status=status, content_type=kind, headers=headers, framing="length")
            for body, kind in _BODIES
            for _ in ("streamed", "whole")
        ]

        async def check() -> None:
            async with self.bench.client(*responses) as (server, client):

                async def failed(asked: Coroutine[Any, Any, AssistantMessage]) -> None:
                    with pytest.raises(ProviderError) as caught:
                        await asked
                    error = caught.value
                    assert isinstance(error, _STATUSES[status]), f"{status} is {error!r}"
                    named = (error.provider, error.model, error.status, error.retry_after)
                    assert named == (client.provider, self.bench.model.id, status, 7)
                    assert QUESTION not in str(error)

                for _ in _BODIES:
                    await self.bench.both_ways(client, failed)
                assert len(server.requests) == len(responses), "nothing is retried"

        run(check())
        self.bench.scenarios += len(responses)

    def test_keys_are_in_no_error(self) -> None:
        """A server that quotes the key of a header or of the query in its error, and the key is not in ours."""
        seen: list[str] = []

        def quoting(request: RecordedRequest) -> WireResponse:
            keys = keys_in(request)
            seen.extend(keys)
            return WireResponse.json({"error": {"message": f"the key {' '.join(keys)} is wrong"}}, status=401)

        async def check() -> None:
            async with self.bench.client() as (server, client):
                server.answer(quoting)

                async def failed(asked: Coroutine[Any, Any, AssistantMessage]) -> None:
                    with pytest.raises(AuthenticationError) as caught:
                        await asked
                    for key in seen:
                        assert key not in f"{caught.value} {caught.value!r} {vars(caught.value)}", (
                            "the key is in the error. Probably the server's text, or the client's own, quotes the key."
                        )

                await self.bench.both_ways(client, failed)

        run(check())
        self.bench.scenarios += 2
        if not seen:
            not_applicable("the client sends no key")

    def test_an_error_in_the_stream_is_raised(self) -> None:
        """`ProviderStreamError` with the provider's words, its code, and what had come."""
        body = self.bench.wire((Say("Hel"), Say("lo"), Fail("it broke", "overloaded")))
        ((frames, error),) = self.bench.play([self.bench.response(body)])
        assert isinstance(error, ProviderStreamError), f"the error was swallowed: {frames}, {error!r}"
        assert "it broke" in str(error)
        if body != self.bench.wire((Say("Hel"), Say("lo"), Fail("it broke", "another"))):  # it has room for the code
            assert error.code == "overloaded"
        assert [frame.text for frame in frames if isinstance(frame, Append)] == ["Hel", "lo"]
        assert error.partial is not None
        assert error.partial.text == "Hello"

    @pytest.mark.parametrize("kind", _NO_STREAMS)
    def test_http_200_without_a_stream_is_an_error(self, kind: str) -> None:
        """A web page, a JSON error or nothing at all is no answer."""
        body, content_type = _NO_STREAMS[kind]
        response = WireResponse(body, content_type=content_type)
        ((frames, error),) = self.bench.play([response])
        assert isinstance(error, StreamError), (frames, error)
        assert frames == []

        async def whole() -> None:
            async with self.bench.client(response) as (_, client):
                with pytest.raises(StreamError):
                    await client.execute(self.bench.prompt, self.bench.model)

        run(whole())

    def test_an_unreachable_server_is_a_transport_error(self) -> None:
        """Refused, or closed before an answer: `TransportError`, streamed or not."""

        async def failed(asked: Coroutine[Any, Any, AssistantMessage]) -> None:
            with pytest.raises(TransportError) as caught:
                await asked
            assert (caught.value.provider, caught.value.model) == (self.bench.model.provider, self.bench.model.id)

        async def check() -> None:
            async with WireServer() as server:
                url = server.url
            client = self.bench.contract.make_client(url, LONG)
            await self.bench.both_ways(client, failed)
            await client.aclose()

        run(check())
        self.bench.scenarios += 2

    def test_the_models_are_listed(self) -> None:
        """``models()`` gives what the server lists, as models of this provider; its errors are ours."""
        body = self.bench.contract.encode_models(["kit-model-1", "kit-model-2"])
        if body is None:
            not_applicable("the protocol lists no models")
        responses = WireResponse(body, content_type="application/json"), WireResponse(b"", status=401)

        async def check() -> None:
            async with self.bench.client(*responses) as (_, client):
                provider = client.provider
                listed = await client.models()
                assert listed == [LLModel(provider, "kit-model-1"), LLModel(provider, "kit-model-2")]
                with pytest.raises(AuthenticationError):
                    await client.models()

        run(check())
        self.bench.scenarios += 2
