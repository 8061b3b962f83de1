"""`UICall`: how far a call of a UI message has come."""

from __future__ import annotations

__all__ = ["UICall"]


class UICall:
    """A call of the message. ``state``: unnamed → streaming → available → done; ``text``: its arguments so far."""

    __slots__ = ("asked", "earlier", "id", "name", "state", "text")

    def __init__(self, id: str, name: str, state: str, *, earlier: bool = False) -> None:
        self.id = id
        self.name = name
        self.state = state
        self.text = ""
        self.asked = False
        self.earlier = earlier
