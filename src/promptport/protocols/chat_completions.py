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

from promptport.decoding import CallAssembler, SSEDecoder, StreamDecoder, error_details
from promptport.errors import IncompleteStreamError, ProtocolError, ProviderStreamError
from promptport.frames import (
    Append,
    Citation,
    End,
    FinishReason,
    ProviderItem,
    Reasoning,
    ReasoningAppend,
    StreamFrame,
    Usage,
)
from promptport.messages import AssistantMessage
from promptport.stream import message_of

__all__ = [
    "ChatCompletionsDecoder",
    "decode_chat_completion",
]


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Entry(msgspec.Struct, gc=False):
    """One entry of ``tool_calls``; ``extra_content`` is Google's, and wanted back."""

    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: dict[str, Any] | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    tool_calls: list[_Entry] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None
    executed_tools: list[dict[str, Any]] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None
    error: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    x_groq: dict[str, Any] | None = None
    citations: list[Any] | None = None
    search_results: list[Any] | None = None


class _FirstChunk(_Chunk, gc=False):
    """What every chunk repeats is read from the first ones only."""

    id: str | None = None
    model: str | None = None


_decode = msgspec.json.Decoder(_Chunk).decode
_decode_first = msgspec.json.Decoder(_FirstChunk).decode
_decode_any = msgspec.json.Decoder().decode

_REASONS = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "sensitive": FinishReason.CONTENT_FILTER,
}

_CUT = frozenset(
    [word for word, reason in _REASONS.items() if reason in (FinishReason.LENGTH, FinishReason.CONTENT_FILTER)]
    + ["abort", "insufficient_system_resource", "network_error"]
)
"""Words that say that the answer did not end by itself: the calls that are open then are unfinished."""


class ChatCompletionsDecoder(StreamDecoder[tuple[bytes, bytes]]):
    """Decodes one streamed answer; the first choice only, for a frame stream is one answer."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        """``taken``: the ids of the conversation's calls so far."""
        super().__init__(SSEDecoder())
        self._calls = CallAssembler(taken)
        self._decode: Any = _decode_first
        self._reasoning: list[str] = []
        self._reasoning_field = ""
        self._details: list[dict[str, Any]] = []
        self._refusal: list[str] = []
        self._citations: list[Any] = []
        self._usage: Any = None
        self._model: str | None = None
        self._id: str | None = None
        self._reason: str | None = None
        self._cut = False

    # ------------------------------------------------------------------------------------------- events

    def _events(self, events: Iterable[tuple[bytes, bytes]], out: list[StreamFrame]) -> None:
        """As inherited; a chunk that is text and nothing else, as nearly every chunk is, is taken in place."""
        for event in events:
            try:
                chunk = self._decode(event[1])
            except msgspec.DecodeError:
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
                            or choice.error is not None
                            or chunk.usage
                            or chunk.error is not None
                            or chunk.x_groq is not None
                            or chunk.citations
                            or chunk.search_results
                            or self._reasoning
                            or self._details
                            or self._decode is _decode_first
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
        except msgspec.DecodeError:
            if data.strip() == b"[DONE]":
                self._done(out)
                return
            lenient = _lenient(data, event[0])
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
                if choice.index:
                    self._skip("choice other than the first")
                    continue
                delta = choice.delta
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
                if choice.finish_reason or choice.error is not None:
                    self._finish(choice, chunk, out)
        elif chunk.error is None and choices is None and chunk.usage is None and chunk.x_groq is None:
            self._no_choices(event, out)
        if chunk.usage:
            self._usage = chunk.usage
        if chunk.error is not None or chunk.x_groq is not None or chunk.citations or chunk.search_results:
            self._top_level(chunk, out)
        if self._decode is _decode_first:
            self._id = self._id or chunk.id
            self._model = self._model or chunk.model
            if self._model:
                self._decode = _decode

    def _thoughts(self, delta: _Delta, out: list[StreamFrame]) -> None:
        """A delta with reasoning in it, and perhaps text after that."""
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
            _add_detail(self._details, detail)
        if delta.content:
            self._reasoned(out)
            out.append(Append(delta.content))

    def _reasoned(self, out: list[StreamFrame]) -> None:
        """The reasoning so far is a complete block: what follows it has begun."""
        if self._reasoning or self._details:
            data: dict[str, Any] = {}
            if self._reasoning_field:
                data["field"] = self._reasoning_field
            if self._details:
                data["reasoning_details"] = self._details
            out.append(Reasoning("".join(self._reasoning), data or None))
            self._reasoning, self._details, self._reasoning_field = [], [], ""

    def _tool_calls(self, entries: list[_Entry], out: list[StreamFrame]) -> None:
        if self._reasoning or self._details:
            self._reasoned(out)
        apart = False
        for entry in entries:
            function = entry.function
            if (
                function is not None
                and not (entry.id or function.name or entry.extra_content)
                and self._calls.grow(entry.index, function.arguments, out)
            ):
                apart = True
                continue
            extra = {"extra_content": entry.extra_content} if entry.extra_content else None
            self._calls.fragment(
                entry.index,
                _real_id(entry.id),
                (function.name or None) if function is not None else None,
                (function.arguments or "") if function is not None else "",
                out,
                apart=apart,
                provider_data=extra,
            )
            apart = True

    def _rare(self, delta: _Delta, out: list[StreamFrame]) -> None:
        """What most answers never hold."""
        if delta.refusal:
            self._refusal.append(delta.refusal)
        for annotation in delta.annotations or ():
            out.append(_citation(annotation))
        for item in delta.executed_tools or ():
            out.append(ProviderItem("executed_tool", item))
        if delta.function_call is not None:  # the deprecated single call, which some servers still speak
            function = delta.function_call
            self._calls.fragment("function_call", None, function.name or None, function.arguments or "", out)

    # ---------------------------------------------------------------------------------------------- ends

    def _finish(self, choice: _Choice, chunk: _Chunk, out: list[StreamFrame]) -> None:
        reason = choice.finish_reason
        if choice.error is not None or reason == "error":
            raise _reported(choice.error if choice.error is not None else chunk.error)
        self._reasoned(out)
        if reason in _CUT:
            self._cut = True
            self._reason = reason
        elif not self._cut:
            self._reason = reason
            self._calls.seal_all(out)

    def _top_level(self, chunk: _Chunk, out: list[StreamFrame]) -> None:
        if chunk.error is not None:
            raise _reported(chunk.error)
        if chunk.x_groq is not None:
            if chunk.x_groq.get("error") is not None:
                raise _reported(chunk.x_groq["error"])
            self._usage = chunk.x_groq.get("usage") or self._usage
        # Perplexity and xAI repeat the growing list of sources on every chunk: the last one counts.
        self._citations = chunk.search_results or chunk.citations or self._citations

    def _no_choices(self, event: tuple[bytes, bytes], out: list[StreamFrame]) -> None:
        """A chunk that says nothing that we know."""
        body = _decode_any(event[1])
        kind = body.get("object") if isinstance(body, dict) else None
        if event[0] == b"error" or kind == "error" or (isinstance(body, dict) and "message" in body):
            raise _reported(body)
        if kind == "chat.completion.chunk" and "choices" not in body:
            raise ProtocolError("a chunk came without choices")
        self._skip(event[0].decode("utf-8", "replace") or str(kind or "chunk"))

    def _done(self, out: list[StreamFrame]) -> None:
        if self._calls.open and not self._cut:
            raise IncompleteStreamError("the stream ended with a tool call that was not finished")
        self._end(out)

    def _end_of_bytes(self, out: list[StreamFrame]) -> None:
        if self._reason is None or (self._calls.open and not self._cut):
            if self._wire.stray:
                _report_if_error(_bare(self._wire.stray))
            raise IncompleteStreamError("the stream ended without finish_reason or [DONE]")
        self._end(out)

    def _end(self, out: list[StreamFrame]) -> None:
        self._reasoned(out)
        if self._refusal:
            out.append(ProviderItem("refusal", {"refusal": "".join(self._refusal)}))
        out.extend(map(_source, self._citations))
        if self._calls.sealed:
            reason = FinishReason.TOOL_CALLS
        elif self._refusal:
            reason = FinishReason.CONTENT_FILTER
        else:
            reason = _REASONS.get(self._reason or "", FinishReason.OTHER)
        usage = _usage(self._usage)
        out.append(End(reason, self._reason, usage, self._model, self._id, self._calls.unfinished()))
        self.ended = True

    def _no_events(self, stray: bytes, out: list[StreamFrame]) -> None:
        """No event at all: perhaps a JSON error, or the whole answer of a server that does not stream."""
        bare = _bare(stray)
        if bare[:1] in (b"{", b"["):
            self._whole(bare, out)
        else:
            super()._no_events(stray, out)

    def _whole(self, data: bytes, out: list[StreamFrame]) -> None:
        """The body of an answer that was not streamed. Raises `StreamError`."""
        body = _json(data, "the body")
        choices = body.get("choices") if isinstance(body, dict) else None
        if not isinstance(choices, list) or not choices:
            if error_details(body)[0]:
                raise _reported(body)
            raise ProtocolError("the answer has no choices")
        for choice in choices:
            if isinstance(choice, dict) and isinstance(choice.get("message"), dict):
                choice["delta"] = message = choice["message"]
                # Here each entry is a call of its own, which its place says where its index does not.
                for place, entry in enumerate(_dicts(message.get("tool_calls")) or ()):
                    entry.setdefault("index", place)
        self._event((b"", msgspec.json.encode(body)), out)
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
    return message_of(out)


# --------------------------------------------------------------------------------------- the lenient way


def _json(data: bytes, what: str) -> Any:
    try:
        return _decode_any(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"{what} is not JSON: {error}") from None


def _lenient(data: bytes, name: bytes) -> _FirstChunk | None:
    """A chunk that the typed decode refused, as far as its meaning is plain; ``None`` where it is none of ours."""
    text = data.strip()
    if name == b"error" and text[:1] not in (b"{", b"["):
        raise _reported(text.decode("utf-8", "replace").strip('"'))
    if not text or (name not in (b"", b"message", b"error") and text[:1] != b"{"):
        return None  # what keeps a connection alive has many forms
    body = _json(data, "an event")
    if not isinstance(body, dict):
        if _dicts(body) and error_details(body)[0]:  # Google puts its errors into lists
            raise _reported(body)
        raise ProtocolError("an event is not a JSON object")
    choices, usage, groq = body.get("choices"), body.get("usage"), body.get("x_groq")
    return _FirstChunk(
        choices=[_choice(choice) for choice in choices if isinstance(choice, dict)]
        if isinstance(choices, list)
        else None,
        usage=usage if isinstance(usage, dict) else None,
        error=body.get("error"),
        x_groq=groq if isinstance(groq, dict) else None,
        citations=_list(body.get("citations")),
        search_results=_list(body.get("search_results")),
        id=_text(body.get("id")),
        model=_text(body.get("model")),
    )


def _choice(body: dict[str, Any]) -> _Choice:
    delta = body.get("delta")
    return _Choice(
        _number(body.get("index")),
        _delta(delta) if isinstance(delta, dict) else None,
        _text(body.get("finish_reason")),
        body.get("error"),
    )


def _delta(body: dict[str, Any]) -> _Delta:
    content, thinking = _content(body.get("content"))
    function = body.get("function_call")
    return _Delta(
        content=content,
        tool_calls=[_entry(entry) for entry in _dicts(body.get("tool_calls")) or ()],
        reasoning_content=_text(body.get("reasoning_content")) or thinking or None,
        reasoning=_text(body.get("reasoning")),
        reasoning_details=_dicts(body.get("reasoning_details")),
        refusal=_text(body.get("refusal")),
        annotations=_dicts(body.get("annotations")),
        executed_tools=_dicts(body.get("executed_tools")),
        function_call=_function(function) if isinstance(function, dict) else None,
    )


def _content(content: Any) -> tuple[str, str]:
    """Text and thinking out of content that is a list of parts (Mistral)."""
    if isinstance(content, str):
        return content, ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            if part.get("type") == "thinking":
                thoughts.append("".join(_content(part.get("thinking"))))
            elif isinstance(part.get("text"), str):
                texts.append(part["text"])
    return "".join(texts), "".join(thoughts)


def _entry(body: dict[str, Any]) -> _Entry:
    function, extra = body.get("function"), body.get("extra_content")
    return _Entry(
        _number(body.get("index")),
        _text(body.get("id")),
        _function(function) if isinstance(function, dict) else None,
        extra if isinstance(extra, dict) else None,
    )


def _function(body: dict[str, Any]) -> _Function:
    arguments = body.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    return _Function(_text(body.get("name")), arguments)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else None


def _number(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if value.strip().isdecimal() and len(value) < 10 else None
    return int(value) if isinstance(value, int | float) else None


def _list(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) else None


def _dicts(value: Any) -> list[dict[str, Any]] | None:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else None


# ------------------------------------------------------------------------------------------ small things


def _reported(error: Any) -> ProviderStreamError:
    message, code = error_details({"error": error} if isinstance(error, str) else error)
    return ProviderStreamError(f"the provider reported an error: {message or code or 'it gave no reason'}", code=code)


def _bare(stray: bytes) -> bytes:
    """Lines that were no event: proxies write an error as it is, and llama.cpp used to, as a field of its own."""
    return stray.strip().removeprefix(b"error:").lstrip()


def _report_if_error(stray: bytes) -> None:
    """Raises `ProviderStreamError` where the lines that were no event are a JSON error."""
    try:
        body = _decode_any(stray)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if error_details(body)[0]:
        raise _reported(body)


_DETAIL_TEXTS = {"reasoning.text": "text", "reasoning.summary": "summary"}


def _add_detail(details: list[dict[str, Any]], detail: dict[str, Any]) -> None:
    """Adds an entry of OpenRouter's ``reasoning_details``, or what it adds to the last one's text."""
    key = _DETAIL_TEXTS.get(str(detail.get("type")))
    last = details[-1] if details else {}
    if key and all(last.get(field) == detail.get(field) for field in ("type", "index", "id")):
        known = {field: value for field, value in detail.items() if value is not None}
        details[-1] = {**last, **known, key: f"{last.get(key) or ''}{detail.get(key) or ''}"}
    else:
        details.append(detail)


def _real_id(text: str | None) -> str | None:
    """An id that is one: some servers fill the field with nothing, or with the word ``null``."""
    return text if text and text != "null" and not text.isspace() else None


def _citation(annotation: dict[str, Any]) -> Citation:
    inner = annotation.get("url_citation")
    source = inner if isinstance(inner, dict) else annotation
    return Citation(_text(source.get("url")), _text(source.get("title")), _text(source.get("content")), annotation)


def _source(entry: Any) -> Citation:
    if isinstance(entry, dict):
        return Citation(_text(entry.get("url")), _text(entry.get("title")), _text(entry.get("snippet")), entry)
    return Citation(str(entry))


def _usage(body: Any) -> Usage:
    """The counts, under the names that OpenAI and its clones give them."""
    if not isinstance(body, dict):
        return Usage()
    inputs, outputs = body.get("prompt_tokens_details"), body.get("completion_tokens_details")
    inputs = inputs if isinstance(inputs, dict) else {}
    outputs = outputs if isinstance(outputs, dict) else {}
    return Usage(
        _count(body.get("prompt_tokens")),
        _count(body.get("completion_tokens")),
        _count(inputs.get("cached_tokens"), body.get("prompt_cache_hit_tokens"), body.get("cache_read_input_tokens")),
        _count(inputs.get("cache_write_tokens"), body.get("cache_creation_input_tokens")),
        _count(outputs.get("reasoning_tokens"), body.get("reasoning_tokens")),
    )


def _count(*values: Any) -> int | None:
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None
