"""`show`: a stream as a person reads it, in a terminal or a notebook.

Rule: what others wrote cannot control the terminal (`promptport.visible_text`); a notebook gets it as plain text.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable
from contextlib import AsyncExitStack
from typing import Any, TextIO

from promptport.checking import checked
from promptport.dispatch import ApprovalNeeded, DispatchFrame, DispatchStream, StepEnd, ToolResult, ToolsPending
from promptport.frames import Append, End, InvalidToolCall, Restarted, ToolCall
from promptport.messages import AssistantMessage
from promptport.stream import FrameStream
from promptport.visible_text import visible

__all__ = ["show"]


@checked
async def show(
    stream: AsyncIterable[DispatchFrame] | AsyncIterable[str], *, file: TextIO | None = None
) -> AssistantMessage | None:
    """Print a stream while it comes: the text, and a line for each tool call and its result.

    Escape sequences and other control characters of the model are written out, as in ``\\x1b``. The stream is closed.

    Args:
        stream: a `FrameStream`, `DispatchStream` or `TextStream`, or any async iterable of frames or texts.
        file: where to print. Default: standard output, which a notebook shows below its cell.

    Returns:
        The model's last message, for a `FrameStream` or a `DispatchStream`; otherwise ``None``.

    Raises:
        StreamError, ProviderError: what the stream raises, after the text so far was printed.

    Examples:
        ```python
        import promptport as pp
        from promptport.testing import ScriptedExecutor

        session = pp.LLMSession(ScriptedExecutor(["Hello."]), "scripted/small")
        await pp.show(session.run("Hi"))
        ```
    """
    printer = _Printer(sys.stdout if file is None else file)
    async with AsyncExitStack() as stack:
        close: Any = getattr(stream, "aclose", None)
        if close is not None:
            stack.push_async_callback(close)
        try:
            async for each in stream:
                printer.show(each)
        finally:
            printer.end_line()
        return await stream.message() if isinstance(stream, FrameStream | DispatchStream) else None


class _Printer:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._inside = False  # text stands on the line under way

    def show(self, frame: DispatchFrame | str) -> None:
        """Prints what a person wants to see of a frame."""
        match frame:
            case str() | Append():
                self._write(frame if isinstance(frame, str) else frame.text)
            case ToolCall() | InvalidToolCall():
                self._note(f"[{frame.name} {frame.arguments}]")
            case ToolResult():
                text = frame.message().text
                self._note(f"[{frame.name}: {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}]")
            case ApprovalNeeded() | ToolsPending():
                self._note(f"[waiting: {', '.join([call.name for call in frame.calls])}]")
            case Restarted():
                self._note(f"[the response begins anew: {frame.model}]")
            case StepEnd() | End():
                self.end_line()
            case _:
                pass

    def end_line(self) -> None:
        """Ends the line that text stands on."""
        if self._inside:
            self._write("\n")

    def _note(self, text: str) -> None:
        self.end_line()
        self._file.write(visible(text, one_line=True) + "\n")
        self._file.flush()

    def _write(self, text: str) -> None:
        self._file.write(visible(text))
        self._file.flush()
        self._inside = bool(text) and not text.endswith("\n")


_SHOWN = 500
