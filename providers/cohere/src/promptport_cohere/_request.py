"""A prompt to the body of Cohere's ``POST /v2/chat``. Pure.

Rules: what the API cannot express raises, and nothing is dropped silently but what another provider's model thought,
which only that provider can read. An assistant's turn with calls has no text: what it said goes back as its plan.

Source: https://docs.cohere.com/reference/chat, the pages on structured outputs and reasoning, and the types of the
official SDK 7.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from promptport.provider import (
    ANY_ID,
    DIALECTS,
    AssistantMessage,
    AudioPart,
    DocumentPart,
    HistoryRules,
    ImagePart,
    InvalidInputError,
    InvalidToolCall,
    LLModel,
    LLMParams,
    Message,
    NamedTool,
    Origin,
    Prompt,
    Reasoning,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolDescriptor,
    ToolResultMessage,
    UserMessage,
    UserPart,
    base64_of,
    fit_schema,
    fit_tools,
    merge_extra,
    portable,
    text_of_document,
    unsupported,
)

__all__ = ["chat_body"]

_OURS = frozenset({"model", "messages", "stream"})
_APPENDED = frozenset({"tools", "documents"})
_STOPS = 5
_HISTORY = HistoryRules(ANY_ID)


def chat_body(
    prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool, origin: Origin | None = None
) -> dict[str, Any]:
    """The request's JSON body.

    Args:
        prompt: its ``params.extra`` is put over the body: ``tools`` and ``documents`` are appended, objects are merged
            one level deep, anything else replaces.
        model: whom to ask.
        tools: what the caller can run.
        stream: whether to stream.
        origin: the server, whose own thoughts and plans go back to it.

    Raises:
        InvalidInputError: parameters that contradict each other, or an ``extra`` that the request sets itself.
        UnsupportedCapabilityError: what the API has no form for.
    """
    prompt = portable(prompt, _HISTORY, origin)
    writer = _Messages(model)
    body: dict[str, Any] = {"model": model.id, "messages": writer.of(prompt.messages), "stream": stream}
    if writer.documents:
        body["documents"] = writer.documents
    if tools:
        _put_tools(body, prompt.params.tool_choice, tools)
    _put_params(body, prompt.params, model)
    return merge_extra(body, prompt.params.extra, ours=_OURS, appended=_APPENDED, deep=False)


class _Messages:
    """The messages, and the documents that stand in them, which the API takes beside them."""

    def __init__(self, model: LLModel) -> None:
        self._model = model
        self.documents: list[dict[str, Any]] = []

    def of(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        for message in messages:
            if isinstance(message, SystemMessage):
                entry = {"role": "system", "content": message.text}
            elif isinstance(message, UserMessage):
                entry = self._user(message)
            elif isinstance(message, AssistantMessage):
                entry = _assistant(message)
            else:
                entry = _result(message)
            if entry:
                entries.append(entry)
        return entries

    def _user(self, message: UserMessage) -> dict[str, Any]:
        content = self._content(message.parts)
        if all(block["type"] == "text" for block in content):
            text = "".join([block["text"] for block in content])
            return {"role": "user", "content": text} if text else {}
        return {"role": "user", "content": content}

    def _content(self, parts: Sequence[UserPart]) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = []
        for part in parts:
            if isinstance(part, TextPart):
                content.append({"type": "text", "text": part.text})
            elif isinstance(part, ImagePart):
                content.append(_image(part))
            elif isinstance(part, DocumentPart):
                self.documents.append(_document(part, self._model))
            elif isinstance(part, AudioPart):
                raise unsupported(self._model, "audio", "send text")
        return content


def _result(message: ToolResultMessage) -> dict[str, Any]:
    text = message.text if message.error is None else f"error: {message.error}"
    return {"role": "tool", "tool_call_id": message.call_id, "content": text or "(empty)"}  # blank is refused


def _image(part: ImagePart) -> dict[str, Any]:
    url = part.url
    if part.data is not None:
        url = f"data:{part.media_type};base64,{base64_of(part)}"
    address = {"url": url} if part.detail is None else {"url": url, "detail": part.detail}
    return {"type": "image_url", "image_url": address}


def _document(part: DocumentPart, model: LLModel) -> dict[str, Any]:
    kind = (part.media_type or "").partition(";")[0]
    if part.data is None or not kind.startswith("text/"):
        raise unsupported(model, f"a document {'by address' if part.data is None else f'of type {kind}'}", "send text")
    text = text_of_document(part)
    return {"data": {"title": part.name, "text": text} if part.name else {"text": text}}


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    """What the model said before its calls is their plan, whichever model it was: beside calls, text is refused."""
    plan: list[str] = []
    content: list[dict[str, Any]] = []
    calls = [part for part in message.parts if isinstance(part, ToolCall | InvalidToolCall)]
    for part in message.parts:
        kind = (part.provider_data or {}).get("type") if isinstance(part, Reasoning) else None
        if isinstance(part, TextPart):
            if calls:
                plan.append(part.text)
            else:
                content.append({"type": "text", "text": part.text})
        elif isinstance(part, Reasoning) and kind == "tool_plan" and part.text:
            plan.append(part.text)
        elif isinstance(part, Reasoning) and kind == "thinking" and part.text:
            content.append({"type": "thinking", "thinking": part.text})
    entry: dict[str, Any] = {"role": "assistant"}
    if calls:
        entry["tool_calls"] = [_call(call) for call in calls]
        if plan:
            entry["tool_plan"] = "\n".join(plan)
    if content:
        plain = all(block["type"] == "text" for block in content)
        entry["content"] = "".join([block["text"] for block in content]) if plain else content
    return entry if len(entry) > 1 else {}  # a turn with neither is refused


def _call(call: ToolCall | InvalidToolCall) -> dict[str, Any]:
    arguments = call.arguments
    if isinstance(call, InvalidToolCall):
        # The reference wants a string of JSON, and servers that parse it again fail each later request on a broken one.
        arguments = msgspec.json.encode({"invalid_arguments": call.arguments}).decode()
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


# ------------------------------------------------------------------------------------------- parameters


def _put_tools(body: dict[str, Any], choice: ToolChoice | NamedTool | None, tools: Sequence[ToolDescriptor]) -> None:
    if isinstance(choice, NamedTool):  # the API has no word for one of several
        tools = [tool for tool in tools if tool.name == choice.name]
    # "strict_tools" holds for all of them, so that one strict tool makes all schemas fit.
    dialect = DIALECTS["cohere" if any(tool.strict for tool in tools) else "plain"]
    body["tools"] = [_tool(tool) for tool in fit_tools(tools, dialect)]
    if choice is ToolChoice.NONE:
        body["tool_choice"] = "NONE"
    elif choice is ToolChoice.REQUIRED or isinstance(choice, NamedTool):
        body["tool_choice"] = "REQUIRED"
    if any(tool.strict for tool in tools):
        body["strict_tools"] = True


def _tool(tool: ToolDescriptor) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "parameters": tool.parameters,
    }
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _put_params(body: dict[str, Any], params: LLMParams, model: LLModel) -> None:
    if len(params.stop) > _STOPS:
        raise InvalidInputError(f"stop: Cohere takes at most {_STOPS} texts, not {len(params.stop)}. Leave some out.")
    values = {
        "temperature": params.temperature,
        "max_tokens": params.max_tokens,
        "stop_sequences": list(params.stop) or None,
        "seed": params.seed,
        "thinking": _thinking(params, model),
    }
    body.update({name: value for name, value in values.items() if value is not None})
    if params.response_schema is not None:
        for beside in ("tools", "documents"):
            if beside in body or beside in params.extra:
                raise unsupported(model, f"json_schema together with {beside}", "leave one of them out")
        body["response_format"] = {
            "type": "json_object",
            "json_schema": fit_schema(params.response_schema, DIALECTS["cohere"]).schema,
        }


def _thinking(params: LLMParams, model: LLModel) -> dict[str, Any] | None:
    if params.reasoning_effort is not None:
        raise unsupported(model, "reasoning_effort", "use a reasoning_budget; 0 turns thinking off")
    if params.reasoning_budget is None:
        return None
    budget = params.reasoning_budget
    return {"type": "enabled", "token_budget": budget} if budget else {"type": "disabled"}
