"""OpenAI through its SDK: one client class, two APIs (Responses, Chat Completions), and clones by ``base_url``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.provider import (
    AssistantMessage,
    BaseClient,
    ByteStream,
    LLModel,
    ModelCapabilities,
    Origin,
    Prompt,
    PromptportError,
    SdkTransport,
    StreamDecoder,
    Timeouts,
    ToolDescriptor,
    check_api_key,
    check_base_url,
)

if TYPE_CHECKING:
    import ssl

__all__ = ["OpenAIAPI", "OpenAIClient"]

_DEFAULT_BASE_URL = "https://api.openai.com/v1"
_NO_KEY = "none"


class OpenAIAPI(msgspec.Struct, frozen=True):
    """What tells one of OpenAI's APIs from the other; all of it pure.

    Attributes:
        provider: the client's provider name.
        path: below the base URL.
        body: prompt, model, tools, stream, the server → request body.
        decoder: the ids of the conversation's calls → a decoder.
        complete: the body of a response that was not streamed, and those ids → the message.
        capabilities: model id, and whether the server is OpenAI's own → what it can do.
    """

    provider: str
    path: str
    body: Callable[[Prompt, LLModel, Sequence[ToolDescriptor], bool, Origin | None], dict[str, Any]]
    decoder: Callable[[frozenset[str]], StreamDecoder[Any]]
    complete: Callable[[bytes, frozenset[str]], AssistantMessage]
    capabilities: Callable[[str, bool], ModelCapabilities]


class OpenAIClient(BaseClient):
    """One of OpenAI's APIs, at OpenAI or at a server that speaks it."""

    def __init__(
        self,
        api: Callable[[bool], OpenAIAPI],
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | None = None,
        http_client: Any = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = 2000,
        origin: str | None = None,
        **sdk_options: Any,
    ) -> None:
        """Args:
            api: which API, told whether the server is OpenAI's own.
            api_key: without it ``OPENAI_API_KEY``; a server at another ``base_url`` may need none.
            base_url: without it ``OPENAI_BASE_URL``, or OpenAI's.
            timeouts: the clocks.
            http_client: an ``httpx2.AsyncClient`` of the caller's, which stays open.
            ssl_context: whom to trust; else whom the SDK trusts.
            max_connections: how many streams may be open at once; more wait.
            origin: a name for the server, if servers at several addresses are one; see `Origin`.
            sdk_options: what else ``openai.AsyncOpenAI`` takes (``organization``, ``project``, ``default_headers`` …).

        Raises:
            ConfigurationError: no key where one is needed, or an unusable one; an unusable URL.
        """
        super().__init__(timeouts=timeouts, origin=origin)
        url = base_url or os.environ.get("OPENAI_BASE_URL") or _DEFAULT_BASE_URL
        self.address = self._base_url = check_base_url(url, provider="openai")
        self._own = self._base_url.split("://", 1)[1].split("/", 1)[0].endswith("api.openai.com")
        self._api = api(self._own)
        self.provider = self._api.provider
        key = api_key if api_key is not None else os.environ.get("OPENAI_API_KEY")
        if not key and not self._own:
            key = _NO_KEY  # local servers ask for none, and the SDK insists on one
        checked = check_api_key(key, provider=self.provider, variable="OPENAI_API_KEY")
        self._transport = SdkTransport(
            "openai",
            "AsyncOpenAI",
            provider=self.provider,
            base_url=self._base_url,
            timeouts=self._timeouts,
            http_client=http_client,
            ssl_context=ssl_context,
            max_connections=max_connections,
            options={"api_key": checked, "base_url": self._base_url, **sdk_options},
            secrets=[checked],
        )

    # ------------------------------------------------------------------------------------------- verbs

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """See `LLMClient`."""
        return model.capabilities or self._api.capabilities(model.id, self._own)

    async def models(self) -> list[LLModel]:
        """The models that the server lists, within ``timeouts.first_frame``. Raises `ProviderError`."""
        try:
            async with asyncio.timeout(self._timeouts.first_frame):
                sdk = await self._transport.client()
                return [LLModel(self.provider, model.id) async for model in sdk.models.list()]
        except PromptportError:
            raise
        except Exception as error:
            raise self._translated(error, LLModel(self.provider, "models")) from error

    # ------------------------------------------------------------------------- what BaseClient asks for

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        return self._api.body(prompt, model, tools, stream, self.origin)

    def _decoder(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> StreamDecoder[Any]:
        return self._api.decoder(prompt.call_ids())

    def _complete(self, data: bytes, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        return self._api.complete(data, prompt.call_ids())

    async def _open(self, body: dict[str, Any], model: LLModel) -> ByteStream:
        return await self._transport.open(self._api.path, body)

    async def _post(self, body: dict[str, Any], model: LLModel) -> bytes:
        return await self._transport.post(self._api.path, body)

    def _failure(self, error: Exception, model: LLModel) -> PromptportError | None:
        return self._transport.failure(error, model.id)

    async def _aclose(self) -> None:
        await self._transport.aclose()
