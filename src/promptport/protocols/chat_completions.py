"""Chat Completions, the way in: server-sent events → frames, for OpenAI and the dozens that speak like it. Pure.

Rule: exact about what ends a call and what ends the stream, lenient about everything else. A call is sealed by the
choice's ``finish_reason``, and not by one that says that the answer was cut. The stream ends with ``[DONE]``, or with
a clean end of bytes after a ``finish_reason``.

Two ways through: a typed decode of the few fields that matter, for every chunk as OpenAI writes it; and, where that
refuses a chunk, an untyped one that takes what the clones make of it (an index that is text, content as a list …).

Source: OpenAI's reference of the chat completion chunk object; the clones' habits from recorded wires.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from promptport.decoding import CallAssembler, SSEDecoder, StreamDecoder
from promptport.errors import IncompleteStreamError, ProtocolError
from promptport.frames import Append, End, FinishReason, ProviderItem, Reasoning, ReasoningAppend, StreamFrame, Usage
from promptport.message_building import message_of
from promptport.messages import AssistantMessage
from promptport.protocols.chat_chunks import (
    Choice,
    Chunk,
    Delta,
    Details,
    Entry,
    bare_error,
    citation_of,
    decode_any,
    decode_chunk,
    decode_first_chunk,
    decode_increment,
    delta_in_place,
    is_last_word,
    lenient_chunk,
    other_thought,
    raw_choice,
    real_id,
    real_name,
    report_if_error,
    report_if_failed,
    reported,
    source_of,
    usage_of,
    whole_answer,
)
from promptport.protocols.finish_words import is_cut, reason_of

__all__ = ["ChatCompletionsDecoder", "decode_chat_completion"]

_OTHER = "choice other than the first"
_HELD = 256  # chunks that wait; a server that sends so many under one new index has no other answer
_TELLING = 8  # characters that do not begin two pieces of a text by chance


class ChatCompletionsDecoder(StreamDecoder[tuple[bytes, bytes]]):
    """Decodes one streamed answer; the first choice only, for a frame stream is one answer."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the conversation's calls so far."""
        super().__init__(SSEDecoder())
        self._calls = CallAssembler(taken)
        self._decode: Any = decode_first_chunk
        self._reasoning: list[str] = []
        self._reasoning_field = ""
        self._reasoning_data: dict[str, Any] = {}
        self._details: Details | None = None
        self._refusal: list[str] = []
        self._citations: list[Any] = []
        self._usage: Any = None
        self._model: str | None = None
        self._id: str | None = None
        self._reason: str | None = None
        self._cut = False
        # Whose the choices are: the index of ours; chunks that wait for the next to tell; the other answers'.
        self._ours = 0
        self._begun = self._moved = False
        self._held: list[tuple[Any, tuple[bytes, bytes]]] = []
        self._others: set[int | None] = set()
        # What came in messages, where there are no deltas.
        self._by_delta = False
        self._growing = False  # the last chunk was an increment of a call: the next one probably is
        self._messages: list[str] = []
        self._message_size = 0

    # ------------------------------------------------------------------------------------------- events

    def _events(self, events: Iterable[tuple[bytes, bytes]], out: list[StreamFrame]) -> None:
        """As inherited; a chunk that is text and nothing else, as nearly every chunk is, is taken in place."""
        for event in events:
            if self._growing and self._grown(event[1], out):
                continue
            try:
                chunk = self._decode(event[1])
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._event(event, out)
            else:
                choices = chunk.choices
                if choices and len(choices) == 1:
                    choice = choices[0]
                    delta = choice.delta
                    if (
                        delta is not None
                        and delta.content
                        and not (
                            delta.tool_calls
                            or delta.reasoning is not None
                            or delta.reasoning_content is not None
                            or delta.reasoning_details is not None
                            or delta.refusal
                            or delta.annotations
                            or delta.executed_tools
                            or delta.function_call
                            or choice.index
                            or choice.finish_reason
                            or choice.error
                            or chunk.usage
                            or chunk.error
                            or chunk.x_groq is not None
                            or chunk.citations
                            or chunk.search_results
                            or self._reasoning
                            or self._details
                            or self._decode is decode_first_chunk
                        )
                    ):
                        out.append(Append(delta.content))
                        continue
                self._chunk(chunk, event, out)
            if self.ended:
                break

    def _event(self, event: tuple[bytes, bytes], out: list[StreamFrame]) -> None:
        data = event[1]
        try:
            chunk = self._decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            if is_last_word(data):
                self._done(out)
                return
            readable = self._readable(data)
            if readable is not None:
                self._event((event[0], readable), out)
                return
            lenient = lenient_chunk(data, event[0])
            if lenient is None:
                self._skip(event[0].decode("utf-8", "replace") or "blank")
                return
            chunk = lenient
        self._chunk(chunk, event, out)

    def _chunk(  # noqa: PLR0912 - also the way of a call's deltas: a call for each branch would cost more than it
        self, chunk: Any, event: tuple[bytes, bytes], out: list[StreamFrame]
    ) -> None:
        choices = chunk.choices
        if choices:
            for choice in choices:
                if ((choice.index or 0) != self._ours or self._held) and not self._is_ours(choice, chunk, event, out):
                    continue
                delta = choice.delta if choice.delta is not None else self._in_place_of_delta(choice, event)
                if delta is not None:
                    if not (
                        delta.reasoning is None and delta.reasoning_content is None and delta.reasoning_details is None
                    ):
                        self._thoughts(delta, out)
                    elif delta.content:
                        if self._reasoning or self._details:
                            self._reasoned(out)
                        out.append(Append(delta.content))
                    if delta.tool_calls:
                        self._tool_calls(delta.tool_calls, out)
                    if delta.refusal or delta.annotations or delta.executed_tools or delta.function_call:
                        self._rare(delta, out)
                    elif not (
                        delta.content
                        or delta.tool_calls
                        or delta.reasoning_content
                        or delta.reasoning
                        or delta.reasoning_details
                        or delta.content_parts
                    ):
                        self._nothing_read(choice, event, out)
                if choice.finish_reason or choice.error:
                    self._finish(choice, chunk, out)
        elif not chunk.error:
            if choices is None and chunk.usage is None and chunk.x_groq is None:
                self._no_choices(event)
            elif b"base_resp" in event[1]:
                report_if_failed(decode_any(event[1]))
        if chunk.usage:
            self._usage = chunk.usage
        if chunk.error or chunk.x_groq is not None or chunk.citations or chunk.search_results:
            self._top_level(chunk, out)
        if self._decode is decode_first_chunk:
            self._id = self._id or chunk.id
            self._model = self._model or chunk.model
            self._begun = self._begun or bool(choices)
            self._by_delta = self._by_delta or any(choice.delta is not None for choice in choices or ())
            if self._model and self._by_delta and not (self._held or self._moved):
                self._decode = decode_chunk

    def _grown(self, data: bytes, out: list[StreamFrame]) -> bool:
        """Whether a chunk, behind another such, is one more increment of a call's arguments and nothing else."""
        try:
            entry = decode_increment(data).choices[0].delta.tool_calls[0]
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._growing = False
            return False
        grown: bool = self._calls.grow(entry.index, entry.function.arguments, out, entry.id)
        return grown

    # ------------------------------------------------------------------------------------------ choices

    def _is_ours(self, choice: Choice, chunk: Chunk, event: tuple[bytes, bytes], out: list[StreamFrame]) -> bool:
        """Whether a choice is of this answer, though its index is not the one before.

        Some servers count their chunks there, or begin at 1; others send several answers side by side. A chunk waits
        until the next one tells, for nothing is lost in silence, and two answers are never mixed.

        Raises:
            ProtocolError: they are mixed already.
        """
        index = choice.index or 0
        if index == self._ours:
            for waiting in self._held:  # this answer goes on under its own index
                self._others.add(waiting[0].choices[0].index)
                self._skip(_OTHER)
            self._held.clear()
            return True
        if not self._begun and all(index <= (each.index or 0) for each in chunk.choices or ()):
            self._ours = index  # of several in the first chunk, the lowest
            return True
        if self._moved and index > self._ours:
            self._ours = index
            return True
        if self._moved:
            raise ProtocolError(
                "the chunks of two answers came in one stream, and nothing tells them apart: ask for one (n=1)"
            )
        alone = len(chunk.choices or ()) == 1
        if not alone or index in self._others or index < self._ours or self._reason is not None:
            self._others.add(index)
            self._skip(_OTHER)
            return False
        last = self._held[-1][0].choices[0].index if self._held else self._ours
        if self._held and index == last + 1:
            self._release(out)
            self._ours = index
            return True
        delta = raw_choice(event[1], choice).get("delta")
        if isinstance(delta, dict) and delta.get("role") and not delta.get("content"):
            self._others.add(index)  # the head of another answer
            self._skip(_OTHER)
            return False
        self._held.append((chunk, event))
        self._decode = decode_first_chunk
        if len(self._held) > _HELD:
            self._release(out)
        return False

    def _release(self, out: list[StreamFrame]) -> None:
        """What waited is of this answer."""
        held, self._held = self._held, []
        self._moved = True
        for chunk, event in held:
            self._ours = chunk.choices[0].index
            self._chunk(chunk, event, out)

    def _settle(self, out: list[StreamFrame]) -> None:
        """The stream is at its end."""
        if self._reason is None:
            self._release(out)
        for _ in self._held:
            self._skip(_OTHER)
        self._held = []

    def _in_place_of_delta(self, choice: Choice, event: tuple[bytes, bytes]) -> Delta | None:
        """A choice without a delta: what stands in its place is read, or at least counted."""
        body = raw_choice(event[1], choice)
        delta = delta_in_place(body)
        if delta is None:
            if body.get("delta") or not (choice.finish_reason or choice.error):
                self._skip("choice without a delta")
            return None
        if self._by_delta:
            self._skip("message after deltas")  # the whole once more, as MiniMax says it
            return None
        text, before = delta.content or "", self._message_size
        if before and len(text) >= before and (choice.finish_reason or before >= _TELLING):
            said = "".join(self._messages)
            if text.startswith(said):  # it grows from chunk to chunk
                delta.content = text = text[before:]
        self._messages.append(text)
        self._message_size += len(text)
        return delta

    def _nothing_read(self, choice: Choice, event: tuple[bytes, bytes], out: list[StreamFrame]) -> None:
        """A delta that is empty, as heads and ends are, or holds only what we do not know."""
        body = raw_choice(event[1], choice)
        read = body.get("delta") or body.get("message")
        field, text = other_thought(read)
        if text:
            self._reasoning_field = field
            self._reasoning.append(text)
            out.append(ReasoningAppend(text))
        else:
            self._unread("delta", read)

    def _thoughts(self, delta: Delta, out: list[StreamFrame]) -> None:
        """A delta with reasoning in it, and perhaps text after that."""
        if delta.content_parts is not None:
            self._content_parts(delta.content_parts, out)
            return
        for field, text in (("reasoning_content", delta.reasoning_content), ("reasoning", delta.reasoning)):
            if text:
                self._reasoning_field = field
                self._reasoning.append(text)
                out.append(ReasoningAppend(text))
                break  # some servers send the same text under both names, and a third time in the details
        else:
            for detail in delta.reasoning_details or ():
                text = detail.get("text") or detail.get("summary")
                if isinstance(text, str) and text:
                    self._reasoning.append(text)
                    out.append(ReasoningAppend(text))
        for detail in delta.reasoning_details or ():
            if self._details is None:
                self._details = Details()
            self._details.add(detail)
        if delta.content:
            self._reasoned(out)
            out.append(Append(delta.content))

    def _content_parts(self, parts: list[tuple[str, str, dict[str, Any]]], out: list[StreamFrame]) -> None:
        """Mistral's thinking is a part of the content, and goes back as one."""
        for kind, text, data in parts:
            if kind == "thinking":
                self._reasoning_data["content"] = "thinking"
                for name, value in data.items():
                    self._reasoning_data[name] = self._reasoning_data.get(name, "") + value
                self._reasoning.append(text)
                if text:
                    out.append(ReasoningAppend(text))
                continue
            if text:
                self._reasoned(out)
                out.append(Append(text))

    def _reasoned(self, out: list[StreamFrame]) -> None:
        """The reasoning so far is a complete block: what follows it has begun."""
        if self._reasoning or self._details:
            data, self._reasoning_data = self._reasoning_data, {}
            if self._reasoning_field:
                data["field"] = self._reasoning_field
            if self._details:
                data["reasoning_details"] = self._details.whole()
            out.append(Reasoning("".join(self._reasoning), data or None))
            self._reasoning, self._details, self._reasoning_field = [], None, ""

    def _tool_calls(self, entries: list[Entry], out: list[StreamFrame]) -> None:
        if self._reasoning or self._details:
            self._reasoned(out)
        apart = False
        for entry in entries:
            function = entry.function
            if (
                function is not None
                and not (function.name or entry.extra_content)
                and self._calls.grow(entry.index, function.arguments, out, entry.id)
            ):
                apart = True
                self._growing = self._decode is decode_chunk and not (self._ours or self._held or self._moved)
                continue
            if function is None and not entry.extra_content:
                self._skip("tool call without a function")
            self._calls.fragment(
                entry.index,
                real_id(entry.id),
                real_name(function.name) if function is not None else None,
                (function.arguments or "") if function is not None else "",
                out,
                apart=apart,
                provider_data={"extra_content": entry.extra_content} if entry.extra_content else None,
            )
            apart = True

    def _rare(self, delta: Delta, out: list[StreamFrame]) -> None:
        """What most answers never hold."""
        if delta.refusal:
            self._refusal.append(delta.refusal)
        for annotation in delta.annotations or ():
            out.append(citation_of(annotation))
        for item in delta.executed_tools or ():
            out.append(ProviderItem("executed_tool", item))
        if delta.function_call is not None:  # the deprecated single call, which some servers still speak
            function = delta.function_call
            self._calls.fragment("function_call", None, real_name(function.name), function.arguments or "", out)

    # ---------------------------------------------------------------------------------------------- ends

    def _finish(self, choice: Choice, chunk: Chunk, out: list[StreamFrame]) -> None:
        reason = choice.finish_reason
        if choice.error or reason == "error":
            raise reported(choice.error or chunk.error)
        self._usage = choice.usage or self._usage
        self._reasoned(out)
        if is_cut(reason):
            self._cut = True
            self._reason = reason
        elif not self._cut:
            self._reason = reason
            self._calls.seal_all(out)

    def _top_level(self, chunk: Chunk, out: list[StreamFrame]) -> None:
        if chunk.error:
            raise reported(chunk.error)
        if chunk.x_groq is not None:
            if chunk.x_groq.get("error"):
                raise reported(chunk.x_groq["error"])
            self._usage = chunk.x_groq.get("usage") or self._usage
        # Perplexity and xAI repeat the growing list of sources on every chunk: the last one counts.
        self._citations = chunk.search_results or chunk.citations or self._citations

    def _no_choices(self, event: tuple[bytes, bytes]) -> None:
        """A chunk that says nothing that we know."""
        body = decode_any(event[1])
        kind = body.get("object") if isinstance(body, dict) else None
        if event[0] == b"error" or kind == "error":
            raise reported(body)
        report_if_failed(body)
        if kind == "chat.completion.chunk" and "choices" not in body:
            raise ProtocolError("a chunk came without choices")
        self._skip(event[0].decode("utf-8", "replace") or str(kind or "chunk"))

    def _done(self, out: list[StreamFrame]) -> None:
        self._settle(out)
        if self._calls.open and not self._cut:
            raise IncompleteStreamError("the stream ended with a tool call that was not finished")
        self._end(out)

    def _end_of_bytes(self, out: list[StreamFrame]) -> None:
        self._settle(out)
        if self._reason is None or (self._calls.open and not self._cut):
            if self._wire.stray:
                report_if_error(bare_error(self._wire.stray))
            raise IncompleteStreamError("the stream ended without finish_reason or [DONE]")
        self._end(out)

    def _end(self, out: list[StreamFrame]) -> None:
        self._reasoned(out)
        if self._refusal:
            out.append(ProviderItem("refusal", {"refusal": "".join(self._refusal)}))
        out.extend(map(source_of, self._citations))
        reason = self._calls.reason(reason_of(self._reason))
        if self._refusal and not (self._calls.sealed and reason is FinishReason.TOOL_CALLS):
            reason = FinishReason.CONTENT_FILTER
        out.append(End(reason, self._reason, self.used(), self._model, self._id, self._calls.unfinished()))
        self.ended = True

    def used(self) -> Usage:
        """What the chunks told so far: some servers count in each of them."""
        return usage_of(self._usage)

    def _no_events(self, stray: bytes, out: list[StreamFrame]) -> None:
        """No event at all: perhaps a JSON error, or the whole answer of a server that does not stream."""
        bare = bare_error(stray)
        if bare[:1] in (b"{", b"["):
            self._whole(bare, out)
        else:
            super()._no_events(stray, out)

    def _whole(self, data: bytes, out: list[StreamFrame]) -> None:
        """The body of an answer that was not streamed. Raises `StreamError`."""
        self._event((b"", whole_answer(self._readable(data) or data)), out)
        if self._reason is None:
            raise IncompleteStreamError("the answer has no finish_reason")
        self._end_of_bytes(out)


def decode_chat_completion(data: bytes, taken: Collection[str] = ()) -> AssistantMessage:
    """The message in the body of a response that was not streamed: the same as its stream would give.

    Raises:
        ProtocolError, IncompleteStreamError, ProviderStreamError: no such body, no end, an error object.
    """
    decoder = ChatCompletionsDecoder(taken)
    out: list[StreamFrame] = []
    decoder._no_events(data, out)
    return message_of(decoder._mender.feed(out) if decoder._mender is not None else out)
