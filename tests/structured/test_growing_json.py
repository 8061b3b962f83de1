"""The value of a JSON text that grows, against the reference: all of the text, parsed again at each piece."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import from_json

from promptport.errors import ProtocolError
from promptport.structured.growing import GrowingJson
from promptport.structured.json import JsonDefinition, Partial, _Path


class Anything(BaseModel):
    """Takes every object, so that only the partial values matter here."""


def reference(pieces: Iterable[str], every: int = 1) -> Iterator[Partial]:
    """What is to be yielded: it parses the text so far at each piece, and so takes time that grows with the square."""
    whole, parsed = "", 0
    last: Partial | None = None
    path = _Path()
    for piece in pieces:
        whole += piece
        path.feed(piece)
        if len(whole) - parsed < every:
            continue
        parsed = len(whole)
        start = whole.find("{")
        if start < 0:
            continue
        try:
            value = from_json(whole[start:], allow_partial="trailing-strings")
        except ValueError:
            continue
        partial = Partial(value, path.growing)
        if partial != last:
            last = partial
            yield partial


async def stream(pieces: Iterable[str]) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece


async def partials(pieces: Iterable[str], every: int = 1) -> list[Partial]:
    """What is yielded, all of it kept until the end: a value that was handed out does not change."""
    out: list[Partial] = []
    try:
        async for item in JsonDefinition(Anything, every=every).parse(stream(pieces)):
            if isinstance(item, Partial):
                out.append(item)
    except ProtocolError:
        pass
    return out


def cut(text: str, marks: Iterable[int]) -> list[str]:
    places = [0, *sorted({mark % (len(text) + 1) for mark in marks}), len(text)]
    return [text[start:end] for start, end in pairwise(places) if end > start]


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(['"\\/', "\U0001f600 é", "{", "]", "\n\t", "\\u00e9"])
)
keys = st.sampled_from(["a", "b", 'q"', "é", "", "\U0001f600"]) | st.text("ab\\", max_size=3)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(keys, values, max_size=5)
texts = st.builds(
    lambda value, plain, indent, before, after: before + json.dumps(value, ensure_ascii=plain, indent=indent) + after,
    objects,
    st.booleans(),
    st.sampled_from([None, 1]),
    st.sampled_from(["", "Here [you] are:\n```json\n", '"']),
    st.sampled_from(["", "\n```\n", ' and "more [', "}"]),
)
odd_texts = st.lists(
    st.sampled_from(
        ["{", "}", "[", "]", ",", ":", '"', '"a"', '"a":', '{"a":', "\\", "\\u", "\\ud83d", "\\ude00", "00e9", "\\n"]  # noqa: RUF005
        + ["0", "1", "-", ".", "e", "+", "12", "true", "nul", "null", "Inf", "Infinity", " ", "\n", "x", "\x01", "é"]
    ),
    max_size=14,
).map("".join)
marks = st.lists(st.integers(0, 10_000), max_size=30)


@settings(deadline=None, max_examples=300)
@given(texts, marks, st.sampled_from([1, 1, 1, 5]))
async def test_partial_values_are_the_reference_s_for_every_cut(text: str, marks: list[int], every: int) -> None:
    for pieces in ([text], list(text), cut(text, marks)):
        assert await partials(pieces, every) == list(reference(pieces, every))


@settings(deadline=None, max_examples=1000)
@given(odd_texts, marks)
@example('"a":"x\\u00","b":1}', [])
@example('"a":5,"a":1.5,"a":null,"a":{"b":1', [])
@example('"a":[1},"b":2}', [])
@example('"a":{"b":[1 2],"c":3}', [])
@example('"a":-Infinity,"b":-x', [])
@example('"a":01}', [])
@example('"a":"\\ud83d","b":"\\ude00"}', [])
@example('"\\ud83d\\ude00":"\\ud83d\\ude00"}', [])
@example('"a":1.e5}', [])
async def test_partial_values_are_the_reference_s_where_the_text_is_no_json(rest: str, marks: list[int]) -> None:
    text = "{" + rest
    for pieces in ([text], list(text), cut(text, marks)):
        assert await partials(pieces) == list(reference(pieces))


@pytest.mark.parametrize("opener", ['{"a":', '{"a":[', "["])
async def test_a_text_is_followed_as_deep_as_the_reference_goes(opener: str) -> None:
    pieces = ['{"a":', *([opener] * 210)]
    ours, theirs = await partials(pieces), list(reference(pieces))
    assert len(ours) == len(theirs)
    assert ours[-1] == theirs[-1]


SHAPES: dict[str, tuple[str, str]] = {
    "a list of objects": ('{"steps": [', '{"title": "Boil", "minutes": 3}, '),
    "one long text": ('{"a": "', "word "),
    "escapes": ('{"a": "', "\\u00e9\\ud83d\\ude00"),
    "many keys": ('{"a": {', '"k": 1, '),
    "numbers": ('{"a": [', "12.5e3,"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_character_is_looked_at_once(shape: str) -> None:
    def work(count: int) -> int:
        read = 0

        def counting(text: str, **options: Any) -> Any:
            nonlocal read
            read += len(text)
            return from_json(text, **options)

        head, entry = SHAPES[shape]
        growing = GrowingJson()
        growing._read = counting
        text = head + entry * count
        for start in range(0, len(text), 4):
            growing.feed(text[start : start + 4])
            growing.value()
        assert not growing.broken
        return read

    small, large = work(100), work(1600)
    assert large <= 17 * small


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_value_that_nobody_reads_is_not_put_together(shape: str) -> None:
    head, entry = SHAPES[shape]
    text = head + entry * 4000
    pieces = [text[start : start + 4] for start in range(0, len(text), 4)]
    tracemalloc.start()
    try:
        kept = await partials(pieces)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) > 1000
    assert held < 1500 * len(kept)  # a copy of what was open would be many times that


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_value_is_what_had_come_when_it_was_handed_out_however_late_it_is_read(shape: str) -> None:
    head, entry = SHAPES[shape]
    pieces = list(head + entry * 20)
    late = [(partial.value, partial.growing) for partial in reversed(await partials(pieces))]
    assert late == [(partial.value, partial.growing) for partial in reversed(list(reference(pieces)))]


async def test_a_partial_value_is_a_value() -> None:
    *_, last = await partials(['{"a": [1, 2, "thr'])
    assert last == Partial({"a": [1, 2, "thr"]}, ("a", 2))
    assert last != Partial({"a": [1, 2, "thr"]}, ("a", 1))
    assert last.value is last.value
    assert pickle.loads(pickle.dumps(last)) == last
    assert repr(last) == "Partial(value={'a': [1, 2, 'thr']}, growing=('a', 2))"
    match last:
        case Partial({"a": [_, _, text]}, growing):
            assert (text, growing) == ("thr", ("a", 2))
        case _:
            raise AssertionError
