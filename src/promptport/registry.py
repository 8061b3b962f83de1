"""Providers by name: the entry points of the group ``promptport.providers``.

Rule: listing imports no provider; asking for one imports that one. A name belongs to one distribution: where two claim
it, nobody gets it silently.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from promptport.arguments import check_options
from promptport.errors import ConfigurationError, InvalidInputError
from promptport.llm_client import LLMClient
from promptport.presets import preset_client, user_names

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["ProviderInfo", "client", "providers"]

GROUP = "promptport.providers"

_UNKNOWN = re.compile(r"unexpected keyword argument '(\w+)'")
_EVERYWHERE = frozenset(
    {"api_key", "base_url", "headers", "http_client", "max_connections", "sdk_client", "ssl_context", "timeouts"}
)
"""What most factories take, for the words of an error."""

_KNOWN = {
    "anthropic": "anthropic",
    "bedrock": "bedrock",
    "cohere": "cohere",
    "google": "google",
    "google-vertex": "google",
    "local": "local",
    "ollama": "ollama",
    "openai": "openai",
    "openai-chat": "openai",
}
"""The names that we know, and the extra that installs each."""


class ProviderInfo(msgspec.Struct, frozen=True):
    """One provider that is installed, or that could be.

    Attributes:
        name: as in ``LLModel.provider``.
        distribution: the package that has it, or that would.
        installed: whether it is there.
        hint: the command that installs it, where it is not.
    """

    name: str
    distribution: str
    installed: bool
    hint: str = ""


def providers() -> list[ProviderInfo]:
    """The providers that are installed, and the known ones that are not, by name; imports none of them."""
    found = _entry_points()
    infos = [
        ProviderInfo(name, points[0].dist.name if points[0].dist else "", installed=True)
        for name, points in found.items()
    ]
    infos += [
        ProviderInfo(name, f"promptport-{extra}", installed=False, hint=_hint(extra))
        for name, extra in _KNOWN.items()
        if name not in found
    ]
    names = {info.name for info in infos}
    infos += [ProviderInfo(name, "", installed=True) for name in user_names() if name not in names]
    return sorted(infos, key=lambda info: info.name)


def client(provider: str, **options: Any) -> LLMClient:
    """A client for one provider.

    Args:
        provider: its name, such as ``anthropic``.
        options: what its factory takes: ``api_key``, ``base_url``, ``timeouts``, ``http_client``, and its own.

    Raises:
        InvalidInputError: the name is not a string, or an option has the wrong type.
        ConfigurationError: no such provider (with the command that installs it), two of one name, no key, an option
            that it does not take.
    """
    if not isinstance(provider, str):
        raise InvalidInputError(
            f"client(): provider must be a name, not {type(provider).__name__}. Write client('anthropic')."
        )
    points = _entry_points().get(provider)
    if provider in user_names():
        if points is not None and points[0].dist is not None and points[0].dist.name != "promptport":
            raise ConfigurationError(
                f"the package {points[0].dist.name} has the provider {provider!r}, and so has a preset of yours;"
                " give the preset another name"
            )
        return preset_client(provider, **options)
    if points is None:
        if provider in _KNOWN:
            raise ConfigurationError(f"the provider {provider!r} is not installed: {_hint(_KNOWN[provider])}")
        known = ", ".join(info.name for info in providers())
        raise ConfigurationError(f"there is no provider {provider!r}; known: {known}")
    if len(points) > 1:
        claims = " and ".join(sorted(point.dist.name if point.dist else point.value for point in points))
        raise ConfigurationError(f"two packages claim the provider name {provider!r}: {claims}; uninstall one of them")
    try:
        factory = points[0].load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"the provider {provider!r} cannot be imported: {error}") from error
    try:
        made: LLMClient = factory(**options)
    except TypeError as error:
        unknown = _UNKNOWN.search(str(error))
        if unknown is None:
            raise
        check_options([unknown[1]], _options_of(factory, error) - {unknown[1]}, where=f"client({provider!r})")
        raise
    return made


def _options_of(factory: Callable[..., Any], error: TypeError) -> frozenset[str]:
    """The options that a factory takes; where it hands them on, those of the class that refused one."""
    called: Any = factory
    refused = re.match(r"(\w+)\.__init__\(\)", str(error))
    frame = error.__traceback__
    while frame is not None:
        if refused is not None and refused[1] in frame.tb_frame.f_globals:
            called = frame.tb_frame.f_globals[refused[1]]
        frame = frame.tb_next
    try:
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):
        return _EVERYWHERE
    names = frozenset([each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY])
    return names or _EVERYWHERE


def _entry_points() -> dict[str, list[EntryPoint]]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - a fifth of the import time of all of this package

    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        known = found.setdefault(point.name, [])
        # One distribution may be seen twice, on two entries of sys.path; that is not two claims.
        if all((point.value, point.dist and point.dist.name) != (p.value, p.dist and p.dist.name) for p in known):
            known.append(point)
    return found


def _hint(extra: str) -> str:
    return f'pip install "promptport[{extra}]"'
