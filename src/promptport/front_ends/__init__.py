"""Frames → what browsers and other programs read, and back.

What enters knows a front end's protocol. An encoder or decoder is pure: ``feed`` and ``close``. Imports: frames,
messages, `promptport.decoding`, `promptport.dispatch`.
"""

from promptport.front_ends.error_codes import error_code
from promptport.front_ends.events import EventDecoder, encode_events
from promptport.front_ends.token_buffer import TokenBuffer

__all__ = [
    "EventDecoder",
    "TokenBuffer",
    "encode_events",
    "error_code",
]
