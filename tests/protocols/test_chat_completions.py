"""Chat Completions as its servers really write it: calls and ends (items 1 to 9 and 13), at every kind of cut.

The numbers are those of the list "Chat Completions and its many clones". What is fed is bytes; who a fragment of a
call belongs to is tested in `test_assembly.py` too; the other items are in `test_chat_completions_contents.py`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.chat_wire import (
    DONE,
    calls_of,
    chunk,
    decode_cut,
    delta,
    failing,
    finish,
    frames_of,
    message,
    tool,
)

from promptport.errors import IncompleteStreamError, ProtocolError
from promptport.frames import Append, End, FinishReason, InvalidToolCall, ToolCall, ToolCallDelta, UnfinishedCall, Usage

PARIS, ROME = '{"city": "Paris"}', '{"city": "Rome"}'
USAGE = {"prompt_tokens": 5, "completion_tokens": 2}


def test_an_answer_as_openai_writes_it() -> None:
    frames = frames_of(
        delta(role="assistant", content="", refusal=None),
        delta(content="Hel"),
        delta(content="lo"),
        finish("stop"),
        chunk({"id": "answer-1", "model": "model-1", "choices": [], "usage": USAGE}),
        DONE,
    )
    assert frames == [
        Append("Hel"),
        Append("lo"),
        End(FinishReason.STOP, "stop", Usage(5, 2), "model-1", "answer-1"),
    ]


def test_calls_as_openai_writes_them() -> None:
    frames = frames_of(
        delta(role="assistant", content=None, tool_calls=[tool("", "f", index=0, id="a", type="function")]),
        delta(tool_calls=[tool('{"city": ', index=0)]),
        delta(tool_calls=[tool('"Paris"}', index=0)]),
        delta(tool_calls=[tool("", "g", index=1, id="b", type="function")]),
        delta(tool_calls=[tool(ROME, index=1)]),
        finish("tool_calls"),
        DONE,
    )
    assert frames == [
        ToolCallDelta("a", "f", ""),
        ToolCallDelta("a", "f", '{"city": '),
        ToolCallDelta("a", "f", '"Paris"}'),
        ToolCallDelta("b", "g", ""),
        ToolCallDelta("b", "g", ROME),
        ToolCall("a", "f", PARIS),
        ToolCall("b", "g", ROME),
        End(FinishReason.TOOL_CALLS, "tool_calls", Usage(), "model-1", "answer-1"),
    ]


# -------------------------------------------------------------------------------------------- 1. the index


@pytest.mark.parametrize("index", [0, 3, "0", "1", -1, 1.0, "first", True, [1], {}])
def test_item_1_an_index_of_any_kind(index: Any) -> None:
    body = (
        delta(tool_calls=[tool('{"city": ', "f", index=index, id="a")]),
        delta(tool_calls=[tool('"Paris"}', index=index)]),
    )
    assert calls_of(*body, finish("tool_calls"), DONE) == [("a", "f", PARIS)]


def test_item_1_the_index_is_missing_or_null() -> None:
    for fields in ({}, {"index": None}):
        body = (
            delta(tool_calls=[tool('{"city": ', "f", id="a", **fields)]),
            delta(tool_calls=[tool('"Paris"}', **fields)]),
        )
        assert calls_of(*body, finish("tool_calls"), DONE) == [("a", "f", PARIS)]


def test_item_1_the_index_is_always_0() -> None:
    body = (
        delta(tool_calls=[tool(PARIS, "f", index=0, id="a")]),
        delta(tool_calls=[tool(ROME, "f", index=0, id="b")]),
        finish("stop"),
        DONE,
    )
    assert calls_of(*body) == [("a", "f", PARIS), ("b", "f", ROME)]


# ----------------------------------------------------------------------------------- 2. ids against indexes


def test_item_2_two_ids_at_one_index_are_two_calls() -> None:
    body = (
        delta(tool_calls=[tool("", "f", index=0, id="a"), tool("", "g", index=0, id="b")]),
        delta(tool_calls=[tool(PARIS, index=0, id="a")]),
        delta(tool_calls=[tool(ROME, index=0, id="b")]),
        finish("tool_calls"),
        DONE,
    )
    assert calls_of(*body) == [("a", "f", PARIS), ("b", "g", ROME)]


def test_item_2_a_head_at_index_0_whose_tail_comes_at_index_1() -> None:
    body = (
        delta(tool_calls=[tool("", "f", index=0, id="a")]),
        delta(tool_calls=[tool(PARIS, index=1)]),
        finish("tool_calls"),
        DONE,
    )
    assert calls_of(*body) == [("a", "f", PARIS)]


def test_item_2_a_fragment_of_nobody_with_several_open_is_a_protocol_error() -> None:
    partial, error = failing(
        delta(tool_calls=[tool("", "f", index=0, id="a")]),
        delta(tool_calls=[tool("", "g", index=1, id="b")]),
        delta(tool_calls=[tool(PARIS)]),
        finish("tool_calls"),
        DONE,
    )
    assert isinstance(error, ProtocolError)
    assert partial.tool_calls == ()
    assert [call.name for call in partial.unfinished] == ["f", "g"]


# ---------------------------------------------------------------------------------------------------- 3. ids


@pytest.mark.parametrize("blank", [None, "", " ", "null"])
def test_item_3_an_id_that_is_none(blank: str | None) -> None:
    body = (
        delta(tool_calls=[tool('{"city": ', "f", index=0, id=blank)]),
        delta(tool_calls=[tool('"Paris"}', index=0, id=blank)]),
        finish("tool_calls"),
        DONE,
    )
    ((made, name, arguments),) = calls_of(*body)
    assert (name, arguments) == ("f", PARIS)
    assert made
    body = (delta(tool_calls=[tool('{"city": ', "f", index=0, id="a")]), *body[1:])
    assert calls_of(*body) == [("a", "f", PARIS)]


def test_item_3_an_id_on_every_chunk_or_that_is_a_number() -> None:
    for known_as in ("a", 7):
        body = [delta(tool_calls=[tool(text, index=0, id=known_as)]) for text in ('{"city": ', '"Paris"}')]
        body.insert(0, delta(tool_calls=[tool("", "f", index=0, id=known_as)]))
        assert calls_of(*body, finish("tool_calls"), DONE) == [(str(known_as), "f", PARIS)]


def test_item_3_one_id_for_two_calls_at_two_indexes() -> None:
    body = (
        delta(tool_calls=[tool(PARIS, "f", index=0, id="a")]),
        delta(tool_calls=[tool(ROME, "f", index=1, id="a")]),
        finish("tool_calls"),
        DONE,
    )
    first, second = calls_of(*body)
    assert (first[0], first[2], second[2]) == ("a", PARIS, ROME)
    assert second[0] != "a"


def test_item_3_an_id_of_the_conversation_is_made_anew() -> None:
    body = delta(tool_calls=[tool(PARIS, "f", index=0, id="a")]), finish("tool_calls"), DONE
    (call,) = message(*body, taken=("a",)).tool_calls
    assert call.id != "a"


# ------------------------------------------------------------------------------------------------- 4. names


@pytest.mark.parametrize("repeated", ["f", "", None])
def test_item_4_the_name_on_continuations(repeated: str | None) -> None:
    body = [delta(tool_calls=[tool("", "f", index=0, id="a")])]
    for text in ('{"city": ', '"Paris"}'):
        entry = {"index": 0, "function": {"name": repeated, "arguments": text}}
        body.append(delta(tool_calls=[entry]))
    assert calls_of(*body, finish("tool_calls"), DONE) == [("a", "f", PARIS)]


def test_item_4_the_name_after_the_arguments() -> None:
    body = (
        delta(tool_calls=[tool('{"city": ', index=0, id="a")]),
        delta(tool_calls=[tool('"Paris"}', index=0)]),
        delta(tool_calls=[tool(None, "f", index=0)]),
        finish("tool_calls"),
        DONE,
    )
    assert calls_of(*body) == [("a", "f", PARIS)]


def test_item_4_no_name_at_all_is_an_invalid_call() -> None:
    answer = message(delta(tool_calls=[tool(PARIS, index=0, id="a")]), finish("tool_calls"), DONE)
    (call,) = answer.invalid_tool_calls
    assert (call.id, call.name, call.arguments) == ("a", "", PARIS)
    assert answer.finish_reason is FinishReason.TOOL_CALLS


# -------------------------------------------------------------------------------- 5. whole calls, no arguments


def test_item_5_the_whole_call_in_one_delta_with_the_finish_reason() -> None:
    body = delta("tool_calls", tool_calls=[tool(PARIS, "f", index=0, id="a")]), DONE
    assert calls_of(*body) == [("a", "f", PARIS)]


def test_item_5_several_calls_in_one_delta_without_ids_and_indexes() -> None:
    body = delta(tool_calls=[tool(PARIS, "f"), tool(ROME, "f"), tool("{}", "g")]), finish("tool_calls"), DONE
    assert [call[1:] for call in calls_of(*body)] == [("f", PARIS), ("f", ROME), ("g", "{}")]


def test_item_5_arguments_as_an_object() -> None:
    body = delta(tool_calls=[tool({"city": "Zürich", "n": [1, 2.5]}, "f", index=0, id="a")]), finish("tool_calls"), DONE
    ((_, _, arguments),) = calls_of(*body)
    assert json.loads(arguments) == {"city": "Zürich", "n": [1, 2.5]}


@pytest.mark.parametrize("arguments", [None, "", {}, " "])
def test_item_5_no_arguments_at_all(arguments: Any) -> None:
    body = delta(tool_calls=[tool(arguments, "f", index=0, id="a")]), finish("tool_calls"), DONE
    assert calls_of(*body) == [("a", "f", "{}")]


def test_item_5_a_call_without_function() -> None:
    body = delta(tool_calls=[{"index": 0, "id": "a"}]), delta(tool_calls=[tool(PARIS, "f", index=0)])
    assert calls_of(*body, finish("tool_calls"), DONE) == [("a", "f", PARIS)]


# ---------------------------------------------------------------------------- 6. and 7. what does not seal a call


@pytest.mark.parametrize(
    "trailing",
    [
        tool("", index=0),
        tool("", "f", index=0, id="a"),
        tool("", "", index=0, id=""),
        tool(None, index=1),
        {"index": 0},
    ],
)
def test_item_6_an_empty_trailing_delta_is_no_second_call(trailing: dict[str, Any]) -> None:
    body = (
        delta(tool_calls=[tool(PARIS, "f", index=0, id="a")]),
        delta(tool_calls=[trailing]),
        finish("tool_calls"),
        DONE,
    )
    assert calls_of(*body) == [("a", "f", PARIS)]


@pytest.mark.parametrize("pieces", [["{}", '{"a": 1}'], ["1", "0"], ['{"amount": 1}', "0}"], ["true"], ["[]"]])
def test_item_7_a_valid_prefix_is_no_seal(pieces: list[str]) -> None:
    body = [delta(tool_calls=[tool(piece, index=0)]) for piece in pieces]
    answer = message(delta(tool_calls=[tool("", "f", index=0, id="a")]), *body, finish("tool_calls"), DONE)
    (call,) = answer.parts
    assert isinstance(call, InvalidToolCall)
    assert call.arguments == "".join(pieces)


def test_item_7_a_number_that_goes_on() -> None:
    body = [delta(tool_calls=[tool(piece, index=0)]) for piece in ('{"amount": 1', "0", "}")]
    assert calls_of(delta(tool_calls=[tool("", "f", index=0, id="a")]), *body, finish("tool_calls"), DONE) == [
        ("a", "f", '{"amount": 10}')
    ]


# ------------------------------------------------------------------------------------------- 8. finish_reason


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "function_call", "eos", "anything"])
def test_item_8_calls_end_in_tool_calls_whatever_the_provider_says(reason: str) -> None:
    frames = frames_of(delta(tool_calls=[tool(PARIS, "f", index=0, id="a")]), finish(reason), DONE)
    assert frames[-2] == ToolCall("a", "f", PARIS)
    assert isinstance(frames[-1], End)
    assert (frames[-1].finish_reason, frames[-1].raw_finish_reason) == (FinishReason.TOOL_CALLS, reason)


def test_item_8_tool_calls_though_the_last_one_was_cut() -> None:
    answer = message(
        delta(tool_calls=[tool(PARIS, "f", index=0, id="a")]),
        delta(tool_calls=[tool('{"city": "Ro', "f", index=1, id="b")]),
        finish("tool_calls"),
        DONE,
    )
    assert [call.id for call in answer.tool_calls] == ["a"]
    assert [call.id for call in answer.invalid_tool_calls] == ["b"]


@pytest.mark.parametrize("reason", ["length", "max_tokens", "model_length", "content_filter", "sensitive", "abort"])
@pytest.mark.parametrize("arguments", ['{"city": "Ro', PARIS, ""])
def test_item_8_a_call_that_a_limit_cut_is_unfinished(reason: str, arguments: str) -> None:
    answer = message(delta(tool_calls=[tool(arguments, "f", index=0, id="a")]), finish(reason), DONE)
    assert answer.tool_calls == ()
    assert answer.unfinished == (UnfinishedCall("a", "f", arguments),)
    assert answer.finish_reason not in (FinishReason.STOP, FinishReason.TOOL_CALLS)
    assert answer.raw_finish_reason == reason


def test_item_8_an_empty_finish_reason_is_none() -> None:
    frames = frames_of(delta("", content="Hel"), delta("", content="lo"), finish("stop"), DONE)
    assert frames[:2] == [Append("Hel"), Append("lo")]
    assert failing(delta("", content="Hel"))[0].text == "Hel"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("tool_calls", FinishReason.OTHER),  # without any call
        ("news", FinishReason.OTHER),
    ],
)
def test_item_8_reasons_without_calls(reason: str, expected: FinishReason) -> None:
    answer = message(delta(content="a"), finish(reason), DONE)
    assert (answer.finish_reason, answer.raw_finish_reason) == (expected, reason)


# ------------------------------------------------------------------------------------------------ 9. the end


def test_item_9_content_in_the_chunk_with_the_finish_reason() -> None:
    assert message(delta(content="Hel"), delta("stop", content="lo"), DONE).text == "Hello"


def test_item_9_two_finish_chunks() -> None:
    answer = message(delta(tool_calls=[tool(PARIS, "f", index=0, id="a")]), finish("tool_calls"), finish("stop"), DONE)
    assert [call.id for call in answer.tool_calls] == ["a"]
    cut = message(delta(tool_calls=[tool(PARIS, "f", index=0, id="a")]), finish("length"), finish("stop"), DONE)
    assert cut.tool_calls == ()
    assert cut.finish_reason is FinishReason.LENGTH
    after = message(delta(content="a"), finish("stop"), delta("stop", content="b"), DONE)
    assert after.text == "ab"


@pytest.mark.parametrize("where", ["after", "with", "before", "every", "null last"])
def test_item_9_usage_wherever_it_stands(where: str) -> None:
    first = chunk(
        {"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": USAGE if where in ("before", "every") else None}
    )
    end = finish("stop", **({"usage": USAGE} if where in ("with", "every", "null last") else {}))
    last = chunk({"choices": [], "usage": USAGE}) if where in ("after", "every") else b""
    null = chunk({"choices": [], "usage": None}) if where == "null last" else b""
    assert message(first, end, last, null, DONE).usage == Usage(5, 2)


def test_item_9_the_last_usage_counts() -> None:
    growing = [
        chunk({"choices": [{"delta": {"content": "a"}}], "usage": {**USAGE, "completion_tokens": n}}) for n in (1, 2, 3)
    ]
    assert message(*growing, finish(), DONE).usage == Usage(5, 3)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3},
          "completion_tokens_details": {"reasoning_tokens": 2}}, Usage(9, 4, 3, None, 2)),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 3}, Usage(9, None, 3)),
        ({"prompt_tokens": 9, "completion_tokens": 0, "prompt_tokens_details": None}, Usage(9, 0)),
        ({"prompt_tokens": None, "completion_tokens": "4"}, Usage()),
        ({}, Usage()),
        ([], Usage()),
        (7, Usage()),
    ],
)  # fmt: skip
def test_item_9_usage_as_servers_count_it(usage: Any, expected: Usage) -> None:
    assert message(delta(content="a"), finish("stop", usage=usage), DONE).usage == expected


# ------------------------------------------------------------------------------- 13. what is not an answer's end


@pytest.mark.parametrize("arguments", ['{"amount": 10', '{"amount": 10}', ""])
def test_item_13_a_clean_end_of_bytes_without_a_reason_is_no_call(arguments: str) -> None:
    partial, error = failing(delta(tool_calls=[tool(arguments, "transfer", index=0, id="a")]))
    assert isinstance(error, IncompleteStreamError)
    assert partial.tool_calls == ()
    assert partial.unfinished == (UnfinishedCall("a", "transfer", arguments),)


def test_item_13_done_without_a_reason_and_an_open_call_is_incomplete() -> None:
    partial, error = failing(delta(tool_calls=[tool(PARIS, "f", index=0, id="a")]), DONE)
    assert isinstance(error, IncompleteStreamError)
    assert partial.tool_calls == ()


def test_item_13_done_without_a_reason_and_without_a_call_is_an_end() -> None:
    frames = frames_of(delta(content="a"), DONE)
    assert frames == [Append("a"), End(FinishReason.OTHER, None, Usage(), "model-1", "answer-1")]
    assert frames_of(DONE) == [End(FinishReason.OTHER)]


def test_item_13_a_reason_without_done_is_an_end() -> None:
    assert message(delta(content="a"), finish()).finish_reason is FinishReason.STOP
    assert calls_of(delta(tool_calls=[tool(PARIS, "f", index=0, id="a")]), finish("stop")) == [("a", "f", PARIS)]


def test_item_13_a_call_that_begins_after_the_reason_is_incomplete() -> None:
    for end in (b"", DONE):
        _, error = failing(delta(content="a"), finish(), delta(tool_calls=[tool("", "f", index=0, id="a")]), end)
        assert isinstance(error, IncompleteStreamError)


# ------------------------------------------------------------------------------------------------ properties

DELTAS = st.sampled_from(
    [
        delta(content="a"),
        delta(content="Zürich \u2028\x85 😀"),
        delta(content=[{"type": "text", "text": "b"}]),
        delta(reasoning="hm"),
        delta(reasoning_content="hm"),
        delta(reasoning_details=[{"type": "reasoning.text", "text": "x"}]),
        delta(tool_calls=[tool("", "f", index=0, id="a")]),
        delta(tool_calls=[tool('{"x":', index=0), tool("1}", index=0)]),
        delta(tool_calls=[tool(PARIS, "g", index="1")]),
        delta(refusal="no"),
        finish("stop"),
        finish("length"),
        finish("tool_calls"),
        chunk({"choices": []}),
        chunk({"choices": [], "usage": USAGE}),
        chunk({}, "ping"),
        b": comment\n\n",
        b"data: nonsense\n\n",
        b"data: {\n\n",
        chunk({"error": {"message": "no"}}),
        DONE,
    ]
)


@given(st.lists(DELTAS, max_size=10), st.integers(0, 10**6), st.integers(0, 400))
def test_every_stream_is_the_same_at_every_cut_and_ends_or_fails(parts: list[bytes], seed: int, missing: int) -> None:
    body = b"".join(parts)
    body = body[: max(0, len(body) - missing)] if missing < 200 else body
    frames, error = decode_cut(body, "whole")
    for cut in ("bytes", ("random", seed)):
        again, error_again = decode_cut(body, cut)
        assert again == frames
        assert type(error_again) is type(error)
    assert isinstance(frames[-1] if frames else None, End) is (error is None)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: b"data: " + data + b"\n\n"))
def test_no_bytes_raise_anything_else_than_our_errors(body: bytes) -> None:
    assert decode_cut(body, "whole")[1] is not None or b"[DONE]" in body
