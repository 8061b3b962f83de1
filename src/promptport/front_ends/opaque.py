"""`OpaqueSeal`: what a provider wants back, on its way through a client that might change it. Pure.

Rule: what comes back counts only if this server sent it. The origin stands inside the seal, so no client can say that
something is another server's than it is. What has no valid seal is left out, and is no error: keys change.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Any

import msgspec

from promptport.errors import InvalidInputError
from promptport.messages import Origin

__all__ = ["OpaqueSeal", "Sealed"]


class Sealed(msgspec.Struct, frozen=True):
    """What was sealed.

    Attributes:
        data: The opaque part of a frame, its ``provider_data``.
        origin: The server that wants it back.
        text: The reasoning that it belongs to; another text does not go with it.
    """

    data: dict[str, Any]
    origin: Origin
    text: str = ""


class OpaqueSeal:
    """Seals opaque data for clients, and opens what comes back.

    Examples:
        ```python
        from promptport import Origin
        from promptport.front_ends import OpaqueSeal, Sealed

        seal = OpaqueSeal(b"a secret of all processes of this server")
        token = seal.close(Sealed({"signature": "abc"}, Origin("anthropic", "api.anthropic.com")))
        print(seal.open(token).data, seal.open(token + "A"))  # {'signature': 'abc'} None
        ```
    """

    def __init__(self, secret: bytes | None = None) -> None:
        """Make a seal.

        Args:
            secret: At least 16 bytes, the same in all processes that serve one client. Default: random, so that what
                was sealed before a restart is left out after it.

        Raises:
            InvalidInputError: The secret is too short.
        """
        if secret is not None and len(secret) < _SHORTEST:
            raise InvalidInputError(f"OpaqueSeal: secret has {len(secret)} bytes. Pass at least {_SHORTEST}.")
        self._secret = secret if secret is not None else secrets.token_bytes(32)

    def close(self, value: Sealed) -> str:
        """The value as text for a client.

        Args:
            value: What to seal.
        """
        payload = _encode(value)
        return _PREFIX + base64.urlsafe_b64encode(self._mark(payload) + payload).decode()

    def open(self, text: object) -> Sealed | None:
        """What was sealed; `None` for anything that this seal did not close.

        Args:
            text: What a client sent.
        """
        if not isinstance(text, str) or not text.startswith(_PREFIX) or not text.isascii():
            return None
        try:
            sealed = base64.b64decode(text[len(_PREFIX) :], altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        mark, payload = sealed[:_MARK], sealed[_MARK:]
        if not hmac.compare_digest(mark, self._mark(payload)):
            return None
        try:
            return _decode(payload)
        except (msgspec.DecodeError, RecursionError):
            return None

    def _mark(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, payload, hashlib.sha256)


_SHORTEST = 16
_MARK = 32
_PREFIX = "pp1."
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Sealed).decode
