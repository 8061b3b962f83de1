"""``promptport serve``: any model for any client: the APIs of OpenAI and Anthropic, chats, and a page of its own.

Rules: it listens on the loopback address unless told otherwise, and then it asks for a key. Ctrl-C ends the runs, and
then the server.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptport.cli.application import app, one_line_errors
from promptport.cli.options import DEFAULT_MODEL
from promptport.cli.terminal import visible
from promptport.cli.tool_loading import load_function, load_tool
from promptport.connecting import connect
from promptport.errors import ConfigurationError, InvalidInputError
from promptport.executor import PromptExecutor
from promptport.front_ends import OpaqueSeal, is_loopback_host
from promptport.models import LLModel
from promptport.run_log import MemoryRunLog, RunLog

if TYPE_CHECKING:
    import uvicorn

__all__ = ["serve"]


@app.command()
def serve(  # noqa: PLR0917 - typer makes options of them
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Model to serve, as provider/id or name=provider/id. Repeat for more; the first is the default of the"
            f" page. Example: fast=openai/gpt-5-mini. Default: {DEFAULT_MODEL}.",
        ),
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tool",
            "-t",
            help="Tool that the server offers to the model and runs: module:function, path.py:function or"
            " path.py:Class.method. Repeat for more.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on. Any but a loopback address needs a key.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    key: Annotated[
        str | None,
        typer.Option(envvar="PROMPTPORT_SERVE_KEY", help="Key that clients must send. Default: none on loopback."),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", help="Instructions for chats that have none of their own.")
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Host that requests may name. Repeat for more. Example: chat.example.com"),
    ] = None,
    allowed_origins: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin",
            help="Origin of another server's page that may ask. Repeat for more. Example: http://localhost:3000",
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(help="Another server of the first model's provider. Example: http://localhost:8000/v1."),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help="Function that returns the executor to ask, such as one with retries and budgets: module:function or"
            " path.py:function. Default: the providers of the models."
        ),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(
            envvar="PROMPTPORT_SERVE_REDIS",
            help="Redis that several servers share, so that each can resume and stop the chats of the others. Default:"
            " the memory of this process. Example: redis://localhost:6379.",
        ),
    ] = None,
    lease: Annotated[
        float,
        typer.Option(help="Seconds after which a server that does not reach the Redis of --redis counts as dead."),
    ] = 10.0,
) -> None:
    """Serve models to programs that speak OpenAI's or Anthropic's API, to chats, and on a page.

    Examples:
    promptport serve --model anthropic/claude-sonnet-5 --tool weather.py:get_weather

    PROMPTPORT_SERVE_KEY=secret promptport serve --host 0.0.0.0 --port 8000 --model openai/gpt-5
    """
    with one_line_errors():
        try:
            import uvicorn  # noqa: F401, PLC0415 - for this command alone

            from promptport.front_ends.serve_app import serve_app  # noqa: PLC0415 - needs starlette
        except ModuleNotFoundError as missing:
            if missing.name not in ("uvicorn", "starlette"):
                raise
            raise ConfigurationError(f'serve needs {missing.name}: pip install "promptport[serve]"') from None
        named = _named(models or [DEFAULT_MODEL])
        offered = [load_tool(name) for name in tools or ()]
        local = is_loopback_host(host)
        if not local and key is None:
            raise ConfigurationError(
                f"--host {host}: others can reach this address, so a key is needed. Set PROMPTPORT_SERVE_KEY, "
                "or listen on 127.0.0.1."
            )
        hosts = allowed_hosts or []
        made = _executor(executor, named.values(), base_url)
        make = functools.partial(
            serve_app,
            made,
            named,
            offered,
            system=system,
            key=key,
            hosts=hosts if local or hosts else None,
            origins=allowed_origins or (),
        )
        with _listen(host, port) as listening:
            asyncio.run(_run(make, listening, list(named), redis, lease))


async def _run(
    make: Callable[..., Any], listening: socket.socket, names: list[str], redis: str | None, lease: float
) -> None:
    import uvicorn  # noqa: PLC0415 - for this command alone

    async with AsyncExitStack() as stack:
        log: RunLog = MemoryRunLog()
        more: dict[str, Any] = {}
        if redis is not None:
            log, more = await _shared(redis, lease, stack)
        served = make(log=log, **more)
        config = uvicorn.Config(served, log_level="warning", access_log=False, timeout_graceful_shutdown=5)
        await _serve(_server_class(log)(config), listening, names)


async def _shared(address: str, lease: float, stack: AsyncExitStack) -> tuple[RunLog, dict[str, Any]]:
    """What the servers of one Redis have in common: the log, and options of `serve_app`.

    Raises:
        ConfigurationError: It is no address of a Redis, or that cannot be used.
        InvalidInputError: The lease is out of its range.
    """
    from promptport.run_log.redis import (  # noqa: PLC0415 - needs the extra redis
        RedisPauseStore,
        RedisRunLog,
        RedisThreadStore,
        shared_secret,
    )

    try:
        log = RedisRunLog(address, lease=lease)
        stack.push_async_callback(log.aclose)
        await log.check()
        threads, pauses = RedisThreadStore(address), RedisPauseStore(address)
        stack.push_async_callback(threads.aclose)
        stack.push_async_callback(pauses.aclose)
        seal = OpaqueSeal(await shared_secret(address))
    except (ConfigurationError, InvalidInputError) as error:
        raise type(error)(f"--redis: {error}") from None
    return log, {"threads": threads, "pauses": pauses, "seal": seal}


def _server_class(log: RunLog) -> type[uvicorn.Server]:
    import uvicorn  # noqa: PLC0415 - for this command alone

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await log.aclose()  # the runs end first, or their viewers would hold the server up
            await super().shutdown(sockets)

    return Server


async def _serve(server: uvicorn.Server, listening: socket.socket, names: list[str]) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():  # noqa: ASYNC110 - it has no event for this
        await asyncio.sleep(0.01)
    if server.started:
        address = listening.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        shown_names = visible(", ".join(names), one_line=True)
        try:
            sys.stdout.write(f"Serving {shown_names} on http://{shown}:{address[1]} (Ctrl-C stops it)\n")
            sys.stdout.flush()
        except OSError:
            server.should_exit = True
            await serving
            raise
    await serving


def _named(models: Iterable[str]) -> dict[str, LLModel]:
    named: dict[str, LLModel] = {}
    for text in models:
        name, equals, model = text.partition("=")
        parsed = LLModel.parse(model if equals else text)
        for known in (name,) if equals else (str(parsed), parsed.id):
            if not known or named.setdefault(known, parsed) != parsed:
                raise InvalidInputError(f"--model {text}: the name {known!r} is taken. Write another_name={parsed}.")
    return named


def _executor(function: str | None, models: Iterable[LLModel], base_url: str | None) -> PromptExecutor:
    if function is not None:
        make = load_function(function, option="--executor")
        try:
            made = make()
        except Exception as error:
            raise ConfigurationError(f"--executor {function}: it raised {type(error).__name__}: {error}") from error
        if inspect.iscoroutine(made):
            made.close()
            raise ConfigurationError(f"--executor {function}: it is async. Name a plain function.")
        if not callable(getattr(made, "execute_streaming_with_tools", None)):
            raise ConfigurationError(f"--executor {function}: it returned {type(made).__name__}. Return an executor.")
        return made  # type: ignore[no-any-return]
    providers = list(dict.fromkeys(model.provider for model in models))
    options: dict[str, dict[str, Any]] = {providers[0]: {"base_url": base_url}} if base_url else {}
    return connect(*providers, options=options, when_tools_cannot_stream="text")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host.strip("[]"), port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"--host {host} --port {port}: cannot listen there: {error.strerror or error}"
        ) from None
    listening.setblocking(False)
    return listening
