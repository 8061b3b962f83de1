"""What a model sends, checked against a JSON schema that somebody else wrote: a caller's own, or an MCP server's.

Rules: a schema is judged before it is used, because its author may be hostile: its size, its depth, and how often it
doubles. Patterns run on an engine that is linear in the text. Nothing is fetched. A check that might hold up an event
loop says so beforehand (`SchemaCheck.is_heavy`). jsonschema-rs is imported by the first check, not by this module.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from promptport.errors import InvalidInputError, InvalidToolArgumentsError
from promptport.frames import parse_arguments
from promptport.tools.schema_shape import Declared, declared, misshapen

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = [
    "MAX_SCHEMA_BYTES",
    "MAX_SCHEMA_DEPTH",
    "SchemaCheck",
    "check_size",
    "named_by",
    "takes_any",
    "unfillable",
]

MAX_SCHEMA_BYTES = 256 * 1024
"""The longest JSON text of a tool's schema."""

MAX_SCHEMA_DEPTH = 64
"""The deepest nesting of a tool's schema."""

_UNFOLDED = 100_000
"""So many schemas may one value meet, with every reference followed."""

_WORK = 1_000_000
"""So many comparisons are made in the event loop (about 20 ms at the worst); for more there is a process."""

_NODES = 2_000
"""A schema with references and more nodes than this is not followed: its checks are heavy."""

_PATTERNS = 256
_PATTERN_BYTES = 256 * 1024
_PROBLEMS = 5
_LENGTH = 300
"""So much of what does not fit is told to the model: so many problems, in so many characters each."""

_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
_BELOW = (
    *("properties", "patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames"),
    *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
)
_OLD = re.compile(r"draft-0[3467]")


def check_size(name: str, schema: Mapping[str, Any]) -> None:
    """Refuses a schema that is too large or too deep, or has not the form of one.

    Raises:
        InvalidInputError: it is, or it is not JSON; the message names the tool.
    """
    try:
        size = len(msgspec.json.encode(schema))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInputError(f"tool {name!r}: the schema of the parameters is not JSON: {error}") from None
    if size > MAX_SCHEMA_BYTES:
        raise InvalidInputError(
            f"tool {name!r}: the schema of the parameters has {size:,} bytes, and at most {MAX_SCHEMA_BYTES:,} are "
            "taken. Shorten its descriptions, or split the tool."
        )
    if _is_deeper(schema, MAX_SCHEMA_DEPTH):
        raise InvalidInputError(
            f"tool {name!r}: the schema of the parameters is nested more than {MAX_SCHEMA_DEPTH} levels deep. "
            "Flatten it."
        )
    problem = misshapen(schema)
    if problem is not None:
        raise InvalidInputError(
            f"tool {name!r}: the schema of the parameters is not a usable JSON schema: {problem}. Correct it."
        )


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether containers stand in more than so many others."""
    layer: list[Any] = [value]
    while layer:
        if levels < 0:
            return True
        layer = [below for one in layer for below in _containers(one)]
        levels -= 1
    return False


def _containers(value: Any) -> Iterable[Any]:
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, Mapping | list | tuple)]


def _depth(value: Any) -> int:
    layer, depth = [value], 0
    while layer := [below for one in layer for below in _containers(one)]:
        depth += 1
    return depth


# ---------------------------------------------------------------------------------------------- signatures


def takes_any(function: Callable[..., Any]) -> bool:
    """Whether a function takes arguments by any name: it has ``**kwargs``, or it does not say what it takes."""
    parameters = _signature(function)
    return parameters is None or any(one.kind is one.VAR_KEYWORD for one in parameters)


def named_by(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the arguments that a function takes by name; what a ``functools.partial`` binds is none of them."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    bound = function.keywords if isinstance(function, functools.partial) else ()
    return tuple([one.name for one in _signature(function) or () if one.kind in kinds and one.name not in bound])


def unfillable(function: Callable[..., Any]) -> str | None:
    """A parameter that must be given and cannot be given by name; ``None`` if there is none."""
    for one in _signature(function) or ():
        if one.kind is one.POSITIONAL_ONLY and one.default is one.empty:
            return one.name
    return None


def _signature(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...] | None:
    try:
        return tuple(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


# ------------------------------------------------------------------------------------------------ the check


class SchemaCheck:
    """Gives the values for an argument text, or says what does not fit: a tool's ``validator``.

    Attributes:
        name: the tool's name.
        schema: what the arguments must fit.
    """

    def __init__(
        self,
        name: str,
        schema: dict[str, Any],
        *,
        closed: bool = False,
        named: tuple[str, ...] = (),
        lenient: bool = False,
    ) -> None:
        """Args:
            name: the tool's name.
            schema: the schema.
            closed: refuse keys that the schema does not declare, whatever it says of others.
            named: the keys that hold for declared where the schema declares none, and says that there may be any.
            lenient: let what cannot be used of a schema pass, such as a pattern with look-around: whoever runs the
                tool, elsewhere, checks the arguments for it.

        Raises:
            InvalidInputError: the schema is too large, too deep, doubles too often, or has too many patterns.
        """
        check_size(name, schema)
        self.name = name
        self.schema = schema
        self._closed = closed
        self._named = named
        self._lenient = lenient
        self._cost = _Cost(name, schema)
        self._compiled: jsonschema_rs.Validator | None = None
        self._keys: jsonschema_rs.Validator | None = None
        self._declared: Declared | None = None
        self._is_unusable = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SchemaCheck):
            return NotImplemented
        return self._state == other._state

    __hash__ = None  # type: ignore[assignment]

    @property
    def _state(self) -> tuple[Any, ...]:
        return self.name, self.schema, self._closed, self._named, self._lenient

    def __reduce__(self) -> tuple[Any, ...]:
        options = {"closed": self._closed, "named": self._named, "lenient": self._lenient}
        return _rebuilt, (type(self), self.name, self.schema, options)

    def compile(self) -> jsonschema_rs.Validator:
        """Makes it ready.

        Raises:
            InvalidInputError: it is not a JSON schema, refers to what is not in it, or has a pattern that no linear
                engine can run.
        """
        if self._compiled is None:
            import jsonschema_rs  # noqa: PLC0415 - imported when first needed

            schema, elsewhere = self.schema, self._cost.elsewhere
            if self._lenient and not self._cost.rebased and (elsewhere is not None or not _compiles(schema)):
                schema, elsewhere = _usable(schema, self._cost.target), None
            if elsewhere is not None:
                raise InvalidInputError(
                    f"tool {self.name!r}: the schema of the parameters refers to {elsewhere!r}. "
                    "Put what it refers to under '$defs', and write '#/$defs/…'."
                )
            try:
                self._compiled = _validator(_closed(schema) if self._closed else schema)
                if self._closed:
                    self._keys = _validator(self._of_keys())
            except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, TypeError) as error:
                text = str(getattr(error, "message", "") or error)[:_LENGTH]
                hint = "Write a pattern without look-around and back-references" if '"regex"' in text else "Correct it"
                raise InvalidInputError(
                    f"tool {self.name!r}: the schema of the parameters is not a usable JSON schema: {text}. {hint}."
                ) from None
        return self._compiled

    def _of_keys(self) -> dict[str, Any]:
        """A schema of the keys alone: those that this one declares."""
        found = declared(self.schema, self._cost.target)
        if found.is_open and not found.names and not found.patterns:
            found = found._replace(names=frozenset(self._named))
        self._declared = found
        names, patterns = dict.fromkeys(found.names, True), dict.fromkeys(found.patterns, True)
        return {"properties": names, "patternProperties": patterns, "additionalProperties": False}

    def __call__(self, arguments: str) -> dict[str, Any]:
        """The values.

        Raises:
            InvalidToolArgumentsError: they do not fit; the message says what to change, in words for the model.
        """
        try:
            values = parse_arguments(arguments)
        except ValueError as error:
            raise InvalidToolArgumentsError(str(error), tool=self.name) from None
        problems = self.problems(values)
        if problems:
            raise InvalidToolArgumentsError("; ".join(problems), tool=self.name)
        return values

    def problems(self, values: dict[str, Any]) -> list[str]:
        """What does not fit, in words for the model."""
        if self._is_unusable:
            return []
        try:
            compiled = self.compile()
        except InvalidInputError:
            self._is_unusable = self._lenient
            if self._lenient:
                return []
            raise
        if self._keys is not None and not self._keys.is_valid(values):
            return [self._line(problem) for problem in islice(self._keys.iter_errors(values), _PROBLEMS)]
        if compiled.is_valid(values):
            return []
        return [self._line(problem) for problem in islice(compiled.iter_errors(values), _PROBLEMS)]

    def _line(self, problem: jsonschema_rs.ValidationError) -> str:
        where, kind = ".".join(map(str, problem.instance_path)), problem.kind
        details = kind.as_dict()
        if kind.name in ("additionalProperties", "unevaluatedProperties") and "unexpected" in details:
            known = ", ".join(self._known()) or "none"
            names = ", ".join([f"{where}.{name}" if where else name for name in details["unexpected"]])[:_LENGTH]
            return f"{names}: not an argument" + ("" if where else f" (there are: {known})")[:_LENGTH]
        if kind.name == "required":
            return f"{where or 'the arguments'}: {details['property']!r} is a required property"
        text = problem.message
        if kind.name == "type":
            value = _value_at(problem)
            text = f"{value!r} is not of type {', '.join(map(repr, details['types']))}"
        if len(text) > _LENGTH:
            text = f"{text[: _LENGTH // 2]}…{text[-_LENGTH // 2 :]}"  # the value stands before the rule
        return f"{where or 'the arguments'}: {text}"

    def _known(self) -> Iterable[str]:
        own = self.schema.get("properties", {})
        others = sorted(self._declared.names - own.keys()) if self._declared is not None else ()
        return (*own, *others)

    def is_heavy(self, arguments: str) -> bool:
        """Whether the check might take so long that it should not run in an event loop."""
        nodes = arguments.count(",") + arguments.count(":") + 2 + len(arguments) // 16
        brackets = arguments.count("{") + arguments.count("[")
        if self._cost.at(min(brackets, MAX_SCHEMA_DEPTH)) * nodes <= _WORK:
            return False
        try:
            depth = 1 + _depth(parse_arguments(arguments))  # what stands in the innermost is one below
        except ValueError:
            return False
        return self._cost.at(depth) * nodes > _WORK


def _rebuilt(kind: type[SchemaCheck], name: str, schema: dict[str, Any], options: dict[str, Any]) -> SchemaCheck:
    return kind(name, schema, **options)


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    import jsonschema_rs  # noqa: PLC0415 - imported when first needed

    options = jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES)
    if _OLD.search(str(schema.get("$schema"))) is not None:
        return jsonschema_rs.validator_for(schema, pattern_options=options, offline=True)
    plain = {key: value for key, value in schema.items() if key not in ("$schema", "$id")}
    return jsonschema_rs.Draft202012Validator(plain, pattern_options=options, offline=True)


def _value_at(problem: jsonschema_rs.ValidationError) -> Any:
    value: Any = problem.instance
    return value if not isinstance(value, str) or len(value) <= _LENGTH else value[:_LENGTH] + "…"


def _compiles(schema: Any) -> bool:
    import jsonschema_rs  # noqa: PLC0415 - imported when first needed

    try:
        _validator(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, TypeError):
        return False
    return True


def _usable(schema: Any, target: Callable[[str], Any]) -> Any:
    """The schema without the references that lead out of it, and the patterns that no linear engine can run."""
    if isinstance(schema, list):
        return [_usable(one, target) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in ("$dynamicRef", "$recursiveRef")}
    if isinstance(kept.get("$ref"), str) and target(kept["$ref"]) is None:
        del kept["$ref"]
    if isinstance(kept.get("pattern"), str) and not _compiles({"pattern": kept["pattern"]}):
        del kept["pattern"]
    patterns = kept.get("patternProperties")
    if isinstance(patterns, dict) and not all(_compiles({"pattern": one}) for one in patterns):
        for word in ("patternProperties", "additionalProperties", "unevaluatedProperties"):
            kept.pop(word, None)  # which keys are left over is not known
    return {key: value if key in ("enum", "const") else _usable(value, target) for key, value in kept.items()}


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, which takes only those keys that hold in the branch of a union that the arguments fit."""
    said = "additionalProperties" in schema or "unevaluatedProperties" in schema
    return (
        schema
        if said or _OLD.search(str(schema.get("$schema"))) is not None
        else {**schema, "unevaluatedProperties": False}
    )


class _Cost:
    """How many schemas one value of some depth can meet, with every reference followed.

    Attributes:
        elsewhere: a reference to what is not in the schema, or ``None``.
        rebased: a schema in it has an address of its own, from which its references count.
    """

    def __init__(self, name: str, schema: dict[str, Any]) -> None:
        self._root = schema
        self._known: dict[tuple[int, int], float] = {}
        self._open: set[tuple[int, int]] = set()
        self._patterns = 0
        self._nodes = 0
        self._dicts = 0
        self._refers = False
        self.elsewhere: str | None = None
        self.rebased = False
        self._look_through(schema)
        if self._patterns > _PATTERNS:
            raise InvalidInputError(
                f"tool {name!r}: the schema of the parameters has {self._patterns} patterns, and at most {_PATTERNS} "
                "are taken. Leave out those that matter least."
            )
        if self._refers and self.elsewhere is None and self.at(0) > _UNFOLDED:
            raise InvalidInputError(
                f"tool {name!r}: the schema of the parameters is too large with its references followed: more than "
                f"{_UNFOLDED:,} schemas for one value. Remove repeated 'allOf', 'anyOf' and '$ref'."
            )

    def at(self, depth: int) -> float:
        """For a value of this depth: at most so many schemas meet it and what is in it, each array's items as one."""
        if not self._refers:
            return self._nodes  # each of them meets a value once
        if depth and self._dicts > _NODES:
            return math.inf
        try:
            return self._of(self._root, depth)
        except RecursionError:
            return math.inf

    def _look_through(self, schema: Any) -> None:
        nodes: list[Any] = [schema]
        while nodes:
            node = nodes.pop()
            if isinstance(node, dict):
                self._nodes += 1
                self._dicts += 1
                patterns = node.get("patternProperties")
                self._patterns += isinstance(node.get("pattern"), str)
                self._patterns += len(patterns) if isinstance(patterns, dict) else 0
                own_base = node is not schema and isinstance(node.get("$id"), str)
                self.rebased = self.rebased or own_base
                for word in ("$dynamicRef", "$recursiveRef", *(("$id",) if own_base else ())):
                    if isinstance(node.get(word), str):
                        self.elsewhere = node[word]
                reference = node.get("$ref")
                if isinstance(reference, str):
                    self._refers = True
                    if self.target(reference) is None:
                        self.elsewhere = reference
                nodes += node.values()
            elif isinstance(node, list):
                self._nodes += len(node)  # an enum is compared one by one
                nodes += node

    def target(self, reference: str) -> Any:
        """What a reference into this schema stands for; ``None`` where it is not in it."""
        if reference != "#" and not reference.startswith("#/"):
            return None
        found: Any = self._root
        for step in unquote(reference).split("/")[1:]:
            word = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict):
                found = found.get(word)
            elif isinstance(found, list) and word.isdecimal() and int(word) < len(found):
                found = found[int(word)]
            else:
                return None
        return found

    def _of(self, schema: Any, depth: int) -> float:
        if not isinstance(schema, dict):
            return 1
        key = (id(schema), depth)
        if key in self._open:
            return math.inf  # it refers to itself for the same value
        known = self._known.get(key)
        if known is None:
            self._open.add(key)
            try:
                known = _own_cost(schema) + sum([self._of(one, depth) for one in self._beside(schema)])
                if depth:
                    known += sum([self._of(one, depth - 1) for one in _subschemas(schema, _BELOW)])
            finally:
                self._open.discard(key)
            self._known[key] = known
        return known

    def _beside(self, schema: dict[str, Any]) -> list[Any]:
        found = _subschemas(schema, _IN_PLACE)
        reference = schema.get("$ref")
        return [*found, self.target(reference)] if isinstance(reference, str) else found


def _own_cost(schema: dict[str, Any]) -> int:
    """What a schema compares itself, beside the schemas in it."""
    lists = [schema.get(word) for word in ("enum", "required", "dependentRequired")]
    return 1 + sum([len(one) for one in lists if isinstance(one, list | dict)])


def _subschemas(schema: dict[str, Any], words: tuple[str, ...]) -> list[Any]:
    found: list[Any] = []
    for word in words:
        value = schema.get(word)
        if isinstance(value, list):
            found += [one for one in value if isinstance(one, dict)]
        elif isinstance(value, dict):
            several = word in ("properties", "patternProperties", "dependentSchemas", "dependencies")
            found += [one for one in value.values() if isinstance(one, dict)] if several else [value]
    return found
