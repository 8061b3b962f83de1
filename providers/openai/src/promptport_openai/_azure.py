"""OpenAI's APIs on Azure, version 1: the address of a resource, and who asks, by a key or by a token of Entra ID.

Rule: a key stands in Azure's own header, a token is a bearer token. The key of the environment goes only to the address
that an option or variable of Azure names, never to a ``base_url``.

Source: ``AsyncAzureOpenAI`` of the official SDK for the options and variables, and
https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle for the address of version 1.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from promptport.provider import APIKey, ConfigurationError, check_resource_name

__all__ = ["AZURE_OPTIONS", "Azure", "azure_of"]

AZURE_OPTIONS = ("azure_endpoint", "resource", "azure_ad_token", "azure_ad_token_provider")
_PATH = "/openai/v1"


class Azure(msgspec.Struct, frozen=True):
    """Where a request goes, and who asks.

    Attributes:
        url: The base URL, with the version.
        key: The key, the token, or a function that gives a token.
        key_header: The header that carries it.
    """

    url: str
    key: APIKey
    key_header: str


def azure_of(
    platform: str | None, options: dict[str, Any], *, api_key: APIKey | None, base_url: str | None
) -> Azure | None:
    """What these options say of Azure, which are taken out of ``options``; ``None`` if they do not speak of it.

    Raises:
        ConfigurationError: No such platform, no address or key, or options that exclude each other.
    """
    given = {name: options.pop(name) for name in AZURE_OPTIONS if name in options}
    if platform not in (None, "azure"):
        raise ConfigurationError(f"openai: platform: {platform!r} is not known. Pass 'azure', or leave it out.")
    if platform is None and not given:
        return None
    url = _address(given.get("azure_endpoint"), given.get("resource"), base_url)
    ways = {"api_key": api_key, **{name: given.get(name) for name in ("azure_ad_token", "azure_ad_token_provider")}}
    passed = [name for name, value in ways.items() if value]
    if len(passed) > 1:
        raise ConfigurationError(f"openai: {' and '.join(passed)} exclude each other. Pass one of them.")
    token = given.get("azure_ad_token_provider") or given.get("azure_ad_token")
    key = token or api_key
    if not key and base_url is None:
        token = None if os.environ.get("AZURE_OPENAI_API_KEY") else os.environ.get("AZURE_OPENAI_AD_TOKEN")
        key = token or os.environ.get("AZURE_OPENAI_API_KEY")
    if not key:
        text = "no key for Azure. Pass api_key=…, a key or a function that gives a token, or set AZURE_OPENAI_API_KEY."
        raise ConfigurationError(f"openai: {text}")
    return Azure(url, key, "authorization" if token or callable(key) else "api-key")


def _address(endpoint: str | None, resource: str | None, base_url: str | None) -> str:
    given = [
        name for name, value in (("azure_endpoint", endpoint), ("resource", resource), ("base_url", base_url)) if value
    ]
    if len(given) > 1:
        raise ConfigurationError(f"openai: {' and '.join(given)} exclude each other. Pass one of them.")
    if resource is not None:
        check_resource_name(resource, provider="openai")
    if base_url is not None:
        return base_url
    endpoint = (
        f"https://{resource}.openai.azure.com" if resource else endpoint or os.environ.get("AZURE_OPENAI_ENDPOINT")
    )
    if not endpoint:
        text = "no address of Azure. Pass azure_endpoint='https://NAME.openai.azure.com', or set AZURE_OPENAI_ENDPOINT."
        raise ConfigurationError(f"openai: {text}")
    endpoint = endpoint.rstrip("/")
    return endpoint if endpoint.endswith(_PATH) else f"{endpoint}{_PATH}"
