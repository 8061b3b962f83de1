"""What a check says when it fails: the scenario, the cut, the first frame that differs, the bytes there, and the cause.

Rule: one failure, one message. What a check raises (an assertion, an exception group of a hundred tasks, an exception
that the client let out) becomes one `AssertionError` that says all of this, and ends in one sentence on the cause.
"""

from __future__ import annotations

import functools
import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from promptport.frames import Append, End, InvalidToolCall, ReasoningAppend, StreamFrame, ToolCall, ToolCallDelta
from promptport.testing.probable_causes import probable_cause
from promptport.testing.steps import (
    SCENARIOS,
    Finish,
    Say,
    Start,
    Step,
    Think,
    expected,
    increments,
    outcome,
    written_increments,
)

if TYPE_CHECKING:
    from promptport.testing.contract import ProviderContract

__all__ = ["Story", "check_same_answer", "check_same_frames", "check_same_increments", "explained"]

_BYTES_AROUND = 80
_SHOWN = 200  # characters of one frame or of one error


@dataclass
class Story:
    """What was played last.

    Attributes:
        steps: what the model said.
        cut: how the bytes were cut, or which fault they have.
        body: the bytes.
        frames: what came of them.
        error: what ended the iteration, if anything did.
        at: where in the body to look; ``None`` for its end.
    """

    steps: Sequence[Step] = ()
    cut: str = ""
    body: bytes = b""
    frames: Sequence[StreamFrame] = ()
    error: BaseException | None = None
    at: int | None = None
    lines: list[str] = field(default_factory=list)

    def told(self) -> list[str]:
        """The lines for a failure's message."""
        if not self.steps and not self.body:
            return []
        lines = [f"scenario: {_scenario_name(self.steps)}"]
        if self.cut:
            lines.append(f"cut: {self.cut}")
        lines += self.lines
        if not self.lines:
            came = [_shown(frame) for frame in self.frames]
            lines.append(f"frames that came: {', '.join(['…', *came[-4:]] if len(came) > 4 else came) or 'none'}")
        if self.error is not None:
            lines.append(f"error: {_short(repr(self.error))}")
        if self.body:
            lines.append(f"bytes: {_around(self.body, self.at)}")
        return lines


def _scenario_name(steps: Sequence[Step]) -> str:
    """The scenario's name, or its steps."""
    for scenario in SCENARIOS:
        if scenario.steps == tuple(steps):
            return repr(scenario.name)
    return _short(", ".join([_step(step) for step in steps]))


def _step(step: Step) -> str:
    if isinstance(step, Finish):
        return f"Finish({step.reason.name})"
    if isinstance(step, Say | Think):
        return f"{type(step).__name__}({_short(step.text, 24)!r})"
    return f"{type(step).__name__}({step.name})" if isinstance(step, Start) else type(step).__name__


# --------------------------------------------------------------------------------------- what differs


def check_same_frames(got: Sequence[StreamFrame], wanted: Sequence[StreamFrame], story: Story) -> None:
    """Raises with the first frame that differs."""
    for number in range(max(len(got), len(wanted))):
        one = got[number] if number < len(got) else None
        other = wanted[number] if number < len(wanted) else None
        if one != other:
            _differs(story, f"frame {number}", one, other)


def check_same_answer(frames: Sequence[StreamFrame], steps: Sequence[Step], story: Story) -> None:
    """Raises with the first frame that is not what the steps say, unless the frames come to the same answer."""
    got, wanted = outcome(frames), expected(steps)
    if got == wanted:
        return
    _first(story, "text", [Append(text) for text in got.text], [Append(text) for text in wanted.text])
    if got.reasoning != wanted.reasoning:
        _differs(story, "the reasoning, joined", ReasoningAppend(got.reasoning), ReasoningAppend(wanted.reasoning))
    _first(story, "call", [_call(*call) for call in got.calls], [_call(*call) for call in wanted.calls])
    _first(story, "invalid call", got.invalid, wanted.invalid)
    _first(story, "unfinished call", got.unfinished, wanted.unfinished)
    _first(story, "frame's kind, in the order in which they began,", got.order, wanted.order)
    _differs(story, "End's finish_reason", got.finish, wanted.finish)


def check_same_increments(frames: Sequence[StreamFrame], steps: Sequence[Step], story: Story) -> None:
    """Raises with the first increment that is not the next one of the steps."""
    _first(story, "increment", increments(frames), written_increments(steps))


def _call(name: str, arguments: dict[str, Any]) -> ToolCall:
    return ToolCall("…", name, json.dumps(arguments, ensure_ascii=False))


def _first(story: Story, what: str, got: Sequence[Any], wanted: Sequence[Any]) -> None:
    for number in range(max(len(got), len(wanted))):
        one, other = (each[number] if number < len(each) else None for each in (got, wanted))
        if one != other:
            _differs(story, f"{what} {number}", one, other)


def _differs(story: Story, what: str, got: Any, wanted: Any) -> None:
    story.at = _place(story.body, wanted, got)
    story.lines = [f"got:    {_shown(got)}", f"wanted: {_shown(wanted)}"]
    raise AssertionError(f"{what} differs from what the model said")


def _place(body: bytes, *frames: Any) -> int | None:
    """Where in the body one of these frames is written; ``None`` if nowhere."""
    for frame in frames:
        frame = frame[-1] if isinstance(frame, tuple) and frame else frame  # noqa: PLW2901
        text = frame if isinstance(frame, str) else _text_of(frame)
        for written in (text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]) if text else ():
            at = body.find(written.encode("utf-8", "surrogatepass"))
            if at >= 0:
                return at
    return None


def _text_of(frame: Any) -> str:
    if isinstance(frame, Append | ReasoningAppend):
        return frame.text
    if isinstance(frame, ToolCallDelta):
        return frame.arguments or frame.name
    if isinstance(frame, ToolCall | InvalidToolCall):
        return frame.name
    return (frame.raw_finish_reason or "") if isinstance(frame, End) else ""


def _shown(frame: Any) -> str:
    if isinstance(frame, ToolCallDelta | ToolCall | InvalidToolCall):  # whose repr keeps a model's words to itself
        return _short(f"{type(frame).__name__}({frame.id!r}, {frame.name!r}, {frame.arguments!r})")
    return "nothing" if frame is None else _short(repr(frame))


def _short(text: str, most: int = _SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _around(body: bytes, at: int | None) -> str:
    """The bytes there, and how far into the body that is."""
    place = len(body) if at is None else at
    start, end = max(0, place - _BYTES_AROUND), min(len(body), place + _BYTES_AROUND)
    return f"{body[start:end]!r} ({start} to {end} of {len(body)})"


# ------------------------------------------------------------------------------------------- one message


def explained(check: Callable[..., None]) -> Callable[..., None]:
    """The check, whose failures say all of what the module says."""

    @functools.wraps(check)
    def told(self: ProviderContract, *arguments: Any, **named: Any) -> None:
        try:
            check(self, *arguments, **named)
        except (pytest.skip.Exception, pytest.xfail.Exception, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as raised:
            cause, more = _single(raised)
            raise AssertionError(_message(self, check.__name__, cause, more)).with_traceback(
                cause.__traceback__
            ) from None

    return told


def _single(error: BaseException) -> tuple[BaseException, int]:
    """The first exception of a group, and how many more there are."""
    count = 0
    while isinstance(error, BaseExceptionGroup):
        count += len(error.exceptions) - 1
        error = error.exceptions[0]
    return error, count


def _origin(error: BaseException) -> str:
    """The file, line and function where an exception came from."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}, {frames[-1].name}()" if frames else "an unknown place"


def _line(error: BaseException) -> str:
    """The line of the assertion, where pytest did not rewrite it."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"it does not hold: {frames[-1].line}" if frames else "it does not hold"


def _message(contract: ProviderContract, check: str, error: BaseException, more: int) -> str:
    said = str(error)
    if not isinstance(error, AssertionError | pytest.fail.Exception):
        said = f"{type(error).__name__}: {error}, raised in {_origin(error)}"
    cause = probable_cause(check)
    lines = [said or _line(error), *contract.bench.story.told()]
    if more:
        lines.append(f"{more} more failed like it")
    if "Probably" not in said:
        lines.append(f"Probably {cause}")
    return "\n  ".join(lines)
