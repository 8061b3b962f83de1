"""The chunks of Chat Completions: what is decoded of each, and what the clones make of it. Pure.

Rule: as in `promptport.protocols.chat_completions`, whose two ways begin here: a typed decode of the few fields that
matter, and an untyped one for a chunk that the first refuses.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from promptport.decoding import MALFORMED, error_details
from promptport.errors import ProtocolError, ProviderStreamError
from promptport.frames import Citation, Usage

__all__ = [
    "Choice",
    "Chunk",
    "Delta",
    "Details",
    "Entry",
    "FirstChunk",
    "Function",
    "bare_error",
    "citation_of",
    "decode_any",
    "decode_chunk",
    "decode_first_chunk",
    "decode_increment",
    "delta_in_place",
    "delta_of",
    "dicts_in",
    "is_last_word",
    "lenient_chunk",
    "other_thought",
    "raw_choice",
    "read_json",
    "real_id",
    "real_name",
    "report_if_error",
    "report_if_failed",
    "reported",
    "source_of",
    "text_in",
    "usage_of",
    "whole_answer",
]


class Function(msgspec.Struct, gc=False):
    """What an entry of ``tool_calls`` calls."""

    name: str | None = None
    arguments: str | None = None


class Entry(msgspec.Struct, gc=False):
    """One entry of ``tool_calls``; ``extra_content`` is Google's, and wanted back."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    extra_content: dict[str, Any] | None = None


class Delta(msgspec.Struct, gc=False):
    """One increment of a choice."""

    content: str | None = None
    tool_calls: list[Entry] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None
    executed_tools: list[dict[str, Any]] | None = None
    function_call: Function | None = None
    # Only the lenient way sets it, where the content is a list with more than text in it (Mistral): of each part its
    # kind, its text, and what goes back.
    content_parts: list[tuple[str, str, dict[str, Any]]] | None = msgspec.field(default=None, name=" content_parts")


class Choice(msgspec.Struct, gc=False):
    """One of ``choices``."""

    index: int | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    error: Any = None
    usage: dict[str, Any] | None = None


class Chunk(msgspec.Struct, gc=False):
    """One event, as far as it matters."""

    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    x_groq: dict[str, Any] | None = None
    citations: list[Any] | None = None
    search_results: list[Any] | None = None


class FirstChunk(Chunk, gc=False):
    """What every chunk repeats is read from the first ones only."""

    id: str | None = None
    model: str | None = None


class _GrowingFunction(msgspec.Struct, gc=False):
    """One more increment of a call's arguments and nothing else, as below: what would count besides is refused."""

    arguments: str
    name: Literal[""] | None = None


class _GrowingEntry(msgspec.Struct, gc=False):
    function: _GrowingFunction
    index: int | None = None
    id: str | None = None
    extra_content: None = None


class _GrowingDelta(msgspec.Struct, gc=False):
    tool_calls: tuple[_GrowingEntry]
    content: Literal[""] | None = None
    reasoning_content: None = None
    reasoning: None = None
    reasoning_details: None = None
    refusal: None = None
    annotations: None = None
    executed_tools: None = None
    function_call: None = None


class _GrowingChoice(msgspec.Struct, gc=False):
    delta: _GrowingDelta
    index: Literal[0] | None = None
    finish_reason: None = None
    error: None = None
    usage: None = None


class _Growing(msgspec.Struct, gc=False):
    choices: tuple[_GrowingChoice]
    usage: None = None
    error: None = None
    x_groq: None = None
    citations: None = None
    search_results: None = None


decode_increment = msgspec.json.Decoder(_Growing).decode
decode_chunk = msgspec.json.Decoder(Chunk).decode
decode_first_chunk = msgspec.json.Decoder(FirstChunk).decode
decode_any = msgspec.json.Decoder().decode


# --------------------------------------------------------------------------------------- the lenient way


def read_json(data: bytes, what: str) -> Any:
    """The decoded JSON. Raises `ProtocolError` where it is none."""
    try:
        return decode_any(data)
    except MALFORMED as error:
        raise ProtocolError(f"{what} is not JSON: {error}") from None


def lenient_chunk(data: bytes, name: bytes) -> FirstChunk | None:
    """A chunk that the typed decode refused, as far as its meaning is plain; ``None`` where it is none of ours."""
    text = data.strip()
    if name == b"error" and text[:1] not in (b"{", b"["):
        raise reported(text.decode("utf-8", "replace").strip('"'))
    if not text or (name not in (b"", b"message", b"error") and text[:1] != b"{"):
        return None  # what keeps a connection alive has many forms
    body = read_json(data, "an event")
    if not isinstance(body, dict):
        if dicts_in(body) and error_details(body)[0]:  # Google puts its errors into lists
            raise reported(body)
        raise ProtocolError("an event is not a JSON object")
    choices, usage, groq = body.get("choices"), body.get("usage"), body.get("x_groq")
    objects = dicts_in(choices)
    return FirstChunk(
        choices=None if objects is None or (choices and not objects) else [_choice(choice) for choice in objects],
        usage=_dict(usage),
        error=body.get("error"),
        x_groq=_dict(groq),
        citations=_list(body.get("citations")),
        search_results=_list(body.get("search_results")),
        id=_text(body.get("id")),
        model=_text(body.get("model")),
    )


def _choice(body: dict[str, Any]) -> Choice:
    delta = body.get("delta")
    return Choice(
        _number(body.get("index")),
        delta_of(delta) if isinstance(delta, dict) else None,
        _text(body.get("finish_reason")),
        body.get("error"),
        _dict(body.get("usage")),
    )


def delta_of(body: dict[str, Any]) -> Delta:
    """An increment, or a message in its place, as far as its meaning is plain."""
    parts = _parts(body.get("content"))
    function = body.get("function_call")
    details = dicts_in(_listed(body.get("reasoning_details")))
    more = any(kind != "text" for kind, _, _ in parts)
    if more:
        details = details or []  # which says that there is reasoning
    return Delta(
        content="".join([text for kind, text, _ in parts if kind == "text"]),
        tool_calls=[_entry(entry) for entry in dicts_in(_listed(body.get("tool_calls"))) or ()],
        reasoning_content=text_in(body.get("reasoning_content")),
        reasoning=text_in(body.get("reasoning")),
        reasoning_details=details,
        refusal=_text(body.get("refusal")),
        annotations=dicts_in(body.get("annotations")),
        executed_tools=dicts_in(body.get("executed_tools")),
        function_call=_function(function) if isinstance(function, dict) else None,
        content_parts=parts if more else None,
    )


def _parts(content: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """What content holds that is a list of parts: text, thinking (Mistral); plain text is one part."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for part in _list(_listed(content)) or ():
        if isinstance(part, str):
            found.append(("text", part, {}))
        elif isinstance(part, dict):
            kind = part.get("type")
            if kind == "thinking":
                signature = part.get("signature")
                data = {"signature": signature} if isinstance(signature, str) else {}
                found.append(("thinking", text_in(part.get("thinking")) or "", data))
            elif isinstance(part.get("text"), str):
                found.append(("text", part["text"], {}))
    return found


def text_in(value: Any) -> str | None:
    """Text that may stand in an object, or in a list of parts."""
    if isinstance(value, list):
        return "".join([text_in(part) or "" for part in value if isinstance(part, str | dict)])
    if isinstance(value, dict):
        return next((value[name] for name in ("text", "content", "summary") if isinstance(value.get(name), str)), None)
    return _text(value)


def _entry(body: dict[str, Any]) -> Entry:
    function, extra = body.get("function"), body.get("extra_content")
    return Entry(
        _number(body.get("index")),
        _text(body.get("id")),
        _function(function) if isinstance(function, dict) else None,
        extra if isinstance(extra, dict) else None,
    )


def _function(body: dict[str, Any]) -> Function:
    arguments = body.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    return Function(_text(body.get("name")), arguments)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else None


def _number(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if value.strip().isdecimal() and len(value) < 10 else None
    return int(value) if isinstance(value, int | float) else None


def _list(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) else None


def _listed(value: Any) -> Any:
    """What stands alone where others write a list."""
    return [value] if isinstance(value, dict | str) else value


def _dict(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def dicts_in(value: Any) -> list[dict[str, Any]] | None:
    """The objects in a list; ``None`` where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else None


# ------------------------------------------------------------------------------------------ small things


def reported(error: Any) -> ProviderStreamError:
    """The error for an error object of the provider's."""
    message, code = error_details({"error": error} if isinstance(error, str) else error)
    return ProviderStreamError(f"the provider reported an error: {message or code or 'it gave no reason'}", code=code)


_FAILED = ("message", "detail", "errors", "error_msg", "error_message", "error")


def report_if_failed(body: Any) -> None:
    """Raises `ProviderStreamError` where an object without choices says that the request failed, as servers do."""
    if not isinstance(body, dict):
        return
    status = body.get("status_code", body.get("status", body.get("code")))
    told = body.get("base_resp")  # MiniMax
    if isinstance(told, dict):
        if told.get("status_code"):
            raise reported({"message": told.get("status_msg"), "code": told["status_code"]})
    elif any(body.get(name) not in (None, [], "") for name in _FAILED) or (isinstance(status, int) and status >= 400):
        raise reported({**body, "message": body["error_msg"]} if body.get("error_msg") else body)


def is_last_word(data: bytes) -> bool:
    """Whether the event says that the stream is over, in whatever spelling."""
    return data.strip(b' \t"').upper() == b"[DONE]"


def raw_choice(data: bytes, choice: Choice) -> dict[str, Any]:
    """The choice as it came."""
    body = decode_any(data)
    found = dicts_in(body.get("choices")) if isinstance(body, dict) else None
    for raw in found or ():
        if len(found or ()) == 1 or raw.get("index") == choice.index:
            return raw
    return {}


def delta_in_place(body: dict[str, Any]) -> Delta | None:
    """What stands in a choice in place of its delta: a message, or the text of the old Completions."""
    message, text = body.get("message"), body.get("text")
    if isinstance(message, dict):
        for place, entry in enumerate(dicts_in(message.get("tool_calls")) or ()):
            entry.setdefault("index", place)
        return delta_of(message)
    return delta_of({"content": text}) if isinstance(text, str) else None


_THOUGHT_FIELDS = ("reasoning_text", "thinking")  # Copilot's, and of servers with templates of their own


def other_thought(read: Any) -> tuple[str, str]:
    """Reasoning under a name that few servers use, and that name."""
    for field in _THOUGHT_FIELDS if isinstance(read, dict) else ():
        if text := text_in(read.get(field)):
            return field, text
    return "", ""


def whole_answer(data: bytes) -> bytes:
    """The body of an answer that was not streamed, as one chunk.

    Raises:
        ProviderStreamError, ProtocolError: An error in its place, or no choices.
    """
    body = read_json(data, "the body")
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices:
        report_if_failed(body)
        if error_details(body)[0]:
            raise reported(body)
        raise ProtocolError("the answer has no choices")
    for choice in choices:
        if isinstance(choice, dict) and isinstance(choice.get("message"), dict):
            choice["delta"] = message = choice["message"]
            # Here each entry is a call of its own, which its place says where its index does not.
            for place, entry in enumerate(dicts_in(message.get("tool_calls")) or ()):
                entry.setdefault("index", place)
    return msgspec.json.encode(body)


def bare_error(stray: bytes) -> bytes:
    """Lines that were no event: proxies write an error as it is, and llama.cpp used to, as a field of its own."""
    return stray.strip().removeprefix(b"error:").lstrip()


def report_if_error(stray: bytes) -> None:
    """Raises `ProviderStreamError` where the lines that were no event are a JSON error."""
    try:
        body = decode_any(stray)
    except MALFORMED:
        return
    if error_details(body)[0]:
        raise reported(body)


_DETAIL_TEXTS = {"reasoning.text": "text", "reasoning.summary": "summary"}


class Details:
    """OpenRouter's ``reasoning_details``: each entry that goes on with the last one's text is added to that."""

    __slots__ = ("_added", "_entries")

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._added: list[str] = []  # the last entry's text, where several entries brought it

    def add(self, detail: dict[str, Any]) -> None:
        """One more entry as it came."""
        key = _DETAIL_TEXTS.get(str(detail.get("type")))
        last = self._entries[-1] if self._entries else {}
        if key and all(last.get(field) == detail.get(field) for field in ("type", "index", "id")):
            if not self._added:
                self._added.append(str(last.get(key) or ""))
                self._entries[-1] = last = dict(last)
            last.update({field: value for field, value in detail.items() if value is not None})
            self._added.append(str(detail.get(key) or ""))
        else:
            self._join()
            self._entries.append(detail)

    def _join(self) -> None:
        if self._added:
            last = self._entries[-1]
            last[_DETAIL_TEXTS[str(last["type"])]] = "".join(self._added)
            self._added.clear()

    def whole(self) -> list[dict[str, Any]]:
        """The entries, to be sent back."""
        self._join()
        return self._entries


def real_id(text: str | None) -> str | None:
    """An id that is one: some servers fill the field with nothing, or with the word ``null``."""
    return text if text and text != "null" and not text.isspace() else None


def real_name(text: str | None) -> str | None:
    """A name that is one: some servers fill the field of a continuation with blanks."""
    return text if text and not text.isspace() else None


def citation_of(annotation: dict[str, Any]) -> Citation:
    """The frame for an annotation of OpenAI's form."""
    inner = annotation.get("url_citation")
    source = inner if isinstance(inner, dict) else annotation
    return Citation(_text(source.get("url")), _text(source.get("title")), _text(source.get("content")), annotation)


def source_of(entry: Any) -> Citation:
    """The frame for an entry of Perplexity's and xAI's lists."""
    if isinstance(entry, dict):
        return Citation(_text(entry.get("url")), _text(entry.get("title")), _text(entry.get("snippet")), entry)
    return Citation(str(entry))


def usage_of(body: Any) -> Usage:
    """The counts, under the names that OpenAI and its clones give them."""
    if not isinstance(body, dict):
        return Usage()
    inputs, outputs = body.get("prompt_tokens_details"), body.get("completion_tokens_details")
    inputs = inputs if isinstance(inputs, dict) else {}
    outputs = outputs if isinstance(outputs, dict) else {}
    return Usage(
        _count(body.get("prompt_tokens"), body.get("input_tokens")),
        _count(body.get("completion_tokens"), body.get("output_tokens")),
        _count(
            inputs.get("cached_tokens"),
            body.get("prompt_cache_hit_tokens"),
            body.get("cache_read_input_tokens"),
            body.get("cached_tokens"),
        ),
        _count(inputs.get("cache_write_tokens"), body.get("cache_creation_input_tokens")),
        _count(outputs.get("reasoning_tokens"), body.get("reasoning_tokens")),
    )


def _count(*values: Any) -> int | None:
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == value // 1:
            return int(value)
    return None
