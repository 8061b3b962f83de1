"""`map_prompts`: many prompts, so many at once, each with its answer or its error; and how far it is.

Rules: an error belongs to its prompt, and ends nothing; leaving cancels what is under way; no more answers are held
than are under way, if they are taken as they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import Any, Self

import msgspec

from promptport.arguments import as_model, as_prompt, as_tools, check_asker, model_for
from promptport.checking import checked
from promptport.errors import InvalidInputError, PromptportError
from promptport.executor import PromptExecutor
from promptport.frames import Usage
from promptport.messages import AssistantMessage, Prompt
from promptport.models import LLModel
from promptport.structured import StructuredDataDefinition
from promptport.structured_requests import ask_structured
from promptport.tools import ToolDescriptor

__all__ = ["MappedPrompt", "PromptMap", "map_prompts"]


class MappedPrompt(msgspec.Struct, frozen=True):
    """What became of one prompt.

    Attributes:
        index: Its place among the prompts, from 0.
        prompt: The prompt.
        message: The answer, or `None`.
        error: Why there is none, or `None`.
        value: What the `definition` made of it, or `None`.
    """

    index: int
    prompt: Prompt
    message: AssistantMessage | None = None
    error: PromptportError | None = None
    value: Any = None


class PromptMap:
    """An async iterator over the answers, in the order in which they come; for one use.

    Attributes:
        total: How many prompts there are, as far as they were counted; `None` while an iterator still gives more.
        done: How many have an answer or an error.
        failed: How many have an error.
        usage: The tokens of all answers.
    """

    def __init__(
        self,
        executor: PromptExecutor,
        prompts: Iterable[Prompt | str],
        model: LLModel | str,
        tools: Sequence[ToolDescriptor],
        concurrency: int,
        *,
        structure: tuple[StructuredDataDefinition[Any] | type[Any], int] | None = None,
    ) -> None:
        """See `map_prompts`."""
        self.total: int | None = len(prompts) if isinstance(prompts, Sequence) else None
        self.done = 0
        self.failed = 0
        self.usage = Usage()
        self._begun = 0
        self._executor = executor
        self._prompts: Iterator[Prompt | str] = iter(prompts)
        self._model = model
        self._tools = tools
        self._concurrency = concurrency
        self._structure = structure
        self._generator = self._run()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MappedPrompt:
        return await anext(self._generator)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel what is under way."""
        await self._generator.aclose()

    async def results(self) -> list[MappedPrompt]:
        """All that is left, in the order of the prompts."""
        return sorted([mapped async for mapped in self], key=lambda mapped: mapped.index)

    async def _run(self) -> AsyncGenerator[MappedPrompt, None]:
        tasks: set[asyncio.Task[MappedPrompt]] = set()
        numbered = enumerate(self._prompts)
        try:
            self._fill(tasks, numbered)
            while tasks:
                finished, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                self._fill(tasks, numbered)  # before these are handed out: places are not idle meanwhile
                for task in sorted(finished, key=asyncio.Task.get_name):
                    mapped = task.result()
                    self.done += 1
                    self.failed += mapped.error is not None
                    if mapped.message is not None:
                        self.usage += mapped.message.usage
                    yield mapped
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self, tasks: set[asyncio.Task[MappedPrompt]], numbered: Iterator[tuple[int, Prompt | str]]) -> None:
        while len(tasks) < self._concurrency:
            try:
                index, prompt = next(numbered)
            except StopIteration:
                self.total = self._begun
                return
            self._begun += 1
            asked = as_prompt(prompt, where=f"map_prompts(): prompts[{index}]")
            tasks.add(asyncio.create_task(self._one(index, asked), name=f"promptport-map-{index}"))

    async def _one(self, index: int, prompt: Prompt) -> MappedPrompt:
        try:
            if self._structure is not None:
                definition, retries = self._structure
                model = model_for(self._executor, self._model, prompt)
                message, value = await ask_structured(self._executor, model, prompt, definition, retries)
                return MappedPrompt(index, prompt, message, value=value)
            async with self._executor.execute_streaming_with_tools(prompt, self._model, self._tools) as stream:
                return MappedPrompt(index, prompt, await stream.message())
        except PromptportError as error:
            return MappedPrompt(index, prompt, error=error)


@checked
def map_prompts(
    executor: PromptExecutor,
    prompts: Iterable[Prompt | str],
    model: LLModel | str,
    tools: Sequence[ToolDescriptor] = (),
    *,
    concurrency: int = 8,
    definition: StructuredDataDefinition[Any] | type[Any] | None = None,
    retries: int = 2,
) -> PromptMap:
    """Ask a model many prompts, several at once.

    Args:
        executor: Who is asked; wrap it in policies for retries, limits and budgets. It stays open.
        prompts: Prompts, or texts of users. A generator is read as places become free.
        model: The model to ask, as `LLModel` or as `"provider/id"`.
        tools: What the model is told of; they are not run.
        concurrency: How many requests may be under way at once. Default: 8.
        definition: What each response is read as, such as ``JsonDefinition(Item)``; tools are not offered then.
        retries: How often a response that does not fit is asked for again, with what is wrong. Default: 2.

    Returns:
        An async iterator of `MappedPrompt`, which also tells `done`, `failed`, `total` and `usage`.

    Raises:
        InvalidInputError: `concurrency` is below 1, or `retries` below 0.

    Examples:
        ```python
        import promptport as pp
        from promptport.testing import ScriptedExecutor

        executor = ScriptedExecutor(["Hello"], repeat=True)
        async for mapped in pp.map_prompts(executor, ["Hi", "Hey"], "scripted/small", concurrency=2):
            print(mapped.index, mapped.message.text if mapped.message else mapped.error)
        ```
    """
    if concurrency < 1:
        raise InvalidInputError(f"map_prompts(): concurrency must be at least 1, not {concurrency!r}.")
    check_asker(executor, where="map_prompts(): executor")
    tools = as_tools(tools)
    routes = isinstance(model, str) and hasattr(executor, "resolve")  # for each prompt by itself
    asked = model if routes else as_model(model, where="map_prompts(): model")
    if retries < 0:
        raise InvalidInputError(f"map_prompts(): retries must be 0 or more, not {retries!r}.")
    if isinstance(prompts, list | tuple):
        prompts = [as_prompt(prompt, where=f"map_prompts(): prompts[{index}]") for index, prompt in enumerate(prompts)]
    structure = None if definition is None else (definition, retries)
    return PromptMap(executor, prompts, asked, tools, concurrency, structure=structure)
