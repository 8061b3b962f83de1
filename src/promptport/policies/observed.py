"""`ObservedClient`: observers of one client or executor, where those of the whole process would be too many."""

from __future__ import annotations

from collections.abc import Sequence

from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel
from promptport.policies.relay import Asker, Wrapper
from promptport.stream import FrameStream
from promptport.telemetry import Observer, check_observers, observed_by
from promptport.tools import ToolDescriptor

__all__ = ["ObservedClient"]


class ObservedClient(Wrapper):
    """A client, or an executor, whose requests are told to these observers.

    Examples:
        ```python
        from promptport import telemetry
        from promptport.policies import ObservedClient
        from promptport.testing import ScriptedExecutor

        executor = ObservedClient(ScriptedExecutor(["Hello"]), telemetry.LogObserver())
        ```
    """

    def __init__(self, client: Asker, *observers: Observer) -> None:
        """Wrap a client.

        Args:
            client: Who is asked; closed with this one.
            observers: Who is told.

        Raises:
            InvalidInputError: One of them is no observer, or has an `async` method.
        """
        check_observers(observers, where="ObservedClient")
        super().__init__(client)
        self._observers = observers

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """Stream the response."""
        with observed_by(self._observers):
            return self.inner.execute_streaming_with_tools(prompt, model, tools)

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """Return the whole response."""
        with observed_by(self._observers):
            return await self.inner.execute(prompt, model, tools)
