"""What a person sees: text that cannot control the terminal, frames as they come, and one question at a time.

Rule: nothing that a model, a tool or a server wrote reaches the terminal raw: it passes `promptport.visible_text`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable

import msgspec
from rich.console import Console
from rich.text import Text

from promptport.dispatch import DispatchFrame, StepEnd, ToolProgress, ToolResult, ToolStarted
from promptport.frames import Append, End, InvalidToolCall, ReasoningAppend, StreamFrame, ToolCall, Usage
from promptport.visible_text import visible, visible_json

__all__ = ["Terminal", "console", "print_json", "visible", "visible_json"]

console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


_LONG_QUESTION = 1500  # characters, most of a screen


class Terminal:
    """Shows frames as they come, and asks one question at a time.

    While a question is open, frames wait, so that what is asked about stands last. They are shown after the answer.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        """Args: ``as_json``: one frame a line, as JSON, instead of text for a person."""
        self._show: Callable[[DispatchFrame], None] = _print_json if as_json else _Printer()
        self._question = asyncio.Lock()
        self._asking = False
        self._held: list[DispatchFrame] = []
        self._waiting = console.status("")

    def begin(self) -> None:
        """A new response begins: its times count from now."""
        if isinstance(self._show, _Printer):
            self._show = _Printer()

    def end_line(self) -> None:
        """Ends the line that text stands on."""
        if isinstance(self._show, _Printer):
            self._show.end_line()

    def wait(self, text: str) -> None:
        """Says that nothing has come yet, until the first frame."""
        if console.is_terminal and isinstance(self._show, _Printer):
            self._waiting.update(Text(visible(text, one_line=True)))  # a string would be read as markup
            self._waiting.start()

    def stop_waiting(self) -> None:
        """Takes the notice of `wait` away."""
        self._waiting.stop()

    def show(self, frame: DispatchFrame) -> None:
        """Shows a frame now, or after the question that is open."""
        if self._asking:
            self._held.append(frame)
        else:
            self._waiting.stop()
            self._show(frame)

    async def approve(self, call: ToolCall) -> bool | str:
        """Asks the person at the terminal; without one, nothing that needs approval runs."""
        if not (sys.stdin.isatty() and console.is_terminal):
            return "it needs approval, and nobody is there to give it"
        async with self._question:
            self._asking = True
            self._waiting.stop()
            try:
                return await self._asked(call)
            finally:
                self._asking = False
                held, self._held = self._held, []
                for frame in held:
                    self._show(frame)

    async def _asked(self, call: ToolCall) -> bool:
        self.end_line()
        question = f"Run {_called(call)}?"
        if len(question) > _LONG_QUESTION:  # its beginning is off the screen when a person has read it
            name = visible(call.name, one_line=True)
            question += f"\nRun {name} with these {len(call.arguments):,} characters of arguments?"
        while True:
            sys.stderr.write(f"{question} [y/N]: ")
            sys.stderr.flush()
            answer = await _line_of_stdin()
            if answer.strip().lower() in ("y", "yes"):
                return True
            if answer.strip().lower() in ("n", "no", ""):
                return False
            sys.stderr.write("Type y or n.\n")


async def _line_of_stdin() -> str:
    """A line that a person types; a cancelled read leaves no thread behind that would hold up the end."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = sys.stdin.fileno()
        line: asyncio.Future[str] = loop.create_future()
        loop.add_reader(descriptor, lambda: None if line.done() else line.set_result(_read(descriptor)))
    except NotImplementedError:  # Windows: its event loop cannot wait for a console
        return await asyncio.to_thread(sys.stdin.readline)
    try:
        return await line
    finally:
        loop.remove_reader(descriptor)


def _read(descriptor: int) -> str:
    """One line, which a terminal gives whole; byte by byte, since what is typed ahead is for the next question."""
    line = bytearray()
    while (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode(errors="replace")


def print_json(data: bytes) -> None:
    """Prints JSON on a line of its own, at once."""
    sys.stdout.write(visible_json(data, encoding=sys.stdout.encoding or "utf-8") + "\n")
    sys.stdout.flush()


def _print_json(frame: DispatchFrame) -> None:
    print_json(msgspec.json.encode(frame))


class _Printer:
    """Shows frames to a person: text as it arrives, and what happens beside it."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._first: float | None = None
        self._column = False  # text stands on the line under way
        self._thinking = False

    def __call__(self, frame: StreamFrame | DispatchFrame) -> None:
        if isinstance(frame, Append):
            if self._first is None:
                self._first = time.monotonic() - self._started
            if self._thinking:
                self._thinking = False
                console.print()
            sys.stdout.write(visible(frame.text))
            sys.stdout.flush()
            self._column = not frame.text.endswith("\n")
        elif isinstance(frame, ReasoningAppend):
            self._thinking = True
            console.print(visible(frame.text), style="dim italic", end="", markup=False)
        elif isinstance(frame, ToolCall | InvalidToolCall):
            self._note(f"→ {_called(frame)}", "cyan")
        elif isinstance(frame, ToolProgress):
            self._note(f"… {visible(_short(frame.data))}", "dim")
        elif isinstance(frame, ToolResult):
            bad = frame.error is not None
            self._note(
                f"{'✗' if bad else '←'} {visible(frame.name, one_line=True)}: "
                f"{visible(_short(frame.error if bad else frame.output))}",
                "red" if bad else "green",
            )
        elif isinstance(frame, End):
            self.end_line()
            self._note(f"{frame.finish_reason}{_usage(frame.usage)}{self._timing()}", "dim")
        elif isinstance(frame, StepEnd):
            self.end_line()
        elif isinstance(frame, ToolStarted):
            pass  # its call was shown when it was sealed

    def end_line(self) -> None:
        """Ends the line that text stands on."""
        if self._column:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._column = False

    def _note(self, text: str, style: str) -> None:
        self.end_line()
        console.print(text, style=style, markup=False)

    def _timing(self) -> str:
        total = f", {time.monotonic() - self._started:.2f} s"
        return f"{total}, first text after {self._first:.2f} s" if self._first is not None else total


def _called(call: ToolCall | InvalidToolCall) -> str:
    """A call on one line, whatever its name and arguments hold."""
    return visible(f"{call.name}({_compact(call.arguments)})", one_line=True)


def _compact(arguments: str) -> str:
    """The arguments on one line; models write them as they like, and an invalid call's are no JSON."""
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False)
    except (ValueError, RecursionError):
        return arguments


def _short(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 500 else f"{text[:500]}… ({len(text)} characters)"


def _usage(usage: Usage) -> str:
    counts = [
        f"{count} {word}"
        for count, word in (
            (usage.input_tokens, "tokens in"),
            (usage.output_tokens, "out"),
            (usage.reasoning_tokens, "reasoning"),
        )
        if count is not None
    ]
    return f": {', '.join(counts)}" if counts else ""
