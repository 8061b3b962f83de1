"""What the mutators make of a protocol of which they know only the format."""

from __future__ import annotations

import random
from typing import Literal

import pytest

from promptport.testing.mutators import MUTATORS
from promptport.testing.recorded_bodies import Wire

SSE = b'event: begin\ndata: {"a": 1}\n\nevent: say\ndata: {"text": "Hi"}\n\nevent: end\ndata: {"why": "done"}\n\n'
NDJSON = b'{"a":1}\n{"text":"Hi"}\n{"why":"done"}\n'
BOTH = {
    *["line_ends", "last_event_unterminated", "comments", "extra_fields", "terminal_twice", "data_after_the_end"],
    *["cut_terminal", "cut_anywhere"],
}


@pytest.mark.parametrize(
    ("protocol", "body", "applying"),
    [
        ("sse", SSE, {*BOTH, "byte_order_mark", "no_space_after_colon", "several_data_lines", "id_and_retry_fields"}),
        ("ndjson", NDJSON, BOTH),
    ],
)
def test_what_applies_to_any_protocol_of_the_format(
    protocol: Literal["sse", "ndjson"], body: bytes, applying: set[str]
) -> None:
    wire = Wire.parse(protocol, body)
    assert wire.body() == body
    assert (len(wire.events), wire.terminal(), wire.call_spans()) == (3, 2, [])
    assert {mutator.name for mutator in MUTATORS if mutator(wire, random.Random(1)) is not None} == applying


def test_no_such_protocol() -> None:
    with pytest.raises(ValueError, match="no such protocol: 'xml'"):
        Wire.parse("xml", b"")  # type: ignore[arg-type]
