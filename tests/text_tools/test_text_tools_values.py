"""Values that are no JSON: coerced by the schema, or left as text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptport.text_tools.scan import JsonScanner, PythonScanner
from promptport.text_tools.values import object_text, python_arguments, python_literal, tagged_value
from promptport.tools import ToolDescriptor


def tool(schema: dict[str, Any], **definitions: Any) -> ToolDescriptor:
    return ToolDescriptor("f", "", {"type": "object", "properties": {"x": schema}, "$defs": definitions})


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "string"}, "5", "5"),
        ({"type": "string"}, '{"a": 1}', '{"a": 1}'),
        ({"type": "string"}, " a\nb ", " a\nb "),
        ({"type": "integer"}, "\n5\n", 5),
        ({"type": "integer"}, "5.0", 5.0),
        ({"type": "integer"}, "5.5", "5.5"),
        ({"type": "integer"}, "five", "five"),
        ({"type": "number"}, "5", 5),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, "FALSE", False),
        ({"type": "null"}, "None", None),
        ({"type": "array"}, '[1, "a"]', [1, "a"]),
        ({"type": "array"}, "['a', True]", ["a", True]),
        ({"type": "object"}, '{"a": {}}', {"a": {}}),
        ({"type": "object"}, "{'a': None}", {"a": None}),
        ({"type": "object"}, "[1]", "[1]"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "5", "5"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "7", 7),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "7", "7"),
        ({"anyOf": [{"type": "integer"}, {}]}, "7", "7"),
        ({"oneOf": [{"type": "integer"}, {"type": "array"}]}, "[7]", [7]),
        ({"allOf": [{"description": "d"}, {"type": "integer"}]}, "7", 7),
        ({"enum": [1, 2]}, "2", 2),
        ({"const": "2"}, "2", "2"),
        ({"$ref": "#/$defs/Count"}, "2", 2),
        ({"$ref": "#/$defs/Loop"}, "2", "2"),
        ({"$ref": "#/nowhere"}, "2", "2"),
        ({}, "2", "2"),
    ],
)
def test_a_tagged_value_is_what_the_schema_says(schema: dict[str, Any], text: str, expected: object) -> None:
    schemas = tool(schema, Count={"type": "integer"}, Loop={"$ref": "#/$defs/Loop"})
    value = json.loads(tagged_value(text, "x", schemas))
    assert value == expected
    assert type(value) is type(expected)


def test_a_tagged_value_nobody_described_is_text() -> None:
    assert tagged_value("5", "x", None) == '"5"'
    assert tagged_value("5", "other", tool({"type": "integer"})) == '"5"'
    assert tagged_value("5", "x", ToolDescriptor("f")) == '"5"'


def test_a_number_keeps_its_digits() -> None:
    assert tagged_value("1.10", "x", tool({"type": "number"})) == "1.10"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'it\\'s'", "it's"),
        ('"\\n\\t\\x41\\u00e9\\U0001F600\\\\\\d"', "\n\tAé😀\\\\d"),
        ("'a' \"b\"", "ab"),
        ("'a\\\nb'", "ab"),
        ("[1, 2.5, -3, +4, 0x10, 1_000, .5, 5., 1e3]", [1, 2.5, -3, 4, 16, 1000, 0.5, 5.0, 1000.0]),
        ("{'a': [True, False, None], 'b': {}}", {"a": [True, False, None], "b": {}}),
        ("[1, 2,]", [1, 2]),
        ("(1, 2)", [1, 2]),
        ("((), (1,), ('x'))", [[], [1], "x"]),
        ("true", True),
        ("null", None),
    ],
)
def test_a_python_literal_becomes_json(text: str, expected: object) -> None:
    literal = python_literal(text)
    assert literal is not None
    assert json.loads(literal) == expected


@pytest.mark.parametrize(
    "text", ["", "name", "f(1)", "a.b", "1 + x", "x=1", "'open", "lambda: 1", "(1, f(2))", "(1", "1)", "@"]
)
def test_what_python_computes_is_no_literal(text: str) -> None:
    assert python_literal(text) is None


@pytest.mark.parametrize("text", ["0x" + "f" * 5000, "007", "1" * 5000 + "e", "\ud800", "[" * 100_000])
def test_what_no_json_can_hold_is_passed_on(text: str) -> None:
    """It must not raise: whoever seals the call finds the reason."""
    python_arguments(f"x={text}", tool({"type": "integer"}))
    assert tagged_value(text, "x", tool({"type": "integer"})).startswith('"')
    object_text(text)


def test_python_arguments() -> None:
    typed = tool({"type": "integer"})
    assert json.loads(python_arguments('x="5", y=[1, {"k": "a, b=c"}]', typed)) == {"x": 5, "y": [1, {"k": "a, b=c"}]}
    assert python_arguments("", typed) == "{}"
    assert python_arguments("  ", None) == "{}"
    for other in ("1", "x", "x=", "x=y", "x=1 y=2, =3", "x=[1, y=2]", "**{}"):
        assert python_arguments(other, typed) == other


@pytest.mark.parametrize(
    ("value", "expected"),
    [('"{\\"a\\": 1}"', '{"a": 1}'), ('"Paris"', '"Paris"'), ("null", "null"), ("[1]", "[1]"), ('"\\q"', '"\\q"')],
)
def test_arguments_that_are_no_object(value: str, expected: str) -> None:
    assert object_text(value) == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(values, st.sampled_from([None, 1]), st.booleans(), st.text(max_size=5), st.data())
def test_the_scanner_finds_where_json_ends(
    value: object, indent: int | None, plain: bool, rest: str, data: st.DataObject
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=plain)
    if text[0] not in '"[{':
        rest = "," + rest
    place = data.draw(st.integers(0, len(text)))
    scanner, out = JsonScanner(), list[str]()
    stopped = scanner.feed(text[:place], 0, out)
    assert stopped == place
    stopped += scanner.feed(text[place:] + rest, 0, out)
    assert (scanner.done, scanner.broken, stopped) == (True, False, len(text))
    assert json.loads("".join(out)) == value


@pytest.mark.parametrize(
    "text",
    ["{a}", '{"a" 1}', "[1 2]", "[1}", '{"a": }', "{,}", "[1,,]", '{"a": 1,}', "{]", "[}", "'a'", "{1: 2}", "[,]"],
)
def test_the_scanner_stops_at_what_is_no_json(text: str) -> None:
    scanner, out = JsonScanner(), list[str]()
    stopped = scanner.feed(text, 0, out)
    assert scanner.broken
    assert not scanner.done
    assert "".join(out) == text[:stopped]


def test_control_characters_in_strings_come_out_escaped() -> None:
    scanner, out = JsonScanner(), list[str]()
    scanner.feed('{"a\n": "\x01\t\r"}', 0, out)
    assert json.loads("".join(out)) == {"a\n": "\x01\t\r"}


@settings(deadline=None)
@given(values, st.data())
def test_the_python_scanner_finds_the_closing_parenthesis(value: object, data: st.DataObject) -> None:
    text = f"a={value!r}, b=')'"
    place = data.draw(st.integers(0, len(text)))
    scanner, out = PythonScanner(), list[str]()
    scanner.feed(text[:place], 0, out)
    assert not scanner.done
    end = scanner.feed(text[place:] + ") rest", 0, out)
    assert scanner.done
    assert end == len(text) - place + 1
    assert "".join(out) == text
