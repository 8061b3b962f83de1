"""`NDJSONDecoder`, whole, byte by byte and at random cuts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.decoding.ndjson import NDJSONDecoder
from promptport.errors import ProtocolError
from promptport.testing import cut_body


def reference(body: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in body.split(b"\n") if line.strip()]


def decode(chunks: Sequence[bytes], limit: int = 1 << 20) -> list[bytes]:
    decoder = NDJSONDecoder(limit)
    return [line for chunk in chunks for line in decoder.feed(chunk)] + decoder.close()


def decode_until_error(chunks: Sequence[bytes], limit: int) -> tuple[list[bytes], bool]:
    decoder = NDJSONDecoder(limit)
    lines: list[bytes] = []
    try:
        for chunk in chunks:
            lines += decoder.feed(chunk)
        lines += decoder.close()
    except ProtocolError:
        for again in (b"", b"{}\n"):
            with pytest.raises(ProtocolError):
                decoder.feed(again)
        with pytest.raises(ProtocolError):
            decoder.close()
        return lines, True
    return lines, False


line_ends = [b"\n", b"\r\n", b"\r"]
pieces = st.sampled_from([*line_ends, b" ", b"{}", b'{"a":1}', b"x", b"\xe2\x80\xa8", b"\xc2\x85", b"\xff", b"\x0b"])
bodies = st.lists(pieces, max_size=30).map(b"".join)
offsets = st.lists(st.integers(0, 100), max_size=12)


@given(bodies, offsets)
def test_every_cut_gives_the_same_lines(body: bytes, places: list[int]) -> None:
    expected = reference(body)
    assert decode([body]) == expected
    assert decode(cut_body(body, "bytes")) == expected
    assert decode(cut_body(body, places)) == expected


@given(bodies, offsets, st.integers(1, 20))
def test_the_limit_strikes_at_the_same_line_for_every_cut(body: bytes, places: list[int], limit: int) -> None:
    expected = decode_until_error(cut_body(body, "bytes"), limit)
    assert decode_until_error([body], limit) == expected
    assert decode_until_error(cut_body(body, places), limit) == expected


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),
        (b'{"a":1}\r\n{"b":2}\r\n', [b'{"a":1}', b'{"b":2}']),
        (b'\n\n{"a":1}\n \t\r\n\n', [b'{"a":1}']),
        (b'{"a":1}\n{"b":2}', [b'{"a":1}', b'{"b":2}']),
        (b'{"a":1}\n{"b":2}\r', [b'{"a":1}', b'{"b":2}']),
        ('{"a":"\u0085\u2028\u2029"}\n'.encode(), ['{"a":"\u0085\u2028\u2029"}'.encode()]),
        (b"\xff\xfe\n", [b"\xff\xfe"]),
        (b"<html>\n", [b"<html>"]),
        (b"", []),
    ],
)
def test_what_servers_send(body: bytes, lines: list[bytes]) -> None:
    for chunks in ([body], cut_body(body, "bytes"), *(cut_body(body, [place]) for place in range(len(body)))):
        assert decode(chunks) == lines


def test_a_line_is_given_with_its_last_byte_and_once() -> None:
    decoder = NDJSONDecoder()
    assert decoder.feed(b'{"a":1}') == []
    assert decoder.feed(b"\n") == [b'{"a":1}']
    assert decoder.close() == []
    assert decoder.stray == b""


def test_a_huge_line_comes_through_in_small_reads() -> None:
    line = b"0123456789" * 400_000
    assert decode(cut_body(line + b"\n", range(0, len(line), 1024)), limit=32 << 20) == [line]


def test_a_line_that_never_ends_is_an_error() -> None:
    assert decode_until_error([b"0123456789"] * 200, 1000) == ([], True)
    with pytest.raises(ProtocolError, match="longer than 1000 bytes"):
        NDJSONDecoder(1000).feed(b"0123456789" * 200)


def test_many_lines_in_one_read_do_not_add_up_to_the_limit() -> None:
    assert len(decode([b"0123456789\n" * 1000], limit=10)) == 1000


def test_lines_before_the_error_come_first() -> None:
    decoder = NDJSONDecoder(3)
    assert decoder.feed(b"{}\nlong line\n{}\n") == [b"{}"]
    with pytest.raises(ProtocolError):
        decoder.close()
