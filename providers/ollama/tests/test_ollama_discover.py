"""What models can do: unknown, declared, discovered; and that no exception of a library gets out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import aiohttp
import httpx
import ollama
import pytest

from promptport.errors import (
    InvalidInputError,
    ModelNotFoundError,
    PromptportError,
    ProtocolError,
    ServerError,
    TransportError,
    UnsupportedCapabilityError,
)
from promptport.messages import ImagePart, Prompt, ReasoningEffort
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.stream import Timeouts
from promptport.testing import WireResponse, WireServer
from promptport.tools import ToolDescriptor
from promptport_ollama import OllamaClient
from promptport_ollama._models import UNKNOWN

MODEL = LLModel("ollama", "qwen3:4b")
TOOL = ToolDescriptor("f")
SHOW: dict[str, Any] = {
    "license": "…",
    "details": {"family": "qwen3"},
    "model_info": {"general.architecture": "qwen3", "qwen3.context_length": 262144, "qwen3.block_count": 36},
    "capabilities": ["completion", "tools", "thinking"],
    "thinking": {"values": [False, True], "default": True},
    "modified_at": "2026-08-14T15:49:43.634137516-07:00",
}
ALWAYS = {Capability.SYSTEM, Capability.TEMPERATURE, Capability.STOP, Capability.SEED, Capability.JSON_SCHEMA}


@pytest.fixture(params=["aiohttp", "httpx"])
async def library(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, Any]]:
    if request.param == "aiohttp":
        yield {}
    else:
        async with httpx.AsyncClient(trust_env=False) as http_client:
            yield {"http_client": http_client}


def show(**changes: Any) -> WireResponse:
    return WireResponse.json({**SHOW, **changes})


# -------------------------------------------------------------------------------------------- discover


async def test_discover_asks_once_and_capabilities_know_it_then(library: dict[str, Any]) -> None:
    async with WireServer(show()) as server, OllamaClient(base_url=server.url, **library) as client:
        assert client.capabilities(MODEL) is UNKNOWN
        found = await client.discover(MODEL)
        assert found == await client.discover(MODEL) == client.capabilities(MODEL)
    assert found == ModelCapabilities(
        StreamedTools.WHOLE,
        frozenset(ALWAYS | {Capability.TOOLS, Capability.REASONING, Capability.REASONING_EFFORT}),
        context_length=262144,
    )
    (request,) = server.requests
    assert (request.method, request.path, request.json()["model"]) == ("POST", "/api/show", "qwen3:4b")


async def test_a_discovered_model_is_not_asked_for_what_it_lacks() -> None:
    image = ImagePart(b"x", media_type="image/png")
    async with WireServer(show(capabilities=["completion"])) as server, OllamaClient(base_url=server.url) as client:
        found = await client.discover(MODEL)
        assert (found.streamed_tools, set(found.capabilities)) == (StreamedTools.NONE, ALWAYS)
        for prompt, tools, missing in (
            (Prompt.of("Hi"), [TOOL], "tools"),
            (Prompt().user("Hi", image), [], "images"),
            (Prompt.of("Hi", reasoning_effort=ReasoningEffort.LOW), [], "reasoning_effort"),
        ):
            with pytest.raises(UnsupportedCapabilityError) as raised:
                client.execute_streaming_with_tools(prompt, MODEL, tools)
            assert missing in raised.value.missing


async def test_vision_and_new_words() -> None:
    words = ["completion", "vision", "decision", "embedding"]
    answer = show(capabilities=words, model_info={})
    async with WireServer(answer) as server, OllamaClient(base_url=server.url) as client:
        found = await client.discover(MODEL)
    assert set(found.capabilities) == ALWAYS | {Capability.IMAGES}
    assert found.context_length is None


async def test_a_server_that_cannot_say() -> None:
    old = {name: value for name, value in SHOW.items() if name != "capabilities"}
    async with WireServer() as server, OllamaClient(base_url=server.url) as client:
        server.answer(lambda _: WireResponse.json(old))
        assert await client.discover(MODEL) is UNKNOWN
        declared = ModelCapabilities()
        assert await client.discover(LLModel("ollama", "other", declared)) is declared


def test_what_the_caller_declares_goes_first() -> None:
    declared = ModelCapabilities(StreamedTools.NONE)
    assert OllamaClient().capabilities(LLModel("ollama", "qwen3:4b", declared)) is declared


def test_an_unknown_model_may_be_asked_for_all_that_the_api_has() -> None:
    assert not UNKNOWN.known
    assert UNKNOWN.streamed_tools is StreamedTools.WHOLE
    assert set(UNKNOWN.capabilities) == ALWAYS | {
        Capability.TOOLS,
        Capability.IMAGES,
        Capability.REASONING,
        Capability.REASONING_EFFORT,
    }


async def test_models(library: dict[str, Any]) -> None:
    entries = [{"name": "qwen3:4b", "model": "qwen3:4b", "size": 1}, {"model": "hf.co/a/b:Q4"}, {"name": "nameless"}]
    async with (
        WireServer(WireResponse.json({"models": entries})) as server,
        OllamaClient(base_url=f"{server.url}/behind/", **library) as client,
    ):
        assert await client.models() == [MODEL, LLModel("ollama", "hf.co/a/b:Q4")]
    assert (server.requests[0].method, server.requests[0].path) == ("GET", "/behind/api/tags")


async def test_asking_uses_the_connection_of_the_chat(library: dict[str, Any]) -> None:
    done = WireResponse.json({"message": {"content": "Hi"}, "done": True})
    async with WireServer(show(), WireResponse.json({"models": []}), done) as server:
        async with OllamaClient(base_url=server.url, api_key="secret-key", **library) as client:
            await client.discover(MODEL)
            await client.models()
            await client.execute(Prompt.of("Hi"), MODEL)
        assert server.connections == 1
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer secret-key"}


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (WireResponse.json({"error": "model 'qwen3:4b' not found"}, 404), ModelNotFoundError),
        (WireResponse.json([], 500), ServerError),
        (WireResponse(b"<html>", content_type="text/html"), ProtocolError),
        (WireResponse.json([]), ProtocolError),
        (WireResponse.json({"models": 5, "model_info": 5}), ProtocolError),
    ],
)
async def test_questions_that_go_wrong(
    library: dict[str, Any], response: WireResponse, kind: type[PromptportError]
) -> None:
    async with WireServer(response, response) as server, OllamaClient(base_url=server.url, **library) as client:
        for question in (client.discover(MODEL), client.models()):
            with pytest.raises(kind) as raised:
                await question
            assert type(raised.value) is kind


async def test_a_server_that_does_not_answer(library: dict[str, Any]) -> None:
    timeouts = Timeouts(first_frame=0.5)
    async with WireServer() as server, OllamaClient(base_url=server.url, timeouts=timeouts, **library) as client:
        server.queue(*[WireResponse(b"{}", stall_after=0)] * 2)
        for question in (client.discover(MODEL), client.models()):
            with pytest.raises(TransportError, match="in time"):
                await question
        await server.client_closed(2)


async def test_a_closed_client_asks_nobody() -> None:
    client = OllamaClient()
    await client.aclose()
    with pytest.raises(InvalidInputError):
        await client.discover(MODEL)


# ----------------------------------------------------------------------------- exceptions of the libraries


def exceptions_in(*modules: ModuleType) -> Iterator[type[Exception]]:
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Exception) and not issubclass(value, Warning):
                yield value


AIOHTTP = sorted(set(exceptions_in(aiohttp, aiohttp.client_exceptions)), key=lambda kind: kind.__name__)
OLLAMA = sorted(set(exceptions_in(ollama, ollama._types)), key=lambda kind: kind.__name__)


def test_the_walks_find_something() -> None:
    assert len(AIOHTTP) > 25
    assert {"RequestError", "ResponseError"} <= {kind.__name__ for kind in OLLAMA}


@pytest.mark.parametrize("kind", AIOHTTP)
def test_every_exception_of_aiohttp_is_mapped(kind: type[Exception]) -> None:
    assert isinstance(OllamaClient()._failure(kind.__new__(kind), MODEL), PromptportError)


@pytest.mark.parametrize("kind", [*OLLAMA, ValueError, AttributeError, ConnectionError, asyncio.TimeoutError])
async def test_no_exception_of_the_sdk_gets_out(kind: type[Exception]) -> None:
    error = kind.__new__(kind)

    async def question(_: ollama.AsyncClient) -> None:
        raise error

    async with OllamaClient() as client:
        with pytest.raises(PromptportError) as raised:
            await client._ask(question, "m")
    assert raised.value.__cause__ is error
