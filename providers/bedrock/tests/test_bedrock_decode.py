"""What ConverseStream sends besides text and plain calls; whole, byte by byte, and as an answer that did not stream."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from promptport import (
    Append,
    Citation,
    End,
    FinishReason,
    IncompleteStreamError,
    InvalidToolCall,
    ProtocolError,
    ProviderItem,
    ProviderStreamError,
    Reasoning,
    ReasoningAppend,
    StreamFrame,
    ToolCall,
    UnfinishedCall,
    Usage,
)
from promptport_bedrock._decode import ConverseDecoder, decode_complete
from promptport_bedrock.conformance import frame

STOP = ("messageStop", {"stopReason": "end_turn"})
USED = ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}})


def event(name: str, payload: Any) -> bytes:
    return frame(json.dumps(payload).encode(), event_type=name, message_type="event")


def delta(index: int, **fields: Any) -> tuple[str, Any]:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": fields}


def stop(index: int) -> tuple[str, Any]:
    return "contentBlockStop", {"contentBlockIndex": index}


def call(index: int, *arguments: str, **fields: Any) -> list[tuple[str, Any]]:
    start = {"toolUse": {"toolUseId": f"t{index}", "name": "look", **fields}}
    deltas = [delta(index, toolUse={"input": text}) for text in arguments]
    return [("contentBlockStart", {"contentBlockIndex": index, "start": start}), *deltas, stop(index)]


def decode(*events: tuple[str, Any] | bytes) -> tuple[list[StreamFrame], ConverseDecoder]:
    body = b"".join([each if isinstance(each, bytes) else event(*each) for each in events])
    whole, bytewise = ConverseDecoder(), ConverseDecoder()
    frames = whole.feed(body) + whole.close()
    assert [each for i in range(len(body)) for each in bytewise.feed(body[i : i + 1])] + bytewise.close() == frames
    assert repr(bytewise.error) == repr(whole.error)
    assert bytewise.skipped == whole.skipped
    return frames, whole


def test_reasoning_with_its_signature_in_pieces() -> None:
    frames, _ = decode(
        delta(0, reasoningContent={"text": "Let "}),
        delta(0, reasoningContent={"text": "me"}),
        delta(0, reasoningContent={"signature": "c2ln"}),
        stop(0),
        delta(1, text="Hi"),
        stop(1),
        STOP,
        USED,
    )
    kept = {"type": "reasoningContent", "signature": "c2ln"}
    assert frames[:-1] == [ReasoningAppend("Let "), ReasoningAppend("me"), Reasoning("Let me", kept), Append("Hi")]


def test_redacted_reasoning_is_one_blob_however_it_came() -> None:
    pieces = [base64.b64encode(piece).decode() for piece in (b"ab", b"cde")]
    frames, _ = decode(
        *[delta(0, reasoningContent={"redactedContent": piece}) for piece in pieces], stop(0), STOP, USED
    )
    assert frames[0] == Reasoning(
        "", {"type": "reasoningContent", "redactedContent": base64.b64encode(b"abcde").decode()}
    )
    single, _ = decode(delta(0, reasoningContent={"redactedContent": "RXRrRQ=="}), stop(0), STOP, USED)
    assert single[0] == Reasoning("", {"type": "reasoningContent", "redactedContent": "RXRrRQ=="})


def test_citations_stand_behind_their_text() -> None:
    source = {"title": "A page", "sourceContent": [{"text": "said"}], "location": {"web": {"url": "https://a.example"}}}
    frames, _ = decode(delta(0, citation=source), delta(0, text="So"), stop(0), STOP, USED)
    assert frames[:-1] == [Append("So"), Citation("https://a.example", "A page", "said", source)]


def test_what_the_provider_ran_is_an_item() -> None:
    result = {"toolResult": {"toolUseId": "t0", "type": "search_result", "status": "success"}}
    frames, _ = decode(
        *call(0, '{"q":', ' "x"}', type="server_tool_use"),
        ("contentBlockStart", {"contentBlockIndex": 1, "start": result}),
        delta(1, toolResult=[{"text": "found"}]),
        stop(1),
        STOP,
        USED,
    )
    used = {"toolUseId": "t0", "name": "look", "type": "server_tool_use", "input": {"q": "x"}}
    assert frames[:-1] == [
        ProviderItem("toolUse", {"toolUse": used}),
        ProviderItem("toolResult", {"toolResult": {**result["toolResult"], "content": [{"text": "found"}]}}),
    ]


def test_usage_adds_what_the_cache_gave_and_took() -> None:
    counts = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 118, "cacheReadInputTokens": 100}
    frames, _ = decode(STOP, ("metadata", {"usage": {**counts, "cacheWriteInputTokens": 10}}))
    assert frames[-1] == End(FinishReason.STOP, "end_turn", Usage(113, 5, 100, 10))


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("guardrail_intervened", FinishReason.CONTENT_FILTER),
        ("content_filtered", FinishReason.CONTENT_FILTER),
        ("malformed_model_output", FinishReason.OTHER),
        ("malformed_tool_use", FinishReason.OTHER),
        ("a new word", FinishReason.OTHER),
    ],
)
def test_stop_reasons(word: str, reason: FinishReason) -> None:
    frames, _ = decode(delta(0, text="Hi"), ("messageStop", {"stopReason": word}), USED)
    assert frames[-1] == End(reason, word, Usage(1, 2))


def test_end_turn_after_calls_ends_in_tool_calls_also_with_no_arguments() -> None:
    frames, _ = decode(*call(0, ""), *call(1, '{"a": 1}'), STOP, USED)
    assert [each for each in frames if isinstance(each, ToolCall)] == [
        ToolCall("t0", "look", "{}"),
        ToolCall("t1", "look", '{"a": 1}'),
    ]
    assert frames[-1] == End(FinishReason.TOOL_CALLS, "end_turn", Usage(1, 2))


@pytest.mark.parametrize("word", ["max_tokens", "malformed_tool_use", "guardrail_intervened"])
@pytest.mark.parametrize("arguments", ["", '{"a": '])
def test_a_call_that_stopped_and_was_cut_is_unfinished(word: str, arguments: str) -> None:
    frames, _ = decode(*call(0, arguments), ("messageStop", {"stopReason": word}), USED)
    assert not any(isinstance(each, ToolCall | InvalidToolCall) for each in frames)
    end = frames[-1]
    assert isinstance(end, End)
    assert end.unfinished == (UnfinishedCall("t0", "look", arguments),)
    whole, _ = decode(*call(0, arguments), ("messageStop", {"stopReason": "tool_use"}), USED)
    assert any(isinstance(each, ToolCall | InvalidToolCall) for each in whole)


def test_the_two_last_events_in_either_order_or_without_counts() -> None:
    usual, _ = decode(delta(0, text="Hi"), STOP, USED)
    swapped, _ = decode(delta(0, text="Hi"), USED, STOP)
    assert swapped == usual
    bare, decoder = decode(delta(0, text="Hi"), STOP)
    assert bare[-1] == End(FinishReason.STOP, "end_turn")
    assert decoder.error is None


@pytest.mark.parametrize("events", [[], [delta(0, text="Hi")], [delta(0, text="Hi"), USED], call(0, "{}")])
def test_bytes_that_end_before_message_stop(events: list[tuple[str, Any]]) -> None:
    _, decoder = decode(*events)
    assert isinstance(decoder.error, IncompleteStreamError)


@pytest.mark.parametrize(
    "name",
    [
        *("internalServerException", "modelStreamErrorException", "validationException", "throttlingException"),
        "serviceUnavailableException",
    ],
)
def test_exceptions_inside_the_stream(name: str) -> None:
    said = frame(b'{"message":"too much"}', exception_type=name, message_type="exception")
    frames, decoder = decode(delta(0, text="Hi"), said)
    assert frames == [Append("Hi")]
    assert isinstance(decoder.error, ProviderStreamError)
    assert decoder.error.code == name
    assert "too much" in str(decoder.error)


def test_an_error_that_has_no_body() -> None:
    _, decoder = decode(frame(b"", error_code="InternalError", error_message="it broke", message_type="error"))
    assert isinstance(decoder.error, ProviderStreamError)
    assert (decoder.error.code, "it broke" in str(decoder.error)) == ("InternalError", True)


def test_unknown_events_and_deltas_are_counted() -> None:
    frames, decoder = decode(("weather", {}), delta(0, smell="rose"), delta(1, text="Hi"), STOP, USED)
    assert frames[0] == Append("Hi")
    assert decoder.skipped == {"weather": 1, "contentBlockDelta smell": 1}


@pytest.mark.parametrize(
    "payload", [b"{", b"[]", b'{"contentBlockIndex":0}', b'{"contentBlockIndex":0,"delta":{"text":1}}', b"\xff"]
)
def test_a_known_event_that_is_not_what_it_must_be(payload: bytes) -> None:
    bad = frame(payload, event_type="contentBlockDelta", message_type="event")
    frames, decoder = decode(delta(0, text="Hi"), bad, STOP)
    assert frames == [Append("Hi")]
    assert isinstance(decoder.error, ProtocolError)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b'{"message": "no"}', ProviderStreamError), (b"<html>", ProtocolError), (b'{"a": 1}', ProtocolError)],
)
def test_a_body_that_is_no_stream(body: bytes, kind: type[Exception]) -> None:
    _, decoder = decode(body)
    assert isinstance(decoder.error, kind)
    with pytest.raises(kind):
        decode_complete(body)


def test_a_whole_answer_is_the_message_of_its_stream() -> None:
    cited = {"title": "A page", "sourceContent": [{"text": "said"}]}
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "RXRrRQ=="}},
        {"text": "Hi"},
        {"citationsContent": {"content": [{"text": " there"}], "citations": [cited]}},
        {"toolUse": {"toolUseId": "t9", "name": "look", "input": {"a": 1}}},
    ]
    body = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "tool_use", **USED[1]}
    answer = decode_complete(json.dumps(body).encode())
    assert answer.text == "Hi there"
    assert answer.reasoning == "hm"
    assert [part.provider_data for part in answer.parts if isinstance(part, Reasoning)] == [
        {"type": "reasoningContent", "signature": "c2ln"},
        {"type": "reasoningContent", "redactedContent": "RXRrRQ=="},
    ]
    assert answer.tool_calls == (ToolCall("t9", "look", '{"a": 1}'),)
    assert [part.provider_data for part in answer.parts if isinstance(part, Citation)] == [cited]
    assert answer.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("late", [stop(0), delta(0, toolUse={"input": "}"}), delta(1, text="x"), *call(1)[:1]])
@pytest.mark.parametrize("word", ["max_tokens", "tool_use"])
def test_nothing_goes_on_behind_message_stop(late: tuple[str, Any], word: str) -> None:
    frames, decoder = decode(*call(0, "{}")[:-1], ("messageStop", {"stopReason": word}), late, USED)
    assert isinstance(decoder.error, ProtocolError)
    assert not any(isinstance(each, ToolCall | End) for each in frames)


def test_a_block_that_never_stops_ends_where_the_next_begins() -> None:
    cited = {"title": "A page"}
    frames, decoder = decode(
        delta(0, reasoningContent={"text": "hm"}),
        delta(1, text="Hi"),
        delta(1, citation=cited),
        stop(0),
        delta(2, reasoningContent={"text": "so"}),
        *call(3, "{}"),
        STOP,
        USED,
    )
    kept = {"type": "reasoningContent"}
    assert frames[:5] == [
        ReasoningAppend("hm"),
        Reasoning("hm", kept),
        Append("Hi"),
        Citation(None, "A page", None, cited),
        ReasoningAppend("so"),
    ]
    assert frames[5] == Reasoning("so", kept)
    assert decoder.skipped == {"contentBlockStop without a block": 1}


def test_halves_of_a_character() -> None:
    frames, decoder = decode(
        delta(0, text="a\ud83d"),
        delta(0, text="\ude00b"),
        stop(0),
        *call(1, '{"x": "\ud83d', '\ude00"}'),
        delta(2, text="\ud83d"),
        STOP,
        USED,
    )
    assert decoder.error is None
    assert "".join([each.text for each in frames if isinstance(each, Append)]) == "a😀b\ufffd"
    assert [each.parsed() for each in frames if isinstance(each, ToolCall)] == [{"x": "😀"}]
    body = {"output": {"message": {"content": [{"text": "a\ud83d"}]}}, "stopReason": "end_turn"}
    assert decode_complete(json.dumps(body).encode()).text == "a\ufffd"


@pytest.mark.parametrize("fields", [{}, {"text": None}, {"toolUse": {}}, {"reasoningContent": {}}, {"citation": None}])
def test_a_delta_that_holds_nothing_is_malformed(fields: dict[str, Any]) -> None:
    _, decoder = decode(delta(0, text="Hi"), delta(0, **fields), STOP)
    assert isinstance(decoder.error, ProtocolError)
