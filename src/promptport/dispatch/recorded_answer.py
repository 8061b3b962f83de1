"""`RecordedAnswer`: one request's stream whose end is shown only when the answer is recorded.

Rule: the model is read inside the journal's step, live; where the answer was recorded before, nothing is asked, and its
frames are those of the message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import msgspec

from promptport.dispatch.inbox import Inbox
from promptport.dispatch.journaling import Answered, Ledger, question_of
from promptport.frames import End, StreamFrame
from promptport.messages import Origin, Prompt
from promptport.stream import FrameBatches, FrameStream

__all__ = ["RecordedAnswer"]


class RecordedAnswer:
    """An answer on its way into the journal, or out of it.

    Attributes:
        stream: Its frames.
        replayed: It was recorded before; known with its first frame.
        attempt: The attempt that asked for it.
    """

    def __init__(self, ask: Callable[[], FrameStream], ledger: Ledger, step: int, request: Prompt) -> None:
        self.replayed = False
        self.attempt = ledger.attempt
        self._make = ask
        self._asked: FrameStream | None = None
        self._ledger = ledger
        self._place = ledger.draw(f"answer/{step}")
        self._question = question_of(request) if step == 0 else ""
        self._origin: Origin | None = None
        self._inbox: Inbox[Sequence[StreamFrame]] = Inbox()
        self.stream = FrameStream(self._frames(), origin=self._made_by, dropped=self._dropped)

    def _made_by(self) -> Origin | None:
        return self._asked.origin if self._asked is not None else self._origin

    def _dropped(self) -> tuple[str, ...]:
        return self._asked.dropped if self._asked is not None else ()

    async def _frames(self) -> FrameBatches:
        inbox = self._inbox
        task = asyncio.get_running_loop().create_task(self._recorded(), name="promptport-answer")
        task.add_done_callback(lambda _: inbox.wake())
        try:
            while True:
                if inbox.items:
                    yield inbox.pop()
                elif task.done():
                    break
                else:
                    await inbox.wait()
            answered = self._ledger.read(Answered, task.result())
            self._ledger.check_question(self._question, answered.question)
            frames = self._ledger.told(answered.message.frames)
            if self._asked is not None:
                yield frames[-1:]
                return
            earlier = min(answered.attempt, self._ledger.attempt - 1)  # also where a journal counts no attempts
            self.replayed, self.attempt, self._origin = True, earlier, answered.message.origin
            yield frames
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
            if self._asked is not None:
                await self._asked.aclose()

    async def _recorded(self) -> bytes:
        return await self._place(self._ask)

    async def _ask(self) -> bytes:
        """Reads the model; gives the record."""
        asked = self._asked = self._make()
        while batch := await asked.next_batch():
            shown = batch[:-1] if type(batch[-1]) is End else batch
            if shown:
                await self._inbox.put(shown)
        return msgspec.json.encode(Answered(asked.partial, self._ledger.attempt, self._question))
