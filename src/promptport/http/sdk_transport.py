"""The way through an SDK that Stainless generated (OpenAI's, Anthropic's, and more): for a caller's own SDK client, and
for options that only an SDK understands.

Rule: the SDK gives the request its credentials, URL and headers, also where it rewrites the path (Azure deployments,
Claude on Vertex), and the open response comes back: asked for the HTTP library's own response type it builds no event
objects. Its retries, redirects and timeouts are off, but for connecting. One that promptport makes is imported with the
first request, in a thread, because that takes seconds; it sends over aiohttp.

These SDKs share their names: ``APIStatusError``, ``APIConnectionError`` …
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.decoding import DEFAULT_LIMITS, Limits
from promptport.errors import (
    ConfigurationError,
    InvalidInputError,
    PromptportError,
    ProtocolError,
    ProviderError,
    TransportError,
)
from promptport.http.aiohttp_session import AiohttpSession
from promptport.http.bodies import ResponseBody
from promptport.http.httpx_transport import ResponseStream
from promptport.http.request import check_connections
from promptport.http.status_errors import header_secrets, status_error
from promptport.http.transport import redirect_error
from promptport.http.transport_errors import transport_error
from promptport.stream import Timeouts

if TYPE_CHECKING:
    import ssl

__all__ = ["SdkTransport", "refuse_beside_sdk_client"]


def refuse_beside_sdk_client(*options: Any, provider: str) -> None:
    """Checks that nothing was passed beside a caller's own SDK client which that client brings itself.

    Raises:
        ConfigurationError: One of ``options`` was.
    """
    if any(options):
        text = "an sdk_client brings its own api_key, base_url, http_client, headers and options"
        raise ConfigurationError(f"{provider}: {text}. Give them to the SDK's client.")


class SdkTransport:
    """One SDK client, given or made with the first request; the same interface as `Transport`."""

    def __init__(
        self,
        module: str,
        client_class: str,
        *,
        provider: str,
        base_url: str,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        sdk_client: Any = None,
        http_client: Any = None,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int | None = None,
        options: Mapping[str, Any] | None = None,
        secrets: Collection[str] = (),
    ) -> None:
        """Args:
        module: The SDK's package.
        client_class: Its asynchronous client.
        provider: For the errors.
        base_url: For the errors and the proxy; of it, only host and port are shown.
        timeouts: ``connect`` is kept here; the other timeouts are the stream's.
        limits: For the bodies.
        sdk_client: A client of the SDK of your own. promptport does not close it.
        http_client: Your own ``httpx2.AsyncClient``, for an SDK client that is made here; default: one over aiohttp.
        ssl_context: The certificates to trust, if the HTTP client is made here.
        max_connections: How many requests may be open at once; more wait. Default: no limit.
        options: What the SDK's client takes; one that is ``None`` was not given.
        secrets: What no error may quote.

        Raises:
            InvalidInputError: An option of the wrong type.
            ConfigurationError: Options exclude each other, or ``sdk_client`` is no client of the SDK.
        """
        check_connections(provider=provider, ssl_context=ssl_context, max_connections=max_connections)
        given = sdk_client if sdk_client is not None else http_client
        if given is not None and (ssl_context is not None or max_connections is not None):
            what = "sdk_client" if sdk_client is not None else "http_client"
            raise ConfigurationError(f"{provider}: an {what} brings its own ssl_context and max_connections")
        if sdk_client is not None:
            if not any(base.__module__.partition(".")[0] == module for base in type(sdk_client).__mro__) or (
                not asyncio.iscoroutinefunction(getattr(sdk_client, "post", None))
            ):
                raise ConfigurationError(
                    f"{provider}: sdk_client must be an asynchronous client of the {module} package, such as"
                    f" {module}.{client_class}(), not {type(sdk_client).__name__}"
                )
            base_url = str(sdk_client.base_url).rstrip("/")
        self.provider = provider
        self.base_url = base_url
        self.limits = limits if limits is not None else DEFAULT_LIMITS
        self._module = module
        self._class = client_class
        self._timeouts = timeouts if timeouts is not None else Timeouts()
        self._http_client = http_client
        self._ssl_context = ssl_context
        self._max_connections = max_connections
        self._options = {name: value for name, value in (options or {}).items() if value is not None}
        self._secrets = dict.fromkeys([*secrets, *header_secrets(self._options.get("default_headers") or {})])
        self._given = sdk_client
        self._sdk: Any = None
        self._httpx2: Any = None
        self._body_of: Any = None
        self._making = threading.Lock()

    @property
    def secrets(self) -> Collection[str]:
        """What no error may quote: keys, tokens, passwords."""
        return self._secrets.keys()

    async def client(self) -> Any:
        """The SDK's client. Raises `ConfigurationError` for options that it does not take."""
        return self._sdk if self._sdk is not None else await asyncio.to_thread(self._made)

    async def open(
        self, path: str, body: Mapping[str, Any], model: str = "", *, headers: Mapping[str, str] | None = None
    ) -> ResponseBody:
        """Sends a streaming request; the open response. Raises `ProviderError`, `InvalidInputError`."""
        asked = {"accept": "text/event-stream", **(headers or {})}
        return await self._send("post", path, model, asked, self._plain(body))

    async def post(
        self, path: str, body: Mapping[str, Any], model: str = "", *, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Sends a request that does not stream; the response's body. Raises as `open`, and `ProtocolError`."""
        return await self._whole(await self._send("post", path, model, headers or {}, self._plain(body)), model)

    async def get(self, path: str, model: str = "", *, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of a successful response, within ``timeouts.first_frame``. Raises as `post`."""
        try:
            async with asyncio.timeout(self._timeouts.first_frame):
                return await self._whole(await self._send("get", path, model, headers or {}, None), model)
        except TimeoutError as error:
            raise self._translated(error, model) from error

    def failure(self, error: Exception, model: str) -> PromptportError | None:
        """Our error for one of the SDK or of its HTTP library; ``None`` where it is none of theirs."""
        sdk = importlib.import_module(self._module)  # loaded already: the error may be its own
        if isinstance(error, sdk.APIStatusError):
            return self._refusal(error.response, model)
        if isinstance(error, sdk.APIConnectionError):
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            if isinstance(cause, PromptportError):  # of our session, which the SDK took for one of the network
                return cause
            known = transport_error(cause, provider=self.provider, model=model, base_url=self.base_url)
            text = f"{self.provider}: the server could not be reached"
            return known or TransportError(text, provider=self.provider, model=model)
        if isinstance(error, sdk.APIResponseValidationError):
            return ProtocolError("the server's answer is not what the API allows")
        if isinstance(error, sdk.APIError):
            return ProviderError("the provider reported an error", provider=self.provider, model=model)
        # All others share one root, which each SDK names after itself.
        root = sdk.APIError.__mro__[1]
        if type(error).__name__ == "RetryableError" and type(error).__module__.startswith(self._module):
            text = f"{self.provider}: a middleware of the SDK wants the request sent again"
            return TransportError(text, provider=self.provider, model=model)
        if root is not Exception and isinstance(error, root):
            return ConfigurationError(f"{self.provider}: the SDK refused to send ({type(error).__name__})")
        return transport_error(error, provider=self.provider, model=model, base_url=self.base_url)

    async def aclose(self) -> None:
        """Closes the connections; not those of a caller's SDK client or HTTP client."""
        if self._sdk is not None and self._given is None and self._http_client is None:
            await self._sdk.close()

    def _plain(self, body: Mapping[str, Any]) -> Any:
        """The body for a JSON library that knows nothing of ours. The SDKs look into it to find the path."""
        try:
            return msgspec.json.decode(msgspec.json.encode(body))
        except (TypeError, ValueError, OverflowError, RecursionError):
            # From None: the cause could quote the prompt.
            text = f"{self.provider}: the prompt, its extra or a schema holds what JSON cannot"
            raise InvalidInputError(f"{text} (a lone surrogate, an object). Use JSON values only.") from None

    async def _send(self, method: str, path: str, model: str, headers: Mapping[str, str], body: Any) -> ResponseBody:
        sdk = await self.client()
        options: dict[str, Any] = {
            # Compression would hold back small chunks, for a text that is read once.
            "headers": {"accept-encoding": "identity", **headers},
            "max_retries": 0,
            "timeout": self._httpx2.Timeout(None, connect=self._timeouts.connect),
            "follow_redirects": False,
        }
        asked: dict[str, Any] = {"cast_to": self._httpx2.Response, "stream": True, "options": options}
        if method == "post":
            asked["body"] = body
        try:
            response = await getattr(sdk, method)(path, **asked)
        except PromptportError:
            raise
        except Exception as error:
            self._note(getattr(error, "request", None))
            raise self._translated(error, model) from error
        self._note(response.request)
        found: ResponseBody | None = self._body_of(response)
        if found is None:
            return ResponseStream(response, self.limits)
        found.limits = self.limits
        return found

    async def _whole(self, response: ResponseBody, model: str) -> bytes:
        try:
            return await response.read()
        except PromptportError:
            raise
        except TimeoutError:
            raise
        except Exception as error:
            raise self._translated(error, model) from error

    def _translated(self, error: Exception, model: str) -> PromptportError:
        failure = self.failure(error, model)
        if failure is None:
            raise error
        return failure

    def _refusal(self, response: Any, model: str) -> ProviderError:
        location = response.headers.get("location")
        if response.status_code in (301, 302, 303, 307, 308) and location:
            return redirect_error(
                location,
                str(response.request.url),
                provider=self.provider,
                model=model,
                status=response.status_code,
            )
        return status_error(
            provider=self.provider,
            model=model,
            status=response.status_code,
            headers=response.headers,
            body=response.content[: self.limits.error_body] if response.is_stream_consumed else b"",
            secrets=self.secrets,
        )

    def _note(self, request: Any) -> None:
        """Which credentials the SDK sent."""
        if request is not None:
            for secret in header_secrets(request.headers):
                if len(self._secrets) < 200:
                    self._secrets[secret] = None

    def _made(self) -> Any:
        with self._making:
            if self._sdk is None:
                self._httpx2 = importlib.import_module("httpx2")
                ours = importlib.import_module("promptport.http.sdk_bridge")
                self._body_of = ours.body_of
                self._sdk = self._given if self._given is not None else self._new_sdk(ours)
            return self._sdk

    def _new_sdk(self, ours: Any) -> Any:
        sdk = importlib.import_module(self._module)
        http_client = self._http_client
        if http_client is None:
            session = AiohttpSession(
                self.base_url,
                provider=self.provider,
                ssl_context=self._ssl_context,
                max_connections=self._max_connections,
            )
            http_client = self._httpx2.AsyncClient(transport=ours.AiohttpTransport(session))
        try:
            return getattr(sdk, self._class)(**{"http_client": http_client, "max_retries": 0, **self._options})
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{self.provider}: {error}") from error
        except Exception as error:
            raise self._translated(error, "") from error
