"""The official SDK as the oracle: what promptport sends for the same parameters, and reads of the same stream.

One difference: the SDK sends ``"tools": []`` where there are none, and promptport sends nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ollama
import pytest

from promptport.errors import ProviderError
from promptport.messages import ImagePart, Prompt, ReasoningEffort
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.testing import RecordedRequest, WireResponse, WireServer
from promptport.tools import ToolDescriptor
from promptport_ollama import OllamaClient

KEY = "oracle-key-0123"
MODEL = LLModel("ollama", "oracle", ModelCapabilities.of(StreamedTools.WHOLE, Capability))
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolDescriptor("weather", "Current weather.", SCHEMA)
PROMPT = Prompt.of("Hi", system="Be brief.")
ROOT = Path(__file__).parents[3]
CORPUS = Path(os.environ.get("PROMPTPORT_CORPUS", ROOT.parent / "shared" / "wire")) / "ollama" / "api-chat"
OWN = sorted((ROOT / "tests" / "wires" / "ollama-chat").glob("*.ndjson"))
RECORDED = sorted(CORPUS.glob("*.ndjson"))

KINDS: dict[str, tuple[Prompt, list[ToolDescriptor]]] = {
    "text": (PROMPT, []),
    "parameters": (PROMPT.with_params(temperature=0.5, max_tokens=9, seed=7, stop=("END",)), []),
    "effort": (PROMPT.with_params(reasoning_effort=ReasoningEffort.LOW), []),
    "schema": (PROMPT.with_params(response_schema=SCHEMA), []),
    "tools": (PROMPT, [WEATHER]),
    "an image": (PROMPT.user("this", ImagePart(data=b"\x89PNG", media_type="image/png")), []),
    "unicode": (PROMPT.user("é\u2028\U0001f600"), []),
}


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as server:
        server.answer(lambda _: WireResponse.json({"error": "seen"}, 400))
        yield server


def asked(request: RecordedRequest) -> Any:
    """What must be equal: where it goes, who asks, and what is asked."""
    names = ("authorization", "content-type")
    body = request.json()
    if not body.get("tools"):
        body.pop("tools", None)
    return request.method, request.path, request.query, [request.headers.get(name) for name in names], body


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_sent_is_what_the_sdk_sends(server: WireServer, kind: str) -> None:
    prompt, tools = KINDS[kind]
    async with OllamaClient(api_key=KEY, base_url=server.url) as client:
        with pytest.raises(ProviderError):
            await client.execute_streaming_with_tools(prompt, MODEL, tools).message()
    body = server.requests[0].json()
    sdk: Any = ollama.AsyncClient(server.url, headers={"authorization": f"Bearer {KEY}"}, trust_env=False)
    with pytest.raises(ollama.ResponseError):
        async for _ in await sdk.chat(**body):
            pass
    await sdk.close()
    ours, theirs = server.requests
    assert asked(ours) == asked(theirs)


@pytest.mark.parametrize("path", [*OWN, *RECORDED], ids=lambda path: path.stem)
async def test_what_is_read_of_a_stream_is_what_the_sdk_reads(path: Path) -> None:
    data = path.read_bytes()  # noqa: ASYNC240 - before anything runs
    kind = {"content_type": "application/x-ndjson"}
    async with WireServer(WireResponse(data, cut=("random", 1), **kind), WireResponse(data, **kind)) as server:  # type: ignore[arg-type]
        text, thinking = "", ""
        calls: list[tuple[str, dict[str, Any]]] = []
        failed = ended = False
        async with OllamaClient(base_url=server.url) as client:
            try:
                ours = await client.execute_streaming_with_tools(PROMPT, MODEL).message()
            except Exception as error:
                failed, ours = True, error.partial  # type: ignore[attr-defined]
        sdk: Any = ollama.AsyncClient(server.url, trust_env=False)
        try:
            async for part in await sdk.chat("oracle", [{"role": "user", "content": "Hi"}], stream=True):
                text += part.message.content or ""
                thinking += part.message.thinking or ""
                calls += [(call.function.name, dict(call.function.arguments)) for call in part.message.tool_calls or ()]
                ended = ended or bool(part.done)
        except ollama.ResponseError:
            ended = False
        except json.JSONDecodeError:
            # It ends lines where JSON does not, trips over blank ones, and over one that is cut.
            cuts = (b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xc2\x85", b"\n\n", b"\n\r\n")
            assert any(cut in data for cut in cuts) or not data.endswith(b"\n")
            return
        finally:
            await sdk.close()
    assert ours.text == text
    assert ours.reasoning == thinking
    assert [(call.name, call.parsed()) for call in ours.tool_calls] == calls
    assert failed is not ended, "the SDK calls a cut answer complete; promptport does not"


def test_the_recorded_corpus_is_there_or_said_to_be_missing() -> None:
    if not CORPUS.exists():
        pytest.skip("the recorded wires are not here; set PROMPTPORT_CORPUS to their folder")
    assert len(RECORDED) >= 5
