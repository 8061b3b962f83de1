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
from promptport.models import Capability, LLModel, ModelCapabilities
from promptport.presets.table import Preset, preset
from promptport.protocols import ChatDialect

__all__ = ["client_of"]

_HOLE = re.compile(r"\{(\w+)\}")


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
    given = {hole: options.pop(hole, None) for hole in row.holes}
    if options.get("base_url") is None:
        for hole in _HOLE.findall(url):
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
    if not re.fullmatch(r"[A-Za-z0-9._-]+", found):
        raise ConfigurationError(f"{row.name}: {hole}: {found!r} cannot be a part of an address. Write the name alone.")
    return found


def _by_another(row: Preset, url: str, variable: str, options: dict[str, Any]) -> LLMClient:
    from promptport.registry import client  # noqa: PLC0415 - the registry asks for presets

    if options.get("base_url") is None:
        options["base_url"] = url
        if options.get("api_key") is None and variable and os.environ.get(variable):
            options["api_key"] = os.environ[variable]
    from promptport.text_tools import with_text_calls  # noqa: PLC0415 - few ask for it

    text_calls = options.pop("text_calls", None) or row.text_calls
    made: Any = client("openai" if row.api == "responses" else "anthropic", **options)
    made.provider = row.name
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
            if isinstance(entry, dict) and model.id in (entry.get("id"), entry.get("name")):
                return _read(entry, row.discover, found)
        return found

    return type(base.__name__, (base,), {"discover": discover, "__doc__": base.__doc__})


def _read(entry: dict[str, Any], paths: dict[str, str], found: ModelCapabilities) -> ModelCapabilities:
    for field, path in paths.items():
        value: Any = entry
        place, _, word = path.partition("=")
        for step in place.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if field in ("context_length", "max_output_tokens"):
            if type(value) is int and value > 0:
                found = msgspec.structs.replace(found, known=True, **{field: value})
        elif value is not None:
            has = word in value if word and isinstance(value, list | str) else bool(value)
            one = Capability(field)
            found = found.with_(one) if has else found.without(one)
    return found
