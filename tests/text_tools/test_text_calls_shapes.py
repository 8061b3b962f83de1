"""Shapes in which small models write calls: each is the call that a person reads, however the text is cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport import Append, InvalidToolCall, StreamFrame, ToolCall, ToolCallDelta, ToolDescriptor
from promptport.text_tools import TextToolsParser

TOOLS = [
    ToolDescriptor(
        "get_weather",
        "Weather.",
        {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    ),
    ToolDescriptor("search", "Searches.", {"type": "object", "properties": {"query": {"type": "object"}}}),
]
PARIS: dict[str, Any] = {"city": "Paris"}
CALL = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
W = "get_weather"
SHAPES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    # Python, in a fence
    '```python\nget_weather(city="Paris")\n```': [(W, PARIS)],
    "```\nget_weather(city='Paris', days=2)\n```\nDone.": [(W, {**PARIS, "days": 2})],
    "I look:\n```tool_code\nprint(get_weather(city='Paris'))\n```": [(W, PARIS)],
    '```python\nget_weather("Paris", 3)\n```': [(W, {**PARIS, "days": 3})],
    '```py\nget_weather(city="Paris")\nsearch(query={"a": [1, None], "b": True})\n```': [
        (W, PARIS),
        ("search", {"query": {"a": [1, None], "b": True}}),
    ],
    '```python\nget_weather(city="a)b```c")\n```': [(W, {"city": "a)b```c"})],
    '```python\nget_weather(city="Paris")': [(W, PARIS)],
    # dicts as Python writes them
    "{'name': 'get_weather', 'arguments': {'city': 'Paris'}}": [(W, PARIS)],
    "```json\n{'name': 'get_weather', 'arguments': {'city': \"L'Aquila\"}}\n```": [(W, {"city": "L'Aquila"})],
    "<tool_call>\n{'name': 'get_weather', 'arguments': {'city': 'Paris'}}\n</tool_call>": [(W, PARIS)],
    "Sure: {'tool': 'get_weather', 'parameters': {'city': 'Paris', 'days': 2}} there.": [(W, {**PARIS, "days": 2})],
    "[{'name': 'get_weather', 'arguments': {'city': 'a'}}, {'name': 'get_weather', 'arguments': {'city': 'b'}}]": [
        (W, {"city": "a"}),
        (W, {"city": "b"}),
    ],
    "{'type': 'function', 'function': {'name': 'get_weather', 'arguments': {'city': 'Paris'}}}": [(W, PARIS)],
    # Python, on lines of their own at the end of the answer
    'get_weather(city="Paris")': [(W, PARIS)],
    'I will call it.\n\nget_weather("Paris", 2)\n': [(W, {**PARIS, "days": 2})],
    "print(default_api.get_weather(city='Paris'))": [(W, PARIS)],
    'get_weather(city="a")\nget_weather(city="b")': [(W, {"city": "a"}), (W, {"city": "b"})],
    # arguments beside the name
    '{"tool": "get_weather", "city": "Paris", "days": 2}': [(W, {**PARIS, "days": 2})],
    'Sure:\n```json\n{"action": "get_weather", "city": "Paris"}\n```': [(W, PARIS)],
    "{'function': 'get_weather', 'city': 'Paris'}": [(W, PARIS)],
    '[{"name": "get_weather", "city": "a"}, {"name": "get_weather", "city": "b"}]': [
        (W, {"city": "a"}),
        (W, {"city": "b"}),
    ],
    '<tool_call>\n{"name": "get_weather", "city": "Paris", "days": 2}\n</tool_call>': [(W, {**PARIS, "days": 2})],
    # other words for name and arguments
    '{"action": "get_weather", "action_input": {"city": "Paris"}}': [(W, PARIS)],
    '{"tool_input": {"city": "Paris"}, "tool": "get_weather"}': [(W, PARIS)],
    '```\n{"function_name": "get_weather", "params": {"city": "Paris"}}\n```': [(W, PARIS)],
    '{"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Paris"}}': [(W, PARIS)],
    # arguments under the tool's name
    '{"get_weather": {"city": "Paris"}}': [(W, PARIS)],
    '```json\n{"get_weather": {"city": "Paris"}}\n```': [(W, PARIS)],
    'I call {"get_weather": {"city": "Paris"}} now.': [(W, PARIS)],
    '<tool_call>{"get_weather": {"city": "Paris"}}</tool_call>': [(W, PARIS)],
    '[{"get_weather": {"city": "a"}}, {"get_weather": {"city": "b"}}]': [(W, {"city": "a"}), (W, {"city": "b"})],
    '{"get_weather": {"city": "Paris"}, "search": {"query": {}}}': [(W, PARIS), ("search", {"query": {}})],
    '{"search": {"query": {"name": "x"}}}': [("search", {"query": {"name": "x"}})],
    # in an object that is text
    f'{{"id": 1, "calls": [{CALL}]}}': [(W, PARIS)],
    f'{{"name": "plan", "steps": [{CALL}, {CALL}]}}': [(W, PARIS), (W, PARIS)],
    f'{{"id": {{"first": {CALL}}}, "done": true}}': [(W, PARIS)],
    f'{{"input": {{"then": {CALL}}}, "note": "x"}} and so on': [(W, PARIS)],
    f'{{"args": {{"args": {{"args": {CALL}, "x": 1}}, "x": 1}}, "x": 1}}': [(W, PARIS)],
    # tags
    f"<b>{CALL}</b>": [(W, PARIS)],
    f"<function_call>{CALL}</function_call> Done.": [(W, PARIS)],
}
PROSE = [
    'Write get_weather(city="Paris") to ask.',
    'get_weather(city="Paris") returns the weather.',
    'You call it so:\nget_weather(city="Paris")\nThen read the result.',
    "get_weather(city)",
    "def f():\n    return 1\nget_weather(place())\n",
    '{"tool": "get_weather", "place": "Paris"}',
    '{"tool": "hammer", "city": "Paris"}',
    '{"action": "look", "city": "Paris"} is what I saw.',
    "{'name': 'Ann', 'age': 3}",
    '{"get_weather": 3}',
    '{"get_weather": {"calls": 3, "errors": 0}}',
    '{"search": "get_weather"}',
    "```python\nimport weather\nget_weather(city='Paris')\n```",
    "```python\nget_weather(city=where)\n```",
    "```python\nget_weather(city='Paris')\nprint('done')\n```",
    "```python\nprint(1)\n```",
    '{"id": {"id": {"id": {"id": {"id": {"id": 1}}}}}, "x": 2}',
    "Use {'city': 'Paris'} with `get_weather`.",
]
CUT = [
    ('{"name": "get_weather", "arguments": {"city": "Paris"}', W),
    ('{"name": "get_weather", "argu', W),
    ('Here: {"name": "get_weather"', W),
    ('{"get_weather": {"city": "Pa', W),
    ("{'name': 'get_weather', 'arguments': {'city': 'Pa", W),
    ('```python\nget_weather(city="Pa', W),
    ('```python\nget_weather(city="a")\nsearch(query={', "search"),
    ("<tool_call>{'name': 'get_weather', 'argu", ""),
]


def read(pieces: list[str]) -> tuple[list[StreamFrame], TextToolsParser]:
    parser = TextToolsParser("auto", TOOLS)
    frames = [frame for piece in pieces for frame in parser.feed(piece)]
    return frames + parser.finish(), parser


def told(frames: list[StreamFrame]) -> tuple[list[Any], str, dict[str, str]]:
    """Calls, text, and the joined deltas of each call."""
    calls = [(f.name, f.parsed()) if isinstance(f, ToolCall) else f for f in frames if not _is_delta(f)]
    deltas: dict[str, str] = {}
    for frame in frames:
        if isinstance(frame, ToolCallDelta):
            deltas[frame.id] = deltas.get(frame.id, "") + frame.arguments
    return calls, "".join([f.text for f in frames if isinstance(f, Append)]), deltas


def _is_delta(frame: StreamFrame) -> bool:
    return isinstance(frame, Append | ToolCallDelta)


def check_cuts(text: str, data: st.DataObject) -> tuple[list[Any], str, TextToolsParser]:
    frames, parser = read([text])
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    for cut in (list(text), pieces):
        again, other = read(cut)
        assert told(again) == told(frames)
        assert other.unfinished == parser.unfinished
    for frame in frames:
        if isinstance(frame, ToolCall | InvalidToolCall):
            assert told(frames)[2][frame.id] == frame.arguments, "deltas are the arguments"
    calls, shown, _ = told(frames)
    return calls, shown, parser


@pytest.mark.parametrize("text", SHAPES)
@given(data=st.data())
def test_it_is_the_call_that_a_person_reads(text: str, data: st.DataObject) -> None:
    calls, shown, parser = check_cuts(text, data)
    assert calls == SHAPES[text]
    assert parser.unfinished == ()
    assert '"arguments"' not in shown
    assert "get_weather(" not in shown


@pytest.mark.parametrize("text", PROSE)
@given(data=st.data())
def test_it_is_text_to_the_letter(text: str, data: st.DataObject) -> None:
    calls, shown, parser = check_cuts(text, data)
    assert (calls, shown, parser.unfinished) == ([], text, ())


@pytest.mark.parametrize(("text", "name"), CUT)
@given(data=st.data())
def test_what_is_not_whole_is_unfinished(text: str, name: str, data: st.DataObject) -> None:
    calls, shown, parser = check_cuts(text, data)
    assert [call.name for call in parser.unfinished] == [name]
    assert all(call[0] != name for call in calls if isinstance(call, tuple))
    assert "get_weather" not in shown


PIECES = st.sampled_from(
    (
        *(
            CALL,
            '{"get_weather": ',
            "{'name': 'get_weather', 'arguments': ",
            "{",
            "}",
            "[",
            "]",
            "'",
            '"',
            ",",
            ":",
            " ",
        ),
        *("\n", "```", "```python\n", "get_weather(", "city=", "print(", ")", '"id": ', '"args": ', '{"input": ', "x"),
    )
)


@given(pieces=st.lists(PIECES, max_size=20), data=st.data())
def test_any_text_of_these_is_read_the_same_and_keeps_its_words(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    _, shown, _ = check_cuts(text, data)
    position = 0
    for character in shown:  # what is shown is a part of the text, in its order
        position = text.find(character, position) + 1
        assert position, "nothing is made up, or taken out of its order"


def test_a_call_of_a_tool_whose_name_is_a_key_of_calls() -> None:
    tools = [ToolDescriptor("name", "N."), ToolDescriptor("input", "I."), ToolDescriptor("a-b", "B.")]
    parser = TextToolsParser("auto", tools)
    frames = parser.feed('{"name": "input", "arguments": {}} {"a-b": {}} {"axb": {}}') + parser.finish()
    assert [call.name for call in frames if isinstance(call, ToolCall)] == ["input", "a-b"]
