"""The encoders of the three APIs are the inverse of our decoders: for every answer, at any cut, and for real wires."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import promptport as pp
from promptport.decoding import StreamDecoder
from promptport.frames import parse_arguments
from promptport.front_ends import (
    AnthropicMessagesEncoder,
    APIEncoder,
    OpaqueSeal,
    OpenAIChatEncoder,
    OpenAIResponsesEncoder,
    Sealed,
)
from promptport.protocols import (
    ChatCompletionsDecoder,
    MessagesDecoder,
    ResponsesDecoder,
    decode_chat_completion,
    decode_message,
    decode_response,
)
from promptport.testing import assert_valid_stream

SECRET = "sk-secret-of-the-provider"
CORPUS = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "wire"))


class Wire(NamedTuple):
    encoder: Callable[..., APIEncoder]
    decoder: Callable[[], StreamDecoder[Any]]
    whole: Callable[[bytes], pp.AssistantMessage]
    corpus: str


WIRES = {
    "chat": Wire(OpenAIChatEncoder, ChatCompletionsDecoder, decode_chat_completion, "openai-chat"),
    "responses": Wire(OpenAIResponsesEncoder, ResponsesDecoder, decode_response, "openai-responses"),
    "messages": Wire(AnthropicMessagesEncoder, MessagesDecoder, decode_message, "anthropic"),
}
every_wire = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
VALUES = st.recursive(st.none() | st.booleans() | st.integers(-9, 99) | TEXT, lambda inner: st.lists(inner, max_size=2))
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=3).map(lambda value: json.dumps(value, ensure_ascii=False))
BROKEN = st.sampled_from(['{"a":', "[1]", "1", '{"a": 1}}', "null", "nonsense"])


class Call(NamedTuple):
    id: str
    name: str
    pieces: list[str]
    kind: str  # complete, invalid or cut


def pieces_of(text: str, places: Iterable[int]) -> list[str]:
    cuts = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(cuts)]


@st.composite
def answers(draw: st.DrawFn) -> list[pp.StreamFrame]:  # noqa: PLR0912 - one branch for each thing that comes
    """The frames of one complete answer: text, reasoning and calls in any order, calls side by side, any end."""
    frames: list[pp.StreamFrame] = []
    open_calls: list[Call] = []
    begun = sealed = 0
    for _ in range(draw(st.integers(0, 8))):
        what = draw(st.sampled_from(["text", "text", "reasoning", "call", "grow", "grow", "seal"]))
        if what == "text":
            frames.append(pp.Append(draw(TEXT)))
        elif what == "reasoning" and not open_calls:
            texts = draw(st.lists(TEXT, min_size=1, max_size=3))
            frames += [*map(pp.ReasoningAppend, texts), pp.Reasoning("".join(texts))]
        elif what == "call":
            begun += 1
            kind = draw(st.sampled_from(["complete", "complete", "invalid", "cut"]))
            text = draw(BROKEN if kind == "invalid" else OBJECTS)
            if kind == "cut":
                text = text[: draw(st.integers(0, len(text)))]
            call = Call(
                f"call_{begun}",
                draw(st.sampled_from(["look", "book-2"])),
                pieces_of(text, draw(st.lists(st.integers(0, 40), max_size=3))),
                kind,
            )
            open_calls.append(call)
            frames.append(pp.ToolCallDelta(call.id, call.name, ""))
        elif what == "grow" and open_calls:
            call = draw(st.sampled_from(open_calls))
            if call.pieces:
                frames.append(pp.ToolCallDelta(call.id, call.name, call.pieces.pop(0)))
        elif what == "seal" and open_calls:
            sealed += complete(open_calls.pop(0), frames)
    while draw(st.booleans()) and open_calls:
        sealed += complete(open_calls.pop(0), frames)
    came: dict[str, str] = {call.id: "" for call in open_calls}
    for frame in frames:
        if isinstance(frame, pp.ToolCallDelta) and frame.id in came:
            came[frame.id] += frame.arguments
    unfinished = tuple(pp.UnfinishedCall(call.id, call.name, came[call.id]) for call in open_calls)
    reason = draw(st.sampled_from(pp.FinishReason))
    if sealed:
        reason = draw(st.sampled_from([pp.FinishReason.LENGTH, pp.FinishReason.TOOL_CALLS]))
    elif unfinished:
        reason = draw(st.sampled_from([pp.FinishReason.LENGTH, pp.FinishReason.CONTENT_FILTER]))
    elif reason is pp.FinishReason.TOOL_CALLS:
        reason = pp.FinishReason.STOP
    counts = st.none() | st.integers(0, 10**6)
    usage = pp.Usage(
        draw(st.integers(1000, 10**6)),
        draw(counts),
        draw(st.none() | st.integers(0, 500)),
        draw(st.none() | st.integers(0, 500)),
        draw(counts),
    )
    return [*frames, pp.End(reason, usage=usage, model="m", unfinished=unfinished)]


def complete(call: Call, frames: list[pp.StreamFrame]) -> int:
    frames += [pp.ToolCallDelta(call.id, call.name, piece) for piece in call.pieces]
    if call.kind == "cut":
        call = call._replace(kind="complete", pieces=[])
    text = "".join([f.arguments for f in frames if isinstance(f, pp.ToolCallDelta) and f.id == call.id])
    try:
        parse_arguments(text or "{}")
        frames.append(pp.ToolCall(call.id, call.name, text or "{}"))
    except ValueError as error:
        frames.append(pp.InvalidToolCall(call.id, call.name, text, str(error)))
    return 1


def decoded(decoder: StreamDecoder[Any], data: bytes, cuts: Sequence[int] = ()) -> list[pp.StreamFrame]:
    frames: list[pp.StreamFrame] = []
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        frames += decoder.feed(data[start:end])
    frames += decoder.close()
    if decoder.error is not None:
        raise decoder.error
    return frames


def encoded(encoder: APIEncoder, frames: Iterable[pp.DispatchFrame]) -> bytes:
    return b"".join([*map(encoder.feed, frames), encoder.close()])


def said(frames: Iterable[pp.StreamFrame], wire: Wire) -> list[object]:
    """What the frames say, but for what a wire has no place for: its own ids, and its word for the end.

    Chat Completions completes calls at the answer's end, so its calls stand there; and what neighbours make one is one.
    """
    told: list[object] = []
    calls: list[object] = []
    frames = list(frames)
    blank = {frame.id for frame in frames if isinstance(frame, pp.ToolCall) and frame.arguments == "{}"}
    for frame in frames:
        if isinstance(frame, pp.Reasoning):
            told.append(pp.Reasoning(frame.text))
        elif isinstance(frame, pp.ToolCall | pp.InvalidToolCall):
            (calls if wire.encoder is OpenAIChatEncoder else told).append(replace(frame, provider_data=None))
        elif isinstance(frame, pp.End):
            usage = frame.usage
            if wire.encoder is AnthropicMessagesEncoder:  # whose counts are numbers
                usage = replace(usage, output_tokens=usage.output_tokens or 0)
            told += [*calls, replace(frame, raw_finish_reason=None, response_id=None, usage=usage)]
        elif isinstance(frame, pp.ToolCallDelta) and frame.id in blank and frame.arguments:
            continue  # no arguments at all are ``{}``, with or without a delta that says so
        elif isinstance(frame, pp.ToolCallDelta) and not frame.arguments:
            told.append(("begins", frame.id, frame.name))
        elif not (isinstance(frame, pp.ProviderItem) and frame.type == "message"):
            told.append(frame)
    return told


@every_wire
@settings(max_examples=300, deadline=None)
@given(frames=answers(), cuts=st.lists(st.integers(0, 10**5), max_size=6))
def test_encoder_then_decoder_gives_the_same_frames(wire: Wire, frames: list[pp.StreamFrame], cuts: list[int]) -> None:
    assert_valid_stream(frames)
    data = encoded(wire.encoder("r1", model="m"), frames)
    back = decoded(wire.decoder(), data, cuts)
    assert_valid_stream(back)
    end = frames[-1]
    assert isinstance(end, pp.End)
    if wire.encoder is OpenAIChatEncoder:
        if end.unfinished:  # the one finish reason of all calls: none of them is complete
            assert not [frame for frame in back if isinstance(frame, pp.ToolCall)]
            return
        frames = joined(frames)
        back = joined(back)
    if end.finish_reason is pp.FinishReason.PAUSED and wire.encoder is OpenAIResponsesEncoder:  # it has no word for it
        frames = [*frames[:-1], replace(end, finish_reason=pp.FinishReason.OTHER)]
    assert said(back, wire) == said(frames, wire)


def joined(frames: Iterable[pp.StreamFrame]) -> list[pp.StreamFrame]:
    """Blocks of reasoning with nothing between them are one on a wire that has no blocks."""
    told: list[pp.StreamFrame] = []
    for each in frames:
        frame = each
        if isinstance(frame, pp.ReasoningAppend) and told and isinstance(told[-1], pp.Reasoning):
            told.pop()
        if isinstance(frame, pp.Reasoning):
            texts = []
            for before in reversed(told):
                if not isinstance(before, pp.ReasoningAppend):
                    break
                texts.append(before.text)
            frame = pp.Reasoning("".join(reversed(texts)))
        told.append(frame)
    return told


@every_wire
@settings(max_examples=100, deadline=None)
@given(frames=answers())
def test_a_whole_response_says_what_its_stream_says(wire: Wire, frames: list[pp.StreamFrame]) -> None:
    message = wire.whole(wire.encoder("r1", model="m").whole(frames))
    streamed = pp.message_of(decoded(wire.decoder(), encoded(wire.encoder("r1", model="m"), frames)))
    assert (message.text, message.reasoning) == (streamed.text, streamed.reasoning)
    end = frames[-1]
    assert isinstance(end, pp.End)
    lost = wire.encoder is not OpenAIResponsesEncoder and end.finish_reason is pp.FinishReason.LENGTH
    if not (end.unfinished or lost):  # the one word for the end says that calls were cut
        assert [(call.id, call.name, call.parsed()) for call in message.tool_calls] == [
            (call.id, call.name, call.parsed()) for call in streamed.tool_calls
        ]
    assert message.usage == streamed.usage


@every_wire
@settings(max_examples=100, deadline=None)
@given(frames=answers(), places=st.integers(0, 30), how=st.sampled_from(["fail", "stop", "close"]))
def test_a_cut_answer_is_an_error_and_never_completes_a_call(
    wire: Wire, frames: list[pp.StreamFrame], places: int, how: str
) -> None:
    frames = frames[:-1][:places]
    encoder = wire.encoder("r1", model="m")
    data = b"".join(map(encoder.feed, frames))
    data += (
        encoder.fail(RuntimeError(SECRET)) if how == "fail" else encoder.stop() if how == "stop" else encoder.close()
    )
    assert SECRET.encode() not in data
    assert b"[DONE]" not in data
    assert (encoder.feed(pp.Append("late")), encoder.close(), encoder.stop(), encoder.fail(OSError())) == (b"",) * 4
    decoder = wire.decoder()
    back = decoder.feed(data) + decoder.close()
    assert isinstance(decoder.error, pp.ProviderStreamError)
    known = {frame.id for frame in frames if isinstance(frame, pp.ToolCall | pp.InvalidToolCall)}
    assert {frame.id for frame in back if isinstance(frame, pp.ToolCall | pp.InvalidToolCall)} <= known


@every_wire
def test_what_the_server_runs_is_not_shown(wire: Wire) -> None:
    frames: list[pp.DispatchFrame] = [
        pp.Append("Let me look. "),
        pp.ToolCallDelta("c1", "look", '{"a": 1}'),
        pp.ToolCall("c1", "look", '{"a": 1}'),
        pp.ToolStarted("c1", "look"),
        pp.ToolProgress("c1", {"half": SECRET}),
        pp.ToolResult("c1", "look", SECRET),
        pp.StepEnd(0, pp.End(pp.FinishReason.TOOL_CALLS)),
        pp.Append("Done."),
        pp.ToolCallDelta("c2", "place", "{}"),
        pp.ToolCall("c2", "place", "{}"),
        pp.ToolsPending((pp.ToolCall("c2", "place", "{}"),), pp.Usage(5, 6)),
    ]
    for data in (
        encoded(wire.encoder("r", own_tools=["look"]), frames),
        wire.encoder("r", own_tools=["look"]).whole(frames),
    ):
        assert SECRET.encode() not in data
        assert b"c1" not in data
    message = pp.message_of(decoded(wire.decoder(), encoded(wire.encoder("r", own_tools=["look"]), frames)))
    assert message.text == "Let me look. Done."
    assert [call.id for call in message.tool_calls] == ["c2"]
    assert (message.finish_reason, message.usage) == (pp.FinishReason.TOOL_CALLS, pp.Usage(5, 6))


@every_wire
@pytest.mark.parametrize(
    "frame",
    [
        pp.Restarted("m", "ServerError"),
        pp.StepReset(0),
        pp.ApprovalNeeded((pp.ToolCall("c", "t", "{}"),)),
        pp.InvalidToolCall("c", "t", '{"a": 1}', "the input is free text"),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_what_a_client_cannot_take_back_or_tell_is_an_error(wire: Wire, frame: pp.DispatchFrame) -> None:
    half: list[pp.DispatchFrame] = [pp.Append("Half"), frame, pp.Append("more"), pp.End(pp.FinishReason.STOP)]
    data = encoded(wire.encoder("r"), half)
    decoder = wire.decoder()
    back = decoder.feed(data) + decoder.close()
    assert isinstance(decoder.error, pp.ProviderStreamError)
    assert [one for one in back if isinstance(one, pp.Append)] == [pp.Append("Half")]
    assert not [one for one in back if isinstance(one, pp.ToolCall)]


@every_wire
def test_a_restart_before_anything_was_shown_is_no_error(wire: Wire) -> None:
    frames: list[pp.DispatchFrame] = [pp.Restarted("m", "ServerError"), pp.Append("Hi"), pp.End(pp.FinishReason.STOP)]
    assert pp.message_of(decoded(wire.decoder(), encoded(wire.encoder("r"), frames))).text == "Hi"


@every_wire
def test_opaque_data_is_sealed_with_its_origin(wire: Wire) -> None:
    seal = OpaqueSeal()
    origin = pp.Origin("anthropic", "api.anthropic.com")
    data = {"type": "thinking", "signature": SECRET}
    frames: list[pp.DispatchFrame] = [
        pp.ReasoningAppend("Hm"),
        pp.Reasoning("Hm", data),
        pp.Append("Hi"),
        pp.End(pp.FinishReason.STOP),
    ]
    body = encoded(wire.encoder("r", seal=seal, origin=origin), frames)
    assert SECRET.encode() not in body
    tokens = [word for word in json.dumps(body.decode()).replace("\\", "").split('"') if word.startswith("pp1.")]
    assert tokens
    assert all(seal.open(token) == Sealed(data, origin, "Hm") for token in tokens)
    assert OpaqueSeal().open(tokens[0]) is None
    # Without an origin nobody could be given it back.
    assert b"pp1." not in encoded(wire.encoder("r", seal=seal), frames)


def recordings() -> list[Any]:
    if not CORPUS.is_dir():
        return [pytest.param(None, id="no corpus: set PROMPTPORT_CORPUS")]
    manifest = json.loads((CORPUS / "manifest.json").read_text())
    return [
        pytest.param(entry, id=entry["path"])
        for entry in manifest
        if entry["status"] == 200 and any(wire.corpus == entry["protocol"] for wire in WIRES.values())
    ]


@pytest.mark.parametrize("entry", recordings())
def test_recorded_answers_survive_every_wire(entry: dict[str, Any] | None) -> None:
    if entry is None:
        pytest.skip("the recorded wires are not here: set PROMPTPORT_CORPUS to their folder")
    own = next(wire for wire in WIRES.values() if wire.corpus == entry["protocol"])
    decoder = own.decoder()
    data = (CORPUS / entry["path"]).read_bytes()
    frames = decoder.feed(data) + decoder.close()
    if decoder.error is not None:
        pytest.skip("the recording ends in an error")
    message = pp.message_of(frames)
    for wire in WIRES.values():
        # Without the signatures of others, so that calls and text are compared on all wires.
        back = pp.message_of(decoded(wire.decoder(), encoded(wire.encoder("r1", model=message.model or ""), frames)))
        assert (back.text, back.reasoning) == (message.text, message.reasoning)
        if not message.unfinished:
            assert [replace(call, provider_data=None) for call in back.tool_calls] == [
                replace(call, provider_data=None) for call in message.tool_calls
            ]
        for field in ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens"):
            told = getattr(message.usage, field)
            assert told is None or getattr(back.usage, field) == told
        if wire is own and wire.encoder is not OpenAIChatEncoder:
            assert [part.provider_data for part in back.parts if isinstance(part, pp.Reasoning)] == [
                part.provider_data for part in message.parts if isinstance(part, pp.Reasoning)
            ]
