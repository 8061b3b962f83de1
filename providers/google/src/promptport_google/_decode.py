"""Gemini's responses in, frames out; the same for the Developer API and Vertex AI. Pure.

Rules: each event is a whole ``GenerateContentResponse``. A call is sealed by its arrival, or, where Vertex streams its
arguments, by the part that says that no more will come. No event is the terminal: behind a finish reason there may be
text and another one, so the answer ends with its bytes, and is complete where they told a reason.

Source: https://ai.google.dev/api/generate-content, and the types of google-genai 3.6; what servers send besides is
named where it is handled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal

import msgspec

from promptport.provider import (
    MALFORMED,
    Append,
    AssistantMessage,
    CallAssembler,
    Citation,
    End,
    FinishReason,
    IncompleteStreamError,
    JSONPathWriter,
    ProtocolError,
    ProviderItem,
    Reasoning,
    SSEOrJSONDecoder,
    StreamDecoder,
    StreamFrame,
    Thoughts,
    Usage,
    count_in,
    dict_in,
    dicts_in,
    message_of,
    reported_error,
    text_in,
    whole_frames,
)

__all__ = ["ContentDecoder", "decode_complete"]


class _Camel(msgspec.Struct, rename="camel", gc=False):
    """A part of a response. What is not named here is passed over, and an answer is not lost over an ``Any``."""


class _PartialArg(_Camel):
    json_path: str = ""
    string_value: str | None = None
    number_value: msgspec.Raw = msgspec.Raw(b"")  # the text as it came: numbers have spellings
    bool_value: bool | None = None
    null_value: msgspec.Raw = msgspec.Raw(b"")  # by its name, or as the null that it is
    will_continue: bool | None = None


class _FunctionCall(_Camel):
    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"")
    partial_args: list[_PartialArg] | None = None
    will_continue: bool | None = None


class _Part(_Camel):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None


class _Content(_Camel):
    parts: list[_Part] | None = None


class _Candidate(_Camel):
    content: _Content | None = None
    finish_reason: str | int | None = None  # old client libraries ask for enums as numbers
    finish_message: Any = None
    index: Any = None
    citation_metadata: Any = None
    grounding_metadata: Any = None
    url_context_metadata: Any = None


class _Usage(msgspec.Struct, gc=False):
    input: Any = msgspec.field(default=None, name="promptTokenCount")
    output: Any = msgspec.field(default=None, name="candidatesTokenCount")
    cached: Any = msgspec.field(default=None, name="cachedContentTokenCount")
    thoughts: Any = msgspec.field(default=None, name="thoughtsTokenCount")


class _Feedback(_Camel):
    block_reason: str | int | None = None


class _Response(_Camel):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    model_version: Any = None
    response_id: Any = None
    continuation_token: Any = None
    error: Any = None


class _TextPart(_Camel):
    """A part that is text and nothing else, as below: a field of the type ``None`` refuses whatever would count."""

    text: str
    thought: None = None
    thought_signature: None = None
    function_call: None = None


class _TextContent(_Camel):
    parts: tuple[_TextPart]


class _TextCandidate(_Camel):
    content: _TextContent
    finish_reason: None = None
    finish_message: None = None
    index: Literal[0] | None = None
    citation_metadata: None = None
    grounding_metadata: None = None
    url_context_metadata: None = None


class _TextResponse(_Camel):
    """One more part of text, as nearly every response is; whose it is, the responses before it said."""

    candidates: tuple[_TextCandidate]
    prompt_feedback: None = None
    usage_metadata: _Usage | None = None
    continuation_token: None = None
    error: None = None


_decode_text = msgspec.json.Decoder(_TextResponse).decode
_decode = msgspec.json.Decoder(_Response).decode
_decode_any = msgspec.json.Decoder().decode

_FILTERS = (
    *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION"),
    *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "PUP_LIMITED_DISABLED", "3", "4"),
)
_FINISH_REASONS = {
    "STOP": FinishReason.STOP,
    "1": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "2": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.PAUSED,
    **dict.fromkeys(_FILTERS, FinishReason.CONTENT_FILTER),
}
"""The others, such as MALFORMED_FUNCTION_CALL, are ``OTHER``; of the numbers, those that both APIs count alike."""

_UNSAID = ("", "0", "FINISH_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED")
_ASIDE = frozenset({"safetyRatings", "avgLogprobs", "logprobsResult", "tokenCount"})
_BESIDE = frozenset({"thought", "thoughtSignature", "partMetadata", "mediaResolution", "videoMetadata"})


class ContentDecoder(StreamDecoder[tuple[bytes, bytes]]):
    """Decodes one answer."""

    error_fields = ("error",)

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the calls that the conversation holds already."""
        self._responses = SSEOrJSONDecoder()
        super().__init__(self._responses)
        self._calls = CallAssembler(taken)
        self._writer: JSONPathWriter | None = None  # of the call whose arguments are being streamed
        self._writing = ("", 0)  # the name of that call, and its number
        self._signed: dict[str, Any] | None = None  # what goes back with that call
        self._limited = False  # a limit cut the answer, and with it that call
        self._thoughts = Thoughts()
        self._reason = self._blocked = ""
        self._usage = _Usage()
        self._in_text = False  # the last response was text, so that the next one probably is
        self._model: str | None = None
        self._id: str | None = None
        self._items: dict[str, Any] = {}  # what is told of the whole answer, the last word of each
        self._sources: list[Any] = []
        self._cited: set[bytes] = set()

    # ------------------------------------------------------------------------------------------ events

    def _events(self, events: Iterable[tuple[bytes, bytes]], out: list[StreamFrame]) -> None:
        """As inherited; a response with one part of text behind another such is taken in place."""
        for name, data in events:
            if self._in_text:
                try:
                    text = _decode_text(data)
                except MALFORMED:
                    self._in_text = False
                else:
                    if told := text.candidates[0].content.parts[0].text:
                        out.append(Append(told))
                    if text.usage_metadata is not None:
                        self._count(text.usage_metadata)
                    continue
            if name == b"error":
                raise self._error_in(data)
            try:
                response = _decode(data)
            except MALFORMED as error:
                readable = self._again(data, error, "a response is not what Gemini sends")
                self._events(((name, readable),) if readable is not None else (), out)
            else:
                self._response(response, data, out)

    def _event(self, event: tuple[bytes, bytes], out: list[StreamFrame]) -> None:
        self._events((event,), out)

    def _response(self, response: _Response, data: bytes, out: list[StreamFrame]) -> None:
        for number, candidate in enumerate(response.candidates or ()):
            if candidate.index in (None, 0, "0"):  # the first; others come only where ``extra`` asks for them
                self._candidate(candidate, number, data, out)
            else:
                self._skip("candidate other than the first")
        if response.error is not None:
            raise reported_error({"error": response.error})
        self._model = text_in(response.model_version) or self._model
        self._id = text_in(response.response_id) or self._id
        if response.usage_metadata is not None:
            self._count(response.usage_metadata)
        elif not response.candidates and response.prompt_feedback is None and response.continuation_token is None:
            told = _decode_any(data)
            if "responseId" not in told:
                self._skip(next(iter(told), "an empty object"))
        if response.prompt_feedback is not None:
            self._blocked = _said(response.prompt_feedback.block_reason) or self._blocked
        if response.continuation_token is not None:
            self._items["continuationToken"] = response.continuation_token

    def _candidate(self, candidate: _Candidate, number: int, data: bytes, out: list[StreamFrame]) -> None:
        parts = candidate.content.parts if candidate.content is not None else None
        self._limited |= _FINISH_REASONS.get(_said(candidate.finish_reason)) is FinishReason.LENGTH
        if candidate == _Candidate(content=candidate.content, index=candidate.index) and not parts:
            raw = _decode_any(data)["candidates"][number]
            told = {**raw, "content": raw.get("content") or {}}
            if "parts" not in told["content"]:
                self._unread("candidate", {name: told[name] for name in told if name not in _ASIDE})
        for index, part in enumerate(parts or ()):
            self._part(part, (number, index), data, out)
        self._reason = _said(candidate.finish_reason) or self._reason
        if candidate.finish_message and _FINISH_REASONS.get(self._reason) is not FinishReason.STOP:
            self._items["finishMessage"] = candidate.finish_message  # of a malformed call it holds the text
        told = {"urlContextMetadata": candidate.url_context_metadata, "groundingMetadata": candidate.grounding_metadata}
        self._items.update({name: value for name, value in told.items() if value is not None})
        self._ground(dict_in(candidate.grounding_metadata), out)
        cited = dict_in(candidate.citation_metadata)
        for entry in dicts_in(cited.get("citations")) + dicts_in(cited.get("citationSources")):
            self._cite(entry, None, entry, out)

    def _count(self, new: _Usage) -> None:
        """The last word on each count holds; early responses leave some out."""
        old, self._usage = self._usage, new
        if new.input is None:
            new.input = old.input
        if new.output is None:
            new.output = old.output
        if new.cached is None:
            new.cached = old.cached
        if new.thoughts is None:
            new.thoughts = old.thoughts

    # ------------------------------------------------------------------------------------------- parts

    def _part(self, part: _Part, place: tuple[int, int], data: bytes, out: list[StreamFrame]) -> None:
        signature = part.thought_signature
        if part.text is not None and part.thought and part.function_call is None:
            self._thoughts.add(part.text, out)
            self._in_text = False
            if signature:
                self._thoughts.end(out, {"thoughtSignature": signature})
            return
        kept = {"thoughtSignature": signature} if signature else None
        if part.function_call is not None:
            self._thoughts.end(out)
            if part.text:  # beside a call, which no field of the other should be
                out.append(Append(part.text))
            self._call(part.function_call, kept, out)
        elif part.text is not None or kept is not None:
            if part.text or kept:
                self._thoughts.end(out)
            if part.text:
                out.append(Append(part.text))
                self._in_text = True
            if kept and (part.text is not None or not self._is_item(place, data, out)):
                out.append(Reasoning("", {**kept, "part": "text" if part.text else "empty text"}))
        elif not self._is_item(place, data, out):
            self._skip("an empty part")

    def _is_item(self, place: tuple[int, int], data: bytes, out: list[StreamFrame]) -> bool:
        """Whether this part is something else than text and calls: what the server ran, an image, a file."""
        part = _decode_any(data)["candidates"][place[0]]["content"]["parts"][place[1]]
        kind = next((name for name, value in part.items() if name not in _BESIDE and value is not None), "text")
        if kind == "text":
            return False
        self._thoughts.end(out)
        out.append(ProviderItem(kind, part))
        return True

    # ------------------------------------------------------------------------------------------- calls

    def _call(self, call: _FunctionCall, kept: dict[str, Any] | None, out: list[StreamFrame]) -> None:
        args = bytes(call.args)
        arguments = _arguments((b"\\u" in args and self._readable(args)) or args)
        goes_on = self._writer is not None and (not call.name or (call.partial_args and call.name == self._writing[0]))
        if goes_on:
            self._continue(call, arguments, kept, out)
        elif call.partial_args or call.will_continue:
            self._writer, self._signed = JSONPathWriter(), None
            self._writing = (call.name or "", self._writing[1] + 1)
            self._calls.start(self._writing, call.id, call.name or "", out)
            self._continue(call, arguments, kept, out)
        elif self._calls.came(call.id, call.name or "", arguments or "{}"):
            self._skip("a second copy of a functionCall")  # Gemini 3, without its signature
        elif call.name or arguments:
            self._calls.whole(call.id or None, call.name or "", arguments, out, kept, keep_id=True)
        else:
            self._skip("an empty functionCall")

    def _continue(
        self, call: _FunctionCall, arguments: str, kept: dict[str, Any] | None, out: list[StreamFrame]
    ) -> None:
        writer, key = self._writer, self._writing
        assert writer is not None
        self._signed = kept or self._signed
        text = ""
        for arg in call.partial_args or ():
            text += writer.write(arg.json_path, arg.string_value, _literal(arg), bool(arg.will_continue))
        if call.will_continue or self._limited:  # what the limit cut has no end, whatever stands behind it
            self._calls.append(key, text, out)
            return
        text += arguments if arguments and not writer.begun else writer.close()
        self._writer = None
        self._calls.append(key, text, out)
        self._calls.seal(key, out, provider_data=self._signed)

    # ----------------------------------------------------------------------------------------- sources

    def _ground(self, told: dict[str, Any], out: list[StreamFrame]) -> None:
        """The sources of a search. Some servers tell all of them at the end, some with each response anew."""
        self._sources = dicts_in(told.get("groundingChunks")) or self._sources
        for support in dicts_in(told.get("groundingSupports")):
            segment, indices = support.get("segment"), support.get("groundingChunkIndices")
            for index in indices if isinstance(indices, list) else ():
                if isinstance(index, int) and 0 <= index < len(self._sources):
                    source, text = self._sources[index], dict_in(segment).get("text")
                    self._cite(_source(source), text, {**source, "segment": segment}, out)

    def _cite(self, source: dict[str, Any], text: Any, told: dict[str, Any], out: list[StreamFrame]) -> None:
        url, title = source.get("uri") or source.get("sourceUri"), source.get("title")
        place = [told[name] for name in ("segment", "startIndex", "endIndex") if name in told]
        mark = msgspec.json.encode([url, title, *place])  # without a place it is one source more, or none
        if mark not in self._cited:
            self._cited |= {mark, msgspec.json.encode([url, title])}
            self._thoughts.end(out)
            out.append(Citation(text_in(url) or None, text_in(title) or None, text_in(text) or None, told))

    # ----------------------------------------------------------------------------------------- the end

    def _end_of_bytes(self, out: list[StreamFrame]) -> None:
        self._look_for_error(self._responses.stray)  # it may come as bare JSON in several lines, behind good events
        if not self._responses.complete:
            raise IncompleteStreamError("the stream ended inside its JSON array")
        if not self._reason and not self._blocked:
            raise IncompleteStreamError("the stream ended without a finish reason")
        self._thoughts.end(out)
        for chunk in self._sources:
            self._cite(_source(chunk), None, chunk, out)
        out += [ProviderItem(name, {name: value}) for name, value in self._items.items()]
        # Without a reason of its own, nothing was generated, because of what was asked.
        told = _FINISH_REASONS.get(self._reason, FinishReason.OTHER) if self._reason else FinishReason.CONTENT_FILTER
        reason, raw = self._calls.reason(told), self._reason or self._blocked
        out.append(End(reason, raw, self.used(), self._model, self._id, self._calls.unfinished()))
        self.ended = True

    def used(self) -> Usage:
        """What the responses told so far: each of them counts. Gemini counts thoughts apart from the other tokens."""
        answer, thoughts = count_in(self._usage.output), count_in(self._usage.thoughts)
        written = None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0)
        return Usage(count_in(self._usage.input), written, count_in(self._usage.cached), reasoning_tokens=thoughts)


def decode_complete(data: bytes, taken: Collection[str] = ()) -> AssistantMessage:
    """The message in the body of an answer that did not stream: one response, as a stream of one.

    Args:
        data: the body.
        taken: the ids of the calls that the conversation holds already.

    Raises:
        StreamError: the body is an error, is cut, or is no response.
    """
    return message_of(whole_frames(ContentDecoder(taken), data))


def _arguments(data: bytes) -> str:
    """The text of an object, also where a proxy sent it as a string; empty where there is none."""
    if data.startswith(b'"'):
        return str(_decode_any(data))
    return "" if data == b"null" else data.decode()


def _literal(arg: _PartialArg) -> str | None:
    """The JSON text of a value that is not a string; ``None`` where there is none."""
    number = bytes(arg.number_value).decode()
    if number and number != "null":
        if number[0] not in "-0123456789":
            raise ProtocolError("the number of a partial argument is not a number")
        return number
    if arg.bool_value is not None:
        return "true" if arg.bool_value else "false"
    return "null" if bytes(arg.null_value) else None


def _said(reason: str | int | None) -> str:
    word = "" if reason is None else str(reason)
    return "" if word in _UNSAID else word


def _source(chunk: dict[str, Any]) -> dict[str, Any]:
    """What a grounding chunk holds, whatever it is called: web, retrievedContext, maps, image."""
    return next((value for value in chunk.values() if isinstance(value, dict)), {})
