"""`decode_chat_request`: the body of OpenAI's ``POST /v1/chat/completions`` → `APIRequest`. Pure.

Rules: as in `api_request`.
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
    stop_texts,
    user_of,
)
from promptport.front_ends.chat_request import BodyLimits, Node, media_part
from promptport.front_ends.opaque import OpaqueSeal
from promptport.messages import SystemMessage, TextPart, UserMessage, UserPart
from promptport.tools import ToolDescriptor

__all__ = ["decode_chat_request"]

_KNOWN = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "n",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "user",
    "safety_identifier",
    "logprobs",
    "modalities",
]
_IGNORED = [
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "verbosity",
]
_REFUSALS = {
    "functions": "Send 'tools'.",
    "function_call": "Send 'tool_choice'.",
    "logit_bias": "Leave it out.",
    "top_logprobs": "Leave it out.",
    "prediction": "Leave it out.",
    "audio": "Ask for text.",
    "web_search_options": "Offer a tool that searches.",
}
"""Parameters of OpenAI that are refused, with what to do instead."""


def decode_chat_request(
    body: bytes | str | Mapping[str, Any], *, limits: BodyLimits | None = None, seal: OpaqueSeal | None = None
) -> APIRequest:
    """Read a request for Chat Completions.

    Args:
        body: The body of the request, as bytes or as decoded JSON.
        limits: How much the client may post. Default: `BodyLimits`.
        seal: Opens what the encoder sealed. Default: nothing opaque is taken.

    Raises:
        RequestRefused: The request cannot be answered as it stands; the error names the place in the body.

    Examples:
        ```python
        from promptport.front_ends import decode_chat_request

        request = decode_chat_request({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
        print(request.model, request.prompt.messages[0].text)  # m Hi
        ```
    """
    bounds = limits or BodyLimits()
    return read_request(body, bounds, lambda root: _read(root, bounds, seal))


def _read(root: Node, limits: BodyLimits, seal: OpaqueSeal | None) -> APIRequest:
    ignored = check_keys(root, _KNOWN, _IGNORED, _REFUSALS)
    model = root.get("model").text(longest=200, empty=False)
    if root.has("n") and (root.value["n"] != 1 or isinstance(root.value["n"], bool)):
        raise refused(root.get("n"), "is not 1. Ask once for each response that you want.")
    if flag(root, "logprobs"):
        raise refused(root.get("logprobs"), "is not supported here. Leave it out.")
    if root.has("modalities") and root.value["modalities"] != ["text"]:
        raise refused(root.get("modalities"), "is not ['text']. Ask for text.")
    talk = Conversation(seal)
    for node in root.get("messages").items(limits.max_messages):
        _message(node, talk, limits)
    tools = tuple(map(_tool, root.get("tools").items(limits.max_tools))) if root.has("tools") else ()
    most = "max_completion_tokens" if root.has("max_completion_tokens") else "max_tokens"
    effort, stop = root.get("reasoning_effort"), root.get("stop")
    form, choice, parallel = root.get("response_format"), root.get("tool_choice"), root.get("parallel_tool_calls")
    params: dict[str, Given] = {
        "temperature": root.get("temperature"),
        "max_tokens": root.get(most),
        "stop": (stop, stop_texts(stop)),
        "seed": root.get("seed"),
        "tool_choice": (choice, openai_tool_choice(root, tools, within="function")),
        "parallel_tool_calls": (parallel, flag(root, "parallel_tool_calls")),
        "response_schema": (form, response_schema(form, inner="json_schema")),
        "reasoning_effort": effort,
        "user": user_of(root),
    }
    usage = root.has("stream_options") and flag(root.get("stream_options"), "include_usage")
    return APIRequest(model, talk.prompt(root, params), tools, bool(flag(root, "stream")), bool(usage), ignored)


def _tool(node: Node) -> ToolDescriptor:
    if node.get("type").text() != "function":
        raise refused(node.get("type"), "is not supported here. Send a tool of type 'function'.")
    return function_tool(node.get("function"))


def _message(node: Node, talk: Conversation, limits: BodyLimits) -> None:
    role = node.get("role").text()
    content = node.get("content")
    if role in ("system", "developer"):
        talk.say(SystemMessage(_text(content, limits)))
    elif role == "user":
        talk.say(UserMessage(parts_at(content, _part, limits)))
    elif role == "tool":
        place = node.get("tool_call_id")
        output = content.value if isinstance(content.value, str) else parts_at(content, _part, limits)
        talk.result(place, place.text(longest=500, empty=False), output)
    elif role == "assistant":
        talk.flush()
        _assistant(node, talk, limits)
        talk.flush()
    else:
        raise refused(node.get("role"), "is not a role. Send 'system', 'developer', 'user', 'assistant' or 'tool'.")


def _assistant(node: Node, talk: Conversation, limits: BodyLimits) -> None:
    if node.has("function_call"):
        raise refused(node.get("function_call"), "is not supported here. Send 'tool_calls'.")
    sealed = [
        one.value.get("data") for one in list_at(node, "reasoning_details", limits) if isinstance(one.value, dict)
    ]
    thought = node.optional("reasoning_content")
    talk.thoughts(sealed, thought)
    content = node.get("content")
    if content.value is not None and (text := _text(content, limits)):
        talk.add(TextPart(text))
    elif refusal := node.optional("refusal"):
        talk.add(TextPart(refusal))
    for call in list_at(node, "tool_calls", limits):
        if call.optional("type", "function") != "function":
            raise refused(call.get("type"), "is not supported here. Send calls of type 'function'.")
        function = call.get("function")
        extra = call.get("extra_content").value
        talk.call(
            call.get("id"),
            call.get("id").text(longest=500, empty=False),
            function.get("name").text(longest=200, empty=False),
            function.optional("arguments"),
            extra.get("promptport") if isinstance(extra, dict) else None,
        )


def _text(node: Node, limits: BodyLimits) -> str:
    if isinstance(node.value, str):
        return node.value
    texts = []
    for part in node.items(limits.max_parts):
        kind = part.get("type").text()
        if kind not in ("text", "refusal"):
            raise refused(part.get("type"), "is not text. Send parts of type 'text'.")
        texts.append(part.get(kind).text())
    return "".join(texts)


def _part(node: Node, limits: BodyLimits) -> UserPart:
    kind = node.get("type").text()
    if kind == "text":
        return TextPart(node.get("text").text())
    if kind == "image_url":
        image = node.get("image_url")
        return picture(image.get("url"), image.optional("detail") or None, limits)
    if kind == "input_audio":
        audio = node.get("input_audio")
        return media_part(None, f"audio/{audio.optional('format', 'wav')}", limits, data=audio.get("data"))
    if kind == "file":
        file = node.get("file")
        if not file.has("file_data"):
            raise refused(file, "is a file by its id, which no server has here. Send 'file_data'.")
        return media_part(file.get("file_data"), "", limits, name=file.optional("filename") or None)
    raise refused(node.get("type"), "is not a part. Send 'text', 'image_url', 'input_audio' or 'file'.")
