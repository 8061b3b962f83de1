"""Structured answers: keys get the names back that the server refuses, and what its dialect cannot say is checked.

Rules: an answer that ended as it should, and is JSON, fits the caller's own ``response_schema``, or the stream ends in
`ProtocolError`. Where the dialect says all of the schema, the server holds the answer to it, and nothing is done here.
Words in place of JSON (a refusal) are the caller's to read; so is an answer that a limit cut. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from promptport.errors import InvalidInputError, PromptportError, ProtocolError
from promptport.frames import Append, End, FinishReason, InvalidToolCall, StreamFrame, ToolCall
from promptport.messages import AssistantMessage, TextPart
from promptport.params import OwnSchema
from promptport.tools import DIALECTS, KeyRenamer, SchemaCheck, fit_schema, without_nulls

__all__ = ["AnswerCheck", "AnswerDecoder"]

_PROBLEMS = 5


class _Decoder(Protocol):
    """What is asked of the decoder inside."""

    @property
    def ended(self) -> bool: ...
    @property
    def error(self) -> PromptportError | None: ...
    @property
    def skipped(self) -> Mapping[str, int]: ...
    def feed(self, chunk: bytes, /) -> Sequence[StreamFrame]: ...
    def close(self) -> Sequence[StreamFrame]: ...


class AnswerCheck:
    """What has to be done for the answers to one schema at a server of one dialect.

    Attributes:
        names: The keys that come, and what they become.
    """

    def __init__(self, schema: dict[str, Any], names: Mapping[str, str]) -> None:
        """Args:
        schema: The caller's.
        names: The keys that come, and what they become.
        """
        self.schema = schema
        self.names = names

    @classmethod
    def of(cls, schema: dict[str, Any] | None, dialect: str) -> AnswerCheck | None:
        """The check for answers to this schema; ``None`` if there is nothing to do."""
        if schema is None or not dialect:
            return None
        exact, names = _fit(schema, dialect)
        return None if exact or (isinstance(schema, OwnSchema) and not names) else cls(schema, names)

    def problem(self, text: str) -> ProtocolError | None:
        """What does not fit, in a whole answer's text."""
        if isinstance(self.schema, OwnSchema):
            return None
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
        try:
            compiled = SchemaCheck("response_schema", self.schema).compile()
        except InvalidInputError:
            return None  # nobody can hold an answer to it
        value = without_nulls(value, self.schema)
        if compiled.is_valid(value):
            return None
        # Places and rules, without the values: they are the model's answer, and may be the user's secrets.
        told = [
            f"{'.'.join(map(str, each.instance_path)) or 'the whole answer'}: {each.kind.name}"
            for each in islice(compiled.iter_errors(value), _PROBLEMS)
        ]
        return ProtocolError(
            f"the answer does not fit response_schema: {'; '.join(told)}. "
            "Ask again, or read the text in error.partial.text."
        )

    def message(self, message: AssistantMessage) -> AssistantMessage:
        """A whole message with the keys' own names.

        Raises:
            ProtocolError: It does not fit.
        """
        if self.names:
            parts = [replace(p, text=self._renamed(p.text)) if isinstance(p, TextPart) else p for p in message.parts]
            message = replace(message, parts=tuple(parts))
        if message.finish_reason is FinishReason.STOP and not message.tool_calls:
            problem = self.problem(message.text)
            if problem is not None:
                problem.partial = message
                raise problem
        return message

    def _renamed(self, text: str) -> str:
        renamer = KeyRenamer(self.names)
        return renamer.feed(text) + renamer.finish()


class AnswerDecoder:
    """A decoder around a decoder, for one answer."""

    def __init__(self, decoder: _Decoder, check: AnswerCheck) -> None:
        """Args:
        decoder: Who decodes.
        check: What is done.
        """
        self._decoder = decoder
        self._check = check
        self._renamer = KeyRenamer(check.names) if check.names else None
        self._text: list[str] = []
        self._called = False
        self._problem: ProtocolError | None = None

    @property
    def ended(self) -> bool:
        """Whether `End` came."""
        return self._decoder.ended and self._problem is None

    @property
    def error(self) -> PromptportError | None:
        """What ends the stream."""
        return self._problem or self._decoder.error

    @property
    def skipped(self) -> Mapping[str, int]:
        """The unknown events."""
        return self._decoder.skipped

    def feed(self, chunk: bytes) -> Sequence[StreamFrame]:
        """The frames of these bytes."""
        return self._all(self._decoder.feed(chunk))

    def close(self) -> Sequence[StreamFrame]:
        """The frames that the end of the bytes brings."""
        return self._all(self._decoder.close())

    def _all(self, frames: Sequence[StreamFrame]) -> list[StreamFrame]:
        out: list[StreamFrame] = []
        for frame in frames:
            if type(frame) is Append:
                text = frame.text if self._renamer is None else self._renamer.feed(frame.text)
                if text:
                    self._text.append(text)
                    out.append(frame if text == frame.text else Append(text))
                continue
            if type(frame) is End:
                held = self._renamer.finish() if self._renamer is not None else ""
                if held:
                    self._text.append(held)
                    out.append(Append(held))
                if frame.finish_reason is FinishReason.STOP and not self._called:
                    self._problem = self._check.problem("".join(self._text))
                    if self._problem is not None:
                        return out
            self._called = self._called or isinstance(frame, ToolCall | InvalidToolCall)
            out.append(frame)
        return out


def _fit(schema: dict[str, Any], dialect: str) -> tuple[bool, dict[str, str]]:
    """Whether the dialect says all of the schema; and the keys that are sent, with the names that they stand for."""
    use = DIALECTS[dialect]
    try:
        fitted = fit_schema(schema, use)
        nulls = use.all_required and fit_schema(schema, replace(use, all_required=False)).schema != fitted.schema
    except InvalidInputError:
        return False, {}
    return not (fitted.lost or fitted.renamed or nulls), fitted.renamed
