"""``promptport chat``: a conversation at the terminal.

Rule: the conversation is a session's, and so at all times one that can be sent: what Ctrl-C, an error or a lost
connection cuts off stays in it as far as it came. `/retry` takes it back and asks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
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
from promptport.cli.terminal import Terminal, console, visible
from promptport.cli.tool_loading import load_tool
from promptport.dispatch import StepEnd
from promptport.errors import ConfigurationError, PromptportError
from promptport.executor import SingleClientExecutor
from promptport.frames import End, ToolCall, Usage
from promptport.messages import AssistantMessage, Message, Prompt, SystemMessage, ToolResultMessage, UserMessage
from promptport.models import LLModel
from promptport.registry import client as make_client
from promptport.session import LLMSession
from promptport.telemetry import price
from promptport.tools import Tool

__all__ = ["chat"]

_WHO: dict[type[Message], str] = {
    SystemMessage: "instructions",
    UserMessage: "you",
    AssistantMessage: "model",
    ToolResultMessage: "tool",
}
_HELP = """\
/help                this list
/model [NAME]        show the model, or ask another from now on: /model openai/gpt-5
/system TEXT         set the instructions to the model
/tools               show the tools that are offered
/history             show the conversation
/retry               take back the last response, and ask again
/save FILE           save the conversation; promptport chat --continue FILE goes on with it
/quit                end, as Ctrl-D does
A line that ends in \\ goes on in the next one; Alt-Enter begins a new line. Ctrl-C stops a response."""


@app.command()
def chat(  # noqa: PLR0917 - typer makes options of them
    model: ModelOption = DEFAULT_MODEL,
    system: SystemOption = None,
    tools: ToolsOption = None,
    saved: Annotated[
        Path | None,
        typer.Option("--continue", "-c", help="Continue the conversation in this file, and save it there at the end."),
    ] = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    base_url: BaseURLOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Run tools that need approval without asking.")] = False,
) -> None:
    """Have a conversation with a model, which can run tools.

    Examples:
    promptport chat

    promptport chat --model openai/gpt-5 --tool weather.py:get_weather --continue talk.json
    """
    with one_line_errors():
        offered = [load_tool(name) for name in tools or ()]
        params = {"max_tokens": max_tokens, "temperature": temperature}
        conversation = _Chat(
            LLModel.parse(model), offered, base_url=base_url, terminal=Terminal(), approve_all=yes, saved=saved
        )
        conversation.begin(system, {name: value for name, value in params.items() if value is not None})
        asyncio.run(conversation.run())


class _Chat:
    """One conversation at the terminal: a session, the executors of its providers, and what it took."""

    def __init__(
        self,
        model: LLModel,
        tools: Sequence[Tool[Any]],
        *,
        base_url: str | None,
        terminal: Terminal,
        approve_all: bool,
        saved: Path | None,
    ) -> None:
        self._tools = tools
        self._base_url = base_url
        self._first_provider = model.provider
        self._terminal = terminal
        self._approve_all = approve_all
        self._saved = saved
        self._executors: dict[str, SingleClientExecutor] = {}
        self._spent: list[tuple[LLModel, Usage]] = []
        # A provider that is not there, and a file that cannot be read, are told now, not behind the first question.
        executor = self._executor(model)
        if saved is not None and not saved.parent.is_dir():
            raise ConfigurationError(f"--continue: there is no folder {saved.parent}. Make it first.")
        told = self._read(saved, executor) if saved is not None and saved.exists() else Prompt()
        self._session = self._with(model, told)

    def begin(self, system: str | None, params: dict[str, Any]) -> None:
        """Sets what the options say of the conversation."""
        if system is not None:
            self._instruct(system)
        self._session.prompt = self._session.prompt.with_params(**params)

    async def run(self) -> None:
        """Asks the user and the model in turn, until the user ends it."""
        ask = _input_of(self._told)
        try:
            while True:
                try:
                    text = await ask()
                except KeyboardInterrupt:
                    continue
                except EOFError:
                    break
                if text.startswith("/"):
                    if await self._command(text):
                        break
                elif text.strip():
                    await self._answer(text)
        finally:
            await self._session.aclose()
            for executor in self._executors.values():
                await executor.aclose()
            if self._saved is not None:
                self._write(self._saved)
            self._sum_up()

    # ----------------------------------------------------------------------------------------- a turn

    async def _answer(self, *said: str) -> None:
        """One response with its tool calls; Ctrl-C cuts it, and an error is one line."""
        self._terminal.begin()
        reading = asyncio.ensure_future(self._read_all(said))
        try:
            with _interrupts(reading.cancel):
                await reading
        except asyncio.CancelledError:
            if not reading.cancelled():
                reading.cancel()
                raise
            self._tell("stopped")
        except PromptportError as error:
            self._tell(str(error), bad=True)
        finally:
            self._terminal.stop_waiting()
            self._terminal.end_line()

    async def _read_all(self, said: Sequence[str]) -> None:
        model = self._session.model
        self._terminal.wait(f"waiting for {model} …")
        steps: list[Usage] = []
        try:
            async with self._session.run(*said) as stream:
                async for frame in stream:
                    self._terminal.show(frame)
                    if isinstance(frame, StepEnd):
                        steps.append(frame.end.usage)
                    elif isinstance(frame, End):
                        steps = [frame.usage]  # of the whole turn
        finally:
            self._spent += [(model, usage) for usage in steps]

    async def _approve(self, call: ToolCall) -> bool | str:
        return True if self._approve_all else await self._terminal.approve(call)

    # ---------------------------------------------------------------------------------------- commands

    async def _command(self, line: str) -> bool:
        """Does what a line that begins with a slash says; whether the conversation ends."""
        name, _, rest = line[1:].strip().partition(" ")
        rest = rest.strip()
        try:
            match name:
                case "quit" | "exit":
                    return True
                case "help" | "":
                    self._tell(_HELP)
                case "model":
                    await self._choose(rest)
                case "system":
                    self._instruct(rest)
                case "tools":
                    self._tell("\n".join(f"{tool.name}: {tool.description}" for tool in self._tools) or "no tools")
                case "history":
                    self._tell(_readable(self._session.prompt))
                case "save":
                    self._save(rest)
                case "retry":
                    await self._retry()
                case _:
                    self._tell(f"/{name}: there is no such command. Type /help for the list.", bad=True)
        except (PromptportError, OSError) as error:
            self._tell(str(error), bad=True)
        return False

    async def _choose(self, name: str) -> None:
        if name:
            before = self._session
            self._session = self._with(LLModel.parse(name), before.prompt)
            await before.aclose()
        self._tell(str(self._session.model))

    def _instruct(self, text: str) -> None:
        prompt = self._session.prompt
        rest = [message for message in prompt.messages if not isinstance(message, SystemMessage)]
        first = [SystemMessage(text)] if text else []
        self._session.prompt = msgspec.structs.replace(prompt, messages=(*first, *rest))

    async def _retry(self) -> None:
        messages = self._session.prompt.messages
        said = max((place for place, message in enumerate(messages) if isinstance(message, UserMessage)), default=None)
        if said is None:
            self._tell("/retry: nothing was asked yet.", bad=True)
            return
        self._session.prompt = msgspec.structs.replace(self._session.prompt, messages=messages[: said + 1])
        await self._answer()

    def _save(self, name: str) -> None:
        path = Path(name) if name else self._saved
        if path is None:
            raise ConfigurationError("/save: no file is named. Example: /save talk.json")
        self._write(path)
        self._tell(f"saved to {path}")

    # ------------------------------------------------------------------------------------------- helpers

    def _with(self, model: LLModel, prompt: Prompt) -> LLMSession:
        return LLMSession(self._executor(model), model, prompt, self._tools, approve=self._approve)

    def _executor(self, model: LLModel) -> SingleClientExecutor:
        known = self._executors.get(model.provider)
        if known is None:
            own = {"base_url": self._base_url} if self._base_url and model.provider == self._first_provider else {}
            known = SingleClientExecutor(make_client(model.provider, **own), when_tools_cannot_stream="text")
            self._executors[model.provider] = known
        return known

    def _read(self, path: Path, executor: SingleClientExecutor) -> Prompt:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"--continue: {path} cannot be read: {error.strerror}") from error
        return LLMSession.from_json(data, executor, self._tools).prompt

    def _write(self, path: Path) -> None:
        beside = path.with_name(f".{path.name}.new")
        beside.write_bytes(self._session.to_json())
        beside.replace(path)

    def _told(self) -> str:
        return f"{self._session.model}> "

    def _tell(self, text: str, *, bad: bool = False) -> None:
        self._terminal.end_line()
        console.print(visible(text), style="red" if bad else "dim", markup=False)

    def _sum_up(self) -> None:
        """What the conversation took."""
        counts = {
            "in": [usage.input_tokens for _, usage in self._spent if usage.input_tokens is not None],
            "out": [usage.output_tokens for _, usage in self._spent if usage.output_tokens is not None],
        }
        told = [f"{sum(tokens):,} tokens {word}" for word, tokens in counts.items() if tokens]
        with contextlib.suppress(ConfigurationError):  # the extra "prices" is not installed
            prices = [cost for each in self._spent if (cost := price(*each)) is not None]
            told += [f"${sum(prices):.4f}"] if prices else []
        if told:
            self._tell(", ".join(told))


def _readable(prompt: Prompt) -> str:
    """The conversation as text."""
    lines = []
    for message in prompt.messages:
        lines.append(f"{_WHO[type(message)]}: {message.text}")
        if isinstance(message, AssistantMessage):
            lines += [f"  → {call.name}({call.arguments})" for call in message.tool_calls]
    return "\n".join(lines) or "nothing was said yet"


@contextlib.contextmanager
def _interrupts(stop: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C does this, in place of ending the process."""
    loop = asyncio.get_running_loop()
    before = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(stop))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _input_of(told: Callable[[], str]) -> Callable[[], Awaitable[str]]:
    """What gives the next thing that the user says; `EOFError` at the end, `KeyboardInterrupt` for a line thrown away.

    At a terminal, with editing and history; else the lines of standard input.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _next_line
    from prompt_toolkit import PromptSession  # noqa: PLC0415 - only where there is a terminal
    from prompt_toolkit.completion import WordCompleter  # noqa: PLC0415
    from prompt_toolkit.key_binding import KeyBindings  # noqa: PLC0415

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    commands = WordCompleter([line.split()[0] for line in _HELP.splitlines() if line.startswith("/")], sentence=True)
    session: PromptSession[str] = PromptSession(key_bindings=keys, completer=commands, complete_while_typing=False)

    async def ask() -> str:
        lines = [await session.prompt_async(visible(told(), one_line=True))]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(await session.prompt_async("… "))
        return "\n".join(lines)

    return ask


async def _next_line() -> str:
    """A line of standard input. Nothing else runs meanwhile, so that Ctrl-C ends the process at once."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGINT, before)
    if not line:
        raise EOFError
    return line.rstrip("\n")
