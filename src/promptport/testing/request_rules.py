"""What servers refuse in a request, as data: `refusals` says what a strict server would answer with a 400.

Rule: it reads the JSON body alone, and knows nothing of how it was made. A protocol is a row of `RULES`, and one
function that finds the turns in its body.

Sources: the references of the four protocols, and the error texts of their servers in public issue threads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["RULES", "RequestRules", "refusals"]


@dataclass(frozen=True)
class _Block:
    """One thing in a turn: ``text``, ``call``, ``result``, ``image`` or ``other``."""

    kind: str
    text: str = ""
    id: str = ""
    name: str | None = None
    arguments: Any = None


@dataclass(frozen=True)
class _Turn:
    """One message of a request."""

    role: str
    blocks: tuple[_Block, ...]


@dataclass(frozen=True)
class RequestRules:
    """What a server of one protocol takes.

    Attributes:
        turns: finds the turns in a body.
        ids: a regular expression for the ids of calls; an empty one takes all.
        names: the same for the names of tools, offered or in the history.
        blank_text: it takes blank text.
        alternate: user and assistant must take turns.
        result_images: a result may hold an image.
        foreign: names of fields that only another protocol has.
        arguments: the type of a call's arguments, which are an object; ``None`` if broken ones are taken as well.
    """

    turns: Callable[[Mapping[str, Any]], Iterator[_Turn]]
    ids: str
    names: str = r"[A-Za-z0-9_-]{1,64}"
    blank_text: bool = True
    alternate: bool = False
    result_images: bool = False
    foreign: frozenset[str] = frozenset()
    arguments: type | None = str


def refusals(protocol: str, body: Mapping[str, Any]) -> list[str]:
    """Why a strict server of this protocol would refuse the request; empty for one that it takes.

    Args:
        protocol: a name in `RULES`; of any other, nothing is known, and nothing is refused.
        body: the request, parsed.
    """
    rules = RULES.get(protocol)
    if rules is None:
        return []
    turns = list(rules.turns(body))
    return [
        *_in_blocks(turns, rules),
        *_in_order(turns, rules),
        *_in_tools(body, rules),
        *[f"the field {name!r} is another protocol's" for name in sorted(_names(body) & rules.foreign)],
    ]


def _in_blocks(turns: list[_Turn], rules: RequestRules) -> Iterator[str]:
    for turn in turns:
        if not turn.blocks:
            yield f"a message of {turn.role} without content"
        for block in turn.blocks:
            if block.kind.endswith("text") and not rules.blank_text and not block.text.strip():
                yield f"blank text in a message of {turn.role}"
            if block.kind in ("call", "result") and rules.ids and not re.fullmatch(rules.ids, block.id):
                yield f"the id {block.id!r} of a {block.kind}"
            if (
                block.kind in ("call", "result")
                and block.name is not None
                and not re.fullmatch(rules.names, block.name)
            ):
                yield f"the name {block.name!r} of a {block.kind}"
            if block.kind == "call" and not _is_object(block.arguments, rules.arguments):
                yield f"arguments of the call {block.id!r} that are no object"
            if block.kind == "result-image" and not rules.result_images:
                yield "an image in a result"


def _is_object(arguments: Any, kind: type | None) -> bool:
    if kind is None:
        return True
    if not isinstance(arguments, kind):
        return False
    try:
        return isinstance(json.loads(arguments) if isinstance(arguments, str) else arguments, dict)
    except ValueError:
        return False


def _in_order(turns: list[_Turn], rules: RequestRules) -> Iterator[str]:
    open_calls: list[str] = []
    seen: set[str] = set()
    before = ""
    for turn in turns:
        if rules.alternate and turn.role == before:
            yield f"two messages of {turn.role} in a row"
        before = turn.role
        for block in turn.blocks:
            if block.kind == "result":
                if block.id not in open_calls:
                    yield f"a result of {block.id!r}, which is no call right before it"
                else:
                    open_calls.remove(block.id)
            elif (
                open_calls
                and (turn.role != "assistant" or block.kind != "call")
                and not block.kind.startswith("result-")
            ):
                yield f"the call {open_calls[0]!r} has no result right behind it"
                open_calls = []
            if block.kind == "call":
                if block.id in seen:
                    yield f"two calls of the id {block.id!r}"
                seen.add(block.id)
                open_calls.append(block.id)


def _in_tools(body: Mapping[str, Any], rules: RequestRules) -> Iterator[str]:
    for tool in body.get("tools") or ():
        function = tool.get("function", tool)
        schema = function.get("parameters") or function.get("input_schema")
        if schema is None:
            continue  # a tool that the provider runs itself
        if not re.fullmatch(rules.names, str(function.get("name"))):
            yield f"the name {function.get('name')!r} of a tool"
        if schema.get("type") != "object" or schema.keys() & _UNIONS:
            yield f"the schema of {function.get('name')!r} is not an object's at the top"
        if function.get("strict") and not _is_closed(schema):
            yield f"the schema of {function.get('name')!r} is strict, and not closed"


def _is_closed(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(map(_is_closed, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return False
    return all(map(_is_closed, schema.values()))


def _names(value: Any) -> set[str]:
    if isinstance(value, dict):
        inner = [_names(each) for key, each in value.items() if key not in ("arguments", "input", "parameters")]
        inner += [_names(value["input"])] if isinstance(value.get("input"), list) else []
        return set(value).union(*inner)
    return set().union(*map(_names, value)) if isinstance(value, list) else set()


# ------------------------------------------------------------------------------------------------ protocols


def _parts(content: Any, text_in: str = "text") -> tuple[_Block, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (_Block("text", content),)
    return tuple([_part(part, text_in) for part in content])


def _part(part: Mapping[str, Any], text_in: str) -> _Block:
    kind = str(part.get("type"))
    if kind.endswith("text"):
        return _Block("text", str(part.get(text_in, "")))
    return _Block("image") if "image" in kind else _Block("other")


def _result(id: str, name: str | None, content: Any) -> list[_Block]:
    parts = content if isinstance(content, list) else ()
    images = [_Block("result-image") for part in parts if "image" in str(part.get("type"))]
    blank = [_Block("result-text", str(part.get("text"))) for part in parts if str(part.get("type")).endswith("text")]
    return [_Block("result", id=id, name=name), *images, *[each for each in blank if not each.text.strip()]]


def _chat(body: Mapping[str, Any]) -> Iterator[_Turn]:
    for message in body.get("messages", ()):
        role = message["role"]
        if role == "tool":
            yield _Turn("tool", tuple(_result(message["tool_call_id"], message.get("name"), message["content"])))
            continue
        calls = [
            _Block("call", id=call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"])
            for call in message.get("tool_calls", ())
        ]
        other = [_Block("other")] if message.get("refusal") or message.get("thinking") else []
        images = [_Block("image") for _ in message.get("images", ())]
        yield _Turn(role, (*_parts(message.get("content")), *images, *calls, *other))


def _responses(body: Mapping[str, Any]) -> Iterator[_Turn]:
    for item in body.get("input", ()) if isinstance(body.get("input"), list) else ():
        kind = item.get("type", "message")
        if kind == "message":
            yield _Turn(item["role"], _parts(item["content"]))
        elif kind in ("function_call", "custom_tool_call"):
            arguments = item.get("arguments", "{}")
            yield _Turn("assistant", (_Block("call", id=item["call_id"], name=item["name"], arguments=arguments),))
        elif kind.endswith("_output") and "call_id" in item:
            yield _Turn("tool", tuple(_result(item["call_id"], None, item.get("output"))))


def _messages(body: Mapping[str, Any]) -> Iterator[_Turn]:
    for message in body.get("messages", ()):
        blocks: list[_Block] = []
        content = message["content"]
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            if part["type"] == "tool_use":
                blocks.append(_Block("call", id=part["id"], name=part["name"], arguments=part["input"]))
            elif part["type"] == "tool_result":
                blocks += _result(part["tool_use_id"], None, part.get("content"))
            else:
                blocks += _parts([part])
        yield _Turn(message["role"], tuple(blocks))


_UNIONS = frozenset({"anyOf", "oneOf", "allOf", "enum", "not"})
_SIGNED = frozenset({"signature", "encrypted_content", "thought_signature", "thoughtSignature"})

RULES: Mapping[str, RequestRules] = {
    "openai-chat": RequestRules(_chat, r".{1,40}", foreign=_SIGNED | {"reasoning_content", "thinking", "input"}),
    "openai-responses": RequestRules(
        _responses,
        r"[A-Za-z0-9_-]{1,64}",
        result_images=True,
        foreign=frozenset({"reasoning_content", "thinking", "signature", "messages", "tool_calls"}),
    ),
    "anthropic": RequestRules(
        _messages,
        r"[A-Za-z0-9_-]+",
        blank_text=False,
        alternate=True,
        result_images=True,
        foreign=frozenset({"reasoning_content", "encrypted_content", "status", "call_id", "tool_calls"}),
        arguments=dict,
    ),
    "cohere": RequestRules(_chat, "", arguments=None, foreign=_SIGNED | {"reasoning_content", "reasoning_details"}),
    "ollama-chat": RequestRules(
        _chat, "", foreign=_SIGNED | {"reasoning_content", "reasoning_details"}, arguments=dict
    ),
}
"""By the protocol's name in `ProviderContract.mutators`, or by the provider's name."""
