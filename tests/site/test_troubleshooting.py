"""Each message on the page of troubleshooting is one that promptport says, raised here as the page tells."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import promptport as pp
from promptport.policies import Budget, BudgetedExecutor
from promptport.testing import ScriptedExecutor, WireResponse, WireServer

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
MODEL = "scripted/m"
CALL = pp.ToolCall("call_1", "look", '{"place": "Paris"}')
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "Half"}}]}\n\n'


@pp.tool
def look(place: str) -> str:
    """Look at a place."""
    return f"saw {place}"


def unset(name: str) -> pp.LLMClient:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY", raising=False)
        return pp.client(name)


async def asked(*responses: WireResponse, **options: Any) -> pp.AssistantMessage:
    """What a server that gives these says to a client of Chat Completions."""
    async with WireServer(*responses) as server:
        given: dict[str, Any] = {"base_url": f"{server.url}/v1", "api_key": "test-key", **options}
        async with pp.connect("openai-chat", **given) as executor:
            async with executor.execute_streaming_with_tools("Hi", "openai-chat/m") as stream:
                message: pp.AssistantMessage = await stream.message()
                return message


def refused(status: int) -> Callable[[], Awaitable[Any]]:
    return lambda: asked(WireResponse.json({"error": {"message": "no"}}, status))


async def looped(*answers: list[Any], tools: tuple[pp.ToolDescriptor, ...] = (look,), **options: Any) -> None:
    """Raises what the loop raised, or else the first error of a call."""
    async with pp.ToolDispatcher(ScriptedExecutor(*answers), tools, **options) as dispatcher:
        async with dispatcher.stream("Look.", MODEL) as stream:
            await stream.message()
    for outcome in stream.outcomes:
        if outcome.error is not None:
            raise outcome.error


async def in_two_loops() -> None:
    async with WireServer(WireResponse.json({"data": []}), WireResponse.json({"data": []})) as server:
        client = pp.client("openai-chat", base_url=f"{server.url}/v1", api_key="test-key")
        await client.models()
        try:
            await asyncio.to_thread(lambda: asyncio.run(client.models()))
        finally:
            await client.aclose()


async def read_twice() -> None:
    stream = ScriptedExecutor(["a"]).execute_streaming_with_tools("Hi", MODEL)
    for _ in range(2):
        async for _ in stream:
            pass


async def read_by_two() -> None:
    async with ScriptedExecutor([asyncio.Event()]).execute_streaming_with_tools("Hi", MODEL) as stream:
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        try:
            async for _ in stream:
                pass
        finally:
            first.cancel()
            await asyncio.wait([first])


async def run_twice() -> None:
    session = pp.LLMSession(ScriptedExecutor(["a", "b"], repeat=True), MODEL)
    async with session.run("Hi") as stream:
        await anext(stream)
        session.run("Hi")


async def resumed(times: int) -> None:
    needs = pp.Tool(
        name="look", description="Looks.", parameters=look.parameters, function=look.function, needs_approval=True
    )
    async with pp.ToolDispatcher(ScriptedExecutor([CALL], ["a"], ["b"]), [needs]) as dispatcher:
        async with dispatcher.stream("Look.", MODEL) as stream:
            await stream.message()
        assert stream.paused is not None
        if not times:
            dispatcher.resume(stream.paused, {})
        for _ in range(times):
            async with dispatcher.resume(stream.paused, {"call_1": True}) as again:
                await again.message()


async def budget() -> None:
    executor = BudgetedExecutor(ScriptedExecutor(["a"], repeat=True), Budget(requests=1))
    for _ in range(2):
        await executor.execute("Hi", MODEL)


async def never_closed() -> None:
    stream = ScriptedExecutor(["a", asyncio.Event()]).execute_streaming_with_tools("Hi", MODEL)
    await anext(stream)
    with pytest.warns(ResourceWarning) as caught:  # noqa: PT031 - the stream must be dropped in here
        del stream
        await asyncio.sleep(0.01)
    raise ResourceWarning(str(caught[0].message))


def without_annotation() -> None:
    @pp.tool
    def untyped(city) -> str:  # type: ignore[no-untyped-def]
        """Nothing."""
        return str(city)


async def stalled(after: int, **clocks: float) -> None:
    response = WireResponse([EVENT, EVENT], stall_after=after)
    await asked(response, timeouts=pp.Timeouts(**clocks))


def fails(place: str) -> str:
    raise ValueError("the place is closed")


async def hangs(place: str) -> str:
    await asyncio.Event().wait()
    return place


def made(function: Callable[..., Any], **options: Any) -> pp.Tool:
    return pp.Tool(name="look", description="", parameters=look.parameters, function=function, **options)


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}},
    "required": ["a"],
}


async def not_the_schema() -> None:
    done = EVENT.replace(b"Half", b'{\\"a\\": [1, 1]}') + EVENT.replace(b'{"content": "Half"}', b"{}").replace(
        b'"delta"', b'"finish_reason": "stop", "delta"'
    )
    async with WireServer(WireResponse(done + b"data: [DONE]\n\n")) as server:
        async with pp.connect("openai-chat", base_url=f"{server.url}/v1", api_key="test-key") as executor:
            prompt = pp.Prompt.of("Hi", response_schema=SCHEMA)
            await executor.execute_streaming_with_tools(prompt, "openai-chat/m").message()


HISTORY = pp.Prompt.of("Hi").tool_call("call_1", "look", {"place": "Paris"})

CAUSES: dict[str, Callable[[], Any]] = {
    "no API key; pass api_key=… or set …": lambda: unset("openai"),
    "the API key holds a blank, a line end or another character that no key has": lambda: pp.client(
        "openai", api_key="test key\n"
    ),
    "there is no provider …; known: …": lambda: pp.connect("opnai"),
    "… is a model, and connect() takes providers": lambda: pp.connect("openai/gpt-5"),
    "no client for …: the executor has …": lambda: pp.connect("ollama").execute_streaming("Hi", "openai/gpt-5"),
    "there is no option …": lambda: pp.client("ollama", timeout=3),
    "the base_url …; write it like 'https://api.example.com/v1'": lambda: pp.client("openai", base_url="gpu:80"),
    "this client was used in another event loop; make one for each loop": in_two_loops,
    "… does not support …": lambda: pp.connect("ollama").execute_streaming_with_tools(
        pp.Prompt().user("Hi", pp.AudioPart(data=b"RIFF", media_type="audio/wav")), "ollama/m"
    ),
    "the call … of … has no result": lambda: ScriptedExecutor().execute_streaming(HISTORY.user("So?"), MODEL),
    "a tool result answers …, and no call before it has this id": lambda: ScriptedExecutor().execute_streaming(
        pp.Prompt((pp.UserMessage.of("Hi"), pp.ToolResultMessage("call_1", "look", "x"))), MODEL
    ),
    "the prompt has no user message": lambda: ScriptedExecutor().execute_streaming(pp.Prompt().system("x"), MODEL),
    "it was iterated to its end before, and is for one use": read_twice,
    "another task is reading it": read_by_two,
    "LLMSession: a run of this session is under way": run_twice,
    "tool …: parameter … has no annotation": without_annotation,
    "a tool's name is 1 to 64 letters, digits, '_' or '-'": lambda: pp.ToolDescriptor("get weather", "x"),
    "two tools are named …; names must differ": lambda: pp.ToolDispatcher(ScriptedExecutor(), [look, look]),
    "resume(): decisions: missing for …": lambda: resumed(0),
    "this paused run was resumed before": lambda: resumed(2),
    "The budget is used up: …": budget,
    "HTTP 401: …": refused(401),
    "HTTP 403: …": refused(403),
    "HTTP 404: …": refused(404),
    "HTTP 400: …": refused(400),
    "HTTP 429: …": refused(429),
    "HTTP 503: …": refused(503),
    "HTTP 500: …": refused(500),
    "cannot connect to …: is the server running?": lambda: asked(base_url="http://127.0.0.1:9/v1"),
    "no frame came within … s": lambda: stalled(0, first_frame=0.05),
    "no byte came for … s": lambda: stalled(len(EVENT), idle=0.05),
    "not complete within … s": lambda: stalled(len(EVENT), total=0.1),
    "the connection broke before the provider's terminal": lambda: asked(
        WireResponse([EVENT, EVENT], reset_after=len(EVENT))
    ),
    "the stream ended without finish_reason or [DONE]": lambda: asked(WireResponse(EVENT)),
    "the provider reported an error: …": lambda: asked(
        WireResponse(EVENT + b'data: {"error": {"message": "no", "code": "server_error"}}\n\n')
    ),
    "the server answered with a web page instead of a stream": lambda: asked(
        WireResponse(b"<!DOCTYPE html><html></html>", headers={"content-type": "text/html"})
    ),
    "an event is not JSON: …": lambda: asked(WireResponse(EVENT + b"data: {\n\n")),
    "the answer does not fit response_schema: …": not_the_schema,
    "the model still calls tools after … requests": lambda: looped([CALL], [CALL], max_steps=1),
    "there is no tool named …": lambda: looped([pp.ToolCall("c", "lok", "{}")], ["a"]),
    "the arguments do not fit: …": lambda: looped([pp.ToolCall("c", "look", '{"plce": 1}')], ["a"]),
    "the tool did not finish within … s": lambda: looped([CALL], ["a"], tools=(made(hangs, timeout=0.05),)),
    "ValueError: …": lambda: looped([CALL], ["a"], tools=(made(fails),)),
    "a FrameStream was dropped unclosed": never_closed,
}
ELSEWHERE = {"the provider … is not installed: pip install …"}  # tests/test_registry.py


def headings() -> dict[str, str]:
    """The messages of the page, with what it says of each."""
    found = re.findall(r"^### `([^\n]+)`\n\n(.*?)(?=\n##)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == len(dict(found))
    return dict(found)


def test_every_message_of_the_page_is_raised_here() -> None:
    assert set(headings()) == set(CAUSES) | ELSEWHERE


def test_the_page_names_every_kind_of_error() -> None:
    kinds = [kind for kind in vars(pp).values() if isinstance(kind, type) and issubclass(kind, pp.PromptportError)]
    roots = {pp.PromptportError, pp.ProviderError, pp.StreamError, pp.ToolError}
    assert [kind.__name__ for kind in kinds if kind not in roots and kind.__name__ not in PAGE.read_text()] == []


@pytest.mark.parametrize("message", CAUSES)
async def test_a_message_is_what_promptport_says(message: str) -> None:
    with pytest.raises((pp.PromptportError, ResourceWarning)) as raised:
        outcome = CAUSES[message]()
        if isinstance(outcome, Awaitable):
            await outcome
    pattern = ".*".join([re.escape(part) for part in message.split("…")])
    assert re.search(pattern, str(raised.value)), f"it says: {raised.value}"
    section = PAGE.read_text().split(f"### `{message}`")
    named = section[1].partition("\n###")[0] + section[0].rpartition("\n## ")[2].partition("\n")[0]
    kind = type(raised.value).__name__
    assert kind in named, f"the page does not say that it is a {kind}"
