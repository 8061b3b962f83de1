"""`TokenBuffer`: fewer and larger `Append` frames, for front ends that are slower than a model.

Rule: nothing is lost and nothing is overtaken: held text goes out before any other frame, and the first text at once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from time import monotonic
from typing import TypeVar

from promptport.checking import checked
from promptport.errors import InvalidInputError
from promptport.frames import Append
from promptport.front_ends.pull import Pull

__all__ = ["TokenBuffer"]

_Frame = TypeVar("_Frame")


class TokenBuffer:
    """Joins neighbouring `Append` frames. ``push``, ``flush`` and ``due`` do no I/O; `coalesce` drives them."""

    @checked
    def __init__(self, *, seconds: float | None = 0.05, characters: int | None = None, words: bool = False) -> None:
        """Args:
            seconds: text is held at most so long; ``None`` for no limit.
            characters: text goes out when so many characters are held.
            words: text goes out at the end of a word only (or when another limit is reached).

        Raises:
            InvalidInputError: no limit at all, or one that is not more than 0.
        """
        if seconds is None and characters is None and not words:
            raise InvalidInputError("TokenBuffer needs seconds, characters or words")
        if (seconds is not None and not seconds > 0) or (characters is not None and characters < 1):
            raise InvalidInputError("TokenBuffer: seconds and characters must be more than 0")
        self._seconds = seconds
        self._characters = characters
        self._words = words
        self._held: list[str] = []
        self._size = 0
        self._since = 0.0
        self._first = True

    @property
    def due(self) -> float | None:
        """When held text must go out, on the clock of ``time.monotonic``; ``None`` when nothing waits for a time."""
        return self._since + self._seconds if self._held and self._seconds is not None else None

    def push(self, frame: _Frame, now: float) -> list[_Frame | Append]:
        """The frames that go out now that this one came at ``now``."""
        if not isinstance(frame, Append):
            return [*self.flush(), frame]
        if self._first:
            self._first = False
            return [frame]
        if not self._held:
            self._since = now
        self._held.append(frame.text)
        self._size += len(frame.text)
        if self._characters is not None and self._size >= self._characters:
            return list(self.flush())
        if self._words and frame.text and any(map(str.isspace, frame.text)):
            return list(self._whole_words())
        if self._seconds is not None and now >= self._since + self._seconds:
            return list(self.flush())
        return []

    def flush(self) -> list[Append]:
        """All that is held, as one frame."""
        if not self._held:
            return []
        text = "".join(self._held)
        self._held.clear()
        self._size = 0
        return [Append(text)]

    def _whole_words(self) -> list[Append]:
        """What is held up to the last blank; the word under way stays."""
        text = "".join(self._held)
        cut = max(index for index, char in enumerate(text) if char.isspace()) + 1
        self._held = [text[cut:]] if cut < len(text) else []
        self._size = len(text) - cut
        return [Append(text[:cut])]

    async def coalesce(self, frames: AsyncIterable[_Frame]) -> AsyncGenerator[_Frame | Append, None]:
        """The frames, with neighbouring `Append` frames joined. Raises what ``frames`` raises, after what is held.

        Closing it closes ``frames``.
        """
        pull = Pull(aiter(frames))
        try:
            while True:
                due = self.due
                try:
                    frame = await pull.get(None if due is None else max(0.0, due - monotonic()))
                except StopAsyncIteration:
                    break
                except Exception:
                    for text in self.flush():
                        yield text
                    raise
                for each in self.flush() if frame is None else self.push(frame, monotonic()):
                    yield each
            for text in self.flush():
                yield text
        finally:
            await pull.aclose()
