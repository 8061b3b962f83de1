"""Recorded bodies made faulty, and what a decoder must make of them.

Rule: a mutator declares what its fault means, so that a test needs no expectations but the frames of the body as it
was recorded. `assert_survived` compares; a decoder's test is a loop over `MUTATORS`::

    for mutator in MUTATORS:
        mutated = mutator(wire, random.Random(seed))
        if mutated is not None:
            after, error = ...  # decode it
            assert_survived(mutator, wire.protocol, mutated, before=before, after=after, error=error)
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from promptport.errors import ProviderStreamError, StreamError
from promptport.frames import Append, End, ReasoningAppend, StreamFrame, ToolCall
from promptport.testing import mutators_any as general
from promptport.testing import mutators_calls as calls
from promptport.testing import mutators_frames as frames
from promptport.testing.recorded_bodies import AnyProtocol, Wire
from promptport.testing.validity import assert_valid_stream

__all__ = ["MUTATORS", "Meaning", "Mutator", "assert_survived", "mutators_for"]


class Meaning(enum.Enum):
    """What must become of a mutated body."""

    HARMLESS = "harmless"
    """The frames are those of the body as it was recorded."""

    IDENTITY = "identity"
    """The same texts and the same calls by name and arguments; ids, increments and the provider's words may differ."""

    TRUNCATING = "truncating"
    """The iteration raises a `StreamError`, and a call that was not sealed is no `ToolCall`."""

    ERROR = "error"
    """The iteration raises a `ProviderStreamError`, and a call that was not sealed is no `ToolCall`."""


@dataclass(frozen=True)
class Mutator:
    """A fault.

    Attributes:
        name: what it is called.
        meaning: what must become of it.
        mutate: makes it.
        protocols: those in which it can occur.
    """

    name: str
    meaning: Meaning
    mutate: Callable[[Wire, random.Random], bytes | None]
    protocols: frozenset[str]

    def __call__(self, wire: Wire, chooser: random.Random) -> bytes | None:
        """The faulty body; ``None`` where this fault does not apply. The same ``chooser`` state gives the same body.

        Args:
            wire: a whole answer, without an error in it.
            chooser: for all that is left to chance.
        """
        return self.mutate(wire, chooser) if wire.protocol in self.protocols else None


_BY_MEANING = {
    Meaning.HARMLESS: (
        general.line_ends,
        general.byte_order_mark,
        general.no_space_after_colon,
        general.several_data_lines,
        general.last_event_unterminated,
        general.comments,
        general.id_and_retry_fields,
        general.pings,
        general.unknown_events,
        general.extra_fields,
        general.terminal_twice,
        general.data_after_the_end,
        calls.ids_on_every_chunk,
        calls.ids_without_indexes,
        calls.drop_indexes,
        calls.zero_indexes,
        calls.string_indexes,
        calls.shuffle_indexes,
        calls.repeat_names,
        calls.blank_continuations,
        calls.empty_last_fragment,
        calls.empty_words,
        calls.finish_twice,
        calls.usage_in_every_chunk,
        calls.counting_choices,
        calls.choices_from_one,
        calls.message_for_delta,
        calls.empty_input_deltas,
        calls.message_delta_twice,
        calls.scramble_item_ids,
        calls.drop_sequence_numbers,
        calls.empty_final_output,
        frames.frame_unknown_headers,
    ),
    Meaning.IDENTITY: (
        calls.drop_ids,
        calls.repeat_ids,
        calls.other_ids_on_continuations,
        calls.whole_calls,
        calls.stop_despite_calls,
        calls.input_in_block_start,
        calls.drop_item_ids,
        calls.arguments_only_when_done,
        calls.items_only_when_done,
        calls.one_call_a_line,
    ),
    Meaning.TRUNCATING: (
        general.cut_terminal,
        general.cut_anywhere,
        general.cut_inside_call,
        frames.frame_checksum,
        frames.frame_length,
        frames.frame_truncated,
    ),
    Meaning.ERROR: (general.error_event, frames.frame_exception),
}

_CHAT, _RESPONSES, _MESSAGES = frozenset(["openai-chat"]), frozenset(["openai-responses"]), frozenset(["anthropic"])
_OLLAMA, _FRAMES = frozenset(["ollama-chat"]), frozenset(["eventstream"])
_KNOWN = _CHAT | _RESPONSES | _MESSAGES | _OLLAMA
_SSE = _CHAT | _RESPONSES | _MESSAGES | {"sse"}
_TEXT = _SSE | _OLLAMA | {"ndjson"}
_OCCURS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("terminal_twice", "data_after_the_end", "cut_terminal", "cut_anywhere"), _TEXT | _FRAMES),
    **dict.fromkeys(("byte_order_mark", "no_space_after_colon", "several_data_lines", "id_and_retry_fields"), _SSE),
    **dict.fromkeys(("line_ends", "last_event_unterminated", "comments", "extra_fields"), _TEXT),
    **dict.fromkeys(("pings", "error_event", "drop_ids", "repeat_ids"), _KNOWN),
    "cut_inside_call": _KNOWN,
    "unknown_events": _RESPONSES | _MESSAGES,
    "shuffle_indexes": _CHAT | _RESPONSES | _MESSAGES,
    **dict.fromkeys(("empty_input_deltas", "message_delta_twice", "input_in_block_start"), _MESSAGES),
    **dict.fromkeys(
        (
            "scramble_item_ids",
            "drop_sequence_numbers",
            "empty_final_output",
            "drop_item_ids",
            "arguments_only_when_done",
            "items_only_when_done",
        ),
        _RESPONSES,
    ),
    "one_call_a_line": _OLLAMA,
}
"""In which protocols a fault can occur, if not in Chat Completions alone."""


def _occurs(name: str) -> frozenset[str]:
    return _FRAMES if name.startswith("frame_") else _OCCURS.get(name, _CHAT)


MUTATORS: tuple[Mutator, ...] = tuple(
    [
        Mutator(mutate.__name__, meaning, mutate, _occurs(mutate.__name__))
        for meaning, group in _BY_MEANING.items()
        for mutate in group
    ]
)
"""All of them."""
_AFTER_THE_END = ("terminal_twice", "data_after_the_end")
_OF_IDS = ("drop_ids", "repeat_ids")


def mutators_for(protocol: AnyProtocol | None, *, ends_by_bytes: bool = False, ids: bool = True) -> list[Mutator]:
    """The faults that can occur in a protocol.

    Args:
        protocol: its name; ``None`` for one of which nothing is known.
        ends_by_bytes: no event ends an answer, so nothing comes after its end.
        ids: calls have ids.
    """
    return [
        mutator
        for mutator in MUTATORS
        if protocol in mutator.protocols
        and not (ends_by_bytes and mutator.name in _AFTER_THE_END)
        and (ids or mutator.name not in _OF_IDS)
    ]


def assert_survived(
    mutator: Mutator,
    protocol: AnyProtocol,
    mutated: bytes,
    *,
    before: Sequence[StreamFrame],
    after: Sequence[StreamFrame],
    error: Exception | None,
) -> None:
    """Checks what a decoder made of a mutated body.

    Args:
        mutator: the fault.
        protocol: the body's protocol.
        mutated: the faulty body.
        before: the frames of the body as it was recorded.
        after: the frames of the faulty one.
        error: what the iteration raised, if it did.

    Raises:
        AssertionError: with what is not as the fault's meaning says.
    """
    name = mutator.name
    if mutator.meaning in (Meaning.HARMLESS, Meaning.IDENTITY):
        assert error is None, f"{name}: raised {error!r}"
        assert_valid_stream(after)
        if mutator.meaning is Meaning.HARMLESS:
            differing = [pair for pair in zip(before, after, strict=False) if pair[0] != pair[1]]
            assert list(before) == list(after), f"{name}: other frames, first {differing[:1]}"
        else:
            assert _essence(before) == _essence(after), f"{name}: another answer"
        return
    expected = ProviderStreamError if mutator.meaning is Meaning.ERROR else StreamError
    assert isinstance(error, expected), f"{name}: raised {error!r}, not {expected.__name__}"
    assert not any(isinstance(frame, End) for frame in after), f"{name}: End, and then an error"
    came, whole = _calls(after), _calls(before)
    assert came == whole[: len(came)], f"{name}: calls that the model did not make"
    sealed = Wire.parse(protocol, mutated).sealed_calls()
    assert len(came) <= sealed, f"{name}: {len(came)} ToolCalls, of which the provider sealed {sealed}"


def _calls(frames: Sequence[StreamFrame]) -> list[tuple[str, object]]:
    return [(frame.name, frame.parsed()) for frame in frames if isinstance(frame, ToolCall)]


def _essence(frames: Sequence[StreamFrame]) -> object:
    texts = ["".join([f.text for f in frames if isinstance(f, kind)]) for kind in (Append, ReasoningAppend)]
    ends = [(frame.finish_reason, frame.usage) for frame in frames if isinstance(frame, End)]
    return texts, _calls(frames), ends
