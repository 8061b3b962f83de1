"""Bytes → events → frames, and what an error object says. Pure.

What enters knows bytes or how a call is put together, and no provider. It never awaits: an object with ``feed`` and
``close``. Imports: `promptport.errors`, `promptport.frames`, msgspec.
"""

from promptport.decoding.assembly import CallAssembler
from promptport.decoding.content_blocks import ContentBlocks
from promptport.decoding.error_codes import class_of_code
from promptport.decoding.error_objects import (
    error_details,
    json_or_none,
    refuse_web_page,
    reported_error,
    reported_exception,
    shortened,
    words_and_codes,
)
from promptport.decoding.eventstream import EventStreamDecoder, EventStreamHeaders
from promptport.decoding.field_values import count_in, dict_in, dicts_in, number_in, text_in
from promptport.decoding.json_objects import JSONObjectsDecoder
from promptport.decoding.json_paths import JSONPathWriter
from promptport.decoding.limits import DEFAULT_LIMITS, Limits
from promptport.decoding.ndjson import NDJSONDecoder
from promptport.decoding.open_calls import same_object, seal_call
from promptport.decoding.sse import SSEDecoder
from promptport.decoding.sse_or_json import SSEOrJSONDecoder
from promptport.decoding.stream_decoder import MALFORMED, StreamDecoder, WireDecoder, whole_frames
from promptport.decoding.surrogates import mended_text
from promptport.decoding.thoughts import Thoughts

__all__ = [
    "DEFAULT_LIMITS",
    "MALFORMED",
    "CallAssembler",
    "ContentBlocks",
    "EventStreamDecoder",
    "EventStreamHeaders",
    "JSONObjectsDecoder",
    "JSONPathWriter",
    "Limits",
    "NDJSONDecoder",
    "SSEDecoder",
    "SSEOrJSONDecoder",
    "StreamDecoder",
    "Thoughts",
    "WireDecoder",
    "class_of_code",
    "count_in",
    "dict_in",
    "dicts_in",
    "error_details",
    "json_or_none",
    "mended_text",
    "number_in",
    "refuse_web_page",
    "reported_error",
    "reported_exception",
    "same_object",
    "seal_call",
    "shortened",
    "text_in",
    "whole_frames",
    "words_and_codes",
]
