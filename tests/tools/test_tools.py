"""Descriptors are checked when they are made; ``@tool`` describes, validates and still calls."""

from __future__ import annotations

import enum
import functools
import math
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, assert_type

import msgspec
import pytest
from pydantic import AfterValidator, BaseModel, Field
from typing_extensions import TypedDict

from promptport.errors import InvalidInputError, InvalidToolArgumentsError
from promptport.tools import tool
from promptport.tools.descriptors import Tool, ToolDescriptor


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


class Place(BaseModel):
    """A place on Earth."""

    latitude: float
    longitude: float = 0.0


@dataclass
class Window:
    start: date
    days: int = 1


class Contact(TypedDict):
    email: str


class Node(BaseModel):
    children: list[Node] = []


# ------------------------------------------------------------------------------------------- descriptors


@pytest.mark.parametrize("name", ["a", "get_weather", "x-1", "A" * 64])
def test_a_name_that_providers_take(name: str) -> None:
    assert ToolDescriptor(name).name == name


@pytest.mark.parametrize("name", ["", "get weather", "a.b", "é", "A" * 65, "a\n"])
def test_a_name_that_providers_refuse(name: str) -> None:
    with pytest.raises(InvalidInputError, match="1 to 64 letters, digits, '_' or '-'"):
        ToolDescriptor(name)


def test_no_schema_means_no_arguments() -> None:
    assert ToolDescriptor("now").parameters == {"type": "object", "properties": {}}
    assert ToolDescriptor("now", parameters={}) == ToolDescriptor("now")


@pytest.mark.parametrize(
    "schema", [{"type": "array"}, {"properties": {}}, {"type": ["object", "null"]}, {"$ref": "#/a"}]
)
def test_a_schema_that_is_no_objects(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match='"type": "object"'):
        ToolDescriptor("now", parameters=schema)


def circular() -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = schema
    return schema


@pytest.mark.parametrize(
    "schema", [{"type": "object", "default": object()}, {"type": "object", "title": "\ud800"}, circular()]
)
def test_a_schema_that_is_not_json(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="not JSON"):
        ToolDescriptor("now", parameters=schema)


def test_descriptors_are_values() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    one, other = ToolDescriptor("now", "d", schema), ToolDescriptor("now", "d", dict(schema))
    assert one == other
    assert len({one, other, ToolDescriptor("then")}) == 2
    assert msgspec.json.decode(msgspec.json.encode(one), type=ToolDescriptor) == one


# ------------------------------------------------------------------------------------------------ schema


def test_types_become_a_schema() -> None:
    @tool
    def book(  # noqa: PLR0917
        place: Place,
        when: Window,
        who: Contact,
        unit: Unit = Unit.CELSIUS,
        mode: Literal["fast", "slow"] = "fast",
        seats: Annotated[int, Field(ge=1, le=8, description="How many.")] = 2,
        tree: Node | None = None,
        schema: str = "s",
        copy: float = 1.5,
        _x: bool = False,
    ) -> None: ...

    schema = book.parameters
    assert schema["type"] == "object"
    assert schema["required"] == ["place", "when", "who"]
    assert schema["additionalProperties"] is False
    assert schema["properties"] == {
        "place": {"$ref": "#/$defs/Place"},
        "when": {"$ref": "#/$defs/Window"},
        "who": {"$ref": "#/$defs/Contact"},
        "unit": {"$ref": "#/$defs/Unit", "default": "c"},
        "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
        "seats": {"type": "integer", "minimum": 1, "maximum": 8, "description": "How many.", "default": 2},
        "tree": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}], "default": None},
        "schema": {"type": "string", "default": "s"},
        "copy": {"type": "number", "default": 1.5},
        "_x": {"type": "boolean", "default": False},
    }
    assert set(schema["$defs"]) == {"Place", "Window", "Contact", "Unit", "Node"}
    assert schema["$defs"]["Unit"] == {"type": "string", "enum": ["c", "f"]}
    assert "title" not in str(schema)
    assert book.validate(
        '{"place":{"latitude":"1.5"},"when":{"start":"2026-01-02"},"who":{"email":"e"},"unit":"f"}'
    ) == {
        "place": Place(latitude=1.5),
        "when": Window(date(2026, 1, 2)),
        "who": {"email": "e"},
        "unit": Unit.FAHRENHEIT,
    }


def test_a_parameter_and_a_field_may_be_named_title() -> None:
    class Book(BaseModel):
        title: str = Field(title="The book's title")

    def find(title: str, book: Any) -> None: ...

    find.__annotations__["book"] = Book
    described = tool(find).parameters
    assert described["properties"]["title"] == {"type": "string"}
    assert described["$defs"]["Book"]["properties"] == {"title": {"type": "string", "title": "The book's title"}}


def test_a_default_that_is_not_json_stays_with_the_function() -> None:
    sentinel = object()

    @tool
    def find(text: Any = sentinel) -> bool:
        return text is sentinel

    assert find.parameters["properties"] == {"text": {}}
    assert find(**find.validate("{}"))


GOOGLE = """Finds flights.

    Over two lines.

    Args:
        origin (str): Where from,
            as a code.
        day: When.

    Returns:
        The flights.
    """
NUMPY = """Finds flights.

    Over two lines.

    Parameters
    ----------
    origin : str
        Where from,
        as a code.
    day : str
        When.
    """
SPHINX = """Finds flights.

    Over two lines.

    :param origin: Where from,
        as a code.
    :param str day: When.
    :returns: The flights.
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX])
def test_descriptions_come_from_the_docstring(docstring: str) -> None:
    def find(origin: str, day: Annotated[str, Field(description="The day.")]) -> None: ...

    find.__doc__ = docstring
    flights = tool(find)
    assert flights.description == "Finds flights.\n\nOver two lines."
    assert flights.parameters["properties"]["origin"]["description"] == "Where from,\nas a code."
    assert flights.parameters["properties"]["day"]["description"] == "The day."  # what is nearer to the type wins


def test_a_docstring_that_no_style_explains() -> None:
    def find(origin: str) -> None: ...

    find.__doc__ = ":param"
    assert tool(find).description == ":param"
    find.__doc__ = None
    assert tool(find).description == ""
    assert tool(find, description="\n    Finds.\n").description == "Finds."


# --------------------------------------------------------------------------------- what can become a tool


@tool
def double(number: int) -> int:
    """Doubles."""
    return 2 * number


class Store:
    def __init__(self) -> None:
        self.kept: list[str] = []

    @tool
    def keep(self, text: str) -> int:
        """Keeps a text."""
        self.kept.append(text)
        return len(self.kept)

    def plain(self, text: str) -> str:
        """As it is."""
        return text

    @tool
    @staticmethod
    def fixed(text: str) -> str:
        return text


class Adder:
    """Adds."""

    async def __call__(self, left: int, right: int) -> int:
        """Adds two numbers."""
        return left + right


def test_a_tool_is_called_as_its_function_was() -> None:
    assert double(4) == 8
    assert double(number=4) == 8
    assert double.__name__ == "double"
    assert double.__wrapped__(1) == 2


def test_a_method_is_bound_by_its_instance() -> None:
    store = Store()
    assert store.keep.parameters["required"] == ["text"]
    assert store.keep("a") == 1
    assert store.keep(**store.keep.validate('{"text":"b"}')) == 2
    assert Store.keep.unbound
    assert not store.keep.unbound
    assert Store.keep(store, "c") == 3
    assert store.keep == store.keep
    assert store.keep != Store().keep
    assert tool(store.plain)("x") == "x"
    assert store.fixed("x") == Store.fixed("x") == "x"


async def test_callables_and_partials() -> None:
    add = tool(Adder(), name="add")
    assert (add.kind, add.description) == ("async", "Adds two numbers.")
    assert await add(**add.validate('{"left":1,"right":"2"}')) == 3
    more = tool(functools.partial(add.function.__call__, right=5), name="more")
    assert list(more.parameters["properties"]) == ["left"]
    assert await more(**more.validate('{"left":1}')) == 6

    def greet(greeting: str, name: str) -> str:
        """Greets.

        Args:
            name: Whom.
        """
        return f"{greeting}, {name}"

    hello = tool(functools.partial(greet, "Hello"))
    assert (hello.name, hello.description, hello.kind) == ("greet", "Greets.", "sync")
    assert hello.parameters["properties"] == {"name": {"type": "string", "description": "Whom."}}
    assert hello(**hello.validate('{"name":"Ada"}')) == "Hello, Ada"


def test_kinds() -> None:
    @tool
    async def one(number: int) -> int:
        return number

    @tool
    async def many(number: int) -> AsyncIterator[int]:
        yield number

    assert (double.kind, one.kind, many.kind) == ("sync", "async", "stream")
    assert tool(functools.partial(many.function, number=1), name="partial").kind == "stream"


def test_options() -> None:
    @tool(name="other", description="Says.", timeout=2.5, start="on_finish", needs_approval=True, strict=True)
    def say(text: str) -> str:
        """Not this."""
        return text

    assert (say.name, say.description, say.timeout, say.start) == ("other", "Says.", 2.5, "on_finish")
    assert (say.needs_approval, say.strict) == (True, True)
    assert tool(say.function, timeout=math.inf).timeout == math.inf


def no_annotation(text) -> None: ...  # type: ignore[no-untyped-def]
def a_list(*texts: str) -> None: ...
def a_dict(**texts: str) -> None: ...
def positional(text: str, /) -> None: ...
def field_default(text: str = Field("x")) -> None: ...
def odd_type(text: Callable[[int], int]) -> None: ...
def unresolved(text: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def generator(text: str) -> Iterator[str]:
    yield text


@pytest.mark.parametrize(
    ("function", "what_to_do"),
    [
        (no_annotation, r"'text' has no annotation; write its type, such as 'text: str'"),
        (a_list, r"cannot fill \*texts; write a list"),
        (a_dict, r"cannot fill \*\*texts; write a dict"),
        (positional, r"'text' is positional-only, .* remove the '/'"),
        (field_default, r"write 'text: Annotated\["),
        (odd_type, r"odd_type.*cannot be described"),
        (unresolved, r"'Nowhere' is not defined.*top of the module"),
        (generator, r"written 'async def'"),
        (lambda: None, r"lambda has no name"),
        (Store, r"takes a function"),
        (classmethod(lambda cls: None), r"lambda has no name"),
        (3, r"takes a function"),
    ],
)
def test_what_cannot_become_a_tool(function: Any, what_to_do: str) -> None:
    with pytest.raises(InvalidInputError, match=what_to_do):
        tool(function)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"timeout": 0}, "more than 0"), ({"start": "later"}, "'eager' or 'on_finish'"), ({"name": "a b"}, "1 to 64")],
)
def test_bad_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        tool(double.function, **options)


def test_a_tool_from_elsewhere() -> None:
    async def search(**arguments: Any) -> str:
        return str(arguments)

    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    found = Tool(name="search", parameters=schema, function=search)
    assert found.validate('{"q": "a", "more": 1}') == {"q": "a", "more": 1}  # its function takes **arguments
    assert found == Tool(name="search", parameters=schema, function=search)
    assert found in {found}
    with pytest.raises(InvalidToolArgumentsError, match="not a JSON object"):
        found.validate("[]")
    with pytest.raises(InvalidInputError, match="callable"):
        Tool(name="search", function=3)


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @tool
    async def stock(self, what: str, count: int = 1) -> dict[str, int]:
        """Looks."""
        return {f"{self.name} {what}": count}

    @tool(name="open_until")
    def hours(self, day: str) -> str:
        return f"{self.name} {day}"

    @tool
    async def rows(self, first: int) -> AsyncIterator[int]:
        yield first


async def test_a_method_that_is_a_tool_keeps_its_types() -> None:
    """mypy reads this too: the types of ``self``, of the arguments and of what comes back are those of the method."""
    shop = Shop("corner")
    assert_type(shop.hours("Monday"), str)
    assert_type(Store().fixed("x"), str)
    found: dict[str, int] = await shop.stock("apples", count=2)
    assert found == {"corner apples": 2}
    assert [row async for row in shop.rows(3)] == [3]
    shop.hours(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        shop.hours("Monday", "Tuesday")  # type: ignore[call-arg]
    assert shop.hours(**shop.hours.validate('{"day": "Friday"}')) == "corner Friday"


def test_a_parameter_may_have_an_alias() -> None:
    @tool
    def find(
        city: Annotated[str, Field(alias="ort", description="Where.")],
        days: Annotated[int, Field(validation_alias="tage", ge=1)] = 3,
        plain: bool = False,
    ) -> str:
        """Finds.

        Args:
            city: not this
            days: For how long.
            plain: Plainly.
        """
        return f"{city} {days} {plain}"

    assert find.parameters["properties"] == {
        "ort": {"type": "string", "description": "Where."},
        "tage": {"type": "integer", "minimum": 1, "description": "For how long.", "default": 3},
        "plain": {"type": "boolean", "description": "Plainly.", "default": False},
    }
    assert find.parameters["required"] == ["ort"]
    assert find(**find.validate('{"ort": "Rom", "tage": 2}')) == "Rom 2 False"
    assert find(**find.validate('{"ort": "Rom"}')) == "Rom 3 False"
    with pytest.raises(InvalidToolArgumentsError, match=r"city is not an argument \(there are: ort, tage, plain\)"):
        find.validate('{"ort": "Rom", "city": "Rome"}')
    with pytest.raises(InvalidToolArgumentsError, match="ort is missing"):
        find.validate("{}")


def of_later(text: str) -> "OnlyForTypeCheckers":  # type: ignore[name-defined]  # noqa: F821, UP037
    return text


async def of_later_async(text: str) -> "OnlyForTypeCheckers":  # type: ignore[name-defined]  # noqa: F821, UP037
    return text


class OfLater:
    def __call__(self, text: str) -> "OnlyForTypeCheckers":  # type: ignore[name-defined]  # noqa: F821, UP037
        return text

    def method(self, text: str) -> "OnlyForTypeCheckers":  # type: ignore[name-defined]  # noqa: F821, UP037
        return text


@pytest.mark.parametrize(
    "function",
    [
        of_later,
        of_later_async,
        OfLater(),
        OfLater().method,
        functools.partial(of_later),
    ],
)
def test_what_a_tool_returns_may_be_known_to_type_checkers_only(function: Any) -> None:
    made = tool(function, name="later")
    assert made.parameters["properties"] == {"text": {"type": "string"}}
    assert made.validate('{"text": "a"}') == {"text": "a"}


# ---------------------------------------------------------------------------------------------- validation


def odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("must be odd")
    return number


def broken(number: int) -> int:
    raise KeyError(number)


@tool
def shop(
    item: str,
    count: Annotated[int, Field(ge=1)] = 1,
    place: Place | None = None,
    odd: Annotated[int, AfterValidator(odd)] = 1,
    broken: Annotated[int, AfterValidator(broken)] = 1,
) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("{}", "item is missing"),
        ('{"item": 3}', "item: Input should be a valid string, not 3"),
        ('{"item": "a", "count": 0}', "count: Input should be greater than or equal to 1, not 0"),
        ('{"item": "a", "size": 1}', "size is not an argument (there are: item, count, place, odd, broken)"),
        ('{"item": "a", "place": {"longitude": 1}}', "place.latitude is missing"),
        ('{"item": "a", "odd": 2}', "odd: Value error, must be odd, not 2"),
        ('{"item": "a", "broken": 2}', "KeyError: 2"),
        ('{"item": ', "Invalid JSON"),
        ("[]", "Input should be an object"),
        ("{}{}", "Invalid JSON"),
    ],
)
def test_arguments_that_do_not_fit(arguments: str, says: str) -> None:
    with pytest.raises(InvalidToolArgumentsError) as caught:
        shop.validate(arguments)
    assert says in str(caught.value)
    assert "pydantic" not in str(caught.value)
    assert caught.value.tool == "shop"


def test_many_and_long_mistakes_stay_short() -> None:
    @tool
    def add(numbers: list[int]) -> None: ...

    with pytest.raises(InvalidToolArgumentsError, match=r"numbers\.0: .*; and 990 more$") as caught:
        add.validate(msgspec.json.encode({"numbers": ["x" * 500] * 1000}).decode())
    assert len(str(caught.value)) < 2500


def test_importing_tools_imports_no_pydantic() -> None:
    code = """import sys, promptport.tools
print([name for name in ("pydantic", "docstring_parser") if name in sys.modules])"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
