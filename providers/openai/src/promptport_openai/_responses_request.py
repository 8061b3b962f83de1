"""OpenAI Responses, the way out: prompt → request body. Pure.

Rule: the whole conversation goes with every request, in its order, and the server keeps nothing: ``store`` is false,
and models that reason are asked for their reasoning encrypted, which goes back with what it led to. Items of the
model's go back as they came; what the messages hold of them (text, arguments) is taken from the messages.

``params.extra`` is put over the body: ``tools`` and ``include`` are added to (``web_search`` and the like), objects
such as ``reasoning`` and ``text`` are merged one level deep, anything else is set. With ``previous_response_id`` in
it, what the server knows by that response is not sent again, and ``store`` is left to the server.

Instructions are input items, so that they keep their place. Names and values: the SDK's ``types/responses``, 3.54.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from promptport.provider import (
    DIALECTS,
    AssistantMessage,
    Capability,
    DocumentPart,
    FittingRule,
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
    ProviderItem,
    Reasoning,
    ReasoningEffort,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolDescriptor,
    ToolResultMessage,
    UnsupportedCapabilityError,
    UserMessage,
    UserPart,
    data_url,
    fit_tools,
    is_strict_schema,
    portable,
    response_format_schema,
    schema_name,
)
from promptport_openai._models import responses_capabilities

__all__ = ["responses_body"]

_OURS = ("model", "input", "stream")
_SERVER_STATE = ("store", "previous_response_id", "conversation", "background")
_ENCRYPTED_REASONING = "reasoning.encrypted_content"
_HISTORY = HistoryRules(
    FittingRule(r"[A-Za-z0-9_-]{1,64}"), blank_text=True, result_parts=frozenset(["image", "document"])
)
_CACHED = {"prompt_cache_breakpoint": {"mode": "explicit"}}


def responses_body(
    prompt: Prompt,
    model: LLModel,
    tools: Sequence[ToolDescriptor] = (),
    *,
    stream: bool,
    origin: Origin | None = None,
) -> dict[str, Any]:
    """The request body for this prompt; ``origin`` is the server, whose own items go back as they came.

    Raises:
        UnsupportedCapabilityError: the prompt holds what Responses has no field for (stop, seed, reasoning budget,
            audio), which the capabilities of its models say too.
        InvalidInputError: ``params.extra`` sets what the prompt, the model or the way of asking decide.
    """
    params = prompt.params
    extra = params.extra
    taken = [key for key in _OURS if key in extra]
    if taken:
        raise InvalidInputError(f"extra cannot set {', '.join(taken)}: the prompt and the model decide")
    _refuse(params, model)
    prompt = portable(prompt, _HISTORY, origin)
    keeps_nothing = not any(extra.get(key) for key in _SERVER_STATE)
    body: dict[str, Any] = {"model": model.id, "input": _Input(prompt.messages, model, keeps_nothing).items(extra)}
    if stream:
        body["stream"] = True
    if tools:
        fitted = fit_tools(tools, DIALECTS["openai"], DIALECTS["openai-strict"])
        body["tools"] = [_tool(tool) for tool in fitted]
    _put_params(body, params, bool(tools or extra.get("tools")))
    if keeps_nothing:
        body["store"] = False
    if _reasons(model, params):
        body["include"] = [_ENCRYPTED_REASONING]
    for key, value in extra.items():
        body[key] = _merged(key, body.get(key), value)
    return body


def _refuse(params: LLMParams, model: LLModel) -> None:
    missing = [name for name in ("stop", "seed", "reasoning_budget") if getattr(params, name) not in (None, ())]
    if missing:
        raise UnsupportedCapabilityError(
            provider=model.provider,
            model=model.id,
            missing=missing,
            instead="leave it out, or use openai-chat, whose API has stop and seed",
        )


def _reasons(model: LLModel, params: LLMParams) -> bool:
    """Whether to ask for encrypted reasoning: a model that does not reason refuses the request for it."""
    if params.reasoning_effort is not None:
        return params.reasoning_effort is not ReasoningEffort.NONE
    capabilities = model.capabilities or responses_capabilities(model.id)
    return capabilities.known and Capability.REASONING in capabilities


def _put_params(body: dict[str, Any], params: LLMParams, has_tools: bool) -> None:
    for field, value in (
        ("temperature", params.temperature),
        ("max_output_tokens", params.max_tokens),
        ("safety_identifier", params.user),
    ):
        if value is not None:
            body[field] = value
    if params.reasoning_effort is not None:
        body["reasoning"] = {"effort": params.reasoning_effort.value}
    if params.response_schema is not None:
        schema, strict = response_format_schema(params.response_schema, "openai")
        name = schema_name(params.response_schema)
        body["text"] = {"format": {"type": "json_schema", "name": name, "schema": schema, "strict": strict}}
    if has_tools:
        if isinstance(params.tool_choice, NamedTool):
            body["tool_choice"] = {"type": "function", "name": params.tool_choice.name}
        elif isinstance(params.tool_choice, ToolChoice):
            body["tool_choice"] = params.tool_choice.value
        if params.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = params.parallel_tool_calls


def _tool(tool: ToolDescriptor) -> dict[str, Any]:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    item: dict[str, Any] = {"type": "function", "name": tool.name, "parameters": parameters}
    if tool.description:
        item["description"] = tool.description
    # Where nothing is said, Responses makes the schema strict, so that optional arguments become required.
    return {**item, "strict": is_strict_schema(parameters) if tool.strict is None else tool.strict}


def _merged(key: str, ours: Any, value: Any) -> Any:
    if key in ("tools", "include") and isinstance(value, list | tuple):
        return [*(ours or ()), *[entry for entry in value if entry not in (ours or ())]]
    if isinstance(ours, dict) and isinstance(value, Mapping):
        return {**ours, **value}
    return value


# ----------------------------------------------------------------------------------------------- messages


class _Input:
    """The conversation as input items."""

    def __init__(self, messages: Sequence[Message], model: LLModel, keeps_nothing: bool) -> None:
        self._messages = messages
        self._model = model
        self._keeps_nothing = keeps_nothing
        self._known_calls: dict[str, str] = {}  # the provider's own ids of calls that the server keeps
        self._custom_calls: set[str] = set()

    def items(self, extra: Mapping[str, Any]) -> list[dict[str, Any]]:
        messages = self._unknown_to_server(extra.get("previous_response_id"))
        items: list[dict[str, Any]] = []
        for message in messages:
            if isinstance(message, SystemMessage):
                text = _text(message.text, message.cache) if message.cache else None
                items.append(_message("system", [text] if text else message.text))
            elif isinstance(message, UserMessage):
                items.append(_message("user", self._content(message.parts)))
            elif isinstance(message, ToolResultMessage):
                items.append(self._result(message))
            else:
                self._assistant(message, items)
        return items

    def _unknown_to_server(self, response_id: object) -> Sequence[Message]:
        """The messages after the response that the server continues; all of them, where it is not among them."""
        if response_id is None:
            return self._messages
        for position, message in enumerate(self._messages):
            if isinstance(message, AssistantMessage) and message.response_id == response_id:
                for earlier in self._messages[: position + 1]:
                    self._note_calls(earlier)
                return self._messages[position + 1 :]
        return self._messages

    def _note_calls(self, message: Message) -> None:
        for part in message.parts if isinstance(message, AssistantMessage) else ():
            if isinstance(part, ToolCall | InvalidToolCall):
                item = _own_item(part.provider_data, "function_call", "custom_tool_call") or {}
                self._known_calls[part.id] = item.get("call_id", part.id)
                if item.get("type") == "custom_tool_call":
                    self._custom_calls.add(part.id)

    def _result(self, message: ToolResultMessage) -> dict[str, Any]:
        output = message.output
        custom = message.call_id in self._custom_calls
        return {
            "type": "custom_tool_call_output" if custom else "function_call_output",
            "call_id": self._known_calls.get(message.call_id, message.call_id),
            "output": message.text if message.error is not None or isinstance(output, str) else self._content(output),
        }

    # ------------------------------------------------------------------------------------------- content

    def _content(self, parts: Sequence[UserPart]) -> str | list[dict[str, Any]]:
        if all(isinstance(part, TextPart) and not part.cache for part in parts):
            return "".join([part.text for part in parts if isinstance(part, TextPart)])
        return [self._part(part) for part in parts]

    def _part(self, part: UserPart) -> dict[str, Any]:
        if isinstance(part, TextPart):
            return _text(part.text, part.cache)
        if isinstance(part, ImagePart):
            url = part.url or data_url(part)
            image = {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
            return {**image, **_CACHED} if part.cache else image
        if isinstance(part, DocumentPart):
            where = {"file_url": part.url} if part.url else {"file_data": data_url(part)}
            document = {"type": "input_file", **where}
            if part.name or part.data is not None:
                document["filename"] = part.name or "document"  # the API wants one with data
            return {**document, **_CACHED} if part.cache else document
        raise UnsupportedCapabilityError(
            provider=self._model.provider,
            model=self._model.id,
            missing=[Capability.AUDIO.value],
            instead="use openai-chat with a model that hears",
        )

    # ----------------------------------------------------------------------------------------- assistant

    def _assistant(self, message: AssistantMessage, items: list[dict[str, Any]]) -> None:
        """One answer's items. Citations stay out: they say of the text what the model does not need to read again."""
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, TextPart):
                content.append({"type": "output_text", "text": part.text, "annotations": []})
            elif isinstance(part, ProviderItem) and part.type == "refusal":
                content.append({"type": "refusal", "refusal": part.data.get("refusal", "")})
            elif isinstance(part, ProviderItem) and part.type == "message":
                _flush(content, items, part.data)
            elif isinstance(part, Reasoning | ToolCall | InvalidToolCall | ProviderItem):
                _flush(content, items)
                item = self._item(part)
                if item is not None:
                    items.append(item)
        _flush(content, items)

    def _item(self, part: Reasoning | ToolCall | InvalidToolCall | ProviderItem) -> dict[str, Any] | None:
        if isinstance(part, ToolCall | InvalidToolCall):
            return self._call(part)
        return self._reasoning(part) if isinstance(part, Reasoning) else part.data

    def _reasoning(self, part: Reasoning) -> dict[str, Any] | None:
        """The item as it came; ``None`` for another provider's, and for one that only the server could know."""
        item = _own_item(part.provider_data, "reasoning")
        if item is None or (self._keeps_nothing and not (item.get("encrypted_content") or item.get("content"))):
            return None
        return item

    def _call(self, call: ToolCall | InvalidToolCall) -> dict[str, Any]:
        item = _own_item(call.provider_data, "function_call", "custom_tool_call") or {"type": "function_call"}
        whole = {**item, "call_id": call.id, "name": call.name or "unknown"}
        if item["type"] == "custom_tool_call":
            self._custom_calls.add(call.id)
            return {**whole, "input": call.arguments}
        arguments = call.arguments
        if isinstance(call, InvalidToolCall):
            # Servers that render templates parse this text again, and fail on what is no JSON.
            arguments = msgspec.json.encode({"invalid_arguments": arguments}).decode()
        return {**whole, "arguments": arguments}


def _own_item(data: dict[str, Any] | None, *types: str) -> dict[str, Any] | None:
    """``provider_data``, where it is an item of this API; another provider's means nothing here."""
    return data if data is not None and data.get("type") in types else None


def _message(role: str, content: str | list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def _text(text: str, cache: bool) -> dict[str, Any]:
    item = {"type": "input_text", "text": text}
    return {**item, **_CACHED} if cache else item


def _flush(content: list[dict[str, Any]], items: list[dict[str, Any]], head: dict[str, Any] | None = None) -> None:
    """Ends a message of the model's; ``head`` is what its item held besides the content."""
    if not content:
        return
    if head and head.get("id"):
        items.append({"type": "message", "role": "assistant", "status": "completed", **head, "content": [*content]})
    else:
        # A message without an id is none of this API's; servers that check the types take it in this form only.
        item = _message("assistant", "".join([part.get("text") or part.get("refusal") or "" for part in content]))
        items.append({**item, "phase": head["phase"]} if head and head.get("phase") else item)
    content.clear()
