"""Vertex's ``partialArgs`` in, the JSON text of a call's arguments out, as far as it is known. Pure.

Rule: the model writes its arguments depth first, so each value can be written down when it comes, and no text is ever
taken back. A path that goes back into what was closed cannot be written so, and is a `ProtocolError`.

Source: ``PartialArg`` in the types of google-genai; the paths are JSONPath (RFC 9535) with names and indexes only.
"""

from __future__ import annotations

import re

import msgspec

from promptport.provider import ProtocolError

__all__ = ["ArgumentsWriter"]

_SEGMENT = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\[(['"])((?:\\.|[^\\])*?)\3\]""")


class ArgumentsWriter:
    """Writes one call's arguments."""

    def __init__(self) -> None:
        self._path: list[str | int] = []  # of the last value
        self._names: list[set[str]] = []  # those that were written, of each container that is open
        self._in_string = False

    def write(self, path: str, text: str | None, literal: str | None, more: bool) -> str:
        """The JSON text that one value adds.

        Args:
            path: where the value stands.
            text: a string, or its next increment.
            literal: the JSON text of any other value.
            more: the string goes on.

        Raises:
            ProtocolError: a path that cannot be read, or that cannot be written behind the last one.
        """
        steps = _steps(path)
        if steps == self._path and text is not None and (self._in_string or not text):
            return self._string(text, more) if self._in_string else ""
        added = self._string("", more=False) if self._in_string else ""
        added += self._move(steps)
        self._path = steps
        if text is None:
            return added + (literal or "null")
        self._in_string = True
        return f'{added}"{self._string(text, more)}'

    def close(self) -> str:
        """The text that completes the arguments."""
        end = self._string("", more=False) if self._in_string else ""
        if not self._path:
            return "{}"
        return end + _closers(self._path)

    @property
    def begun(self) -> bool:
        """Whether anything was written."""
        return bool(self._path)

    def _string(self, text: str, more: bool) -> str:
        self._in_string = more
        return msgspec.json.encode(text).decode()[1:-1] + ("" if more else '"')

    def _move(self, steps: list[str | int]) -> str:
        """From behind the last value to the place of the next."""
        last, common = self._path, 0
        while common < min(len(last), len(steps)) and last[common] == steps[common]:
            common += 1
        if last and common in (len(last), len(steps)):
            raise ProtocolError("a partial argument stands where another one is complete")
        added = _closers(last[common + 1 :]) + "," if last else "{"
        del self._names[common + 1 :]
        for depth in range(common, len(steps)):
            step = steps[depth]
            if depth > common:
                added += "{" if isinstance(step, str) else "["
            before = last[depth] if last and depth == common else None
            added += self._key(depth, step, before)
        return added

    def _key(self, depth: int, step: str | int, before: str | int | None) -> str:
        if len(self._names) <= depth:
            self._names.append(set())
        if isinstance(step, str):
            if step in self._names[depth] or isinstance(before, int):
                raise ProtocolError("a partial argument goes back into an object that is complete")
            self._names[depth].add(step)
            return msgspec.json.encode(step).decode() + ":"
        if isinstance(before, str) or step != (0 if before is None else before + 1):
            raise ProtocolError("a partial argument leaves out an element of its array")
        return ""


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    position = 1
    while position < len(path):
        found = _SEGMENT.match(path, position)
        if found is None:
            break
        name, index, _, quoted = found.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(name if name is not None else re.sub(r"\\(.)", r"\1", quoted))
        position = found.end()
    if not path.startswith("$") or position < len(path) or not steps or isinstance(steps[0], int):
        raise ProtocolError("the path of a partial argument cannot be read")
    return steps


def _closers(steps: list[str | int]) -> str:
    return "".join(["}" if isinstance(step, str) else "]" for step in reversed(steps)])
