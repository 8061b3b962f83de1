"""What a grammar of llama.cpp's cannot hold is not sent; what it can stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

import promptport as pp
from promptport_local import DEFAULT_MODEL, LocalClient
from promptport_local._fitting import fit_request, fitted

LEFT_OUT: list[tuple[Any, Any]] = [
    ({"type": "string", "pattern": "^a{5000}$"}, {"type": "string"}),
    ({"type": "string", "pattern": "^((a{1,100}){1,100})$"}, {"type": "string"}),
    ({"type": "string", "pattern": "^(a$"}, {"type": "string"}),
    ({"type": "string", "pattern": "^é+$"}, {"type": "string"}),
    ({"type": "string", "pattern": r"^\p{L}+$"}, {"type": "string"}),
    ({"type": "string", "pattern": 5}, {"type": "string"}),
    ({"type": "string", "format": 5}, {"type": "string"}),
    ({"type": "string", "minLength": 3000, "maxLength": 5000}, {"type": "string"}),
    ({"type": "string", "minLength": 5, "maxLength": 2}, {"type": "string"}),
    ({"type": "integer", "minimum": 5, "maximum": 2}, {"type": "integer"}),
    ({"type": "array", "items": True}, {"type": "array", "items": {}}),
    ({"enum": []}, {}),
    ({"anyOf": []}, {}),
    ({"$ref": "#/$defs/no"}, {}),
    ({"$ref": "http://x/y"}, {}),
    (True, {}),
    ({"type": "any"}, {}),
    ({"type": []}, {}),
    ({"type": "object", "properties": {"x": False, "y": True}}, {"type": "object", "properties": {"y": {}}}),
    ({"anyOf": [{"type": "foo"}, {"type": "null"}]}, {"anyOf": [{}, {"type": "null"}]}),
]
KEPT: list[Any] = [
    {"type": "string", "pattern": r"^[\w.-]{1,64}$", "minLength": 2, "format": "email"},
    {"type": ["string", "null"], "enum": ["any", None, {"type": "foo"}], "default": {"pattern": "("}},
    {"type": "object", "properties": {"type": {"type": "string"}, "pattern": {"$ref": "#/properties/a"}}},
    {"type": "object", "additionalProperties": False, "required": ["a"]},
]


def around(schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


@pytest.mark.parametrize(("schema", "sent"), LEFT_OUT)
def test_it_is_left_out(schema: Any, sent: Any) -> None:
    assert fitted(around(schema)) == around(sent)
    assert fitted(fitted(around(schema))) == around(sent)


@pytest.mark.parametrize("schema", KEPT)
def test_it_is_kept(schema: Any) -> None:
    assert fitted(around(schema)) == around(schema)


def test_only_the_schemas_of_a_request_are_changed() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": around({"type": "any"})}}
    bare = {"type": "function", "function": {"name": "g"}}
    held = {"type": "json_schema", "json_schema": {"name": "n", "schema": around(True)}}
    body: dict[str, Any] = {"tools": [tool, bare], "response_format": held}
    fit_request(body)
    assert tool["function"] == {"name": "f", "parameters": around({})}
    assert held["json_schema"] == {"name": "n", "schema": around({})}
    assert (tool["type"], held["type"], bare["function"]) == ("function", "json_schema", {"name": "g"})


@pytest.mark.slow
async def test_the_real_server_takes_all_of_it_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    async with LocalClient(context_length=1024) as client:
        for schema, _ in LEFT_OUT:
            prompt = pp.Prompt.of("x", max_tokens=2, response_schema=around(schema))
            await client.execute_streaming_with_tools(prompt, DEFAULT_MODEL).message()
    assert capfd.readouterr() == ("", "")
