"""`dump`: requests and responses on the terminal, for a person who debugs.

Rule: this is the one place that shows contents, and a person asked for it. Keys are not in it: it shows prompts and
frames, and these hold none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import msgspec

from promptport.frames import StreamFrame, encode_frame
from promptport.telemetry.events import (
    RequestFinished,
    RequestStarted,
    ToolCallFinished,
    ToolCallStarted,
)
from promptport.telemetry.observer import Observer, observe

__all__ = ["dump"]


def _plain(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join([letter if letter.isprintable() or letter in "\n\t" else "�" for letter in text])


class _Dump(Observer):
    wants_frames = True

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def _write(self, line: str) -> None:
        print(_plain(line), file=self._file, flush=True)

    def request_started(self, event: RequestStarted) -> None:
        self._write(f">>> {event.id} {event.model}\n{event.prompt.to_json().decode('utf-8', 'replace')}")

    def frames(self, id: int, frames: Sequence[StreamFrame]) -> None:
        for frame in frames:
            self._write(f"<<< {id} {encode_frame(frame).decode('utf-8', 'replace')}")

    def request_finished(self, event: RequestFinished) -> None:
        self._write(f"=== {event.id} {event.outcome} in {event.seconds:.3f} s")

    def tool_started(self, event: ToolCallStarted) -> None:
        self._write(f">>> tool {event.name} {event.arguments}")

    def tool_finished(self, event: ToolCallFinished) -> None:
        output = event.output if isinstance(event.output, str) else msgspec.json.encode(event.output).decode()
        self._write(f"<<< tool {event.name} {event.outcome} {output}")


@contextmanager
def dump(file: TextIO | None = None) -> Iterator[None]:
    """Show every prompt, frame and tool call of this process, until the context is left.

    Args:
        file: Where to write. Default: standard error.

    Examples:
        ```python
        from promptport import telemetry

        with telemetry.dump():
            ...
        ```
    """
    with observe(_Dump(file if file is not None else sys.stderr)):
        yield
