"""Prints tokens as they arrive, while a tool that takes seconds runs. The stream never waits for the tool.

``python streaming_pipeline.py`` asks a scripted model, ``python streaming_pipeline.py local/smollm2-135m`` llama.cpp in
this process, and ``python streaming_pipeline.py openai/gpt-5`` any provider that is installed, with its key set.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import promptport as pp
from promptport.testing import Pause, ScriptedExecutor

QUESTION = "How many red bicycles are in stock? While you wait for the answer, tell me about bicycles."


@pp.tool
def check_stock(item: str) -> str:
    """How many of an item are in stock.

    Args:
        item: the item's name, such as red bicycle.
    """
    time.sleep(3)  # a slow warehouse; a plain function runs in a thread of its own
    return f"There are 12 of: {item}."


def show(frame: pp.DispatchFrame) -> None:
    """Prints a frame as soon as it is there."""
    match frame:
        case pp.Append(text=text):
            print(text, end="", flush=True)
        case pp.ToolStarted(name=name):
            print(f"\n[{name} has started]", flush=True)
        case pp.ToolResult(name=name, output=output, error=error):
            print(f"\n[{name} has ended: {error or output}]", flush=True)


async def pipeline(
    executor: pp.PromptExecutor,
    model: pp.LLModel,
    prompt: pp.Prompt,
    tools: Sequence[pp.Tool[Any]] = (check_stock,),
    on_frame: Callable[[pp.DispatchFrame], None] = show,
) -> pp.AssistantMessage:
    """Asks, runs the calls, asks again with their results, and so on; hands each frame on, gives the last answer."""
    async with pp.ToolDispatcher(executor, tools) as dispatcher, dispatcher.stream(prompt, model) as stream:
        async for frame in stream:
            on_frame(frame)
        return stream.partial


def scripted() -> pp.PromptExecutor:
    """A model that says the same each time: a call, and then much text."""
    story = "While the warehouse looks: the bicycle is two hundred years old, and still the best way into town. "
    words = [step for word in story.split(" ") for step in (f"{word} ", Pause(0.1))]
    call = pp.ToolCall("call_1", "check_stock", '{"item": "red bicycle"}')
    return ScriptedExecutor(["Let me see. ", call, *words], ["There are 12 red bicycles in stock."])


async def main(name: str = "scripted/storyteller") -> None:
    """Runs the pipeline with the model of this name."""
    model = pp.LLModel.parse(name)
    executor = scripted() if model.provider == "scripted" else pp.connect(model.provider)
    try:
        await pipeline(executor, model, pp.Prompt.of(QUESTION))
        print()
    finally:
        await executor.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
