"""The command line: ``promptport run``, ``providers``, ``capabilities``, ``conformance``.

Rules: the answer goes to standard output, all that is about it (calls, results, usage, timing, progress) to standard
error. A mistake of the caller's gives one line and exit code 2, a failure of a provider's one line and exit code 1;
neither gives a traceback. Ctrl-C closes the stream and gives 130.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NoReturn

from promptport.errors import ConfigurationError, InvalidInputError, PromptportError, UnsupportedCapabilityError

try:
    import msgspec
    import typer
    from rich.console import Console
    from rich.table import Table
except ImportError as missing:  # pragma: no cover - only where the extra is not installed
    sys.exit(f'promptport: the command line needs {missing.name}: pip install "promptport[cli]"')

from promptport.dispatch import DispatchFrame, StepEnd, ToolDispatcher, ToolProgress, ToolResult, ToolStarted
from promptport.executor import SingleClientExecutor
from promptport.frames import Append, End, InvalidToolCall, ReasoningAppend, StreamFrame, ToolCall, Usage
from promptport.llm_client import LLMClient
from promptport.messages import NamedTool, Prompt, ToolChoice
from promptport.models import Capability, LLModel, ModelCapabilities
from promptport.registry import client as make_client
from promptport.registry import providers as list_providers
from promptport.tools import Tool, tool

__all__ = ["main"]

DEFAULT_MODEL = "local/smollm2-135m"

_app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
_console = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """The entry point of the command ``promptport``."""
    try:
        _app()
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(text: str, code: int) -> NoReturn:
    print(f"promptport: {text}", file=sys.stderr)  # noqa: T201
    raise SystemExit(code)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Errors of ours as one clear line and an exit code."""
    try:
        yield
    except (ConfigurationError, InvalidInputError, UnsupportedCapabilityError) as error:
        _fail(_one_line(error), 2)
    except PromptportError as error:
        _fail(_one_line(error), 1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        _fail("interrupted", 130)
    except BrokenPipeError:
        # Whoever read the answer has left; what Python still holds for it must not fail at exit.
        sys.stdout = None
        raise SystemExit(1) from None


def _one_line(error: PromptportError) -> str:
    return " ".join(str(error).split())


# --------------------------------------------------------------------------------------------------- run


@_app.command()
def run(  # noqa: PLR0917 - typer makes options of them
    prompt: Annotated[str, typer.Argument(help="What to ask; '-' reads it from standard input.")],
    model: Annotated[str, typer.Option("--model", "-m", help="provider/id")] = DEFAULT_MODEL,
    system: Annotated[str | None, typer.Option("--system", "-s", help="Instructions to the model.")] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option("--tool", "-t", help="module:function or path.py:function; may be given several times."),
    ] = None,
    tool_choice: Annotated[
        str | None, typer.Option(help="auto, none, required, or a tool's name; holds for the first request.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The limit of each answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 and up.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Another server that speaks the provider's API.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One frame a line, as JSON.")] = False,
) -> None:
    """Streams the answer to a prompt, and runs the tools that the model calls."""
    with _one_line_errors():
        text = sys.stdin.read() if prompt == "-" else prompt
        if not text.strip():
            raise InvalidInputError("the prompt is empty")
        chosen = LLModel.parse(model)
        offered = [_load_tool(name) for name in tools or ()]
        params: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature}
        if tool_choice is not None:
            params["tool_choice"] = _tool_choice(tool_choice, offered)
        asked = Prompt.of(text, system=system, **params)
        options = {"base_url": base_url} if base_url else {}
        client = make_client(chosen.provider, **options)
        show = _print_json if as_json else _Printer()
        asyncio.run(_run(client, asked, chosen, offered, show))


def _tool_choice(text: str, tools: Sequence[Tool[Any]]) -> ToolChoice | NamedTool:
    if text in [each.name for each in tools]:
        return NamedTool(text)
    try:
        return ToolChoice(text)
    except ValueError:
        names = ", ".join(["auto", "none", "required", *(each.name for each in tools)])
        raise InvalidInputError(f"--tool-choice takes one of {names}, not {text!r}") from None


async def _run(
    client: LLMClient, prompt: Prompt, model: LLModel, tools: Sequence[Tool[Any]], show: Callable[[DispatchFrame], None]
) -> None:
    async with SingleClientExecutor(client, when_tools_cannot_stream="text") as executor:
        waiting = _console.status(f"waiting for {model} …") if _console.is_terminal else None
        if waiting is not None:
            waiting.start()
        try:
            async with (
                ToolDispatcher(executor, tools, approve=_approve) as dispatcher,
                dispatcher.stream(prompt, model) as stream,
            ):
                async for frame in stream:
                    if waiting is not None:
                        waiting.stop()
                    show(frame)
        finally:
            if waiting is not None:
                waiting.stop()


async def _approve(call: ToolCall) -> bool | str:
    """Asks the person at the terminal; without one, nothing that needs approval runs."""
    if not (sys.stdin.isatty() and _console.is_terminal):
        return "it needs approval, and nobody is there to give it"
    question = f"Run {call.name}({call.arguments})?"
    return await asyncio.to_thread(typer.confirm, question, err=True)


def _print_json(frame: DispatchFrame) -> None:
    sys.stdout.write(msgspec.json.encode(frame).decode() + "\n")
    sys.stdout.flush()


class _Printer:
    """Shows frames to a person: text as it arrives, and what happens beside it."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._first: float | None = None
        self._column = False  # text stands on the line under way
        self._thinking = False

    def __call__(self, frame: StreamFrame | DispatchFrame) -> None:
        if isinstance(frame, Append):
            if self._first is None:
                self._first = time.monotonic() - self._started
            if self._thinking:
                self._thinking = False
                _console.print()
            sys.stdout.write(frame.text)
            sys.stdout.flush()
            self._column = not frame.text.endswith("\n")
        elif isinstance(frame, ReasoningAppend):
            self._thinking = True
            _console.print(frame.text, style="dim italic", end="", markup=False)
        elif isinstance(frame, ToolCall | InvalidToolCall):
            self._note(f"→ {frame.name}({_compact(frame.arguments)})", "cyan")
        elif isinstance(frame, ToolProgress):
            self._note(f"… {_short(frame.data)}", "dim")
        elif isinstance(frame, ToolResult):
            bad = frame.error is not None
            self._note(
                f"{'✗' if bad else '←'} {frame.name}: {_short(frame.error if bad else frame.output)}",
                "red" if bad else "green",
            )
        elif isinstance(frame, End):
            self._line()
            self._note(f"{frame.finish_reason.value}{_usage(frame.usage)}{self._timing()}", "dim")
        elif isinstance(frame, StepEnd):
            self._line()
        elif isinstance(frame, ToolStarted):
            pass  # its call was shown when it was sealed

    def _line(self) -> None:
        if self._column:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._column = False

    def _note(self, text: str, style: str) -> None:
        self._line()
        _console.print(text, style=style, markup=False)

    def _timing(self) -> str:
        total = f", {time.monotonic() - self._started:.2f} s"
        return f"{total}, first text after {self._first:.2f} s" if self._first is not None else total


def _compact(arguments: str) -> str:
    """The arguments on one line; models write them as they like, and an invalid call's are no JSON."""
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False)
    except ValueError:
        return arguments


def _short(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 500 else f"{text[:500]}… ({len(text)} characters)"


def _usage(usage: Usage) -> str:
    counts = [
        f"{count} {word}"
        for count, word in (
            (usage.input_tokens, "tokens in"),
            (usage.output_tokens, "out"),
            (usage.reasoning_tokens, "reasoning"),
        )
        if count is not None
    ]
    return f": {', '.join(counts)}" if counts else ""


def _load_tool(name: str) -> Tool[Any]:
    """The tool that ``module:function`` or ``path.py:function`` names; a plain function is made one.

    Raises:
        ConfigurationError: no such module, file or function, or a function that cannot be a tool.
    """
    place, colon, attribute = name.rpartition(":")
    if not colon or not place or not attribute:
        raise ConfigurationError(f"--tool takes module:function or path.py:function, not {name!r}")
    found = getattr(_module(place), attribute, None)
    if found is None:
        raise ConfigurationError(f"--tool {name}: {place} has no {attribute!r}")
    return found if isinstance(found, Tool) else tool(found)


def _module(place: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            sys.path.insert(0, str(Path.cwd()))
            return importlib.import_module(place)
        spec = importlib.util.spec_from_file_location(Path(place).stem, place)
        if spec is None or spec.loader is None:
            raise ConfigurationError(f"--tool: {place} is no Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except (ImportError, FileNotFoundError) as error:
        raise ConfigurationError(f"--tool: {place} cannot be imported: {error}") from error


# ------------------------------------------------------------------------------------------------ tables


@_app.command()
def providers(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Lists the providers that are installed, and how to install the others."""
    infos = list_providers()
    if as_json:
        print(msgspec.json.encode(infos).decode())  # noqa: T201
        return
    table = Table("provider", "distribution", "installed", "install with")
    for info in infos:
        table.add_row(info.name, info.distribution, "yes" if info.installed else "no", info.hint)
    Console(soft_wrap=True).print(table)


@_app.command()
def capabilities(
    model: Annotated[
        str | None,
        typer.Argument(help="provider/id; without it, what each provider gives a model that nobody described."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Tells what a model can do, without network."""
    with _one_line_errors():
        names = [LLModel.parse(model)] if model else [LLModel(i.name, "*") for i in list_providers() if i.installed]
        # Capabilities need no key, and a client wants one.
        known = {name: make_client(name.provider, api_key="not-needed").capabilities(name) for name in names}
    if as_json:
        print(json.dumps({str(name): msgspec.to_builtins(each) for name, each in known.items()}))  # noqa: T201
        return
    Console(soft_wrap=True).print(_capability_table(known))


def _capability_table(known: dict[LLModel, ModelCapabilities]) -> Table:
    table = Table("", *map(str, known))
    table.add_row("described", *["yes" if each.known else "no" for each in known.values()])
    table.add_row("streamed tools", *[each.streamed_tools.value for each in known.values()])
    for capability in Capability:
        table.add_row(
            capability.value.replace("_", " "), *["yes" if capability in each else "-" for each in known.values()]
        )
    for title, field in (("context, tokens", "context_length"), ("longest answer, tokens", "max_output_tokens")):
        table.add_row(title, *[str(getattr(each, field) or "?") for each in known.values()])
    return table


# ------------------------------------------------------------------------------------------- conformance


@_app.command()
def conformance(
    provider: Annotated[
        str | None, typer.Argument(help="An installed provider; without it, all that can be checked.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Holds a provider to the contract: the conformance kit, on its client and a server of the kit's own."""
    from promptport.testing import report_tables, run_conformance  # noqa: PLC0415 - of this command only

    with _one_line_errors(), _console.status("running the conformance kit …"):
        reports = run_conformance([provider] if provider else [])
    if as_json:
        print(msgspec.json.encode(reports).decode())  # noqa: T201
    else:
        for part in report_tables(reports):
            Console(soft_wrap=True, highlight=False).print(part)
    raise SystemExit(0 if all(report.ok for report in reports) else 1)
