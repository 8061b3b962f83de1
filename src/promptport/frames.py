"""What comes out of a stream: `StreamFrame`.

Rule: a frame is a value. Frozen msgspec structs: equal by value, picklable, JSON both ways (``type`` tells them
apart), and made without validation, because a stream makes one for every increment.
"""

from __future__ import annotations

import enum
import re
from typing import Any, TypeAlias

import msgspec

from promptport.json_values import read_value

__all__ = [
    "Append",
    "Citation",
    "End",
    "FinishReason",
    "InvalidToolCall",
    "ProviderItem",
    "Reasoning",
    "ReasoningAppend",
    "Restarted",
    "StreamFrame",
    "ToolCall",
    "ToolCallDelta",
    "UnfinishedCall",
    "Usage",
    "decode_frame",
    "encode_frame",
    "parse_arguments",
]


class FinishReason(enum.StrEnum):
    """Why the model stopped. The provider's own word is in ``End.raw_finish_reason``."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    PAUSED = "paused"
    OTHER = "other"


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Tokens as the provider counted them; ``None`` where it did not say. Nothing is estimated.

    Attributes:
        input_tokens: all tokens of the prompt, the cached ones included.
        output_tokens: all tokens of the answer, reasoning included.
        cached_input_tokens: how many of the input tokens were read from a cache.
        cache_write_tokens: how many of the input tokens were written to a cache.
        reasoning_tokens: how many of the output tokens were reasoning.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __add__(self, other: Usage) -> Usage:
        """The sum, field by field; unknown plus known is the known."""
        return Usage(*map(_add, msgspec.structs.astuple(self), msgspec.structs.astuple(other)))


def _add(left: int | None, right: int | None) -> int | None:
    if left is None:
        return right
    return left if right is None else left + right


class Append(msgspec.Struct, frozen=True, gc=False, tag="append"):
    """One increment of the answer's text; never empty."""

    text: str


class ReasoningAppend(msgspec.Struct, frozen=True, gc=False, tag="reasoning_append"):
    """One increment of visible reasoning, or of its summary; never empty."""

    text: str


class Reasoning(msgspec.Struct, frozen=True, gc=False, tag="reasoning", omit_defaults=True):
    """A reasoning block is complete.

    Attributes:
        text: all of its visible text; may be empty (encrypted or redacted reasoning).
        provider_data: the opaque part that the provider wants back unchanged (signature, encrypted content).
    """

    text: str
    provider_data: dict[str, Any] | None = None


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False, tag="tool_call_delta"):
    """One increment of a call's JSON argument text; the first for a call may carry ``arguments=""``."""

    id: str
    name: str
    arguments: str

    def __repr__(self) -> str:
        return f"ToolCallDelta(id={self.id!r}, name={self.name!r}, {len(self.arguments)} characters)"


class ToolCall(msgspec.Struct, frozen=True, gc=False, tag="tool_call", omit_defaults=True):
    """The call is complete, and its arguments are one JSON object. Validate them against the schema before you run it.

    Attributes:
        id: unique within the conversation, the same from the first delta on.
        name: the tool's name.
        arguments: the JSON text of one complete object.
        provider_data: what the provider wants back with the call, or ``None``.
    """

    id: str
    name: str
    arguments: str
    provider_data: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"ToolCall(id={self.id!r}, name={self.name!r}, {len(self.arguments)} characters)"

    def parsed(self) -> dict[str, Any]:
        """The arguments as a dict.

        Raises:
            ValueError: on a frame made by hand whose ``arguments`` is not a JSON object; never on a decoder's.
        """
        return parse_arguments(self.arguments)


class InvalidToolCall(msgspec.Struct, frozen=True, gc=False, tag="invalid_tool_call", omit_defaults=True):
    """The provider finished the call, and its arguments are not a JSON object: never run, but answerable.

    Attributes:
        id: as in `ToolCall`.
        name: the tool's name as the model wrote it.
        arguments: the text that came.
        reason: why it is not usable, in words fit for the model.
        provider_data: what the provider wants back with the call, or ``None``.
    """

    id: str
    name: str
    arguments: str
    reason: str
    provider_data: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"InvalidToolCall(id={self.id!r}, name={self.name!r}, {len(self.arguments)} characters)"


class Citation(msgspec.Struct, frozen=True, gc=False, tag="citation", omit_defaults=True):
    """A source for the text before it.

    Attributes:
        url: where the source is, if it has an address.
        title: the source's title, if given.
        text: the words that are cited, if given.
        provider_data: the provider's whole citation object.
    """

    url: str | None = None
    title: str | None = None
    text: str | None = None
    provider_data: dict[str, Any] | None = None


class ProviderItem(msgspec.Struct, frozen=True, gc=False, tag="provider_item", rename={"type": "item_type"}):
    """An item that the provider ran itself (web search …), kept so that the history round-trips.

    Attributes:
        type: the provider's word for the item (``item_type`` in JSON, where ``type`` is the frame's own).
        data: the item as the provider sent it.
    """

    type: str
    data: dict[str, Any]


class Restarted(msgspec.Struct, frozen=True, gc=False, tag="restarted"):
    """The answer begins anew, from another request: forget its frames so far.

    It comes only where a policy was told so (``on_partial="restart"``), and never after a `ToolCall` of this answer.

    Attributes:
        model: the model that is asked now, as ``provider/id``.
        error: the class of the error that ended the first attempt, such as ``IncompleteStreamError``.
    """

    model: str
    error: str


class UnfinishedCall(msgspec.Struct, frozen=True, gc=False):
    """A call that was cut short; for showing and logging, never for running.

    Attributes:
        id: as in its deltas.
        name: as far as it had come; may be empty.
        arguments: as far as they had come.
    """

    id: str
    name: str
    arguments: str

    def __repr__(self) -> str:
        return f"UnfinishedCall(id={self.id!r}, name={self.name!r}, {len(self.arguments)} characters)"


class End(msgspec.Struct, frozen=True, gc=False, tag="end", omit_defaults=True):
    """The provider said that it is done; exactly one, always last.

    Attributes:
        finish_reason: why; ``LENGTH`` if a limit cut the answer, else ``TOOL_CALLS`` whenever sealed calls came.
        raw_finish_reason: the provider's own word, or ``None`` where it gave none.
        usage: the tokens, as far as the provider told.
        model: the model that answered, in the provider's words, or ``None``.
        response_id: the provider's id of the answer, or ``None``.
        unfinished: calls that the answer's end cut short.
    """

    finish_reason: FinishReason
    raw_finish_reason: str | None = None
    usage: Usage = Usage()
    model: str | None = None
    response_id: str | None = None
    unfinished: tuple[UnfinishedCall, ...] = ()


StreamFrame: TypeAlias = (
    Append
    | ReasoningAppend
    | Reasoning
    | ToolCallDelta
    | ToolCall
    | InvalidToolCall
    | Citation
    | ProviderItem
    | Restarted
    | End
)
"""What a `FrameStream` yields; ``match`` on it type-checks to exhaustion."""

_frame_decoder: msgspec.json.Decoder[StreamFrame] = msgspec.json.Decoder(StreamFrame)
_encoder = msgspec.json.Encoder()
_object_decoder: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


def encode_frame(frame: StreamFrame) -> bytes:
    """The frame as JSON (UTF-8)."""
    return _encoder.encode(frame)


def decode_frame(data: bytes | str) -> StreamFrame:
    """The frame that `encode_frame` wrote.

    Raises:
        InvalidInputError: not JSON, or not a frame.
    """
    return read_value(_frame_decoder.decode, data, "a frame")


_LONE_HALVES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2}|[\ud800-\udfff])|\\.",
    re.DOTALL,
)


def _mended(match: re.Match[str]) -> str:
    return "\\ufffd" if match[1] else match[0]


def parse_arguments(text: str) -> dict[str, Any]:
    """The one JSON object that ``text`` is.

    Half of a surrogate pair in it is U+FFFD.

    Raises:
        ValueError: not JSON, not an object, or too deeply nested; the message says which.
    """
    try:
        return _object_decoder.decode(text)
    except msgspec.ValidationError as error:
        raise ValueError(f"the arguments are not a JSON object: {error}") from None
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        mended = _LONE_HALVES.sub(_mended, text)
        if mended != text:  # a model wrote half of a surrogate pair; the text that came stays the call's
            return parse_arguments(mended)
        raise ValueError(f"the arguments are not JSON: {error}") from None
    except RecursionError:
        raise ValueError("the arguments are nested too deeply") from None
