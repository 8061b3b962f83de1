"""The lines of Ollama's ``/api/chat`` in, frames out. Pure.

Rules: a call comes whole, in one line, and its arrival seals it; the line with ``done: true`` is the terminal, and
bytes that end before it are an incomplete answer, whatever they say.

Source: https://docs.ollama.com/api/chat and /api/errors; what servers send besides is named where it is handled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import msgspec

from promptport.provider import (
    MALFORMED,
    Append,
    AssistantMessage,
    CallAssembler,
    End,
    FinishReason,
    IncompleteStreamError,
    NDJSONDecoder,
    ProtocolError,
    ProviderStreamError,
    Reasoning,
    ReasoningAppend,
    StreamDecoder,
    StreamError,
    StreamFrame,
    Usage,
    error_details,
    message_of,
)

__all__ = ["ChatDecoder", "decode_complete"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_Decoded = TypeVar("_Decoded")


class _Function(msgspec.Struct, gc=False):
    name: Any = None
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _Call(msgspec.Struct, gc=False):
    id: Any = None
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct, gc=False):
    """What every line may hold, of which only this is decoded; the terminal is read once more, as `_Terminal`."""

    message: _Message | None = None
    done: bool | None = None
    error: Any = None


class _Terminal(msgspec.Struct, gc=False):
    # Any: one clone writes these as text or as fractions, and an answer is not lost over a count.
    done_reason: Any = None
    model: Any = None
    prompt_eval_count: Any = None
    prompt_eval_cached_count: Any = None
    eval_count: Any = None


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_terminal = msgspec.json.Decoder(_Terminal).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_any = msgspec.json.Decoder().decode
_decode_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


_FINISH_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
# The other words are "load" and "unload": the server did that, and generated nothing.


class ChatDecoder(StreamDecoder[bytes]):
    """Decodes one answer."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the calls that the conversation holds already."""
        super().__init__(NDJSONDecoder())
        self._calls = CallAssembler(taken)
        self._thinking: list[str] = []
        self._at_end = False

    def close(self) -> list[StreamFrame]:
        """As inherited; but what the last line is, cut JSON or an error page, is for `_malformed` to say."""
        self._at_end = True
        out = self.feed(b"\n")
        return out + super().close()

    def _events(self, events: Iterable[bytes], out: list[StreamFrame]) -> None:
        """As inherited; a line of text, which nearly every line is, is decoded in place: a call costs as much as it."""
        decode, thinking = _decode_line, self._thinking
        for event in events:
            try:
                line = decode(event)
            except MALFORMED:
                self._event(event, out)
            else:
                message = line.message
                if (
                    message is not None
                    and message.content
                    and not (message.thinking or message.tool_calls or line.done or line.error or thinking)
                ):
                    out.append(Append(message.content))
                    continue
                self._line(line, event, out)
            if self.ended:
                break

    def _event(self, event: bytes, out: list[StreamFrame]) -> None:
        event = event.removeprefix(_BYTE_ORDER_MARK)
        event = self._readable(event) or event
        self._line(self._read(_decode_line, event), event, out)

    def _line(self, line: _Line, event: bytes, out: list[StreamFrame]) -> None:
        message = line.message
        if message is not None:
            if message.thinking:
                self._thinking.append(message.thinking)
                out.append(ReasoningAppend(message.thinking))
            if message.content:
                self._end_of_thinking(out)
                out.append(Append(message.content))
            for call in message.tool_calls or ():
                self._end_of_thinking(out)
                self._call(call, out)
        if line.error:
            raise _reported(line.error)
        if message is None:
            names = self._read(_decode_names, event)
            if "response" in names:  # of /api/generate
                self._unread("line", {"response": _decode_any(names["response"])})
            elif not line.done:
                self._skip(next(iter(names), "an empty object"))
        elif not (message.content or message.thinking or message.tool_calls):
            if line.done or message.content is not None or message.tool_calls is not None:
                self._unread("message", _decode_any(event)["message"])
            elif message.thinking is None:
                self._skip("message without content")
        if line.done:
            self._end(event, out)

    def _read(self, decode: Callable[[bytes], _Decoded], event: bytes) -> _Decoded:
        try:
            return decode(event)
        except MALFORMED as error:
            raise self._malformed(event, error) from None  # its cause could hold the answer

    def _call(self, call: _Call, out: list[StreamFrame]) -> None:
        function = call.function if call.function is not None else _Function()
        self._calls.whole(
            call.id if isinstance(call.id, str) else None,  # servers before 0.12.10 give none
            function.name if isinstance(function.name, str) else "",
            self._arguments(function.arguments),
            out,
        )

    def _arguments(self, raw: msgspec.Raw) -> str:
        try:
            return _arguments(raw)
        except ProtocolError:
            readable = self._readable(bytes(raw))
            if readable is None:
                raise
            return _arguments(msgspec.Raw(readable))

    def _end_of_thinking(self, out: list[StreamFrame]) -> None:
        if self._thinking:
            out.append(Reasoning("".join(self._thinking)))
            self._thinking.clear()

    def _end(self, event: bytes, out: list[StreamFrame]) -> None:
        self._end_of_thinking(out)
        terminal = self._read(_decode_terminal, event)
        reason = terminal.done_reason if isinstance(terminal.done_reason, str) else None
        finish_reason = _FINISH_REASONS.get(reason or "", FinishReason.OTHER)
        if self._calls.sealed and finish_reason is not FinishReason.LENGTH:
            finish_reason = FinishReason.TOOL_CALLS
        usage = Usage(
            input_tokens=_count(terminal.prompt_eval_count),
            output_tokens=_count(terminal.eval_count),
            cached_input_tokens=_count(terminal.prompt_eval_cached_count),
        )
        model = terminal.model if isinstance(terminal.model, str) else None
        out.append(End(finish_reason, reason or None, usage, model))
        self.ended = True

    def _end_of_bytes(self, out: list[StreamFrame]) -> None:
        raise IncompleteStreamError("the stream ended without a line that says 'done'")

    def _malformed(self, event: bytes, error: Exception) -> StreamError:
        start = event.lstrip()[:1]
        if start == b"<":
            return ProtocolError("the server answered with a web page instead of a stream: is the base_url right?")
        if self._at_end and start == b"{":
            return IncompleteStreamError("the stream ended inside a line")
        if isinstance(error, UnicodeDecodeError):
            return ProtocolError("a line of the stream is not UTF-8")
        if isinstance(error, RecursionError):
            return ProtocolError("a line of the stream is nested too deeply")
        return ProtocolError(f"a line of the stream is not what /api/chat sends: {error}")


def decode_complete(data: bytes, taken: Collection[str] = ()) -> AssistantMessage:
    """The message in the body of an answer that did not stream: one object, as a line of a stream that says it all.

    Args:
        data: the body.
        taken: the ids of the calls that the conversation holds already.

    Raises:
        StreamError: the body is an error, is cut, or is no such object.
    """
    decoder = ChatDecoder(taken)
    decoder._at_end = True
    out: list[StreamFrame] = []
    if data.strip():
        decoder._event(data, out)
    if not decoder.ended:
        decoder._end_of_bytes(out)
    return message_of(decoder._mender.feed(out) if decoder._mender is not None else out)


def _arguments(raw: msgspec.Raw) -> str:
    """The text of the arguments as it came: an object, or the text that some clones put in its place."""
    data = bytes(raw)
    try:
        if data.startswith(b'"'):
            return _decode_text(data)
        return "" if data == b"null" else data.decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ProtocolError("the arguments of a tool call are not UTF-8") from None


def _count(value: Any) -> int | None:
    return value if type(value) is int else None


def _reported(error: Any) -> ProviderStreamError:
    words, code = error_details({"error": error})
    return ProviderStreamError(f"the server reported an error: {words or code or 'it gave no reason'}", code=code)
