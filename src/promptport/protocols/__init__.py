"""What several servers speak: Chat Completions. Pure.

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
from promptport.protocols.portability import (
    ANY_ID,
    SAFE_IDS,
    SAFE_NAMES,
    FittingRule,
    HistoryRules,
    check_results,
    fitting_id,
    fitting_name,
    portable,
    role_runs,
)

__all__ = [
    "ANY_ID",
    "SAFE_IDS",
    "SAFE_NAMES",
    "ChatCompletionsDecoder",
    "ChatDialect",
    "FittingRule",
    "HistoryRules",
    "chat_body",
    "check_results",
    "data_url",
    "decode_chat_completion",
    "fitting_id",
    "fitting_name",
    "is_strict_schema",
    "merge_extra",
    "portable",
    "response_format_schema",
    "role_runs",
    "schema_name",
    "with_cache_marks",
]
