"""`LLMSession`: a conversation that grows by itself. Koog's write session.

Rule: the prompt is always one that can be sent. The model's turn is appended when its stream ends; a turn that was cut
is appended by the session's policy, by default without what could not be sent again. What tools did is always kept.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar, Unpack, overload

import msgspec
from msgspec.structs import replace

from promptport.arguments import as_prompt, as_tools, check_asker, model_for
from promptport.checking import checked
from promptport.dispatch import (
    DispatchStream,
    PausedRun,
    RunOutcome,
    ToolDispatcher,
    ToolResult,
    enclosing_usage,
    within_budgets,
)
from promptport.errors import ConfigurationError, InvalidInputError
from promptport.executor import PromptExecutor
from promptport.frames import InvalidToolCall, ToolCall
from promptport.json_values import read_value
from promptport.messages import AssistantMessage, Message, Prompt, TextPart, ToolResultMessage, UserMessage, UserPart
from promptport.models import LLModel
from promptport.session_options import RunOptions, check_run_options
from promptport.stream import FrameStream, TextStream
from promptport.structured import JsonDefinition, StructuredDataDefinition
from promptport.structured_requests import ask_structured, count_usage, parsed
from promptport.tools import Tool, ToolDescriptor, tool

if TYPE_CHECKING:
    from pydantic import BaseModel


__all__ = ["CutPolicy", "LLMSession", "RunOptions"]

CUT_OFF = "not run: the response was cut off"
_NOT_DECIDED = "not run: the user went on without it"

_Item = TypeVar("_Item")
_Model = TypeVar("_Model", bound="BaseModel")

CutPolicy: TypeAlias = Literal["text", "keep", "drop"]
"""What becomes of a turn that was cut by an error or by closing its stream. ``text``: its text is appended; reasoning
and calls are not, since a provider may refuse them unsigned or unanswered. ``keep``: all that came, unfinished calls
aside; with the next request, each of its calls that has no result gets an error as its result. ``drop``: nothing."""


class _Saved(msgspec.Struct, frozen=True, omit_defaults=True):
    prompt: Prompt
    model: LLModel
    when_cut: str
    tools: tuple[str, ...]
    paused: PausedRun | None = None


class LLMSession:
    """Holds prompt, model, tools and executor; each request appends the model's turn.

    Attributes:
        prompt: the conversation so far.
        model: which model is asked.
        tools: what it is offered.
        context: what tools get as ``ToolContext.value``.
        paused: what `run` waits for, if it ended in `ApprovalNeeded` or `ToolsPending`; `resume` goes on with it.
    """

    @checked
    def __init__(
        self,
        executor: PromptExecutor,
        model: LLModel | str,
        prompt: Prompt | str | None = None,
        tools: Sequence[ToolDescriptor] = (),
        *,
        when_cut: CutPolicy = "text",
        context: object = None,
        **options: Unpack[RunOptions],
    ) -> None:
        """Args:
            executor: who asks; the session does not close it.
            model: which model is asked, or its name as ``provider/id``.
            prompt: the conversation so far, or the text of a user message.
            tools: what the model is offered.
            when_cut: see `CutPolicy`.
            context: what tools get as ``ToolContext.value`` when `run` runs them.
            options: of the tool loop that `run` runs, such as ``approve``, ``max_steps`` or ``budget``; see
                `ToolDispatcher`.

        Raises:
            ConfigurationError: a policy that does not exist.
            InvalidInputError: an option that does not exist.
        """
        if when_cut not in ("text", "keep", "drop"):
            raise ConfigurationError(f"when_cut takes 'text', 'keep' or 'drop', not {when_cut!r}")
        check_asker(executor, where="LLMSession: executor")
        self.executor = executor
        self.prompt = as_prompt(prompt) if prompt is not None else Prompt()
        self.tools = as_tools(tools)
        self.model = model_for(executor, model, self.prompt, self.tools)
        self._when_cut: CutPolicy = when_cut
        self._cut: frozenset[str] = frozenset()
        self.context = context
        self.paused: PausedRun | None = None
        check_run_options(options)
        self._options = options
        # Made now, so that an option that may not be is told now.
        self._made = (executor, self.tools, ToolDispatcher(executor, self.tools, **options))
        self._under_way: weakref.ref[DispatchStream] | None = None

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

    @checked
    def add_tool_results(self, results: Iterable[ToolResult | ToolResultMessage]) -> None:
        """Appends what tools answered: messages, or a dispatcher's `ToolResult` frames.

        Raises:
            InvalidInputError: a result answers no call of the conversation.
        """
        known = self.prompt.call_ids()
        results = list(results)
        strange = [type(each).__name__ for each in results if not isinstance(each, ToolResult | ToolResultMessage)]
        if strange:
            raise InvalidInputError(f"add_tool_results(): results takes ToolResult frames, not {strange[0]}.")
        messages = [each if isinstance(each, ToolResultMessage) else each.message() for each in results]
        strangers = sorted(message.call_id for message in messages if message.call_id not in known)
        if strangers:
            raise InvalidInputError(f"no call of this conversation has the id {', '.join(map(repr, strangers))}")
        self.prompt = self.prompt.add(*messages)

    # ----------------------------------------------------------------------------------------- requests

    @checked
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
    @checked
    def request_llm_streaming(
        self, definition: StructuredDataDefinition[_Item] | None = None
    ) -> TextStream | AsyncIterator[_Item]:
        """The next turn, without tools: its text, or with a definition the items that it makes of the text.

        If a policy restarts the response (`Restarted`), the items begin anew too: the definition gets only the text
        that comes after the restart.
        """
        stream = self._request(definition, ())
        return stream.text() if definition is None else parsed(definition, stream)

    # ---------------------------------------------------------------------------------- with its tools

    def run(self, *parts: UserPart | str) -> DispatchStream:
        """Ask the model, run the tools that it calls, and ask again, until it has answered.

        What the user says and each complete step are part of the conversation, also if the run is cut by Ctrl-C, by
        leaving its stream or by an error: call ``run`` again to go on. Use the stream in ``async with``, or await it
        for the last message.

        Args:
            parts: what the user says; nothing to ask with the conversation as it stands.

        Returns:
            A stream of `DispatchFrame`, for one use, which can also be awaited.

        Raises:
            InvalidInputError: another run of this session is under way, or the request cannot be made.
            UnsupportedCapabilityError: the model lacks something. Nothing is sent.

        Examples:
            ```python
            import promptport as pp
            from promptport.testing import ScriptedExecutor

            session = pp.LLMSession(ScriptedExecutor(["Hello."], ["Fine."]), "scripted/small")
            print((await session.run("Hi")).text)
            async with session.run("How are you?") as stream:
                async for frame in stream:
                    print(frame)
            ```
        """
        self._check_free()
        base = self._closed()
        stream = self._dispatcher().stream(base.user(*parts) if parts else base, self.model, context=self.context)
        return self._followed(stream, UserMessage.of(*parts) if parts else None)

    @checked
    def resume(
        self, decisions: Mapping[str, bool | str] | None = None, *, results: Mapping[str, Any] | None = None
    ) -> DispatchStream:
        """Go on with a run that waits for a person or for the front end.

        Args:
            decisions: for each call that a person decides, as in `ToolDispatcher.resume`.
            results: for each call that the front end ran, as in `ToolDispatcher.resume`.

        Raises:
            InvalidInputError: nothing waits, or a decision or a result is missing.
        """
        self._check_free()
        if self.paused is None:
            raise InvalidInputError("resume(): this session waits for nothing. Call run() to ask the model.")
        stream = self._dispatcher().resume(self.paused, decisions, results=results, context=self.context)
        return self._followed(stream, None)

    @checked
    async def execute_tools(self, calls: AssistantMessage | Sequence[ToolCall | InvalidToolCall]) -> list[ToolResult]:
        """Run calls with the session's tools, for a program with a loop of its own; see `ToolDispatcher.execute`."""
        return await self._dispatcher().execute(calls, context=self.context)

    def _check_free(self) -> None:
        stream = self._under_way() if self._under_way is not None else None
        if stream is not None:
            raise InvalidInputError(
                "LLMSession: a run of this session is under way. Iterate it to its end or close it first, or fork()."
            )

    def _dispatcher(self) -> ToolDispatcher:
        """One dispatcher for as long as executor and tools are the same, so that its threads are kept."""
        if self._made[0] is not self.executor or self._made[1] is not self.tools:
            self._made = (self.executor, self.tools, ToolDispatcher(self.executor, self.tools, **self._options))
        return self._made[2]

    def _followed(self, stream: DispatchStream, said: UserMessage | None) -> DispatchStream:
        handle = weakref.ref(stream)
        before = Prompt()

        def begun() -> None:
            nonlocal before
            self._under_way = handle
            if said is not None or self.paused is None:
                self.prompt = self._closed()
            if said is not None:
                self.prompt = self.prompt.add(said)
            self.paused, before = None, self.prompt

        def done(outcome: RunOutcome) -> None:
            self._under_way = None
            more = self.prompt.messages[len(before.messages) :]  # what the program added meanwhile
            self.prompt = replace(self._so_far(outcome), params=before.params, id=before.id).add(*more)
            self.paused = outcome.paused

        stream.follow(begun, done)
        return stream

    def _so_far(self, outcome: RunOutcome) -> Prompt:
        """The conversation that a run leaves behind."""
        if outcome.complete or outcome.paused is not None:
            return outcome.prompt
        kept = outcome.answered(CUT_OFF)
        if len(kept.messages) > len(outcome.prompt.messages):  # its calls are answered: tools may have run
            return kept
        message = None if outcome.partial in outcome.prompt.messages[-1:] else self._kept(outcome.partial)
        return outcome.prompt if message is None else outcome.prompt.add(message)

    async def aclose(self) -> None:
        """End the threads in which sync tools ran, and wait for those that still run. The executor stays open."""
        await self._made[2].aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ----------------------------------------------------------------------------------- structured

    @overload
    async def request_llm_structured(
        self, definition: JsonDefinition[_Model] | type[_Model], *, retries: int = 2
    ) -> _Model: ...
    @overload
    async def request_llm_structured(
        self, definition: StructuredDataDefinition[_Item], *, retries: int = 2
    ) -> _Item: ...
    @checked
    async def request_llm_structured(
        self, definition: StructuredDataDefinition[Any] | type[Any], *, retries: int = 2
    ) -> Any:
        """The next turn as a value: a pydantic model, or what else the definition gives last.

        A response that does not fit is answered with what is wrong with it, in words, and the model is asked again.
        The turns that did not fit, and these corrections, are not kept in the conversation.

        Args:
            definition: such as ``JsonDefinition(Item)``; a pydantic model class stands for that.
            retries: how often the model is asked again at most. Default: 2.

        Raises:
            InvalidInputError: ``retries`` is below 0.
            ProtocolError: the last response does not fit either; its ``partial`` is that response.

        Examples:
            ```python
            import promptport as pp
            from promptport.testing import ScriptedExecutor
            from pydantic import BaseModel

            class Item(BaseModel):
                name: str

            session = pp.LLMSession(ScriptedExecutor(['{"name": "lamp"}']), "scripted/small", "Name a thing.")
            item = await session.request_llm_structured(pp.JsonDefinition(Item))
            print(item.name)
            ```
        """
        if retries < 0:
            raise InvalidInputError(f"request_llm_structured(): retries must be 0 or more, not {retries!r}.")
        self._check_free()
        base = self._asked(None)
        message, value = await ask_structured(self.executor, self.model, base, definition, retries)
        self.prompt = base.add(message)
        return value

    @checked
    async def request_llm(self, definition: StructuredDataDefinition[Any] | None = None) -> AssistantMessage:
        """The next turn, whole, with the session's tools offered; from a request that does not stream."""
        self._check_free()
        executor: PromptExecutor = within_budgets(self.executor)
        message = await executor.execute(self._asked(definition), self.model, self.tools)
        count_usage(message)
        self.prompt = self.prompt.add(message)
        return message

    def _asked(self, definition: StructuredDataDefinition[Any] | None) -> Prompt:
        self.prompt, self.paused = self._closed(), None
        if definition is None:
            return self.prompt
        return definition.prepare(self.prompt, self.executor.capabilities(self.model))

    def _closed(self) -> Prompt:
        """The conversation, in which no call waits any longer."""
        if self.paused is not None:
            added = self.prompt.messages[len(self.paused.prompt.messages) :]
            return replace(self.paused.answered(_NOT_DECIDED), params=self.prompt.params).add(*added)
        prompt = self.prompt
        if self._cut:  # nobody runs what a cut turn called, and a server refuses a call without its result
            answered = {message.call_id for message in prompt.messages if isinstance(message, ToolResultMessage)}
            if self._cut - answered:
                prompt = prompt.answered(CUT_OFF)
            self._cut = frozenset()
        return prompt

    def _request(
        self, definition: StructuredDataDefinition[Any] | None, tools: Sequence[ToolDescriptor]
    ) -> FrameStream:
        self._check_free()
        executor = within_budgets(self.executor)
        stream: FrameStream = executor.execute_streaming_with_tools(self._asked(definition), self.model, tools)
        stream.on_done(self._turn)
        count = enclosing_usage()
        if count is not None:
            stream.on_done(lambda message, _: count(message.usage))
        return stream

    def _turn(self, message: AssistantMessage, complete: bool) -> None:
        if not complete:
            kept = self._kept(message)
            if kept is None:
                return
            message = kept
        if message.parts or complete:
            self.prompt = self.prompt.add(message)
        if not complete:
            self._cut = Prompt((message,)).call_ids()

    def _kept(self, message: AssistantMessage) -> AssistantMessage | None:
        """What the policy keeps of a turn that was cut."""
        if self._when_cut == "drop":
            return None
        if self._when_cut == "text":
            message = AssistantMessage(tuple([part for part in message.parts if isinstance(part, TextPart)]))
        return message if message.parts else None

    # ------------------------------------------------------------------------------------------- copies

    @checked
    def as_tool(self, name: str, description: str, *, timeout: float | None = None) -> Tool[Any]:
        """A tool that gives a task to a copy of this session, which runs its own tools: a sub-agent.

        Each call starts from the conversation as it is now, and leaves it as it is. The tokens that the copy uses
        count in the stream of whoever calls the tool, and in its budget.

        Args:
            name: the tool's name.
            description: what the sub-agent can do, for the model that gives it tasks.
            timeout: seconds that one task may take; `None` leaves it to the dispatcher.

        Examples:
            ```python
            import promptport as pp
            from promptport.testing import ScriptedExecutor

            researcher = pp.LLMSession(ScriptedExecutor(["42"]), "scripted/small", pp.Prompt().system("You research."))
            research = researcher.as_tool("research", "Finds facts.")
            ```
        """

        async def work(task: str) -> str:
            """Do this.

            Args:
                task: All that has to be known to do it.
            """
            copy = self.fork()
            message = await copy.run(task)
            if copy.paused is not None:
                raise RuntimeError("it needs the approval of a person, and nobody can be asked here")
            return message.text

        return tool(work, name=name, description=description, timeout=timeout)

    def fork(self) -> LLMSession:
        """Another session that goes on from here; neither sees what the other adds."""
        copy = LLMSession(
            self.executor,
            self.model,
            self.prompt,
            self.tools,
            when_cut=self._when_cut,
            context=self.context,
            **self._options,
        )
        copy.paused = self.paused
        return copy

    def __repr__(self) -> str:
        waits = ", paused" if self.paused is not None else ""
        return f"LLMSession({str(self.model)!r}, {len(self.prompt.messages)} messages, {len(self.tools)} tools{waits})"

    def to_json(self) -> bytes:
        """Prompt, model, policy and the tools' names, as JSON; executor and tools are the program's."""
        names = tuple([tool.name for tool in self.tools])
        return msgspec.json.encode(_Saved(self.prompt, self.model, self._when_cut, names, self.paused))

    @classmethod
    def from_json(
        cls,
        data: bytes | str,
        executor: PromptExecutor,
        tools: Sequence[ToolDescriptor] = (),
        *,
        context: object = None,
        **options: Unpack[RunOptions],
    ) -> LLMSession:
        """The session that `to_json` wrote, also one that waits for a person.

        Args:
            data: the JSON.
            executor: who asks.
            tools: the session's tools; there may be more.
            context: as for a new session.
            options: as for a new session.

        Raises:
            InvalidInputError: no such JSON, or a tool of the session is not among ``tools``.
        """
        tools = as_tools(tools)
        saved = read_value(_decode_saved, data, "a session")
        missing = sorted(set(saved.tools) - {tool.name for tool in tools})
        if missing:
            raise InvalidInputError(f"the session had tools that are not given: {', '.join(missing)}")
        when_cut: Any = saved.when_cut
        session = cls(executor, saved.model, saved.prompt, tools, when_cut=when_cut, context=context, **options)
        session.paused = saved.paused
        return session


_decode_saved = msgspec.json.Decoder(_Saved).decode
