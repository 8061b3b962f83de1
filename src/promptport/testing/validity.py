"""What must hold for the frames of any complete answer: `assert_valid_stream`."""

from __future__ import annotations

from collections.abc import Iterable

from promptport.frames import (
    Append,
    End,
    FinishReason,
    InvalidToolCall,
    Reasoning,
    ReasoningAppend,
    Restarted,
    StreamFrame,
    ToolCall,
    ToolCallDelta,
)

__all__ = ["assert_valid_stream"]


def assert_valid_stream(frames: Iterable[StreamFrame]) -> None:
    """Checks the frames of one complete answer against the contract's rules 1 to 4.

    Raises:
        AssertionError: with the rule that is broken, and where.
    """
    frames = _since_the_last_restart(list(frames))
    assert frames, "rule 1: a stream has at least its End"
    assert isinstance(frames[-1], End), f"rule 1: the last frame is {type(frames[-1]).__name__}, not End"
    ends = [index for index, frame in enumerate(frames) if isinstance(frame, End)]
    assert len(ends) == 1, f"rule 1: End stands at {ends}, and must be exactly one"
    sealed, begun = _check_calls(frames[:-1])
    _check_reasoning(frames)
    for index, frame in enumerate(frames):
        if isinstance(frame, Append | ReasoningAppend):
            assert frame.text, f"frame {index}: an empty {type(frame).__name__}"
    end = frames[-1]
    cut = {call.id: call.arguments for call in end.unfinished}
    assert not cut.keys() & sealed, f"rule 2: both sealed and unfinished: {sorted(cut.keys() & sealed)}"
    for begun_id, arguments in begun.items():
        assert begun_id in sealed or begun_id in cut, f"rule 2: {begun_id} began, and is neither sealed nor unfinished"
        assert begun_id in sealed or cut[begun_id] == arguments, (
            f"rule 4: the deltas of {begun_id} are not what is unfinished of it"
        )
    if sealed:
        reasons = (FinishReason.TOOL_CALLS, FinishReason.LENGTH)
        assert end.finish_reason in reasons, f"calls came, and the stream ends in {end.finish_reason}"


def _since_the_last_restart(frames: list[StreamFrame]) -> list[StreamFrame]:
    """The answer that counts: `Restarted` says that what came before it is to be forgotten, and no call was in it."""
    begins = 0
    for index, frame in enumerate(frames):
        if isinstance(frame, Restarted):
            called = any(isinstance(before, ToolCall | InvalidToolCall) for before in frames[begins:index])
            assert not called, f"frame {index}: the answer begins anew after a call of it was sealed"
            begins = index + 1
    return frames[begins:]


def _check_calls(frames: list[StreamFrame]) -> tuple[set[str], dict[str, str]]:
    """Rules 2, 3 and 4 for the calls; the ids of those that are sealed, and of each call its deltas, joined."""
    names: dict[str, str] = {}
    texts: dict[str, str] = {}
    sealed: set[str] = set()
    for index, frame in enumerate(frames):
        if isinstance(frame, ToolCallDelta):
            assert frame.id, f"rule 3: frame {index}: a delta without an id"
            assert frame.id not in sealed, f"rule 2: frame {index}: a delta of {frame.id} after its seal"
            assert names.setdefault(frame.id, frame.name) == frame.name, (
                f"rule 3: frame {index}: {frame.id} changes name"
            )
            texts[frame.id] = texts.get(frame.id, "") + frame.arguments
        elif isinstance(frame, ToolCall | InvalidToolCall):
            assert frame.id not in sealed, f"rule 2: frame {index}: {frame.id} is sealed twice"
            sealed.add(frame.id)
            assert frame.id in names, f"rule 3: frame {index}: {frame.id} had no delta"
            assert names[frame.id] == frame.name, f"rule 3: frame {index}: {frame.id} changes name"
            blank = not texts[frame.id].strip() and frame.arguments == "{}"
            assert blank or texts[frame.id] == frame.arguments, (
                f"rule 4: frame {index}: the deltas are not the arguments"
            )
            if isinstance(frame, ToolCall):
                frame.parsed()
    return sealed, texts


def _check_reasoning(frames: list[StreamFrame]) -> None:
    """Rule 4 for reasoning: the increments since the last block are the block's text."""
    texts: list[str] = []
    for index, frame in enumerate(frames):
        if isinstance(frame, ReasoningAppend):
            texts.append(frame.text)
        elif isinstance(frame, Reasoning):
            assert "".join(texts) == frame.text, f"rule 4: frame {index}: the increments are not the reasoning"
            texts.clear()
    assert not texts, "rule 4: reasoning came that no Reasoning frame completes"
