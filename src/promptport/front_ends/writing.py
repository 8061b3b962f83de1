"""`FrameEncoder`, what every encoder for a front end can do; and `encode_frames`, the one loop that drives it.

Rule: an encoder is pure and knows what is open; the loop waits, beats while nothing comes, and tells the encoder how
the frames ended: at their end, with an error, or stopped.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Protocol

from promptport.dispatch import DispatchFrame
from promptport.front_ends.pull import Pull

__all__ = ["FrameEncoder", "encode_frames"]


class FrameEncoder(Protocol):
    """Turns the frames of one run into the bytes of one response; a state machine without I/O.

    `fail`, `stop` and `close` are three ways to end. The first of them counts, and closes all that is open; what is
    called after it returns nothing.
    """

    def feed(self, frame: DispatchFrame) -> bytes:
        """The bytes for this frame; might be empty."""
        ...

    def fail(self, error: BaseException) -> bytes:
        """The run failed: the bytes that say so, with a sentence of `error_code` and nothing of the error's text."""
        ...

    def stop(self) -> bytes:
        """Somebody stopped the run."""
        ...

    def close(self) -> bytes:
        """There are no more frames. Without a last frame (`End` and its like) before, the run failed."""
        ...


async def encode_frames(
    frames: AsyncIterable[DispatchFrame],
    encoder: FrameEncoder,
    *,
    heartbeat: float | None = 15.0,
    stopped: Callable[[], bool] | None = None,
    on_error: Callable[[Exception], None] | None = None,
) -> AsyncGenerator[bytes, None]:
    """Drive an encoder over frames: the body of a ``text/event-stream`` response.

    Closing it, as a server does when a client leaves, closes ``frames``.

    Args:
        frames: A `FrameStream`, a `DispatchStream`, or any async iterator of their frames.
        encoder: A new encoder, such as `UIMessageEncoder`.
        heartbeat: Seconds without a frame after which a comment keeps the connection open; `None` for no comment.
        stopped: Tells, at the end of the frames, whether somebody stopped the run.
        on_error: Receives the error that ended the frames, for the server's own log.

    Examples:
        ```python
        import promptport as pp
        from promptport.front_ends import UIMessageEncoder, encode_frames
        from promptport.testing import ScriptedExecutor

        stream = ScriptedExecutor(["Hello"]).execute_streaming_with_tools("Hi", "scripted/m")
        async for data in encode_frames(stream, UIMessageEncoder("run-1")):
            print(data.decode(), end="")
        ```
    """
    pull = Pull(aiter(frames))
    try:
        while True:
            try:
                frame = await pull.get(heartbeat)
            except StopAsyncIteration:
                last = encoder.stop() if stopped is not None and stopped() else encoder.close()
                break
            except Exception as error:
                if on_error is not None:
                    on_error(error)
                last = encoder.fail(error)
                break
            if frame is None:
                yield b": keep-alive\n\n"
            elif data := encoder.feed(frame):
                yield data
        if last:
            yield last
    finally:
        await pull.aclose()
