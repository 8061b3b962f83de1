"""`decode_messages_request`: the body of Anthropic's ``POST /v1/messages`` → `APIRequest`. Pure.

Rules: as in `api_request`. Blocks of tools that a provider ran are opaque to others, and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from promptport.front_ends.api_request import (
    APIRequest,
    Conversation,
    Given,
    check_keys,
    function_tool,
    read_request,
    refused,
    tool_choice,
)
from promptport.front_ends.api_values import flag, response_schema, stop_texts
from promptport.front_ends.chat_request import BodyLimits, Node, media_part
from promptport.front_ends.opaque import OpaqueSeal
from promptport.messages import AudioPart, DocumentPart, SystemMessage, TextPart, UserMessage, UserPart
from promptport.tools import ToolDescriptor

__all__ = ["decode_messages_request"]

_KNOWN = [
    "model",
    "messages",
    "system",
    "max_tokens",
    "stream",
    "temperature",
    "stop_sequences",
    "tools",
    "tool_choice",
    "thinking",
    "metadata",
    "output_config",
]
_IGNORED = ["top_p", "top_k", "service_tier", "betas", "context_management", "inference_geo", "speed"]
_REFUSALS = {
    "container": "Leave it out.",
    "mcp_servers": "Give the server the tools: promptport serve --tool.",
    "output_format": "Send 'output_config'.",
}
_encode = msgspec.json.Encoder().encode
_RAN = ("server_tool_use", "mcp_tool_use", "container_upload", "compaction")


def decode_messages_request(
    body: bytes | str | Mapping[str, Any],
    *,
    limits: BodyLimits | None = None,
    seal: OpaqueSeal | None = None,
    counting: bool = False,
) -> APIRequest:
    """Read a request for a message.

    Args:
        body: The body of the request, as bytes or as decoded JSON.
        limits: How much the client may post. Default: `BodyLimits`.
        seal: Opens what the encoder sealed. Default: nothing opaque is taken.
        counting: Whether it only asks for a count of tokens, and so needs no ``max_tokens``.

    Raises:
        RequestRefused: The request cannot be answered as it stands; the error names the place in the body.

    Examples:
        ```python
        from promptport.front_ends import decode_messages_request

        asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        request = decode_messages_request(asked)
        print(request.model, request.prompt.messages[0].text)  # m Hi
        ```
    """
    bounds = limits or BodyLimits()
    return read_request(body, bounds, lambda root: _read(root, bounds, seal, counting))


def _read(root: Node, limits: BodyLimits, seal: OpaqueSeal | None, counting: bool) -> APIRequest:
    ignored = check_keys(root, _KNOWN, _IGNORED, _REFUSALS)
    model = root.get("model").text(longest=200, empty=False)
    if not counting and not root.has("max_tokens"):
        raise refused(root.get("max_tokens"), "is missing. Send how many tokens the response may have.")
    talk = Conversation(seal)
    system = root.get("system")
    if isinstance(system.value, str):
        if system.value:
            talk.say(SystemMessage(system.value))
    elif system.value is not None:
        for block in system.items(limits.max_parts):
            talk.say(SystemMessage(block.get("text").text(), block.has("cache_control")))
    for node in root.get("messages").items(limits.max_messages):
        _message(node, talk, limits)
    tools = tuple(map(_tool, root.get("tools").items(limits.max_tools))) if root.has("tools") else ()
    choice = root.get("tool_choice")
    once = flag(choice, "disable_parallel_tool_use") if root.has("tool_choice") else None
    output, stop = root.get("output_config"), root.get("stop_sequences")
    form = output.get("format") if root.has("output_config") else output
    effort, budget = _thinking(root, output)
    user = root.get("metadata").get("user_id") if root.has("metadata") else root.get("metadata")
    params: dict[str, Given] = {
        "temperature": root.get("temperature"),
        "max_tokens": root.get("max_tokens"),
        "stop": (stop, stop_texts(stop)),
        "tool_choice": (choice, _choice(choice, tools) if root.has("tool_choice") else None),
        "parallel_tool_calls": (choice, None if once is None else not once),
        "response_schema": (form, response_schema(form, inner="")),
        "reasoning_effort": effort,
        "reasoning_budget": budget,
        "user": (user, user.text() or None if user.value is not None else None),
    }
    return APIRequest(model, talk.prompt(root, params), tools, bool(flag(root, "stream")), True, ignored)


def _thinking(root: Node, output: Node) -> tuple[tuple[Node, Any], tuple[Node, Any]]:
    """How hard the model thinks: as a word, and in tokens; and where that stands."""
    place = output.get("effort") if root.has("output_config") else output
    effort: tuple[Node, Any] = (place, place.value)
    thinking = root.get("thinking")
    if thinking.value is None:
        return effort, (thinking, None)
    kind = thinking.get("type").text()
    if kind == "enabled":
        return effort, (thinking.get("budget_tokens"), thinking.get("budget_tokens").value)
    if kind == "disabled":
        return (thinking, "none"), (thinking, None)
    if kind == "adaptive":
        return (place, place.value or "medium"), (thinking, None)
    raise refused(thinking.get("type"), "is not a way to think. Send 'enabled', 'disabled' or 'adaptive'.")


def _tool(node: Node) -> ToolDescriptor:
    if node.optional("type", "custom") != "custom":
        raise refused(node.get("type"), "is a tool that no server runs here. Send tools of your own.")
    return function_tool(node, schema="input_schema")


def _choice(node: Node, tools: tuple[ToolDescriptor, ...]) -> Any:
    kind = node.get("type").text()
    if kind == "tool":
        return tool_choice(node, node.get("name").text(), None, tools)
    words = {"auto": "auto", "any": "required", "none": "none"}
    if kind not in words:
        raise refused(node.get("type"), "is not a choice. Send 'auto', 'any', 'tool' or 'none'.")
    return tool_choice(node, None, words[kind], tools)


def _message(node: Node, talk: Conversation, limits: BodyLimits) -> None:
    role, content = node.get("role").text(), node.get("content")
    if role not in ("user", "assistant"):
        raise refused(node.get("role"), "is not a role. Send 'user' or 'assistant', and instructions in 'system'.")
    if isinstance(content.value, str):
        if role == "user":
            talk.say(UserMessage.of(content.value))
        elif content.value:
            talk.add(TextPart(content.value))
        return
    said: list[UserPart] = []
    for block in content.items(limits.max_parts):
        if role == "assistant":
            _assistant_block(block, talk)
        elif block.get("type").value == "tool_result":
            _result(block, talk, limits)
        else:
            said.append(_user_block(block, limits))
    if said:
        talk.say(UserMessage(tuple(said)))


def _assistant_block(node: Node, talk: Conversation) -> None:
    kind = node.get("type").text()
    if kind == "text":
        if text := node.get("text").text():
            talk.add(TextPart(text))
    elif kind == "thinking":
        token = node.optional("signature")
        talk.thoughts([token] if token else [], node.get("thinking").text())
    elif kind == "redacted_thinking":
        talk.thoughts([node.get("data").value], "")
    elif kind == "tool_use":
        place = node.get("id")
        name = node.get("name").text(longest=200, empty=False)
        talk.call(place, place.text(longest=500, empty=False), name, _encode(node.get("input").object()).decode())
    elif kind not in _RAN and not kind.endswith("_tool_result"):
        raise refused(node.get("type"), "is not a block of the assistant. Send 'text', 'thinking' or 'tool_use'.")


def _result(node: Node, talk: Conversation, limits: BodyLimits) -> None:
    place, content = node.get("tool_use_id"), node.get("content")
    output: str | tuple[UserPart, ...] = ""
    if isinstance(content.value, str):
        output = content.value
    elif content.value is not None:
        parts = tuple([_user_block(block, limits) for block in content.items(limits.max_parts)])
        texts = [part.text for part in parts if isinstance(part, TextPart)]
        output = "".join(texts) if len(texts) == len(parts) else parts
    failed = flag(node, "is_error")
    error = (output if isinstance(output, str) else "The tool failed.") if failed else None
    talk.result(place, place.text(longest=500, empty=False), output, error)


def _user_block(node: Node, limits: BodyLimits) -> UserPart:
    kind = node.get("type").text()
    cache = node.has("cache_control")
    if kind == "text":
        return TextPart(node.get("text").text(), cache)
    if kind not in ("image", "document"):
        raise refused(node.get("type"), "is not a block of a user. Send 'text', 'image', 'document' or 'tool_result'.")
    source = node.get("source")
    form = source.get("type").text()
    if form == "base64":
        part = media_part(None, source.get("media_type").text(), limits, data=source.get("data"))
    elif form == "url":
        part = media_part(source.get("url"), "image/png" if kind == "image" else "application/pdf", limits)
    elif form == "text" and kind == "document":
        part = DocumentPart(source.get("data").text(empty=False).encode(), None, "text/plain")
    else:
        raise refused(source.get("type"), "is not a source that is taken here. Send 'base64', 'url' or 'text'.")
    if isinstance(part, DocumentPart) and node.has("title"):
        part = replace(part, name=node.get("title").text())
    return replace(part, cache=True) if cache and not isinstance(part, AudioPart) else part
