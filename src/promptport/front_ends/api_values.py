"""Values that the bodies of several APIs have alike: flags, stop texts, schemas, pictures, parts. Pure.

Rule: what only one API has stands in the decoder of its bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from promptport.front_ends.api_request import refused, tool_choice
from promptport.front_ends.chat_request import BodyLimits, Node, media_part
from promptport.messages import ImagePart, TextPart, UserPart
from promptport.tools import ToolDescriptor

__all__ = [
    "flag",
    "list_at",
    "openai_tool_choice",
    "parts_at",
    "picture",
    "response_schema",
    "stop_texts",
    "user_of",
]

_MOST_STOPS = 64


def flag(node: Node, key: str) -> bool | None:
    """A boolean of an object, or `None` where it is missing.

    Args:
        node: The object.
        key: Its key.
    """
    place = node.get(key)
    if not isinstance(place.value, bool | None):
        raise refused(place, "is not a boolean. Send true or false.")
    return place.value


def stop_texts(node: Node) -> tuple[str, ...] | None:
    """The texts that end a response: one, or a list of them.

    Args:
        node: Their place.
    """
    if node.value is None:
        return None
    if isinstance(node.value, str):
        return (node.text(empty=False),)
    return tuple([one.text(empty=False) for one in node.items(_MOST_STOPS)])


def response_schema(node: Node, *, inner: str) -> dict[str, Any] | None:
    """The schema of a structured response.

    Args:
        node: The format that is asked for.
        inner: The key under which the schema stands, or "" where it stands in the format itself.
    """
    if node.value is None:
        return None
    kind = node.get("type").text()
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        raise refused(node.get("type"), "is not a format. Send 'text', 'json_object' or 'json_schema'.")
    return (node.get(inner) if inner else node).get("schema").object()


def picture(url: Node, detail: str | None, limits: BodyLimits) -> UserPart:
    """An image by its address, which only the provider reads, or by its bytes.

    Args:
        url: A data: or https: URL.
        detail: How closely the model looks.
        limits: How much the client may post.
    """
    part = media_part(url, "" if url.text().startswith("data:") else "image/png", limits)
    if not isinstance(part, ImagePart):
        raise refused(url, "is not an image.")
    return replace(part, detail=detail) if detail is not None else part


def list_at(node: Node, key: str, limits: BodyLimits) -> list[Node]:
    """The entries of a list of an object; none where it is missing.

    Args:
        node: The object.
        key: Its key.
        limits: How much the client may post.
    """
    return node.get(key).items(limits.max_parts) if node.has(key) else []


def parts_at(node: Node, read: Callable[[Node, BodyLimits], UserPart], limits: BodyLimits) -> tuple[UserPart, ...]:
    """What a user says or a tool returns: a text, or a list of parts.

    Args:
        node: Its place.
        read: Reads one part.
        limits: How much the client may post.
    """
    if isinstance(node.value, str):
        return (TextPart(node.value),)
    parts = [read(part, limits) for part in node.items(limits.max_parts)]
    if not parts:
        raise refused(node, "is empty. Send text or at least one part.")
    return tuple(parts)


def openai_tool_choice(root: Node, tools: Sequence[ToolDescriptor], *, within: str) -> Any:
    """The tool choice of a body of OpenAI's, or `None` where it is missing.

    Args:
        root: The body.
        tools: The tools of the request.
        within: The key of the object in which the function's name stands, or "" where it stands in the choice itself.
    """
    if not root.has("tool_choice"):
        return None
    node = root.get("tool_choice")
    if isinstance(node.value, str):
        return tool_choice(node, None, node.value, tools)
    if node.get("type").value != "function":
        raise refused(node.get("type"), "is not supported here. Name one function.")
    return tool_choice(node, (node.get(within) if within else node).get("name").text(), None, tools)


def user_of(root: Node) -> tuple[Node, str | None]:
    """The id of the end user in a body of OpenAI's, by its old or its new name, and where it stands.

    Args:
        root: The body.
    """
    key = "user" if root.optional("user") else "safety_identifier"
    return root.get(key), root.optional(key) or None
