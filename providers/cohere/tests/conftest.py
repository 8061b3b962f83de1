"""What the tests of this provider write with: Cohere's events, as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from promptport.frames import StreamFrame
from promptport.testing import cut_body
from promptport_cohere._decode import ChatDecoder


class Wire:
    """Writes streams, and reads them with a decoder."""

    done = b"data: [DONE]\n\n"

    @staticmethod
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    def start(self) -> bytes:
        empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        return self.event("message-start", id="id-1", delta={"message": empty})

    def plan(self, *texts: str) -> bytes:
        return b"".join([self.event("tool-plan-delta", delta={"message": {"tool_plan": text}}) for text in texts])

    def block(self, index: int, kind: str, *texts: str) -> bytes:
        first = self.event("content-start", index=index, delta={"message": {"content": {"type": kind, kind: ""}}})
        deltas = [
            self.event("content-delta", index=index, delta={"message": {"content": {kind: text}}}) for text in texts
        ]
        return b"".join([first, *deltas, self.event("content-end", index=index)])

    def call(self, index: int, id: str, name: str, *texts: str, end: bool = True) -> bytes:
        head = {"id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        events = [self.event("tool-call-start", index=index, delta={"message": {"tool_calls": head}})]
        for text in texts:
            call = {"function": {"arguments": text}}
            events.append(self.event("tool-call-delta", index=index, delta={"message": {"tool_calls": call}}))
        return b"".join(events) + (self.event("tool-call-end", index=index) if end else b"")

    def end(self, reason: str = "COMPLETE", **delta: Any) -> bytes:
        return self.event("message-end", delta={"finish_reason": reason, **delta}) + self.done

    @staticmethod
    def cuts(body: bytes) -> Iterator[list[bytes]]:
        yield [body]
        yield cut_body(body, "bytes")
        for seed in range(5):
            yield cut_body(body, ("random", seed))

    @staticmethod
    def read(chunks: Sequence[bytes], decoder: ChatDecoder | None = None) -> tuple[list[StreamFrame], str]:
        decoder = decoder or ChatDecoder()
        frames: list[StreamFrame] = []
        for chunk in chunks:
            frames += decoder.feed(chunk)
            if decoder.ended or decoder.error is not None:
                break
        else:
            frames += decoder.close()
        return frames, repr(decoder.error) if decoder.error else ""

    def everywhere(self, *events: bytes) -> tuple[list[StreamFrame], str]:
        """What these events give, at all cuts; it must be the same."""
        results = [self.read(cut) for cut in self.cuts(b"".join(events))]
        assert all(result == results[0] for result in results[1:])
        return results[0]


@pytest.fixture
def wire() -> Wire:
    return Wire()
