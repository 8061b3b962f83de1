"""Bedrock's Converse, the way out: prompt → request body. Pure.

Rules: what Converse cannot express raises. Neighbouring messages of one role become one, and all results of a turn
stand in front of what the user says. Reasoning goes back to models that take it, with its signature; what another
server's model thought or ran itself is left out, and ids are made to fit, by `portable`.

Source: the Bedrock runtime API reference (Converse), and the service model in botocore 1.44.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from promptport.provider import (
    DIALECTS,
    AssistantMessage,
    AudioPart,
    Citation,
    DocumentPart,
    FittingRule,
    HistoryRules,
    ImagePart,
    InvalidInputError,
    LLModel,
    LLMParams,
    Message,
    NamedTool,
    Origin,
    Prompt,
    ProviderItem,
    Reasoning,
    SystemMessage,
    TextPart,
    ToolChoice,
    ToolDescriptor,
    ToolResultMessage,
    UserMessage,
    UserPart,
    call_input,
    check_forced_call,
    check_room,
    fit_schema,
    fit_tools,
    inline_of,
    merge_extra,
    portable,
    role_runs,
    schema_name,
    thinking_is_off,
    unsupported,
    with_cache_marks,
)
from promptport_bedrock._models import THINKING, Family, family_of

__all__ = ["converse_body"]

_OURS = frozenset({"modelId", "messages", "system"})
_FIELDS = frozenset(
    [
        *("inferenceConfig", "toolConfig", "guardrailConfig", "outputConfig", "performanceConfig", "serviceTier"),
        *("additionalModelRequestFields", "additionalModelResponseFieldPaths", "promptVariables", "requestMetadata"),
        "projectIdentifier",
    ]
)
"""What `LLMParams.extra` may put into the body; everything else in it is the model's own."""

_RESULT_KINDS: tuple[Literal["image", "document"], ...] = ("image", "document")
_MOST_MARKS = 4
_IMAGES = {"png": "png", "jpeg": "jpeg", "jpg": "jpeg", "gif": "gif", "webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_AUDIO = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}
_ANSWERS = msgspec.structs.replace(DIALECTS["bedrock-strict"], top_object=False)


def converse_body(
    prompt: Prompt,
    model: LLModel,
    tools: Sequence[ToolDescriptor],
    *,
    stream: bool = False,
    origin: Origin | None = None,
) -> dict[str, Any]:
    """The request body for this prompt; Converse and ConverseStream take the same.

    Args:
        prompt: what Converse has a field for goes from ``params.extra`` into the body, where objects are merged one
            level deep; the rest of it becomes ``additionalModelRequestFields``.
        model: whom to ask; its id stands in the URL.
        tools: what the caller can run.
        stream: without effect.
        origin: the server; thoughts, ids and items of its own go back as they came.

    Raises:
        InvalidInputError: a part that cannot be sent, or parameters that contradict each other.
        UnsupportedCapabilityError: what Converse or the model has no form for.
    """
    family, _ = family_of(model.id)
    prompt, marks_tools = portable(prompt, _history(family), origin), False
    if family.cache:
        prompt, marks_tools = with_cache_marks(prompt, limit=_MOST_MARKS)
    writer = _Writer(model, family, prompt.params.cache_lifetime)
    system = writer.system(prompt)
    body: dict[str, Any] = {"system": system} if system else {}
    body["messages"] = writer.messages(prompt)
    _put_params(body, prompt.params, model, family)
    _put_tools(body, prompt, tools, family)
    if marks_tools and tools and family.cache == "tools" and "toolConfig" in body:
        body["toolConfig"]["tools"].append(writer.cache_point)
    _put_extra(body, prompt.params.extra)
    _check_thinking(body, model)
    return body


def _history(family: Family) -> HistoryRules:
    ids = FittingRule(r"[A-Za-z0-9]{9}", "", 9) if family.nine else FittingRule(r"[A-Za-z0-9_.:-]{1,64}")
    kinds = frozenset([kind for kind in _RESULT_KINDS if kind in family.results])
    # Mistral's models refuse even the ids that Bedrock made for their own calls.
    return HistoryRules(call_ids=ids, own_call_ids=not family.nine, user_first=True, result_parts=kinds)


# -------------------------------------------------------------------------------------------- messages


class _Writer:
    """Writes the messages of one request."""

    def __init__(self, model: LLModel, family: Family, lifetime: str | None) -> None:
        self._model = model
        self._family = family
        self.cache_point = {"cachePoint": {"type": "default", **({"ttl": lifetime} if lifetime else {})}}
        self._documents = 0

    def system(self, prompt: Prompt) -> list[dict[str, Any]]:
        messages = [message for message in prompt.messages if isinstance(message, SystemMessage)]
        return self._user([TextPart(message.text, message.cache) for message in messages])

    def messages(self, prompt: Prompt) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = []
        for role, run in role_runs(prompt.messages):
            found = [self._tool_result(message) for message in run if isinstance(message, ToolResultMessage)]
            results = [block for blocks in found for block in blocks]
            others = [block for message in run for block in self._blocks(message)]
            if role == "user":
                others = _with_text(others)
            if results and others and self._family.alone:  # such a model takes nothing else beside the results
                between = {"role": "assistant", "content": [{"text": "I have the results."}]}
                turns += [{"role": role, "content": results}, between]
                results = []
            if content := [*results, *others]:
                turns.append({"role": role, "content": content})
        return turns

    def _blocks(self, message: Message) -> list[dict[str, Any]]:
        if isinstance(message, AssistantMessage):
            return self._assistant(message)
        return self._user(message.parts) if isinstance(message, UserMessage) else []

    def _user(self, parts: Iterable[UserPart]) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = []
        for part in parts:
            content.append(self._part(part))
            if getattr(part, "cache", False):
                content.append(self.cache_point)
        return content

    def _part(self, part: UserPart) -> dict[str, Any]:
        if isinstance(part, TextPart):
            return {"text": part.text}
        inline = inline_of(part)
        kind = (part.media_type or (inline[0] if inline else "")).partition(";")[0].strip().lower()
        if isinstance(part, ImagePart):
            if part.detail is not None:
                raise unsupported(self._model, "ImagePart.detail", "leave it out")
            form = _IMAGES.get((kind or _suffix(part.url)).removeprefix("image/"))
            if form is None:
                raise unsupported(self._model, f"an image of type {kind or 'unknown'}", "send PNG, JPEG, GIF or WebP")
            return {"image": {"format": form, "source": _source(part)}}
        if isinstance(part, AudioPart):
            form = kind.partition("/")[2] or _suffix(part.url)
            return {"audio": {"format": _AUDIO.get(form, form), "source": _source(part)}}
        form = _DOCUMENTS.get(kind) or (_suffix(part.url) if inline is None else None)
        if form not in _DOCUMENTS.values():
            raise unsupported(
                self._model, f"a document of type {kind or 'unknown'}", f"send one of {', '.join(_DOCUMENTS.values())}"
            )
        self._documents += 1
        return {
            "document": {"format": form, "name": _document_name(part.name, self._documents), "source": _source(part)}
        }

    def _assistant(self, message: AssistantMessage) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, TextPart):
                content.append({"text": part.text})
            elif isinstance(part, Reasoning):
                content += self._reasoning(part)
            elif isinstance(part, Citation):
                _cite(content, part)
            elif isinstance(part, ProviderItem):
                if part.type in ("toolUse", "toolResult") and part.type in part.data:
                    content.append(part.data)
            else:
                given = call_input(part, "invalid_arguments")
                content.append({"toolUse": {"toolUseId": part.id, "name": part.name, "input": given}})
        return content

    def _reasoning(self, part: Reasoning) -> list[dict[str, Any]]:
        data = part.provider_data or {}
        if not self._family.returns_thoughts or data.get("type") != "reasoningContent":
            return []
        blocks: list[dict[str, Any]] = []
        if part.text:
            text: dict[str, Any] = {"text": part.text}
            if "signature" in data:
                text["signature"] = data["signature"]
            blocks.append({"reasoningContent": {"reasoningText": text}})
        if "redactedContent" in data:
            blocks.append({"reasoningContent": {"redactedContent": data["redactedContent"]}})
        return blocks

    def _tool_result(self, message: ToolResultMessage) -> list[dict[str, Any]]:
        """The result, and what marks it for the cache, which stands behind it."""
        content = [{"text": message.text}] if message.text.strip() else []
        if message.error is None and not isinstance(message.output, str):
            content = self._user(message.output)
        marks = [block for block in content if "cachePoint" in block][:1]
        content = [block for block in content if "cachePoint" not in block] or [{"text": "(no output)"}]
        result: dict[str, Any] = {"toolUseId": message.call_id, "content": content}
        if self._family.status:
            result["status"] = "success" if message.error is None else "error"
        return [{"toolResult": result}, *marks]


def _with_text(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A document is refused without a text beside it."""
    alone = any("document" in block for block in content) and not any("text" in block for block in content)
    return [{"text": "The document:"}, *content] if alone else content


def _suffix(url: str | None) -> str:
    return (url or "").rpartition(".")[2].lower()


def _source(part: ImagePart | DocumentPart | AudioPart) -> dict[str, Any]:
    if (inline := inline_of(part)) is not None:
        return {"bytes": inline[1]}
    if not (part.url or "").startswith("s3://"):
        raise InvalidInputError("Bedrock takes media as data, or from an s3:// address; read it and pass data=…")
    return {"s3Location": {"uri": part.url}}


def _document_name(name: str | None, number: int) -> str:
    """Letters, digits, single blanks, hyphens, parentheses and brackets; the number keeps names apart."""
    kept = " ".join(re.sub(r"[^A-Za-z0-9\-()\[\] ]", " ", name or "document").split())[:180]
    return kept if number == 1 and kept else f"{kept or 'document'} {number}"


def _cite(content: list[dict[str, Any]], part: Citation) -> None:
    """A citation of Bedrock's goes back with the text before it."""
    data = part.provider_data or {}
    if not ("sourceContent" in data or "location" in data) or not content:
        return
    last = content[-1]
    if "text" in last:
        content[-1] = last = {"citationsContent": {"content": [{"text": last["text"]}], "citations": []}}
    if "citationsContent" in last:
        last["citationsContent"]["citations"].append(data)


# ------------------------------------------------------------------------------------------- parameters


def _put_params(body: dict[str, Any], params: LLMParams, model: LLModel, family: Family) -> None:
    for name in ("seed", "user", "parallel_tool_calls"):
        if getattr(params, name) is not None:
            raise unsupported(model, name, "leave it out; Converse has no field for it")
    limits = {"maxTokens": params.max_tokens, "temperature": params.temperature, "stopSequences": params.stop or None}
    if config := {name: value for name, value in limits.items() if value is not None}:
        body["inferenceConfig"] = config
    if params.response_schema is not None:
        schema = fit_schema(params.response_schema, _ANSWERS).schema
        definition = {"schema": msgspec.json.encode(schema).decode(), "name": schema_name(params.response_schema)}
        body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}
    if params.reasoning_effort is not None or params.reasoning_budget is not None:
        body["additionalModelRequestFields"] = _thinking(params, model, family)


def _thinking(params: LLMParams, model: LLModel, family: Family) -> dict[str, Any]:
    """How this family is asked to think: each has fields of its own, and refuses the others'."""
    effort, budget = params.reasoning_effort, params.reasoning_budget
    word = "off" if thinking_is_off(params) else effort.value if effort is not None else ""
    if family.thinks == "budget" and budget and not effort:
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    fields = THINKING.get(family.thinks, {}).get(word)
    if fields is not None and not budget and (family.tools or word == "off"):
        return dict(fields)
    asked = f"reasoning_effort {effort.value}" if effort is not None else f"reasoning_budget {budget}"
    raise unsupported(model, asked, "leave it out, or put the model's own field into params.extra")


def _put_tools(body: dict[str, Any], prompt: Prompt, tools: Sequence[ToolDescriptor], family: Family) -> None:
    """Converse refuses a history with tool blocks where no tools are declared, and has no choice "none".

    So the tools go along wherever the history holds calls; those that nobody declared go by their names.
    """
    choice = prompt.params.tool_choice
    called = [
        block["toolUse"]["name"] for entry in body["messages"] for block in entry["content"] if "toolUse" in block
    ]
    if not called and (not tools or choice is ToolChoice.NONE):
        return
    strict = DIALECTS["bedrock-strict"] if family.strict else None
    declared = [_tool(tool, family) for tool in fit_tools(tools, DIALECTS["bedrock"], strict)]
    if not tools:
        plain = {"json": {"type": "object"}}
        declared = [{"toolSpec": {"name": name, "inputSchema": plain}} for name in dict.fromkeys(called)]
    config: dict[str, Any] = {"tools": declared}
    if tools and isinstance(choice, NamedTool):
        config["toolChoice"] = {"tool": {"name": choice.name}}
    elif tools and choice is ToolChoice.REQUIRED:
        config["toolChoice"] = {"any": {}}
    elif tools and choice is ToolChoice.AUTO:
        config["toolChoice"] = {"auto": {}}
    body["toolConfig"] = config


def _tool(tool: ToolDescriptor, family: Family) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": tool.parameters}}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict is not None and family.strict:
        spec["strict"] = tool.strict
    return {"toolSpec": spec}


def _check_thinking(body: dict[str, Any], model: LLModel) -> None:
    """Claude's thinking goes with no forced tool, and must leave room for the answer."""
    thinking = (body.get("additionalModelRequestFields") or {}).get("thinking") or {}
    choice = next(iter((body.get("toolConfig") or {}).get("toolChoice", ())), "")
    check_forced_call(thinking, choice, ("any", "tool"), model)
    if thinking.get("type") in ("enabled", "adaptive"):
        check_room((body.get("inferenceConfig") or {}).get("maxTokens"), thinking.get("budget_tokens"))


def _put_extra(body: dict[str, Any], extra: dict[str, Any]) -> None:
    own = {name: value for name, value in extra.items() if name in _FIELDS or name in _OURS}
    models = {name: value for name, value in extra.items() if name not in own}
    if models:
        own["additionalModelRequestFields"] = {**own.get("additionalModelRequestFields", {}), **models}
    merge_extra(body, own, ours=_OURS, deep=False)
