"""`decode_ui_request`: what ``useChat`` of the AI SDK posts → `ChatRequest`. Pure.

Rule: every call of the conversation but those of its last message gets a result, so that the next request is valid;
nothing is taken for a result that was not one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from promptport.dispatch import ToolResult
from promptport.errors import InvalidInputError
from promptport.frames import Citation, InvalidToolCall, ProviderItem, Reasoning, ToolCall
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

__all__ = ["decode_ui_request"]

_KNOWN = ("id", "messages", "message", "trigger", "messageId", "decisions")
_STATES = (
    "input-streaming",
    "input-available",
    "approval-requested",
    "approval-responded",
    "output-available",
    "output-error",
    "output-denied",
)
_INTERRUPTED = "The call was interrupted before it had a result."
_NOT_APPROVED = "The call was not approved: the user went on without deciding."
_DENIED = "The user did not allow the call."


def decode_ui_request(
    body: bytes | str | Mapping[str, Any], *, limits: BodyLimits | None = None, seal: OpaqueSeal | None = None
) -> ChatRequest:
    """Read what a chat of the AI SDK posts, of versions 5 to 7.

    The body has all messages in ``messages``, or the last alone in ``message``.

    Args:
        body: The body of the request, as bytes or as decoded JSON.
        limits: How much the client may post. Default: `BodyLimits`.
        seal: Opens what the server sealed; what has no seal has no origin. Default: the client's word counts.

    Raises:
        InvalidInputError: The body is too large, or not what a chat posts; the error names the place in the body.

    Examples:
        ```python
        from promptport.front_ends import decode_ui_request

        message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
        request = decode_ui_request({"id": "chat-1", "messages": [message]})
        print(request.thread, request.prompt.messages[0].text)  # chat-1 Hi
        ```
    """
    limits = limits or BodyLimits()
    root = read_body(body, limits)
    thread = root.get("id").text(longest=200, empty=False)
    if root.has("messages"):
        nodes = root.get("messages").items(limits.max_messages)
    elif root.has("message"):
        nodes = [root.get("message")]
    else:
        raise root.error("has no messages. Send 'messages', or the last one as 'message'.")
    reading = _Reading(limits, seal)
    for index, node in enumerate(nodes):
        reading.message(node, last=index == len(nodes) - 1)
    if not reading.messages:
        raise root.error("has no message that says anything. Send at least one message.")
    if root.has("decisions"):  # for clients without approvals of their own
        for call, decision in root.get("decisions").object().items():
            if not isinstance(decision, bool | str):
                raise Node(decision, f"body.decisions.{call}").error("is not a decision. Send true, false or a reason.")
            reading.decisions[call] = decision
    system = "\n\n".join(reading.system)
    messages: list[Message] = [SystemMessage(system)] if system else []
    last = nodes[-1]
    continues = last.optional("role") == "assistant"
    return ChatRequest(
        thread,
        Prompt((*messages, *reading.messages)),
        last.optional("id", longest=200) or None if continues else None,
        reading.decisions,
        reading.approvals,
        reading.results,
        extra={key: value for key, value in root.object().items() if key not in _KNOWN},
        regenerate=root.optional("trigger") == "regenerate-message",
    )


class _Reading:
    """The conversation as far as it was read."""

    def __init__(self, limits: BodyLimits, seal: OpaqueSeal | None) -> None:
        self.limits = limits
        self.seal = seal
        self.system: list[str] = []
        self.messages: list[Message] = []
        self.decisions: dict[str, bool | str] = {}
        self.approvals: dict[str, str] = {}
        self.results: dict[str, ToolResult] = {}
        self._ids: set[str] = set()

    def message(self, node: Node, *, last: bool) -> None:
        role = node.get("role").text()
        parts = node.get("parts").items(self.limits.max_parts)
        if role == "system":
            self.system += [part.get("text").text() for part in parts if _type(part) == "text"]
        elif role == "user":
            read = [part for part in map(self._user_part, parts) if part is not None]
            if read:
                self.messages.append(UserMessage(tuple(read)))
        elif role == "assistant":
            steps: list[list[Node]] = [[]]
            for part in parts:
                kind = _type(part)
                if kind == "step-start":
                    steps.append([])
                elif kind == "data-restarted":
                    steps[-1] = []  # the answer of this step began anew
                else:
                    steps[-1].append(part)
            steps = [step for step in steps if step]
            for number, step in enumerate(steps):
                self._step(step, last=last and number == len(steps) - 1)
        else:
            raise node.get("role").error("is not a role. Send 'system', 'user' or 'assistant'.")

    def _user_part(self, node: Node) -> UserPart | None:
        kind = _type(node)
        if kind == "text":
            text = node.get("text").text()
            return TextPart(text) if text else None
        if kind == "file":
            if not node.has("url"):
                raise node.error("is a file without a URL. Send a data: or https: URL.")
            name = node.optional("filename") or None
            return media_part(node.get("url"), node.optional("mediaType"), self.limits, name=name)
        if kind.startswith(("data-", "source-")):
            return None
        raise node.get("type").error("is not a part of a user's message. Send 'text' or 'file'.")

    def _step(self, nodes: list[Node], *, last: bool) -> None:
        """One answer of the model, and the results of its calls."""
        parts: list[AssistantPart] = []
        results: list[ToolResultMessage] = []
        origin: Origin | None = None
        for node in nodes:
            kind = _type(node)
            if kind == "text":
                if text := node.get("text").text():
                    parts.append(TextPart(text))
            elif kind == "reasoning":
                if node.optional("state") != "streaming":  # else it was cut, and has no valid signature
                    text = node.get("text").text()
                    data, made = opened(*_opaque(node, "providerMetadata"), text, self.seal)
                    if text or data is not None:
                        parts.append(Reasoning(text, data))
                    origin = origin or made
            elif kind == "data-provider_item":
                item = node.get("data")
                parts.append(ProviderItem(item.get("type").text(), item.get("data").object()))
                origin = origin or (_origin(item) if self.seal is None else None)
            elif kind == "source-url":
                parts.append(Citation(node.get("url").text(), node.optional("title") or None))
            elif kind == "dynamic-tool" or kind.startswith("tool-"):
                name = node.get("toolName").text(longest=200, empty=False) if kind == "dynamic-tool" else kind[5:]
                made = self._call(node, name, parts, results, last=last)
                origin = origin or made
        if parts:
            self.messages.append(AssistantMessage(tuple(parts), origin=origin))
            self.messages += results

    def _call(
        self, node: Node, name: str, parts: list[AssistantPart], results: list[ToolResultMessage], *, last: bool
    ) -> Origin | None:
        call_id = node.get("toolCallId").text(longest=500, empty=False)
        state = node.get("state").text()
        if state not in _STATES:
            raise node.get("state").error(f"is not a state of a tool call. States: {', '.join(_STATES)}.")
        if state == "input-streaming":
            return None
        if call_id in self._ids:
            raise node.get("toolCallId").error("is the id of an earlier call too. Send each call once.")
        self._ids.add(call_id)
        data, origin = opened(*_opaque(node, "callProviderMetadata"), call_id, self.seal)
        call = _call_of(node, call_id, name, data)
        result = self._outcome(node, state, call_id, name, last=last)
        if result is not None and last and state != "approval-responded" and isinstance(call, ToolCall):
            self.results[call_id] = result
        if result is None and isinstance(call, InvalidToolCall):
            result = ToolResult(call_id, name, error=f"The arguments are not usable: {call.reason}.")
        elif result is None and not last:
            text = _NOT_APPROVED if state == "approval-requested" else _INTERRUPTED
            result = ToolResult(call_id, name, error=text)
        parts.append(call)
        if result is not None:
            results.append(result.message())
        return origin

    def _outcome(self, node: Node, state: str, call_id: str, name: str, *, last: bool) -> ToolResult | None:
        """The result that the part has; notes the decision that it has."""
        approval = node.get("approval") if node.has("approval") else Node({}, f"{node.path}.approval")
        if state == "output-available" and node.value.get("preliminary") is not True:
            return _output(call_id, name, node.value.get("output"))
        if state == "output-error":
            return ToolResult(call_id, name, error=node.optional("errorText") or _INTERRUPTED)
        if state == "output-denied":
            return ToolResult(call_id, name, error=approval.optional("reason") or _DENIED, denied=True)
        if state != "approval-responded":
            return None
        approved, reason = approval.get("approved").value, approval.optional("reason")
        if not isinstance(approved, bool):
            raise approval.get("approved").error("is not a decision. Send true or false.")
        if last:
            self.decisions[call_id] = True if approved else reason or False
            self.approvals[call_id] = approval.optional("id")
        return None if approved else ToolResult(call_id, name, error=reason or _DENIED, denied=True)


def _type(node: Node) -> str:
    return node.get("type").text()


def _call_of(node: Node, call_id: str, name: str, data: dict[str, Any] | None) -> ToolCall | InvalidToolCall:
    value = node.value.get("input")
    if value is None and node.has("rawInput"):
        value = node.value["rawInput"]
    if isinstance(value, dict):
        return ToolCall(call_id, name, msgspec.json.encode(value).decode(), data)
    if value is None:
        return ToolCall(call_id, name, "{}", data)
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return InvalidToolCall(call_id, name, text, "they are not a JSON object", data)


def _output(call_id: str, name: str, value: Any) -> ToolResult:
    if isinstance(value, str):
        return ToolResult(call_id, name, value)
    if value is None:
        return ToolResult(call_id, name)
    return ToolResult(call_id, name, msgspec.json.encode(value).decode(), json=True)


def _opaque(node: Node, key: str) -> tuple[dict[str, Any] | None, Origin | None]:
    """What the encoder put beside a part for its provider, and which provider that is."""
    kept = node.value.get(key)
    kept = kept.get("promptport") if isinstance(kept, dict) else None
    if not isinstance(kept, dict) or not isinstance(kept.get("data"), dict):
        return None, None
    return kept["data"], _origin(Node(kept, f"{node.path}.{key}.promptport"))


def _origin(node: Node) -> Origin | None:
    if not node.has("origin"):
        return None
    try:
        return msgspec.convert(node.value["origin"], Origin)
    except msgspec.ValidationError:
        raise InvalidInputError(f"{node.path}.origin: is not an origin. Send it as the server sent it.") from None
