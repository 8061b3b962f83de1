"""`Workers`: where sync tools run, and how a function reaches another process."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import msgspec

from promptport.dispatch.journaling import CALL, CallContext
from promptport.dispatch.tool_output import Given, output_of, portable, tamed
from promptport.tools import Tool

__all__ = ["Workers"]


_THREADS = 32


class Workers:
    """Where sync tools run: the caller's executor, or threads of our own, made when first needed."""

    def __init__(self, executor: Executor | None) -> None:
        self._given = executor
        self._own: ThreadPoolExecutor | None = None
        self._calls: set[Future[Given]] = set()

    async def call(self, function: Callable[..., Any], values: dict[str, Any]) -> Given:
        """What the model gets for ``function(**values)``. Raises what the function raised."""
        future = self._submit(function, values)
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        return await asyncio.wrap_future(future)

    def _submit(self, function: Callable[..., Any], values: dict[str, Any]) -> Future[Given]:
        executor = self._given
        if executor is None:
            if self._own is None:
                self._own = ThreadPoolExecutor(_THREADS, thread_name_prefix="promptport-tool")
            executor = self._own
        if isinstance(executor, ThreadPoolExecutor):
            return executor.submit(contextvars.copy_context().run, _call, function, values)
        # The last argument makes each call unlike any other: Dask runs equal calls only once.
        return executor.submit(_call_far, _sendable(function, executor), values, os.urandom(16).hex(), CALL.get(None))

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
        calm = tamed(error)
        if calm is error:
            raise
        raise calm from error


def _call_far(
    function: Callable[..., Any], values: dict[str, Any], _unique: str, call: CallContext | None = None
) -> Given:
    token = CALL.set(call) if call is not None else None  # context variables do not reach another process
    try:
        return _call(function, values)
    except Exception as error:
        raise portable(error) from None
    finally:
        if token is not None:
            CALL.reset(token)


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
    pools = sys.modules.get("concurrent.futures.process")  # not imported for the sake of those who have no pool
    pool = pools is not None and isinstance(executor, pools.ProcessPoolExecutor)
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
