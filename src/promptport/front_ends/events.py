r"""Frames as server-sent events for front ends, and back.

Every event is ``id: N``, ``data: {json}`` and a blank line. ``type`` in the JSON is ``content`` for text
(``{"type": "content", "content": "Hello"}``) and the frame's own name for every other (``tool_call``, ``tool_result``,
``reasoning_append``, ``end`` …). The last event is ``{"type": "done"}``. Before it stands ``end``, ``approval_needed``,
or ``{"type": "error", "code": …, "message": …}``. A browser that has seen it closes its ``EventSource``, which would
connect again otherwise. Comment lines (``: beat``) keep the connection open through proxies.

Rule: an error, of the stream or of a tool, tells a code and a sentence, and nothing of its text, which might quote what
users and providers wrote. Only the program chooses another text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any

import msgspec

from promptport.decoding import SSEDecoder, StreamDecoder
from promptport.dispatch import ApprovalNeeded, DispatchFrame, ToolResult, ToolsPending
from promptport.errors import (
    IncompleteStreamError,
    ProtocolError,
    ProviderStreamError,
)
from promptport.frames import Append, End
from promptport.front_ends.error_codes import error_code
from promptport.front_ends.pull import Pull

__all__ = ["EventDecoder", "encode_events"]

_encode = msgspec.json.Encoder().encode
_decode_frame = msgspec.json.Decoder(DispatchFrame).decode
_decode_any = msgspec.json.Decoder().decode


async def encode_events(
    frames: AsyncIterable[DispatchFrame],
    *,
    heartbeat: float | None = 15.0,
    first_id: int = 1,
    on_error: Callable[[Exception], None] | None = None,
    error_text: Callable[[Exception | ToolResult], str] | None = None,
) -> AsyncGenerator[bytes, None]:
    """The body of a ``text/event-stream`` response.

    Closing it (a client that leaves) closes ``frames`` where that is a stream of ours.

    Args:
        frames: a `FrameStream`, a dispatcher's stream, or any async iterable of their frames.
        heartbeat: a comment goes out when nothing else did for so many seconds; ``None`` for none.
        first_id: the first event's id; the others count up from it.
        on_error: is told of an error before the front end sees its class, for the server's own log.
        error_text: Chooses what the front end reads of an error that ended the stream, or of a `ToolResult` with an
            error. Default: a sentence of promptport for each code; what an exception says stays on the server.
    """
    pull = Pull(aiter(frames))
    number = first_id
    try:
        while True:
            try:
                frame = await pull.get(heartbeat)
            except StopAsyncIteration:
                break
            except Exception as error:
                if on_error is not None:
                    on_error(error)
                told = _error(error)
                if error_text is not None:
                    told["message"] = error_text(error)
                yield _event(number, _encode(told))
                number += 1
                break
            if frame is None:
                yield b": beat\n\n"
                continue
            yield _event(number, _data(frame, error_text))
            number += 1
        yield _event(number, b'{"type":"done"}')
    finally:
        await pull.aclose()


def _data(frame: DispatchFrame, error_text: Callable[[Exception | ToolResult], str] | None) -> bytes:
    if type(frame) is Append:
        return b'{"type":"content","content":' + _encode(frame.text) + b"}"
    if type(frame) is ToolResult and frame.error is not None:
        # Also its output: a tool that failed may have put its exception there.
        text = error_text(frame) if error_text is not None else "The tool failed."
        told = {"type": "tool_result", "id": frame.id, "name": frame.name, "error": text, "code": "tool_failed"}
        return _encode(told)
    return _encode(frame)


def _event(number: int, data: bytes) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (number, data)


def _error(error: Exception) -> dict[str, str]:
    code, message = error_code(error)
    return {"type": "error", "code": code, "message": message}


class EventDecoder(StreamDecoder[tuple[bytes, bytes]]):
    """The frames in the events of `encode_events`: ``feed`` bytes, ``close`` at their end; see `StreamDecoder`.

    ``error`` is a `ProviderStreamError` with the event's ``code`` where the other side reported one.

    Attributes:
        last_id: the id of the last event, for a server that can go on from there.
    """

    def __init__(self) -> None:
        super().__init__(SSEDecoder())
        self.last_id = 0
        self._finished = False

    def _event(self, event: tuple[bytes, bytes], out: list[Any]) -> None:
        try:
            body = _decode_any(event[1])
        except msgspec.DecodeError as error:
            raise ProtocolError(f"an event is not JSON: {error}") from None
        kind = body.get("type") if isinstance(body, dict) else None
        self.last_id += 1
        if kind == "content" and isinstance(body.get("content"), str):
            out.append(Append(body["content"]))
        elif kind == "done":
            self.ended = True
            if not self._finished:
                raise IncompleteStreamError("the events are done without an end")
        elif kind == "error":
            raise ProviderStreamError(str(body.get("message", "")), code=str(body.get("code", "")))
        else:
            try:
                frame = _decode_frame(event[1])
            except msgspec.ValidationError:
                self._skip(str(kind))
                return
            self._finished = self._finished or isinstance(frame, End | ApprovalNeeded | ToolsPending)
            out.append(frame)

    def _end_of_bytes(self, out: list[Any]) -> None:
        raise IncompleteStreamError("the events ended without their last, {'type': 'done'}")
