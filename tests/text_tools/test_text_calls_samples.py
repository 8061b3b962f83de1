"""What a small model really wrote: all that a person reads as a call is one, whoever serves it, however it is cut."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from tests.text_tools.samples import Sample, samples

from promptport import (
    Append,
    Capability,
    End,
    FinishReason,
    InvalidToolCall,
    LLModel,
    ModelCapabilities,
    Prompt,
    StreamedTools,
    StreamFrame,
    ToolCall,
    client,
)
from promptport.testing import WireResponse, WireServer, assert_valid_stream
from promptport.text_tools import TextToolsParser

SAMPLES = {sample.id: sample for sample in samples()}
pytestmark = pytest.mark.skipif(not SAMPLES, reason="the shared sample is not here; set PROMPTPORT_CORPUS")

# What a person reads: "!" before an echo of a tool's signature, "?" before a call that the limit cut.
READ: dict[int, list[str]] = {
    1: ["get_weather"], 6: ["search_files"], 11: ["create_event"], 16: ["create_event"],
    21: ["get_weather", "calculate"], 26: ["send_message"], 31: [], 36: ["search_files"], 41: ["search_files"], 46: [],
    51: ["!create_event"], 56: ["?create_event"], 61: ["send_message"], 66: ["get_weather"], 71: ["create_event"],
    76: ["?send_message"], 81: ["!convert_unit"], 86: ["!get_weather"], 91: [], 96: ["search_files"],
    101: ["!get_weather", "!calculate"], 106: ["calculate"], 111: ["calculate"], 116: ["search_files"] * 2,
    121: ["get_weather", "get_weather", "calculate", "calculate", "calculate", "?calculate"], 126: ["create_event"],
    131: [], 136: ["search_files"], 141: ["create_event"], 146: ["search_files"], 151: ["search_files"],
    156: ["get_weather"], 161: ["search_files"], 166: ["get_weather", "calculate"], 171: ["calculate"], 176: [],
    181: ["!convert_unit", "?calculate"], 186: ["search_files"], 191: ["send_message"], 196: [], 201: ["calculate"],
}  # fmt: skip
NATIVE = ModelCapabilities.of(StreamedTools.DELTAS, [Capability.TOOLS, Capability.SYSTEM])


def read(frames: list[StreamFrame]) -> list[str]:
    marks = {ToolCall: "", InvalidToolCall: "!"}
    found = [f"{marks[type(f)]}{f.name}" for f in frames if isinstance(f, ToolCall | InvalidToolCall)]
    return found + [f"?{call.name}" for f in frames if isinstance(f, End) for call in f.unfinished]


def shown(frames: list[StreamFrame]) -> str:
    return "".join([frame.text for frame in frames if isinstance(frame, Append)])


def wire(sample: Sample, source: random.Random) -> WireResponse:
    places = sorted(source.choices(range(len(sample.raw) + 1), k=source.randrange(40)))
    pieces = [sample.raw[a:b] for a, b in zip([0, *places], [*places, len(sample.raw)], strict=True)]

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"

    body = b"".join([chunk({"content": piece}) for piece in pieces])
    return WireResponse(body + chunk({}, sample.finish) + b"data: [DONE]\n\n")


def test_the_sample_is_whole() -> None:
    assert SAMPLES.keys() == READ.keys()


@pytest.mark.parametrize("number", READ)
@pytest.mark.parametrize("server", ["local", "openai-chat", "llamacpp", "vllm"])
async def test_over_loopback_at_random_cuts(server: str, number: int) -> None:
    sample, source = SAMPLES[number], random.Random(number)
    outcomes = []
    async with WireServer() as wire_server:
        options = {"text_calls": "auto"} if server == "openai-chat" else {}
        made: Any = client(server, base_url=f"{wire_server.url}/v1", api_key="key", **options)
        async with made as asked:
            for _ in range(8):
                wire_server.queue(wire(sample, source))
                model = LLModel(server, "m", NATIVE)
                stream = asked.execute_streaming_with_tools(Prompt.of("Hi"), model, sample.tools)
                outcomes.append([frame async for frame in stream])
            assert wire_server.requests[-1].json()["tools"], "the model's own template stays in use"
    for frames in outcomes:
        assert_valid_stream(frames)
        assert read(frames) == READ[number]
        end = frames[-1]
        assert isinstance(end, End)
        if sample.finish == "length":
            assert end.finish_reason is FinishReason.LENGTH
        assert shown(frames) == shown(outcomes[0])
        assert ("name" in shown(frames) and "{" in shown(frames)) <= (number in {51, 61}), "no call is left as prose"


@pytest.mark.parametrize("number", READ)
def test_nothing_of_it_is_lost(number: int) -> None:
    """Text and arguments, in order, are parts of what was written."""
    sample = SAMPLES[number]
    parser = TextToolsParser("auto", sample.tools)
    frames = parser.feed(sample.raw) + parser.finish()
    position = 0
    for frame in frames:
        if isinstance(frame, Append):
            found = sample.raw.find(frame.text, position)
            assert found >= 0, frame
            position = found + len(frame.text)
