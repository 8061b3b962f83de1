"""``promptport run``: one prompt, its response as it comes, and the tools that it calls.

Rule: the response goes to standard output, all that is about it (calls, results, usage, timing) to standard error.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from promptport.cli.application import app, one_line_errors
from promptport.cli.options import (
    DEFAULT_MODEL,
    BaseURLOption,
    MaxTokensOption,
    ModelOption,
    SystemOption,
    TemperatureOption,
    ToolsOption,
)
from promptport.cli.terminal import Terminal
from promptport.cli.tool_loading import load_tool
from promptport.dispatch import ToolDispatcher
from promptport.errors import InvalidInputError
from promptport.executor import SingleClientExecutor
from promptport.messages import NamedTool, Prompt, ToolChoice
from promptport.models import LLModel
from promptport.registry import client as make_client
from promptport.tools import Tool

__all__ = ["run"]


@app.command()
def run(  # noqa: PLR0917 - typer makes options of them
    prompt: Annotated[str, typer.Argument(help="What to ask. '-' reads it from standard input.")],
    model: ModelOption = DEFAULT_MODEL,
    system: SystemOption = None,
    tools: ToolsOption = None,
    tool_choice: Annotated[
        str | None, typer.Option(help="auto, none, required or a tool's name, for the first request. Default: auto.")
    ] = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    base_url: BaseURLOption = None,
    text_calls: Annotated[
        str | None,
        typer.Option(help="auto or off: also read tool calls out of the text. Default: the provider's."),
    ] = None,
    tools_in_text: Annotated[
        bool, typer.Option("--tools-in-text", help="Put the tools into the prompt, even if the model has native ones.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one frame a line, as JSON.")] = False,
) -> None:
    """Stream the response to a prompt, and run the tools that the model calls.

    Examples:
    promptport run "What is the weather in Paris?" --tool weather.py:get_weather

    promptport run - --model openai/gpt-5 --json < question.txt
    """
    with one_line_errors(as_json=as_json):
        text = sys.stdin.read() if prompt == "-" else prompt
        if not text.strip():
            raise InvalidInputError("the prompt is empty")
        chosen = LLModel.parse(model)
        offered = [load_tool(name) for name in tools or ()]
        params: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature}
        if tool_choice is not None:
            params["tool_choice"] = _tool_choice(tool_choice, offered)
        asked = Prompt.of(text, system=system, **params)
        given = {"base_url": base_url or None, "text_calls": text_calls}
        client = make_client(chosen.provider, **{name: value for name, value in given.items() if value is not None})
        executor = SingleClientExecutor(client, when_tools_cannot_stream="text", tools_in_text=tools_in_text)
        asyncio.run(_run(executor, asked, chosen, offered, as_json))


def _tool_choice(text: str, tools: Sequence[Tool[Any]]) -> ToolChoice | NamedTool:
    if text in [each.name for each in tools]:
        return NamedTool(text)
    try:
        return ToolChoice(text)
    except ValueError:
        names = ", ".join(["auto", "none", "required", *(each.name for each in tools)])
        raise InvalidInputError(f"--tool-choice takes one of {names}, not {text!r}") from None


async def _run(
    executor: SingleClientExecutor, prompt: Prompt, model: LLModel, tools: Sequence[Tool[Any]], as_json: bool
) -> None:
    terminal = Terminal(as_json=as_json)
    async with executor:
        terminal.wait(f"waiting for {model} …")
        try:
            async with (
                ToolDispatcher(executor, tools, approve=terminal.approve) as dispatcher,
                dispatcher.stream(prompt, model) as stream,
            ):
                async for frame in stream:
                    terminal.show(frame)
        finally:
            terminal.stop_waiting()
