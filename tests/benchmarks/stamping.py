"""A model for ``promptport serve --executor``: each answer is texts, one a period, that say when they were made.

Its prompt is ``EVENTS PERIOD``, such as ``60 0.5``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import promptport as pp
from promptport.stream import FrameBatches

__all__ = ["Stamping"]


class Stamping:
    """An executor."""

    def execute_streaming_with_tools(
        self, prompt: pp.Prompt, model: pp.LLModel, tools: Sequence[pp.ToolDescriptor] = ()
    ) -> pp.FrameStream:
        """The stamps."""
        last = prompt.messages[-1]
        assert isinstance(last, pp.UserMessage)
        events, period = last.text.split()
        return pp.FrameStream(self._stamps(int(events), float(period)))

    async def _stamps(self, events: int, period: float) -> FrameBatches:
        due = time.monotonic()
        for _ in range(events):
            due += period
            await asyncio.sleep(due - time.monotonic())
            yield [pp.Append(f"{time.monotonic():.6f} ")]
        yield [pp.End(pp.FinishReason.STOP)]

    def capabilities(self, model: pp.LLModel) -> pp.ModelCapabilities:
        """All of them."""
        return pp.ModelCapabilities(pp.StreamedTools.DELTAS, frozenset(pp.Capability), known=False)

    async def aclose(self) -> None:
        """Nothing is open."""
