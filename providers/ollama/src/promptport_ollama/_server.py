"""Where the server is: what people write in ``base_url`` and ``OLLAMA_HOST``, as a URL.

Rule: what Ollama's own programs take is taken: host and port without a scheme, a port alone, and the address that a
server listens at (``0.0.0.0``), which is none to connect to.

Source: https://docs.ollama.com/faq (``OLLAMA_HOST``), and the SDK's reading of it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from promptport.provider import check_base_url

__all__ = ["server"]

_PORT = 11434
_PORTS = {"http": 80, "https": 443}


def server(address: str | None) -> str:
    """The URL that paths are appended to; user and password stay in it.

    Raises:
        ConfigurationError: no address that can be asked.
    """
    if not isinstance(address, str | None):
        return check_base_url(address, provider="ollama")
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
    user = f"{credentials}@" if credentials else ""
    return f"{scheme}://{user}{name}:{port}{path}"
