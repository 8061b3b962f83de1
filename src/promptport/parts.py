"""What users' messages and tools' results are made of: text, images, documents, audio.

Rule: what a part can hold is checked when it is made. The ``repr`` of what goes into a model tells sizes, not contents.
"""

from __future__ import annotations

from os import PathLike, fspath
from typing import ClassVar, Self, TypeAlias

import msgspec

from promptport.checking import check_fields, checked
from promptport.errors import InvalidInputError
from promptport.media_files import read_media

__all__ = ["AudioPart", "DocumentPart", "ImagePart", "Quiet", "TextPart", "UserPart"]


class Quiet(msgspec.Struct, frozen=True):
    """Prompts stand in no log line: the ``repr`` of what goes in tells sizes, not contents."""

    def __repr__(self) -> str:
        defaults = dict(zip(reversed(self.__struct_fields__), reversed(self.__struct_defaults__), strict=False))
        shown = [
            f"{name}={_size(value)}"
            for name in self.__struct_fields__
            if (value := getattr(self, name)) != defaults.get(name) and value not in ("", (), {})
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _size(value: object) -> str:
    if isinstance(value, str):
        return f"<{len(value)} characters>"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict):
        return f"<{len(value)} keys>"
    if isinstance(value, tuple):
        return f"({', '.join(map(_size, value))})"
    quiet = isinstance(value, Quiet) or not isinstance(value, msgspec.Struct)
    return repr(value) if quiet else f"{type(value).__name__}(…)"


class TextPart(Quiet, frozen=True, tag="text", omit_defaults=True):
    """Text.

    Attributes:
        text: the text.
        cache: ask the provider to cache the prompt up to and including this part (``Capability.CACHE_CONTROL``).
    """

    text: str
    cache: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


class _Media(Quiet, frozen=True, omit_defaults=True):
    """Bytes or an address; exactly one of them.

    Attributes:
        data: the content's bytes.
        url: where the provider finds the content.
        media_type: such as ``image/png``; needed with ``data``.
    """

    _kinds: ClassVar[tuple[str, ...]] = ()

    data: bytes | None = None
    url: str | None = None
    media_type: str | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if (self.data is None) == (self.url is None):
            raise InvalidInputError(f"{name} takes either data or url")
        if not isinstance(self.data, bytes | None):
            raise InvalidInputError(f"{name}: data takes bytes, not {type(self.data).__name__}")
        if self.data is not None and not self.media_type:
            raise InvalidInputError(f"{name} with data needs its media_type, such as 'image/png'")
        if self.data == b"":
            raise InvalidInputError(f"{name} has no data")
        check_fields(self)

    @classmethod
    @checked
    def from_file(
        cls, path: str | PathLike[str], *, media_type: str | None = None, max_bytes: int = 50_000_000
    ) -> Self:
        """Read a file into a part.

        Args:
            path: the file.
            media_type: such as ``image/png``. Default: what the file begins with, or else what its name ends in.
            max_bytes: the largest file that is read. Default: 50,000,000.

        Raises:
            InvalidInputError: the file cannot be read, is empty or too large, or is not of this kind.

        Examples:
            ```python
            import promptport as pp

            prompt = pp.Prompt().user("What is on this picture?", pp.ImagePart.from_file("picture.png"))
            ```
        """
        where = f"{cls.__name__}.from_file()"
        data, found = read_media(path, media_type, max_bytes, where=where, kinds=cls._kinds)
        return cls(data=data, media_type=found)


class ImagePart(_Media, frozen=True, tag="image", omit_defaults=True):
    """An image (``Capability.IMAGES``).

    Attributes:
        detail: ``low``, ``high`` or what else the provider knows; ``None`` leaves it to the provider.
        cache: as in `TextPart`.
    """

    _kinds = ("image/",)

    detail: str | None = None
    cache: bool = False


class DocumentPart(_Media, frozen=True, tag="document", omit_defaults=True):
    """A document, such as a PDF (``Capability.DOCUMENTS``).

    Attributes:
        name: the file's name, which some providers show to the model.
        cache: as in `TextPart`.
    """

    _kinds = ("application/", "text/")

    name: str | None = None
    cache: bool = False

    @classmethod
    @checked
    def from_file(
        cls, path: str | PathLike[str], *, media_type: str | None = None, max_bytes: int = 50_000_000
    ) -> Self:
        """Read a file into a part, with its name; see `ImagePart.from_file`."""
        part = super().from_file(path, media_type=media_type, max_bytes=max_bytes)
        return msgspec.structs.replace(part, name=fspath(path).replace("\\", "/").rpartition("/")[2])


class AudioPart(_Media, frozen=True, tag="audio", omit_defaults=True):
    """Recorded speech or sound (``Capability.AUDIO``)."""

    _kinds = ("audio/",)


UserPart: TypeAlias = TextPart | ImagePart | DocumentPart | AudioPart
"""What a user's message, or a tool's result, is made of."""
