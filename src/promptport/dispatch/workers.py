"""`Workers`: where sync tools run, and how a function reaches another process."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from promptport.dispatch.journaling import CALL, CallContext
from promptport.dispatch.tool_output import Given, output_of, portable, tamed, with_words
from promptport.dispatch.tool_view import SHOWS, ToolView
from promptport.errors import InvalidInputError, ToolError
from promptport.tools import Tool, ToolDescriptor

if TYPE_CHECKING:
    from promptport.dispatch.far_links import Link, View

__all__ = ["Shown", "Workers"]


_THREADS = 32


class Shown(Protocol):
    """An executor that tells when a function begins and what it shows: `promptport.dispatch.ray.RayExecutor`."""

    def submit_shown(self, view: View, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """As ``submit``; the function gets ``link=``, which leads to the view."""
        ...


class Workers:
    """Where sync tools run: the caller's executors, or threads of our own, made when first needed."""

    def __init__(
        self,
        given: Executor | Mapping[str, Executor] | None,
        tools: Mapping[str, ToolDescriptor] | None = None,
        *,
        rerun: bool | None = None,
        complete: bool = False,
    ) -> None:
        """``complete``: there are no other tools than these.

        Raises:
            InvalidInputError: An executor that is none, is for no tool, or may run a call again that must not.
        """
        self._default: Executor | None = None
        self._by_name: dict[str, Executor] = {}
        self._rerun = rerun
        self._own: ThreadPoolExecutor | None = None
        self._calls: set[Future[Any]] = set()
        if isinstance(given, Mapping):
            self._by_name = dict(given)
        else:
            self._default = given
        for name, executor in self._by_name.items():
            _check_executor(f"workers[{name!r}]", executor)
            self._check_name(name, tools or {}, complete)
        if self._default is not None:
            _check_executor("workers", self._default)
        for tool in (tools or {}).values():
            if isinstance(tool, Tool) and tool.kind == "sync" and (problem := self._refusal(tool)) is not None:
                raise InvalidInputError(f"ToolDispatcher: {problem}")

    @staticmethod
    def _check_name(name: str, tools: Mapping[str, ToolDescriptor], complete: bool) -> None:
        tool = tools.get(name)
        if tool is None and complete:
            import difflib  # noqa: PLC0415 - for an error alone

            near = difflib.get_close_matches(str(name), tools, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"The tools are: {', '.join(tools) or 'none'}."
            raise InvalidInputError(f"ToolDispatcher: workers: there is no tool named {name!r}. {hint}")
        if tool is not None and not (isinstance(tool, Tool) and tool.kind == "sync"):
            where = "on the event loop" if isinstance(tool, Tool) else "in the front end"
            raise InvalidInputError(
                f"ToolDispatcher: workers: the tool {name!r} runs {where}, and cannot be sent to an executor. "
                "Write it as a plain 'def', or leave it out of workers."
            )

    def _refusal(self, tool: Tool[Any]) -> str | None:
        """Why this tool may not run where it would."""
        executor = self._by_name.get(tool.name, self._default)
        if tool.repeatable or executor is None or not (_reruns(executor) if self._rerun is None else self._rerun):
            return None
        return (
            f"the tool {tool.name!r} is not repeatable, and {type(executor).__name__} may run a call again "
            "whose worker died. Mark the tool @tool(repeatable=True), or configure the cluster not to do that (Dask: "
            "distributed.scheduler.allowed-failures: 0; RayExecutor: max_retries=0) and pass workers_rerun=False."
        )

    async def call(
        self,
        function: Callable[..., Any],
        values: dict[str, Any],
        tool: Tool[Any] | None = None,
        view: ToolView | None = None,
    ) -> Given:
        """What the model gets for ``function(**values)``, the function of a tool. Raises what it raised."""
        executor = self._default
        if tool is not None:
            if (problem := self._refusal(tool)) is not None:  # a tool that on_step brought
                raise ToolError(problem, tool=tool.name)
            executor = self._by_name.get(tool.name, executor)
        future, link = self._submit(executor, function, values, view)
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        try:
            given: Given | _FarGiven = await asyncio.wrap_future(future)
            if not isinstance(given, _FarGiven):
                return given
            if view is not None:
                await view.arrived(given.shown)
            return given.given
        except Exception as error:
            if view is not None and (shown := getattr(error, _SHOWN, 0)):
                await view.arrived(shown)
            raise
        finally:
            if link is not None:
                link.forget()

    def _submit(
        self, executor: Executor | None, function: Callable[..., Any], values: dict[str, Any], view: ToolView | None
    ) -> tuple[Future[Any], Link | None]:
        if executor is None:
            if self._own is None:
                self._own = ThreadPoolExecutor(_THREADS, thread_name_prefix="promptport-tool")
            executor = self._own
        if isinstance(executor, ThreadPoolExecutor):
            return executor.submit(contextvars.copy_context().run, _call_near, function, values, view), None
        # The unique text makes each call unlike any other: Dask runs equal calls only once.
        args = (_sendable(function, executor), values, os.urandom(16).hex(), CALL.get(None))
        if view is None:
            return executor.submit(_call_far, *args), None
        if hasattr(executor, "submit_shown"):
            return cast("Shown", executor).submit_shown(view, _call_far, *args), None
        from promptport.dispatch.far_links import dask_link, hub_link  # noqa: PLC0415 - slow to import, for processes

        link: Link | None
        if _is(executor, "distributed.cfexecutor", "ClientExecutor"):
            link = dask_link(executor._client, view)  # type: ignore[attr-defined]
        else:
            link = hub_link(view)
            if link is None or not _is(executor, "concurrent.futures.process", "ProcessPoolExecutor"):
                view.begin()  # it might be too far away to tell
        return executor.submit(_call_far, *args, link), link

    async def aclose(self) -> None:
        """Waits until our threads have returned from their tools, and ends them; the caller's executor is his."""
        if self._own is not None:
            self._own.shutdown(wait=False, cancel_futures=True)
            if self._calls:
                await asyncio.wait([asyncio.wrap_future(call) for call in list(self._calls)])
            self._own.shutdown()
            self._own = None


def _call(function: Callable[..., Any], values: dict[str, Any]) -> Given:
    try:
        return output_of(function(**values))
    except BaseException as error:
        calm = with_words(tamed(error))
        if calm is error:
            raise
        raise calm from error


def _call_near(function: Callable[..., Any], values: dict[str, Any], view: ToolView | None) -> Given:
    if view is not None:
        view.begin()
    return _call(function, values)


class _FarGiven(msgspec.Struct, frozen=True):
    """What a far worker gives: the tool's, and how many values it showed before."""

    given: Given
    shown: int


_SHOWN = "_promptport_shown"


class _FarShows:
    """What `progress` says in a far worker."""

    def __init__(self, link: Link) -> None:
        self.shown = 0
        self._link = link

    def show(self, data: bytes) -> None:
        self.shown += self._link.send(data)


def _call_far(
    function: Callable[..., Any],
    values: dict[str, Any],
    _unique: str,
    call: CallContext | None = None,
    link: Link | None = None,
) -> _FarGiven:
    return contextvars.copy_context().run(_called_far, function, values, call, link)


def _called_far(
    function: Callable[..., Any], values: dict[str, Any], call: CallContext | None, link: Link | None
) -> _FarGiven:
    if call is not None:
        CALL.set(call)  # context variables do not reach another process
    shows = _FarShows(link if link is not None else _Nowhere())
    SHOWS.set(shows)
    if link is not None:
        link.send(b"")
    try:
        return _FarGiven(_call(function, values), shows.shown)
    except Exception as error:
        portable_error = portable(error)
        with contextlib.suppress(Exception):  # an exception's own methods may do anything
            setattr(portable_error, _SHOWN, shows.shown)
        raise portable_error from None


class _Nowhere:
    """The link of a worker that is too far away."""

    def send(self, data: bytes) -> bool:
        """Drops it."""
        return False

    def forget(self) -> None:
        """Nothing is kept."""


def _check_executor(where: str, executor: Any) -> None:
    if not callable(getattr(executor, "submit", None)):
        raise InvalidInputError(
            f"ToolDispatcher: {where} is {type(executor).__name__}, which has no submit(). "
            "Pass a concurrent.futures.Executor, or a mapping of tool names to executors."
        )


def _is(executor: Executor, module: str, name: str) -> bool:
    """Whether it is of a class whose module nobody imported for our sake."""
    found = sys.modules.get(module)
    return found is not None and isinstance(executor, getattr(found, name))


def _reruns(executor: Executor) -> bool:
    """Whether it may run a call again that its worker did not survive, as far as is known."""
    reruns = getattr(executor, "reruns", None)
    return bool(reruns) if reruns is not None else _is(executor, "distributed.cfexecutor", "ClientExecutor")


class _Named(msgspec.Struct, frozen=True):
    """A tool by the name under which it can be imported."""

    module: str
    name: str

    def __call__(self, **values: Any) -> Any:
        return _found(self.module, self.name)(**values)


def _sendable(function: Callable[..., Any], executor: Executor) -> Callable[..., Any]:
    """The function, in a form that reaches another process.

    A decorated function cannot be pickled, since its name leads to the `Tool`; so its name is sent. Only a process
    pool's workers share our ``__main__``: to others a script's own function is sent itself, as cloudpickle can.
    """
    if not _importable(function):
        return function
    pool = _is(executor, "concurrent.futures.process", "ProcessPoolExecutor")
    if function.__module__ == "__main__" and not pool:
        return function
    return _Named(function.__module__, function.__qualname__)


def _found(module: str, name: str) -> Any:
    found = __import__(module, fromlist=["_"])
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _importable(function: Callable[..., Any]) -> bool:
    """Whether the function's name leads to the `Tool` that was made of it."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if module not in sys.modules or name is None:
        return False
    try:
        found = _found(module, name)
    except (AttributeError, ImportError):
        return False
    return isinstance(found, Tool) and found.function is function
