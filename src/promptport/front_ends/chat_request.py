"""`ChatRequest`: what the client of a front end asks for; and how its JSON is read, piece by piece.

Rules: all of it is the client's word. It is bounded, nothing is fetched, and an error names the place in the body and
not what stands there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from promptport.dispatch import ToolResult
from promptport.errors import InvalidInputError
from promptport.json_values import read_value
from promptport.messages import AudioPart, DocumentPart, ImagePart, Prompt, UserPart
from promptport.tools import ToolDescriptor

__all__ = ["BodyLimits", "ChatRequest", "Node", "media_part", "read_body", "shortened"]


class BodyLimits(msgspec.Struct, frozen=True):
    """How much a client may post.

    Attributes:
        max_bytes: Bytes of the body. Default: 8 MiB.
        max_messages: Messages of the conversation. Default: 2,000.
        max_parts: Parts of one message. Default: 2,000.
        max_tools: Tools of the front end. Default: 128.
        media_types: Files that are accepted, as media types or their beginnings. Default: images, audio, PDF, text.
    """

    max_bytes: int = 8 << 20
    max_messages: int = 2_000
    max_parts: int = 2_000
    max_tools: int = 128
    media_types: tuple[str, ...] = ("image/", "audio/", "application/pdf", "text/plain")


class ChatRequest(msgspec.Struct, frozen=True):
    """What a client asks for, in the words of promptport. Its ``repr`` shows no contents.

    Everything in it is what the client says. For a run that waits, pass ``decisions`` and ``results`` to
    ``ToolDispatcher.resume`` with the `PausedRun` that the server kept: the calls and their arguments come from there.

    Attributes:
        thread: The conversation's id.
        prompt: The conversation as the client shows it; every call but those of its last message has a result.
        message_id: The message that the response continues; `None` for a new one.
        decisions: For the id of a call, whether a person allows it: `True`, or `False` or the reason why not.
        approvals: For the id of a decided call, the id of the approval that was asked for; see `approval_id`.
        results: For the id of a call, what the front end says that it gave.
        tools: The tools that the front end runs.
        context: What the front end tells about itself, as pairs of description and value.
        state: The front end's state, as JSON types.
        extra: The other keys of the body.
        run: The run that the client names (AG-UI), or "".
        protocol: The version of the protocol that the client names, or "".
        regenerate: Whether the client asks for another answer in place of the last.
        interrupts: For the id of an approval, as `decisions` (AG-UI names the approval and not the call).
    """

    thread: str
    prompt: Prompt
    message_id: str | None = None
    decisions: dict[str, bool | str] = {}
    approvals: dict[str, str] = {}
    results: dict[str, ToolResult] = {}
    tools: tuple[ToolDescriptor, ...] = ()
    context: tuple[tuple[str, str], ...] = ()
    state: Any = None
    extra: dict[str, Any] = {}
    run: str = ""
    protocol: str = ""
    regenerate: bool = False
    interrupts: dict[str, bool | str] = {}

    def __repr__(self) -> str:
        return f"ChatRequest(thread={self.thread!r}, {len(self.prompt.messages)} messages)"


class Node:
    """A JSON value of the body, and where it stands; what is asked of it and not there is an `InvalidInputError`."""

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path

    def error(self, text: str) -> InvalidInputError:
        """The error about this place."""
        return InvalidInputError(f"{self.path}: {shortened(text)}")

    def has(self, key: str) -> bool:
        """Whether the object has this key, and not as null."""
        return isinstance(self.value, Mapping) and self.value.get(key) is not None

    def get(self, key: str) -> Node:
        """The value of a key, which may be missing: then it is null."""
        if not isinstance(self.value, dict):
            raise self.error(f"is {_kind(self.value)}. Send an object.")
        return Node(self.value.get(key), f"{self.path}.{key}")

    def text(self, *, longest: int | None = None, empty: bool = True) -> str:
        """The string that this is."""
        if not isinstance(self.value, str):
            raise self.error(f"is {_kind(self.value)}. Send a string.")
        if longest is not None and len(self.value) > longest:
            raise self.error(f"has {len(self.value):,} characters. Send at most {longest:,}.")
        if not empty and not self.value:
            raise self.error("is empty. Send a string with at least one character.")
        return self.value

    def optional(self, key: str, default: str = "", *, longest: int | None = None) -> str:
        """The string of a key, or the default where it is missing or null."""
        return self.get(key).text(longest=longest) if self.has(key) else default

    def items(self, longest: int) -> list[Node]:
        """The items of the list that this is."""
        if not isinstance(self.value, list):
            raise self.error(f"is {_kind(self.value)}. Send a list.")
        if len(self.value) > longest:
            raise self.error(f"has {len(self.value):,} items. Send at most {longest:,}.")
        return [Node(value, f"{self.path}[{index}]") for index, value in enumerate(self.value)]

    def object(self) -> dict[str, Any]:
        """The object that this is."""
        if not isinstance(self.value, dict):
            raise self.error(f"is {_kind(self.value)}. Send an object.")
        return self.value


def shortened(text: str) -> str:
    """The text of an error that might quote what a client sent, as far as a person reads it.

    Args:
        text: Any text.
    """
    shown = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]} …"
    return shown.encode("utf-8", "replace").decode()


_MOST_SHOWN = 300


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "something else")


_decode = msgspec.json.Decoder().decode


def read_body(body: bytes | str | Mapping[str, Any], limits: BodyLimits) -> Node:
    """The body as a node.

    Raises:
        InvalidInputError: It is larger than the limit, not JSON, or not an object.
    """
    if isinstance(body, Mapping):
        body = _as_json(body)
    if len(body) > limits.max_bytes:
        raise InvalidInputError(f"body: has {len(body):,} bytes. Send at most {limits.max_bytes:,}.")
    try:
        value = read_value(_decode, body, "JSON, the body of a request")
    except InvalidInputError as error:
        raise InvalidInputError(f"body: is {shortened(str(error))}. Send a JSON object.") from None
    node = Node(value, "body")
    node.object()
    return node


def _as_json(body: Mapping[str, Any]) -> bytes:
    """A body that was decoded before, in the form in which each value of it is one of JSON."""
    try:
        return msgspec.json.encode(dict(body))
    except RecursionError:
        raise InvalidInputError("body: is nested too deeply. Send a JSON object.") from None
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"body: is not JSON: {shortened(str(error))}. Send a JSON object.") from None


def media_part(
    url: Node | None, media_type: str, limits: BodyLimits, *, data: Node | None = None, name: str | None = None
) -> UserPart:
    """A file of the client's: its bytes, or an https address that only the provider reads.

    Raises:
        InvalidInputError: A media type or an address that is not accepted, or bytes that are not base64.
    """
    place = url if url is not None else data
    assert place is not None
    content: bytes | None = None
    address: str | None = None
    if url is not None:
        text = url.text(empty=False)
        if text.startswith("data:"):
            head, comma, tail = text.partition(",")
            if not comma or not head.endswith(";base64"):
                raise url.error("is a data: URL without base64. Send data:<media type>;base64,<content>.")
            media_type = media_type or head[5:].partition(";")[0]
            content = _bytes(tail, url)
        elif text[:8].lower() == "https://":
            address = text
        else:
            raise url.error("has a scheme that is not accepted. Send a data: or https: URL.")
    else:
        content = _bytes(place.text(), place)
    kind = media_type.lower()
    if not any(kind == one or (one.endswith("/") and kind.startswith(one)) for one in limits.media_types):
        accepted = ", ".join(f"{one}*" if one.endswith("/") else one for one in limits.media_types)
        raise place.error(f"has a media type that is not accepted. Accepted: {accepted}.")
    if kind.startswith("image/"):
        return ImagePart(content, address, kind)
    if kind.startswith("audio/"):
        return AudioPart(content, address, kind)
    return DocumentPart(content, address, kind, name=name)


def _bytes(text: str, place: Node) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise place.error("is not base64.") from None
    if not content:
        raise place.error("has no content.")
    return content
