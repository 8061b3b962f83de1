"""A pydantic model while it streams: the value so far, what of it still grows, and at the end the model, validated.

Each piece of the text is read once. A partial value does not change any more; it is put together when it is read, from
what is whole and stays, and from how far the rest had come.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from promptport.checking import checked
from promptport.errors import InvalidInputError, ProtocolError
from promptport.messages import Prompt
from promptport.models import Capability, ModelCapabilities
from promptport.params import OwnSchema
from promptport.structured.definition import prepended
from promptport.structured.growing import PERHAPS, GrowingJson, Snapshot
from promptport.tools import DIALECTS, fit_schema, without_nulls

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["JsonDefinition", "Partial"]

_Model = TypeVar("_Model", bound="BaseModel")
_PathStep: TypeAlias = str | int


class Partial:
    """The value so far. It does not change when more of the text comes.

    Attributes:
        value: The value as plain dicts, lists, texts and numbers; not validated. promptport builds it when you first
            read it. That takes as long as the open lists and objects are large, so read it only when you use it.
        growing: The path to what is still growing, such as `("steps", 2, "title")`. Empty for the value itself.
    """

    __slots__ = ("_growing", "_snapshot", "_value")
    __match_args__ = ("value", "growing")

    def __init__(self, value: Any, growing: tuple[_PathStep, ...] = ()) -> None:
        """Make a partial value by hand, as a test does."""
        self._snapshot: Snapshot | None = None
        self._value = value
        self._growing = growing

    @classmethod
    def _of(cls, snapshot: Snapshot, growing: tuple[_PathStep, ...]) -> Partial:
        partial = cls(None, growing)
        partial._snapshot = snapshot
        return partial

    @property
    def value(self) -> Any:
        """The value as plain dicts, lists, texts and numbers; not validated."""
        if self._snapshot is not None:
            self._value, self._snapshot = self._snapshot.value(), None
        return self._value

    @property
    def growing(self) -> tuple[_PathStep, ...]:
        """The path to what is still growing, such as `("steps", 2, "title")`."""
        return self._growing

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Partial):
            return NotImplemented
        return self.growing == other.growing and bool(self.value == other.value)

    __hash__ = None  # type: ignore[assignment]  # the value holds lists and dicts

    def __repr__(self) -> str:
        return f"Partial(value={self.value!r}, growing={self.growing!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Partial, (self.value, self.growing)


class JsonDefinition(Generic[_Model]):
    """An answer that is one JSON object of a pydantic model."""

    @checked
    def __init__(self, model: type[_Model], *, every: int = 1) -> None:
        """Args:
        model: the pydantic model.
        every: give a partial value only when at least so many characters came since the last.
        """
        if not callable(getattr(model, "model_json_schema", None)):
            raise InvalidInputError(
                f"JsonDefinition: model takes a pydantic model, not the class {model.__name__}. "
                "Derive it from BaseModel."
            )
        self.model = model
        self._every = every

    def prepare(self, prompt: Prompt, capabilities: ModelCapabilities) -> Prompt:
        """Holds the answer to the schema where the model can be held to one; asks for it in words where it cannot."""
        schema = self.model.model_json_schema()
        if Capability.JSON_SCHEMA in capabilities and _fits(schema, capabilities.schema_dialect):
            return prompt.with_params(response_schema=OwnSchema(schema))
        text = f"Answer with one JSON object and nothing else. It follows this JSON schema:\n{json.dumps(schema)}"
        return prepended(prompt, text)

    def _validated(self, text: str) -> _Model:
        from pydantic import ValidationError  # noqa: PLC0415 - pydantic is imported when it is needed

        try:
            return self.model.model_validate_json(text)
        except ValidationError:
            # Where a server wants every property required, null stands for what was left out.
            try:
                value = json.loads(text)
            except ValueError:
                value = None
            cleaned = without_nulls(value, self.model.model_json_schema())
            if cleaned == value:
                raise
            return self.model.model_validate_json(json.dumps(cleaned))

    async def parse(self, text: AsyncIterable[str]) -> AsyncIterator[Partial | _Model]:
        """`Partial` values as they grow; last, once, the validated model.

        Raises:
            ProtocolError: the text is not a JSON object of the model; the ``__cause__`` says where.
        """
        from pydantic import ValidationError  # noqa: PLC0415 - pydantic is imported when it is needed

        pieces: list[str] = []
        unread = 0
        last: Partial | None = None
        path, json_text, begun = _Path(), GrowingJson(), False
        async for piece in text:
            pieces.append(piece)
            path.feed(piece)
            if not begun:  # models without a schema mode put words or a fence before the object
                start = piece.find("{")
                begun = start >= 0
                json_text.feed(piece[start:] if begun else "")
            else:
                json_text.feed(piece)
            unread += len(piece)
            if unread < self._every:
                continue
            unread = 0
            if not begun or json_text.broken:
                continue  # the end decides
            snapshot, differs = json_text.value()
            if json_text.broken:
                continue
            growing = path.growing
            if (
                last is None
                or growing != last.growing
                or (differs and (differs != PERHAPS or snapshot.value() != last.value))
            ):
                last = Partial._of(snapshot, growing)
                yield last
        whole = "".join(pieces)
        try:
            yield self._validated(_unfenced(whole))
        except ValidationError as error:
            raise ProtocolError(f"the answer is not a {self.model.__name__}: {_problems(error)}") from error


def _fits(schema: dict[str, Any], dialect: str) -> bool:
    """Whether a server of this dialect can be held to the schema."""
    try:
        return not dialect or bool(fit_schema(schema, DIALECTS[dialect]).schema)
    except InvalidInputError:
        return False


def _unfenced(text: str) -> str:
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text


def _problems(error: Any) -> str:
    """Where and what, without the values: they are the model's answer, and may be the user's secrets."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'the text'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)[:3]
    )


class _Path:
    """Follows the text to know where in the object its end stands; one step for each character."""

    def __init__(self) -> None:
        self._stack: list[_PathStep | None] = []  # a key, an index, or None for an object before its first key
        self._text: list[str] | None = None
        self._escaped = False
        self._is_key = False

    @property
    def growing(self) -> tuple[_PathStep, ...]:
        return tuple([step for step in self._stack if step is not None])

    def feed(self, piece: str) -> None:
        for char in piece:
            if self._text is not None:
                self._in_text(char)
            elif char == '"' and self._stack:
                self._text = []
            elif char == "{":
                self._stack.append(None)
                self._is_key = True
            elif char == "[":
                self._stack.append(0)
                self._is_key = False
            elif char in "}]" and self._stack:
                self._stack.pop()
                self._is_key = False
            elif char == "," and self._stack:
                top = self._stack[-1]
                self._is_key = not isinstance(top, int)
                self._stack[-1] = top + 1 if isinstance(top, int) else None

    def _in_text(self, char: str) -> None:
        assert self._text is not None
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            if self._is_key and self._stack:
                self._stack[-1] = _key("".join(self._text))
                self._is_key = False
            self._text = None
            return
        self._text.append(char)


def _key(raw: str) -> str:
    try:
        return str(json.loads(f'"{raw}"', strict=False))
    except ValueError:
        return raw  # no JSON; the parse says so
