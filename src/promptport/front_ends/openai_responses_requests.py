"""`decode_responses_request`: the body of OpenAI's ``POST /v1/responses`` → `APIRequest`. Pure.

Rules: as in `api_request`. The server keeps no responses: whoever goes on sends all items again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptport.front_ends.api_request import (
    APIRequest,
    Conversation,
    Given,
    check_keys,
    function_tool,
    read_request,
    refused,
)
from promptport.front_ends.api_values import (
    flag,
    list_at,
    openai_tool_choice,
    parts_at,
    picture,
    response_schema,
    user_of,
)
from promptport.front_ends.chat_request import BodyLimits, Node, media_part
from promptport.front_ends.opaque import OpaqueSeal
from promptport.messages import SystemMessage, TextPart, UserMessage, UserPart
from promptport.tools import ToolDescriptor

__all__ = ["decode_responses_request"]

_KNOWN = [
    "model",
    "input",
    "instructions",
    "stream",
    "temperature",
    "max_output_tokens",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "user",
    "safety_identifier",
]
_IGNORED = [
    "top_p",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "include",
    "truncation",
    "stream_options",
    "max_tool_calls",
]
_ALL_ITEMS = "This server keeps no responses: send all items of the conversation in 'input'."
_REFUSALS = {
    "previous_response_id": _ALL_ITEMS,
    "conversation": _ALL_ITEMS,
    "prompt": "Send 'instructions' and 'input'.",
    "background": "Leave it out.",
    "top_logprobs": "Leave it out.",
    "context_management": "Leave it out.",
}


def decode_responses_request(
    body: bytes | str | Mapping[str, Any], *, limits: BodyLimits | None = None, seal: OpaqueSeal | None = None
) -> APIRequest:
    """Read a request for a response.

    Args:
        body: The body of the request, as bytes or as decoded JSON.
        limits: How much the client may post. Default: `BodyLimits`.
        seal: Opens what the encoder sealed. Default: nothing opaque is taken.

    Raises:
        RequestRefused: The request cannot be answered as it stands; the error names the place in the body.

    Examples:
        ```python
        from promptport.front_ends import decode_responses_request

        request = decode_responses_request({"model": "m", "input": "Hi"})
        print(request.model, request.prompt.messages[0].text)  # m Hi
        ```
    """
    bounds = limits or BodyLimits()
    return read_request(body, bounds, lambda root: _read(root, bounds, seal))


def _read(root: Node, limits: BodyLimits, seal: OpaqueSeal | None) -> APIRequest:
    refusals = {key: why for key, why in _REFUSALS.items() if root.object().get(key) is not False}
    ignored = check_keys(root, _KNOWN, [*_IGNORED, *_REFUSALS], refusals)
    model = root.get("model").text(longest=200, empty=False)
    talk = Conversation(seal)
    if instructions := root.optional("instructions"):
        talk.say(SystemMessage(instructions))
    given = root.get("input")
    if isinstance(given.value, str):
        talk.say(UserMessage.of(given.text()))
    else:
        for node in given.items(limits.max_messages):
            _item(node, talk, limits)
    tools = tuple(map(_tool, root.get("tools").items(limits.max_tools))) if root.has("tools") else ()
    form = root.get("text").get("format") if root.has("text") else root.get("text")
    choice, parallel = root.get("tool_choice"), root.get("parallel_tool_calls")
    params: dict[str, Given] = {
        "temperature": root.get("temperature"),
        "max_tokens": root.get("max_output_tokens"),
        "tool_choice": (choice, openai_tool_choice(root, tools, within="")),
        "parallel_tool_calls": (parallel, flag(root, "parallel_tool_calls")),
        "response_schema": (form, response_schema(form, inner="")),
        "reasoning_effort": root.get("reasoning").get("effort") if root.has("reasoning") else root.get("reasoning"),
        "user": user_of(root),
    }
    return APIRequest(model, talk.prompt(root, params), tools, bool(flag(root, "stream")), True, ignored)


def _tool(node: Node) -> ToolDescriptor:
    if node.get("type").text() != "function":
        raise refused(node.get("type"), "is a tool that no server runs here. Send a tool of type 'function'.")
    return function_tool(node)


def _item(node: Node, talk: Conversation, limits: BodyLimits) -> None:
    kind = node.get("type").text() if node.get("type").value is not None else "message"
    if kind == "message":
        _message(node, talk, limits)
    elif kind == "function_call":
        place = node.get("call_id")
        name = node.get("name").text(longest=200, empty=False)
        arguments = node.optional("arguments")
        talk.call(place, place.text(longest=500, empty=False), name, arguments, node.get("promptport").value)
    elif kind == "function_call_output":
        place, output = node.get("call_id"), node.get("output")
        told = output.value if isinstance(output.value, str) else parts_at(output, _part, limits)
        talk.result(place, place.text(longest=500, empty=False), told)
    elif kind == "reasoning":
        parts = [part for key in ("summary", "content") for part in list_at(node, key, limits)]
        token = node.get("encrypted_content").value
        talk.thoughts([token] if token is not None else [], "".join([part.get("text").text() for part in parts]))
    elif kind == "item_reference":
        raise refused(node, f"is a reference. {_ALL_ITEMS}")
    else:
        raise refused(
            node.get("type"),
            "is not an item here. Send 'message', 'function_call', 'function_call_output' or 'reasoning'.",
        )


def _message(node: Node, talk: Conversation, limits: BodyLimits) -> None:
    role, content = node.get("role").text(), node.get("content")
    if role in ("system", "developer"):
        talk.say(SystemMessage(_text(content, limits)))
    elif role == "user":
        talk.say(UserMessage(parts_at(content, _part, limits)))
    elif role == "assistant":
        if text := _text(content, limits):
            talk.add(TextPart(text))
    else:
        raise refused(node.get("role"), "is not a role. Send 'system', 'developer', 'user' or 'assistant'.")


def _text(node: Node, limits: BodyLimits) -> str:
    if isinstance(node.value, str):
        return node.value
    texts = []
    for part in node.items(limits.max_parts):
        kind = part.get("type").text()
        if kind not in ("input_text", "output_text", "text", "refusal"):
            raise refused(part.get("type"), "is not text. Send parts of type 'input_text' or 'output_text'.")
        texts.append(part.get("refusal" if kind == "refusal" else "text").text())
    return "".join(texts)


def _part(node: Node, limits: BodyLimits) -> UserPart:
    kind = node.get("type").text()
    if kind in ("input_text", "output_text", "text"):
        return TextPart(node.get("text").text())
    if kind == "input_image" and node.has("image_url"):
        return picture(node.get("image_url"), node.optional("detail") or None, limits)
    if kind == "input_audio":
        audio = node.get("input_audio")
        return media_part(None, f"audio/{audio.optional('format', 'wav')}", limits, data=audio.get("data"))
    if kind == "input_file" and node.has("file_data"):
        return media_part(node.get("file_data"), "", limits, name=node.optional("filename") or None)
    if kind == "input_file" and node.has("file_url"):
        return media_part(node.get("file_url"), "application/pdf", limits, name=node.optional("filename") or None)
    if kind in ("input_image", "input_file"):
        raise refused(node, "is a file by its id, which no server has here. Send its content.")
    raise refused(node.get("type"), "is not a part. Send 'input_text', 'input_image', 'input_file' or 'input_audio'.")
