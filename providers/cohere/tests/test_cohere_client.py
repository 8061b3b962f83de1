"""Addresses, keys, models and errors of Cohere's API."""

from __future__ import annotations

import json
from typing import Any

import pytest

import promptport as pp
import promptport_cohere
from promptport.errors import (
    AuthenticationError,
    ConfigurationError,
    ContextLengthError,
    ModelNotFoundError,
    ProtocolError,
    UnsupportedCapabilityError,
)
from promptport.messages import Prompt
from promptport.models import Capability, LLModel, StreamedTools
from promptport.testing import WireResponse, WireServer

client: Any = promptport_cohere.client
HI = Prompt.of("Hi")
MODEL = LLModel("cohere", "command-a-03-2025")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CO_API_KEY", "COHERE_API_KEY", "CO_API_URL"):
        monkeypatch.delenv(name, raising=False)


def answer(body: Any, status: int = 200) -> WireResponse:
    return WireResponse(json.dumps(body).encode(), status=status, content_type="application/json")


WHOLE = {"id": "1", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": []}}


async def test_the_request_goes_to_version_2_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WireServer(answer(WHOLE), answer(WHOLE)) as server:
        async with client(base_url=server.url, api_key="test-key") as made:
            await made.execute(HI, MODEL)
        monkeypatch.setenv("CO_API_KEY", "of-the-environment")
        monkeypatch.setenv("CO_API_URL", server.url)
        made_by_name: Any = pp.client("cohere")
        async with made_by_name:
            await made_by_name.execute(HI, MODEL)
        first, second = server.requests
    assert (first.path, first.headers["authorization"]) == ("/v2/chat", "Bearer test-key")
    assert "authorization" not in second.headers  # another address than Cohere's


@pytest.mark.parametrize(
    ("variables", "key"),
    [({"CO_API_KEY": "one", "COHERE_API_KEY": "two"}, "one"), ({"COHERE_API_KEY": "two"}, "two")],
)
async def test_keys_of_the_environment(variables: dict[str, str], key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with client() as made:
        assert made.base_url == "https://api.cohere.com"
        assert key in made._transport.secrets


def test_no_key() -> None:
    with pytest.raises(ConfigurationError, match="CO_API_KEY"):
        client()


async def test_models_and_discover() -> None:
    listed = {"models": [{"name": "command-a-03-2025", "endpoints": ["chat"]}, {"name": "b"}, {"name": None}]}
    told = {"name": "new", "context_length": 9000.0}
    async with WireServer(answer(listed), answer(told), answer([])) as server:
        async with client(base_url=server.url, api_key="test-key") as made:
            assert [model.id for model in await made.models()] == ["command-a-03-2025", "b"]
            new = LLModel("cohere", "a/new")
            assert (await made.discover(new)).context_length == 9000
            assert made.capabilities(new) == await made.discover(new)
            with pytest.raises(ProtocolError, match="base_url"):
                await made.discover(LLModel("cohere", "other"))
        assert [request.path for request in server.requests][:1] == ["/v1/models"]
        assert "endpoint=chat" in server.requests[0].query


def test_capabilities() -> None:
    made = client(api_key="test-key")
    told = {
        "command-a-03-2025": (StreamedTools.DELTAS, True, False, 256_000),
        "command-a-reasoning-08-2025": (StreamedTools.DELTAS, True, False, 256_000),
        "command-a-plus-05-2026": (StreamedTools.DELTAS, True, True, 128_000),
        "command-a-vision-07-2025": (StreamedTools.NONE, False, True, 128_000),
        "command-r-plus-08-2024": (StreamedTools.DELTAS, False, False, 128_000),
        "command-z": (StreamedTools.DELTAS, True, True, None),
    }
    for name, (streamed, choice, images, context) in told.items():
        found = made.capabilities(LLModel("cohere", name))
        assert (found.streamed_tools, found.context_length) == (streamed, context), name
        assert (Capability.TOOL_CHOICE in found, Capability.IMAGES in found) == (choice, images), name
        assert found.known is (name != "command-z")


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (401, "invalid api token", AuthenticationError),
        (498, "invalid token", AuthenticationError),
        (404, "model 'x' not found, make sure the correct model ID was used", ModelNotFoundError),
        (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081", ContextLengthError),
    ],
)
async def test_errors_of_the_server(status: int, message: str, kind: type[Exception]) -> None:
    async with WireServer(answer({"id": "1", "message": message}, status)) as server:
        async with client(base_url=server.url, api_key="test-key") as made:
            with pytest.raises(kind, match=message[:12]):
                await made.execute(HI, MODEL)


async def test_what_the_api_has_no_form_for_is_refused_before_sending() -> None:
    async with WireServer() as server, client(base_url=server.url, api_key="test-key") as made:
        for prompt in (HI.with_params(user="u"), HI.with_params(reasoning_effort="high")):
            with pytest.raises(UnsupportedCapabilityError):
                await made.execute(prompt, LLModel("cohere", "command-a-plus-05-2026"))
        tool = pp.ToolDescriptor("f")
        for prompt in (HI.with_params(parallel_tool_calls=True), HI.with_params(response_schema={"type": "object"})):
            with pytest.raises(UnsupportedCapabilityError):
                await made.execute(prompt, MODEL, [tool])
        assert server.requests == []
