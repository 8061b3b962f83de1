"""Whatever bytes somebody kept for us: our value, or `InvalidInputError`, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.dispatch import PausedRun, ToolResult, ToolStarted, decode_dispatch_frame, encode_dispatch_frame
from promptport.errors import InvalidInputError
from promptport.frames import Append, ToolCall, decode_frame, encode_frame
from promptport.messages import Prompt
from promptport.session import LLMSession
from promptport.testing import ScriptedClient

READERS: dict[str, Callable[[bytes | str], Any]] = {
    "decode_frame": decode_frame,
    "decode_dispatch_frame": decode_dispatch_frame,
    "Prompt.from_json": Prompt.from_json,
    "PausedRun.from_json": PausedRun.from_json,
    "LLMSession.from_json": lambda data: LLMSession.from_json(data, ScriptedClient([])),
}
readers = pytest.mark.parametrize("read", READERS.values(), ids=READERS)

SEEDS = [
    encode_frame(Append("Hi")),
    encode_frame(ToolCall("a", "f", '{"x": 1}', {"k": [1, {"n": None}]})),
    encode_dispatch_frame(ToolStarted("a", "f")),
    encode_dispatch_frame(ToolResult("a", "f", "out", "error")),
    Prompt.of("Hi", system="Be brief.").to_json(),
]


@readers
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b'{"type": "append"',
        b'{"type": "append", "text": "\xff"}',
        b'{"type": "append", "text": "\xed\xa0\xbd"}',
        rb'{"type": "append", "text": "\ud83d"}',
        rb'{"type": "append", "text": "\ude00"}',
        '{"type": "append", "text": "\ud83d"}',  # a str that no UTF-8 can say
        b"[" * 100_000,
        b'{"type": "reasoning", "text": "", "provider_data": {"a":' + b"[" * 100_000,
        b'{"type": "tool_call", "id": "", "name": "", "arguments": "", "provider_data": {"a":' + b'{"a":' * 100_000,
        b'{"type": "tool_progress", "id": "", "data":' + b"[" * 100_000,
        b'{"type": "tool_progress", "id": "", "data": %s}' % (b"9" * 10_000),
        b'{"type": "tool_progress", "id": "", "data": 1e999}',
        b'{"messages": [' + b'{"role":' * 100_000,
        b"\xef\xbb\xbfnull",
        b"\x00" * 100,
    ],
    ids=repr,
)
def test_what_is_no_value_is_invalid_input(read: Callable[[bytes | str], Any], data: bytes | str) -> None:
    if read in (decode_frame, decode_dispatch_frame):
        with pytest.raises(InvalidInputError, match=r"^not a frame: "):
            read(data)
    else:  # fields that a value does not have are passed over, with what is in them
        tried(read, data)


@readers
@given(st.binary(max_size=200) | st.text(st.characters(), max_size=100))
def test_any_bytes(read: Callable[[bytes | str], Any], data: bytes | str) -> None:
    tried(read, data)


@readers
@given(st.sampled_from(SEEDS), st.integers(0, 200), st.binary(min_size=1, max_size=8), st.integers(0, 8))
def test_any_bytes_in_the_middle_of_a_value(
    read: Callable[[bytes | str], Any], seed: bytes, place: int, put: bytes, gone: int
) -> None:
    place %= len(seed)
    tried(read, seed[:place] + put + seed[place + gone :])


def tried(read: Callable[[bytes | str], Any], data: bytes | str) -> None:
    with contextlib.suppress(InvalidInputError):
        read(data)
