"""What the tests of this provider write with: Gemini's responses, as bytes, in both forms of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from promptport.frames import StreamFrame
from promptport.testing import cut_body
from promptport_google._decode import ContentDecoder


class Wire:
    """Writes streams, and reads them with a decoder."""

    @staticmethod
    def response(*parts: dict[str, Any], reason: Any = None, **fields: Any) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
        if reason is not None:
            candidate["finishReason"] = reason
        return {"candidates": [candidate], **fields}

    @staticmethod
    def sse(*responses: Any) -> bytes:
        return b"".join([b"data: %b\r\n\r\n" % json.dumps(response).encode() for response in responses])

    @staticmethod
    def array(*responses: Any) -> bytes:
        return ("[" + "\n,\r\n".join([json.dumps(response) for response in responses]) + "\n]").encode()

    @staticmethod
    def cuts(body: bytes) -> Iterator[list[bytes]]:
        yield [body]
        yield cut_body(body, "bytes")
        for seed in range(5):
            yield cut_body(body, ("random", seed))

    @staticmethod
    def read(chunks: Sequence[bytes], decoder: ContentDecoder | None = None) -> tuple[list[StreamFrame], str]:
        decoder = decoder or ContentDecoder()
        frames: list[StreamFrame] = []
        for chunk in chunks:
            frames += decoder.feed(chunk)
            if decoder.error is not None:
                break
        frames += decoder.close()
        return frames, repr(decoder.error) if decoder.error else ""

    def everywhere(self, *responses: Any) -> tuple[list[StreamFrame], str]:
        """What both forms give, at all cuts; it must be the same."""
        results = [self.read(cut) for body in (self.sse(*responses), self.array(*responses)) for cut in self.cuts(body)]
        assert all(result == results[0] for result in results[1:])
        return results[0]


@pytest.fixture
def wire() -> Wire:
    return Wire()
