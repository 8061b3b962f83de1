"""Arguments against a schema that somebody else wrote, who may be hostile."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from promptport.errors import InvalidInputError, InvalidToolArgumentsError
from promptport.tools import DIALECTS, SchemaCheck, Tool, ToolDescriptor, fit_schema
from promptport.tools.schema_check import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH

CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}}}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def plain(city: str = "", days: int = 1, admin: bool = False) -> str:
    return f"{city} {days} {admin}"


def anything(**values: Any) -> Any:
    return values


def tool_of(schema: dict[str, Any], function: Any = plain) -> Tool[Any]:
    return Tool(name="own", parameters=schema, function=function)


@pytest.mark.parametrize(
    ("schema", "arguments", "says"),
    [
        (CITY, '{"city": "x", "admin": true}', r"admin: not an argument \(there are: city, days\)"),
        ({**CITY, "additionalProperties": False}, '{"admin": true}', r"admin: not an argument"),
        ({**CITY, "patternProperties": {"^x_": {}}}, '{"x_1": 1, "admin": true}', "admin: not an argument"),
        ({"type": "object", "allOf": [CITY, {"properties": {"a": {}}}]}, '{"a": 1, "admin": 1}', "admin: not"),
        ({"type": "object", "$defs": {"c": CITY}, "$ref": "#/$defs/c"}, '{"city": "x", "admin": 1}', "admin: not"),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "anyOf": [CITY]},
            '{"city": "x", "admin": 1}',
            "admin: not",
        ),
        ({**CITY, "additionalProperties": True}, '{"city": "x", "admin": true}', "admin: not an argument"),
        ({**CITY, "additionalProperties": {}}, '{"admin": true}', "admin: not an argument"),
        ({**CITY, "additionalProperties": {"type": "boolean"}}, '{"admin": true}', "admin: not an argument"),
        ({**CITY, "unevaluatedProperties": True}, '{"admin": true}', "admin: not an argument"),
        ({"type": "object", "allOf": [{**CITY, "additionalProperties": True}]}, '{"admin": 1}', "admin: not"),
        ({"type": "object", "additionalProperties": True}, '{"other": 1}', r"there are: admin, city, days\)"),
        (
            {"$schema": DRAFT_7, "type": "object", "definitions": {"c": CITY}, "$ref": "#/definitions/c"},
            '{"city": "x", "admin": 1}',
            "admin: not",
        ),
        (CITY, '{"city": 1}', "city: 1 is not of type 'string'"),
        (CITY, '{"days": 0}', "days: 0 is less than the minimum of 1"),
        (CITY, '{"days": 1.5}', "days: 1.5 is not of type 'integer'"),
        ({**CITY, "required": ["city"]}, "{}", "the arguments: 'city' is a required property"),
        ({"type": "object", "properties": {"a": {"enum": ["x"]}}}, '{"a": "y"}', "a: "),
        ({"type": "object", "properties": {"a": {"items": {"type": "null"}}}}, '{"a": [null, 1]}', "a.1: 1 is not"),
        ({"type": "object", "properties": {"a": {"pattern": "^b$"}}}, '{"a": "c"}', "does not match"),
        (
            {"type": "object", "properties": {"a": {"properties": {"b": {}}, "additionalProperties": False}}},
            '{"a": {"c": 1}}',
            "a.c: not an argument",
        ),
        (CITY, "[]", "not a JSON object"),
        (CITY, '{"city": ', "not JSON"),
    ],
)
def test_what_a_schema_does_not_allow_is_refused(schema: dict[str, Any], arguments: str, says: str) -> None:
    with pytest.raises(InvalidToolArgumentsError, match=says) as caught:
        tool_of(schema).validate(arguments)
    assert caught.value.tool == "own"


@pytest.mark.parametrize(
    ("schema", "function", "arguments"),
    [
        (CITY, plain, '{"city": "x", "days": 2}'),
        (CITY, anything, '{"city": "x", "more": 1}'),
        ({**CITY, "additionalProperties": True}, anything, '{"more": 1}'),
        ({**CITY, "additionalProperties": {"type": "string"}}, anything, '{"more": "x"}'),
        ({"type": "object", "additionalProperties": True}, plain, '{"city": "x", "admin": true}'),
        ({"type": "object", "additionalProperties": {"type": "string"}}, plain, '{"city": "x"}'),
        ({**CITY, "patternProperties": {"^x_": {}}}, plain, '{"x_1": 1}'),
        ({"$schema": "urn:of-nobody", **CITY}, plain, '{"city": "x"}'),
        ({}, plain, '{"city": "x", "admin": true}'),  # without a schema the signature says what there is
        ({}, anything, '{"x": 1}'),
        ({}, max, '{"key": 1}'),
    ],
)
def test_what_it_allows_is_passed_on(schema: dict[str, Any], function: Any, arguments: str) -> None:
    import json

    assert tool_of(schema, function).validate(arguments) == json.loads(arguments)


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"$ref": "#/definitions/c"}]},
        {"if": {"properties": {"days": {"const": 1}}}, "then": {"$ref": "#/definitions/c"}},
        {"anyOf": [{"$ref": "#/definitions/c"}, {"properties": {"admin": {}}}]},
    ],
)
@pytest.mark.parametrize("draft", [DRAFT_7, "https://json-schema.org/draft/2020-12/schema"])
def test_keys_are_declared_behind_references_and_conditions_of_every_draft(schema: dict[str, Any], draft: str) -> None:
    own = tool_of({"$schema": draft, "type": "object", "definitions": {"c": CITY}, **schema})
    assert own.validate('{"city": "x", "days": 1}') == {"city": "x", "days": 1}
    with pytest.raises(InvalidToolArgumentsError, match="root: not an argument"):
        own.validate('{"city": "x", "root": true}')


def test_what_a_partial_binds_no_model_can_change() -> None:
    for schema in ({}, CITY, {"type": "object", "additionalProperties": True}):
        bound = tool_of(schema, functools.partial(plain, admin=False))
        assert bound.validate('{"city": "x"}') == {"city": "x"}
        with pytest.raises(InvalidToolArgumentsError, match="admin: not an argument"):
            bound.validate('{"city": "x", "admin": true}')


@pytest.mark.parametrize("schema", [{}, CITY])
def test_a_function_that_cannot_be_called_by_name_is_refused(schema: dict[str, Any]) -> None:
    def own(city: str, /) -> None: ...

    with pytest.raises(InvalidInputError, match="parameter 'city' of the function is positional-only"):
        tool_of(schema, own)


NO_MAPS: list[Any] = [None, 5, [1]]
NO_LISTS: list[Any] = [None, "x", {"a": 1}]
NO_SCHEMAS: list[Any] = [None, 5, "string", [{}]]


@pytest.mark.parametrize(
    "schema",
    [
        *[{word: bad} for word in ("properties", "patternProperties", "$defs", "definitions") for bad in NO_MAPS],
        *[{word: bad} for word in ("allOf", "anyOf", "oneOf", "enum", "required") for bad in NO_LISTS],
        *[{"properties": {"a": bad}} for bad in NO_SCHEMAS],
        *[{"items": 5}, {"type": 5}, {"type": ["string", 5]}, {"$ref": 5}, {"required": [1]}, {"not": "x"}],
    ],
)
def test_what_has_not_the_form_of_a_schema_is_refused_everywhere(schema: dict[str, Any]) -> None:
    for wrong in ({"type": "object", **schema}, {"type": "object", "properties": {"a": {"items": schema}}}):
        with pytest.raises(InvalidInputError, match="tool 'own': the schema of the parameters"):
            ToolDescriptor("own", parameters=wrong)
        with pytest.raises(InvalidInputError, match="not a JSON schema"):
            fit_schema(wrong, DIALECTS["openai-strict"])


def test_without_a_schema_the_signature_says_what_there_is() -> None:
    with pytest.raises(InvalidToolArgumentsError, match=r"other: not an argument \(there are: city, days, admin\)"):
        tool_of({}).validate('{"other": 1}')


def test_an_empty_schema_that_is_written_out_means_no_arguments() -> None:
    with pytest.raises(InvalidToolArgumentsError, match=r"admin: not an argument \(there are: none\)"):
        tool_of({"type": "object", "properties": {}}).validate('{"admin": true}')


def test_a_tool_whose_schema_is_replaced_checks_by_the_new_one() -> None:
    other = replace(tool_of(CITY), parameters={"type": "object", "properties": {"a": {"type": "null"}}})
    assert other.validate('{"a": null}') == {"a": None}
    with pytest.raises(InvalidToolArgumentsError, match="city: not an argument"):
        other.validate('{"city": "x"}')
    assert pickle.loads(pickle.dumps(other)) == other
    bare = replace(tool_of({}), timeout=3.0)
    assert bare.validate('{"city": "x"}') == {"city": "x"}


@given(
    st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=5), max_size=4)
)
def test_no_undeclared_key_ever_reaches_a_function(values: dict[str, Any]) -> None:
    import json

    try:
        reached = tool_of(CITY).validate(json.dumps(values))
    except InvalidToolArgumentsError:
        return
    assert set(reached) <= {"city", "days"}


# ------------------------------------------------------------------------------------------ hostile schemas


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def doubling(levels: int, word: str) -> dict[str, Any]:
    defs: dict[str, Any] = {
        f"d{level}": {word: [{"$ref": f"#/$defs/d{level + 1}"}, {"$ref": f"#/$defs/d{level + 1}"}]}
        for level in range(levels)
    }
    return {"type": "object", "$defs": {**defs, f"d{levels}": {"type": "string"}}, word: [{"$ref": "#/$defs/d0"}]}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (nested(MAX_SCHEMA_DEPTH), "levels deep"),
        (nested(5000), r"levels deep|not JSON"),
        ({"type": "object", "description": "x" * MAX_SCHEMA_BYTES}, "bytes"),
        (doubling(40, "allOf"), "references followed"),
        (doubling(40, "anyOf"), "references followed"),
        (doubling(40, "oneOf"), "references followed"),
        ({"type": "object", "$ref": "#"}, "references followed"),
        ({"type": "object", "properties": {f"p{n}": {"pattern": f"a{{{n}}}"} for n in range(300)}}, "300 patterns"),
    ],
)
@pytest.mark.parametrize("closed", [False, True])
def test_a_schema_that_is_too_much_is_refused_by_its_tool_s_name(
    schema: dict[str, Any], says: str, closed: bool
) -> None:
    with pytest.raises(InvalidInputError, match=f"tool 'bad': .*({says})"):
        SchemaCheck("bad", schema, closed=closed)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "object", "properties": {"a": {"type": "bananas"}}}, "not a usable JSON schema"),
        ({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}}, "refers to 'http"),
        ({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}, "refers to '#/nowhere'"),
        ({"type": "object", "properties": {"a": {"pattern": "(?=x)y"}}}, "look-around"),
        ({"type": "object", "properties": {"a": {"pattern": "(a{1000}){1000}"}}}, "look-around"),
    ],
)
def test_a_schema_that_cannot_be_checked_is_refused_for_a_tool_and_left_to_a_server(
    schema: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"tool 'own': .*{says}"):
        tool_of(schema)
    assert SchemaCheck("served", schema, lenient=True)('{"a": "b"}') == {"a": "b"}


@pytest.mark.parametrize(
    "beside",
    [{"pattern": "(?=x)y"}, {"patternProperties": {"(?!x)": {}}}, {"$ref": "http://127.0.0.1:9/x"}, {"$ref": "#/no"}],
)
def test_what_cannot_be_used_of_a_server_s_schema_takes_nothing_else_with_it(beside: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": beside, "n": {"type": "integer"}}, "additionalProperties": False}
    check = SchemaCheck("served", schema, lenient=True)
    assert check('{"a": "b", "n": 1}') == {"a": "b", "n": 1}
    for arguments in ('{"n": "x"}', '{"admin": true}'):
        with pytest.raises(InvalidToolArgumentsError):
            check(arguments)


@pytest.mark.parametrize("schema", [nested(MAX_SCHEMA_DEPTH), nested(5000), {"type": "object", "d": "x" * 300_000}])
def test_a_descriptor_has_the_same_limits(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="tool 'big'"):
        ToolDescriptor("big", parameters=schema)


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(x+x+)+y", r"^(\w+\s?)*$"])
def test_patterns_are_linear(pattern: str) -> None:
    """With an engine that tracks back, each of these takes longer than the universe is old."""
    check = SchemaCheck("own", {"type": "object", "properties": {"a": {"pattern": pattern}}})
    with pytest.raises(InvalidToolArgumentsError):
        check(f'{{"a": "{"a" * 50_000 + "x" * 50_000}!"}}')


def recursive(word: str) -> dict[str, Any]:
    """Each level of the arguments is looked at twice as often as the one above."""
    child = {"properties": {"a": {"$ref": "#/$defs/n"}}}
    return {"type": "object", "$defs": {"n": {word: [child, child]}}, "properties": {"a": {"$ref": "#/$defs/n"}}}


def deep(levels: int) -> str:
    return '{"a":' * levels + "{}" + "}" * levels


@pytest.mark.parametrize("word", ["allOf", "anyOf", "oneOf"])
def test_a_check_that_doubles_with_the_arguments_says_so_beforehand(word: str) -> None:
    check = SchemaCheck("own", recursive(word))
    assert not check.is_heavy(deep(3))
    assert check.is_heavy(deep(40))


def test_a_long_enum_before_many_values_says_so_too() -> None:
    """Values of several kinds are compared one by one: minutes, for these."""
    enum = {"enum": [*map(str, range(15_000)), 1]}
    for items in (enum, {"$ref": "#/$defs/e"}):
        schema = {"type": "object", "$defs": {"e": enum}, "properties": {"a": {"items": items}}}
        check = SchemaCheck("own", schema)
        assert check.is_heavy('{"a": [' + ",".join(['"q"'] * 50_000) + "]}")
        assert not check.is_heavy('{"a": ["q", "q"]}')
        with pytest.raises(InvalidToolArgumentsError, match="is not one of"):
            check('{"a": ["q", "q"]}')


def test_ordinary_checks_are_not_heavy() -> None:
    tree = {
        "type": "object",
        "$defs": {"t": {"type": "object", "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}},
        "$ref": "#/$defs/t",
    }
    assert not SchemaCheck("own", tree).is_heavy('{"items":[' * 20 + "]}" * 20)
    assert not SchemaCheck("own", CITY).is_heavy('{"city": "' + "x" * 100_000 + '"}')


def test_making_and_importing_tools_imports_no_validator_before_a_schema_is_checked() -> None:
    code = """
import sys
import promptport as pp
pp.ToolDescriptor("f", parameters={"type": "object", "properties": {"a": {}}})
assert "jsonschema_rs" not in sys.modules
pp.Tool(name="f", parameters={"type": "object", "properties": {"a": {}}}, function=print)
assert "jsonschema_rs" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
