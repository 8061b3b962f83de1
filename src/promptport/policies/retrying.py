"""`RetryingClient`: asks again after a passing error, before the first frame only.

Rule: after the first frame nothing is repeated; the error is raised as it came, with its ``partial``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextvars import copy_context
from time import monotonic
from typing import ClassVar, TypeVar

import msgspec

from promptport.arguments import as_prompt, check_number, model_for
from promptport.errors import InvalidInputError, PromptportError, TotalTimeout
from promptport.frames import StreamFrame
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel
from promptport.policies.judging import is_passing, retry_after_of
from promptport.policies.relay import Asker, Relay, Wrapper
from promptport.stream import FrameStream
from promptport.telemetry import as_attempt
from promptport.tools import ToolDescriptor

__all__ = ["RetryConfig", "RetryingClient"]

_T = TypeVar("_T")


class RetryConfig(msgspec.Struct, frozen=True):
    """When a request is sent again, and how long to wait before.

    Attributes:
        max_attempts: How many requests are sent at most, the first one included. Default: 3.
        initial_delay: Seconds before the second request. Default: 1.0.
        max_delay: Seconds that promptport waits at most, unless the provider asks for more. Default: 30.0.
        backoff_multiplier: By how much each wait is longer than the one before. Default: 2.0.
        jitter_factor: Up to which part of it a wait is made longer or shorter by chance, from 0 to 1. Default: 0.1.
        max_retry_after: Seconds that a provider may ask to wait; for longer, its error is raised. Default: 60.0.
        total: Seconds until the first frame (with `execute`: until the response) that all attempts and waits may take
            together; then the request is closed, and `TotalTimeout` raised. `None` for no limit. Default: `None`.
        retry_on: Decides for each error whether the request is sent again; `None` is `is_passing`: rate limits,
            overload, server errors, connections and timeouts before the first frame. Default: `None`.

    Examples:
        ```python
        from promptport.policies import RetryConfig

        patient = RetryConfig(max_attempts=6, total=120.0)
        ```

    Raises:
        InvalidInputError: A number is out of its range.
    """

    max_attempts: int = 3
    initial_delay: float = 1.0
    max_delay: float = 30.0
    backoff_multiplier: float = 2.0
    jitter_factor: float = 0.1
    max_retry_after: float = 60.0
    total: float | None = None
    retry_on: Callable[[PromptportError], bool] | None = None

    CONSERVATIVE: ClassVar[RetryConfig]
    PRODUCTION: ClassVar[RetryConfig]
    AGGRESSIVE: ClassVar[RetryConfig]
    DISABLED: ClassVar[RetryConfig]

    def __post_init__(self) -> None:
        check_number("RetryConfig: max_attempts", self.max_attempts, least=1, whole=True)
        for name in ("initial_delay", "max_delay"):
            check_number(f"RetryConfig: {name}", getattr(self, name), least=0)
        check_number("RetryConfig: backoff_multiplier", self.backoff_multiplier, least=1)
        check_number("RetryConfig: jitter_factor", self.jitter_factor, least=0, most=1)
        check_number("RetryConfig: max_retry_after", self.max_retry_after, least=0, finite=False)
        if self.total is not None:
            check_number("RetryConfig: total", self.total, over=0, finite=False, hint="None is no limit.")
        if self.retry_on is not None and not callable(self.retry_on):
            raise InvalidInputError(
                f"RetryConfig: retry_on takes a function of the error, not {type(self.retry_on).__name__}."
            )

    def delay(self, attempt: int, error: PromptportError, chance: float) -> float | None:
        """Seconds to wait before the request after this one; `None` where the error is to be raised.

        Args:
            attempt: How many requests were sent, from 1.
            error: What the last one gave.
            chance: A random number from 0 to 1.
        """
        again = self.retry_on if self.retry_on is not None else is_passing
        if attempt >= self.max_attempts or not again(error):
            return None
        asked = retry_after_of(error)
        if asked is not None and asked > self.max_retry_after:
            return None
        try:
            wait = min(self.max_delay, self.initial_delay * self.backoff_multiplier ** (attempt - 1))
        except OverflowError:
            wait = self.max_delay if self.initial_delay else 0.0
        wait *= 1 + self.jitter_factor * (2 * chance - 1)
        # Never earlier than the provider asks for; chance spreads those whom it asked to come at the same time.
        return wait if asked is None else max(wait, asked * (1 + self.jitter_factor * chance))


RetryConfig.CONSERVATIVE = RetryConfig(max_attempts=3, initial_delay=2.0, max_delay=30.0)
RetryConfig.PRODUCTION = RetryConfig(max_attempts=3, initial_delay=1.0, max_delay=20.0, jitter_factor=0.2)
RetryConfig.AGGRESSIVE = RetryConfig(max_attempts=5, initial_delay=0.5, max_delay=20.0, backoff_multiplier=1.5)
RetryConfig.DISABLED = RetryConfig(max_attempts=1)


class RetryingClient(Wrapper):
    """A client, or an executor, that asks again after a passing error.

    A stream is asked again only before its first frame. Waiting ends at once if the stream is closed or cancelled.

    Examples:
        ```python
        import promptport as pp
        from promptport.policies import RetryConfig, RetryingClient

        client = RetryingClient(pp.client("openai", api_key="…"), RetryConfig.PRODUCTION)
        ```
    """

    def __init__(self, client: Asker, config: RetryConfig = RetryConfig.PRODUCTION) -> None:
        """Wrap a client.

        Args:
            client: Who is asked; closed with this one.
            config: When to ask again. Default: `RetryConfig.PRODUCTION`.

        Raises:
            InvalidInputError: `client` or `config` is something else.
        """
        super().__init__(client)
        if not isinstance(config, RetryConfig):
            raise InvalidInputError(
                f"RetryingClient: config takes a RetryConfig, not {type(config).__name__}. Write"
                " RetryConfig(max_attempts=5), or RetryConfig.PRODUCTION."
            )
        self.config = config

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """Stream the response; the request is repeated after a passing error that comes before the first frame."""
        prompt = as_prompt(prompt)
        model = model_for(self.inner, model, prompt, tools)
        here = copy_context()  # who observes the caller observes the later attempts, too

        def ask(attempt: int = 1) -> FrameStream:
            with as_attempt(attempt):
                return self.inner.execute_streaming_with_tools(prompt, model, tools)

        return self._stream(
            lambda relay: self._attempts(relay, model, lambda number: here.run(ask, number)), ask(), model
        )

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """Return the whole response; the request is repeated after a passing error."""
        prompt = as_prompt(prompt)
        model = model_for(self.inner, model, prompt, tools)
        started, attempt = monotonic(), 1
        while True:
            try:
                with as_attempt(attempt):
                    return await self._in_time(self.inner.execute(prompt, model, tools), started, model)
            except PromptportError as error:
                delay = self._delay(attempt, error, started)
                if delay is None:
                    raise
            await asyncio.sleep(delay)
            attempt += 1

    def _delay(self, attempt: int, error: PromptportError, started: float) -> float | None:
        delay = self.config.delay(attempt, error, random.random())  # noqa: S311 - spreads load, hides nothing
        total = self.config.total
        if delay is not None and total is not None and monotonic() - started + delay >= total:
            return None
        return delay

    async def _in_time(self, answer: Awaitable[_T], started: float, model: LLModel) -> _T:
        """What is awaited, unless the total time is over before."""
        total = self.config.total
        if total is None:
            return await answer
        try:
            async with asyncio.timeout(max(0.0, started + total - monotonic())) as clock:
                return await answer
        except TimeoutError:
            if not clock.expired():
                raise
            text = f"{model}: no response within {total:g} s of the first attempt (RetryConfig.total)"
            raise TotalTimeout(text, provider=model.provider, model=model.id) from None

    async def _attempts(
        self, relay: Relay, model: LLModel, ask: Callable[[int], FrameStream]
    ) -> AsyncGenerator[Sequence[StreamFrame], None]:
        started, attempt = monotonic(), 1
        while True:
            stream = relay.stream
            assert stream is not None
            delivered = False
            try:
                async with stream:
                    batch = await self._in_time(stream.next_batch(), started, model)
                    while batch:
                        delivered = True
                        yield batch
                        batch = await stream.next_batch()
                    return
            except PromptportError as error:
                delay = None if delivered else self._delay(attempt, error, started)
                if delay is None:
                    raise
            await asyncio.sleep(delay)
            attempt += 1
            relay.stream = ask(attempt)
