"""OpenAI Responses, the way in: its calls, as OpenAI and the clones stream them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.errors import ProtocolError
from promptport.frames import FinishReason, ToolCall, ToolCallDelta, UnfinishedCall

# ------------------------------------------------------------------------------------------------------- calls


def test_a_call_in_deltas(wire: Any) -> None:
    item = {**wire.call(whole='{"amount":10}', status="completed"), "id": "fc_1"}
    outcome = wire.decode(
        wire.added(0, {**wire.call(status="in_progress"), "id": "fc_1"}),
        wire.arguments(0, '{"amount":1', item_id="fc_1"),
        wire.arguments(0, "0}", item_id="other"),
        wire.arguments_done(0, '{"amount":10}', item_id="fc_1"),
        wire.done(0, item),
        wire.completed(item),
    )
    assert outcome.frames[:-1] == [
        ToolCallDelta("call_1", "transfer", ""),
        ToolCallDelta("call_1", "transfer", '{"amount":1'),
        ToolCallDelta("call_1", "transfer", "0}"),
        ToolCall(
            "call_1",
            "transfer",
            '{"amount":10}',
            {"type": "function_call", "id": "fc_1", "status": "completed"},
        ),
    ]
    assert outcome.end.finish_reason is FinishReason.TOOL_CALLS
    assert outcome.end.raw_finish_reason == "completed"


@pytest.mark.parametrize("indexes", [(0, 1), (3, 7)])
def test_interleaved_calls(wire: Any, indexes: tuple[int, int]) -> None:
    first, second = indexes
    outcome = wire.decode(
        wire.added(first, wire.call("call_a", "add")),
        wire.added(second, wire.call("call_b", "multiply")),
        wire.arguments(first, '{"a":'),
        wire.arguments(second, '{"b":'),
        wire.arguments(first, "1}"),
        wire.arguments(second, "2}"),
        wire.done(second, wire.call("call_b", "multiply", '{"b":2}')),
        wire.done(first, wire.call("call_a", "add", '{"a":1}')),
        wire.completed(),
    )
    assert outcome.calls == [("call_b", "multiply", '{"b":2}'), ("call_a", "add", '{"a":1}')]


def test_arguments_that_are_missing_are_an_empty_object(wire: Any) -> None:
    assert wire.decode(wire.added(0, wire.call()), wire.done(0, wire.call()), wire.completed()).calls == [
        ("call_1", "transfer", "{}")
    ]
    assert (
        wire.decode(
            wire.added(0, wire.call()), wire.arguments(0, ""), wire.done(0, wire.call()), wire.completed()
        ).calls[0][2]
        == "{}"
    )


def test_arguments_only_in_their_done_with_an_empty_item_after_it(wire: Any) -> None:
    for empty in ({}, wire.call(), {"type": "function_call", "arguments": ""}):
        outcome = wire.decode(
            wire.added(0, wire.call()), wire.arguments_done(0, '{"a":1}'), wire.done(0, empty), wire.completed()
        )
        assert outcome.calls == [("call_1", "transfer", '{"a":1}')]


def test_arguments_that_come_with_the_head_count_only_if_no_others_come(wire: Any) -> None:
    head = wire.added(0, wire.call(whole="{}"))
    assert wire.decode(head, wire.arguments(0, '{"a":1}'), wire.done(0, {}), wire.completed()).calls[0][2] == '{"a":1}'
    head = wire.added(0, wire.call(whole='{"a":1}'))
    assert wire.decode(head, wire.done(0, wire.call()), wire.completed()).calls[0][2] == '{"a":1}'


def test_a_prefix_that_is_valid_already_seals_nothing(wire: Any) -> None:
    outcome = wire.decode(
        wire.added(0, wire.call()),
        wire.arguments(0, "{}"),
        wire.arguments(0, " "),
        wire.done(0, wire.call(whole="{} ")),
        wire.completed(),
    )
    assert outcome.calls == [("call_1", "transfer", "{} ")]
    assert wire.decode(wire.added(0, wire.call()), wire.arguments(0, "{}"), wire.completed()).message.tool_calls == ()


def test_the_end_without_the_beginning(wire: Any) -> None:
    assert wire.decode(wire.done(0, wire.call(whole='{"a":1}')), wire.completed()).calls == [
        ("call_1", "transfer", '{"a":1}')
    ]
    headless = wire.decode(
        wire.arguments(0, '{"a":'), wire.arguments(0, "1}"), wire.done(0, wire.call(whole='{"a":1}')), wire.completed()
    )
    assert headless.calls == [("call_1", "transfer", '{"a":1}')]


def test_arguments_done_without_the_beginning_tells_the_name(wire: Any) -> None:
    events = [
        wire.arguments_done(0, '{"a":1}', name="transfer"),
        wire.done(0, {"type": "function_call", "call_id": "call_1"}),
    ]
    ((_, name, whole),) = wire.decode(*events, wire.completed()).calls
    assert (name, whole) == ("transfer", '{"a":1}')


def test_the_end_is_missing_and_completed_lists_the_call(wire: Any) -> None:
    streamed = [wire.added(0, wire.call(id="call_1")), wire.arguments(0, '{"city":"Par')]
    listed = wire.call(id="call_1", whole='{"city":"Paris"}', status="completed")
    outcome = wire.decode(*streamed, wire.completed(wire.message("")))
    assert outcome.message.tool_calls == ()
    assert wire.decode(*streamed, wire.completed(listed)).calls == [("call_1", "transfer", '{"city":"Paris"}')]
    assert wire.decode(*streamed, wire.completed(listed | {"status": "incomplete"})).message.tool_calls == ()
    assert wire.decode(*streamed, wire.incomplete("max_output_tokens", listed)).message.tool_calls == ()


def test_the_end_is_missing_but_the_arguments_had_theirs(wire: Any) -> None:
    streamed = [wire.added(0, wire.call()), wire.arguments(0, '{"a":1}'), wire.arguments_done(0, '{"a":1}')]
    assert wire.decode(*streamed, wire.completed(wire.message(""))).calls == [("call_1", "transfer", '{"a":1}')]
    cut_short = wire.decode(*streamed, wire.incomplete("max_output_tokens"))
    assert cut_short.message.tool_calls == ()
    assert cut_short.end.unfinished == (UnfinishedCall("call_1", "transfer", '{"a":1}'),)


def test_nobody_seals_the_call(wire: Any) -> None:
    outcome = wire.decode(wire.added(0, wire.call()), wire.arguments(0, '{"amount":10}'), wire.completed())
    assert outcome.message.tool_calls == ()
    assert outcome.end.finish_reason is FinishReason.OTHER
    assert outcome.end.unfinished == (UnfinishedCall("call_1", "transfer", '{"amount":10}'),)


def test_calls_that_only_completed_lists(wire: Any) -> None:
    listed = [wire.call("call_a", whole='{"a":1}'), wire.call("call_b", whole='{"b":2}')]
    assert [call[0] for call in wire.decode(wire.completed(wire.message("Hi"), *listed)).calls] == ["call_a", "call_b"]
    one_streamed = wire.decode(wire.added(0, wire.call("call_a")), wire.done(0, listed[0]), wire.completed(*listed))
    assert [call[0] for call in one_streamed.calls] == ["call_a", "call_b"]


def test_calls_that_completed_lists_under_other_ids_run_once(wire: Any) -> None:
    outcome = wire.decode(
        wire.added(0, wire.call("call_a")), wire.done(0, wire.call("call_a")), wire.completed(wire.call("call_z"))
    )
    assert [call[0] for call in outcome.calls] == ["call_a"]


def test_no_index_as_llama_cpp_streams(wire: Any) -> None:
    """Its deltas name the call's id as the item's, and its items have none."""
    outcome = wire.decode(
        wire.added(..., wire.call("fc_a", "add")),
        wire.arguments(..., '{"a":1}', item_id="fc_a"),
        wire.added(..., wire.call("fc_b", "add")),
        wire.arguments(..., '{"b":', item_id="fc_b"),
        wire.arguments(..., "2}", item_id="fc_b"),
        wire.done(..., wire.call("fc_a", "add", '{"a":1}')),
        wire.done(..., wire.call("fc_b", "add", '{"b":2}')),
        wire.completed(wire.call("fc_a", "add", '{"a":1}'), wire.call("fc_b", "add", '{"b":2}')),
    )
    assert outcome.calls == [("fc_a", "add", '{"a":1}'), ("fc_b", "add", '{"b":2}')]


def test_no_index_and_no_id_belongs_to_the_only_open_call(wire: Any) -> None:
    outcome = wire.decode(
        wire.added(..., wire.call()),
        wire.arguments(..., '{"a":1}'),
        wire.done(..., {"type": "function_call"}),
        wire.completed(),
    )
    assert outcome.calls == [("call_1", "transfer", '{"a":1}')]


def test_index_0_for_all_calls(wire: Any) -> None:
    heads = [wire.call("call_a", "add") | {"id": "fc_a"}, wire.call("call_b", "add") | {"id": "fc_b"}]
    outcome = wire.decode(
        wire.added(0, heads[0]),
        wire.added(0, heads[1]),
        wire.arguments(0, '{"b":2}', item_id="fc_b"),
        wire.arguments(0, '{"a":1}', item_id="fc_a"),
        wire.done(0, heads[0]),
        wire.done(0, heads[1] | {"call_id": None}),
        wire.completed(),
    )
    assert outcome.calls == [("call_a", "add", '{"a":1}'), ("call_b", "add", '{"b":2}')]


def test_arguments_of_one_of_several_calls_that_nothing_names(wire: Any) -> None:
    for index in (..., 0):
        outcome = wire.decode(
            wire.added(index, wire.call("call_a")),
            wire.added(index, wire.call("call_b")),
            wire.arguments(index, "{}"),
            wire.completed(),
        )
        assert isinstance(outcome.error, ProtocolError)


def test_the_end_comes_at_another_index(wire: Any) -> None:
    outcome = wire.decode(
        wire.added(0, wire.call("call_a")),
        wire.arguments(0, '{"a":1}'),
        wire.done(5, wire.call("call_a", whole='{"a":1}')),
        wire.completed(),
    )
    assert outcome.calls == [("call_a", "transfer", '{"a":1}')]


def test_two_ids_at_one_index_are_two_calls(wire: Any) -> None:
    outcome = wire.decode(
        wire.added(0, wire.call("call_a")),
        wire.arguments(0, '{"a":1}'),
        wire.done(0, wire.call("call_b", whole="{}")),
        wire.completed(),
    )
    assert [part.id for part in outcome.message.tool_calls] == ["call_b"]
    assert outcome.end.unfinished == (UnfinishedCall("call_a", "transfer", '{"a":1}'),)


def test_the_name_is_missing_at_the_end(wire: Any) -> None:
    outcome = wire.decode(wire.added(0, wire.call()), wire.done(0, wire.call(name="", whole="{}")), wire.completed())
    assert outcome.calls == [("call_1", "transfer", "{}")]


def test_a_call_without_any_name_is_not_run(wire: Any) -> None:
    outcome = wire.decode(
        wire.added(0, wire.call(name="")), wire.done(0, wire.call(name="", whole="{}")), wire.completed()
    )
    assert outcome.message.tool_calls == ()
    assert outcome.message.invalid_tool_calls[0].reason == "the call has no name"


@pytest.mark.parametrize("missing", [None, "", " ", "null"])
def test_ids_that_are_missing(wire: Any, missing: str | None) -> None:
    outcome = wire.decode(
        wire.added(0, wire.call() | {"call_id": missing}),
        wire.done(0, wire.call() | {"call_id": missing}),
        wire.completed(),
    )
    ((made, _, _),) = outcome.calls
    assert len(made) == 9
    assert made.isalnum()


def test_ids_that_come_twice(wire: Any) -> None:
    twice = wire.decode(
        wire.added(0, wire.call("call_a", "add")),
        wire.added(1, wire.call("call_a", "multiply")),
        wire.done(0, wire.call("call_a", "add")),
        wire.done(1, wire.call("call_a", "multiply")),
        wire.completed(),
    )
    (first, name, _), (second, other, _) = twice.calls
    assert (first, name, other) == ("call_a", "add", "multiply")
    assert second != "call_a"
    again = wire.decode(
        wire.added(0, wire.call("call_a")),
        wire.done(0, wire.call("call_a")),
        wire.completed(),
        taken=frozenset(["call_a"]),
    )
    (part,) = again.message.tool_calls
    assert part.id != "call_a"
    assert part.provider_data == {"type": "function_call", "call_id": "call_a"}


def test_arguments_as_an_object(wire: Any) -> None:
    outcome = wire.decode(
        wire.added(0, wire.call()), wire.done(0, wire.call() | {"arguments": {"a": 1}}), wire.completed()
    )
    assert outcome.calls == [("call_1", "transfer", '{"a":1}')]


def test_whole_arguments_written_otherwise_are_the_same(wire: Any) -> None:
    outcome = wire.decode(
        wire.added(0, wire.call()),
        wire.arguments(0, '{"a":1}'),
        wire.done(0, wire.call(whole='{ "a": 1 }')),
        wire.completed(),
    )
    assert outcome.calls == [("call_1", "transfer", '{"a":1}')]


def test_whole_arguments_that_differ(wire: Any) -> None:
    for differing in (
        wire.done(0, wire.call(whole='{"a":2}')),
        wire.arguments_done(0, '{"a":2}'),
        wire.arguments_done(0, '{"b'),
    ):
        outcome = wire.decode(wire.added(0, wire.call()), wire.arguments(0, '{"a":1}'), differing, wire.completed())
        assert isinstance(outcome.error, ProtocolError)


def test_arguments_after_the_end(wire: Any) -> None:
    late = wire.decode(wire.added(0, wire.call()), wire.done(0, wire.call()), wire.arguments(0, "{}"), wire.completed())
    assert isinstance(late.error, ProtocolError)
    harmless = wire.decode(
        wire.added(0, wire.call()), wire.done(0, wire.call(whole="{}")), wire.arguments_done(0, "{}"), wire.completed()
    )
    assert len(harmless.calls) == 1


def test_events_out_of_order(wire: Any) -> None:
    """A head after its arguments belongs to them; after its own end it says nothing."""
    head, end = wire.added(0, wire.call()), wire.done(0, wire.call(whole='{"a":1}'))
    for events in ([wire.arguments(0, '{"a":1}'), head, end], [end, head]):
        outcome = wire.decode(*events, wire.completed(wire.call(whole='{"a":1}')))
        assert outcome.calls == [("call_1", "transfer", '{"a":1}')]
        assert outcome.end.unfinished == ()


@given(dropped=st.sets(st.integers(0, 10), max_size=6))
def test_lost_events_never_make_another_call(wire: Any, dropped: set[int]) -> None:
    items = [wire.call(f"call_{to}", "transfer", f'{{"to":"{to}","amount":10}}') for to in "ab"]
    events = []
    for index, item in enumerate(items):
        whole = item["arguments"]
        events += [
            wire.added(index, item | {"arguments": ""}),
            *[wire.arguments(index, c) for c in (whole[:9], whole[9:])],
        ]
        events += [wire.arguments_done(index, whole), wire.done(index, item)]
    events.append(wire.completed(*items))
    outcome = wire.run([wire.sse(*[event for place, event in enumerate(events) if place not in dropped])])
    sealed = [(frame.id, frame.arguments) for frame in outcome.frames if isinstance(frame, ToolCall)]
    assert len(sealed) == len(set(sealed))
    assert set(sealed) <= {(item["call_id"], item["arguments"]) for item in items}


def test_events_that_come_twice(wire: Any) -> None:
    head, end = wire.added(0, wire.call()), wire.done(0, wire.call(whole="{}"))
    outcome = wire.decode(
        head,
        head,
        end,
        end,
        wire.text("Hi"),
        end,
        wire.done(1, wire.message("Hi")),
        wire.done(1, wire.message("Hi")),
        wire.completed(),
    )
    assert len(outcome.calls) == 1
    assert outcome.message.text == "Hi"


def test_a_finished_call_that_is_no_object(wire: Any) -> None:
    for whole in ('{"amount":1', "[1]", "10"):
        outcome = wire.decode(
            wire.added(0, wire.call()), wire.arguments(0, whole), wire.done(0, wire.call(whole=whole)), wire.completed()
        )
        (part,) = outcome.message.invalid_tool_calls
        assert (part.id, part.name, part.arguments) == ("call_1", "transfer", whole)
        assert outcome.message.tool_calls == ()
        assert outcome.end.finish_reason is FinishReason.TOOL_CALLS


def test_a_call_that_the_length_limit_cut(wire: Any) -> None:
    item = wire.call(whole='{"amount":1', status="incomplete")
    for events in (
        [wire.arguments(0, '{"amount":1'), wire.done(0, item)],
        [wire.arguments(0, '{"amount":1')],
        [wire.done(0, item)],
    ):
        outcome = wire.decode(wire.added(0, wire.call()), *events, wire.incomplete("max_output_tokens", item))
        assert outcome.message.tool_calls == ()
        assert outcome.end.finish_reason is FinishReason.LENGTH
        assert outcome.end.raw_finish_reason == "incomplete"
        assert outcome.end.unfinished == (UnfinishedCall("call_1", "transfer", '{"amount":1'),)


def test_incomplete_after_sealed_calls(wire: Any) -> None:
    events = [
        wire.added(0, wire.call("call_a")),
        wire.done(0, wire.call("call_a", whole="{}")),
        wire.added(1, wire.call("call_b")),
        wire.arguments(1, "{"),
    ]
    outcome = wire.decode(*events, wire.incomplete("max_output_tokens"))
    assert [part.id for part in outcome.message.tool_calls] == ["call_a"]
    assert outcome.end.finish_reason is FinishReason.LENGTH
    assert outcome.end.unfinished == (UnfinishedCall("call_b", "transfer", "{"),)


def test_a_custom_tool_takes_free_text(wire: Any) -> None:
    item = {"type": "custom_tool_call", "call_id": "call_1", "name": "run", "id": "ctc_1"}
    kept = {"type": "custom_tool_call", "id": "ctc_1"}
    outcome = wire.decode(
        wire.added(0, item | {"input": ""}),
        wire.event("response.custom_tool_call_input.delta", output_index=0, delta="print("),
        wire.event("response.custom_tool_call_input.delta", output_index=0, delta="3)"),
        wire.event("response.custom_tool_call_input.done", output_index=0, input="print(3)"),
        wire.done(0, item | {"input": "print(3)"}),
        wire.completed(),
    )
    (part,) = outcome.message.invalid_tool_calls
    assert (part.id, part.name, part.arguments, part.provider_data) == ("call_1", "run", "print(3)", kept)
    assert "free text" in part.reason
    empty = wire.decode(wire.done(0, item | {"input": ""}), wire.completed())
    assert empty.message.invalid_tool_calls[0].arguments == ""


# ----------------------------------------------------------------------------------------------- the wrapper

_USES = [
    {"recipient_name": "functions.add", "parameters": {"a": 1}},
    {"recipient_name": "functions.multiply", "parameters": {"b": 2.50}},
]


def wrapped(wire: Any, whole: str) -> list[dict[str, Any]]:
    item = wire.call(name="multi_tool_use.parallel")
    return [
        wire.added(0, item),
        wire.arguments(0, whole[:9]),
        wire.arguments(0, whole[9:]),
        wire.done(0, item | {"arguments": whole}),
    ]


def test_the_wrapper_that_models_make_up_is_taken_apart(wire: Any) -> None:
    outcome = wire.decode(*wrapped(wire, json.dumps({"tool_uses": _USES})), wire.completed())
    (first, *one), (second, *other) = outcome.calls
    assert (one, other) == (["add", '{"a": 1}'], ["multiply", '{"b": 2.5}'])
    assert first != second
    assert len(wire.decode(*wrapped(wire, json.dumps({"tool_uses": _USES})), wire.completed()).frames) == 5


@pytest.mark.parametrize(
    "whole",
    [
        "{}",
        '{"tool_uses":[]}',
        '{"tool_uses":[{"recipient_name":"functions.add"}]}',
        '{"tool_uses":[{"recipient_name":"functions.add","parameters":"{}"}]}',
    ],
)
def test_an_odd_wrapper_stays_one_call(wire: Any, whole: str) -> None:
    assert wire.decode(*wrapped(wire, whole), wire.completed()).calls == [("call_1", "multi_tool_use.parallel", whole)]


def test_a_wrapper_cut_short_is_unfinished(wire: Any) -> None:
    outcome = wire.decode(*wrapped(wire, '{"tool_uses":[{')[:-1], wire.incomplete("max_output_tokens"))
    assert outcome.end.unfinished == (UnfinishedCall("call_1", "multi_tool_use.parallel", '{"tool_uses":[{'),)
