"""The application that the commands are put into, and how each of them ends.

Rules: a mistake of the user's gives one line and exit code 2, also one in the command line itself; a failure of a
provider's or of the output gives one line and exit code 1, Ctrl-C 130; none gives a traceback. With ``--json`` that
line is a JSON object, on standard error for people's tools, and as the last line of standard output for a program that
reads the frames. Whoever closes the output has left, and is told nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.metadata
import io
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from promptport.cli.terminal import print_json, visible, visible_json
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
    as_json = _asks_for_json(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what the terminal's encoding lacks is written out
            stream.reconfigure(errors="backslashreplace")
    code: Any = 1
    try:
        try:
            _add_commands_of_providers(sys.argv[1:2], as_json=as_json)
            code = app(standalone_mode=False)
        except SystemExit as error:
            code = error.code
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt as error:
        fail("interrupted", 130, error=error, as_json=as_json)
    except OSError as error:
        _leave_stdout()
        if code in (0, None, 1) and not isinstance(error, BrokenPipeError):  # else whoever read the output knows
            fail(_about(error), 1, error=error, as_json=as_json)
        code = code or 1
    except typer.Abort as error:
        fail("aborted", 1, error=error, as_json=as_json)
    except Exception as error:
        words = getattr(error, "format_message", None)  # by typer's version, its errors are of several classes
        if words is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is shown already
            raise SystemExit(2) from None
        usage = InvalidInputError(_usage_error(error, words()))
        fail(str(usage), 2, error=usage, as_json=as_json)
    raise SystemExit(code)


def _about(error: OSError) -> str:
    reason = error.strerror or error
    return f"the output could not be written: {reason}" if error.filename is None else f"{error.filename}: {reason}"


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether the command is told ``--json``; what stands behind ``--`` is not for it."""
    return "--json" in itertools.takewhile(lambda argument: argument != "--", arguments)


def _usage_error(error: Exception, words: str) -> str:
    place = getattr(getattr(error, "ctx", None), "command_path", "promptport")
    return f"{words.strip().removesuffix('.')}. See: {place} --help"


def _add_commands_of_providers(asked: Sequence[str], *, as_json: bool) -> None:
    """Adds what providers name in the group ``promptport.commands``: functions by name, the commands of a provider.

    A provider is imported only if its command is asked for, or help.
    """
    for point in importlib.metadata.entry_points(group="promptport.commands"):
        if asked and asked[0] not in (point.name, "--help"):
            continue
        try:
            functions = point.load()
        except ImportError as error:
            fail(f"the commands of {point.name!r} cannot be imported: {error}", 2, error=error, as_json=as_json)
        group = typer.Typer(no_args_is_help=True, help=f"Commands of the provider {point.name!r}.")
        for name, function in functions.items():
            group.command(name)(_with_one_line_errors(function, as_json=as_json))
        app.add_typer(group, name=point.name)


def _with_one_line_errors(function: Callable[..., None], *, as_json: bool) -> Callable[..., None]:
    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> None:
        with one_line_errors(as_json=as_json):
            function(*args, **options)

    return command


def fail(text: str, code: int, *, error: BaseException, as_json: bool = False) -> NoReturn:
    """Ends the process with a line about what happened."""
    line = f"promptport: {visible(text, one_line=True)}"
    if as_json:
        told: dict[str, Any] = {
            "type": "error",
            "error": type(error).__name__,
            "code": getattr(error, "code", None),
            "message": text.encode(errors="backslashreplace").decode(),  # an argument need not be text
        }
        data = msgspec.json.encode(told)
        line = visible_json(data)
        if sys.stdout is not None:
            try:
                print_json(data)
            except OSError:
                _leave_stdout()
    with contextlib.suppress(OSError):  # nobody is left to be told
        print(line, file=sys.stderr, flush=True)  # noqa: T201
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
        fail("interrupted", 130, error=KeyboardInterrupt(), as_json=as_json)


def _one_line(error: PromptportError) -> str:
    return " ".join(str(error).split())


def _leave_stdout() -> None:
    """What Python still holds for the output must not fail once more at exit."""
    stdout, sys.stdout = sys.stdout, None
    with contextlib.suppress(Exception):
        stdout.close()
