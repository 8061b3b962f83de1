"""``params.extra`` into a body whose fields are nested. Pure.

Rule: a nested object is merged with the caller's, field by field; any other value is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["merge_extra"]


def merge_extra(body: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Puts ``extra`` over a request's body, and into the objects that both hold.

    Args:
        body: The request's body; it is changed.
        extra: The caller's own fields.

    Returns:
        The body.

    Examples:
        ```python
        from promptport.provider import merge_extra

        body = {"generationConfig": {"temperature": 0.5}}
        merge_extra(body, {"generationConfig": {"topK": 3}})  # {"generationConfig": {"temperature": 0.5, "topK": 3}}
        ```
    """
    for name, value in extra.items():
        held = body.get(name)
        if isinstance(held, dict) and isinstance(value, Mapping):
            body[name] = merge_extra(dict(held), value)
        else:
            body[name] = value
    return body
