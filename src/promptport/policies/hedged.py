"""`HedgedClient`: a second request where the first frame of the first is late; the first to speak is heard.

Rule: the other one is closed before anything of it is read on. The tokens that its provider told of are counted in the
usage of the answer. After the first frame there is one request, and it is not repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextvars import copy_context
from typing import TypeAlias

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
_Racer: TypeAlias = "asyncio.Task[list[StreamFrame]]"


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
        streams = [relay.stream or ask()]
        racers: dict[_Racer, FrameStream] = {asyncio.ensure_future(streams[0].next_batch()): streams[0]}
        try:
            winner, batch = await self._first(racers, streams, ask)
            relay.stream = winner
            if winner is not streams[0]:
                self.wins += 1
            others = [stream for stream in streams if stream is not winner]
            await self._leave(racers, others)
            spent = sum([stream.usage for stream in others], Usage())
            while batch:
                last = batch[-1]
                if type(last) is End and spent != _NOTHING:
                    batch[-1] = replace(last, usage=last.usage + spent)
                yield batch
                batch = await winner.next_batch()
        finally:
            await self._leave(racers, streams)

    async def _first(
        self, racers: dict[_Racer, FrameStream], streams: list[FrameStream], ask: Callable[[], FrameStream]
    ) -> tuple[FrameStream, list[StreamFrame]]:
        """The first stream that speaks, and what it says. An error counts only when nobody else is left."""
        wait: float | None = self._after
        error: PromptportError | None = None
        while racers:
            done, _ = await asyncio.wait(racers, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                wait = None
                try:
                    streams.append(ask())
                except PromptportError:  # a budget that is used up, say: then there is one request
                    continue
                self.hedges += 1
                racers[asyncio.ensure_future(streams[-1].next_batch())] = streams[-1]
                continue
            for racer in [racer for racer in racers if racer in done]:
                stream = racers.pop(racer)
                try:
                    return stream, racer.result()
                except PromptportError as trouble:
                    error = error or trouble
        assert error is not None
        raise error

    @staticmethod
    async def _leave(racers: dict[_Racer, FrameStream], streams: Sequence[FrameStream]) -> None:
        """Closes these streams, and looks at what their reads came to."""
        left = [racer for racer, stream in racers.items() if stream in streams]
        for racer in left:  # all, before the first is waited for: whoever waits may be cancelled
            del racers[racer]
            racer.cancel()
        if left:
            await asyncio.wait(left)
            for racer in left:
                if not racer.cancelled():
                    racer.exception()
        for stream in streams:
            await stream.aclose()
