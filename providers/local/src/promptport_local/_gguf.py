"""What a GGUF file says about its model, read without loading it. Pure but for the file.

Source: the GGUF specification (ggml's ``docs/gguf.md``), versions 2 and 3: magic, version, counts, then key-value
pairs, then the tensors, which are not looked at.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["GGUFError", "GGUFHeader", "read_header"]

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LONGEST_TEXT = 1 << 20


class GGUFError(ValueError):
    """Not a GGUF file, or not a whole one; the message says which."""


class GGUFHeader(msgspec.Struct, frozen=True):
    """What is known before loading.

    Attributes:
        architecture: such as ``llama``.
        context_length: the context that the model was trained with, in tokens, or ``None``.
        chat_template: the template (Jinja) that makes a prompt of messages, or an empty string.
    """

    architecture: str
    context_length: int | None
    chat_template: str

    @property
    def has_tools(self) -> bool:
        """The template has a place for tools, so the model was trained to call them."""
        return "tools" in self.chat_template


class _Reader:
    """A cursor over the file's bytes."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise GGUFError("the file ends in its header: was it downloaded whole?")
        self._at += size
        return taken

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self) -> str:
        size = self.number("<Q")
        if size > _LONGEST_TEXT:
            raise GGUFError("its header holds an impossible length")
        return self.take(size).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A value; arrays, which are vocabularies, are passed over and give ``None``."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in _SCALARS:
                self._at += struct.calcsize(_SCALARS[inner]) * count
            elif inner == _STRING:
                for _ in range(count):
                    size = self.number("<Q")
                    self._at += size
            else:
                raise GGUFError("its header holds an array of an unknown kind")
            return None
        if kind not in _SCALARS:
            raise GGUFError("its header holds a value of an unknown kind")
        return self.number(_SCALARS[kind])


def read_header(path: Path) -> GGUFHeader:
    """What the file at ``path`` says.

    Raises:
        GGUFError: it is no GGUF file, or not a whole one.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise GGUFError("it is not a GGUF file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            reader = _Reader(data)
            reader.take(4)
            version = reader.number("<I")
            if version not in (2, 3):
                raise GGUFError(f"it is GGUF version {version}, and versions 2 and 3 are known")
            reader.number("<Q")  # how many tensors
            values = {reader.text(): reader.value(reader.number("<I")) for _ in range(reader.number("<Q"))}
    architecture = values.get("general.architecture")
    length = values.get(f"{architecture}.context_length")
    template = values.get("tokenizer.chat_template")
    return GGUFHeader(
        architecture if isinstance(architecture, str) else "",
        length if isinstance(length, int) else None,
        template if isinstance(template, str) else "",
    )
