"""Tools of MCP servers, through the official SDK: over stdio, or streamable HTTP. The extra ``mcp`` installs it.

::

    async with connect_stdio("python", ["notes_server.py"]) as server:
        dispatcher = ToolDispatcher(executor, await server.tools(approve="writes"))

Rules: the SDK's cancel scopes are entered and left in one task of ours, so that a connection may be opened and closed
anywhere; closing waits until the server's process has ended; no exception of the SDK or of its HTTP library gets out.
The SDK is imported by the first connection, not by this module.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TextIO, TypeAlias
from urllib.parse import urlsplit

from promptport.errors import (
    ConfigurationError,
    InvalidInputError,
    PromptportError,
    ProtocolError,
    ProviderError,
    ToolFailedError,
    TransportError,
)
from promptport.http import status_error
from promptport.mcp.mcp_tools import (
    Output,
    names_for_models,
    only_reads,
    output_of_call,
    size_of,
    text_of,
    validator,
)
from promptport.mcp.output_check import OutputChecks
from promptport.tools import DIALECTS, Tool, ToolDescriptor, ToolStart, fit_tools

if TYPE_CHECKING:
    import httpx2
    from mcp.client import IncomingMessage, Transport
    from mcp.shared.dispatcher import ProgressFnT

    from mcp import Client, types

__all__ = ["McpServer", "WhatNeedsApproval", "connect_http", "connect_stdio"]

WhatNeedsApproval: TypeAlias = Literal["none", "writes", "all"]
"""Which tools of a server ask a person: none, those that the server does not mark as read-only, or all."""

_Opener: TypeAlias = Callable[["McpServer", AsyncExitStack], Awaitable["Transport"]]
"""Gives the transport; what must be closed after the connection goes on the stack."""

_LOG = logging.getLogger("promptport")

_MAX_TOOLS = 50_000
"""So many tools may a server list."""

_QUICK_BYTES = 8 * 1024
"""A schema with more JSON than this is looked through in a thread, so that the event loop goes on meanwhile."""

_PROGRESS_KEPT = 64
"""So many unread notices of one call are kept; a consumer that is slower than that misses the oldest."""


def connect_stdio(
    command: str,
    args: Sequence[str] = (),
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    errlog: TextIO | None = None,
    connect_timeout: float = 30.0,
) -> McpServer:
    """A server that runs as a process of its own and talks over its standard input and output; for ``async with``.

    Leaving ends the process, and those that it started: by closing its input, then by SIGTERM, then by SIGKILL.

    Args:
        command: the program.
        args: its arguments.
        env: further environment variables; of ours it gets only what a program needs to run, such as ``PATH``.
        cwd: its working directory; ours by default.
        errlog: where its error output goes; to ours by default.
        connect_timeout: seconds until it must be ready, and to list its tools.

    Raises:
        ConfigurationError: the extra is not installed; or, on entering, the program cannot be started.
        TransportError: on entering: the server ended, or was not ready in time.
        ProviderError, ProtocolError: on entering: it refused, or does not speak MCP.
    """
    _check_installed()

    async def open_transport(_: McpServer, __: AsyncExitStack) -> Transport:
        from mcp import StdioServerParameters, stdio_client  # noqa: PLC0415 - an extra

        variables = dict(env) if env is not None else None
        parameters = StdioServerParameters(command=command, args=list(args), env=variables, cwd=cwd)
        # sys.stderr may be anything by now; without a console this is None, and the process inherits what there is.
        output: Any = errlog if errlog is not None else sys.__stderr__
        return stdio_client(parameters, output)

    return McpServer(command, open_transport, connect_timeout)


def connect_http(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    http_client: httpx2.AsyncClient | None = None,
    connect_timeout: float = 30.0,
) -> McpServer:
    """A server at an address, over streamable HTTP; for ``async with``.

    Args:
        url: the endpoint, such as ``https://example.com/mcp``.
        headers: sent with every request, such as ``Authorization``.
        http_client: an ``httpx2.AsyncClient`` to use, with its own headers and authentication; it is not closed.
        connect_timeout: seconds until it must be ready, and to list its tools.

    Raises:
        ConfigurationError: the extra is not installed.
        InvalidInputError: both ``headers`` and ``http_client``.
        AuthenticationError, PermissionDeniedError and other ProviderErrors: on entering, by the HTTP status.
        TransportError: on entering: not reached, or not ready in time.
        ProtocolError: on entering: it does not speak MCP.
    """
    _check_installed()
    if headers is not None and http_client is not None:
        raise InvalidInputError("give headers, or an http_client that has them, and not both")

    async def open_transport(server: McpServer, stack: AsyncExitStack) -> Transport:
        from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415 - an extra

        client = http_client
        if client is None:
            client = await stack.enter_async_context(_http_client(server, dict(headers or {}), connect_timeout))
        return streamable_http_client(url, http_client=client)

    address = urlsplit(url).netloc.rpartition("@")[2]  # what stands before and behind it may be a secret
    return McpServer(address or url, open_transport, connect_timeout)


def _http_client(server: McpServer, headers: dict[str, str], connect_timeout: float) -> httpx2.AsyncClient:
    """A client that keeps what an HTTP error says; the SDK tells no more than that there was one."""
    import httpx2  # noqa: PLC0415 - the SDK brings it

    secrets = [secret for value in headers.values() for secret in (value, value.split(" ")[-1])]

    async def keep_refusal(response: httpx2.Response) -> None:
        if response.status_code >= 400:
            server.refused(response.status_code, dict(response.headers), await response.aread(), secrets)

    # A tool may say nothing for long: how long is for the dispatcher's timeouts to say.
    timeout = httpx2.Timeout(connect_timeout, read=None)
    return httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks={"response": [keep_refusal]})


def _check_installed() -> None:
    try:
        import mcp  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(f'the MCP SDK cannot be imported ({error}): pip install "promptport[mcp]"') from error


class McpServer:
    """A connection to a server; made by `connect_stdio` and `connect_http`, and used with ``async with``.

    A connection that is lost is not opened again: its tools fail with `TransportError`, and a new one is needed.

    Attributes:
        name: the server's own name for itself, once it is connected.
        instructions: what the server says on how to use it, for a system message; may be empty.
        tools_changed: the server said that its tools are others than those that `tools` gave last.
        refused_tools: the tools that `tools` left out last, because their schema is too large, too deep or not an
            object's, each with its reason; a warning on the logger ``promptport`` names them too.
    """

    def __init__(self, label: str, opener: _Opener, connect_timeout: float) -> None:
        self.name = label
        self.instructions = ""
        self.tools_changed = False
        self.refused_tools: dict[str, str] = {}
        self._label = label
        self._open = opener
        self._seconds = connect_timeout
        self._client: Client | None = None
        self._outputs = OutputChecks()
        self._refusal: ProviderError | None = None
        self._failure: PromptportError | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._closing = asyncio.Event()

    # ------------------------------------------------------------------------------------- the connection

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise InvalidInputError("a connection to an MCP server is opened once; connect again")
        self._task = asyncio.get_running_loop().create_task(self._own(), name="promptport-mcp")
        try:
            async with asyncio.timeout(self._seconds) as clock:
                await self._ready.wait()
        except BaseException:
            self._task.cancel()
            await self._ended()
            if clock.expired():
                raise self._lost(f"was not ready within {self._seconds:g} s (connect_timeout)") from None
            raise
        if self._failure is not None:
            await self._ended()
            raise self._failure
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connection, and ends the server's process; calls that run fail with `TransportError`.

        Closing twice does nothing.
        """
        self._closing.set()
        await self._ended()

    async def _ended(self) -> None:
        """Waits for our task, also where this is cancelled meanwhile: it must not leave a process behind."""
        cancelled: asyncio.CancelledError | None = None
        while self._task is not None and not self._task.done():
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _own(self) -> None:
        """Holds the connection open, in the one task that entered it."""
        from mcp import Client  # noqa: PLC0415 - an extra

        try:
            async with AsyncExitStack() as stack:
                transport = await self._open(self, stack)
                client = await stack.enter_async_context(Client(transport, cache=None, message_handler=self._heard))
                self._outputs.take_over(client)
                await self._listen(stack, client)
                self.name = client.server_info.name if client.server_info is not None else self._label
                self.instructions = client.instructions or ""
                self._client = client
                self._ready.set()
                await self._closing.wait()
        except Exception as error:
            self._failure = self._translated(error)
            self._failure.__cause__ = error
        finally:
            self._client = None
            self._ready.set()

    async def _listen(self, stack: AsyncExitStack, client: Client) -> None:
        """Asks to be told of changes; servers before MCP 2026-07-28 tell without being asked."""
        from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost  # noqa: PLC0415

        from mcp import MCPError  # noqa: PLC0415 - an extra

        tools = client.server_capabilities.tools
        if tools is not None and tools.list_changed:
            try:
                await stack.enter_async_context(client.listen(tools_list_changed=True))
            except (ListenNotSupportedError, SubscriptionLost, MCPError):
                return  # it changes its tools in silence; that is no reason not to use them

    async def _heard(self, message: IncomingMessage) -> None:
        if getattr(message, "method", None) == "notifications/tools/list_changed":
            self.tools_changed = True

    # ------------------------------------------------------------------------------------------ the tools

    async def tools(
        self,
        *,
        approve: WhatNeedsApproval = "none",
        prefix: str = "",
        timeout: float | None = None,  # noqa: ASYNC109 - a tool's attribute, not a clock of this call
        start: ToolStart = "eager",
        progress: bool = False,
        when_unfit: Literal["raise", "skip"] = "skip",
    ) -> list[Tool[Any]]:
        """What the server offers now, for a dispatcher.

        Their arguments are checked by the server's schema before a call is sent. A result's text, images, audio and
        embedded files go to the model; its structured content only where it has no other, since the protocol asks
        servers to send it as text too. What a server reports as an error is the call's error.

        Args:
            approve: ``"writes"`` needs a person's approval for every tool that the server does not mark with
                ``readOnlyHint``. The mark is the server's own word: for a server that you do not trust, say ``"all"``.
            prefix: put before the tools' names, to tell servers apart. What providers do not take in a name becomes
                ``_``.
            timeout: see `Tool`.
            start: see `Tool`.
            progress: gives the server's progress notices as ``{"progress": …, "total": …, "message": …}``, and the
                result after them, as an async-generator tool does.
            when_unfit: ``"skip"`` leaves out a tool whose schema no provider takes, or that cannot be checked; it is in
                `refused_tools`. ``"raise"`` raises for it, by its name.

        Raises:
            InvalidInputError: ``approve`` is none of the three, no connection is open yet, or a tool does not fit and
                ``when_unfit`` is ``"raise"``.
            TransportError: the connection is lost.
            ProviderError, ProtocolError: the server refused, or what it lists is not MCP.
        """
        if approve not in ("none", "writes", "all"):
            raise InvalidInputError(f"approve is 'none', 'writes' or 'all', not {approve!r}")
        if when_unfit not in ("raise", "skip"):
            raise InvalidInputError(f"when_unfit is 'raise' or 'skip', not {when_unfit!r}")
        self.tools_changed = False
        offered = await self._offered()
        self._outputs.know(offered)
        made: list[Tool[Any]] = []
        self.refused_tools = {}
        names = names_for_models([prefix + tool.name for tool in offered])
        for name, tool in zip(names, offered, strict=True):
            await asyncio.sleep(0)  # a long list does not hold up the loop
            options: dict[str, Any] = {
                "name": name,
                "description": tool.description or tool.title or "",
                "parameters": {"type": "object", **tool.input_schema},
                "function": self._function(tool.name, name, progress=progress),
                "timeout": timeout,
                "start": start,
                "needs_approval": approve == "all" or (approve == "writes" and not only_reads(tool)),
            }
            try:
                quick = size_of(tool.input_schema) <= _QUICK_BYTES
                made.append(_checked_tool(options) if quick else await asyncio.to_thread(_checked_tool, options))
            except InvalidInputError as error:
                if when_unfit == "raise":
                    raise
                self.refused_tools[name] = str(error)
                _LOG.warning("MCP server %s: %s", self._label, error)
        return made

    async def _offered(self) -> list[types.Tool]:
        client = self._connected()
        offered: list[types.Tool] = []
        cursor: str | None = None
        cursors: set[str] = set()
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    page = await client.list_tools(cursor=cursor)
                    offered += page.tools
                    cursor = page.next_cursor
                    if len(offered) > _MAX_TOOLS:
                        raise self._endless(f"more than {_MAX_TOOLS:,} tools")
                    if cursor is None:
                        return offered
                    if cursor in cursors:
                        raise self._endless("the same page of tools again and again")
                    cursors.add(cursor)
        except PromptportError:
            raise
        except TimeoutError:
            raise self._lost(f"did not list its tools within {self._seconds:g} s (connect_timeout)") from None
        except Exception as error:
            raise self._translated(error) from error

    def _function(self, name: str, shown: str, *, progress: bool) -> Callable[..., Any]:
        """What runs a tool; ``name`` is the server's, ``shown`` the model's."""

        async def call(**values: Any) -> Output:
            return await self._call(name, shown, values)

        async def call_with_progress(**values: Any) -> AsyncIterator[Any]:
            news: deque[dict[str, Any]] = deque(maxlen=_PROGRESS_KEPT)
            wake = asyncio.Event()

            async def note(progress: float, total: float | None, message: str | None) -> None:
                news.append({"progress": progress, "total": total, "message": message})
                wake.set()

            task = asyncio.ensure_future(self._call(name, shown, values, note))
            task.add_done_callback(lambda _: wake.set())
            try:
                while not task.done() or news:
                    while news:
                        yield news.popleft()
                    if not task.done():
                        await wake.wait()
                        wake.clear()
                yield await task
            finally:
                if not task.done():
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

        return call_with_progress if progress else call

    async def _call(
        self, name: str, shown: str, values: dict[str, Any], on_progress: ProgressFnT | None = None
    ) -> Output:
        """One call. Cancelling it tells the server.

        Raises:
            ToolFailedError: the server reported an error, or its answer is not what it promised.
            TransportError: the connection is lost.
        """
        client = self._connected()
        try:
            result = await client.call_tool(name, values, progress_callback=on_progress)
            output = output_of_call(result)
        except Exception as error:
            lost = self._translated(error)
            if isinstance(lost, TransportError):
                raise lost from error
            raise ToolFailedError(_words(error), tool=shown) from error
        if result.is_error:
            raise ToolFailedError(text_of(output) or "the tool failed, and did not say why", tool=shown)
        return output

    def _connected(self) -> Client:
        if self._client is not None:
            return self._client
        if self._task is None:
            raise InvalidInputError("the MCP server is not connected: use 'async with'")
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        raise self._lost("is not connected any more")

    # ----------------------------------------------------------------------------------------- its errors

    def _lost(self, what: str) -> TransportError:
        return TransportError(f"the MCP server {self._label} {what}", provider=self._label)

    def _endless(self, what: str) -> ProtocolError:
        return ProtocolError(f"the MCP server {self._label} lists {what}. Use another server.")

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, secrets: Collection[str]) -> None:
        """Keeps an HTTP error: what a connection that fails now is about."""
        self._refusal = status_error(
            provider=self._label, model="", status=status, headers=headers, body=body, secrets=secrets
        )

    def _translated(self, error: BaseException) -> PromptportError:
        """Our error for what the SDK raised; its groups hold what broke the connection."""
        import httpx2  # noqa: PLC0415 - an extra
        from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT  # noqa: PLC0415

        from mcp import MCPError  # noqa: PLC0415

        error = _first(error)
        if isinstance(error, MCPError):
            if error.code == CONNECTION_CLOSED:
                return self._failure or self._lost("closed the connection, or ended")
            if error.code == REQUEST_TIMEOUT:
                return self._lost("did not answer in time")
            if self._refusal is not None and self._client is None:
                return self._refusal
            return ProviderError(
                f"the MCP server {self._label} refused: {error.message}", provider=self._label, code=str(error.code)
            )
        if isinstance(error, httpx2.HTTPError):
            return self._lost(f"was not reached: {_words(error)}")
        if isinstance(error, OSError) and self._ready.is_set():
            return self._lost(f"was lost: {error.strerror or _words(error)}")
        if isinstance(error, OSError):
            return ConfigurationError(f"the MCP server {self._label!r} cannot be started: {error.strerror or error}")
        return ProtocolError(f"the MCP server {self._label} does not speak MCP as it should: {_words(error)}")


def _checked_tool(options: dict[str, Any]) -> Tool[Any]:
    """The tool. Raises `InvalidInputError` for a schema that no server takes, or that cannot be checked."""
    name, schema = options["name"], options["parameters"]
    check = validator(name, schema)
    # What not even the most lenient server takes: no object at the top, or references to nothing.
    fit_tools([ToolDescriptor(name, parameters=schema)], DIALECTS["plain"])
    return Tool(validator=check, **options)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
