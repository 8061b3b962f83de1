"""Anthropic: the Messages API, and servers that speak it by ``base_url``.

Requests go over promptport's own transport, also to Bedrock, Vertex and Foundry (``platform``). The SDK is imported
only for an ``sdk_client``, or for options that only it understands.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from promptport.provider import (
    APIKey,
    Capability,
    ConfigurationError,
    HTTPClient,
    HTTPRequest,
    Limits,
    LLModel,
    MessagesDecoder,
    ModelCapabilities,
    Prompt,
    ProtocolError,
    SdkTransport,
    Timeouts,
    ToolDescriptor,
    UnsupportedCapabilityError,
    as_model,
    as_prompt,
    as_tools,
    check_base_url,
    check_headers,
    check_options,
    decode_message,
    environment_key,
    is_within,
    refuse_beside_sdk_client,
)
from promptport_anthropic._models import CHECKED, DESCRIBED, capabilities_of
from promptport_anthropic._platform_events import PlatformEvents
from promptport_anthropic._platforms import Bedrock, platform_of
from promptport_anthropic._request import messages_body

if TYPE_CHECKING:
    import ssl

__all__ = ["AnthropicClient"]

_HOME = "https://api.anthropic.com"
_VERSION = "2026-10-21"
_WITHOUT_SAMPLING = "2026-10-21"
_SDK_CREDENTIALS = ("credentials", "config", "profile")
_SDK_OPTIONS = (*_SDK_CREDENTIALS, "middleware", "open_telemetry", "webhook_key")
_PLATFORM_CLIENTS = frozenset({"AsyncAnthropicBedrock", "AsyncAnthropicVertex", "AsyncAnthropicFoundry"})
_COUNT_PATH = "/v1/messages/count_tokens"
_COUNTED = ("betas", "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config")


class _Count(msgspec.Struct):
    input_tokens: int


class AnthropicClient(HTTPClient):
    """The Messages API, at Anthropic or at a server that speaks it."""

    provider = "anthropic"
    described_models = DESCRIBED
    described_on = CHECKED
    tool_dialect = "anthropic"
    answer_dialect = "anthropic-strict"
    base_url = _HOME
    path = "/v1/messages"
    models_path = "/v1/models?limit=1000"
    key_variable = "ANTHROPIC_API_KEY"
    url_variable = "ANTHROPIC_BASE_URL"
    decoder = MessagesDecoder
    complete = decode_message

    def __init__(
        self,
        *,
        api_key: APIKey | None = None,
        auth_token: str | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: Any = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int | None = None,
        limits: Limits | None = None,
        sdk_client: Any = None,
        betas: Sequence[str] = (),
        api_version: str | None = None,
        eager_input_streaming: bool = False,
        default_headers: Mapping[str, str] | None = None,
        origin: str | None = None,
        platform: str | None = None,
        **sdk_options: Any,
    ) -> None:
        """A client of the Messages API.

        Args:
            api_key: The key, or a function that gives a fresh token for each request. Default:
                ``ANTHROPIC_API_KEY``, if the request goes to Anthropic. Another server might need none.
            auth_token: A bearer token instead of a key. Default, without both: ``ANTHROPIC_AUTH_TOKEN``.
            base_url: Without ``/v1``. Default: ``ANTHROPIC_BASE_URL``, or Anthropic's.
            timeouts: The timeouts of a request.
            headers: Sent with every request.
            http_client: Your own ``aiohttp.ClientSession`` or ``httpx.AsyncClient``. promptport does not close it.
            ssl_context: The certificates to trust. Default: the system's.
            max_connections: How many requests may be open at once; more wait. Default: no limit.
            limits: How much of a response is accepted.
            sdk_client: Your own client of the SDK (``AsyncAnthropic``, ``AsyncAnthropicBedrock``,
                ``AsyncAnthropicVertex``, ``AsyncAnthropicFoundry`` …): its credentials, URL and headers.
            betas: Sent as ``anthropic-beta`` with every request, in front of ``extra["betas"]``.
            api_version: The ``anthropic-version`` header. Anthropic takes ``temperature`` (of models before 4.7) only
                below 2026-10-21. Default: 2026-10-21.
            eager_input_streaming: Arguments of calls are streamed as the model writes them, unchecked: sooner, and
                sometimes not JSON (`InvalidToolCall`).
            default_headers: Another name for ``headers``.
            origin: A name for the server, if servers at several addresses are one; see `Origin`.
            platform: Who runs Claude, if not Anthropic: ``bedrock`` (with ``region``, ``access_key``, ``secret_key``,
                ``session_token``, ``profile``, or ``api_key`` for a bearer key), ``vertex`` (``project``, ``location``,
                ``credentials``, or ``api_key`` for an access token) or ``foundry`` (``resource``, and ``api_key`` for a
                key, or for a function that gives a token of Entra ID). Their environment variables are the SDK's.
            sdk_options: The options of the platform; without one, options that only the SDK understands (``profile``,
                ``credentials``, ``config``, ``middleware`` …). One of these makes an SDK client.

        Raises:
            ConfigurationError: No key where one is needed, an unusable one, an unusable URL, or an unknown option.
        """
        if platform is not None and (sdk_client is not None or auth_token):
            beside = "an sdk_client" if sdk_client is not None else "auth_token: pass it as api_key"
            raise ConfigurationError(f"anthropic: platform={platform!r} does not go with {beside}.")
        chosen = platform_of(platform, sdk_options, api_key=api_key, base_url=base_url)
        self._platform = chosen
        known = AnthropicClient.__init__.__kwdefaults__ or {}
        check_options(sdk_options, {*known, *_SDK_OPTIONS}, where="AnthropicClient")
        merged = check_headers(headers, provider="anthropic") | check_headers(default_headers, provider="anthropic")
        if sdk_client is not None:
            refuse_beside_sdk_client(
                api_key, auth_token, base_url, http_client, merged, sdk_options, provider="anthropic"
            )
        if api_key and auth_token:
            raise ConfigurationError("anthropic: pass api_key or auth_token, not both")
        if chosen is not None:
            self.base_url, self.key_header, self.accept = chosen.home, chosen.key_header, chosen.accept
            self.key_variable, self.url_variable, self.models_path, self.needs_key = "", "", "", False
            api_key, base_url = chosen.key, chosen.url
        url = check_base_url(base_url or os.environ.get(self.url_variable) or _HOME, provider=self.provider)
        self._betas = (betas,) if isinstance(betas, str) else tuple(betas)
        self._eager = eager_input_streaming
        transport = None
        if sdk_client is not None or sdk_options:
            versioned = {"anthropic-version": api_version} if api_version is not None else {}
            options: dict[str, Any] = {
                "api_key": api_key,
                "auth_token": auth_token,
                "base_url": base_url,
                "default_headers": {**versioned, **merged} or None,
                **sdk_options,
            }
            keyless = not (api_key or auth_token or any(sdk_options.get(name) for name in _SDK_CREDENTIALS))
            if keyless and not is_within(url, _HOME):
                options["api_key"] = "none"  # the SDK would send a key from the environment to any address
            transport = SdkTransport(
                "anthropic",
                "AsyncAnthropic",
                provider=self.provider,
                base_url=url,
                timeouts=timeouts,
                limits=limits,
                sdk_client=sdk_client,
                http_client=http_client,
                ssl_context=ssl_context,
                max_connections=max_connections,
                options=options,
                secrets=[secret for secret in (api_key, auth_token) if isinstance(secret, str)],
            )
        token_note = ""
        if chosen is None and not api_key and not auth_token and not os.environ.get(self.key_variable):
            auth_token, token_note = environment_key("ANTHROPIC_AUTH_TOKEN", own=is_within(url, _HOME))
        self._version = api_version or _VERSION
        self.default_headers = {"anthropic-version": self._version}
        super().__init__(
            api_key=auth_token or api_key,
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
        self._key_note = self._key_note or token_note
        # On these platforms too it is Claude, which takes only thoughts that it signed.
        resold = any(base.__name__ in _PLATFORM_CLIENTS for base in type(sdk_client).__mro__)
        self._resold = resold or chosen is not None
        self._framed = sdk_client is not None or isinstance(chosen, Bedrock)
        self._sampling = self._resold or not self.own or (api_version is not None and api_version < _WITHOUT_SAMPLING)

    # ------------------------------------------------------------------------------------------- verbs

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What this model can do here; without network."""
        return model.capabilities or capabilities_of(model.id, sampling=self._sampling)

    async def count_tokens(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> int | None:
        """How many tokens the prompt comes to, by the server's own counter.

        Raises:
            ProviderError: The server refused or was not reached.
            ProtocolError: What it answered is not a count.
        """
        prompt, model, tools = as_prompt(prompt), as_model(model, provider=self.provider), as_tools(tools)
        self._check(prompt, model, tools, streaming=False)
        path = _COUNT_PATH if self._platform is None else self._platform.count_path
        if not path:
            raise UnsupportedCapabilityError(provider=self.provider, model=model.id, missing=["a count of tokens"])
        body = self._body(prompt, model, tools, stream=False)
        counted = {key: value for key, value in body.items() if key in _COUNTED}
        headers = self._headers(counted, model)
        with self._redacting():
            data = await self._transport.post(path, counted, model.id, headers=headers)
        try:
            return msgspec.json.decode(data, type=_Count).input_tokens
        except msgspec.DecodeError:
            raise ProtocolError("anthropic: the server's count of tokens cannot be read. Check the base_url.") from None

    # ------------------------------------------------------------------------ what HTTPClient asks for

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        strict = Capability.JSON_SCHEMA in self.capabilities(model)
        return messages_body(
            prompt,
            model,
            tools,
            stream=stream,
            strict_tools=strict,
            eager_input_streaming=self._eager,
            origin=self.origin,
            signed_thoughts=self.own or self._resold,
        )

    def _decoder(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> MessagesDecoder:
        return MessagesDecoder(prompt.call_ids(), PlatformEvents() if self._framed else None)

    def _headers(self, body: dict[str, Any], model: LLModel) -> Mapping[str, str]:
        """The client's betas and the request's own, which travel in a header and not in the body."""
        betas = list(dict.fromkeys([*self._betas, *body.pop("betas", ())]))
        if self._platform is not None:
            self._platform.fit(body, self._version, betas)
        return {"anthropic-beta": ",".join(betas)} if betas else {}

    def _more(self, listed: dict[str, Any]) -> str:
        last = listed.get("last_id")
        return f"&after_id={quote(last, safe='')}" if listed.get("has_more") and isinstance(last, str) else ""

    def _path(self, model: LLModel, *, stream: bool) -> str:
        return self.path if self._platform is None else self._platform.path(model.id, stream=stream)

    async def _prepare(self, request: HTTPRequest) -> None:
        if self._platform is not None:
            await self._platform.prepare(request)
