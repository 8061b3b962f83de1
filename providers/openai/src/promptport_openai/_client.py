"""OpenAI: one client class, two APIs (Responses, Chat Completions), and clones by ``base_url``.

Requests go over promptport's own transport. The SDK is imported only for an ``sdk_client``, or for options that only it
understands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from promptport.provider import (
    APIKey,
    AssistantMessage,
    HTTPClient,
    Limits,
    LLModel,
    ModelCapabilities,
    Origin,
    Prompt,
    SdkTransport,
    StreamDecoder,
    Timeouts,
    ToolDescriptor,
    check_base_url,
    check_headers,
    check_options,
    is_within,
    refuse_beside_sdk_client,
)
from promptport_openai._azure import AZURE_OPTIONS, azure_of
from promptport_openai._models import CHECKED, DESCRIBED

if TYPE_CHECKING:
    import ssl

__all__ = ["OpenAIAPI", "OpenAIClient"]

_HOME = "https://api.openai.com/v1"
_SDK_OPTIONS = ("admin_api_key", "data_residency", "provider", "webhook_secret", "websocket_base_url")
_SDK_CREDENTIALS = ("data_residency", "provider", "workload_identity")
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


class OpenAIAPI(msgspec.Struct, frozen=True):
    """What tells one of OpenAI's APIs from the other; all of it pure.

    Attributes:
        provider: the client's provider name.
        path: below the base URL.
        body: prompt, model, tools, stream, the server → request body.
        decoder: the ids of the conversation's calls → a decoder.
        complete: the body of a response that was not streamed, and those ids → the message.
        capabilities: model id, and whether the server is OpenAI's own → what it can do.
        answers: what structured answers are held to; see `BaseClient.answer_dialect`.
    """

    provider: str
    path: str
    body: Callable[[Prompt, LLModel, Sequence[ToolDescriptor], bool, Origin | None], dict[str, Any]]
    decoder: Callable[[frozenset[str]], StreamDecoder[Any]]
    complete: Callable[[bytes, frozenset[str]], AssistantMessage]
    capabilities: Callable[[str, bool], ModelCapabilities]
    answers: str = ""


class OpenAIClient(HTTPClient):
    """One of OpenAI's APIs, at OpenAI, at Azure, or at a server that speaks it."""

    base_url = _HOME
    key_variable = "OPENAI_API_KEY"
    url_variable = "OPENAI_BASE_URL"
    described_models = DESCRIBED
    described_on = CHECKED

    def __init__(
        self,
        api: Callable[[bool], OpenAIAPI],
        *,
        api_key: APIKey | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: Any = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int | None = None,
        limits: Limits | None = None,
        sdk_client: Any = None,
        organization: str | None = None,
        project: str | None = None,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, str] | None = None,
        origin: str | None = None,
        platform: str | None = None,
        **sdk_options: Any,
    ) -> None:
        """A client of one API.

        Args:
            api: Which API, told whether the server speaks OpenAI's own dialect.
            api_key: The key, or a function that gives a fresh token for each request (Entra ID). Default:
                ``OPENAI_API_KEY``, if the request goes to OpenAI. A server at another ``base_url`` might need none.
            base_url: Default: ``OPENAI_BASE_URL``, or OpenAI's. Azure: ``https://NAME.openai.azure.com/openai/v1``.
            timeouts: The timeouts of a request.
            headers: Sent with every request.
            http_client: Your own ``aiohttp.ClientSession`` or ``httpx.AsyncClient``. promptport does not close it.
            ssl_context: The certificates to trust. Default: the system's.
            max_connections: How many requests may be open at once; more wait. Default: no limit.
            limits: How much of a response is accepted.
            sdk_client: Your own ``openai.AsyncOpenAI`` or ``AsyncAzureOpenAI``: its credentials, URL and headers.
            organization: Default: ``OPENAI_ORG_ID``, if the request goes to OpenAI.
            project: Default: ``OPENAI_PROJECT_ID``, if the request goes to OpenAI.
            default_headers: Another name for ``headers``.
            default_query: Appended to every URL.
            origin: A name for the server, if servers at several addresses are one; see `Origin`.
            platform: ``azure`` for Azure, version 1: with ``azure_endpoint`` (or ``resource``, the name in it), and
                ``api_key``, ``azure_ad_token`` or ``azure_ad_token_provider``. ``azure_endpoint`` alone says it, too.
                Default: ``AZURE_OPENAI_ENDPOINT``, and ``AZURE_OPENAI_API_KEY`` or ``AZURE_OPENAI_AD_TOKEN``.
            sdk_options: Options that only the SDK understands (``workload_identity``, ``provider``,
                ``data_residency`` …). One of them makes an SDK client.

        Raises:
            ConfigurationError: No key where one is needed, an unusable one, an unusable URL, or an unknown option.
        """
        azure = None
        if sdk_client is None:
            azure = azure_of(platform, sdk_options, api_key=api_key, base_url=base_url)
            if azure is not None:
                base_url, api_key, self.key_header = azure.url, azure.key, azure.key_header
        known = OpenAIClient.__init__.__kwdefaults__ or {}
        check_options(sdk_options, {*known, *AZURE_OPTIONS, *_SDK_OPTIONS, *_SDK_CREDENTIALS}, where="OpenAIClient")
        given = base_url or os.environ.get(self.url_variable) or _HOME
        merged = check_headers(headers, provider="openai")
        merged |= check_headers(default_headers, provider="openai")
        if sdk_client is not None:
            refuse_beside_sdk_client(api_key, base_url, http_client, merged, platform, sdk_options, provider="openai")
            given = str(sdk_client.base_url).rstrip("/") if hasattr(sdk_client, "base_url") else given
        checked = check_base_url(given, provider="openai")
        own = is_within(checked, _HOME)
        on_azure = azure is not None or (urlsplit(checked).hostname or "").endswith(_AZURE)
        self._api = api(own or on_azure)
        self.provider = self._api.provider
        self.path = self._api.path
        self.answer_dialect = self._api.answers
        transport = None
        if sdk_client is not None or sdk_options:
            options: dict[str, Any] = {
                "api_key": api_key,
                "base_url": base_url,
                "organization": organization,
                "project": project,
                "default_headers": merged or None,
                "default_query": default_query,
                **sdk_options,
            }
            transport = SdkTransport(
                "openai",
                "AsyncOpenAI",
                provider=self.provider,
                base_url=checked,
                timeouts=timeouts,
                limits=limits,
                sdk_client=sdk_client,
                http_client=http_client,
                ssl_context=ssl_context,
                max_connections=max_connections,
                options=options,
                secrets=[api_key] if isinstance(api_key, str) else [],
            )
        if own:
            organization = organization or os.environ.get("OPENAI_ORG_ID")
            project = project or os.environ.get("OPENAI_PROJECT_ID")
        names = {"openai-organization": organization, "openai-project": project}
        self.default_headers = {name: value for name, value in names.items() if value}
        self.default_query = dict(default_query or {})
        super().__init__(
            api_key=api_key,
            base_url=base_url,
            timeouts=timeouts,
            headers=merged,
            http_client=http_client,
            ssl_context=ssl_context,
            max_connections=max_connections,
            limits=limits,
            origin=origin,
            transport=transport,
        )

    # ------------------------------------------------------------------------------------------- verbs

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What this model can do here; without network."""
        return model.capabilities or self._api.capabilities(model.id, self.own)

    # ------------------------------------------------------------------------ what HTTPClient asks for

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        return self._api.body(prompt, model, tools, stream, self.origin)

    def _decoder(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> StreamDecoder[Any]:
        return self._api.decoder(prompt.call_ids())

    def _complete(self, data: bytes, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        return self._api.complete(data, prompt.call_ids())
