"""`decode_agui_input`: what an AG-UI client posts → `ChatRequest`. Pure.

Rule: as in `ui_requests`: every call but those of the last answer gets a result, and arguments stay the server's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from promptport.dispatch import ToolResult
from promptport.errors import InvalidInputError
from promptport.frames import InvalidToolCall, Reasoning, ToolCall, parse_arguments
from promptport.front_ends.chat_request import BodyLimits, ChatRequest, Node, media_part, read_body
from promptport.front_ends.opaque import OpaqueSeal
from promptport.front_ends.sealed_frames import opened
from promptport.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    Origin,
    Prompt,
    SystemMessage,
    TextPart,
    ToolResultMessage,
    UserMessage,
    UserPart,
)
from promptport.tools import ToolDescriptor

__all__ = ["decode_agui_input"]

_INTERRUPTED = "The call was interrupted before it had a result."
_MEDIA = {"image": "image/png", "audio": "audio/wav", "document": "application/pdf", "video": "video/mp4"}
"""Kinds of parts, with the type of an address that names none."""


def decode_agui_input(
    body: bytes | str | Mapping[str, Any], *, limits: BodyLimits | None = None, seal: OpaqueSeal | None = None
) -> ChatRequest:
    """Read the RunAgentInput of an AG-UI client, 1.0 and before.

    Args:
        body: The body of the request, as bytes or as decoded JSON.
        limits: How much the client may post. Default: `BodyLimits`.
        seal: Opens what the server sealed; what has no seal has no origin. Default: the client's word counts.

    Raises:
        InvalidInputError: The body is too large, or not a RunAgentInput; the error names the place in the body.

    Examples:
        ```python
        from promptport.front_ends import decode_agui_input

        message = {"id": "m1", "role": "user", "content": "Hi"}
        request = decode_agui_input({"threadId": "t", "runId": "r", "messages": [message]})
        print(request.thread, request.prompt.messages[0].text)  # t Hi
        ```
    """
    limits = limits or BodyLimits()
    root = read_body(body, limits)
    thread = root.get("threadId").text(longest=200, empty=False)
    run = root.get("runId").text(longest=200, empty=False)
    reading = _Reading(limits, seal)
    for node in root.get("messages").items(limits.max_messages):
        reading.message(node)
    reading.flush()
    system = "\n\n".join(reading.system)
    messages: list[Message] = [*([SystemMessage(system)] if system else []), *reading.messages]
    forwarded = root.get("forwardedProps").value if root.has("forwardedProps") else {}
    return ChatRequest(
        thread,
        Prompt(tuple(messages)),
        results=reading.results,
        interrupts=dict(map(_decision, _items(root, "resume", limits.max_parts))),
        tools=tuple(map(_tool, _items(root, "tools", limits.max_tools))),
        context=tuple(
            (item.optional("description"), item.optional("value")) for item in _items(root, "context", limits.max_parts)
        ),
        state=root.get("state").value,
        extra=forwarded if isinstance(forwarded, dict) else {"forwardedProps": forwarded},
        run=run,
        protocol=root.optional("protocolVersion", longest=20),
    )


def _items(root: Node, key: str, longest: int) -> list[Node]:
    return root.get(key).items(longest) if root.has(key) else []


def _decision(node: Node) -> tuple[str, bool | str]:
    interrupt = node.get("interruptId").text(longest=200, empty=False)
    status = node.get("status").text()
    if status == "cancelled":
        return interrupt, False
    if status != "resolved":
        raise node.get("status").error("is not a status. Send 'resolved' or 'cancelled'.")
    payload = node.get("payload")
    approved = payload.get("approved").value
    if not isinstance(approved, bool):
        raise payload.get("approved").error("is not a decision. Send true or false.")
    if payload.has("editedArgs"):
        raise payload.get("editedArgs").error("is not accepted: a call runs with the model's arguments. Leave it out.")
    return interrupt, True if approved else payload.optional("reason") or False


def _tool(node: Node) -> ToolDescriptor:
    name = node.get("name").text(longest=200, empty=False)
    parameters = node.get("parameters").object() if node.has("parameters") else {"type": "object", "properties": {}}
    try:
        return ToolDescriptor(name, node.optional("description"), parameters)
    except InvalidInputError:
        raise node.error("is not a tool that a model can be offered. Send a name and a JSON schema.") from None


class _Reading:
    """The conversation as far as it was read."""

    def __init__(self, limits: BodyLimits, seal: OpaqueSeal | None) -> None:
        self.limits = limits
        self.seal = seal
        self.system: list[str] = []
        self.messages: list[Message] = []
        self.results: dict[str, ToolResult] = {}
        self._thoughts: list[Reasoning] = []
        self._origin: Origin | None = None
        self._open: dict[str, str] = {}  # calls of the last answer without a result, with their tools
        self._last: dict[str, str] = {}  # all calls of the last answer
        self._ids: set[str] = set()

    def message(self, node: Node) -> None:
        role = node.get("role").text()
        if role in ("system", "developer"):
            self.system.append(self._text(node.get("content")))
        elif role == "user":
            self._answer_open()
            parts = self._user_parts(node.get("content"))
            if parts:
                self.messages.append(UserMessage(parts))
        elif role == "reasoning":
            text = node.optional("content")
            data, self._origin = _opaque(node, self._origin, text, self.seal)
            if text or data is not None:
                self._thoughts.append(Reasoning(text, data))
        elif role == "assistant":
            self._answer_open()
            self._assistant(node)
        elif role == "tool":
            self._tool(node)
        elif role != "activity":
            raise node.get("role").error("is not a role of AG-UI.")

    def flush(self) -> None:
        """The end: reasoning that nothing followed is no answer."""
        self._thoughts = []

    def _answer_open(self) -> None:
        """The conversation went on: what is open was interrupted."""
        self.messages += [ToolResultMessage(call, tool, error=_INTERRUPTED) for call, tool in self._open.items()]
        self._open, self._last, self.results = {}, {}, {}

    def _assistant(self, node: Node) -> None:
        parts: list[AssistantPart] = [*self._thoughts]
        if node.has("content") and (text := self._text(node.get("content"))):
            parts.append(TextPart(text))
        for call in _items(node, "toolCalls", self.limits.max_parts):
            call_id = call.get("id").text(longest=500, empty=False)
            if call_id in self._ids:
                raise call.get("id").error("is the id of an earlier call too. Send each call once.")
            self._ids.add(call_id)
            function = call.get("function")
            name, arguments = function.get("name").text(longest=200, empty=False), function.optional("arguments")
            data, self._origin = _opaque(call, self._origin, call_id, self.seal)
            self._open[call_id] = self._last[call_id] = name
            try:
                parse_arguments(arguments or "{}")
            except ValueError:
                parts.append(InvalidToolCall(call_id, name, arguments, "they are not a JSON object", data))
            else:
                parts.append(ToolCall(call_id, name, arguments or "{}", data))
        if parts:
            self.messages.append(AssistantMessage(tuple(parts), origin=self._origin))
        self._thoughts, self._origin = [], None

    def _tool(self, node: Node) -> None:
        call_id = node.get("toolCallId").text(empty=False)
        if call_id not in self._last:
            raise node.get("toolCallId").error("is not a call of the assistant's message before it.")
        if call_id not in self._open:
            raise node.get("toolCallId").error("has a result already. Send one for each call.")
        name = self._open.pop(call_id)
        text = self._text(node.get("content")) if node.has("content") else ""
        error = node.optional("error") or None
        self.results[call_id] = result = ToolResult(call_id, name, "" if error else text, error)
        self.messages.append(result.message())

    def _text(self, node: Node) -> str:
        if isinstance(node.value, list):
            parts = node.items(self.limits.max_parts)
            return "".join([part.get("text").text() for part in parts if part.get("type").text() == "text"])
        return node.text()

    def _user_parts(self, node: Node) -> tuple[UserPart, ...]:
        if not isinstance(node.value, list):
            text = node.text()
            return (TextPart(text),) if text else ()
        parts: list[UserPart] = []
        for part in node.items(self.limits.max_parts):
            kind = part.get("type").text()
            if kind == "text":
                if text := part.get("text").text():
                    parts.append(TextPart(text))
            elif kind in _MEDIA:
                source = part.get("source")
                form = source.get("type").text()
                media = source.optional("mimeType")
                if form == "data":
                    parts.append(media_part(None, media, self.limits, data=source.get("value")))
                elif form == "url":
                    parts.append(media_part(source.get("value"), media or _MEDIA[kind], self.limits))
                else:
                    raise source.get("type").error("is not accepted. Send 'data' or 'url'.")
            else:
                raise part.get("type").error("is not a part of a user's message.")
        return tuple(parts)


def _opaque(
    node: Node, origin: Origin | None, text: str, seal: OpaqueSeal | None
) -> tuple[dict[str, Any] | None, Origin | None]:
    """What the encoder put beside a message or call for its provider; another server's is left out."""
    if not node.has("encryptedValue"):
        return None, origin
    try:
        kept = msgspec.json.decode(node.get("encryptedValue").text(), type=_Kept)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None, origin
    data, made = opened(kept.data, kept.origin, text, seal)
    return data, origin or made


class _Kept(msgspec.Struct):
    data: dict[str, Any]
    origin: Origin | None = None
