"""Where the marks for a provider's prompt cache go, if one setting is to place them: ``LLMParams(cache="auto")``. Pure.

Rule: the caller's own marks stay, and count. The provider's limit is never passed: the last message comes first, since
what it marks is read again with the next request; then the instructions, then the tools.
"""

from __future__ import annotations

from msgspec.structs import replace

from promptport.messages import (
    AudioPart,
    Message,
    Prompt,
    SystemMessage,
    TextPart,
    ToolResultMessage,
    UserMessage,
    UserPart,
)

__all__ = ["with_cache_marks"]


def with_cache_marks(prompt: Prompt, *, limit: int = 4) -> tuple[Prompt, bool]:
    """The prompt with marks where ``params.cache`` wants them, and whether to mark the last tool as well.

    Args:
        prompt: what is asked; without ``cache="auto"`` nothing changes.
        limit: how many marks the provider takes: four at Anthropic and Bedrock.
    """
    if prompt.params.cache != "auto":
        return prompt, False
    messages = list(prompt.messages)
    left = limit - sum(map(_marks, messages))
    for kinds in ((UserMessage, ToolResultMessage), (SystemMessage,)):
        place = next((i for i in range(len(messages) - 1, -1, -1) if isinstance(messages[i], kinds)), None)
        if place is None or left < 1:
            continue
        marked = _marked(messages[place])
        if marked is not messages[place]:
            messages[place] = marked
            left -= 1
    return replace(prompt, messages=tuple(messages)), left > 0


def _parts(message: Message) -> tuple[UserPart, ...]:
    parts = message.output if isinstance(message, ToolResultMessage) else getattr(message, "parts", ())
    return parts if isinstance(parts, tuple) else ()


def _marks(message: Message) -> int:
    if isinstance(message, SystemMessage):
        return int(message.cache)
    return sum(getattr(part, "cache", False) for part in _parts(message))


def _marked(message: Message) -> Message:
    """The message with a mark at its end; as it is where it has one, or has nothing that can be marked."""
    if isinstance(message, SystemMessage):
        return message if message.cache or not message.text.strip() else replace(message, cache=True)
    parts = _parts(message)
    if isinstance(message, ToolResultMessage) and message.error is None and isinstance(message.output, str):
        parts = (TextPart(message.output),) if message.output.strip() else ()
    elif isinstance(message, ToolResultMessage) and message.error is not None:
        return message
    if not parts or isinstance(parts[-1], AudioPart) or parts[-1].cache:
        return message
    if isinstance(parts[-1], TextPart) and not parts[-1].text.strip():
        return message
    made = (*parts[:-1], replace(parts[-1], cache=True))
    return replace(message, output=made) if isinstance(message, ToolResultMessage) else UserMessage(made)
