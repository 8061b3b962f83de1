"""`APIRequest`: what a client of one of the three APIs asks for; and what reading their bodies has in common. Pure.

Rules: as in `chat_request`. A parameter is honored, refused, or listed as ignored: none is dropped in silence. What is
opaque counts only under this server's seal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from promptport.errors import InvalidInputError
from promptport.frames import InvalidToolCall, Reasoning, ToolCall, parse_arguments
from promptport.front_ends.api_errors import RequestRefused
from promptport.front_ends.chat_request import BodyLimits, Node, read_body, shortened
from promptport.front_ends.opaque import OpaqueSeal, Sealed
from promptport.messages import (
    AssistantMessage,
    AssistantPart,
    LLMParams,
    Message,
    NamedTool,
    Origin,
    Prompt,
    ToolChoice,
    ToolResultMessage,
    UserPart,
)
from promptport.tools import ToolDescriptor

__all__ = [
    "APIRequest",
    "Conversation",
    "Given",
    "check_keys",
    "function_tool",
    "read_request",
    "refused",
    "tool_choice",
]


Given: TypeAlias = Node | tuple[Node, Any]
"""A parameter: its place, with what was read there if that is not what stands there."""


class APIRequest(msgspec.Struct, frozen=True):
    """A request for a model, in the words of promptport. Its ``repr`` shows no contents.

    Attributes:
        model: The name that the client gives the model.
        prompt: The conversation and the parameters.
        tools: The tools that the client runs.
        stream: Whether the client reads the response as it comes.
        usage: Whether a stream tells the tokens at its end.
        ignored: Parameters that were read and have no effect here.
    """

    model: str
    prompt: Prompt
    tools: tuple[ToolDescriptor, ...] = ()
    stream: bool = False
    usage: bool = True
    ignored: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"APIRequest(model={self.model!r}, {len(self.prompt.messages)} messages, {len(self.tools)} tools)"


def refused(node: Node, text: str) -> RequestRefused:
    """The error about a place of the body.

    Args:
        node: The place.
        text: What is the matter, and what to send.
    """
    return RequestRefused(f"{node.path}: {shortened(text)}", param=node.path.removeprefix("body").lstrip("."))


def read_request(
    body: bytes | str | Mapping[str, Any], limits: BodyLimits, read: Callable[[Node], APIRequest]
) -> APIRequest:
    """Read a body; each error names its place in it.

    Args:
        body: The body, as bytes or as decoded JSON.
        limits: How much the client may post.
        read: Reads the body's node.

    Raises:
        RequestRefused: The request cannot be answered as it stands.
    """
    try:
        return read(read_body(body, limits))
    except RequestRefused:
        raise
    except InvalidInputError as error:
        place, colon, _ = str(error).partition(": ")
        param = place.removeprefix("body").lstrip(".") if colon and place.startswith("body") else ""
        raise RequestRefused(str(error), param=param) from None


def check_keys(
    root: Node, known: Iterable[str], ignored: Iterable[str], refusals: Mapping[str, str]
) -> tuple[str, ...]:
    """The parameters that have no effect here.

    Args:
        root: The body.
        known: The parameters that are honored.
        ignored: Those that have no effect here.
        refusals: Those that are refused, with what to do instead.

    Raises:
        RequestRefused: One that is refused, or that nobody knows.
    """
    honored, harmless = frozenset(known), frozenset(ignored)
    told = []
    for key, value in root.object().items():
        if value is None or key in honored:
            continue
        if key in refusals:
            raise refused(root.get(key), f"is not supported here. {refusals[key]}")
        if key not in harmless:
            raise refused(root.get(key) if len(key) < _NAME else root, "is a parameter that is not known here.")
        told.append(key)
    return tuple(told)


_NAME = 100


def function_tool(node: Node, *, schema: str = "parameters") -> ToolDescriptor:
    """A tool that the client runs.

    Args:
        node: An object with name, description and a JSON schema.
        schema: The key of the schema.
    """
    parameters = node.get(schema).object() if node.has(schema) else {"type": "object", "properties": {}}
    strict = node.get("strict").value
    if not isinstance(strict, bool | None):
        raise refused(node.get("strict"), "is not a boolean. Send true or false.")
    try:
        return ToolDescriptor(node.get("name").text(empty=False), node.optional("description"), parameters, strict)
    except InvalidInputError as error:
        raise refused(node, f"is not a tool that a model can be offered: {error}") from None


def tool_choice(node: Node, name: str | None, word: str | None, tools: Iterable[ToolDescriptor]) -> Any:
    """The tool choice of the prompt.

    Args:
        node: Its place, for errors.
        name: The tool that must be called, or `None`.
        word: ``auto``, ``none`` or ``required``, if no tool is named.
        tools: The tools of the request.
    """
    if name is not None:
        if name not in [tool.name for tool in tools]:
            raise refused(node, "names a tool that the request does not offer.")
        return NamedTool(name)
    try:
        return ToolChoice(word or "")
    except ValueError:
        raise refused(node, "is not a choice. Send 'auto', 'none', 'required' or one function.") from None


class Conversation:
    """The messages as far as they were read: the model's parts are gathered until somebody else speaks."""

    def __init__(self, seal: OpaqueSeal | None) -> None:
        self.messages: list[Message] = []
        self._seal = seal
        self._parts: list[AssistantPart] = []
        self._origin: Origin | None = None
        self._names: dict[str, str] = {}
        self._open: dict[str, Node] = {}

    def say(self, message: Message) -> None:
        """Somebody who is not the model."""
        self.flush()
        self.check()
        self.messages.append(message)

    def add(self, *parts: AssistantPart) -> None:
        """The model went on with these."""
        if not self._parts:
            self.check()
        self._parts += parts

    def call(self, node: Node, id: str, name: str, arguments: str, sealed: object = None) -> None:
        """The model called a tool."""
        if id in self._names:
            raise refused(node, "has the id of an earlier call. Send each call once.")
        opened = self.opened(sealed, id)
        data = opened.data if opened is not None else None
        try:
            parse_arguments(arguments or "{}")
        except ValueError:
            self.add(InvalidToolCall(id, name, arguments, "they are not a JSON object", data))
        else:
            self.add(ToolCall(id, name, arguments or "{}", data))
        self._names[id] = name
        self._open[id] = node

    def result(self, node: Node, id: str, output: str | tuple[UserPart, ...], error: str | None = None) -> None:
        """A call's result."""
        self.flush()
        if id not in self._open:
            why = "has a result already" if id in self._names else "is not a call of the conversation"
            raise refused(node, f"{why}. Send one result for each call, behind it.")
        del self._open[id]
        self.messages.append(ToolResultMessage(id, self._names[id], "" if error is not None else output, error))

    def thoughts(self, sealed: Iterable[object], text: str) -> None:
        """What the model thought: the blocks that this server sealed, if they say this text, or the text alone."""
        opened = [self._seal.open(one) if self._seal is not None else None for one in sealed]
        known = [one for one in opened if one is not None]
        whole = bool(known) and len(known) == len(opened) and "".join([one.text for one in known]) == text
        origins = {one.origin for one in known} | ({self._origin} if self._origin is not None else set())
        if whole and len(origins) == 1:
            self.add(*[Reasoning(one.text, one.data) for one in known])
            self._origin = known[0].origin
        elif text:
            self.add(Reasoning(text))

    def opened(self, sealed: object, text: str) -> Sealed | None:
        """What this server sealed for this text; the first origin of a message is that of all of it."""
        opened = self._seal.open(sealed) if self._seal is not None else None
        if opened is None or opened.text != text or self._origin not in (None, opened.origin):
            return None
        self._origin = opened.origin
        return opened

    def flush(self) -> None:
        """The model's message is over."""
        if self._parts:
            self.messages.append(AssistantMessage(tuple(self._parts), origin=self._origin))
        self._parts, self._origin = [], None

    def check(self) -> None:
        """Refuse to go on while a call has no result."""
        for node in self._open.values():
            raise refused(node, "is a call without a result. Send its result before the next message.")

    def prompt(self, root: Node, params: Mapping[str, Given]) -> Prompt:
        """All of it, with the parameters that were given.

        Args:
            root: The body.
            params: Parameters of `LLMParams` by name: their places, with what was read there, if not as it stands.
        """
        self.flush()
        self.check()
        if not self.messages:
            raise refused(root, "has no message that says anything. Send at least one.")
        given: dict[str, Any] = {}
        for name, place in params.items():
            node, value = (place, place.value) if isinstance(place, Node) else place
            if value is None:
                continue
            if isinstance(value, bool) and name not in _FLAGS:
                raise refused(node, "is a boolean. Send a number or a word.")
            try:
                LLMParams(**{name: value})
            except (InvalidInputError, TypeError) as error:
                raise refused(node, f"is not usable: {error}.") from None
            given[name] = value
        return Prompt(tuple(self.messages), params=LLMParams(**given))


_FLAGS = ("parallel_tool_calls",)
