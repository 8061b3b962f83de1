"""`EventStreamDecoder`: both checksums, limits, good frames before a bad one; whole, bytewise, at random cuts."""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.decoding.eventstream import EventStreamDecoder
from promptport.errors import IncompleteStreamError, ProtocolError, StreamError
from promptport.testing import cut_body

CORPUS = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "wire"))
RECORDED = sorted((CORPUS / "bedrock").rglob("*.eventstream"))


def header(name: str, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def text(name: str, value: str) -> bytes:
    return header(name, 7, struct.pack(">H", len(value.encode())) + value.encode())


def framed(headers: bytes, payload: bytes, *, total: int | None = None) -> bytes:
    prelude = struct.pack(">II", total if total is not None else len(headers) + len(payload) + 16, len(headers))
    body = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def event(name: str, payload: bytes) -> bytes:
    return framed(text(":event-type", name) + text(":message-type", "event"), payload)


def decoded(chunks: Sequence[bytes], **options: int) -> tuple[list[tuple[Any, bytes]], str]:
    """The events, and the error; after an error every further call raises it."""
    decoder = EventStreamDecoder(**options)
    out: list[tuple[Any, bytes]] = []
    try:
        for chunk in chunks:
            out += decoder.feed(chunk)
        out += decoder.close()
    except StreamError as error:
        if isinstance(error, ProtocolError):
            with pytest.raises(ProtocolError):
                decoder.feed(event("again", b"{}"))
            with pytest.raises(ProtocolError):
                decoder.close()
        return out, repr(error)
    return out, ""


events = st.lists(
    st.builds(event, st.sampled_from(["contentBlockDelta", "messageStop", ""]), st.binary(max_size=40)), max_size=8
)
offsets = st.lists(st.integers(0, 400), max_size=12)


@given(events, offsets)
def test_every_cut_gives_the_same_events(frames: list[bytes], places: list[int]) -> None:
    body = b"".join(frames)
    whole = decoded([body])
    assert whole[1] == ""
    assert len(whole[0]) == len(frames)
    assert decoded(cut_body(body, "bytes")) == whole
    assert decoded(cut_body(body, places)) == whole


@given(events.filter(bool), offsets, st.data())
def test_a_flipped_bit_is_told_with_every_cut_and_takes_no_good_event_with_it(
    frames: list[bytes], places: list[int], data: st.DataObject
) -> None:
    body = bytearray(b"".join(frames))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= 1 << data.draw(st.integers(0, 7))
    good, end = 0, 0
    for frame in frames:
        end += len(frame)
        good += end <= at
    whole = decoded([bytes(body)])
    assert len(whole[0]) == good
    assert "Error" in whole[1]
    assert decoded(cut_body(bytes(body), "bytes")) == whole
    assert decoded(cut_body(bytes(body), places)) == whole


@given(events, offsets, st.binary(max_size=300))
def test_anything_behind_good_events_ends_the_same_way_for_every_cut(
    frames: list[bytes], places: list[int], rest: bytes
) -> None:
    body = b"".join(frames) + rest
    whole = decoded([body])
    assert whole[0][: len(frames)] == decoded([b"".join(frames)])[0]
    assert decoded(cut_body(body, "bytes")) == whole
    assert decoded(cut_body(body, places)) == whole


@given(events.filter(bool), st.data())
def test_bytes_that_end_inside_an_event_are_incomplete(frames: list[bytes], data: st.DataObject) -> None:
    body = b"".join(frames)
    cut = data.draw(st.integers(len(body) - len(frames[-1]) + 1, len(body) - 1))
    got, error = decoded([body[:cut]])
    assert len(got) == len(frames) - 1
    assert error.startswith(IncompleteStreamError.__name__)


def test_every_type_of_header_is_read() -> None:
    headers = b"".join(
        [
            header("true", 0, b""),
            header("false", 1, b""),
            header("byte", 2, struct.pack(">b", -1)),
            header("short", 3, struct.pack(">h", -2)),
            header("int", 4, struct.pack(">i", -3)),
            header("long", 5, struct.pack(">q", -4)),
            header("bytes", 6, b"\x00\x02ab"),
            text("text", "wörld"),
            header("time", 8, struct.pack(">q", 1_700_000_000_000)),
            header("uuid", 9, uuid.UUID(int=5).bytes),
        ]
    )
    [(got, payload)] = EventStreamDecoder().feed(framed(headers, b"x"))
    assert payload == b"x"
    assert got == {
        "true": True,
        "false": False,
        "byte": -1,
        "short": -2,
        "int": -3,
        "long": -4,
        "bytes": b"ab",
        "text": "wörld",
        "time": 1_700_000_000_000,
        "uuid": uuid.UUID(int=5).bytes,
    }


def test_an_event_without_headers_or_payload_is_one() -> None:
    assert EventStreamDecoder().feed(framed(b"", b"") * 2) == [({}, b"")] * 2


@pytest.mark.parametrize(
    "headers",
    [
        b"\x04name",
        b"\x09name\x00",
        header("name", 10, b""),
        header("name", 7, b"\x00"),
        header("name", 7, b"\x00\x09ab"),
        header("name", 5, b"\x00"),
        header("name", 9, b"\x00"),
        header("name", 7, b"\x00\x01\xff"),
        b"\x01\xff\x00",
        text("name", "a") * 2,
    ],
    ids=["cut", "name", "type", "length", "text", "long", "uuid", "utf-8", "utf-8 name", "twice"],
)
def test_headers_that_cannot_be_read_are_a_protocol_error(headers: bytes) -> None:
    decoder = EventStreamDecoder()
    good = event("messageStart", b"{}")
    assert len(decoder.feed(good + framed(headers, b"{}"))) == 1
    with pytest.raises(ProtocolError, match="headers"):
        decoder.feed(b"")


def test_a_payload_past_the_limit_is_refused_before_it_came() -> None:
    decoder = EventStreamDecoder(max_payload_bytes=100)
    fits, too_large = event("fits", b"x" * 100), event("large", b"x" * 101)
    assert len(decoder.feed(fits + too_large[:12])) == 1
    with pytest.raises(ProtocolError, match="larger than 100 bytes"):
        decoder.feed(too_large[12:13])


def test_lengths_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ProtocolError, match="contradict"):
        EventStreamDecoder().feed(framed(b"", b"", total=15))
    with pytest.raises(ProtocolError, match="headers are larger"):
        EventStreamDecoder().feed(framed(b"x" * (128 * 1024 + 1), b""))


@pytest.mark.parametrize("body", [b'{"message": "no"}', b"<html>", b"\n\n<html>", b"[1]"])
def test_a_body_of_text_is_kept_as_stray(body: bytes) -> None:
    for chunks in ([body], cut_body(body, "bytes")):
        decoder = EventStreamDecoder()
        for chunk in chunks:
            assert decoder.feed(chunk) == []
        assert decoder.close() == []
        assert decoder.stray == body


def test_what_is_kept_of_a_body_of_text_has_a_limit() -> None:
    decoder = EventStreamDecoder()
    for _ in range(3):
        decoder.feed(b"<" * 50_000)
    assert len(decoder.stray) == 65536


@pytest.mark.skipif(not RECORDED, reason="the corpus of recorded wires (../shared/wire) is not here")
def test_botocore_reads_the_same_events_out_of_every_recording() -> None:
    eventstream = pytest.importorskip("botocore.eventstream")
    for path in RECORDED:
        body = path.read_bytes()
        buffer = eventstream.EventStreamBuffer()
        buffer.add_data(body)
        theirs = [(message.headers, message.payload) for message in buffer]
        assert EventStreamDecoder().feed(body) == theirs, path.name
    assert len(RECORDED) >= 20
