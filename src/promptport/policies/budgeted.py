"""`Budget`: how much may be used, checked before each request; `BudgetedExecutor` holds an executor to one.

Rule: what was used is what providers counted, also of an answer that was cut, as far as they told. A request of which
nobody told the usage counts as a request alone, and one that is under way counts as a request from its start on. So
requests that began together may pass a limit of tokens or of cost, by what they use; no request begins after that.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextvars import ContextVar

from promptport.arguments import as_prompt, check_number, model_for
from promptport.errors import BudgetExceededError, InvalidInputError, PromptportError
from promptport.frames import End, StreamFrame, Usage
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel
from promptport.policies.relay import Asker, Relay, Wrapper
from promptport.stream import FrameStream
from promptport.telemetry import price as known_price
from promptport.tools import ToolDescriptor

__all__ = ["Budget", "BudgetedExecutor"]

_NOTHING = Usage()
_log = logging.getLogger("promptport")
_COUNTING: ContextVar[tuple[Budget, ...]] = ContextVar("promptport_budgets", default=())
"""The budgets that count the request that is made now: one that stands around a request twice counts it once."""


class Budget:
    """Limits, and what was used of them; may be shared by executors, dispatchers and sessions.

    Attributes:
        requests: How many requests were begun.
        usage: The tokens of all answers that ended.
        cost: What they cost together, in the currency of `price`; answers without a known price cost nothing here.
        unpriced: How many answers had no known price.

    Examples:
        ```python
        import promptport as pp
        from promptport.policies import Budget, BudgetedExecutor
        from promptport.testing import ScriptedExecutor

        budget = Budget(requests=10, output_tokens=5_000)
        executor = BudgetedExecutor(ScriptedExecutor(["Hello"]), budget)
        await executor.execute(pp.Prompt.of("Hi"), pp.LLModel("scripted", "small"))
        print(budget.requests)
        ```
    """

    def __init__(
        self,
        *,
        requests: int | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost: float | None = None,
        price: Callable[[LLModel, Usage], float | None] | None = None,
    ) -> None:
        """Make a budget of which nothing is used.

        Args:
            requests: How many requests may be sent; `None` for no limit, as for the others.
            input_tokens: How many tokens all prompts together may have.
            output_tokens: How many tokens all answers together may have.
            cost: How much all answers together may cost.
            price: What an answer costs, such as `promptport.telemetry.price`; needed for `cost`.

        Raises:
            InvalidInputError: A limit below 0, no limit at all, or a `cost` without a `price`.
            ConfigurationError: `price` is `promptport.telemetry.price`, and its package is not installed.
        """
        limits = {"requests": requests, "input_tokens": input_tokens, "output_tokens": output_tokens, "cost": cost}
        self._limits: dict[str, float] = {name: limit for name, limit in limits.items() if limit is not None}
        if not self._limits:
            raise InvalidInputError("Budget: no limit is given. Pass requests, input_tokens, output_tokens or cost.")
        for name, limit in self._limits.items():
            check_number(f"Budget: {name}", limit, least=0, whole=name == "requests", finite=False)
        if cost is not None and price is None:
            raise InvalidInputError(
                "Budget: cost needs price, a function of model and usage. Pass price=promptport.telemetry.price."
            )
        if price is not None and not callable(price):
            raise InvalidInputError(f"Budget: price takes a function of model and usage, not {type(price).__name__}.")
        if price is known_price:
            known_price(LLModel("openai", "gpt-4o"), Usage(0, 0))  # says now if its package is missing
        self._price = price
        self.requests = 0
        self.usage = Usage()
        self.cost = 0.0
        self.unpriced = 0

    @property
    def used(self) -> dict[str, float]:
        """What was used of each limit, by its name."""
        return {name: self._used(name) for name in self._limits}

    def _used(self, name: str) -> float:
        return getattr(self if name in ("requests", "cost") else self.usage, name) or 0

    @property
    def left(self) -> dict[str, float]:
        """What is left of each limit, by its name; never below 0."""
        used = self.used
        return {name: max(0, limit - used[name]) for name, limit in self._limits.items()}

    def check(self) -> None:
        """Check that one more request may be sent.

        Raises:
            BudgetExceededError: A limit is reached; it holds what was used.
        """
        over = [name for name, limit in self._limits.items() if self._used(name) >= limit]
        if over:
            used = self.used
            told = ", ".join(f"{name} {used[name]:g} of {self._limits[name]:g}" for name in over)
            raise BudgetExceededError(
                f"The budget is used up: {told}. No request was sent. Raise the limit, or stop here.",
                limits=dict(self._limits),
                used=used,
            )

    def begin(self) -> None:
        """Count a request that is sent now. Raises `BudgetExceededError` as `check` does."""
        self.check()
        self.requests += 1

    def add(self, model: LLModel, usage: Usage) -> None:
        """Count what an answer used."""
        if usage == _NOTHING:
            return
        self.usage += usage
        if self._price is not None:
            cost = self._cost(self._price, model, usage)
            if cost is None:
                self.unpriced += 1
            else:
                self.cost += cost

    @staticmethod
    def _cost(price: Callable[[LLModel, Usage], float | None], model: LLModel, usage: Usage) -> float | None:
        try:
            cost = price(model, usage)
        except Exception:  # the answer is whole all the same
            _log.exception("Budget: price raised for %s", model)
            return None
        if cost is not None and not 0 <= cost < math.inf:
            _log.warning("Budget: price gave %r for %s, which is no price", cost, model)
            return None
        return cost


class BudgetedExecutor(Wrapper):
    """A client, or an executor, that sends a request only while the budget lasts."""

    def __init__(self, executor: Asker, budget: Budget) -> None:
        """Wrap an executor.

        Args:
            executor: Who is asked; closed with this one.
            budget: What it may use; may be shared.
        """
        super().__init__(executor)
        self.budget = budget

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """Stream the response.

        Raises:
            BudgetExceededError: At once, or when the stream is first iterated, where others used the rest meanwhile.
        """
        prompt = as_prompt(prompt)
        model = model_for(self.inner, model, prompt, tools)
        if self.budget in _COUNTING.get():
            return self.inner.execute_streaming_with_tools(prompt, model, tools)
        self.budget.check()
        token = _COUNTING.set((*_COUNTING.get(), self.budget))
        try:
            first = self.inner.execute_streaming_with_tools(prompt, model, tools)
        finally:
            _COUNTING.reset(token)
        return self._stream(lambda relay: self._counted(relay, model), first, model)

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """Return the whole response. Raises `BudgetExceededError` before anything is sent."""
        prompt = as_prompt(prompt)
        model = model_for(self.inner, model, prompt, tools)
        if self.budget in _COUNTING.get():
            return await self.inner.execute(prompt, model, tools)
        self.budget.begin()
        token = _COUNTING.set((*_COUNTING.get(), self.budget))
        try:
            message = await self.inner.execute(prompt, model, tools)
        except PromptportError as error:
            partial = getattr(error, "partial", None)
            if partial is not None:
                self.budget.add(model, partial.usage)
            raise
        finally:
            _COUNTING.reset(token)
        self.budget.add(model, message.usage)
        return message

    async def _counted(self, relay: Relay, model: LLModel) -> AsyncGenerator[Sequence[StreamFrame], None]:
        stream = relay.stream
        assert stream is not None
        self.budget.begin()
        counted = False
        try:
            async with stream:
                while batch := await stream.next_batch():
                    last = batch[-1]
                    if type(last) is End:
                        counted = True
                        self.budget.add(model, last.usage)
                    yield batch
        finally:
            if not counted:
                self.budget.add(model, stream.usage)
