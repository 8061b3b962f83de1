"""How much one response may hold: `Limits`. Pure.

Rule: whatever a server can make grow without bound has a limit here, and passing it is a `ProtocolError`.
"""

from __future__ import annotations

import msgspec

from promptport.errors import InvalidInputError

__all__ = ["DEFAULT_LIMITS", "Limits"]

_MEBIBYTE = 1 << 20


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one response promptport accepts. To pass a limit raises `ProtocolError`.

    Attributes:
        error_body: Bytes of the body of an HTTP error. What follows is not read; the error is the status's own.
        answer: Bytes of a whole response, streamed or not, as they come from the network.
        decompressed: Bytes of a whole response that came compressed, after decompression.
        event: Bytes of one event of a stream. Of lines it may hold as many as fit in with 64 bytes for each.
        arguments: Characters of the arguments of one tool call.
        calls: Tool calls in one response.
        skipped: Names of unknown events that are counted in ``skipped``.

    Examples:
        ```python
        import promptport as pp
        from promptport.provider import Limits

        client = pp.client("ollama", limits=Limits(answer=10_000_000))
        ```
    """

    error_body: int = _MEBIBYTE
    answer: int = 256 * _MEBIBYTE
    decompressed: int = 256 * _MEBIBYTE
    event: int = 32 * _MEBIBYTE
    arguments: int = 32 * _MEBIBYTE
    calls: int = 50_000
    skipped: int = 1000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInputError(f"limits: {name} must be a whole number over 0, not {value!r}")


DEFAULT_LIMITS = Limits()
