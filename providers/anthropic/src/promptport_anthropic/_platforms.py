"""Claude on Bedrock, on Vertex AI and on Microsoft Foundry: what differs there from Anthropic's own address.

Rule: a platform says where a request goes, who asks, and what its body holds besides; the Messages API stays the same.
What is sent is what the official SDK's client of that platform sends, and tests compare the two.

Source: ``AnthropicBedrock``, ``AnthropicVertex`` and ``AnthropicFoundry`` of the SDK 2.x.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from promptport.provider import (
    APIKey,
    AWSAccess,
    ConfigurationError,
    GoogleCloud,
    HTTPRequest,
    check_options,
    check_resource_name,
    environment_key,
)

__all__ = ["PLATFORM_OPTIONS", "Bedrock", "Foundry", "Platform", "Vertex", "platform_of"]

PLATFORM_OPTIONS = {
    "bedrock": ("region", "access_key", "secret_key", "session_token", "profile"),
    "vertex": ("project", "location", "credentials"),
    "foundry": ("resource",),
}
"""What each platform takes, besides ``api_key`` and ``base_url``."""

_OF_THE_SDK = frozenset({"profile", "credentials"})
"""Without a platform, these are the SDK's own."""


class Platform:
    """Where Claude runs.

    Attributes:
        url: The address that is asked.
        home: The platform's own address.
        key: A key or token that the client sends, or ``None``.
        key_header: The header that carries it.
        access: What signs a request, or puts a fresh token into it; ``None`` where a key says who asks.
        accept: The media type of a streamed response.
        count_path: Where tokens are counted; an empty string if they are not.
    """

    url: str
    home: str
    key: APIKey | None = None
    access: AWSAccess | GoogleCloud | None = None
    key_header = "authorization"
    accept = "text/event-stream"
    count_path = ""

    def path(self, model: str, *, stream: bool) -> str:
        """Where a request for this model goes."""
        return "/v1/messages"

    def fit(self, body: dict[str, Any], version: str, betas: list[str]) -> None:
        """Makes the body what the platform takes: its URL names the model, its body the version."""

    async def prepare(self, request: HTTPRequest) -> None:
        """Says who asks, where a key does not."""
        if self.access is not None:
            await self.access.prepare(request)


class Bedrock(Platform):
    """AWS Bedrock: the model's own protocol, in frames of an AWS event stream."""

    accept = "application/vnd.amazon.eventstream"

    def __init__(self, *, api_key: APIKey | None, base_url: str | None, **options: Any) -> None:
        """``options``: see `AWSAccess`. ``base_url``: Default: ``ANTHROPIC_BEDROCK_BASE_URL``, or the region's."""
        variables = ("ANTHROPIC_BEDROCK_BASE_URL",)
        self.access = access = AWSAccess(
            provider="anthropic", api_key=api_key, base_url=base_url, url_variables=variables, **options
        )
        self.url = self.home = access.url
        self.key = access.key

    def path(self, model: str, *, stream: bool) -> str:
        """See `Platform.path`."""
        return f"/model/{quote(model, safe=':')}/invoke{'-with-response-stream' if stream else ''}"

    def fit(self, body: dict[str, Any], version: str, betas: list[str]) -> None:
        """See `Platform.fit`."""
        for name in ("model", "stream"):
            body.pop(name, None)
        body.setdefault("anthropic_version", version)
        if betas:
            body.setdefault("anthropic_beta", betas)


class Vertex(Platform):
    """Vertex AI: server-sent events as at home, below the path of a project."""

    def __init__(
        self,
        *,
        api_key: APIKey | None,
        base_url: str | None,
        project: str | None = None,
        location: str | None = None,
        credentials: Any = None,
    ) -> None:
        """``api_key``: an access token, or a function that gives one. The others: see `GoogleCloud`."""
        if api_key is not None and credentials is not None:
            raise ConfigurationError("anthropic: api_key and credentials exclude each other. Pass one of them.")
        self.access = self._cloud = GoogleCloud(
            provider="anthropic",
            project=project,
            location=location,
            credentials=credentials,
            keyed=api_key is not None,
            base_url=base_url,
            url_variable="ANTHROPIC_VERTEX_BASE_URL",
            project_variables=("ANTHROPIC_VERTEX_PROJECT_ID", "GOOGLE_CLOUD_PROJECT"),
            location_variables=("CLOUD_ML_REGION", "GOOGLE_CLOUD_LOCATION"),
        )
        if not self._cloud.project:
            text = "no project. Pass project='my-project', or set ANTHROPIC_VERTEX_PROJECT_ID or GOOGLE_CLOUD_PROJECT."
            raise ConfigurationError(f"anthropic: {text}")
        own = self._cloud.url == self._cloud.home
        self.url = self.home = f"{self._cloud.url}/v1" if own else self._cloud.url
        self.key = api_key
        self.count_path = f"/{self._cloud.within_project('publishers/anthropic/models/count-tokens:rawPredict')}"

    def path(self, model: str, *, stream: bool) -> str:
        """See `Platform.path`."""
        verb = "streamRawPredict" if stream else "rawPredict"
        named = quote(model, safe="@")
        return f"/{self._cloud.within_project(f'publishers/anthropic/models/{named}:{verb}')}"

    def fit(self, body: dict[str, Any], version: str, betas: list[str]) -> None:
        """See `Platform.fit`; tokens are counted by a path that names no model, so that the body keeps it."""
        if "max_tokens" in body:
            body.pop("model", None)
        body.setdefault("anthropic_version", version)


class Foundry(Platform):
    """Microsoft Foundry: the Messages API as it is, with a key of its own or a token of Entra ID."""

    key_header = "x-api-key"
    count_path = "/v1/messages/count_tokens"

    def __init__(self, *, api_key: APIKey | None, base_url: str | None, resource: str | None = None) -> None:
        """``resource``: the name in the address. ``api_key``: a key, or a function that gives a token of Entra ID."""
        if resource is not None and base_url is not None:
            raise ConfigurationError("anthropic: resource and base_url exclude each other. Pass one of them.")
        given = base_url or (None if resource else os.environ.get("ANTHROPIC_FOUNDRY_BASE_URL"))
        resource = resource or os.environ.get("ANTHROPIC_FOUNDRY_RESOURCE")
        if not given and resource:
            given = f"https://{check_resource_name(resource, provider='anthropic')}.services.ai.azure.com/anthropic"
        if not given:
            text = "no resource. Pass resource='my-resource' or base_url=…, or set ANTHROPIC_FOUNDRY_RESOURCE."
            raise ConfigurationError(f"anthropic: {text}")
        self.url = self.home = given
        self.key = api_key
        if api_key is None:
            self.key, note = environment_key("ANTHROPIC_FOUNDRY_API_KEY", own=not base_url)
            if self.key is None:
                ways = "Pass api_key=…, a key or a function that gives a token, or set ANTHROPIC_FOUNDRY_API_KEY."
                raise ConfigurationError(f"anthropic: no API key. {ways} {note}".rstrip())
        if callable(self.key):
            self.key_header = "authorization"

    async def prepare(self, request: HTTPRequest) -> None:
        """See `Platform.prepare`; the SDK names the key twice, since some gateways know the second name only."""
        if "x-api-key" in request.headers:
            request.headers.setdefault("api-key", request.headers["x-api-key"])


_PLATFORMS: Mapping[str, type[Platform]] = {"bedrock": Bedrock, "vertex": Vertex, "foundry": Foundry}


def platform_of(
    name: str | None, options: dict[str, Any], *, api_key: APIKey | None, base_url: str | None
) -> Platform | None:
    """The platform of this name, which takes its own out of ``options``; ``None`` for Anthropic's own address.

    Raises:
        ConfigurationError: No such platform, an option of another one, or one that cannot be used.
    """
    if name is None:
        for platform, names in PLATFORM_OPTIONS.items():
            for each in names:
                if each in options and each not in _OF_THE_SDK:
                    raise ConfigurationError(
                        f"anthropic: {each} is an option of a platform. Pass platform={platform!r} with it."
                    )
        return None
    if name not in _PLATFORMS:
        raise ConfigurationError(f"anthropic: platform: {name!r} is not known. Pass one of {', '.join(_PLATFORMS)}.")
    check_options(options, PLATFORM_OPTIONS[name], where=f"AnthropicClient with platform={name!r}")
    taken = {each: options.pop(each) for each in list(options)}
    made: Any = _PLATFORMS[name]
    return made(api_key=api_key, base_url=base_url, **taken)  # type: ignore[no-any-return]
