"""A recorded body cut into chunks, as a network might.

Rule: the chunks joined are the body, none is empty, and the same arguments give the same chunks.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

__all__ = ["Cut", "cut_body"]

Cut: TypeAlias = Literal["whole", "bytes", "events"] | tuple[Literal["random"], int] | Sequence[int]
"""How to cut: not at all; into single bytes; after each event; at random places, from a seed; at these offsets."""

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2,}")
_LINE_END = re.compile(rb"\n")
_MEAN_CHUNK_BYTES = 24


def cut_body(body: bytes, cut: Cut = "whole") -> list[bytes]:
    """``body`` in chunks. An event ends at a blank line; in a body without any (NDJSON), at a line end.

    Raises:
        ValueError: ``cut`` is none of `Cut`.
    """
    if not body:
        return []
    if isinstance(cut, str):
        return _cut_by_name(body, cut)
    if len(cut) == 2 and cut[0] == "random":
        chooser = random.Random(cut[1])  # noqa: S311 - reproducible, not secret
        return _cut_at(body, (chooser.randrange(len(body)) for _ in range(len(body) // _MEAN_CHUNK_BYTES + 1)))
    return _cut_at(body, [int(offset) for offset in cut])


def _cut_by_name(body: bytes, name: str) -> list[bytes]:
    if name == "whole":
        return [body]
    if name == "bytes":
        return [body[index : index + 1] for index in range(len(body))]
    if name == "events":
        ends = [match.end() for match in _BLANK_LINE.finditer(body)]
        return _cut_at(body, ends or [match.end() for match in _LINE_END.finditer(body)])
    raise ValueError(f"no such cut: {name!r}")


def _cut_at(body: bytes, offsets: Iterable[int]) -> list[bytes]:
    inside = sorted({offset for offset in offsets if 0 < offset < len(body)})
    return [body[start:end] for start, end in pairwise([0, *inside, len(body)])]
