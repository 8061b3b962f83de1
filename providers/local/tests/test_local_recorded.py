"""A cassette of the embedded model's server, played to our client and to OpenAI's SDK: equal frames and events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai

import promptport as pp
from promptport.testing import Cassette, Recorder
from promptport_local import LocalServer

KEY = "sk-local-0123456789abcdef"
QUESTION = "Say hello in French."


async def asked_by_us(url: str) -> list[pp.StreamFrame]:
    client: Any = pp.client("openai-chat", base_url=f"{url}/v1", api_key=KEY)
    prompt = pp.Prompt.of(QUESTION, temperature=0.0, max_tokens=24)
    async with client, client.execute_streaming_with_tools(prompt, pp.LLModel("openai-chat", "any")) as stream:
        return [frame async for frame in stream]


async def asked_by_the_sdk(url: str) -> list[dict[str, Any]]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as sdk:
        stream = await sdk.chat.completions.create(
            model="any",
            messages=[{"role": "user", "content": QUESTION}],
            stream=True,
            temperature=0.0,
            max_tokens=24,
            stream_options={"include_usage": True},
        )
        return [event.model_dump() async for event in stream]


async def test_what_was_recorded_of_a_real_model_is_played_again(tmp_path: Path) -> None:
    file = tmp_path / "hello.json"
    async with LocalServer(context_length=512, parallel=1, api_key=KEY) as server:
        async with Recorder(server.base_url.removesuffix("/v1"), to=file) as recorder:
            frames, events = await asked_by_us(recorder.url), await asked_by_the_sdk(recorder.url)
    assert any(isinstance(frame, pp.Append) for frame in frames)
    assert KEY not in file.read_text()
    cassette = Cassette.load(file)
    assert len(cassette.interactions) == 2
    for cut in (None, "bytes", ("random", 5)):
        async with cassette.play(cut=cut) as server:
            assert await asked_by_us(server.url) == frames
            assert await asked_by_the_sdk(server.url) == events
