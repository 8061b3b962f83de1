"""A decoder around a decoder: keys in the arguments of calls get the names back that the server refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec.structs import replace

from promptport.decoding import StreamDecoder
from promptport.errors import PromptportError
from promptport.frames import End, InvalidToolCall, StreamFrame, ToolCall, ToolCallDelta
from promptport.messages import AssistantMessage
from promptport.tools import KeyRenamer

__all__ = ["RenamingDecoder", "renamed_message"]


class RenamingDecoder:
    """A `StreamDecoder` whose calls have their own keys again."""

    def __init__(self, decoder: StreamDecoder[Any], names: Mapping[str, Mapping[str, str]]) -> None:
        """Args:
        decoder: who decodes.
        names: by tool, the keys that come, and what they become.
        """
        self._decoder = decoder
        self._names = names
        self._renamers: dict[str, KeyRenamer] = {}

    @property
    def ended(self) -> bool:
        """Whether `End` came."""
        return self._decoder.ended

    @property
    def error(self) -> PromptportError | None:
        """What ends the stream."""
        return self._decoder.error

    @property
    def skipped(self) -> Mapping[str, int]:
        """The unknown events."""
        return self._decoder.skipped

    def feed(self, chunk: bytes) -> Sequence[StreamFrame]:
        """The frames of these bytes."""
        return self._all(self._decoder.feed(chunk))

    def close(self) -> Sequence[StreamFrame]:
        """The frames that the end of the bytes brings."""
        return self._all(self._decoder.close())

    def _all(self, frames: Sequence[StreamFrame]) -> list[StreamFrame]:
        return [made for frame in frames if (made := self._made(frame)) is not None]

    def _made(self, frame: StreamFrame) -> StreamFrame | None:
        if type(frame) is ToolCallDelta and frame.name in self._names:
            first = frame.id not in self._renamers
            renamer = self._renamers.setdefault(frame.id, KeyRenamer(self._names[frame.name]))
            text = renamer.feed(frame.arguments)
            return ToolCallDelta(frame.id, frame.name, text) if text or first else None
        if type(frame) is End:
            return replace(frame, unfinished=tuple([_call(call, self._names) for call in frame.unfinished]))
        return cast("StreamFrame", _call(frame, self._names))


def renamed_message(message: AssistantMessage, names: Mapping[str, Mapping[str, str]]) -> AssistantMessage:
    """The message whose calls have their own keys again."""
    parts = tuple([_call(part, names) for part in message.parts])
    return replace(message, parts=parts, unfinished=tuple([_call(call, names) for call in message.unfinished]))


def _call(part: Any, names: Mapping[str, Mapping[str, str]]) -> Any:
    found = names.get(getattr(part, "name", ""))
    if found is None or not hasattr(part, "arguments"):
        return part
    renamer = KeyRenamer(found)
    text = renamer.feed(part.arguments)
    return replace(part, arguments=text if isinstance(part, ToolCall | InvalidToolCall) else text + renamer.finish())
