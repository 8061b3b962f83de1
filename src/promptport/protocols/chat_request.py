"""Chat Completions, the way out: prompt → request body. Pure.

Source: the reference of OpenAI's ``POST /chat/completions``. Where servers differ in a field's name,
`ChatDialect` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from promptport.errors import InvalidInputError, UnsupportedCapabilityError
from promptport.frames import InvalidToolCall, ToolCall
from promptport.messages import (
    AssistantMessage,
    LLMParams,
    Message,
    NamedTool,
    Origin,
    Prompt,
    ReasoningEffort,
    ToolChoice,
)
from promptport.models import LLModel
from promptport.openai_messages import data_url, openai_message
from promptport.protocols.portability import HistoryRules, portable
from promptport.tools import DIALECTS, ToolDescriptor, fit_schema, fit_tools

__all__ = [
    "ChatDialect",
    "chat_body",
    "data_url",
    "is_strict_schema",
    "response_format_schema",
    "schema_name",
]


class ChatDialect(msgspec.Struct, frozen=True):
    """How one server's Chat Completions differ from the next.

    What a server does not have at all is no dialect, but a missing `Capability`.

    Attributes:
        max_tokens: the field for the answer's limit.
        system_role: the role of instructions.
        stream_usage: the server takes ``stream_options.include_usage``.
        user: the field for the end user's id.
        history: what the server takes in a conversation that others began; see `portable`.
        schemas: a name in `DIALECTS`, to which schemas are fitted, with ``-strict`` behind it for those that the model
            is held to; an empty one only puts an object at the top of a tool's, and holds
            strict ones to OpenAI's.
        says_strict: ``strict`` is said of every tool, and not left to the server's default.
        seed: the field for the seed.
        required: the word for "at least one call".
        forbidden: the word for "no call"; an empty one leaves the tools out, unless the history holds calls.
        strict: the server takes ``strict`` in functions and schemas; ``False`` leaves it out.
        schema_beside_tools: the server takes a response schema and tools in one request.
        effort: where the reasoning effort goes, with dots between the levels; an empty one sends `thinking` only.
        efforts: the efforts that the server takes; empty for all.
        budget: where the reasoning budget goes, with dots; an empty one if the server has none.
        thinking: put into the body if an effort other than ``none``, or a budget, is asked for.
        no_thinking: put into the body instead of the effort ``none`` or the budget 0; empty to send these.
        reasoning_back: when the model's reasoning goes back: with ``calls`` only, ``always`` or ``never``.
        null_content: an answer that holds only calls has the content ``null``; ``False`` sends an empty text.
        fields: put into every request; ``params.extra`` goes over them.
        stream_fields: put into every streaming request.
    """

    max_tokens: str = "max_tokens"
    system_role: str = "system"
    stream_usage: bool = True
    user: str = "user"
    history: HistoryRules = HistoryRules(blank_text=True)
    schemas: str = ""
    says_strict: bool = False
    seed: str = "seed"
    required: str = "required"
    forbidden: str = "none"
    strict: bool = True
    schema_beside_tools: bool = True
    effort: str = "reasoning_effort"
    efforts: tuple[str, ...] = ()
    budget: str = ""
    thinking: dict[str, Any] = {}
    no_thinking: dict[str, Any] = {}
    reasoning_back: Literal["calls", "always", "never"] = "calls"
    null_content: bool = True
    fields: dict[str, Any] = {}
    stream_fields: dict[str, Any] = {}


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
    prompt = portable(prompt, dialect.history, origin)
    params = prompt.params
    _check(params, model, bool(tools), dialect)
    body: dict[str, Any] = {
        "model": model.id,
        "messages": [
            openai_message(
                message,
                system_role=dialect.system_role,
                reasoning_back=dialect.reasoning_back,
                null_content=dialect.null_content,
            )
            for message in prompt.messages
        ],
    }
    body.update(dialect.fields)
    if stream:
        body["stream"] = True
        if dialect.stream_usage:
            body["stream_options"] = {"include_usage": True}
        body.update(dialect.stream_fields)
    if tools and params.tool_choice is ToolChoice.NONE and not dialect.forbidden:
        tools = tools if any(map(_calls_of, prompt.messages)) else ()
        params = replace(params, tool_choice=None)
    if tools:
        held = DIALECTS.get(f"{dialect.schemas or 'openai'}-strict") if dialect.strict else None
        tools = fit_tools(tools, DIALECTS[dialect.schemas or "plain"], held)
        body["tools"] = [_tool(tool, dialect) for tool in tools]
        _put_choice(body, params, dialect)
    _put_params(body, params, dialect)
    _put_reasoning(body, params, dialect)
    body.update(params.extra)
    return body


def _check(params: LLMParams, model: LLModel, has_tools: bool, dialect: ChatDialect) -> None:
    """Whoever declares more than the server has must not find it dropped; a mark for a cache is a hint."""
    missing, instead = "", "leave it out"
    effort = params.reasoning_effort
    if params.reasoning_budget is not None and not dialect.budget:
        missing = "reasoning_budget"
        instead = "the server has no field for it; its own, if it has one, goes into params.extra"
    elif effort is not None and dialect.efforts and effort.value not in dialect.efforts:
        missing, instead = f"reasoning_effort {effort.value}", f"use {', '.join(dialect.efforts)}"
    elif params.response_schema is not None and has_tools and not dialect.schema_beside_tools:
        missing, instead = "a response schema beside tools", "ask for one of them at a time"
    if missing:
        raise UnsupportedCapabilityError(provider=model.provider, model=model.id, missing=[missing], instead=instead)


def _put_params(body: dict[str, Any], params: LLMParams, dialect: ChatDialect) -> None:
    for field, value in (
        ("temperature", params.temperature),
        (dialect.max_tokens, params.max_tokens),
        (dialect.seed, params.seed),
        (dialect.user, params.user),
    ):
        if value is not None:
            body[field] = value
    if params.stop:
        body["stop"] = list(params.stop)
    if params.response_schema is not None:
        schema, strict = response_format_schema(params.response_schema, dialect.schemas)
        described: dict[str, Any] = {"name": schema_name(params.response_schema), "schema": schema}
        if dialect.strict:
            described["strict"] = strict
        body["response_format"] = {"type": "json_schema", "json_schema": described}


def _put_choice(body: dict[str, Any], params: LLMParams, dialect: ChatDialect) -> None:
    if isinstance(params.tool_choice, NamedTool):
        body["tool_choice"] = {"type": "function", "function": {"name": params.tool_choice.name}}
    elif isinstance(params.tool_choice, ToolChoice):
        words = {ToolChoice.REQUIRED: dialect.required, ToolChoice.NONE: dialect.forbidden}
        body["tool_choice"] = words.get(params.tool_choice, params.tool_choice.value)
    if params.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = params.parallel_tool_calls


def _put_reasoning(body: dict[str, Any], params: LLMParams, dialect: ChatDialect) -> None:
    effort, budget = params.reasoning_effort, params.reasoning_budget
    if effort is None and budget is None:
        return
    off = effort is ReasoningEffort.NONE or budget == 0
    if off and (budget or effort not in (None, ReasoningEffort.NONE)):
        raise InvalidInputError("reasoning_effort and reasoning_budget contradict each other")
    if off and dialect.no_thinking:
        _merge(body, dialect.no_thinking)
        return
    if not off:
        _merge(body, dialect.thinking)
    if effort is not None and dialect.effort:
        _put(body, dialect.effort, effort.value)
    if budget is not None and dialect.budget:
        _put(body, dialect.budget, budget)


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    name, _, below = path.partition(".")
    if below:
        body[name] = {**body[name]} if isinstance(body.get(name), dict) else {}
        _put(body[name], below, value)
    else:
        body[name] = value


def _merge(body: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        before = body.get(name)
        body[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value


def _calls_of(message: Message) -> bool:
    return isinstance(message, AssistantMessage) and any(
        isinstance(part, ToolCall | InvalidToolCall) for part in message.parts
    )


def _tool(tool: ToolDescriptor, dialect: ChatDialect) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    if dialect.strict and (tool.strict is not None or dialect.says_strict):
        function["strict"] = bool(tool.strict)
    return {"type": "function", "function": function}


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
        dialect: a name in `DIALECTS`; an empty one changes nothing. The answer is held to its strict one, in which
            what may be left out becomes what may be null, if the schema can be said in it.

    Raises:
        InvalidInputError: a schema that no fitting saves, such as one that is not an object's.
    """
    if not dialect:
        return schema, is_strict_schema(schema) and not _lost(schema, "openai-strict")
    with suppress(InvalidInputError):  # then it cannot be held to it, and the other dialect has the last word
        return fit_schema(schema, DIALECTS[f"{dialect}-strict"]).schema, True
    return fit_schema(schema, DIALECTS[dialect]).schema, False


def _lost(schema: dict[str, Any], dialect: str) -> bool:
    """Whether a dialect cannot say all of the schema."""
    try:
        return bool(fit_schema(schema, replace(DIALECTS[dialect], top_object=False)).lost)
    except InvalidInputError:
        return True


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
