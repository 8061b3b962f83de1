"""A prompt with tools, as a prompt of text alone. Pure.

Rule: what comes out asks for nothing that a client without tools lacks. Tools are told in the system message, past
calls become text of the model's, and results become the user's, in the words of one format.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from promptport.frames import InvalidToolCall, ToolCall
from promptport.messages import (
    AssistantMessage,
    LLMParams,
    Message,
    Prompt,
    SystemMessage,
    TextPart,
    ToolResultMessage,
    UserMessage,
    UserPart,
)
from promptport.text_tools.special_tokens import defused_prompt
from promptport.text_tools.writing import Writing
from promptport.tools import ToolDescriptor

__all__ = ["call_schema", "calls_schema", "text_prompt"]

_MOST_CALLS = 16


def text_prompt(prompt: Prompt, writing: Writing, *, description: str, params: LLMParams, system: bool) -> Prompt:
    """The prompt for a client without tools. Special tokens in what users and tools say are text, and nothing else.

    Args:
        prompt: may hold calls and results.
        writing: the format's words.
        description: what the model is told of its tools; may be empty.
        params: instead of the prompt's.
        system: whether the model takes system messages; where it does not, the first user message is told.
    """
    messages = _told(list(_as_text(defused_prompt(prompt).messages, writing)), description, system=system)
    return replace(prompt, messages=tuple(messages), params=params)


def _as_text(messages: Iterable[Message], writing: Writing) -> Iterable[Message]:
    results: list[ToolResultMessage] = []
    for message in messages:
        if isinstance(message, ToolResultMessage):
            results.append(message)
            continue
        if results:
            # Results and the user's next words are one message: many chat templates want the roles to alternate.
            parts = _result_parts(results, writing)
            results = []
            if isinstance(message, UserMessage):
                yield UserMessage(_joined(parts, message.parts))
                continue
            yield UserMessage(parts)
        yield _assistant(message, writing) if isinstance(message, AssistantMessage) else message
    if results:
        yield UserMessage(_result_parts(results, writing))


def _result_parts(results: Sequence[ToolResultMessage], writing: Writing) -> tuple[UserPart, ...]:
    text = "\n".join([writing.result(result) for result in results])
    media = [
        part
        for result in results
        if not isinstance(result.output, str) and result.error is None
        for part in result.output
        if not isinstance(part, TextPart)
    ]
    return (TextPart(text), *media)


def _joined(first: Sequence[UserPart], second: Sequence[UserPart]) -> tuple[UserPart, ...]:
    """Both, and as one text where text meets text: some servers take nothing else."""
    last, following = first[-1], second[0]
    if isinstance(last, TextPart) and isinstance(following, TextPart):
        return (*first[:-1], replace(following, text=f"{last.text}\n\n{following.text}"), *second[1:])
    return (*first, *second)


def _assistant(message: AssistantMessage, writing: Writing) -> AssistantMessage:
    spoken = [part for part in message.parts if isinstance(part, TextPart | ToolCall | InvalidToolCall)]
    if all(isinstance(part, TextPart) for part in spoken):
        return message
    others = [part for part in message.parts if not isinstance(part, TextPart | ToolCall | InvalidToolCall)]
    return replace(message, parts=(*others, TextPart(writing.assistant(spoken))))


def _told(messages: list[Message], description: str, *, system: bool) -> list[Message]:
    if not description:
        return messages
    for index, message in enumerate(messages):
        if isinstance(message, SystemMessage):
            messages[index] = replace(message, text=f"{message.text}\n\n{description}")
            return messages
    if system:
        return [SystemMessage(description), *messages]
    for index, message in enumerate(messages):
        if isinstance(message, UserMessage):
            messages[index] = UserMessage(_joined([TextPart(description)], message.parts))
            break
    return messages


# -------------------------------------------------------------------------------------- constrained decoding


def calls_schema(tools: Sequence[ToolDescriptor]) -> dict[str, Any]:
    """The JSON schema of a list of calls, of at least one: held to a single object, a model asks for half of them."""
    one = call_schema(tools)
    definitions = {"$defs": one.pop("$defs")} if "$defs" in one else {}
    return {"type": "array", "items": one, "minItems": 1, "maxItems": _MOST_CALLS, **definitions}


def call_schema(tools: Sequence[ToolDescriptor]) -> dict[str, Any]:
    """The JSON schema of one call of one of the tools: ``{"name": …, "arguments": …}``, in this order."""
    definitions: dict[str, Any] = {}
    options = [_option(tool, definitions) for tool in tools]
    schema = options[0] if len(options) == 1 else {"oneOf": options}
    return {**schema, "$defs": definitions} if definitions else schema


def _option(tool: ToolDescriptor, definitions: dict[str, Any]) -> dict[str, Any]:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    homes = ("$defs", "definitions")
    own = {(home, name): f"{tool.name}.{name}" for home in homes for name in parameters.get(home, {})}
    # References count from the root of a schema, and these schemas move: their definitions move to the new root.
    moved = {f"#/{home}/{name}": f"#/$defs/{new}" for (home, name), new in own.items()}
    for (home, name), new in own.items():
        definitions[new] = _referring(parameters[home][name], moved)
    arguments = {key: value for key, value in parameters.items() if key not in homes}
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": _referring(arguments, moved)},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _referring(schema: Any, moved: dict[str, str]) -> Any:
    if isinstance(schema, dict):
        return {
            key: moved.get(value, value) if key == "$ref" and isinstance(value, str) else _referring(value, moved)
            for key, value in schema.items()
        }
    return [_referring(item, moved) for item in schema] if isinstance(schema, list) else schema
