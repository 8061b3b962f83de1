"""Addresses, keys and lists of models of both of Google's APIs."""

from __future__ import annotations

import json
from typing import Any

import pytest

import promptport as pp
import promptport_google
from promptport.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidInputError,
    ModelNotFoundError,
    ProtocolError,
    UnsupportedCapabilityError,
)
from promptport.messages import ImagePart, Prompt
from promptport.models import Capability, LLModel, StreamedTools
from promptport.testing import WireResponse, WireServer

client: Any = promptport_google.client
vertex_client: Any = promptport_google.vertex_client
VARIABLES = (
    *("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL"),
    *("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GOOGLE_APPLICATION_CREDENTIALS"),
)
STOP = b'data: {"candidates":[{"finishReason":"STOP"}]}\r\n\r\n'
HI = Prompt.of("Hi")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


async def asked(made: Any, server: WireServer, model: str = "gemini-3-flash-preview") -> Any:
    async with made:
        await made.execute_streaming_with_tools(HI, LLModel(made.provider, model)).message()
    return server.requests[-1]


# ------------------------------------------------------------------------------------------- addresses, keys


@pytest.mark.parametrize(
    ("id", "path"),
    [
        ("gemini-3-flash-preview", "/v1beta/models/gemini-3-flash-preview"),
        ("models/gemini-2.5-pro", "/v1beta/models/gemini-2.5-pro"),
        ("tunedModels/mine-1", "/v1beta/tunedModels/mine-1"),
        ("with space?x=1", "/v1beta/models/with%20space%3Fx%3D1"),
    ],
)
async def test_the_developer_api(id: str, path: str) -> None:
    whole = WireResponse(b'{"candidates":[{"finishReason":"STOP"}]}', content_type="application/json")
    async with WireServer(WireResponse(STOP), whole) as server:
        request = await asked(client(base_url=server.url, api_key="test-key"), server, id)
        assert (request.path, request.query) == (f"{path}:streamGenerateContent", "alt=sse")
        assert request.headers["x-goog-api-key"] == "test-key"
        assert "authorization" not in request.headers
        async with client(base_url=f"{server.url}/v1", api_key="test-key") as made:
            await made.execute(HI, LLModel("google", id))
        assert server.requests[-1].path == f"{path.replace('v1beta', 'v1')}:generateContent"


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"GOOGLE_API_KEY": "one", "GEMINI_API_KEY": "two"}, "one"),
        ({"GEMINI_API_KEY": "two"}, "two"),
    ],
)
async def test_keys_of_the_environment(variables: dict[str, str], key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with WireServer(WireResponse(STOP)) as server:
        made: Any = pp.client("google", base_url=server.url)
        assert "x-goog-api-key" not in (await asked(made, server)).headers  # another address than Google's
    async with client() as own:
        assert own.base_url == "https://generativelanguage.googleapis.com"
        assert key in own._transport.secrets


def test_no_key() -> None:
    with pytest.raises(ConfigurationError, match="GOOGLE_API_KEY"):
        client()


async def test_dots_do_not_leave_the_collection() -> None:
    async with WireServer() as server, client(base_url=server.url, api_key="test-key") as made:
        with pytest.raises(InvalidInputError, match=r"\.\."):
            await made.execute(HI, LLModel("google", "../../files/secret"))
        assert server.requests == []


@pytest.mark.parametrize(
    ("location", "address"),
    [
        (None, "https://aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
async def test_the_addresses_of_vertex(location: str | None, address: str) -> None:
    for options in ({"project": "p"}, {"api_key": "test-key"}):
        async with vertex_client(location=location, **options) as made:
            assert made.base_url == address


def test_options_of_vertex_that_make_no_sense() -> None:
    for options in ({"project": "p"}, {"credentials": object()}):
        with pytest.raises(ConfigurationError, match="exclude each other"):
            vertex_client(api_key="k", **options)
    with pytest.raises(ConfigurationError, match="region"):
        vertex_client(project="p", location="evil.com/")


@pytest.mark.parametrize(
    ("id", "path"),
    [
        ("gemini-2.5-pro", "publishers/google/models/gemini-2.5-pro"),
        ("publishers/google/models/g", "publishers/google/models/g"),
        ("meta/llama", "publishers/meta/models/llama"),
    ],
)
async def test_paths_of_vertex(id: str, path: str) -> None:
    async with WireServer(WireResponse(STOP), WireResponse(STOP)) as server:
        request = await asked(vertex_client(base_url=server.url, api_key="test-key"), server, id)
        assert request.path == f"/v1beta1/{path}:streamGenerateContent"
        assert request.headers["x-goog-api-key"] == "test-key"
        request = await asked(vertex_client(base_url=server.url, project="p-1", location="us"), server, id)
        assert request.path == f"/v1beta1/projects/p-1/locations/us/{path}:streamGenerateContent"
        assert not {"x-goog-api-key", "authorization"} & set(request.headers)  # nobody said that this server may


async def test_a_model_of_a_project_names_its_place_itself() -> None:
    name = "projects/p/locations/l/endpoints/7"
    async with WireServer(WireResponse(STOP)) as server:
        request = await asked(vertex_client(base_url=server.url, project="other"), server, name)
    assert request.path == f"/v1beta1/{name}:streamGenerateContent"


async def test_express_mode_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "express-key")
    async with vertex_client() as made:
        assert "express-key" in made._transport.secrets
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    async with vertex_client() as made:
        assert "express-key" not in made._transport.secrets


# ----------------------------------------------------------------------------------- arguments as they come


@pytest.mark.parametrize("switched_on", [False, True])
async def test_streamed_arguments_are_asked_for_where_they_are_switched_on(switched_on: bool) -> None:
    tool = pp.ToolDescriptor("f")
    whole = WireResponse(b'{"candidates":[{"finishReason":"STOP"}]}', content_type="application/json")
    async with WireServer(WireResponse(STOP), whole) as server:
        made: Any = pp.client(
            "google-vertex",
            base_url=server.url,
            api_key="test-key",
            stream_function_call_arguments=switched_on,
        )
        model = LLModel("google-vertex", "gemini-3-flash-preview")
        expected = StreamedTools.DELTAS if switched_on else StreamedTools.WHOLE
        assert made.capabilities(model).streamed_tools is expected
        async with made:
            await made.execute_streaming_with_tools(HI, model, [tool]).message()
            await made.execute(HI, model, [tool])
        streamed, complete = [request.json().get("toolConfig") for request in server.requests]
    assert streamed == ({"functionCallingConfig": {"streamFunctionCallArguments": True}} if switched_on else None)
    assert complete is None


# ------------------------------------------------------------------------------------------------- models


def page(*names: str, token: str = "", key: str = "models") -> WireResponse:
    body: dict[str, Any] = {key: [{"name": name} for name in names]}
    if token:
        body["nextPageToken"] = token
    return WireResponse(json.dumps(body).encode(), content_type="application/json")


async def test_models_of_all_pages() -> None:
    pages = [page("models/a", "tunedModels/b", token="t/1"), page("models/c")]
    async with WireServer(*pages) as server, client(base_url=server.url, api_key="test-key") as made:
        assert [model.id for model in await made.models()] == ["a", "tunedModels/b", "c"]
        assert [request.query for request in server.requests] == ["pageSize=1000", "pageSize=1000&pageToken=t%2F1"]
    vertex = page("publishers/google/models/g", key="publisherModels")
    async with WireServer(vertex) as server, vertex_client(base_url=server.url, api_key="test-key") as made:
        assert await made.models() == [LLModel("google-vertex", "g")]
        assert server.requests[0].path == "/v1beta1/publishers/google/models"


async def test_a_list_that_is_none() -> None:
    async with WireServer(WireResponse(b"[]", content_type="application/json")) as server:
        async with client(base_url=server.url, api_key="test-key") as made:
            with pytest.raises(ProtocolError, match="base_url"):
                await made.models()


async def test_discover() -> None:
    told = {"name": "models/new", "inputTokenLimit": 9000, "outputTokenLimit": 700, "thinking": False}
    answer = WireResponse(json.dumps(told).encode(), content_type="application/json")
    missing = WireResponse(b'{"error":{"code":404,"message":"not found","status":"NOT_FOUND"}}', status=404)
    async with WireServer(answer, missing) as server, client(base_url=server.url, api_key="test-key") as made:
        model = LLModel("google", "new-model")
        assert not made.capabilities(model).known
        found = await made.discover(model)
        assert (found.context_length, found.max_output_tokens, found.known) == (9000, 700, True)
        assert Capability.REASONING not in found
        assert Capability.TOOLS in found
        assert made.capabilities(model) == await made.discover(model) == found
        assert len(server.requests) == 1
        with pytest.raises(ModelNotFoundError):
            await made.discover(LLModel("google", "other"))


# ------------------------------------------------------------------------------------------------- errors


async def test_errors_of_the_server() -> None:
    body = {
        "error": {
            "code": 400,
            "message": "API key not valid. Please pass a valid API key.",
            "status": "INVALID_ARGUMENT",
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
        }
    }
    refused = WireResponse(json.dumps(body).encode(), status=400, content_type="application/json")
    async with WireServer(refused) as server, client(base_url=server.url, api_key="test-key") as made:
        with pytest.raises(AuthenticationError) as caught:
            await made.execute(HI, LLModel("google", "g"))
    assert (caught.value.status, caught.value.code) == (400, "API_KEY_INVALID")


async def test_what_the_api_has_no_form_for_is_refused_before_sending() -> None:
    async with WireServer() as server, client(base_url=server.url, api_key="test-key") as made:
        model = LLModel("google", "gemini-3-flash-preview")
        for prompt in (
            HI.with_params(user="u"),
            HI.with_params(reasoning_budget=100),
            HI.with_params(reasoning_effort="max"),
            HI.with_params(reasoning_effort="none"),
            Prompt().user("x", ImagePart(data=b"x", media_type="image/png", detail="low")),
        ):
            with pytest.raises(UnsupportedCapabilityError):
                await made.execute(prompt, model)
        with pytest.raises(UnsupportedCapabilityError, match="parallel_tool_calls"):
            await made.execute(HI.with_params(parallel_tool_calls=False), model, [pp.ToolDescriptor("f")])
        assert server.requests == []
