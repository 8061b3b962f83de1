"""Names of calls in Chat Completions, in pieces, blank or missing: no call is sealed that the model did not make."""

from __future__ import annotations

from typing import Any

import pytest
from tests.protocols.chat_wire import DONE, delta, finish, tool

import promptport as pp
from promptport.frames import End, InvalidToolCall, StreamFrame, ToolCall, ToolCallDelta
from promptport.protocols.chat_completions import ChatCompletionsDecoder
from promptport.testing import WireResponse, WireServer, assert_valid_stream, cut_body

PARIS = '{"city":"Paris"}'
OFFERED = ["get", "get_weather", "get_time"]


def frames_of(*entries: dict[str, Any], reason: str | None = "tool_calls") -> list[StreamFrame]:
    """The frames of an answer with one entry a chunk, the same for each way of cutting."""
    body = b"".join([*[delta(tool_calls=[entry]) for entry in entries], finish(reason), DONE])
    found = []
    for cut in ("whole", "bytes", "events"):
        decoder = ChatCompletionsDecoder()
        decoder.offer(OFFERED)
        frames = [frame for part in cut_body(body, cut) for frame in decoder.feed(part)] + decoder.close()
        assert decoder.error is None
        assert_valid_stream(frames)
        found.append(frames)
    assert found[0] == found[1] == found[2]
    return found[0]


def calls_in(frames: list[StreamFrame]) -> list[tuple[str, str, str]]:
    kinds = {ToolCall: "call", InvalidToolCall: "invalid"}
    return [(kinds[type(f)], f.name, f.arguments) for f in frames if isinstance(f, ToolCall | InvalidToolCall)]


@pytest.mark.parametrize(
    "entries",
    [
        [tool("", "get_", index=0, id="a"), tool("", "weather", index=0), tool(PARIS, index=0)],
        [tool("", "get_", index=0, id="a"), tool("", "weather", index=0, id="a"), tool(PARIS, index=0, id="a")],
        [tool("", "get_w", index=0), tool("", "eath", index=0), tool(PARIS, "er", index=0)],
        [tool("", "get_w", id="a"), tool("", "eather", id="a"), tool(PARIS, id="a")],
        [tool("", "get_", index=0, id="a"), tool("", "get_weather", index=0, id="a"), tool(PARIS, index=0)],
        [tool("", "get_", index=0, id="a"), tool(PARIS, "weather", index=0)],
        [tool("", "get_weather", index=0, id="a"), tool(PARIS, " ", index=0, id="b")],
        [tool("", "get_weather", index=0, id="a"), tool(PARIS, "\n", index=0)],
    ],
)
def test_a_name_in_pieces_or_blank_is_one_call(entries: list[dict[str, Any]]) -> None:
    frames = frames_of(*entries)
    assert calls_in(frames) == [("call", "get_weather", PARIS)]
    assert {frame.name for frame in frames if isinstance(frame, ToolCallDelta)} == {"get_weather"}


def test_a_name_that_is_whole_is_announced_at_once() -> None:
    decoder = ChatCompletionsDecoder()
    decoder.offer(OFFERED)
    assert decoder.feed(delta(tool_calls=[tool("", "get", index=0, id="a")])) == [ToolCallDelta("a", "get", "")]


@pytest.mark.parametrize("name", ["get_", "unknown", "get_weather_now"])
def test_a_name_that_nobody_offered_stays_a_call(name: str) -> None:
    assert calls_in(frames_of(tool(PARIS[:5], name, index=0, id="a"), tool(PARIS[5:], index=0))) == [
        ("call", name, PARIS)
    ]
    assert calls_in(frames_of(tool("", name, index=0, id="a"))) == [("call", name, "{}")]


def test_two_calls_whose_names_do_not_fit_together_stay_two() -> None:
    entries = [tool("{}", "get_", index=0), tool(PARIS, "get_time", index=0)]
    assert calls_in(frames_of(*entries)) == [("call", "get_", "{}"), ("call", "get_time", PARIS)]


def test_the_beginning_of_a_name_is_unfinished_where_the_limit_cut_it() -> None:
    end = frames_of(tool("", "get_wea", index=0, id="a"), reason="length")[-1]
    assert isinstance(end, End)
    assert [(call.id, call.name) for call in end.unfinished] == [("a", "get_wea")]


@pytest.mark.parametrize("pieces", [["{}"], [" { } "], ["{", "}"]])
def test_arguments_behind_an_empty_object_under_another_id_make_no_call_without_arguments(pieces: list[str]) -> None:
    head = [tool(pieces[0], "get_weather", index=0, id="a"), *[tool(piece, index=0) for piece in pieces[1:]]]
    frames = frames_of(*head, tool(PARIS, index=0, id="b"))
    assert calls_in(frames) == [("invalid", "get_weather", "".join(pieces) + PARIS)]


async def test_a_client_knows_the_names_of_its_tools() -> None:
    body = b"".join(
        [
            delta(tool_calls=[tool("", "get_", index=0, id="a")]),
            delta(tool_calls=[tool(PARIS, "weather", index=0)]),
            finish("tool_calls"),
            DONE,
        ]
    )
    tools = [pp.ToolDescriptor("get_weather", "Weather.", {"type": "object", "properties": {}})]
    async with WireServer(WireResponse(body)) as server:
        client = pp.client("openai-chat", base_url=server.url, api_key="test-key")
        async with client.execute_streaming_with_tools("Hi", "openai-chat/m", tools) as stream:
            message = await stream.message()
        await client.aclose()
    assert [(call.name, call.arguments) for call in message.tool_calls] == [("get_weather", PARIS)]
