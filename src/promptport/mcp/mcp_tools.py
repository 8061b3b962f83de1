"""What an MCP server offers, and what its calls give, in our words. Pure; imports the SDK's types when it is called."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from promptport.errors import InvalidToolArgumentsError
from promptport.frames import parse_arguments
from promptport.messages import AudioPart, DocumentPart, ImagePart, TextPart, UserPart

if TYPE_CHECKING:
    from mcp import types

__all__ = ["Output", "names_for_models", "only_reads", "output_of_call", "text_of", "validator"]

Output: TypeAlias = str | tuple[UserPart, ...]

_PROBLEMS = 5
_LENGTH = 300
"""So much of what does not fit is told to the model: so many problems, in so many characters each."""

# ------------------------------------------------------------------------------------- what a server offers


def only_reads(tool: types.Tool) -> bool:
    """Whether the server says that the tool changes nothing; silence is no."""
    return tool.annotations is not None and tool.annotations.read_only_hint is True


def names_for_models(names: Iterable[str]) -> list[str]:
    """Names that every provider takes, each once."""
    given: list[str] = []
    for name in names:
        fitting = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "_"
        number = 2
        unique = fitting
        while unique in given:
            unique = f"{fitting[: 63 - len(str(number))]}_{number}"
            number += 1
        given.append(unique)
    return given


def validator(name: str, schema: dict[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Checks an argument text by a JSON schema; a schema that is none itself is left to the server."""
    from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]  # noqa: PLC0415 - the SDK brings it
    from jsonschema.validators import Draft202012Validator, validator_for  # type: ignore[import-untyped]  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        checked = kind(schema, registry=Registry())  # an empty one: nothing is fetched for a "$ref"
    except SchemaError:
        checked = kind(True)

    def validate(arguments: str) -> dict[str, Any]:
        try:
            values = parse_arguments(arguments)
        except ValueError as error:
            raise InvalidToolArgumentsError(str(error), tool=name) from None
        try:
            problems = [
                f"{'.'.join(map(str, problem.absolute_path)) or 'the arguments'}: {problem.message[:_LENGTH]}"
                for problem in checked.iter_errors(values)
            ]
        except Unresolvable:
            return values
        if problems:
            raise InvalidToolArgumentsError("; ".join(problems[:_PROBLEMS]), tool=name)
        return values

    return validate


# -------------------------------------------------------------------------------------- what a call gave


def output_of_call(result: types.CallToolResult) -> Output:
    """What the model gets: text where all is text, parts where not."""
    if not result.content:
        return "" if result.structured_content is None else json.dumps(result.structured_content, ensure_ascii=False)
    parts = [_part(block) for block in result.content]
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    return "\n".join(texts) if len(texts) == len(parts) else tuple(parts)


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
