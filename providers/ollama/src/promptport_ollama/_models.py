"""What models can do through Ollama's ``/api/chat``.

Rule: there is no table of families. A name on an Ollama server is what its owner made of it (tags of one family
differ: with and without tools, vision, thinking), and the server itself tells, by ``/api/show``. Until it was asked,
a model is unknown, and everything that the API has is allowed.

Source: https://docs.ollama.com/api/chat, /capabilities/thinking, /capabilities/tool-calling (November 2026).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from promptport.provider import Capability, ModelCapabilities, StreamedTools

__all__ = ["UNKNOWN", "described"]

_ALWAYS = (
    Capability.SYSTEM,
    Capability.TEMPERATURE,
    Capability.STOP,
    Capability.SEED,
    Capability.JSON_SCHEMA,  # the server holds the sampling to the schema, whatever the model
)

_BY_WORD = {
    "tools": (Capability.TOOLS,),
    "vision": (Capability.IMAGES,),
    "thinking": (Capability.REASONING, Capability.REASONING_EFFORT),
}
"""The server's words; its others (``completion``, ``insert``, ``embedding`` …) are nothing that a chat can ask for."""

# Not here: TOOL_CHOICE (servers ignore the field: github.com/ollama/ollama/issues/17921, August 2026),
# PARALLEL_TOOL_CALLS, TOOL_RESULT_IMAGES, DOCUMENTS, AUDIO, REASONING_BUDGET, CACHE_CONTROL, USER.
UNKNOWN = ModelCapabilities(
    StreamedTools.WHOLE,
    frozenset(_ALWAYS).union(*_BY_WORD.values()),
    known=False,
)
"""A model that the server was not asked about."""


def described(words: Iterable[str], model_info: Mapping[str, Any]) -> ModelCapabilities:
    """What the server's ``/api/show`` says.

    Args:
        words: its ``capabilities``.
        model_info: its ``model_info``: of it the context length, in tokens.
    """
    capabilities = frozenset(_ALWAYS).union(*[_BY_WORD.get(word, ()) for word in words])
    length = model_info.get(f"{model_info.get('general.architecture')}.context_length")
    return ModelCapabilities(
        StreamedTools.WHOLE if Capability.TOOLS in capabilities else StreamedTools.NONE,
        capabilities,
        context_length=length if isinstance(length, int) else None,
    )
