"""How the work for an answer grows with its entries: with their number, in every shape, and not with its square.

Counted in lines of Python that run, not in time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from promptport.decoding import StreamDecoder
from promptport.frames import End, ProviderItem, Reasoning, StreamFrame, ToolCall
from promptport.protocols import ChatCompletionsDecoder, MessagesDecoder, ResponsesDecoder

Event = dict[str, Any]


def chat(**delta: Any) -> Event:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def details(count: int, **fields: Callable[[int], Any]) -> Iterator[Event]:
    for k in range(count):
        detail = {"type": "reasoning.text", "text": "think ", **{name: of(k) for name, of in fields.items()}}
        yield chat(reasoning_details=[detail])
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def calls(count: int, *, together: bool, item_id: Callable[[int], str], index: Callable[[int], int | None]) -> Any:
    """Responses: the calls one after the other, or all open at once."""

    def item(k: int, **more: Any) -> Event:
        return {"type": "function_call", "id": item_id(k), "call_id": f"c{k}", "name": "f", **more}

    def at(k: int, kind: str, **more: Any) -> Event:
        return {"type": f"response.{kind}", **({} if index(k) is None else {"output_index": index(k)}), **more}

    steps: list[Callable[[int], Event]] = [
        lambda k: at(k, "output_item.added", item=item(k, arguments="")),
        lambda k: at(k, "function_call_arguments.delta", item_id=item_id(k), delta="{}"),
        lambda k: at(k, "function_call_arguments.done", item_id=item_id(k), arguments="{}"),
        lambda k: at(k, "output_item.done", item=item(k, arguments="{}", status="completed")),
    ]
    if together:
        yield from (step(k) for step in steps for k in range(count))
    else:
        yield from (step(k) for k in range(count) for step in steps)
    output = [item(k, arguments="{}", status="completed") for k in range(count)]
    yield {"type": "response.completed", "response": {"status": "completed", "output": output}}


def listed_only(count: int) -> Iterator[Event]:
    """Responses: the calls stand in the end's list, and nowhere else."""
    *_, end = calls(count, together=False, item_id="i{}".format, index=lambda k: k)
    yield end


def item_deltas(count: int, delta: Event) -> Iterator[Event]:
    """Anthropic: a block without a frame of its own that grows."""
    yield {"type": "message_start", "message": {"id": "m", "model": "m", "content": []}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "server_x", "content": ""}}
    for _ in range(count):
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    yield {"type": "message_stop"}


Shape = tuple[Callable[[], StreamDecoder[Any]], Callable[[int], Iterator[Event]], Callable[[list[StreamFrame]], int]]


def reasoned(frames: list[StreamFrame]) -> int:
    (block,) = [frame for frame in frames if isinstance(frame, Reasoning)]
    assert block.provider_data is not None
    assert "".join(one["text"] for one in block.provider_data["reasoning_details"]) == block.text
    return len(block.text) // len("think ")


def called(frames: list[StreamFrame]) -> int:
    return len({frame.id for frame in frames if isinstance(frame, ToolCall)})


def grown(frames: list[StreamFrame]) -> int:
    (item,) = [frame for frame in frames if isinstance(frame, ProviderItem)]
    return len(item.data["content"]) // len("more ")


SHAPES: dict[str, Shape] = {
    "details of one text": (ChatCompletionsDecoder, details, reasoned),
    "details of many texts": (ChatCompletionsDecoder, lambda n: details(n, index=lambda k: k), reasoned),
    "details by turns": (ChatCompletionsDecoder, lambda n: details(n, index=lambda k: k % 2), reasoned),
    "calls one after the other": (
        ResponsesDecoder,
        lambda n: calls(n, together=False, item_id="i{}".format, index=lambda k: k),
        called,
    ),
    "calls all open at once": (
        ResponsesDecoder,
        lambda n: calls(n, together=True, item_id="i{}".format, index=lambda k: k),
        called,
    ),
    "calls without an index": (
        ResponsesDecoder,
        lambda n: calls(n, together=True, item_id="i{}".format, index=lambda k: None),
        called,
    ),
    "calls at one index": (
        ResponsesDecoder,
        lambda n: calls(n, together=True, item_id="i{}".format, index=lambda k: 0),
        called,
    ),
    "calls of one item id": (
        ResponsesDecoder,
        lambda n: calls(n, together=True, item_id=lambda k: "i", index=lambda k: k),
        called,
    ),
    "calls in the last list only": (ResponsesDecoder, listed_only, called),
    "texts of a block without a frame": (
        MessagesDecoder,
        lambda n: item_deltas(n, {"type": "x_delta", "content": "more "}),
        grown,
    ),
}


def decoded(shape: str, count: int) -> tuple[list[StreamFrame], int]:
    """The frames, and the work for them."""
    make, write, _ = SHAPES[shape]
    wire = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in write(count)]
    decoder, lines = make(), 0
    frames: list[StreamFrame] = []

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += 1
        return trace

    before = sys.gettrace()
    if count < 5000:
        sys.settrace(trace)
    try:
        for data in wire:
            frames += decoder.feed(data)
        frames += decoder.close()
    finally:
        sys.settrace(before)
    assert decoder.error is None
    return frames, lines


@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_grows_with_the_entries_and_not_with_their_square(shape: str) -> None:
    (_, few), (_, many) = decoded(shape, 100), decoded(shape, 800)
    assert many < few * 8 * 1.3


@pytest.mark.parametrize("shape", SHAPES)
def test_twenty_thousand_entries_are_read(shape: str) -> None:
    frames, _ = decoded(shape, 20_000)
    assert SHAPES[shape][2](frames) == 20_000
    assert isinstance(frames[-1], End)
