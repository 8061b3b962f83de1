"""The embedded model, held to the schemas of five different tools: every call is valid, through the whole stack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import promptport as pp
from promptport.testing import assert_valid_stream
from promptport_local import DEFAULT_MODEL, client

MODEL = DEFAULT_MODEL


class Address(BaseModel):
    street: Annotated[str, Field(max_length=30)]
    city: Annotated[str, Field(max_length=20)]


class Item(BaseModel):
    name: Annotated[str, Field(max_length=20)]
    count: Annotated[int, Field(ge=1, le=99)]


@pp.tool
def get_weather(city: Annotated[str, Field(max_length=20)]) -> str:
    """Current weather of a city."""
    return f"sunny in {city}"


@pp.tool
def add(a: Annotated[int, Field(ge=0, le=999)], b: Annotated[int, Field(ge=0, le=999)]) -> int:
    """Adds two numbers."""
    return a + b


@pp.tool
def set_light(room: Literal["kitchen", "bedroom", "bath"], on: bool, brightness: float | None = None) -> str:
    """Switches the light of a room."""
    return f"{room} {'on' if on else 'off'}"


@pp.tool
def ship(to: Address, express: bool = False) -> str:
    """Ships a parcel to an address."""
    return f"to {to.city}"


@pp.tool
def order(items: Annotated[list[Item], Field(min_length=1, max_length=3)]) -> str:
    """Orders things."""
    return f"{sum(item.count for item in items)} things"


ASKED: list[tuple[pp.Tool[Any], str]] = [
    (get_weather, "What is the weather in Paris?"),
    (add, "What is 17 plus 25?"),
    (set_light, "Switch on the light in the kitchen."),
    (ship, "Send the parcel to 5 Main Street in London."),
    (order, "Order 2 apples and 3 pears."),
]


@pytest.fixture
async def local() -> AsyncIterator[Any]:
    async with client() as made:
        yield made


async def test_calls_are_valid_for_five_schemas_and_either_choice(local: Any) -> None:
    for tool, question in ASKED:
        for choice, offered in ((pp.ToolChoice.REQUIRED, [tool]), (pp.NamedTool(tool.name), [t for t, _ in ASKED])):
            prompt = pp.Prompt.of(question, tool_choice=choice, temperature=0, max_tokens=120)
            stream = local.execute_streaming_with_tools(prompt, MODEL, offered)
            frames = [frame async for frame in stream]
            assert_valid_stream(frames)
            (call,) = [frame for frame in frames if isinstance(frame, pp.ToolCall)]
            assert call.name == tool.name
            tool.validate(call.arguments)  # raises where they do not fit the schema


async def test_the_whole_loop_runs_a_tool_and_answers(local: Any) -> None:
    prompt = pp.Prompt.of("What is the weather in Paris?", tool_choice=pp.ToolChoice.REQUIRED, temperature=0)
    async with pp.ToolDispatcher(pp.SingleClientExecutor(local), [get_weather]) as dispatcher:
        async with dispatcher.stream(prompt, MODEL) as stream:
            frames = [frame async for frame in stream]
    (result,) = [frame for frame in frames if isinstance(frame, pp.ToolResult)]
    assert (result.output, result.error) == ("sunny in Paris", None)
    assert isinstance(frames[-1], pp.End)
    assert stream.messages[-1].text
