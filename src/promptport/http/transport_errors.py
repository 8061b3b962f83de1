"""An HTTP library's exception → our error.

Rule: no message holds a full URL, or the words of an HTTP library, which may quote keys.
"""

from __future__ import annotations

import enum
import socket
import ssl
from collections.abc import Iterator, Mapping

from promptport.errors import ConfigurationError, PromptportError, ProtocolError, TransportError
from promptport.http.addresses import host_of

__all__ = ["transport_error"]


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
    text = f"{provider}: {trouble.value.format(host=host_of(base_url))}"
    if trouble is _Trouble.DECODING:
        return ProtocolError(text)
    if trouble is _Trouble.URL:
        return ConfigurationError(text)
    if trouble is _Trouble.TLS:
        text += next((f": {reason}" for cause in _causes(error) if (reason := _tls_reason(cause))), "")
    elif trouble is _Trouble.OTHER:
        text += f" ({type(error).__name__})"
    return TransportError(text, provider=provider, model=model)


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
