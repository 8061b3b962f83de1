"""`LLMSession`: a conversation that grows by itself. Koog's write session.

Rule: the prompt is always one that can be sent. The model's turn is appended when its stream ends; a turn that was cut
is appended by the session's policy, by default without what could not be sent again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, overload

import msgspec

from promptport.arguments import as_model, as_prompt, as_tools, check_asker
from promptport.dispatch import ToolResult
from promptport.errors import ConfigurationError, InvalidInputError
from promptport.executor import PromptExecutor
from promptport.frames import Append, Restarted
from promptport.json_values import read_value
from promptport.messages import AssistantMessage, Message, Prompt, TextPart, ToolResultMessage, UserPart
from promptport.models import LLModel
from promptport.stream import FrameStream, TextStream
from promptport.structured import StructuredDataDefinition
from promptport.tools import ToolDescriptor

__all__ = ["CutPolicy", "LLMSession"]

_Item = TypeVar("_Item")

CutPolicy: TypeAlias = Literal["text", "keep", "drop"]
"""What becomes of a turn that was cut by an error or by closing its stream. ``text``: its text is appended; reasoning
and calls are not, since a provider may refuse them unsigned or unanswered. ``keep``: all that came, unfinished calls
aside; with the next request, each of its calls that has no result gets an error as its result. ``drop``: nothing."""


class _Saved(msgspec.Struct, frozen=True):
    prompt: Prompt
    model: LLModel
    when_cut: str
    tools: tuple[str, ...]


class LLMSession:
    """Holds prompt, model, tools and executor; each request appends the model's turn.

    Attributes:
        prompt: the conversation so far.
        model: which model is asked.
        tools: what it is offered.
    """

    def __init__(
        self,
        executor: PromptExecutor,
        model: LLModel | str,
        prompt: Prompt | str | None = None,
        tools: Sequence[ToolDescriptor] = (),
        *,
        when_cut: CutPolicy = "text",
    ) -> None:
        """Args:
            executor: who asks; the session does not close it.
            model: which model is asked, or its name as ``provider/id``.
            prompt: the conversation so far, or the text of a user message.
            tools: what the model is offered.
            when_cut: see `CutPolicy`.

        Raises:
            ConfigurationError: a policy that does not exist.
        """
        if when_cut not in ("text", "keep", "drop"):
            raise ConfigurationError(f"when_cut takes 'text', 'keep' or 'drop', not {when_cut!r}")
        check_asker(executor, where="LLMSession: executor")
        self.executor = executor
        self.model = as_model(model)
        self.prompt = as_prompt(prompt) if prompt is not None else Prompt()
        self.tools = as_tools(tools)
        self._when_cut: CutPolicy = when_cut
        self._cut: frozenset[str] = frozenset()

    # --------------------------------------------------------------------------------------- the prompt

    def user(self, *parts: UserPart | str) -> None:
        """Appends what the user says."""
        self.prompt = self.prompt.user(*parts)

    def system(self, text: str) -> None:
        """Appends instructions."""
        self.prompt = self.prompt.system(text)

    def append(self, *messages: Message) -> None:
        """Appends whole messages."""
        self.prompt = self.prompt.add(*messages)

    def add_tool_results(self, results: Iterable[ToolResult | ToolResultMessage]) -> None:
        """Appends what tools answered: messages, or a dispatcher's `ToolResult` frames.

        Raises:
            InvalidInputError: a result answers no call of the conversation.
        """
        known = self.prompt.call_ids()
        messages = [result if isinstance(result, ToolResultMessage) else result.message() for result in results]
        strangers = sorted(message.call_id for message in messages if message.call_id not in known)
        if strangers:
            raise InvalidInputError(f"no call of this conversation has the id {', '.join(map(repr, strangers))}")
        self.prompt = self.prompt.add(*messages)

    # ----------------------------------------------------------------------------------------- requests

    def request_llm_streaming_with_tools(self, definition: StructuredDataDefinition[Any] | None = None) -> FrameStream:
        """The next turn as frames, with the session's tools offered.

        Args:
            definition: adds its instructions to this request, and not to the session's prompt.

        Raises:
            InvalidInputError, UnsupportedCapabilityError: see `PromptExecutor.execute_streaming_with_tools`.
        """
        return self._request(definition, self.tools)

    @overload
    def request_llm_streaming(self, definition: None = None) -> TextStream: ...
    @overload
    def request_llm_streaming(self, definition: StructuredDataDefinition[_Item]) -> AsyncIterator[_Item]: ...
    def request_llm_streaming(
        self, definition: StructuredDataDefinition[_Item] | None = None
    ) -> TextStream | AsyncIterator[_Item]:
        """The next turn, without tools: its text, or with a definition the items that it makes of the text.

        If a policy restarts the response (`Restarted`), the items begin anew too: the definition gets only the text
        that comes after the restart.
        """
        stream = self._request(definition, ())
        return stream.text() if definition is None else _parsed(definition, stream)

    async def request_llm(self, definition: StructuredDataDefinition[Any] | None = None) -> AssistantMessage:
        """The next turn, whole, with the session's tools offered; from a request that does not stream."""
        message = await self.executor.execute(self._asked(definition), self.model, self.tools)
        self.prompt = self.prompt.add(message)
        return message

    def _asked(self, definition: StructuredDataDefinition[Any] | None) -> Prompt:
        if self._cut:  # nobody runs what a cut turn called, and a server refuses a call without its result
            answered = {message.call_id for message in self.prompt.messages if isinstance(message, ToolResultMessage)}
            if self._cut - answered:
                self.prompt = self.prompt.answered("not run: the response was cut off")
            self._cut = frozenset()
        if definition is None:
            return self.prompt
        return definition.prepare(self.prompt, self.executor.capabilities(self.model))

    def _request(
        self, definition: StructuredDataDefinition[Any] | None, tools: Sequence[ToolDescriptor]
    ) -> FrameStream:
        stream = self.executor.execute_streaming_with_tools(self._asked(definition), self.model, tools)
        stream.on_done(self._turn)
        return stream

    def _turn(self, message: AssistantMessage, complete: bool) -> None:
        if not complete:
            if self._when_cut == "drop":
                return
            if self._when_cut == "text":
                message = AssistantMessage(tuple([part for part in message.parts if isinstance(part, TextPart)]))
        if message.parts or complete:
            self.prompt = self.prompt.add(message)
        if not complete:
            self._cut = Prompt((message,)).call_ids()

    # ------------------------------------------------------------------------------------------- copies

    def fork(self) -> LLMSession:
        """Another session that goes on from here; neither sees what the other adds."""
        return LLMSession(self.executor, self.model, self.prompt, self.tools, when_cut=self._when_cut)

    def to_json(self) -> bytes:
        """Prompt, model, policy and the tools' names, as JSON; executor and tools are the program's."""
        names = tuple([tool.name for tool in self.tools])
        return msgspec.json.encode(_Saved(self.prompt, self.model, self._when_cut, names))

    @classmethod
    def from_json(cls, data: bytes | str, executor: PromptExecutor, tools: Sequence[ToolDescriptor] = ()) -> LLMSession:
        """The session that `to_json` wrote.

        Raises:
            InvalidInputError: no such JSON, or a tool of the session is not among ``tools``.
        """
        saved = read_value(_decode_saved, data, "a session")
        missing = sorted(set(saved.tools) - {tool.name for tool in tools})
        if missing:
            raise InvalidInputError(f"the session had tools that are not given: {', '.join(missing)}")
        when_cut: Any = saved.when_cut
        return cls(executor, saved.model, saved.prompt, tools, when_cut=when_cut)


_decode_saved = msgspec.json.Decoder(_Saved).decode


class _BegunAnew(Exception):
    """The response was restarted: what a definition has read of it is void."""


async def _text_until_restart(stream: FrameStream) -> AsyncIterator[str]:
    async for frame in stream:
        if type(frame) is Append:
            yield frame.text
        elif type(frame) is Restarted:
            raise _BegunAnew


async def _parsed(definition: StructuredDataDefinition[_Item], stream: FrameStream) -> AsyncIterator[_Item]:
    """The definition's items; the stream is closed with them."""
    async with stream:
        while True:
            items = definition.parse(_text_until_restart(stream))
            try:
                async for item in items:
                    yield item
            except _BegunAnew:
                continue
            finally:
                if isinstance(items, AsyncGenerator):
                    await items.aclose()
            return
