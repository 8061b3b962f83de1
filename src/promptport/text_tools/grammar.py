"""What a format's parser is made of: states, and the markers that each of them knows. Pure.

Rule: a format is data. The machine that runs these tables is in ``machine.py``; it knows no format.
"""

from __future__ import annotations

import enum
import re
from functools import cached_property
from typing import NamedTuple

from promptport.text_tools.patterns import Part, begun, capturing, first_characters, longest, whole

__all__ = ["PROSE", "REASONED", "Grammar", "Kind", "Marker", "Sink", "State", "Step"]

PROSE = "prose"
"""The state outside of everything, which every grammar has."""


class Kind(enum.Enum):
    """How a state reads."""

    SEARCH = enum.auto()
    """Everything up to the next marker goes to the sink."""
    EXPECT = enum.auto()
    """A marker stands here, or the text goes on in the state ``otherwise``."""
    JSON = enum.auto()
    """One JSON value goes to the sink; then ``then``."""
    PYTHON = enum.auto()
    """The arguments of a Python call go to the sink, up to its closing parenthesis; then ``then``."""


class Sink(enum.Enum):
    """Where the text of a state goes."""

    NOWHERE = enum.auto()
    TEXT = enum.auto()
    REASONING = enum.auto()
    ARGUMENTS = enum.auto()
    VALUE = enum.auto()


class Step(NamedTuple):
    """The way to another state.

    Attributes:
        state: its name.
        action: what the machine does on the way (a key of its table of actions), or an empty string.
    """

    state: str
    action: str = ""


REASONED = Step(PROSE, "reasoned")
"""Out of reasoning, which is over."""


class Marker(NamedTuple):
    """A marker that a state knows.

    Attributes:
        parts: what it looks like.
        state, action: as in `Step`.
    """

    parts: tuple[Part, ...]
    state: str
    action: str = ""


class State:
    """One state of a grammar."""

    def __init__(
        self,
        kind: Kind,
        *markers: Marker,
        sink: Sink = Sink.NOWHERE,
        then: Step | None = None,
        otherwise: Step | None = None,
        at_end: Step | None = None,
        spaces: bool = False,
    ) -> None:
        """Args:
        kind: how it reads.
        markers: what it knows.
        sink: where its text goes.
        then: after a value, for `Kind.JSON` and `Kind.PYTHON`.
        otherwise: where text goes that this state cannot read.
        at_end: where the end of the text leads; ``None`` where it leaves what is open unfinished.
        spaces: blanks before a marker are passed over.
        """
        self.kind = kind
        self.markers = markers
        self.sink = sink
        self.then = then
        self.otherwise = otherwise
        self.at_end = at_end
        self.spaces = spaces

    @cached_property
    def running(self) -> re.Pattern[str]:
        """The markers, each a group, and in a last group what may still become one."""
        pieces = [f"({whole(marker.parts)})" for marker in self.markers]
        inside = "|".join([begun(marker.parts) for marker in self.markers]) or "(?!)"
        # In a search, the empty text at the end is not the beginning of a marker.
        least = r"(?!\Z)" if self.kind is Kind.SEARCH else ""
        return re.compile("|".join([*pieces, f"({least}(?:{inside}))"]))

    @cached_property
    def final(self) -> re.Pattern[str]:
        """The markers alone, for the end of the text."""
        return re.compile("|".join([f"({whole(marker.parts)})" for marker in self.markers]) or "(?!)")

    @cached_property
    def starts(self) -> re.Pattern[str]:
        """The characters that a marker may begin with: one set, which a search passes text by at the speed of C."""
        return re.compile(first_characters(marker.parts for marker in self.markers))

    @cached_property
    def capturing(self) -> list[re.Pattern[str]]:
        """For each marker the expression that has its named groups."""
        return [re.compile(capturing(marker.parts)) for marker in self.markers]

    @property
    def longest(self) -> int:
        """How many characters may wait in this state."""
        return max([longest(marker.parts) for marker in self.markers], default=0)


class Grammar(NamedTuple):
    """A format's tables.

    Attributes:
        openers: the markers that lead out of `PROSE`.
        states: all other states.
        start: the state at the beginning of the text.
    """

    openers: tuple[Marker, ...]
    states: dict[str, State]
    start: str = PROSE
