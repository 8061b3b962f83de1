"""The contract's rules 1 to 4, as checks: complete or an error, safe calls, one identity, sums that agree."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

import pytest

from promptport.errors import IncompleteStreamError, InvalidInputError, ProviderStreamError, TransportError
from promptport.frames import (
    Append,
    End,
    FinishReason,
    InvalidToolCall,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    parse_arguments,
)
from promptport.messages import AssistantMessage
from promptport.models import StreamedTools
from promptport.testing.bench import Bench, Outcome, not_applicable, run, scenario_named
from promptport.testing.steps import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    SCENARIOS,
    Arguments,
    Expected,
    Fail,
    Finish,
    Say,
    Scenario,
    Seal,
    Start,
    Step,
    expected,
    increments,
    outcome,
)
from promptport.testing.validity import assert_valid_stream

__all__ = ["AnswerChecks"]

_Frame = TypeVar("_Frame")
_STOP = Finish(FinishReason.STOP)
_CALLS = Finish(FinishReason.TOOL_CALLS)
_LENGTH = Finish(FinishReason.LENGTH)
_AS_WRITTEN = (
    '{ "city":"Pa\\u0072is",\n\t"note" : "\\"}{\\\\" , "n":12345678901234567890123, "x":1.50, "e":1E3, "deep":{"b":[',
    ' {"a":null} ] ,"a":true}  }',
)
"""Arguments with more than one way to write them."""


class AnswerChecks:
    """What one whole or broken answer must come to."""

    bench: Bench

    # ------------------------------------------------------------------------ rule 1: complete or an error

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
    def test_rule_1_a_whole_answer_is_whole(self, scenario: Scenario) -> None:
        """Every scenario: the frames are valid, and say what the model said."""
        frames = self.bench.answer(scenario.steps, self.bench.offered(scenario))
        self.bench.comes_to(frames, scenario.steps)
        assert_valid_stream(frames)

    def test_rule_1_end_comes_once_and_last(self) -> None:
        """One `End`, and after it the iteration stops, however often it is asked again."""
        response = self.bench.response(self.bench.wire((Say("Hello"), _STOP)))

        async def check() -> None:
            async with self.bench.client(response) as (_, client):
                async with client.execute_streaming_with_tools(self.bench.prompt, self.bench.model) as stream:
                    frames = [frame async for frame in stream]
                    self.bench.played(frames)
                    ends = [index for index, frame in enumerate(frames) if isinstance(frame, End)]
                    assert ends == [len(frames) - 1], f"End stands at {ends} of {len(frames)} frames"
                    with suppress(InvalidInputError):  # a stream may say that it is for one use
                        again = [frame async for frame in stream]
                        assert again == [], "frames after the end of the iteration"

        run(check())

    def test_rule_1_end_tells_reason_and_usage(self) -> None:
        """`End` has the finish reason, the provider's own word, and the token counts."""
        end = self.bench.answer((Say("Hi"), _STOP))[-1]
        assert isinstance(end, End)
        assert end.finish_reason is FinishReason.STOP
        assert end.raw_finish_reason, "the provider's own word is not there"
        got = (end.usage.input_tokens, end.usage.output_tokens)
        assert got == (INPUT_TOKENS, OUTPUT_TOKENS), f"Usage says {got}, and 11 tokens went in and 7 came out"

    @pytest.mark.parametrize(
        "reason",
        [FinishReason.LENGTH, FinishReason.CONTENT_FILTER, FinishReason.PAUSED],
        ids=lambda reason: reason.value,
    )
    def test_rule_1_finish_reasons(self, reason: FinishReason) -> None:
        """Each reason is told apart."""
        end = self.bench.answer((Say("Once upon"), Finish(reason)))[-1]
        assert isinstance(end, End)
        assert end.finish_reason is reason, f"the answer ended for {reason.name}, and End says {end.finish_reason.name}"
        assert end.raw_finish_reason, "the provider's own word is not there"

    def test_rule_1_sealed_calls_end_in_tool_calls(self) -> None:
        """Also where the provider says "stop" after a call."""
        steps = (*scenario_named("call").steps[:-1], _STOP)
        end = self.bench.answer(steps, self.bench.tools)[-1]
        assert isinstance(end, End)
        assert end.finish_reason is FinishReason.TOOL_CALLS

    @pytest.mark.parametrize("name", ["text", "text and call", "parallel calls"])
    @pytest.mark.parametrize("ending", ["end_after", "drop_after", "reset_after"])
    def test_rule_1_an_answer_that_was_cut_raises(self, name: str, ending: str) -> None:
        """Bytes that end anywhere before the terminal give an error with ``partial``, or lack nothing that counts."""
        scenario = scenario_named(name)
        tools = self.bench.offered(scenario)
        chunks = self.bench.wire(scenario.steps)
        whole = outcome(self.bench.answer(scenario.steps, tools))
        body = b"".join(chunks)
        ends = [sum(map(len, chunks[:count])) for count in range(len(chunks))]
        inside = random.Random(name).sample(range(1, len(body)), 12)  # noqa: S311 - reproducible, not secret
        cuts = sorted({*ends, *inside})
        results = self.bench.play([self.bench.response(body, **{ending: cut}) for cut in cuts], tools)
        for cut, result in zip(cuts, results, strict=True):
            self.bench.told(f"{ending} {cut} of {len(body)} bytes", body[:cut], *result)
            _check_cut(result, whole, f"cut after {cut} of {len(body)} bytes")
        said = len(b"".join(self.bench.wire(scenario.steps[:-1])))
        self.bench.story.at = None
        unnoticed = [cut for cut, (_, error) in zip(cuts, results, strict=True) if cut <= said and error is None]
        assert unnoticed == [], (
            f"without the provider's terminal, which begins after {said} bytes, it ended as if whole"
        )

    # ---------------------------------------------------------------- rule 2: a ToolCall is safe to run

    @pytest.mark.parametrize(
        "fragments", [('{"city": "Pa',), ('{"city": ', '"Paris"}'), ()], ids=["half", "looks whole", "nothing"]
    )
    def test_rule_2_a_call_cut_by_the_length_limit_is_unfinished(self, fragments: tuple[str, ...]) -> None:
        """A call that the limit cut is in ``End.unfinished``, and is no `ToolCall`, even if its text parses."""
        steps: tuple[Step, ...] = (
            Start(0, "call_a", "get_weather"),
            *[Arguments(0, text) for text in fragments],
            _LENGTH,
        )
        frames = self.bench.answer(steps, self.bench.tools)
        assert_valid_stream(frames)
        assert not any(isinstance(frame, ToolCall | InvalidToolCall) for frame in frames)
        end = frames[-1]
        assert isinstance(end, End)
        assert end.finish_reason is FinishReason.LENGTH
        assert [(call.name, call.arguments) for call in end.unfinished] == [("get_weather", "".join(fragments))]

    def test_rule_2_a_call_before_the_one_that_was_cut(self) -> None:
        """The call that the provider sealed is one, where it seals each; the one that the limit cut is none."""
        whole = scenario_named("call").steps[:-1]
        steps = (*whole, Start(1, "call_b", "get_time"), Arguments(1, '{"zone": "UTC"}'), _LENGTH)
        frames = self.bench.answer(steps, self.bench.tools)
        assert_valid_stream(frames)
        calls = [frame.name for frame in frames if isinstance(frame, ToolCall | InvalidToolCall)]
        assert "get_time" not in calls
        end = frames[-1]
        assert isinstance(end, End)
        assert "get_time" in [call.name for call in end.unfinished]
        assert end.finish_reason is FinishReason.LENGTH
        if self.bench.seals(steps):
            assert calls == ["get_weather"]

    @pytest.mark.parametrize(
        "text",
        ['{"city": "Pa', "[1, 2]", "null", '"Paris"', '{"city": "Paris"} {"city": "Rome"}'],
        ids=["half an object", "list", "null", "text", "two objects"],
    )
    def test_rule_2_arguments_that_are_no_object_are_an_invalid_call(self, text: str) -> None:
        """A call that the provider finished, and whose arguments are no JSON object, is an `InvalidToolCall`."""
        steps = (Start(0, "call_a", "get_weather"), Arguments(0, text), Seal(0), _CALLS)
        frames = self.bench.answer(steps, self.bench.tools)
        assert_valid_stream(frames)
        assert not any(isinstance(frame, ToolCall) for frame in frames)
        invalid = _only(frames, InvalidToolCall)
        assert (invalid.name, invalid.arguments) == ("get_weather", text)
        assert invalid.reason

    def test_rule_2_an_error_seals_nothing(self) -> None:
        """A call whose text is whole, and that an error cut, is unfinished in ``partial``."""
        steps = (Start(0, "call_a", "get_weather"), Arguments(0, '{"city": "Paris"}'), Fail("it broke", "overloaded"))
        ((frames, error),) = self.bench.play([self.bench.response(self.bench.wire(steps))], self.bench.tools)
        assert isinstance(error, ProviderStreamError), error
        assert not any(isinstance(frame, ToolCall | InvalidToolCall | End) for frame in frames)
        assert error.partial is not None
        assert [(call.name, call.arguments) for call in error.partial.unfinished] == [
            ("get_weather", '{"city": "Paris"}')
        ]

    def test_rule_2_a_sealed_call_comes_at_once(self) -> None:
        """The `ToolCall` comes with the provider's seal, while the answer goes on."""
        sealed = (Say("Look: "), *scenario_named("call").steps[:-1])
        if not self.bench.seals(sealed):
            not_applicable("the answer's end seals its calls")
        response = self.bench.stalled(sealed, (*sealed, _CALLS))
        tools = self.bench.tools

        async def check() -> None:
            async with self.bench.client(response) as (_, client):
                stream = client.execute_streaming_with_tools(self.bench.prompt, self.bench.model, tools)
                async with stream, asyncio.timeout(self.bench.enough):
                    async for frame in stream:
                        self.bench.frames += 1
                        if isinstance(frame, ToolCall):
                            return

        run(check())
        self.bench.scenarios += 1

    # ------------------------------------------------------------------------------ rule 3: one identity

    def test_rule_3_ids_are_kept(self) -> None:
        """The provider's ids are the calls' ids, from the first delta on."""
        if not self.bench.contract.sends_call_ids:
            not_applicable("the protocol has no ids")
        frames = self.bench.answer(scenario_named("parallel calls").steps, self.bench.tools)
        assert [frame.id for frame in frames if isinstance(frame, ToolCall)] == ["call_a", "call_b"]
        deltas = [frame.id for frame in frames if isinstance(frame, ToolCallDelta)]
        assert list(dict.fromkeys(deltas)) == ["call_a", "call_b"]

    def test_rule_3_parallel_calls_stay_apart(self) -> None:
        """Each call has its own id, its own name and its own arguments."""
        steps = scenario_named("same tool twice").steps
        frames = self.bench.answer(steps, self.bench.tools)
        calls = [frame for frame in frames if isinstance(frame, ToolCall)]
        assert [(call.name, call.parsed()) for call in calls] == [
            ("get_weather", {"city": city}) for city in ("Paris", "Rome", "Oslo")
        ]
        assert len({call.id for call in calls}) == 3
        deltas = {frame.id for frame in frames if isinstance(frame, ToolCallDelta)}
        assert deltas == {call.id for call in calls}

    def test_rule_3_calls_may_end_in_any_order(self) -> None:
        """Calls that are open at once, and of which the second is sealed first."""
        steps = (
            Start(0, "call_a", "get_weather"),
            Start(1, "call_b", "get_time"),
            Arguments(0, '{"city": '),
            Arguments(1, "{}"),
            Seal(1),
            Arguments(0, '"Paris"}'),
            Seal(0),
            _CALLS,
        )
        frames = self.bench.answer(steps, self.bench.tools)
        self.bench.comes_to(frames, steps)
        assert_valid_stream(frames)

    @pytest.mark.parametrize("id", ["call_a", ""], ids=["repeated", "missing"])
    def test_rule_3_ids_that_are_no_good_are_replaced(self, id: str) -> None:
        """Two calls of one answer with one id, or with none: each gets one of its own."""
        steps: tuple[Step, ...] = (
            Start(0, id, "get_weather"),
            Arguments(0, '{"city": "Paris"}'),
            Seal(0),
            Start(1, id, "get_time"),
            Arguments(1, '{"zone": "UTC"}'),
            Seal(1),
            _CALLS,
        )
        frames = self.bench.answer(steps, self.bench.tools)
        self.bench.comes_to(frames, steps)
        assert_valid_stream(frames)
        ids = [frame.id for frame in frames if isinstance(frame, ToolCall)]
        assert len(set(ids)) == 2
        assert all(ids)

    def test_rule_3_an_id_of_the_conversation_is_not_used_again(self) -> None:
        """A provider that repeats the id of an earlier call gets another for the new one."""
        scenario = scenario_named("call")
        earlier = "call_a"
        if not self.bench.contract.sends_call_ids:  # then the one that was made up for the first call
            frames = self.bench.answer(scenario.steps, self.bench.tools)
            earlier = _only(frames, ToolCall).id
        prompt = self.bench.prompt.tool_call(earlier, "get_weather", '{"city":"Rome"}').tool_result(earlier, "rain")
        frames = self.bench.answer(scenario.steps, self.bench.tools, prompt)
        call = _only(frames, ToolCall)
        assert call.id
        assert call.id != earlier

    # --------------------------------------------------------------------------------- rule 4: sums agree

    def test_rule_4_every_increment_comes_through(self) -> None:
        """The increments of text and of arguments are those of the wire: none dropped, merged or changed."""
        steps = scenario_named("text and call").steps
        frames = self.bench.answer(steps, self.bench.tools)
        if self.bench.can.streamed_tools is StreamedTools.DELTAS:
            self.bench.same_increments(frames, steps)
        came = increments(frames)
        texts = [text for kind, text in came if kind == "text"]
        assert texts == [step.text for step in steps if isinstance(step, Say)]
        fragments = [text for kind, text in came if kind != "text"]
        written = [step.text for step in steps if isinstance(step, Arguments)]
        if self.bench.can.streamed_tools is not StreamedTools.DELTAS:
            assert parse_arguments("".join(fragments)) == parse_arguments("".join(written))

    def test_rule_4_empty_increments_give_no_frames(self) -> None:
        """Providers send them to keep a connection alive, or to begin."""
        frames = self.bench.answer((Say(""), Say("Hel"), Say(""), Say("lo"), Say(""), _STOP))
        assert_valid_stream(frames)
        assert [frame.text for frame in frames if isinstance(frame, Append)] == ["Hel", "lo"]

    @pytest.mark.parametrize("name", ["reasoning, text and call", "call and text", "interleaved calls"])
    def test_rule_4_frames_keep_the_order_of_the_wire(self, name: str) -> None:
        """No increment overtakes another, of whatever it is."""
        steps = scenario_named(name).steps
        frames = self.bench.answer(steps, self.bench.tools)
        if self.bench.can.streamed_tools is StreamedTools.DELTAS:
            self.bench.same_increments(frames, steps)
        else:
            assert outcome(frames).order == expected(steps).order

    def test_rule_4_arguments_are_as_the_model_wrote_them(self) -> None:
        """Blanks, escapes, the order of names and the spelling of numbers stay as they are."""
        steps: tuple[Step, ...] = (
            Start(0, "call_a", "get_weather"),
            *[Arguments(0, text) for text in _AS_WRITTEN],
            Seal(0),
            _CALLS,
        )
        frames = self.bench.answer(steps, self.bench.tools)
        call = _only(frames, ToolCall)
        deltas = "".join([frame.arguments for frame in frames if isinstance(frame, ToolCallDelta)])
        assert call.arguments == deltas, "the deltas, joined, are not the arguments"
        written = "".join(_AS_WRITTEN)
        if self.bench.can.streamed_tools is StreamedTools.DELTAS or _has_letters(self.bench.story.body, written):
            assert call.arguments == written, f"the model wrote {written!r}, and the call has {call.arguments!r}"
        else:  # there they are an object, which the encoder may have written in its own way
            assert json.loads(call.arguments) == json.loads(written)

    def test_rule_4_partial_is_what_was_iterated(self) -> None:
        """After every frame ``stream.partial`` is the message so far, and in the end the whole one."""
        steps = scenario_named("text and call").steps
        response = self.bench.response(self.bench.wire(steps))
        tools = self.bench.tools

        async def check() -> None:
            async with self.bench.client(response) as (_, client):
                async with client.execute_streaming_with_tools(self.bench.prompt, self.bench.model, tools) as stream:
                    frames: list[StreamFrame] = []
                    async for frame in stream:
                        frames.append(frame)
                        _check_partial(stream.partial, frames, f"after {len(frames)} frames")
                    self.bench.played(frames)
                    message = await stream.message()
            assert message == stream.partial
            assert message.text == "Let me see."
            assert [call.name for call in message.tool_calls] == ["get_weather"]
            end = frames[-1]
            assert isinstance(end, End)
            assert (message.finish_reason, message.usage) == (end.finish_reason, end.usage)

        run(check())


# ------------------------------------------------------------------------------------------------ helpers


def _has_letters(body: bytes, written: str) -> bool:
    """Whether the wire has these arguments as text: then nobody may write them anew."""
    return any(json.dumps(written, ensure_ascii=escaped).encode() in body for escaped in (True, False))


def _only(frames: Sequence[StreamFrame], kind: type[_Frame]) -> _Frame:
    found = [frame for frame in frames if isinstance(frame, kind)]
    assert len(found) == 1, f"{len(found)} {kind.__name__}s came, and there is one: {frames}"
    return found[0]


def _check_cut(result: Outcome, whole: Expected, where: str) -> None:
    """What came of an answer of which only the beginning was sent."""
    frames, error = result
    if error is None:
        assert outcome(frames) == whole, f"{where}: the stream ended as if it were whole"
        return
    assert isinstance(error, IncompleteStreamError | TransportError), f"{where}: {error!r}"
    assert error.partial is not None, f"{where}: {error!r} has no partial"
    _check_partial(error.partial, frames, where)
    assert not any(isinstance(frame, End) for frame in frames), f"{where}: End, and then an error"
    for call in frames:
        if isinstance(call, ToolCall):
            assert (call.name, call.parsed()) in whole.calls, f"{where}: a call that the model did not make: {call}"
            assert call.arguments in _arguments_so_far(frames), f"{where}: {call} is not what its deltas said"


def _arguments_so_far(frames: Sequence[StreamFrame]) -> list[str]:
    texts: dict[str, str] = {}
    for frame in frames:
        if isinstance(frame, ToolCallDelta):
            texts[frame.id] = texts.get(frame.id, "") + frame.arguments
    return [text or "{}" for text in texts.values()]


def _check_partial(partial: AssistantMessage, frames: Sequence[StreamFrame], where: str) -> None:
    """Rule 1: ``partial`` is what was iterated."""
    text = "".join([frame.text for frame in frames if isinstance(frame, Append)])
    assert partial.text == text, where
    calls = [frame for frame in frames if isinstance(frame, ToolCall)]
    assert list(partial.tool_calls) == calls, where
    sealed = [frame.id for frame in frames if isinstance(frame, ToolCall | InvalidToolCall)]
    begun = list(dict.fromkeys(frame.id for frame in frames if isinstance(frame, ToolCallDelta)))
    if not any(isinstance(frame, End) for frame in frames):
        assert [call.id for call in partial.unfinished] == [each for each in begun if each not in sealed], where
        assert partial.finish_reason is None, where
