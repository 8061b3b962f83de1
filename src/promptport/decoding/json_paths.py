"""Values at paths in, the JSON text of the object that they make out, as far as it is known. Pure.

Rule: the values come depth first, so each can be written down when it comes, and no text is ever taken back. A path
that goes back into what was closed cannot be written so, and is a `ProtocolError`.

Source: JSONPath (RFC 9535), of which only names and indexes are read. Vertex AI streams arguments of calls this way.
"""

from __future__ import annotations

import re

import msgspec

from promptport.errors import ProtocolError

__all__ = ["JSONPathWriter"]

_SEGMENT = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,9})\]|\[(['"])((?:\\.|[^\\])*?)\3\]""", re.DOTALL)
_ESCAPES = re.compile(r"\\(.)|[\x00-\x1f\"]", re.DOTALL)


class JSONPathWriter:
    """Writes one object.

    Examples:
        ```python
        from promptport.provider import JSONPathWriter

        writer = JSONPathWriter()
        parts = [writer.write("$.city", "Par", None, True), writer.write("$.city", "is", None, False)]
        parts += [writer.write("$.days[0]", None, "1", False), writer.close()]
        "".join(parts)  # {"city":"Paris","days":[1]}
        ```
    """

    def __init__(self) -> None:
        self._path: list[str | int] = []  # of the last value
        self._names: list[set[str]] = []  # those that were written, of each container that is open
        self._in_string = False

    def write(self, path: str, text: str | None, literal: str | None, more: bool) -> str:
        """The JSON text that one value adds.

        Args:
            path: where the value stands.
            text: a string, or its next increment.
            literal: the JSON text of any other value. Without both, nothing comes: a string that goes on may end.
            more: the string goes on.

        Raises:
            ProtocolError: a path that cannot be read, or that cannot be written behind the last one.
        """
        steps = _steps(path)
        if text is None and literal is None:
            if steps != self._path:
                raise ProtocolError("a partial argument has no value")
            return self._string("", more) if self._in_string else ""
        if steps == self._path and text is not None and (self._in_string or not text):
            return self._string(text, more) if self._in_string else ""
        added = self._string("", more=False) if self._in_string else ""
        added += self._move(steps)
        self._path = steps
        if text is None:
            return f"{added}{literal}"
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
            steps.append(name if name is not None else _unquoted(quoted))
        position = found.end()
    if not path.startswith("$") or position < len(path) or not steps or isinstance(steps[0], int):
        raise ProtocolError("the path of a partial argument cannot be read")
    return steps


def _unquoted(name: str) -> str:
    """A quoted name: its escapes are those of JSON, and any other escaped character is itself."""
    try:
        return msgspec.json.decode(f'"{_ESCAPES.sub(_escaped, name)}"'.encode(), type=str)
    except (msgspec.DecodeError, UnicodeError):
        raise ProtocolError("the path of a partial argument cannot be read") from None


def _escaped(found: re.Match[str]) -> str:
    text = found[1] or found[0]
    if found[1] and text in "bfnrtu\\/":
        return found[0]
    return msgspec.json.encode(text).decode()[1:-1]


def _closers(steps: list[str | int]) -> str:
    return "".join(["}" if isinstance(step, str) else "]" for step in reversed(steps)])
