"""The objects of a JSON array that grows: whole, byte by byte, at random cuts, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.decoding import JSONObjectsDecoder, Limits
from promptport.errors import ProtocolError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\{}[], \n\u2028é'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('k"\\}]'), inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text('k"\\}]'), values, max_size=3), max_size=4)


@given(objects, st.booleans(), st.sampled_from([None, 1, "\t"]), st.data())
def test_objects_come_out_however_they_are_cut(
    given_objects: list[Any], listed: bool, indent: Any, data: st.DataObject
) -> None:
    texts = [json.dumps(value, indent=indent, ensure_ascii=False) for value in given_objects]
    body = ("[" + " ,\r\n".join(texts) + "\n]" if listed else "\n".join(texts)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=5)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    for chunks in ([body], pieces, [body[i : i + 1] for i in range(len(body))]):
        decoder = JSONObjectsDecoder()
        found = [text for chunk in chunks for text in decoder.feed(chunk)]
        assert [text.decode() for text in found] == texts
        assert decoder.close() == []
        assert not decoder.opened


def test_an_array_that_is_cut_says_so() -> None:
    decoder = JSONObjectsDecoder()
    assert decoder.feed(b'[{"a": 1}, {"b"') == [b'{"a": 1}']
    assert decoder.opened
    assert decoder.close() == [b'{"b"']


@pytest.mark.parametrize("body", [b'[{"a":1} x', b'[{"a":1}, 7]', b'[{"a":1}]]', b'[{"a":1}, [', b'{"a":1} "b"'])
def test_what_stands_between_objects_is_an_error_behind_them(body: bytes) -> None:
    decoder = JSONObjectsDecoder()
    assert decoder.feed(body) == [b'{"a":1}']
    for _ in range(2):
        with pytest.raises(ProtocolError, match="something else than objects"):
            decoder.feed(b"")
    with pytest.raises(ProtocolError):
        decoder.close()


def test_an_object_has_a_limit() -> None:
    for pieces in ([b'[{"a":"' + b"x" * 40], [b'[{"a":"', *[b"x"] * 40]):
        decoder = JSONObjectsDecoder()
        decoder.bound(Limits(event=20))
        with pytest.raises(ProtocolError, match="larger than 20 bytes"):
            for piece in pieces:
                decoder.feed(piece)
    exact = JSONObjectsDecoder(7)
    assert exact.feed(b'[{"a":1},{"b":2}') == [b'{"a":1}', b'{"b":2}']
