"""Schemas in each server's dialect: they accept what the originals accept, and hold nothing that the server refuses."""

from __future__ import annotations

import datetime
import re
import uuid
from enum import Enum
from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from promptport.errors import InvalidInputError
from promptport.tools import DIALECTS, SchemaDialect, ToolDescriptor, fit_schema, fit_tools, tool, without_nulls
from promptport.tools.references import is_recursive

STRICT = [name for name in DIALECTS if name.endswith("-strict")]


def nodes(schema: Any) -> Any:
    """All schemas in a schema."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("properties", "$defs", "definitions"):
        for value in schema.get(key, {}).values():
            yield from nodes(value)
    for key in ("items", "additionalProperties"):
        yield from nodes(schema.get(key))
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for value in schema.get(key, ()):
            yield from nodes(value)


def assert_fits(schema: dict[str, Any], dialect: SchemaDialect) -> None:
    assert schema["type"] == "object"
    assert not schema.keys() & {"anyOf", "oneOf", "allOf", "enum", "not", "$ref"}
    for node in nodes(schema):
        assert not node.keys() & dialect.drops, node
        if dialect.keywords is not None:
            assert node.keys() <= dialect.keywords, node
        assert "$schema" not in node
        if node.get("type") == "object":
            assert isinstance(node["properties"], dict)
            assert all(re.fullmatch(dialect.property_names or ".*", name, re.DOTALL) for name in node["properties"])
            if dialect.closed:
                assert node["additionalProperties"] is False
            if dialect.all_required:
                assert set(node["required"]) == set(node["properties"])
        if node.get("type") == "array":
            assert "items" in node
        assert dialect.one_of or "oneOf" not in node
        assert dialect.all_of or "allOf" not in node
        assert dialect.tuples or "prefixItems" not in node
        assert not (dialect.bare_ref and "$ref" in node) or node.keys() <= {"$ref", "$defs", "definitions"}
        assert dialect.min_items is None or node.get("minItems", 0) <= dialect.min_items
        assert dialect.any_value or node.keys() & {"type", "anyOf", "enum", "const", "$ref"}


# ---------------------------------------------------------------------------------------------- properties

SCALARS: st.SearchStrategy[tuple[dict[str, Any], Any]] = st.one_of(
    st.tuples(st.just({"type": "string"}), st.text(max_size=5)),
    st.tuples(st.just({"type": "string", "minLength": 2, "maxLength": 3}), st.sampled_from(["ab", "abc"])),
    st.tuples(st.just({"type": "string", "pattern": r"^(?=a)[a-z]+$"}), st.just("abc")),
    st.tuples(st.just({"type": "string", "format": "binary"}), st.just("x")),
    st.tuples(st.just({"type": "integer", "minimum": 1, "exclusiveMaximum": 15}), st.integers(1, 14)),
    st.tuples(st.just({"type": "number", "multipleOf": 2, "title": "N"}), st.sampled_from([2, 4.0])),
    st.tuples(st.just({"type": ["string", "null"]}), st.sampled_from([None, "a"])),
    st.tuples(st.just({"enum": ["a", "b"]}), st.sampled_from(["a", "b"])),
    st.tuples(st.just({"const": "k"}), st.just("k")),
    st.tuples(st.just({"type": "boolean", "default": True, "examples": [True]}), st.booleans()),
    st.tuples(st.just({"$ref": "#/$defs/Place", "description": "Where."}), st.just({"city": "Paris"})),
)


def _lists(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return inner.flatmap(
        lambda pair: st.tuples(
            st.just({"type": "array", "items": pair[0], "minItems": 2, "maxItems": 3, "uniqueItems": False}),
            st.just([pair[1]] * 2),
        )
    )


def _unions(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.sampled_from(["anyOf", "oneOf"]), inner, st.booleans()).map(
        lambda drawn: (
            {
                drawn[0]: [{"type": "array", "items": {"const": "never"}, "minItems": 9}, drawn[1][0]][
                    :: 1 if drawn[2] else -1
                ]
            },
            drawn[1][1],
        )
    )


def _tuples(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, min_size=1, max_size=3).map(
        lambda pairs: (
            {"type": "array", "prefixItems": [one for one, _ in pairs], "minItems": len(pairs), "maxItems": len(pairs)},
            [value for _, value in pairs],
        )
    )


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.text(st.sampled_from("ab.é$ "), min_size=1, max_size=3)
    entries = st.dictionaries(names, st.tuples(inner, st.booleans(), st.booleans()), max_size=3)

    def made(drawn: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        schema = {"type": "object", "properties": {name: pair[0] for name, (pair, _, _) in drawn.items()}}
        required = [name for name, (_, needed, _) in drawn.items() if needed]
        value = {name: pair[1] for name, (pair, needed, there) in drawn.items() if needed or there}
        return ({**schema, "required": required} if required else schema), value

    return entries.map(made)


PAIRS = st.recursive(
    SCALARS, lambda inner: _lists(inner) | _unions(inner) | _tuples(inner) | _objects(inner), max_leaves=6
)
TOP = _objects(PAIRS)
PLACE = {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "string"}}, "required": ["city"]}


def as_sent(value: Any, renamed: dict[str, str]) -> Any:
    """The value as the server says it: with the names that were sent."""
    to = {name: wire for wire, name in renamed.items()}
    if isinstance(value, dict):
        return {to.get(name, name): as_sent(each, renamed) for name, each in value.items()}
    return [as_sent(each, renamed) for each in value] if isinstance(value, list) else value


def as_said(value: Any, schema: Any, root: dict[str, Any]) -> Any:
    """The value as a server says it that wants every property: null for what was left out."""
    if "$ref" in schema:
        return as_said(value, root["$defs"]["Place"], root)
    for key in ("anyOf", "oneOf"):
        for option in schema.get(key, ()):
            if jsonschema.Draft202012Validator({**option, "$defs": root["$defs"]}).is_valid(value):
                return as_said(value, option, root)
    if isinstance(value, list):
        items = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
        return [as_said(each, below, root) for each, below in zip(value, items, strict=True)]
    if not isinstance(value, dict):
        return value
    return {
        name: as_said(value[name], below, root) if name in value else None
        for name, below in schema.get("properties", {}).items()
    }


@settings(max_examples=150, deadline=None)
@given(TOP, st.sampled_from(sorted(DIALECTS)))
def test_a_fitted_schema_accepts_what_the_original_accepts(pair: tuple[dict[str, Any], Any], name: str) -> None:
    schema, value = {**pair[0], "$defs": {"Place": PLACE}}, pair[1]
    jsonschema.validate(value, schema)
    dialect = DIALECTS[name]
    fitted = fit_schema(schema, dialect)
    assert_fits(fitted.schema, dialect)
    jsonschema.Draft202012Validator.check_schema(fitted.schema)
    said = as_said(value, schema, schema) if dialect.all_required else value
    jsonschema.validate(as_sent(said, fitted.renamed), fitted.schema)
    jsonschema.validate(without_nulls(said, schema), schema)


@settings(max_examples=100, deadline=None)
@given(TOP, st.sampled_from(sorted(name for name, dialect in DIALECTS.items() if dialect.all_required)))
def test_what_a_server_says_that_wants_every_property_is_what_the_original_takes(
    pair: tuple[dict[str, Any], Any], name: str
) -> None:
    schema, value = {**pair[0], "$defs": {"Place": PLACE}}, pair[1]
    fitted, said = fit_schema(schema, DIALECTS[name]), as_said(value, schema, schema)
    jsonschema.validate(as_sent(said, fitted.renamed), fitted.schema)
    cleaned = without_nulls(said, schema)
    jsonschema.validate(cleaned, schema)
    assert {name: each for name, each in cleaned.items() if each is not None}.keys() <= value.keys()


@settings(max_examples=100, deadline=None)
@given(TOP)
def test_a_schema_that_fits_is_left_as_it_is(pair: tuple[dict[str, Any], Any]) -> None:
    for dialect in DIALECTS.values():
        once = fit_schema({**pair[0], "$defs": {"Place": PLACE}}, dialect)
        assert fit_schema(once.schema, dialect).schema == once.schema


# ------------------------------------------------------------------------------------------- pydantic models


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(9, ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = []


class Ordinary(BaseModel):
    """All that an ordinary model has."""

    model_config = ConfigDict(title="Ordinary")
    name: Annotated[str, Field(min_length=1, max_length=40, description="A name.")]
    size: float | None = None
    when: datetime.datetime
    key: uuid.UUID | None = None
    color: Color = Color.RED
    pair: tuple[int, str] = (1, "a")
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    tags: Annotated[list[str], Field(max_length=5)] = []
    note: str = "none"
    nested: list[Cat] | None = None


ORDINARY = Ordinary.model_validate(
    {
        "name": "x",
        "when": "2026-01-01T00:00:00Z",
        "pet": {"kind": "dog", "tricks": ["sit"]},
        "nested": [{"kind": "cat"}],
    }
)


@pytest.mark.parametrize("name", DIALECTS)
def test_an_ordinary_model_goes_to_every_server(name: str) -> None:
    schema = Ordinary.model_json_schema()
    fitted = fit_schema(schema, DIALECTS[name])
    assert_fits(fitted.schema, DIALECTS[name])
    jsonschema.validate(ORDINARY.model_dump(mode="json"), fitted.schema)


def test_the_model_is_told_what_the_schema_cannot_say() -> None:
    fitted = fit_schema(Ordinary.model_json_schema(), DIALECTS["anthropic-strict"])
    assert fitted.schema["properties"]["name"]["description"] == "A name. (maxLength: 40; minLength: 1)"
    assert "name: maxLength" in fitted.lost
    assert "$defs.Cat.lives: minimum" in fitted.lost


def test_nulls_for_what_was_left_out_go_again() -> None:
    schema = Ordinary.model_json_schema()
    sent = {**ORDINARY.model_dump(mode="json"), "note": None, "size": None, "tags": None, "color": None}
    sent["nested"] = [{"kind": "cat", "lives": None}]
    cleaned = without_nulls(sent, schema)
    assert "note" not in cleaned
    assert cleaned["size"] is None, "which takes null"
    assert cleaned["nested"] == [{"kind": "cat"}]
    assert Ordinary.model_validate(cleaned) == ORDINARY


@pytest.mark.parametrize("name", STRICT)
def test_keys_that_are_not_known_beforehand_cannot_be_said(name: str) -> None:
    class Counts(BaseModel):
        counts: dict[str, int]

    with pytest.raises(InvalidInputError, match=r"counts: its keys are not known beforehand"):
        fit_schema(Counts.model_json_schema(), DIALECTS[name])


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


@pytest.mark.parametrize("name", DIALECTS)
def test_a_schema_that_refers_to_itself(name: str) -> None:
    dialect = DIALECTS[name]
    if dialect.recursion:
        assert_fits(fit_schema(Tree.model_json_schema(), dialect).schema, dialect)
    else:
        with pytest.raises(InvalidInputError, match="refers to itself"):
            fit_schema(Tree.model_json_schema(), dialect)


# --------------------------------------------------------------------------------------------------- tools


@tool(strict=True)
def book(city: str, days: Annotated[int, Field(ge=1, le=14)] = 3) -> str:
    """Books."""
    return city


def test_a_strict_tool_is_fitted_and_not_passed_through() -> None:
    (sent,) = fit_tools([book], DIALECTS["openai"], DIALECTS["openai-strict"])
    assert sent.parameters["required"] == ["city", "days"]
    assert sent.parameters["additionalProperties"] is False
    assert sent.strict is True
    assert fit_tools([book], DIALECTS["plain"]) == [book]


def test_a_tool_that_cannot_be_saved_is_refused_by_its_name() -> None:
    bad = ToolDescriptor("count", "", {"type": "object", "additionalProperties": {"type": "integer"}}, strict=True)
    with pytest.raises(InvalidInputError, match=r"tool 'count'.*keys are not known"):
        fit_tools([book, bad], DIALECTS["openai"], DIALECTS["openai-strict"])


@pytest.mark.parametrize("union", ["anyOf", "oneOf", "allOf"])
@pytest.mark.parametrize("name", DIALECTS)
def test_a_union_at_the_top_becomes_one_object(union: str, name: str) -> None:
    options = [
        {"properties": {"id": {"type": "string"}}, "required": ["id"]},
        {"properties": {"name": {"type": "string"}}, "required": ["name"]},
    ]
    fitted = fit_schema({"type": "object", union: options}, DIALECTS[name]).schema
    assert set(fitted["properties"]) == {"id", "name"}
    assert_fits(fitted, DIALECTS[name])


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    "schema", [{"type": "string"}, {"anyOf": [{"type": "string"}, {"type": "object"}]}, {"$ref": "#/$defs/x"}]
)
def test_what_is_no_object_at_the_top_is_refused(name: str, schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="cannot be sent"):
        fit_schema(schema, DIALECTS[name])


def test_names_of_properties_lead_back() -> None:
    schema = {"type": "object", "properties": {"größe": {"type": "number"}, "ok": {}}, "required": ["größe"]}
    fitted = fit_schema(schema, DIALECTS["anthropic"])
    ((wire, name),) = fitted.renamed.items()
    assert name == "größe"
    assert re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", wire)
    assert fitted.schema["required"] == [wire]
    assert set(fitted.schema["properties"]) == {wire, "ok"}


NESTED = {"allOf": [{"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}]}], "required": ["a"]}
LOOP = {"allOf": [{"$ref": "#/$defs/A"}, {"type": "object", "properties": {"b": {"type": "integer"}}}]}


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_an_allof_in_an_allof_becomes_one_schema(name: str) -> None:
    schema = {"type": "object", "properties": {"x": NESTED}, "required": ["x"], "additionalProperties": False}
    assert_fits(fit_schema(schema, DIALECTS[name]).schema, DIALECTS[name])
    top = fit_schema(NESTED, DIALECTS[name]).schema
    assert top["properties"].keys() == {"a"}
    assert "allOf" not in top


@pytest.mark.parametrize("name", sorted(DIALECTS))
@pytest.mark.parametrize(
    "schema", [{"$ref": "#/$defs/A"}, {"type": "object", "properties": {"x": {"$ref": "#/$defs/A"}}}]
)
@pytest.mark.parametrize("loop", [LOOP, {"$ref": "#/$defs/A"}, {"allOf": [{"$ref": "#/$defs/A"}]}])
def test_a_schema_of_nothing_but_itself_is_refused_or_sent_and_ends(
    name: str, schema: dict[str, Any], loop: dict[str, Any]
) -> None:
    try:
        fitted = fit_schema({**schema, "$defs": {"A": loop}}, DIALECTS[name])
    except InvalidInputError as error:
        assert "itself" in str(error) or "object at the top" in str(error)  # noqa: PT017 - both ends are right
    else:
        assert fitted.schema["type"] == "object"


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_one_reference_in_an_allof_stays_a_reference(name: str) -> None:
    """Older pydantic wrote a described field so; with the reference in its place the schema would never end."""
    node = {
        "type": "object",
        "properties": {
            "value": {"type": "integer"},
            "next": {"allOf": [{"$ref": "#/$defs/Node"}], "description": "N."},
        },
        "required": ["value"],
    }
    schema = {"type": "object", "properties": {"head": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}
    dialect = DIALECTS[name]
    if not dialect.recursion:
        return
    fitted = fit_schema(schema, dialect).schema
    assert "#/$defs/Node" in str(fitted["$defs"]["Node"]["properties"]["next"])


@pytest.mark.parametrize("name", [name for name in sorted(DIALECTS) if not DIALECTS[name].tuples])
def test_items_behind_a_tuple_are_still_taken(name: str) -> None:
    dialect = DIALECTS[name]
    pair = {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}}
    closed = {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2}
    schema = {"type": "object", "properties": {"a": pair, "b": closed}, "required": ["a", "b"]}
    fitted = fit_schema(schema, dialect).schema
    for value in ({"a": [1, "b", "c"], "b": [1, "x"]}, {"a": [], "b": [1, "x"]}):
        jsonschema.validate(value, schema)
        jsonschema.validate(value, fitted)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"a": [None], "b": [1, "x"]}, fitted)


def test_what_an_object_of_free_keys_holds_is_fitted_too() -> None:
    free = {"additionalProperties": {"type": "string", "minLength": 3}}
    schema = {"type": "object", "properties": {"x": free}}
    sent = fit_schema(schema, DIALECTS["gemini"]).schema["properties"]["x"]["additionalProperties"]
    assert sent == {"type": "string", "description": "(minLength: 3)"}


@pytest.mark.parametrize("ends", ["open", "in itself"])
@pytest.mark.parametrize("step", [1, -1])
def test_a_long_chain_of_references_is_followed_in_linear_time(step: int, ends: str) -> None:
    """Once it took the square of its length: minutes, for what a tool's schema may hold."""
    count = 7_000
    names = range(count) if step == 1 else range(count - 1, -1, -1)
    chain: dict[str, Any] = {f"d{number}": {"$ref": f"#/$defs/d{number + 1}"} for number in names}
    chain[f"d{count}"] = {"type": "string"} if ends == "open" else {"$ref": "#/$defs/d0"}
    root = {"type": "object", "$defs": chain, "properties": {"a": {"$ref": "#/$defs/d0"}}}
    assert is_recursive(root) == (ends != "open")
