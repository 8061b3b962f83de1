"""Where the server is: what people write in ``base_url`` and ``OLLAMA_HOST``, as a URL, and the way there.

Rule: what Ollama's own programs take is taken: host and port without a scheme, a port alone, and the address that a
server listens at (``0.0.0.0``), which is none to connect to. This machine is never asked through a proxy.

Source: https://docs.ollama.com/faq (``OLLAMA_HOST``), and the SDK's reading of it.
"""

from __future__ import annotations

from base64 import b64encode
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from promptport.errors import ConfigurationError
from promptport.transport import check_base_url

__all__ = ["environment_proxy", "server"]

_PORT = 11434
_PORTS = {"http": 80, "https": 443}


def server(address: str | None) -> tuple[str, str | None]:
    """The URL that paths are appended to, and the ``Authorization`` that user and password in the address make.

    Raises:
        ConfigurationError: no address that can be asked.
    """
    text = (address or "").strip().strip("\"'")
    scheme, mark, rest = text.partition("://")
    scheme, rest = (scheme.lower(), rest) if mark else ("http", text)
    credentials, _, location = rest.rpartition("@")
    if location.startswith((":", "/")) or not text:
        location = f"127.0.0.1{location}"
    url = check_base_url(f"{scheme}://{location}", provider="ollama")
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (_PORTS[scheme] if mark else _PORT)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    name = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/")
    return f"{scheme}://{name}:{port}{path}", _basic(credentials)


def _basic(credentials: str) -> str | None:
    if not credentials:
        return None
    user, _, password = credentials.partition(":")
    return "Basic " + b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def environment_proxy(url: str) -> str | None:
    """The proxy that the environment names for this URL, or ``None``.

    Raises:
        ConfigurationError: a proxy that is not HTTP's.
    """
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - not worth its time at import

    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and urlsplit(proxy).scheme not in ("http", "https"):
        raise ConfigurationError(
            f"ollama: the environment names a {urlsplit(proxy).scheme or 'nameless'} proxy, and only http and https"
            " ones are spoken; pass an http_client that speaks it, or set NO_PROXY"
        )
    return proxy or None
