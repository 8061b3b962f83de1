"""Every provider's conversations, sent to every other: what would the other refuse? Offline, over loopback.

Rule: a conversation of A is decoded from A's own wire by A's client; B's client sends it, and a strict checker of B's
protocol reads the request. What is opaque of A's carries a word that must not arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from promptport.errors import PromptportError
from promptport.frames import FinishReason, InvalidToolCall, ProviderItem, Reasoning, ToolCall
from promptport.llm_client import LLMClient
from promptport.messages import AssistantMessage, ImagePart, Prompt, TextPart, ToolResultMessage
from promptport.models import Capability, LLModel
from promptport.presets import names as preset_names
from promptport.presets import preset, preset_client
from promptport.stream import Timeouts
from promptport.testing.command import contracts
from promptport.testing.request_rules import refusals, rules_for
from promptport.testing.steps import Arguments, Finish, Say, Seal, Start, Step, Think
from promptport.testing.wire_server import WireResponse, WireServer
from promptport.tools import ToolDescriptor

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from promptport.testing.contract import ProviderContract

__all__ = ["MatrixCell", "matrix_table", "run_matrix"]

_CLOCKS = Timeouts(first_frame=20, idle=20, total=40, connect=5)
_OPAQUE = "kit-opaque"
_THOUGHT = "I think of the kit."
_PNG = ImagePart(data=b"\x89PNG kit", media_type="image/png")
_PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_BY_ID = {"type": "object", "properties": {"id": {"type": "integer"}}}
_ODD = {
    "$defs": {"Place": _PLACE},
    "type": "object",
    "properties": {
        "at": {"oneOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"type": "string", "maxLength": 5}]},
        "größe in €": {"type": "number", "exclusiveMinimum": 0},
        "kind": {"const": "kit"},
        "near": {"$ref": "#/$defs/Place", "description": "Where.", "default": None},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^(?=a)"}, "uniqueItems": True, "minItems": 3},
    },
    "required": ["kind"],
}
_TOOLS = (
    ToolDescriptor("get_weather", "Weather.", {"type": "object", "properties": {"city": {"type": "string"}}}),
    ToolDescriptor("find", "Finds.", _ODD),
    ToolDescriptor(
        "either",
        "",
        {"type": "object", "anyOf": [_PLACE, {"type": "object", "properties": {"id": {"type": "integer"}}}]},
    ),
    ToolDescriptor("held", "Held to its schema.", _ODD, strict=True),
)
"""With what servers refuse of schemas, unless it is fitted to them."""
_ANSWER = {**_ODD, "title": "An answer"}


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


_THOUGHTS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "mistral": lambda text: {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]},
    "openrouter": lambda text: {
        "reasoning": text,
        "reasoning_details": [{"type": "reasoning.text", "text": text, "signature": _OPAQUE, "index": 0}],
    },
    **dict.fromkeys(("groq", "cerebras", "vercel"), lambda text: {"reasoning": text}),
}
"""The delta in which a preset's server gives reasoning, if it is not ``reasoning_content``."""

_OF_PRESETS = 5
"""How many beginnings of a preset's conversation are sent; the last holds all of it."""

_LAST = 7
"""How many beginnings of a conversation a preset is sent: as many as a provider's own conversation has."""


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
    """The cells for these providers, or for all that are installed, and presets: one of each dialect.

    Raises:
        ConfigurationError: two packages claim one provider.
    """
    found: dict[str, ProviderContract] = {}
    for name, place in contracts().items():
        if names and name not in names:
            continue
        module, _, attribute = place.partition(":")
        found[name] = getattr(import_module(module), attribute)()
    for name in _presets():
        if not names or name in names:
            found[name] = _preset_contract(name)
    return asyncio.run(_cells(found))


def _presets() -> list[str]:
    """One preset of each dialect, of those whose models call tools."""
    distinct: dict[bytes, str] = {}
    for name in preset_names():
        row = preset(name)
        if row.api == "chat" and Capability.TOOLS not in row.lacks:
            said = msgspec.json.encode([row.dialect, sorted(row.has), sorted(row.lacks)], order="deterministic")
            distinct.setdefault(said, name)
    return sorted(distinct.values())


def _preset_contract(name: str) -> ProviderContract:
    from promptport.testing.chat_completions import ChatCompletionsContract  # noqa: PLC0415 - it imports pytest

    class PresetContract(ChatCompletionsContract):
        model = LLModel(name, "test-model")

        def _events(self, step: Step) -> list[bytes]:
            if isinstance(step, Think) and name in _THOUGHTS:
                return [self._delta(_THOUGHTS[name](step.text))]
            return super()._events(step)

        def make_client(self, base_url: str, timeouts: Timeouts) -> LLMClient:
            return preset_client(name, base_url=f"{base_url}/v1", api_key="kit-key", timeouts=timeouts)

    return PresetContract()


def _rules_of(contract: ProviderContract) -> str:
    """The row of rules that a provider's requests are held to; a preset's own, or what all of its kind refuse."""
    provider = contract.model.provider
    of_kind = "chat-completions" if provider in preset_names() else contract.mutators
    return rules_for(provider, of_kind) or ""


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
    if asked in preset_names():
        beginnings = beginnings[-_LAST:]
    if began in preset_names():
        beginnings = beginnings[-_OF_PRESETS:]
    refused: list[str] = []
    async with WireServer(*[response] * (len(beginnings) + 1)) as server:
        client = contract.make_client(server.url, _CLOCKS)
        can = client.capabilities(contract.model)
        if Capability.IMAGES not in can:
            beginnings = [_without_images(each) for each in beginnings]
        if Capability.JSON_SCHEMA in can:
            beginnings.append(Prompt.of("Answer in JSON.").with_params(response_schema=_ANSWER))
        try:
            for each in beginnings:
                refused += await _refused(client, each, contract, server)
        finally:
            await client.aclose()
    return MatrixCell(began, asked, len(beginnings), tuple(dict.fromkeys(refused)))


async def _refused(client: LLMClient, prompt: Prompt, contract: ProviderContract, server: WireServer) -> list[str]:
    offers = Capability.TOOLS in client.capabilities(contract.model) and prompt.params.response_schema is None
    tools = _TOOLS if offers else ()
    try:
        async with client.execute_streaming_with_tools(prompt, contract.model, tools) as stream:
            await stream.message()
    except PromptportError as error:
        return [f"{type(error).__name__}: {error}"]
    sent = server.requests[-1]
    text = sent.body.decode()
    found = refusals(_rules_of(contract), sent.json(), sent.path)
    if _OPAQUE in text:
        found.append("what is opaque of another server")
    if _THOUGHT in text:
        found.append("another model's thoughts")
    return found


def _without_images(prompt: Prompt) -> Prompt:
    """The same for a server that takes no images, which it says before anything is sent."""
    messages = [
        replace(message, output=tuple([part for part in message.output if not isinstance(part, ImagePart)]))
        if isinstance(message, ToolResultMessage) and not isinstance(message.output, str)
        else message
        for message in prompt.messages
    ]
    return replace(prompt, messages=tuple(messages))


def matrix_table(cells: Sequence[MatrixCell]) -> list[RenderableType]:
    """What a person sees: a row for whom a conversation is sent to, a column for whose it is.

    Columns that do not stand beside each other in the console's width go into further tables below.
    """
    from rich.text import Text  # noqa: PLC0415 - of the extra "cli"

    notes = [f"{cell.began} → {cell.asked}: {why}" for cell in cells for why in cell.refused]
    return [_Grid(cells), *map(Text, notes)]


class _Grid:
    """The table, in as many parts as the width needs."""

    def __init__(self, cells: Sequence[MatrixCell]) -> None:
        self._cells = {(cell.began, cell.asked): cell for cell in cells}
        self._began = list(dict.fromkeys(cell.began for cell in cells))
        self._asked = list(dict.fromkeys(cell.asked for cell in cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.table import Table  # noqa: PLC0415 - of the extra "cli"

        for names in self._parts(options.max_width):
            table = Table()
            for title in ("sent to", *names):
                table.add_column(title, overflow="fold")
            for asked in self._asked:
                table.add_row(asked, *[self._shown(began, asked) for began in names])
            yield table

    def _parts(self, width: int) -> Iterator[list[str]]:
        room = width - _columns("sent to", *self._asked) - 1
        names: list[str] = []
        left = room
        for began in self._began:
            need = _columns(began, *[self._shown(began, asked) for asked in self._asked])
            if names and need > left:
                yield names
                names, left = [], room
            names.append(began)
            left -= need
        if names:
            yield names

    def _shown(self, began: str, asked: str) -> str:
        cell = self._cells.get((began, asked))
        return "" if cell is None else _shown(cell)


def _columns(*texts: str) -> int:
    """The width of a table's column, with its border and padding."""
    return max(map(len, texts)) + 3


def _shown(cell: MatrixCell) -> str:
    return f"{len(cell.refused)} refused" if cell.refused else f"{cell.requests} ok"
