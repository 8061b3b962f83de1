"""Annotations of tools as programs write them: in quotes, for type checkers only, with aliases; tools of classes."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional, Self, assert_type

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field

from promptport.dispatch import ToolDispatcher
from promptport.errors import InvalidInputError, InvalidToolArgumentsError
from promptport.testing import ScriptedExecutor
from promptport.tools import Tool, tool

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForCheckers


class Place(BaseModel):
    name: str


# ------------------------------------------------------------------------------------- names in quotes


def inner_quotes(place: list["Place"], other: Optional["Place"] = None) -> str:  # noqa: UP037, UP045
    return f"{[each.name for each in place]} {other}"


class Callable1:
    def __call__(self, place: "dict[str, Place]") -> str:  # noqa: UP037
        return ""

    def method(self, place: list["Place"]) -> str:  # noqa: UP037
        return ""


@functools.wraps(inner_quotes)
def decorated(*args: Any, **kwargs: Any) -> str:
    return inner_quotes(*args, **kwargs)


@pytest.mark.parametrize(
    "function",
    [inner_quotes, decorated, Callable1(), Callable1().method, functools.partial(inner_quotes, other=None)],
)
def test_a_type_in_quotes_is_looked_up_where_the_function_is_defined(function: Any) -> None:
    assert list(tool(function, name="f").parameters["$defs"]) == ["Place"]


def test_a_type_in_quotes_validates() -> None:
    made = tool(inner_quotes)
    assert made(**made.validate('{"place": [{"name": "Rome"}]}')) == "['Rome'] None"


# ------------------------------------------------------------------------------ types for type checkers only


def returns(x: int) -> OnlyForCheckers: ...  # type: ignore[empty-body]
def returns_inside(x: int) -> dict[str, OnlyForCheckers | None]: ...  # type: ignore[empty-body]
def returns_in_quotes(x: int) -> "list[OnlyForCheckers]": ...  # type: ignore[empty-body]  # noqa: UP037
def returns_nonsense(x: int) -> "int['a']": ...  # type: ignore  # noqa: F821, UP037
def returns_an_attribute(x: int) -> "sys.nothing": ...  # type: ignore  # noqa: UP037
async def returns_later(x: int) -> OnlyForCheckers: ...  # type: ignore[empty-body]
async def yields(x: int) -> AsyncIterator[OnlyForCheckers]:
    yield x  # type: ignore[misc]


@pytest.mark.parametrize(
    "function",
    [returns, returns_inside, returns_in_quotes, returns_nonsense, returns_an_attribute, returns_later, yields],
)
def test_what_is_returned_is_of_no_interest(function: Any) -> None:
    assert tool(function).validate('{"x": 1}') == {"x": 1}


@dataclass
class Holds:
    inner: OnlyForCheckers


class HoldsToo(BaseModel):
    inner: "OnlyForCheckers"  # noqa: UP037


def takes(x: OnlyForCheckers) -> str: ...  # type: ignore[empty-body]
def takes_a_list(x: list[OnlyForCheckers]) -> str: ...  # type: ignore[empty-body]
def takes_inner_quotes(x: list["OnlyForCheckers"]) -> str: ...  # type: ignore[empty-body]  # noqa: UP037
def takes_a_union(x: int | OnlyForCheckers = 1) -> str: ...  # type: ignore[empty-body]
def takes_annotated(x: Annotated[OnlyForCheckers, Field(gt=0)]) -> str: ...  # type: ignore[empty-body]
def takes_a_dataclass(x: Holds) -> str: ...  # type: ignore[empty-body]
def takes_a_model(x: HoldsToo) -> str: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    "function",
    [takes, takes_a_list, takes_inner_quotes, takes_a_union, takes_annotated, takes_a_dataclass, takes_a_model],
)
def test_a_parameter_of_an_unknown_type_is_refused_in_our_words(function: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"{function.__name__}.*at the top of (the|its) module") as raised:
        tool(function)
    assert "TypeAdapter" not in str(raised.value)


def no_code(x: "int +") -> str: ...  # type: ignore  # noqa: F722
def no_such_attribute(x: "sys.nothing") -> str: ...  # type: ignore  # noqa: UP037
def no_generic(x: "int['a']") -> str: ...  # type: ignore  # noqa: F821, UP037
def a_constant(x: 1) -> str: ...  # type: ignore
def itself(x: Self) -> str: ...  # type: ignore


@pytest.mark.parametrize("function", [no_code, no_such_attribute, no_generic, a_constant, itself])
def test_an_annotation_that_is_no_type_is_refused(function: Any) -> None:
    with pytest.raises(InvalidInputError, match=function.__name__):
        tool(function)


# ------------------------------------------------------------------------------------------------- aliases


def test_the_first_of_several_aliases_is_told_and_each_is_taken() -> None:
    @tool
    def find(
        city: Annotated[str, Field(validation_alias=AliasChoices("ort", "town"))],
        zip_code: Annotated[str, Field(validation_alias=AliasChoices(AliasPath("more", "zip"), "plz"))] = "",
        plain: Annotated[int, Field(serialization_alias="never")] = 1,
    ) -> str:
        return f"{city} {zip_code} {plain}"

    assert list(find.parameters["properties"]) == ["ort", "plz", "plain"]
    assert find(**find.validate('{"town": "Rome", "plz": "00100", "plain": 2}')) == "Rome 00100 2"
    with pytest.raises(InvalidToolArgumentsError, match="city is not an argument"):
        find.validate('{"city": "Rome"}')


def only_a_path(x: Annotated[str, Field(validation_alias=AliasPath("more", 0))]) -> None: ...
def alias_of_another(a: Annotated[str, Field(alias="x")], x: str) -> None: ...
def one_alias_for_two(a: Annotated[str, Field(alias="x")], b: Annotated[str, Field(alias="x")] = "") -> None: ...
def choice_of_another(a: Annotated[str, Field(validation_alias=AliasChoices("p", "b"))], b: str = "") -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (only_a_path, "parameter 'x' has only an AliasPath"),
        (alias_of_another, "'a' and 'x' are both filled by the argument 'x'"),
        (one_alias_for_two, "'a' and 'b' are both filled by the argument 'x'"),
        (choice_of_another, "'a' and 'b' are both filled by the argument 'b'"),
    ],
)
def test_aliases_that_a_model_cannot_use_are_refused(function: Any, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        tool(function)


# --------------------------------------------------------------------------------------- tools of a class


class Shop:
    name = "shop"

    @tool
    @classmethod
    def of_class(cls, x: int) -> str:
        """Says whose it is."""
        return f"{cls.name} {x}"

    @tool(name="renamed")
    @classmethod
    async def counted(cls, x: int) -> AsyncIterator[str]:
        yield cls.name

    @tool
    @staticmethod
    def static(x: int) -> str:
        return str(x)

    @staticmethod
    @tool
    def static_too(x: int) -> str:
        return str(x)

    @tool
    async def rows(self, x: int) -> AsyncIterator[int]:
        yield x


class Corner(Shop):
    name = "corner"


async def test_class_methods_and_static_methods_are_tools_and_keep_their_types() -> None:
    """mypy reads this too."""
    assert_type(Shop.of_class(1), str)
    assert_type(Corner().of_class(1), str)
    assert_type(Shop.static(1), str)
    assert_type(Shop().static_too(1), str)
    assert (Shop.of_class(1), Corner.of_class(1), Corner().of_class(2)) == ("shop 1", "corner 1", "corner 2")
    assert [row async for row in Corner.counted(1)] == ["corner"]
    assert [row async for row in Corner().rows(1)] == [1]
    assert Shop.of_class.description == "Says whose it is."
    assert [each.kind for each in (Shop.of_class, Shop.counted, Shop().rows, Shop.static)] == [
        "sync",
        "stream",
        "stream",
        "sync",
    ]
    for made in (Shop.of_class, Corner().of_class, Shop.counted, Shop.static, Shop().static_too):
        assert isinstance(made, Tool)
        assert made.parameters["required"] == ["x"]
        assert not made.unbound
    Shop.of_class("one")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Shop.of_class(1, 2)  # type: ignore[call-arg]
    ToolDispatcher(ScriptedExecutor(), [Shop.of_class, Shop().rows, Shop.static])


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="classmethod binds no other descriptor any more")
def test_a_tool_below_classmethod() -> None:
    class Other:
        @classmethod
        @tool
        def made(cls, x: int) -> str:
            return f"{cls.__name__} {x}"

    assert_type(Other.made(1), str)
    assert Other.made(1) == Other().made(1) == "Other 1"
    assert isinstance(Other.made, Tool)
