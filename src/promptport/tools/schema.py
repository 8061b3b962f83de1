"""A typed function → the JSON schema of its arguments, their validation, and their descriptions.

Rule: what cannot be described to a model, or cannot be called by keyword, is refused when the tool is made.
The one room that imports pydantic and docstring-parser for tools; ``@tool`` imports it when first used.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NotRequired, cast

import docstring_parser
from pydantic import AliasChoices, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails, PydanticSerializationError, to_jsonable_python
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
    """The function that a ``staticmethod`` holds; any other callable, and a ``classmethod``, as it is.

    Raises:
        InvalidInputError: it cannot be called by itself.
    """
    if isinstance(function, staticmethod):
        return function.__func__
    if isinstance(function, classmethod):
        return function  # it is bound when the tool is taken from its class
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
    of_class = isinstance(function, classmethod)
    if isinstance(function, classmethod):
        function = function.__func__
    parameters, unbound = _parameters(function, name, of_class=of_class)
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
    try:
        arguments: Any = cast("Any", TypedDict)(name, fields)
        arguments.__pydantic_config__ = ConfigDict(extra="forbid")
        arguments.__module__ = _defined_in(function).__module__  # where a name in quotes is looked up
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(arguments)
        schema = adapter.json_schema(schema_generator=_Schema)
    except Exception as error:  # pydantic asks the type itself, which may raise anything
        raise InvalidInputError(_undescribed(name, error)) from error
    if "title" not in schema:  # it is a reference to itself
        raise InvalidInputError(f"tool {name!r}: a parameter's type cannot be Self; write the class")
    _check_names(name, parameters, schema)
    _complete(schema, parameters, documented)
    known = tuple(schema.get("properties", ()))
    validate = functools.partial(_validate, adapter, name, known)
    return Described(description, schema, validate, unbound, context_parameter, context_type)


# ---------------------------------------------------------------------------------------------- signature


def _parameters(
    function: Callable[..., Any], name: str, *, of_class: bool
) -> tuple[dict[str, inspect.Parameter], bool]:
    """The parameters that the model fills, and whether the function still wants its ``self`` or ``cls``."""
    try:
        signature = _signature(function)
    except NameError as error:
        raise InvalidInputError(
            f"tool {name!r}: an annotation cannot be resolved ({error}); define its type at the top of the module"
        ) from error
    except Exception as error:  # an annotation in quotes is code, which may raise anything
        raise InvalidInputError(f"tool {name!r}: its signature cannot be read: {error}") from error
    parameters = dict(signature.parameters)
    unbound = of_class or _is_method(function, parameters)
    if unbound:
        first = next(iter(parameters), "")
        if first == "cls" and not of_class and sys.version_info >= (3, 13):  # where classmethod binds no tool
            raise InvalidInputError(f"tool {name!r}: write @tool above @classmethod, not below it")
        parameters.pop(first, None)
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
    signature = inspect.signature(function)
    names = _namespace(function)
    parameters = [
        parameter.replace(annotation=_evaluated(parameter.annotation, names))
        for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters, return_annotation=signature.empty)


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    """The type that an annotation in quotes stands for; one in quotes of a module without quotes has two pairs."""
    while isinstance(annotation, str):
        annotation = eval(annotation, names)  # noqa: S307 - as inspect does
    return annotation


def _namespace(function: Any) -> dict[str, Any]:
    """The names that a function's module has, and those of its own type parameters."""
    plain = _defined_in(function)
    own = {each.__name__: each for each in getattr(plain, "__type_params__", ())}
    return {**getattr(plain, "__globals__", {}), **own}


def _defined_in(function: Any) -> Any:
    """The function whose definition has the annotations, behind partials, decorators, methods and objects."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    return inspect.unwrap(getattr(function, "__func__", function))


def _is_method(function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Whether this is a function in a class's body, where ``@tool`` meets it before it is bound."""
    if not inspect.isfunction(function) or next(iter(parameters), None) not in ("self", "cls"):
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


def _undescribed(tool: str, error: Exception) -> str:
    """Why no schema could be made, without pydantic's names for what is ours."""
    if isinstance(error, NameError) or getattr(error, "code", None) in (
        "class-not-fully-defined",
        "undefined-annotation",
    ):
        return (
            f"tool {tool!r}: a parameter's type, or a type inside it, cannot be found: it might be imported for type "
            "checkers only. Import it, or define it, at the top of its module"
        )
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    return f"tool {tool!r}: a parameter's type cannot be described to a model: {reason}"


def _check_names(tool: str, parameters: Mapping[str, inspect.Parameter], schema: Mapping[str, Any]) -> None:
    """What a model writes fills one parameter, and what it is told to write fills the one that it is meant for."""
    names = {name: _argument_names(name, parameter) for name, parameter in parameters.items()}
    taken: dict[str, str] = {}
    for name, each in ((name, each) for name, known in names.items() for each in known):
        if taken.setdefault(each, name) != name:
            raise InvalidInputError(
                f"tool {tool!r}: parameters {taken[each]!r} and {name!r} are both filled by the argument {each!r}; "
                "give each an alias of its own"
            )
    for (name, known), told in zip(names.items(), schema.get("properties", ()), strict=True):
        if told not in known:
            raise InvalidInputError(
                f"tool {tool!r}: parameter {name!r} has only an AliasPath, which a model cannot be told; "
                "give it a plain alias too: AliasChoices('name', AliasPath(…))"
            )


def _argument_names(name: str, parameter: inspect.Parameter) -> list[str]:
    """The names by which a parameter is filled: its aliases, or else its own."""
    found: list[Any] = [
        each.validation_alias
        for each in getattr(parameter.annotation, "__metadata__", ())
        if isinstance(each, FieldInfo) and each.validation_alias is not None
    ]
    if not found:
        return [name]
    alias = found[-1]
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [each for each in choices if isinstance(each, str)]


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
