"""Bodies of Chat Completions, written as short as their quirks allow, and decoded at every kind of cut."""

from __future__ import annotations

import json
from typing import Any

from promptport.errors import StreamError
from promptport.frames import End, InvalidToolCall, StreamFrame, ToolCall
from promptport.messages import AssistantMessage
from promptport.protocols.chat_completions import ChatCompletionsDecoder
from promptport.stream import message_of
from promptport.testing import Cut, assert_valid_stream, cut_body

__all__ = [
    "DONE",
    "calls_of",
    "chunk",
    "decode",
    "decode_cut",
    "delta",
    "failing",
    "finish",
    "frames_of",
    "message",
    "tool",
]

DONE = b"data: [DONE]\n\n"


def chunk(value: Any, event: str = "") -> bytes:
    """One event."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def delta(finish_reason: str | None = None, *, index: Any = 0, **fields: Any) -> bytes:
    """A chunk with one choice, whose delta has these fields."""
    choice = {"index": index, "delta": fields, "finish_reason": finish_reason}
    return chunk({"id": "answer-1", "object": "chat.completion.chunk", "model": "model-1", "choices": [choice]})


def finish(reason: str | None = "stop", **top: Any) -> bytes:
    """The chunk that ends the choice; ``top`` are fields beside ``choices``."""
    choice = {"index": 0, "delta": {}, "finish_reason": reason}
    return chunk({"id": "answer-1", "object": "chat.completion.chunk", "model": "model-1", "choices": [choice], **top})


def tool(arguments: Any = None, name: Any = None, **fields: Any) -> dict[str, Any]:
    """One entry of ``tool_calls``; what is ``None`` is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


def decode_cut(body: bytes, cut: Cut, taken: tuple[str, ...] = ()) -> tuple[list[StreamFrame], StreamError | None]:
    """The frames of a body that comes in these chunks, and the error that ends them."""
    decoder = ChatCompletionsDecoder(taken)
    frames = [frame for part in cut_body(body, cut) for frame in decoder.feed(part)]
    frames += decoder.close()
    assert decoder.ended is (decoder.error is None)
    assert decoder.feed(b"data: {}\n\n") == decoder.close() == [], "nothing comes after the end"
    return frames, decoder.error


def decode(*parts: bytes, taken: tuple[str, ...] = ()) -> tuple[list[StreamFrame], StreamError | None]:
    """As `decode_cut`, for every way of cutting; they all agree."""
    body = b"".join(parts)
    frames, error = decode_cut(body, "whole", taken)
    cuts: list[Cut] = ["bytes", "events", *[("random", seed) for seed in range(5)]]
    for cut in cuts:
        again, error_again = decode_cut(body, cut, taken)
        assert again == frames, cut
        assert (type(error_again), str(error_again)) == (type(error), str(error)), cut
    if error is None:
        assert_valid_stream(frames)
    else:
        assert not any(isinstance(frame, End) for frame in frames)
    return frames, error


def frames_of(*parts: bytes, taken: tuple[str, ...] = ()) -> list[StreamFrame]:
    """The frames of a complete answer."""
    frames, error = decode(*parts, taken=taken)
    assert error is None, error
    return frames


def message(*parts: bytes, taken: tuple[str, ...] = ()) -> AssistantMessage:
    """The message of a complete answer."""
    return message_of(frames_of(*parts, taken=taken))


def failing(*parts: bytes) -> tuple[AssistantMessage, StreamError]:
    """What had come, and the error."""
    frames, error = decode(*parts)
    assert error is not None
    return message_of(frames), error


def calls_of(*parts: bytes) -> list[tuple[str, str, str]]:
    """Id, name and arguments of the calls of a complete answer that ends in them; none is invalid."""
    frames = frames_of(*parts)
    assert not any(isinstance(frame, InvalidToolCall) for frame in frames), frames
    return [(frame.id, frame.name, frame.arguments) for frame in frames if isinstance(frame, ToolCall)]
