"""`RunningRequests`: what runs in the embedded server, and the server's end where a cancelled request holds it.

Rule: a request that was cut is at its end when the server says so. llama.cpp looks once a second whether its client is
still there, between two batches of a prompt; a batch takes seconds on a busy machine. So a server that still works
`GRACE_SECONDS` after its last request was cut is ended, and the next request starts it again. A server that answers
somebody else goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from promptport.provider import ByteStream

__all__ = ["GRACE_SECONDS", "CountedStream", "RunningRequests"]

GRACE_SECONDS = 0.4
_PAUSE_SECONDS = 0.05


class RunningRequests:
    """Counts the requests of one server.

    Attributes:
        running: how many are under way.
    """

    def __init__(self, busy: Callable[[], Awaitable[bool]], end: Callable[[], Awaitable[None]]) -> None:
        """Nothing runs yet.

        Args:
            busy: whether the server works on anything.
            end: ends the server; what it takes away synchronously, the next request does not find.
        """
        self._busy = busy
        self._end = end
        self.running = 0
        self._cut = False  # some request was, since the server was last seen idle
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """A request is about to be sent."""
        self.running += 1

    def ended(self, *, whole: bool) -> None:
        """A request of `begin` is over.

        Args:
            whole: whether its answer came to its end.
        """
        self.running -= 1
        self._cut = self._cut or not whole
        if self._cut and not self.running and (self._watching is None or self._watching.done()):
            self._watching = asyncio.create_task(self._watch())

    async def aclose(self) -> None:
        """Watches no longer."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self) -> None:
        deadline = asyncio.get_running_loop().time() + GRACE_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    if not await self._busy():
                        break
                    await asyncio.sleep(_PAUSE_SECONDS)
        except TimeoutError:
            if not self.running:  # else it answers somebody, and the one that was cut is seen to after that
                self._cut = False
                await self._end()
        else:
            self._cut = bool(self.running)


class CountedStream:
    """A response that is over for `RunningRequests` when it was read to its end, or closed."""

    def __init__(self, response: ByteStream, running: RunningRequests) -> None:
        """Takes over from `RunningRequests.begin`."""
        self._response = response
        self._chunks = aiter(response)
        self._running: RunningRequests | None = running
        self._whole = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            self._whole = True
            raise

    async def aclose(self) -> None:
        """See `ByteStream`."""
        running, self._running = self._running, None
        try:
            await self._response.aclose()
        finally:
            if running is not None:
                running.ended(whole=self._whole)
