"""A session's request as a node of a LangGraph: its tokens go out through the graph's own stream.

pip install promptport langgraph
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

import promptport as pp
from promptport.testing import ScriptedExecutor


@pp.tool
async def get_weather(city: str) -> str:
    """Current weather of a city."""
    return f"It is sunny in {city}."


@dataclass
class Talk:
    """The graph's context: a conversation, which grows by itself."""

    session: pp.LLMSession


class State(TypedDict, total=False):
    """What the graph passes on."""

    question: str
    answer: pp.AssistantMessage


async def write_text(stream: pp.FrameStream) -> pp.AssistantMessage:
    """What a node makes of its stream: each increment goes to whoever reads the graph's stream."""
    write = get_stream_writer()
    async for frame in stream:
        if isinstance(frame, pp.Append):
            write({"text": frame.text})
    return await stream.message()


run_calls = pp.node_execute_multiple_tools("run_calls")
ask_model = pp.node_llm_request_streaming_with_tools("ask_model", transform=write_text)


async def add_question(state: State, runtime: Runtime[Talk]) -> State:
    """The graph's input goes into the conversation."""
    runtime.context.session.user(state["question"])
    return {}


async def ask(state: State, runtime: Runtime[Talk]) -> State:
    """The node does not know the graph: it takes the session, wherever an engine keeps it."""
    return {"answer": await ask_model(runtime.context.session)}


async def run_tools(state: State, runtime: Runtime[Talk]) -> State:
    """The calls are whole, so they run, side by side; their results go into the conversation."""
    session = runtime.context.session
    session.add_tool_results(await run_calls(session, state["answer"]))
    return {}


def where_next(state: State) -> str:
    """Calls are run; an answer without any is the end."""
    return "run_tools" if state["answer"].tool_calls else END


builder = StateGraph(State, context_schema=Talk)
builder.add_node("add_question", add_question)
builder.add_node("ask", ask)
builder.add_node("run_tools", run_tools)
builder.add_edge(START, "add_question")
builder.add_edge("add_question", "ask")
builder.add_conditional_edges("ask", where_next, ["run_tools", END])
builder.add_edge("run_tools", "ask")
graph = builder.compile()


async def texts(session: pp.LLMSession, question: str) -> AsyncIterator[str]:
    """The increments of all answers on the way, as they come."""
    async for part in graph.astream({"question": question}, context=Talk(session), stream_mode="custom"):
        yield part["text"]


async def main() -> None:
    """Asks a scripted model; ``pp.connect("openai")`` and its model go in the same place."""
    call = pp.ToolCall("call_1", "get_weather", '{"city": "Paris"}')
    executor = ScriptedExecutor(["Let me look. ", call], ["Take ", "sunglasses."])
    session = pp.LLMSession(executor, pp.LLModel("scripted", "model"), tools=[get_weather])
    async for text in texts(session, "What should I pack for Paris?"):
        print(text, end="", flush=True)
    print(f"\n{len(session.prompt.messages)} messages")


if __name__ == "__main__":
    asyncio.run(main())
