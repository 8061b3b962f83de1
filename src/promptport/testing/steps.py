"""What a model says in a test, apart from any protocol: `Step`, the scenarios made of steps, and what must come out.

Rule: a provider author writes one function, steps → wire events; the kit knows from the same steps what the frames
must be. So a scenario is written once for all protocols.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from promptport.frames import (
    Append,
    End,
    FinishReason,
    InvalidToolCall,
    ReasoningAppend,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    Usage,
    parse_arguments,
)

__all__ = [
    "INPUT_TOKENS",
    "OUTPUT_TOKENS",
    "SCENARIOS",
    "Arguments",
    "Blocked",
    "Expected",
    "Fail",
    "Finish",
    "Malformed",
    "MalformedCall",
    "Opaque",
    "Say",
    "Scenario",
    "Seal",
    "Start",
    "Step",
    "Think",
    "Unknown",
    "Used",
    "expected",
    "increments",
    "outcome",
    "written_increments",
]


class Say(msgspec.Struct, frozen=True):
    """An increment of the answer's text."""

    text: str


class Think(msgspec.Struct, frozen=True):
    """An increment of visible reasoning."""

    text: str


class Start(msgspec.Struct, frozen=True):
    """A tool call begins; ``key`` tells calls apart that are open at once."""

    key: int
    id: str
    name: str


class Arguments(msgspec.Struct, frozen=True):
    """An increment of a call's JSON argument text."""

    key: int
    text: str


class Seal(msgspec.Struct, frozen=True):
    """The call is finished. A protocol without a mark for that writes nothing."""

    key: int


class Opaque(msgspec.Struct, frozen=True):
    """What the provider wants back unchanged, such as a signature.

    Attributes:
        key: the call that it belongs to; ``None`` for the reasoning before it.
        token: what comes back in the next request to this provider, and in no other's.
    """

    key: int | None
    token: str


INPUT_TOKENS = 11
OUTPUT_TOKENS = 7
_USAGE = Usage(INPUT_TOKENS, OUTPUT_TOKENS)


class Used(msgspec.Struct, frozen=True):
    """The provider says on its way what was used so far; `Finish` has the last word."""

    usage: Usage


class Finish(msgspec.Struct, frozen=True):
    """The answer's end; the calls that were not sealed are cut.

    Attributes:
        reason: why it ends.
        usage: what was used: 11 tokens in and 7 out, and what else a check wants to see told.
        way: which of `ProviderContract.ways_to_end` it ends in, from 0.
    """

    reason: FinishReason
    usage: Usage = _USAGE
    way: int = 0


class Blocked(msgspec.Struct, frozen=True):
    """The provider does not answer this prompt (a filter of its input, say), and says no more."""

    reason: str = "safety"


class MalformedCall(msgspec.Struct, frozen=True):
    """The provider says that the model wrote a call that is none, and says no more."""

    name: str = "get_weather"
    text: str = "get_weather(city=Paris"


class Fail(msgspec.Struct, frozen=True):
    """The provider reports an error in the stream, and says no more."""

    message: str
    code: str


class Unknown(msgspec.Struct, frozen=True):
    """An event that the protocol's newest version has, and the decoder cannot know."""


class Malformed(msgspec.Struct, frozen=True):
    """An event that is known, and is not what it must be: half of its JSON, say."""


Step: TypeAlias = (
    Say
    | Think
    | Start
    | Arguments
    | Seal
    | Opaque
    | Used
    | Finish
    | Fail
    | Blocked
    | MalformedCall
    | Unknown
    | Malformed
)
"""What happens. The kit asks for `Opaque`, `Used`, `Blocked` and `MalformedCall` only in checks of their own."""


class Scenario(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        name: for reports.
        steps: what happens.
        tools: whether tools are offered.
    """

    name: str
    steps: tuple[Step, ...]
    tools: bool = False


def _call(key: int, id: str, name: str, *fragments: str) -> tuple[Step, ...]:
    return (Start(key, id, name), *(Arguments(key, text) for text in fragments), Seal(key))


_STOP = Finish(FinishReason.STOP)
_CALLS = Finish(FinishReason.TOOL_CALLS)
_LENGTH = Finish(FinishReason.LENGTH)
_PARIS = ('{"ci', 'ty": "Pa', 'ris"}')

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("text", (Say("Hel"), Say("lo, "), Say("wörld \u2028\u0085 🌍"), Say("\n"), Say(" !"), _STOP)),
    Scenario("nothing", (_STOP,)),
    Scenario("length", (Say("Once upon"), _LENGTH)),
    Scenario("call", (*_call(0, "call_a", "get_weather", *_PARIS), _CALLS), tools=True),
    Scenario(
        "text and call", (Say("Let "), Say("me see."), *_call(0, "call_a", "get_weather", *_PARIS), _CALLS), tools=True
    ),
    Scenario(
        "call and text",
        (*_call(0, "call_a", "get_weather", *_PARIS), Say("I am "), Say("looking."), _CALLS),
        tools=True,
    ),
    Scenario("reasoning", (Think("Let me "), Think("think."), Say("It is "), Say("sunny."), _STOP)),
    Scenario(
        "reasoning, text and call",
        (Think("Let me "), Think("think."), Say("Look: "), *_call(0, "call_a", "get_weather", *_PARIS), _CALLS),
        tools=True,
    ),
    Scenario(
        "parallel calls",
        (*_call(0, "call_a", "get_weather", *_PARIS), *_call(1, "call_b", "get_time", '{"zone":', ' "UTC"}'), _CALLS),
        tools=True,
    ),
    Scenario(
        "same tool twice",
        (
            *_call(0, "call_a", "get_weather", *_PARIS),
            *_call(1, "call_b", "get_weather", '{"city": ', '"Rome"}'),
            *_call(2, "call_c", "get_weather", '{"city": "Oslo"}'),
            _CALLS,
        ),
        tools=True,
    ),
    Scenario(
        "interleaved calls",
        (
            Start(0, "call_a", "get_weather"),
            Start(1, "call_b", "get_time"),
            Arguments(0, '{"city"'),
            Arguments(1, '{"zone": "U'),
            Arguments(0, ': "Par'),
            Arguments(1, 'TC"}'),
            Arguments(0, 'is"}'),
            Seal(0),
            Seal(1),
            _CALLS,
        ),
        tools=True,
    ),
    Scenario("call without arguments", (*_call(0, "call_a", "ping"), _CALLS), tools=True),
    Scenario(
        "arguments that look whole early",
        (*_call(0, "call_a", "get_weather", "{", '"city": {}', ', "note": "}{\\"[1', '0]é🌍"}'), _CALLS),
        tools=True,
    ),
)
"""The answers that must come out right."""


# ---------------------------------------------------------------------------------------------- expected


class Expected(msgspec.Struct, frozen=True):
    """What an answer amounts to, apart from how its frames are cut.

    Attributes:
        text: the increments of the answer's text, as they came.
        reasoning: all of it, joined.
        calls: name and arguments of the calls that are safe to run.
        invalid: name and text of those that are not JSON objects.
        unfinished: the names of those that were cut.
        order: what came first: ``text`` and each call by its name, by its first increment.
        finish: why the answer ended.
    """

    text: tuple[str, ...] = ()
    reasoning: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    invalid: tuple[tuple[str, str], ...] = ()
    unfinished: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    finish: FinishReason | None = None


def expected(steps: Iterable[Step]) -> Expected:
    """What must come of these steps."""
    steps = tuple(steps)
    names = {step.key: step.name for step in steps if isinstance(step, Start)}
    sealed = {step.key for step in steps if isinstance(step, Seal)}
    arguments = {key: "".join([s.text for s in steps if isinstance(s, Arguments) and s.key == key]) for key in names}
    calls: list[tuple[str, dict[str, Any]]] = []
    invalid: list[tuple[str, str]] = []
    for key, name in names.items():
        if key in sealed:
            try:
                calls.append((name, parse_arguments(arguments[key] or "{}")))
            except ValueError:
                invalid.append((name, arguments[key]))
    finish = next((step.reason for step in steps if isinstance(step, Finish)), None)
    order = ["text" if isinstance(step, Say) else step.name for step in steps if isinstance(step, Say | Start)]
    return Expected(
        text=tuple([step.text for step in steps if isinstance(step, Say)]),
        reasoning="".join([step.text for step in steps if isinstance(step, Think)]),
        calls=_sorted(calls),
        invalid=tuple(sorted(invalid)),
        unfinished=tuple(sorted(name for key, name in names.items() if key not in sealed)),
        order=_merged(order),
        finish=FinishReason.TOOL_CALLS if calls or invalid else finish,
    )


def outcome(frames: Sequence[StreamFrame]) -> Expected:
    """What these frames amount to."""
    order: list[str] = []
    seen: set[str] = set()
    for frame in frames:
        if isinstance(frame, Append):
            order.append("text")
        elif isinstance(frame, ToolCallDelta) and frame.id not in seen:
            seen.add(frame.id)
            order.append(frame.name)
    end = frames[-1] if frames and isinstance(frames[-1], End) else None
    return Expected(
        text=tuple([frame.text for frame in frames if isinstance(frame, Append)]),
        reasoning="".join([frame.text for frame in frames if isinstance(frame, ReasoningAppend)]),
        calls=_sorted([(frame.name, frame.parsed()) for frame in frames if isinstance(frame, ToolCall)]),
        invalid=tuple(sorted((frame.name, frame.arguments) for frame in frames if isinstance(frame, InvalidToolCall))),
        unfinished=tuple(sorted(call.name for call in end.unfinished)) if end else (),
        order=_merged(order),
        finish=end.finish_reason if end else None,
    )


def written_increments(steps: Iterable[Step]) -> list[tuple[str, str]]:
    """Every increment of these steps: what it is of (``text``, ``reasoning``, a call's number), and its text."""
    numbers: dict[int, int] = {}
    out: list[tuple[str, str]] = []
    for step in steps:
        if isinstance(step, Say):
            out.append(("text", step.text))
        elif isinstance(step, Think):
            out.append(("reasoning", step.text))
        elif isinstance(step, Start):
            numbers[step.key] = len(numbers)
        elif isinstance(step, Arguments):
            out.append((f"call {numbers[step.key]}", step.text))
    return out


def increments(frames: Iterable[StreamFrame]) -> list[tuple[str, str]]:
    """Every increment of these frames, as `written_increments` has them; calls are numbered as they begin."""
    numbers: dict[str, int] = {}
    out: list[tuple[str, str]] = []
    for frame in frames:
        if isinstance(frame, Append):
            out.append(("text", frame.text))
        elif isinstance(frame, ReasoningAppend):
            out.append(("reasoning", frame.text))
        elif isinstance(frame, ToolCallDelta):
            number = numbers.setdefault(frame.id, len(numbers))
            if frame.arguments:
                out.append((f"call {number}", frame.arguments))
    return out


def _sorted(calls: list[tuple[str, dict[str, Any]]]) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Protocols seal in different orders; which calls there are does not depend on it."""
    return tuple(sorted(calls, key=lambda call: (call[0], msgspec.json.encode(call[1], order="deterministic"))))


def _merged(order: list[str]) -> tuple[str, ...]:
    return tuple([name for index, name in enumerate(order) if name != "text" or order[index - 1 : index] != ["text"]])
