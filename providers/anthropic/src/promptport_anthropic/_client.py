"""Anthropic through its SDK: the Messages API, and servers that speak it by ``base_url``.

Rule: the SDK opens the request (credentials, URL, headers); its event objects are never built, the bytes are decoded
here. Its retries are off, because what to do about a failure is an executor's policy, and so are its clocks, but for
connecting. It is imported with the first request, in a thread, because that takes seconds.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from promptport.client import BaseClient, ByteStream, check_api_key
from promptport.decoder import StreamDecoder
from promptport.errors import (
    ConfigurationError,
    InvalidInputError,
    PromptportError,
    ProtocolError,
    ProviderError,
    TransportError,
)
from promptport.http_errors import status_error
from promptport.messages import AssistantMessage, Prompt
from promptport.models import Capability, LLModel, ModelCapabilities
from promptport.stream import Timeouts
from promptport.tools import ToolDescriptor
from promptport.transport import ResponseStream, check_base_url, transport_error
from promptport_anthropic._decode import MessagesDecoder, decode_complete
from promptport_anthropic._models import capabilities_of
from promptport_anthropic._request import messages_body

__all__ = ["AnthropicClient"]

_DEFAULT_BASE_URL = "https://api.anthropic.com"
_WITHOUT_SAMPLING = "2026-10-21"
_OTHER_CREDENTIALS = ("credentials", "config", "profile")
_PATH = "/v1/messages"


class AnthropicClient(BaseClient):
    """The Messages API, at Anthropic or at a server that speaks it."""

    provider = "anthropic"

    def __init__(
        self,
        *,
        api_key: str | None = None,
        auth_token: str | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | None = None,
        http_client: Any = None,
        betas: Sequence[str] = (),
        api_version: str | None = None,
        max_connections: int = 2000,
        eager_input_streaming: bool = False,
        **sdk_options: Any,
    ) -> None:
        """Args:
            api_key: without it ``ANTHROPIC_API_KEY``; a server at another ``base_url`` may need none.
            auth_token: a bearer token in the key's place; without both ``ANTHROPIC_AUTH_TOKEN``.
            base_url: without ``/v1``; by default ``ANTHROPIC_BASE_URL``, or Anthropic's.
            timeouts: the clocks.
            http_client: an ``httpx2.AsyncClient`` of the caller's, which stays open.
            betas: sent as ``anthropic-beta`` with every request, in front of ``extra["betas"]``.
            api_version: the ``anthropic-version`` header, where it shall not be the SDK's. Anthropic takes
                ``temperature`` (of models before 4.7) only below 2026-10-21.
            max_connections: how many streams may be open at once; more wait.
            eager_input_streaming: arguments of calls are streamed as the model writes them, unchecked: sooner, and
                sometimes not JSON (`InvalidToolCall`).
            sdk_options: what else ``anthropic.AsyncAnthropic`` takes (``default_headers``, ``profile`` …).

        Raises:
            ConfigurationError: no key where one is needed, or an unusable one; an unusable URL.
        """
        super().__init__(timeouts=timeouts)
        url = base_url or os.environ.get("ANTHROPIC_BASE_URL")
        self._base_url = check_base_url(url or _DEFAULT_BASE_URL, provider=self.provider)
        own = self._base_url.split("://", 1)[1].split("/", 1)[0].endswith("api.anthropic.com")
        self._sampling = not own or (api_version is not None and api_version < _WITHOUT_SAMPLING)
        self._betas = (betas,) if isinstance(betas, str) else tuple(betas)
        self._eager = eager_input_streaming
        self._http_client = http_client
        self._max_connections = max_connections
        self._secrets: list[str] = []
        self._options = sdk_options
        if url:
            self._options["base_url"] = self._base_url
        if api_version is not None:
            headers = {"anthropic-version": api_version, **(sdk_options.get("default_headers") or {})}
            self._options["default_headers"] = headers
        if not any(sdk_options.get(name) for name in _OTHER_CREDENTIALS):
            self._take_key(api_key, auth_token, own)
        self._sdk: Any = None
        self._response_type: Any = None
        self._making = threading.Lock()

    def _take_key(self, api_key: str | None, auth_token: str | None, own: bool) -> None:
        if api_key and auth_token:
            raise ConfigurationError(f"{self.provider}: pass api_key or auth_token, not both")
        if not auth_token and not api_key:
            api_key = os.environ.get("ANTHROPIC_API_KEY")
            auth_token = None if api_key else os.environ.get("ANTHROPIC_AUTH_TOKEN")
        if auth_token:
            name, variable, secret = "auth_token", "ANTHROPIC_AUTH_TOKEN", auth_token
        else:
            # Local servers ask for no key, and the SDK insists on one.
            name, variable, secret = "api_key", "ANTHROPIC_API_KEY", api_key or ("" if own else "none")
        self._options[name] = check_api_key(secret, provider=self.provider, variable=variable)
        self._secrets.append(secret)

    # ------------------------------------------------------------------------------------------- verbs

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """See `LLMClient`."""
        return model.capabilities or capabilities_of(model.id, sampling=self._sampling)

    async def models(self) -> list[LLModel]:
        """The models that the server lists, within ``timeouts.first_frame``. Raises `ProviderError`."""
        try:
            async with asyncio.timeout(self._timeouts.first_frame):
                sdk = await self._opened()
                return [LLModel(self.provider, model.id) async for model in sdk.models.list(limit=1000)]
        except PromptportError:
            raise
        except Exception as error:
            raise self._translated(error, LLModel(self.provider, "models")) from error

    # ------------------------------------------------------------------------- what BaseClient asks for

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        strict = Capability.JSON_SCHEMA in self.capabilities(model)
        return messages_body(
            prompt, model, tools, stream=stream, strict_tools=strict, eager_input_streaming=self._eager
        )

    def _decoder(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> StreamDecoder[Any]:
        return MessagesDecoder(prompt.call_ids())

    def _complete(self, data: bytes, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        return decode_complete(data, prompt.call_ids())

    async def _open(self, body: dict[str, Any], model: LLModel) -> ByteStream:
        # Compression would hold back small chunks, for a text that is read once.
        headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
        return ResponseStream(await self._send(body, headers, stream=True))

    async def _post(self, body: dict[str, Any], model: LLModel) -> bytes:
        response = await self._send(body, {}, stream=False)
        data: bytes = response.content
        return data

    async def _send(self, body: dict[str, Any], headers: dict[str, str], *, stream: bool) -> Any:
        if betas := [*self._betas, *body.pop("betas", ())]:
            headers["anthropic-beta"] = ",".join(dict.fromkeys(betas))
        try:
            content = msgspec.json.encode(body)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"the request cannot be written as JSON: {error}") from error
        sdk = await self._opened()
        # Given bytes, the SDK does not walk the body; asked for the HTTP library's own response type, it hands over
        # the open response.
        return await sdk.post(
            _PATH, content=content, cast_to=self._response_type, stream=stream, options={"headers": headers}
        )

    def _failure(self, error: Exception, model: LLModel) -> PromptportError | None:
        import anthropic  # noqa: PLC0415 - loaded already: the error may be its own

        if isinstance(error, anthropic.APIStatusError):
            response = error.response
            return status_error(
                provider=self.provider,
                model=model.id,
                status=response.status_code,
                headers=response.headers,
                body=response.content,
                secrets=self._secrets,
            )
        if isinstance(error, anthropic.APIConnectionError):
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            known = transport_error(cause, provider=self.provider, model=model.id, base_url=self._base_url)
            text = f"{self.provider}: the server could not be reached"
            return known or TransportError(text, provider=self.provider, model=model.id)
        if isinstance(error, anthropic.APIResponseValidationError):
            return ProtocolError("the server's answer is not what the API allows")
        if isinstance(error, anthropic.APIError):
            return ProviderError("the provider reported an error", provider=self.provider, model=model.id)
        if isinstance(error, anthropic.RetryableError):
            text = f"{self.provider}: a middleware of the SDK wants the request sent again"
            return TransportError(text, provider=self.provider, model=model.id)
        if isinstance(error, anthropic.AnthropicError):
            return ConfigurationError(f"{self.provider}: the SDK refused to send ({type(error).__name__})")
        return transport_error(error, provider=self.provider, model=model.id, base_url=self._base_url)

    async def _aclose(self) -> None:
        if self._sdk is not None and self._http_client is None:
            await self._sdk.close()

    # --------------------------------------------------------------------------------------------- SDK

    async def _opened(self) -> Any:
        """The SDK's client, made with the first request."""
        return self._sdk if self._sdk is not None else await asyncio.to_thread(self._make_sdk)

    def _make_sdk(self) -> Any:
        with self._making:
            if self._sdk is None:
                import anthropic  # noqa: PLC0415 - takes seconds
                import httpx2  # noqa: PLC0415

                http_client = self._http_client
                if http_client is None:
                    limits = httpx2.Limits(max_connections=self._max_connections, keepalive_expiry=30.0)
                    http_client = anthropic.DefaultAioHttpClient(limits=limits)
                defaults: Mapping[str, Any] = {
                    "http_client": http_client,
                    "max_retries": 0,
                    "timeout": httpx2.Timeout(None, connect=self._timeouts.connect),
                }
                try:
                    self._sdk = anthropic.AsyncAnthropic(**{**defaults, **self._options})
                except (TypeError, ValueError) as error:
                    raise ConfigurationError(f"{self.provider}: {error}") from error
                self._response_type = httpx2.Response
            return self._sdk
