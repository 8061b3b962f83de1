"""Every recorded wire of the APIs that we speak, replayed through the real SDKs over loopback.

The recordings are a folder beside the checkout (``../shared/wire``, or what ``PROMPTPORT_CORPUS`` names); without it
these tests say that they were skipped. Each file comes whole and at five random cuts over the socket, byte by byte too
where it is small; the decoder gets all of them byte by byte (a million one-byte writes would test only the kernel).
All must give equal frames, and what the manifest expects: text, calls, usage and the provider's own finish reason.

Where the manifest and we differ, the file is in `READ_OTHERWISE` with the reason.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import pytest

import promptport_anthropic
import promptport_bedrock
import promptport_cohere
import promptport_google
import promptport_ollama
import promptport_openai
from promptport.decoding import StreamDecoder
from promptport.errors import (
    AuthenticationError,
    BadRequestError,
    IncompleteStreamError,
    ModelNotFoundError,
    PermissionDeniedError,
    PromptportError,
    ProtocolError,
    ProviderError,
    ProviderStreamError,
    RateLimitError,
    StreamError,
)
from promptport.frames import End, InvalidToolCall, StreamFrame, ToolCall, ToolCallDelta, Usage
from promptport.llm_client import LLMClient
from promptport.messages import Prompt
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.protocols import ChatCompletionsDecoder, MessagesDecoder, ResponsesDecoder
from promptport.stream import message_of
from promptport.testing import Cut, WireResponse, WireServer, assert_valid_stream
from promptport_anthropic._platform_events import PlatformEvents
from promptport_bedrock._decode import ConverseDecoder
from promptport_cohere._decode import ChatDecoder as CohereDecoder
from promptport_google._decode import ContentDecoder
from promptport_ollama._decode import ChatDecoder

FOLDER = Path(os.environ.get("PROMPTPORT_CORPUS", Path(__file__).resolve().parents[2] / "shared" / "wire"))
EVERYTHING = ModelCapabilities.of(StreamedTools.DELTAS, Capability)
REASONING_IS_EXACT = ("gemini-sse", "gemini-array")
RANDOM_CUTS: list[Cut] = [("random", seed) for seed in range(5)]
SMALL = 2048  # bytes; up to here the socket gets single bytes too


class Api(msgspec.Struct, frozen=True):
    """One of our APIs: the client over loopback, the decoder alone, and how many recordings there must be."""

    client: Callable[[str], LLMClient]
    decoder: Callable[[], StreamDecoder[Any]]
    floor: int


made_sdks: list[anthropic.AsyncAnthropicBedrock] = []
"""The SDK clients of this test, which our clients do not close."""


def claude_on_bedrock(url: str) -> LLMClient:
    """The SDK's Bedrock client, whose responses are AWS event streams."""
    sdk = anthropic.AsyncAnthropicBedrock(
        aws_region="us-east-1", aws_access_key="id", aws_secret_key="secret-key", base_url=url
    )
    made_sdks.append(sdk)
    return promptport_anthropic.client(sdk_client=sdk)


APIS: dict[str, Api] = {
    "openai-chat": Api(
        lambda url: promptport_openai.chat_client(base_url=f"{url}/v1", api_key="key"), ChatCompletionsDecoder, 135
    ),
    "openai-responses": Api(
        lambda url: promptport_openai.responses_client(base_url=f"{url}/v1", api_key="key"), ResponsesDecoder, 37
    ),
    "anthropic": Api(lambda url: promptport_anthropic.client(base_url=url, api_key="key"), MessagesDecoder, 36),
    "ollama-chat": Api(lambda url: promptport_ollama.client(base_url=url), ChatDecoder, 23),
    "gemini-sse": Api(lambda url: promptport_google.client(base_url=url, api_key="key"), ContentDecoder, 21),
    "gemini-array": Api(lambda url: promptport_google.vertex_client(base_url=url, api_key="key"), ContentDecoder, 5),
    "bedrock-converse": Api(
        lambda url: promptport_bedrock.client(base_url=url, region="us-east-1", access_key="id", secret_key="key"),
        ConverseDecoder,
        12,
    ),
    "bedrock-invoke": Api(claude_on_bedrock, lambda: MessagesDecoder((), PlatformEvents()), 5),
    "cohere-v2": Api(lambda url: promptport_cohere.client(base_url=url, api_key="key"), CohereDecoder, 5),
}

READ_OTHERWISE: dict[str, str] = {
    "openrouter/chat-completions/llm-tools-streaming-variant-b.sse": (
        "[DONE] comes without any finish_reason and with a call open: by the contract the stream is incomplete"
    ),
    "openai/chat-completions/derived-malformed-chunk-in-the-middle.sse": (
        "an event that is half of its JSON is a ProtocolError, and what follows it (usage) is not read"
    ),
    "anthropic/messages/derived-eof-without-message-stop.sse": (
        "the bytes end right after content_block_start: the call is unfinished, and there is no usage without End"
    ),
}

ERRORS: dict[str, type[PromptportError]] = {
    "bedrock/converse-stream/derived-cut-inside-frame.eventstream": IncompleteStreamError,
    "openrouter/chat-completions/llm-tools-streaming-variant-b.sse": IncompleteStreamError,
    "openai/chat-completions/derived-malformed-chunk-in-the-middle.sse": ProtocolError,
    "openai/chat-completions/derived-cut-inside-json.sse": IncompleteStreamError,
    "anthropic/messages/derived-eof-without-message-stop.sse": IncompleteStreamError,
    "ollama/api-chat/derived-cut-inside-line.ndjson": IncompleteStreamError,
}
"""Files that end in an error of ours; those with an error of the provider's are known by the manifest."""


def entries() -> list[Any]:
    if not FOLDER.is_dir():
        reason = "the corpus of recorded wires (../shared/wire) is not here"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="no-corpus")]
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    spoken = [
        entry
        for entry in manifest
        if entry["protocol"] in APIS and (entry["protocol"] != "bedrock-invoke" or "claude" in entry["model"])
    ]
    return [pytest.param(entry, id=entry["path"]) for entry in spoken]


replayed: dict[str, int] = dict.fromkeys(APIS, 0)


@pytest.mark.parametrize("entry", entries())
async def test_a_recorded_answer(entry: dict[str, Any]) -> None:
    api = APIS[entry["protocol"]]
    body = (FOLDER / entry["path"]).read_bytes()
    frames, error = decoded(api.decoder(), [body])
    assert decoded(api.decoder(), [body[i : i + 1] for i in range(len(body))]) == (frames, error), "byte by byte"
    cuts: list[Cut] = ["whole", *RANDOM_CUTS]
    if len(body) <= SMALL:
        cuts.append("bytes")
    for cut, got in zip(cuts, await over_loopback(api, entry, body, cuts), strict=True):
        assert got == (frames, error), cut
    check(entry, frames, error)
    replayed[entry["protocol"]] += 1


def test_all_of_them_were_replayed(request: pytest.FixtureRequest) -> None:
    if not FOLDER.is_dir():
        pytest.skip("the corpus of recorded wires (../shared/wire) is not here")
    chosen = [item for item in request.session.items if item.name.startswith("test_a_recorded_answer")]
    if len(chosen) < sum(api.floor for api in APIS.values()):
        pytest.skip("only some of the recordings were chosen")
    assert {protocol: count for protocol, count in replayed.items() if count < APIS[protocol].floor} == {}


def test_every_reason_names_a_recording() -> None:
    if not FOLDER.is_dir():
        pytest.skip("the corpus of recorded wires (../shared/wire) is not here")
    assert [path for path in {*READ_OTHERWISE, *ERRORS} if not (FOLDER / path).is_file()] == []


REFUSALS: dict[tuple[str, int], type[PromptportError]] = {
    ("google", 400): AuthenticationError,  # its reason is API_KEY_INVALID
    ("google", 403): PermissionDeniedError,
    ("google", 404): ModelNotFoundError,
    ("google", 429): RateLimitError,
    ("vertex", 400): BadRequestError,
    ("vertex", 404): ModelNotFoundError,
    ("cohere", 404): ModelNotFoundError,
    ("bedrock", 400): ModelNotFoundError,  # which has no on-demand throughput
    ("bedrock", 404): ModelNotFoundError,
}
"""What the recorded HTTP errors of Gemini, Cohere and Bedrock are, through their clients; all others: tests/http."""

SPOKEN = {"google": "gemini-sse", "vertex": "gemini-array", "cohere": "cohere-v2", "bedrock": "bedrock-converse"}


def refusals() -> list[Any]:
    if not FOLDER.is_dir():
        reason = "the corpus of recorded wires (../shared/wire) is not here"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="no-corpus")]
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    folders = ("google/stream-generate", "vertex/stream-generate", "cohere/v2-chat", "bedrock/converse")
    entries = [each for each in manifest if each["protocol"] == "http-error" and each["path"].startswith(folders)]
    return [pytest.param(entry, id=entry["path"]) for entry in entries]


@pytest.mark.parametrize("entry", refusals())
async def test_a_recorded_refusal(entry: dict[str, Any]) -> None:
    body, place = (FOLDER / entry["path"]).read_bytes(), entry["path"].partition("/")[0]
    refused = WireResponse(body, status=entry["status"], content_type="application/json", headers={"retry-after": "7"})
    async with WireServer(refused, refused) as server:
        client = APIS[SPOKEN[place]].client(server.url)
        model = LLModel(client.provider, "recorded", EVERYTHING)
        for streamed in (True, False):
            with pytest.raises(ProviderError) as caught:
                if streamed:
                    await client.execute_streaming_with_tools(Prompt.of("Hi"), model).message()
                else:
                    await client.execute(Prompt.of("Hi"), model)
            assert type(caught.value) is REFUSALS[place, entry["status"]]
            assert (caught.value.status, caught.value.retry_after) == (entry["status"], 7)
        await client.aclose()


# ------------------------------------------------------------------------------------------------ replaying


def decoded(decoder: StreamDecoder[Any], chunks: Sequence[bytes]) -> tuple[list[StreamFrame], str | None]:
    """The frames, and the error as text: errors are not equal by value."""
    frames: list[StreamFrame] = []
    for chunk in chunks:
        frames += decoder.feed(chunk)
    frames += decoder.close()
    return frames, repr(decoder.error) if decoder.error else None


async def over_loopback(
    api: Api, entry: dict[str, Any], body: bytes, cuts: Sequence[Cut]
) -> list[tuple[list[StreamFrame], str | None]]:
    kind = (entry.get("content_type") or "text/event-stream").partition(";")[0]
    results: list[tuple[list[StreamFrame], str | None]] = []
    async with WireServer(*[WireResponse(body, content_type=kind, cut=cut) for cut in cuts]) as server:
        client = api.client(server.url)
        model = LLModel(client.provider, "recorded", EVERYTHING)
        for _ in cuts:
            frames: list[StreamFrame] = []
            error: StreamError | None = None
            try:
                async with client.execute_streaming_with_tools(Prompt.of("Hi"), model) as stream:
                    async for frame in stream:
                        frames.append(frame)
            except StreamError as raised:
                error = raised
            if error is not None:  # what it used, the error's message knows besides
                assert error.partial is not None
                assert msgspec.structs.replace(error.partial, usage=Usage()) == message_of(frames)
            results.append((frames, repr(error) if error else None))
        await client.aclose()
        while made_sdks:
            await made_sdks.pop().close()
    return results


# ------------------------------------------------------------------------------------------------- expecting


def check(entry: dict[str, Any], frames: list[StreamFrame], error: str | None) -> None:
    expect, path = entry["expect"], entry["path"]
    if error is None:
        assert_valid_stream(frames)
    message = message_of(frames)
    assert message.text == expect["text"]
    thought = (entry.get("expect_extra") or {}).get("reasoning")
    if entry["protocol"] in REASONING_IS_EXACT and isinstance(thought, str):
        assert message.reasoning == thought
    reported = "error_in_stream" in entry["features"]
    kind = ERRORS.get(path, ProviderStreamError if reported else None)
    assert (error or "").partition("(")[0] == (kind.__name__ if kind else "")
    if path in READ_OTHERWISE:
        return
    assert calls(frames) == [(call["name"], call["arguments"] or {}) for call in expect["tool_calls"]]
    end = frames[-1] if frames else None
    if isinstance(end, End):
        assert end.raw_finish_reason == told_reason(entry)
        assert counted(entry["protocol"], end.usage) == expect["usage"]


def told_reason(entry: dict[str, Any]) -> str | None:
    """The provider's word; Gemini's may be an enum's number, or the reason why it refused the prompt."""
    told = entry["expect"]["finish_reason"]
    if told is None:
        blocked: str | None = (entry.get("expect_extra") or {}).get("block_reason")
        return blocked
    return str(told)


def calls(frames: list[StreamFrame]) -> list[tuple[str, Any]]:
    """All calls in the order in which they began, as the manifest tells them: parsed, or as text where that fails."""
    message = message_of(frames)
    told: dict[str, tuple[str, Any]] = {call.id: (call.name, call.arguments) for call in message.unfinished}
    for frame in frames:
        if isinstance(frame, ToolCall):
            told[frame.id] = (frame.name, frame.parsed())
        elif isinstance(frame, InvalidToolCall):
            told[frame.id] = (frame.name, frame.arguments)
    begun = dict.fromkeys([frame.id for frame in frames if isinstance(frame, ToolCallDelta)])
    return [told[each] for each in begun]


def counted(protocol: str, usage: Usage) -> dict[str, int | None] | None:
    """The counts as the provider tells them: Anthropic counts cached tokens apart from the others, Gemini thoughts."""
    inputs, outputs = usage.input_tokens, usage.output_tokens
    if protocol.startswith("gemini") and outputs is not None:
        outputs -= usage.reasoning_tokens or 0
    if protocol in ("anthropic", "bedrock-invoke") and inputs is not None:
        inputs -= (usage.cached_input_tokens or 0) + (usage.cache_write_tokens or 0)
    return None if (inputs, outputs) == (None, None) else {"input": inputs, "output": outputs}
