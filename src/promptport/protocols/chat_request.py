"""Chat Completions, the way out: prompt → request body. Pure.

Source: the reference of OpenAI's ``POST /chat/completions``. Where servers differ in a field's name,
`ChatDialect` says so.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from promptport.errors import InvalidInputError, UnsupportedCapabilityError
from promptport.frames import InvalidToolCall, ProviderItem, Reasoning, ToolCall
from promptport.messages import (
    AssistantMessage,
    AudioPart,
    DocumentPart,
    ImagePart,
    LLMParams,
    Message,
    NamedTool,
    Origin,
    Prompt,
    SystemMessage,
    TextPart,
    ToolChoice,
    ToolResultMessage,
    UserMessage,
    UserPart,
)
from promptport.models import LLModel
from promptport.protocols.portability import HistoryRules, portable
from promptport.tools import DIALECTS, ToolDescriptor, fit_schema, fit_tools

__all__ = ["ChatDialect", "chat_body", "data_url", "is_strict_schema", "response_format_schema", "schema_name"]


class ChatDialect(msgspec.Struct, frozen=True):
    """How one server's Chat Completions differ from the next.

    Attributes:
        max_tokens: the field for the answer's limit.
        system_role: the role of instructions.
        stream_usage: the server takes ``stream_options.include_usage``.
        user: the field for the end user's id.
        history: what the server takes in a conversation that others began; see `portable`.
        schemas: a name in `DIALECTS`, to which schemas are fitted, with ``-strict`` behind it for those that the model
            is held to; an empty one sends schemas as they are.
        says_strict: ``strict`` is said of every tool, and not left to the server's default.
    """

    max_tokens: str = "max_tokens"
    system_role: str = "system"
    stream_usage: bool = True
    user: str = "user"
    history: HistoryRules = HistoryRules(blank_text=True)
    schemas: str = ""
    says_strict: bool = False


def chat_body(
    prompt: Prompt,
    model: LLModel,
    tools: Sequence[ToolDescriptor] = (),
    *,
    stream: bool,
    dialect: ChatDialect = ChatDialect(),  # noqa: B008 - a frozen value
    origin: Origin | None = None,
) -> dict[str, Any]:
    """The request body for this prompt; ``params.extra`` is put over it as it is.

    Args:
        prompt: the conversation, whoever made its messages.
        model: whom to ask.
        tools: what the model is offered.
        stream: whether to stream.
        dialect: the server's.
        origin: the server, see `portable`: reasoning, ids and items of its own go back as they came.

    Raises:
        InvalidInputError: a part that Chat Completions has no form for.
        UnsupportedCapabilityError: a parameter that it has no field for.
    """
    _check(prompt, model)
    prompt = portable(prompt, dialect.history, origin)
    body: dict[str, Any] = {"model": model.id, "messages": [_message(message, dialect) for message in prompt.messages]}
    if stream:
        body["stream"] = True
        if dialect.stream_usage:
            body["stream_options"] = {"include_usage": True}
    if tools:
        if dialect.schemas:
            tools = fit_tools(tools, DIALECTS[dialect.schemas], DIALECTS.get(f"{dialect.schemas}-strict"))
        body["tools"] = [_tool(tool, dialect) for tool in tools]
    _put_params(body, prompt.params, bool(tools), dialect)
    return body


def _check(prompt: Prompt, model: LLModel) -> None:
    """Whoever declares more than the protocol has must not find it dropped; a mark for a cache is a hint."""
    if prompt.params.reasoning_budget is not None:
        missing = ["reasoning_budget"]
        instead = "Chat Completions has no field for it; the server's own, if it has one, goes into params.extra"
        raise UnsupportedCapabilityError(provider=model.provider, model=model.id, missing=missing, instead=instead)


def _put_params(body: dict[str, Any], params: LLMParams, has_tools: bool, dialect: ChatDialect) -> None:
    for field, value in (
        ("temperature", params.temperature),
        (dialect.max_tokens, params.max_tokens),
        ("seed", params.seed),
        (dialect.user, params.user),
    ):
        if value is not None:
            body[field] = value
    if params.stop:
        body["stop"] = list(params.stop)
    if params.reasoning_effort is not None:
        body["reasoning_effort"] = params.reasoning_effort.value
    if params.response_schema is not None:
        schema, strict = response_format_schema(params.response_schema, dialect.schemas)
        name = schema_name(params.response_schema)
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": schema, "strict": strict},
        }
    if has_tools:
        if isinstance(params.tool_choice, NamedTool):
            body["tool_choice"] = {"type": "function", "function": {"name": params.tool_choice.name}}
        elif isinstance(params.tool_choice, ToolChoice):
            body["tool_choice"] = params.tool_choice.value
        if params.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = params.parallel_tool_calls
    body.update(params.extra)


def _tool(tool: ToolDescriptor, dialect: ChatDialect) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None or dialect.says_strict:
        function["strict"] = bool(tool.strict)
    return {"type": "function", "function": function}


# ---------------------------------------------------------------------------------------------- messages


def _message(message: Message, dialect: ChatDialect) -> dict[str, Any]:
    if isinstance(message, SystemMessage):
        return {"role": dialect.system_role, "content": message.text}
    if isinstance(message, UserMessage):
        return {"role": "user", "content": _content(message.parts)}
    if isinstance(message, ToolResultMessage):
        output = message.output
        content = message.text if message.error is not None or isinstance(output, str) else _content(output)
        return {"role": "tool", "tool_call_id": message.call_id, "content": content}
    return _assistant(message)


def _content(parts: Sequence[UserPart]) -> str | list[dict[str, Any]]:
    if all(isinstance(part, TextPart) for part in parts):
        return "".join([part.text for part in parts if isinstance(part, TextPart)])
    return [_part(part) for part in parts]


def _part(part: UserPart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImagePart):
        image: dict[str, Any] = {"url": part.url or data_url(part)}
        if part.detail is not None:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    if isinstance(part, AudioPart):
        return {"type": "input_audio", "input_audio": _audio(part)}
    if part.data is None:
        raise InvalidInputError("Chat Completions takes a document as data, not by url; read it and pass data=…")
    return {"type": "file", "file": {"filename": part.name or "document", "file_data": data_url(part)}}


def _audio(part: AudioPart) -> dict[str, Any]:
    if part.data is None or part.media_type is None:
        raise InvalidInputError("Chat Completions takes audio as data, not by url; read it and pass data=…")
    kind = part.media_type.partition("/")[2].removeprefix("x-")
    return {"data": base64.b64encode(part.data).decode(), "format": {"mpeg": "mp3", "wave": "wav"}.get(kind, kind)}


def data_url(part: ImagePart | DocumentPart) -> str:
    """The part's bytes as a ``data:`` URL."""
    return f"data:{part.media_type};base64,{base64.b64encode(part.data or b'').decode()}"


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    """The model's own turn, with what it wants to see again.

    DeepSeek refuses a request whose tool results come without the reasoning that led to the calls, and OpenRouter
    wants its ``reasoning_details`` back unchanged; each goes back under the name under which it came. What another
    server wants back was left out by `portable`.
    """
    body: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    calls = [part for part in message.parts if isinstance(part, ToolCall | InvalidToolCall)]
    if calls:
        body["tool_calls"] = [_call(call) for call in calls]
    for part in message.parts:
        if isinstance(part, Reasoning) and part.provider_data:
            field = part.provider_data.get("field")
            if field in ("reasoning_content", "reasoning") and calls:
                body[field] = body.get(field, "") + part.text
            details = part.provider_data.get("reasoning_details")
            if isinstance(details, list):
                body["reasoning_details"] = [*body.get("reasoning_details", []), *details]
        elif isinstance(part, ProviderItem) and part.type == "refusal":
            body["refusal"] = part.data.get("refusal")
    if len(body) == 2 and body["content"] is None:
        body["content"] = ""  # null is for turns that hold something else
    return body


def _call(call: ToolCall | InvalidToolCall) -> dict[str, Any]:
    arguments = call.arguments
    if isinstance(call, InvalidToolCall):
        # Servers that render templates parse this text again, and fail on what is no JSON.
        arguments = msgspec.json.encode({"invalid_arguments": call.arguments}).decode()
    body = {"id": call.id, "type": "function", "function": {"name": call.name or "unknown", "arguments": arguments}}
    extra = (call.provider_data or {}).get("extra_content")
    return {**body, "extra_content": extra} if extra else body


# ----------------------------------------------------------------------------------------------- schemas


def schema_name(schema: dict[str, Any]) -> str:
    """The name that a response schema goes by: its title as far as providers take it, or ``response``."""
    title = schema.get("title")
    title = title if isinstance(title, str) else ""
    name = "".join([c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in title])
    return name[:64] or "response"


def response_format_schema(schema: dict[str, Any], dialect: str) -> tuple[dict[str, Any], bool]:
    """The schema of a structured answer as it is sent, and whether the answer is held to it strictly.

    Args:
        schema: the caller's.
        dialect: a name in `DIALECTS`; an empty one changes nothing.

    Raises:
        InvalidInputError: a schema that no fitting saves, such as one that is not an object's.
    """
    strict = is_strict_schema(schema)
    if not dialect:
        return schema, strict
    if strict:
        with suppress(InvalidInputError):  # then it cannot be held to it, and the other dialect has the last word
            return fit_schema(schema, DIALECTS[f"{dialect}-strict"]).schema, True
    return fit_schema(schema, DIALECTS[dialect]).schema, False


def is_strict_schema(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes this schema: every object is closed and requires all its properties."""
    if isinstance(schema, list):
        return all(is_strict_schema(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):
            return False
    return all(is_strict_schema(value) for value in schema.values())
