"""The way through an SDK that Stainless generated (OpenAI's, Anthropic's, and more), for providers that have one.

Rule: the SDK opens the request (credentials, URL, headers), and gives the open response: asked for the HTTP library's
own response type it builds no event objects, and given bytes it does not walk the body. Its retries are off, because
what to do about a failure is an executor's policy, and so are its clocks, but for connecting. It is imported with the
first request, in a thread, because that takes seconds.

These SDKs share their names: ``APIStatusError``, ``APIConnectionError`` …
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.errors import (
    ConfigurationError,
    InvalidInputError,
    PromptportError,
    ProtocolError,
    ProviderError,
    TransportError,
)
from promptport.http.aiohttp_session import AiohttpBody, AiohttpSession
from promptport.http.httpx_transport import ResponseStream
from promptport.http.status_errors import header_secrets, status_error
from promptport.http.transport_errors import transport_error
from promptport.stream import Timeouts

if TYPE_CHECKING:
    import ssl

__all__ = ["SdkTransport"]


class SdkTransport:
    """One SDK client, made with the first request."""

    def __init__(
        self,
        module: str,
        client_class: str,
        *,
        provider: str,
        base_url: str,
        timeouts: Timeouts,
        http_client: Any,
        ssl_context: ssl.SSLContext | None,
        max_connections: int,
        options: Mapping[str, Any],
        secrets: Collection[str],
    ) -> None:
        """Args:
        module: the SDK's package.
        client_class: its asynchronous client.
        provider: for the errors.
        base_url: for the errors; of it, only host and port are shown.
        timeouts: ``connect`` is kept here; the other clocks are the stream's.
        http_client: an ``httpx2.AsyncClient`` of the caller's, which stays open; without it one over aiohttp.
        ssl_context: whom to trust, where the HTTP client is ours; else whom the SDKs trust.
        max_connections: how many streams may be open at once; more wait.
        options: what the SDK's client takes.
        secrets: what no error message may hold.

        Raises:
            ConfigurationError: both an ``http_client`` and an ``ssl_context``.
        """
        if http_client is not None and ssl_context is not None:
            raise ConfigurationError(f"{provider}: an http_client brings its own ssl_context")
        self._module = module
        self._class = client_class
        self._provider = provider
        self._base_url = base_url
        self._timeouts = timeouts
        self._http_client = http_client
        self._ssl_context = ssl_context
        self._max_connections = max_connections
        self._options = options
        self._secrets = [*secrets, *header_secrets(options.get("default_headers") or {})]
        self._sdk: Any = None
        self._response_type: Any = None
        self._body_of: Any = None
        self._making = threading.Lock()

    async def client(self) -> Any:
        """The SDK's client. Raises `ConfigurationError` for options that it does not take."""
        return self._sdk if self._sdk is not None else await asyncio.to_thread(self._made)

    async def open(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AiohttpBody | ResponseStream:
        """Sends a streaming request; the open response. Raises what the SDK raises, for `failure`."""
        # Compression would hold back small chunks, for a text that is read once.
        asked = {"accept": "text/event-stream", "accept-encoding": "identity", **(headers or {})}
        response = await self._send(path, body, asked, stream=True)
        direct: AiohttpBody | None = self._body_of(response)
        return direct if direct is not None else ResponseStream(response)

    async def post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> bytes:
        """Sends a request that does not stream; the response's body. Raises what the SDK raises, for `failure`."""
        response = await self._send(path, body, headers or {}, stream=False)
        data: bytes = response.content
        return data

    def failure(self, error: Exception, model: str) -> PromptportError | None:
        """Our error for one of the SDK or of its HTTP library; ``None`` where it is none of theirs."""
        sdk = importlib.import_module(self._module)  # loaded already: the error may be its own
        if isinstance(error, sdk.APIStatusError):
            response = error.response
            return status_error(
                provider=self._provider,
                model=model,
                status=response.status_code,
                headers=response.headers,
                body=response.content,
                secrets=self._secrets,
            )
        if isinstance(error, sdk.APIConnectionError):
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            if isinstance(cause, PromptportError):  # of our session, which the SDK took for one of the network
                return cause
            known = transport_error(cause, provider=self._provider, model=model, base_url=self._base_url)
            text = f"{self._provider}: the server could not be reached"
            return known or TransportError(text, provider=self._provider, model=model)
        if isinstance(error, sdk.APIResponseValidationError):
            return ProtocolError("the server's answer is not what the API allows")
        if isinstance(error, sdk.APIError):
            return ProviderError("the provider reported an error", provider=self._provider, model=model)
        # All others share one root, which each SDK names after itself.
        root = sdk.APIError.__mro__[1]
        if root is not Exception and isinstance(error, root):
            return ConfigurationError(f"{self._provider}: the SDK refused to send ({type(error).__name__})")
        return transport_error(error, provider=self._provider, model=model, base_url=self._base_url)

    async def aclose(self) -> None:
        """Closes the connections; not those of a caller's HTTP client."""
        if self._sdk is not None and self._http_client is None:
            await self._sdk.close()

    async def _send(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], *, stream: bool) -> Any:
        try:
            content = msgspec.json.encode(body)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"the request cannot be written as JSON: {error}") from error
        sdk = await self.client()
        options = {"headers": {"content-type": "application/json", **headers}}
        return await sdk.post(path, content=content, cast_to=self._response_type, stream=stream, options=options)

    def _made(self) -> Any:
        with self._making:
            if self._sdk is None:
                sdk = importlib.import_module(self._module)
                httpx2 = importlib.import_module("httpx2")
                ours = importlib.import_module("promptport.http.sdk_bridge")
                defaults = {
                    "http_client": self._http_client or self._new_client(httpx2, ours),
                    "max_retries": 0,
                    "timeout": httpx2.Timeout(None, connect=self._timeouts.connect),
                }
                try:
                    self._sdk = getattr(sdk, self._class)(**{**defaults, **self._options})
                except (TypeError, ValueError) as error:
                    raise ConfigurationError(f"{self._provider}: {error}") from error
                self._response_type, self._body_of = httpx2.Response, ours.body_of
            return self._sdk

    def _new_client(self, httpx2: Any, ours: Any) -> Any:
        secure = self._ssl_context
        if secure is None and self._base_url.startswith("https:"):
            secure = httpx2.create_ssl_context()  # the certificates that the SDKs trust
        session = AiohttpSession(
            self._base_url, provider=self._provider, ssl_context=secure, max_connections=self._max_connections
        )
        return httpx2.AsyncClient(transport=ours.AiohttpTransport(session), follow_redirects=True)
