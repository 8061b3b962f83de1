"""A model out of a script, for the tests of people who build on promptport.

::

    client = ScriptedClient(["Let me look.", ToolCall("1", "get_weather", "{}")], ["It is sunny."])

Each answer is a list of what happens, in order: frames, strings (`Append`), exceptions (raised), `Pause`, and
``asyncio.Event`` (waited for). Whole calls get their deltas, and an answer without `End` gets one, unless it ends in
an exception or in `CUT`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Self, TypeAlias

import msgspec

from promptport.arguments import as_model, as_prompt, as_tools
from promptport.errors import InvalidInputError
from promptport.executor import SingleClientExecutor, ToolsPolicy
from promptport.frames import (
    Append,
    End,
    FinishReason,
    InvalidToolCall,
    Reasoning,
    ReasoningAppend,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from promptport.llm_client import check_request
from promptport.messages import AssistantMessage, Prompt
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.stream import FrameBatches, FrameStream, TextStream, Timeouts
from promptport.telemetry import begin_request
from promptport.tools import ToolDescriptor

__all__ = ["CUT", "Pause", "ScriptedAnswer", "ScriptedClient", "ScriptedExecutor", "ScriptedRequest"]


class Pause(msgspec.Struct, frozen=True):
    """Nothing happens for this many seconds."""

    seconds: float


class _Cut(msgspec.Struct, frozen=True):
    pass


CUT: Final = _Cut()
"""The bytes end here, without the provider's terminal."""


class ScriptedRequest(msgspec.Struct, frozen=True):
    """What a client was asked."""

    prompt: Prompt
    model: LLModel
    tools: tuple[ToolDescriptor, ...]


_Step: TypeAlias = "StreamFrame | str | Exception | Pause | asyncio.Event | _Cut"
ScriptedAnswer: TypeAlias = "Iterable[_Step] | Callable[[ScriptedRequest], Iterable[_Step]]"
"""What happens after one request, or a function that says so."""

_EVERYTHING = ModelCapabilities.of(StreamedTools.DELTAS, Capability)


class ScriptedClient:
    """An `LLMClient` that answers by a script, one answer a request.

    It answers for models of any provider, so that a test can ask for those that the program asks for.

    Attributes:
        requests: what was asked so far.
        closed: how many streams were closed or read to their end.
    """

    def __init__(
        self,
        *answers: ScriptedAnswer,
        provider: str = "scripted",
        capabilities: ModelCapabilities = _EVERYTHING,
        timeouts: Timeouts | None = None,
        repeat: bool = False,
    ) -> None:
        """Args:
        answers: in the order of the requests.
        provider: the client's provider name.
        capabilities: what it declares; requests are checked against them, as any client's are.
        timeouts: the clocks.
        repeat: start over when the answers are used up.
        """
        self.provider = provider
        self.requests: list[ScriptedRequest] = []
        self.closed = 0
        self._answers = list(answers)
        self._capabilities = capabilities
        self._timeouts = timeouts
        self._repeat = repeat

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """The next answer. Raises `InvalidInputError` where the script has none."""
        return self._stream(prompt, model, tools, streaming=True)

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """The text of the next answer."""
        return self.execute_streaming_with_tools(prompt, model).text()

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """The next answer, whole."""
        async with self._stream(prompt, model, tools, streaming=False) as stream:
            return await stream.message()

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What was declared, or what the model says of itself."""
        return as_model(model).capabilities or self._capabilities

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """As `capabilities`."""
        return self.capabilities(model)

    async def models(self) -> list[LLModel]:
        """One model, ``scripted``."""
        return [LLModel(self.provider, "scripted")]

    async def aclose(self) -> None:
        """Nothing is left open by a script."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _stream(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor], *, streaming: bool
    ) -> FrameStream:
        prompt, model, tools = as_prompt(prompt), as_model(model), as_tools(tools)
        check_request(prompt, model, tools, self.capabilities(model), streaming=streaming)
        request = ScriptedRequest(prompt, model, tuple(tools))
        index = len(self.requests)
        if self._repeat and self._answers:
            index %= len(self._answers)
        if index >= len(self._answers):
            raise InvalidInputError(f"the script has {len(self._answers)} answers, and this is request {index + 1}")
        self.requests.append(request)
        return FrameStream(
            self._play(self._answers[index], request),
            timeouts=self._timeouts,
            named=(self.provider, model.id),
            observation=begin_request(prompt, model, tools, streaming=streaming),
        )

    async def _play(self, answer: ScriptedAnswer, request: ScriptedRequest) -> FrameBatches:
        ended = called = False
        announced: set[str] = set()
        try:
            for step in answer(request) if callable(answer) else answer:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, _Cut):
                    return
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                elif isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    frame = Append(step) if isinstance(step, str) else step
                    called = called or isinstance(frame, ToolCall | InvalidToolCall)
                    ended = ended or isinstance(frame, End)
                    yield _announced(frame, announced)
            if not ended:
                yield [End(FinishReason.TOOL_CALLS if called else FinishReason.STOP, usage=Usage(1, 1))]
        finally:
            self.closed += 1


def _announced(frame: StreamFrame, announced: set[str]) -> list[StreamFrame]:
    """The frame, with the increments before it that the script left out."""
    if isinstance(frame, ToolCallDelta):
        announced.add(frame.id)
    elif isinstance(frame, ToolCall | InvalidToolCall) and frame.id not in announced:
        return [ToolCallDelta(frame.id, frame.name, frame.arguments), frame]
    elif isinstance(frame, ReasoningAppend):
        announced.add("reasoning")
    elif isinstance(frame, Reasoning):
        if frame.text and "reasoning" not in announced:
            return [ReasoningAppend(frame.text), frame]
        announced.discard("reasoning")
    return [frame]


class ScriptedExecutor(SingleClientExecutor):
    """A `PromptExecutor` over a `ScriptedClient`.

    Attributes:
        client: the client, whose ``requests`` tell what was asked.
    """

    def __init__(
        self, *answers: ScriptedAnswer, when_tools_cannot_stream: ToolsPolicy = "raise", **client_options: Any
    ) -> None:
        """``client_options`` as in `ScriptedClient`."""
        self.client = ScriptedClient(*answers, **client_options)
        super().__init__(self.client, when_tools_cannot_stream=when_tools_cannot_stream)

    @property
    def requests(self) -> list[ScriptedRequest]:
        """What was asked so far."""
        return self.client.requests
