"""Bedrock's Converse, the way out: prompt → request body. Pure.

Rules: what Converse cannot express raises. Neighbouring messages of one role become one, and all results of a turn
stand in front of what the user says. Reasoning goes back to models that take it, with its signature; what another
server's model thought or ran itself is left out, and ids are made to fit, by `portable`.

Source: the Bedrock runtime API reference (Converse), and the service model in botocore 1.44.
"""

from __future__ import annotations

import base64
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
    InvalidToolCall,
    LLModel,
    LLMParams,
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
    UserPart,
    fit_schema,
    fit_tools,
    portable,
    schema_name,
)
from promptport_bedrock._models import Family, family_of

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
_CACHE_POINT = {"cachePoint": {"type": "default"}}
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
_NOVA_EFFORTS = ("low", "medium", "high")
_GPT_EFFORTS = ("low", "medium", "high")
_CLAUDE_EFFORTS = ("low", "medium", "high", "xhigh", "max")


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
    prompt = portable(prompt, _history(family), origin)
    writer = _Writer(model, family)
    body: dict[str, Any] = {}
    if system := writer.system(prompt):
        body["system"] = system
    body["messages"] = writer.messages(prompt)
    _put_params(body, prompt.params, model, family)
    _put_tools(body, prompt, tools, family)
    _put_extra(body, prompt.params.extra)
    _check_thinking(body, model)
    return body


def _history(family: Family) -> HistoryRules:
    ids = FittingRule(r"[A-Za-z0-9]{9}", "", 9) if family.nine else FittingRule(r"[A-Za-z0-9_.:-]{1,64}")
    kinds = frozenset([kind for kind in _RESULT_KINDS if kind in family.results])
    # Mistral's models refuse even the ids that Bedrock made for their own calls.
    return HistoryRules(call_ids=ids, own_call_ids=not family.nine, user_first=True, result_parts=kinds)


def _unsupported(model: LLModel, missing: str, instead: str) -> UnsupportedCapabilityError:
    return UnsupportedCapabilityError(provider=model.provider, model=model.id, missing=[missing], instead=instead)


# -------------------------------------------------------------------------------------------- messages


class _Writer:
    """Writes the messages of one request."""

    def __init__(self, model: LLModel, family: Family) -> None:
        self._model = model
        self._family = family
        self._documents = 0

    def system(self, prompt: Prompt) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        for message in prompt.messages:
            if isinstance(message, SystemMessage):
                blocks.append({"text": message.text})
                if message.cache:
                    blocks.append(_CACHE_POINT)
        return blocks

    def messages(self, prompt: Prompt) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for message in prompt.messages:
            if isinstance(message, SystemMessage):
                continue
            role = "user"
            if isinstance(message, AssistantMessage):
                role, content = "assistant", self._assistant(message)
            elif isinstance(message, ToolResultMessage):
                content = [self._tool_result(message)]
            else:
                content = self._user(message.parts)
            if not content:
                continue
            if messages and messages[-1]["role"] == role:
                messages[-1]["content"] += content
            else:
                messages.append({"role": role, "content": content})
        return [part for entry in messages for part in self._turns(entry)]

    def _turns(self, entry: dict[str, Any]) -> list[dict[str, Any]]:
        """Results stand in front; for models that take nothing else beside them, what is left is a turn of its own."""
        if entry["role"] != "user":
            return [entry]
        results = [block for block in entry["content"] if "toolResult" in block]
        others = [block for block in entry["content"] if "toolResult" not in block]
        if results and others and self._family.alone:
            between = {"role": "assistant", "content": [{"text": "I have the results."}]}
            return [{"role": "user", "content": results}, between, {"role": "user", "content": _with_text(others)}]
        return [{"role": "user", "content": [*results, *_with_text(others)]}]

    def _user(self, parts: Iterable[UserPart]) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = []
        for part in parts:
            content.append(self._part(part))
            if getattr(part, "cache", False):
                content.append(_CACHE_POINT)
        return content

    def _part(self, part: UserPart) -> dict[str, Any]:
        if isinstance(part, TextPart):
            return {"text": part.text}
        kind = (part.media_type or "").partition(";")[0].strip().lower()
        if isinstance(part, ImagePart):
            if part.detail is not None:
                raise _unsupported(self._model, "ImagePart.detail", "leave it out")
            form = _IMAGES.get((kind or _suffix(part.url)).removeprefix("image/"))
            if form is None:
                raise _unsupported(self._model, f"an image of type {kind or 'unknown'}", "send PNG, JPEG, GIF or WebP")
            return {"image": {"format": form, "source": _source(part)}}
        if isinstance(part, AudioPart):
            form = kind.partition("/")[2] or _suffix(part.url)
            return {"audio": {"format": _AUDIO.get(form, form), "source": _source(part)}}
        form = _DOCUMENTS.get(kind) or (_suffix(part.url) if part.data is None else None)
        if form not in _DOCUMENTS.values():
            raise _unsupported(
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
                content.append(self._tool_use(part))
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

    def _tool_use(self, call: ToolCall | InvalidToolCall) -> dict[str, Any]:
        if isinstance(call, ToolCall):
            given: Any = msgspec.Raw(call.arguments.encode("utf-8", "surrogatepass"))
        else:
            given = {"invalid_arguments": call.arguments}
        return {"toolUse": {"toolUseId": call.id, "name": call.name, "input": given}}

    def _tool_result(self, message: ToolResultMessage) -> dict[str, Any]:
        content: list[dict[str, Any]]
        if message.error is not None or isinstance(message.output, str):
            content = [{"text": message.text if message.text.strip() else "(no output)"}]
        else:
            content = [block for block in self._user(message.output) if "cachePoint" not in block]
            content = content or [{"text": "(no output)"}]
        result: dict[str, Any] = {"toolUseId": message.call_id, "content": content}
        if self._family.status:
            result["status"] = "success" if message.error is None else "error"
        return {"toolResult": result}


def _with_text(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A document is refused without a text beside it."""
    alone = any("document" in block for block in content) and not any("text" in block for block in content)
    return [{"text": "The document:"}, *content] if alone else content


def _suffix(url: str | None) -> str:
    return (url or "").rpartition(".")[2].lower()


def _source(part: ImagePart | DocumentPart | AudioPart) -> dict[str, Any]:
    if part.data is not None:
        return {"bytes": base64.b64encode(part.data).decode()}
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
            raise _unsupported(model, name, "leave it out; Converse has no field for it")
    config: dict[str, Any] = {}
    if params.max_tokens is not None:
        config["maxTokens"] = params.max_tokens
    if params.temperature is not None:
        config["temperature"] = params.temperature
    if params.stop:
        config["stopSequences"] = list(params.stop)
    if config:
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
    off = effort is ReasoningEffort.NONE or budget == 0
    if off and (budget or effort not in (None, ReasoningEffort.NONE)):
        raise InvalidInputError("reasoning_effort and reasoning_budget contradict each other")
    word = effort.value if effort is not None else ""
    if family.thinks in ("adaptive", "budget") and off:
        return {"thinking": {"type": "disabled"}}
    if family.thinks == "budget" and budget and not effort:
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    if family.thinks in ("adaptive", "always") and not budget and word in _CLAUDE_EFFORTS and family.tools:
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": word}}
    if family.thinks == "effort" and not budget and word in _GPT_EFFORTS:
        return {"reasoning_effort": word}
    if family.thinks == "nova" and not budget and off:
        return {"reasoningConfig": {"type": "disabled"}}
    if family.thinks == "nova" and not budget and word in _NOVA_EFFORTS:
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": word}}
    asked = f"reasoning_effort {word}" if effort is not None else f"reasoning_budget {budget}"
    raise _unsupported(model, asked, "leave it out, or put the model's own field into params.extra")


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
    if thinking.get("type") not in ("enabled", "adaptive"):
        return
    if (body.get("toolConfig") or {}).get("toolChoice", {}).keys() & {"any", "tool"}:
        instead = "use tool_choice 'auto', or turn thinking off with reasoning_effort 'none'"
        raise _unsupported(model, "tool_choice that forces a call, together with reasoning", instead)
    most, budget = (body.get("inferenceConfig") or {}).get("maxTokens"), thinking.get("budget_tokens")
    if most is not None and budget is not None and most <= budget:
        raise InvalidInputError(
            f"max_tokens={most} leaves no room for an answer beside reasoning_budget={budget}. "
            "Raise max_tokens above the budget, or leave it out"
        )


def _put_extra(body: dict[str, Any], extra: dict[str, Any]) -> None:
    if taken := _OURS.intersection(extra):
        raise InvalidInputError(f"extra cannot hold {', '.join(sorted(taken))}: the prompt and the model say that")
    own = {name: value for name, value in extra.items() if name in _FIELDS}
    models = {name: value for name, value in extra.items() if name not in _FIELDS}
    if models:
        own["additionalModelRequestFields"] = {**own.get("additionalModelRequestFields", {}), **models}
    for name, value in own.items():
        before = body.get(name)
        body[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
