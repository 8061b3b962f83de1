"""`LimitedClient`: no more requests at once, and no more requests and tokens a minute, than a provider allows.

Rules: who asks first is served first; waiting can be cancelled, and has a bound; tokens are counted when an answer
says how many it took, so an answer may pass the limit, and the next request waits for it.

The windows are those of the package ``limits`` (extra ``limits``), in memory or on Redis.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from promptport.arguments import as_prompt, check_number, model_for
from promptport.errors import ConfigurationError, InvalidInputError, RateLimitError, TransportError
from promptport.frames import End, StreamFrame, Usage
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel
from promptport.policies.judging import LOCAL, STORAGE
from promptport.policies.relay import Asker, Relay, Wrapper
from promptport.stream import FrameStream
from promptport.tools import ToolDescriptor

__all__ = ["LimitedClient", "Limits"]

_T = TypeVar("_T")

_STORAGE_SECONDS = 5.0
"""How long a storage on another machine may take for one answer; after that it counts as lost."""

_NOTHING = Usage()
_log = logging.getLogger("promptport")


class Limits:
    """Limits that several clients may share. It belongs to one event loop.

    Examples:
        ```python
        import promptport as pp
        from promptport.policies import LimitedClient, Limits

        limits = Limits(concurrency=8)
        client = LimitedClient(pp.client("openai", api_key="…"), limits)
        ```
    """

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        max_wait: float | None = 60.0,
        name: str = "promptport",
        storage: str = "async+memory://",
    ) -> None:
        """Make limits of which nothing is used.

        Args:
            concurrency: How many requests of this process may be under way at once. It is never shared by a storage.
            requests_per_minute: How many requests may begin within any 60 s.
            tokens_per_minute: How many input and output tokens may be used in each window of 60 s.
            max_wait: Seconds that a request waits at most; `None` for no bound. Default: 60.0.
            name: Whose limits these are, where a storage is shared. Default: `"promptport"`.
            storage: Where the windows are, as an address of the package `limits`, such as
                `"async+redis://localhost:6379"`. Default: in memory.

        Raises:
            InvalidInputError: No limit, or one that is out of its range.
            ConfigurationError: The package `limits`, or what its storage needs, is not installed.
        """
        numbers = {
            "concurrency": concurrency,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
        }
        if not any(number is not None for number in numbers.values()):
            raise InvalidInputError(
                "Limits: no limit is given. Pass concurrency, requests_per_minute or tokens_per_minute."
            )
        for option, number in numbers.items():
            if number is not None:
                check_number(f"Limits: {option}", number, least=1, whole=True)
        if max_wait is not None:
            check_number("Limits: max_wait", max_wait, least=0, finite=False, hint="None is no bound.")
        self._slots = asyncio.Semaphore(concurrency) if concurrency is not None else None
        self._turn = asyncio.Lock()  # whoever waits for a window holds it, so that nobody passes
        self._max_wait = max_wait
        self._name = name
        self._windows = _Windows(storage, requests_per_minute, tokens_per_minute)

    def place(self, model: LLModel) -> AbstractAsyncContextManager[None]:
        """A request's place: waits for one, and gives it back.

        Raises:
            RateLimitError: None became free within `max_wait`; nothing was sent. Its code is `local_limit`.
            TransportError: The storage of the windows cannot be asked; nothing was sent.
        """
        return _Place(self, model)

    async def enter(self, model: LLModel) -> None:
        """Wait for a place; see `place`."""
        slots = self._slots
        if not self._windows.used and slots is not None and not slots.locked():
            await slots.acquire()  # it is free, and nobody waits for it: no timer is needed
            return
        if self._windows.near and (slots is None or not slots.locked()) and not self._turn.locked():
            # As above, but that the windows have a word in it: what is in memory answers at once.
            if slots is not None:
                await slots.acquire()
            try:
                async with self._turn:
                    if await self._windows.try_enter(self._name):
                        return
            except BaseException:
                self.leave()
                raise
            self.leave()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._max_wait) as clock:
                if self._slots is not None:
                    await self._slots.acquire()
                try:
                    if self._windows.used:
                        async with self._turn:
                            await self._windows.enter(self._name)
                except BaseException:
                    if self._slots is not None:
                        self._slots.release()
                    raise
        except TimeoutError:
            if not clock.expired():
                raise
            text = f"{model}: no place became free within {time.monotonic() - began:.3g} s (Limits.max_wait)."
            raise RateLimitError(
                f"{text} No request was sent. Raise the limits or max_wait, or send less at once.",
                provider=model.provider,
                model=model.id,
                code=LOCAL,
            ) from None
        except _Unreachable as error:
            raise TransportError(
                f"{model}: the storage of the limits cannot be asked: {type(error.__cause__ or error).__name__}."
                " No request was sent. Check Limits.storage.",
                provider=model.provider,
                model=model.id,
                code=STORAGE,
            ) from error

    async def aclose(self) -> None:
        """Close the connections to the storage, for limits on Redis; the clients that share these limits stay open."""
        await self._windows.aclose()

    def leave(self) -> None:
        """Give the place back."""
        if self._slots is not None:
            self._slots.release()

    async def count(self, usage: Usage) -> None:
        """Count what an answer used; what nobody told counts as nothing."""
        if usage == _NOTHING:
            return
        try:
            await self._windows.count(self._name, (usage.input_tokens or 0) + (usage.output_tokens or 0))
        except _Unreachable as error:  # the response is whole all the same
            _log.warning("Limits: tokens could not be counted: %s", type(error.__cause__).__name__)


class _Place:
    """The place of one request."""

    __slots__ = ("_limits", "_model")

    def __init__(self, limits: Limits, model: LLModel) -> None:
        self._limits = limits
        self._model = model

    async def __aenter__(self) -> None:
        await self._limits.enter(self._model)

    async def __aexit__(self, *_: object) -> None:
        self._limits.leave()


class _Unreachable(Exception):
    """The storage of the windows failed."""


async def _asked(answer: Awaitable[_T], seconds: float | None) -> _T:
    """What a storage answers; whatever it raises, and that it says nothing for so long, is one exception."""
    try:
        if seconds is None:
            return await answer
        async with asyncio.timeout(seconds):
            return await answer
    except Exception as error:
        raise _Unreachable from error


class _Windows:
    """The windows of the package ``limits``, imported when they are made."""

    def __init__(self, storage: str, requests: int | None, tokens: int | None) -> None:
        self.used = requests is not None or tokens is not None
        self.near = self.used and "memory" in storage
        self._store: Any = None
        if not self.used:
            return
        try:
            from limits import RateLimitItemPerMinute  # noqa: PLC0415 - only for those who use windows
            from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter  # noqa: PLC0415
            from limits.errors import ConfigurationError as Unusable  # noqa: PLC0415
            from limits.storage import storage_from_string  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                'Limits: windows need the package limits. Run: pip install "promptport[limits]".'
            ) from error
        options: dict[str, Any] = {"implementation": "redispy"} if "redis" in storage else {}
        self._seconds = None if "memory" in storage else _STORAGE_SECONDS
        try:
            store: Any = storage_from_string(storage, **options)
        except (Unusable, ImportError, ValueError) as error:
            raise ConfigurationError(
                "Limits: the storage cannot be used. Pass an address such as 'async+redis://localhost:6379', and"
                ' install its package: pip install "promptport[redis]".'
            ) from error
        self._store = store
        self._moving, self._fixed = MovingWindowRateLimiter(store), FixedWindowRateLimiter(store)
        self._requests = RateLimitItemPerMinute(requests, namespace="requests") if requests is not None else None
        self._tokens = RateLimitItemPerMinute(tokens, namespace="tokens") if tokens is not None else None

    async def enter(self, name: str) -> None:
        """Returns when one more request may begin, and has counted it."""
        while (when := await self._full(name)) is not None:
            await self._until(when)

    async def try_enter(self, name: str) -> bool:
        """Whether one more request may begin now, and is counted."""
        return await self._looked_at(name) is None

    async def _full(self, name: str) -> float | None:
        """When to look again; ``None`` if the request may begin, and is counted."""
        return await _asked(self._looked_at(name), self._seconds)

    async def _looked_at(self, name: str) -> float | None:
        if self._tokens is not None and not await self._fixed.test(self._tokens, name):
            return float((await self._fixed.get_window_stats(self._tokens, name)).reset_time)
        if self._requests is not None and not await self._moving.hit(self._requests, name):
            return float((await self._moving.get_window_stats(self._requests, name)).reset_time)
        return None

    async def count(self, name: str, tokens: int) -> None:
        if self.used and self._tokens is not None and tokens:
            await _asked(self._fixed.hit(self._tokens, name, cost=tokens), self._seconds)

    async def aclose(self) -> None:
        bridge = getattr(self._store, "bridge", None)
        if bridge is not None:
            await bridge.get_connection().aclose()

    @staticmethod
    async def _until(when: float) -> None:
        await asyncio.sleep(min(max(0.01, when - time.time()), 60.0))


class LimitedClient(Wrapper):
    """A client, or an executor, whose requests wait until the limits have a place for them."""

    def __init__(self, client: Asker, limits: Limits) -> None:
        """Wrap a client.

        Args:
            client: Who is asked; closed with this one.
            limits: What it keeps to; may be shared.

        Raises:
            InvalidInputError: `client` or `limits` is something else.
        """
        super().__init__(client)
        if not isinstance(limits, Limits):
            raise InvalidInputError(
                f"LimitedClient: limits takes Limits, not {type(limits).__name__}. Write Limits(concurrency=8)."
            )
        self.limits = limits

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """Stream the response; the request waits for its place when the stream is iterated."""
        prompt = as_prompt(prompt)
        model = model_for(self.inner, model, prompt, tools)
        first = self.inner.execute_streaming_with_tools(prompt, model, tools)
        return self._stream(lambda relay: self._placed(relay, model), first, model)

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """Return the whole response. Raises `RateLimitError` where no place became free."""
        prompt = as_prompt(prompt)
        model = model_for(self.inner, model, prompt, tools)
        async with self.limits.place(model):
            message = await self.inner.execute(prompt, model, tools)
        await self.limits.count(message.usage)
        return message

    async def _placed(self, relay: Relay, model: LLModel) -> AsyncGenerator[Sequence[StreamFrame], None]:
        stream = relay.stream
        assert stream is not None
        counted = False
        try:
            await self.limits.enter(model)
            try:
                async with stream:
                    while batch := await stream.next_batch():
                        last = batch[-1]
                        if type(last) is End:
                            counted = True
                            await self.limits.count(last.usage)
                        yield batch
            finally:
                self.limits.leave()
        finally:
            if not counted:
                await self.limits.count(stream.usage)
