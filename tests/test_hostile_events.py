"""Values of the wrong type, and halves of characters, in any field of any event of any provider: a decoder gives frames
that can be written down, or a `StreamError`, and the same ones however the bytes are cut."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import re
import struct
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec
import pytest
from tests.kits import kit

import promptport as pp
from promptport.errors import StreamError
from promptport.testing import Arguments, Finish, Say, Seal, Start, Step, Think

PROVIDERS = ["anthropic", "bedrock", "cohere", "google", "google-vertex", "ollama", "openai", "openai-chat"]
PROMPT = pp.Prompt.of("Hi")
TOOLS = [pp.ToolDescriptor("get_weather", "Weather.", {"type": "object", "properties": {}})]
ANSWER: list[Step] = [
    *(Think("Hmm"), Say("Hel"), Say("lo"), Start(0, "call_a", "get_weather"), Arguments(0, '{"city":')),
    *(Arguments(0, ' "Paris"}'), Seal(0), Finish(pp.FinishReason.TOOL_CALLS)),
]
WRONG: list[Any] = [None, "", [], {}, 0, -1, 10**30, True, [None], [[]], [{}], {"a": None}, 1.5, float("inf"), "\ud83d"]
HALVES = ["\ud83d", "\ude00", "a\ud83d", "\ude00b", "\ud83dx\ude00", "\ud83d\ud83d"]
WORDS = re.compile("type|event|object|role|status|finish_?reason|stop_?reason", re.IGNORECASE)
Path: TypeAlias = tuple[str | int, ...]


def paths(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, value
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from paths(value[key], (*path, key))


def changed(value: Any, path: Path, new: Any) -> bytes:
    """The JSON with something else at this path; an infinity is a number that no double holds."""
    value = copy.deepcopy(value)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if path:
        holder[path[-1]] = new
    else:
        value = new
    return json.dumps(value).replace("Infinity", "1e999").encode()


class Event:
    """One event of a body: its JSON, and how it stands in its bytes."""

    def __init__(self, data: bytes) -> None:
        self._headers: dict[str, str] | None = None
        if data[:1] == b"\x00":
            length = struct.unpack(">I", data[4:8])[0]
            self._headers = dict(self._read_headers(data[12 : 12 + length]))
            self._before, found, self._after = b"", data[12 + length : -4], b""
        else:
            match = re.search(rb"(?m)^(?:data: )?(\{.*\})\s*$", data)
            found = match[1] if match else b"null"
            self._before, _, self._after = data.partition(found)
        self.value = json.loads(found)

    @staticmethod
    def _read_headers(block: bytes) -> Iterator[tuple[str, str]]:
        while block:
            end = 1 + block[0]
            size = struct.unpack(">H", block[end + 1 : end + 3])[0]
            yield block[1:end].decode(), block[end + 3 : end + 3 + size].decode()
            block = block[end + 3 + size :]

    def written(self, payload: bytes) -> bytes:
        if self._headers is None:
            return self._before + payload + self._after
        from promptport_bedrock.conformance import frame

        return frame(
            payload, **{name.removeprefix(":").replace("-", "_"): text for name, text in self._headers.items()}
        )


class Case:
    """A provider's answer, and its decoders."""

    def __init__(self, provider: str) -> None:
        contract = kit(provider)
        self._model = contract.model
        self._client: Any = contract.make_client("http://127.0.0.1:1", pp.Timeouts())
        steps = ANSWER if contract.encode(ANSWER) is not None else ANSWER[1:]
        body, complete = contract.encode(steps), contract.encode_complete(steps)
        assert body is not None
        assert complete is not None
        self.body = body
        self.complete = json.loads(complete)
        self.events = [Event(event) for event in body]

    def decoded(self, number: int, payload: bytes, size: int) -> tuple[list[pp.StreamFrame], StreamError | None]:
        """The answer with another payload in one event, in chunks of this size."""
        data = b"".join([*self.body[:number], self.events[number].written(payload), *self.body[number + 1 :]])
        decoder = self._client._decoder(PROMPT, self._model, TOOLS)
        decoder.offer(["get_weather"])
        frames = [frame for place in range(0, len(data), size) for frame in decoder.feed(data[place : place + size])]
        frames += decoder.close()
        assert (decoder.error is None) == decoder.ended
        return frames, decoder.error

    def message(self, payload: bytes) -> pp.AssistantMessage:
        message: pp.AssistantMessage = self._client._complete(payload, PROMPT, TOOLS)
        return message


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_value_of_the_wrong_type_is_a_frame_or_a_stream_error(provider: str) -> None:
    case = Case(provider)
    places = [(n, path) for n, event in enumerate(case.events) if event.value for path, _ in paths(event.value)]
    tried = [(number, path, wrong) for number, path in places for wrong in WRONG]
    for number, path, wrong in random.Random(7).sample(tried, 500):
        payload = changed(case.events[number].value, path, wrong)
        frames, error = case.decoded(number, payload, 1 << 20)
        again, error_again = case.decoded(number, payload, 11)
        assert (again, repr(error_again)) == (frames, repr(error)), (number, path, wrong)
        msgspec.json.encode(frames)
    for path, _ in paths(case.complete):
        for wrong in WRONG:
            with contextlib.suppress(StreamError):
                msgspec.json.encode(case.message(changed(case.complete, path, wrong)))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_half_a_character_in_any_text_of_any_event_costs_no_answer(provider: str) -> None:
    case = Case(provider)
    for number, event in enumerate(case.events):
        for path, text in paths(event.value):
            if not isinstance(text, str) or WORDS.fullmatch(str(path[-1])):
                continue
            # The Responses API says arguments three times, of which this changes one.
            twice = provider == "openai" and (path[-1] == "arguments" or "arguments" in event.value["type"])
            for half in HALVES:
                payload = changed(event.value, path, text + half)
                frames, error = case.decoded(number, payload, 1 << 20)
                assert case.decoded(number, payload, 13)[0] == frames, (number, path, half)
                assert error is None or (twice and "differ" in str(error)), (number, path, half, error)
                msgspec.json.encode(frames)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_half_a_character_in_a_complete_answer_costs_no_answer(provider: str) -> None:
    case = Case(provider)
    for path, text in paths(case.complete):
        if isinstance(text, str) and not WORDS.fullmatch(str(path[-1])):
            for half in HALVES:
                msgspec.json.encode(case.message(changed(case.complete, path, text + half)))


def test_halves_of_a_character_in_two_events_of_bedrock_are_joined() -> None:
    case = Case("bedrock")
    first, second = [n for n, event in enumerate(case.events) if "text" in event.value.get("delta", {})]
    case.body[first] = case.events[first].written(changed(case.events[first].value, ("delta", "text"), "a\ud83d"))
    payload = changed(case.events[second].value, ("delta", "text"), "\ude00b")
    for size in (1 << 20, 1, 29):
        frames, error = case.decoded(second, payload, size)
        assert error is None
        assert "".join([frame.text for frame in frames if isinstance(frame, pp.Append)]) == "a\U0001f600b"


def test_a_line_of_ollama_that_says_nothing_is_counted() -> None:
    decoder = Case("ollama")._client._decoder(PROMPT, kit("ollama").model, ())
    decoder.feed(b'{"message":{"role":"assistant"},"done":false}\n{"message":{"content":""},"done":false}\n')
    assert decoder.skipped == {"message without content": 1}
