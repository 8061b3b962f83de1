"""A session's request as a step of a pydantic-graph: the answer streams, and its calls choose the way.

pip install promptport pydantic-graph
"""

# mypy: disable-error-code="attr-defined, call-overload, no-any-return, type-arg"
# (mypy does not see that pydantic-graph's classes are generic; pyright does)

import asyncio

from pydantic_graph import GraphBuilder, StepContext

import promptport as pp
from promptport.testing import ScriptedExecutor


@pp.tool
async def get_weather(city: str) -> str:
    """Current weather of a city."""
    return f"It is sunny in {city}."


async def print_text(stream: pp.FrameStream) -> pp.AssistantMessage:
    """What a node makes of its stream: shown while it comes, and passed on when it is whole."""
    async for frame in stream:
        if isinstance(frame, pp.Append):
            print(frame.text, end="", flush=True)
    return await stream.message()


run_calls = pp.node_execute_multiple_tools("run_calls")
ask_model = pp.node_llm_request_streaming_with_tools("ask_model", transform=print_text)

builder = GraphBuilder(state_type=pp.LLMSession, input_type=str, output_type=str)


@builder.step
async def add_question(context: StepContext[pp.LLMSession, None, str]) -> None:
    """The graph's input goes into the conversation."""
    context.state.user(context.inputs)


@builder.step
async def ask(context: StepContext[pp.LLMSession, None, None]) -> pp.AssistantMessage:
    """The node does not know the graph: it takes the session, wherever an engine keeps it."""
    return await ask_model(context.state)


@builder.step
async def run_tools(context: StepContext[pp.LLMSession, None, pp.AssistantMessage]) -> None:
    """The calls are whole, so they run, side by side; their results go into the conversation."""
    context.state.add_tool_results(await run_calls(context.state, context.inputs))


@builder.step
async def give_text(context: StepContext[pp.LLMSession, None, pp.AssistantMessage]) -> str:
    """The graph's output."""
    return context.inputs.text


builder.add(
    builder.edge_from(builder.start_node).to(add_question),
    builder.edge_from(add_question, run_tools).to(ask),
    builder.edge_from(ask).to(
        builder.decision()
        .branch(builder.match(pp.AssistantMessage, matches=lambda message: bool(message.tool_calls)).to(run_tools))
        .branch(builder.match(pp.AssistantMessage).to(give_text))
    ),
    builder.edge_from(give_text).to(builder.end_node),
)
graph = builder.build()


async def main() -> None:
    """Asks a scripted model; ``pp.connect("openai")`` and its model go in the same place."""
    call = pp.ToolCall("call_1", "get_weather", '{"city": "Paris"}')
    executor = ScriptedExecutor(["Let me look. ", call], ["Take ", "sunglasses."])
    session = pp.LLMSession(executor, pp.LLModel("scripted", "model"), tools=[get_weather])
    answer = await graph.run(state=session, inputs="What should I pack for Paris?")
    print(f"\n{len(session.prompt.messages)} messages; the last says: {answer}")


if __name__ == "__main__":
    asyncio.run(main())
