"""Properties whose names a server refuses: sent under others, and back under their own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptport.frames import ToolCall, ToolCallDelta
from promptport.messages import Prompt
from promptport.models import LLModel
from promptport.registry import client
from promptport.testing import WireResponse, WireServer, assert_valid_stream
from promptport.tools import DIALECTS, KeyRenamer, ToolDescriptor, fit_schema

TOOL = ToolDescriptor(
    "measure", "", {"type": "object", "properties": {"größe": {"type": "number"}, "ok": {"type": "string"}}}
)
(WIRE,) = fit_schema(TOOL.parameters, DIALECTS["anthropic"]).renamed
VALUES = st.recursive(
    st.sampled_from([WIRE, "größe", 'a"b\\', 1, None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([WIRE, "b", 'q"']), inner, max_size=2),
)


@given(st.dictionaries(st.sampled_from([WIRE, "b", 'q"']), VALUES, max_size=3), st.booleans(), st.data())
def test_only_keys_are_renamed_whatever_the_cuts(value: dict[str, object], ascii: bool, data: st.DataObject) -> None:
    def own(each: object) -> object:
        if isinstance(each, dict):
            return {"größe" if key == WIRE else key: own(inner) for key, inner in each.items()}
        return [own(inner) for inner in each] if isinstance(each, list) else each

    text = json.dumps(value, ensure_ascii=ascii)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    renamer = KeyRenamer({WIRE: "größe"})
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    joined = "".join([renamer.feed(piece) for piece in pieces])
    assert json.loads(joined) == own(value)
    assert joined == KeyRenamer({WIRE: "größe"}).feed(text)
    assert renamer.finish() == ""


def test_a_text_that_ends_inside_a_key() -> None:
    renamer = KeyRenamer({"a": "b"})
    assert renamer.feed('{"a": 1, "a') == '{"b": 1, '
    assert renamer.finish() == '"a'


def _events(arguments: str) -> bytes:
    usage = {"input_tokens": 1, "output_tokens": 1}
    head: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "usage": usage,
    }
    block = {"type": "tool_use", "id": "toolu_1", "name": "measure", "input": {}}
    pieces = [arguments[i : i + 4] for i in range(0, len(arguments), 4)]
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": head},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *[{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage},
        {"type": "message_stop"},
    ]
    return b"".join([f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events])


async def test_a_call_of_anthropics_has_its_own_names() -> None:
    pytest.importorskip("promptport_anthropic")
    body = _events(json.dumps({WIRE: 1.5, "ok": WIRE}))
    async with WireServer(WireResponse(body, content_type="text/event-stream")) as server:
        asked = client("anthropic", base_url=server.url, api_key="key")
        async with asked.execute_streaming_with_tools(Prompt.of("Hi"), LLModel("anthropic", "m"), [TOOL]) as stream:
            frames = [frame async for frame in stream]
        await asked.aclose()
        assert list(server.requests[0].json()["tools"][0]["input_schema"]["properties"]) == [WIRE, "ok"]
    assert_valid_stream(frames)
    (call,) = [frame for frame in frames if isinstance(frame, ToolCall)]
    assert call.parsed() == {"größe": 1.5, "ok": WIRE}
    assert "".join([frame.arguments for frame in frames if isinstance(frame, ToolCallDelta)]) == call.arguments
