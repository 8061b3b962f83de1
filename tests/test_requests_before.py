"""Requests for a provider's own history are the bytes that they were before a history could go to other providers.

`requests_before.json` was written by the last version that knew nothing of other providers' histories: for answers
made here (``made``: the answer's bytes, and the body of the next request), and for the recordings beside the checkout
(``recorded``: the SHA-256 of that body). Rule: it never changes. A body that must differ from what it was is named in
`DELIBERATE` with the reason and the exact edit; everything else is equal byte for byte, in the order of its keys too,
since the providers' prompt caches live on that.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from msgspec.structs import replace

import promptport
from promptport.frames import End, InvalidToolCall, ToolCall
from promptport.messages import ImagePart, Prompt, TextPart, ToolResultMessage, UserPart
from promptport.models import LLModel
from promptport.stream import message_of
from promptport.tools import ToolDescriptor

BEFORE: dict[str, Any] = json.loads(Path(__file__).with_name("requests_before.json").read_text())
MADE: list[dict[str, Any]] = BEFORE["made"]
RECORDED: dict[str, str] = BEFORE["recorded"]
FOLDER = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).resolve().parents[2] / "shared" / "wire"))
NAMES = {"openai-chat": "openai-chat", "openai-responses": "openai", "anthropic": "anthropic", "ollama-chat": "ollama"}
PNG = ImagePart(data=b"\x89PNG\r\n\x1a\n", media_type="image/png")
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Difference(NamedTuple):
    """A body that is meant to differ: where, why, and how today's becomes what it was."""

    reason: str
    applies: Callable[[str, str | None, str], bool]
    undone: Callable[[str], str]


def without_strict(body: str) -> str:
    return body.replace('"description":"Looks.","strict":false}}', '"description":"Looks."}}')


def without_thoughts(body: str) -> str:
    parsed = json.loads(body)
    for message in parsed["messages"]:
        if isinstance(message.get("content"), list):
            assert {part["type"] for part in message["content"]} <= {"thinking", "text"}
            message["content"] = "".join([part["text"] for part in message["content"] if part["type"] == "text"])
    return msgspec.json.encode(parsed).decode()


DELIBERATE: dict[str, Difference] = {
    "strict is said of every tool": Difference(
        "the server's own default would close the schema and require what may be left out",
        lambda provider, url, _: provider == "openai-chat" and url is None,
        without_strict,
    ),
    "a thinking model of Mistral gets its thoughts back": Difference(
        "they stand in its content as parts, which was read as text alone",
        lambda _, __, path: path == "mistral/chat-completions/pyd-mistral-model-thinking-part-iter.sse",
        without_thoughts,
    ),
}


def next_body(provider: str, base_url: str | None, wire: bytes, model_id: str) -> str | None:
    """The request that follows an answer of these bytes; ``None`` for an answer that is not complete."""
    options: dict[str, Any] = {} if provider == "ollama" else {"api_key": "key"}
    client: Any = promptport.client(provider, **options, **({"base_url": base_url} if base_url else {}))
    model = LLModel(provider, model_id)
    decoder = client._decoder(Prompt.of("Hi"), model, [])
    frames = [*decoder.feed(wire), *decoder.close()]
    if decoder.error is not None or not frames or type(frames[-1]) is not End:
        return None
    message = replace(message_of(frames), origin=client.origin)
    prompt = Prompt.of("Weather?", system="Be brief.").user("More.").add(message)
    tools: dict[str, ToolDescriptor] = {}
    calls = [part for part in message.parts if isinstance(part, ToolCall | InvalidToolCall)]
    for place, call in enumerate(calls):
        prompt = prompt.add(result_of(call, place, provider))
        tools.setdefault(call.name, ToolDescriptor(call.name or "f", "Looks.", CITY))
    prompt = prompt.user("And now?").assistant("Now that.").user("And then?")
    return msgspec.json.encode(client._body(prompt, model, [*tools.values()], stream=True)).decode()


def result_of(call: ToolCall | InvalidToolCall, place: int, provider: str) -> ToolResultMessage:
    """Texts, errors, and pictures where the server takes one in a result."""
    if isinstance(call, InvalidToolCall):
        return ToolResultMessage(call.id, call.name, error="not JSON")
    if place % 3 == 1:
        return ToolResultMessage(call.id, call.name, error="no such place")
    if place % 3 == 2 and provider in ("anthropic", "openai"):
        parts: tuple[UserPart, ...] = (TextPart("a map"), PNG)
        return ToolResultMessage(call.id, call.name, parts)
    return ToolResultMessage(call.id, call.name, "sunny, 20 °C")


def as_before(body: str | None, provider: str, base_url: str | None, path: str = "") -> str:
    assert body is not None
    for difference in DELIBERATE.values():
        if difference.applies(provider, base_url, path):
            body = difference.undone(body)
    return body


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row['provider']}-{row['kind']}") for row in MADE])
def test_the_request_behind_an_answer_is_what_it_was(row: dict[str, Any]) -> None:
    body = next_body(row["provider"], row["base_url"], row["wire"].encode(), row["model"])
    assert as_before(body, row["provider"], row["base_url"]) == row["body"]


def test_every_deliberate_difference_is_there() -> None:
    """An edit that changes nothing any more hides nothing."""
    row = next(row for row in MADE if row["kind"] == "parallel calls" and row["base_url"] is None)
    body = next_body(row["provider"], None, row["wire"].encode(), row["model"])
    assert body is not None
    assert body != row["body"]
    assert body.count('"strict":false') == 2
    assert json.loads(body)["tools"][0]["function"]["strict"] is False


def test_the_requests_behind_recorded_answers_are_what_they_were() -> None:
    if not FOLDER.is_dir():
        pytest.skip("the corpus of recorded wires (../shared/wire) is not here")
    differ, seen = [], 0
    for entry in json.loads((FOLDER / "manifest.json").read_text()):
        path, provider = entry["path"], NAMES.get(entry["protocol"])
        if provider is None or path not in RECORDED:
            continue
        url = None
        if provider == "openai-chat" and entry["provider"] != "openai":
            url = f"https://{entry['provider']}.example/v1"
        body = next_body(provider, url, (FOLDER / path).read_bytes(), entry["model"] or "m")
        seen += 1
        if hashlib.sha256(as_before(body, provider, url, path).encode()).hexdigest() != RECORDED[path]:
            differ.append(path)
    assert differ == []
    assert seen >= 218
