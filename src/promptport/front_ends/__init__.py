"""Frames → what browsers and other programs read, and back.

What enters knows a front end's protocol. An encoder or decoder is pure: ``feed`` and ``close``. Imports: frames,
messages, `promptport.decoding`, `promptport.dispatch`. `promptport.front_ends.starlette` and
`promptport.front_ends.api_routes`, the routes, and
`promptport.front_ends.serve_app`, the application of ``promptport serve``, are doors of their own, since they need the
extra ``serve``. The folder ``page`` is what browsers load of that application: plain HTML, CSS and JavaScript.
"""

from promptport.front_ends.ag_ui import AGUIEncoder
from promptport.front_ends.ag_ui_requests import decode_agui_input
from promptport.front_ends.anthropic_messages import AnthropicMessagesEncoder
from promptport.front_ends.anthropic_requests import decode_messages_request
from promptport.front_ends.api_encoder import APIEncoder
from promptport.front_ends.api_errors import APIError, RequestRefused, api_error, error_body
from promptport.front_ends.api_request import APIRequest
from promptport.front_ends.chat_request import BodyLimits, ChatRequest
from promptport.front_ends.error_codes import error_code
from promptport.front_ends.events import EventDecoder, encode_events
from promptport.front_ends.guard import Guard, is_loopback_host
from promptport.front_ends.kept_threads import KeptThread, MemoryThreadStore, ThreadStore
from promptport.front_ends.opaque import OpaqueSeal, Sealed
from promptport.front_ends.openai_chat import OpenAIChatEncoder
from promptport.front_ends.openai_chat_requests import decode_chat_request
from promptport.front_ends.openai_responses import OpenAIResponsesEncoder
from promptport.front_ends.openai_responses_requests import decode_responses_request
from promptport.front_ends.request_bodies import BodyReader
from promptport.front_ends.shown import EVENT_STREAM_HEADERS, approval_id, frames_before
from promptport.front_ends.token_buffer import TokenBuffer
from promptport.front_ends.ui_messages import UI_MESSAGE_HEADERS, SDKVersion, UIMessageEncoder
from promptport.front_ends.ui_requests import decode_ui_request
from promptport.front_ends.writing import FrameEncoder, encode_frames

__all__ = [
    "EVENT_STREAM_HEADERS",
    "UI_MESSAGE_HEADERS",
    "AGUIEncoder",
    "APIEncoder",
    "APIError",
    "APIRequest",
    "AnthropicMessagesEncoder",
    "BodyLimits",
    "BodyReader",
    "ChatRequest",
    "EventDecoder",
    "FrameEncoder",
    "Guard",
    "KeptThread",
    "MemoryThreadStore",
    "OpaqueSeal",
    "OpenAIChatEncoder",
    "OpenAIResponsesEncoder",
    "RequestRefused",
    "SDKVersion",
    "Sealed",
    "ThreadStore",
    "TokenBuffer",
    "UIMessageEncoder",
    "api_error",
    "approval_id",
    "decode_agui_input",
    "decode_chat_request",
    "decode_messages_request",
    "decode_responses_request",
    "decode_ui_request",
    "encode_events",
    "encode_frames",
    "error_body",
    "error_code",
    "frames_before",
    "is_loopback_host",
]
