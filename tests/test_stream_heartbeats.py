"""What servers and proxies send to keep a connection alive: it ends no stream, and no clock for frames waits for it."""

from __future__ import annotations

import pytest
from tests.kits import kit

import promptport as pp
from promptport.testing import Finish, Say, WireResponse, WireServer

ANSWER = (Say("Hel"), Say("lo"), Finish(pp.FinishReason.STOP))
SSE = [
    *(b": ping\n\n", b":\n", b"\n", b"\r\n\r\n", b"data: \n\n", b"data:\n\n", b"event: keepalive\ndata:\n\n"),
    *(b"id: 1\n\n", b"retry: 5\n\n", b"event: keepalive\n\n"),
]
BEATS = {
    **dict.fromkeys(["anthropic", "cohere", "google", "google-vertex", "openai", "openai-chat"], SSE),
    "ollama": [b"\n", b"\r\n", b"   \n", b'{"message":{"role":"assistant","content":""},"done":false}\n'],
}
CASES = [(provider, beat) for provider, beats in BEATS.items() for beat in beats]


@pytest.mark.parametrize(("provider", "beat"), CASES)
def test_a_heartbeat_anywhere_changes_nothing(provider: str, beat: bytes) -> None:
    contract = kit(provider)
    body = contract.encode(ANSWER)
    assert body is not None
    client = contract.make_client("http://127.0.0.1:1", pp.Timeouts())

    def frames_of(data: bytes, size: int) -> list[pp.StreamFrame]:
        decoder = client._decoder(pp.Prompt.of("Hi"), contract.model, ())  # type: ignore[attr-defined]
        frames = [frame for place in range(0, len(data), size) for frame in decoder.feed(data[place : place + size])]
        frames += decoder.close()
        assert decoder.error is None
        return frames

    whole = frames_of(b"".join(body), 1 << 20)
    for place in range(len(body)):
        data = b"".join([*body[:place], beat, beat, *body[place:]])
        for size in (1 << 20, 1):
            assert frames_of(data, size) == whole


@pytest.mark.parametrize(("provider", "beat"), [(name, beats[0]) for name, beats in BEATS.items()])
@pytest.mark.parametrize("before", ["anything", "the next frame"])
async def test_heartbeats_stop_no_clock_for_frames(provider: str, beat: bytes, before: str) -> None:
    contract = kit(provider)
    body = contract.encode(ANSWER)
    assert body is not None
    number = 0 if before == "anything" else next(n for n, event in enumerate(body) if b"Hel" in event) + 1
    clock = {"first_frame": 0.2} if before == "anything" else {"next_frame": 0.2}
    chunks = [*body[:number], *[beat] * 2000]
    kind = "application/x-ndjson" if provider == "ollama" else "text/event-stream"
    async with WireServer(WireResponse(chunks, content_type=kind, pace=0.005)) as server:
        client = contract.make_client(server.url, pp.Timeouts(**clock))
        with pytest.raises(pp.FirstFrameTimeout if before == "anything" else pp.IdleTimeout) as raised:
            async with client.execute_streaming_with_tools(pp.Prompt.of("Hi"), contract.model) as stream:
                await stream.message()
        await client.aclose()
    assert raised.value.partial is None or raised.value.partial.text in ("", "Hel")
