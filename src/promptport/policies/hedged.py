"""`HedgedClient`: a second request where the first frame of the first is late; the first to speak is heard.

Rule: the other one is closed before anything of it is read on. The tokens that its provider told of are counted in the
usage of the answer. After the first frame there is one request, and it is not repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextvars import copy_context
from typing import cast

from msgspec.structs import replace

from promptport.arguments import as_prompt, check_number, model_for
from promptport.errors import PromptportError
from promptport.frames import End, StreamFrame, Usage
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel
from promptport.policies.relay import Asker, Relay, Wrapper
from promptport.stream import FrameStream
from promptport.tools import ToolDescriptor

__all__ = ["HedgedClient"]

_NOTHING = Usage()


class HedgedClient(Wrapper):
    """A client, or an executor, that asks a second time where the first answer is slow to begin.

    Attributes:
        hedges: How many second requests were sent.
        wins: How many of them spoke first.

    Examples:
        ```python
        import promptport as pp
        from promptport.policies import HedgedClient

        client = HedgedClient(pp.client("openai", api_key="…"), after=2.0)
        ```
    """

    def __init__(self, client: Asker, *, after: float) -> None:
        """Wrap a client.

        Args:
            client: Who is asked; closed with this one.
            after: Seconds to wait for the first frame before the second request.

        Raises:
            InvalidInputError: `after` is not over 0.
        """
        check_number("HedgedClient: after", after, over=0, finite=False)
        super().__init__(client)
        self._after = after
        self.hedges = 0
        self.wins = 0

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """Stream the response of the request that speaks first."""
        prompt = as_prompt(prompt)
        model = model_for(self.inner, model, prompt, tools)
        here = copy_context()  # who observes the caller observes the second request, too

        def ask() -> FrameStream:
            return self.inner.execute_streaming_with_tools(prompt, model, tools)

        return self._stream(lambda relay: self._race(relay, lambda: here.run(ask)), ask(), model)

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """Return the whole response; a request that does not stream is not hedged, since it speaks only at its end."""
        prompt = as_prompt(prompt)
        model = model_for(self.inner, model, prompt, tools)
        return await self.inner.execute(prompt, model, tools)

    async def _race(self, relay: Relay, ask: Callable[[], FrameStream]) -> AsyncGenerator[Sequence[StreamFrame], None]:
        first = relay.stream or ask()
        second = _Second(self, first, ask)
        timer = asyncio.get_running_loop().call_later(self._after, second.begin)
        try:
            try:
                batch = await first.next_batch()
            except PromptportError as error:
                batch = await second.instead_of(error)
                relay.stream = winner = cast("FrameStream", second.stream)
                spent = first.usage
                self.wins += 1
            else:
                winner, spent = first, await second.leave()
            while batch:
                last = batch[-1]
                if type(last) is End and spent != _NOTHING:
                    batch[-1] = replace(last, usage=last.usage + spent)
                yield batch
                batch = await winner.next_batch()
        finally:
            timer.cancel()
            try:
                await second.leave()
            finally:
                await first.aclose()


class _Second:
    """The second request of a race, if it comes to one: read by a task of its own, which none needs that is quick."""

    __slots__ = ("_ask", "_closing", "_error", "_first", "_hedged", "_reading", "stream")

    def __init__(self, hedged: HedgedClient, first: FrameStream, ask: Callable[[], FrameStream]) -> None:
        self._hedged = hedged
        self._first = first
        self._ask = ask
        self._reading: asyncio.Task[list[StreamFrame]] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._error: PromptportError | None = None
        self.stream: FrameStream | None = None

    def begin(self) -> None:
        """The first request is late."""
        try:
            self.stream = self._ask()
        except PromptportError:  # a budget that is used up, say: then there is one request
            return
        self._hedged.hedges += 1
        self._reading = asyncio.ensure_future(self.stream.next_batch())
        self._reading.add_done_callback(self._spoke)

    def _spoke(self, reading: asyncio.Task[list[StreamFrame]]) -> None:
        if reading.cancelled():
            return
        error = reading.exception()
        if error is None:  # closing the first ends the read that waits for it
            self._closing = asyncio.ensure_future(self._first.aclose())
        elif isinstance(error, PromptportError):
            self._error = error

    async def instead_of(self, error: PromptportError) -> list[StreamFrame]:
        """What it says, where the first one failed, or was closed because this one spoke. Raises the earlier error."""
        if self._reading is None or self._error is not None:
            raise self._error or error
        try:
            return await self._reading
        except PromptportError:
            raise error from None

    async def leave(self) -> Usage:
        """Closes it, unless it is the one that is heard; the tokens that it was told of."""
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if self._closing is not None:
            await self._closing
        if self.stream is None:
            return _NOTHING
        await self.stream.aclose()
        return self.stream.usage
