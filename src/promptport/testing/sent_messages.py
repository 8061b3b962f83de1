"""The messages in a request, in the kit's words: what `ProviderContract.read_request` gives, and how it is compared.

Rule: a message is what it says to the model: who speaks, the text, the calls, the results. How a protocol groups them
is its own affair.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from promptport.testing.request_turns import Turn

__all__ = ["SentCall", "SentMessage", "SentResult", "messages_in_turns", "statements"]

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


class SentCall(msgspec.Struct, frozen=True):
    """A call in a request; ``arguments`` is JSON text, or the object."""

    id: str
    name: str
    arguments: Any


class SentResult(msgspec.Struct, frozen=True):
    """A tool's result in a request; an empty ``id`` or ``name`` is one that the protocol does not write."""

    id: str
    text: str
    name: str = ""


class SentMessage(msgspec.Struct, frozen=True):
    """One message of a request.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        text: its text.
        calls: the calls behind the text.
        results: the results of tools in it, of whichever role it is.
    """

    role: Role
    text: str = ""
    calls: tuple[SentCall, ...] = ()
    results: tuple[SentResult, ...] = ()


Statement: TypeAlias = tuple[str, ...]


def statements(messages: Iterable[SentMessage]) -> list[Statement]:
    """Who says what, one after the other: texts, calls and results; what stands next to its like is joined."""
    out: list[Statement] = []
    for message in messages:
        for result in message.results:
            out.append(("result", result.id, result.text))
        if message.text:
            if out and out[-1][0] == message.role:
                out[-1] = (message.role, f"{out[-1][1]}\n{message.text}")
            else:
                out.append((message.role, message.text))
        for call in message.calls:
            out.append(("call", call.id, call.name, _canonical(call.arguments)))
    return [entry for entry in out if entry[0] == "system"] + [entry for entry in out if entry[0] != "system"]


def _canonical(arguments: Any) -> str:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return str(arguments)
    return json.dumps(arguments, sort_keys=True)


def messages_in_turns(turns: Sequence[Turn]) -> list[SentMessage]:
    """The turns of a protocol whose rules the kit knows."""
    return [_message(turn) for turn in turns]


def _message(turn: Turn) -> SentMessage:
    texts = [block.text for block in turn.blocks if block.kind == "text"]
    calls = [SentCall(b.id, b.name or "", b.arguments) for b in turn.blocks if b.kind == "call"]
    results: list[SentResult] = []
    for block in turn.blocks:
        if block.kind == "result":
            results.append(SentResult(block.id, block.text, block.name or ""))
        elif block.kind == "result-text" and results:
            results[-1] = msgspec.structs.replace(results[-1], text=results[-1].text + block.text)
    role: Any = turn.role
    return SentMessage(role, "\n".join(texts), tuple(calls), tuple(results))
