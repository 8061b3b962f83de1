"""`SSEDecoder` against a small parser of the standard, whole, byte by byte and at random cuts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from promptport.decoding.sse import SSEDecoder
from promptport.errors import ProtocolError
from promptport.testing import cut_body

Events = list[tuple[bytes, bytes]]


def reference(body: bytes) -> tuple[Events, bytes]:
    """The events of a whole body by the standard, and its stray lines; the last event needs no blank line."""
    lines = re.split(rb"\r\n|\n|\r", body.removeprefix(b"\xef\xbb\xbf"))
    if any(field.startswith(lines[-1]) for field in (b"data", b"event", b"id", b"retry")):
        lines.pop()
    events, name, data, stray = [], b"", b"", b""
    for line in [*lines, b""]:
        if line == b"":
            if data:
                events.append((name, data[:-1]))
            name = data = b""
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if field == b"event":
                name = value
            elif field == b"data":
                data += value + b"\n"
            elif field not in (b"id", b"retry"):
                stray += line + b"\n"
    return events, stray


def decode(chunks: Sequence[bytes], limit: int = 1 << 20) -> tuple[Events, bytes]:
    decoder = SSEDecoder(limit)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + decoder.close(), decoder.stray


def decode_until_error(chunks: Sequence[bytes], limit: int) -> tuple[Events, bool]:
    decoder = SSEDecoder(limit)
    events: Events = []
    try:
        for chunk in chunks:
            events += decoder.feed(chunk)
        events += decoder.close()
    except ProtocolError:
        for again in (b"", b"data: x\n\n"):
            with pytest.raises(ProtocolError):
                decoder.feed(again)
        with pytest.raises(ProtocolError):
            decoder.close()
        return events, True
    return events, False


line_ends = [b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n"]
fields = [b"data", b"data:", b"data: ", b"event: ", b"event:", b"event", b":", b": keep-alive", b"id: 1", b"retry: 3"]
oddities = [b" ", b"x", b"foo: bar", b"<html>", b"\xef\xbb\xbf", b"\xef\xbb", b"\xc2\x85", b"\xe2\x80\xa8", b"\xff"]
events = [b"data: x\n\n", b"event: e\ndata: y\n\n", b"data: [DONE]\n\n"]
pieces = st.sampled_from([*line_ends, *fields, *oddities, *events])
bodies = st.lists(pieces, max_size=30).map(b"".join)
offsets = st.lists(st.integers(0, 200), max_size=12)


@given(bodies, offsets)
@example(b"\xef\xbb", [])
@example(b"event: e\ndata", [])
def test_every_cut_gives_what_the_standard_says(body: bytes, places: list[int]) -> None:
    expected = reference(body)
    assert decode([body]) == expected
    assert decode(cut_body(body, "bytes")) == expected
    assert decode(cut_body(body, places)) == expected


@given(bodies, offsets, st.integers(1, 40))
@example(b"\xef\xbbxxx\n", [2], 4)
def test_the_limit_strikes_at_the_same_event_for_every_cut(body: bytes, places: list[int], limit: int) -> None:
    expected = decode_until_error(cut_body(body, "bytes"), limit)
    assert decode_until_error([body], limit) == expected
    assert decode_until_error(cut_body(body, places), limit) == expected


@pytest.mark.parametrize(
    ("body", "events"),
    [
        pytest.param(b"data: a\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")], id="LF"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"", b"a"), (b"", b"b")], id="CR LF"),
        pytest.param(b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")], id="CR"),
        pytest.param(b"data: a\r\n\ndata: b\n\r\n", [(b"", b"a"), (b"", b"b")], id="mixed"),
        pytest.param(b"data:a\n\ndata:  b\n\n", [(b"", b"a"), (b"", b" b")], id="one space is not the value's"),
        pytest.param(b"data: a\ndata:\ndata: b\n\n", [(b"", b"a\n\nb")], id="several data lines"),
        pytest.param(b"event: e\ndata: a\n\ndata: b\n\n", [(b"e", b"a"), (b"", b"b")], id="a name is for one event"),
        pytest.param(b"data: a\nevent:e\n\n", [(b"e", b"a")], id="the name comes last"),
        pytest.param(b"event: e\nevent: f\ndata: a\n\n", [(b"f", b"a")], id="the last name holds"),
        pytest.param(b"data: a\ndata: b\nevent: e\n\n", [(b"e", b"a\nb")], id="name after several lines"),
        pytest.param(b": OPENROUTER PROCESSING\n\n:\n\ndata: a\n: x\n\n", [(b"", b"a")], id="comments"),
        pytest.param(b"id: 7\nretry: 10\ndata: a\n\nid: 8\n\n", [(b"", b"a")], id="id and retry"),
        pytest.param(b"event: e\n\ndata: a\n\n", [(b"", b"a")], id="an event without data is none"),
        pytest.param(b"data\n\ndata:\n\n", [(b"", b""), (b"", b"")], id="empty data"),
        pytest.param(b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")], id="blank lines"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")], id="byte order mark"),
        pytest.param(b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [(b"", b"a")], id="byte order mark, too late"),
        pytest.param("data: a\u0085b\u2028c\u2029d\x0b\x0c\x1ce\n\n".encode(), None, id="no line ends"),
        pytest.param(b"data: \xff\xfe\xc3\n\n", [(b"", b"\xff\xfe\xc3")], id="not UTF-8"),
        pytest.param(b"data: [DONE]\n\ndata: [DONE]\n\ndata: x\n\n", [(b"", b"[DONE]")] * 2 + [(b"", b"x")], id="DONE"),
        pytest.param(b"data: a\n\ndata: b\n", [(b"", b"a"), (b"", b"b")], id="last event, no blank line"),
        pytest.param(b"data: a\n\ndata: b", [(b"", b"a"), (b"", b"b")], id="last event, line under way"),
        pytest.param(b"data: a\n\nevent: b\r", [(b"", b"a")], id="last event, no data"),
        pytest.param(b"event: stop\ndata", [], id="a cut field name is no data"),
        pytest.param(b"event: stop\ndata\n", [(b"stop", b"")], id="a whole field name is"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_what_servers_send(body: bytes, events: Events | None) -> None:
    expected = [(b"", body[6:-2])] if events is None else events
    assert reference(body)[0] == expected
    for chunks in ([body], cut_body(body, "bytes"), *(cut_body(body, [place]) for place in range(len(body)))):
        assert decode(chunks)[0] == expected


def test_an_event_is_given_with_its_last_byte() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r\n") == []
    assert decoder.feed(b"\r") == [(b"", b"a")]  # the LF of this CR may be long in coming
    assert decoder.feed(b"\ndata: b\n") == []
    assert decoder.feed(b"\n") == [(b"", b"b")]
    assert decoder.close() == []
    assert decoder.close() == []


@pytest.mark.parametrize(
    "page",
    [
        b'{"error": {"message": "no", "code": 500}}',
        b'{\n  "error": {\n    "data": "no"\n  }\n}\n',
        b"<!DOCTYPE html>\n<html>\n<body>no</body></html>\n",
        b"upstream connect error or disconnect/reset before headers. reset reason: overflow",
        b"error: no\n",
    ],
)
def test_what_came_instead_of_events_is_kept(page: bytes) -> None:
    for chunks in ([page], cut_body(page, "bytes")):
        events, stray = decode(chunks)
        assert events == []
        assert stray.rstrip(b"\n") == page.rstrip(b"\n")


def test_events_and_comments_are_not_stray() -> None:
    assert decode([b": hi\nid: 1\nretry: 2\nevent: e\ndata: x\n\nlost\n\n"]) == ([(b"e", b"x")], b"lost\n")


@pytest.mark.parametrize("size", [1000, 65536, 1 << 20])
def test_stray_is_bounded(size: int) -> None:
    page = b"<p>word</p>\n" * 20000
    assert decode(cut_body(page, range(0, len(page), size)))[1] == page[:65536]
    assert decode([b"x" * 300_000])[1] == b"x" * 65536


def test_a_huge_event_comes_through_in_small_reads() -> None:
    payload = bytes(range(32, 127)) * 40_000
    body = b"event: big\ndata: " + payload + b"\n\n"
    assert decode(cut_body(body, range(0, len(body), 1024)), limit=32 << 20)[0] == [(b"big", payload)]


def test_an_event_of_many_lines_comes_through_in_small_reads() -> None:
    body = b"data: 0123456789\n" * 50_000 + b"\n"
    assert decode(cut_body(body, range(0, len(body), 100)), 1 << 23)[0] == [(b"", b"\n".join([b"0123456789"] * 50_000))]


@pytest.mark.parametrize("part", [b"data: 0123456789", b"data: 0123456789\n"], ids=["a line", "an event"])
def test_what_never_ends_is_an_error(part: bytes) -> None:
    assert decode_until_error([part] * 100, 1000) == ([], True)
    with pytest.raises(ProtocolError, match="larger than 1000 bytes"):
        SSEDecoder(1000).feed(part * 100)


def test_comments_without_end_are_none() -> None:
    decoder = SSEDecoder(1000)
    for _ in range(1000):
        assert decoder.feed(b": keep-alive\n") == []
    assert decoder.feed(b"data: x\n\n") == [(b"", b"x")]


def test_many_events_in_one_read_do_not_add_up_to_the_limit() -> None:
    assert len(decode([b"data: 0123456789\n\n" * 1000], limit=100)[0]) == 1000


def test_events_before_the_error_come_first() -> None:
    decoder = SSEDecoder(10)
    assert decoder.feed(b"data: a\n\ndata: 0123456789abc\n\ndata: b\n\n") == [(b"", b"a")]
    with pytest.raises(ProtocolError):
        decoder.close()


@pytest.mark.parametrize("cut", ["whole", "bytes"])
def test_an_event_of_countless_empty_lines_is_too_large_for_its_memory(cut: Any) -> None:
    limit = 100_000
    allowed = b"data:\n" * (limit // 64) + b"\n"
    assert len(decode(cut_body(allowed, cut), limit)[0]) == 1
    events, failed = decode_until_error(cut_body(b"data: a\n\n" + b"data:\n" * (limit // 64 + 3), cut), limit)
    assert (events, failed) == ([(b"", b"a")], True)
