"""What holds for every text in every format: same frames for every cut, nothing lost, little held back, linear time.

``HYPOTHESIS_PROFILE=thorough`` runs 5,000 examples of each property.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from promptport.frames import (
    Append,
    End,
    FinishReason,
    InvalidToolCall,
    ReasoningAppend,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
)
from promptport.messages import TextPart
from promptport.testing import assert_valid_stream
from promptport.text_tools.formats import FORMATS, format_of, grammar_of
from promptport.text_tools.grammar import Kind
from promptport.text_tools.machine import TextToolsParser
from promptport.text_tools.patterns import whole
from promptport.tools import ToolDescriptor

EXAMPLES = 5000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 100
pytestmark = [pytest.mark.timeout(0)] if EXAMPLES > 100 else []
thorough = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

WEATHER = ToolDescriptor(
    "get_weather",
    "Weather of a city",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "factor": {"type": "number"},
            "exact": {"type": "boolean"},
            "tags": {"type": "array", "items": {}},
            "more": {"type": "object"},
            "maybe": {"type": ["integer", "null"]},
        },
    },
)
TOOLS = [WEATHER, ToolDescriptor("get", "Get"), ToolDescriptor("noop")]
WRITTEN = [name for name in FORMATS if name not in ("auto", "none")]


# ---------------------------------------------------------------------------------------------- helpers


def merge_frames(frames: Sequence[StreamFrame]) -> list[StreamFrame]:
    """Neighbouring increments of one kind, joined: what is equal for every cut."""
    merged: list[StreamFrame] = []
    for frame in frames:
        last = merged[-1] if merged else None
        if isinstance(frame, Append) and isinstance(last, Append):
            merged[-1] = Append(last.text + frame.text)
        elif isinstance(frame, ReasoningAppend) and isinstance(last, ReasoningAppend):
            merged[-1] = ReasoningAppend(last.text + frame.text)
        elif isinstance(frame, ToolCallDelta) and isinstance(last, ToolCallDelta) and last.id == frame.id:
            merged[-1] = ToolCallDelta(frame.id, frame.name, last.arguments + frame.arguments)
        else:
            merged.append(frame)
    return merged


Outcome = tuple[list[StreamFrame], tuple[UnfinishedCall, ...]]


def parse(format: str, pieces: Sequence[str], **options: str) -> Outcome:
    parser = TextToolsParser(format, TOOLS, **options)  # type: ignore[arg-type]
    frames = [frame for piece in pieces for frame in parser.feed(piece)]
    frames += parser.finish()
    assert parser.held == 0
    return merge_frames(frames), parser.unfinished


def cut(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


# ------------------------------------------------------------------------------------------- strategies

FRAGMENTS = [
    "<", "<t", "<tool_call", "<tool_call>", "<tool_call>\n", "</tool_call>", "<function=", "<function=get>",
    "</function>", "<parameter=city>", "</parameter>", "<|", "<|python_tag|>", "<|channel|>",
    "<|channel|>final<|message|>", "<|start|>", "<|start|>assistant", "<|channel|>analysis<|message|>",
    "<|channel|>commentary to=functions.get json<|message|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>",
    " to=functions.get", "[", "[TOOL", "[TOOL_CALLS]", "[TOOL_CALLS]get[ARGS]", "[ARGS]", "]", "[get", "[get(", "(",
    ")", "[get_weather(city=", "{", "}", '{"', '{"name"', '{"name": "get"', '{"name": "get", "arguments": ',
    '{"name": "nobody", "arguments": {}}', '"name": "', '"arguments": ', "{}", ":", ",", "; ", '"', "'", "\\",
    "```", "```json\n", "\n```", "<think>", "</think>", "[THINK]", "[/THINK]", "<|python_start|>", "<|python_end|>",
    "<|tool_calls_section_begin|>", "<|tool_call_begin|>",
    "<|tool_call_begin|>functions.get:0<|tool_call_argument_begin|>",
    "<|tool_call_end|>", "<|tool_calls_section_end|>", "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>get<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>", "<arg_key>", "<arg_key>city</arg_key>", "<arg_value>", "</arg_value>", "<minimax:tool_call>",
    '<invoke name="get">', '<parameter name="city">', "</invoke>", "</minimax:tool_call>", "<json>", "</json>",
    '{"function": ', '"type": "function", ', '"description": ', '{"arguments": {"city": 1}, ', '{"tool_calls": [',
    "\n", " ", "  \n\t", "word", "get", "get_weather", "noop", "é", "漢字", "😀", "\u2028", "0",
]  # fmt: skip

noise = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=8).map("".join)
strings = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=3).map("".join)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | strings
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3), max_leaves=6
)
# A value in tags cannot hold what ends it.
TAGS = ("</parameter>", "<parameter", "</function>", "</arg_value>", "<arg_key>", "</tool_call>", "</invoke>")
weather = st.fixed_dictionaries(
    {},
    optional={
        "city": strings,
        "days": st.integers(),
        "factor": st.floats(allow_nan=False, allow_infinity=False),
        "exact": st.booleans(),
        "tags": st.lists(values, max_size=2),
        "more": st.dictionaries(strings, values, max_size=2),
        "maybe": st.none() | st.integers(),
    },
).filter(lambda arguments: not any(tag in json.dumps(arguments) for tag in TAGS))


@st.composite
def calls(draw: st.DrawFn) -> ToolCall:
    name, arguments = draw(st.sampled_from(["get", "get_weather", "noop"])), draw(weather)
    if name != "get_weather":  # without a schema, tagged values stay text
        arguments = {key: value for key, value in arguments.items() if isinstance(value, str)}
    layout = draw(st.sampled_from([None, 2]))
    text = json.dumps(arguments, ensure_ascii=draw(st.booleans()), indent=layout)
    return ToolCall("call00000", name, text)


def written(format: str, made: Sequence[ToolCall]) -> str:
    writing = FORMATS[format].writing
    return writing.calls(made)


@st.composite
def texts(draw: st.DrawFn, format: str) -> str:
    """Prose with near-markers, calls, and pieces of calls."""
    names = WRITTEN if format in ("auto", "none") else [format]
    pieces = []
    for _ in range(draw(st.integers(1, 4))):
        pieces.append(draw(noise))
        call = written(draw(st.sampled_from(names)), draw(st.lists(calls(), min_size=1, max_size=2)))
        if draw(st.integers(0, 3)) == 0:
            call = call[: draw(st.integers(0, len(call)))]
        pieces.append(call)
    return "".join(pieces)


# ------------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("format", FORMATS)
@thorough
@given(data=st.data())
def test_any_text(format: str, data: st.DataObject) -> None:
    text = data.draw(texts(format))
    options = {"reasoning": data.draw(st.sampled_from(["on", "off", "open"]))}
    whole = parse(format, [text], **options)
    cuts = [cut(text, data.draw(st.lists(st.integers(0, 10_000), max_size=12))) for _ in range(3)]
    if len(text) <= 60:
        cuts += [[text[:place], text[place:]] for place in range(len(text) + 1)]
    for pieces in cuts:
        assert parse(format, pieces, **options) == whole
    assert read_by_character(format, text, options) == whole
    if options["reasoning"] == "off" and format not in ("harmony", "auto"):
        assert_nothing_lost_without_calls(text, whole)


@pytest.mark.parametrize("format", FORMATS)
def test_a_long_text_at_200_random_cuts(format: str) -> None:
    source = random.Random(format)
    names = WRITTEN if format in ("auto", "none") else [format]
    pieces = []
    for index in range(60):
        pieces += source.choices(FRAGMENTS, k=6)
        arguments = json.dumps({"city": "".join(source.choices(FRAGMENTS, k=3))}, ensure_ascii=False)
        call = written(source.choice(names), [ToolCall("a", "get_weather", arguments)])
        pieces.append(call if index % 3 else call[: source.randrange(len(call))])
    text = "".join(pieces)
    assert len(text) > 3000
    whole = parse(format, [text])
    assert format == "none" or any(isinstance(frame, ToolCallDelta) for frame in whole[0])
    for _ in range(200):
        assert parse(format, cut(text, source.choices(range(len(text)), k=source.randrange(1, 80)))) == whole


def read_by_character(format: str, text: str, options: dict[str, str]) -> Outcome:
    """Holds the parser to the contract's rules on the way, and to what it may hold back."""
    parser = TextToolsParser(format, TOOLS, **options)  # type: ignore[arg-type]
    frames = []
    for character in text:
        frames += parser.feed(character)
        assert parser.held - parser.undecided <= BOUND[format, options["reasoning"]]
    frames += parser.finish()
    reason = FinishReason.TOOL_CALLS if parser.sealed else FinishReason.STOP
    assert_valid_stream([*frames, End(reason, unfinished=parser.unfinished)])
    assert parser.sealed == sum(isinstance(frame, ToolCall | InvalidToolCall) for frame in frames)
    for call in parser.unfinished:
        deltas = "".join([f.arguments for f in frames if isinstance(f, ToolCallDelta) and f.id == call.id])
        assert call.arguments.startswith(deltas), "what was given is the beginning of what came"
    return merge_frames(frames), parser.unfinished


def assert_nothing_lost_without_calls(text: str, outcome: Outcome) -> None:
    frames, unfinished = outcome
    if not unfinished and not any(isinstance(frame, ToolCallDelta) for frame in frames):
        assert frames == ([Append(text)] if text else [])
    rest = iter(text)
    assert all(character in rest for frame in frames if isinstance(frame, Append) for character in frame.text)


def bound(format: str, reasoning: str) -> int:
    states, _ = grammar_of(format_of(format), tuple(sorted(tool.name for tool in TOOLS)), reasoning)
    return max(state.longest for state in states.values())


BOUND = {(name, reasoning): bound(name, reasoning) for name in FORMATS for reasoning in ("on", "off", "open")}


def test_little_waits() -> None:
    assert max(BOUND.values()) < 1024, "longer than the longest name between the longest blanks"


OPENINGS = (
    "<tool_call>", "<function=", "<|python_tag|>", "[TOOL_CALLS]", "<|channel|>", "<|start|>", "<think>", "[THINK]",
    '"name"', "to=", "[get", "(", "</tool_call>", "```", "]", ",", ";", "}", "<|python", "</think>", '"arguments"',
    '"function"', "<json>", "</json>", "<minimax:tool_call>", "</minimax", "_begin|>", "▁begin｜>", "_section_end|>",
    "<|tool_call",
)  # fmt: skip
safe_prose = noise.filter(
    lambda text: not any(opening in text for opening in OPENINGS) and not text.rstrip().endswith(("[", ">"))
)


@pytest.mark.parametrize("format", [name for name in WRITTEN if name != "harmony"] + ["auto"])
@thorough
@given(data=st.data())
def test_nothing_is_lost(format: str, data: st.DataObject) -> None:
    """Prose, call, prose, call …: each comes out as itself, in its place."""
    pieces, expected = [], []
    for index in range(data.draw(st.integers(1, 3))):
        prose, call = data.draw(safe_prose), data.draw(calls())
        assume(not prose.isspace() or not index)  # blanks between two calls are what parts them
        if format == "required" and not index:
            assume(not prose.strip().startswith("{"))  # there it is no prose, but the call
        writer = format if format != "auto" else data.draw(st.sampled_from([n for n in WRITTEN if n != "harmony"]))
        pieces += [prose, written(writer, [call])]
        expected.append((prose, call))
    end = data.draw(safe_prose)
    frames, unfinished = parse(format, cut("".join([*pieces, end]), data.draw(st.lists(st.integers(0, 10_000)))))
    assert not unfinished
    seen: set[str] = set()
    for prose, call in expected:
        if prose:
            assert frames.pop(0) == Append(prose)
        delta, sealed = frames.pop(0), frames.pop(0)
        assert isinstance(sealed, ToolCall), sealed
        assert sealed.name == call.name
        assert sealed.id not in seen
        seen.add(sealed.id)
        assert sealed.parsed() == call.parsed()
        assert delta == ToolCallDelta(sealed.id, call.name, sealed.arguments)
        if FORMATS[format].streamed_tools.value == "deltas" and format != "auto":
            assert sealed.arguments == call.arguments
    assert frames == ([Append(end)] if end else [])


@thorough
@given(data=st.data())
def test_nothing_is_lost_in_harmony(data: st.DataObject) -> None:
    writing = FORMATS["harmony"].writing
    plain = noise.filter(lambda text: text and "<|" not in text and "<think>" not in text)
    parts = data.draw(st.lists(plain.map(TextPart) | calls(), min_size=1, max_size=4))
    frames, unfinished = parse("harmony", list(writing.assistant(parts)))
    assert not unfinished
    assert "".join([f.text for f in frames if isinstance(f, Append)]) == "".join(
        [part.text for part in parts if isinstance(part, TextPart)]
    )
    assert [(f.name, f.arguments) for f in frames if isinstance(f, ToolCall)] == [
        (part.name, part.arguments) for part in parts if isinstance(part, ToolCall)
    ]


# -------------------------------------------------------------------------------------------- holding back


WHOLE_MARKERS = {
    "hermes": ['<tool_call>\n{"', "<think>"],
    "qwen_coder": ["<tool_call>\n<function=get>", "<function=get>"],
    "llama3": [
        '<|python_tag|>{"', '{"name": "get_weather", "parameters":',
        '{"type": "function", "name": "get", "parameters":',
    ],
    "pythonic": ["[get_weather(", "[get("],
    "mistral": ['[TOOL_CALLS] [{"', '[TOOL_CALLS]get[ARGS]{"', '[TOOL_CALLS]get[CALL_ID]abc[ARGS]{"'],
    "harmony": ["<|channel|>final<|message|>", "<|start|>assistant to=f<|channel|>commentary json<|message|>"],
    "json": ['```json\n{"name": "get", "arguments":', '[{"name": "get", "arguments":', '{"name": "noop", "arguments":'],
    "kimi": ["<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"],
    "glm": ["<tool_call>get\n<arg_key>", "<tool_call>noop</tool_call>"],
    "deepseek": ['<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get<｜tool▁sep｜>{"'],
    "minimax": ['<minimax:tool_call>\n<invoke name="get">'],
    "none": ["<think>", "[THINK]"],
}  # fmt: skip
WHOLE_MARKERS["auto"] = [marker for markers in WHOLE_MARKERS.values() for marker in markers]


@pytest.mark.parametrize(("format", "marker"), [(name, m) for name, ms in WHOLE_MARKERS.items() for m in ms])
def test_exactly_what_may_become_a_marker_waits(format: str, marker: str) -> None:
    last = len(marker) - (2 if marker.endswith('{"') else 1)
    for size in range(1, last + 1):
        parser = TextToolsParser(format, TOOLS)
        assert merge_frames(parser.feed("x " + marker[:size])) == [Append("x ")], size
        assert parser.held == size
        assert merge_frames(parser.feed("\0y")) == [Append(marker[:size] + "\0y")], size
        assert parser.held == 0
    parser = TextToolsParser(format, TOOLS)
    frames = merge_frames(parser.feed(f"x {marker}y") + parser.finish())
    assert frames != [Append(f"x {marker}y")], "the marker was not taken for one"


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "required"])
@pytest.mark.parametrize("text", ["plain words", '{"name": "Alice", "age": 5}', "a < b", "[1, 2]", "f(x)", "`code`"])
def test_other_text_does_not_wait(format: str, text: str) -> None:
    parser = TextToolsParser(format, TOOLS)
    got = "".join([frame.text for c in text + "." for frame in parser.feed(c) if isinstance(frame, Append)])
    assert got == text + "."


# ------------------------------------------------------------------------------------------------ linear


def operations(format: str, text: str) -> int:
    """How many Python and C calls it takes to parse the text, one character at a time."""
    parser = TextToolsParser(format, TOOLS)
    count = 0

    def profile(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(profile)
    try:
        for character in text:
            parser.feed(character)
        parser.finish()
    finally:
        sys.setprofile(None)
    return count


LONG = {
    "near markers": 'text <tool_cal [TOOL_CALL <|chan ```js {"name": "ge [get\n',
    "calls": '<tool_call>{"name": "get", "arguments": {"city": "x"}}</tool_call>\n',
    "open string": '<tool_call>{"name": "get", "arguments": {"city": "' + "x" * 50,
    "values": "<function=get><parameter=a>x</parameter>",
    "python": "[get(a=[[[1, 'x'",
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", LONG)
def test_time_is_linear(format: str, kind: str) -> None:
    line = LONG[kind]
    operations(format, line)  # compiles the tables
    short, long = operations(format, line * 20), operations(format, line * 80)
    assert long < 4.2 * short


@pytest.mark.parametrize(
    "unit",
    [
        *('{"id": ', '{"args": {"a": 1}, "x": 1} ', "{'name': ", "```python\nget_weather(", '{"get_weather": {'),
        *('{"id": {"x": 1}', "{'name': {'a': 1}} ", '{"get_weather": {"no": {"id": 1}}, '),
    ],
)
def test_time_is_linear_where_text_may_be_a_call(unit: str) -> None:
    operations("auto", unit)  # compiles the tables
    short, long = operations("auto", unit * 40), operations("auto", unit * 160)
    assert long < 4.3 * short


@pytest.mark.parametrize("format", sorted(FORMATS))
@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_search_starts_at_every_character_that_a_marker_begins_with(format: str, data: st.DataObject) -> None:
    states, _ = grammar_of(format_of(format), (WEATHER.name,), "auto")
    for state in [state for state in states.values() if state.kind is Kind.SEARCH]:
        for marker in state.markers:
            text = data.draw(st.from_regex(whole(marker.parts), fullmatch=True))
            assert state.starts.match(text), f"{text!r} is a marker of this state"
