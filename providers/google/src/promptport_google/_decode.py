"""Gemini's responses in, frames out; the same for the Developer API and Vertex AI. Pure.

Rules: each event is a whole ``GenerateContentResponse``. A call is sealed by its arrival, or, where Vertex streams its
arguments, by the part that says that no more will come. No event is the terminal: behind a finish reason there may be
text and another one, so the answer ends with its bytes, and is complete where they told a reason.

Source: https://ai.google.dev/api/generate-content, and the types of google-genai 3.6; what servers send besides is
named where it is handled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from promptport.provider import (
    Append,
    AssistantMessage,
    CallAssembler,
    Citation,
    End,
    FinishReason,
    IncompleteStreamError,
    ProtocolError,
    ProviderItem,
    ProviderStreamError,
    Reasoning,
    ReasoningAppend,
    StreamDecoder,
    StreamFrame,
    ToolCall,
    Usage,
    error_details,
    message_of,
)
from promptport_google._arguments import ArgumentsWriter
from promptport_google._wire import ResponseWire

__all__ = ["ContentDecoder", "decode_complete"]


class _Camel(msgspec.Struct, rename="camel", gc=False):
    """A part of a response. What is not named here is passed over, and an answer is not lost over an ``Any``."""


class _PartialArg(_Camel):
    json_path: str = ""
    string_value: str | None = None
    number_value: msgspec.Raw = msgspec.Raw(b"")
    bool_value: bool | None = None
    will_continue: bool | None = None


class _FunctionCall(_Camel):
    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"")  # the text as it came: numbers have spellings
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


class _Usage(_Camel):
    prompt_token_count: Any = None
    candidates_token_count: Any = None
    thoughts_token_count: Any = None
    cached_content_token_count: Any = None


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


_decode = msgspec.json.Decoder(_Response).decode
_decode_any = msgspec.json.Decoder().decode
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

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


class ContentDecoder(StreamDecoder[bytes]):
    """Decodes one answer."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the calls that the conversation holds already."""
        self._responses = ResponseWire()
        super().__init__(self._responses)
        self._calls = CallAssembler(taken)
        self._copies: dict[str, tuple[str, str]] = {}  # the server's id of a call: its name and arguments
        self._writer: ArgumentsWriter | None = None  # of the call whose arguments are being streamed
        self._writing = ("", 0)  # the name of that call, and its number
        self._thoughts: list[str] = []
        self._reason = self._blocked = ""
        self._usage = _Usage()
        self._model: Any = None
        self._id: Any = None
        self._items: dict[str, Any] = {}  # what is told of the whole answer, the last word of each
        self._sources: list[Any] = []
        self._cited: set[bytes] = set()

    # ------------------------------------------------------------------------------------------ events

    def _events(self, events: Iterable[bytes], out: list[StreamFrame]) -> None:
        """As inherited; a response with one part of text, as nearly every one is, is taken in place."""
        for data in events:
            try:
                response = _decode(data)
            except _MALFORMED as error:
                self._malformed(data, error, out)
                continue
            candidates = response.candidates
            if candidates and not self._thoughts:
                candidate, content = candidates[0], candidates[0].content
                parts = content.parts if content is not None else None
                if parts and len(parts) == 1 and len(candidates) == 1:
                    part = parts[0]
                    if part.text and not (part.thought or part.thought_signature or candidate.index):
                        out.append(Append(part.text))
                        parts.clear()
                        if (
                            candidate.finish_reason is None
                            and candidate.grounding_metadata is None
                            and candidate.citation_metadata is None
                            and candidate.url_context_metadata is None
                            and response.prompt_feedback is None
                            and response.error is None
                        ):
                            self._told(response)
                            continue
            self._response(response, data, out)

    def _event(self, event: bytes, out: list[StreamFrame]) -> None:
        self._events((event,), out)

    def _malformed(self, data: bytes, error: Exception, out: list[StreamFrame]) -> None:
        if (readable := self._readable(data)) is not None:
            self._event(readable, out)
        elif data.strip() == b"[DONE]":  # proxies for many providers end every stream with it
            self._skip("[DONE]")
        elif isinstance(error, msgspec.ValidationError):
            raise ProtocolError(f"a response is not what Gemini sends: {error}") from None
        else:
            raise ProtocolError("an event of the stream is not JSON") from None

    def _response(self, response: _Response, data: bytes, out: list[StreamFrame]) -> None:
        for number, candidate in enumerate(response.candidates or ()):
            if candidate.index in (None, 0, "0"):  # the first; others come only where ``extra`` asks for them
                self._candidate(candidate, number, data, out)
            else:
                self._skip("candidate other than the first")
        if response.error is not None:
            raise _reported({"error": response.error})
        self._told(response)
        known = _Response(candidates=response.candidates, model_version=response.model_version)
        if not response.candidates and response == known:
            self._skip(next(iter(_decode_any(data)), "an empty object"))
        if response.prompt_feedback is not None:
            self._blocked = _said(response.prompt_feedback.block_reason) or self._blocked
        if response.continuation_token is not None:
            self._items["continuationToken"] = response.continuation_token

    def _candidate(self, candidate: _Candidate, number: int, data: bytes, out: list[StreamFrame]) -> None:
        parts = candidate.content.parts if candidate.content is not None else None
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
        if candidate.url_context_metadata is not None:
            self._items["urlContextMetadata"] = candidate.url_context_metadata
        if candidate.grounding_metadata is not None:
            self._items["groundingMetadata"] = candidate.grounding_metadata
            self._ground(candidate.grounding_metadata, out)
        if candidate.citation_metadata is not None:
            for entry in _dicts(candidate.citation_metadata, "citations", "citationSources"):
                self._cite(entry, None, entry, out)

    def _told(self, response: _Response) -> None:
        """What each response tells of the whole: the last word of each kind holds, early responses leave some out."""
        if response.model_version is not None:
            self._model = response.model_version
        if response.response_id is not None:
            self._id = response.response_id
        usage, before = response.usage_metadata, self._usage
        if usage is not None:
            self._usage = usage
            if usage.thoughts_token_count is None:
                usage.thoughts_token_count = before.thoughts_token_count
            if usage.cached_content_token_count is None:
                usage.cached_content_token_count = before.cached_content_token_count
            if usage.candidates_token_count is None:
                usage.candidates_token_count = before.candidates_token_count
            if usage.prompt_token_count is None:
                usage.prompt_token_count = before.prompt_token_count

    # ------------------------------------------------------------------------------------------- parts

    def _part(self, part: _Part, place: tuple[int, int], data: bytes, out: list[StreamFrame]) -> None:
        signature = part.thought_signature
        if part.text is not None and part.thought:
            if part.text:
                self._thoughts.append(part.text)
                out.append(ReasoningAppend(part.text))
            if signature:
                self._end_thoughts(out, {"thoughtSignature": signature})
            return
        kept = {"thoughtSignature": signature} if signature else None
        if part.function_call is not None:
            self._end_thoughts(out)
            self._call(part.function_call, kept, out)
        elif part.text is not None or kept is not None:
            if part.text or kept:
                self._end_thoughts(out)
            if part.text:
                out.append(Append(part.text))
            if kept and (part.text is not None or not self._is_item(place, data, out)):
                out.append(Reasoning("", {**kept, "part": "text" if part.text else "empty text"}))
        elif not self._is_item(place, data, out):
            self._skip("an empty part")

    def _is_item(self, place: tuple[int, int], data: bytes, out: list[StreamFrame]) -> bool:
        """Whether this part is something else than text and calls: what the server ran, an image, a file."""
        part = _decode_any(data)["candidates"][place[0]]["content"]["parts"][place[1]]
        kind = next((name for name in part if name not in _BESIDE), None)
        if kind is None or kind == "text":
            return False
        self._end_thoughts(out)
        out.append(ProviderItem(kind, part))
        return True

    def _end_thoughts(self, out: list[StreamFrame], kept: dict[str, Any] | None = None) -> None:
        if self._thoughts or kept:
            out.append(Reasoning("".join(self._thoughts), kept))
            self._thoughts.clear()

    # ------------------------------------------------------------------------------------------- calls

    def _call(self, call: _FunctionCall, kept: dict[str, Any] | None, out: list[StreamFrame]) -> None:
        args = bytes(call.args)
        arguments = _arguments((b"\\u" in args and self._readable(args)) or args)
        goes_on = self._writer is not None and (not call.name or (call.partial_args and call.name == self._writing[0]))
        if goes_on:
            self._continue(call, arguments, kept, out)
        elif call.partial_args or call.will_continue:
            self._writer = ArgumentsWriter()
            self._writing = (call.name or "", self._writing[1] + 1)
            self._calls.start(self._writing, call.id, call.name or "", out, kept)
            self._continue(call, arguments, kept, out)
        elif call.name or arguments:
            self._whole(call.id or None, call.name or "", arguments or "{}", kept, out)
        else:
            self._skip("an empty functionCall")

    def _continue(
        self, call: _FunctionCall, arguments: str, kept: dict[str, Any] | None, out: list[StreamFrame]
    ) -> None:
        writer, key = self._writer, self._writing
        assert writer is not None
        text = ""
        for arg in call.partial_args or ():
            literal = bytes(arg.number_value).decode() or None
            if arg.bool_value is not None:
                literal = "true" if arg.bool_value else "false"
            text += writer.write(arg.json_path, arg.string_value, literal, bool(arg.will_continue))
        if not call.will_continue:
            text += arguments if arguments and not writer.begun else writer.close()
            self._writer = None
        self._calls.append(key, text, out)
        if not call.will_continue:
            self._calls.seal(key, out, provider_data=kept)

    def _whole(
        self, id: str | None, name: str, arguments: str, kept: dict[str, Any] | None, out: list[StreamFrame]
    ) -> None:
        if id is not None:
            if self._copies.get(id) == (name, arguments):
                self._skip("a second copy of a functionCall")  # Gemini 3, without its signature
                return
            self._copies.setdefault(id, (name, arguments))
        self._calls.whole(id, name, arguments, out, kept)
        call = out[-1]
        if id is not None and isinstance(call, ToolCall) and call.id != id:
            out[-1] = msgspec.structs.replace(call, provider_data={**(kept or {}), "id": id})

    # ----------------------------------------------------------------------------------------- sources

    def _ground(self, metadata: Any, out: list[StreamFrame]) -> None:
        """The sources of a search. Some servers tell all of them at the end, some with each response anew."""
        self._sources = _dicts(metadata, "groundingChunks") or self._sources
        for support in _dicts(metadata, "groundingSupports"):
            segment = support.get("segment")
            indices = support.get("groundingChunkIndices")
            for index in indices if isinstance(indices, list) else ():
                if isinstance(index, int) and 0 <= index < len(self._sources):
                    text = segment.get("text") if isinstance(segment, dict) else None
                    self._cite(_source(self._sources[index]), text, {**self._sources[index], "segment": segment}, out)

    def _cite(self, source: dict[str, Any], text: Any, told: dict[str, Any], out: list[StreamFrame]) -> None:
        url, title = source.get("uri") or source.get("sourceUri"), source.get("title")
        mark = msgspec.json.encode([url, title, told.get("segment"), told.get("startIndex"), told.get("endIndex")])
        if mark not in self._cited:
            self._cited |= {mark, msgspec.json.encode([url, title])}
            self._end_thoughts(out)
            out.append(Citation(_text(url), _text(title), _text(text), told))

    # ----------------------------------------------------------------------------------------- the end

    def _end_of_bytes(self, out: list[StreamFrame]) -> None:
        self._look_for_error()
        if not self._responses.complete:
            raise IncompleteStreamError("the stream ended inside its JSON array")
        if not self._reason and not self._blocked:
            raise IncompleteStreamError("the stream ended without a finish reason")
        self._end_thoughts(out)
        for chunk in self._sources:
            source = _source(chunk)
            if (
                msgspec.json.encode([source.get("uri") or source.get("sourceUri"), source.get("title")])
                not in self._cited
            ):
                self._cite(source, None, chunk, out)
        out += [ProviderItem(name, {name: value}) for name, value in self._items.items()]
        reason = _FINISH_REASONS.get(self._reason, FinishReason.OTHER)
        if not self._reason:  # nothing was generated, because of what was asked
            reason = FinishReason.CONTENT_FILTER
        if self._calls.sealed and reason is not FinishReason.LENGTH:
            reason = FinishReason.TOOL_CALLS
        raw, usage = self._reason or self._blocked, _usage(self._usage)
        out.append(End(reason, raw, usage, _text(self._model), _text(self._id), self._calls.unfinished()))
        self.ended = True

    def _no_events(self, stray: bytes, out: list[StreamFrame]) -> None:
        self._look_for_error()
        super()._no_events(stray, out)

    def _look_for_error(self) -> None:
        """An error may come as bare JSON in several lines, alone or behind good events."""
        stray = self._responses.stray
        try:
            decoded = _decode_any(stray) if stray.strip() else None
        except _MALFORMED:
            return
        if isinstance(decoded, dict) and decoded.get("error"):
            raise _reported(decoded)


def decode_complete(data: bytes, taken: Collection[str] = ()) -> AssistantMessage:
    """The message in the body of an answer that did not stream: one response, as a stream of one.

    Args:
        data: the body.
        taken: the ids of the calls that the conversation holds already.

    Raises:
        StreamError: the body is an error, is cut, or is no response.
    """
    decoder = ContentDecoder(taken)
    frames = [*decoder.feed(data), *decoder.close()]
    if decoder.error is not None:
        raise decoder.error
    return message_of(frames)


def _arguments(data: bytes) -> str:
    """The text of an object, also where a proxy sent it as a string; empty where there is none."""
    if data.startswith(b'"'):
        return str(_decode_any(data))
    return "" if data == b"null" else data.decode()


def _usage(usage: _Usage) -> Usage:
    """Gemini counts thoughts apart from the answer's other tokens."""
    answer, thoughts = _number(usage.candidates_token_count), _number(usage.thoughts_token_count)
    return Usage(
        input_tokens=_number(usage.prompt_token_count),
        output_tokens=None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0),
        cached_input_tokens=_number(usage.cached_content_token_count),
        reasoning_tokens=thoughts,
    )


def _number(value: Any) -> int | None:
    return value if type(value) is int else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _said(reason: str | int | None) -> str:
    word = "" if reason is None else str(reason)
    return "" if word in _UNSAID else word


def _dicts(holder: Any, *names: str) -> list[dict[str, Any]]:
    found = [holder.get(name) for name in names] if isinstance(holder, dict) else []
    return [entry for entries in found if isinstance(entries, list) for entry in entries if isinstance(entry, dict)]


def _source(chunk: dict[str, Any]) -> dict[str, Any]:
    """What a grounding chunk holds, whatever it is called: web, retrievedContext, maps, image."""
    return next((value for value in chunk.values() if isinstance(value, dict)), {})


def _reported(body: object) -> ProviderStreamError:
    words, code = error_details(body)
    return ProviderStreamError(words or "the provider reported an error without a word", code=code)
