"""The contract as tests: `ProviderContract`. A provider that passes keeps every promise on a bad wire.

A provider author subclasses it, and gives a client and an encoder::

    class TestMyProvider(ProviderContract):
        model = LLModel("my", "some-model", capabilities=...)

        def make_client(self, base_url, timeouts):
            return my_package.client(base_url=base_url, api_key="key", timeouts=timeouts)

        def encode(self, steps):  # what a model says → the events of the protocol, as bytes
            ...

        def encode_complete(self, steps):  # the same answer, not streamed
            ...

Rules: the client talks to a real socket. A scenario that gives no frames fails. What the protocol cannot express
(``encode`` gives ``None``) is skipped, and said so; the plug-in fails a run that checked less than ``floor`` tests. An
inherited test can only be overridden as an ``xfail`` with a reason.
"""

from __future__ import annotations

import asyncio
import gc
import random
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from promptport.client import LLMClient
from promptport.errors import (
    AuthenticationError,
    BadRequestError,
    FirstFrameTimeout,
    IdleTimeout,
    IncompleteStreamError,
    InvalidInputError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    PromptportError,
    ProtocolError,
    ProviderError,
    ProviderStreamError,
    RateLimitError,
    ServerError,
    StreamError,
    TotalTimeout,
    TransportError,
    UnsupportedCapabilityError,
)
from promptport.frames import Append, End, FinishReason, InvalidToolCall, StreamFrame, ToolCall, ToolCallDelta
from promptport.messages import AssistantMessage, ImagePart, Prompt, TextPart, ToolResultMessage
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.stream import Timeouts
from promptport.testing.cuts import Cut
from promptport.testing.mutators import MUTATORS, Mutator, assert_survived
from promptport.testing.steps import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    SCENARIOS,
    Arguments,
    Fail,
    Finish,
    Malformed,
    Say,
    Scenario,
    Seal,
    Start,
    Step,
    Think,
    Unknown,
    expected,
    outcome,
)
from promptport.testing.validity import assert_valid_stream
from promptport.testing.wire_server import RecordedRequest, WireResponse, WireServer
from promptport.testing.wires import Wire, WireProtocol
from promptport.tools import ToolDescriptor

__all__ = ["ProviderContract"]

_TOOLS = (
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
_STOP = Finish(FinishReason.STOP)
_LONG = Timeouts(first_frame=20, idle=20, total=40, connect=5)
_PROMPT = Prompt.of("What is the weather in Paris?", system="Be brief.")
_STATUSES: tuple[tuple[int, type[ProviderError]], ...] = (
    (400, BadRequestError),
    (401, AuthenticationError),
    (403, PermissionDeniedError),
    (404, ModelNotFoundError),
    (413, BadRequestError),
    (422, BadRequestError),
    (429, RateLimitError),
    (500, ServerError),
    (502, ServerError),
    (503, OverloadedError),
    (529, OverloadedError),
)


class ProviderContract:
    """See the module.

    Attributes:
        model: the model that the tests ask for, with its capabilities where no table has it.
        content_type: of a streamed answer.
        sends_call_ids: the protocol has ids for calls, and carries them back with the results.
        mutators: the protocol's name for `promptport.testing.mutators`, or ``None``.
        floor: how many tests must have run, and not been skipped.
    """

    model: ClassVar[LLModel]
    content_type: ClassVar[str] = "text/event-stream"
    sends_call_ids: ClassVar[bool] = True
    mutators: ClassVar[WireProtocol | None] = None
    floor: ClassVar[int] = 30

    scenarios_run: ClassVar[int] = 0
    frames_seen: ClassVar[int] = 0

    # ------------------------------------------------------------------------------- what an author gives

    def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
        """A new client of the provider, for the server at ``base_url``."""
        raise NotImplementedError

    def encode(self, steps: Sequence[Step]) -> list[bytes] | None:
        """The body of a streamed answer, a chunk for each wire event; ``None`` where the protocol has no such thing."""
        raise NotImplementedError

    def encode_complete(self, steps: Sequence[Step]) -> bytes | None:
        """The body of the same answer, not streamed; ``None`` where the protocol has no such thing."""
        raise NotImplementedError

    # --------------------------------------------------------------------------------------- the kit's own

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Counts for each subclass, and refuses one that loosens a test."""
        super().__init_subclass__(**kwargs)
        cls.scenarios_run = cls.frames_seen = 0
        for name, value in vars(cls).items():
            if name.startswith("test_") and hasattr(ProviderContract, name) and not _xfails_with_reason(value):
                raise TypeError(
                    f"{cls.__name__}.{name}: override it with @pytest.mark.xfail(reason='…'), or not at all"
                )

    def _capabilities(self) -> ModelCapabilities:
        client = self.make_client("http://127.0.0.1:9", _LONG)
        return client.capabilities(self.model)

    def _wire(self, steps: Sequence[Step]) -> list[bytes]:
        body = self.encode(steps)
        if body is None:
            pytest.skip("n/a: the protocol cannot say this")
        return body

    def _tools(self, scenario: Scenario) -> tuple[ToolDescriptor, ...]:
        if scenario.tools and self._capabilities().streamed_tools is StreamedTools.NONE:
            pytest.skip("n/a: no tool calls while streaming")
        return _TOOLS if scenario.tools else ()

    def _counted(self, frames: Sequence[StreamFrame]) -> None:
        cls = type(self)
        cls.scenarios_run += 1
        cls.frames_seen += len(frames)
        assert frames, "the scenario gave no frames"

    def _response(self, body: bytes | Sequence[bytes], **options: Any) -> WireResponse:
        return WireResponse(body, content_type=self.content_type, **options)

    @asynccontextmanager
    async def _client(
        self, *responses: WireResponse, timeouts: Timeouts = _LONG
    ) -> AsyncIterator[tuple[WireServer, LLMClient]]:
        async with WireServer(*responses) as server:
            client = self.make_client(server.url, timeouts)
            try:
                yield server, client
            finally:
                await client.aclose()

    async def _frames(
        self, response: WireResponse, tools: Sequence[ToolDescriptor] = (), prompt: Prompt = _PROMPT
    ) -> tuple[list[StreamFrame], PromptportError | None]:
        """The frames of one streamed answer, and the error that ended it."""
        (result,) = await self._each([response], tools, prompt)
        return result

    async def _each(
        self, responses: Sequence[WireResponse], tools: Sequence[ToolDescriptor] = (), prompt: Prompt = _PROMPT
    ) -> list[tuple[list[StreamFrame], PromptportError | None]]:
        """The same for several answers, one after the other, from one client."""
        results: list[tuple[list[StreamFrame], PromptportError | None]] = []
        async with self._client(*responses) as (_, client):
            for _ in responses:
                frames: list[StreamFrame] = []
                results.append((frames, await _read(client, prompt, self.model, tools, frames)))
        return results

    async def _complete(self, steps: Sequence[Step], tools: Sequence[ToolDescriptor] = ()) -> list[StreamFrame]:
        frames, error = await self._frames(self._response(self._wire(steps)), tools)
        if error is not None:
            raise AssertionError(f"a whole answer raised {error!r}") from error
        self._counted(frames)
        return frames

    # ------------------------------------------------------------------------ rule 1: complete or an error

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
    def test_rule_1_a_whole_answer_is_whole(self, scenario: Scenario) -> None:
        """Every scenario: the frames are valid, and say what the model said, in its order."""
        frames = _run(self._complete(scenario.steps, self._tools(scenario)))
        assert_valid_stream(frames)
        assert outcome(frames) == self._expected(scenario.steps)

    def _expected(self, steps: Sequence[Step]) -> Any:
        return expected(steps)

    def test_rule_1_end_tells_reason_and_usage(self) -> None:
        """`End` has the finish reason, the provider's own word, and the token counts."""
        end = _run(self._complete((Say("Hi"), _STOP)))[-1]
        assert isinstance(end, End)
        assert end.finish_reason is FinishReason.STOP
        assert (end.usage.input_tokens, end.usage.output_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)

    @pytest.mark.parametrize("name", ["text", "text and call", "parallel calls"])
    @pytest.mark.parametrize("ending", ["end_after", "drop_after", "reset_after"])
    def test_rule_1_an_answer_that_was_cut_raises(self, name: str, ending: str) -> None:
        """Bytes that end anywhere before the terminal give an error with ``partial``, or lack nothing that counts."""
        scenario = _scenario(name)
        tools = self._tools(scenario)
        chunks = self._wire(scenario.steps)
        whole = outcome(_run(self._complete(scenario.steps, tools)))
        body = b"".join(chunks)
        ends = [sum(map(len, chunks[:count])) for count in range(len(chunks))]
        inside = random.Random(name).sample(range(1, len(body)), 12)  # noqa: S311 - reproducible, not secret
        _run(self._check_cuts(body, sorted({*ends, *inside}), ending, tools, whole))

    async def _check_cuts(
        self, body: bytes, cuts: Sequence[int], ending: str, tools: Sequence[ToolDescriptor], whole: Any
    ) -> None:
        raised = 0
        results = await self._each([self._response(body, **{ending: cut}) for cut in cuts], tools)
        for cut, (frames, error) in zip(cuts, results, strict=True):
            if error is None:
                assert outcome(frames) == whole, f"cut after {cut} bytes: the stream ended as if it were whole"
                continue
            raised += 1
            if cut or ending == "end_after":
                assert isinstance(error, StreamError | TransportError), f"cut after {cut} bytes: {error!r}"
            partial = getattr(error, "partial", None)
            assert partial is not None, f"cut after {cut} bytes: {error!r} has no partial"
            _check_partial(partial, frames, f"cut after {cut} bytes")
            safe = {(call.name, call.arguments) for call in frames if isinstance(call, ToolCall)}
            assert safe <= {(name, _find_arguments(whole, name, text)) for name, text in safe}, f"cut after {cut} bytes"
        assert raised, "no cut was noticed"
        type(self).scenarios_run += len(cuts)

    # ---------------------------------------------------------------- rule 2: a ToolCall is safe to run

    def test_rule_2_a_call_cut_by_the_length_limit_is_unfinished(self) -> None:
        """A call that the limit cut is in ``End.unfinished``, and is no `ToolCall`, even if its text parses."""
        for fragments in (('{"city": "Pa',), ('{"city": ', '"Paris"}'), ()):
            steps: tuple[Step, ...] = (
                Start(0, "call_a", "get_weather"),
                *(Arguments(0, text) for text in fragments),
                Finish(FinishReason.LENGTH),
            )
            tools = self._tools(Scenario("cut", steps, tools=True))
            frames = _run(self._complete(steps, tools))
            assert not any(isinstance(frame, ToolCall | InvalidToolCall) for frame in frames), fragments
            end = frames[-1]
            assert isinstance(end, End)
            assert end.finish_reason is FinishReason.LENGTH
            assert [(call.name, call.arguments) for call in end.unfinished] == [("get_weather", "".join(fragments))]

    @pytest.mark.parametrize(
        "text", ['{"city": "Pa', "[1, 2]", "null", '"Paris"', '{"city": "Paris"} {"city": "Rome"}']
    )
    def test_rule_2_arguments_that_are_no_object_are_an_invalid_call(self, text: str) -> None:
        """A call that the provider finished, and whose arguments are no JSON object, is an `InvalidToolCall`."""
        steps = (Start(0, "call_a", "get_weather"), Arguments(0, text), Seal(0), Finish(FinishReason.TOOL_CALLS))
        frames = _run(self._complete(steps, self._tools(Scenario("invalid", steps, tools=True))))
        assert_valid_stream(frames)
        assert not any(isinstance(frame, ToolCall) for frame in frames)
        (invalid,) = [frame for frame in frames if isinstance(frame, InvalidToolCall)]
        assert (invalid.name, invalid.arguments) == ("get_weather", text)
        assert invalid.reason

    # ------------------------------------------------------------------------------ rule 3: one identity

    def test_rule_3_ids_are_kept_and_unique(self) -> None:
        """The provider's ids are the calls' ids; without ids, calls still have one each."""
        scenario = _scenario("parallel calls")
        frames = _run(self._complete(scenario.steps, self._tools(scenario)))
        ids = [frame.id for frame in frames if isinstance(frame, ToolCall)]
        assert len(set(ids)) == 2
        if self.sends_call_ids:
            assert ids == ["call_a", "call_b"]

    def test_rule_3_an_id_of_the_conversation_is_not_used_again(self) -> None:
        """A provider that repeats the id of an earlier call gets another for the new one."""
        scenario = _scenario("call")
        prompt = _PROMPT.tool_call("call_a", "get_weather", '{"city":"Rome"}').tool_result("call_a", "rain")
        frames, error = _run(self._frames(self._response(self._wire(scenario.steps)), self._tools(scenario), prompt))
        assert error is None, error
        self._counted(frames)
        (call,) = [frame for frame in frames if isinstance(frame, ToolCall)]
        assert call.id
        assert call.id != "call_a"

    # --------------------------------------------------------------------------------- rule 4: sums agree

    def test_rule_4_every_increment_comes_through(self) -> None:
        """The increments of text and of arguments are those of the wire: none dropped, merged or changed."""
        scenario = _scenario("text and call")
        frames = _run(self._complete(scenario.steps, self._tools(scenario)))
        texts = [frame.text for frame in frames if isinstance(frame, Append)]
        assert texts == [step.text for step in scenario.steps if isinstance(step, Say)]
        deltas = [frame.arguments for frame in frames if isinstance(frame, ToolCallDelta) and frame.arguments]
        wanted = [step.text for step in scenario.steps if isinstance(step, Arguments)]
        if self._capabilities().streamed_tools is StreamedTools.DELTAS:
            assert deltas == wanted
        (call,) = [frame for frame in frames if isinstance(frame, ToolCall)]
        assert "".join(deltas) == call.arguments
        assert call.parsed() == {"city": "Paris"}

    # --------------------------------------------------------- rule 5: the same frames for every chunking

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
    def test_rule_5_the_same_frames_for_every_chunking(self, scenario: Scenario) -> None:
        """Bytewise, by events, and at five random cuts: equal frames."""
        tools = self._tools(scenario)
        body = b"".join(self._wire(scenario.steps))
        cuts: list[Cut] = ["whole", "bytes", "events", *[("random", seed) for seed in range(5)]]
        results = _run(self._each([self._response(body, cut=cut, pace=0) for cut in cuts], tools))
        for cut, (frames, error) in zip(cuts, results, strict=True):
            assert error is None, (cut, error)
            self._counted(frames)
            assert frames == results[0][0], cut

    def test_rule_5_the_same_frames_before_an_error(self) -> None:
        """What came before an error comes out before it, however the bytes are cut."""
        body = b"".join(self._wire((Say("Hel"), Say("lo"), Fail("it broke", "server_error"))))
        for cut in ("whole", "bytes", "events"):
            frames, error = _run(self._frames(self._response(body, cut=cut)))
            self._counted(frames)
            assert [frame.text for frame in frames if isinstance(frame, Append)] == ["Hel", "lo"], cut
            assert isinstance(error, ProviderStreamError), (cut, error)

    def test_rule_5_compressed_bytes(self) -> None:
        """gzip, where the client asked for it."""
        frames = _run(self._complete((Say("Hello"), _STOP)))
        body = b"".join(self._wire((Say("Hello"), _STOP)))
        others, error = _run(self._frames(self._response(body, gzip=True, cut="bytes")))
        assert error is None, error
        assert others == frames

    # ---------------------------------------------------------------- rule 6: streamed equals complete

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
    def test_rule_6_streamed_equals_complete(self, scenario: Scenario) -> None:
        """``await stream.message()`` is what ``execute`` gives for the same answer."""
        tools = self._tools(scenario)
        body = self.encode_complete(scenario.steps)
        if body is None:
            pytest.skip("n/a: the protocol cannot say this whole")
        _run(self._check_complete(self._wire(scenario.steps), body, tools))

    async def _check_complete(self, streamed: Sequence[bytes], whole: bytes, tools: Sequence[ToolDescriptor]) -> None:
        response = WireResponse(whole, content_type="application/json", framing="length")
        async with self._client(self._response(streamed), response) as (server, client):
            async with client.execute_streaming_with_tools(_PROMPT, self.model, tools) as stream:
                one = await stream.message()
            other = await client.execute(_PROMPT, self.model, tools)
            assert [request.method for request in server.requests] == ["POST", "POST"]
        self._counted(one.frames())
        assert _order_free(one) == _order_free(other)

    # ------------------------------------------------------ rule 7: unknown is not fatal, malformed is

    def test_rule_7_unknown_events_are_skipped_and_counted(self) -> None:
        """An event that nobody knows changes nothing but the count."""
        plain = _run(self._complete((Say("Hel"), Say("lo"), _STOP)))
        body = self._wire((Unknown(), Say("Hel"), Unknown(), Say("lo"), Unknown(), _STOP))

        async def check() -> None:
            async with self._client(self._response(body)) as (_, client):
                stream = client.execute_streaming_with_tools(_PROMPT, self.model)
                frames = [frame async for frame in stream]
                assert frames == plain
                assert sum(stream.skipped.values()) == 3, dict(stream.skipped)

        _run(check())
        type(self).scenarios_run += 1

    def test_rule_7_a_malformed_event_is_a_protocol_error(self) -> None:
        """A known event that is broken raises, and what came before it is in ``partial``."""
        frames, error = _run(self._frames(self._response(self._wire((Say("Hello"), Malformed(), _STOP)))))
        self._counted(frames)
        assert isinstance(error, ProtocolError), error
        assert error.partial is not None
        assert error.partial.text == "Hello"

    # ------------------------------------------------------------------------------ rule 8: closing closes

    @pytest.mark.parametrize("how", ["aclose", "break", "cancel", "exception", "elsewhere", "client"])
    def test_rule_8_closing_closes_the_connection(self, how: str) -> None:
        """Whichever way a consumer leaves, the server sees the connection close."""
        body = b"".join(self._wire((Say("Hello"), Say(" you"), _STOP)))
        first = len(b"".join(self._wire((Say("Hello"), Say(" you"), _STOP))[:-1]))

        async def check() -> None:
            async with self._client(self._response(body, stall_after=first)) as (server, client):
                await asyncio.wait_for(_leave(client, self.model, how), 10)
                await server.client_closed(timeout=1.0)

        _run(check())
        type(self).scenarios_run += 1

    def test_rule_8_a_dropped_stream_warns_and_closes(self) -> None:
        """A stream that nobody closed is a ``ResourceWarning``, and does not leak its connection."""
        body = b"".join(self._wire((Say("Hello"), Say(" you"), _STOP)))
        first = len(b"".join(self._wire((Say("Hello"), Say(" you"), _STOP))[:-1]))

        async def check() -> None:
            async with self._client(self._response(body, stall_after=first)) as (server, client):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    stream = client.execute_streaming_with_tools(_PROMPT, self.model)
                    await anext(stream)
                    del stream
                    gc.collect()
                    await server.client_closed(timeout=1.0)
                assert any(issubclass(warning.category, ResourceWarning) for warning in caught)

        _run(check())

    def test_rule_8_a_whole_answer_leaves_the_connection_usable(self) -> None:
        """Three answers, one connection."""
        body = self._wire((Say("Hello"), _STOP))

        async def check() -> None:
            async with self._client(*[self._response(body)] * 3) as (server, client):
                for _ in range(3):
                    async with client.execute_streaming_with_tools(_PROMPT, self.model) as stream:
                        assert (await stream.message()).text == "Hello"
                assert server.connections == 1

        _run(check())

    # -------------------------------------------------------------------------------- rule 9: back-pressure

    def test_rule_9_nothing_reads_ahead_without_bound(self) -> None:
        """While the consumer rests, the server cannot send all of a large answer."""
        text = "x" * 65536
        body = self._wire((*[Say(text)] * 800, _STOP))

        async def check() -> None:
            async with self._client(self._response(body)) as (server, client):
                async with client.execute_streaming_with_tools(_PROMPT, self.model) as stream:
                    assert await anext(stream) == Append(text)
                    sent = -1
                    while sent != server.sent_bytes:
                        sent = server.sent_bytes
                        await asyncio.sleep(0.05)
                    assert sent < 32 * 1024 * 1024, f"{sent} bytes were taken of {sum(map(len, body))}"

        _run(check())

    # ---------------------------------------------------------------------------------------- the request

    def test_tools_are_in_the_request(self) -> None:
        """Each tool's name, description and parameters reach the server."""
        scenario = _scenario("call")
        tools = self._tools(scenario)
        sent = _run(self._requests(scenario, [_PROMPT], tools))[0].body.decode()
        for tool in tools:
            assert f'"{tool.name}"' in sent, f"the tool {tool.name} is not in the request"
            assert tool.description in sent
            for name in tool.parameters.get("properties", {}):
                assert f'"{name}"' in sent

    def test_the_prompt_is_in_the_request(self) -> None:
        """System and user text, and the model's id."""
        sent = _run(self._requests(_scenario("text"), [_PROMPT], ()))[0].body.decode()
        for text in ("What is the weather in Paris?", "Be brief.", self.model.id):
            assert text in sent

    def test_results_go_back_with_their_calls(self) -> None:
        """The second request has the calls, their arguments and their results, in order; errors too."""
        scenario = _scenario("parallel calls")
        tools = self._tools(scenario)
        message = AssistantMessage.of("Let me see.")
        frames = _run(self._complete(scenario.steps, tools))
        calls = [frame for frame in frames if isinstance(frame, ToolCall)]
        message = replace(message, parts=(*message.parts, *calls))
        results = [
            ToolResultMessage(calls[0].id, calls[0].name, "21 degrees Celsius"),
            ToolResultMessage(calls[1].id, calls[1].name, error="the clock is broken"),
        ]
        sent = _run(self._requests(scenario, [_PROMPT.add(message, *results)], tools))[0].body.decode()
        places = [sent.find(text) for text in ("Let me see.", "Paris", "21 degrees Celsius", "the clock is broken")]
        assert -1 not in places, places
        assert sorted(places[2:]) == places[2:], "the results are not in the order of the calls"
        if self.sends_call_ids:
            assert all(sent.count(call.id) == 2 for call in calls), "each call's id stands with the call and its result"

    def test_an_invalid_call_can_be_answered(self) -> None:
        """History with an `InvalidToolCall` and its error makes a request."""
        if self._capabilities().streamed_tools is StreamedTools.NONE:
            pytest.skip("n/a: no tool calls while streaming")
        message = AssistantMessage.of(InvalidToolCall("call_a", "get_weather", '{"city', "not JSON"))
        prompt = _PROMPT.add(message, ToolResultMessage("call_a", "get_weather", error="not JSON"))
        request = _run(self._requests(_scenario("text"), [prompt], _TOOLS))[0]
        assert "not JSON" in request.body.decode()
        request.json()

    def test_reasoning_round_trips(self) -> None:
        """Visible reasoning comes out, is one block, and its answer goes on after it."""
        steps = (Think("Let me "), Think("think."), Say("Done."), _STOP)
        frames = _run(self._complete(steps))
        assert_valid_stream(frames)
        assert outcome(frames) == expected(steps)
        message = _run(self._message(self._wire(steps)))
        assert message.reasoning == "Let me think."
        _run(self._requests(_scenario("text"), [_PROMPT.add(message).user("And?")], ()))

    async def _requests(
        self, scenario: Scenario, prompts: Sequence[Prompt], tools: Sequence[ToolDescriptor]
    ) -> list[RecordedRequest]:
        responses = [self._response(self._wire(scenario.steps)) for _ in prompts]
        async with self._client(*responses) as (server, client):
            for prompt in prompts:
                async with client.execute_streaming_with_tools(prompt, self.model, tools) as stream:
                    self._counted([frame async for frame in stream])
            return server.requests

    async def _message(self, body: Sequence[bytes]) -> AssistantMessage:
        async with self._client(self._response(body)) as (_, client):
            async with client.execute_streaming_with_tools(_PROMPT, self.model) as stream:
                return await stream.message()

    # ------------------------------------------------------------------------------------------- errors

    @pytest.mark.parametrize(("status", "kind"), _STATUSES)
    @pytest.mark.parametrize("form", ["json", "html", "empty"])
    def test_http_errors_have_their_class(self, status: int, kind: type[ProviderError], form: str) -> None:
        """Each status has its class, with provider, model, status and ``retry_after``; streamed or not."""
        bodies = {
            "json": (b'{"error":{"message":"no luck","type":"some_type","code":"some_code"}}', "application/json"),
            "html": (b"<html><body>Bad Gateway</body></html>", "text/html"),
            "empty": (b"", None),
        }
        body, content_type = bodies[form]
        headers = {"retry-after": "7", "x-request-id": "req_1", "request-id": "req_1"}
        response = WireResponse(body, status=status, content_type=content_type, headers=headers, framing="length")

        async def check() -> None:
            async with self._client(response, response) as (server, client):
                stream = client.execute_streaming_with_tools(_PROMPT, self.model)
                for ask in (stream.message(), client.execute(_PROMPT, self.model)):
                    with pytest.raises(ProviderError) as caught:
                        await ask
                    error = caught.value
                    assert isinstance(error, kind), f"{status} is {error!r}"
                    assert (error.provider, error.model, error.status) == (client.provider, self.model.id, status)
                    assert error.retry_after == 7
                    assert _PROMPT.messages[1].text not in str(error)
                assert len(server.requests) == 2, "nothing is retried"

        _run(check())
        type(self).scenarios_run += 1

    def test_an_error_in_the_stream_is_raised(self) -> None:
        """`ProviderStreamError` with the provider's words, its code, and what had come."""
        frames, error = _run(
            self._frames(self._response(self._wire((Say("Hel"), Say("lo"), Fail("it broke", "overloaded")))))
        )
        self._counted(frames)
        assert isinstance(error, ProviderStreamError), f"the error was swallowed: {error!r}"
        assert "it broke" in str(error)
        assert error.code == "overloaded"
        assert error.partial is not None
        assert error.partial.text == "Hello"

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"<!DOCTYPE html><html><body>Welcome</body></html>", "text/html"),
            (b'{"error": {"message": "no such thing", "type": "invalid_request_error"}}', "application/json"),
            (b"", "text/event-stream"),
            (b"Service Unavailable", "text/plain"),
        ],
        ids=["html", "json error", "empty", "plain text"],
    )
    def test_http_200_without_a_stream_is_an_error(self, body: bytes, content_type: str) -> None:
        """A web page, a JSON error or nothing at all is no answer."""
        frames, error = _run(self._frames(WireResponse(body, content_type=content_type)))
        assert isinstance(error, StreamError), (frames, error)
        assert frames == []

    def test_an_unreachable_server_is_a_transport_error(self) -> None:
        """Refused, and closed at once, before an answer: `TransportError`, streamed or not."""

        async def check() -> None:
            async with WireServer() as server:
                url = server.url
            client = self.make_client(url, _LONG)
            for ask in (
                client.execute_streaming_with_tools(_PROMPT, self.model).message(),
                client.execute(_PROMPT, self.model),
            ):
                with pytest.raises(TransportError):
                    await ask
            await client.aclose()

        _run(check())

    @pytest.mark.parametrize("clock", ["first_frame", "idle", "total"])
    def test_the_three_clocks(self, clock: str) -> None:
        """Each clock has its error, with what had come, and closes the connection."""
        kinds = {"first_frame": FirstFrameTimeout, "idle": IdleTimeout, "total": TotalTimeout}
        chunks = self._wire((Say("Hello"), Say(" you"), _STOP))
        seconds = {"first_frame": 10.0, "idle": 10.0, "total": 10.0, clock: 0.15}
        stall = 0 if clock == "first_frame" else len(b"".join(chunks[:-1]))
        response = self._response(chunks, stall_after=stall)

        async def check() -> None:
            async with self._client(response, timeouts=Timeouts(**seconds, connect=5)) as (server, client):
                with pytest.raises(kinds[clock]) as caught:
                    await client.execute_streaming_with_tools(_PROMPT, self.model).message()
                assert caught.value.partial is not None
                assert caught.value.provider == client.provider
                await server.client_closed(timeout=1.0)

        _run(check())

    # ------------------------------------------------------------------------------------ capabilities

    def test_capabilities_are_declared_without_network(self) -> None:
        """``capabilities`` needs no server, and says how calls stream."""
        can = self._capabilities()
        assert isinstance(can.streamed_tools, StreamedTools)
        assert (Capability.TOOLS in can) or can.streamed_tools is StreamedTools.NONE

    def test_what_is_not_there_is_refused_before_anything_is_sent(self) -> None:
        """An image to a model without vision, and tools to one without tools."""
        bare = replace(self.model, capabilities=ModelCapabilities(capabilities=frozenset([Capability.SYSTEM])))
        image = Prompt().user("What is this?", ImagePart(data=b"\x89PNG", media_type="image/png"))

        async def check() -> None:
            async with self._client() as (server, client):
                for prompt, tools in ((image, ()), (_PROMPT, _TOOLS)):
                    with pytest.raises(UnsupportedCapabilityError) as caught:
                        client.execute_streaming_with_tools(prompt, bare, tools)
                    assert caught.value.missing
                    with pytest.raises(UnsupportedCapabilityError):
                        await client.execute(prompt, bare, tools)
                with pytest.raises(InvalidInputError):
                    client.execute_streaming_with_tools(Prompt().system("only this"), self.model)
                assert server.requests == []

        _run(check())

    def test_a_closed_client_says_so(self) -> None:
        """After ``aclose`` nothing is sent."""

        async def check() -> None:
            async with self._client() as (server, client):
                await client.aclose()
                await client.aclose()
                with pytest.raises(InvalidInputError):
                    await client.execute_streaming_with_tools(_PROMPT, self.model).message()
                assert server.requests == []

        _run(check())

    # --------------------------------------------------------------------------------------- many at once

    def test_two_hundred_streams_do_not_mix(self) -> None:
        """200 streams at once: each gets its own answer."""

        def answer(request: RecordedRequest) -> WireResponse:
            number = request.body.partition(b"stream number ")[2].partition(b".")[0].decode()
            steps: tuple[Step, ...] = (*[Say(f"{number}-{index} ") for index in range(10)], _STOP)
            return self._response(self._wire(steps), pace=0)

        async def one(client: LLMClient, number: int) -> None:
            prompt = Prompt.of(f"This is stream number {number}.")
            async with client.execute_streaming_with_tools(prompt, self.model) as stream:
                text = (await stream.message()).text
            assert text == "".join(f"{number}-{index} " for index in range(10))

        async def check() -> None:
            async with self._client() as (server, client):
                server.answer(answer)
                async with asyncio.TaskGroup() as group:
                    for number in range(200):
                        group.create_task(one(client, number))
                assert len(server.requests) == 200

        _run(check())
        type(self).scenarios_run += 200

    # ------------------------------------------------------------------------------------------- mutators

    @pytest.mark.parametrize("mutator", MUTATORS, ids=lambda mutator: mutator.name)
    def test_faulty_wires(self, mutator: Mutator) -> None:
        """What a mutator makes of each scenario: harmless changes nothing, and none gives a call that was not made."""
        protocol = self.mutators
        if protocol is None:
            pytest.skip("n/a: the mutators do not know this protocol")
        applied = sum(self._check_faulty(mutator, protocol, scenario) for scenario in SCENARIOS)
        type(self).scenarios_run += applied
        if not applied:
            pytest.skip("n/a: it applies to nothing of this protocol")

    def _check_faulty(self, mutator: Mutator, protocol: WireProtocol, scenario: Scenario) -> int:
        """One scenario with this fault, made three times; how often the fault applied."""
        body = self.encode(scenario.steps)
        if body is None or (scenario.tools and self._capabilities().streamed_tools is StreamedTools.NONE):
            return 0
        wire = Wire.parse(protocol, b"".join(body))
        chosen = [mutator(wire, random.Random(seed)) for seed in range(3)]  # noqa: S311 - reproducible, not secret
        faulty = [mutated for mutated in dict.fromkeys(chosen) if mutated is not None]
        if not faulty:
            return 0
        responses = [self._response(body), *[self._response(mutated, cut="events") for mutated in faulty]]
        (before, _), *results = _run(self._each(responses, _TOOLS if scenario.tools else ()))
        for mutated, (after, error) in zip(faulty, results, strict=True):
            assert_survived(mutator, protocol, mutated, before=before, after=after, error=error)
        return len(faulty)


# ------------------------------------------------------------------------------------------------ helpers


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs in a loop of its own, whatever the author's pytest does with async tests."""
    return asyncio.run(work)


async def _read(
    client: LLMClient, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], frames: list[StreamFrame]
) -> PromptportError | None:
    """Reads an answer into ``frames``; the error that ended it."""
    try:
        async with client.execute_streaming_with_tools(prompt, model, tools) as stream:
            async for frame in stream:
                frames.append(frame)
    except PromptportError as error:
        return error
    return None


def _scenario(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def _xfails_with_reason(test: Callable[..., Any]) -> bool:
    marks = getattr(test, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)


def _order_free(message: AssistantMessage) -> AssistantMessage:
    """What differs between two requests for one answer, taken away: the answer's id."""
    return replace(message, response_id=None)


def _check_partial(partial: AssistantMessage, frames: Sequence[StreamFrame], where: str) -> None:
    """Rule 1: ``partial`` is what was iterated."""
    text = "".join([frame.text for frame in frames if isinstance(frame, Append)])
    assert "".join([part.text for part in partial.parts if isinstance(part, TextPart)]) == text, where
    sealed = [frame.id for frame in frames if isinstance(frame, ToolCall | InvalidToolCall)]
    begun = list(dict.fromkeys(frame.id for frame in frames if isinstance(frame, ToolCallDelta)))
    assert [call.id for call in partial.unfinished] == [each for each in begun if each not in sealed], where


def _find_arguments(whole: Any, name: str, text: str) -> str | None:
    """The text, if the whole answer has this call with these arguments."""
    call = ToolCall("", name, text)
    return text if (name, call.parsed()) in whole.calls else None


async def _leave(client: LLMClient, model: LLModel, how: str) -> None:
    """Iterates an answer that stalls, and leaves it in one of the ways that consumers have."""
    stream = client.execute_streaming_with_tools(_PROMPT, model)
    if how == "aclose":
        await anext(stream)
        await stream.aclose()
    elif how == "break":
        async with stream:
            async for _ in stream:
                break
    elif how == "exception":
        with suppress(ZeroDivisionError):
            async with stream:
                async for _ in stream:
                    raise ZeroDivisionError
    elif how == "client":
        await anext(stream)
        await client.aclose()
    else:
        await _leave_waiting(stream, how)


async def _leave_waiting(stream: Any, how: str) -> None:
    """Leaves while a read waits: by cancelling its task, or by closing from another."""
    began = asyncio.Event()

    async def consume() -> None:
        async for _ in stream:
            began.set()

    task = asyncio.ensure_future(consume())
    await began.wait()
    await asyncio.sleep(0)
    if how == "cancel":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        await stream.aclose()
        with pytest.raises(IncompleteStreamError):
            await task
