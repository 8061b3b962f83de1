"""What an MCP server offers, and what its calls give, in our words. Pure; imports the SDK's types when it is called."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from promptport.messages import AudioPart, DocumentPart, ImagePart, TextPart, UserPart
from promptport.tools import SchemaCheck

if TYPE_CHECKING:
    from mcp import types

__all__ = [
    "MAX_RESULT_BYTES",
    "Output",
    "names_for_models",
    "only_reads",
    "output_of_call",
    "size_of",
    "text_of",
    "validator",
]

Output: TypeAlias = str | tuple[UserPart, ...]

MAX_RESULT_BYTES = 64 << 20
"""So much may a result hold, in characters of text and of base64."""

_NAME_LENGTH = 256
"""So much of a server's name for a tool is read."""

_STEM = 56
"""So much of it stays where a number tells it from another."""

# ------------------------------------------------------------------------------------- what a server offers


def only_reads(tool: types.Tool) -> bool:
    """Whether the server says that the tool changes nothing; silence is no."""
    return tool.annotations is not None and tool.annotations.read_only_hint is True


def names_for_models(names: Iterable[str]) -> list[str]:
    """Names that every provider takes, each once; in linear time, whatever a server lists."""
    given: dict[str, None] = {}
    next_number: dict[str, int] = {}
    for name in names:
        fitting = re.sub(r"[^A-Za-z0-9_-]", "_", name[:_NAME_LENGTH])[:64] or "_"
        unique, stem = fitting, fitting[:_STEM]
        while unique in given:
            number = next_number[stem] = next_number.get(stem, 1) + 1
            unique = f"{stem}_{number}"
        given[unique] = None
    return list(given)


def size_of(schema: dict[str, Any]) -> int:
    """How much JSON it is; what is no JSON is left to `validator`."""
    try:
        return len(msgspec.json.encode(schema))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return 0


def validator(name: str, schema: dict[str, Any]) -> SchemaCheck:
    """Checks an argument text by a JSON schema; one that is none itself, or points elsewhere, is left to the server.

    Raises:
        InvalidInputError: the schema is too large, too deep, or doubles too often.
    """
    return SchemaCheck(name, schema, lenient=True)


# -------------------------------------------------------------------------------------- what a call gave


def output_of_call(result: types.CallToolResult) -> Output:
    """What the model gets: text where all is text, parts where not.

    Raises:
        ValueError: it is larger than `MAX_RESULT_BYTES`, or holds what is not known.
    """
    size = sum(map(_size, result.content))
    if size > MAX_RESULT_BYTES:
        raise ValueError(f"the result has {size:,} characters, and at most {MAX_RESULT_BYTES:,} are taken")
    if not result.content:
        return "" if result.structured_content is None else json.dumps(result.structured_content, ensure_ascii=False)
    parts = [_part(block) for block in result.content]
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    return "\n".join(texts) if len(texts) == len(parts) else tuple(parts)


def _size(block: types.ContentBlock) -> int:
    held = getattr(block, "resource", block)
    return sum([len(getattr(held, name, None) or "") for name in ("text", "data", "blob")])


def _part(block: types.ContentBlock) -> UserPart:
    from mcp import types  # noqa: PLC0415 - an extra

    match block:
        case types.TextContent():
            return TextPart(block.text)
        case types.ImageContent() | types.AudioContent():
            return _media(base64.b64decode(block.data), block.mime_type, "")
        case types.ResourceLink():
            return TextPart(f"[{block.title or block.name}]({block.uri})")
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return TextPart(resource.text)
        case types.EmbeddedResource(resource=types.BlobResourceContents() as resource):
            kind = resource.mime_type or "application/octet-stream"
            return _media(base64.b64decode(resource.blob), kind, str(resource.uri).rpartition("/")[2])
        case _:
            raise ValueError(f"a result holds a {block.type}, which is not known")


def _media(data: bytes, kind: str, name: str) -> UserPart:
    if not data:
        return TextPart("")
    if kind.startswith("image/"):
        return ImagePart(data=data, media_type=kind)
    if kind.startswith("audio/"):
        return AudioPart(data=data, media_type=kind)
    return DocumentPart(data=data, media_type=kind, name=name or None)


def text_of(output: Output) -> str:
    """The text in it."""
    if isinstance(output, str):
        return output
    return "\n".join([part.text for part in output if isinstance(part, TextPart)])
