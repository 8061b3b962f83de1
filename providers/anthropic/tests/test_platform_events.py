"""AWS event streams of Anthropic events: whole, bytewise and at any cuts; exceptions; what is broken; and plain SSE."""

from __future__ import annotations

import base64
import json
import struct
from itertools import pairwise
from typing import Any
from zlib import crc32

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.errors import ProviderStreamError
from promptport.frames import Append, End, FinishReason, StreamFrame, ToolCall
from promptport.messages import Prompt
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.protocols import MessagesDecoder
from promptport.testing import WireResponse, WireServer
from promptport_anthropic import client as make
from promptport_anthropic._platform_events import PlatformEvents


def frame(payload: bytes, **headers: str) -> bytes:
    block = b""
    for name, value in headers.items():
        key = f":{name.replace('_', '-')}".encode()
        block += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    whole = prelude + struct.pack(">I", crc32(prelude)) + block + payload
    return whole + struct.pack(">I", crc32(whole))


def chunk(event: dict[str, Any]) -> bytes:
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abc"})
    return frame(payload.encode(), event_type="chunk", message_type="event")


def exception(kind: str, message: str) -> bytes:
    return frame(json.dumps({"message": message}).encode(), exception_type=kind, message_type="exception")


START: dict[str, Any] = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 3}},
}
TEXT: list[dict[str, Any]] = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüße"}},
    {"type": "content_block_stop", "index": 0},
]
CALL: list[dict[str, Any]] = [
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
    {"type": "content_block_stop", "index": 1},
]
STOP: list[dict[str, Any]] = [
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}},
]
WHOLE = b"".join(map(chunk, [START, *TEXT, *CALL, *STOP]))
CUT = b"".join(map(chunk, [START, *TEXT]))


def read(data: bytes, cuts: tuple[int, ...] = ()) -> tuple[list[StreamFrame], str, dict[str, int]]:
    decoder = MessagesDecoder((), PlatformEvents())
    edges = [0, *sorted(cuts), len(data)]
    frames = [frame for a, b in pairwise(edges) for frame in decoder.feed(data[a:b])]
    frames += decoder.close()
    return frames, repr(decoder.error) if decoder.error else "", decoder.skipped


ENDS = {
    "complete": (WHOLE, ""),
    "no terminal": (CUT, "IncompleteStreamError"),
    "cut inside a frame": (WHOLE[:-9], "IncompleteStreamError"),
    "throttled": (CUT + exception("throttlingException", "Too many requests"), "ProviderStreamError"),
    "an error frame": (
        CUT + frame(b"", message_type="error", error_code="InternalError", error_message="it failed"),
        "ProviderStreamError",
    ),
    "Anthropic's error": (
        CUT + chunk({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
        "ProviderStreamError",
    ),
    "no bytes": (CUT + frame(b'{"p": "a"}', event_type="chunk", message_type="event"), "ProtocolError"),
    "no base64": (CUT + frame(b'{"bytes": "%"}', event_type="chunk", message_type="event"), "ProtocolError"),
    "no JSON": (CUT + frame(b"{", event_type="chunk", message_type="event"), "ProtocolError"),
    "a flipped bit": (CUT + WHOLE[len(CUT) : -1] + bytes([WHOLE[-1] ^ 1]), "ProtocolError"),
}


@pytest.mark.parametrize("kind", ENDS)
def test_the_same_however_it_is_cut(kind: str) -> None:
    data, error = ENDS[kind]
    whole = read(data)
    assert whole[1].partition("(")[0] == error
    assert Append("Grüße") in whole[0]
    assert read(data, tuple(range(1, len(data)))) == whole


@given(st.sampled_from(sorted(ENDS)), st.lists(st.integers(0, len(WHOLE)), max_size=6))
def test_any_cuts(kind: str, cuts: list[int]) -> None:
    data, _ = ENDS[kind]
    assert read(data, tuple(min(cut, len(data)) for cut in cuts)) == read(data)


def test_what_is_read() -> None:
    frames, _, skipped = read(WHOLE)
    assert ToolCall("t1", "f", '{"a": 1}') in frames
    end = frames[-1]
    assert isinstance(end, End)
    assert (end.finish_reason, end.usage.input_tokens, end.usage.output_tokens) == (FinishReason.TOOL_CALLS, 3, 5)
    assert skipped == {}


def test_unknown_events_are_counted() -> None:
    unknown = frame(b"{}", event_type="news", message_type="event")
    frames, error, skipped = read(unknown + WHOLE)
    assert (frames, error, skipped) == (read(WHOLE)[0], "", {"news": 1})


def test_a_response_of_server_sent_events_is_read_too() -> None:
    events = [START, *TEXT, *CALL, *STOP]
    data = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
    assert read(data) == read(WHOLE)


@pytest.mark.parametrize(
    ("code", "words"), [("throttlingException", "Too many requests"), ("modelStreamErrorException", "it broke")]
)
async def test_an_exception_in_the_stream_through_the_client(code: str, words: str) -> None:
    body = CUT + exception(code, words)
    async with WireServer(WireResponse(body, content_type="application/vnd.amazon.eventstream")) as server:
        sdk = anthropic.AsyncAnthropicBedrock(
            aws_region="us-east-1", aws_access_key="id", aws_secret_key="secret-key", base_url=server.url
        )
        client = make(sdk_client=sdk)
        model = LLModel("anthropic", "claude", ModelCapabilities.of(StreamedTools.DELTAS, Capability))
        with pytest.raises(ProviderStreamError, match=words) as caught:
            await client.execute_streaming_with_tools(Prompt.of("Hi"), model).message()
        assert caught.value.code == code
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Grüße"
        await client.aclose()
        await sdk.close()
