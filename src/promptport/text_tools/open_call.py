"""`OpenCall`: what is known of the call that is being read. Pure.

Rule: an object that stands in no tags is *tentative* until its keys decide; see ``json_grammar.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from promptport.tools import ToolDescriptor

__all__ = ["OpenCall"]


class OpenCall:
    """The call that is open."""

    __slots__ = (
        *("alone", "argued", "begun", "code", "echo", "flat", "kept", "keyed", "name"),
        *("parameters", "raw", "streams", "tentative", "tool"),
    )

    def __init__(self, *, streams: bool, tentative: bool = False, alone: bool = False) -> None:
        self.streams = streams  # increments go out as they come
        self.tentative = tentative  # it may yet turn out to be text
        self.alone = alone  # nothing else is said around it, so far
        self.begun = False  # the name is known
        self.name = ""  # of a tentative call
        self.argued = False  # its arguments came, or come now
        self.echo = False  # it describes the tool
        self.flat = False  # what may be its arguments stands beside its name
        self.keyed = False  # its arguments stand under the tool's name
        self.code: list[tuple[str, str]] = []  # calls that Python code makes: names, and the text of their arguments
        self.tool: ToolDescriptor | None = None
        self.raw: list[str] = []  # all of the call's text, until increments go out
        self.kept: list[str] = []  # arguments that came before the name
        self.parameters: dict[str, str] = {}  # tagged values, as JSON

    def verdict(self, known: Collection[str]) -> Literal["call", "text"] | None:
        """What the keys that came so far make of a tentative one; ``None`` while they leave it open."""
        if self.keyed:
            return "text" if self.echo else None
        if self.name in known:
            return "call" if self.argued or self.echo else None
        return "text" if self.echo or (self.name and not self.alone) else None

    def may_be_whole(self, known: Collection[str]) -> bool:
        """Whether a tentative one, whose object has ended, can be a call, if nothing else is said around it."""
        objects = "".join(self.kept).lstrip()[:1] == "{"
        return bool(self.name) and self.alone and (self.name in known or objects)
