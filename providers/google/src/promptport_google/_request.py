"""A prompt to the body of ``generateContent``. Pure.

Rules: what the API cannot express raises, and nothing is dropped silently but what another provider's model thought or
ran itself, which only that provider can read. What Gemini signed goes back as the part that it was: a signature stands
on its own part, never on a merged one.

Source: https://ai.google.dev/api/generate-content, its guides on function calling, thought signatures and structured
output, and the types of google-genai 3.6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from promptport.provider import (
    ANY_ID,
    DIALECTS,
    AssistantMessage,
    Capability,
    DocumentPart,
    FittingRule,
    HistoryRules,
    InvalidInputError,
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
    UserMessage,
    UserPart,
    call_input,
    fit_schema,
    fit_tools,
    inline_of,
    merge_extra,
    portable,
    role_runs,
    thinking_is_off,
    unsupported,
)
from promptport_google._models import Family, family_of

__all__ = ["content_body"]

_OURS = frozenset({"contents", "model"})
_CACHED = ("systemInstruction", "tools", "toolConfig")

_OLDER = HistoryRules(ANY_ID, FittingRule(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}", "", 8), user_first=True)
_THIRD = msgspec.structs.replace(_OLDER, result_parts=frozenset(["image", "document"]))

_ANSWERS = msgspec.structs.replace(DIALECTS["gemini"], top_object=False)

_SIGNATURE = "thoughtSignature"
_UNSIGNED = "skip_thought_signature_validator"
"""What Google's page on thought signatures gives for calls that another model made."""

_LEVELS = ("minimal", "low", "medium", "high", "xhigh")  # of a model that nobody described
_MODES = {ToolChoice.REQUIRED: "ANY", ToolChoice.NONE: "NONE", ToolChoice.AUTO: "AUTO", None: None}
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""What the OpenAI-compatible endpoint makes of an effort for the models that take a budget, by its page."""

_RESULT_MEDIA = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"})
_ITEMS = frozenset({"executableCode", "codeExecutionResult", "toolCall", "toolResponse", "inlineData", "fileData"})


def content_body(
    prompt: Prompt,
    model: LLModel,
    tools: Sequence[ToolDescriptor],
    *,
    origin: Origin | None = None,
    vertex: bool = False,
    stream_arguments: bool = False,
) -> dict[str, Any]:
    """The request body for this prompt, for a stream as for a whole answer.

    Args:
        prompt: its ``params.extra`` is put over the body: ``tools`` are appended, objects are merged, anything else
            replaces. With ``cachedContent``, system message and tools are part of what is cached, and are not sent.
        model: whom to ask.
        tools: what the caller can run.
        origin: the server; what it signed or ran itself goes back to it alone.
        vertex: the server is Vertex AI, which knows no ids of calls.
        stream_arguments: ask for arguments as they are written.

    Raises:
        InvalidInputError: parameters that contradict each other, or a tool whose schema cannot be sent.
        UnsupportedCapabilityError: what the API or the model has no form for.
    """
    params, family = prompt.params, family_of(model.id)
    # An unknown model is taken for a new one, unless it is none of Google's own.
    third = family.third if family is not None else "gemini" in model.id
    prompt = portable(prompt, _THIRD if third else _OLDER, origin)
    body: dict[str, Any] = {"contents": _Contents(model, third, vertex).of(prompt)}
    if system := [{"text": part.text} for part in prompt.messages if isinstance(part, SystemMessage)]:
        body["systemInstruction"] = {"parts": system}
    if tools:
        declared = fit_tools(tools, DIALECTS["plain"], DIALECTS["gemini"])
        body["tools"] = [{"functionDeclarations": [_tool(tool) for tool in declared]}]
        if config := _calling(params, tools, stream_arguments):
            body["toolConfig"] = {"functionCallingConfig": config}
    if config := _config(params, model, family, tools):
        body["generationConfig"] = config
    merge_extra(body, params.extra, ours=_OURS, appended=("tools",))
    for name in _CACHED if "cachedContent" in params.extra else ():
        body.pop(name, None)
    return body


# -------------------------------------------------------------------------------------------- messages


class _Contents:
    """Turns of the user and the model, in the order of the messages."""

    def __init__(self, model: LLModel, third: bool, vertex: bool) -> None:
        self._model = model
        self._vertex = vertex
        self._third = third
        self._calls: dict[str, tuple[str, str, int]] = {}  # our id of a call: the server's, its name, its place

    def of(self, prompt: Prompt) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = []
        for role, messages in role_runs(prompt.messages):
            parts: list[dict[str, Any]] = self._results([m for m in messages if isinstance(m, ToolResultMessage)])
            for message in messages:
                if isinstance(message, AssistantMessage):
                    parts += self._assistant(message)
                elif isinstance(message, UserMessage):
                    parts += [self._part(part) for part in message.parts]
            spoken = "model" if role == "assistant" else "user"
            if parts and turns and turns[-1]["role"] == spoken:  # what stood between held nothing that can be sent
                turns[-1]["parts"] += parts
            elif parts:
                turns.append({"role": spoken, "parts": parts})
        return turns

    def _part(self, part: UserPart) -> dict[str, Any]:
        if isinstance(part, TextPart):
            return {"text": part.text}
        if getattr(part, "detail", None) is not None:
            instead = "leave it out, or set extra={'generationConfig': {'mediaResolution': …}}"
            raise unsupported(self._model, "ImagePart.detail", instead)
        if (inline := inline_of(part)) is not None:
            blob = {"mimeType": inline[0], "data": inline[1]}
            if self._vertex and isinstance(part, DocumentPart) and part.name:
                blob["displayName"] = part.name
            return {"inlineData": blob}
        if self._vertex and part.media_type is None:
            raise InvalidInputError(
                f"{self._model.provider}: {type(part).__name__} with a url needs its media_type. Pass media_type=…"
            )
        kind = {} if part.media_type is None else {"mimeType": part.media_type}
        return {"fileData": {**kind, "fileUri": part.url or ""}}

    def _assistant(self, message: AssistantMessage) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        other = _generation(message.model) not in ("", _generation(self._model.id))  # its signatures are refused
        signed = False  # the calls under way: only the first of those that come together has a signature
        for part in message.parts:
            if isinstance(part, ToolCall | InvalidToolCall):
                entry = self._call(part)
                if other:
                    entry.pop(_SIGNATURE, None)
                if self._third and not signed and _SIGNATURE not in entry:
                    entry[_SIGNATURE] = _UNSIGNED
                signed = True
                parts.append(entry)
                continue
            before = len(parts)
            if isinstance(part, TextPart):
                parts.append({"text": part.text})
            elif isinstance(part, Reasoning):
                if not other:
                    _put_thought(parts, part)
            elif isinstance(part, ProviderItem) and part.type in _ITEMS and part.type in part.data:
                parts.append({name: value for name, value in part.data.items() if not (other and name == _SIGNATURE)})
            signed = signed and len(parts) == before
        return parts

    def _call(self, call: ToolCall | InvalidToolCall) -> dict[str, Any]:
        kept = call.provider_data or {}
        server_id, name = str(kept.get("id") or call.id), call.name
        self._calls[call.id] = (server_id, name, len(self._calls))
        entry: dict[str, Any] = {"name": name, "args": call_input(call, "INVALID_JSON")}
        if not self._vertex:
            entry = {"id": server_id, **entry}
        part: dict[str, Any] = {"functionCall": entry}
        if isinstance(kept.get(_SIGNATURE), str):
            part[_SIGNATURE] = kept[_SIGNATURE]
        return part

    def _results(self, results: list[ToolResultMessage]) -> list[dict[str, Any]]:
        """The results of one turn's calls, in the order of the calls; media that do not fit into one stand behind."""
        results.sort(key=lambda message: self._calls[message.call_id][2] if message.call_id in self._calls else 0)
        parts: list[dict[str, Any]] = []
        behind: list[dict[str, Any]] = []
        for message in results:
            server_id, name, _ = self._calls.get(message.call_id, (message.call_id, message.name, 0))
            output = message.output if message.error is None and not isinstance(message.output, str) else ()
            media = [self._part(part) for part in output if not isinstance(part, TextPart)]
            within = [part for part in media if part.get("inlineData", {}).get("mimeType") in _RESULT_MEDIA]
            answer = {"output": message.text} if message.error is None else {"error": message.error}
            entry: dict[str, Any] = {"name": name, "response": answer}
            if within:
                entry["parts"] = within
            parts.append({"functionResponse": entry if self._vertex else {"id": server_id, **entry}})
            behind += [part for part in media if part not in within]
        return parts + behind


def _generation(model: str | None) -> str:
    """The number of a model of Gemini's, such as ``3``; empty where its name has none."""
    found = re.search(r"gemini-(\d+)", model or "")
    return found[1] if found else ""


def _put_thought(parts: list[dict[str, Any]], thought: Reasoning) -> None:
    """A signature goes back where it stood; thoughts without one are of no use to the server, which may refuse them."""
    kept = thought.provider_data or {}
    signature = kept.get(_SIGNATURE)
    if not isinstance(signature, str):
        return
    if kept.get("part") == "text" and parts and list(parts[-1]) == ["text"]:
        parts[-1][_SIGNATURE] = signature
    elif kept.get("part") in ("text", "empty text"):
        parts.append({"text": "", _SIGNATURE: signature})
    else:
        parts.append({"text": thought.text, "thought": True, _SIGNATURE: signature})


# ------------------------------------------------------------------------------------------- parameters


def _tool(tool: ToolDescriptor) -> dict[str, Any]:
    # "parameters" is a subset of OpenAPI that refuses much of JSON schema; this field takes it as it is.
    entry: dict[str, Any] = {"name": tool.name, "parametersJsonSchema": tool.parameters}
    return {**entry, "description": tool.description} if tool.description else entry


def _calling(params: LLMParams, tools: Sequence[ToolDescriptor], stream_arguments: bool) -> dict[str, Any]:
    choice = params.tool_choice
    mode = "ANY" if isinstance(choice, NamedTool) else _MODES.get(choice)
    if mode in (None, "AUTO") and any(tool.strict for tool in tools):
        mode = "VALIDATED"  # as AUTO, and calls keep to their schema
    config: dict[str, Any] = {"mode": mode} if mode else {}
    if isinstance(choice, NamedTool):
        config["allowedFunctionNames"] = [choice.name]
    return {**config, "streamFunctionCallArguments": True} if stream_arguments else config


def _config(
    params: LLMParams, model: LLModel, family: Family | None, tools: Sequence[ToolDescriptor]
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "temperature": params.temperature,
        "maxOutputTokens": params.max_tokens,
        "stopSequences": list(params.stop) or None,
        "seed": params.seed,
    }
    if params.response_schema is not None:
        if tools and family is not None and not family.third:
            instead = "leave one of them out, or ask a model of Gemini 3 or later"
            raise unsupported(model, f"{Capability.JSON_SCHEMA.value} together with tools", instead)
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = fit_schema(params.response_schema, _ANSWERS).schema
    config["thinkingConfig"] = _thinking(params, model, family) or None
    return {name: value for name, value in config.items() if value is not None}


def _thinking(params: LLMParams, model: LLModel, family: Family | None) -> dict[str, Any]:
    effort, budget = params.reasoning_effort, params.reasoning_budget
    if effort is None and budget is None:
        return {}
    if effort is not None and budget is not None:
        raise InvalidInputError("reasoning_effort and reasoning_budget cannot be sent together. Pass one of them.")
    levels, limits = (family.levels, family.budget) if family is not None else (_LEVELS, ())
    if thinking_is_off(params):
        if family is not None and not family.off:
            instead = f"use reasoning_effort {levels[0]}" if levels else "use a small reasoning_budget"
            raise unsupported(model, "thinking turned off", instead)
        return {"thinkingBudget": 0}
    if effort is None:
        if limits and not limits[0] <= (budget or 0) <= limits[1]:
            told = f"{model.id} takes {limits[0]} to {limits[1]} tokens, not {budget}"
            raise InvalidInputError(f"reasoning_budget: {told}")
        return {"thinkingBudget": budget, "includeThoughts": True}
    if limits and effort.value in _BUDGETS:
        return {"thinkingBudget": _BUDGETS[effort.value], "includeThoughts": True}
    if effort.value not in levels:
        usable = [*levels] or [*_BUDGETS]
        raise unsupported(model, f"reasoning_effort {effort.value}", f"use {', '.join(usable)}")
    return {"thinkingLevel": effort.value.upper(), "includeThoughts": True}
