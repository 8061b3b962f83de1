"""`TextToolsParser`: text in, frames out. Pure.

Rules, for every format:

- However a text is cut into ``feed`` calls, the frames are equal once neighbouring increments of one kind (`Append`,
  `ReasoningAppend`, `ToolCallDelta` of one call) are joined. Increments follow what was fed, so that text is passed on
  as soon as it comes; everything else, and the order of it all, depends on the text alone.
- What waits is the longest end of the text that may still become a marker, and nothing else; its length is bounded.
  (A call in a format that is `StreamedTools.WHOLE` waits whole, once its name is known; it is no text any more. An
  object that stands in no tags waits while its keys may still make it a call: `TextToolsParser.undecided`.)
- What was given is never taken back. A name is given when it has ended, a call is sealed when its closing marker came
  or, where the format has none, by what follows it, the end of the text included.
- Nothing is lost: every character is text, reasoning, part of a call, or the syntax around one.
- Time is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Literal, TypeAlias

from promptport.decoding import CallAssembler
from promptport.frames import Append, InvalidToolCall, Reasoning, ReasoningAppend, StreamFrame, ToolCall, UnfinishedCall
from promptport.text_tools.foreign_markers import ForeignMarkers
from promptport.text_tools.formats import TextFormat, format_of, grammar_of
from promptport.text_tools.grammar import PROSE, Kind, Marker, Sink, State, Step
from promptport.text_tools.open_call import OpenCall
from promptport.text_tools.scan import JsonScanner, PythonScanner, Scanner, skipped
from promptport.text_tools.undecided import UndecidedCalls
from promptport.text_tools.values import is_signature, object_text, python_arguments, tagged_arguments, tagged_value
from promptport.tools import ToolDescriptor

__all__ = ["ReasoningTags", "TextToolsParser"]

ReasoningTags: TypeAlias = Literal["on", "off", "open"]
"""Whether reasoning tags (``<think>`` …) are recognised; ``open``: and the text begins inside one, which the server's
chat template opened already."""

_SEARCH, _EXPECT = Kind.SEARCH, Kind.EXPECT
_BLANKS = re.compile(r"[ \t\r\n]*")
_Action: TypeAlias = Callable[[re.Match[str] | None], str | None]
_SLICE = 4096
_DEPTH = 4
_STAY = ""
"""What an action gives where there is no way on: what is open stays so."""
_ECHO = "the model repeated the tool's signature instead of calling the tool"


class TextToolsParser(UndecidedCalls):
    """Finds calls and reasoning in one answer's text; for one use.

    ::

        parser = TextToolsParser("hermes", tools)
        for text in increments:
            frames = parser.feed(text)
        frames = parser.finish()
        parser.sealed, parser.unfinished    # what End needs
    """

    def __init__(
        self,
        format: str | TextFormat,
        tools: Sequence[ToolDescriptor] = (),
        *,
        taken: Collection[str] = (),
        reasoning: ReasoningTags = "on",
        ids: str = "call",
    ) -> None:
        """Args:
        format: a format, or the name of one.
        tools: the tools that were offered. Formats whose calls look like other text (bare JSON, Python) know a call
            by a tool's name; tagged values are coerced by the tool's schema.
        taken: the ids of the calls that the conversation holds already.
        reasoning: see `ReasoningTags`.
        ids: four letters that the ids begin with which are made up here; others than those of a decoder beside it.

        Raises:
            InvalidInputError: no such format.
        """
        names = tuple(sorted({tool.name for tool in tools}))
        self._states, self._name = grammar_of(format_of(format), names, reasoning)
        self._tools = {tool.name: tool for tool in tools}
        self._calls = CallAssembler(taken, prefix=ids)
        self._buffer = ""
        self._out: list[StreamFrame] = []
        self._reasoning: list[str] = []
        self._call: OpenCall | None = None
        self._opened = 0
        self._spoken = False  # some text came that is not blank
        self._dropped = False
        self._again = ""  # what was dropped, and is not given yet
        self._base = 0  # where the buffer begins in the text
        self._read_to, self._depth = 0, 0  # how far text was read again, and how often
        self.skipped: dict[str, int] = {}  # markers of calls in what is given as text, by name; under "auto" only
        self._foreign = ForeignMarkers(self.skipped) if format_of(format).name == "auto" else None
        self._scanner: Scanner | None = None
        self._direct = True
        self._value: list[str] = []
        self._key = ""
        self._actions: dict[str, _Action] = {
            "open": self._open,
            "open_group": self._open_group,
            "next_perhaps": self._next_perhaps,
            "name": self._named,
            "arguments": partial(self._key_came, "argued"),
            "echo": partial(self._key_came, "echo"),
            "other": self._other_key,
            "ended": self._ended,
            "followed": self._followed,
            "keyed": self._keyed,
            "unkeyed": self._unkeyed,
            "literal": self._literal,
            "open_code": self._open_code,
            "next_code": self._next_code,
            "code_ended": self._code_ended,
            "code_sealed": self._code_sealed,
            "call_kimi": self._open_kimi,
            "value_exact": self._value_exact,
            "value_seal": self._value_seal,
            "value_before_function": partial(self._value_before, "</function>"),
            "value_before_tool_call": partial(self._value_before, "</tool_call>"),
            "value_before_invoke": partial(self._value_before, "</invoke>"),
            "call": self._open_named,
            "tagged": self._open_tagged,
            "key": self._key_known,
            "value": self._value_ended,
            "loose": self._loose,
            "seal": self._seal,
            "seal_tagged": self._seal_tagged,
            "seal_python": self._seal_python,
            "seal_raw": self._seal_raw,
            "next": self._next,
            "reasoned": self._reasoned,
            "channel": self._channel,
        }

    @property
    def held(self) -> int:
        """How many characters wait for what follows them."""
        return len(self._buffer) + self.undecided

    @property
    def undecided(self) -> int:
        """How many of them are an object's that may be a call, or not."""
        return sum(map(len, self._call.raw)) if self._call is not None and self._call.tentative else 0

    @property
    def sealed(self) -> int:
        """How many calls were sealed so far."""
        return self._calls.sealed

    @property
    def unfinished(self) -> tuple[UnfinishedCall, ...]:
        """The call that is open, as far as it came; after `finish`: that was cut short."""
        call = self._call
        if call is None:
            return ()
        if call.begun and call.streams:
            return self._calls.unfinished()
        text = "".join(call.raw)
        return tuple([UnfinishedCall(cut.id, cut.name, text) for cut in self._calls.unfinished()])

    def take(self, id: str) -> None:
        """An id that a call beside this text has."""
        self._calls.take(id)

    def feed(self, text: str) -> list[StreamFrame]:
        """The frames that this text completes."""
        return self._run(text, final=False)

    def finish(self) -> list[StreamFrame]:
        """The text is at its end, because the model or a limit ended it: the frames that this completes.

        What waited and was no call comes back as text; a call without its closing marker is in `unfinished`.
        """
        out = self._run("", final=True)
        if self._call is not None and self._call.tentative:
            self._call.raw.append(self._buffer)
            self._cut()
            self._sink(Sink.TEXT, self._again)
        else:
            self._record(self._buffer)
        self._buffer = ""
        if self._call is not None and not self._call.begun:
            self._opened += 1
            self._calls.start(self._opened, None, "", [])  # for its id alone
        return out

    # ------------------------------------------------------------------------------------------ the machine

    def _run(self, text: str, *, final: bool) -> list[StreamFrame]:
        out = self._out = []
        whole = buffer = self._buffer + text if self._buffer else text
        position, taken = 0, len(whole)
        while True:
            state = self._states[self._name]
            kind = state.kind
            read = self._search if kind is _SEARCH else self._expect if kind is _EXPECT else self._scan
            position, name = read(state, buffer, position, final and taken == len(whole))
            if self._again:
                # What follows is copied behind it: not all of it, so that time stays linear.
                if buffer is whole:
                    taken = min(taken, position + _SLICE)
                follows = buffer[position : taken if buffer is whole else None]
                buffer, position = self._read_again(self._base + position) + follows, 0
            if name:
                self._name = name
            elif taken < len(whole):
                self._base += position
                buffer, position = buffer[position:] + whole[taken : taken + _SLICE], 0
                taken = min(taken + _SLICE, len(whole))
            else:
                break
        self._buffer = buffer[position:]
        self._base += position
        return out

    def _read_again(self, end: int) -> str:
        """What turned out to be text is read once more behind its first brace: there may be a call inside.

        No place is read more often than `_DEPTH` times, so that time stays linear.
        """
        raw, self._again = self._again, ""
        inside = raw.find("{") + 1 or len(raw)
        depth = self._depth + 1 if end - len(raw) < self._read_to else 1
        if depth > _DEPTH or "{" not in raw[inside:]:
            inside = len(raw)
        else:
            self._depth, self._read_to = depth, max(end, self._read_to)
        self._sink(Sink.TEXT, raw[:inside])
        self._base = end - len(raw) + inside
        return raw[inside:]

    def _search(self, state: State, buffer: str, position: int, final: bool) -> tuple[int, str]:
        start = state.starts.search(buffer, position)
        match = (state.final if final else state.running).search(buffer, start.start()) if start else None
        end = match.start() if match else len(buffer)
        if end > position:
            self._record(buffer[position:end])
            self._sink(state.sink, buffer[position:end])
        if match is None:
            return end, (self._go(state.at_end) if final else "")
        return self._marker(state, match)

    def _expect(self, state: State, buffer: str, position: int, final: bool) -> tuple[int, str]:
        if state.spaces:
            start, position = position, skipped(_BLANKS, buffer, position)
            self._record(buffer[start:position])
        if position == len(buffer):
            return position, (self._go(state.at_end) if final else "")
        match = state.running.match(buffer, position)
        if match is None:
            return position, self._go(state.otherwise)
        if final and state.at_end and match.lastindex == len(state.markers) + 1:
            return position, self._go(state.at_end)
        return self._marker(state, match)

    def _scan(self, state: State, buffer: str, position: int, final: bool) -> tuple[int, str]:
        scanner = self._scanner
        if scanner is None:
            start, position = position, skipped(_BLANKS, buffer, position)
            self._record(buffer[start:position])
            if position == len(buffer):
                return position, ""
            scanner = self._scanner = JsonScanner() if state.kind is Kind.JSON else PythonScanner()
            # Arguments that are no object (an object inside a JSON string, say) are looked at when they are whole.
            self._direct = state.sink is not Sink.ARGUMENTS or buffer[position] == "{"
        pieces: list[str] = []
        start, position = position, scanner.feed(buffer, position, pieces)
        self._record(buffer[start:position])
        self._sink(state.sink if self._direct else Sink.VALUE, "".join(pieces))
        if scanner.broken:
            if not self._direct:
                self._sink(Sink.ARGUMENTS, self._taken_value())
            self._scanner = None
            return position, self._go(state.otherwise)
        if not scanner.done:
            return position, ""
        if not self._direct:
            self._sink(Sink.ARGUMENTS, object_text(self._taken_value()))
        self._scanner = None
        return position, self._go(state.then)

    def _marker(self, state: State, match: re.Match[str]) -> tuple[int, str]:
        """A marker, or text that may become one, was found."""
        index = (match.lastindex or 0) - 1
        if index == len(state.markers):
            return match.start(), ""
        marker = state.markers[index]
        named = state.capturing[index].match(match.string, match.start())
        assert named is not None, "both expressions are made of the same parts"
        end = named.start("here") if "here" in named.re.groupindex else named.end()
        call = self._call
        self._dropped = False
        then = self._go(marker, named)
        if self._dropped:
            return match.start(), then
        if call is self._call:
            self._record(match.string[match.start() : end])
        return end, then

    def _go(self, step: Step | Marker | None, match: re.Match[str] | None = None) -> str:
        """Takes the step; the state that follows, or an empty string where there is none."""
        if step is None:
            return ""
        then = self._actions[step.action](match) if step.action else None
        return step.state if then is None else then

    # -------------------------------------------------------------------------------------- where text goes

    def _sink(self, sink: Sink, text: str) -> None:
        if not text:
            return
        if sink is Sink.TEXT:
            self._out.append(Append(text))
            self._spoken = self._spoken or not text.isspace()
            if self._foreign is not None:
                self._foreign.feed(text)
        elif sink is Sink.REASONING:
            self._reasoning.append(text)
            self._out.append(ReasoningAppend(text))
        elif sink is Sink.VALUE:
            self._value.append(text)
        elif sink is Sink.ARGUMENTS and self._call is not None and self._call.streams:
            if self._call.begun:
                self._calls.append(self._opened, text, self._out)
            else:
                self._call.kept.append(text)

    def _record(self, text: str) -> None:
        call = self._call
        if call is not None and text and (call.flat or not (call.begun and call.streams)):
            call.raw.append(text)

    def _taken_value(self) -> str:
        value = "".join(self._value)
        self._value.clear()
        return value

    # ---------------------------------------------------------------------------------------------- actions

    @property
    def _opened_call(self) -> OpenCall:
        assert self._call is not None, "an action of a call's states"
        return self._call

    def _open(self, match: re.Match[str] | None) -> None:
        self._call = OpenCall(streams=True)

    def _open_kimi(self, match: re.Match[str] | None) -> None:
        assert match is not None
        self._open(match)
        name = match["kimi"].removeprefix("functions.")
        self._begin(name.rpartition(":")[0] or name, match["kimi"])

    def _open_named(self, match: re.Match[str] | None) -> None:
        assert match is not None
        self._open(match)
        self._begin(match["name"], match.groupdict().get("id"))

    def _open_tagged(self, match: re.Match[str] | None) -> None:
        assert match is not None
        self._call = OpenCall(streams=False)
        self._begin(match["name"])

    def _named(self, match: re.Match[str] | None) -> str | None:
        assert match is not None
        call = self._call
        if call is None or call.begun:
            return None
        if not call.tentative:
            self._begin(match["name"])
            return None
        call.name = call.name or match["name"]
        return self._decide()

    # ------------------------------------------------------------------------- what may be a call, or text

    def _commit(self) -> None:
        call = self._opened_call
        call.tentative = False
        call.raw.clear()
        self._begin(call.name)

    def _drop(self) -> str:
        """It was text."""
        call, self._call = self._call, None
        assert call is not None
        self._dropped = True
        self._scanner = None
        self._value.clear()
        self._again = "".join(call.raw)
        return PROSE

    def _begin(self, name: str, id: str | None = None) -> None:
        call = self._opened_call
        call.begun = True
        call.tool = self._tools.get(name)
        self._opened += 1
        self._calls.start(self._opened, id, name, self._out if call.streams else [])
        if call.streams:
            self._sink(Sink.ARGUMENTS, "".join(call.kept))

    def _loose(self, match: re.Match[str] | None) -> str | None:
        """The call is not what its format says: all of its text, up to the closing marker, is its arguments."""
        call = self._opened_call
        if call.tentative:
            return self._drop()
        if not call.begun:
            call.kept = call.raw
            self._begin("")
        return None

    def _next(self, match: re.Match[str] | None) -> None:
        self._seal(None)
        self._open(None)

    def _seal(self, match: re.Match[str] | None) -> None:
        if self._call is not None and self._call.tentative:
            self._commit()
        self._loose(None)
        self._sealed()

    def _sealed(self) -> None:
        call = self._call
        self._calls.seal(self._opened, self._out)
        last = self._out[-1]
        if isinstance(last, ToolCall) and call is not None and (call.echo or is_signature(last.arguments, call.tool)):
            self._out[-1] = InvalidToolCall(last.id, last.name, last.arguments, _ECHO)
        self._call = None

    def _key_known(self, match: re.Match[str] | None) -> None:
        assert match is not None
        self._key = match["key"]

    def _value_ended(self, match: re.Match[str] | None) -> None:
        # The line ends next to the tags are layout.
        self._take(self._taken_value().removeprefix("\n").removesuffix("\n"))

    def _value_exact(self, match: re.Match[str] | None) -> None:
        self._take(self._taken_value())

    def _take(self, value: str) -> None:
        call = self._opened_call
        call.parameters[self._key] = tagged_value(value, self._key, call.tool)

    def _value_seal(self, match: re.Match[str] | None) -> None:
        """The call's end is the end of its last value."""
        self._value_ended(match)
        self._seal_tagged(match)

    def _value_before(self, end: str, match: re.Match[str] | None) -> str:
        """The text is over, and no closing tag came: the value ended where the call's own did, if that came."""
        value, found, rest = "".join(self._value).partition(end)
        if not found:
            return _STAY
        self._value[:] = [value]
        self._value_seal(None)
        self._sink(Sink.TEXT, rest)
        return PROSE

    def _seal_tagged(self, match: re.Match[str] | None) -> None:
        self._seal_whole(tagged_arguments(self._opened_call.parameters))

    def _seal_python(self, match: re.Match[str] | None) -> None:
        assert self._call is not None
        self._seal_whole(python_arguments(self._taken_value(), self._call.tool))

    def _seal_raw(self, match: re.Match[str] | None) -> None:
        assert self._call is not None
        self._seal_whole("".join(self._call.raw))

    def _seal_whole(self, arguments: str) -> None:
        self._calls.append(self._opened, arguments if arguments.strip() else "{}", self._out)
        self._sealed()

    def _reasoned(self, match: re.Match[str] | None) -> None:
        if self._reasoning:
            self._out.append(Reasoning("".join(self._reasoning)))
            self._reasoning.clear()

    def _channel(self, match: re.Match[str] | None) -> str:
        """The header of a harmony message: its recipient, or else its channel, says what follows."""
        assert match is not None
        groups = match.groupdict()
        recipient = groups["to"] or groups.get("recipient")
        if recipient:
            self._open(None)
            self._begin(recipient.removeprefix("functions."))
            return "harmony.call"
        return "harmony.analysis" if match["channel"] == "analysis" else "harmony.text"
