"""Messages → the dicts of OpenAI's Chat Completions, which everybody has, and back. Pure.

Rule: what comes in is checked as any message is. What the dicts have no place for stays out of them: usage, origin, and
what is opaque to others.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from promptport.errors import InvalidInputError
from promptport.frames import InvalidToolCall, ProviderItem, Reasoning, ToolCall
from promptport.parts import AudioPart, DocumentPart, ImagePart, TextPart, UserPart
from promptport.turns import (
    AssistantMessage,
    AssistantPart,
    Message,
    SystemMessage,
    ToolResultMessage,
    UserMessage,
)

__all__ = ["data_url", "openai_message", "read_openai_messages"]


def openai_message(
    message: Message, *, system_role: str = "system", reasoning_back: str = "calls", null_content: bool = True
) -> dict[str, Any]:
    """The message as a dict of Chat Completions; the arguments as in `ChatDialect`.

    Raises:
        InvalidInputError: a part that Chat Completions has no form for.
    """
    if isinstance(message, SystemMessage):
        return {"role": system_role, "content": message.text}
    if isinstance(message, UserMessage):
        return {"role": "user", "content": _content(message.parts)}
    if isinstance(message, ToolResultMessage):
        output = message.output
        content = message.text if message.error is not None or isinstance(output, str) else _content(output)
        return {"role": "tool", "tool_call_id": message.call_id, "content": content}
    return _assistant(message, reasoning_back, null_content)


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


def _assistant(message: AssistantMessage, reasoning_back: str, null_content: bool) -> dict[str, Any]:
    """The model's own turn, with what it wants to see again.

    DeepSeek refuses a request whose tool results come without the reasoning that led to the calls, and OpenRouter
    wants its ``reasoning_details`` back unchanged; each goes back under the name under which it came, Mistral's as a
    part of the content. What another server wants back was left out by `portable`.
    """
    body: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    calls = [part for part in message.parts if isinstance(part, ToolCall | InvalidToolCall)]
    if calls:
        body["tool_calls"] = [_call(call) for call in calls]
    back = reasoning_back == "always" or (reasoning_back == "calls" and bool(calls))
    for part in message.parts:
        if isinstance(part, Reasoning) and part.provider_data:
            field = part.provider_data.get("field")
            if field in ("reasoning_content", "reasoning") and back:
                body[field] = body.get(field, "") + part.text
            details = part.provider_data.get("reasoning_details")
            if isinstance(details, list) and reasoning_back != "never":
                body["reasoning_details"] = [*body.get("reasoning_details", []), *details]
        elif isinstance(part, ProviderItem) and part.type == "refusal":
            body["refusal"] = part.data.get("refusal")
    if reasoning_back != "never" and any(map(_thinks_in_content, message.parts)):
        body["content"] = _content_with_thoughts(message)
    if body["content"] is None and not (null_content and (calls or body.get("refusal"))):
        body["content"] = ""  # null is for turns that hold something else
    return body


def _thinks_in_content(part: object) -> bool:
    return isinstance(part, Reasoning) and (part.provider_data or {}).get("content") == "thinking"


def _content_with_thoughts(message: AssistantMessage) -> list[dict[str, Any]]:
    """The content as the list of parts that Mistral's thinking models write."""
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart) and part.text:
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Reasoning) and _thinks_in_content(part):
            chunk: dict[str, Any] = {"type": "thinking", "thinking": [{"type": "text", "text": part.text}]}
            signature = (part.provider_data or {}).get("signature")
            content.append({**chunk, "closed": True, **({"signature": signature} if signature else {})})
    return content


def _call(call: ToolCall | InvalidToolCall) -> dict[str, Any]:
    arguments = call.arguments
    if isinstance(call, InvalidToolCall):
        # Servers that render templates parse this text again, and fail on what is no JSON.
        arguments = msgspec.json.encode({"invalid_arguments": call.arguments}).decode()
    body = {"id": call.id, "type": "function", "function": {"name": call.name or "unknown", "arguments": arguments}}
    extra = (call.provider_data or {}).get("extra_content")
    return {**body, "extra_content": extra} if extra else body


# --------------------------------------------------------------------------------------------- dicts → messages


def read_openai_messages(messages: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """The messages that these dicts are.

    Raises:
        InvalidInputError: a role, a part or a call that Chat Completions does not have; the message says which one.
    """
    found: list[Message] = []
    names: dict[str, str] = {}
    for number, body in enumerate(messages):
        if not isinstance(body, Mapping):
            raise InvalidInputError(f"from_openai(): messages[{number}] is a {type(body).__name__}. Pass dicts")
        message = _read(body, number, names)
        for part in message.parts if isinstance(message, AssistantMessage) else ():
            if isinstance(part, ToolCall | InvalidToolCall):
                names[part.id] = part.name
        found.append(message)
    return tuple(found)


def _read(body: Mapping[str, Any], number: int, names: Mapping[str, str]) -> Message:
    role, content = body.get("role"), body.get("content")
    parts = _read_parts(content, number)
    if role in ("system", "developer"):
        return SystemMessage(_text_of(parts))
    if role == "user":
        return UserMessage(parts or (TextPart(""),))
    if role in ("tool", "function"):
        call_id = str(body.get("tool_call_id") or body.get("name") or "")
        output = _text_of(parts) if all(isinstance(part, TextPart) for part in parts) else parts
        return ToolResultMessage(call_id, str(body.get("name") or names.get(call_id, "")), output)
    if role == "assistant":
        return _read_assistant(body, parts, number)
    raise InvalidInputError(
        f"from_openai(): messages[{number}] has the role {role!r}. Use system, developer, user, assistant or tool"
    )


def _read_assistant(body: Mapping[str, Any], parts: tuple[UserPart, ...], number: int) -> AssistantMessage:
    made: list[AssistantPart] = []
    for field in ("reasoning_content", "reasoning"):
        if isinstance(body.get(field), str) and body[field]:
            made.append(Reasoning(body[field], {"field": field}))
            break
    made += [part for part in parts if isinstance(part, TextPart) and part.text]
    if isinstance(body.get("refusal"), str):
        made.append(ProviderItem("refusal", {"refusal": body["refusal"]}))
    calls = body.get("tool_calls") or ()
    if isinstance(body.get("function_call"), Mapping):
        calls = [{"id": body["function_call"].get("name"), "function": body["function_call"]}]
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise InvalidInputError(f"from_openai(): messages[{number}] has a tool call without a function")
        made.append(_read_call(str(call.get("id") or ""), str(function.get("name") or ""), function.get("arguments")))
    return AssistantMessage(tuple(made))


def _read_call(id: str, name: str, arguments: Any) -> ToolCall | InvalidToolCall:
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
    call = ToolCall(id, name, text or "{}")
    try:
        call.parsed()
    except ValueError as error:
        return InvalidToolCall(id, name, text, str(error))
    return call


def _read_parts(content: Any, number: int) -> tuple[UserPart, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    if not isinstance(content, Sequence):
        raise InvalidInputError(f"from_openai(): messages[{number}] has a content that is neither text nor a list")
    return tuple([_read_part(part, number) for part in content if part])


def _read_part(part: Any, number: int) -> UserPart:
    kind = part.get("type") if isinstance(part, Mapping) else None
    where = f"from_openai(): messages[{number}]"
    if kind in ("text", "input_text", "output_text"):
        return TextPart(str(part.get("text", "")))
    if kind == "refusal":
        return TextPart(str(part.get("refusal", "")))
    if kind == "image_url":
        image = part.get("image_url")
        image = image if isinstance(image, Mapping) else {"url": image}
        return ImagePart(**_read_url(image.get("url"), where), detail=image.get("detail"))
    if kind == "input_audio":
        audio = part.get("input_audio") or {}
        return AudioPart(data=_read_base64(audio.get("data"), where), media_type=f"audio/{audio.get('format', 'wav')}")
    if kind == "file":
        file = part.get("file") or {}
        if not file.get("file_data"):
            raise InvalidInputError(f"{where} has a file by its id, which only one server knows. Pass file_data")
        return DocumentPart(**_read_url(file["file_data"], where), name=file.get("filename"))
    raise InvalidInputError(f"{where} has a part of type {kind!r}. Use text, image_url, input_audio or file")


def _read_url(url: Any, where: str) -> dict[str, Any]:
    if not isinstance(url, str) or not url:
        raise InvalidInputError(f"{where} has an image or a file without a URL or data")
    if not url.startswith("data:"):
        return {"url": url}
    head, _, data = url[5:].partition(",")
    return {"data": _read_base64(data, where), "media_type": head.removesuffix(";base64") or "text/plain"}


def _read_base64(data: Any, where: str) -> bytes:
    try:
        return base64.b64decode(str(data), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError(f"{where} has data that is not base64") from None


def _text_of(parts: Sequence[UserPart]) -> str:
    return "".join([part.text for part in parts if isinstance(part, TextPart)])
