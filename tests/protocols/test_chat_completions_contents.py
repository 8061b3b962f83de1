"""Chat Completions as its servers really write it: contents, errors, reasoning (items 10 to 12, 14 and 15)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.protocols.chat_wire import DONE, calls_of, chunk, delta, failing, finish, frames_of, message, tool

from promptport.errors import ProviderStreamError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    ToolCall,
    Usage,
)
from promptport.messages import AssistantMessage, TextPart
from promptport.protocols.chat_completions import ChatCompletionsDecoder

PARIS, ROME = '{"city": "Paris"}', '{"city": "Rome"}'
USAGE = {"prompt_tokens": 5, "completion_tokens": 2}


# ---------------------------------------------------------------------------------- 10. odd chunks and contents


def test_item_10_azures_first_chunk_has_no_choices() -> None:
    first = chunk({"choices": [], "prompt_filter_results": [{"prompt_index": 0}], "id": "", "model": ""})
    answer = message(first, delta(content="a"), finish(), DONE)
    assert (answer.text, answer.model, answer.response_id) == ("a", "model-1", "answer-1")


def test_item_10_a_content_filter_chunk_without_delta() -> None:
    odd = chunk({"choices": [{"index": 0, "finish_reason": None, "content_filter_results": {"hate": {}}}]})
    assert message(delta(content="a"), odd, finish(), DONE).text == "a"


def test_item_10_an_empty_role_empty_calls_and_null_contents() -> None:
    odd: dict[str, Any] = {
        "role": "",
        "tool_calls": [],
        "function_call": None,
        "content": None,
        "reasoning": "",
        "audio": None,
    }
    assert frames_of(delta(**odd), delta(**{**odd, "content": "a"}), delta(content=""), finish(), DONE)[:-1] == [
        Append("a")
    ]
    assert message(delta(content="a"), chunk({"choices": [{"index": 0, "delta": None}]}), finish(), DONE).text == "a"
    assert (
        message(delta(content="a"), chunk({"object": "chat.completion.chunk", "choices": None}), finish(), DONE).text
        == "a"
    )


def test_item_10_content_as_a_list_of_parts() -> None:
    frames = frames_of(
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": " hm"}]}]),
        delta(content=[{"type": "text", "text": "Hel"}, {"type": "reference", "reference_ids": [1]}]),
        delta(content="lo"),
        finish(),
        DONE,
    )
    assert frames[:-1] == [
        ReasoningAppend("hm"),
        ReasoningAppend(" hm"),
        Reasoning("hm hm", {"content": "thinking"}),
        Append("Hel"),
        Append("lo"),
    ]


def test_item_10_refusal_deltas() -> None:
    frames = frames_of(delta(refusal="I can"), delta(refusal="not."), finish("stop"), DONE)
    assert frames[0] == ProviderItem("refusal", {"refusal": "I cannot."})
    assert isinstance(frames[1], End)
    assert (frames[1].finish_reason, frames[1].raw_finish_reason) == (FinishReason.CONTENT_FILTER, "stop")


def test_item_10_other_choices_are_left_out_and_counted() -> None:
    decoder = ChatCompletionsDecoder()
    frames = decoder.feed(delta(content="a") + delta(index=1, content="b") + finish() + delta("stop", index=1) + DONE)
    assert frames[0] == Append("a")
    assert len(frames) == 2
    assert list(decoder.skipped.values()) == [2]


@pytest.mark.parametrize("index", ["0", None, 0.0])
def test_item_10_the_first_choice_by_any_index(index: Any) -> None:
    assert message(delta(index=index, content="a"), delta("stop", index=index), DONE).text == "a"


# ------------------------------------------------------------------------------------------------ 11. errors


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (chunk({"error": {"message": "out of memory", "code": "oom"}}), "oom"),
        (chunk({"error": {"message": "out of memory", "type": "server_error"}}, "error"), "server_error"),
        (chunk({"error": "out of memory"}), None),
        (chunk({"object": "error", "message": "out of memory", "code": 500}), "500"),
        (chunk({"message": "out of memory"}, "error"), None),
        (chunk("out of memory", "error"), None),
        (b"event: error\ndata: out of memory\n\n", None),
        (chunk([{"error": {"message": "out of memory", "status": "INTERNAL"}}]), "INTERNAL"),
        (chunk({"choices": [], "error": {"message": "out of memory"}}), None),
        (chunk({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
                "error": {"message": "out of memory", "code": 502}}), "502"),
        (chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "error",
                             "error": {"message": "out of memory", "code": 502}}]}), "502"),
        (chunk({"choices": [{"index": 0, "delta": {}, "error": {"message": "out of memory"}}]}), None),
        (chunk({"x_groq": {"error": "out of memory"}}), None),
        (b'error: {"code": 500, "message": "out of memory", "type": "server_error"}\n\n', "server_error"),
        (b'{"error": {"message": "out of memory", "code": "oom"}}\n', "oom"),
    ],
)  # fmt: skip
def test_item_11_an_error_in_place_of_a_chunk(event: bytes, code: str | None) -> None:
    for before, after in (
        (delta(content="a"), b""),
        (delta(content="a"), DONE if b"data" in event else b""),
        (b"", b""),
    ):
        partial, error = failing(before, event, after)
        assert isinstance(error, ProviderStreamError), error
        assert "out of memory" in str(error)
        assert error.code == code
        assert partial.text == ("a" if before else "")


def test_item_11_finish_reason_error_without_words() -> None:
    _, error = failing(delta(content="a"), finish("error"), DONE)
    assert isinstance(error, ProviderStreamError)


def test_item_11_a_null_error_is_none() -> None:
    assert (
        message(chunk({"choices": [{"delta": {"content": "a"}, "error": None}], "error": None}), finish(), DONE).text
        == "a"
    )


# --------------------------------------------------------------------------------------------- 12. reasoning


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_item_12_reasoning_under_its_names(field: str) -> None:
    frames = frames_of(
        delta(role="assistant", content=None, **{field: "hm"}),
        delta(content="", **{field: " hm"}),
        delta(content="a", **{field: None}),
        delta(content="b"),
        finish(),
        DONE,
    )
    assert frames[:-1] == [
        ReasoningAppend("hm"),
        ReasoningAppend(" hm"),
        Reasoning("hm hm", {"field": field}),
        Append("a"),
        Append("b"),
    ]


def test_item_12_reasoning_before_a_call() -> None:
    answer = message(
        delta(reasoning_content="hm"), delta(tool_calls=[tool(PARIS, "f", index=0, id="a")]), finish("tool_calls"), DONE
    )
    assert answer.parts == (Reasoning("hm", {"field": "reasoning_content"}), ToolCall("a", "f", PARIS))


def test_item_12_reasoning_and_text_in_one_delta_and_twice() -> None:
    frames = frames_of(delta(reasoning="x", reasoning_content="x", content="a"), delta(reasoning="y"), finish(), DONE)
    assert frames[:-1] == [
        ReasoningAppend("x"),
        Reasoning("x", {"field": "reasoning_content"}),
        Append("a"),
        ReasoningAppend("y"),
        Reasoning("y", {"field": "reasoning"}),
    ]


def test_item_12_reasoning_details_are_kept_to_be_sent_back() -> None:
    text = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
    encrypted = {"type": "reasoning.encrypted", "data": "gAAA", "index": 1}
    answer = message(
        delta(reasoning="h", reasoning_details=[{**text, "text": "h"}]),
        delta(reasoning="m", reasoning_details=[{**text, "text": "m"}]),
        delta(content="", reasoning_details=[{**text, "signature": "sig"}]),
        delta(reasoning_details=[encrypted]),
        delta(content="a"),
        finish(),
        DONE,
    )
    kept = {"field": "reasoning", "reasoning_details": [{**text, "text": "hm", "signature": "sig"}, encrypted]}
    assert answer.parts == (Reasoning("hm", kept), TextPart("a"))


def test_item_12_reasoning_details_alone_are_shown() -> None:
    summary = {"type": "reasoning.summary", "index": 0}
    frames = frames_of(
        delta(reasoning_details=[{**summary, "summary": "h"}]),
        delta(reasoning_details=[{**summary, "summary": "m"}], content="a"),
        finish(),
        DONE,
    )
    assert frames[:-1] == [
        ReasoningAppend("h"),
        ReasoningAppend("m"),
        Reasoning("hm", {"reasoning_details": [{**summary, "summary": "hm"}]}),
        Append("a"),
    ]


# -------------------------------------------------------------------------- 14. and 15. what servers say besides


def test_item_14_groq_reports_a_failed_call_and_usage_its_own_way() -> None:
    failed = {"message": "Failed to call a function.", "code": "tool_use_failed", "failed_generation": "<function=f>"}
    _, error = failing(delta(content="a"), chunk({"error": failed}, "error"))
    assert isinstance(error, ProviderStreamError)
    assert error.code == "tool_use_failed"
    answer = message(
        chunk({"x_groq": {"id": "req_1"}, "choices": [{"index": 0, "delta": {"content": "a"}}]}),
        finish("stop", x_groq={"id": "req_1", "usage": USAGE}),
        DONE,
    )
    assert (answer.text, answer.usage) == ("a", Usage(5, 2))


def test_item_14_groq_tells_of_tools_that_it_ran() -> None:
    ran = {"index": 0, "type": "search", "arguments": "{}", "output": "…"}
    answer = message(delta(executed_tools=[ran]), delta(content="a"), finish(), DONE)
    assert answer.parts == (ProviderItem("executed_tool", ran), TextPart("a"))


def test_item_15_llama_cpp_reports_a_failure_with_the_raw_text() -> None:
    raw = {"code": 500, "message": "Failed to parse input at pos 12: <tool_call>", "type": "server_error"}
    for event in (chunk({"error": raw}), b"error: " + json.dumps(raw).encode() + b"\n\n"):
        partial, error = failing(delta(content="a"), event)
        assert isinstance(error, ProviderStreamError)
        assert error.code == "server_error"
        assert partial == AssistantMessage.of("a")


# ------------------------------------------------------------------------------------------- and other servers


def test_openrouter_comments_and_processing_lines_are_nothing() -> None:
    noise = b": OPENROUTER PROCESSING\n\n"
    assert message(noise, noise, delta(content="a"), noise, finish(), noise, DONE).text == "a"


def test_google_extra_content_is_kept_with_the_call() -> None:
    signature = {"google": {"thought_signature": "sig"}}
    answer = message(
        delta(tool_calls=[tool(PARIS, "f", index=0, id="a", extra_content=signature)]), finish("tool_calls"), DONE
    )
    assert answer.tool_calls == (ToolCall("a", "f", PARIS, {"extra_content": signature}),)


@pytest.mark.parametrize("whole", [{"city": "Paris"}, PARIS])
def test_the_deprecated_function_call(whole: Any) -> None:
    ((_, name, arguments),) = calls_of(
        delta(function_call={"name": "f", "arguments": whole}), finish("function_call"), DONE
    )
    assert (name, json.loads(arguments)) == ("f", {"city": "Paris"})
    ((_, name, arguments),) = calls_of(
        delta(function_call={"name": "f"}),
        delta(function_call={"arguments": '{"city": '}),
        delta(function_call={"arguments": '"Paris"}'}),
        finish("function_call"),
        DONE,
    )
    assert (name, arguments) == ("f", PARIS)


def test_annotations_are_citations() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A", "content": "words"}}
    flat = {"type": "url_citation", "url": "https://b", "title": None}
    answer = message(delta(content="a", annotations=[note]), delta(annotations=[flat]), finish(), DONE)
    assert answer.parts == (
        TextPart("a"),
        Citation("https://a", "A", "words", note),
        Citation("https://b", None, None, flat),
    )


def test_growing_lists_of_sources_come_once_at_the_end() -> None:
    def part(text: str, *sources: str) -> bytes:
        return chunk({"choices": [{"delta": {"content": text}}], "citations": list(sources)})

    answer = message(part("a", "https://a"), part("b", "https://a", "https://b"), finish(), DONE)
    assert answer.parts == (TextPart("ab"), Citation("https://a"), Citation("https://b"))
    results = [{"title": "A", "url": "https://a", "snippet": "words"}]
    answer = message(delta(content="a"), finish("stop", search_results=results, citations=["https://a"]), DONE)
    assert answer.parts == (TextPart("a"), Citation("https://a", "A", "words", results[0]))


def test_item_17_an_index_that_counts_chunks() -> None:
    parts = [delta(index=at, content=text) for at, text in enumerate("Hello")]
    assert message(*parts, delta("stop", index=5), DONE).text == "Hello"
    assert message(*parts[:2], delta("stop", index=2), DONE).text == "He"
    assert message(delta(index=0, content="a"), delta("stop", index=1, content="b"), DONE).text == "ab"


@pytest.mark.parametrize("role", [{}, {"role": "assistant"}])
def test_item_17_an_index_that_begins_at_1(role: dict[str, Any]) -> None:
    parts = [delta(index=1, content=text, **role) for text in "Hello"]
    assert message(*parts, delta("stop", index=1), DONE).text == "Hello"


def test_item_17_tool_calls_where_the_index_counts_chunks() -> None:
    entries = [[tool("", "f", index=0, id="a")], [tool('{"x":', index=0)], [tool(" 1}", index=0)]]
    parts = [delta(index=at, tool_calls=calls) for at, calls in enumerate(entries)]
    assert calls_of(*parts, delta("stop", index=3), DONE) == [("a", "f", '{"x": 1}')]


def test_item_17_two_answers_side_by_side_are_not_mixed() -> None:
    roles = [delta(index=at, role="assistant", content="") for at in (0, 1)]
    texts = [delta(index=at % 2, content=text) for at, text in enumerate("AaBbCc")]
    ends = [delta("stop", index=at) for at in (0, 1)]
    assert message(*roles, *texts, *ends, DONE).text == "ABC"
    assert message(*texts, *ends, DONE).text == "ABC"
    assert message(*texts[::2], ends[0], *texts[1::2], ends[1], DONE).text == "ABC"


def test_item_17_answers_that_nothing_tells_apart_are_an_error() -> None:
    parts = [delta(index=at, content="x") for at in (0, 1, 2, 0)]
    _, error = failing(*parts, DONE)
    assert "two answers" in str(error)


def in_message(text: str, reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **fields}, "finish_reason": reason}
    return chunk({"id": "answer-1", "model": "model-1", "choices": [choice]})


def test_item_17_a_message_in_place_of_a_delta() -> None:
    assert message(in_message("Hello", "stop"), DONE).text == "Hello"
    assert message(in_message("Hel"), in_message("lo"), finish("stop"), DONE).text == "Hello"
    grown = ["Hello you", "Hello you there", "Hello you there!"]
    assert message(*[in_message(text) for text in grown], in_message(grown[-1], "stop"), DONE).text == grown[-1]
    call = in_message("", "tool_calls", tool_calls=[tool("{}", "f", id="a"), tool("{}", "g", id="b")])
    assert calls_of(call, DONE) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_item_20_the_whole_message_after_its_deltas_is_not_the_text_twice() -> None:
    decoder = ChatCompletionsDecoder()
    frames = decoder.feed(delta(content="Hel") + delta(content="lo") + in_message("Hello", "stop") + DONE)
    assert frames[:2] == [Append("Hel"), Append("lo")]
    assert isinstance(frames[2], End)
    assert decoder.skipped == {"message after deltas": 1}


def test_a_choice_of_which_nothing_is_read_is_counted() -> None:
    decoder = ChatCompletionsDecoder()
    decoder.feed(delta(content="a") + chunk({"choices": [{"index": 0, "output": "lost"}]}) + finish() + DONE)
    assert decoder.skipped == {"choice without a delta": 1}
