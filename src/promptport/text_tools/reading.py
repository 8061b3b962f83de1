"""The frames of an answer whose text a parser reads. Pure.

Rule: what is no text passes as it is, and the end says what became of the calls in it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import cast

from msgspec.structs import replace

from promptport.errors import ProviderError, StreamError
from promptport.frames import Append, End, FinishReason, StreamFrame
from promptport.stream import FrameBatches, FrameStream
from promptport.text_tools.machine import TextToolsParser

__all__ = ["frames_of", "parsed", "skipped_by"]


def parsed(frame: StreamFrame, parser: TextToolsParser) -> list[StreamFrame]:
    """The frames that come of one."""
    if type(frame) is Append:
        return parser.feed(frame.text)
    if type(frame) is not End:
        parser.take(getattr(frame, "id", ""))
        return [frame]
    frames = parser.finish()
    reason = frame.finish_reason
    if parser.sealed and reason is not FinishReason.LENGTH:
        reason = FinishReason.TOOL_CALLS
    return [*frames, replace(frame, finish_reason=reason, unfinished=(*frame.unfinished, *parser.unfinished))]


async def frames_of(stream: FrameStream, parser: TextToolsParser) -> FrameBatches:
    """The frames of a stream; it is closed with this one."""
    try:
        async for frame in stream:
            yield parsed(frame, parser)
    except (ProviderError, StreamError) as error:
        error.partial = None  # it holds the text; the stream around this one knows what that says
        raise
    finally:
        await stream.aclose()


def skipped_by(parser: TextToolsParser, stream: FrameStream) -> Mapping[str, int]:
    """What neither the stream nor the parser could read, while they read."""
    return ChainMap(parser.skipped, cast("dict[str, int]", stream.skipped))
