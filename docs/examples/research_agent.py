"""An agent with three tools of its own, those of an MCP server, and a sub-agent. It needs promptport[mcp]."""

import asyncio
import sys
from pathlib import Path

import promptport as pp
from promptport.mcp import connect_stdio

SERVER = str(Path(__file__).with_name("notes_server.py"))


@pp.tool
def search(query: str, context: pp.ToolContext[dict[str, str]]) -> list[str]:
    """Find the titles of pages."""
    return [title for title in context.value if query.lower() in title.lower()]


@pp.tool
def read(title: str, context: pp.ToolContext[dict[str, str]]) -> str:
    """Read a page."""
    return context.value[title]


@pp.tool
async def add(numbers: list[float]) -> float:
    """Add numbers."""
    return sum(numbers)


async def research(executor: pp.PromptExecutor, model: str, question: str, pages: dict[str, str]) -> str:
    critic = pp.LLMSession(executor, model, pp.Prompt().system("Find what is wrong in a text."))
    async with connect_stdio(sys.executable, [SERVER]) as notes:
        tools = [search, read, add, critic.as_tool("critic", "Checks a text."), *await notes.tools()]
        return (await pp.LLMSession(executor, model, tools=tools, context=pages).run(question)).text


if __name__ == "__main__":
    print(asyncio.run(research(pp.connect("openai"), "openai/gpt-5", sys.argv[1], {"Lamps": "They shine."})))
