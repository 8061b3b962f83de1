"""A typed function → the JSON schema of its arguments, their validation, and their descriptions.

Rule: what cannot be described to a model, or cannot be called by keyword, is refused when the tool is made.
The one room that imports pydantic and docstring-parser for tools; ``@tool`` imports it when first used.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NotRequired, cast

import docstring_parser
from pydantic import ConfigDict, PydanticInvalidForJsonSchema, PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails, PydanticSerializationError, SchemaError, to_jsonable_python
from typing_extensions import TypedDict  # typing's own does for pydantic only from Python 3.12 on

from promptport.errors import InvalidInputError, InvalidToolArgumentsError
from promptport.tools.context import context_of_parameters

__all__ = ["Described", "describe", "name_of", "plain_function"]

_SHOWN_ERRORS = 10
_SHOWN_CHARACTERS = 80


class Described(NamedTuple):
    """What a function's signature and docstring say."""

    description: str
    parameters: dict[str, Any]
    validate: Callable[[str], dict[str, Any]]
    unbound: bool
    context_parameter: str | None
    context_type: type | None


def plain_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a ``staticmethod`` holds; any other callable as it is.

    Raises:
        InvalidInputError: it cannot be called by itself.
    """
    if isinstance(function, staticmethod):
        return function.__func__
    if isinstance(function, classmethod):
        raise InvalidInputError("@tool cannot decorate a classmethod; write tool(Class.method) after the class")
    if isinstance(function, type) or not callable(function):
        raise InvalidInputError(f"@tool takes a function or another callable, not {function!r}")
    return function


def name_of(function: Callable[..., Any]) -> str:
    """The function's name, or that of the class of a callable object.

    Raises:
        InvalidInputError: it has none that a model could call.
    """
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__name__", type(function).__name__)
    if name == "<lambda>":
        raise InvalidInputError('a lambda has no name; write tool(…, name="…")')
    return name


def describe(function: Callable[..., Any], name: str) -> Described:
    """The schema, the validation and the description of a function.

    Raises:
        InvalidInputError: a parameter that cannot be described to a model.
    """
    parameters, unbound = _parameters(function, name)
    context_parameter, context_type = context_of_parameters(parameters, name)
    if context_parameter is not None:
        del parameters[context_parameter]
    description, documented = _documentation(function)
    fields: dict[str, Any] = {
        parameter.name: parameter.annotation
        if parameter.default is parameter.empty
        else NotRequired[parameter.annotation]
        for parameter in parameters.values()
    }
    # A TypedDict takes any name for an argument, also one that a model class would not (``schema``, ``copy``, ``_x``).
    arguments: Any = cast("Any", TypedDict)(name, fields)
    arguments.__pydantic_config__ = ConfigDict(extra="forbid")
    try:
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(arguments)
        schema = adapter.json_schema(schema_generator=_Schema)
    except (PydanticUserError, PydanticInvalidForJsonSchema, SchemaError, TypeError) as error:
        raise InvalidInputError(
            f"tool {name!r}: a parameter's type cannot be described to a model: {str(error).splitlines()[0]}"
        ) from error
    _complete(schema, parameters, documented)
    known = tuple(schema.get("properties", ()))
    validate = functools.partial(_validate, adapter, name, known)
    return Described(description, schema, validate, unbound, context_parameter, context_type)


# ---------------------------------------------------------------------------------------------- signature


def _parameters(function: Callable[..., Any], name: str) -> tuple[dict[str, inspect.Parameter], bool]:
    """The parameters that the model fills, and whether the function still wants its ``self``."""
    try:
        signature = _signature(function)
    except NameError as error:
        raise InvalidInputError(
            f"tool {name!r}: an annotation cannot be resolved ({error}); define its type at the top of the module"
        ) from error
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"tool {name!r}: its signature cannot be read: {error}") from error
    parameters = dict(signature.parameters)
    unbound = _is_method(function, parameters)
    if unbound:
        del parameters["self"]
    if isinstance(function, functools.partial):
        for bound in function.keywords:
            parameters.pop(bound, None)
    for parameter in parameters.values():
        _check(parameter, name)
    return parameters, unbound


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """The signature, with the types of its parameters; what it returns is of no interest here.

    Raises:
        NameError: A parameter's type cannot be found.
    """
    try:
        return inspect.signature(function, eval_str=True)
    except NameError:
        # What only type checkers can import may be what it returns.
        signature = inspect.signature(function)
        names = _namespace(function)
        parameters = [
            parameter.replace(annotation=eval(parameter.annotation, names))  # noqa: S307 - as inspect does
            if isinstance(parameter.annotation, str)
            else parameter
            for parameter in signature.parameters.values()
        ]
        return signature.replace(parameters=parameters, return_annotation=signature.empty)


def _namespace(function: Any) -> dict[str, Any]:
    """The names that a function's module has."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    plain = inspect.unwrap(getattr(function, "__func__", function))
    return getattr(plain, "__globals__", {})


def _is_method(function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Whether this is a function in a class's body, where ``@tool`` meets it before it is bound."""
    if not inspect.isfunction(function) or next(iter(parameters), None) != "self":
        return False
    inside = function.__qualname__.rpartition(".")[0]
    return bool(inside) and not inside.endswith("<locals>")


def _check(parameter: inspect.Parameter, tool: str) -> None:
    name = parameter.name
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        kind = "a list" if parameter.kind is parameter.VAR_POSITIONAL else "a dict"
        raise InvalidInputError(f"tool {tool!r}: a model cannot fill {stars}{name}; write {kind} parameter instead")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise InvalidInputError(
            f"tool {tool!r}: parameter {name!r} is positional-only, and arguments come by name; remove the '/'"
        )
    if parameter.annotation is parameter.empty:
        raise InvalidInputError(
            f"tool {tool!r}: parameter {name!r} has no annotation; write its type, such as '{name}: str'"
        )
    if isinstance(parameter.default, FieldInfo):
        raise InvalidInputError(
            f"tool {tool!r}: parameter {name!r} has Field(…) as its default; "
            f"write '{name}: Annotated[<type>, Field(…)]'"
        )


# -------------------------------------------------------------------------------------------------- schema


class _Schema(GenerateJsonSchema):
    """Without the titles that only repeat a field's name: a model reads, and its user pays for, each of them."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _complete(
    schema: dict[str, Any], parameters: Mapping[str, inspect.Parameter], documented: Mapping[str, str]
) -> None:
    """Adds what only the signature and the docstring know: defaults, and descriptions."""
    for title, definition in [(schema["title"], schema), *schema.get("$defs", {}).items()]:
        if definition.get("title") == title:
            del definition["title"]
    # A parameter may have an alias, by which the model knows it: their order tells which is which.
    for described, (name, parameter) in zip(schema.get("properties", {}).values(), parameters.items(), strict=True):
        if name in documented:
            described.setdefault("description", documented[name])
        default = parameter.default
        if default is not inspect.Parameter.empty:
            try:
                described.setdefault("default", to_jsonable_python(default))
            except PydanticSerializationError:
                continue  # the function knows its default; the model need not


def _documentation(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The description, and that of each parameter, in the docstring."""
    while isinstance(function, functools.partial):
        function = function.func
    text = function.__doc__
    if not inspect.isroutine(function):
        text = getattr(type(function).__call__, "__doc__", None) or type(function).__doc__
    if not text:
        return "", {}
    text = inspect.cleandoc(text)
    try:
        parsed = docstring_parser.parse(text)
    except docstring_parser.ParseError:
        return text, {}
    described = {parameter.arg_name: parameter.description for parameter in parsed.params if parameter.description}
    return (parsed.description or "").strip(), described


# ---------------------------------------------------------------------------------------------- validation


def _validate(
    adapter: TypeAdapter[dict[str, Any]], tool: str, known: tuple[str, ...], arguments: str
) -> dict[str, Any]:
    try:
        return adapter.validate_json(arguments)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        lines = [_line(detail, known) for detail in details[:_SHOWN_ERRORS]]
        if len(details) > _SHOWN_ERRORS:
            lines.append(f"and {len(details) - _SHOWN_ERRORS} more")
        raise InvalidToolArgumentsError(f"the arguments do not fit: {'; '.join(lines)}", tool=tool) from error
    except Exception as error:  # a validator of the caller's may raise anything
        try:
            text = f"{type(error).__name__}: {error}"
        except BaseException:  # and an exception's own text may do anything
            text = type(error).__name__
        raise InvalidToolArgumentsError(f"the arguments do not fit: {text}", tool=tool) from error


def _line(detail: ErrorDetails, known: tuple[str, ...]) -> str:
    where = ".".join(map(str, detail["loc"]))
    if detail["type"] == "missing":
        return f"{where} is missing"
    if detail["type"] == "extra_forbidden":
        hint = f" (there are: {', '.join(known) or 'none'})" if len(detail["loc"]) == 1 else ""
        return f"{where} is not an argument{hint}"
    text = detail["msg"]
    if isinstance(detail["input"], str | int | float | bool) and detail["type"] != "json_invalid":
        shown = repr(detail["input"])
        text += f", not {shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + '…'}"
    return f"{where}: {text}" if where else text
