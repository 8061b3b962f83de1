"""POST → bytes, for APIs that are reached without an SDK; and an HTTP library's exception → error.

Rules: an HTTP library is imported when it is used, never before; `transport_error` and `ResponseStream` serve the
providers with an SDK too. No message holds a full URL, or the words of an HTTP library, which may quote keys.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from promptport.errors import ConfigurationError, PromptportError, ProtocolError, TransportError
from promptport.http_errors import error_details, header_secrets, status_error
from promptport.stream import Timeouts

__all__ = [
    "HTTPTransport",
    "ResponseStream",
    "check_base_url",
    "environment_proxy",
    "error_details",
    "header_secrets",
    "is_stale_connection",
    "status_error",
    "transport_error",
]

# ------------------------------------------------------------------------------------ exception → error


class _Trouble(enum.Enum):
    """What an exception means, and what we say."""

    CONNECT = "cannot connect to {host}: is the server running?"
    CONNECT_TIMEOUT = "connecting to {host} took too long: is the server running? (timeouts.connect)"
    TIMEOUT = "{host} did not answer in time"
    BROKEN = "the connection to {host} broke"
    TLS = "no secure connection to {host}"
    NAME = "there is no host {host}: check the base_url and the network"
    PROXY = "the proxy on the way to {host} refused or failed"
    POOL = "no connection to {host} became free in time"
    CLOSED = "the connection to {host} was closed while it was in use"
    REDIRECTS = "{host} redirects without end, or to nowhere: check the base_url"
    OTHER = "the request to {host} failed"
    URL = "the base_url is no address that can be asked (host: {host})"
    DECODING = "the compression (content-encoding) of the answer from {host} is broken"


_HTTPX: Mapping[str, _Trouble] = {
    "HTTPError": _Trouble.OTHER,
    "RequestError": _Trouble.OTHER,
    "TransportError": _Trouble.OTHER,
    "HTTPStatusError": _Trouble.OTHER,
    "CookieConflict": _Trouble.OTHER,
    "TimeoutException": _Trouble.TIMEOUT,
    "ConnectTimeout": _Trouble.CONNECT_TIMEOUT,
    "ReadTimeout": _Trouble.TIMEOUT,
    "WriteTimeout": _Trouble.TIMEOUT,
    "PoolTimeout": _Trouble.POOL,
    "NetworkError": _Trouble.BROKEN,
    "ConnectError": _Trouble.CONNECT,
    "ReadError": _Trouble.BROKEN,
    "WriteError": _Trouble.BROKEN,
    "CloseError": _Trouble.BROKEN,
    "ProxyError": _Trouble.PROXY,
    "UnsupportedProtocol": _Trouble.URL,
    "InvalidURL": _Trouble.URL,
    "ProtocolError": _Trouble.BROKEN,
    "LocalProtocolError": _Trouble.OTHER,
    "RemoteProtocolError": _Trouble.BROKEN,
    "SSEError": _Trouble.OTHER,
    "DecodingError": _Trouble.DECODING,
    "TooManyRedirects": _Trouble.REDIRECTS,
    "StreamError": _Trouble.CLOSED,
    "StreamConsumed": _Trouble.CLOSED,
    "StreamClosed": _Trouble.CLOSED,
    "ResponseNotRead": _Trouble.CLOSED,
    "RequestNotRead": _Trouble.CLOSED,
}
_AIOHTTP: Mapping[str, _Trouble] = {
    "ClientError": _Trouble.OTHER,
    "ClientResponseError": _Trouble.OTHER,
    "ContentTypeError": _Trouble.OTHER,
    "WSServerHandshakeError": _Trouble.OTHER,
    "WSMessageTypeError": _Trouble.OTHER,
    "WebSocketError": _Trouble.BROKEN,
    "EofStream": _Trouble.BROKEN,
    "UploadAbortedError": _Trouble.BROKEN,
    "ClientPayloadError": _Trouble.BROKEN,
    "ContentEncodingError": _Trouble.DECODING,
    "ClientConnectionError": _Trouble.BROKEN,
    "ClientConnectionResetError": _Trouble.BROKEN,
    "ServerConnectionError": _Trouble.BROKEN,
    "ServerDisconnectedError": _Trouble.BROKEN,
    "ClientOSError": _Trouble.BROKEN,
    "ClientConnectorError": _Trouble.CONNECT,
    "UnixClientConnectorError": _Trouble.CONNECT,
    "ClientConnectorDNSError": _Trouble.NAME,
    "ClientSSLError": _Trouble.TLS,
    "ClientConnectorSSLError": _Trouble.TLS,
    "ClientConnectorCertificateError": _Trouble.TLS,
    "ServerFingerprintMismatch": _Trouble.TLS,
    "ServerTimeoutError": _Trouble.TIMEOUT,
    "SocketTimeoutError": _Trouble.TIMEOUT,
    "ConnectionTimeoutError": _Trouble.CONNECT_TIMEOUT,
    "ClientProxyConnectionError": _Trouble.PROXY,
    "ClientHttpProxyError": _Trouble.PROXY,
    "InvalidURL": _Trouble.URL,
    "InvalidUrlClientError": _Trouble.URL,
    "NonHttpUrlClientError": _Trouble.URL,
    "TooManyRedirects": _Trouble.REDIRECTS,
    "RedirectClientError": _Trouble.REDIRECTS,
    "InvalidUrlRedirectClientError": _Trouble.REDIRECTS,
    "NonHttpUrlRedirectClientError": _Trouble.REDIRECTS,
}
_ANYIO: Mapping[str, _Trouble] = {  # httpx2 lets these through when TLS fails
    "EndOfStream": _Trouble.BROKEN,
    "BrokenResourceError": _Trouble.BROKEN,
    "ClosedResourceError": _Trouble.CLOSED,
}
_LIBRARIES: Mapping[str, Mapping[str, _Trouble]] = {
    "httpx": _HTTPX,
    "httpx2": _HTTPX,
    "aiohttp": _AIOHTTP,
    "anyio": _ANYIO,
}


def transport_error(error: Exception, *, provider: str, model: str, base_url: str) -> PromptportError | None:
    """Our error for one of httpx, httpx2, aiohttp, ssl or the operating system's sockets.

    Args:
        error: what was raised; becomes the ``__cause__`` when the caller raises ``from`` it.
        provider: the provider's name.
        model: the model's id, or an empty string.
        base_url: where the request went; of it, only host and port are shown.

    Returns:
        `TransportError`; `ProtocolError` where the body's compression is broken; `ConfigurationError` for a URL that
        is none; ``None`` where the error is none of theirs.
    """
    trouble = _trouble(error)
    if trouble is None:
        return None
    text = f"{provider}: {trouble.value.format(host=_host(base_url))}"
    if trouble is _Trouble.DECODING:
        return ProtocolError(text)
    if trouble is _Trouble.URL:
        return ConfigurationError(text)
    if trouble is _Trouble.TLS:
        text += next((f": {reason}" for cause in _causes(error) if (reason := _tls_reason(cause))), "")
    elif trouble is _Trouble.OTHER:
        text += f" ({type(error).__name__})"
    return TransportError(text, provider=provider, model=model)


_STALE = frozenset(
    [
        "ServerDisconnectedError",
        "ClientConnectionResetError",
        "RemoteProtocolError",
        "ConnectionResetError",
        "BrokenPipeError",
    ]
)


def is_stale_connection(error: BaseException) -> bool:
    """Whether a request failed as it does on a kept connection that the server had just closed: without any answer."""
    return any(type(cause).__name__ in _STALE for cause in _causes(error))


def _trouble(error: Exception) -> _Trouble | None:
    outer = _own_trouble(error)
    if outer in (_Trouble.CONNECT, _Trouble.CONNECT_TIMEOUT, _Trouble.BROKEN, _Trouble.OTHER):
        for cause in _causes(error):
            inner = _own_trouble(cause)
            if inner is _Trouble.DECODING:
                return inner
            if inner in (_Trouble.TLS, _Trouble.NAME) and outer is not _Trouble.BROKEN:
                return inner
            # The SDKs' aiohttp under httpx2 calls a connection that the server closed a connect timeout.
            if outer is _Trouble.CONNECT_TIMEOUT and inner is _Trouble.BROKEN:
                return inner
    return outer


def _own_trouble(error: BaseException) -> _Trouble | None:
    for base in type(error).__mro__:
        troubles = _LIBRARIES.get(base.__module__.partition(".")[0])
        if troubles is not None and base.__name__ in troubles:
            return troubles[base.__name__]
    return _trouble_of_oserror(error) if isinstance(error, OSError) else None


def _trouble_of_oserror(error: OSError) -> _Trouble | None:
    if isinstance(error, ssl.SSLError):
        return _Trouble.TLS
    if isinstance(error, socket.gaierror | socket.herror):
        return _Trouble.NAME
    if isinstance(error, TimeoutError):
        return _Trouble.TIMEOUT
    if isinstance(error, ConnectionRefusedError):
        return _Trouble.CONNECT
    if isinstance(error, ConnectionError):
        return _Trouble.BROKEN
    return None if error.filename is not None else _Trouble.CONNECT  # with a file's name it is no socket's


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it came from."""
    seen = 0
    waiting: list[BaseException] = [error]
    while waiting and seen < 20:
        current = waiting.pop(0)
        seen += 1
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
        waiting += [value for value in current.args if isinstance(value, BaseException)]  # httpcore cuts the chain
        follows = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        if follows is not None:
            waiting.append(follows)


def _tls_reason(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({getattr(error, 'verify_message', '') or 'verification failed'})"
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None
    return f"does it speak https? ({reason})" if isinstance(reason, str) else None


# ------------------------------------------------------------------------------------------------ URLs


def check_base_url(base_url: str, *, provider: str) -> str:
    """The URL without a slash at its end, fit for having a path appended.

    Raises:
        ConfigurationError: no ``http://`` or ``https://``, no host, a blank, a query, a fragment, a bad port.
    """
    problem = _url_problem(base_url)
    if problem:
        raise ConfigurationError(f"{provider}: the base_url {problem}; write it like 'https://api.example.com/v1'")
    return base_url.rstrip("/")


def _url_problem(base_url: object) -> str:
    if not isinstance(base_url, str) or not base_url:
        return "is empty"
    if not base_url.isprintable() or " " in base_url:
        return "holds a blank or a control character"
    parts = _split(base_url)
    if parts is None:
        return "has a host or port that cannot be read"
    if parts.scheme not in ("http", "https"):
        return "does not begin with http:// or https://"
    if not parts.hostname:
        return "names no host"
    return "holds a query or a fragment" if parts.query or parts.fragment else ""


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    return parts


def _host(url: str) -> str:
    """Host and port, and nothing that could be a credential."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        return "the server"
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return name if parts.port is None else f"{name}:{parts.port}"


def _is_loopback(url: str) -> bool:
    host = (urlsplit(url).hostname or "").lower()
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def environment_proxy(url: str, *, provider: str) -> str | None:
    """The proxy that the environment names for this URL, or ``None``; this machine is never asked through one.

    Raises:
        ConfigurationError: a proxy that is not HTTP's.
    """
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - not worth its time at import

    parts = urlsplit(url)
    if _is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and urlsplit(proxy).scheme not in ("http", "https"):
        raise ConfigurationError(
            f"{provider}: the environment names a {urlsplit(proxy).scheme or 'nameless'} proxy, and only http and https"
            " ones are spoken; pass an http_client that speaks it, or set NO_PROXY"
        )
    return proxy or None


# -------------------------------------------------------------------------------------------- transport


class ResponseStream:
    """The body of an open httpx or httpx2 response, as a `client.ByteStream`."""

    __slots__ = ("_closing", "_iterator", "_response")

    def __init__(self, response: Any) -> None:
        self._response = response
        self._iterator: Any = None
        self._closing: asyncio.Task[None] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The library's own iterator, with no layer of ours around it."""
        response = self._response
        plain = response.headers.get("content-encoding", "identity").strip().lower() in ("", "identity")
        self._iterator = response.aiter_raw() if plain else response.aiter_bytes()
        return self._iterator  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        """Closes the response: its connection goes back to the pool if the body was read, else it is cut."""
        if self._closing is None:
            if self._response.is_closed:
                return
            self._closing = asyncio.create_task(self._close())
        # A caller that is cancelled now leaves, and the closing goes on.
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._response.aclose()
        # httpx leaves the connection open if a second cancellation meets the clean-up after the first.
        network = self._response.extensions.get("network_stream")
        if network is not None:
            await network.aclose()
        iterator, self._iterator = self._iterator, None
        if iterator is not None and not iterator.ag_running:
            await iterator.aclose()


_ERROR_BODY_LIMIT = 1 << 20
_ERROR_BODY_SECONDS = 10.0


class HTTPTransport:
    """One server, reached with httpx: JSON out, bytes in.

    Every method raises `ProviderError`, `ProtocolError` and `ConfigurationError`, and nothing of the HTTP library.
    A loopback address is never asked through a proxy.
    """

    def __init__(
        self,
        base_url: str,
        *,
        provider: str,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        http_client: Any = None,
    ) -> None:
        """Args:
            base_url: what the paths are appended to.
            provider: for the errors.
            headers: sent with every request.
            timeouts: ``connect`` is kept here; the other clocks are the stream's.
            http_client: an ``httpx.AsyncClient`` of the caller's (or httpx2's), which stays open; its own timeouts
                do not apply.

        Raises:
            ConfigurationError: the URL or the client is not usable.
        """
        self.base_url = check_base_url(base_url, provider=provider)
        self.provider = provider
        self._headers = dict(headers)
        self._timeouts = timeouts
        if http_client is not None and not inspect.iscoroutinefunction(getattr(http_client, "send", None)):
            raise ConfigurationError(f"{provider}: http_client must be an httpx.AsyncClient")
        self._given = http_client
        self._made: Any = None

    async def open(self, path: str, body: dict[str, Any], model: str) -> ResponseStream:
        """POSTs the body as JSON; returns when the head of a successful answer is there."""
        # Compression would hold back small chunks, for a text that is read once.
        headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
        return ResponseStream(await self._send("POST", path, model, headers, msgspec.json.encode(body)))

    async def post(self, path: str, body: dict[str, Any], model: str) -> bytes:
        """POSTs the body as JSON; the body of a successful answer."""
        return await self._whole("POST", path, model, msgspec.json.encode(body))

    async def get(self, path: str) -> bytes:
        """The body of a successful answer; within ``timeouts.first_frame``."""
        with self._translating(""):
            async with asyncio.timeout(self._timeouts.first_frame):
                return await self._whole("GET", path, "", None)

    def failure(self, error: Exception, model: str) -> PromptportError | None:
        """`transport_error` for this server."""
        return transport_error(error, provider=self.provider, model=model, base_url=self.base_url)

    async def aclose(self) -> None:
        """Closes the connections; a client of the caller's stays open."""
        made, self._made = self._made, None
        if made is not None:
            await made.aclose()

    # ---------------------------------------------------------------------------------------- requests

    @contextmanager
    def _translating(self, model: str) -> Iterator[None]:
        try:
            yield
        except PromptportError:
            raise
        except Exception as error:
            failure = self.failure(error, model)
            if failure is None:
                raise
            raise failure from error

    async def _whole(self, method: str, path: str, model: str, content: bytes | None) -> bytes:
        response = await self._send(method, path, model, {"accept": "application/json"}, content)
        try:
            with self._translating(model):
                return bytes(await response.aread())
        finally:
            await response.aclose()

    async def _send(self, method: str, path: str, model: str, headers: dict[str, str], content: bytes | None) -> Any:
        if content is not None:
            headers["content-type"] = "application/json"
        client = self._client()
        with self._translating(model):
            request = client.build_request(
                method,
                self.base_url + path,
                content=content,
                headers={**headers, **self._headers},
                timeout=(self._timeouts.connect, None, None, None),
            )
            response = await client.send(request, stream=True)
        if response.is_success:
            return response
        try:
            data = await _beginning(response)
        finally:
            await response.aclose()
        raise status_error(
            provider=self.provider,
            model=model,
            status=response.status_code,
            headers=response.headers,
            body=data,
            secrets=[*header_secrets(self._headers), urlsplit(self.base_url).password or ""],
        )

    def _client(self) -> Any:
        client = self._given if self._given is not None else self._made
        if client is None:
            client = self._made = self._new_client()
        elif client.is_closed:
            raise ConfigurationError(f"{self.provider}: the http_client is closed")
        return client

    def _new_client(self) -> Any:
        import httpx  # noqa: PLC0415 - a third of the time that the first answer of a local model takes

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        if not _is_loopback(self.base_url):
            return httpx.AsyncClient(limits=limits, follow_redirects=True)
        if self.base_url.startswith("https:"):
            return httpx.AsyncClient(limits=limits, follow_redirects=True, trust_env=False)
        # Reading the certificates takes longer than the rest; without any, TLS (after a redirect) trusts nobody.
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return httpx.AsyncClient(limits=limits, follow_redirects=True, trust_env=False, verify=nobody)


async def _beginning(response: Any) -> bytes:
    """An error's body, up to 1 MiB and 10 s of it; what goes wrong with it is less than what it says."""
    data = bytearray()
    try:
        async with asyncio.timeout(_ERROR_BODY_SECONDS):
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) >= _ERROR_BODY_LIMIT:
                    break
    except Exception:  # noqa: S110 - the status is known, and is what matters
        pass
    return bytes(data[:_ERROR_BODY_LIMIT])
