"""The content blocks of an answer, by their index: increments in, frames out. Pure.

Rule: a block is text with its sources, reasoning with what goes back, an item that the provider made, or a call, which
the assembler keeps. What a block holds besides its increments comes at its close. A server that opens blocks by their
first increment, and does not close them, has closed them where the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from promptport.decoding.assembly import CallAssembler
from promptport.errors import ProtocolError
from promptport.frames import Append, Citation, ProviderItem, Reasoning, ReasoningAppend, StreamFrame

__all__ = ["ContentBlocks"]

_IMPLICIT = ("text", "reasoning")
_Join = Callable[[Sequence[str]], str]


class _Block:
    """A block that is open."""

    __slots__ = ("citations", "data", "kept", "kind", "parts")

    def __init__(self, kind: str, data: dict[str, Any] | None) -> None:
        self.kind = kind
        self.data = data if data is not None else {}
        self.parts: list[str] = []  # of its reasoning, or of an item's input
        self.kept: dict[str, tuple[list[str], _Join]] = {}  # what goes back, in the pieces that came
        self.citations: list[Citation] = []


class ContentBlocks:
    """The blocks that are open.

    Attributes:
        text_index: The index of the text block under way, or ``None``: the way of most events.

    Examples:
        ```python
        from promptport.provider import CallAssembler, ContentBlocks, StreamFrame

        frames: list[StreamFrame] = []
        blocks = ContentBlocks(CallAssembler())
        blocks.think(0, "Let me see.", frames)
        blocks.keep(0, "signature", "c2ln", frames)
        blocks.say(1, "Hi", frames)  # the reasoning is complete: Reasoning("Let me see.", {"signature": "c2ln"})
        ```
    """

    def __init__(self, calls: CallAssembler, reasoning: dict[str, Any] | None = None) -> None:
        """Args:
        calls: The calls of this answer.
        reasoning: What the ``provider_data`` of every block of reasoning holds.
        """
        self._calls = calls
        self._reasoning = reasoning or {}
        self._open: dict[int, _Block] = {}
        self.text_index: int | None = None

    def kind(self, index: int) -> str:
        """``text``, ``reasoning``, ``item``, ``call``; an empty string where no block is open."""
        block = self._open.get(index)
        return block.kind if block is not None else ""

    # ------------------------------------------------------------------------------------------- increments

    def say(self, index: int, text: str, out: list[StreamFrame]) -> None:
        """An increment of text; an empty one opens the block."""
        self._block("text", index, out)
        self.text_index = index
        if text:
            out.append(Append(text))

    def think(self, index: int, text: str, out: list[StreamFrame]) -> None:
        """An increment of reasoning; an empty one opens the block."""
        block = self._block("reasoning", index, out)
        if text:
            block.parts.append(text)
            out.append(ReasoningAppend(text))

    def keep(self, index: int, name: str, text: str, out: list[StreamFrame], *, join: _Join = "".join) -> None:
        """A piece of what goes back with the reasoning, under a name; ``join`` makes one of several."""
        self._block("reasoning", index, out).kept.setdefault(name, ([], join))[0].append(text)

    def cite(self, index: int, citation: Citation, out: list[StreamFrame]) -> None:
        """A source of the text; it comes behind it."""
        self._block("text", index, out).citations.append(citation)

    def item(self, index: int, kind: str, data: dict[str, Any], out: list[StreamFrame]) -> dict[str, Any]:
        """The data of an item of the provider's, which this opens where it is not open."""
        block = self._open.get(index)
        if block is None or block.kind != "item":
            block = self._block("item", index, out)
            block.data = {kind: data}
        made: dict[str, Any] = next(iter(block.data.values()))
        return made

    def put_in(self, index: int, text: str) -> None:
        """An increment of an item's input."""
        self._open[index].parts.append(text)

    # ------------------------------------------------------------------------------------- opening and closing

    def open_call(
        self, index: int, id: str | None, name: str, out: list[StreamFrame], provider_data: dict[str, Any] | None
    ) -> None:
        """A call begins. Raises `ProtocolError` where another block is open."""
        self._block("call", index, out)
        self._calls.start(index, id, name, out, provider_data)

    def next(self, out: list[StreamFrame]) -> None:
        """The model goes on: nothing cut the call before, and blocks that only an increment opened are complete."""
        self._calls.settle(out)
        self.text_index = None
        for index in [index for index, block in self._open.items() if block.kind in _IMPLICIT]:
            self.close(index, out)

    def close(self, index: int, out: list[StreamFrame], *, parse: Callable[[str], Any] | None = None) -> bool:
        """The block is complete: its frames.

        Args:
            index: The block's.
            out: Where the frames go.
            parse: Reads an item's input, which becomes ``input`` in its data.

        Returns:
            Whether there was such a block.
        """
        block = self._open.pop(index, None)
        if block is None:
            return False
        if self.text_index == index:
            self.text_index = None
        if block.kind == "text":
            out.extend(block.citations)
        elif block.kind == "reasoning":
            kept = dict(self._reasoning)
            for name, (pieces, join) in block.kept.items():
                kept[name] = pieces[0] if len(pieces) == 1 else join(pieces)
            out.append(Reasoning("".join(block.parts), kept or None))
        elif block.kind == "call":
            self._calls.end(index, out)
        else:
            kind, data = next(iter(block.data.items()))
            if parse is not None and block.parts:
                data["input"] = parse("".join(block.parts))
            out.append(ProviderItem(kind, block.data))
        return True

    def close_all(self, out: list[StreamFrame], *, cut: bool) -> None:
        """The answer is over: what is open is complete, but for calls. ``cut``: a limit may have cut the last call."""
        for index in [index for index, block in self._open.items() if block.kind != "call"]:
            self.close(index, out)
        self._calls.settle(out, cut=cut)

    def _block(self, kind: str, index: int, out: list[StreamFrame]) -> _Block:
        block = self._open.get(index)
        if block is not None and block.kind == kind and kind in _IMPLICIT:
            return block
        if block is not None and (block.kind == "call" or kind == "call"):
            raise ProtocolError(f"{kind} came for a content block that is open as {block.kind}")
        self.next(out)  # also what was under this index before: reasoning, and then text
        block = self._open[index] = _Block(kind, None)
        return block
