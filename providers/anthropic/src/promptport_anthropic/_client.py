"""Anthropic through its SDK: the Messages API, and servers that speak it by ``base_url``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from promptport.provider import (
    AssistantMessage,
    BaseClient,
    ByteStream,
    Capability,
    ConfigurationError,
    LLModel,
    ModelCapabilities,
    Prompt,
    PromptportError,
    SdkTransport,
    StreamDecoder,
    Timeouts,
    ToolDescriptor,
    TransportError,
    check_api_key,
    check_base_url,
)
from promptport_anthropic._decode import MessagesDecoder, decode_complete
from promptport_anthropic._models import capabilities_of
from promptport_anthropic._request import messages_body

if TYPE_CHECKING:
    import ssl

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
        ssl_context: ssl.SSLContext | None = None,
        betas: Sequence[str] = (),
        api_version: str | None = None,
        max_connections: int = 2000,
        eager_input_streaming: bool = False,
        origin: str | None = None,
        **sdk_options: Any,
    ) -> None:
        """Args:
            api_key: without it ``ANTHROPIC_API_KEY``; a server at another ``base_url`` may need none.
            auth_token: a bearer token in the key's place; without both ``ANTHROPIC_AUTH_TOKEN``.
            base_url: without ``/v1``; by default ``ANTHROPIC_BASE_URL``, or Anthropic's.
            timeouts: the clocks.
            http_client: an ``httpx2.AsyncClient`` of the caller's, which stays open.
            ssl_context: whom to trust; else whom the SDK trusts.
            betas: sent as ``anthropic-beta`` with every request, in front of ``extra["betas"]``.
            api_version: the ``anthropic-version`` header, where it shall not be the SDK's. Anthropic takes
                ``temperature`` (of models before 4.7) only below 2026-10-21.
            max_connections: how many streams may be open at once; more wait.
            eager_input_streaming: arguments of calls are streamed as the model writes them, unchecked: sooner, and
                sometimes not JSON (`InvalidToolCall`).
            origin: a name for the server, if servers at several addresses are one; see `Origin`.
            sdk_options: what else ``anthropic.AsyncAnthropic`` takes (``default_headers``, ``profile`` …).

        Raises:
            ConfigurationError: no key where one is needed, or an unusable one; an unusable URL.
        """
        super().__init__(timeouts=timeouts, origin=origin)
        url = base_url or os.environ.get("ANTHROPIC_BASE_URL")
        self.address = self._base_url = check_base_url(url or _DEFAULT_BASE_URL, provider=self.provider)
        self._own = own = self._base_url.split("://", 1)[1].split("/", 1)[0].endswith("api.anthropic.com")
        self._sampling = not own or (api_version is not None and api_version < _WITHOUT_SAMPLING)
        self._betas = (betas,) if isinstance(betas, str) else tuple(betas)
        self._eager = eager_input_streaming
        self._secrets: list[str] = []
        self._options = sdk_options
        if url:
            self._options["base_url"] = self._base_url
        if api_version is not None:
            headers = {"anthropic-version": api_version, **(sdk_options.get("default_headers") or {})}
            self._options["default_headers"] = headers
        if not any(sdk_options.get(name) for name in _OTHER_CREDENTIALS):
            self._take_key(api_key, auth_token, own)
        self._transport = SdkTransport(
            "anthropic",
            "AsyncAnthropic",
            provider=self.provider,
            base_url=self._base_url,
            timeouts=self._timeouts,
            http_client=http_client,
            ssl_context=ssl_context,
            max_connections=max_connections,
            options=self._options,
            secrets=self._secrets,
        )

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
                sdk = await self._transport.client()
                return [LLModel(self.provider, model.id) async for model in sdk.models.list(limit=1000)]
        except PromptportError:
            raise
        except Exception as error:
            raise self._translated(error, LLModel(self.provider, "models")) from error

    # ------------------------------------------------------------------------- what BaseClient asks for

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
            signed_thoughts=self._own,
        )

    def _decoder(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> StreamDecoder[Any]:
        return MessagesDecoder(prompt.call_ids())

    def _complete(self, data: bytes, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        return decode_complete(data, prompt.call_ids())

    async def _open(self, body: dict[str, Any], model: LLModel) -> ByteStream:
        return await self._transport.open(_PATH, body, self._beta_header(body))

    async def _post(self, body: dict[str, Any], model: LLModel) -> bytes:
        return await self._transport.post(_PATH, body, self._beta_header(body))

    def _beta_header(self, body: dict[str, Any]) -> dict[str, str]:
        """The client's betas and the request's own, which travel in a header and not in the body."""
        betas = [*self._betas, *body.pop("betas", ())]
        return {"anthropic-beta": ",".join(dict.fromkeys(betas))} if betas else {}

    def _failure(self, error: Exception, model: LLModel) -> PromptportError | None:
        if type(error).__name__ == "RetryableError" and type(error).__module__.startswith("anthropic"):
            text = f"{self.provider}: a middleware of the SDK wants the request sent again"
            return TransportError(text, provider=self.provider, model=model.id)
        return self._transport.failure(error, model.id)

    async def _aclose(self) -> None:
        await self._transport.aclose()
