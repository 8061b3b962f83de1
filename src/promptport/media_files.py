"""A file → its bytes and media type, for the parts that take files.

Rule: what a file begins with counts more than what its name ends in, and a file that cannot be sent is refused here.
"""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from promptport.errors import InvalidInputError

__all__ = ["read_media"]

_BEGINNINGS: tuple[tuple[bytes, int, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"ftypheic", 4, "image/heic"),
    (b"ftypavif", 4, "image/avif"),
    (b"%PDF-", 0, "application/pdf"),
    (b"WAVE", 8, "audio/wav"),
    (b"ID3", 0, "audio/mpeg"),
    (b"fLaC", 0, "audio/flac"),
    (b"OggS", 0, "audio/ogg"),
)
_ENDINGS = {".md": "text/markdown", ".webp": "image/webp", ".avif": "image/avif", ".heic": "image/heic"}
_PARTS = {"image/": "ImagePart", "audio/": "AudioPart", "application/": "DocumentPart", "text/": "DocumentPart"}


def read_media(
    path: str | PathLike[str], media_type: str | None, max_bytes: int, *, where: str, kinds: tuple[str, ...]
) -> tuple[bytes, str]:
    """The bytes of a file, and what they are.

    Args:
        path: the file.
        media_type: what the caller says that it is, or ``None``.
        max_bytes: the largest file that is read.
        where: the verb, for errors.
        kinds: how the media types begin that are taken.

    Raises:
        InvalidInputError: it cannot be read, is empty or too large, or is of another kind.
    """
    if not isinstance(path, str | PathLike):
        raise InvalidInputError(f"{where}: path is a string or a Path, not {type(path).__name__}.")
    if max_bytes < 1:
        raise InvalidInputError(f"{where}: max_bytes must be at least 1, not {max_bytes!r}.")
    name = fspath(path)
    try:
        with Path(name).expanduser().open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(f"{where}: {name!r} cannot be read: {reason}. Check the path.") from error
    if not data:
        raise InvalidInputError(f"{where}: {name!r} is empty. Pass a file with content.")
    if len(data) > max_bytes:
        raise InvalidInputError(f"{where}: {name!r} has more than {max_bytes:,} bytes. Raise max_bytes, or send less.")
    found = media_type or _media_type(data, name)
    if found is None:
        raise InvalidInputError(f"{where}: the media type of {name!r} is not known. Pass media_type='{kinds[0]}…'.")
    if not found.startswith(kinds):
        other = next((part for kind, part in _PARTS.items() if found.startswith(kind)), None)
        hint = f"Use {other}.from_file()." if other else f"It takes {' and '.join(kinds)}…"
        raise InvalidInputError(f"{where}: {name!r} is {found}. {hint}")
    return data, found


def _media_type(data: bytes, name: str) -> str | None:
    for beginning, offset, media_type in _BEGINNINGS:
        if data.startswith(beginning, offset):
            return media_type
    import mimetypes  # noqa: PLC0415 - only for those who read files

    ending = Path(name).suffix.lower()
    known = _ENDINGS.get(ending) or mimetypes.guess_type(f"file{ending}")[0]
    return known.replace("audio/x-wav", "audio/wav") if known else None
