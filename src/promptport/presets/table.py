"""The table of presets: the built-in file, the user's files, and what a program registers.

Rule: a row says nothing secret: keys stay in environment variables, and the table holds their names. Later rows go
before earlier ones: the built-in file, the user's folder, ``PROMPTPORT_PROVIDERS``, `register`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from promptport.errors import ConfigurationError
from promptport.llm_client import LLMClient
from promptport.messages import ReasoningEffort
from promptport.models import Capability, ModelCapabilities, StreamedTools

__all__ = ["BUILT_IN", "ModelRow", "Preset", "names", "preset", "preset_client", "register", "user_names"]

BUILT_IN = Path(__file__).with_name("presets.toml")
_HAS_NOT = frozenset([Capability.REASONING, Capability.REASONING_BUDGET, Capability.CACHE_CONTROL])
_registered: dict[str, dict[str, Any]] = {}


class ModelRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the models of one pattern can do.

    Attributes:
        tools: how tool calls come in a stream: ``deltas``, ``whole`` or ``none``. Default: the preset's.
        has: capabilities besides the preset's.
        lacks: capabilities that the models do not have.
        context_length: in tokens.
        max_output_tokens: in tokens.
        efforts: the reasoning efforts that the models take; empty for all that the dialect has.
    """

    tools: StreamedTools | None = None
    has: tuple[Capability, ...] = ()
    lacks: tuple[Capability, ...] = ()
    context_length: int | None = None
    max_output_tokens: int | None = None
    efforts: tuple[ReasoningEffort, ...] = ()


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One server: a row of the table.

    Attributes:
        name: the provider's name.
        base_url: may hold holes, such as ``{resource}``; see ``holes``.
        api: what it speaks: ``chat``, ``responses`` or ``messages``.
        holes: for each hole, the environment variables that fill it, if the option of its name does not.
        key_env: the environment variables of the key, the first that is set counts; empty if the server needs none.
        key_header: the header of the key; ``authorization`` carries ``Bearer`` and the key.
        token_header: the header of a token that ``api_key=function`` gives, where it is another.
        headers: sent with every request.
        dialect: the fields of `ChatDialect` that differ.
        tools: how tool calls come in a stream, for models that no pattern describes.
        has: capabilities besides those of Chat Completions.
        lacks: capabilities that the server does not have.
        models: patterns of model ids, and what these models can do; the first that fits counts.
        text_calls: whether tool calls are also read out of the text: ``auto`` or ``off``. For self-hosted models.
        discover: for ``context_length``, ``max_output_tokens`` or a capability, the path in the server's list.
        page: where the facts stand.
        checked: when they were looked up, as ``2026-11-25``.
        models_page: where the facts of ``models`` stand, if not there.
        models_checked: when those were looked up, if not then.
    """

    name: str
    base_url: str
    api: Literal["chat", "responses", "messages"] = "chat"
    holes: dict[str, tuple[str, ...]] = {}
    key_env: tuple[str, ...] = ()
    key_header: str = "authorization"
    token_header: str = ""
    headers: dict[str, str] = {}
    dialect: dict[str, Any] = {}
    tools: StreamedTools = StreamedTools.DELTAS
    has: tuple[Capability, ...] = ()
    lacks: tuple[Capability, ...] = ()
    models: dict[str, ModelRow] = {}
    text_calls: Literal["auto", "off"] = "off"
    discover: dict[str, str] = {}
    page: str = ""
    checked: str = ""
    models_page: str = ""
    models_checked: str = ""

    def capabilities(self, model: str) -> ModelCapabilities:
        """What a model of this server can do; without network."""
        mine = (frozenset(Capability) - _HAS_NOT | frozenset(self.has)) - frozenset(self.lacks)
        row = next((row for pattern, row in self.models.items() if fnmatchcase(model, pattern)), None)
        if row is None:
            return ModelCapabilities(self.tools, _consistent(self.tools, mine), known=False)
        tools = row.tools if row.tools is not None else self.tools
        theirs = (mine | frozenset(row.has)) - frozenset(row.lacks)
        return ModelCapabilities(
            tools,
            _consistent(tools, theirs),
            row.context_length,
            row.max_output_tokens,
            efforts=tuple([effort.value for effort in row.efforts]),
        )


def _consistent(tools: StreamedTools, has: frozenset[Capability]) -> frozenset[Capability]:
    """Without tools there is no choice among them, and without images a result holds none."""
    if tools is StreamedTools.NONE:
        has -= {Capability.TOOLS, Capability.TOOL_CHOICE, Capability.PARALLEL_TOOL_CALLS, Capability.TOOL_RESULT_IMAGES}
    return has if Capability.IMAGES in has else has - {Capability.TOOL_RESULT_IMAGES}


def register(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Add presets, or replace those of the same name.

    Args:
        rows: For each name the fields of `Preset`, or ``extends`` with the name of another preset and what differs.

    Raises:
        ConfigurationError: A row is not usable. Then none of them is added.

    Examples:
        ```python
        import promptport as pp

        pp.presets.register({"gpu": {"extends": "vllm", "base_url": "http://gpu:8000/v1", "key_env": ["GPU_KEY"]}})
        client = pp.client("gpu", api_key="any")
        ```
    """
    added = {name: dict(row) for name, row in rows.items()}
    before = dict(_registered)
    _registered.update(added)
    try:
        for name in added:
            preset(name)
    except ConfigurationError:
        _registered.clear()
        _registered.update(before)
        raise


def names() -> list[str]:
    """The names of all presets, sorted."""
    return sorted(_rows())


def user_names() -> list[str]:
    """The names that the user's files and `register` add, sorted."""
    return sorted({**_user_rows(), **_registered})


def preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        ConfigurationError: There is none, or its row is not usable.
    """
    row = _merged(name, _rows(), ())
    try:
        return msgspec.convert({**row, "name": name}, Preset)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"presets: {name!r} is not usable: {error}. See promptport.presets.Preset.") from None


def preset_client(name: str, **options: Any) -> LLMClient:
    """A client of this preset's server; see `promptport.presets.clients.client_of`."""
    from promptport.presets.clients import client_of  # noqa: PLC0415 - HTTP, which the table needs not

    return client_of(name, **options)


def _merged(name: str, rows: Mapping[str, dict[str, Any]], seen: tuple[str, ...]) -> dict[str, Any]:
    if name not in rows:
        raise ConfigurationError(f"presets: there is no preset {name!r}. Known: {', '.join(sorted(rows))}.")
    row = dict(rows[name])
    base = row.pop("extends", None)
    if base is None:
        return row
    if base == name or base in seen:
        raise ConfigurationError(f"presets: {name!r} extends itself, by way of {base!r}. Name another preset.")
    if base == "openai-chat":
        return row
    below = _merged(base, rows, (*seen, name))
    if row.get("base_url", below["base_url"]) != below["base_url"] and "key_env" not in row:
        row["key_env"] = []  # a key goes only to whom it belongs: another address has keys of its own
    for field in ("dialect", "models", "headers", "discover", "holes"):
        if field in below and field in row:
            row[field] = {**row[field], **{k: v for k, v in below[field].items() if k not in row[field]}}
    return {**below, **row}


def _rows() -> dict[str, dict[str, Any]]:
    return {**_file(BUILT_IN, 0), **_user_rows(), **_registered}


def _user_rows() -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    paths = [Path(folder) / "promptport" / "providers.toml"]
    if given := os.environ.get("PROMPTPORT_PROVIDERS"):
        paths += [Path(each) for each in given.split(os.pathsep) if each]
        if missing := [str(path) for path in paths[1:] if not path.is_file()]:
            raise ConfigurationError(f"PROMPTPORT_PROVIDERS names a file that is not there: {missing[0]}. Correct it.")
    for path in paths:
        if path.is_file():
            rows.update(_file(path, path.stat().st_mtime_ns))
    return rows


@lru_cache(maxsize=8)
def _file(path: Path, _changed: int) -> dict[str, dict[str, Any]]:
    import tomllib  # noqa: PLC0415 - few programs need it

    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path}: this is not a table of presets: {error}. Correct the file.") from None
    for name, row in rows.items():
        if not isinstance(row, dict):
            raise ConfigurationError(f"{path}: {name!r} is not a table. Write [{name}] and its fields below it.")
    return rows
