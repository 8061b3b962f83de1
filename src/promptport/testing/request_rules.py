"""What servers refuse in a request, as data: `refusals` says what a strict server would answer with a 400.

Rule: it reads the JSON body alone, and knows nothing of how it was made. A protocol is a row of `RULES`: the functions
that find the turns and schemas in its body, and what its servers take of them.

Sources: the references of the protocols, the service model in botocore (Bedrock's ids and names), the types of the
official SDKs (Mistral's fields), and the error texts of the servers in public issue threads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from promptport.testing.request_habits import (
    anthropic_habits,
    bedrock_documents,
    bedrock_habits,
    cohere_habits,
    gemini_habits,
    mistral_habits,
    vertex_habits,
)
from promptport.testing.request_schemas import SchemaRules, schema_refusals
from promptport.testing.request_turns import (
    Block,
    Schema,
    Turn,
    bedrock_schemas,
    bedrock_turns,
    chat_schemas,
    chat_turns,
    gemini_schemas,
    gemini_turns,
    messages_schemas,
    messages_turns,
    responses_schemas,
    responses_turns,
)

__all__ = ["RULES", "RequestRules", "protocol_of", "refusals", "rules_for"]

_Body = Mapping[str, Any]
_TOOL, _ANY = SchemaRules(), SchemaRules(object_top=False)


@dataclass(frozen=True)
class RequestRules:
    """What a server of one protocol takes.

    Attributes:
        turns: finds the turns in a body.
        schemas: finds the schemas in a body.
        ids: a regular expression for the ids of calls; an empty one takes all.
        names: the same for the names of tools, offered or in the history.
        blank_text: it takes blank text.
        alternate: user and assistant must take turns.
        user_first: the first turn besides instructions is the user's.
        result_images: a result may hold an image.
        unsigned_thoughts: it takes thoughts without a signature.
        text_beside_calls: it takes text in a message with calls.
        foreign: names of fields that only another protocol has.
        fields: by role, all fields that a message may have; a role that is not there takes all.
        arguments: the type of a call's arguments, which are an object.
        tool_schema: for the schemas of tools.
        strict_schema: for those of strict tools.
        answer_schema: for those of structured answers that are not strict.
        strict_answer_schema: for those that are.
        more: what no field says: functions of the body and the request's path.
    """

    turns: Callable[[_Body], Iterator[Turn]]
    schemas: Callable[[_Body], Iterator[Schema]]
    ids: str = ""
    names: str = r"[A-Za-z0-9_-]{1,64}"
    blank_text: bool = True
    alternate: bool = False
    user_first: bool = False
    result_images: bool = False
    unsigned_thoughts: bool = True
    text_beside_calls: bool = True
    foreign: frozenset[str] = frozenset()
    fields: Mapping[str, frozenset[str]] | None = None
    arguments: type = str
    tool_schema: SchemaRules = _TOOL
    strict_schema: SchemaRules = _TOOL
    answer_schema: SchemaRules = _ANY
    strict_answer_schema: SchemaRules = _TOOL
    more: tuple[Callable[[_Body, str], Iterator[str]], ...] = ()


def refusals(protocol: str, body: _Body, path: str = "") -> list[str]:
    """Why a strict server of this protocol would refuse the request; empty for one that it takes.

    Args:
        protocol: a name in `RULES`; of any other, nothing is known, and nothing is refused.
        body: the request, parsed.
        path: the request's path, in which some protocols name the model.
    """
    rules = RULES.get(protocol)
    if rules is None:
        return []
    turns = list(rules.turns(body))
    return [
        *_in_blocks(turns, rules),
        *_in_order(turns, rules),
        *_in_schemas(body, rules),
        *_in_fields(body, rules),
        *[f"the field {name!r} is another protocol's" for name in sorted(_names(body) & rules.foreign)],
        *[why for more in rules.more for why in more(body, path)],
    ]


def rules_for(provider: str, protocol: object) -> str | None:
    """The name in `RULES` for a provider: its own row, or its protocol's, as `ProviderContract.mutators` says it."""
    return next((name for name in (provider, str(protocol)) if name in RULES), None)


_PATHS: tuple[tuple[str, str], ...] = (
    (r"/messages$", "anthropic"),
    (r"/chat/completions$", "chat-completions"),
    (r"/responses$", "openai-responses"),
    (r"/api/chat$", "ollama-chat"),
    (r"/v2/chat$", "cohere"),
    (r"/projects/.*:(stream)?[gG]enerateContent$", "google-vertex"),
    (r":(stream)?[gG]enerateContent$", "google"),
    (r"/model/[^/]+/converse(-stream)?$", "bedrock"),
)
_SHAPES = {"google": "contents", "google-vertex": "contents", "openai-responses": "input"}


def protocol_of(path: str, body: Any) -> str | None:
    """The protocol of a request, by its path and shape; ``None`` for one that is nobody's.

    Servers that speak Chat Completions are not told apart: ``chat-completions`` holds what all of them refuse.
    """
    for pattern, protocol in _PATHS:
        if re.search(pattern, path):
            shape = _SHAPES.get(protocol, "messages")
            return protocol if isinstance(body, Mapping) and isinstance(body.get(shape), list) else None
    return None


# ------------------------------------------------------------------------------------------------- checks


def _in_blocks(turns: list[Turn], rules: RequestRules) -> Iterator[str]:
    for turn in turns:
        if not turn.blocks:
            yield f"a message of {turn.role} without content"
        kinds = {block.kind for block in turn.blocks}
        if not rules.text_beside_calls and {"text", "call"} <= kinds:
            yield "text in a message with calls"
        for block in turn.blocks:
            yield from _in_block(block, turn.role, rules)


def _in_block(block: Block, role: str, rules: RequestRules) -> Iterator[str]:
    kind = block.kind
    if kind.endswith("text") and not rules.blank_text and not block.text.strip():
        yield f"blank text in a message of {role}"
    if kind in ("call", "result") and rules.ids and not re.fullmatch(rules.ids, block.id):
        yield f"the id {block.id!r} of a {kind}"
    if kind in ("call", "result") and block.name is not None and not re.fullmatch(rules.names, block.name):
        yield f"the name {block.name!r} of a {kind}"
    if kind == "call" and not _is_object(block.arguments, rules.arguments):
        yield f"arguments of the call {block.id!r} that are no object"
    if kind == "result-image" and not rules.result_images:
        yield "an image in a result"
    if kind == "thought" and not block.signed and not rules.unsigned_thoughts:
        yield "a thought without a signature"


def _is_object(arguments: Any, kind: type) -> bool:
    if not isinstance(arguments, kind):
        return False
    try:
        return isinstance(json.loads(arguments) if isinstance(arguments, str) else arguments, dict)
    except ValueError:
        return False


def _in_order(turns: list[Turn], rules: RequestRules) -> Iterator[str]:
    open_calls: list[str] = []
    seen: set[str] = set()
    before = ""
    for turn in turns:
        if turn.role == "system":
            continue
        if rules.user_first and not before and turn.role != "user":
            yield "the first turn is not the user's"
        if rules.alternate and turn.role == before:
            yield f"two messages of {turn.role} in a row"
        before = turn.role
        begun = [*open_calls]
        for block in turn.blocks:
            if block.kind == "result":
                if block.id not in open_calls:
                    yield f"a result of {block.id!r}, which is no call right before it"
                else:
                    open_calls.remove(block.id)
            elif begun and open_calls and block.kind != "call" and not block.kind.startswith("result-"):
                yield f"the call {open_calls[0]!r} has no result right behind it"
                open_calls = []
            if block.kind == "call":
                if block.id in seen:
                    yield f"two calls of the id {block.id!r}"
                seen.add(block.id)
                open_calls.append(block.id)
    if open_calls:
        yield f"the call {open_calls[0]!r} has no result"


def _in_schemas(body: _Body, rules: RequestRules) -> Iterator[str]:
    for found in rules.schemas(body):
        if found.name is None:
            use = rules.strict_answer_schema if found.strict else rules.answer_schema
            yield from [f"the answer's schema: {why}" for why in schema_refusals(found.schema, use)]
            continue
        if not re.fullmatch(rules.names, found.name):
            yield f"the name {found.name!r} of a tool"
        use = rules.strict_schema if found.strict else rules.tool_schema
        yield from [f"the schema of {found.name!r}: {why}" for why in schema_refusals(found.schema, use)]


def _in_fields(body: _Body, rules: RequestRules) -> Iterator[str]:
    for message in body.get("messages", ()) if rules.fields else ():
        taken = (rules.fields or {}).get(message.get("role"))
        for name in sorted(message.keys() - taken) if taken is not None else ():
            yield f"the field {name!r} in a message of {message.get('role')}"


_CALLERS = ("arguments", "args", "input", "parameters", "parametersJsonSchema", "input_schema", "inputSchema", "json")
"""Under these stands what is the caller's or the model's own, whatever its names."""


def _names(value: Any) -> set[str]:
    if isinstance(value, dict):
        inner = [_names(each) for key, each in value.items() if key not in _CALLERS]
        inner += [_names(value["input"])] if isinstance(value.get("input"), list) else []
        return set(value).union(*inner)
    return set().union(*map(_names, value)) if isinstance(value, list) else set()


# --------------------------------------------------------------------------------------------------- rows

_SIGNED = frozenset({"signature", "encrypted_content", "thought_signature", "thoughtSignature"})
_KEY = r"[a-zA-Z0-9_.-]{1,64}"
_RARE = frozenset(
    (
        *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties", "propertyNames"),
        *("unevaluatedProperties", "contains", "minContains", "maxContains", "minProperties", "maxProperties"),
    )
)
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_SIZES = frozenset({"minLength", "maxLength"})

_OPENAI = SchemaRules(refused=frozenset({"oneOf", "prefixItems"}), bare_ref=True)
_OPENAI_STRICT = SchemaRules(
    closed=True,
    all_required=True,
    typed=True,
    bare_ref=True,
    refused=_RARE | _SIZES | {"oneOf", "allOf", "prefixItems", "default", "uniqueItems"},
)
_CLAUDE = SchemaRules(names=_KEY)
_CLAUDE_STRICT = SchemaRules(
    closed=True,
    typed=True,
    refused=_RARE | _SIZES | _BOUNDS | {"oneOf", "prefixItems", "maxItems", "uniqueItems"},
    min_items=1,
    names=_KEY,
    recursion=False,
)
_CLAUDE_ANSWER = replace(_CLAUDE_STRICT, object_top=False)
_GEMINI = SchemaRules(
    object_top=False,
    bare_ref=True,
    allowed=frozenset(
        (
            *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items"),
            *("prefixItems", "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties"),
            *("additionalProperties", "required", "propertyOrdering"),
        )
    ),
)
_COHERE = SchemaRules(
    one_required=True, refused=_RARE | _SIZES | _BOUNDS | {"oneOf", "allOf", "minItems", "maxItems", "prefixItems"}
)

_CHAT = RequestRules(chat_turns, chat_schemas, foreign=_SIGNED - {"thought_signature", "signature"})
_GOOGLE = RequestRules(
    gemini_turns,
    gemini_schemas,
    names=r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}",
    blank_text=False,
    alternate=True,
    user_first=True,
    result_images=True,
    unsigned_thoughts=False,
    foreign=frozenset({"reasoning_content", "reasoning_details", "signature", "encrypted_content", "tool_calls"}),
    arguments=dict,
    strict_schema=replace(_GEMINI, object_top=True),
    strict_answer_schema=_GEMINI,
    more=(gemini_habits,),
)

RULES: Mapping[str, RequestRules] = {
    "chat-completions": _CHAT,
    "openai-chat": replace(
        _CHAT,
        ids=r".{1,40}",
        foreign=_SIGNED | {"reasoning_content", "reasoning_details", "thinking", "input"},
        strict_schema=_OPENAI_STRICT,
    ),
    "openai-chat-own": replace(
        _CHAT,
        ids=r".{1,40}",
        foreign=_SIGNED | {"reasoning_content", "reasoning_details", "thinking", "input"},
        tool_schema=_OPENAI,
        strict_schema=_OPENAI_STRICT,
        answer_schema=_OPENAI,
        strict_answer_schema=_OPENAI_STRICT,
    ),
    "openai-responses": RequestRules(
        responses_turns,
        responses_schemas,
        r"[A-Za-z0-9_-]{1,64}",
        result_images=True,
        foreign=frozenset({"reasoning_content", "thinking", "signature", "messages", "tool_calls"}),
        tool_schema=_OPENAI,
        strict_schema=_OPENAI_STRICT,
        answer_schema=_OPENAI,
        strict_answer_schema=_OPENAI_STRICT,
    ),
    "anthropic": RequestRules(
        messages_turns,
        messages_schemas,
        r"[A-Za-z0-9_-]+",
        blank_text=False,
        alternate=True,
        user_first=True,
        result_images=True,
        unsigned_thoughts=False,
        foreign=frozenset({"reasoning_content", "encrypted_content", "status", "call_id", "tool_calls"}),
        arguments=dict,
        tool_schema=_CLAUDE,
        strict_schema=_CLAUDE_STRICT,
        strict_answer_schema=_CLAUDE_ANSWER,
        more=(anthropic_habits,),
    ),
    "google": _GOOGLE,
    "google-vertex": replace(_GOOGLE, more=(gemini_habits, vertex_habits)),
    "bedrock": RequestRules(
        bedrock_turns,
        bedrock_schemas,
        r"[A-Za-z0-9_.:-]{1,64}",
        blank_text=False,
        alternate=True,
        user_first=True,
        result_images=True,
        foreign=_SIGNED - {"signature"} | {"reasoning_content", "reasoning_details", "tool_calls", "call_id"},
        arguments=dict,
        tool_schema=_CLAUDE,
        strict_schema=_CLAUDE_STRICT,
        strict_answer_schema=_CLAUDE_ANSWER,
        more=(bedrock_habits, bedrock_documents),
    ),
    "cohere": RequestRules(
        chat_turns,
        chat_schemas,
        blank_text=False,
        text_beside_calls=False,
        foreign=_SIGNED | {"reasoning_content", "reasoning_details", "refusal"},
        fields={
            "system": frozenset({"role", "content"}),
            "user": frozenset({"role", "content"}),
            "assistant": frozenset({"role", "content", "tool_calls", "tool_plan", "citations"}),
            "tool": frozenset({"role", "content", "tool_call_id"}),
        },
        strict_schema=replace(_COHERE, one_required=False),
        answer_schema=_COHERE,
        more=(cohere_habits,),
    ),
    "mistral": replace(
        _CHAT,
        ids=r"[A-Za-z0-9]{9}",
        foreign=_SIGNED | {"reasoning_content", "reasoning_details", "reasoning", "refusal", "extra_content"},
        fields={
            "system": frozenset({"role", "content"}),
            "user": frozenset({"role", "content"}),
            "assistant": frozenset({"role", "content", "tool_calls", "prefix"}),
            "tool": frozenset({"role", "content", "tool_call_id", "name"}),
        },
        more=(mistral_habits,),
    ),
    "ollama-chat": RequestRules(
        chat_turns,
        chat_schemas,
        foreign=_SIGNED | {"reasoning_content", "reasoning_details"},
        arguments=dict,
        tool_schema=SchemaRules(refused=_RARE),
        answer_schema=SchemaRules(object_top=False, refused=_RARE),
    ),
    "local": replace(_CHAT, foreign=_SIGNED | {"reasoning_details"}, tool_schema=SchemaRules(refused=_RARE)),
}
"""By the protocol's name in `ProviderContract.mutators`, or by the provider's name, which goes first.

``openai-chat`` is what the compatible servers take as well, ``openai-chat-own`` what OpenAI's own address does.
"""
