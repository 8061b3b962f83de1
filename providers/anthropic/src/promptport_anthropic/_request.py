"""Anthropic's Messages API, the way out: prompt → request body. Pure.

Rules: what the API cannot express raises, and nothing is dropped silently but what another server's model thought or
ran itself, which only that server can read (`portable`). Neighbouring messages of one role become one.

Source: https://platform.claude.com/docs/en/api/messages/create, and the parameter types of the official SDK.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promptport.provider import (
    DIALECTS,
    AssistantMessage,
    Citation,
    DocumentPart,
    FittingRule,
    HistoryRules,
    ImagePart,
    InvalidToolCall,
    LLModel,
    LLMParams,
    NamedTool,
    Origin,
    Prompt,
    ProviderItem,
    Reasoning,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolDescriptor,
    ToolResultMessage,
    UserPart,
    base64_of,
    check_forced_call,
    check_room,
    fit_schema,
    fit_tools,
    merge_extra,
    portable,
    text_of_document,
    thinking_is_off,
    unsupported,
    with_cache_marks,
)
from promptport_anthropic._models import family_of

__all__ = ["messages_body"]

_UNKNOWN_MAX_TOKENS = 8192
"""``max_tokens`` for a model that nobody described: the API insists on one, and few models take less."""

_OURS = frozenset({"model", "messages", "stream"})

_MOST_MARKS = 4
_HISTORY = HistoryRules(
    FittingRule(r"[A-Za-z0-9_-]{1,64}"), user_first=True, result_parts=frozenset(["image", "document"])
)


def messages_body(
    prompt: Prompt,
    model: LLModel,
    tools: Sequence[ToolDescriptor],
    *,
    stream: bool,
    strict_tools: bool = True,
    eager_input_streaming: bool = False,
    origin: Origin | None = None,
    signed_thoughts: bool = True,
) -> dict[str, Any]:
    """The request body for this prompt.

    Args:
        prompt: its ``params.extra`` is put over the body: ``tools`` are appended, objects are merged one level deep,
            anything else replaces. ``betas`` among them become a header (`_client`).
        model: whom to ask.
        tools: what the caller can run.
        stream: whether to stream.
        strict_tools: the model can be held to a tool's schema.
        eager_input_streaming: ask for arguments as they are written, unchecked.
        origin: the server; thoughts, ids and items of its own go back as they came.
        signed_thoughts: the server takes only thoughts that it signed, as Anthropic does; others send none.

    Raises:
        InvalidInputError: parameters that contradict each other, or that would break the answer's decoding.
        UnsupportedCapabilityError: what the API or the model has no form for.
    """
    prompt, marks_tools = with_cache_marks(portable(prompt, _HISTORY, origin), limit=_MOST_MARKS)
    body: dict[str, Any] = {"model": model.id, "max_tokens": _max_tokens(model, prompt.params)}
    if system := [_text(part.text, part.cache) for part in prompt.messages if isinstance(part, SystemMessage)]:
        body["system"] = system[0]["text"] if len(system) == 1 and len(system[0]) == 2 else system
    body["messages"] = _messages(prompt, model, signed_thoughts)
    if stream:
        body["stream"] = True
    if tools:
        tools = fit_tools(tools, DIALECTS["anthropic"], DIALECTS["anthropic-strict"] if strict_tools else None)
        body["tools"] = [_tool(tool, strict_tools, eager_input_streaming and stream) for tool in tools]
        if marks_tools:
            body["tools"][-1]["cache_control"] = {"type": "ephemeral"}
    if prompt.params.cache_lifetime is not None:
        _keep_for(body, prompt.params.cache_lifetime)
    _put_params(body, prompt.params, model)
    merge_extra(body, prompt.params.extra, ours=_OURS, appended=("tools",), deep=False)
    check_forced_call(body.get("thinking"), (body.get("tool_choice") or {}).get("type"), ("any", "tool"), model)
    return body


def _max_tokens(model: LLModel, params: LLMParams) -> int:
    """The caller's limit; else what the model can, and more than it may think: thoughts count as well."""
    budget = params.reasoning_budget or 0
    if params.max_tokens is not None:
        check_room(params.max_tokens, budget)
        return params.max_tokens
    family = family_of(model.id)
    known = model.capabilities.max_output_tokens if model.capabilities else None
    most = known or (family.max_output_tokens if family else _UNKNOWN_MAX_TOKENS)
    return most if most > budget else budget + _UNKNOWN_MAX_TOKENS


# -------------------------------------------------------------------------------------------- messages


def _messages(prompt: Prompt, model: LLModel, signed_thoughts: bool) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for message in prompt.messages:
        if isinstance(message, SystemMessage):
            continue
        role = "user"
        if isinstance(message, AssistantMessage):
            role, content = "assistant", _assistant(message, signed_thoughts)
        elif isinstance(message, ToolResultMessage):
            content = [_tool_result(message, model)]
        else:
            content = [_user_part(part, model) for part in message.parts]
        if not content:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += content
        else:
            messages.append({"role": role, "content": content})
    for entry in messages:  # the API wants the results in front of what the user says
        if entry["role"] == "user":
            entry["content"].sort(key=lambda block: block["type"] != "tool_result")
    return messages


def _text(text: str, cache: bool = False) -> dict[str, Any]:
    return _cached({"type": "text", "text": text}, cache)


def _cached(block: dict[str, Any], cache: bool) -> dict[str, Any]:
    return {**block, "cache_control": {"type": "ephemeral"}} if cache else block


def _keep_for(value: Any, lifetime: str) -> None:
    """Says of every mark how long what it marks is kept."""
    if isinstance(value, list):
        for each in value:
            _keep_for(each, lifetime)
    elif isinstance(value, dict):
        if isinstance(value.get("cache_control"), dict):
            value["cache_control"]["ttl"] = lifetime
        for key in ("system", "messages", "content", "tools"):
            _keep_for(value.get(key), lifetime)


def _user_part(part: UserPart, model: LLModel) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return _text(part.text, part.cache)
    if isinstance(part, ImagePart):
        if part.detail is not None:
            raise unsupported(model, "ImagePart.detail", "leave it out")
        return _cached({"type": "image", "source": _source(part)}, part.cache)
    if isinstance(part, DocumentPart):
        block = {"type": "document", "source": _document_source(part, model)}
        return _cached({**block, "title": part.name} if part.name else block, part.cache)
    raise unsupported(model, "audio", "send text")


def _source(part: ImagePart | DocumentPart) -> dict[str, Any]:
    if part.data is None:
        return {"type": "url", "url": part.url}
    return {"type": "base64", "media_type": part.media_type, "data": base64_of(part)}


def _document_source(part: DocumentPart, model: LLModel) -> dict[str, Any]:
    kind = (part.media_type or "").partition(";")[0]
    if part.data is None or kind == "application/pdf":
        return _source(part)
    if not kind.startswith("text/"):
        raise unsupported(model, f"a document of type {kind}", "send PDF or text")
    return {"type": "text", "media_type": "text/plain", "data": text_of_document(part)}


def _assistant(message: AssistantMessage, signed_thoughts: bool) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append(_text(part.text, part.cache))
        elif isinstance(part, Citation):
            kind = str((part.provider_data or {}).get("type"))
            if kind.endswith("_location") and content and content[-1]["type"] == "text":
                content[-1].setdefault("citations", []).append(part.provider_data)
        elif isinstance(part, Reasoning):
            kept = part.provider_data or {}
            if kept.get("type") == "thinking" and (kept.get("signature") or not signed_thoughts):
                content.append({**kept, "thinking": part.text})
            elif kept.get("type") == "redacted_thinking":
                content.append(kept)
        elif isinstance(part, ProviderItem):
            content.append(part.data)
        else:
            content.append(_tool_use(part, part.provider_data or {}))
    return content


def _tool_use(call: ToolCall | InvalidToolCall, kept: dict[str, Any]) -> dict[str, Any]:
    # An object is a must; this form of a bad one is what Anthropic's page on fine-grained tool streaming advises.
    given = call.parsed() if isinstance(call, ToolCall) else {"INVALID_JSON": call.arguments}
    return {**kept, "type": "tool_use", "id": call.id, "name": call.name or "unknown", "input": given}


def _tool_result(message: ToolResultMessage, model: LLModel) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.call_id}
    if message.error is not None:
        return {**block, "content": message.error or "error", "is_error": True}  # empty content is refused here
    if isinstance(message.output, str):
        return {**block, "content": message.output} if message.output else block
    return {**block, "content": [_user_part(part, model) for part in message.output]}


# ------------------------------------------------------------------------------------------- parameters


def _tool(tool: ToolDescriptor, strict_tools: bool, eager: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters}
    if tool.description:
        entry["description"] = tool.description
    if tool.strict is not None and strict_tools:
        entry["strict"] = tool.strict
    if eager:
        entry["eager_input_streaming"] = True
    return entry


def _put_params(body: dict[str, Any], params: LLMParams, model: LLModel) -> None:
    if params.seed is not None:
        raise unsupported(model, "seed", "leave it out")
    if params.temperature is not None:
        body["temperature"] = params.temperature
    if params.stop:
        body["stop_sequences"] = list(params.stop)
    if params.user is not None:
        body["metadata"] = {"user_id": params.user}
    if "tools" in body or "tools" in params.extra:
        _put_tool_choice(body, params)
    _put_thinking(body, params, model)
    if params.response_schema is not None:
        body.setdefault("output_config", {})["format"] = {
            "type": "json_schema",
            "schema": fit_schema(params.response_schema, DIALECTS["anthropic-strict"]).schema,
        }


def _put_tool_choice(body: dict[str, Any], params: LLMParams) -> None:
    choice, parallel = params.tool_choice, params.parallel_tool_calls
    if choice is None and parallel is None:
        return
    if isinstance(choice, NamedTool):
        entry: dict[str, Any] = {"type": "tool", "name": choice.name}
    else:
        entry = {"type": {ToolChoice.NONE: "none", ToolChoice.REQUIRED: "any"}.get(choice or ToolChoice.AUTO, "auto")}
    if parallel is not None and choice is not ToolChoice.NONE:
        entry["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = entry


def _put_thinking(body: dict[str, Any], params: LLMParams, model: LLModel) -> None:
    effort, budget, family = params.reasoning_effort, params.reasoning_budget, family_of(model.id)
    if thinking_is_off(params):
        quiet = [kind for kind in ("disabled", "between_tools") if family is None or kind in family.thinking]
        if not quiet:
            raise unsupported(model, "thinking turned off", "use reasoning_effort low")
        body["thinking"] = {"type": quiet[0]}
        return
    if budget:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    elif effort and family and "adaptive" in family.thinking:
        body["thinking"] = {"type": "adaptive"}  # before the 5 family, models do not think unless asked to
    if effort:
        efforts = family.efforts if family else ("low", "medium", "high", "xhigh", "max")
        if effort.value not in efforts:
            raise unsupported(model, f"reasoning_effort {effort.value}", f"use {', '.join(efforts)}")
        body["output_config"] = {"effort": effort.value}
