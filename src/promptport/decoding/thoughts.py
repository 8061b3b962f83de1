"""Increments of reasoning in, `ReasoningAppend` and `Reasoning` out. Pure.

Rule: the increments of a block, joined, are its text. A block without text, and with nothing to send back, is none.
"""

from __future__ import annotations

from typing import Any

from promptport.frames import Reasoning, ReasoningAppend, StreamFrame

__all__ = ["Thoughts"]


class Thoughts:
    """The block of reasoning under way.

    Attributes:
        texts: The increments of this block so far.

    Examples:
        ```python
        from promptport.provider import StreamFrame, Thoughts

        frames: list[StreamFrame] = []
        thoughts = Thoughts()
        thoughts.add("Let me ", frames)
        thoughts.add("see.", frames)
        thoughts.end(frames, {"signature": "…"})  # Reasoning("Let me see.", {"signature": "…"})
        ```
    """

    __slots__ = ("texts",)

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str | None, out: list[StreamFrame]) -> None:
        """One more increment; an empty one gives no frame."""
        if text:
            self.texts.append(text)
            out.append(ReasoningAppend(text))

    def end(self, out: list[StreamFrame], provider_data: dict[str, Any] | None = None) -> None:
        """The block is complete, with what goes back to the provider."""
        if self.texts or provider_data:
            out.append(Reasoning("".join(self.texts), provider_data))
            self.texts.clear()
