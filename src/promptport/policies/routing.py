"""`RoutingExecutor`: which model is really asked is decided first, so that checks and messages speak of that one.

Rule: a route is a plain function ``(model, prompt, tools) -> model``; the functions here are the usual ones.
"""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from promptport.arguments import as_model, as_prompt, check_number
from promptport.errors import InvalidInputError
from promptport.llm_client import missing_capabilities
from promptport.messages import AssistantMessage, Origin, Prompt
from promptport.models import Capability, LLModel, ModelCapabilities
from promptport.policies.relay import Asker, Wrapper, server_of
from promptport.stream import FrameStream, TextStream
from promptport.tools import ToolDescriptor

__all__ = ["Resolve", "RoutingExecutor", "aliases", "by_capability", "round_robin", "weighted"]

Resolve: TypeAlias = Callable[["LLModel | str", Prompt, Sequence[ToolDescriptor]], "LLModel | str"]
"""Says which model is asked; it gets what the caller wrote, and gives it back where it does not care."""


def _model(one: LLModel | str) -> LLModel:
    return as_model(one, where="route: each of the models")


class RoutingExecutor(Wrapper):
    """A client, or an executor, that first resolves the model; all that follows speaks of the resolved one.

    Examples:
        ```python
        import promptport as pp
        from promptport.policies import RoutingExecutor, aliases
        from promptport.testing import ScriptedExecutor

        executor = RoutingExecutor(ScriptedExecutor(["Hello"]), aliases({"fast": "scripted/small"}))
        print(executor.resolve("fast", pp.Prompt.of("Hi"), ()))
        ```
    """

    def __init__(self, executor: Asker, route: Resolve) -> None:
        """Wrap an executor.

        Args:
            executor: Who is asked; closed with this one.
            route: Says which model is asked. Several are combined by wrapping again.

        Raises:
            InvalidInputError: `route` is no plain function.
        """
        super().__init__(executor)
        if not callable(route) or inspect.iscoroutinefunction(route):
            kind = "an async function" if callable(route) else type(route).__name__
            raise InvalidInputError(
                f"RoutingExecutor: route takes a plain function of model, prompt and tools, not {kind}. Write"
                " aliases({'fast': 'openai/gpt-5-mini'}), say."
            )
        self._route = route

    def resolve(self, model: LLModel | str, prompt: Prompt, tools: Sequence[ToolDescriptor] = ()) -> LLModel:
        """The model that a request like this one asks now; a route that takes turns takes one.

        Raises:
            InvalidInputError, ConfigurationError: No model that can be asked.
        """
        return as_model(self._route(model, prompt, tools), where="RoutingExecutor: what route returned")

    def execute_streaming_with_tools(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> FrameStream:
        """Stream the response of the resolved model."""
        prompt = as_prompt(prompt)
        return self.inner.execute_streaming_with_tools(prompt, self.resolve(model, prompt, tools), tools)

    def execute_streaming(self, prompt: Prompt | str, model: LLModel | str) -> TextStream:
        """Stream the text of the resolved model's response."""
        prompt = as_prompt(prompt)
        return self.inner.execute_streaming(prompt, self.resolve(model, prompt))

    async def execute(
        self, prompt: Prompt | str, model: LLModel | str, tools: Sequence[ToolDescriptor] = ()
    ) -> AssistantMessage:
        """Return the whole response of the resolved model."""
        prompt = as_prompt(prompt)
        return await self.inner.execute(prompt, self.resolve(model, prompt, tools), tools)

    def capabilities(self, model: LLModel | str) -> ModelCapabilities:
        """What the resolved model can do; of models that take turns, the one whose turn is next, which keeps it."""
        look: Resolve = getattr(self._route, "next_model", self._route)
        resolved = as_model(look(model, Prompt.of(""), ()), where="RoutingExecutor: what route returned")
        return self.inner.capabilities(resolved)

    def origin_of(self, model: LLModel) -> Origin | None:
        """The server that makes the messages of this model, which is a resolved one."""
        return server_of(self.inner, model)


def aliases(names: Mapping[str, LLModel | str]) -> Resolve:
    """A route by names of your own, such as `{"fast": "openai/gpt-5-mini"}`.

    Args:
        names: What each name stands for; other models are asked as they are.
    """
    table = {name: _model(one) for name, one in names.items()}

    def route(model: LLModel | str, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> LLModel | str:
        if str(model) in table:
            return table[str(model)]
        if isinstance(model, str) and "/" not in model:
            raise InvalidInputError(f"model: there is no alias {model!r}. Use one of {', '.join(sorted(table))}.")
        return model

    return route


def round_robin(name: str, models: Iterable[LLModel | str]) -> Resolve:
    """A route that gives `name` to each of the models in turn.

    Args:
        name: What is asked for, such as `"fast"`; other models are asked as they are.
        models: Who takes turns.

    Raises:
        InvalidInputError: No model.
    """
    return _Turns(name, _some(name, models))


class _Turns:
    """A route of models that take turns."""

    def __init__(self, name: str, models: list[LLModel]) -> None:
        self._name = name
        self._models = models
        self._turn = 0

    def __call__(self, model: LLModel | str, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> LLModel | str:
        found = self.next_model(model, prompt, tools)
        if str(model) == self._name:
            self._turn = (self._turn + 1) % len(self._models)
        return found

    def next_model(self, model: LLModel | str, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> LLModel | str:
        """Whose turn is next, without taking it."""
        return self._models[self._turn] if str(model) == self._name else model


def weighted(name: str, weights: Mapping[LLModel | str, float], *, chooser: random.Random | None = None) -> Resolve:
    """A route that gives `name` to the models by chance, in proportion to their weights.

    Args:
        name: What is asked for; other models are asked as they are.
        weights: How often each is asked, compared with the others.
        chooser: Where chance comes from; for tests.

    Raises:
        InvalidInputError: No model, or no weight over 0.
    """
    models = _some(name, weights)
    shares = list(weights.values())
    for share in shares:
        check_number(f"weighted({name!r}): each weight", share, least=0)
    if not sum(shares) > 0 or math.isinf(sum(shares)):
        raise InvalidInputError(f"weighted({name!r}): the weights must be 0 or more, and one of them over 0.")
    chance = chooser or random.Random()  # noqa: S311 - spreads load, hides nothing
    return lambda model, prompt, tools: chance.choices(models, shares)[0] if str(model) == name else model


def by_capability(
    name: str, models: Iterable[LLModel | str], capabilities: Callable[[LLModel], ModelCapabilities]
) -> Resolve:
    """A route that gives `name` to the first model that can do what the request needs, and holds its prompt.

    The prompt's length is the input of its last answer, as the provider counted it; an unknown length fits everywhere.

    Args:
        name: What is asked for; other models are asked as they are.
        models: From the one you like best to the one that can do most.
        capabilities: What each can do, such as `executor.capabilities`.

    Raises:
        InvalidInputError: No model.
    """
    choice = _some(name, models)

    def route(model: LLModel | str, prompt: Prompt, tools: Sequence[ToolDescriptor]) -> LLModel | str:
        if str(model) != name:
            return model
        for each in choice:
            can = capabilities(each)
            if _fits(prompt, tools, can):
                return each
        return choice[-1]  # whose own check says what is missing

    return route


def _some(name: str, models: Iterable[LLModel | str]) -> list[LLModel]:
    found = [_model(one) for one in models]
    if not found:
        raise InvalidInputError(f"{name!r}: the route has no model. Give at least one.")
    return found


def _fits(prompt: Prompt, tools: Sequence[ToolDescriptor], can: ModelCapabilities) -> bool:
    length = _length(prompt)
    holds = length is None or can.context_length is None or length < can.context_length
    return holds and not (tools and Capability.TOOLS not in can) and not missing_capabilities(prompt, tools, can)


def _length(prompt: Prompt) -> int | None:
    for message in reversed(prompt.messages):
        if isinstance(message, AssistantMessage) and message.usage.input_tokens is not None:
            return message.usage.input_tokens + (message.usage.output_tokens or 0)
    return None
