"""The places that know every frame type (CONTRIBUTING.md lists them): a new type fails a test for each of them."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from pathlib import Path

import pytest

import promptport as pp
from promptport.dispatch import DispatchFrame, decode_dispatch_frame, encode_dispatch_frame
from promptport.front_ends import AGUIEncoder, EventDecoder, UIMessageEncoder, encode_events
from promptport.testing import assert_valid_stream

ROOT = Path(__file__).parent.parent

FRAMES: dict[type, pp.StreamFrame] = {
    pp.Append: pp.Append("Hello"),
    pp.ReasoningAppend: pp.ReasoningAppend("Hm."),
    pp.Reasoning: pp.Reasoning("Hm.", {"signature": "s"}),
    pp.ToolCallDelta: pp.ToolCallDelta("1", "f", "{}"),
    pp.ToolCall: pp.ToolCall("1", "f", "{}"),
    pp.InvalidToolCall: pp.InvalidToolCall("1", "f", "[]", "not an object"),
    pp.Citation: pp.Citation("https://example.com"),
    pp.ProviderItem: pp.ProviderItem("web_search", {"query": "q"}),
    pp.Restarted: pp.Restarted("provider/model", "IncompleteStreamError"),
    pp.End: pp.End(pp.FinishReason.STOP, "stop"),
}
"""One of each; a new type must be put in here, and into the tables below."""

TYPES = set(typing.get_args(pp.StreamFrame))


def in_order(kinds: set[type]) -> list[type]:
    """The same in every process, as a run on several processors needs it."""
    return sorted(kinds, key=lambda kind: kind.__name__)


def test_there_is_one_of_each() -> None:
    assert set(FRAMES) == TYPES


# ------------------------------------------------------------------------------ the message that frames make

FOLDED: dict[type, pp.AssistantMessage] = {
    pp.Append: pp.AssistantMessage.of("Hello"),
    pp.ReasoningAppend: pp.AssistantMessage.of(pp.Reasoning("Hm.")),
    pp.Reasoning: pp.AssistantMessage.of(pp.Reasoning("Hm.", {"signature": "s"})),
    pp.ToolCallDelta: pp.AssistantMessage(unfinished=(pp.UnfinishedCall("1", "f", "{}"),)),
    pp.ToolCall: pp.AssistantMessage.of(pp.ToolCall("1", "f", "{}")),
    pp.InvalidToolCall: pp.AssistantMessage.of(pp.InvalidToolCall("1", "f", "[]", "not an object")),
    pp.Citation: pp.AssistantMessage.of(pp.Citation("https://example.com")),
    pp.ProviderItem: pp.AssistantMessage.of(pp.ProviderItem("web_search", {"query": "q"})),
    pp.Restarted: pp.AssistantMessage(),
    pp.End: pp.AssistantMessage(finish_reason=pp.FinishReason.STOP, raw_finish_reason="stop"),
}


@pytest.mark.parametrize("kind", in_order(TYPES), ids=lambda kind: kind.__name__)
def test_a_message_is_made_of_every_frame(kind: type) -> None:
    assert pp.message_of([FRAMES[kind]]) == FOLDED[kind]


def test_what_came_before_a_restart_is_in_no_message() -> None:
    before = [frame for kind, frame in FRAMES.items() if kind not in (pp.Restarted, pp.End)]
    assert pp.message_of([*before, FRAMES[pp.Restarted], pp.Append("Hello")]) == pp.AssistantMessage.of("Hello")


# -------------------------------------------------------------------------------------------- the tool loop


def test_the_loop_yields_every_frame_of_a_model() -> None:
    assert set(typing.get_args(DispatchFrame)) >= TYPES


@pytest.mark.parametrize("kind", in_order(TYPES), ids=lambda kind: kind.__name__)
def test_the_loops_json_has_every_frame(kind: type) -> None:
    frame = typing.cast("DispatchFrame", FRAMES[kind])
    assert decode_dispatch_frame(encode_dispatch_frame(frame)) == frame


# -------------------------------------------------------------------------------------------- valid streams

BEFORE: dict[type, list[type]] = {
    pp.ReasoningAppend: [pp.ReasoningAppend, pp.Reasoning],
    pp.Reasoning: [pp.ReasoningAppend, pp.Reasoning],
    pp.ToolCallDelta: [pp.ToolCallDelta, pp.ToolCall],
    pp.ToolCall: [pp.ToolCallDelta, pp.ToolCall],
    pp.End: [],
}
"""The frames of a valid stream that holds this one, where it cannot stand alone before `End`."""


@pytest.mark.parametrize("kind", in_order(TYPES - {pp.InvalidToolCall}), ids=lambda kind: kind.__name__)
def test_a_valid_stream_may_hold_every_frame(kind: type) -> None:
    frames = [FRAMES[each] for each in BEFORE.get(kind, [kind])]
    reason = pp.FinishReason.TOOL_CALLS if any(isinstance(frame, pp.ToolCall) for frame in frames) else None
    assert_valid_stream([*frames, pp.End(reason or pp.FinishReason.STOP)])


BROKEN: dict[type, Callable[[], list[pp.StreamFrame]]] = {
    pp.Append: lambda: [pp.Append("")],
    pp.ReasoningAppend: lambda: [FRAMES[pp.ReasoningAppend]],
    pp.Reasoning: lambda: [FRAMES[pp.Reasoning]],
    pp.ToolCallDelta: lambda: [FRAMES[pp.ToolCallDelta]],
    pp.ToolCall: lambda: [FRAMES[pp.ToolCall]],
    pp.InvalidToolCall: lambda: [FRAMES[pp.InvalidToolCall]],
    pp.Restarted: lambda: [pp.ToolCallDelta("1", "f", "{}"), FRAMES[pp.ToolCall], FRAMES[pp.Restarted]],
    pp.End: lambda: [FRAMES[pp.End]],
}
"""For each frame a stream that breaks a rule with it."""


@pytest.mark.parametrize("kind", in_order(TYPES - {pp.Citation, pp.ProviderItem}), ids=lambda kind: kind.__name__)
def test_a_stream_that_breaks_a_rule_is_not_valid(kind: type) -> None:
    with pytest.raises(AssertionError):
        assert_valid_stream([*BROKEN[kind](), pp.End(pp.FinishReason.STOP)])


# -------------------------------------------------------------------------------------------- front ends


@pytest.mark.parametrize("kind", in_order(TYPES - {pp.End}), ids=lambda kind: kind.__name__)
async def test_events_carry_every_frame(kind: type) -> None:
    frames = [FRAMES[kind], FRAMES[pp.End]]

    async def source() -> typing.AsyncIterator[DispatchFrame]:
        for frame in frames:
            yield typing.cast("DispatchFrame", frame)

    decoder = EventDecoder()
    read = [frame async for data in encode_events(source()) for frame in decoder.feed(data)]
    assert read == frames
    assert decoder.error is None


UI_CHUNKS: dict[type, str] = {
    pp.Append: "text-delta",
    pp.ReasoningAppend: "reasoning-delta",
    pp.Reasoning: "reasoning-end",
    pp.ToolCallDelta: "tool-input-delta",
    pp.ToolCall: "tool-input-available",
    pp.InvalidToolCall: "tool-input-error",
    pp.Citation: "source-url",
    pp.ProviderItem: "data-provider_item",
    pp.Restarted: "reset-step",
    pp.End: "finish",
}


@pytest.mark.parametrize("kind", in_order(TYPES), ids=lambda kind: kind.__name__)
def test_ui_messages_have_a_chunk_for_every_frame(kind: type) -> None:
    encoder = UIMessageEncoder("run")
    encoder.feed(pp.Append("before"))
    data = encoder.feed(typing.cast("DispatchFrame", FRAMES[kind]))
    assert f'"type":"{UI_CHUNKS[kind]}"' in data.decode()


AGUI_EVENTS: dict[type, str] = {
    pp.Append: "TEXT_MESSAGE_CONTENT",
    pp.ReasoningAppend: "REASONING_MESSAGE_CONTENT",
    pp.Reasoning: "REASONING_ENCRYPTED_VALUE",
    pp.ToolCallDelta: "TOOL_CALL_ARGS",
    pp.ToolCall: "TOOL_CALL_END",
    pp.InvalidToolCall: "TOOL_CALL_END",
    pp.Citation: "CUSTOM",
    pp.ProviderItem: "CUSTOM",
    pp.Restarted: "CUSTOM",
    pp.End: "STEP_FINISHED",
}


@pytest.mark.parametrize("kind", in_order(TYPES), ids=lambda kind: kind.__name__)
def test_ag_ui_has_an_event_for_every_frame(kind: type) -> None:
    encoder = AGUIEncoder("thread", "run")
    encoder.feed(pp.Append("before"))
    data = encoder.feed(typing.cast("DispatchFrame", FRAMES[kind]))
    assert f'"type":"{AGUI_EVENTS[kind]}"' in data.decode()


@pytest.mark.parametrize("kind", typing.get_args(DispatchFrame), ids=lambda kind: kind.__name__)
def test_every_encoder_takes_every_frame_of_the_loop(kind: type) -> None:
    end = pp.End(pp.FinishReason.STOP)
    loop: dict[type, typing.Any] = {
        pp.ToolStarted: pp.ToolStarted("1", "f"),
        pp.ToolProgress: pp.ToolProgress("1", 1),
        pp.ToolResult: pp.ToolResult("1", "f", "x"),
        pp.StepEnd: pp.StepEnd(0, end),
        pp.StepReset: pp.StepReset(0),
        pp.ApprovalNeeded: pp.ApprovalNeeded(()),
        pp.ToolsPending: pp.ToolsPending(()),
    }
    for encoder in (UIMessageEncoder("run"), AGUIEncoder("thread", "run")):
        encoder.feed({**FRAMES, **loop}[kind])


# ------------------------------------------------------------------------------------------ CONTRIBUTING.md


def test_the_files_that_the_page_names_are_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:src|tests|providers|docs)/[\w./]+)`", page))
    assert len(named) > 15
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_list_of_places_is_the_list_of_tests() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    section = page.partition("## Places that know every frame type")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(tests/[\w.]+)`", section)) == {"tests/test_frames.py", "tests/test_every_frame.py"}
