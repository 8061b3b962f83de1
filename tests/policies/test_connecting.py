"""`connect` with the usual policies in one line, over real sockets."""

from __future__ import annotations

from typing import Any

import pytest
from tests.policies.faults import PROMPT, answer

import promptport as pp
from promptport.policies import FallbackExecutor, Limits, RetryConfig
from promptport.testing import WireResponse, WireServer

BUSY = {"error": {"message": "not now"}}


def options(url: str) -> dict[str, Any]:
    return {"openai-chat": {"api_key": "test-key-1234", "base_url": url}}


async def test_retries_limits_and_fallbacks_in_one_line() -> None:
    async with WireServer(*[WireResponse.json(BUSY, 503)] * 2, answer("Hello")) as server:
        executor = pp.connect(
            "openai-chat",
            options=options(server.url),
            retry=RetryConfig(max_attempts=2, initial_delay=0.0),
            limits=Limits(concurrency=1),
            fallback=["openai-chat/second"],
        )
        assert isinstance(executor, FallbackExecutor)
        async with executor:
            message = await executor.execute_streaming_with_tools(PROMPT, "openai-chat/first").message()
        assert message.text == "Hello"
        assert [request.json()["model"] for request in server.requests] == ["first", "first", "second"]


async def test_without_them_nothing_is_retried() -> None:
    async with WireServer(WireResponse.json(BUSY, 503)) as server:
        async with pp.connect("openai-chat", options=options(server.url)) as executor:
            with pytest.raises(pp.OverloadedError):
                await executor.execute(PROMPT, "openai-chat/first")
        assert len(server.requests) == 1


def test_limits_for_a_provider_that_was_not_asked_for() -> None:
    with pytest.raises(pp.InvalidInputError, match="anthropic"):
        pp.connect("openai-chat", options=options("http://x"), limits={"anthropic": Limits(concurrency=1)})
