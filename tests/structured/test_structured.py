"""Structured streams: JSON for a pydantic model, and Markdown."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from promptport.errors import ProtocolError
from promptport.messages import Prompt, SystemMessage
from promptport.models import Capability, ModelCapabilities
from promptport.structured.json import JsonDefinition, Partial
from promptport.structured.markdown import (
    MarkdownBullet,
    MarkdownCode,
    MarkdownDefinition,
    MarkdownElement,
    MarkdownHeader,
    MarkdownParser,
    MarkdownText,
)


class Step(BaseModel):
    title: str
    minutes: int = 0


class Recipe(BaseModel):
    name: str
    steps: list[Step]


TEXT = '{"name": "Tea \\"green\\"", "steps": [{"title": "Boil", "minutes": 3}, {"title": "Pour"}]}'


async def pieces(text: str, size: int = 1) -> AsyncIterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


async def test_json_gives_partial_values_that_grow_and_then_the_model() -> None:
    items = [item async for item in JsonDefinition(Recipe).parse(pieces(TEXT))]
    assert items[-1] == Recipe(name='Tea "green"', steps=[Step(title="Boil", minutes=3), Step(title="Pour")])
    partials = [item for item in items if isinstance(item, Partial)]
    assert len(partials) == len(items) - 1 > 10
    assert partials[-1].value == Recipe.model_validate_json(TEXT).model_dump(exclude_unset=True)
    names = [partial.value.get("name", "") for partial in partials]
    assert all(later.startswith(earlier) for earlier, later in pairwise(names))


async def test_json_marks_what_is_still_growing() -> None:
    items = [item async for item in JsonDefinition(Recipe).parse(pieces(TEXT))]
    growing = {item.growing for item in items if isinstance(item, Partial)}
    assert {("name",), ("steps", 0, "title"), ("steps", 0, "minutes"), ("steps", 1, "title")} <= growing
    for item in items:
        if isinstance(item, Partial) and item.growing == ("steps", 1, "title"):
            assert item.value["steps"][0] == {"title": "Boil", "minutes": 3}, "what no longer grows is whole"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_json_ends_in_the_same_model_for_every_chunking(size: int) -> None:
    items = [item async for item in JsonDefinition(Recipe).parse(pieces(TEXT, size))]
    assert items[-1] == Recipe.model_validate_json(TEXT)


async def test_json_takes_words_and_a_fence_around_the_object() -> None:
    text = f"Here you are:\n```json\n{TEXT}\n```\nEnjoy!"
    items = [item async for item in JsonDefinition(Recipe).parse(pieces(text))]
    assert items[-1] == Recipe.model_validate_json(TEXT)


@pytest.mark.parametrize(
    "text", ["", "no object", '{"name": "x"}', '{"name": "x", "steps": [', '{"name": 1, "steps": 2}']
)
async def test_json_that_is_not_the_model_is_a_protocol_error_without_the_answer_in_it(text: str) -> None:
    with pytest.raises(ProtocolError, match="not a Recipe") as caught:
        [item async for item in JsonDefinition(Recipe).parse(pieces(text))]
    assert "no object" not in str(caught.value)


async def test_json_every_bounds_the_partial_values() -> None:
    few = [item async for item in JsonDefinition(Recipe, every=40).parse(pieces(TEXT))]
    many = [item async for item in JsonDefinition(Recipe).parse(pieces(TEXT))]
    assert 1 < len(few) <= len(TEXT) // 40 + 1 < len(many)


def test_json_uses_the_schema_mode_where_the_model_has_one_and_words_where_not() -> None:
    prompt = Prompt.of("tea")
    can = ModelCapabilities(capabilities=frozenset([Capability.JSON_SCHEMA]))
    held = JsonDefinition(Recipe).prepare(prompt, can)
    assert held.messages == prompt.messages
    assert held.params.response_schema == Recipe.model_json_schema()
    asked = JsonDefinition(Recipe).prepare(prompt, ModelCapabilities())
    assert asked.params.response_schema is None
    assert isinstance(asked.messages[0], SystemMessage)
    assert '"steps"' in asked.messages[0].text
    assert asked.messages[1:] == prompt.messages


MARKDOWN = """# Tea ##
Some words
- boil *water*
  2) pour
```py
def f():
    # no header
```
---
~~~
open
"""


def elements(parser: MarkdownParser, *texts: str) -> list[MarkdownElement]:
    return [element for text in texts for element in parser.feed(text)] + parser.close()


EXPECTED: list[MarkdownElement] = [
    MarkdownHeader(1, "Tea"),
    MarkdownText("Some words"),
    MarkdownBullet("boil *water*"),
    MarkdownBullet("pour", indent=2, number=2),
    MarkdownCode("def f():\n    # no header", "py"),
    MarkdownText("---"),
    MarkdownCode("open\n".rstrip("\n"), closed=False),
]


def test_markdown_elements_come_whole() -> None:
    assert elements(MarkdownParser(), MARKDOWN) == EXPECTED


@given(st.lists(st.integers(0, len(MARKDOWN))))
def test_markdown_is_the_same_for_every_chunking(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(MARKDOWN)]
    assert elements(MarkdownParser(), *[MARKDOWN[a:b] for a, b in pairwise(bounds)]) == EXPECTED


def test_markdown_gives_an_element_as_soon_as_its_line_ends() -> None:
    parser = MarkdownParser()
    assert parser.feed("# He") == []
    assert parser.feed("ad\n- one") == [MarkdownHeader(1, "Head")]
    assert parser.close() == [MarkdownBullet("one")]


@given(st.text(alphabet="ab#-*1. `~\n\r", max_size=200))
def test_markdown_loses_no_letter(text: str) -> None:
    out = "".join(element.text for element in elements(MarkdownParser(), text))
    languages = "".join(e.language for e in elements(MarkdownParser(), text) if isinstance(e, MarkdownCode))
    assert sorted(c for c in out + languages if c in "ab") == sorted(c for c in text if c in "ab")


async def test_markdown_definition_asks_and_parses() -> None:
    definition = MarkdownDefinition("Use headers.")
    prepared = definition.prepare(Prompt.of("tea"), ModelCapabilities())
    assert prepared.messages[0] == SystemMessage("Use headers.")
    assert [element async for element in definition.parse(pieces(MARKDOWN, 3))] == EXPECTED


# ------------------------------------------------------------------------------------------- what servers hold to


class _Counts(BaseModel):
    counts: dict[str, int]


class _Plain(BaseModel):
    city: str
    note: str = "none"


@pytest.mark.parametrize(("model", "held"), [(_Plain, True), (_Counts, False)])
def test_a_model_that_a_server_cannot_hold_an_answer_to_is_asked_for_in_words(
    model: type[BaseModel], held: bool
) -> None:
    has = frozenset([Capability.JSON_SCHEMA])
    capabilities = ModelCapabilities(capabilities=has, schema_dialect="anthropic-strict")
    prompt = JsonDefinition(model).prepare(Prompt.of("Hi"), capabilities)
    assert (prompt.params.response_schema is not None) is held
    first = prompt.messages[0]
    assert isinstance(first, SystemMessage) is not held
    anywhere = JsonDefinition(model).prepare(Prompt.of("Hi"), ModelCapabilities(capabilities=has))
    assert anywhere.params.response_schema == model.model_json_schema()


async def test_a_null_for_what_was_left_out_is_its_default() -> None:
    async def text() -> AsyncIterator[str]:
        yield '{"city": "Paris", "note": null}'

    *_, last = [item async for item in JsonDefinition(_Plain).parse(text())]
    assert last == _Plain(city="Paris")
