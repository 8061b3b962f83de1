"""What several servers speak: Chat Completions, OpenAI's Responses, Anthropic's Messages. Pure.

What enters knows a protocol that more than one provider speaks; a provider's own stands in its package. Imports:
`promptport.decoding`, messages, models, streams, `promptport.tools`.
"""

from promptport.protocols.cache_marks import with_cache_marks
from promptport.protocols.chat_completions import ChatCompletionsDecoder, decode_chat_completion
from promptport.protocols.chat_request import (
    ChatDialect,
    chat_body,
    data_url,
    is_strict_schema,
    response_format_schema,
    schema_name,
)
from promptport.protocols.extra import merge_extra
from promptport.protocols.messages_events import MessagesDecoder, decode_message
from promptport.protocols.portability import (
    ANY_ID,
    SAFE_IDS,
    SAFE_NAMES,
    FittingRule,
    HistoryRules,
    fitting_id,
    fitting_name,
    portable,
    role_runs,
)
from promptport.protocols.responses_events import ResponsesDecoder, decode_response
from promptport.protocols.shared_rules import (
    base64_of,
    call_input,
    check_forced_call,
    check_room,
    inline_of,
    text_of_document,
    thinking_is_off,
    unsupported,
)

__all__ = [
    "ANY_ID",
    "SAFE_IDS",
    "SAFE_NAMES",
    "ChatCompletionsDecoder",
    "ChatDialect",
    "FittingRule",
    "HistoryRules",
    "MessagesDecoder",
    "ResponsesDecoder",
    "base64_of",
    "call_input",
    "chat_body",
    "check_forced_call",
    "check_room",
    "data_url",
    "decode_chat_completion",
    "decode_message",
    "decode_response",
    "fitting_id",
    "fitting_name",
    "inline_of",
    "is_strict_schema",
    "merge_extra",
    "portable",
    "response_format_schema",
    "role_runs",
    "schema_name",
    "text_of_document",
    "thinking_is_off",
    "unsupported",
    "with_cache_marks",
]
