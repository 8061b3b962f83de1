"""Addresses of servers: what a base URL must be, and the proxy on the way to it."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import SplitResult, unquote, urlsplit

from promptport.errors import ConfigurationError

__all__ = [
    "address_of",
    "check_base_url",
    "check_resource_name",
    "environment_proxy",
    "host_of",
    "is_loopback",
    "is_within",
    "origin_of",
    "split_credentials",
]

_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]*:[0-9a-f:.]*(%\w+)?")  # a name, or IPv6 with its zone
_PORTS = {"http": 80, "https": 443}


def check_base_url(base_url: str, *, provider: str) -> str:
    """The URL without a slash at its end, fit for having a path appended.

    Raises:
        ConfigurationError: no ``http://`` or ``https://``, no host, a blank, a query, a fragment, a bad port.
    """
    problem = _url_problem(base_url)
    if problem:
        raise ConfigurationError(f"{provider}: the base_url {problem}; write it like 'https://api.example.com/v1'")
    return base_url.rstrip("/")


def check_resource_name(name: str, *, provider: str) -> str:
    """The name of a resource on Azure, which becomes the first label of a host: letters, digits and hyphens.

    Raises:
        ConfigurationError: It is something else, such as an address.
    """
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9-]+", name)):
        text = f"resource: {name!r} is not the name of a resource. Pass its name alone, not its address."
        raise ConfigurationError(f"{provider}: {text}")
    return name


def _url_problem(base_url: object) -> str:
    if not isinstance(base_url, str):
        return f"must be a string, not {type(base_url).__name__}"
    if not base_url:
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
    if "\\" in base_url or not _HOST.fullmatch(parts.hostname):  # which HTTP libraries read in different ways
        return "names a host with characters that no host has"
    return "holds a query or a fragment" if parts.query or parts.fragment else ""


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    return parts


def host_of(url: str) -> str:
    """Host and port, and nothing that could be a credential."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        return "the server"
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return name if parts.port is None else f"{name}:{parts.port}"


def origin_of(url: str) -> str | None:
    """Scheme, host and port of a URL, in one spelling: ``https://api.example.com``; ``None`` where it has none."""
    parts = _split(url)
    if parts is None or parts.scheme not in _PORTS or not parts.hostname:
        return None
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname.rstrip(".")
    port = "" if parts.port in (None, _PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{name}{port}"


def address_of(url: str) -> tuple[str, int] | None:
    """Host and port of a URL, for observers."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        return None
    return parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)


def is_within(url: str, home: str) -> bool:
    """Whether a URL is at the same scheme and port as ``home``, and at its host or a name below it.

    ``https://eu.api.example.com/v1`` is within ``https://api.example.com``; ``https://evil-api.example.com`` is not.
    """
    origin, own = origin_of(url), origin_of(home)
    if origin is None or own is None:
        return False
    scheme, _, host = own.partition("://")
    return origin == own or (origin.startswith(f"{scheme}://") and origin.endswith(f".{host}"))


def split_credentials(url: str) -> tuple[str, str | None]:
    """The URL without user and password, and the ``Authorization`` that these make, or ``None``."""
    parts = urlsplit(url)
    credentials, mark, location = parts.netloc.rpartition("@")
    if not mark:
        return url, None
    user, _, password = credentials.partition(":")
    basic = "Basic " + b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return parts._replace(netloc=location).geturl(), basic


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine."""
    host = (urlsplit(url).hostname or "").lower()
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def environment_proxy(url: str, *, provider: str) -> str | None:
    """The proxy that the environment names for this URL, or ``None``; this machine is never asked through one.

    Raises:
        ConfigurationError: a proxy that is not HTTP's.
    """
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - not worth its time at import

    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and urlsplit(proxy).scheme not in ("http", "https"):
        raise ConfigurationError(
            f"{provider}: the environment names a {urlsplit(proxy).scheme or 'nameless'} proxy, and only http and https"
            " ones are spoken; pass an http_client that speaks it, or set NO_PROXY"
        )
    return proxy or None
