"""What a tool gave → what the model is told: text, or parts. Pure, and run where the tool runs.

Rule: whatever a tool returns or raises becomes text for the model, or an exception that can travel between processes.
"""

from __future__ import annotations

import contextlib
import enum
import inspect
import json
from typing import Any, TypeAlias

import msgspec

from promptport.errors import ToolError
from promptport.messages import AudioPart, DocumentPart, ImagePart, TextPart, UserPart

__all__ = ["Given", "Output", "describe", "limited", "output_of", "portable", "progress_of", "tamed", "with_words"]

Output: TypeAlias = str | tuple[UserPart, ...]


class Given(msgspec.Struct, frozen=True):
    """What a tool gave, as the model gets it.

    Attributes:
        output: text, or parts.
        json: the text is the JSON of a value, and not a text that the tool returned.
    """

    output: Output = ""
    json: bool = False


_PARTS = (TextPart, ImagePart, DocumentPart, AudioPart)


def output_of(value: Any) -> Given:
    """What the model gets for what a tool returned.

    Text and parts (text, images, documents, audio; also a list of them and of strings) go as they are, ``None`` as
    nothing, and the rest as JSON: also dataclasses, enums, dates, msgspec structs and pydantic models.

    Raises:
        TypeError, ValueError, RecursionError: it is not JSON; the message says what is not.
    """
    if value is None:
        return Given()
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, str):
        return Given(_text(value))
    if isinstance(value, _PARTS):
        return Given((value,))
    if _has_parts(value):
        return Given(tuple([item if isinstance(item, _PARTS) else TextPart(_text_of(item)) for item in value]))
    return Given(_json(value).decode(), json=True)


def progress_of(value: Any) -> Any:
    """What an async-generator tool yielded, as JSON types; parts too, since the last value is the output.

    Raises as `output_of`.
    """
    if isinstance(value, str):
        return _text(value)
    return msgspec.json.decode(_json(value, binary=isinstance(value, _PARTS) or _has_parts(value)))


def _has_parts(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(item, _PARTS) for item in value)


def _text_of(value: Any) -> str:
    return _text(value) if isinstance(value, str) else _json(value).decode()


def _text(value: str) -> str:
    if type(value) is not str:
        value = str.__str__(value)  # a subclass may answer as it likes
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair would fail in every request from now on
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _json(value: Any, *, binary: bool = False) -> bytes:
    try:
        if not binary and _has_bytes(value):
            raise TypeError(_BYTES)
        return msgspec.json.encode(value, enc_hook=_plain)
    except RecursionError:
        raise ValueError("the tool gave a value that holds itself, or is nested too deeply for JSON") from None
    except UnicodeDecodeError:  # pydantic writes bytes as text, and these are none
        raise TypeError(_BYTES) from None
    except UnicodeEncodeError:  # half a surrogate pair
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)
        return _text(json.dumps(plain, ensure_ascii=False)).encode()


def _has_bytes(value: Any) -> bool:
    """Whether bytes stand anywhere in it, which would reach the model as base64."""
    if isinstance(value, bool | int | float):
        return False
    plain = msgspec.to_builtins(value, builtin_types=_BINARY, enc_hook=_plain)
    layer: list[Any] = [plain]
    while layer:
        if any(isinstance(one, _BINARY) for one in layer):
            return True
        layer = [item for one in layer if isinstance(one, dict | list | tuple) for item in _items(one)]
    return False


def _items(value: Any) -> Any:
    return (*value, *value.values()) if isinstance(value, dict) else value


_BINARY = (bytes, bytearray, memoryview)
_BYTES = (
    "the tool gave bytes, which a model cannot read as text. Return a text, or the bytes in a part, such as "
    'ImagePart(data=…, media_type="image/png") or DocumentPart(data=…, media_type="application/pdf")'
)


def _plain(value: Any) -> Any:
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError("the tool returned a coroutine; declare its function 'async def'")
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    raise TypeError(
        f"the tool gave a value of type {_described_type(type(value))}, which is not JSON; "
        "return text, JSON types, dataclasses, pydantic models or parts"
    )


def _described_type(kind: type) -> str:
    """Its name, with its module: there is a ``bool`` in numpy too."""
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def limited(output: Output, limit: int | None) -> Output:
    """The output, its text cut after ``limit`` characters with a note that says so; ``None`` cuts nothing."""
    if limit is None:
        return output
    if isinstance(output, str):
        return output if len(output) <= limit else output[:limit] + _note(len(output), limit)
    total = sum([len(part.text) for part in output if isinstance(part, TextPart)])
    if total <= limit:
        return output
    parts: list[UserPart] = []
    room = limit
    for part in output:
        if isinstance(part, TextPart):
            parts.append(TextPart(part.text[:room], part.cache))
            room -= min(room, len(part.text))
        else:
            parts.append(part)
    return (*[part for part in parts if part != TextPart("")], TextPart(_note(total, limit)))


def _note(total: int, limit: int) -> str:
    return f"\n[cut: the output has {total} characters, and these are the first {limit}]"


_LONGEST_ERROR = 100_000
_SAID = "_promptport_said"


def describe(error: BaseException) -> str:
    """An exception in words for the model; one of ours says all in its own. Words without measure are cut."""
    said = _said_of(error)
    return said if said is not None else _words_of(error)


def _words_of(error: BaseException) -> str:
    name = _name_of(type(error))
    try:
        text = _text(str(error))
    except BaseException:  # an exception's own __str__ may do anything, such as leave the process
        text = ""
    if len(text) > _LONGEST_ERROR:
        text = f"{text[:_LONGEST_ERROR]}… [cut: the error has {len(text):,} characters]"
    return _text(text if text and issubclass(type(error), ToolError) else f"{name}: {text}" if text else name)


def with_words(error: Exception) -> Exception:
    """The exception, with its words: found here, where the tool runs, for finding them might take long."""
    with contextlib.suppress(BaseException):  # then they are found where they are needed
        object.__setattr__(error, _SAID, _words_of(error))
    return error


def _said_of(error: BaseException) -> str | None:
    try:
        said = object.__getattribute__(error, _SAID)
    except BaseException:
        return None
    return said if type(said) is str else None


class _Nothing:
    """What no exception is: asking whether it is one looks at its class, and then at what it says that its class is."""


def _name_of(kind: type) -> str:
    """The name of a class, whatever its metaclass makes of ``__name__``."""
    return str(type.__dict__["__name__"].__get__(kind))


def tamed(error: BaseException) -> Exception:
    """The exception, as one that neither ends a thread, a process or an event loop, nor stops an iteration."""
    kind = type(error)
    try:
        isinstance(error, _Nothing), kind.__name__, error.__class__, error.__traceback__
    except BaseException:  # an exception's own attributes may do anything, too
        return RuntimeError(f"the tool raised {_name_of(kind)}")
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int | str | None) else type(error.code).__name__
        return RuntimeError(f"the tool called sys.exit({code!r})")
    if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration):
        return error
    return RuntimeError(f"the tool raised {describe(error)}")


def portable(error: Exception) -> Exception:
    """The exception, as one that can be pickled and, which is not the same, rebuilt.

    One that cannot be rebuilt would break a whole process pool.
    """
    import pickle  # noqa: PLC0415 - for process pools alone, and slow to import

    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except BaseException:  # an exception's own methods may do anything
        return RuntimeError(describe(error))
    return error
