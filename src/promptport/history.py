"""What can be done to a conversation so that it can go on: close its open calls, cut what no longer fits. Pure.

Rule: a call is never parted from its results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from promptport.errors import InvalidInputError
from promptport.frames import InvalidToolCall, ToolCall, Usage
from promptport.turns import AssistantMessage, Message, SystemMessage, ToolResultMessage, UserMessage

__all__ = ["answered_messages", "check_results", "last_usage", "trimmed_messages"]


def answered_messages(messages: Sequence[Message], error: str) -> tuple[Message, ...]:
    """The messages with an error as the result of each call that has none, behind the results of its message."""
    closed: list[Message] = []
    unanswered: list[ToolResultMessage] = []
    for position, message in enumerate(messages):
        if not isinstance(message, ToolResultMessage):
            closed += unanswered
            unanswered = []
        closed.append(message)
        if isinstance(message, AssistantMessage):
            later = _answered_later(messages, position)
            unanswered = [
                ToolResultMessage(part.id, part.name, error=error)
                for part in message.parts
                if isinstance(part, ToolCall | InvalidToolCall) and part.id not in later
            ]
    return (*closed, *unanswered)


def _answered_later(messages: Sequence[Message], position: int) -> set[str]:
    return {message.call_id for message in messages[position + 1 :] if isinstance(message, ToolResultMessage)}


def check_results(messages: Sequence[Message]) -> None:
    """Checks that every call before the last message has its one result, and every result its call.

    Raises:
        InvalidInputError: the message names the call, and says what to do.
    """
    called: dict[str, str] = {}
    answered: set[str] = set()
    for message in messages:
        if isinstance(message, AssistantMessage):
            for part in message.parts:
                if isinstance(part, ToolCall | InvalidToolCall):
                    called[part.id] = part.name
                    answered.discard(part.id)
        elif isinstance(message, ToolResultMessage):
            if message.call_id not in called:
                raise InvalidInputError(
                    f"a tool result answers {message.call_id!r}, and no call before it has this id. "
                    "Add the model's message that holds the call in front of it"
                )
            if message.call_id in answered:
                raise InvalidInputError(f"the call {message.call_id!r} has two results. Keep one of them")
            answered.add(message.call_id)
    for message in messages[:-1]:
        for part in message.parts if isinstance(message, AssistantMessage) else ():
            if isinstance(part, ToolCall | InvalidToolCall) and part.id not in answered:
                raise InvalidInputError(
                    f"the call {part.id!r} of {part.name!r} has no result. Add one with tool_result(…), "
                    "or close all open calls with prompt.answered('…')"
                )


def last_usage(messages: Sequence[Message]) -> tuple[int, int] | None:
    """How many tokens the conversation had after the last message whose provider counted them, and that position."""
    for position in range(len(messages) - 1, -1, -1):
        message = messages[position]
        usage = message.usage if isinstance(message, AssistantMessage) else Usage()
        if usage.input_tokens is not None:
            return usage.input_tokens + (usage.output_tokens or 0), position
    return None


def trimmed_messages(
    messages: Sequence[Message],
    *,
    max_tokens: int | None,
    max_messages: int | None,
    keep: int | Callable[[Message], bool],
    tokens: int | None,
) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """The messages that stay, and those that were cut; see `Prompt.trimmed`."""
    for name, limit in (("max_tokens", max_tokens), ("max_messages", max_messages)):
        if limit is not None and limit < 1:
            raise InvalidInputError(f"trimmed(): {name} must be at least 1, not {limit}")
    if (max_tokens is None) == (max_messages is None):
        raise InvalidInputError("trimmed(): pass either max_tokens or max_messages")
    sizes = [1.0] * len(messages) if max_tokens is None else _tokens(messages, tokens)
    limit = max_messages if max_messages is not None else max_tokens
    assert limit is not None
    units = _units(messages)
    fixed = _fixed(messages, keep)
    last_user = max((i for i, message in enumerate(messages) if isinstance(message, UserMessage)), default=-1)
    dropped: set[int] = set()
    for unit in units[:-1]:
        left = [i for i in range(len(messages)) if i not in dropped]
        first = next((i for i in left if i not in fixed), None)
        opens = first is None or isinstance(messages[first], UserMessage | SystemMessage)
        if sum(sizes[i] for i in left) <= limit and (opens or not dropped):
            break
        if not fixed.intersection(unit) and last_user not in unit:
            dropped.update(unit)
    stay = tuple([message for i, message in enumerate(messages) if i not in dropped])
    return stay, tuple([message for i, message in enumerate(messages) if i in dropped])


def _units(messages: Sequence[Message]) -> list[list[int]]:
    """The positions that go together: a message with calls and all that stands up to the last of its results."""
    units: list[list[int]] = []
    home: dict[str, int] = {}
    for position, message in enumerate(messages):
        if isinstance(message, ToolResultMessage) and message.call_id in home:
            at = home[message.call_id]
            for unit in units[at + 1 :]:
                units[at] += unit
            del units[at + 1 :]
            units[at].append(position)
            continue
        units.append([position])
        for part in message.parts if isinstance(message, AssistantMessage) else ():
            if isinstance(part, ToolCall | InvalidToolCall):
                home[part.id] = len(units) - 1
    return units


def _fixed(messages: Sequence[Message], keep: int | Callable[[Message], bool]) -> set[int]:
    """What always stays: instructions, what the provider keeps in its cache, and what the caller says."""
    marked = [i for i, message in enumerate(messages) if _is_marked(message)]
    fixed = {i for i, message in enumerate(messages) if isinstance(message, SystemMessage)}
    fixed.update(range(marked[-1] + 1 if marked else 0))
    if callable(keep):
        fixed.update(i for i, message in enumerate(messages) if keep(message))
    else:
        others = [i for i, message in enumerate(messages) if not isinstance(message, SystemMessage)]
        fixed.update(others[: max(0, keep)])
    for unit in _units(messages):
        if fixed.intersection(unit):
            fixed.update(unit)
    return fixed


def _is_marked(message: Message) -> bool:
    if isinstance(message, SystemMessage):
        return message.cache
    parts = message.output if isinstance(message, ToolResultMessage) else message.parts
    return not isinstance(parts, str) and any(getattr(part, "cache", False) for part in parts)


def _tokens(messages: Sequence[Message], tokens: int | None) -> list[float]:
    """What each message comes to: the tokens that the provider counted, shared out by size."""
    sizes = [len(msgspec.json.encode(message)) for message in messages]
    counted = len(messages)
    if tokens is None:
        usage = last_usage(messages)
        if usage is None:
            raise InvalidInputError(
                "trimmed(): no message has a usage to count by. "
                "Pass tokens=await client.count_tokens(prompt, model), or max_messages"
            )
        tokens, counted = usage[0], usage[1] + 1
    share = tokens / max(1, sum(sizes[:counted]))
    return [size * share for size in sizes]
