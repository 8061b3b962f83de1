"""OpenAI through its SDK: one client class, two APIs (Responses, Chat Completions), and clones by ``base_url``.

Rule: the SDK opens the request (key, URL, headers); its event objects are never built, the bytes are decoded here.
Its retries are off, because what to do about a failure is an executor's policy, and so are its clocks, but for
connecting. It is imported with the first request, because that takes more than a second.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
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
from promptport.models import LLModel, ModelCapabilities
from promptport.stream import Timeouts
from promptport.tools import ToolDescriptor
from promptport.transport import ResponseStream, check_base_url, transport_error

__all__ = ["OpenAIAPI", "OpenAIClient"]

_DEFAULT_BASE_URL = "https://api.openai.com/v1"
_NO_KEY = "none"


class OpenAIAPI(msgspec.Struct, frozen=True):
    """What tells one of OpenAI's APIs from the other; all of it pure.

    Attributes:
        provider: the client's provider name.
        path: below the base URL.
        body: prompt, model, tools, stream → request body.
        decoder: the ids of the conversation's calls → a decoder.
        complete: the body of a response that was not streamed, and those ids → the message.
        capabilities: model id, and whether the server is OpenAI's own → what it can do.
    """

    provider: str
    path: str
    body: Callable[[Prompt, LLModel, Sequence[ToolDescriptor], bool], dict[str, Any]]
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
        max_connections: int = 2000,
        **sdk_options: Any,
    ) -> None:
        """Args:
            api: which API, told whether the server is OpenAI's own.
            api_key: without it ``OPENAI_API_KEY``; a server at another ``base_url`` may need none.
            base_url: without it ``OPENAI_BASE_URL``, or OpenAI's.
            timeouts: the clocks.
            http_client: an ``httpx2.AsyncClient`` of the caller's, which stays open.
            max_connections: how many streams may be open at once; more wait.
            sdk_options: what else ``openai.AsyncOpenAI`` takes (``organization``, ``project``, ``default_headers`` …).

        Raises:
            ConfigurationError: no key where one is needed, or an unusable one; an unusable URL.
        """
        super().__init__(timeouts=timeouts)
        url = base_url or os.environ.get("OPENAI_BASE_URL") or _DEFAULT_BASE_URL
        self._base_url = check_base_url(url, provider="openai")
        self._own = self._base_url.split("://", 1)[1].split("/", 1)[0].endswith("api.openai.com")
        self._api = api(self._own)
        self.provider = self._api.provider
        key = api_key if api_key is not None else os.environ.get("OPENAI_API_KEY")
        if not key and not self._own:
            key = _NO_KEY  # local servers ask for none, and the SDK insists on one
        self._key = check_api_key(key, provider=self.provider, variable="OPENAI_API_KEY")
        self._http_client = http_client
        self._max_connections = max_connections
        self._options = sdk_options
        self._sdk: Any = None
        self._response_type: Any = None
        self._making = threading.Lock()

    # ------------------------------------------------------------------------------------------- verbs

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """See `LLMClient`."""
        return model.capabilities or self._api.capabilities(model.id, self._own)

    async def models(self) -> list[LLModel]:
        """The models that the server lists, within ``timeouts.first_frame``. Raises `ProviderError`."""
        try:
            async with asyncio.timeout(self._timeouts.first_frame):
                sdk = await self._opened()
                return [LLModel(self.provider, model.id) async for model in sdk.models.list()]
        except PromptportError:
            raise
        except Exception as error:
            raise self._translated(error, LLModel(self.provider, "models")) from error

    # ------------------------------------------------------------------------- what BaseClient asks for

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        return self._api.body(prompt, model, tools, stream)

    def _decoder(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor]) -> StreamDecoder[Any]:
        return self._api.decoder(prompt.call_ids())

    def _complete(self, data: bytes, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> AssistantMessage:
        return self._api.complete(data, prompt.call_ids())

    async def _open(self, body: dict[str, Any], model: LLModel) -> ByteStream:
        # Compression would hold back small chunks, for a text that is read once.
        headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
        return ResponseStream(await self._send(body, headers, stream=True))

    async def _post(self, body: dict[str, Any], model: LLModel) -> bytes:
        response = await self._send(body, {}, stream=False)
        data: bytes = response.content
        return data

    async def _send(self, body: dict[str, Any], headers: dict[str, str], *, stream: bool) -> Any:
        try:
            content = msgspec.json.encode(body)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"the request cannot be written as JSON: {error}") from error
        sdk = await self._opened()
        # Given bytes, the SDK does not walk the body; asked for the HTTP library's own response type, it hands over
        # the open response and builds nothing.
        return await sdk.post(
            self._api.path,
            content=content,
            cast_to=self._response_type,
            stream=stream,
            options={"headers": {"content-type": "application/json", **headers}},
        )

    def _failure(self, error: Exception, model: LLModel) -> PromptportError | None:
        import openai  # noqa: PLC0415 - loaded already: the error may be its own

        if isinstance(error, openai.APIStatusError):
            response = error.response
            return status_error(
                provider=self.provider,
                model=model.id,
                status=response.status_code,
                headers=response.headers,
                body=response.content,
                secrets=[self._key],
            )
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            known = transport_error(cause, provider=self.provider, model=model.id, base_url=self._base_url)
            text = f"{self.provider}: the server could not be reached"
            return known or TransportError(text, provider=self.provider, model=model.id)
        if isinstance(error, openai.APIResponseValidationError):
            return ProtocolError("the server's answer is not what the API allows")
        if isinstance(error, openai.APIError):
            return ProviderError("the provider reported an error", provider=self.provider, model=model.id)
        if isinstance(error, openai.OpenAIError):
            return ConfigurationError(f"{self.provider}: the SDK refused to send ({type(error).__name__})")
        return transport_error(error, provider=self.provider, model=model.id, base_url=self._base_url)

    async def _aclose(self) -> None:
        if self._sdk is not None and self._http_client is None:
            await self._sdk.close()

    async def _opened(self) -> Any:
        """The SDK's client, made with the first request; in a thread, because importing it takes a second."""
        return self._sdk if self._sdk is not None else await asyncio.to_thread(self._make_sdk)

    def _make_sdk(self) -> Any:
        with self._making:
            if self._sdk is None:
                import httpx2  # noqa: PLC0415 - takes a second
                import openai  # noqa: PLC0415

                http_client = self._http_client
                if http_client is None:
                    limits = httpx2.Limits(max_connections=self._max_connections, keepalive_expiry=30.0)
                    http_client = openai.DefaultAioHttpClient(limits=limits)
                defaults = {
                    "api_key": self._key,
                    "base_url": self._base_url,
                    "http_client": http_client,
                    "max_retries": 0,
                    "timeout": httpx2.Timeout(None, connect=self._timeouts.connect),
                }
                try:
                    self._sdk = openai.AsyncOpenAI(**{**defaults, **self._options})
                except (TypeError, ValueError) as error:
                    raise ConfigurationError(f"{self.provider}: {error}") from error
                self._response_type = httpx2.Response
            return self._sdk
