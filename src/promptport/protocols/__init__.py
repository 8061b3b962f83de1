"""What several servers speak: Chat Completions. Pure.

What enters knows a protocol that more than one provider speaks; a provider's own stands in its package. Imports:
`promptport.decoding`, messages, models, streams, `promptport.tools`.
"""

from promptport.protocols.chat_completions import ChatCompletionsDecoder, decode_chat_completion
from promptport.protocols.chat_request import (
    ChatDialect,
    chat_body,
    data_url,
    is_strict_schema,
    schema_name,
)

__all__ = [
    "ChatCompletionsDecoder",
    "ChatDialect",
    "chat_body",
    "data_url",
    "decode_chat_completion",
    "is_strict_schema",
    "schema_name",
]
