"""One HTTP request as it is about to be sent, and the hook that changes it.

Rule: the body is final before the hook is asked, so that a signature covers what is sent; a request that is sent again
(after a redirect within one server) is prepared again.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from promptport.errors import ConfigurationError, InvalidInputError

__all__ = ["HTTPRequest", "Prepare", "check_connections", "check_headers"]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class HTTPRequest(msgspec.Struct):
    """A request that a ``prepare`` hook may change.

    Attributes:
        method: ``POST`` or ``GET``.
        url: The whole URL, encoded. It is sent exactly as it stands here: ``%3A`` stays ``%3A``.
        headers: By names in lower case.
        body: The bytes that will be sent, or ``None``. They are final: sign them, do not change them.
        model: The model's id; an empty string where the request names none.
        secrets: What no error may quote. The values of headers whose names sound like a key's are secret without it.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None = None
    model: str = ""
    secrets: list[str] = []

    def add_query(self, values: Mapping[str, str]) -> None:
        """Appends percent-encoded parameters to the URL; what it holds stays as it is."""
        from urllib.parse import quote  # noqa: PLC0415 - few requests have any

        for name, value in values.items():
            mark = "&" if "?" in self.url else "?"
            self.url += f"{mark}{quote(name, safe='')}={quote(value, safe='')}"


Prepare: TypeAlias = Callable[[HTTPRequest], Awaitable[None] | None]
"""Changes a request before it is sent; may be a coroutine function."""


def check_headers(headers: Mapping[str, str] | None, *, provider: str) -> dict[str, str]:
    """The headers by names in lower case.

    Raises:
        InvalidInputError: The headers are not a mapping.
        ConfigurationError: A name that is none, or a value with a line end or another character that HTTP refuses.
    """
    if not isinstance(headers, Mapping | None):
        raise InvalidInputError(
            f"{provider}: headers takes a mapping, not {type(headers).__name__}. Write headers={{'x-name': 'value'}}."
        )
    checked = {}
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigurationError(f"{provider}: headers: {name!r} is not the name of an HTTP header")
        if not isinstance(value, str) or not value.isascii() or not (value.isprintable() or not value):
            raise ConfigurationError(
                f"{provider}: the header {name!r} holds a line end or another character that HTTP refuses."
                " Pass a printable ASCII string."
            )
        checked[name.lower()] = value
    return checked


def check_connections(*, provider: str, ssl_context: object, max_connections: object) -> None:
    """Refuses what no connection can be made with.

    Raises:
        InvalidInputError: ``ssl_context`` is no `ssl.SSLContext`, or ``max_connections`` is no number above 0.
    """
    if ssl_context is not None and not isinstance(ssl_context, _ssl().SSLContext):
        raise InvalidInputError(
            f"{provider}: ssl_context takes an ssl.SSLContext, not {type(ssl_context).__name__}."
            " Write ssl_context=ssl.create_default_context()."
        )
    if max_connections is not None and (type(max_connections) is not int or max_connections < 1):
        raise InvalidInputError(
            f"{provider}: max_connections must be a whole number of at least 1, not {max_connections!r}."
            " Leave it out for no limit."
        )


def _ssl() -> Any:
    import ssl  # noqa: PLC0415 - for those who bring certificates

    return ssl
