"""The UI message stream: rules that no client enforces, for any frames and any end; and what each frame becomes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.front_ends.chunks import SECRET, chunks_of, frame_sequences

from promptport.dispatch import ApprovalNeeded, DispatchFrame, StepEnd, StepReset, ToolProgress, ToolResult
from promptport.errors import IncompleteStreamError, InvalidInputError, PromptportError, RateLimitError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    InvalidToolCall,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    Restarted,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from promptport.front_ends import SDKVersion, UIMessageEncoder, approval_id, encode_frames
from promptport.messages import Origin

VERSIONS: list[SDKVersion] = ["7", "6", "5", "5.0"]
END = End(FinishReason.STOP, "stop", Usage(1, 2), "m")


def encoded(frames: Sequence[Any], *, sdk: SDKVersion = "7", **options: Any) -> list[Any]:
    encoder = UIMessageEncoder("run", sdk=sdk, **options)
    return chunks_of(b"".join(map(encoder.feed, frames)) + encoder.close())


def kinds(chunks: list[Any]) -> list[str]:
    return [chunk if isinstance(chunk, str) else chunk["type"] for chunk in chunks]


def no_null(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(no_null, value.values()))
    return value is not None and (not isinstance(value, list) or all(map(no_null, value)))


# -------------------------------------------------------------------------------------------------- rules

OUTCOMES = {"tool-output-available", "tool-output-error", "tool-output-denied", "tool-input-error"}


def check(chunks: list[Any], frames: list[DispatchFrame], sdk: SDKVersion) -> None:  # noqa: PLR0912, PLR0915
    """All that must hold, whatever came and however it ended."""
    assert chunks[-1] == "[DONE]"
    assert chunks.count("[DONE]") == 1
    chunks = chunks[:-1]
    assert kinds(chunks).count("start") == 1
    assert chunks[0]["type"] == "start"
    assert chunks[-1]["type"] in ("finish", "error", "abort")
    assert sum(kind in ("finish", "error", "abort") for kind in kinds(chunks)) == 1
    step = False
    opened: dict[str, str] = {}
    used: set[str] = set()
    calls: dict[str, str] = {}
    told: dict[str, int] = defaultdict(int)
    asked: dict[str, str] = {}
    for chunk in chunks:
        kind = chunk["type"]
        assert no_null(chunk), chunk
        if kind == "start-step":
            assert not step
            step = True
        elif kind == "finish-step":
            assert step
            assert not opened
            assert "streaming" not in calls.values()
            step = False
        elif kind == "reset-step":
            assert step
            assert not opened
            assert sdk == "7"
            calls, told = {}, defaultdict(int)
        elif kind in ("text-start", "reasoning-start"):
            assert step
            assert chunk["id"] not in used
            used.add(chunk["id"])
            opened[chunk["id"]] = kind.partition("-")[0]
        elif kind in ("text-delta", "reasoning-delta"):
            assert opened[chunk["id"]] == kind.partition("-")[0]
            assert chunk["delta"]
        elif kind in ("text-end", "reasoning-end"):
            assert opened.pop(chunk["id"]) == kind.partition("-")[0]
        elif kind == "tool-input-start":
            assert step
            assert chunk["toolCallId"] not in calls
            calls[chunk["toolCallId"]] = "streaming"
        elif kind == "tool-input-delta":
            assert calls[chunk["toolCallId"]] == "streaming"
            assert chunk["inputTextDelta"]
        elif kind in ("tool-input-available", "tool-input-error"):
            calls[chunk["toolCallId"]] = "available"
        elif kind.startswith("tool-"):
            assert calls[chunk["toolCallId"] if "toolCallId" in chunk else asked[chunk["approvalId"]]] == "available"
        if kind == "tool-approval-request":
            asked[chunk["approvalId"]] = chunk["toolCallId"]
        if kind in OUTCOMES and not chunk.get("preliminary"):
            told[chunk["toolCallId"]] += 1
        if sdk in ("5", "5.0"):
            assert not kind.startswith("tool-approval")
            assert kind not in ("tool-output-denied", "custom")
            assert "finishReason" not in chunk
            assert "reason" not in chunk
            assert not kind.startswith("tool-") or "providerMetadata" not in chunk
        if sdk == "5.0":
            assert kind != "tool-input-error"
    assert not step
    assert not opened
    last = frames[-1] if frames else None
    paused = isinstance(last, ApprovalNeeded) or type(last).__name__ == "ToolsPending"
    waiting = {call.id for call in last.calls} if paused else set()  # type: ignore[union-attr]
    if chunks[-1]["type"] != "finish":
        waiting = set()
    for call in calls:
        assert told[call] == (0 if call in waiting else 1), call


@given(frame_sequences(), st.sampled_from(VERSIONS), st.booleans())
def test_every_stream_keeps_the_rules(frames: list[DispatchFrame], sdk: SDKVersion, reasoning: bool) -> None:
    chunks = encoded(frames, sdk=sdk, reasoning=reasoning)
    check(chunks, frames, sdk)
    assert chunks[-2]["type"] == "finish"
    assert SECRET not in json.dumps(chunks)


@given(frame_sequences(), st.sampled_from(VERSIONS), st.data())
def test_every_cut_stream_keeps_the_rules_however_it_ends(
    frames: list[DispatchFrame], sdk: SDKVersion, data: st.DataObject
) -> None:
    frames = frames[: data.draw(st.integers(0, len(frames) - 1))]
    encoder = UIMessageEncoder("run", sdk=sdk)
    body = b"".join(map(encoder.feed, frames))
    end = data.draw(st.sampled_from(["fail", "stop", "close"]))
    if end == "fail":
        body += encoder.fail(RuntimeError(SECRET))
    else:
        body += encoder.stop() if end == "stop" else encoder.close()
    assert encoder.feed(Append("late")) + encoder.fail(ValueError()) + encoder.stop() + encoder.close() == b""
    chunks = chunks_of(body)
    check(chunks, frames, sdk)
    assert chunks[-2]["type"] == ("abort" if end == "stop" else "error")
    assert SECRET not in body.decode()


@given(frame_sequences(), st.sampled_from(VERSIONS))
def test_text_and_arguments_are_the_input_and_a_replay_is_the_same_bytes(
    frames: list[DispatchFrame], sdk: SDKVersion
) -> None:
    chunks = encoded(frames, sdk=sdk)
    assert chunks == encoded(frames, sdk=sdk)
    text = "".join([chunk["delta"] for chunk in chunks[:-1] if chunk["type"] == "text-delta"])
    assert text == "".join([frame.text for frame in frames if isinstance(frame, Append)])
    for call in frames:
        if isinstance(call, ToolCall):
            mine = [chunk for chunk in chunks[:-1] if chunk.get("toolCallId") == call.id]
            deltas = "".join([one["inputTextDelta"] for one in mine if one["type"] == "tool-input-delta"])
            assert deltas == call.arguments
            assert [one["input"] for one in mine if one["type"] == "tool-input-available"] == [call.parsed()]


# ---------------------------------------------------------------------------------------------- each frame


def test_text_before_and_after_a_call_is_two_parts_and_the_step_closes_both() -> None:
    call = ToolCall("c", "f", "{}")
    frames = [Append("a"), ToolCallDelta("c", "f", "{}"), call, Append("b"), ToolResult("c", "f", "1"), END]
    assert kinds(encoded(frames)) == [
        *("start", "start-step", "text-start", "text-delta", "text-end"),
        *("tool-input-start", "tool-input-delta", "tool-input-available", "text-start", "text-delta"),
        *("tool-output-available", "text-end", "finish-step", "finish", "[DONE]"),
    ]


def test_the_finish_has_reason_usage_and_model() -> None:
    frames: list[DispatchFrame] = [Append("a"), End(FinishReason.LENGTH, "max", Usage(3, 4, reasoning_tokens=1), "m-1")]
    metadata = {"usage": {"inputTokens": 3, "outputTokens": 4, "reasoningTokens": 1}, "model": "m-1"}
    assert encoded(frames)[-2] == {"type": "finish", "finishReason": "length", "messageMetadata": metadata}
    assert encoded(frames, sdk="5")[-2] == {"type": "finish", "messageMetadata": metadata}


@pytest.mark.parametrize("sdk", VERSIONS)
def test_reasoning_has_its_signature_at_its_end(sdk: SDKVersion) -> None:
    frames: list[DispatchFrame] = [ReasoningAppend("hm"), Reasoning("hm", {"signature": "s"}), Append("a"), END]
    chunks = encoded(frames, sdk=sdk, origin=Origin("anthropic", "a"))
    end = next(chunk for chunk in chunks if chunk["type"] == "reasoning-end")
    kept = {"data": {"signature": "s"}, "origin": {"provider": "anthropic", "address": "a"}}
    assert end["providerMetadata"] == {"promptport": kept}
    assert "signature" not in json.dumps(encoded(frames, sdk=sdk, reasoning=False))


def test_reasoning_without_text_is_kept_too() -> None:
    chunks = encoded([Reasoning("", {"encrypted": "e"}), Append("a"), END])
    assert kinds(chunks)[:4] == ["start", "start-step", "reasoning-start", "reasoning-end"]


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (ToolResult("c", "f", "21"), "21"),
        (ToolResult("c", "f", "21", json=True), 21),
        (ToolResult("c", "f", '{"a": [1]}', json=True), {"a": [1]}),
        (ToolResult("c", "f"), ""),
    ],
)
def test_an_output_is_json_where_the_tool_gave_json(result: ToolResult, output: Any) -> None:
    chunks = encoded([ToolCall("c", "f", "{}"), result, END])
    assert next(chunk for chunk in chunks if chunk["type"] == "tool-output-available")["output"] == output


def test_progress_is_a_preliminary_output() -> None:
    chunks = encoded([ToolCall("c", "f", "{}"), ToolProgress("c", {"done": 1}), ToolResult("c", "f", "x"), END])
    outputs = [chunk for chunk in chunks[:-1] if chunk["type"] == "tool-output-available"]
    assert [one.get("preliminary") for one in outputs] == [True, None]
    early = encoded(
        [ToolCall("c", "f", "{}"), ToolProgress("c", {"done": 1}), ToolResult("c", "f", "x"), END], sdk="5.0"
    )
    assert kinds(early).count("tool-output-available") == 1


def test_a_tools_error_is_told_only_as_the_program_says() -> None:
    frames = [ToolCall("c", "f", "{}"), ToolResult("c", "f", error=f"boom {SECRET}"), END]
    assert SECRET not in json.dumps(encoded(frames))
    shown = encoded(frames, error_text=lambda error: f"told: {type(error).__name__}")
    assert next(chunk for chunk in shown if chunk["type"] == "tool-output-error")["errorText"] == "told: ToolResult"


def test_an_invalid_call_is_one_error_with_its_text() -> None:
    frames = [InvalidToolCall("c", "f", "{", "not JSON"), ToolResult("c", "f", error="not JSON"), END]
    chunks = encoded(frames)
    error = next(chunk for chunk in chunks if chunk["type"] == "tool-input-error")
    assert (error["input"], error["errorText"]) == ("{", "not JSON")
    assert "tool-output-error" not in kinds(chunks)


@pytest.mark.parametrize("sdk", VERSIONS)
def test_a_denied_call_is_denied_where_the_version_can_say_so(sdk: SDKVersion) -> None:
    frames = [ToolCall("c", "f", "{}"), ToolResult("c", "f", error="not today", denied=True), END]
    told = [kind for kind in kinds(encoded(frames, sdk=sdk)) if kind.startswith("tool-")]
    expected = {
        "7": ["tool-approval-request", "tool-approval-response", "tool-output-denied"],
        "6": ["tool-approval-request", "tool-output-denied"],
    }
    assert told[1:] == expected.get(sdk, ["tool-output-error"])


def test_an_approval_has_an_id_of_the_run_and_the_call() -> None:
    call = ToolCall("c", "f", "{}")
    chunks = encoded([call, ApprovalNeeded((call,))])
    request = next(chunk for chunk in chunks if chunk["type"] == "tool-approval-request")
    assert request["approvalId"] == approval_id("run", "c")
    assert approval_id("run", "c") != approval_id("ru", "nc")
    assert chunks[-2]["finishReason"] == "tool-calls"
    older = encoded([call, ApprovalNeeded((call,))], sdk="5")
    data = next(chunk["data"] for chunk in older if chunk["type"] == "data-approval_needed")
    assert data["calls"] == [{"approvalId": approval_id("run", "c"), "toolCallId": "c", "toolName": "f"}]


def test_a_continued_message_tells_outcomes_before_its_first_step() -> None:
    frames = [ToolResult("c", "f", "1"), StepEnd(0, END), Append("a"), END]
    chunks = encoded(frames, message_id="m1", calls=["c"])
    assert chunks[0] == {"type": "start", "messageId": "m1"}
    assert kinds(chunks)[1:3] == ["tool-output-available", "start-step"]
    assert kinds(chunks).count("finish-step") == 1


@pytest.mark.parametrize("reset", [Restarted("p/m", "IncompleteStreamError"), StepReset(0)])
@pytest.mark.parametrize("sdk", VERSIONS)
def test_an_answer_that_begins_anew_takes_back_what_was_shown_or_marks_it(sdk: SDKVersion, reset: Any) -> None:
    chunks = encoded([Append("half"), reset, Append("whole"), END], sdk=sdk)
    check(chunks, [END], sdk)
    assert ("reset-step" in kinds(chunks)) == (sdk == "7")
    assert ("data-restarted" in kinds(chunks)) == (sdk != "7")


def test_sources_and_items() -> None:
    frames = [Citation("https://example.com", "T"), Citation(None, "D"), ProviderItem("web", {"a": 1}), END]
    chunks = encoded(frames)
    assert kinds(chunks)[2:5] == ["source-url", "source-document", "data-provider_item"]
    assert len({chunk.get("sourceId", chunk.get("id")) for chunk in chunks[2:5]}) == 3


def test_a_tool_of_elsewhere_is_dynamic() -> None:
    chunks = encoded([ToolCall("c", "f", "{}"), ToolResult("c", "f", "1"), END], dynamic=["f"], sdk="5")
    assert [chunk["dynamic"] for chunk in chunks[:-1] if chunk["type"].startswith("tool-")] == [True, True]


def test_an_error_is_told_by_its_code() -> None:
    encoder = UIMessageEncoder("run")
    chunks = chunks_of(encoder.feed(Append("a")) + encoder.fail(RateLimitError(SECRET, provider="p", model="m")))
    assert chunks[-3]["data"]["code"] == "rate_limit"
    assert chunks[-2] == {"type": "error", "errorText": "The model is asked too often; try again later."}


def test_what_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidInputError, match="sdk='8'"):
        UIMessageEncoder("run", sdk="8")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="str is not a frame"):
        UIMessageEncoder("run").feed("text")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ the loop


async def source(*frames: DispatchFrame, error: Exception | None = None) -> Any:
    for frame in frames:
        yield frame
    if error is not None:
        raise error


async def test_the_loop_tells_the_encoder_how_the_frames_ended() -> None:
    async def last(frames: Any, **options: Any) -> str:
        data = b"".join([data async for data in encode_frames(frames, UIMessageEncoder("run"), **options)])
        return kinds(chunks_of(data))[-2]

    seen: list[Exception] = []
    error = IncompleteStreamError("cut")
    assert await last(source(Append("a"), END)) == "finish"
    assert await last(source(Append("a"))) == "error"
    assert await last(source(Append("a"), error=error), on_error=seen.append) == "error"
    assert seen == [error]
    assert isinstance(error, PromptportError)
    assert await last(source(Append("a")), stopped=lambda: True) == "abort"
