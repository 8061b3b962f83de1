"""Frames → the message that they make.

Rule: what came is the message, complete or not; nothing is made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from promptport.errors import InvalidInputError
from promptport.frames import (
    Append,
    Citation,
    End,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    Restarted,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
)
from promptport.messages import AssistantMessage, AssistantPart, TextPart

__all__ = ["MessageBuilder", "message_of"]


class MessageBuilder:
    """Folds frames into the message that they make; `message` may be asked for at any time."""

    __slots__ = ("calls", "end", "parts", "reasoning", "text")

    def __init__(self) -> None:
        self.parts: list[AssistantPart] = []
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: dict[str, tuple[str, list[str]]] = {}
        self.end: End | None = None

    def copy(self) -> MessageBuilder:
        """Another with the same content."""
        other = MessageBuilder()
        other.parts, other.text, other.reasoning = self.parts.copy(), self.text.copy(), self.reasoning.copy()
        other.calls = {key: (name, fragments.copy()) for key, (name, fragments) in self.calls.items()}
        other.end = self.end
        return other

    def add(self, frames: Iterable[StreamFrame]) -> None:
        """Takes the next frames."""
        add_text = self.text.append
        for frame in frames:
            if type(frame) is Append:
                add_text(frame.text)
            elif type(frame) is ToolCallDelta:
                call = self.calls.get(frame.id)
                if call is None:
                    call = self.calls[frame.id] = (frame.name, [])
                call[1].append(frame.arguments)
            elif type(frame) is ReasoningAppend:
                self.reasoning.append(frame.text)
            elif type(frame) is End:
                self.end = frame
            elif type(frame) is Restarted:
                self.parts.clear()
                self.text.clear()
                self.reasoning.clear()
                self.calls.clear()
            else:
                self._part(cast("Reasoning | ToolCall | InvalidToolCall | Citation | ProviderItem", frame))

    def _part(self, part: Reasoning | ToolCall | InvalidToolCall | Citation | ProviderItem) -> None:
        self._flush_text()
        if isinstance(part, Reasoning):
            self.reasoning.clear()
        elif isinstance(part, ToolCall | InvalidToolCall):
            self.calls.pop(part.id, None)
        self.parts.append(part)

    def _flush_text(self) -> None:
        if self.text:
            self.parts.append(TextPart("".join(self.text)))
            self.text.clear()

    def message(self) -> AssistantMessage:
        """The message of all frames so far; what grows is part of it from then on."""
        if self.reasoning:  # cut short: shown, and without what the provider would want back
            self._part(Reasoning("".join(self.reasoning)))
        self._flush_text()
        parts, end = tuple(self.parts), self.end
        if end is None:
            unfinished = [UnfinishedCall(key, name, "".join(texts)) for key, (name, texts) in self.calls.items()]
            return AssistantMessage(parts, unfinished=tuple(unfinished))
        return AssistantMessage(
            parts,
            end.finish_reason,
            end.raw_finish_reason,
            end.usage,
            end.model,
            end.response_id,
            end.unfinished,
        )


def message_of(frames: Iterable[StreamFrame]) -> AssistantMessage:
    """The message that these frames make, complete or not."""
    if not isinstance(frames, Iterable) or isinstance(frames, str | bytes | Mapping):
        raise InvalidInputError(f"message_of(): frames takes several frames, not {type(frames).__name__}. Pass a list.")
    builder = MessageBuilder()
    builder.add(frames)
    return builder.message()
