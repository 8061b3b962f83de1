"""What a structured answer is: instructions on the way out, a parser on the way in."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol, TypeVar

from msgspec.structs import replace

from promptport.messages import Prompt, SystemMessage
from promptport.models import ModelCapabilities

__all__ = ["StructuredDataDefinition", "prepended"]

_Item_co = TypeVar("_Item_co", covariant=True)


class StructuredDataDefinition(Protocol[_Item_co]):
    """A structure that an answer can have; anything with these two methods is one."""

    def prepare(self, prompt: Prompt, capabilities: ModelCapabilities) -> Prompt:
        """The prompt that asks for this structure of a model with these capabilities."""
        ...

    def parse(self, text: AsyncIterable[str]) -> AsyncIterator[_Item_co]:
        """The items of the structure, as the text brings them; what the text raises goes through."""
        ...


def prepended(prompt: Prompt, instructions: str) -> Prompt:
    """The prompt with a system message before the others."""
    return replace(prompt, messages=(SystemMessage(instructions), *prompt.messages))
