"""Bytes → events → frames, and what an error object says. Pure.

What enters knows bytes or how a call is put together, and no provider. It never awaits: an object with ``feed`` and
``close``. Imports: `promptport.errors`, `promptport.frames`, msgspec.
"""

from promptport.decoding.assembly import CallAssembler, seal_call
from promptport.decoding.error_codes import class_of_code
from promptport.decoding.error_objects import error_details, json_or_none, shortened, words_and_codes
from promptport.decoding.eventstream import EventStreamDecoder, EventStreamHeaders
from promptport.decoding.json_objects import JSONObjectsDecoder
from promptport.decoding.limits import DEFAULT_LIMITS, Limits
from promptport.decoding.ndjson import NDJSONDecoder
from promptport.decoding.sse import SSEDecoder
from promptport.decoding.stream_decoder import StreamDecoder, WireDecoder
from promptport.decoding.surrogates import mended_text

__all__ = [
    "DEFAULT_LIMITS",
    "CallAssembler",
    "EventStreamDecoder",
    "EventStreamHeaders",
    "JSONObjectsDecoder",
    "Limits",
    "NDJSONDecoder",
    "SSEDecoder",
    "StreamDecoder",
    "WireDecoder",
    "class_of_code",
    "error_details",
    "json_or_none",
    "mended_text",
    "seal_call",
    "shortened",
    "words_and_codes",
]
