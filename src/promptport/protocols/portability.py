"""A conversation that other servers began → one that this server takes. Pure, and the one place that knows how.

Rules:

- An id or a name that the server refuses is exchanged for a hash of it: the same for a call and its result, in every
  request, and different for different calls. A server gets the ids that it made back unchanged.
- What is opaque (signatures, encrypted reasoning, items that a provider ran) stays only in messages whose ``origin`` is
  this server. After `portable`, all ``provider_data`` in the prompt is the server's own.
- Every call is answered right behind the message that holds it.

How a request builder uses it: it declares one `HistoryRules` for each server that it knows, a row of data, and works on
the prompt that `portable` returns, without a second look at ids, names, origins or the order of messages::

    prompt = portable(prompt, RULES, origin)        # origin: BaseClient.origin, or None
    for role, messages in role_runs(prompt.messages):    # only if results are part of the user's turn
        ...

What is done for it, by the fields of `HistoryRules`:

==================  =================================================================================================
call ids            ``call_ids``; also in ``ToolResultMessage.call_id``
names               ``names``; also in ``ToolResultMessage.name``. A call without a name is ``unknown``
blank text          ``blank_text``: blank parts, and messages that hold nothing else, are left out
roles               ``alternate``: neighbours of one role become one message; ``user_first``; ``one_system``
pictures in results ``result_parts``: other parts go into a user message behind the results
thoughts            another server's, and those of messages made by hand, are left out, or sent as text if
                    ``params.foreign_reasoning`` says so; the server's own stay, with ``Reasoning.provider_data``.
                    If the server refuses one without a signature, the builder leaves out those with no provider_data
order in an answer  another server's calls stand behind its text
unanswered calls    `check_request` refuses them before a builder sees any but the last message's
==================  =================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from promptport.errors import InvalidInputError
from promptport.frames import Citation, InvalidToolCall, ProviderItem, Reasoning, ToolCall
from promptport.messages import (
    AssistantMessage,
    AssistantPart,
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    Origin,
    Prompt,
    SystemMessage,
    TextPart,
    ToolResultMessage,
    UserMessage,
    UserPart,
)

__all__ = [
    "ANY_ID",
    "SAFE_IDS",
    "SAFE_NAMES",
    "FittingRule",
    "HistoryRules",
    "fitting_id",
    "fitting_name",
    "portable",
    "role_runs",
]

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

ResultPart: TypeAlias = Literal["image", "document", "audio"]


class FittingRule(msgspec.Struct, frozen=True):
    """Which ids, or names, a server takes, and what a made one looks like.

    Attributes:
        pattern: a regular expression for a whole one that the server takes; an empty one takes all.
        prefix: how a made one begins.
        length: how many letters and digits follow the prefix.
    """

    pattern: str = ""
    prefix: str = "call_"
    length: int = 24

    def takes(self, text: str) -> bool:
        """Whether the server takes it as it is."""
        return bool(text) and (not self.pattern or _compiled(self.pattern).fullmatch(text) is not None)


_compiled = lru_cache(maxsize=64)(re.compile)

ANY_ID = FittingRule()
"""Any text that is not empty."""

SAFE_IDS = FittingRule(r"[A-Za-z0-9_-]{1,40}")
"""What all servers take but those of Mistral's models: OpenAI's Chat Completions allow 40 characters."""

SAFE_NAMES = FittingRule(r"[A-Za-z0-9_-]{1,64}", "", 8)
"""What all servers take as the name of a tool."""


class HistoryRules(msgspec.Struct, frozen=True):
    """What one server takes in the history of a request.

    Attributes:
        call_ids: see `FittingRule`. Mistral: ``FittingRule(r"[A-Za-z0-9]{9}", "", 9)``.
        names: the names of tools in calls and results.
        blank_text: the server takes blank text; ``False`` leaves blank parts out of all messages.
        alternate: the server wants user and assistant to take turns.
        user_first: the first message besides instructions must be the user's.
        one_system: the server takes one system message, in front; several are joined.
        result_parts: the kinds of parts, besides text, that a tool's result may hold.
        own_call_ids: the server takes back the ids that it made, whatever they look like. Mistral does not.
    """

    call_ids: FittingRule = SAFE_IDS
    names: FittingRule = SAFE_NAMES
    blank_text: bool = False
    alternate: bool = False
    user_first: bool = False
    one_system: bool = False
    result_parts: frozenset[ResultPart] = frozenset()
    own_call_ids: bool = True


# --------------------------------------------------------------------------------------------- ids and names


def fitting_id(id: str, rule: FittingRule, *, salt: str = "") -> str:
    """The id, if the server takes it; else one that is made of its hash: the same in every process and request."""
    return id if rule.takes(id) and not salt else rule.prefix + _hash(f"{salt}\0{id}" if salt else id, rule.length)


def fitting_name(name: str, rule: FittingRule) -> str:
    """The name of a tool, if the server takes it; else what can be kept of it, and a hash: names still differ."""
    if rule.takes(name):
        return name
    if not name:
        return "unknown"
    kept = re.sub(r"[^A-Za-z0-9_-]", "_", name)[: 63 - rule.length]
    return f"{kept if kept[0].isalpha() else f'f{kept}'[: 63 - rule.length]}_{_hash(name, rule.length)}"


@lru_cache(maxsize=4096)
def _hash(text: str, length: int) -> str:
    """So many letters and digits of a hash of the text."""
    number, found = int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest(), "big"), []
    for _ in range(length):
        number, digit = divmod(number, 62)
        found.append(_LETTERS[digit])
    return "".join(found)


class _Ids:
    """The ids of one conversation, in its order: what stands later in it changes nothing that came before."""

    def __init__(self, rule: FittingRule) -> None:
        self._rule = rule
        self._sent: dict[str, str] = {}
        self._taken: set[str] = set()
        self._own: set[str] = set()

    def called(self, id: str, own: bool) -> str:
        """The id that a call goes by: the server's own as it is, unless it stands for another call already."""
        sent, tries = id if own and id else fitting_id(id, self._rule), 0
        while sent in self._taken and not (own and sent in self._own):
            tries += 1
            sent = fitting_id(id, self._rule, salt=str(tries))
        self._taken.add(sent)
        if own:
            self._own.add(sent)
        self._sent[id] = sent
        return sent

    def answered(self, id: str) -> str:
        """The id that the result of the last call of this id goes by."""
        return self._sent.get(id) or fitting_id(id, self._rule)


# ------------------------------------------------------------------------------------------------- portable


def portable(prompt: Prompt, rules: HistoryRules, origin: Origin | None = None) -> Prompt:
    """The conversation as a server takes it that has these rules.

    Args:
        prompt: the conversation, whoever made its messages.
        rules: what the server takes.
        origin: the server that is asked: messages of this origin keep what is opaque in them. A client always says its
            own; with ``None``, messages without an origin count as the server's.

    Returns:
        The same prompt, if nothing needs to change.

    Raises:
        InvalidInputError: the user's messages hold nothing that could be sent.
    """
    fit = _Fit(rules, origin, prompt.params.foreign_reasoning == "text")
    messages = fit.messages(_answers_behind_calls(prompt.messages))
    if _has_user(prompt.messages) and not _has_user(messages):
        raise InvalidInputError("the prompt has no user message with text or another part; blank text is not sent")
    if rules.one_system:
        messages = _one_system(messages)
    if rules.alternate:
        messages = _alternating(messages)
    if rules.user_first:
        first = next((i for i, message in enumerate(messages) if not isinstance(message, SystemMessage)), None)
        if first is not None and not isinstance(messages[first], UserMessage):
            messages.insert(first, UserMessage.of("Continue."))
    unchanged = len(messages) == len(prompt.messages) and all(map(_same, messages, prompt.messages))
    return prompt if unchanged else replace(prompt, messages=tuple(messages))


def _has_user(messages: Iterable[Message]) -> bool:
    return any(isinstance(message, UserMessage) for message in messages)


def _same(one: object, other: object) -> bool:
    return one is other


class _Fit:
    """Makes each message fit."""

    def __init__(self, rules: HistoryRules, origin: Origin | None, reasoning_as_text: bool) -> None:
        self._rules = rules
        self._origin = origin
        self._reasoning_as_text = reasoning_as_text
        self._ids = _Ids(rules.call_ids)
        self._own_ids = rules.own_call_ids
        self._behind: list[UserPart] = []  # what results hold that the server takes only from a user

    def messages(self, messages: Sequence[Message]) -> list[Message]:
        fitted: list[Message] = []
        for message in messages:
            if not isinstance(message, ToolResultMessage):
                self._put_behind(fitted)
            made = self._message(message)
            if made is not None:
                fitted.append(made)
        self._put_behind(fitted)
        return fitted

    def _put_behind(self, fitted: list[Message]) -> None:
        if self._behind:
            fitted.append(UserMessage(tuple(self._behind)))
            self._behind = []

    def _message(self, message: Message) -> Message | None:
        if isinstance(message, AssistantMessage):
            return self._assistant(message)
        if isinstance(message, ToolResultMessage):
            return self._result(message)
        if self._rules.blank_text:
            return message
        if isinstance(message, SystemMessage):
            return message if message.text.strip() else None
        parts = _without_blanks(message.parts)
        if not parts:
            return None
        return message if parts is message.parts else UserMessage(parts)

    def _assistant(self, message: AssistantMessage) -> AssistantMessage | None:
        own = message.origin == self._origin
        parts: list[AssistantPart] = []
        for part in message.parts:
            made = self._part(part, own)
            if made is not None:
                parts.append(made)
        # A source without its text says nothing that any server takes.
        if all(isinstance(part, Citation) for part in parts) and not (own and self._rules.blank_text):
            return None
        if not own and any(map(_before_other, parts, parts[1:])):
            parts.sort(key=_is_call)  # results come right behind the calls, and some servers want them nowhere else
        if len(parts) == len(message.parts) and all(map(_same, parts, message.parts)):
            return message
        return replace(message, parts=tuple(parts))

    def _part(self, part: AssistantPart, own: bool) -> AssistantPart | None:
        if isinstance(part, ToolCall | InvalidToolCall):
            sent, name = self._ids.called(part.id, own and self._own_ids), fitting_name(part.name, self._rules.names)
            data = part.provider_data if own else None
            if (sent, name) == (part.id, part.name) and data is part.provider_data:
                return part
            return replace(part, id=sent, name=name, provider_data=data)
        if isinstance(part, TextPart):
            kept = part.text.strip() or (self._rules.blank_text and (own or part.text))
            return part if kept else None
        if own:
            return part
        if isinstance(part, Reasoning):
            return TextPart(part.text) if self._reasoning_as_text and part.text.strip() else None
        if isinstance(part, ProviderItem):
            refusal = part.data.get("refusal") if part.type == "refusal" else None
            return TextPart(refusal) if isinstance(refusal, str) and refusal.strip() else None
        return Citation(part.url, part.title, part.text) if part.provider_data else part

    def _result(self, message: ToolResultMessage) -> ToolResultMessage:
        sent, name = self._ids.answered(message.call_id), fitting_name(message.name, self._rules.names)
        output, error = message.output, message.error
        if error is not None:
            error = error if error.strip() or self._rules.blank_text else "error"
        elif not isinstance(output, str):
            output = self._output(output, name)
        elif not self._rules.blank_text and not output.strip():
            output = ""
        if (sent, name, error) == (message.call_id, message.name, message.error) and output is message.output:
            return message
        return ToolResultMessage(sent, name, output, error)

    def _output(self, parts: tuple[UserPart, ...], tool: str) -> str | tuple[UserPart, ...]:
        """What the result itself may hold; the rest goes behind the results, with a word on whose it is."""
        kept = tuple([part for part in parts if isinstance(part, TextPart) or _kind(part) in self._rules.result_parts])
        moved = [part for part in parts if part not in kept]
        if not moved:
            kept = parts
        else:
            kinds = " and ".join(dict.fromkeys([f"{_kind(part)}{'s' if len(moved) > 1 else ''}" for part in moved]))
            self._behind += [TextPart(f"The {kinds} of the result of {tool}:"), *moved]
            kept = (*kept, TextPart(f"(The {kinds} of this result: see the next message.)"))
        kept = kept if self._rules.blank_text else _without_blanks(kept)
        return kept or ""


def _is_call(part: AssistantPart) -> bool:
    return isinstance(part, ToolCall | InvalidToolCall)


def _before_other(part: AssistantPart, following: AssistantPart) -> bool:
    return _is_call(part) and not _is_call(following)


def _kind(part: UserPart) -> str:
    return {ImagePart: "image", DocumentPart: "document", AudioPart: "audio"}.get(type(part), "text")


def _without_blanks(parts: tuple[UserPart, ...]) -> tuple[UserPart, ...]:
    if all(not isinstance(part, TextPart) or part.text.strip() for part in parts):
        return parts
    return tuple([part for part in parts if not isinstance(part, TextPart) or part.text.strip()])


# ------------------------------------------------------------------------------------------------- order


def _answers_behind_calls(messages: Sequence[Message]) -> Sequence[Message]:
    """Each result right behind the message that holds its call; the same messages, if they stand so."""
    open_calls: set[str] = set()
    ordered = True
    for message in messages:
        if isinstance(message, AssistantMessage):
            open_calls = {part.id for part in message.parts if isinstance(part, ToolCall | InvalidToolCall)}
        elif not isinstance(message, ToolResultMessage):
            open_calls = set()
        elif message.call_id not in open_calls:
            ordered = False
    if ordered:
        return messages
    moved: list[Message] = []
    behind: dict[str, int] = {}
    for message in messages:
        if isinstance(message, ToolResultMessage) and message.call_id in behind:
            place = behind[message.call_id] + 1
            while place < len(moved) and isinstance(moved[place], ToolResultMessage):
                place += 1
            moved.insert(place, message)
            behind = {call: at + (at >= place) for call, at in behind.items()}
            continue
        moved.append(message)
        for part in message.parts if isinstance(message, AssistantMessage) else ():
            if isinstance(part, ToolCall | InvalidToolCall):
                behind[part.id] = len(moved) - 1
    return moved


def role_runs(messages: Iterable[Message]) -> list[tuple[Literal["user", "assistant"], list[Message]]]:
    """The messages by turns, results in the user's, and first in it; system messages are left out."""
    runs: list[tuple[Literal["user", "assistant"], list[Message]]] = []
    for message in messages:
        if isinstance(message, SystemMessage):
            continue
        role: Literal["user", "assistant"] = "assistant" if isinstance(message, AssistantMessage) else "user"
        if runs and runs[-1][0] == role:
            runs[-1][1].append(message)
        else:
            runs.append((role, [message]))
    for _, run in runs:
        run.sort(key=lambda message: isinstance(message, UserMessage))
    return runs


def _one_system(messages: list[Message]) -> list[Message]:
    system = [message for message in messages if isinstance(message, SystemMessage)]
    if len(system) < 2 and (not system or messages[0] is system[0]):
        return messages
    text = "\n\n".join([message.text for message in system])
    joined = SystemMessage(text, any(message.cache for message in system))
    return [joined, *[message for message in messages if not isinstance(message, SystemMessage)]]


def _alternating(messages: list[Message]) -> list[Message]:
    """Neighbours of one role as one message; what is opaque was left out of others' before, so that parts can mix."""
    merged: list[Message] = []
    for message in messages:
        last = merged[-1] if merged else None
        if isinstance(message, UserMessage) and isinstance(last, UserMessage):
            merged[-1] = UserMessage((*last.parts, *message.parts))
        elif isinstance(message, AssistantMessage) and isinstance(last, AssistantMessage):
            merged[-1] = replace(message, parts=(*last.parts, *message.parts))
        else:
            merged.append(message)
    return merged
