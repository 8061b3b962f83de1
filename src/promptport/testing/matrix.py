"""Every provider's conversations, sent to every other: what would the other refuse? Offline, over loopback.

Rule: a conversation of A is decoded from A's own wire by A's client; B's client sends it, and a strict checker of B's
protocol reads the request. What is opaque of A's carries a word that must not arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from promptport.errors import PromptportError
from promptport.frames import FinishReason, InvalidToolCall, ProviderItem, Reasoning, ToolCall
from promptport.llm_client import LLMClient
from promptport.messages import AssistantMessage, ImagePart, Prompt, TextPart, ToolResultMessage
from promptport.models import Capability
from promptport.stream import Timeouts
from promptport.testing.command import contracts
from promptport.testing.request_rules import RULES, refusals
from promptport.testing.steps import Arguments, Finish, Say, Seal, Start, Step, Think
from promptport.testing.wire_server import WireResponse, WireServer
from promptport.tools import ToolDescriptor

if TYPE_CHECKING:
    from rich.console import RenderableType

    from promptport.testing.contract import ProviderContract

__all__ = ["MatrixCell", "matrix_table", "run_matrix"]

_CLOCKS = Timeouts(first_frame=20, idle=20, total=40, connect=5)
_OPAQUE = "kit-opaque"
_THOUGHT = "I think of the kit."
_PNG = ImagePart(data=b"\x89PNG kit", media_type="image/png")
_TOOLS = (
    ToolDescriptor("get_weather", "Weather.", {"type": "object", "properties": {"city": {"type": "string"}}}),
    ToolDescriptor(
        "find", "Finds.", {"type": "object", "properties": {"at": {"oneOf": [{"type": "integer"}, {"type": "string"}]}}}
    ),
)


def _call(key: int, id: str, name: str, arguments: str) -> list[Step]:
    return [Start(key, id, name), Arguments(key, arguments), Seal(key)]


_ANSWERS: tuple[tuple[Step, ...], ...] = (
    (Think(_THOUGHT), Say("It is sunny."), Finish(FinishReason.STOP)),
    (
        Say("I look."),
        *_call(0, "functions.get_weather:0", "get_weather", '{"city": "Paris"}'),
        *_call(1, "toolu_01" + "x" * 60, "browser.tabs.open", "{}"),
        Finish(FinishReason.TOOL_CALLS),
    ),
    (*_call(0, "call_2", "$lookup", '{"a": 1}'), Finish(FinishReason.TOOL_CALLS)),
    (Say("Half an ans"), Finish(FinishReason.LENGTH)),
)


class MatrixCell(msgspec.Struct, frozen=True):
    """One pair of providers.

    Attributes:
        began: whose conversation it is.
        asked: to whom it is sent.
        requests: how many requests were checked.
        refused: why a strict server would refuse one; empty where none would be.
    """

    began: str
    asked: str
    requests: int
    refused: tuple[str, ...] = ()


def run_matrix(names: Sequence[str] = ()) -> list[MatrixCell]:
    """The cells for these providers, or for all that are installed and need no model of their own.

    Raises:
        ConfigurationError: two packages claim one provider.
    """
    found: dict[str, ProviderContract] = {}
    for name, place in contracts().items():
        if (names and name not in names) or name == "local":
            continue
        module, _, attribute = place.partition(":")
        found[name] = getattr(import_module(module), attribute)()
    return asyncio.run(_cells(found))


async def _cells(found: dict[str, ProviderContract]) -> list[MatrixCell]:
    conversations = {name: await _conversation(contract) for name, contract in found.items()}
    cells = [
        await _asked(began, prompt, asked, contract)
        for began, prompt in conversations.items()
        for asked, contract in found.items()
    ]
    everybody = Prompt.from_json(_mixed(list(conversations.values())).to_json())
    return [*cells, *[await _asked("all in turn", everybody, name, contract) for name, contract in found.items()]]


async def _conversation(contract: ProviderContract) -> Prompt:
    """A conversation with what this provider's model says, decoded from its own wire, and answered."""
    prompt = Prompt.of("What is the weather?", system="Be brief.")
    for steps in _ANSWERS:
        message = await _decoded(contract, prompt, steps)
        if message is None:
            continue
        if message.tool_calls:
            broken = InvalidToolCall(f"{message.tool_calls[0].id}-bad", "get_weather", '{"city', "not JSON")
            message = replace(message, parts=(*message.parts, broken))
        calls = [part for part in message.parts if isinstance(part, ToolCall | InvalidToolCall)]
        prompt = prompt.add(_with_opaque(message), *[_answer(call) for call in calls])
        prompt = prompt.user(" ", "And now?")
    return prompt


def _answer(call: ToolCall | InvalidToolCall) -> ToolResultMessage:
    if isinstance(call, InvalidToolCall):
        return ToolResultMessage(call.id, call.name, error=call.reason)
    if call.name == "get_weather":
        return ToolResultMessage(call.id, call.name, (TextPart("a map"), TextPart(" "), _PNG))
    return ToolResultMessage(call.id, call.name, "")


def _with_opaque(message: AssistantMessage) -> AssistantMessage:
    """The message with a word in all that is opaque, and an item that the provider ran."""
    parts: list[Any] = [ProviderItem("web_search", {"type": "web_search", "id": _OPAQUE}), TextPart(" ")]
    for part in message.parts:
        if isinstance(part, Reasoning | ToolCall | InvalidToolCall):
            parts.append(replace(part, provider_data={**(part.provider_data or {}), "signature": _OPAQUE}))
        else:
            parts.append(part)
    return replace(message, parts=tuple(parts))


def _mixed(prompts: Sequence[Prompt]) -> Prompt:
    """One conversation that changes its provider at every turn."""
    messages = prompts[0].messages[:2]
    turns = [_turns(prompt) for prompt in prompts]
    for row in zip(*turns, strict=False):
        for turn in row:
            messages += turn
    return Prompt(messages)


def _turns(prompt: Prompt) -> list[tuple[Any, ...]]:
    turns: list[tuple[Any, ...]] = []
    for message in prompt.messages[2:]:
        if isinstance(message, AssistantMessage):
            turns.append(())
        turns[-1] = (*turns[-1], message)
    return turns


async def _decoded(contract: ProviderContract, prompt: Prompt, steps: Sequence[Step]) -> AssistantMessage | None:
    body = contract.encode(steps)
    if body is None:
        return None
    async with WireServer(WireResponse(body, content_type=contract.content_type)) as server:
        client = contract.make_client(server.url, _CLOCKS)
        try:
            tools = _TOOLS if Capability.TOOLS in client.capabilities(contract.model) else ()
            async with client.execute_streaming_with_tools(Prompt.of("Hi"), contract.model, tools) as stream:
                return await stream.message()
        finally:
            await client.aclose()


async def _asked(began: str, prompt: Prompt, asked: str, contract: ProviderContract) -> MatrixCell:
    """Sends each beginning of the conversation that ends with a user or a result."""
    steps = (Say("ok"), Finish(FinishReason.STOP))
    body = contract.encode(steps) or []
    response = WireResponse(body, content_type=contract.content_type)
    ends = [i + 1 for i, message in enumerate(prompt.messages) if not isinstance(message, AssistantMessage)]
    beginnings = [Prompt(prompt.messages[:end]) for end in ends if end > 1]
    beginnings = [each for each in beginnings if each.answered("-") is each]
    refused: list[str] = []
    async with WireServer(*[response] * len(beginnings)) as server:
        client = contract.make_client(server.url, _CLOCKS)
        try:
            for each in beginnings:
                refused += await _refused(client, each, contract, server)
        finally:
            await client.aclose()
    return MatrixCell(began, asked, len(beginnings), tuple(dict.fromkeys(refused)))


async def _refused(client: LLMClient, prompt: Prompt, contract: ProviderContract, server: WireServer) -> list[str]:
    tools = _TOOLS if Capability.TOOLS in client.capabilities(contract.model) else ()
    try:
        async with client.execute_streaming_with_tools(prompt, contract.model, tools) as stream:
            await stream.message()
    except PromptportError as error:
        return [f"{type(error).__name__}: {error}"]
    sent = server.requests[-1]
    text = sent.body.decode()
    protocol = str(contract.mutators)
    found = refusals(protocol if protocol in RULES else client.provider, sent.json())
    if _OPAQUE in text:
        found.append("what is opaque of another server")
    if _THOUGHT in text:
        found.append("another model's thoughts")
    return found


def matrix_table(cells: Sequence[MatrixCell]) -> list[RenderableType]:
    """What a person sees: a row for whose conversation it is, a column for whom it is sent to."""
    from rich.table import Table  # noqa: PLC0415 - of the extra "cli"
    from rich.text import Text  # noqa: PLC0415

    asked = list(dict.fromkeys(cell.asked for cell in cells))
    table = Table("began with", *asked)
    for began in dict.fromkeys(cell.began for cell in cells):
        row = {cell.asked: cell for cell in cells if cell.began == began}
        table.add_row(began, *[_shown(row[name]) for name in asked])
    notes = [f"{cell.began} → {cell.asked}: {why}" for cell in cells for why in cell.refused]
    return [table, *map(Text, notes)]


def _shown(cell: MatrixCell) -> str:
    return f"{len(cell.refused)} refused" if cell.refused else f"{cell.requests} ok"
