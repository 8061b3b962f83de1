"""``params.extra`` into a body whose fields are nested. Pure.

Rule: a nested object is merged with the caller's, field by field; any other value is the caller's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from promptport.errors import InvalidInputError

__all__ = ["merge_extra"]


def merge_extra(
    body: dict[str, Any],
    extra: Mapping[str, Any],
    *,
    ours: Collection[str] = (),
    appended: Collection[str] = (),
    deep: bool = True,
) -> dict[str, Any]:
    """Puts ``extra`` over a request's body, and into the objects that both hold.

    Args:
        body: The request's body; it is changed.
        extra: The caller's own fields.
        ours: Fields that ``extra`` cannot set.
        appended: Fields that are lists, to which the caller's are appended.
        deep: Merge objects inside objects, too.

    Returns:
        The body.

    Raises:
        InvalidInputError: ``extra`` holds one of ``ours``.

    Examples:
        ```python
        from promptport.provider import merge_extra

        body = {"generationConfig": {"temperature": 0.5}}
        merge_extra(body, {"generationConfig": {"topK": 3}})  # {"generationConfig": {"temperature": 0.5, "topK": 3}}
        ```
    """
    if taken := set(ours).intersection(extra):
        raise InvalidInputError(f"extra cannot hold {', '.join(sorted(taken))}: the prompt and the model say that")
    for name, value in extra.items():
        held = body.get(name)
        if name in appended:
            body[name] = [*(held or ()), *value]
        elif isinstance(held, dict) and isinstance(value, Mapping):
            body[name] = merge_extra(dict(held), value) if deep else {**held, **value}
        else:
            body[name] = value
    return body
