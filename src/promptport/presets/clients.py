"""A preset → a client.

Rule: a key goes only to its own address: the table's base URL with its holes filled. Another ``base_url`` gets a key
only if it was passed as ``api_key``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import msgspec

from promptport.errors import ConfigurationError
from promptport.http import HTTPClient, chat_provider
from promptport.llm_client import LLMClient
from promptport.models import Capability, LLModel, ModelCapabilities, StreamedTools
from promptport.presets.table import Preset, preset
from promptport.protocols import ChatDialect

__all__ = ["client_of"]

_HOLE = re.compile(r"\{(\w+)\}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # one label of a host's name: no dot leads to another host
_NAME = r"[A-Za-z0-9_-](?:[A-Za-z0-9_-]|\.(?!\.))*"


def client_of(name: str, **options: Any) -> LLMClient:
    """A client of this preset's server.

    Args:
        name: the preset's.
        options: what `HTTPClient` takes, ``text_calls`` (see `chat_provider`), and the preset's holes by their names.

    Raises:
        ConfigurationError: no such preset, a hole that nothing fills, no key, or an option that it does not take.
    """
    row = preset(name)
    url = row.base_url
    given = {hole: options.pop(hole, None) for hole in _HOLE.findall(url)}
    if options.get("base_url") is None:
        for hole in given:
            url = url.replace(f"{{{hole}}}", _filling(row, hole, given.get(hole)))
    variable = next((each for each in row.key_env if os.environ.get(each)), next(iter(row.key_env), ""))
    if row.api != "chat":
        return _by_another(row, url, variable, options)
    made = _class(msgspec.json.encode(row), url, variable)
    return made(**options)


def __getattr__(name: str) -> Callable[..., LLMClient]:
    """What the entry points of the built-in presets name."""
    if name.startswith("_"):
        raise AttributeError(name)
    return partial(client_of, name.replace("_", "-"))


def _filling(row: Preset, hole: str, value: str | None) -> str:
    variables = row.holes.get(hole, ())
    found = value or next((os.environ[each] for each in variables if os.environ.get(each)), None)
    if not found:
        ways = " or ".join([f"pass {hole}=…", *[f"set {each}" for each in variables]])
        raise ConfigurationError(f"{row.name}: its address needs {hole!r}: {ways}")
    host = row.base_url.partition("://")[2].partition("/")[0]
    in_host = f"{{{hole}}}" in host and host.partition(":")[0] != f"{{{hole}}}"
    if not (isinstance(found, str) and re.fullmatch(_LABEL if in_host else _NAME, found)):
        raise ConfigurationError(f"{row.name}: {hole}: {found!r} cannot be a part of an address. Write the name alone.")
    return found


def _by_another(row: Preset, url: str, variable: str, options: dict[str, Any]) -> LLMClient:
    from promptport.registry import client  # noqa: PLC0415 - the registry asks for presets

    if options.get("base_url") is None:
        options["base_url"] = url
        if options.get("api_key") is None and variable:
            if not os.environ.get(variable):
                ways = " or ".join(row.key_env)
                raise ConfigurationError(f"{row.name}: there is no API key. Pass api_key=…, or set {ways}.")
            options["api_key"] = os.environ[variable]
    from promptport.text_tools import with_text_calls  # noqa: PLC0415 - few ask for it

    text_calls = options.pop("text_calls", None) or row.text_calls
    if row.headers:
        options["headers"] = {**row.headers, **(options.get("headers") or {})}
    made: Any = client("openai" if row.api == "responses" else "anthropic", **options)
    made.provider = row.name
    theirs: Callable[[LLModel], ModelCapabilities] = made.capabilities

    def capabilities(model: LLModel) -> ModelCapabilities:
        """What the row says of a model, or else what the API's own table says, and the row's corrections of it."""
        mine = row.capabilities(model.id)
        return model.capabilities or (mine if mine.known else theirs(model).with_(*row.has).without(*row.lacks))

    made.capabilities = capabilities
    return with_text_calls(made, text_calls, provider=row.name)


@lru_cache(maxsize=128)
def _class(encoded: bytes, url: str, variable: str) -> Callable[..., HTTPClient]:
    row = msgspec.json.decode(encoded, type=Preset)
    try:
        dialect = msgspec.convert(row.dialect, ChatDialect)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"presets: {row.name!r}: dialect: {error}. See ChatDialect.") from None
    base = chat_provider(
        row.name,
        url,
        variable,
        dialect=dialect,
        capabilities=row.capabilities,
        headers=row.headers,
        key_header=row.key_header,
        token_header=row.token_header,
        needs_key=bool(row.key_env),
        text_calls=row.text_calls,
    )
    if not row.discover:
        return base

    async def discover(self: HTTPClient, model: LLModel) -> ModelCapabilities:
        """What the server's list says of this model, over what the table says."""
        found = self.capabilities(model)
        listed = await self._get(self.models_path)
        entries = listed.get("data", listed.get("models")) if isinstance(listed, dict) else listed
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and _names(entry, model.id):
                return _read(entry, row.discover, found)
        return found

    return type(base.__name__, (base,), {"discover": discover, "__doc__": base.__doc__})


def _names(entry: dict[str, Any], model: str) -> bool:
    """Whether an entry is of this model; a router takes a provider's name behind the model's."""
    told = (entry.get("id"), entry.get("name"))
    return model in told or (":" in model and model.rpartition(":")[0] in told)


def _read(entry: dict[str, Any], paths: dict[str, str], found: ModelCapabilities) -> ModelCapabilities:
    for field, path in paths.items():
        place, _, word = path.partition("=")
        values = _at(entry, place.split("."))
        if field in ("context_length", "max_output_tokens"):
            counts = [value for value in values if type(value) is int and value > 0]
            if counts:  # of several servers behind a router, what each of them takes
                found = msgspec.structs.replace(found, known=True, **{field: min(counts)})
        elif values:
            has = any(word in value if word and isinstance(value, list | str) else bool(value) for value in values)
            found = _with(found, Capability(field), has)
    return found


def _at(value: Any, steps: list[str]) -> list[Any]:
    """What stands at a path; through each of a list's objects."""
    if isinstance(value, list) and steps:
        return [found for each in value for found in _at(each, steps)]
    if not steps:
        return [] if value is None else [value]
    return _at(value.get(steps[0]), steps[1:]) if isinstance(value, dict) else []


_OF_TOOLS = (Capability.TOOLS, Capability.TOOL_CHOICE, Capability.PARALLEL_TOOL_CALLS)


def _with(found: ModelCapabilities, capability: Capability, has: bool) -> ModelCapabilities:
    if has:
        if capability is Capability.TOOLS and found.streamed_tools is StreamedTools.NONE:
            found = msgspec.structs.replace(found, streamed_tools=StreamedTools.DELTAS)
        return found.with_(capability)
    if capability is Capability.TOOLS:
        return msgspec.structs.replace(found.without(*_OF_TOOLS), streamed_tools=StreamedTools.NONE)
    return found.without(capability)
