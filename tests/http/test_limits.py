"""What a server can make grow without bound has a limit, and to pass it is a `ProtocolError`."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Sequence
from time import monotonic
from typing import Any

import httpx
import pytest

import promptport as pp
from promptport.http import AiohttpTransport, HTTPTransport, Transport
from promptport.http.bodies import decompressed
from promptport.provider import ChatCompletionsDecoder, Limits, chat_provider
from promptport.testing import WireResponse, WireServer

KINDS: list[type[Transport]] = [AiohttpTransport, HTTPTransport]
MODEL = pp.LLModel("marmot", "m")
PROMPT = pp.Prompt.of("Hi.")
Marmot = chat_provider("marmot", "http://127.0.0.1:9", needs_key=False)


def event(delta: dict[str, Any]) -> bytes:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n".encode()


def call(index: int, arguments: str) -> bytes:
    function = {"name": "f", "arguments": arguments}
    return event({"tool_calls": [{"index": index, "id": f"c{index}", "type": "function", "function": function}]})


async def asked(body: bytes | Sequence[bytes], limits: Limits, *, stream: bool = True, **options: Any) -> Any:
    async with WireServer(WireResponse(body, **options)) as server:
        async with Marmot(base_url=server.url, limits=limits) as client:
            if stream:
                return await client.execute_streaming_with_tools(PROMPT, MODEL).message()
            return await client.execute(PROMPT, MODEL)


@pytest.mark.parametrize(
    ("limits", "body", "match"),
    [
        (Limits(answer=5000), event({"content": "x"}) * 100, "larger than 5000 bytes"),
        (Limits(event=5000), event({"content": "x" * 5000}), "larger than 5000 bytes"),
        (Limits(event=100_000), b"data:\n" * 2000, "larger than 100000 bytes"),
        (Limits(arguments=100), call(0, "x" * 60) + call(0, "x" * 60), r"limits\.arguments"),
        (Limits(calls=3), b"".join([call(index, "{}") for index in range(4)]), "more than 3 tool calls"),
    ],
    ids=["answer", "event", "lines of an event", "arguments", "calls"],
)
async def test_a_stream_that_passes_a_limit(limits: Limits, body: bytes, match: str) -> None:
    with pytest.raises(pp.ProtocolError, match=match):
        await asked(body, limits)


async def test_a_whole_response_that_passes_its_limit() -> None:
    with pytest.raises(pp.ProtocolError, match=r"limits\.answer"):
        await asked([b"x" * 65536] * 20, Limits(answer=100_000), stream=False)


async def test_an_error_body_is_cut_at_its_limit() -> None:
    words = json.dumps({"error": {"message": "no"}}).encode()
    with pytest.raises(pp.BadRequestError):
        await asked([words, b" " * 5000], Limits(error_body=len(words)), status=400, stall_after=len(words) + 4000)


def test_names_of_unknown_events() -> None:
    decoder = ChatCompletionsDecoder()
    decoder.bound(Limits(skipped=3))
    for name in ("a", "b", "a", "c", "b"):
        decoder._skip(name)
    assert decoder.skipped == {"a": 2, "b": 2, "c": 1}
    with pytest.raises(pp.ProtocolError, match=r"limits\.skipped"):
        decoder._skip("d")


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "1"])
def test_a_limit_is_a_whole_number(value: Any) -> None:
    with pytest.raises(pp.InvalidInputError, match="limits: answer must be a whole number"):
        Limits(answer=value)


# ----------------------------------------------------------------------------------------- compression


@pytest.mark.parametrize("kind", KINDS)
async def test_a_bomb_is_met_in_pieces(kind: type[Transport]) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    for stream in (True, False):
        limits = Limits(decompressed=1_000_000)
        answer = WireResponse(bomb, headers={"content-encoding": "gzip"})
        async with WireServer(answer) as server:
            transport = kind(server.url, provider="p", limits=limits)
            with pytest.raises(pp.ProtocolError, match=r"limits\.decompressed"):
                if stream:
                    async for chunk in await transport.open("/", {}):
                        assert len(chunk) <= 65536
                else:
                    await transport.post("/", {})
            await transport.aclose()


async def test_the_loop_runs_while_a_large_body_is_decompressed() -> None:
    async def one() -> Any:
        yield gzip.compress(bytes(30_000_000))

    async def beat() -> None:
        while True:
            beats.append(monotonic())
            await asyncio.sleep(0)

    beats: list[float] = []
    beating = asyncio.create_task(beat())
    size = 0
    async for piece in decompressed(one(), "gzip", Limits()):
        size += len(piece)
    beating.cancel()
    assert size == 30_000_000
    assert len(beats) > 400, "one turn of the loop for each piece"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "deflate", "bare deflate", "two members"])
async def test_what_came_compressed(kind: type[Transport], encoding: str) -> None:
    text = b"Hello, " * 5000
    machine = zlib.compressobj(wbits=-15)
    body = {
        "deflate": zlib.compress(text),
        "bare deflate": machine.compress(text) + machine.flush(),
        "two members": gzip.compress(text[:100]) + gzip.compress(text[100:]),
    }.get(encoding, gzip.compress(text))
    header = {"bare deflate": "deflate", "two members": "gzip"}.get(encoding, encoding)
    answer = WireResponse(body, headers={"content-encoding": header}, cut=("random", 3))
    async with WireServer(answer) as server:
        transport = kind(server.url, provider="p")
        assert await transport.post("/", {}) == text
        await transport.aclose()


@pytest.mark.parametrize(("encoding", "match"), [("br", "did not ask for"), ("gzip", "cut off")])
async def test_compression_that_cannot_be_read(encoding: str, match: str) -> None:
    answer = WireResponse(gzip.compress(b"Hello" * 99)[:-9], headers={"content-encoding": encoding})
    async with WireServer(answer) as server:
        transport = AiohttpTransport(server.url, provider="p")
        with pytest.raises(pp.ProtocolError, match=match):
            await transport.post("/", {})
        await transport.aclose()


async def test_of_a_callers_own_client() -> None:
    async with httpx.AsyncClient() as given, WireServer(WireResponse(b"x" * 2000)) as server:
        async with Marmot(base_url=server.url, limits=Limits(answer=1000), http_client=given) as client:
            with pytest.raises(pp.ProtocolError):
                await client.execute(PROMPT, MODEL)
