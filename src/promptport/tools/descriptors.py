"""Tools: `ToolDescriptor` is enough to ask a model; a `Tool` can also run; ``@tool`` makes one of a typed function.

Rule: what a model is told of a tool is checked when the tool is made, and what a model sends is checked before the
tool runs. pydantic and docstring-parser are imported by the first ``@tool``, not by this module.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypeAlias, TypeVar, cast, overload

import msgspec
from msgspec.structs import force_setattr, replace

from promptport.checking import check_fields, checked
from promptport.errors import InvalidInputError, InvalidToolArgumentsError
from promptport.frames import parse_arguments
from promptport.tools.nulls import without_nulls
from promptport.tools.schema_check import SchemaCheck, check_size, named_by, takes_any, unfillable

__all__ = ["Tool", "ToolDescriptor", "ToolKind", "ToolStart", "tool"]

ToolStart: TypeAlias = Literal["eager", "on_finish"]
"""When a sealed call starts: at once, or when the model's answer is complete."""

ToolKind: TypeAlias = Literal["sync", "async", "stream"]
"""How a tool's function is called: plainly, awaited, or iterated (an async generator)."""

_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

Instance = TypeVar("Instance")
Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
Function = TypeVar("Function", bound=Callable[..., Any])
if TYPE_CHECKING:
    # Covariant and without a bound, so that mypy finds a list of several tools to be a list of tools.
    from typing_extensions import TypeVar as TypeVarWithDefault

    Function_co = TypeVarWithDefault("Function_co", covariant=True, default=Any)
else:
    Function_co = TypeVar("Function_co", covariant=True)


class ToolDescriptor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool as a model is told of it.

    Attributes:
        name: 1 to 64 letters, digits, ``_`` or ``-``: what all providers take.
        description: what it does, for the model.
        parameters: the JSON schema of its arguments, an object's; an empty schema means no arguments.
        strict: ask the provider to hold the arguments to the schema, where it can; ``None`` leaves it to the provider.

    Raises:
        InvalidInputError: the name, or the schema, is not one that a provider takes, or the schema has more than
            256 KiB or 64 levels, or is not of the form of a JSON schema.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    strict: bool | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not _NAME.fullmatch(self.name):
            raise InvalidInputError(f"a tool's name is 1 to 64 letters, digits, '_' or '-', not {self.name!r}")
        if not self.parameters:
            force_setattr(self, "parameters", {**_NO_PARAMETERS})
        if self.parameters.get("type") != "object":
            raise InvalidInputError(
                f'tool {self.name!r}: the schema of the parameters must say "type": "object", with one property '
                f"for each argument, not {self.parameters.get('type')!r}"
            )
        check_size(self.name, self.parameters)

    def __hash__(self) -> int:
        return hash((self.name, self.description))  # a schema is a dict, which has no hash


class Tool(ToolDescriptor, Generic[Function_co], frozen=True, kw_only=True):
    """A tool that can also run; ``@tool`` makes one. Calling it calls its function.

    Without ``@tool``, for a tool whose schema comes from elsewhere::

        Tool(name="search", description="…", parameters=schema, function=search)

    Attributes:
        function: what runs, called with the arguments as keywords: a function, an ``async`` function, or an async
            generator function: each value that it yields is progress, and the last is also the output.
        timeout: seconds from the start to the result; ``None`` leaves it to the dispatcher, ``math.inf`` is no limit.
        start: when a dispatcher starts a sealed call: ``"eager"`` at once, ``"on_finish"`` after the answer's end.
        needs_approval: whether a person is asked before it runs; or a function of the (validated) arguments that
            says so.
        validator: gives the values for an argument text, or raises `InvalidToolArgumentsError`. Default: a check
            against ``parameters``, which also refuses keys that the schema does not declare, whatever it says of
            ``additionalProperties``, unless the function takes ``**kwargs``. If the schema declares no key and allows
            any, the function's own names are those that it takes. Nested objects follow the schema alone.
        repeatable: running it again does no harm. Under a journal, a call that a crash interrupted runs again, and may
            start before its answer is recorded; any other tool runs at most once.
        context_parameter: the function's parameter that gets a `ToolContext`, if one does.
        context_type: what the context's value must be an instance of, if the parameter says so.
        unbound: it was made of a method in a class's body: take it from an instance to run it.

    Raises:
        InvalidInputError: as in `ToolDescriptor`; a timeout of 0 or less; a generator that is not async; a schema
            that cannot be checked, such as one that refers to what is not in it.
    """

    function: Function_co
    timeout: float | None = None
    start: ToolStart = "eager"
    needs_approval: bool | Callable[[dict[str, Any]], bool] = False
    validator: Callable[[str], dict[str, Any]] | None = None
    unbound: bool = False
    repeatable: bool = False
    context_parameter: str | None = None
    context_type: type | None = None

    def __post_init__(self) -> None:
        bare = not self.parameters
        super().__post_init__()
        if self.timeout is not None and not self.timeout > 0:
            raise InvalidInputError(f"tool {self.name!r}: timeout must be more than 0 seconds, not {self.timeout}")
        if self.start not in ("eager", "on_finish"):
            raise InvalidInputError(f"tool {self.name!r}: start is 'eager' or 'on_finish', not {self.start!r}")
        if not callable(self.function) and not isinstance(self.function, classmethod):
            raise InvalidInputError(f"tool {self.name!r}: function must be callable, not {self.function!r}")
        if inspect.isgeneratorfunction(_called(self.function)):
            raise InvalidInputError(f"tool {self.name!r}: a generator that shows progress is written 'async def'")
        self._check_arguments(bare=bare)

    def _check_arguments(self, *, bare: bool) -> None:
        """Without a validator, the schema is one; without a schema, the function's signature."""
        own, function = self.validator, cast("Callable[..., Any]", self.function)
        lacking = unfillable(function)
        if lacking is not None:
            raise InvalidInputError(
                f"tool {self.name!r}: parameter {lacking!r} of the function is positional-only, and arguments come by "
                "name. Remove the '/' from its signature."
            )
        if own is not None and not isinstance(own, _OwnCheck | _SignatureCheck):
            return
        if bare or (isinstance(own, _SignatureCheck) and self.parameters == _NO_PARAMETERS):
            check: Any = _SignatureCheck(self.name, None if takes_any(function) else named_by(function))
        else:
            check = _OwnCheck(self.name, self.parameters, closed=not takes_any(function), named=named_by(function))
            check.compile()
        force_setattr(self, "validator", check)

    __hash__ = ToolDescriptor.__hash__

    @property
    def __wrapped__(self) -> Function_co:
        return self.function

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def kind(self) -> ToolKind:
        """How the function is called."""
        called = _called(self.function)
        if inspect.isasyncgenfunction(called):
            return "stream"
        return "async" if inspect.iscoroutinefunction(called) else "sync"

    if TYPE_CHECKING:

        @property
        def __call__(self) -> Function_co:
            """Calls the function, as if it were not decorated."""
            ...

    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Calls the function, as if it were not decorated."""
            return self.function(*args, **kwargs)

    @overload
    def __get__(
        self: Tool[Callable[Concatenate[type[Instance], Parameters], Returned]],
        instance: Instance | None,
        owner: type[Instance],
    ) -> Tool[Callable[Parameters, Returned]]: ...
    @overload
    def __get__(self, instance: None, owner: type) -> Tool[Function_co]: ...
    @overload
    def __get__(
        self: Tool[Callable[Concatenate[Instance, Parameters], Returned]], instance: Instance, owner: type
    ) -> Tool[Callable[Parameters, Returned]]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Tool[Function_co]: ...
    def __get__(self, instance: object | None, owner: type) -> Tool[Any]:
        """A method's tool, bound to its instance, or to its class for a classmethod; any other tool is itself."""
        function: Any = self.function
        if isinstance(function, classmethod):
            function = function.__get__(None, owner)
        elif instance is None or not self.unbound:
            return self
        else:
            function = MethodType(function, instance)
        return replace(cast("Tool[Any]", self), function=function, unbound=False)

    @checked
    def validate(self, arguments: str) -> dict[str, Any]:
        """The values to call the function with: ``tool(**tool.validate(call.arguments))``.

        Args:
            arguments: the JSON text of one object.

        Raises:
            InvalidToolArgumentsError: they do not fit; the message says what to change, in words for the model.
        """
        assert self.validator is not None
        return self.validator(self.arguments_of(arguments))

    def arguments_of(self, text: str) -> str:
        """The arguments that a model meant: without the nulls that a strict schema makes it write."""
        return _without_nulls(text, self.parameters) if self.strict else text


class _OwnCheck(SchemaCheck):
    """The check that a tool makes of its own schema: made anew where the schema is replaced."""


class _SignatureCheck(msgspec.Struct, frozen=True):
    """Checks the arguments of a tool that was made without a schema: their names, which its function's are."""

    name: str
    names: tuple[str, ...] | None

    def __call__(self, arguments: str) -> dict[str, Any]:
        try:
            values = parse_arguments(arguments)
        except ValueError as error:
            raise InvalidToolArgumentsError(str(error), tool=self.name) from None
        strange = [] if self.names is None else [name for name in values if name not in self.names]
        if strange and self.names is not None:
            known = ", ".join(self.names) or "none"
            text = f"{', '.join(strange)[:300]}: not an argument (there are: {known})"
            raise InvalidToolArgumentsError(text, tool=self.name)
        return values


def _without_nulls(arguments: str, schema: dict[str, Any]) -> str:
    """Where a provider wants every property required, a model writes null for what it leaves out."""
    if "null" not in arguments:
        return arguments
    try:
        given = parse_arguments(arguments)
    except ValueError:
        return arguments
    cleaned = without_nulls(given, schema)
    return arguments if cleaned == given else msgspec.json.encode(cleaned).decode()


def _called(function: Any) -> Any:
    """What tells a function's kind: an object's ``__call__``, for an object."""
    if isinstance(function, classmethod):
        return function.__func__
    if inspect.isroutine(function) or isinstance(function, functools.partial):
        return function
    return getattr(type(function), "__call__", function)  # noqa: B004


@overload
def tool(
    function: Function,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    start: ToolStart = "eager",
    needs_approval: bool | Callable[[dict[str, Any]], bool] = False,
    strict: bool | None = None,
    repeatable: bool = False,
) -> Tool[Function]: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    start: ToolStart = "eager",
    needs_approval: bool | Callable[[dict[str, Any]], bool] = False,
    strict: bool | None = None,
    repeatable: bool = False,
) -> Callable[[Function], Tool[Function]]: ...
@checked
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    start: ToolStart = "eager",
    needs_approval: bool | Callable[[dict[str, Any]], bool] = False,
    strict: bool | None = None,
    repeatable: bool = False,
) -> Any:
    """Makes a `Tool` of a typed function; with or without parentheses.

    ::

        @tool
        async def get_weather(city: str, days: Annotated[int, Field(ge=1, le=14)] = 3) -> str:
            '''Weather forecast of a city, for some ``days`` from today.'''

    Each parameter needs an annotation that pydantic understands; the arguments are validated, and converted to it.
    The descriptions come from the docstring (Google, NumPy or Sphinx style) or from ``Annotated[…, Field(…)]``.
    A parameter with a default may be left out by the model. Arguments that no parameter has are refused.

    Functions, bound methods, methods (in a class's body: take the tool from an instance), class methods and static
    methods (``@tool`` stands above ``@classmethod`` or ``@staticmethod``), ``functools.partial`` (what it binds is not
    shown to the model) and objects with ``__call__`` are taken.

    Args:
        function: what runs; see `Tool`.
        name: the tool's name; the function's by default.
        description: what it does, for the model; from the docstring by default.
        timeout: see `Tool`.
        start: see `Tool`.
        needs_approval: see `Tool`.
        strict: see `ToolDescriptor`.
        repeatable: see `Tool`.

    Raises:
        InvalidInputError: a parameter that cannot be described to a model; the message names it, and what to write.
    """
    if function is None:
        return functools.partial(
            tool,
            name=name,
            description=description,
            timeout=timeout,
            start=start,
            needs_approval=needs_approval,
            strict=strict,
            repeatable=repeatable,
        )
    from promptport.tools import schema as schemas  # noqa: PLC0415 - pydantic is imported when first needed

    function = schemas.plain_function(function)
    name = name if name is not None else schemas.name_of(function)
    if not _NAME.fullmatch(name):
        raise InvalidInputError(f"a tool's name is 1 to 64 letters, digits, '_' or '-', not {name!r}")
    described = schemas.describe(function, name)
    return Tool(
        name=name,
        description=described.description if description is None else inspect.cleandoc(description),
        parameters=described.parameters,
        strict=strict,
        function=function,
        timeout=timeout,
        start=start,
        needs_approval=needs_approval,
        validator=described.validate,
        unbound=described.unbound,
        context_parameter=described.context_parameter,
        context_type=described.context_type,
        repeatable=repeatable,
    )
