"""What the checks work with: a provider's client against a loopback server, and the count of what was played.

Rule: whatever a check plays is counted, and an answer that gave nothing at all, neither frames nor an error, fails it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest

from promptport.errors import PromptportError
from promptport.frames import StreamFrame
from promptport.llm_client import LLMClient
from promptport.messages import AssistantMessage, Prompt
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.stream import Timeouts
from promptport.testing.failure_words import Story, check_same_answer, check_same_frames, check_same_increments
from promptport.testing.plugin import NOT_APPLICABLE
from promptport.testing.request_rules import refusals, rules_for
from promptport.testing.steps import SCENARIOS, Scenario, Seal, Step
from promptport.testing.wire_server import RecordedRequest, WireResponse, WireServer
from promptport.tools import ToolDescriptor

if TYPE_CHECKING:
    from promptport.testing.contract import ProviderContract

__all__ = ["LONG", "QUESTION", "SYSTEM", "TOOLS", "Bench", "Outcome", "not_applicable", "run", "scenario_named"]

_T = TypeVar("_T")
Outcome = tuple[list[StreamFrame], PromptportError | None]
"""The frames of one answer, and the error that ended it."""

QUESTION = "What is the weather in Paris?"
SYSTEM = "Be brief."
LONG = Timeouts(first_frame=20, idle=20, total=40, connect=5)
TOOLS = (
    ToolDescriptor(
        "get_weather",
        "Current weather of a city.",
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "note": {"type": "string"}},
            "required": ["city"],
        },
    ),
    ToolDescriptor("get_time", "The time.", {"type": "object", "properties": {"zone": {"type": "string"}}}),
    ToolDescriptor("ping", "Answers."),
)


_CHECK_SECONDS = 120.0


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Runs in a loop of its own, whatever the author's pytest does with async tests; not for ever."""

    async def bounded() -> _T:
        try:
            async with asyncio.timeout(_CHECK_SECONDS) as clock:
                return await work
        except TimeoutError:
            if clock.expired():
                raise AssertionError(f"the check did not end within {_CHECK_SECONDS:g} s") from None
            raise

    return asyncio.run(bounded())


def not_applicable(why: str) -> NoReturn:
    """Ends a check that this protocol or model has no use for; the table shows why."""
    pytest.skip(NOT_APPLICABLE + why)


def scenario_named(name: str) -> Scenario:
    """One of `SCENARIOS`."""
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


class Bench:
    """One check's bench.

    Attributes:
        contract: what the author gave.
        model: the model that is asked.
        can: what the client says that the model can do; asked without a server.
        scenarios: how many answers were played.
        frames: how many frames came of them.
        enough: seconds after which what should have happened at once does not happen.
        soon: seconds within which the server must see that the client left.
        story: what was played last, for the words of a failure.
    """

    enough = 10.0
    soon = 1.0

    def __init__(self, contract: ProviderContract) -> None:
        self.contract = contract
        self.model: LLModel = contract.model
        self.can = run(self._declared())
        self.scenarios = 0
        self.frames = 0
        self.story = Story()

    async def _declared(self) -> ModelCapabilities:
        client = self.contract.make_client("http://127.0.0.1:9", LONG)
        try:
            return client.capabilities(self.model)
        finally:
            await client.aclose()

    # ------------------------------------------------------------------------------------ what is there

    @property
    def prompt(self) -> Prompt:
        """A question, with instructions where the model takes them."""
        return Prompt.of(QUESTION, system=SYSTEM if Capability.SYSTEM in self.can else None)

    @property
    def tools(self) -> tuple[ToolDescriptor, ...]:
        """Tools to offer in a stream; n/a without calls in streams."""
        if self.can.streamed_tools is StreamedTools.NONE:
            not_applicable("no tool calls while streaming")
        return TOOLS

    def offered(self, scenario: Scenario) -> tuple[ToolDescriptor, ...]:
        """The tools that this scenario needs."""
        return self.tools if scenario.tools else ()

    def wire(self, steps: Sequence[Step]) -> list[bytes]:
        """The body of a streamed answer; n/a where the protocol has no such thing."""
        body = self.contract.encode(steps)
        if body is None:
            not_applicable("the protocol cannot say this")
        self.story = Story(steps, body=b"".join(body))
        return body

    def wire_of(self, steps: Sequence[Step], *optional: type[Step]) -> list[bytes]:
        """The same for steps that an encoder need not know: n/a where it writes nothing for these."""
        unknown = f"the protocol, or the encoder, has no {' or '.join([kind.__name__ for kind in optional])}"
        try:
            body = self.contract.encode(steps)
            without = self.contract.encode([step for step in steps if not isinstance(step, optional)])
        except Exception as error:
            not_applicable(f"{unknown}: {error!r}")
        if body is None or body == without or not all(isinstance(chunk, bytes) for chunk in body):
            not_applicable(unknown)
        self.story = Story(steps, body=b"".join(body))
        return body

    def told(
        self, cut: object, body: bytes | Sequence[bytes], frames: Sequence[StreamFrame], error: BaseException | None
    ) -> None:
        """Notes which answer of several is looked at now."""
        whole = body if isinstance(body, bytes) else b"".join(body)
        self.story = Story(self.story.steps, str(cut), whole, frames, error)

    def same(self, got: Sequence[StreamFrame], wanted: Sequence[StreamFrame]) -> None:
        """Fails with the first frame that differs, unless the frames are equal."""
        check_same_frames(got, wanted, self.story)

    def same_increments(self, frames: Sequence[StreamFrame], steps: Sequence[Step]) -> None:
        """Fails with the first increment that differs from what the steps say."""
        check_same_increments(frames, steps, self.story)

    def comes_to(self, frames: Sequence[StreamFrame], steps: Sequence[Step]) -> None:
        """Fails with the first frame that differs, unless the frames say what the steps say."""
        check_same_answer(frames, steps, self.story)

    def response(self, body: bytes | Sequence[bytes], **options: Any) -> WireResponse:
        """A streamed answer; options as in `WireResponse`."""
        return WireResponse(body, content_type=self.contract.content_type, **options)

    def stalled(self, begun: Sequence[Step], whole: Sequence[Step]) -> WireResponse:
        """The answer ``whole``, of which only what ``begun`` says is sent; then nothing more happens."""
        body, beginning = b"".join(self.wire(whole)), b"".join(self.wire(begun))
        assert body.startswith(beginning), "encode must write the steps in their order, each after those before it"
        return self.response(body, stall_after=len(beginning))

    def seals(self, steps: Sequence[Step]) -> bool:
        """Whether the protocol marks the end of each call, before the end of the answer."""
        unsealed = [step for step in steps if not isinstance(step, Seal)]
        return self.contract.encode(unsealed) != self.contract.encode(steps)

    def played(self, frames: Sequence[StreamFrame], error: PromptportError | None = None) -> None:
        """Counts an answer."""
        self.scenarios += 1
        self.frames += len(frames)
        self.story.frames, self.story.error = frames, error
        assert frames or error is not None, "the scenario gave no frames"

    # --------------------------------------------------------------------------------------- what is done

    @asynccontextmanager
    async def client(
        self, *responses: WireResponse, timeouts: Timeouts = LONG
    ) -> AsyncIterator[tuple[WireServer, LLMClient]]:
        """A server that plays these responses, and a client for it."""
        async with WireServer(*responses) as server:
            client = self.contract.make_client(server.url, timeouts)
            try:
                yield server, client
            finally:
                await client.aclose()
            for request in server.requests:
                self._taken(request)

    def _taken(self, request: RecordedRequest) -> None:
        """Fails a check whose request a strict server would refuse, as far as the kit knows the protocol's rules."""
        protocol = rules_for(self.model.provider, self.contract.mutators)
        if request.method == "POST" and protocol is not None:
            body = request.json()
            found = refusals(protocol, body, request.path) if isinstance(body, dict) else []
            assert not found, f"a strict server would refuse the request: {'; '.join(found)}"

    def play(
        self, responses: Sequence[WireResponse], tools: Sequence[ToolDescriptor] = (), prompt: Prompt | None = None
    ) -> list[Outcome]:
        """The outcomes of these answers, one after the other, from one client."""

        async def work() -> list[Outcome]:
            async with self.client(*responses) as (_, client):
                return [await self.read(client, tools, prompt) for _ in responses]

        return run(work())

    async def read(
        self, client: LLMClient, tools: Sequence[ToolDescriptor] = (), prompt: Prompt | None = None
    ) -> Outcome:
        """Asks, and reads the answer as far as it goes."""
        frames: list[StreamFrame] = []
        error: PromptportError | None = None
        try:
            async with client.execute_streaming_with_tools(prompt or self.prompt, self.model, tools) as stream:
                async for frame in stream:
                    frames.append(frame)
        except PromptportError as raised:
            error = raised
        self.played(frames, error)
        return frames, error

    def answer(
        self, steps: Sequence[Step], tools: Sequence[ToolDescriptor] = (), prompt: Prompt | None = None
    ) -> list[StreamFrame]:
        """The frames of a whole answer."""
        ((frames, error),) = self.play([self.response(self.wire(steps))], tools, prompt)
        if error is not None:
            raise AssertionError(f"a whole answer raised {error!r}") from error
        assert frames, "the scenario gave no frames"
        return frames

    def requests(
        self, prompts: Sequence[Prompt], tools: Sequence[ToolDescriptor] = (), scenario: str = "text"
    ) -> list[RecordedRequest]:
        """What the client sends for these prompts."""
        response = self.response(self.wire(scenario_named(scenario).steps))

        async def work() -> list[RecordedRequest]:
            async with self.client(*[response] * len(prompts)) as (server, client):
                for prompt in prompts:
                    _, error = await self.read(client, tools, prompt)
                    assert error is None, f"the request, or its answer, raised {error!r}"
                return server.requests

        return run(work())

    async def both_ways(
        self, client: LLMClient, check: Callable[[Coroutine[Any, Any, AssistantMessage]], Coroutine[Any, Any, None]]
    ) -> None:
        """Runs ``check`` on a streamed request and on one that does not stream."""

        async def streamed() -> AssistantMessage:
            async with client.execute_streaming_with_tools(self.prompt, self.model) as stream:
                return await stream.message()

        await check(streamed())
        await check(client.execute(self.prompt, self.model))
