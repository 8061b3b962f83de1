"""Mutators do what they say, and `assert_survived` sees what a bad decoder makes of it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import pytest

import promptport.testing
from promptport.errors import IncompleteStreamError, ProviderStreamError, StreamError
from promptport.frames import Append, End, FinishReason, StreamFrame, ToolCall, ToolCallDelta
from promptport.protocols import ChatCompletionsDecoder
from promptport.testing.cuts import cut_body
from promptport.testing.mutators import MUTATORS, Meaning, Mutator, assert_survived
from promptport.testing.recorded_bodies import Wire, WireEvent, WireProtocol

WIRES = sorted(path for path in (Path(__file__).parents[1] / "wires").glob("*/*") if path.suffix in (".sse", ".ndjson"))
SEEDS = range(6)
BY_NAME = {mutator.name: mutator for mutator in MUTATORS}

# Which mutators must apply to which protocol: to one at least of its wires.
SSE: set[str] = {"byte_order_mark", "no_space_after_colon", "several_data_lines", "id_and_retry_fields"}
ALL = {"line_ends", "last_event_unterminated", "comments", "pings", "extra_fields", "terminal_twice"} | {
    *("data_after_the_end", "drop_ids", "repeat_ids", "cut_terminal", "cut_anywhere", "cut_inside_call", "error_event")
}
APPLY: dict[WireProtocol, set[str]] = {
    "openai-chat": ALL
    | SSE
    | {"ids_on_every_chunk", "ids_without_indexes", "drop_indexes", "zero_indexes", "string_indexes", "shuffle_indexes"}
    | {"repeat_names", "blank_continuations", "empty_last_fragment", "empty_words", "finish_twice", "whole_calls"}
    | {"usage_in_every_chunk", "stop_despite_calls", "other_ids_on_continuations"}
    | {"counting_choices", "choices_from_one", "message_for_delta"},
    "openai-responses": ALL
    | SSE
    | {"unknown_events", "shuffle_indexes", "scramble_item_ids", "drop_sequence_numbers", "empty_final_output"}
    | {"drop_item_ids", "arguments_only_when_done", "items_only_when_done"},
    "anthropic": ALL
    | SSE
    | {"unknown_events", "shuffle_indexes", "empty_input_deltas", "message_delta_twice", "input_in_block_start"},
    "ollama-chat": ALL | {"one_call_a_line"},
}


def load(path: Path) -> Wire:
    return Wire.parse(cast("WireProtocol", path.parent.name), path.read_bytes())


def wire(protocol: WireProtocol, name: str) -> Wire:
    return next(load(path) for path in WIRES if path.parent.name == protocol and path.stem == name)


def mutated(name: str, protocol: WireProtocol, case: str, seed: int = 1) -> bytes:
    body = BY_NAME[name](wire(protocol, case), random.Random(seed))
    assert body is not None
    return body


def payloads(protocol: WireProtocol, body: bytes) -> list[dict[str, Any]]:
    return [event.payload() for event in Wire.parse(protocol, body).events]


every_wire = pytest.mark.parametrize("path", WIRES, ids=lambda path: f"{path.parent.name}-{path.stem}")


# ------------------------------------------------------------------------------------------------- wires


def test_there_are_wires_of_every_protocol() -> None:
    cases = {"text", "one_call", "parallel_calls", "empty_arguments"}
    for protocol in get_args(WireProtocol):
        assert {path.stem for path in WIRES if path.parent.name == protocol} >= cases


@every_wire
def test_a_wire_is_written_as_it_was_read(path: Path) -> None:
    assert load(path).body() == path.read_bytes()


def test_what_a_wire_says() -> None:
    for protocol in get_args(WireProtocol):
        counts = {case: wire(protocol, case).sealed_calls() for case in ("text", "one_call", "empty_arguments")}
        assert (counts["text"], counts["empty_arguments"]) == (0, 1)
        assert wire(protocol, "parallel_calls").sealed_calls() >= 2
        whole = wire(protocol, "parallel_calls")
        assert whole.terminal() is not None
        assert whole.with_events(whole.events[: whole.terminal()]).terminal() is None
        assert wire(protocol, "text").call_spans() == []
    anthropic = wire("anthropic", "parallel_calls")
    for head, seal in anthropic.call_spans():
        assert anthropic.events[head].payload()["content_block"]["type"] == "tool_use"
        assert anthropic.events[seal].payload() == {
            "type": "content_block_stop",
            "index": anthropic.events[head].payload()["index"],
        }


def test_an_edit_leaves_the_bytes_of_other_events_alone() -> None:
    spelt = Wire("openai-chat", (WireEvent(b'{ "a" : 1.50 }'), WireEvent(b"[DONE]"), WireEvent(b'{"b": 2}')))
    edited = spelt.edited(lambda payload: payload.update(c=3) if "b" in payload else None)
    assert edited.body() == b'data: { "a" : 1.50 }\n\ndata: [DONE]\n\ndata: {"b":2,"c":3}\n\n'


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="no such protocol"):
        Wire.parse("telex", b"")  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------- mutators


@pytest.mark.parametrize("protocol", get_args(WireProtocol))
def test_the_mutators_that_should_apply_do(protocol: WireProtocol) -> None:
    applied = {
        mutator.name
        for mutator in MUTATORS
        for path in WIRES
        if path.parent.name == protocol and mutator(load(path), random.Random(1)) is not None
    }
    assert applied == APPLY[protocol]


def test_names_are_unique_and_said_in_words() -> None:
    assert len(BY_NAME) == len(MUTATORS)
    assert all(mutator.mutate.__doc__ for mutator in MUTATORS)
    assert {mutator.meaning for mutator in MUTATORS} == set(Meaning)


@every_wire
def test_a_mutator_changes_the_body_and_the_same_seed_gives_the_same(path: Path) -> None:
    for mutator in MUTATORS:
        for seed in SEEDS:
            body = mutator(load(path), random.Random(seed))
            assert body == mutator(load(path), random.Random(seed)), mutator.name
            assert body != path.read_bytes(), mutator.name


@every_wire
def test_a_cut_body_is_never_whole(path: Path) -> None:
    protocol = cast("WireProtocol", path.parent.name)
    for name in ("cut_terminal", "cut_anywhere", "cut_inside_call"):
        for seed in range(50):
            body = BY_NAME[name](load(path), random.Random(seed))
            if body is None:
                assert (name, path.stem) == ("cut_inside_call", "text")
                continue
            assert path.read_bytes().startswith(body)
            cut = Wire.parse(protocol, body)
            assert cut.terminal() is None
            if name == "cut_inside_call":
                assert cut.sealed_calls() < load(path).sealed_calls()


def test_a_cut_inside_a_call_comes_after_its_beginning() -> None:
    for seed in range(50):
        for protocol in ("openai-chat", "anthropic", "openai-responses"):
            assert b"get_weather" in mutated("cut_inside_call", protocol, "one_call", seed)


def test_an_error_counts_as_the_end_of_what_is_sealed() -> None:
    for protocol in get_args(WireProtocol):
        for seed in range(20):
            body = mutated("error_event", protocol, "one_call", seed)
            position = body.index(b"The server had an error")
            before = Wire.parse(protocol, body[: body.rfind(b"\n", 0, position) + 1])
            assert Wire.parse(protocol, body).sealed_calls() == before.sealed_calls()


Check = Callable[[list[dict[str, Any]]], bool]


def entries(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [e for p in events for c in p.get("choices", ()) for e in c["delta"].get("tool_calls") or ()]


def items(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [p[k] for p in events for k in ("item", "content_block") if k in p]
    return [item for item in found if item["type"] in ("function_call", "tool_use")]


def types(events: list[dict[str, Any]]) -> list[str]:
    return [p.get("type", "") for p in events]


def words(events: list[dict[str, Any]]) -> list[str | None]:
    return [c["finish_reason"] for p in events for c in p.get("choices", ())]


def lines(event: dict[str, Any]) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", event["message"].get("tool_calls", []))


def function(entry: dict[str, Any]) -> dict[str, Any]:
    return {"name": None, **entry["function"]}


BOTH = {"call_wire_paris", "call_wire_table"}
DELTA, DONE = "response.function_call_arguments.delta", "response.function_call_arguments.done"
CHECKS: list[tuple[str, WireProtocol, Check]] = [
    ("ids_on_every_chunk", "openai-chat", lambda p: [e.get("id") in BOTH for e in entries(p)] == [True] * 17),
    ("ids_without_indexes", "openai-chat", lambda p: all(e.get("index") is None and e["id"] for e in entries(p))),
    ("other_ids_on_continuations", "openai-chat", lambda p: len({e.get("id") for e in entries(p)}) == len(entries(p))),
    ("choices_from_one", "openai-chat", lambda p: {c["index"] for e in p for c in e.get("choices", ())} == {1}),
    ("counting_choices", "openai-chat", lambda p: [e["choices"][0]["index"] for e in p[:5]] == [0, 1, 2, 3, 4]),
    ("message_for_delta", "openai-chat", lambda p: "message" in p[0]["choices"][0] and "delta" not in str(p)),
    ("zero_indexes", "openai-chat", lambda p: {e["index"] for e in entries(p)} == {0}),
    ("string_indexes", "openai-chat", lambda p: {e["index"] for e in entries(p)} == {"0", "1"}),
    ("repeat_names", "openai-chat", lambda p: all(function(e)["name"] for e in entries(p))),
    ("blank_continuations", "openai-chat", lambda p: all("id" in e and "name" in e["function"] for e in entries(p))),
    ("empty_last_fragment", "openai-chat", lambda p: entries(p)[-1] == {"index": 1, "function": {"arguments": ""}}),
    ("whole_calls", "openai-chat", lambda p: [function(e)["arguments"][-1:] for e in entries(p)] == ["}", "}"]),
    ("usage_in_every_chunk", "openai-chat", lambda p: all(e["usage"] for e in p[:-1])),
    ("stop_despite_calls", "openai-chat", lambda p: "stop" in words(p) and "tool_calls" not in words(p)),
    ("empty_words", "openai-chat", lambda p: None not in words(p)),
    ("finish_twice", "openai-chat", lambda p: words(p)[-2:] == ["tool_calls"] * 2),
    ("drop_ids", "openai-chat", lambda p: not any(e.get("id") for e in entries(p))),
    ("repeat_ids", "openai-chat", lambda p: len({e["id"] for e in entries(p) if e.get("id")}) == 1),
    ("drop_ids", "anthropic", lambda p: len(items(p)) == 2 and not any(i.get("id") for i in items(p))),
    ("repeat_ids", "anthropic", lambda p: len({i["id"] for i in items(p)}) == 1),
    ("input_in_block_start", "anthropic", lambda p: [i["input"].get("guests") for i in items(p)] == [None, 2]),
    ("input_in_block_start", "anthropic", lambda p: "input_json_delta" not in json.dumps(p)),
    ("empty_input_deltas", "anthropic", lambda p: json.dumps(p).count('"partial_json": ""') > 10),
    ("message_delta_twice", "anthropic", lambda p: types(p).count("message_delta") == 2),
    ("drop_ids", "openai-responses", lambda p: "call_wire" not in json.dumps(p)),
    ("repeat_ids", "openai-responses", lambda p: len({i["call_id"] for i in items(p)}) == 1),
    ("drop_item_ids", "openai-responses", lambda p: len(items(p)) == 4 and not any("id" in i for i in items(p))),
    ("scramble_item_ids", "openai-responses", lambda p: len({e["item_id"] for e in p if "item_id" in e}) > 9),
    ("drop_sequence_numbers", "openai-responses", lambda p: not any("sequence_number" in e for e in p)),
    ("empty_final_output", "openai-responses", lambda p: p[-1]["response"]["output"] == []),
    ("arguments_only_when_done", "openai-responses", lambda p: not any(i["arguments"] for i in items(p))),
    ("arguments_only_when_done", "openai-responses", lambda p: DELTA not in types(p) and DONE in types(p)),
    ("items_only_when_done", "openai-responses", lambda p: not {DELTA, DONE} & set(types(p)) and len(items(p)) == 2),
    ("drop_ids", "ollama-chat", lambda p: not any(c.get("id") for e in p for c in lines(e))),
    ("one_call_a_line", "ollama-chat", lambda p: [len(lines(e)) for e in p] == [0, 0, 1, 1, 0]),
]


@pytest.mark.parametrize(("name", "protocol", "check"), CHECKS, ids=[f"{name}-{p}" for name, p, _ in CHECKS])
def test_a_mutator_of_calls_does_what_it_says(name: str, protocol: WireProtocol, check: Check) -> None:
    assert not check(payloads(protocol, wire(protocol, "parallel_calls").body()))
    for seed in SEEDS:
        assert check(payloads(protocol, mutated(name, protocol, "parallel_calls", seed)))


@pytest.mark.parametrize(("protocol", "field"), [("anthropic", "index"), ("openai-responses", "output_index")])
def test_shuffled_indexes_keep_apart_what_was_apart(protocol: WireProtocol, field: str) -> None:
    before = payloads(protocol, wire(protocol, "parallel_calls").body())
    after = payloads(protocol, mutated("shuffle_indexes", protocol, "parallel_calls"))
    pairs = {(old[field], new[field]) for old, new in zip(before, after, strict=True) if field in old}
    assert len(pairs) == len({new for _, new in pairs}) == 3


def test_nothing_more_is_taken_from_a_server_that_already_leaves_things_out() -> None:
    no_indexes = Wire.parse("openai-chat", mutated("ids_without_indexes", "openai-chat", "parallel_calls"))
    same_ids = Wire.parse("openai-chat", mutated("repeat_ids", "openai-chat", "parallel_calls"))
    for name in ("drop_ids", "repeat_ids", "shuffle_indexes", "zero_indexes", "repeat_names", "whole_calls"):
        assert BY_NAME[name](no_indexes, random.Random(1)) is None
        assert BY_NAME[name](same_ids, random.Random(1)) is None


def test_an_answer_without_its_end_has_no_end_to_cut() -> None:
    for protocol in get_args(WireProtocol):
        cut = Wire.parse(protocol, mutated("cut_terminal", protocol, "one_call"))
        for name in ("cut_terminal", "cut_anywhere", "error_event", "pings", "terminal_twice", "data_after_the_end"):
            assert BY_NAME[name](cut, random.Random(1)) is None


# ------------------------------------------------------------------------------------- a decoder survives


def decode(body: bytes, chunks: Sequence[bytes] | None = None) -> tuple[list[StreamFrame], StreamError | None]:
    decoder = ChatCompletionsDecoder()
    frames = [frame for chunk in chunks or [body] for frame in decoder.feed(chunk)]
    return frames + decoder.close(), decoder.error


@pytest.mark.parametrize("mutator", MUTATORS, ids=lambda mutator: mutator.name)
def test_the_chat_decoder_survives(mutator: Mutator) -> None:
    for path in WIRES:
        if path.parent.name != "openai-chat":
            continue
        before, error = decode(path.read_bytes())
        assert error is None
        for seed in SEEDS:
            body = mutator(load(path), random.Random(seed))
            if body is not None:
                for chunks in ([body], cut_body(body, ("random", seed))):
                    after, error = decode(body, chunks)
                    assert_survived(mutator, "openai-chat", body, before=before, after=after, error=error)


CALL: list[StreamFrame] = [ToolCallDelta("1", "f", '{"a":1}'), ToolCall("1", "f", '{"a":1}')]
OTHER_ID: list[StreamFrame] = [
    ToolCallDelta("2", "f", ""),
    ToolCallDelta("2", "f", '{"a": 1}'),
    ToolCall("2", "f", '{"a": 1}'),
]
TEXT: list[StreamFrame] = [Append("hel"), Append("lo")]
END: list[StreamFrame] = [End(FinishReason.TOOL_CALLS)]
BEFORE = TEXT + CALL + END
ERROR = ProviderStreamError("overloaded")
INCOMPLETE = IncompleteStreamError("cut")
SEALED = b'data: {"choices":[{"delta":{"tool_calls":[{}]},"finish_reason":"stop"}]}\n\n'
OPEN = b'data: {"choices":[{"delta":{"tool_calls":[{}]},"finish_reason":null}]}\n\n'

GOOD: list[tuple[Meaning, bytes, list[StreamFrame], Exception | None]] = [
    (Meaning.HARMLESS, b"", BEFORE, None),
    (Meaning.IDENTITY, b"", [Append("hello"), *OTHER_ID, *END], None),
    (Meaning.TRUNCATING, OPEN, TEXT, INCOMPLETE),
    (Meaning.TRUNCATING, OPEN, TEXT + CALL[:1], INCOMPLETE),
    (Meaning.TRUNCATING, SEALED, TEXT + CALL, INCOMPLETE),
    (Meaning.TRUNCATING, b"", [], INCOMPLETE),
    (Meaning.ERROR, OPEN, TEXT, ERROR),
]
OTHER_ARGUMENTS: list[StreamFrame] = [ToolCallDelta("1", "f", '{"a":2}'), ToolCall("1", "f", '{"a":2}')]
BAD: list[tuple[Meaning, bytes, list[StreamFrame], Exception | None, str]] = [
    (Meaning.HARMLESS, b"", TEXT + CALL, None, "not End"),
    (Meaning.HARMLESS, b"", [], None, "at least"),
    (Meaning.HARMLESS, b"", BEFORE, ERROR, "raised"),
    (Meaning.HARMLESS, b"", [Append("hello"), *CALL, *END], None, "other frames"),
    (Meaning.HARMLESS, b"", [*TEXT, *CALL, *OTHER_ID, *END], None, "other frames"),
    (Meaning.IDENTITY, b"", [*TEXT, *OTHER_ARGUMENTS, *END], None, "another answer"),
    (Meaning.IDENTITY, b"", [*TEXT, *CALL, *OTHER_ID, *END], None, "another answer"),
    (Meaning.IDENTITY, b"", [*TEXT, End(FinishReason.STOP)], None, "another answer"),
    (Meaning.IDENTITY, b"", [*CALL, *END], None, "another answer"),
    (Meaning.IDENTITY, b"", [*TEXT, *CALL], INCOMPLETE, "raised"),
    (Meaning.TRUNCATING, OPEN, TEXT, None, "raised None"),
    (Meaning.TRUNCATING, OPEN, TEXT, ValueError(), "raised ValueError"),
    (Meaning.TRUNCATING, SEALED, TEXT + CALL + END, INCOMPLETE, "End, and then"),
    (Meaning.TRUNCATING, OPEN, TEXT + CALL, INCOMPLETE, "1 ToolCalls, of which the provider sealed 0"),
    (Meaning.TRUNCATING, SEALED, OTHER_ARGUMENTS, INCOMPLETE, "calls that the model did not make"),
    (Meaning.ERROR, OPEN, TEXT, INCOMPLETE, "not ProviderStreamError"),
    (Meaning.ERROR, OPEN, TEXT, None, "raised None"),
    (Meaning.ERROR, b'data: {"error":{}, "x":1}\n\n' + OPEN, CALL, ERROR, "sealed 0"),
    (Meaning.ERROR, b'data: {"error":"x"}\n\n' + SEALED, CALL, ERROR, "sealed 0"),
]


def survived(meaning: Meaning, body: bytes, after: list[StreamFrame], error: Exception | None) -> None:
    mutator = Mutator("fault", meaning, lambda wire, chooser: b"", frozenset(["openai-chat"]))
    assert_survived(mutator, "openai-chat", body, before=BEFORE, after=after, error=error)


@pytest.mark.parametrize(("meaning", "body", "after", "error"), GOOD)
def test_what_is_right_passes(meaning: Meaning, body: bytes, after: list[StreamFrame], error: Exception | None) -> None:
    survived(meaning, body, after, error)


@pytest.mark.parametrize(("meaning", "body", "after", "error", "words"), BAD)
def test_what_is_wrong_does_not(
    meaning: Meaning, body: bytes, after: list[StreamFrame], error: Exception | None, words: str
) -> None:
    with pytest.raises(AssertionError, match=words):
        survived(meaning, body, after, error)


# ------------------------------------------------------------------------------------------- the package


def test_every_name_of_the_testing_kit_is_there() -> None:
    for name in promptport.testing.__all__:
        assert getattr(promptport.testing, name) is not None
        assert name in dir(promptport.testing)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        promptport.testing.nothing  # noqa: B018


def test_wires_mutators_and_servers_do_without_pytest_and_http_libraries() -> None:
    script = """
import sys
from promptport.testing.cuts import cut_body
from promptport.testing.mutators import MUTATORS, assert_survived
from promptport.testing.recorded_bodies import Wire
from promptport.testing.wire_server import WireServer
heavy = {"pytest", "httpx", "pydantic", "openai", "anthropic", "ollama"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True)
