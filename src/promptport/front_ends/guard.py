"""`Guard`: who may talk to a server at all: by the host it names, the page that asks, and a key. ASGI.

Rules: a name that is not the server's own is refused, so that no page can rebind its name to a loopback address; a
page of another origin is refused, unless it was allowed; a key is compared in constant time, and stands in no answer.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from promptport.errors import InvalidInputError

__all__ = ["Guard", "is_loopback_host"]

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

Refusal: TypeAlias = Callable[[str, int, str], tuple[str, bytes]]
"""From a path, a status and a sentence: the content type and the body of a refusal."""

_HOST = "This server does not answer to the host that the request names. Use its own address, or allow the host."
_ORIGIN = "Pages of this origin may not use the server. Open the server's own page, or allow the origin."
_KEY = "The server's key is missing or wrong. Send it as 'Authorization: Bearer KEY', or as 'x-api-key: KEY'."


class Guard:
    """An ASGI application before another one, which sees only what may pass.

    Examples:
        ```python
        from starlette.applications import Starlette

        from promptport.front_ends.guard import Guard

        app = Guard(Starlette(), key="secret", hosts=["chat.example.com"])
        ```
    """

    def __init__(
        self,
        app: _App,
        *,
        key: str | None = None,
        hosts: Iterable[str] | None = None,
        origins: Iterable[str] = (),
        open_paths: Iterable[str] = (),
        refusal: Refusal | None = None,
    ) -> None:
        """Make a guard.

        Args:
            app: The application behind it.
            key: The key that each request must carry. Default: none is asked for.
            hosts: The hosts that a request may name, without a port. Loopback names are always among them. `None`
                allows all, which is safe only with a key.
            origins: Origins of other servers' pages that may ask, such as ``http://localhost:3000``.
            open_paths: Paths that may be read without the key: those of a page that holds no secret.
            refusal: Writes the body of a refusal. Default: the sentence as text.

        Raises:
            InvalidInputError: The key is empty or not ASCII, or neither a key nor hosts are given.
        """
        if key is not None and not (key.strip() and key.isascii() and key.isprintable()):
            raise InvalidInputError("Guard: key must be ASCII characters, at least one that is not blank.")
        if key is None and hosts is None:
            raise InvalidInputError("Guard: without a key, hosts must name the hosts that are answered. Pass hosts=[].")
        self._app = app
        self._key = key.strip().encode() if key is not None else None
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._open = frozenset(open_paths)
        self._refusal = refusal or (lambda path, status, text: ("text/plain; charset=utf-8", text.encode()))

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing of ours speaks anything else
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = self._refused(scope)
        if refused is None:
            await self._app(scope, receive, send)
            return
        status, text = refused
        kind, body = self._refusal(scope["path"], status, text)
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _refused(self, scope: _Scope) -> tuple[int, str] | None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        hosts = headers.get(b"host", [])
        if len(hosts) != 1:
            return 400, _HOST
        host = hosts[0].decode("latin-1").lower()
        if not self._answers(_name_of(host)):
            return 403, _HOST
        origins = headers.get(b"origin", [])
        if len(origins) > 1:
            return 400, _ORIGIN
        if origins:
            origin = origins[0].decode("latin-1").lower()
            if origin.partition("://")[2] != host and origin not in self._origins:
                return 403, _ORIGIN
            if scope["method"] == "OPTIONS":
                return None  # a preflight never carries a key, and does nothing
        if self._key is None or (scope["method"] in ("GET", "HEAD") and scope["path"] in self._open):
            return None
        given = [value for name in (b"authorization", b"x-api-key") for value in headers.get(name, [])]
        matches = [hmac.compare_digest(_bare(value), self._key) for value in given]
        return None if any(matches) else (401, _KEY)

    def _answers(self, name: str) -> bool:
        return self._hosts is None or is_loopback_host(name) or name in self._hosts


def _bare(value: bytes) -> bytes:
    scheme, _, rest = value.partition(b" ")
    return (rest if scheme.lower() == b"bearer" else value).strip()


def _name_of(host: str) -> str:
    """The host without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def is_loopback_host(name: str) -> bool:
    """Whether a host is this machine by name or address: ``localhost``, ``127.0.0.1``, ``[::1]``.

    Args:
        name: A host without a port.
    """
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
