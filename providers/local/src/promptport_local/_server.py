"""`LocalServer`: llama.cpp's HTTP server, in a process of its own, for one model.

Rules: it listens on the loopback address only, on a free port, and asks for a key; it says nothing on standard error;
it is started once, however many tasks wait for it; it has ended when `stop` returns, and never outlives this process.

What xllamacpp's ``Server`` does, as observed (2026.10), and why it is in another process (``_child.py``): its
constructor loads the model and holds Python's global lock meanwhile; a failure is a ``RuntimeError`` that gives no
reason; there is no stop but the end of its last reference, which waits for every answer that is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from promptport import ConfigurationError, OverloadedError, PromptportError, Timeouts
from promptport.provider import Transport, new_transport
from promptport_local._fetching import present
from promptport_local._models import PROVIDER, Weights, bundled_weights, size_of, weights_at
from promptport_local._running import RunningRequests

__all__ = ["DEFAULT_CONTEXT_LENGTH", "LocalServer", "headers_for", "usable_context"]

DEFAULT_CONTEXT_LENGTH = 4096
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.02
_LONGEST_ANSWER = 1024
_QUIET, _LOUD = -1, 3


class LocalServer:
    """A server for whoever speaks ``/v1/chat/completions``, ``/v1/responses`` or ``/v1/messages``.

    ::

        async with LocalServer() as server:
            client = openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key)
    """

    def __init__(
        self,
        weights: Weights | str | os.PathLike[str] | None = None,
        *,
        context_length: int | None = None,
        threads: int | None = None,
        parallel: int = 2,
        api_key: str | None = None,
        http_client: Any = None,
        on_load: Callable[[str], None] | None = None,
        verbose: bool = False,
        batch_size: int = 64,
        prompt_cache: int = 0,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            weights: the path of a GGUF file; without it the bundled model.
            context_length: tokens for the prompt and answer of one request; without it 4096, or what the model
                was trained with if that is less.
            threads: of the processor; without it half of those that this process may use, because waiting threads
                spin, and slow down everything else here.
            parallel: how many requests are answered at once; more wait. Each takes memory for a whole context.
            api_key: what clients must show; without it a random one.
            http_client: Your own HTTP client for the way that `ready` gives. promptport does not close it.
            on_load: told in a few words when loading begins, and when it is done.
            verbose: llama.cpp's own log goes to standard error.
            batch_size: how many tokens of a prompt are read before another stream gets its turn, and before a
                cancelled request is noticed. A larger one reads a long prompt
                a little faster, and holds up others for seconds: llama.cpp's own 2048 for 17 s.
            prompt_cache: memory for prompts of earlier requests, in MiB. 0 keeps none; llama.cpp's own is 8192.

        Raises:
            ConfigurationError: the file, the bundled weights, or a number cannot be used.
        """
        if weights is None:
            weights = bundled_weights()
        elif not isinstance(weights, Weights):
            weights = weights_at(os.fspath(weights))
        for name, value in (
            *(("context_length", context_length), ("threads", threads), ("parallel", parallel)),
            *(("batch_size", batch_size), ("prompt_cache", prompt_cache + 1)),
        ):
            if value is not None and value < 1:
                raise ConfigurationError(f"local: {name} must be at least 1, not {value}")
        self.weights = weights
        self.context_length = usable_context(weights, context_length)
        self.api_key = api_key or secrets.token_urlsafe(24)
        self._threads = threads or max(1, _available_processors() // 2)
        self._parallel = parallel
        self._http_client = http_client
        self._on_load = on_load
        self._batch_size = batch_size
        self._prompt_cache = prompt_cache
        self._verbosity = _LOUD if verbose else _QUIET
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., LocalServer] | None = None
        self._transport: Transport | None = None
        self._starting: asyncio.Task[Transport] | None = None
        self.requests = RunningRequests(self._busy, self._interrupt)

    # ------------------------------------------------------------------------------------------- in use

    @property
    def base_url(self) -> str:
        """Where OpenAI's SDK looks for it: ``http://127.0.0.1:PORT/v1``.

        Raises:
            ConfigurationError: it has not been started.
        """
        if self._transport is None:
            raise ConfigurationError("local: the server has not been started")
        return f"{self._transport.base_url}/v1"

    async def ready(self) -> Transport:
        """The way to the server; starts it if it is not running. Tasks that come meanwhile wait for the same start.

        Raises:
            ConfigurationError: llama.cpp is not installed, or cannot load the model. The next call tries again.
        """
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        # One that gives up waiting takes nothing from the others.
        return await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """Ends the server, whatever it is doing. Twice does nothing."""
        await self.requests.aclose()
        await self._interrupt()

    async def _interrupt(self) -> None:
        """Ends the server; the next call of `ready` starts another one."""
        starting, self._starting = self._starting, None
        if starting is not None:
            await asyncio.wait([starting])
        transport, self._transport = self._transport, None
        process, finalizer = self._process, self._finalizer
        self._process = self._finalizer = None
        if process is not None:
            process.kill()  # at once: a thread may have to wait for the processor that this one holds
        if transport is not None:
            await transport.aclose()
        if finalizer is not None:
            await asyncio.to_thread(finalizer)

    async def _busy(self) -> bool:
        """Whether llama.cpp works on anything; while it reads a batch of a prompt, it does not say."""
        transport = self._transport
        if transport is None:
            return False
        try:
            slots = json.loads(await transport.get("/slots"))
        except PromptportError:
            return True
        return any(slot["is_processing"] for slot in slots)

    async def __aenter__(self) -> Self:
        await self.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # ----------------------------------------------------------------------------------------- starting

    async def _start(self) -> Transport:
        await asyncio.to_thread(present, self.weights, self._tell)
        began = time.monotonic()
        self._tell(f"loading {self.weights.path.name} ({size_of(self.weights) / 1e6:.0f} MB)")
        address = await asyncio.to_thread(self._load)
        headers = headers_for(self.api_key)
        transport = new_transport(
            address,
            provider=PROVIDER,
            headers=headers,
            timeouts=Timeouts(first_frame=_READY_SECONDS),
            http_client=self._http_client,
        )
        try:
            await _healthy(transport)
        except BaseException:
            await transport.aclose()
            await asyncio.to_thread(self._drop)
            raise
        self._transport = transport
        self._tell(f"{self.weights.id} is ready after {time.monotonic() - began:.1f} s")
        return transport

    def _started(self, task: asyncio.Task[Transport]) -> None:
        if (task.cancelled() or task.exception() is not None) and self._starting is task:
            self._starting = None

    def _load(self) -> str:
        """Starts the process and waits until it listens; runs in a thread.

        Returns:
            Its address.

        Raises:
            ConfigurationError: llama.cpp is not installed, or cannot load the model.
        """
        spec = importlib.util.find_spec("xllamacpp")
        if spec is None or spec.origin is None:
            raise ConfigurationError("local: llama.cpp is not installed. Run: pip install xllamacpp")
        place = str(Path(spec.origin).parents[1])
        process = subprocess.Popen(  # noqa: S603 - of a file that lies here
            [sys.executable, "-I", str(Path(__file__).with_name("_child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if self._verbosity == _LOUD else subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the program, which ends its server itself
        )
        self._process = process
        # Whoever forgets to stop it leaves no process behind.
        self._finalizer = weakref.finalize(self, _end, process)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({**self._wanted(), "path": place}).encode() + b"\n")
            process.stdin.flush()
            told = json.loads(process.stdout.readline() or b"{}")
        except (OSError, ValueError):
            told = {}
        if "address" in told:
            return str(told["address"])
        self._drop()
        raise ConfigurationError(
            f"local: llama.cpp cannot load {self.weights.path}: is the file whole, does this version know the"
            f" model's architecture, and is there memory for it and for {self._parallel} contexts of"
            f" {self.context_length} tokens? verbose=True shows llama.cpp's own words"
        ) from RuntimeError(told.get("error", f"the process ended with {process.returncode}"))

    def _wanted(self) -> dict[str, Any]:
        """What the process is told to load."""
        return {
            "model": str(self.weights.path),
            "alias": self.weights.id,
            "api_key": self.api_key,
            "context": self.context_length,
            "parallel": self._parallel,
            "threads": self._threads,
            "batch_size": self._batch_size,
            "prompt_cache": self._prompt_cache,
            "verbosity": self._verbosity,
            "longest": _LONGEST_ANSWER,
            "chat_template": self.weights.chat_template,
            "temperature": self.weights.temperature,
            "top_p": self.weights.top_p,
        }

    def _drop(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._finalizer = None

    def _tell(self, text: str) -> None:
        if self._on_load is not None:
            self._on_load(text)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def headers_for(api_key: str | None) -> dict[str, str]:
    """What every request to llama.cpp carries.

    After a streamed answer, llama.cpp says that it keeps the connection, and closes it: the next request would find
    it closed under its feet.
    """
    key = {"authorization": f"Bearer {api_key}"} if api_key else {}
    return {**key, "connection": "close"}


def usable_context(weights: Weights, wanted: int | None) -> int:
    """How many tokens one request may have, together with its answer.

    Raises:
        ConfigurationError: more than the model was trained with.
    """
    trained = weights.context_length
    if wanted is None:
        return min(DEFAULT_CONTEXT_LENGTH, trained or DEFAULT_CONTEXT_LENGTH)
    if trained is not None and wanted > trained:
        raise ConfigurationError(f"local: context_length={wanted} is more than {weights.id} knows: {trained} tokens")
    return wanted


async def _healthy(transport: Transport) -> None:
    """Waits while the server answers 503: it is loading the model. Raises `OverloadedError` if that never ends."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            await transport.get("/health")
        except OverloadedError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return


def _available_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
