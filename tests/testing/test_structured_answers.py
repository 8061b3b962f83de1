"""Structured answers: any ordinary model works with every provider, and what a dialect cannot say is checked here."""

from __future__ import annotations

import datetime
import enum
import json
from decimal import Decimal
from importlib import import_module
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import promptport
from promptport.errors import InvalidInputError, ProtocolError
from promptport.executor import SingleClientExecutor
from promptport.frames import Append, End, FinishReason, StreamFrame
from promptport.llm_client import LLMClient
from promptport.messages import Prompt
from promptport.models import Capability, LLModel
from promptport.stream import Timeouts
from promptport.structured import JsonDefinition
from promptport.testing import ProviderContract, WireResponse, WireServer
from promptport.testing.command import contracts
from promptport.testing.matrix import _preset_contract
from promptport.testing.request_rules import refusals, rules_for
from promptport.testing.steps import Finish, Say, Step
from promptport.tools import DIALECTS, fit_schema


class Kind(enum.StrEnum):
    A = "a"
    B = "b"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(9, ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Optional(BaseModel):
    name: str
    nick: str | None = None
    age: int = 3


class Bounds(BaseModel):
    tags: list[Annotated[str, Field(min_length=2, max_length=5)]] = Field(min_length=2, max_length=3)
    size: float = Field(gt=0, multiple_of=0.5)
    code: str = Field(pattern=r"^[a-z]+$")


class Union(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    other: Cat | Dog | None = None


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Free(BaseModel):
    counts: dict[str, int]
    anything: Any = None


class Odd(BaseModel):
    width: float = Field(alias="größe in €")
    pair: tuple[int, str]
    when: datetime.date
    price: Decimal
    kind: Kind
    unique: set[int] = set()


MODELS: dict[type[BaseModel], dict[str, Any]] = {
    Optional: {"name": "Ada"},
    Bounds: {"tags": ["ab", "cde"], "size": 1.5, "code": "abc"},
    Union: {"pet": {"kind": "dog", "name": "Rex"}},
    Tree: {"value": 1, "children": [{"value": 2, "children": []}]},
    Free: {"counts": {"a": 1}, "anything": [1, "b"]},
    Odd: {"größe in €": 2.0, "pair": [1, "b"], "when": "2026-11-25", "price": "1.50", "kind": "b", "unique": [1]},
}
NAMES = sorted([name for name in contracts() if name != "local"] + ["mistral", "groq"])


def contract_of(name: str) -> ProviderContract:
    place = contracts().get(name)
    if place is None:
        return _preset_contract(name)
    module, _, attribute = place.partition(":")
    made: ProviderContract = getattr(import_module(module), attribute)()
    return made


def sent_keys(contract: ProviderContract, schema: dict[str, Any], text: str) -> str:
    """The answer in the keys that the server knows."""
    dialect = getattr(client_of(contract, "http://127.0.0.1:1"), "answer_dialect", "")
    try:
        renamed = fit_schema(schema, DIALECTS[dialect]).renamed
    except InvalidInputError:
        renamed = {}
    for wire, own in renamed.items():
        text = text.replace(json.dumps(own, ensure_ascii=False), json.dumps(wire))
    return text


def client_of(contract: ProviderContract, url: str) -> LLMClient:
    return contract.make_client(url, Timeouts(total=20))


async def answered(contract: ProviderContract, prompt: Prompt, *steps: Step) -> tuple[list[StreamFrame], Any]:
    body = contract.encode(steps)
    assert body is not None
    async with WireServer(WireResponse(body, content_type=contract.content_type, cut=("random", 3))) as server:
        client = client_of(contract, server.url)
        try:
            async with client.execute_streaming_with_tools(prompt, contract.model) as stream:
                frames = [frame async for frame in stream]
        finally:
            await client.aclose()
        return frames, server.requests[-1]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("name", NAMES)
async def test_any_ordinary_model_works_with_every_provider(name: str, model: type[BaseModel]) -> None:
    contract, definition, value = contract_of(name), JsonDefinition(model), MODELS[model]
    client = client_of(contract, "http://127.0.0.1:1")
    can = client.capabilities(contract.model)
    await client.aclose()
    prompt = definition.prepare(Prompt.of("Answer."), can)
    held = prompt.params.response_schema
    text = json.dumps(value, ensure_ascii=False)
    if held is not None:
        assert Capability.JSON_SCHEMA in can
        text = sent_keys(contract, held, text)
    frames, request = await answered(contract, prompt, Say(text), Finish(FinishReason.STOP))
    assert refusals(rules_for(contract.model.provider, contract.mutators) or "", request.json(), request.path) == []

    async def texts() -> Any:
        for frame in frames:
            if isinstance(frame, Append):
                yield frame.text

    got = [item async for item in definition.parse(texts())][-1]
    assert got == model.model_validate(value)


BOUNDED = {
    "type": "object",
    "properties": {
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+$"}, "uniqueItems": True},
        "größe": {"type": "number", "not": {"const": 5}},
        "note": {"type": "string", "maxLength": 3},
    },
    "required": ["tags"],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"tags": ["a", "b"], "größe": 2}, ""),
        ({"tags": ["a"], "note": None}, ""),
        ({"tags": ["a", "a"]}, "tags: uniqueItems"),
        ({"tags": ["a"], "größe": 5}, "größe: not"),
        ({"tags": ["a"], "größe": "the secret"}, "größe: "),
    ],
)
async def test_what_a_dialect_cannot_say_is_checked(name: str, value: dict[str, Any], problem: str) -> None:
    contract = contract_of(name)
    if Capability.JSON_SCHEMA not in client_of(contract, "http://127.0.0.1:1").capabilities(contract.model):
        pytest.skip("its models have no schema mode")
    prompt = Prompt.of("Answer.").with_params(response_schema=BOUNDED)
    text = json.dumps(value, ensure_ascii=False)
    steps = (Say(sent_keys(contract, BOUNDED, text)), Finish(FinishReason.STOP))
    if not problem:
        frames, _ = await answered(contract, prompt, *steps)
        assert json.loads("".join([frame.text for frame in frames if isinstance(frame, Append)])) == value
        assert isinstance(frames[-1], End)
        return
    with pytest.raises(ProtocolError, match=f"does not fit response_schema: .*{problem}") as caught:
        await answered(contract, prompt, *steps)
    assert "secret" not in str(caught.value)
    assert caught.value.partial is not None
    assert json.loads(caught.value.partial.text) == value


@pytest.mark.parametrize("finish", [FinishReason.STOP, FinishReason.LENGTH])
@pytest.mark.parametrize("name", ["openai", "anthropic", "ollama"])
async def test_words_and_cut_answers_are_the_callers_to_read(name: str, finish: FinishReason) -> None:
    prompt = Prompt.of("Answer.").with_params(response_schema=BOUNDED)
    text = "I cannot do that." if finish is FinishReason.STOP else '{"tags": ["a", "a'
    frames, _ = await answered(contract_of(name), prompt, Say(text), Finish(finish))
    assert "".join([frame.text for frame in frames if isinstance(frame, Append)]) == text
    assert isinstance(frames[-1], End)


@pytest.mark.parametrize("good", [True, False])
async def test_an_answer_that_does_not_stream_is_checked_too(good: bool) -> None:
    contract = contract_of("anthropic")
    value = {"tags": ["a"], "größe": 2 if good else 5}
    text = sent_keys(contract, BOUNDED, json.dumps(value, ensure_ascii=False))
    reply = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    async with WireServer(WireResponse.json(reply)) as server:
        client = client_of(contract, server.url)
        executor = SingleClientExecutor(client)
        prompt = Prompt.of("Answer.").with_params(response_schema=BOUNDED)
        try:
            if good:
                assert json.loads((await executor.execute(prompt, contract.model)).text) == value
            else:
                with pytest.raises(ProtocolError, match="größe: not") as caught:
                    await executor.execute(prompt, contract.model)
                assert caught.value.partial is not None
        finally:
            await executor.aclose()


@pytest.mark.parametrize("name", ["openai", "openai-chat"])
def test_an_optional_field_does_not_turn_strictness_off_at_openai(name: str) -> None:
    client: Any = promptport.client(name, api_key="key")
    prompt = Prompt.of("Hi").with_params(response_schema=Optional.model_json_schema())
    body = client._body(prompt, LLModel(name, "gpt-5"), [], stream=False)
    sent = body["text"]["format"] if name == "openai" else body["response_format"]["json_schema"]
    assert sent["strict"] is True
    assert sent["schema"]["required"] == ["name", "nick", "age"]
    assert sent["schema"]["properties"]["age"]["anyOf"] == [{"title": "Age", "type": "integer"}, {"type": "null"}]
