"""What a failed check says, what the kit asks encoders for, and the faults of binary frames."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import pytest

from promptport.decoding import EventStreamDecoder
from promptport.errors import IncompleteStreamError, ProtocolError
from promptport.frames import Append, End, FinishReason, StreamFrame
from promptport.testing import (
    MUTATORS,
    Arguments,
    Finish,
    Meaning,
    Mutator,
    Opaque,
    ProviderContract,
    Say,
    Seal,
    SentCall,
    SentMessage,
    SentResult,
    Start,
    Step,
    WholeCall,
    Wire,
    event_frame,
    mutators_for,
    whole_calls,
)
from promptport.testing.failure_words import Story, check_same_answer, check_same_frames, explained
from promptport.testing.sent_messages import statements

CALLS = Finish(FinishReason.TOOL_CALLS)
CHECKS = [name for name in dir(ProviderContract) if name.startswith("test_")]


# -------------------------------------------------------------------------------------------- whole_calls


def test_whole_calls_are_in_one_piece_on_one_line() -> None:
    steps: list[Step] = [
        Start(3, "call_a", "get_weather"),
        *[Arguments(3, text) for text in ('{ "city":\n', '"Pa\\u0072is" }')],
        Opaque(3, "sign"),
        Seal(3),
        Start(1, "", "ping"),
        Seal(1),
        Say("Done."),
        CALLS,
    ]
    calls = whole_calls(steps)
    assert calls == {
        3: WholeCall("call_a", "get_weather", '{ "city": "Pa\\u0072is" }', "sign"),
        1: WholeCall("", "ping", "{}"),
    }
    assert bytes(calls[3].raw) == b'{ "city": "Pa\\u0072is" }'
    assert whole_calls([Say("Hi")]) == {}


@pytest.mark.parametrize(
    "steps",
    [
        (Start(0, "a", "f"), CALLS),
        (Start(0, "a", "f"), Start(1, "b", "g"), Seal(0), Seal(1), CALLS),
        (Start(0, "a", "f"), Arguments(0, "[1]"), Seal(0), CALLS),
        (Start(0, "a", "f"), Arguments(0, '{"half'), Seal(0), CALLS),
        (Seal(0), CALLS),
    ],
    ids=["cut", "interleaved", "a list", "half", "never begun"],
)
def test_whole_calls_says_what_such_a_protocol_cannot(steps: Sequence[Step]) -> None:
    assert whole_calls(steps) is None


# ------------------------------------------------------------------------------------------ read_request


def test_messages_are_compared_by_what_they_say() -> None:
    grouped = [
        SentMessage("user", "Hi"),
        SentMessage("assistant", "Let me see.", (SentCall("a", "f", {"x": 1}),)),
        SentMessage("user", "And?", results=(SentResult("a", "sunny"),)),
        SentMessage("system", "Be brief."),
    ]
    apart = [
        SentMessage("system", "Be brief."),
        SentMessage("user", "Hi"),
        SentMessage("assistant", "Let me see."),
        SentMessage("assistant", calls=(SentCall("a", "f", '{ "x": 1 }'),)),
        SentMessage("tool", results=(SentResult("a", "sunny"),)),
        SentMessage("user", "And?"),
    ]
    assert statements(grouped) == statements(apart)
    assert statements(apart[:2]) != statements([apart[0], SentMessage("assistant", "Hi")])


# ---------------------------------------------------------------------------------------- words of a failure


class Contract:
    class bench:  # noqa: N801 - stands for the instance
        story = Story()


def told(check: Any, story: Story) -> str:
    check.__name__ = "test_rule_1_a_whole_answer_is_whole"
    Contract.bench.story = story
    with pytest.raises(AssertionError) as caught:
        explained(check)(Contract())
    return str(caught.value)


def test_a_failure_says_scenario_cut_frame_bytes_and_cause() -> None:
    steps = (Say("Hel"), Say("lo"), Finish(FinishReason.STOP))
    story = Story(steps, "bytes", b'data: {"t":"Hel"}\n\ndata: {"t":"lo"}\n\n')
    got: list[StreamFrame] = [Append("Hel"), Append("l"), End(FinishReason.STOP)]
    wanted: list[StreamFrame] = [Append("Hel"), Append("lo")]
    message = told(lambda self: check_same_frames(got, wanted, story), story)
    lines = message.splitlines()
    assert lines[0] == "frame 1 differs from what the model said"
    assert "  scenario: Say('Hel'), Say('lo'), Finish(STOP)" in lines
    assert "  cut: bytes" in lines
    assert "  got:    Append(text='l')" in lines
    assert "  wanted: Append(text='lo')" in lines
    assert re.search(r'bytes: .*\{"t":"lo"\}.* \(0 to 37 of 37\)', message)
    assert lines[-1].startswith("  Probably the decoder drops")
    message = told(lambda self: check_same_answer(got, steps, story), story)
    assert "text 1 differs" in message
    assert len(message.splitlines()) < 12


def test_a_group_of_exceptions_is_one_message() -> None:
    def check(self: object) -> None:
        raise ExceptionGroup("many", [AssertionError("it mixed"), *[AssertionError("too") for _ in range(101)]])

    message = told(check, Story())
    assert message.splitlines()[0] == "it mixed"
    assert "101 more failed like it" in message
    assert "sub-exception" not in message


def test_an_exception_that_nobody_mapped_is_named_with_its_place() -> None:
    def check(self: object) -> None:
        raise KeyError("mark")

    assert re.match(r"KeyError: 'mark', raised in .*test_kit_words\.py:\d+, check\(\)", told(check, Story()))


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_names_a_cause(check: str) -> None:
    from promptport.testing.probable_causes import probable_cause

    cause = probable_cause(check)
    assert cause.endswith(".")
    assert cause[0].islower() or cause.startswith(("End", "JSON", "CACHE_CONTROL", "InvalidToolCall"))


# ------------------------------------------------------------------------------------------ binary frames

NAMES = ("messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")
BODY = b"".join([event_frame(b'{"p":"abc"}', event_type=name, message_type="event") for name in NAMES])
FRAME_FAULTS = [mutator for mutator in MUTATORS if mutator.name.startswith("frame_")]


def decoded(body: bytes) -> tuple[list[tuple[str, bytes]], Exception | None]:
    decoder, out = EventStreamDecoder(), []
    try:
        for events in (decoder.feed(body), decoder.feed(b""), decoder.close()):
            out += [(str(headers.get(":message-type")), payload) for headers, payload in events]
    except (ProtocolError, IncompleteStreamError) as error:
        return out, error
    return out, None


@pytest.mark.parametrize("mutator", FRAME_FAULTS, ids=lambda mutator: mutator.name)
@pytest.mark.parametrize("seed", range(40))
def test_a_fault_of_frames_is_what_it_says(mutator: Mutator, seed: int) -> None:
    mutated = mutator(Wire.parse("eventstream", BODY), random.Random(seed))
    assert mutated is not None
    assert mutated != BODY
    events, error = decoded(mutated)
    if mutator.meaning is Meaning.HARMLESS:
        assert (events, error) == decoded(BODY)
    elif mutator.meaning is Meaning.ERROR:
        assert error is None
        assert [kind for kind, _ in events].count("exception") == 1
    else:
        assert error is not None
        assert len(events) < NAMES.index("messageStop") + 1


def test_frames_are_parsed_and_written_as_they_were() -> None:
    wire = Wire.parse("eventstream", BODY)
    assert wire.body() == BODY
    assert [event.name.decode() for event in wire.events] == list(NAMES)
    assert wire.terminal() == NAMES.index("messageStop")
    assert Wire.parse("eventstream", BODY[:-7]).body() == BODY[:-7]


def test_a_protocol_lists_its_own_faults_only() -> None:
    names = {mutator.name for mutator in MUTATORS}
    listed = {
        protocol: {mutator.name for mutator in mutators_for(protocol)}
        for protocol in ("openai-chat", "openai-responses", "anthropic", "ollama-chat", "sse", "ndjson", "eventstream")
    }
    assert set.union(*listed.values()) == names
    assert not listed["anthropic"] & {"ids_on_every_chunk", "one_call_a_line", "frame_checksum"}
    assert {name for name in listed["eventstream"] if name.startswith("frame_")} == {f.name for f in FRAME_FAULTS}
    assert mutators_for(None) == []
    without = {mutator.name for mutator in mutators_for("sse", ends_by_bytes=True, ids=False)}
    assert listed["sse"] - without == {"terminal_twice", "data_after_the_end"}
