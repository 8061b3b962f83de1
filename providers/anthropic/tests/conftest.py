"""What the tests of this provider write with: the events of the Messages API, as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from promptport.decoding import StreamDecoder
from promptport.frames import StreamFrame
from promptport.testing import cut_body


class Wire:
    """Writes streams, and reads them with a decoder."""

    @staticmethod
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    def start(self, content: Sequence[dict[str, Any]] = (), stop_reason: str | None = None, **usage: Any) -> bytes:
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-test",
            "content": list(content),
            "stop_reason": stop_reason,
            "usage": {"input_tokens": 10, "output_tokens": 1, **usage},
        }
        return self.event("message_start", message=message)

    def delta(self, index: int, kind: str, **fields: Any) -> bytes:
        return self.event("content_block_delta", index=index, delta={"type": kind, **fields})

    def block(self, index: int, block: dict[str, Any], *deltas: dict[str, Any], stop: bool = True) -> bytes:
        events = [self.event("content_block_start", index=index, content_block=block)]
        events += [self.event("content_block_delta", index=index, delta=delta) for delta in deltas]
        if stop:
            events.append(self.event("content_block_stop", index=index))
        return b"".join(events)

    def text(self, index: int, *texts: str) -> bytes:
        return self.block(
            index, {"type": "text", "text": ""}, *[{"type": "text_delta", "text": text} for text in texts]
        )

    def tool(
        self, index: int, id: str, name: str, *parts: str, given: Any = None, stop: bool = True, **more: Any
    ) -> bytes:
        block = {"type": "tool_use", "id": id, "name": name, "input": given or {}, **more}
        return self.block(
            index, block, *[{"type": "input_json_delta", "partial_json": part} for part in parts], stop=stop
        )

    def thinking(self, index: int, *texts: str, signature: str | None = "sig") -> bytes:
        deltas: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": text} for text in texts]
        if signature is not None:
            deltas.append({"type": "signature_delta", "signature": signature})
        return self.block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas)

    def end(self, stop_reason: str | None = "end_turn", output_tokens: int = 5, **usage: Any) -> bytes:
        delta = {"stop_reason": stop_reason, "stop_sequence": None}
        usage = {"output_tokens": output_tokens, **usage}
        return self.event("message_delta", delta=delta, usage=usage) + self.event("message_stop")

    @staticmethod
    def cuts(body: bytes) -> Iterator[list[bytes]]:
        yield [body]
        yield cut_body(body, "bytes")
        for seed in range(5):
            yield cut_body(body, ("random", seed))

    @staticmethod
    def read(decoder: StreamDecoder[Any], chunks: Sequence[bytes]) -> list[StreamFrame]:
        frames: list[StreamFrame] = []
        for chunk in chunks:
            frames += decoder.feed(chunk)
            if decoder.ended or decoder.error is not None:
                return frames
        return frames + decoder.close()


@pytest.fixture
def wire() -> Wire:
    return Wire()
