"""Tools of an MCP server: what only reads runs at once, what writes asks a person first.

pip install "promptport[mcp]"
"""

import asyncio
import sys
from pathlib import Path

import promptport as pp
from promptport.mcp import connect_stdio
from promptport.testing import ScriptedExecutor

SERVER = Path(__file__).with_name("notes_server.py")


async def ask_person(call: pp.ToolCall) -> bool | str:
    """``True`` runs the call; a text does not, and tells the model why. Here a person is easily convinced."""
    print(f"\n[{call.name} {call.arguments}: allowed]")
    return True


async def main() -> list[pp.ToolResult]:
    """Asks a scripted model; ``pp.connect("openai")`` and its model go in the same place."""
    read, write = pp.ToolCall("1", "read_notes", "{}"), pp.ToolCall("2", "add_note", '{"text": "It has a bell."}')
    executor = ScriptedExecutor(["Let me read. ", read], ["I add one. ", write], ["The bicycle is red."])
    results: list[pp.ToolResult] = []
    async with connect_stdio(sys.executable, [str(SERVER)]) as server:
        prompt = pp.Prompt.of("What colour is the bicycle? Note that it has a bell.", system=server.instructions)
        dispatcher = pp.ToolDispatcher(executor, await server.tools(approve="writes"), approve=ask_person)
        async with dispatcher, dispatcher.stream(prompt, pp.LLModel("scripted", "model")) as stream:
            async for frame in stream:
                match frame:
                    case pp.Append(text=text):
                        print(text, end="", flush=True)
                    case pp.ToolResult():
                        print(f"\n[{frame.name}: {frame.output}]")
                        results.append(frame)
    return results


if __name__ == "__main__":
    asyncio.run(main())
