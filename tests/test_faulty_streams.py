"""Streams of Gemini, Bedrock and Cohere with one thing wrong: every field of another type, every event lost, doubled or
out of order, and every cut. Whatever comes, it is a valid answer or one of our errors, and nothing is lost in silence.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from promptport.decoding import StreamDecoder
from promptport.errors import IncompleteStreamError, ProtocolError, ProviderStreamError, StreamError
from promptport.frames import Append, Citation, End, Reasoning, ReasoningAppend, StreamFrame, ToolCall
from promptport.protocols import MessagesDecoder, decode_chat_completion, decode_message, decode_response
from promptport.testing import assert_valid_stream
from promptport_bedrock._decode import ConverseDecoder
from promptport_bedrock.conformance import frame
from promptport_cohere._decode import ChatDecoder
from promptport_google._decode import ContentDecoder

Event = dict[str, Any]
Path = tuple[str | int, ...]
MISSING = object()


def gemini(*parts: Event, **fields: Any) -> Event:
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 7, "thoughtsTokenCount": 2}
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **fields}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r"}


def streamed(*args: Event, more: bool = True) -> Event:
    return gemini({"functionCall": {"partialArgs": list(args), **({"willContinue": True} if more else {})}})


GEMINI: list[Event] = [
    gemini({"text": "hm", "thought": True}),
    gemini({"text": "so", "thought": True, "thoughtSignature": "c2ln"}),
    gemini({"text": "Hello"}),
    gemini({"functionCall": {"id": "a1", "name": "f", "args": {"x": 1}}, "thoughtSignature": "czE="}),
    gemini({"functionCall": {"name": "v", "willContinue": True}}),
    streamed({"jsonPath": "$.city", "stringValue": "Par", "willContinue": True}),
    streamed({"jsonPath": "$.city", "stringValue": "is"}, {"jsonPath": "$.n", "numberValue": 3}),
    streamed({"jsonPath": "$.b", "boolValue": True}, {"jsonPath": "$.z", "nullValue": "NULL_VALUE"}),
    gemini({"functionCall": {}}),
    gemini({"executableCode": {"language": "PYTHON", "code": "1"}}),
    gemini({"text": ""}, finishReason="STOP", citationMetadata={"citations": [{"uri": "u", "title": "t"}]}),
]


def block(index: int, **delta: Any) -> Event:
    return {"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}}


def stop(index: int) -> Event:
    return {"contentBlockStop": {"contentBlockIndex": index}}


CITED = {"title": "t", "sourceContent": [{"text": "x"}], "location": {"web": {"url": "u"}}}
RESULT = {"toolUseId": "t9", "type": "x", "status": "success"}
BEDROCK: list[Event] = [
    {"messageStart": {"role": "assistant"}},
    block(0, reasoningContent={"text": "hm"}),
    block(0, reasoningContent={"signature": "c2ln"}),
    stop(0),
    block(1, text="Hi"),
    block(1, text=" you"),
    block(1, citation=CITED),
    stop(1),
    {"contentBlockStart": {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "f"}}}},
    block(2, toolUse={"input": '{"x":'}),
    block(2, toolUse={"input": "1}"}),
    stop(2),
    block(3, reasoningContent={"redactedContent": "YWI="}),
    stop(3),
    {"contentBlockStart": {"contentBlockIndex": 4, "start": {"toolResult": RESULT}}},
    block(4, toolResult=[{"text": "found"}]),
    stop(4),
    {"messageStop": {"stopReason": "tool_use", "additionalModelResponseFields": {"a": 1}}},
    {"metadata": {"usage": {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 4}, "trace": {"g": 1}}},
]


def cohere(kind: str, index: int | None = None, **message: Any) -> Event:
    event: Event = {"type": kind, **({} if index is None else {"index": index})}
    return {**event, "delta": {"message": message}} if message else event


SOURCE = {"type": "document", "id": "d", "document": {"title": "t", "url": "u"}}
COHERE: list[Event] = [
    {**cohere("message-start", role="assistant", content=[], tool_plan="", tool_calls=[], citations=[]), "id": "m1"},
    cohere("content-start", 0, content={"type": "thinking", "thinking": ""}),
    cohere("content-delta", 0, content={"thinking": "hm"}),
    cohere("content-end", 0),
    cohere("content-start", 1, content={"type": "text", "text": ""}),
    cohere("content-delta", 1, content={"text": "Hi"}),
    cohere("citation-start", 0, citations={"start": 0, "end": 2, "text": "Hi", "sources": [SOURCE]}),
    cohere("citation-end", 0),
    cohere("content-end", 1),
    cohere("tool-plan-delta", tool_plan="I will"),
    cohere("tool-call-start", 0, tool_calls={"id": "t1", "function": {"name": "f", "arguments": ""}}),
    cohere("tool-call-delta", 0, tool_calls={"function": {"arguments": '{"x":'}}),
    cohere("tool-call-delta", 0, tool_calls={"function": {"arguments": "1}"}}),
    cohere("tool-call-end", 0),
    {
        "type": "message-end",
        "delta": {"finish_reason": "TOOL_CALL", "usage": {"tokens": {"input_tokens": 5.0, "output_tokens": 7}}},
    },
]


def sse(event: Event) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\r\n\r\n"


def binary(event: Event) -> bytes:
    ((name, payload),) = event.items()
    return frame(json.dumps(payload).encode(), event_type=name, message_type="event")


class Api(msgspec.Struct):
    """How an API is written and read, and which of its events says that the answer has ended."""

    events: list[Event]
    write: Callable[[Event], bytes]
    decoder: Callable[[], StreamDecoder[Any]]
    terminal: int


APIS = {
    "gemini": Api(GEMINI, sse, ContentDecoder, 10),
    "bedrock": Api(BEDROCK, binary, ConverseDecoder, 17),
    "cohere": Api(COHERE, sse, ChatDecoder, 14),
}
every_api = pytest.mark.parametrize("name", APIS)


def read(api: Api, body: bytes, *, bytewise: bool = True) -> tuple[list[StreamFrame], StreamError | None, int]:
    """The frames, the error, and how much was counted as unknown: the same for every cut, and never another error."""
    whole = api.decoder()
    frames = whole.feed(body) + whole.close()
    single = api.decoder()
    step = 1 if bytewise else 97
    cut = [each for at in range(0, len(body), step) for each in single.feed(body[at : at + step])] + single.close()
    assert (cut, repr(single.error), single.skipped) == (frames, repr(whole.error), whole.skipped)
    if whole.error is None:
        assert_valid_stream(frames)
    else:
        assert not any(isinstance(each, End) for each in frames)
    return frames, whole.error, sum(whole.skipped.values())


def written(api: Api, events: list[Event]) -> bytes:
    return b"".join(map(api.write, events))


def fields(value: Any, path: Path = ()) -> Iterator[Path]:
    pairs: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield (*path, key)
        yield from fields(below, (*path, key))


def changed(events: list[Event], number: int, path: Path, value: Any) -> list[Event]:
    made = copy.deepcopy(events)
    place: Any = made[number]
    for key in path[:-1]:
        place = place[key]
    if value is MISSING:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return made


STRANGE = [None, 7, -1, 1.5, 10**30, "zz", "", [], ["a"], [None], {}, {"a": 1}, True, False, MISSING]


@every_api
def test_every_field_may_be_of_another_type(name: str) -> None:
    api = APIS[name]
    usual = read(api, written(api, api.events))[0]
    said = [each for each in usual if isinstance(each, Append | ReasoningAppend | ToolCall | Citation)]
    for number, event in enumerate(api.events):
        for path in fields(event):
            if name == "bedrock" and len(path) == 1:
                continue  # its name stands in the frame's headers
            for value in STRANGE:
                frames, error, _ = read(api, written(api, changed(api.events, number, path, value)), bytewise=False)
                told = f"event {number}, {path}: {value!r}"
                assert error is None or isinstance(error, ProtocolError | IncompleteStreamError), told
                for call in frames:
                    if isinstance(call, ToolCall) and call not in said:  # another one than was sent: as it was changed
                        assert number in _OF_CALLS[name], told


_OF_CALLS = {"gemini": range(3, 9), "bedrock": range(8, 12), "cohere": range(10, 14)}

LOST: list[tuple[str, int, Path]] = [
    ("bedrock", 1, ("contentBlockDelta", "delta")),
    ("bedrock", 1, ("contentBlockDelta", "delta", "reasoningContent")),
    ("bedrock", 1, ("contentBlockDelta", "delta", "reasoningContent", "text")),
    ("bedrock", 2, ("contentBlockDelta", "delta", "reasoningContent", "signature")),
    ("bedrock", 4, ("contentBlockDelta", "delta", "text")),
    ("bedrock", 6, ("contentBlockDelta", "delta", "citation")),
    ("bedrock", 9, ("contentBlockDelta", "contentBlockIndex")),
    ("bedrock", 9, ("contentBlockDelta", "delta", "toolUse")),
    ("bedrock", 9, ("contentBlockDelta", "delta", "toolUse", "input")),
    ("bedrock", 11, ("contentBlockStop", "contentBlockIndex")),
    ("bedrock", 15, ("contentBlockDelta", "delta", "toolResult")),
    ("bedrock", 17, ("messageStop", "stopReason")),
    ("cohere", 2, ("delta",)),
    ("cohere", 2, ("delta", "message")),
    ("cohere", 2, ("delta", "message", "content")),
    ("cohere", 2, ("delta", "message", "content", "thinking")),
    ("cohere", 5, ("delta", "message", "content", "text")),
    ("cohere", 6, ("delta", "message", "citations")),
    ("cohere", 9, ("delta", "message", "tool_plan")),
    ("cohere", 10, ("index",)),
    ("cohere", 10, ("delta", "message", "tool_calls")),
    ("cohere", 10, ("delta", "message", "tool_calls", "function")),
    ("cohere", 11, ("index",)),
    ("cohere", 11, ("delta", "message", "tool_calls")),
    ("cohere", 11, ("delta", "message", "tool_calls", "function")),
    ("cohere", 11, ("delta", "message", "tool_calls", "function", "arguments")),
    ("cohere", 14, ("delta",)),
    ("gemini", 5, ("candidates", 0, "content", "parts", 0, "functionCall", "partialArgs", 0, "jsonPath")),
    ("gemini", 6, ("candidates", 0, "content", "parts", 0, "functionCall", "partialArgs", 1, "numberValue")),
    ("gemini", 7, ("candidates", 0, "content", "parts", 0, "functionCall", "partialArgs", 0, "boolValue")),
]


@pytest.mark.parametrize(("name", "number", "path"), LOST)
@pytest.mark.parametrize("value", [None, MISSING], ids=["null", "missing"])
def test_what_an_event_is_there_for_must_be_there(name: str, number: int, path: Path, value: Any) -> None:
    api = APIS[name]
    _, error, _ = read(api, written(api, changed(api.events, number, path, value)))
    assert isinstance(error, ProtocolError)


@every_api
def test_an_event_may_be_lost_doubled_or_out_of_order(name: str) -> None:
    api = APIS[name]
    events = api.events
    calls = [each for each in read(api, written(api, events))[0] if isinstance(each, ToolCall)]
    for at in range(len(events)):
        for made in (
            events[:at] + events[at + 1 :],
            events[: at + 1] + events[at:],
            events[:at] + events[at : at + 2][::-1] + events[at + 2 :],
        ):
            frames, error, _ = read(api, written(api, made), bytewise=False)
            assert error is None or isinstance(error, ProtocolError | IncompleteStreamError)
            if name != "gemini":  # whose events are whole: what is not there was never told
                assert all(call in calls for call in frames if isinstance(call, ToolCall))


@every_api
def test_every_cut_is_incomplete(name: str) -> None:
    api = APIS[name]
    body, end = written(api, api.events), len(written(api, api.events[: api.terminal + 1]))
    usual = read(api, body)[0]
    for length in range(end - 4 if api.write is sse else end):
        decoder = api.decoder()
        frames = decoder.feed(body[:length]) + decoder.close()
        assert isinstance(decoder.error, IncompleteStreamError), length
        whole = [each for each in frames if not isinstance(each, Reasoning)]
        assert whole == [each for each in usual if not isinstance(each, Reasoning)][: len(whole)]


@every_api
@pytest.mark.parametrize("behind", [b"\xff\xfe", b"garbage\n\n", b"<html></html>", b"data: [DONE]\n\n", b"\x00" * 16])
def test_what_stands_behind_the_end_is_no_part_of_the_answer(name: str, behind: bytes) -> None:
    api = APIS[name]
    body = written(api, api.events)
    frames, error, _ = read(api, body + behind)
    if name == "gemini" and behind == b"\xff\xfe":  # no event ends its answers: this is a line of one
        assert error is None or isinstance(error, StreamError)
    else:
        assert (error, frames) == (None, read(api, body)[0])


ERRORS: list[tuple[str, bytes]] = [
    ("gemini", b'[{"error": {"code": 503, "message": "it failed"}}]\n'),
    ("gemini", b'event: error\ndata: {"message": "it failed"}\n\n'),
    ("gemini", b"event: error\ndata: it failed\n\n"),
    ("gemini", b'data: {"error": "it failed"}\n\n'),
    ("cohere", b'data: {"error": {"message": "it failed", "code": 429}}\n\n'),
    ("cohere", b'{"message": "it failed", "id": "x"}\n'),
    ("cohere", b'{\n "error": {\n  "message": "it failed"\n }\n}\n'),
    ("cohere", b'[{"error": {"message": "it failed"}}]\n'),
    ("bedrock", frame(b'{"message": "it failed"}', event_type="throttlingException", message_type="event")),
    ("bedrock", frame(b"it failed", exception_type="modelStreamErrorException", message_type="exception")),
]


@pytest.mark.parametrize(("name", "error"), ERRORS)
@pytest.mark.parametrize("events", [0, 6])
def test_an_error_is_the_providers_in_whatever_form_it_comes(name: str, error: bytes, events: int) -> None:
    api = APIS[name]
    frames, found, _ = read(api, written(api, api.events[:events]) + error)
    assert isinstance(found, ProviderStreamError)
    assert "it failed" in str(found)
    assert bool(frames) is bool(events)


def test_a_frame_that_does_not_say_that_it_is_an_event_is_one() -> None:
    written_so = [(name, json.dumps(payload).encode()) for event in BEDROCK for name, payload in event.items()]
    body = b"".join([frame(payload, event_type=name) for name, payload in written_so])
    assert read(APIS["bedrock"], body) == read(APIS["bedrock"], written(APIS["bedrock"], BEDROCK))


def test_a_whole_answer_in_place_of_coheres_stream_is_read() -> None:
    content = [{"type": "text", "text": "Hi"}]
    answer = {"id": "m1", "message": {"role": "assistant", "content": content}, "finish_reason": "COMPLETE"}
    frames, error, _ = read(APIS["cohere"], json.dumps(answer).encode())
    assert error is None
    assert frames[0] == Append("Hi")


@pytest.mark.parametrize("args", [{"y": 2, "x": 1}, {"x": 1.0, "y": 2}])
def test_a_copy_of_a_call_may_be_spelled_otherwise(args: Any) -> None:
    call = {"functionCall": {"id": "a", "name": "f", "args": {"x": 1, "y": 2}}}
    copied = {"functionCall": {"id": "a", "name": "f", "args": args}}
    frames, _, skipped = read(APIS["gemini"], sse(gemini(call)) + sse(gemini(copied, finishReason="STOP")))
    assert len([each for each in frames if isinstance(each, ToolCall)]) == 1
    assert skipped == 1


@pytest.mark.parametrize("count", [-1, -(10**20), True, "x", None, 1.5])
def test_a_count_of_tokens_that_is_none_is_not_told(count: Any) -> None:
    body = json.dumps({"id": "r", "status": "completed", "output": [], "usage": {"input_tokens": count}}).encode()
    assert decode_response(body).usage.input_tokens is None
    chunk = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": count}}
    assert decode_chat_completion(json.dumps(chunk).encode()).usage.input_tokens is None
    message = {"content": [], "stop_reason": "end_turn", "usage": {"input_tokens": count}}
    assert decode_message(json.dumps(message).encode()).usage.input_tokens is None


MESSAGE = {"id": "m", "model": "c", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "usage": {}}
BEGUN = (
    b'event: message_start\ndata: {"type": "message_start", "message": {"id": "m", "content": []}}\n\n'
    b'event: content_block_start\ndata: {"type": "content_block_start", "index": 0, '
    b'"content_block": {"type": "text", "text": "Hi"}}\n\n'
)


@pytest.mark.parametrize(
    "error",
    [
        b'{"type": "error", "error": {"type": "overloaded_error", "message": "it failed"}}\n',
        b'[{"error": {"message": "it failed"}}]\n',
        b'data: {"error": {"message": "it failed"}}\n\n',
        b"event: error\ndata: it failed\n\n",
    ],
)
@pytest.mark.parametrize("before", [b"", BEGUN])
def test_an_error_of_the_messages_api_in_whatever_form(before: bytes, error: bytes) -> None:
    frames, found, _ = read(Api([], sse, MessagesDecoder, 0), before + error)
    assert isinstance(found, ProviderStreamError)
    assert "it failed" in str(found)
    assert frames == ([Append("Hi")] if before else [])


def test_a_whole_answer_in_place_of_the_messages_stream_is_read() -> None:
    frames, error, _ = read(Api([], sse, MessagesDecoder, 0), json.dumps(MESSAGE).encode())
    assert error is None
    assert frames[0] == Append("Hi")
