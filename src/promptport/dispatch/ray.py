"""`RayExecutor`: plain tools on a Ray cluster, with real cancellation. The extra ``ray`` installs Ray.

Rules: a call is one Ray task, which Ray does not run again; cancelling a future ends its worker process. Ray is
imported when an executor is made.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from typing import TYPE_CHECKING, Any

from promptport.errors import ConfigurationError, InvalidInputError

if TYPE_CHECKING:
    from promptport.dispatch.far_links import View

__all__ = ["RayExecutor"]


class RayExecutor(Executor):
    """A `concurrent.futures.Executor` on a Ray cluster, for ``ToolDispatcher(workers=...)``.

    A timeout, or leaving the stream, stops the running tool: Ray kills its worker process. The time in which a call
    waits for a free worker or its resources does not count in its timeout. Call `ray.init` first, or Ray starts a
    cluster on this machine with the first call.

    Examples:
        ```py
        import ray
        import promptport as pp
        from promptport.dispatch.ray import RayExecutor

        ray.init("ray://cluster:10001")
        gpu = RayExecutor(num_gpus=1)
        dispatcher = pp.ToolDispatcher(executor, [render, search], workers={"render": gpu})
        ```
    """

    def __init__(
        self,
        *,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
        resources: dict[str, float] | None = None,
        max_retries: int = 0,
        **options: Any,
    ) -> None:
        """Make an executor.

        Args:
            num_cpus: CPUs for each call. Default: 1.0.
            num_gpus: GPUs for each call. Default: 0.0.
            resources: Custom resources for each call, by name.
            max_retries: How often Ray runs a call again whose worker died. Default: 0. With another value the
                dispatcher takes repeatable tools only.
            **options: Other options of Ray's remote functions, such as ``memory`` or ``runtime_env``.

        Raises:
            ConfigurationError: The package `ray` is not installed.
            InvalidInputError: An option that Ray does not know, or a value that it does not take.
        """
        try:
            import ray  # noqa: PLC0415 - seconds, for those who use it
        except ImportError as error:
            raise ConfigurationError(
                'RayExecutor: the package ray is not installed. Run: pip install "promptport[ray]".'
            ) from error
        if "num_returns" in options:
            raise InvalidInputError("RayExecutor: num_returns cannot be set. Leave it out.")
        self._ray = ray
        self._retries = bool(max_retries or options.get("retry_exceptions"))
        asked = {"num_cpus": num_cpus, "num_gpus": num_gpus, "resources": resources or {}, "max_retries": max_retries}
        try:
            self._remote: Any = ray.remote(_work).options(num_returns="streaming", **asked, **options)
        except (ValueError, TypeError) as error:
            raise InvalidInputError(f"RayExecutor: Ray does not take these options: {error}") from error
        self._futures: set[Future[Any]] = set()
        self._guard = threading.Lock()
        self._closed = False

    @property
    def reruns(self) -> bool:
        """Whether Ray may run a call again."""
        return self._retries

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function on the cluster.

        Args:
            function: A function that can be pickled by cloudpickle.
            *args: Its arguments.
            **kwargs: Its arguments by name.

        Returns:
            A future; its ``cancel`` stops the function, also while it runs.

        Raises:
            RuntimeError: The executor was shut down.
        """
        return self._submit(None, function, args, kwargs)

    def submit_shown(self, view: View, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """As `submit`, for the dispatcher: the function gets ``link=``, and what it sends reaches the view."""
        return self._submit(view, function, args, {})

    def _submit(
        self, view: View | None, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Future[Any]:
        with self._guard:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            task = self._remote.remote(function, args, kwargs, view is not None)
            future = _RayFuture(lambda: self._ray.cancel(task, force=True))
            self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        threading.Thread(target=self._follow, args=(task, future, view), name="promptport-ray", daemon=True).start()
        return future

    def _follow(self, task: Any, future: _RayFuture, view: View | None) -> None:
        """Hands on what a task says, up to its result."""
        try:
            for said in task:
                kind, value = self._ray.get(said)
                if kind == "begins":
                    future.begin()
                    if view is not None:
                        view.begin()
                elif kind == "shows":
                    if view is not None:
                        view.show(value)
                elif kind == "gives":
                    future.settle(value, None)
                else:
                    future.settle(None, value)
            future.settle(None, RuntimeError("the Ray task ended without a result"))
        except BaseException as error:  # whatever Ray raises is the outcome of the call
            future.settle(None, error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; the cluster stays.

        Args:
            wait: Wait for the calls that run. Default: ``True``.
            cancel_futures: Stop them. Default: ``False``.
        """
        with self._guard:
            self._closed = True
            left = list(self._futures)
        for future in left:
            if cancel_futures:
                future.cancel()
        for future in left if wait else ():
            with contextlib.suppress(Exception, CancelledError):
                future.exception()


class _RayFuture(Future[Any]):
    """A future that can be cancelled while it runs."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self._stop = stop
        self._settling = threading.Lock()
        self._stopped = False

    def begin(self) -> None:
        with self._settling:
            if not self.done() and not self.running():
                self.set_running_or_notify_cancel()

    def settle(self, value: Any, error: BaseException | None) -> None:
        with self._settling:
            if self.done():
                return
            if self._stopped:
                error = CancelledError()
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(value)

    def cancel(self) -> bool:
        """Stop the task, also while it runs; ``False`` if it has ended."""
        with self._settling:
            if self.done():
                return self.cancelled()
            self._stopped = True
            super().cancel()
        with contextlib.suppress(Exception):  # the cluster may be gone
            self._stop()
        return True


class _Said:
    """The link of a Ray task: what it sends is yielded by the task."""

    def __init__(self, said: queue.Queue[tuple[str, Any]]) -> None:
        self._said = said

    def send(self, data: bytes) -> bool:
        if data:
            self._said.put(("shows", data))
        return True

    def forget(self) -> None:
        """Nothing is kept."""


def _work(function: Callable[..., Any], args: Any, kwargs: Any, linked: bool) -> Iterator[tuple[str, Any]]:
    """The Ray task: says that it begins, what the function shows, and what it gives or raises."""
    said: queue.Queue[tuple[str, Any]] = queue.Queue(32)

    def run() -> None:
        try:
            more = {"link": _Said(said)} if linked else {}
            outcome = ("gives", function(*args, **kwargs, **more))
        except BaseException as error:
            outcome = ("raises", error)
        said.put(outcome)

    yield "begins", None
    threading.Thread(target=run, daemon=True).start()
    while True:
        kind, value = said.get()
        yield kind, value
        if kind in ("gives", "raises"):
            return
