"""A response as a value: read while it streams, or whole, where one that does not fit is corrected in words.

Rule: what a definition has read is void where a policy restarts the response; nothing that does not fit is kept.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

from msgspec.structs import replace

from promptport.dispatch import enclosing_usage, within_budgets
from promptport.errors import ProtocolError
from promptport.executor import PromptExecutor
from promptport.frames import Append, Restarted
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel
from promptport.stream import FrameStream
from promptport.structured import JsonDefinition, StructuredDataDefinition

__all__ = ["ask_structured", "count_usage", "parsed"]

_Item = TypeVar("_Item")


def count_usage(message: AssistantMessage) -> None:
    """Inside a tool: counts what a request of its own used for the run of that tool."""
    count = enclosing_usage()
    if count is not None:
        count(message.usage)


async def ask_structured(
    executor: PromptExecutor,
    model: LLModel,
    base: Prompt,
    definition: StructuredDataDefinition[Any] | type[Any],
    retries: int,
) -> tuple[AssistantMessage, Any]:
    """The response that fits, and its value; see `LLMSession.request_llm_structured`."""
    if isinstance(definition, type):
        definition = JsonDefinition(definition)
    prompt = base
    while True:
        asked = definition.prepare(prompt, executor.capabilities(model))
        message = await within_budgets(executor).execute(asked, model)
        count_usage(message)
        try:
            return message, await _last(definition, message)
        except ProtocolError as error:
            error.partial = message
            if not retries:
                raise
            retries -= 1
            said = replace(message, unfinished=()) if message.text.strip() else AssistantMessage.of("(nothing)")
            prompt = prompt.add(said).answered("not run: no tools were offered")
            prompt = prompt.user(f"That response cannot be used: {error}. Answer again, and correct this.")


async def _last(definition: StructuredDataDefinition[Any], message: AssistantMessage) -> Any:
    """What the definition makes of a whole text: the last of its items."""

    async def text() -> AsyncIterator[str]:
        yield message.text

    found: list[Any] = []
    async for item in definition.parse(text()):
        found = [item]
    if not found:
        raise ProtocolError("the response holds nothing of the structure that was asked for")
    return found[0]


class _BegunAnew(Exception):
    """The response was restarted: what a definition has read of it is void."""


async def _text_until_restart(stream: FrameStream) -> AsyncIterator[str]:
    async for frame in stream:
        if type(frame) is Append:
            yield frame.text
        elif type(frame) is Restarted:
            raise _BegunAnew


async def parsed(definition: StructuredDataDefinition[_Item], stream: FrameStream) -> AsyncIterator[_Item]:
    """The definition's items; the stream is closed with them."""
    async with stream:
        while True:
            items = definition.parse(_text_until_restart(stream))
            try:
                async for item in items:
                    yield item
            except _BegunAnew:
                continue
            finally:
                if isinstance(items, AsyncGenerator):
                    await items.aclose()
            return
