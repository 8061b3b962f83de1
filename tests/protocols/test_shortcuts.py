"""The short ways of decoders, for what nearly every event is: without them the frames are the same."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.decoding import StreamDecoder
from promptport.frames import StreamFrame, ToolCall
from promptport.protocols import ChatCompletionsDecoder, chat_completions
from promptport.protocols.chat_chunks import decode_increment
from promptport_bedrock import _decode as bedrock
from promptport_bedrock.conformance import frame
from promptport_cohere import _decode as cohere
from promptport_google import _decode as gemini


def refused(data: bytes) -> Any:
    raise msgspec.ValidationError("no short way")


def outcome(decoder: StreamDecoder[Any], body: bytes) -> tuple[list[StreamFrame], str, dict[str, int]]:
    frames = decoder.feed(body) + decoder.close()
    return frames, repr(decoder.error), decoder.skipped


def both_ways(make: Callable[[], StreamDecoder[Any]], body: bytes, module: Any, name: str) -> Any:
    """What comes out, the same with the short way and without it."""
    short = outcome(make(), body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, refused)
        assert outcome(make(), body) == short
    return short


def sse(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)


def chat(delta: Any, **choice: Any) -> dict[str, Any]:
    return {"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta, **choice}]}


def call(arguments: Any, index: Any = 0, **more: Any) -> dict[str, Any]:
    name = more.pop("name", None)
    function = {"arguments": arguments, **({} if name is None else {"name": name})}
    return {"tool_calls": [{"index": index, "function": function, **more}]}


CHAT = [
    chat({"role": "assistant", "content": ""}),
    chat({"content": "Hi"}),
    chat(call("", name="f", id="a")),
    chat(call('{"x": "', id="a", name="")),
    chat(call("1", id="a", name="")),
    chat(call("2", name="f", id="a")),
    chat(call("3", id="b")),
    chat(call("", id="null")),
    chat(call("4", index=1, id="b", name="g")),
    chat(call("5", index="0")),
    chat({**call("6"), "content": "text beside it"}),
    chat({**call("7"), "content": "", "refusal": None}),
    chat({**call("8"), "reasoning_content": "hm"}),
    chat({"tool_calls": [*call('"')["tool_calls"], *call("}", index=1)["tool_calls"]]}),
    chat({"tool_calls": []}),
    chat(call('"}'), finish_reason="tool_calls"),
    {**chat(call('"}')), "usage": {"prompt_tokens": 3}},
    {**chat(call("9")), "citations": ["https://a"]},
    {**chat(call("0")), "error": {"message": "it failed"}},
    {"id": "1", "choices": [], "usage": {"prompt_tokens": 1}},
    chat(call("\ud83d")),
    chat(call("\ude00")),
    chat({**call("z"), "unheard": "of"}),
    chat({"content": "Bye"}, finish_reason="stop"),
]


@given(st.lists(st.sampled_from(CHAT), min_size=1, max_size=14))
def test_chat_completions(events: list[Any]) -> None:
    head = [chat(call('{"x": "', name="f", id="a")), chat(call("0", id="a", name="")), chat(call("1"))]
    body = sse(*head, *events) + b"data: [DONE]\n\n"
    both_ways(ChatCompletionsDecoder, body, chat_completions, "decode_increment")


def test_an_id_with_every_increment_is_one_call_and_goes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Mistral's hosted models send it; the short way is really taken."""
    seen: list[bytes] = []
    short = decode_increment

    def looked_at(data: bytes) -> Any:
        seen.append(data)
        return short(data)

    monkeypatch.setattr(chat_completions, "decode_increment", looked_at)
    parts = ['{"city": ', '"Par', 'is"', "}"]
    events = [chat(call("", name="f", id="D681PevKs")), *[chat(call(part, id="D681PevKs", name="")) for part in parts]]
    frames, error, _ = outcome(ChatCompletionsDecoder(), sse(*events, chat({}, finish_reason="tool_calls")))
    assert error == "None"
    assert [each for each in frames if isinstance(each, ToolCall)] == [ToolCall("D681PevKs", "f", '{"city": "Paris"}')]
    assert len(seen) == len(parts)  # all but the first increment, and the chunk that is none


def gem(part: Any, **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0, **fields}], "modelVersion": "m"}


GEMINI = [
    gem({"text": "Hi"}),
    gem({"text": ""}),
    gem({"text": "hm", "thought": True}),
    gem({"text": "hm", "thought": False}),
    gem({"text": "s", "thoughtSignature": "c2ln"}),
    gem({"text": "both", "functionCall": {"name": "f"}}),
    gem({"functionCall": {"name": "f", "args": {"x": 1}}}),
    gem({"functionCall": {"name": "v", "willContinue": True}}),
    gem({"text": "end"}, finishReason="STOP"),
    gem({"text": "cut"}, finishReason="MAX_TOKENS"),
    gem({"text": "odd"}, index=1),
    gem({"text": "odd"}, index="0"),
    gem({"text": "\ud83d"}),
    gem({"text": "\ude00"}),
    gem({"text": "cited"}, citationMetadata={"citations": [{"uri": "u"}]}),
    gem({"text": "found"}, groundingMetadata={"groundingChunks": [{"web": {"uri": "u"}}]}),
    {**gem({"text": "counted"}), "usageMetadata": {"promptTokenCount": 4, "cachedContentTokenCount": 2}},
    {**gem({"text": "counted"}), "usageMetadata": {"candidatesTokenCount": 4}},
    {**gem({"text": "blocked"}), "promptFeedback": {"blockReason": "SAFETY"}},
    {**gem({"text": "goes on"}), "continuationToken": "t"},
    {**gem({"text": "failed"}), "error": {"message": "no"}},
    {"candidates": [*gem({"text": "a"})["candidates"], *gem({"text": "b"}, index=1)["candidates"]]},
    {"candidates": [{"content": {"parts": [{"text": "a"}, {"text": "b", "thought": True}]}}]},
    {"candidates": [{"content": {"parts": []}}]},
    {"usageMetadata": {"thoughtsTokenCount": 3}},
    {"responseId": "r"},
]


@given(st.lists(st.sampled_from(GEMINI), min_size=1, max_size=12))
def test_gemini(events: list[Any]) -> None:
    both_ways(gemini.ContentDecoder, sse(gem({"text": "A"}), *events), gemini, "_decode_text")


def test_gemini_pairs() -> None:
    for pair in itertools.permutations(GEMINI, 2):
        both_ways(gemini.ContentDecoder, sse(gem({"text": "A"}), *pair), gemini, "_decode_text")


def said(kind: str, index: Any = 0, **message: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": message}}


def grown(arguments: Any, index: Any = 0, **more: Any) -> dict[str, Any]:
    return said("tool-call-delta", index, tool_calls={"function": {"arguments": arguments}}, **more)


COHERE = [
    grown("1"),
    grown(""),
    grown(None),
    grown("2", index=1),
    grown("3", index="0"),
    grown("4", tool_plan="I will"),
    grown("5", content={"text": "beside"}),
    {**grown("6"), "type": "content-delta"},
    {**grown("7"), "news": 1},
    grown("\ud83d"),
    said("tool-call-start", 1, tool_calls={"id": "b", "function": {"name": "g", "arguments": ""}}),
    {"type": "tool-call-end", "index": 0},
    {"type": "tool-call-end", "index": 1},
    said("content-delta", 2, content={"text": "Hi"}),
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}},
]


@given(st.lists(st.sampled_from(COHERE), min_size=1, max_size=10))
def test_cohere(events: list[Any]) -> None:
    head = [said("tool-call-start", tool_calls={"id": "a", "function": {"name": "f", "arguments": ""}}), grown("0")]
    both_ways(cohere.ChatDecoder, sse(*head, *events), cohere, "_decode_growing")


def block(index: Any = 0, **delta: Any) -> tuple[str, dict[str, Any]]:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}


BEDROCK: list[tuple[str, dict[str, Any]]] = [
    block(toolUse={"input": "1"}),
    block(toolUse={"input": ""}),
    block(toolUse={"input": None}),
    block(1, toolUse={"input": "2"}),
    block("0", toolUse={"input": "3"}),
    block(toolUse={"input": "4"}, text="beside"),
    block(toolUse={"input": "\ud83d"}),
    block(2, text="Hi"),
    block(3, reasoningContent={"text": "hm"}),
    ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "b", "name": "g"}}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("contentBlockStop", {"contentBlockIndex": 1}),
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": {"inputTokens": 1}}),
]


@given(st.lists(st.sampled_from(BEDROCK), min_size=1, max_size=10))
def test_bedrock(events: list[tuple[str, dict[str, Any]]]) -> None:
    start = ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "a", "name": "f"}}})
    written = [start, block(toolUse={"input": "0"}), *events]
    body = b"".join([frame(json.dumps(body).encode(), event_type=name, message_type="event") for name, body in written])
    both_ways(bedrock.ConverseDecoder, body, bedrock, "_decode_growing")
