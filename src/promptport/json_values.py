"""Our own values out of JSON that somebody else kept.

Rule: whatever the bytes are, what is wrong with them is an `InvalidInputError`: not JSON, not UTF-8, half a surrogate
pair, nested too deeply, numbers without end, or JSON of something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from promptport.errors import InvalidInputError

__all__ = ["read_value"]

_Value = TypeVar("_Value")


def read_value(decode: Callable[[bytes | str], _Value], data: bytes | str, what: str) -> _Value:
    """What ``decode``, a decoder's of msgspec, makes of ``data``.

    Raises:
        InvalidInputError: it is not ``what``, such as "a frame".
    """
    if not isinstance(data, bytes | bytearray | memoryview | str):
        raise InvalidInputError(f"not {what}: data takes bytes or a string of JSON, not {type(data).__name__}.")
    try:
        return decode(data)
    except RecursionError as error:
        raise InvalidInputError(f"not {what}: it is nested too deeply") from error
    except (ValueError, TypeError) as error:  # msgspec's errors and Unicode's are ValueErrors
        raise InvalidInputError(f"not {what}: {error}") from error
