"""The application that the commands are put into, and how each of them ends.

Rules: a mistake of the user's gives one line and exit code 2, a failure of a provider's or of the output one line and
exit code 1, Ctrl-C 130; none gives a traceback. With ``--json`` that line is a JSON object, on standard error for
people's tools, and as the last line of standard output for a program that reads the frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from promptport.cli.terminal import visible, visible_json
from promptport.errors import ConfigurationError, InvalidInputError, PromptportError, UnsupportedCapabilityError

__all__ = ["app", "fail", "main", "one_line_errors"]

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Stream responses and tool calls from any LLM provider.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"promptport {importlib.metadata.version('promptport')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Stream responses and tool calls from any LLM provider."""


def main() -> None:
    """The entry point of the command ``promptport``."""
    try:
        _add_commands_of_providers(sys.argv[1:2])
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        fail("interrupted", 130)
    except OSError as error:
        _leave_stdout()
        if isinstance(error, BrokenPipeError):
            raise SystemExit(1) from None  # whoever read the output has left, and knows
        fail(f"the output could not be written: {error.strerror or error}", 1)


def _add_commands_of_providers(asked: Sequence[str]) -> None:
    """Adds what providers name in the group ``promptport.commands``: functions by name, the commands of a provider.

    A provider is imported only if its command is asked for, or help.
    """
    for point in importlib.metadata.entry_points(group="promptport.commands"):
        if asked and asked[0] not in (point.name, "--help"):
            continue
        try:
            functions = point.load()
        except ImportError as error:
            fail(f"the commands of {point.name!r} cannot be imported: {error}", 2)
        group = typer.Typer(no_args_is_help=True, help=f"Commands of the provider {point.name!r}.")
        for name, function in functions.items():
            group.command(name)(_with_one_line_errors(function))
        app.add_typer(group, name=point.name)


def _with_one_line_errors(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> None:
        with one_line_errors():
            function(*args, **options)

    return command


def fail(text: str, code: int, *, error: Exception | None = None, as_json: bool = False) -> NoReturn:
    """Ends the process with a line about what happened."""
    line = f"promptport: {visible(text, one_line=True)}"
    if as_json:
        told: dict[str, Any] = {
            "type": "error",
            "error": type(error).__name__ if error is not None else "KeyboardInterrupt",
            "code": getattr(error, "code", None),
            "message": text,
        }
        line = visible_json(msgspec.json.encode(told))
        sys.stdout.write(line + "\n")
    print(line, file=sys.stderr)  # noqa: T201
    raise SystemExit(code)


@contextmanager
def one_line_errors(*, as_json: bool = False) -> Iterator[None]:
    """Errors of ours as one clear line and an exit code."""
    try:
        yield
    except (ConfigurationError, InvalidInputError, UnsupportedCapabilityError) as error:
        fail(_one_line(error), 2, error=error, as_json=as_json)
    except PromptportError as error:
        fail(_one_line(error), 1, error=error, as_json=as_json)
    except (KeyboardInterrupt, asyncio.CancelledError):
        fail("interrupted", 130, as_json=as_json)


def _one_line(error: PromptportError) -> str:
    return " ".join(str(error).split())


def _leave_stdout() -> None:
    """What Python still holds for the output must not fail once more at exit."""
    stdout, sys.stdout = sys.stdout, None
    with contextlib.suppress(Exception):
        stdout.close()
