"""``promptport chat``: a conversation at the terminal.

Rule: the conversation is at all times one that can be sent. What Ctrl-C, an error or a lost connection cuts off stays
in it as far as it came, with a result for each call; `/retry` takes it back and asks again.
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

from promptport.cli.application import DEFAULT_MODEL, MODEL_VARIABLE, app, one_line_errors
from promptport.cli.terminal import Terminal, console, visible
from promptport.cli.tool_loading import load_tool
from promptport.dispatch import DispatchStream, StepEnd, ToolDispatcher
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
_CUT = "not run: the user stopped the response"
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
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar=MODEL_VARIABLE,
            help="Model to ask, as provider/id. Example: openai/gpt-5.",
        ),
    ] = DEFAULT_MODEL,
    system: Annotated[str | None, typer.Option("--system", "-s", help="Instructions to the model.")] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option("--tool", "-t", help="Tool to offer, as for promptport run. Repeat for more."),
    ] = None,
    saved: Annotated[
        Path | None,
        typer.Option("--continue", "-c", help="Continue the conversation in this file, and save it there at the end."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Limit of each response, in tokens. Default: the provider's.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="From 0 up. Default: the provider's.")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Another server of the provider's API. Example: http://localhost:8000/v1.")
    ] = None,
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
    """One conversation: what was said, who is asked, and what it took."""

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
        self._model = model
        self._tools = tools
        self._base_url = base_url
        self._first_provider = model.provider
        self._terminal = terminal
        self._approve_all = approve_all
        self._saved = saved
        self._prompt = Prompt()
        self._executors: dict[str, SingleClientExecutor] = {}
        self._spent: list[tuple[LLModel, Usage]] = []

    def begin(self, system: str | None, params: dict[str, Any]) -> None:
        """Reads the saved conversation, if there is one, and sets what the options say."""
        if self._saved is not None and self._saved.exists():
            self._prompt = self._read(self._saved)
        if system is not None:
            self._instruct(system)
        self._prompt = self._prompt.with_params(**params)
        self._executor(self._model)  # a provider that is not there is told now, not behind the first question

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
                    await self._say(text)
        finally:
            for executor in self._executors.values():
                await executor.aclose()
            if self._saved is not None:
                self._write(self._saved)
            self._sum_up()

    # ----------------------------------------------------------------------------------------- a turn

    async def _say(self, text: str) -> None:
        self._prompt = self._prompt.user(text)
        await self._answer()

    async def _answer(self) -> None:
        """One response with its tool calls; Ctrl-C cuts it, and an error is one line."""
        executor = self._executor(self._model)
        self._terminal.begin()
        async with ToolDispatcher(executor, self._tools, approve=self._approve) as dispatcher:
            stream = dispatcher.stream(self._prompt, self._model)
            reading = asyncio.ensure_future(self._read_all(stream))
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
                await stream.aclose()
            self._prompt = stream.answered(_CUT)

    async def _read_all(self, stream: DispatchStream) -> None:
        self._terminal.wait(f"waiting for {self._model} …")
        steps: list[Usage] = []
        try:
            async for frame in stream:
                self._terminal.show(frame)
                if isinstance(frame, StepEnd):
                    steps.append(frame.end.usage)
                elif isinstance(frame, End):
                    steps = [frame.usage]  # of the whole turn
        finally:
            self._spent += [(self._model, usage) for usage in steps]

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
                    self._choose(rest)
                case "system":
                    self._instruct(rest)
                case "tools":
                    self._tell("\n".join(f"{tool.name}: {tool.description}" for tool in self._tools) or "no tools")
                case "history":
                    self._tell(_readable(self._prompt))
                case "save":
                    self._save(rest)
                case "retry":
                    await self._retry()
                case _:
                    self._tell(f"/{name}: there is no such command. Type /help for the list.", bad=True)
        except (PromptportError, OSError) as error:
            self._tell(str(error), bad=True)
        return False

    def _choose(self, name: str) -> None:
        if name:
            model = LLModel.parse(name)
            self._executor(model)
            self._model = model
        self._tell(str(self._model))

    def _instruct(self, text: str) -> None:
        rest = [message for message in self._prompt.messages if not isinstance(message, SystemMessage)]
        first = [SystemMessage(text)] if text else []
        self._prompt = msgspec.structs.replace(self._prompt, messages=(*first, *rest))

    async def _retry(self) -> None:
        messages = self._prompt.messages
        said = max((place for place, message in enumerate(messages) if isinstance(message, UserMessage)), default=None)
        if said is None:
            self._tell("/retry: nothing was asked yet.", bad=True)
            return
        self._prompt = msgspec.structs.replace(self._prompt, messages=messages[: said + 1])
        await self._answer()

    def _save(self, name: str) -> None:
        path = Path(name) if name else self._saved
        if path is None:
            raise ConfigurationError("/save: no file is named. Example: /save talk.json")
        self._write(path)
        self._tell(f"saved to {path}")

    # ------------------------------------------------------------------------------------------- helpers

    def _executor(self, model: LLModel) -> SingleClientExecutor:
        known = self._executors.get(model.provider)
        if known is None:
            own = {"base_url": self._base_url} if self._base_url and model.provider == self._first_provider else {}
            known = SingleClientExecutor(make_client(model.provider, **own), when_tools_cannot_stream="text")
            self._executors[model.provider] = known
        return known

    def _session(self) -> LLMSession:
        return LLMSession(self._executor(self._model), self._model, self._prompt, self._tools)

    def _read(self, path: Path) -> Prompt:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"--continue: {path} cannot be read: {error.strerror}") from error
        return LLMSession.from_json(data, self._executor(self._model), self._tools).prompt

    def _write(self, path: Path) -> None:
        beside = path.with_name(f".{path.name}.new")
        beside.write_bytes(self._session().to_json())
        beside.replace(path)

    def _told(self) -> str:
        return f"{self._model}> "

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
