"""A prompt to the body of ``POST /api/chat``. Pure.

Rule: what Ollama has no field for raises; nothing is dropped. Images are base64 and nothing else, arguments are
objects, and a result names its tool.

Source: https://docs.ollama.com/api/chat, and the ``Message`` and ``ToolCall`` of the server's ``api/types.go``, which
has the ids since 0.12.10; older servers pass over fields that they do not know.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from promptport.provider import (
    ANY_ID,
    DIALECTS,
    AssistantMessage,
    HistoryRules,
    ImagePart,
    InvalidInputError,
    InvalidToolCall,
    LLModel,
    LLMParams,
    Message,
    Origin,
    Prompt,
    ReasoningEffort,
    SystemMessage,
    ToolCall,
    ToolChoice,
    ToolDescriptor,
    UnsupportedCapabilityError,
    UserMessage,
    fit_schema,
    fit_tools,
    portable,
)

__all__ = ["chat_body"]

_OWN_FIELDS = ("model", "messages", "tools", "stream")

_THINK: Mapping[ReasoningEffort, bool | str] = {
    ReasoningEffort.NONE: False,
    ReasoningEffort.LOW: "low",
    ReasoningEffort.MEDIUM: "medium",
    ReasoningEffort.HIGH: "high",
    ReasoningEffort.MAX: "max",
}
"""The words of the server; models that can only think or not take each of the last four for "think"."""


_ANSWERS = msgspec.structs.replace(DIALECTS["ollama"], top_object=False)
_HISTORY = HistoryRules(ANY_ID, blank_text=True)
"""Ids may be anything; a picture is the user's."""


def chat_body(
    prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool, origin: Origin | None = None
) -> dict[str, Any]:
    """The request's JSON body; ``origin`` is the server, whose own thoughts go back.

    Raises:
        InvalidInputError: ``extra`` has a field that is the request's own, or ``options`` that are no mapping.
        UnsupportedCapabilityError: an image by address, or an effort that Ollama has no word for.
    """
    prompt = portable(prompt, _HISTORY, origin)
    params = prompt.params
    body: dict[str, Any] = {
        "model": model.id,
        "messages": [_message(message, model) for message in prompt.messages],
        "stream": stream,
    }
    if tools and params.tool_choice is not ToolChoice.NONE:  # there is no other way to forbid calls
        body["tools"] = [_tool(tool) for tool in fit_tools(tools, DIALECTS["ollama"])]
    if params.response_schema is not None:
        body["format"] = fit_schema(params.response_schema, _ANSWERS).schema
    if params.reasoning_effort is not None:
        body["think"] = _think(params.reasoning_effort, model)
    options = _options(params)
    for name, value in params.extra.items():
        if name in _OWN_FIELDS:
            raise InvalidInputError(f"ollama: extra cannot set {name!r}, which the request sets itself")
        if name == "options":
            if not isinstance(value, Mapping):
                raise InvalidInputError("ollama: extra['options'] must be a mapping, such as {'num_ctx': 8192}")
            options.update(value)
        else:
            body[name] = value
    if options:
        body["options"] = options
    return body


def _options(params: LLMParams) -> dict[str, Any]:
    values = {
        "temperature": params.temperature,
        "num_predict": params.max_tokens,
        "stop": list(params.stop) or None,
        "seed": params.seed,
    }
    return {name: value for name, value in values.items() if value is not None}


def _think(effort: ReasoningEffort, model: LLModel) -> bool | str:
    think = _THINK.get(effort)
    if think is None:
        raise UnsupportedCapabilityError(
            provider=model.provider,
            model=model.id,
            missing=[f"the reasoning effort {effort.value!r}"],
            instead="use none, low, medium, high or max, or write extra={'think': …}",
        )
    return think


def _tool(tool: ToolDescriptor) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters or {"type": "object", "properties": {}},
        },
    }


def _message(message: Message, model: LLModel) -> dict[str, Any]:
    if isinstance(message, SystemMessage):
        return {"role": "system", "content": message.text}
    if isinstance(message, UserMessage):
        body: dict[str, Any] = {"role": "user", "content": message.text}
        images = [_image(part, model) for part in message.parts if isinstance(part, ImagePart)]
        if images:
            body["images"] = images
        return body
    if isinstance(message, AssistantMessage):
        return _assistant(message)
    return {"role": "tool", "content": message.text, "tool_name": message.name, "tool_call_id": message.call_id}


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    body: dict[str, Any] = {"role": "assistant", "content": message.text}
    if message.reasoning:
        body["thinking"] = message.reasoning
    calls = [_call(part) for part in message.parts if isinstance(part, ToolCall | InvalidToolCall)]
    if calls:
        body["tool_calls"] = calls
    return body


def _call(call: ToolCall | InvalidToolCall) -> dict[str, Any]:
    arguments: Any
    if isinstance(call, ToolCall):
        try:
            call.parsed()
        except ValueError as error:
            raise InvalidInputError(f"tool call {call.name!r}: {error}") from None
        arguments = msgspec.Raw(call.arguments.encode())  # as the model wrote it, numbers of any size included
    else:
        # The server takes an object only; the model is shown what it wrote instead of one.
        arguments = {"invalid_arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _image(part: ImagePart, model: LLModel) -> str:
    if part.data is None:
        missing, instead = "images by address", "fetch it, and pass ImagePart(data=…, media_type=…)"
    elif part.detail is not None:
        missing, instead = "the detail of an image", "leave it out"
    else:
        return b64encode(part.data).decode()
    raise UnsupportedCapabilityError(provider=model.provider, model=model.id, missing=[missing], instead=instead)
