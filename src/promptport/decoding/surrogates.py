"""Halves of surrogate pairs: one character where both come, U+FFFD for one that stays alone. Pure.

Rule: nothing here runs until a JSON decoder refused an event. Then each half in it is written as two code points that
no text holds (a noncharacter, and one of plane 16), so that everything that decodes, joins and compares goes its
usual way; and the frames that come out are mended, here, in one place.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from promptport.frames import (
    Append,
    End,
    InvalidToolCall,
    Reasoning,
    ReasoningAppend,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
)

__all__ = ["FrameMender", "marked_halves", "mended_text"]

_MARK = "\U0010ffff"
_SHIFT = 0x10F000 - 0xD800 + 0x800  # U+D800 … U+DFFF stand as U+10F800 … U+10FFFF
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a whole pair stays
    rb"|\\u([dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|(\xed[\xa0-\xbf][\x80-\xbf])"  # the same, not as an escape but in bytes that are not UTF-8
    rb"|\\.",
    re.DOTALL,
)
_HALVES = re.compile(f"{_MARK}([\U0010f800-\U0010ffff])")
_HIGH_AT_END = re.compile(f"{_MARK}[\U0010f800-\U0010fbff]\\Z")


def marked_halves(data: bytes) -> bytes:
    """JSON with a mark for each half of a surrogate pair that stands alone; the same object where there is none."""
    return _ESCAPES.sub(_marked, data)


def _marked(match: re.Match[bytes]) -> bytes:
    escape, raw = match.groups()
    if escape is not None:
        return (_MARK + chr(int(escape, 16) + _SHIFT)).encode()
    if raw is not None:
        return (_MARK + chr(ord(raw.decode("utf-8", "surrogatepass")) + _SHIFT)).encode()
    return match[0]


def mended_text(text: str) -> str:
    """The text with a character for two marked halves, and U+FFFD for one."""
    if _MARK not in text:
        return text
    halves = _HALVES.sub(lambda match: chr(ord(match[1]) - _SHIFT), text)
    return halves.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return mended_text(value)
    if isinstance(value, dict):
        return {mended_text(key): _mended(item) for key, item in value.items()}
    return [_mended(item) for item in value] if isinstance(value, list) else value


_Key = str | type[Append] | type[ReasoningAppend]


class FrameMender:
    """Frames with marks in, frames without out. The first half of a character waits for the next increment."""

    def __init__(self) -> None:
        self._held: dict[_Key, tuple[str, str]] = {}  # of a call, by its id, its name too

    def feed(self, frames: list[StreamFrame]) -> list[StreamFrame]:
        """The frames of one read."""
        out: list[StreamFrame] = []
        for frame in frames:
            if isinstance(frame, Append | ReasoningAppend):
                self._text(type(frame), "", frame.text, out)
            elif isinstance(frame, ToolCallDelta):
                self._text(mended_text(frame.id), mended_text(frame.name), frame.arguments, out)
            else:
                self._other(frame, out)
        return out

    def close(self) -> list[StreamFrame]:
        """The halves whose other half did not come."""
        out: list[StreamFrame] = []
        self._flush(list(self._held), out)
        return out

    def _text(self, key: Any, name: str, text: str, out: list[StreamFrame]) -> None:
        before, _ = self._held.pop(key, ("", ""))
        whole = before + text
        waiting = _HIGH_AT_END.search(whole)
        if waiting:
            self._held[key] = (waiting[0], name)
            whole = whole[: waiting.start()]
        if whole or not (text or before):
            out.append(self._increment(key, name, mended_text(whole)))

    @staticmethod
    def _increment(key: Any, name: str, text: str) -> StreamFrame:
        if key is Append or key is ReasoningAppend:
            increment: StreamFrame = key(text)
            return increment
        return ToolCallDelta(key, name, text)

    def _flush(self, keys: list[_Key], out: list[StreamFrame]) -> None:
        for key in keys:
            half, name = self._held.pop(key, ("", ""))
            if half:
                out.append(self._increment(key, name, mended_text(half)))

    def _other(self, frame: StreamFrame, out: list[StreamFrame]) -> None:
        """A frame that says how what grew has become: nothing of it waits any longer."""
        if isinstance(frame, ToolCall | InvalidToolCall):
            self._flush([mended_text(frame.id), Append], out)
        elif isinstance(frame, Reasoning):
            self._flush([ReasoningAppend, Append], out)
        else:
            self._flush(list(self._held) if isinstance(frame, End) else [Append], out)
        changed = {name: _mended(getattr(frame, name)) for name in frame.__struct_fields__}
        if isinstance(frame, End):
            changed["unfinished"] = tuple(
                [
                    type(call)(mended_text(call.id), mended_text(call.name), mended_text(call.arguments))
                    for call in frame.unfinished
                ]
            )
        out.append(msgspec.structs.replace(frame, **changed))
