"""`approve` and `on_step` in every form of a callable: plain or async, a lambda, a partial, a method, an object."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import promptport as pp
from promptport.dispatch import StepChange, StepState
from promptport.testing import ScriptedExecutor


@pp.tool(needs_approval=True)
def look(x: int) -> str:
    """Looks."""
    return f"saw {x}"


def plain(extra: Any, value: Any) -> Any:
    return extra


async def awaited(extra: Any, value: Any) -> Any:
    await asyncio.sleep(0)
    return extra


class Hook:
    def __init__(self, given: Any) -> None:
        self.given = given

    def method(self, value: Any) -> Any:
        return self.given

    async def async_method(self, value: Any) -> Any:
        return self.given

    def __call__(self, value: Any) -> Any:
        return self.given


class AsyncHook(Hook):
    async def __call__(self, value: Any) -> Any:
        return self.given


def future_of(given: Any) -> Awaitable[Any]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(given)
    return future


FORMS: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "lambda": lambda given: lambda _: given,
    "lambda of a coroutine": lambda given: lambda value: awaited(given, value),
    "partial": lambda given: functools.partial(plain, given),
    "async partial": lambda given: functools.partial(awaited, given),
    "method": lambda given: Hook(given).method,
    "async method": lambda given: Hook(given).async_method,
    "object": Hook,
    "async object": AsyncHook,
    "future": lambda given: lambda _: future_of(given),
}
CALL = pp.ToolCall("c", "look", '{"x": 1}')


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decision", [True, False, "not today"])
async def test_approve(form: str, decision: bool | str) -> None:
    executor = ScriptedExecutor([CALL], ["Done."])
    async with pp.ToolDispatcher(executor, [look], approve=FORMS[form](decision)) as dispatcher:
        async with dispatcher.stream("Go.", "scripted/m") as stream:
            await stream.message()
    result = stream.outcomes[0].result
    assert (result.output == "saw 1") == (decision is True)
    if isinstance(decision, str):
        assert result.error == decision


@pytest.mark.parametrize("form", FORMS)
async def test_on_step(form: str) -> None:
    executor = ScriptedExecutor([CALL], ["Done."])
    hook = FORMS[form](StepChange(tools=[]))
    async with pp.ToolDispatcher(executor, [look], approve=lambda _: True, on_step=hook) as dispatcher:
        async with dispatcher.stream("Go.", "scripted/m") as stream:
            await stream.message()
    assert [len(request.tools) for request in executor.requests] == [1, 0]


@pytest.mark.parametrize("wrong", [True, "yes", 3, [1]])
async def test_what_cannot_be_called_is_refused_at_once(wrong: Any) -> None:
    options = ("approve", "on_step", "start") if wrong == 3 else ("approve", "on_step", "max_steps", "timeout", "grace")
    for option in options:
        with pytest.raises(pp.InvalidInputError, match=option):
            pp.ToolDispatcher(ScriptedExecutor(), [look], **{option: wrong})


async def test_what_a_hook_sees() -> None:
    seen: list[Any] = []

    def approve(call: pp.ToolCall) -> bool:
        seen.append(call)
        return True

    async def on_step(state: StepState) -> None:
        seen.append(state.step)

    executor = ScriptedExecutor([CALL], ["Done."])
    async with pp.ToolDispatcher(executor, [look], approve=approve, on_step=on_step) as dispatcher:
        async with dispatcher.stream("Go.", "scripted/m") as stream:
            await stream.message()
    assert seen == [CALL, 0]
