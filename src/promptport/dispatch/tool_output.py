"""What a tool gave → what the model is told: text, or parts. Pure, and run where the tool runs.

Rule: whatever a tool returns or raises becomes text for the model, or an exception that can travel between processes.
"""

from __future__ import annotations

import enum
import inspect
from typing import Any, TypeAlias

import msgspec

from promptport.errors import ToolError
from promptport.messages import AudioPart, DocumentPart, ImagePart, TextPart, UserPart

__all__ = ["Output", "describe", "limited", "output_of", "portable", "progress_of", "tamed"]

Output: TypeAlias = str | tuple[UserPart, ...]

_PARTS = (TextPart, ImagePart, DocumentPart, AudioPart)


def output_of(value: Any) -> Output:
    """What the model gets for what a tool returned.

    Text and parts (text, images, documents, audio; also a list of them and of strings) go as they are, ``None`` as
    nothing, and the rest as JSON: also dataclasses, enums, dates, msgspec structs and pydantic models.

    Raises:
        TypeError, ValueError, RecursionError: it is not JSON; the message says what is not.
    """
    if value is None:
        return ""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, _PARTS):
        return (value,)
    if isinstance(value, list | tuple) and any(isinstance(item, _PARTS) for item in value):
        return tuple([item if isinstance(item, _PARTS) else TextPart(_text_of(item)) for item in value])
    return _json(value).decode()


def progress_of(value: Any) -> Any:
    """What an async-generator tool yielded, as JSON types. Raises as `output_of`."""
    return _text(value) if isinstance(value, str) else msgspec.json.decode(_json(value))


def _text_of(value: Any) -> str:
    return _text(value) if isinstance(value, str) else _json(value).decode()


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair would fail in every request from now on
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value if type(value) is str else str.__str__(value)


def _json(value: Any) -> bytes:
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError("the tool returned a coroutine; declare its function 'async def'")
    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    raise TypeError(
        f"the tool gave a value of type {type(value).__name__}, which is not JSON; "
        "return text, JSON types, dataclasses, pydantic models or parts"
    )


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


def describe(error: BaseException) -> str:
    """An exception in words for the model; one of ours says all in its own."""
    try:
        text = str(error)
    except Exception:  # an exception's own __str__ may fail
        text = ""
    name = type(error).__name__
    return _text(text if text and isinstance(error, ToolError) else f"{name}: {text}" if text else name)


def tamed(error: BaseException) -> Exception:
    """The exception, as one that neither ends a thread, a process or an event loop, nor stops an iteration."""
    if isinstance(error, SystemExit):
        return RuntimeError(f"the tool called sys.exit({error.code!r})")
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
    except Exception:
        return RuntimeError(describe(error))
    return error
