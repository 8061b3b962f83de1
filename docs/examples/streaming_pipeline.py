"""Prints tokens as they arrive, while a tool that takes seconds runs. The stream never waits for the tool.

``python streaming_pipeline.py`` asks a scripted model, ``python streaming_pipeline.py embedded`` llama.cpp in this
process, and ``python streaming_pipeline.py openai/gpt-5`` any provider that is installed, with its key set.
"""

import asyncio
import sys
import time
from collections.abc import Callable

import promptport as pp
from promptport.testing import Pause, ScriptedClient
from promptport.text_tools import TextToolsClient

PROMPT = pp.Prompt.of("How many red bicycles are in stock? While you wait for the answer, tell me about bicycles.")


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
    tool: pp.Tool[Callable[[str], str]] = check_stock,
    on_frame: Callable[[pp.DispatchFrame], None] = show,
) -> pp.AssistantMessage:
    """Asks, runs the calls, asks again with their results, and so on; hands each frame on, gives the last answer."""
    dispatcher = pp.ToolDispatcher(executor, [tool], on_step=say_freely)
    async with dispatcher, dispatcher.stream(prompt, model) as stream:
        async for frame in stream:
            on_frame(frame)
        return stream.partial


async def say_freely(state: pp.StepState) -> pp.StepChange:
    """The shape that `embedded` asks for is that of the first answer alone."""
    return pp.StepChange(prompt=state.prompt.with_params(extra={}))


# -------------------------------------------------------------------------------------------- the models


def scripted() -> tuple[pp.LLMClient, pp.LLModel, pp.Prompt]:
    """A model that says the same each time: a call, and then much text."""
    story = "While the warehouse looks: the bicycle is two hundred years old, and still the best way into town. "
    words = [step for word in story.split() for step in (f"{word} ", Pause(0.1))]
    call = pp.ToolCall("call_1", "check_stock", '{"item": "red bicycle"}')
    client = ScriptedClient(["Let me see. ", call, *words], ["There are 12 red bicycles in stock."])
    return client, pp.LLModel("scripted", "storyteller"), PROMPT


SHAPE = r"""
root ::= "<tool_call>\n{\"name\": \"check_stock\", \"arguments\": {\"item\": \"" item "\"}}\n</tool_call>" story
item ::= ("red" | "blue" | "old") " bicycle"
story ::= "\nThe bicycle " [a-zA-Z ,]{60,300} "."
"""


def embedded() -> tuple[pp.LLMClient, pp.LLModel, pp.Prompt]:
    """SmolLM2-135M: too small to call a tool *and* tell a story by itself, so llama.cpp holds it to that shape."""
    client = TextToolsClient(pp.client("local"), format="hermes")
    prompt = PROMPT.with_params(temperature=0.0, max_tokens=120, extra={"grammar": SHAPE})
    return client, pp.LLModel.parse("local/smollm2-135m"), prompt


def provider(name: str) -> tuple[pp.LLMClient, pp.LLModel, pp.Prompt]:
    """Any other: ``provider/model``."""
    model = pp.LLModel.parse(name)
    return pp.client(model.provider), model, PROMPT


async def main(name: str = "scripted") -> None:
    """Runs the pipeline with the model of this name."""
    client, model, prompt = {"scripted": scripted, "embedded": embedded}.get(name, lambda: provider(name))()
    async with pp.SingleClientExecutor(client) as executor:
        await pipeline(executor, model, prompt)
    print()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
