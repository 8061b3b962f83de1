"""Wrong types are told at once: a verb's arguments against its annotations, in promptport's words.

Rule: annotations are read as text, so that nothing is imported for them; what stands in no table here is let pass, and
is checked by whoever uses it. A verb with a decorator needs no check of its own for what a type says.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, NoReturn, TypeVar

from promptport.errors import InvalidInputError

__all__ = ["check_fields", "check_named", "checked"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Kind(NamedTuple):
    """What an argument may be.

    Attributes:
        words: It, for an error.
        fits: Whether a value is that.
        example: One that is.
        by_type: Its type alone decides, so that of a type that fits no other value is looked at.
    """

    words: str
    fits: Callable[[Any], bool]
    example: str = ""
    by_type: bool = False


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in names)


def _is_a(name: str) -> Callable[[Any], bool]:
    """By the name of its class, or of one above: a class that nobody imported has no instances."""
    return lambda value: any(one.__name__ == name for one in type(value).__mro__)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool | str | bytes) and hasattr(type(value), "__float__")


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(type(value), "__index__")


def _is_several(value: Any) -> bool:
    many = isinstance(value, Iterable) or hasattr(type(value), "__getitem__")
    return many and not isinstance(value, str | bytes | Mapping)


_KINDS: Mapping[str, _Kind] = {
    "int": _Kind("a whole number", _is_whole, "3", by_type=True),
    "float": _Kind("a number", _is_number, "2.5", by_type=True),
    "bool": _Kind("True or False", lambda value: isinstance(value, bool), "True", by_type=True),
    "str": _Kind("a string", lambda value: isinstance(value, str), "'…'", by_type=True),
    "bytes": _Kind("bytes", lambda value: isinstance(value, bytes), "b'…'", by_type=True),
    "Callable": _Kind("a function", lambda v: callable(v) or isinstance(v, classmethod | staticmethod), "a_function"),
    "Iterable": _Kind("several values (a list)", _is_several, "[…]"),
    "Sequence": _Kind("several values (a list)", lambda value: _is_several(value) and hasattr(value, "__len__"), "[…]"),
    "Mapping": _Kind("a mapping (a dict)", lambda value: isinstance(value, Mapping), "{…}", by_type=True),
    "dict": _Kind("a dict", lambda value: isinstance(value, dict), "{…}", by_type=True),
    "type": _Kind("a class", lambda value: isinstance(value, type), "Item"),
    "AsyncIterable": _Kind("an async iterable", _has("__aiter__")),
    "PathLike": _Kind("a Path", lambda value: hasattr(type(value), "__fspath__"), "Path('file')"),
    "Path": _Kind("a Path", lambda value: hasattr(type(value), "__fspath__"), "Path('file')"),
    "TextIO": _Kind("a file that is open for text", _has("write"), "sys.stderr"),
    "ToolStart": _Kind("'eager' or 'on_finish'", lambda value: value in ("eager", "on_finish"), "'on_finish'"),
    "StepChoice": _Kind(
        "a mapping of steps to choices, or a function",
        lambda v: callable(v) or isinstance(v, Mapping),
        "{0: ToolChoice.REQUIRED}",
    ),
    "Random": _Kind("a random.Random", _is_a("Random"), "random.Random(1)", by_type=True),
    "Origin": _Kind("an Origin", _is_a("Origin"), "Origin('openai')", by_type=True),
    "StreamedTools": _Kind("a StreamedTools", _is_a("StreamedTools"), "StreamedTools.DELTAS", by_type=True),
    "Approve": _Kind("a function of a ToolCall", callable, "a_function"),
    "OnStep": _Kind("a function of a StepState", callable, "a_function"),
    "Resolve": _Kind("a route, such as aliases({…})", callable, "aliases({…})"),
    "PauseStore": _Kind("an object with the method take(id)", _has("take"), "MemoryPauseStore()"),
    "CacheStore": _Kind("an object with the methods get and put", _has("get", "put"), "MemoryCache()"),
    "StructuredDataDefinition": _Kind(
        "a definition, such as JsonDefinition(Item)", _has("prepare", "parse"), "JsonDefinition(Item)"
    ),
    **{
        name: _Kind(f"{article} {name}".strip(), _is_a(name), f"{name}(…)", by_type=True)
        for article, names in (
            ("", ("Limits", "Usage", "ModelCapabilities")),
            ("a", ("Budget", "Circuit", "RetryConfig", "ToolCall", "ToolResult", "ToolResultMessage")),
            ("an", ("AssistantMessage", "InvalidToolCall", "Observer", "LLMParams")),
        )
        for name in names
    },
}
_SEVERAL = ("Iterable", "Sequence")
_MOST_TYPES = 16


class _Rule(NamedTuple):
    """One parameter: all that it may be, and what its items may be; ``None`` lets everything pass."""

    kinds: tuple[_Kind, ...]
    choices: tuple[Any, ...]
    items: tuple[_Rule | None, ...]

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value: how it should be; ``None`` for nothing."""
        if not (any(kind.fits(value) for kind in self.kinds) or _is_among(value, self.choices)):
            return f"takes {self.words()}, not {_shown(value)}"
        item, below = self.items if len(self.items) == 2 else (*self.items, None, None)[:2]
        if item is not None and isinstance(value, list | tuple):
            wrong = next(((place, told) for place, each in enumerate(value) if (told := item.problem(each))), None)
            return wrong and f"[{wrong[0]}] {wrong[1]}"
        if below is not None and item is not None and isinstance(value, Mapping):
            found = ((name, item.problem(name) or below.problem(each)) for name, each in value.items())
            told = next((told for _, told in found if told), None)
            return told and f": each of it {told}"
        return None

    def takes_type_of(self, value: Any) -> bool:
        """Whether each value of the type of this one, which fits, fits too."""
        return value is None or (not self.items and any(kind.by_type and kind.fits(value) for kind in self.kinds))

    def words(self) -> str:
        """In the words of an error."""
        choices = ["None" if choice is None else repr(choice) for choice in self.choices]
        words = [*dict.fromkeys(kind.words for kind in self.kinds), *choices]
        return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 2 else words)


def _is_among(value: Any, choices: Collection[Any]) -> bool:
    return any(value is choice or (isinstance(value, str) and value == choice) for choice in choices)


def _shown(value: Any) -> str:
    """A value in an error: its type, and itself only if it is a number, or short and a word."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return f"the string {value!r}" if len(value) <= 20 and value.replace("_", "").isalnum() else "a string"
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


# ---------------------------------------------------------------------------------------- annotations, as text


def _rule_of(annotation: Any) -> _Rule | None:
    """The rule that an annotation says; ``None`` where it says something that is not known here."""
    try:
        return _rule(ast.parse(annotation, mode="eval").body) if isinstance(annotation, str) else None
    except SyntaxError:
        return None


def _rule(node: ast.expr) -> _Rule | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = _rule(node.left), _rule(node.right)
        if left is None or right is None:
            return None
        items = () if left.items and right.items else left.items or right.items  # whose they are is not known
        return _Rule(left.kinds + right.kinds, left.choices + right.choices, items)
    if isinstance(node, ast.Constant):
        return _Rule((), (None,), ()) if node.value is None else None
    if isinstance(node, ast.Attribute):  # such as random.Random
        return _rule(ast.Name(node.attr))
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if node.value.id == "Literal":
            return _Rule((), tuple([each.value for each in inside if isinstance(each, ast.Constant)]), ())
        outer = _rule(node.value)
        if outer is None or node.value.id not in (*_SEVERAL, "Mapping", "dict"):
            return outer
        return outer._replace(items=tuple(map(_rule, inside)))
    kind = _KINDS.get(node.id) if isinstance(node, ast.Name) else None
    return None if kind is None else _Rule((kind,), (), ())


class _Checker:
    """One parameter or field of something. It remembers the types that fit, so that most values cost one look."""

    __slots__ = ("_name", "_rule", "_types", "_where", "_words")

    def __init__(self, where: str, name: str, rule: _Rule) -> None:
        self._where, self._name, self._rule = where, name, rule
        self._types: set[type] = set()
        self._words = frozenset(choice for choice in rule.choices if isinstance(choice, str))

    def check(self, value: Any) -> None:
        if type(value) in self._types or (type(value) is str and value in self._words):
            return
        problem = self._rule.problem(value)
        if problem is not None:
            self._refuse(problem)
        if len(self._types) < _MOST_TYPES and self._rule.takes_type_of(value):
            self._types.add(type(value))

    def _refuse(self, problem: str) -> NoReturn:
        told = f"{self._where}: {self._name}{'' if problem[0] in ':[' else ' '}{problem}."
        choice = next((repr(choice) for choice in self._rule.choices if choice is not None), "")
        example = next((kind.example for kind in self._rule.kinds if kind.example), choice)
        raise InvalidInputError(f"{told} Write {self._name}={example}." if example else told)


def _checkers(where: str, annotations: Mapping[str, Any]) -> dict[str, _Checker]:
    rules = {name: _rule_of(getattr(said, "__forward_arg__", said)) for name, said in annotations.items()}
    return {name: _Checker(where, name, rule) for name, rule in rules.items() if rule is not None}


@functools.cache
def _of_function(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, _Checker]]:
    name = function.__qualname__.rpartition("<locals>.")[2]
    where = name.removesuffix(".__init__") if name.endswith(".__init__") else f"{name}()"
    annotations = {name: said for name, said in getattr(function, "__annotations__", {}).items() if name != "return"}
    return inspect.signature(function), _checkers(where, annotations)


_STARS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _check(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    signature, checkers = _of_function(function)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError:
        return  # Python's own words say which argument is missing, or is too many
    for name, checker in checkers.items():
        if name not in given:
            continue
        kind, values = signature.parameters[name].kind, given[name]
        if kind is inspect.Parameter.VAR_KEYWORD:
            values = values.values()
        for value in values if kind in _STARS else (values,):
            checker.check(value)


def checked(function: _Function) -> _Function:
    """Check the arguments of a function, or of ``__init__``, against its annotations before it runs.

    An argument of another type raises `InvalidInputError`, which names the parameter, and what it takes.

    Args:
        function: A function, plain or async.
    """
    if inspect.iscoroutinefunction(function):

        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            _check(function, args, kwargs)
            return await function(*args, **kwargs)

        return functools.wraps(function)(asynchronous)  # type: ignore[return-value]

    def plain(*args: Any, **kwargs: Any) -> Any:
        _check(function, args, kwargs)
        return function(*args, **kwargs)

    return functools.wraps(function)(plain)  # type: ignore[return-value]


def check_named(where: str, options: type, given: Mapping[str, Any]) -> None:
    """Check keywords against the annotations of a ``TypedDict``, as `checked` does it for arguments.

    Args:
        where: Who takes them, for the error.
        options: The ``TypedDict``.
        given: What the caller passed.

    Raises:
        InvalidInputError: One has another type.
    """
    checkers = _of_options(where, options)
    for name, value in given.items():
        if name in checkers:
            checkers[name].check(value)


@functools.cache
def _of_options(where: str, options: type) -> dict[str, _Checker]:
    return _checkers(where, options.__annotations__)


@functools.cache
def _of_struct(kind: type) -> tuple[tuple[str, Callable[[Any], None]], ...]:
    annotations: dict[str, Any] = {}
    for one in reversed(kind.__mro__):
        annotations |= inspect.get_annotations(one)
    checkers = _checkers(kind.__name__, annotations)
    return tuple([(name, checkers[name].check) for name in getattr(kind, "__struct_fields__", ()) if name in checkers])


def check_fields(value: Any) -> None:
    """Check the fields of a struct against its annotations, as `checked` does it for arguments.

    Raises:
        InvalidInputError: A field has another type.
    """
    kind: Any = type(value)
    for name, check in _of_struct(kind):
        check(getattr(value, name))
