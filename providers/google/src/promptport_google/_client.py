"""`GeminiClient`: the Gemini Developer API by key. `VertexClient`: Gemini on Vertex AI, by google-auth or a key."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from promptport.provider import (
    Capability,
    ConfigurationError,
    GoogleCloud,
    HTTPClient,
    HTTPRequest,
    InvalidInputError,
    LLModel,
    ModelCapabilities,
    Prompt,
    ProtocolError,
    StreamedTools,
    ToolDescriptor,
)
from promptport_google._decode import ContentDecoder, decode_complete
from promptport_google._models import capabilities_of
from promptport_google._request import content_body

__all__ = ["GeminiClient", "VertexClient"]

_VERSION = re.compile(r"/v\d+(alpha|beta)?\d*$")
_MOST_PAGES = 100


class GeminiClient(HTTPClient):
    """The Gemini Developer API; ``pp.client("google", …)`` makes one. It belongs to one event loop."""

    provider = "google"
    answer_dialect = "gemini"
    base_url = "https://generativelanguage.googleapis.com"
    url_variable = "GOOGLE_GEMINI_BASE_URL"
    key_header = "x-goog-api-key"
    decoder = ContentDecoder
    complete = decode_complete
    streamed_tools = StreamedTools.WHOLE

    def __init__(self, *, api_version: str = "v1beta", **options: Any) -> None:
        """Create a client.

        Args:
            api_version: ``v1beta`` or ``v1``, part of the URL. A ``base_url`` that ends in a version keeps its own.
            options: See `promptport.provider.HTTPClient`. ``api_key``: Default: ``GOOGLE_API_KEY``, then
                ``GEMINI_API_KEY``. ``base_url``: Default: ``GOOGLE_GEMINI_BASE_URL``, then Google's.

        Raises:
            ConfigurationError: No key, or a key, URL or option that cannot be used.
        """
        self.key_variable = self._key_name()
        self._discovered: dict[str, ModelCapabilities] = {}
        super().__init__(**options)
        self._prefix = "" if _VERSION.search(self.base_url) else f"/{api_version}"

    def capabilities(self, model: LLModel) -> ModelCapabilities:
        """What you declared, what `discover` found, or what the table of models says; without network."""
        found = model.capabilities or self._discovered.get(model.id)
        return found or capabilities_of(model.id, streamed_tools=self.streamed_tools)

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """Ask the server for the limits of a model, and whether it thinks. `capabilities` knows it from then on.

        Raises:
            ProviderError: The server does not know the model, or was not reached.
            ProtocolError: The response is not a model.
        """
        if model.id not in self._discovered:
            told = await self._get(f"{self._prefix}/{_resource(model.id, 'models')}", model.id)
            if not isinstance(told, dict) or not isinstance(told.get("inputTokenLimit"), int):
                raise ProtocolError(f"{self.provider}: the server does not describe a model. Check the base_url.")
            found = capabilities_of(model.id, streamed_tools=self.streamed_tools)
            if told.get("thinking") is False:
                found = found.without(Capability.REASONING, Capability.REASONING_EFFORT, Capability.REASONING_BUDGET)
            output = told.get("outputTokenLimit")
            self._discovered[model.id] = msgspec.structs.replace(
                found,
                context_length=told["inputTokenLimit"],
                max_output_tokens=output if isinstance(output, int) else found.max_output_tokens,
                known=True,
            )
        return self.capabilities(model)

    async def models(self) -> list[LLModel]:
        """The models that the server lists, of all pages.

        Raises:
            ProviderError: The server refused, or was not reached.
            ProtocolError: The response is not a list of models.
        """
        path, found, more = self._list_path(), [], ""
        for _ in range(_MOST_PAGES):
            listed = await self._get(f"{path}{more}")
            entries = listed.get("models", listed.get("publisherModels")) if isinstance(listed, dict) else None
            if not isinstance(entries, list):
                raise ProtocolError(f"{self.provider}: the list of models cannot be read. Check the base_url.")
            names = [entry.get("name") for entry in entries if isinstance(entry, dict)]
            found += [LLModel(self.provider, _plain(name)) for name in names if isinstance(name, str) and _plain(name)]
            if not (token := listed.get("nextPageToken")):
                break
            more = f"&pageToken={quote(str(token), safe='')}"
        return found

    def _key_name(self) -> str:
        taken = os.environ.get("GEMINI_API_KEY") and not os.environ.get("GOOGLE_API_KEY")
        return "GEMINI_API_KEY" if taken else "GOOGLE_API_KEY"

    def _list_path(self) -> str:
        return f"{self._prefix}/models?pageSize=1000"

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        return content_body(prompt, model, tools, origin=self.origin)

    def _path(self, model: LLModel, *, stream: bool) -> str:
        return f"{self._prefix}/{_resource(model.id, 'models')}:{_verb(stream)}"


class VertexClient(GeminiClient):
    """Gemini on Vertex AI; ``pp.client("google-vertex", …)`` makes one. It belongs to one event loop."""

    provider = "google-vertex"
    url_variable = "GOOGLE_VERTEX_BASE_URL"
    needs_key = False

    def __init__(
        self,
        *,
        project: str | None = None,
        location: str | None = None,
        credentials: Any = None,
        api_key: Any = None,
        base_url: str | None = None,
        api_version: str = "v1beta1",
        stream_function_call_arguments: bool = False,
        **options: Any,
    ) -> None:
        """Create a client.

        Args:
            project: The Google Cloud project. Default: ``GOOGLE_CLOUD_PROJECT``, then the credentials' own.
            location: The region, ``us``, ``eu`` or ``global``. Default: ``GOOGLE_CLOUD_LOCATION``, then ``global``.
            credentials: ``google.auth.credentials.Credentials``. Default: the application default credentials, for
                Google's own address only.
            api_key: A key of express mode, in which there is no project. Default: ``GOOGLE_API_KEY``, if neither
                options nor environment name a project.
            base_url: The server. Default: ``GOOGLE_VERTEX_BASE_URL``, then Google's for the location.
            api_version: Part of the URL.
            stream_function_call_arguments: Ask for the arguments of tool calls as the model writes them. Gemini 3 and
                later have it.
            options: See `promptport.provider.HTTPClient`.

        Raises:
            ConfigurationError: Options that exclude each other, or a key or URL that cannot be used.
        """
        if api_key is not None and (credentials is not None or project is not None):
            other = "credentials" if credentials is not None else "project"
            raise ConfigurationError(f"google-vertex: api_key and {other} exclude each other. Pass one of them.")
        self._express = api_key is not None
        if not self._express and project is None and credentials is None:
            self._express = bool(os.environ.get("GOOGLE_API_KEY")) and not os.environ.get("GOOGLE_CLOUD_PROJECT")
        self._cloud = GoogleCloud(
            provider=self.provider,
            project=project,
            location=location,
            credentials=credentials,
            keyed=self._express,
            base_url=base_url,
            url_variable=self.url_variable,
            **({"project_variables": (), "location_variables": ()} if self._express else {}),
        )
        self.base_url = self._cloud.home
        if stream_function_call_arguments:
            self.streamed_tools = StreamedTools.DELTAS
        super().__init__(api_key=api_key, base_url=base_url, api_version=api_version, **options)

    async def discover(self, model: LLModel) -> ModelCapabilities:
        """What the table of models says: Vertex AI does not describe its models' limits."""
        return self.capabilities(model)

    def _key_name(self) -> str:
        return "GOOGLE_API_KEY" if self._express else ""  # beside a project, that key is another API's

    def _list_path(self) -> str:
        return f"{self._prefix}/publishers/google/models?pageSize=100"

    def _body(self, prompt: Prompt, model: LLModel, tools: Sequence[ToolDescriptor], *, stream: bool) -> dict[str, Any]:
        deltas = stream and self.streamed_tools is StreamedTools.DELTAS
        return content_body(prompt, model, tools, origin=self.origin, vertex=True, stream_arguments=deltas)

    def _path(self, model: LLModel, *, stream: bool) -> str:
        resource = _resource(model.id, "publishers/google/models")
        if not resource.startswith("projects/"):
            resource = self._cloud.within_project(resource)
        return f"{self._prefix}/{resource}:{_verb(stream)}"

    async def _prepare(self, request: HTTPRequest) -> None:
        await self._cloud.prepare(request)


def _resource(model: str, collection: str) -> str:
    """The path of a model, which its id may name in whole or in part: ``models/…``, ``publisher/…``, ``projects/…``."""
    if ".." in model:
        raise InvalidInputError(f"model {model!r}: an id holds no '..'")
    known = ("models/", "tunedModels/") if collection == "models" else ("models/", "publishers/", "projects/")
    if not model.startswith(known):
        publisher, slash, name = model.partition("/")
        vertex = slash and collection != "models"
        model = f"publishers/{publisher}/models/{name}" if vertex else f"{collection}/{model}"
    return quote(model, safe="/@")


def _plain(name: str) -> str:
    """The id that people write, of a resource's name."""
    for prefix in ("models/", "publishers/google/models/"):
        name = name.removeprefix(prefix)
    return name


def _verb(stream: bool) -> str:
    return "streamGenerateContent?alt=sse" if stream else "generateContent"
