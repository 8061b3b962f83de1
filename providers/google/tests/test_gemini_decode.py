"""Gemini's responses to frames: each kind of part, each end, and both forms of the stream at every cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.errors import IncompleteStreamError, ProtocolError, ProviderStreamError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
    UnfinishedCall,
    Usage,
)
from promptport.stream import message_of
from promptport.testing import assert_valid_stream
from promptport_google._decode import ContentDecoder, decode_complete

CALL = {"functionCall": {"id": "a1", "name": "f", "args": {"x": 1}}}
STOP = {"text": ""}


def end_of(result: tuple[list[StreamFrame], str]) -> End:
    frames, error = result
    assert error == ""
    assert_valid_stream(frames)
    end = frames[-1]
    assert isinstance(end, End)
    return end


def calls_of(result: tuple[list[StreamFrame], str]) -> list[ToolCall]:
    return [frame for frame in result[0] if isinstance(frame, ToolCall)]


# ---------------------------------------------------------------------------------------- text and thoughts


def test_text_thoughts_and_their_signatures(wire: Any) -> None:
    frames, error = wire.everywhere(
        wire.response({"text": "Let me ", "thought": True}),
        wire.response({"text": "think.", "thought": True, "thoughtSignature": "s1"}),
        wire.response({"text": "It is "}),
        wire.response({"text": "sunny.", "thoughtSignature": "s2"}),
        wire.response({"text": "", "thoughtSignature": "s3"}, reason="STOP"),
    )
    assert error == ""
    assert frames[:-1] == [
        ReasoningAppend("Let me "),
        ReasoningAppend("think."),
        Reasoning("Let me think.", {"thoughtSignature": "s1"}),
        Append("It is "),
        Append("sunny."),
        Reasoning("", {"thoughtSignature": "s2", "part": "text"}),
        Reasoning("", {"thoughtSignature": "s3", "part": "empty text"}),
    ]


def test_thoughts_end_where_something_else_begins(wire: Any) -> None:
    for part in ({"text": "x"}, CALL, {"executableCode": {"code": "1"}}):
        frames, _ = wire.everywhere(wire.response({"text": "hm", "thought": True}), wire.response(part, reason="STOP"))
        assert frames[1] == Reasoning("hm"), part


def test_thoughts_before_an_empty_part_go_on(wire: Any) -> None:
    frames, _ = wire.everywhere(
        wire.response({"text": "a", "thought": True}),
        wire.response({"text": ""}),
        wire.response({"text": "b", "thought": True}, reason="STOP"),
    )
    assert frames[:-1] == [ReasoningAppend("a"), ReasoningAppend("b"), Reasoning("ab")]


@pytest.mark.parametrize("content", [None, {}, {"parts": None}, {"role": "model"}, {"parts": []}, {"parts": [{}]}])
def test_content_may_be_nothing(wire: Any, content: Any) -> None:
    quiet = {"candidates": [{"content": content, "index": 0}]}
    frames, error = wire.everywhere(wire.response({"text": "a"}), quiet, wire.response({"text": "b"}, reason="STOP"))
    assert [frame.text for frame in frames if isinstance(frame, Append)] == ["a", "b"]
    assert error == ""
    assert end_of(wire.everywhere(quiet, {"candidates": [{"finishReason": "STOP"}]})).finish_reason is FinishReason.STOP


def test_only_the_first_candidate_counts(wire: Any) -> None:
    other = {"index": 1, "content": {"parts": [{"text": "other"}]}, "finishReason": "SAFETY"}
    both = {"candidates": [other, {"index": 0, "content": {"parts": [{"text": "mine"}]}, "finishReason": "STOP"}]}
    frames, _ = wire.everywhere(both, {"candidates": [other]})
    assert frames[0] == Append("mine")
    assert end_of((frames, "")).finish_reason is FinishReason.STOP
    assert len(frames) == 2


# -------------------------------------------------------------------------------------------------- calls


def test_calls_come_whole_with_their_signature(wire: Any) -> None:
    result = wire.everywhere(
        wire.response({**CALL, "thoughtSignature": "sig"}, {"functionCall": {"id": "a2", "name": "g"}}),
        wire.response(STOP, reason="STOP"),
    )
    first = ToolCall("a1", "f", '{"x": 1}', {"thoughtSignature": "sig"})
    assert calls_of(result) == [first, ToolCall("a2", "g", "{}")]
    assert result[0][0] == ToolCallDelta("a1", "f", '{"x": 1}')
    assert end_of(result).finish_reason is FinishReason.TOOL_CALLS
    assert end_of(result).raw_finish_reason == "STOP"


@pytest.mark.parametrize(
    ("args", "arguments"),
    [
        ({}, "{}"),
        (None, "{}"),
        ({"n": 12345678901234567890123}, '{"n": 12345678901234567890123}'),
        ('{"x": 1}', '{"x": 1}'),  # a proxy's, as text
    ],
)
def test_arguments_keep_their_spelling(wire: Any, args: Any, arguments: str) -> None:
    result = wire.everywhere(wire.response({"functionCall": {"name": "f", "args": args}}, reason="STOP"))
    assert calls_of(result) == [ToolCall("call00001", "f", arguments)]


def test_a_copy_of_a_call_is_the_same_call(wire: Any) -> None:
    result = wire.everywhere(
        wire.response({**CALL, "thoughtSignature": "sig"}),
        wire.response(CALL),
        wire.response(STOP, reason="STOP"),
    )
    assert calls_of(result) == [ToolCall("a1", "f", '{"x": 1}', {"thoughtSignature": "sig"})]


def test_equal_calls_without_ids_are_two_calls(wire: Any) -> None:
    call = {"functionCall": {"name": "roll", "args": {}}}
    result = wire.everywhere(wire.response({**call, "thoughtSignature": "s"}, call, reason="STOP"))
    assert [call.id for call in calls_of(result)] == ["call00001", "call00002"]


def test_an_id_that_comes_again_gets_another_name_and_is_kept(wire: Any) -> None:
    other = {"functionCall": {"id": "a1", "name": "g", "args": {}}}
    result = wire.everywhere(wire.response(CALL, other, reason="STOP"))
    assert calls_of(result)[1] == ToolCall("call00001", "g", "{}", {"id": "a1"})
    frames, _ = wire.read([wire.sse(wire.response(CALL, reason="STOP"))], ContentDecoder(["a1", "x"]))
    assert calls_of((frames, "")) == [ToolCall("call00003", "f", '{"x": 1}', {"id": "a1"})]


@pytest.mark.parametrize("call", [{"args": {"x": 1}}, {"name": "f", "args": [1]}, {"name": "f", "args": "{"}])
def test_a_call_that_is_none_is_never_run(wire: Any, call: Any) -> None:
    frames, error = wire.everywhere(wire.response({"functionCall": call}, reason="STOP"))
    assert [type(frame) for frame in frames] == [ToolCallDelta, InvalidToolCall, End]
    assert error == ""


# ----------------------------------------------------------------------------------- arguments in increments


def partial(path: str, more: bool = False, last: bool = False, **value: Any) -> dict[str, Any]:
    arg = {"jsonPath": path, **value}
    if more:
        arg["willContinue"] = True
    call: dict[str, Any] = {"partialArgs": [arg]}
    return {"functionCall": call if last else {**call, "willContinue": True}}


BEGIN = {"functionCall": {"name": "cook", "willContinue": True}, "thoughtSignature": "sig"}
BEAT = {"functionCall": {"willContinue": True}}
DONE: dict[str, Any] = {"functionCall": {}}


def test_arguments_come_as_deltas(wire: Any) -> None:
    parts = [
        BEGIN,
        partial("$.recipe.steps[0].text", more=True, stringValue='Bo"il'),
        BEAT,
        partial("$.recipe.steps[0].text", more=True, stringValue="\n"),
        partial("$.recipe.steps[0].text", stringValue=""),
        partial("$.recipe.steps[0].minutes", numberValue=2.50),
        partial("$.recipe.steps[1].text", stringValue="Eat"),
        partial("$.recipe['the name']", stringValue="Soup"),
        partial("$.hot", boolValue=True),
        partial("$.matrix[0][0]", numberValue=1),
        partial("$.matrix[0][1]", numberValue=2),
        partial("$.matrix[1][0]", nullValue="NULL_VALUE"),
        DONE,
    ]
    result = wire.everywhere(*[wire.response(part) for part in parts], wire.response(reason="STOP"))
    call = calls_of(result)[0]
    assert call.provider_data == {"thoughtSignature": "sig"}
    assert call.parsed() == {
        "recipe": {"steps": [{"text": 'Bo"il\n', "minutes": 2.5}, {"text": "Eat"}], "the name": "Soup"},
        "hot": True,
        "matrix": [[1, 2], [None]],
    }
    deltas = [frame for frame in result[0] if isinstance(frame, ToolCallDelta)]
    assert deltas[0] == ToolCallDelta("call00001", "cook", "")
    assert len(deltas) == 12
    assert end_of(result).finish_reason is FinishReason.TOOL_CALLS


def test_the_last_increment_may_seal(wire: Any) -> None:
    result = wire.everywhere(
        wire.response(BEGIN), wire.response(partial("$.x", last=True, numberValue=0.3)), wire.response(reason="STOP")
    )
    assert calls_of(result)[0].arguments == '{"x":0.3}'


def test_calls_in_increments_one_after_the_other(wire: Any) -> None:
    again = {"functionCall": {"name": "cook", "willContinue": True}}
    result = wire.everywhere(
        *[wire.response(part) for part in (BEGIN, partial("$.a", stringValue="1"), DONE, again, DONE, CALL, DONE)],
        wire.response(reason="STOP"),
    )
    assert [(call.name, call.arguments) for call in calls_of(result)] == [
        ("cook", '{"a":"1"}'),
        ("cook", "{}"),
        ("f", '{"x": 1}'),
    ]


@pytest.mark.parametrize("reason", ["STOP", "MAX_TOKENS", "MALFORMED_FUNCTION_CALL"])
def test_a_call_whose_end_never_came_is_unfinished(wire: Any, reason: str) -> None:
    result = wire.everywhere(
        wire.response(BEGIN), wire.response(partial("$.city", stringValue="Paris")), wire.response(reason=reason)
    )
    assert calls_of(result) == []
    assert end_of(result).unfinished == (UnfinishedCall("call00001", "cook", '{"city":"Paris"'),)
    frames, error = wire.everywhere(wire.response(BEGIN), wire.response(partial("$.city", stringValue="Paris")))
    assert "IncompleteStreamError" in error
    assert calls_of((frames, error)) == []


@pytest.mark.parametrize(
    "paths",
    [
        ("$.a.b", "$.c", "$.a.d"),
        ("$.a", "$.a"),
        ("$.a", "$.a.b"),
        ("$.a.b", "$.a"),
        ("$.a[0]", "$.a[2]"),
        ("$.a[1]",),
        ("$.a[0]", "$.a.b"),
        ("$",),
        ("a",),
        ("$[0]",),
        ("$.a..b",),
        ("$.a[*]",),
    ],
)
def test_paths_that_cannot_be_written_are_an_error(wire: Any, paths: tuple[str, ...]) -> None:
    parts = [BEGIN, *[partial(path, numberValue=1) for path in paths], DONE]
    frames, error = wire.everywhere(*[wire.response(part) for part in parts], wire.response(reason="STOP"))
    assert "ProtocolError" in error
    assert calls_of((frames, error)) == []


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc'.[]\\é ", min_size=1), values, min_size=1, max_size=4), st.data())
def test_any_object_is_written_depth_first(given_object: dict[str, Any], data: st.DataObject) -> None:
    parts = [{"functionCall": {"name": "f", "willContinue": True}}]

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                quoted = name.replace("\\", "\\\\").replace("'", "\\'")
                walk(f"{path}['{quoted}']", inner)
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                walk(f"{path}[{index}]", inner)
        elif isinstance(value, str):
            cut = data.draw(st.integers(0, len(value)))
            parts.append(partial(path, more=True, stringValue=value[:cut]))
            parts.append(partial(path, stringValue=value[cut:]))
        elif value is None:
            parts.append(partial(path, nullValue="NULL_VALUE"))
        else:
            kind = "boolValue" if isinstance(value, bool) else "numberValue"
            parts.append(partial(path, **{kind: value}))

    walk("$", given_object)
    body = b"".join(
        b"data: %b\n\n" % json.dumps({"candidates": [{"content": {"parts": [part]}}]}).encode()
        for part in [*parts, DONE]
    )
    decoder = ContentDecoder()
    frames = decoder.feed(body)
    assert decoder.error is None
    assert frames[-1].parsed() == given_object  # type: ignore[union-attr]


# ------------------------------------------------------------------------------- what the server ran, sources


def test_parts_of_the_server_are_items_as_they_came(wire: Any) -> None:
    parts: list[dict[str, Any]] = [
        {"executableCode": {"language": "PYTHON", "code": "print(1)", "id": "x"}, "thoughtSignature": "sig"},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n", "id": "x"}},
        {"toolCall": {"id": "t", "toolType": "GOOGLE_SEARCH_WEB", "args": {}}},
        {"toolResponse": {"id": "t", "response": {}}},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}, "thoughtSignature": "sig2"},
        {"thought": True, "inlineData": {"mimeType": "image/png", "data": "aGk="}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/o"}},
        {"aNewKind": {"of": "part"}},
    ]
    frames, error = wire.everywhere(*[wire.response(part) for part in parts], wire.response(STOP, reason="STOP"))
    assert error == ""
    kinds = [next(name for name in part if name not in ("thought", "thoughtSignature")) for part in parts]
    assert frames[:-1] == [ProviderItem(kind, part) for kind, part in zip(kinds, parts, strict=True)]


def test_citations_of_a_search(wire: Any) -> None:
    chunks = [{"web": {"uri": "https://a", "title": "A"}}, {"maps": {"uri": "https://b", "title": "B"}}]
    support = {"segment": {"startIndex": 0, "endIndex": 4, "text": "Rome"}, "groundingChunkIndices": [0, 7]}
    grounding = {"groundingChunks": chunks, "groundingSupports": [support], "webSearchQueries": ["q"]}
    answer = wire.response({"text": "Rome"}, reason="STOP")
    answer["candidates"][0]["groundingMetadata"] = grounding
    frames, error = wire.everywhere(wire.response({"text": "So: "}), answer, answer)  # told twice, cited once
    assert error == ""
    assert [frame for frame in frames if isinstance(frame, Citation)] == [
        Citation("https://a", "A", "Rome", {**chunks[0], "segment": support["segment"]}),
        Citation("https://b", "B", None, chunks[1]),
    ]
    assert frames[-2] == ProviderItem("groundingMetadata", {"groundingMetadata": grounding})


def test_citations_of_a_recitation(wire: Any) -> None:
    answer = wire.response({"text": "To be"}, reason="RECITATION")
    source = {"startIndex": 0, "endIndex": 5, "uri": "https://h", "license": "CC"}
    answer["candidates"][0]["citationMetadata"] = {"citationSources": [source]}
    frames, _ = wire.everywhere(answer)
    assert frames[1] == Citation("https://h", None, None, source)
    assert end_of((frames, "")).finish_reason is FinishReason.CONTENT_FILTER


def test_what_was_said_of_a_malformed_call_is_kept(wire: Any) -> None:
    answer = {"candidates": [{"content": {}, "finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "call: f("}]}
    frames, error = wire.everywhere(answer)
    assert error == ""
    assert frames[0] == ProviderItem("finishMessage", {"finishMessage": "call: f("})
    end = end_of((frames, ""))
    assert (end.finish_reason, end.raw_finish_reason) == (FinishReason.OTHER, "MALFORMED_FUNCTION_CALL")
    usual = {"candidates": [{"content": {"parts": [CALL]}, "finishReason": "STOP", "finishMessage": "Model called."}]}
    assert not any(isinstance(frame, ProviderItem) for frame in wire.everywhere(usual)[0])


# ------------------------------------------------------------------------------------------------ the end

REASONS: dict[FinishReason, list[str | int]] = {
    FinishReason.STOP: ["STOP", 1],
    FinishReason.LENGTH: ["MAX_TOKENS", 2],
    FinishReason.CONTENT_FILTER: [
        *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "PUP_LIMITED_DISABLED", 3, 4),
    ],
    FinishReason.PAUSED: ["CONTINUATION"],
    FinishReason.OTHER: [
        *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE"),
        *("MALFORMED_RESPONSE", "OTHER", "NO_IMAGE", "IMAGE_OTHER", "A_NEW_REASON", 77),
    ],
}


@pytest.mark.parametrize(("reason", "word"), [(reason, word) for reason, words in REASONS.items() for word in words])
def test_every_finish_reason(wire: Any, reason: FinishReason, word: str | int) -> None:
    end = end_of(wire.everywhere(wire.response({"text": "x"}, reason=word)))
    assert (end.finish_reason, end.raw_finish_reason) == (reason, str(word))


def test_the_types_of_the_sdk_have_no_reason_that_was_not_thought_of() -> None:
    types = pytest.importorskip("google.genai.types")
    told = {word for words in REASONS.values() for word in words} | {"FINISH_REASON_UNSPECIFIED"}
    assert {reason.value for reason in types.FinishReason} <= told


@pytest.mark.parametrize("word", ["", 0, "FINISH_REASON_UNSPECIFIED", None])
def test_a_reason_that_says_nothing_is_no_end(wire: Any, word: Any) -> None:
    _, error = wire.everywhere(wire.response({"text": "x"}, reason=word))
    assert "IncompleteStreamError" in error


def test_what_follows_a_finish_reason_belongs_to_the_answer(wire: Any) -> None:
    result = wire.everywhere(
        wire.response({"text": "a"}, reason="STOP", usageMetadata={"promptTokenCount": 3}),
        wire.response({"text": "b"}),
        wire.response(CALL),
        wire.response({"text": "c"}, reason="MAX_TOKENS"),
        {"usageMetadata": {"candidatesTokenCount": 5, "thoughtsTokenCount": 2, "cachedContentTokenCount": 1}},
    )
    assert message_of(result[0]).text == "abc"
    end = end_of(result)
    assert (end.finish_reason, end.raw_finish_reason) == (FinishReason.LENGTH, "MAX_TOKENS")
    assert end.usage == Usage(input_tokens=3, output_tokens=7, cached_input_tokens=1, reasoning_tokens=2)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({}, Usage()),
        ({"thoughtsTokenCount": 4}, Usage(output_tokens=4, reasoning_tokens=4)),
        ({"promptTokenCount": "9", "candidatesTokenCount": 1.5}, Usage()),
        ({"candidatesTokenCount": 0}, Usage(output_tokens=0)),
    ],
)
def test_usage_is_what_was_told(wire: Any, told: dict[str, Any], usage: Usage) -> None:
    assert end_of(wire.everywhere(wire.response({"text": "x"}, reason="STOP", usageMetadata=told))).usage == usage


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "JAILBREAK"])
def test_a_blocked_prompt(wire: Any, reason: str) -> None:
    result = wire.everywhere(
        {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 9}, "responseId": "r"}
    )
    assert result[0] == [End(FinishReason.CONTENT_FILTER, reason, Usage(9), None, "r")]


def test_feedback_without_a_reason_blocks_nothing(wire: Any) -> None:
    frames, error = wire.everywhere({"promptFeedback": {"safetyRatings": []}}, wire.response({"text": "x"}))
    assert "IncompleteStreamError" in error
    assert frames == [Append("x")]


def test_a_paused_answer_keeps_its_token(wire: Any) -> None:
    frames, _ = wire.everywhere(wire.response({"text": "x"}, reason="CONTINUATION", continuationToken="dG9r"))
    assert frames[-2] == ProviderItem("continuationToken", {"continuationToken": "dG9r"})
    assert end_of((frames, "")).finish_reason is FinishReason.PAUSED


# ----------------------------------------------------------------------------------------------- bad wires


def test_bytes_that_end_too_soon(wire: Any) -> None:
    whole = wire.sse(wire.response({"text": "Hello"}), wire.response(CALL), wire.response(STOP, reason="STOP"))
    last = whole.rindex(b"data:")
    for length in range(last):
        _, error = wire.read([whole[:length]])
        assert error.startswith("IncompleteStreamError"), length
    array = wire.array(wire.response({"text": "Hello"}), wire.response(STOP, reason="STOP"))
    for length in range(len(array)):
        frames, error = wire.read([array[:length]])
        assert error.startswith("IncompleteStreamError"), length
        assert not any(isinstance(frame, End) for frame in frames)
    assert wire.read([array])[1] == ""
    assert wire.read([array + b"\n"])[1] == ""


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize("good", [0, 1])
def test_errors_in_the_stream(wire: Any, good: int) -> None:
    events = [wire.response({"text": "Hel"})] * good
    told = "ProviderStreamError('The model is overloaded.')"
    assert wire.everywhere(*events, ERROR) == ([Append("Hel")] * good, told)
    for bare in (json.dumps(ERROR, indent=2), json.dumps(ERROR), f"[{json.dumps(ERROR, indent=1)}]"):
        if good and bare.startswith("["):
            continue
        for cut in wire.cuts(wire.sse(*events) + bare.encode()):
            assert wire.read(cut) == ([Append("Hel")] * good, told)


def test_the_code_of_an_error_is_the_word(wire: Any) -> None:
    decoder = ContentDecoder()
    decoder.feed(wire.sse(ERROR))
    assert isinstance(decoder.error, ProviderStreamError)
    assert decoder.error.code == "UNAVAILABLE"


@pytest.mark.parametrize(
    "bad",
    [
        {"candidates": "no"},
        {"candidates": [{"content": []}]},
        {"candidates": [{"content": {"parts": [{"text": 1}]}}]},
        {"candidates": [{"content": {"parts": [{"functionCall": "f"}]}}]},
        {"promptFeedback": []},
        [1],
    ],
)
def test_a_known_field_of_another_type_is_malformed(wire: Any, bad: Any) -> None:
    body = wire.sse(wire.response({"text": "a"}), bad, wire.response({"text": "b"}, reason="STOP"))
    for cut in wire.cuts(body):
        frames, error = wire.read(cut)
        assert frames == [Append("a")]
        assert error.startswith("ProtocolError")


def test_half_an_event_is_malformed(wire: Any) -> None:
    good = wire.sse(wire.response({"text": "a"}))
    for cut in wire.cuts(good + b'data: {"candidates": [{"content\n\n' + good):
        assert wire.read(cut)[0] == [Append("a")]
        assert wire.read(cut)[1].startswith("ProtocolError")


def test_between_the_objects_of_an_array_stands_nothing(wire: Any) -> None:
    first, last = json.dumps(wire.response({"text": "a"})), json.dumps(wire.response(STOP, reason="STOP"))
    for body in (f"[{first} nonsense {last}]", f"[{first}, 7, {last}]", f"[{first}, [{last}]]", f"[{first}]]"):
        for cut in wire.cuts(body.encode()):
            frames, error = wire.read(cut)
            assert frames == [Append("a")], body
            assert error.startswith("ProtocolError"), body


def test_the_letters_of_an_array_inside_strings(wire: Any) -> None:
    text = 'a "quoted" \\ [{ }] \n \u2028 end\\'
    frames, error = wire.everywhere(wire.response({"text": text}, reason="STOP"))
    assert error == ""
    assert message_of(frames).text == text


def test_unknown_events_are_counted(wire: Any) -> None:
    decoder = ContentDecoder()
    body = wire.sse({"weather": {}}, wire.response({"text": "x", "mood": 1}, reason="STOP")) + b"data: [DONE]\n\n"
    frames, error = wire.read([body], decoder)
    assert error == ""
    assert frames[0] == Append("x")
    assert decoder.skipped == {"weather": 1, "[DONE]": 1}


@pytest.mark.parametrize("body", [b"", b"\n\n", b"[]", b"  [ ]\n", b": ping\n\n"])
def test_nothing_is_incomplete(wire: Any, body: bytes) -> None:
    for cut in wire.cuts(body):
        frames, error = wire.read(cut)
        assert frames == []
        assert error.startswith("IncompleteStreamError")


@pytest.mark.parametrize("body", [b"<!doctype html><p>Hello", b"Not Found", b'"text"'])
def test_something_else_is_malformed(wire: Any, body: bytes) -> None:
    for cut in wire.cuts(body):
        assert wire.read(cut)[1].startswith("ProtocolError")


def test_halves_of_a_character(wire: Any) -> None:
    parts = [
        {"text": "a\ud83d"},
        {"text": "\ude00b"},
        {"text": "\ud83d", "thought": True},
        {"text": "\ude00", "thought": True},
        BEGIN,
        partial("$.x", more=True, stringValue="\ud83d"),
        partial("$.x", stringValue="\ude00"),
        DONE,
        {"functionCall": {"name": "f", "args": {"x": "\ud83d"}}},
    ]
    result = wire.everywhere(*[wire.response(part) for part in parts], wire.response(reason="STOP"))
    assert message_of(result[0]).text == "a😀b"
    assert message_of(result[0]).reasoning == "😀"
    assert [call.parsed() for call in calls_of(result)] == [{"x": "😀"}, {"x": "\ufffd"}]


# ------------------------------------------------------------------------------------------- whole answers


def test_a_whole_answer_is_a_stream_of_one(wire: Any) -> None:
    answer = wire.response({"text": "hm", "thought": True}, {"text": "Hi"}, CALL, reason="STOP")
    body = json.dumps(answer).encode()
    frames, _ = wire.everywhere(answer)
    assert decode_complete(body) == message_of(frames)
    assert decode_complete(b"[" + body + b"]") == message_of(frames)
    taken = [part for part in decode_complete(body, ["a1"]).parts if isinstance(part, ToolCall)]
    assert taken[0].provider_data == {"id": "a1"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (json.dumps(ERROR).encode(), ProviderStreamError),
        (b"", IncompleteStreamError),
        (b'{"candidates": [', IncompleteStreamError),
        (b'{"candidates": []}', IncompleteStreamError),
        (b"<html>", ProtocolError),
        (b'{"candidates": 1}', ProtocolError),
        (b"{}", IncompleteStreamError),
    ],
)
def test_whole_answers_that_are_none(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode_complete(body)


# ------------------------------------------------------------------------------------------ what is wrong with it


@pytest.mark.parametrize("sealing", [DONE, partial("$.b", last=True, stringValue="x"), {"functionCall": {"args": {}}}])
def test_what_the_limit_cut_is_no_call_whatever_stands_beside_it(wire: Any, sealing: Any) -> None:
    parts = [BEGIN, partial("$.a", more=True, stringValue="Par")]
    result = wire.everywhere(*map(wire.response, parts), wire.response(sealing, reason="MAX_TOKENS"))
    later = wire.everywhere(*map(wire.response, parts), wire.response(reason="MAX_TOKENS"), wire.response(sealing))
    assert calls_of(later) == []
    end = end_of(result)
    assert calls_of(result) == []
    assert [(call.name, call.arguments[:9]) for call in end.unfinished] == [("cook", '{"a":"Par')]
    assert end.finish_reason is FinishReason.LENGTH


def test_a_signature_may_stand_on_any_part_of_a_call(wire: Any) -> None:
    begin = {"functionCall": {"name": "cook", "willContinue": True}}
    middle = {**partial("$.a", numberValue=1), "thoughtSignature": "late"}
    result = wire.everywhere(*map(wire.response, (begin, middle, DONE)), wire.response(reason="STOP"))
    assert calls_of(result) == [ToolCall("call00001", "cook", '{"a":1}', {"thoughtSignature": "late"})]


@pytest.mark.parametrize("value", [{}, [], "1", True, {"a": 1}])
def test_a_number_that_is_none_is_malformed(wire: Any, value: Any) -> None:
    result = wire.everywhere(*map(wire.response, (BEGIN, partial("$.a", numberValue=value), DONE)))
    assert result[1].startswith("ProtocolError")


@pytest.mark.parametrize("value", [None, "NULL_VALUE", 0])
def test_a_null_has_several_names(wire: Any, value: Any) -> None:
    parts = (BEGIN, partial("$.a", nullValue=value), DONE)
    result = wire.everywhere(*map(wire.response, parts), wire.response(reason="STOP"))
    assert calls_of(result)[0].parsed() == {"a": None}


def test_an_argument_without_a_value_ends_its_string_and_nothing_else(wire: Any) -> None:
    parts = [BEGIN, partial("$.a", more=True, stringValue="x"), partial("$.a"), partial("$.b", numberValue=1), DONE]
    result = wire.everywhere(*map(wire.response, parts), wire.response(reason="STOP"))
    assert calls_of(result)[0].parsed() == {"a": "x", "b": 1}
    assert wire.everywhere(*map(wire.response, (BEGIN, partial("$.a"), DONE)))[1].startswith("ProtocolError")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (r"$['it\'s']", ["it's"]),
        (r'$["a\"b"]', ['a"b']),
        (r"$['a\\b'].c", ["a\\b", "c"]),
        (r"$['a\nb\u0041']", ["a\nbA"]),
        (r"$['\ud83d\ude00']", ["😀"]),
        (r"$['a.b[0]']", ["a.b[0]"]),
        ("$['a\"b']", ['a"b']),
        ("$['']", [""]),
    ],
)
def test_names_in_paths(wire: Any, path: str, names: list[str]) -> None:
    result = wire.everywhere(
        *map(wire.response, (BEGIN, partial(path, numberValue=1), DONE)), wire.response(reason="STOP")
    )
    found: Any = calls_of(result)[0].parsed()
    for name in names:
        found = found[name]
    assert found == 1


@pytest.mark.parametrize("path", ["$.a[" + "9" * 5000 + "]", r"$['\ud83d']", "$['a", "$.a[-1]", "$.a[1:2]"])
def test_paths_that_cannot_be_read(wire: Any, path: str) -> None:
    result = wire.everywhere(*map(wire.response, (BEGIN, partial(path, numberValue=1), DONE)))
    assert result[1].startswith("ProtocolError")


@pytest.mark.parametrize("nothing", [{"functionCall": None}, {"executableCode": None}, {"inlineData": None}])
def test_a_part_that_is_null_is_an_empty_one(wire: Any, nothing: Any) -> None:
    frames, error = wire.everywhere(wire.response({"text": "a"}, nothing), wire.response(STOP, reason="STOP"))
    assert error == ""
    assert [type(each) for each in frames] == [Append, End]
    frames, _ = wire.everywhere(wire.response({**nothing, "thoughtSignature": "s"}), wire.response(STOP, reason="STOP"))
    assert frames[0] == Reasoning("", {"thoughtSignature": "s", "part": "empty text"})


@pytest.mark.parametrize("count", [-1, 1.5, "7", True, [], {}])
def test_a_count_that_is_none_is_not_told(wire: Any, count: Any) -> None:
    told = {"promptTokenCount": count, "candidatesTokenCount": 2}
    assert end_of(wire.everywhere({**wire.response(STOP, reason="STOP"), "usageMetadata": told})).usage == Usage(
        None, 2
    )
