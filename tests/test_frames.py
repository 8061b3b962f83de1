"""Frames are values: equal by value, frozen, picklable, JSON both ways, told apart to exhaustion."""

from __future__ import annotations

import pickle
import typing
from typing import Any, assert_never

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.errors import InvalidInputError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    Restarted,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
    Usage,
    decode_frame,
    encode_frame,
    parse_arguments,
)

TEXT = st.text(max_size=20)
MAYBE_TEXT = st.none() | TEXT
COUNT = st.none() | st.integers(0, 10**9)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
DATA = st.none() | OBJECT
USAGE = st.builds(Usage, COUNT, COUNT, COUNT, COUNT, COUNT)
UNFINISHED = st.builds(UnfinishedCall, TEXT, TEXT, TEXT)
FRAMES: st.SearchStrategy[StreamFrame] = st.one_of(
    st.builds(Append, TEXT),
    st.builds(ReasoningAppend, TEXT),
    st.builds(Reasoning, TEXT, DATA),
    st.builds(ToolCallDelta, TEXT, TEXT, TEXT),
    st.builds(ToolCall, TEXT, TEXT, TEXT, DATA),
    st.builds(InvalidToolCall, TEXT, TEXT, TEXT, TEXT, DATA),
    st.builds(Citation, MAYBE_TEXT, MAYBE_TEXT, MAYBE_TEXT, DATA),
    st.builds(ProviderItem, TEXT, OBJECT),
    st.builds(
        End,
        st.sampled_from(FinishReason),
        MAYBE_TEXT,
        USAGE,
        MAYBE_TEXT,
        MAYBE_TEXT,
        st.lists(UNFINISHED, max_size=2).map(tuple),
    ),
)

ONE_OF_EACH: list[StreamFrame] = [
    Append("a"),
    ReasoningAppend("a"),
    Reasoning("a", {"signature": "s"}),
    ToolCallDelta("1", "f", ""),
    ToolCall("1", "f", "{}"),
    InvalidToolCall("1", "f", "[]", "not an object"),
    Citation("https://example.com"),
    ProviderItem("web_search", {"query": "q"}),
    Restarted("scripted/small", "IncompleteStreamError"),
    End(FinishReason.STOP),
]


def described(frame: StreamFrame) -> str:
    """Type-checks because the cases are all that there are: mypy refuses `assert_never` otherwise."""
    match frame:
        case Append(text=text) | ReasoningAppend(text=text):
            return text
        case Reasoning(text=text, provider_data=data):
            return f"{text} {data}"
        case ToolCallDelta(id=id, name=name, arguments=arguments):
            return f"{id} {name} {arguments}"
        case ToolCall(name=name) as call:
            return f"{name} {call.parsed()}"
        case InvalidToolCall(reason=reason):
            return reason
        case Citation(url=url):
            return str(url)
        case ProviderItem(type=kind):
            return kind
        case Restarted(model=model):
            return model
        case End(finish_reason=reason):
            return reason.value
        case _:
            assert_never(frame)


def test_match_on_the_union_is_exhaustive() -> None:
    assert {type(frame) for frame in ONE_OF_EACH} == set(typing.get_args(StreamFrame))
    assert all(described(frame) for frame in ONE_OF_EACH)


@given(FRAMES)
def test_json_both_ways_without_loss(frame: StreamFrame) -> None:
    assert decode_frame(encode_frame(frame)) == frame
    assert decode_frame(encode_frame(frame).decode()) == frame


@given(FRAMES)
def test_frames_are_equal_by_value_and_pickle(frame: StreamFrame) -> None:
    copy = pickle.loads(pickle.dumps(frame))
    assert copy == frame
    assert type(copy) is type(frame)


@given(FRAMES, FRAMES)
def test_frames_differ_by_type_and_value(one: StreamFrame, two: StreamFrame) -> None:
    same = type(one) is type(two) and msgspec.to_builtins(one) == msgspec.to_builtins(two)
    assert (one == two) is same


@pytest.mark.parametrize("frame", ONE_OF_EACH, ids=lambda frame: type(frame).__name__)
def test_frames_are_frozen(frame: StreamFrame) -> None:
    for field in frame.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(frame, field, None)
    with pytest.raises(AttributeError):
        frame.anything = 1  # type: ignore[union-attr]


def test_type_tells_frames_apart_in_json() -> None:
    tags = [msgspec.json.decode(encode_frame(frame))["type"] for frame in ONE_OF_EACH]
    assert tags == [
        "append",
        "reasoning_append",
        "reasoning",
        "tool_call_delta",
        "tool_call",
        "invalid_tool_call",
        "citation",
        "provider_item",
        "restarted",
        "end",
    ]
    assert encode_frame(ProviderItem("web_search", {"type": "x"})) == (
        b'{"type":"provider_item","item_type":"web_search","data":{"type":"x"}}'
    )


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b'{"type":"news"}', b'{"type":"append"}', b'{"type":"append","text":1}', b"\xff"]
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="not a frame"):
        decode_frame(data)


def test_end_without_details_says_so() -> None:
    end = End(FinishReason.OTHER)
    assert (end.raw_finish_reason, end.model, end.response_id, end.unfinished) == (None, None, None, ())
    assert end.usage == Usage()
    assert encode_frame(end) == b'{"type":"end","finish_reason":"other"}'


def test_usage_adds_what_is_known() -> None:
    assert Usage() + Usage() == Usage()
    assert Usage(1, None, 3) + Usage(10, 20) == Usage(11, 20, 3)
    assert sum([Usage(1), Usage(2)], Usage()) == Usage(3)


@given(OBJECT)
def test_arguments_that_are_an_object_are_parsed(value: dict[str, Any]) -> None:
    text = msgspec.json.encode(value).decode()
    assert parse_arguments(text) == value
    assert ToolCall("1", "f", text).parsed() == value


def test_half_a_surrogate_pair_in_arguments_is_the_replacement_character() -> None:
    assert parse_arguments('{"a": "\ud800"}') == {"a": "\ufffd"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        (" ", "not JSON"),
        ("{", "not JSON"),
        ("{}{}", "not JSON"),
        ("{'a': 1}", "not JSON"),
        ('{"a": NaN}', "not JSON"),
        ("[]", "not a JSON object"),
        ("1", "not a JSON object"),
        ("null", "not a JSON object"),
        ('"{}"', "not a JSON object"),
        ('{"a":' * 100_000, "too deeply"),
    ],
    ids=range(11),
)
def test_arguments_that_are_no_object_say_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_arguments(text)
    with pytest.raises(ValueError, match=reason):
        ToolCall("1", "f", text).parsed()


def test_numbers_in_arguments_are_not_rounded() -> None:
    assert parse_arguments('{"n": 123456789012345678901234567890}') == {"n": 123456789012345678901234567890}
