"""OpenAI's APIs on Azure by a short option: what is sent is what the SDK sends, with Azure's own credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from promptport.errors import ConfigurationError, ProviderError
from promptport.messages import Prompt, ToolChoice
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.testing import RecordedRequest, WireResponse, WireServer
from promptport.tools import ToolDescriptor
from promptport_openai import chat_client, responses_client

MADE: Any = {"chat": chat_client, "responses": responses_client}
EVERYTHING = ModelCapabilities.of(StreamedTools.DELTAS, Capability)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolDescriptor("weather", "Current weather.", SCHEMA)
PROMPT = Prompt.of("Hi", system="Be brief.", max_tokens=9, user="u1", tool_choice=ToolChoice.REQUIRED)
KEY, TOKEN = "azure-key-0123", "entra-token-0123"
VARIABLES = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_VERSION"),
    *("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_ENDPOINT"),
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")  # does not go to Azure


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse.json({"error": {"message": "seen"}}, 400))
        yield server


def asked(request: RecordedRequest) -> Any:
    headers = {name: request.headers.get(name) for name in ("authorization", "api-key", "content-type")}
    return request.method, request.path, request.query, headers, request.json()


async def sent(server: WireServer, api: str, **options: Any) -> RecordedRequest:
    client = MADE[api](**options)
    with pytest.raises(ProviderError, match="seen"):
        await client.execute_streaming_with_tools(
            PROMPT, LLModel(client.provider, "my-deployment", EVERYTHING), [WEATHER]
        ).message()
    await client.aclose()
    return server.requests[-1]


def way(server: WireServer, how: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Our options, and the SDK's for the same."""
    if how == "key":
        return {"api_key": KEY}, {"api_key": KEY}
    if how == "token":
        return {"azure_ad_token": TOKEN}, {"azure_ad_token": TOKEN}
    if how == "provider":
        return {"azure_ad_token_provider": lambda: TOKEN}, {"azure_ad_token_provider": lambda: TOKEN}
    return {"api_key": lambda: TOKEN}, {"azure_ad_token_provider": lambda: TOKEN}


@pytest.mark.parametrize("api", MADE)
@pytest.mark.parametrize("how", ["key", "token", "provider", "function"])
async def test_what_is_sent_is_what_the_sdk_sends(server: WireServer, api: str, how: str) -> None:
    options, arguments = way(server, how)
    ours = await sent(server, api, azure_endpoint=server.url, **options)
    sdk = openai.AsyncAzureOpenAI(
        base_url=f"{server.url}/openai/v1", api_version="2026-01-01", max_retries=0, **arguments
    )
    body = ours.json()
    create: Any = sdk.chat.completions.create if api == "chat" else sdk.responses.create
    with pytest.raises(openai.BadRequestError):
        await create(**body)
    await sdk.close()
    theirs = server.requests[-1]
    mine = asked(ours)
    # The SDK's client for Azure speaks the versions before 1: it names one in the query, and for Chat Completions the
    # deployment in the path. Version 1 has neither.
    assert theirs.query == "api-version=2026-01-01"
    assert theirs.path.replace("/deployments/my-deployment", "") == ours.path
    assert mine[2:] == ("", asked(theirs)[3], body)
    assert "of-the-environment" not in str(ours.headers)
    if api == "chat":
        assert body["max_completion_tokens"] == 9


@pytest.mark.parametrize("api", MADE)
async def test_a_key_of_version_1_goes_where_the_plain_sdk_sends_it(server: WireServer, api: str) -> None:
    ours = await sent(server, api, azure_endpoint=f"{server.url}/openai/v1/", api_key=KEY)
    sdk = openai.AsyncOpenAI(base_url=f"{server.url}/openai/v1/", api_key=KEY, max_retries=0)
    create: Any = sdk.chat.completions.create if api == "chat" else sdk.responses.create
    with pytest.raises(openai.BadRequestError):
        await create(**ours.json())
    await sdk.close()
    theirs = server.requests[-1]
    assert (ours.path, ours.query, ours.json()) == (theirs.path, theirs.query, theirs.json())
    assert ours.headers["api-key"] == theirs.headers["authorization"].removeprefix("Bearer ") == KEY


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({"azure_endpoint": "https://my-res.openai.azure.com"}, "https://my-res.openai.azure.com/openai/v1"),
        ({"azure_endpoint": "https://my-res.openai.azure.com/"}, "https://my-res.openai.azure.com/openai/v1"),
        ({"platform": "azure", "resource": "my-res"}, "https://my-res.openai.azure.com/openai/v1"),
        ({"platform": "azure"}, "https://of-the-environment.openai.azure.com/openai/v1"),
        ({"platform": "azure", "base_url": "https://gateway.example/v1"}, "https://gateway.example/v1"),
    ],
)
def test_addresses(options: dict[str, Any], address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://of-the-environment.openai.azure.com/")
    assert responses_client(api_key=KEY, **options).base_url == address  # type: ignore[attr-defined]


async def test_keys_of_the_environment(server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", TOKEN)
    assert (await sent(server, "chat", azure_endpoint=server.url)).headers["authorization"] == f"Bearer {TOKEN}"
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    request = await sent(server, "chat", azure_endpoint=server.url)
    assert (request.headers.get("authorization"), request.headers["api-key"]) == (None, KEY)
    with pytest.raises(ConfigurationError, match="no key for Azure"):
        chat_client(platform="azure", base_url=server.url)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"platform": "aws"}, "'aws' is not known. Pass 'azure'"),
        ({"platform": "azure", "api_key": "k"}, "no address of Azure"),
        ({"azure_endpoint": "https://a.openai.azure.com"}, "no key for Azure"),
        ({"azure_endpoint": "https://a.example", "resource": "a", "api_key": "k"}, "exclude each other"),
        (
            {"azure_endpoint": "https://a.example", "base_url": "https://b.example", "api_key": "k"},
            "exclude each other",
        ),
        ({"resource": "a", "api_key": "k", "azure_ad_token": "t"}, "api_key and azure_ad_token exclude each other"),
        ({"resource": "evil.example/x", "api_key": "k"}, "is not the name of a resource"),
    ],
)
@pytest.mark.parametrize("api", MADE)
def test_options_that_cannot_be_used(api: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        MADE[api](**options)
