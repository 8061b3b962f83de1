"""What the tests of Responses write and read with: events as bytes, decoded whole, byte by byte and cut at random."""

from __future__ import annotations

import json
import random
from typing import Any, NamedTuple

import pytest

from promptport.errors import StreamError
from promptport.frames import Append, End, InvalidToolCall, ReasoningAppend, StreamFrame, ToolCall, ToolCallDelta
from promptport.messages import AssistantMessage
from promptport.protocols import ResponsesDecoder
from promptport.stream import message_of

Event = dict[str, Any]


class Outcome(NamedTuple):
    frames: list[StreamFrame]
    error: StreamError | None
    skipped: dict[str, int]

    @property
    def message(self) -> AssistantMessage:
        assert self.error is None, self.error
        return message_of(self.frames)

    @property
    def end(self) -> End:
        assert self.error is None, self.error
        last = self.frames[-1]
        assert isinstance(last, End)
        return last

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        """The calls that are safe to run, as id, name and arguments; there are no others."""
        assert self.message.invalid_tool_calls == ()
        return [(part.id, part.name, part.arguments) for part in self.message.tool_calls]


class ResponsesWire:
    """Writes streams, and reads them."""

    # ------------------------------------------------------------------------------------------ events

    def event(self, kind: str, **fields: Any) -> Event:
        return {"type": kind, **{name: value for name, value in fields.items() if value is not ...}}

    def text(self, delta: str, **fields: Any) -> Event:
        return {**self.event("response.output_text.delta", output_index=0, content_index=0, delta=delta), **fields}

    def summary(self, delta: str, part: int = 0) -> Event:
        fields = {"output_index": 0, "item_id": "rs_1", "summary_index": part}
        return self.event("response.reasoning_summary_text.delta", **fields, delta=delta)

    def added(self, index: Any, item: Event) -> Event:
        return self.event("response.output_item.added", output_index=index, item=item)

    def done(self, index: Any, item: Event) -> Event:
        return self.event("response.output_item.done", output_index=index, item=item)

    def arguments(self, index: Any, delta: str, **fields: Any) -> Event:
        fields = {"output_index": index, "delta": delta, **fields}
        return self.event("response.function_call_arguments.delta", **fields)

    def arguments_done(self, index: Any, whole: str, **fields: Any) -> Event:
        return self.event("response.function_call_arguments.done", output_index=index, arguments=whole, **fields)

    def call(self, id: str | None = "call_1", name: str = "transfer", whole: str = "", **fields: Any) -> Event:
        return {"type": "function_call", "call_id": id, "name": name, "arguments": whole, **fields}

    def message(self, whole: str, **fields: Any) -> Event:
        content = [{"type": "output_text", "text": whole, "annotations": []}]
        return {"type": "message", "role": "assistant", "status": "completed", "content": content, **fields}

    def completed(self, *output: Event, **fields: Any) -> Event:
        return self.event("response.completed", response={"status": "completed", "output": [*output], **fields})

    def incomplete(self, reason: str | None, *output: Event) -> Event:
        details = None if reason is None else {"reason": reason}
        response = {"status": "incomplete", "incomplete_details": details, "output": [*output]}
        return self.event("response.incomplete", response=response)

    def sse(self, *events: Event | str) -> bytes:
        """The events as bytes; a string is data without a name."""
        lines = []
        for entry in events:
            if isinstance(entry, str):
                lines.append(f"data: {entry}\n\n")
            else:
                lines.append(f"event: {entry['type']}\ndata: {json.dumps(entry, ensure_ascii=False)}\n\n")
        return "".join(lines).encode()

    # ---------------------------------------------------------------------------------------- decoding

    def run(self, chunks: list[bytes], taken: frozenset[str] = frozenset()) -> Outcome:
        decoder = ResponsesDecoder(taken)
        frames: list[StreamFrame] = []
        for chunk in chunks:
            frames += decoder.feed(chunk)
        frames += decoder.close()
        return Outcome(frames, decoder.error, decoder.skipped)

    def cut(self, data: bytes, at: list[int]) -> list[bytes]:
        places = sorted(place for place in at if 0 < place < len(data))
        return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]

    def decode(self, *events: Event | str | bytes, taken: frozenset[str] = frozenset()) -> Outcome:
        data = b"".join([entry if isinstance(entry, bytes) else self.sse(entry) for entry in events])
        whole = self.run([data], taken)
        seeded = random.Random(len(data))
        for chunks in (
            [data[place : place + 1] for place in range(len(data))],
            *[self.cut(data, [seeded.randrange(len(data) + 1) for _ in range(9)]) for _ in range(3)],
        ):
            other = self.run(chunks, taken)
            assert other.frames == whole.frames
            assert repr(other.error) == repr(whole.error)
        _check(whole)
        return whole


def _check(outcome: Outcome) -> None:
    """What holds for every stream."""
    ends = [frame for frame in outcome.frames if isinstance(frame, End)]
    if outcome.error is None:
        assert outcome.frames[-1:] == ends
    else:
        assert ends == []
    deltas: dict[str, str] = {}
    sealed = []
    for frame in outcome.frames:
        if isinstance(frame, Append | ReasoningAppend):
            assert frame.text
        elif isinstance(frame, ToolCallDelta):
            assert frame.id not in sealed
            deltas[frame.id] = deltas.get(frame.id, "") + frame.arguments
        elif isinstance(frame, ToolCall | InvalidToolCall):
            sealed.append(frame.id)
            assert deltas[frame.id] == frame.arguments or (deltas[frame.id], frame.arguments) == ("", "{}")
    assert len(sealed) == len(set(sealed))


@pytest.fixture(scope="session")
def wire() -> ResponsesWire:
    return ResponsesWire()
