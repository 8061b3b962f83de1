r"""What the benchmarks' server says: for each API an answer of as many deltas as asked for, in the providers' shape.

Rule: pure, and the same bytes every time. Fields, their order and their lengths are those of recorded answers of
2025 and 2026, padding (``obfuscation``) included; words and ids are made up.
"""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from dataclasses import dataclass

APIS = ("chat", "responses", "anthropic", "ollama")
MORE_APIS = ("google", "bedrock", "cohere", "mistral")
"""Measured on text and on arguments only."""
MODELS = {"chat": "gpt-5-mini", "responses": "gpt-5-mini", "anthropic": "claude-sonnet-5", "ollama": "qwen3:8b"}
MODELS |= {"google": "gemini-3.5-flash", "bedrock": "amazon.nova-pro-v1:0"}
MODELS |= {"cohere": "command-a-03-2025", "mistral": "mistral-medium-latest"}
TOOL = {
    "name": "save_text",
    "description": "Saves a text.",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}
TOOL_NAME = str(TOOL["name"])
CALL_ID = "call_8Jt2mVxk3QdYw0LrNfBzTgHc"
HUGE = 4 * 1024 * 1024
STAMP = "@" * 18
"""Stands in an event where the server writes the time at which it sends it."""

_WORDS = (
    "The", " stream", " of", " tokens", " is", " cut", " where", " the", " model", " likes", ",", " not", " where",
    " a", " reader", " would", ":", "\n\n", "-", " some", " are", " one", " letter", ",", " some", " hold", " “", "qu",
    "otes", "”", " or", " a", " \"", "straight", "\"", " one", ".", " Naïve", " counting", " is", " off", ".", "\n",
)  # fmt: skip


@dataclass(frozen=True)
class Wire:
    """One answer: its events, in the API's own framing."""

    head: list[bytes]
    deltas: list[bytes]
    tail: list[bytes]

    def chunks(self, events_per_chunk: int) -> list[bytes]:
        """The answer in HTTP chunks; head and tail are one event a chunk."""
        joined = [
            b"".join(self.deltas[start : start + events_per_chunk])
            for start in range(0, len(self.deltas), events_per_chunk)
        ]
        return [*self.head, *joined, *self.tail]


def pieces_of(kind: str, count: int) -> list[str]:
    """What the deltas say: words, the arguments of a call, one huge word, or a stamp each."""
    if kind == "call":
        words = list(itertools.islice(itertools.cycle(word for word in _WORDS if word.isascii()), count - 2))
        return ['{"text": "', *[json.dumps(word)[1:-1] for word in words], '"}']
    if kind == "huge":
        return ["".join(itertools.islice(itertools.cycle(_WORDS), HUGE // 4))[:HUGE]]
    if kind == "paced":
        return [STAMP] * count
    return list(itertools.islice(itertools.cycle(_WORDS), count))


def wire(api: str, kind: str, count: int) -> Wire:
    """The answer of one API whose deltas are `pieces_of`."""
    pieces = pieces_of(kind, count)
    return _MAKERS[api](pieces, kind == "call")


def _data(body: object) -> bytes:
    return b"data: " + _json(body) + b"\n\n"


def _event(body: dict[str, object]) -> bytes:
    return b"event: " + str(body["type"]).encode() + b"\n" + _data(body)


def _json(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


# -------------------------------------------------------------------------------------- Chat Completions


def _chat(pieces: list[str], call: bool) -> Wire:
    def chunk(delta: dict[str, object], number: int = 0, **choice: object) -> bytes:
        body = _chat_head()
        body["choices"] = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **choice}]
        body["usage"] = None
        body["obfuscation"] = _padding(number)
        return _data(body)

    if call:
        function = {"name": TOOL["name"], "arguments": ""}
        opening = [{"index": 0, "id": CALL_ID, "type": "function", "function": function}]
        head = chunk({"role": "assistant", "content": None, "tool_calls": opening, "refusal": None})
        deltas = [
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, number)
            for number, piece in enumerate(pieces)
        ]
    else:
        head = chunk({"role": "assistant", "content": "", "refusal": None})
        deltas = [chunk({"content": piece}, number) for number, piece in enumerate(pieces)]
    usage = _chat_head()
    usage["choices"] = []
    usage["usage"] = {
        "prompt_tokens": 78,
        "completion_tokens": len(pieces),
        "total_tokens": 78 + len(pieces),
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    last = chunk({}, finish_reason="tool_calls" if call else "stop")
    return Wire([head], deltas, [last, _data(usage), b"data: [DONE]\n\n"])


def _chat_head() -> dict[str, object]:
    return {
        "id": "chatcmpl-BvK7sPq2LxWm9TzR4dYhNcJgEfUoA",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": MODELS["chat"],
        "service_tier": "default",
        "system_fingerprint": "fp_5f8a1c3e7b",
    }


def _padding(number: int) -> str:
    return "aZ4kT9bQ2wX7cR5v"[: 3 + number * 7 % 13]


# --------------------------------------------------------------------------------------------- Responses


class _Numbered:
    """Events of the Responses API, which count themselves."""

    def __init__(self) -> None:
        self._next = 0

    def event(self, type: str, **fields: object) -> bytes:
        body = {"type": type, "sequence_number": self._next, **fields}
        self._next += 1
        return _event(body)


def _responses(pieces: list[str], call: bool) -> Wire:
    say = _Numbered()
    head = [_response(say, "created"), _response(say, "in_progress")]
    opened, deltas, closed, item = (_function_call if call else _message)(say, 0, pieces)
    tail = [*closed, _response(say, "completed", [item])]
    return Wire([*head, *opened], deltas, tail)


def _response(say: _Numbered, status: str, output: list[object] | None = None) -> bytes:
    done = output is not None
    usage = {
        "input_tokens": 78,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 500,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 578,
    }
    body = {
        "id": "resp_0d4b7a91c2e85f360068f7a3b1c4d2e8",
        "object": "response",
        "created_at": 1790000000,
        "status": "completed" if done else "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": MODELS["responses"],
        "output": output or [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage if done else None,
        "user": None,
        "metadata": {},
    }
    return say.event(f"response.{status}", response=body)


_Item = tuple[list[bytes], list[bytes], list[bytes], object]


def _message(say: _Numbered, index: int, pieces: list[str]) -> _Item:
    place = {"item_id": "msg_0d4b7a91c2e85f360068f7a3b2a1948", "output_index": index, "content_index": 0}
    item = {"id": place["item_id"], "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    part: dict[str, object] = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    opened = [
        say.event("response.output_item.added", output_index=index, item=item),
        say.event("response.content_part.added", **place, part=part),
    ]
    deltas = [
        say.event("response.output_text.delta", **place, delta=piece, logprobs=[], obfuscation=_padding(number))
        for number, piece in enumerate(pieces)
    ]
    text = "".join(pieces)
    part = {**part, "text": text}
    item = {**item, "status": "completed", "content": [part]}
    closed = [
        say.event("response.output_text.done", **place, text=text, logprobs=[]),
        say.event("response.content_part.done", **place, part=part),
        say.event("response.output_item.done", output_index=index, item=item),
    ]
    return opened, deltas, closed, item


def _function_call(say: _Numbered, index: int, pieces: list[str]) -> _Item:
    place = {"item_id": "fc_0d4b7a91c2e85f360068f7a3b3c7f50", "output_index": index}
    item = {
        "id": place["item_id"],
        "type": "function_call",
        "status": "in_progress",
        "arguments": "",
        "call_id": CALL_ID,
        "name": TOOL["name"],
    }
    opened = [say.event("response.output_item.added", output_index=index, item=item)]
    deltas = [
        say.event("response.function_call_arguments.delta", **place, delta=piece, obfuscation=_padding(number))
        for number, piece in enumerate(pieces)
    ]
    arguments = "".join(pieces)
    item = {**item, "status": "completed", "arguments": arguments}
    closed = [
        say.event("response.function_call_arguments.done", **place, arguments=arguments),
        say.event("response.output_item.done", output_index=index, item=item),
    ]
    return opened, deltas, closed, item


def overlapping() -> Wire:
    """An answer of the Responses API that begins with a call, whole before any text, and goes on with text."""
    say = _Numbered()
    call = _function_call(say, 0, pieces_of("call", 8))
    message = _message(say, 1, pieces_of("text", 20))
    head = [_response(say, "created"), *call[0], *call[1], *call[2]]
    return Wire(
        [b"".join(head)],
        [*message[0], *message[1], *message[2]],
        [_response(say, "completed", [call[3], message[3]])],
    )


# --------------------------------------------------------------------------------------------- Anthropic


def _anthropic(pieces: list[str], call: bool) -> Wire:
    usage = {
        "input_tokens": 78,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 1,
        "service_tier": "standard",
    }
    message: dict[str, object] = {
        "id": "msg_01Rb5KqXw7ZtYn3DfGhLmPsV",
        "type": "message",
        "role": "assistant",
        "model": MODELS["anthropic"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    if call:
        block: dict[str, object] = {"type": "tool_use", "id": f"toolu_{CALL_ID}", "name": TOOL["name"], "input": {}}
    else:
        block = {"type": "text", "text": ""}
    name, field = ("input_json_delta", "partial_json") if call else ("text_delta", "text")
    deltas = [
        _event({"type": "content_block_delta", "index": 0, "delta": {"type": name, field: piece}}) for piece in pieces
    ]
    reason = "tool_use" if call else "end_turn"
    head = [
        _event({"type": "message_start", "message": message}),
        _event({"type": "content_block_start", "index": 0, "content_block": block}),
        _event({"type": "ping"}),
    ]
    tail = [
        _event({"type": "content_block_stop", "index": 0}),
        _event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None},
                "usage": {**usage, "output_tokens": len(pieces)},
            }
        ),
        _event({"type": "message_stop"}),
    ]
    return Wire(head, deltas, tail)


# ------------------------------------------------------------------------------------------------ Ollama


def _ollama(pieces: list[str], call: bool) -> Wire:
    if call:
        raise ValueError("Ollama's calls come whole: they have no deltas")

    def line(content: str, number: int, **more: object) -> bytes:
        body: dict[str, object] = {
            "model": MODELS["ollama"],
            "created_at": f"2026-11-20T10:{number // 60 % 60:02d}:{number % 60:02d}.{number % 1000000:06d}Z",
            "message": {"role": "assistant", "content": content},
            "done": False,
        }
        return _json({**body, **more}) + b"\n"

    tail = line(
        "",
        len(pieces),
        done=True,
        done_reason="stop",
        total_duration=1090132250,
        load_duration=37169917,
        prompt_eval_count=78,
        prompt_eval_duration=5328708,
        eval_count=len(pieces),
        eval_duration=1047300292,
    )
    return Wire([], [line(piece, number) for number, piece in enumerate(pieces)], [tail])


# ------------------------------------------------------------------------------------------------ Gemini


def _google(pieces: list[str], call: bool) -> Wire:
    if call:
        raise ValueError("Gemini's calls come whole: they have no deltas")

    def event(text: str, number: int, **candidate: object) -> bytes:
        content = {"parts": [{"text": text}], "role": "model"}
        body = {
            "candidates": [{"content": content, **candidate, "index": 0}],
            "usageMetadata": {
                "promptTokenCount": 78,
                "candidatesTokenCount": number + 1,
                "totalTokenCount": 79 + number,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 78}],
            },
            "modelVersion": MODELS["google"],
            "responseId": "5Xk1aY7bLqfVz7IPx8mR6Ao",
        }
        return b"data: " + _json(body) + b"\r\n\r\n"

    deltas = [event(piece, number) for number, piece in enumerate(pieces)]
    return Wire([], deltas, [event("", len(pieces), finishReason="STOP")])


# ----------------------------------------------------------------------------------------------- Bedrock


def _bedrock(pieces: list[str], call: bool) -> Wire:
    def delta(piece: str, number: int) -> bytes:
        inner = {"toolUse": {"input": piece}} if call else {"text": piece}
        return _frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": inner, "p": _padding(number)})

    tool = {"toolUse": {"name": TOOL["name"], "toolUseId": "tooluse_8Jt2mVxk3QdYw0LrNfBzTg"}}
    head = [_frame("messageStart", {"p": "abcd", "role": "assistant"})]
    head += [_frame("contentBlockStart", {"contentBlockIndex": 0, "p": "abc", "start": tool})] if call else []
    usage = {"inputTokens": 78, "outputTokens": len(pieces), "totalTokens": 78 + len(pieces)}
    tail = [
        _frame("contentBlockStop", {"contentBlockIndex": 0, "p": "abcde"}),
        _frame("messageStop", {"p": "abcdef", "stopReason": "tool_use" if call else "end_turn"}),
        _frame("metadata", {"metrics": {"latencyMs": 1200}, "p": "ab", "usage": usage}),
    ]
    return Wire(head, [delta(piece, number) for number, piece in enumerate(pieces)], tail)


def _frame(kind: str, body: object) -> bytes:
    """One message of an AWS event stream."""
    told = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        [
            struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
            for name, value in told.items()
        ]
    )
    payload = _json(body)
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


# ------------------------------------------------------------------------------------------------ Cohere


def _cohere(pieces: list[str], call: bool) -> Wire:
    def event(type: str, **fields: object) -> bytes:
        return b"event: " + type.encode() + b"\n" + _data({"type": type, **fields})

    def said(message: dict[str, object]) -> dict[str, object]:
        return {"message": message}

    head = [event("message-start", id="29f14a5a-11de", delta=said({"role": "assistant", "content": []}))]
    if call:
        opened = {"id": "save_text_8Jt2mVxk3Q", "type": "function", "function": {"name": TOOL["name"], "arguments": ""}}
        head.append(event("tool-call-start", index=0, delta=said({"tool_calls": opened})))
        deltas = [
            event("tool-call-delta", index=0, delta=said({"tool_calls": {"function": {"arguments": piece}}}))
            for piece in pieces
        ]
    else:
        head.append(event("content-start", index=0, delta=said({"content": {"type": "text", "text": ""}})))
        deltas = [event("content-delta", index=0, delta=said({"content": {"text": piece}})) for piece in pieces]
    tokens = {"input_tokens": 78, "output_tokens": len(pieces)}
    ended = {"finish_reason": "TOOL_CALL" if call else "COMPLETE", "usage": {"billed_units": tokens, "tokens": tokens}}
    tail = [event("tool-call-end" if call else "content-end", index=0), event("message-end", delta=ended)]
    return Wire(head, deltas, [*tail, b"data: [DONE]\n\n"])


# ----------------------------------------------------------------------------------------------- Mistral


def _mistral(pieces: list[str], call: bool) -> Wire:
    def chunk(delta: dict[str, object], number: int = 0, reason: str | None = None, **more: object) -> bytes:
        head = {"id": "b5d5a2d8c1d44c0a9c5a2c7b8f5e6a11", "object": "chat.completion.chunk", "created": 1790000000}
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _data({**head, "model": MODELS["mistral"], "choices": [choice], **more, "p": _padding(number)})

    def entry(name: str, arguments: str) -> dict[str, object]:
        return {"tool_calls": [{"id": "D681PevKs", "function": {"name": name, "arguments": arguments}, "index": 0}]}

    if call:
        deltas = [chunk(entry("" if number else TOOL_NAME, piece), number) for number, piece in enumerate(pieces)]
    else:
        deltas = [chunk({"content": piece}, number) for number, piece in enumerate(pieces)]
    usage = {"prompt_tokens": 78, "completion_tokens": len(pieces), "total_tokens": 78 + len(pieces)}
    last = chunk({"content": ""}, 0, "tool_calls" if call else "stop", usage=usage)
    return Wire([chunk({"role": "assistant", "content": ""})], deltas, [last, b"data: [DONE]\n\n"])


_MAKERS = {"chat": _chat, "responses": _responses, "anthropic": _anthropic, "ollama": _ollama}
_MAKERS |= {"google": _google, "bedrock": _bedrock, "cohere": _cohere, "mistral": _mistral}
