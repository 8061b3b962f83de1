"""`whole_calls`: the calls of some steps for a protocol in which calls come whole, and not in increments.

Rule: what is half of a call, such a protocol cannot say; then there is no list, and the encoder gives ``None`` too.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from promptport.frames import parse_arguments
from promptport.testing.steps import Arguments, Blocked, Fail, Finish, MalformedCall, Opaque, Seal, Start, Step

__all__ = ["WholeCall", "whole_calls"]


class WholeCall(msgspec.Struct, frozen=True):
    """A call in one piece.

    Attributes:
        id: its id; leave it out where the protocol has none.
        name: the tool's name.
        arguments: the JSON text of an object, on one line.
        opaque: what the provider wants back with it; empty if nothing.
    """

    id: str
    name: str
    arguments: str
    opaque: str = ""

    @property
    def raw(self) -> msgspec.Raw:
        """The arguments as JSON to stand inside JSON, with the spelling that the model gave them."""
        return msgspec.Raw(self.arguments.encode())


def whole_calls(steps: Sequence[Step]) -> dict[int, WholeCall] | None:
    """The calls of these steps, by key, in their order: an encoder writes each at its `Seal`.

    Returns:
        ``None`` for steps that such a protocol cannot say: a call that is open when the next begins or when the answer
        ends, or arguments that are not a JSON object.
    """
    calls: dict[int, WholeCall] = {}
    begun: Start | None = None
    for step in steps:
        if isinstance(step, Start):
            if begun is not None:
                return None
            begun = step
        elif isinstance(step, Seal):
            call = _sealed(step.key, begun, steps)
            if call is None:
                return None
            calls[step.key] = call
            begun = None
        elif isinstance(step, Finish | Fail | Blocked | MalformedCall) and begun is not None:
            return None
    return calls


def _sealed(key: int, begun: Start | None, steps: Sequence[Step]) -> WholeCall | None:
    if begun is None or begun.key != key:
        return None
    written = "".join([step.text for step in steps if isinstance(step, Arguments) and step.key == key]) or "{}"
    try:
        parse_arguments(written)
    except ValueError:
        return None
    opaque = "".join([step.token for step in steps if isinstance(step, Opaque) and step.key == key])
    # A line end can stand only between the tokens of JSON, where a blank is the same; in NDJSON it would end the line.
    return WholeCall(begun.id, begun.name, written.replace("\n", " ").replace("\r", " "), opaque)
