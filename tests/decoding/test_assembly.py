"""Calls out of fragments: every rule of identity and sealing is a test.

The numbers are those of the list "Chat Completions and its many clones", which the rules come from.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.decoding.assembly import CallAssembler
from promptport.decoding.open_calls import seal_call
from promptport.errors import ProtocolError
from promptport.frames import End, FinishReason, InvalidToolCall, StreamFrame, ToolCall, ToolCallDelta, UnfinishedCall
from promptport.testing import assert_valid_stream

Entry = dict[str, Any]
PARIS, ROME, BERN = '{"city": "Paris"}', '{"city": "Rome"}', '{"city": "Bern"}'


def entry(arguments: str = "", **fields: Any) -> Entry:
    """A delta's entry; ``i`` is its index, ``n`` its name, ``apart`` says that it is not the first of its list."""
    return {"arguments": arguments, **fields}


def assemble(*entries: Entry, taken: tuple[str, ...] = ()) -> list[StreamFrame]:
    """The frames of one answer that ends by itself; they keep the contract."""
    calls = CallAssembler(taken)
    out: list[StreamFrame] = []
    for one in entries:
        feed(calls, one, out)
    calls.seal_all(out)
    assert calls.open == 0
    assert_valid_stream([*out, End(FinishReason.TOOL_CALLS)])
    return out


def feed(calls: CallAssembler, one: Entry, out: list[StreamFrame]) -> None:
    calls.fragment(
        one.get("i"), one.get("id"), one.get("n"), one["arguments"], out, apart=one.get("apart", False),
        provider_data=one.get("data"),
    )  # fmt: skip


def sealed(frames: list[StreamFrame]) -> list[ToolCall | InvalidToolCall]:
    return [frame for frame in frames if isinstance(frame, ToolCall | InvalidToolCall)]


def brief(frames: list[StreamFrame]) -> list[tuple[str, str]]:
    """Name and arguments of each sealed call, in order; all of them valid."""
    calls = sealed(frames)
    assert all(isinstance(call, ToolCall) for call in calls), calls
    assert len({call.id for call in calls}) == len(calls)
    return [(call.name, call.arguments) for call in calls]


# ----------------------------------------------------------------------------------------- 1. the index


@pytest.mark.parametrize("index", [None, 0, 7, "0", "x"])
def test_item_1_index_missing_or_anything(index: object) -> None:
    frames = assemble(entry("", i=index, id="a", n="f"), entry('{"city": ', i=index), entry('"Paris"}', i=index))
    assert frames == [
        ToolCallDelta("a", "f", ""),
        ToolCallDelta("a", "f", '{"city": '),
        ToolCallDelta("a", "f", '"Paris"}'),
        ToolCall("a", "f", PARIS),
    ]


def test_item_1_index_always_0_for_parallel_calls() -> None:
    frames = assemble(entry("", i=0, id="a", n="f"), entry(PARIS, i=0), entry("", i=0, id="b", n="f"), entry(ROME, i=0))
    assert brief(frames) == [("f", PARIS), ("f", ROME)]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("index", [None, 0])
@pytest.mark.parametrize("names", [("f", "f", "f"), ("f", "g", "f")])
def test_item_1_whole_calls_without_ids_at_one_index_or_none(
    names: tuple[str, str, str], index: int | None, apart: bool
) -> None:
    wholes = [
        entry(text, i=index, n=name, apart=apart and at > 0)
        for at, (text, name) in enumerate(zip((PARIS, ROME, BERN), names, strict=True))
    ]
    assert brief(assemble(*wholes)) == list(zip(names, (PARIS, ROME, BERN), strict=True))


def test_item_1_indexes_that_do_not_start_at_0() -> None:
    frames = assemble(entry("", i=3, n="f"), entry("", i=5, n="g"), entry(ROME, i=5), entry(PARIS, i=3))
    assert brief(frames) == [("f", PARIS), ("g", ROME)]


# ------------------------------------------------------------------------------- 2. ids and indexes disagree


def test_item_2_two_ids_at_one_index_are_two_calls() -> None:
    frames = assemble(
        entry("", i=0, id="a", n="f"),
        entry("", i=0, id="b", n="g"),
        entry(PARIS, i=0, id="a"),
        entry(ROME, i=0, id="b"),
    )
    assert [(call.id, call.name, call.arguments) for call in sealed(frames)] == [("a", "f", PARIS), ("b", "g", ROME)]


@pytest.mark.parametrize("id", ["a", None])
def test_item_2_a_head_at_index_0_and_its_tail_at_index_1(id: str | None) -> None:
    frames = assemble(entry("", i=0, id="a", n="f"), entry('{"city": ', i=1, id=id), entry('"Paris"}', i=1, id=id))
    assert brief(frames) == [("f", PARIS)]


def test_item_2_a_known_id_wins_over_the_index() -> None:
    frames = assemble(
        entry("", i=0, id="a", n="f"),
        entry("", i=1, id="b", n="g"),
        entry(ROME, i=0, id="b"),
        entry(PARIS, i=1, id="a"),
    )
    assert brief(frames) == [("f", PARIS), ("g", ROME)]


def test_item_2_neither_id_nor_index_belongs_to_the_only_open_call() -> None:
    assert brief(assemble(entry("", i=0, id="a", n="f"), entry(PARIS))) == [("f", PARIS)]


@pytest.mark.parametrize("index", [None, 9])
def test_item_2_neither_id_nor_index_with_several_open_is_an_error(index: int | None) -> None:
    calls = CallAssembler()
    out: list[StreamFrame] = []
    feed(calls, entry("", i=0, id="a", n="f"), out)
    feed(calls, entry("", i=1, id="b", n="f"), out)
    with pytest.raises(ProtocolError, match="neither"):
        feed(calls, entry(PARIS, i=index), out)
    feed(calls, entry("", i=index), out)  # nothing is lost by an empty one
    assert sealed(out) == []


def test_item_2_a_new_index_whose_arguments_cannot_go_on_is_another_call() -> None:
    """The call at index 0 is whole: what begins with a brace at index 1 is a call whose name is still to come."""
    frames = assemble(entry(PARIS, i=0, n="f"), entry(ROME, i=1), entry("", i=1, n="g"))
    assert brief(frames) == [("f", PARIS), ("g", ROME)]


# -------------------------------------------------------------------------------------------------- 3. ids


def test_item_3_a_missing_id_is_made_up_and_the_call_is_kept() -> None:
    frames = assemble(entry("", i=0, n="f"), entry(PARIS, i=0), entry(ROME, i=1, n="g"))
    assert brief(frames) == [("f", PARIS), ("g", ROME)]
    assert all(call.id.isalnum() and len(call.id) == 9 for call in sealed(frames)), "as Mistral wants them"


def test_item_3_an_id_on_every_chunk() -> None:
    frames = assemble(*[entry(text, i=0, id="a", n="f" if text == "" else None) for text in ("", '{"a"', ": 1}")])
    assert brief(frames) == [("f", '{"a": 1}')]


def test_item_3_one_id_for_two_calls_at_two_indexes() -> None:
    frames = assemble(
        entry("", i=0, id="a", n="f"),
        entry("", i=1, id="a", n="f"),
        entry('{"city": ', i=0, id="a"),
        entry(ROME, i=1, id="a"),
        entry('"Paris"}', i=0, id="a"),
    )
    assert brief(frames) == [("f", PARIS), ("f", ROME)]
    assert sealed(frames)[0].id == "a"


def test_item_3_one_id_for_two_calls_with_names_on_every_chunk() -> None:
    frames = assemble(
        entry('{"city": ', i=0, id="a", n="f"),
        entry(ROME, i=1, id="a", n="g"),
        entry('"Paris"}', i=0, id="a", n="f"),
    )
    assert brief(frames) == [("f", PARIS), ("g", ROME)]


def test_item_3_one_id_and_a_wandering_index_are_one_call() -> None:
    frames = assemble(entry('{"city": ', i=0, id="a", n="f"), entry('"Paris"}', i=1, id="a", n="f"))
    assert brief(frames) == [("f", PARIS)]
    frames = assemble(entry('{"city": ', i=0, id="a"), entry('"Paris"}', i=1, id="a", n="f"))
    assert brief(frames) == [("f", PARIS)]


def test_item_3_an_id_that_comes_late() -> None:
    frames = assemble(entry("", i=0, n="f"), entry('{"city": ', i=0, id="late"), entry('"Paris"}', i=0, id="late"))
    assert brief(frames) == [("f", PARIS)]
    before_the_name = assemble(entry('{"city": ', i=0), entry("", i=0, id="late"), entry('"Paris"}', i=0, n="f"))
    assert sealed(before_the_name) == [ToolCall("late", "f", PARIS)]


def test_item_3_an_id_of_the_conversation_is_replaced() -> None:
    frames = assemble(
        entry("", i=0, id="a", n="f"), entry(PARIS, i=0, id="a"), entry(ROME, i=1, n="g"), taken=("a", "call00003")
    )
    assert brief(frames) == [("f", PARIS), ("g", ROME)]
    assert not {call.id for call in sealed(frames)} & {"a", "call00003"}


def test_item_3_a_made_up_id_that_the_provider_uses_later() -> None:
    made = sealed(assemble(entry(PARIS, i=0, n="f")))[0].id
    frames = assemble(entry(PARIS, i=0, n="f"), entry(ROME, i=1, id=made, n="g"), entry(" ", i=1, id=made))
    assert brief(frames) == [("f", PARIS), ("g", ROME + " ")]


def test_item_3_made_up_ids_are_the_same_for_the_same_bytes() -> None:
    entries = [entry(PARIS, i=0, n="f"), entry(ROME, i=1, n="g")]
    assert assemble(*entries) == assemble(*entries)


# ------------------------------------------------------------------------------------------------ 4. names


@pytest.mark.parametrize(("index", "id"), [(0, "a"), (0, None), (None, "a"), (None, None)])
def test_item_4_the_name_on_every_chunk(index: int | None, id: str | None) -> None:
    frames = assemble(*[entry(text, i=index, id=id, n="f") for text in ("", '{"city": ', '"Par', 'is"}', "")])
    assert brief(frames) == [("f", PARIS)]


def test_item_4_the_name_on_every_chunk_of_two_calls_without_id_and_index() -> None:
    one_after_the_other = [("f", '{"city": '), ("f", '"Paris"}'), ("g", '{"city": '), ("g", '"Rome"}')]
    in_turns = [("f", '{"city": '), ("g", '{"city": '), ("f", '"Paris"}'), ("g", '"Rome"}')]
    twice_one_name = [("f", '{"city": '), ("f", '"Paris"}'), ("f", '{"city": '), ("f", '"Rome"}')]
    for chunks, second in ((one_after_the_other, "g"), (in_turns, "g"), (twice_one_name, "f")):
        frames = assemble(*[entry(text, n=name) for name, text in chunks])
        assert brief(frames) == [("f", PARIS), (second, ROME)]


def test_item_4_names_alone_cannot_tell_two_open_calls_apart() -> None:
    calls = CallAssembler()
    out: list[StreamFrame] = []
    feed(calls, entry('{"city": "Pa', i=0, id="a", n="f"), out)
    feed(calls, entry('{"city": "Ro', i=1, id="b", n="f"), out)
    with pytest.raises(ProtocolError):
        feed(calls, entry('ris"}', n="f"), out)


@pytest.mark.parametrize("id", ["a", None])
@pytest.mark.parametrize("index", [0, None])
def test_item_4_the_name_after_the_arguments(id: str | None, index: int | None) -> None:
    frames = assemble(
        entry('{"city": ', i=index, id=id), entry('"Paris"}', i=index, id=id), entry("", i=index, id=id, n="f")
    )
    assert brief(frames) == [("f", PARIS)]
    assert frames[0] == ToolCallDelta(sealed(frames)[0].id, "f", PARIS), "nothing is announced before it has a name"


def test_item_4_the_name_and_the_id_after_the_arguments() -> None:
    frames = assemble(entry('{"city": ', i=0), entry('"Paris"}', i=0), entry("", i=0, id="a", n="f"))
    assert frames == [ToolCallDelta("a", "f", PARIS), ToolCall("a", "f", PARIS)]


def test_item_4_a_call_without_any_name_is_invalid() -> None:
    (call,) = sealed(assemble(entry(PARIS, i=0, id="a")))
    assert isinstance(call, InvalidToolCall)
    assert (call.id, call.name, call.arguments) == ("a", "", PARIS)
    assert "name" in call.reason


def test_item_4_an_id_alone_is_no_call() -> None:
    assert assemble(entry("", i=0, id="a")) == []


# ------------------------------------------------------------------------------------ 5. whole calls, no arguments


def test_item_5_the_whole_call_in_one_delta() -> None:
    assert assemble(entry(PARIS, i=0, id="a", n="f")) == [ToolCallDelta("a", "f", PARIS), ToolCall("a", "f", PARIS)]


def test_item_5_several_calls_in_one_delta() -> None:
    for fields in ({"id": "a", "i": 0}, {"id": "a"}, {"i": 0}, {}):
        other = {key: {"id": "b", "i": 1}[key] for key in fields}
        frames = assemble(entry(PARIS, n="f", **fields), entry(ROME, n="f", apart=True, **other))
        assert brief(frames) == [("f", PARIS), ("f", ROME)]


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_item_5_no_arguments_at_all_are_an_empty_object(text: str) -> None:
    assert brief(assemble(entry("", i=0, id="a", n="f"), entry(text, i=0))) == [("f", "{}")]


# --------------------------------------------------------------------------------------------- 6. trailing deltas


@pytest.mark.parametrize("trailing", [{}, {"i": 0}, {"i": 0, "id": "a"}, {"i": 0, "n": "f"}, {"i": 1}, {"n": "f"}])
def test_item_6_an_empty_trailing_delta_is_no_second_call(trailing: Entry) -> None:
    frames = assemble(entry(PARIS, i=0, id="a", n="f"), entry("", **trailing))
    assert brief(frames) == [("f", PARIS)]
    assert len(frames) == 2


def test_item_6_an_empty_trailing_delta_after_two_calls() -> None:
    frames = assemble(entry(PARIS, i=0, id="a", n="f"), entry(ROME, i=1, id="b", n="g"), entry(""), entry("", n="f"))
    assert brief(frames) == [("f", PARIS), ("g", ROME)]


def test_item_6_an_empty_entry_without_any_call_is_nothing() -> None:
    assert assemble(entry(""), entry("", i=0)) == []


# ------------------------------------------------------------------------------------------ 7. valid prefixes


@pytest.mark.parametrize(
    ("pieces", "valid"),
    [(["{}", " "], True), (["{", "}"], True), (["{}", '{"a": 1}'], False), (["1", "0"], False), (["null"], False),
     (["[", "]"], False), (['"{}"'], False), (['{"a": 1}', "}"], False), (['{"a": 1}', ', "b": 2}'], False)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("named", [True, False])
def test_item_7_it_is_not_sealed_because_it_parses(pieces: list[str], valid: bool, named: bool) -> None:
    calls = CallAssembler()
    out: list[StreamFrame] = []
    for at, piece in enumerate(pieces):
        feed(calls, entry(piece, i=0, id="a", n="f" if named or at == 0 else None), out)
        assert sealed(out) == []
        assert calls.open == 1
    calls.seal_all(out)
    (call,) = sealed(out)
    assert call.arguments == "".join(pieces)
    assert isinstance(call, ToolCall) is valid
    if isinstance(call, InvalidToolCall):
        assert "JSON" in call.reason


# --------------------------------------------------------------------------------------- 8. after the seal


def test_item_8_a_call_is_sealed_once() -> None:
    calls = CallAssembler()
    out: list[StreamFrame] = []
    feed(calls, entry(PARIS, i=0, id="a", n="f"), out)
    calls.seal_all(out)
    calls.seal_all(out)
    feed(calls, entry("", i=0, id="a"), out)
    feed(calls, entry("", i=0, id="a", n="f"), out)
    feed(calls, entry("", i=0), out)
    feed(calls, entry(PARIS, i=0, id="a", n="f"), out)  # a server that ends with the whole call again
    calls.seal_all(out)
    assert brief(out) == [("f", PARIS)]
    assert (calls.open, calls.sealed) == (0, 1)


def test_item_8_arguments_after_the_seal_are_an_error() -> None:
    calls = CallAssembler()
    out: list[StreamFrame] = []
    feed(calls, entry(PARIS, i=0, id="a", n="f"), out)
    calls.seal_all(out)
    with pytest.raises(ProtocolError, match="finished before"):
        feed(calls, entry("more", i=0, id="a"), out)


def test_item_8_another_call_after_the_seal() -> None:
    calls = CallAssembler()
    out: list[StreamFrame] = []
    for text, known_as in ((PARIS, "a"), (ROME, "b"), (BERN, "a")):
        feed(calls, entry(text, i=0, id=known_as, n="f"), out)
        calls.seal_all(out)
    assert brief(out) == [("f", PARIS), ("f", ROME), ("f", BERN)]


# --------------------------------------------------------------------------------------- 13. what is not sealed


def test_item_13_without_a_seal_there_is_no_call() -> None:
    calls = CallAssembler()
    out: list[StreamFrame] = []
    feed(calls, entry(PARIS, i=0, id="a", n="f"), out)
    feed(calls, entry('{"city', i=1, id="b"), out)
    assert sealed(out) == []
    assert calls.open == 2
    assert calls.unfinished() == (UnfinishedCall("a", "f", PARIS), UnfinishedCall("b", "", '{"city'))


# -------------------------------------------------------------------------------- calls that the protocol keys


def test_keyed_calls_are_kept_apart_by_their_keys() -> None:
    calls = CallAssembler()
    out: list[StreamFrame] = []
    calls.start(1, "a", "f", out)
    calls.start(2, None, "g", out, {"signature": "s"})
    calls.append(2, '{"b":', out)
    calls.append(1, "", out)
    calls.append(1, '{"a": 1}', out)
    calls.append(2, " 2}", out)
    assert (calls.has(1), calls.has(3), calls.length(2), calls.open) == (True, False, 8, 2)
    calls.seal(2, out)
    calls.seal(1, out, provider_data={"x": 1})
    assert brief(out) == [("g", '{"b": 2}'), ("f", '{"a": 1}')]
    assert [call.provider_data for call in sealed(out)] == [{"signature": "s"}, {"x": 1}]
    assert_valid_stream([*out, End(FinishReason.TOOL_CALLS)])
    assert (calls.open, calls.sealed) == (0, 2)


def test_keyed_calls_that_are_not_open_are_an_error() -> None:
    calls = CallAssembler()
    out: list[StreamFrame] = []
    with pytest.raises(ProtocolError, match="not open"):
        calls.append(1, "{", out)
    with pytest.raises(ProtocolError, match="not open"):
        calls.seal(1, out)
    calls.start(1, "a", "f", out)
    calls.seal(1, out)
    with pytest.raises(ProtocolError, match="not open"):
        calls.append(1, "{", out)
    with pytest.raises(ProtocolError, match="not open"):
        calls.seal(1, out)


@pytest.mark.parametrize("arguments", ["", "{}", PARIS, " ", "[1]", "{"])
def test_whole_calls_are_sealed_by_their_arrival(arguments: str) -> None:
    calls = CallAssembler(["a"])
    out: list[StreamFrame] = []
    calls.whole("a", "f", arguments, out, {"index": 3})
    calls.whole(None, "f", arguments, out)
    assert_valid_stream([*out, End(FinishReason.TOOL_CALLS)])
    assert [call.provider_data for call in sealed(out)] == [{"index": 3}, None]
    assert isinstance(sealed(out)[0], InvalidToolCall) is (arguments in ("[1]", "{"))
    assert calls.open == 0


def test_seal_call_says_what_is_wrong() -> None:
    assert seal_call("a", "f", "") == ToolCall("a", "f", "{}")
    assert seal_call("a", "f", "{}", {"x": 1}) == ToolCall("a", "f", "{}", {"x": 1})
    invalid = seal_call("a", "f", "[1]")
    assert isinstance(invalid, InvalidToolCall)
    assert "not a JSON object" in invalid.reason
    assert isinstance(seal_call("a", "", "{}"), InvalidToolCall)
    assert isinstance(seal_call("a", "f", '{"a":' * 100_000), InvalidToolCall)


def test_what_the_provider_wants_back_is_kept() -> None:
    frames = assemble(entry("", i=0, id="a", n="f", data={"x": 1}), entry(PARIS, i=0, data={"y": 2}))
    assert sealed(frames) == [ToolCall("a", "f", PARIS, {"x": 1, "y": 2})]


# ------------------------------------------------------------------------------------------------- properties

OBJECTS = st.dictionaries(
    st.text(max_size=4),
    st.recursive(st.none() | st.integers(0, 99) | st.text(max_size=6), lambda inner: st.lists(inner, max_size=2)
                 | st.dictionaries(st.text(max_size=3), inner, max_size=2), max_leaves=4),
    max_size=3,
)  # fmt: skip


def in_pieces(text: str, chooser: random.Random, *, empty: bool) -> list[str]:
    """The text in random pieces; the first may be empty, as OpenAI's is."""
    cuts = sorted(chooser.randrange(1, len(text)) for _ in range(chooser.randrange(4)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    pieces = [piece for piece in pieces if piece]
    return ["", *pieces] if empty and chooser.random() < 0.5 else pieces


class Habits:
    """How one server writes its calls; only habits that leave no doubt which call a fragment belongs to."""

    def __init__(self, chooser: random.Random) -> None:
        self.index = chooser.choice(["right", "right", "missing", "zero", "wandering"])
        self.id = chooser.choice(["head", "every", "every", "missing", "one for all"])
        self.name = chooser.choice(["head", "every", "last"])
        self.in_turns = chooser.random() < 0.5
        self.unlike_names = chooser.random() < 0.5
        self.empty_heads = chooser.random() < 0.5
        self.apart = chooser.random() < 0.5
        told_by_index = self.index == "right"
        told_by_id = self.id == "every"
        if not told_by_index and not told_by_id:
            # The name on every fragment tells calls apart; or the one index and the newest call.
            if self.id == "one for all" or self.index == "wandering":
                self.index = "zero"
                self.id = "head"
            if self.id == "head" and self.index == "zero" and self.name != "last":
                self.in_turns = False
            else:
                self.id, self.name, self.index = "missing", "every", "missing"
                self.unlike_names = True
        elif self.id == "one for all" and self.name == "last":
            self.name = "head"
        if self.name == "last" and not told_by_id:
            self.name = "head"  # a nameless beginning at another index may be the tail of the call before
        if self.index == "wandering" and self.name == "every":
            self.name = "head"  # or is it one id for two calls?

    def entries(self, number: int, pieces: list[str], name: str, chooser: random.Random) -> list[Entry]:
        out = []
        for at, piece in enumerate(pieces):
            first, last = at == 0, at == len(pieces) - 1
            index = {"right": number, "missing": None, "zero": 0, "wandering": chooser.randrange(9)}[self.index]
            own = self.id == "every" or (self.id == "head" and first)
            known_as = "id" if self.id == "one for all" else f"id-{number}" if own else None
            named = self.name == "every" or (self.name == "head" and first) or (self.name == "last" and last)
            out.append(entry(piece, i=index, id=known_as, n=name if named else None))
        return out


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.integers(0, 10**9))
def test_whatever_the_habits_the_calls_come_out_whole(objects: list[dict[str, Any]], seed: int) -> None:
    chooser = random.Random(seed)
    habits = Habits(chooser)
    texts = [json.dumps(value, ensure_ascii=chooser.random() < 0.5) for value in objects]
    names = [f"f{number}" if habits.unlike_names else "f" for number in range(len(objects))]
    rows = [
        habits.entries(number, in_pieces(text, chooser, empty=habits.empty_heads), names[number], chooser)
        for number, text in enumerate(texts)
    ]
    stream: list[Entry] = []
    if habits.in_turns:
        waiting = [list(row) for row in rows]
        stream += [row.pop(0) for row in waiting]  # the heads in order, so that the calls are
        while any(waiting):
            stream.append(chooser.choice([row for row in waiting if row]).pop(0))
    else:
        stream = [one for row in rows for one in row]
    for _ in range(chooser.randrange(3)):
        stream.insert(chooser.randrange(1, len(stream) + 1), entry(""))
    assert brief(assemble(*stream, taken=("id-0", "call00002"))) == list(zip(names, texts, strict=True))


@pytest.mark.parametrize(
    "tails",
    [
        [entry(PARIS, i=0, id="b")],
        [entry(PARIS[:9], i=0, id="b"), entry(PARIS[9:], i=0, id="c")],
        [entry(PARIS[:9], i=0, id="b"), entry(PARIS[9:], i=0, id="b")],
        [entry(PARIS[:9], i=0, id="b"), entry(PARIS[9:], i=0)],
        [entry(PARIS[:9], i=0), entry(PARIS[9:], i=0, id="b")],
        [entry(PARIS, id="b")],
        [entry(PARIS, i=1, id="b")],
        [entry("", i=0, id="b"), entry(PARIS, i=0)],
        [entry("", i=0, id="b"), entry(PARIS, i=0, id="b")],
    ],
)
def test_item_18_an_entry_without_a_name_goes_on_with_the_call_whatever_its_id(tails: list[Entry]) -> None:
    frames = assemble(entry(i=0, id="a", n="get_weather"), *tails)
    assert [(call.id, call.name, call.arguments) for call in sealed(frames)] == [("a", "get_weather", PARIS)]


def test_item_18_after_an_object_that_is_whole_nothing_is_run_twice_or_empty() -> None:
    first, second = sealed(assemble(entry(PARIS, i=0, id="a", n="f"), entry(ROME, i=0, id="b")))
    assert (first.id, first.arguments, second.name) == ("a", PARIS, "")
    assert isinstance(second, InvalidToolCall)


def test_item_18_an_unknown_id_without_a_name_is_not_guessed_among_several() -> None:
    with pytest.raises(ProtocolError, match="several calls are open"):
        assemble(entry(i=0, id="a", n="f"), entry(i=1, id="b", n="g"), entry(PARIS, i=2, id="c"))


@pytest.mark.parametrize("tail", [[entry("", i=0, n="g"), entry(ROME, i=0)], [entry(ROME, i=0, n="g")]])
def test_an_id_that_comes_before_its_name_at_a_taken_index_is_kept(tail: list[Entry]) -> None:
    frames = assemble(entry(PARIS, i=0, id="a", n="f"), entry("", i=0, id="b"), *tail)
    assert [(call.id, call.name, call.arguments) for call in sealed(frames)] == [("a", "f", PARIS), ("b", "g", ROME)]


GROWING: dict[str, Callable[[int], Entry]] = {
    "calls without ids": lambda k: entry(f'{{"k": {k}}}', n="f"),
    "calls without ids at one index": lambda k: entry(f'{{"k": {k}}}', i=0, n="f"),
    "calls without ids at indexes": lambda k: entry(f'{{"k": {k}}}', i=k, n="f"),
    "one id at one index, other names": lambda k: entry('{"k": 1}', i=0, id="a", n=f"f{k}"),
    "one id at indexes": lambda k: entry('{"k": 1}', i=k, id="a", n="f"),
    "own ids": lambda k: entry('{"k": 1}', i=k, id=f"a{k}", n="f"),
    "a name on every fragment": lambda k: entry('{"k": [' if not k else "{},", n="f"),
    "an id made up for every fragment": lambda k: (
        entry('{"k": [', i=0, id="a", n="f") if not k else entry("{},", i=0, id=f"a{k}")
    ),
}


@pytest.mark.parametrize("write", GROWING.values(), ids=GROWING)
def test_the_work_for_an_entry_does_not_grow_with_those_before_it(write: Callable[[int], Entry]) -> None:
    """Counted in lines of Python that run and characters that are parsed, not in time."""
    few, many = (work([write(k) for k in range(count)]) for count in (200, 1600))
    assert many < few * 8 * 1.5


def work(entries: list[Entry]) -> int:
    calls = CallAssembler()
    out: list[StreamFrame] = []
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        if frame.f_code.co_name == "parse_arguments" and event == "call":
            count += len(frame.f_locals["text"])
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for one in entries:
            feed(calls, one, out)
        calls.seal_all(out)
    finally:
        sys.settrace(before)
    return count


FRAGMENTS = st.lists(
    st.fixed_dictionaries(
        {"arguments": st.sampled_from(["", "{}", '{"a": 1}', '{"a"', ": 1}", "1", "[", " ", "}{"])},
        optional={
            "i": st.sampled_from([0, 1, 2, "0"]),
            "id": st.sampled_from(["a", "b", "call00001"]),
            "n": st.sampled_from(["f", "g"]),
            "apart": st.just(True),
        },
    ),
    max_size=8,
)


@given(FRAGMENTS, st.sets(st.sampled_from(["a", "call00001", "call00002"])))
def test_whatever_comes_the_contract_holds_or_it_is_a_protocol_error(fragments: list[Entry], taken: set[str]) -> None:
    calls = CallAssembler(taken)
    out: list[StreamFrame] = []
    try:
        for at, one in enumerate(fragments):
            feed(calls, one, out)
            if at % 3 == 2:
                assert not {call.id for call in calls.unfinished()} & {call.id for call in sealed(out)}
    except ProtocolError:
        return
    text = "".join(frame.arguments for frame in out if isinstance(frame, ToolCallDelta))
    assert len(text) <= sum(len(one["arguments"]) for one in fragments)
    assert sealed(out) == []
    calls.seal_all(out)
    assert_valid_stream([*out, End(FinishReason.TOOL_CALLS)])
    ids = [call.id for call in sealed(out)]
    assert not set(ids) & taken
    assert calls.sealed == len(ids)


@given(OBJECTS.filter(bool), st.data())
def test_a_call_that_was_cut_is_never_a_tool_call(value: dict[str, Any], data: Any) -> None:
    text = json.dumps(value)
    length = data.draw(st.integers(1, len(text) - 1))
    (call,) = sealed(assemble(entry(text[:length], i=0, id="a", n="f")))
    assert isinstance(call, InvalidToolCall)
    assert call.arguments == text[:length]


def test_many_fragments_cost_linear_time() -> None:
    """A server that names every chunk, and whose chunks look like objects, must not cost a parse for each."""
    calls = CallAssembler()
    out: list[StreamFrame] = []
    feed(calls, entry('{"a": [', n="f"), out)
    for _ in range(50_000):
        feed(calls, entry("{},", n="f"), out)
    feed(calls, entry("{}]}", n="f"), out)
    calls.seal_all(out)
    assert len(brief(out)) == 1
